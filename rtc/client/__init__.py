"""The client program: finds a worker, sends a package, watches the job, and fetches the result."""

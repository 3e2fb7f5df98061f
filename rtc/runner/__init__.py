"""One job on the worker's machine, run by a process of its own that outlives the worker program."""

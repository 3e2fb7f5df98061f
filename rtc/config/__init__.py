"""Settings: reading them from the command line, the environment and a file, checking them, and showing them."""

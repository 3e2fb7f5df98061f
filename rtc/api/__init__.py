"""The Python API: runs jobs on workers from a program, as the command line does. docs/api.md shows how."""

"""Jobs: what lies in a package, running sleap-nn on it, and bringing back what it made.

Rule of the room: files and child processes only. It knows `protocol.jobs` and nothing of actors, links or peers; what a
job has to say goes through one plain function, `emit`, which never waits.
"""

"""Job packages: reading and checking a zip or folder, the plan of runs in it, and writing zip archives.

Rule: files only. This folder knows `protocol` and `rtc.common`, and nothing of actors, links, peers or processes.
Nothing that a package contains is ever executed here.
"""

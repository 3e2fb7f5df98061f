"""Workers that stay when their terminal is closed: `sleap-rtc worker --background`, `--status` and `--stop`.

One process, the starter, starts the worker as a systemd user unit or as a process of its own session, shows what it
says until it has joined its room, and ends. The worker (`inside`) does not need the starter any more then.
"""

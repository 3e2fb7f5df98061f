"""What can be said: messages, ids, faults, and the one converter that reads and writes them.

Rule of the room: no trio, no I/O, no clock. Whoever imports this learns the whole vocabulary and nothing else.
"""

PROTOCOL_VERSION = 3
"""Raised whenever a message changes shape; peers with different versions refuse each other (exit code 8)."""

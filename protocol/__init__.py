"""The protocol: messages, ids, faults, limits, and the one converter between messages and text.

Rule: no trio, no I/O, no clock. This package imports nothing else of sleap-rtc, so any program can use it alone.
"""

PROTOCOL_VERSION = 3
"""Raised by one whenever a message changes shape. Peers with different versions refuse each other (exit code 8)."""

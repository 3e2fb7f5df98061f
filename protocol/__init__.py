"""The protocol: messages, ids, faults, limits, versions, and the one converter between attrs classes and JSON text.

Rule: no trio, no I/O, no clock. This package imports nothing else of sleap-rtc, so any program can use it alone.
"""

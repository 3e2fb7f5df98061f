"""Starts and stops programs: the root of a process, signals, and what every peer needs. Nothing is decided here."""

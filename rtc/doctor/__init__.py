"""The doctor: what would stop this machine from being a worker or a client, and what to do about it.

Rule of the room: a check looks and changes nothing, tells what it saw in one line, and never shows a secret. It is
given a limit in seconds, and whatever it lacks is its finding, not its failure.
"""

from rtc.doctor.finding import Check, Finding, Level, Report, run_checks

__all__ = ["Check", "Finding", "Level", "Report", "run_checks"]

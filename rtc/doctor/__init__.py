"""`sleap-rtc doctor`: what would stop this machine from being a worker or a client, and what to do about it.

Rule: a check changes nothing on the machine, reports what it found in one line, and never shows a secret. It has a
time limit. If something that a check needs is missing, the check returns this as a finding and does not raise.
"""

from rtc.doctor.finding import Check, Finding, Level, Report, run_checks

__all__ = ["Check", "Finding", "Level", "Report", "run_checks"]

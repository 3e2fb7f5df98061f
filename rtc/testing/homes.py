"""Where a program of ours keeps what it writes, in a home folder that a test has made."""

import platform
from pathlib import Path

_FOLDERS = {"Darwin": ("Library", "Application Support"), "Windows": ("AppData", "Local")}
STATE = Path(*_FOLDERS.get(platform.system(), (".local", "state")), "sleap-rtc")
"""The state folder, relative to the home folder."""

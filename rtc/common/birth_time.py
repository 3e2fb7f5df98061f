"""Tells when a file or folder was made. Its number does not: a file system gives the number of a removed one again."""

import ctypes
import os
import struct
import sys
from pathlib import Path

_AT_FDCWD = -100
"""Relative paths begin at the working folder (fcntl.h)."""
_STATX_BTIME = 0x800
"""The time of birth is asked for, and is in the answer (linux/stat.h; statx(2))."""
_STATX_SIZE = 256
"""Bytes of the structure that statx fills."""
_BTIME_OFFSET = 80
"""Bytes before `stx_btime` in it: seconds (64 bits), nanoseconds (32 bits)."""


def birth_time(path: Path) -> int | None:
    """Return when a file or folder was made, in microseconds since 1970; None where that cannot be told."""
    try:
        found = getattr(path.stat(), "st_birthtime", None)  # macOS, and Windows from Python 3.12 on
        if found is None and sys.platform == "linux":
            return _statx(os.fsencode(path))
    except (OSError, ValueError):
        return None
    return None if found is None else round(found * 10**6)


def _statx(path: bytes) -> int | None:
    """Return what Linux knows about it; Python has no function for this before 3.15."""
    try:
        statx = ctypes.CDLL(None).statx
    except (OSError, AttributeError):  # an old or other C library
        return None
    answer = ctypes.create_string_buffer(_STATX_SIZE)
    if statx(_AT_FDCWD, path, 0, _STATX_BTIME, answer) != 0:
        return None
    (known,) = struct.unpack_from("=I", answer)
    if not known & _STATX_BTIME:
        return None
    seconds, nanoseconds = struct.unpack_from("=qI", answer, _BTIME_OFFSET)
    return int(seconds * 10**6 + nanoseconds // 1000)

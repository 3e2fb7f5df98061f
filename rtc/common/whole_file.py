"""Writes a small file completely or not at all, so that nobody reads half of it, also after a power failure.

Reads such a file without ever waiting: something else may lie in its place.
"""

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

_READ_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Without O_NONBLOCK, opening a FIFO waits until another program opens it for writing; Windows has no such flag."""


def read_small_file(path: Path, limit: int) -> bytes:
    """Return the first `limit` bytes of an ordinary file, or of the one to which a link leads.

    Raises:
        OSError: it cannot be read, or is something else than a file.
    """
    with open(os.open(path, _READ_FLAGS), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no ordinary file")
        return file.read(limit)


def write_whole_file(path: Path, text: str) -> None:
    """Write a text file of mode 0600; a file that is there already is replaced when all of the text is on the disk.

    Raises:
        OSError: it cannot be written; the folder is as it was before.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".sleap-rtc-", suffix=path.suffix)  # mode 0600
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise

"""Opens files in a job's folder, where the job's code can write: a name may be a symbolic link, a FIFO or a device."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_SAFE_FLAGS = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
"""Do not wait until another process opens a FIFO, which may never happen, and do not follow a symbolic link."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | _SAFE_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "something else is in a file's place", path.name)
    return os.fdopen(descriptor, "rb")


def open_private(path: Path, flags: int = os.O_TRUNC) -> BinaryIO:
    """Open a file for writing; if it does not exist it is created with mode 0600.

    Args:
        path: the file.
        flags: further flags for `os.open`; by default the file is emptied.

    Raises:
        OSError: it cannot be written.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | _SAFE_FLAGS | flags, 0o600), "wb")

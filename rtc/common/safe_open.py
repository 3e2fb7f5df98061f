"""Opening what lies in a job's folder: its own code can write there, so a name may lead elsewhere, or to no file."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_WARY = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
"""A FIFO, which would make us wait for ever, is not waited for, and a link not followed."""


def open_regular(path: Path) -> BinaryIO:
    """A file to read.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | _WARY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "something else is in a file's place", path.name)
    return os.fdopen(descriptor, "rb")


def open_private(path: Path, flags: int = os.O_TRUNC) -> BinaryIO:
    """A file to write, for nobody else to read, made if it is not there.

    Raises:
        OSError: it cannot be written.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | _WARY | flags, 0o600), "wb")

"""Opening what lies in a job's folder: its own code can write there, so a name may lead elsewhere, or to no file at all."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """A file to read. A link is not followed, and a FIFO, which would make us wait for ever, not opened.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "something else is in a file's place", path.name)
    return os.fdopen(descriptor, "rb")

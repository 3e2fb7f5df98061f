"""The limits of the operating system for a job's processes (setrlimit(2)), and the mark that one of them carries.

The supervisor sets them for itself, and all processes of the job inherit them. The size of address space and the number
of processes are not limited: CUDA reserves more address space than there is memory, and the number counts all processes
of the user, not those of the job.

The limit of a file's size serves as the job's mark as well. Its lowest bits are made from the path of the job's
folder. So every process that has inherited it can be found, even when it has closed all files, cleared its environment
and left its session. A process without privileges can lower the limit and so lose the mark, but cannot raise it.
"""

import hashlib
import logging
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("rtc.limits")

OPEN_FILES = 65_536
"""Open files that a process may have (RLIMIT_NOFILE), if its user may have as many. Loaders that share tensors between
processes need more than the usual 1024."""
GIB = 2**30
RESERVE = 1 * GIB
"""Bytes of the work folder's disk that no single file of a job can take."""
FILE_SIZE_LOWEST = 16 * GIB
"""Bytes that a file may have at least, also when little is free there: files on other disks and shared memory (tmpfs)
count too, and some file systems do not say what is free."""


def limit_resources(folder: Path) -> None:
    """Limit this process and those that it starts: no core dumps, more open files, and the size of a file.

    What cannot be set is logged, and stays as it is.

    Args:
        folder: the job's folder.
    """
    for name, number, limits in (
        ("RLIMIT_CORE", resource.RLIMIT_CORE, (0, 0)),
        ("RLIMIT_NOFILE", resource.RLIMIT_NOFILE, _open_files_limits()),
        ("RLIMIT_FSIZE", resource.RLIMIT_FSIZE, _file_size_limits(folder)),
    ):
        try:
            resource.setrlimit(number, limits)
        except (OSError, ValueError) as error:
            log.warning("%s could not be set: %s", name, error)


def find_marked(folder: Path) -> Iterator[int]:
    """Yield the ids of the processes that have inherited the limits of the job of this folder, the newest first.

    Each process is looked at only when its id is asked for. There are none where the limits of other processes cannot
    be read (not Linux).
    """
    if sys.platform == "linux":
        mark = _mark(folder)
        pids = sorted((int(name) for name in os.listdir("/proc") if name.isdecimal()), reverse=True)
        yield from (pid for pid in pids if pid != os.getpid() and _read_mark(pid) == mark)


def has_mark(pid: int, folder: Path) -> bool:
    """Return whether the process with this id has inherited the limits of the job of this folder."""
    return _read_mark(pid) == _mark(folder)


def _read_mark(pid: int) -> int | None:
    """Return the mark of a process; None if it has none, has ended, or belongs to another user."""
    if sys.platform != "linux":
        return None
    try:
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    except OSError:
        return None
    return None if hard == resource.RLIM_INFINITY else hard % GIB


def _mark(folder: Path) -> int:
    """Return the job's mark, from 1 to `GIB` - 1."""
    digest = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape")).digest()
    return 1 + int.from_bytes(digest[:8]) % (GIB - 1)


def _open_files_limits() -> tuple[int, int]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard), hard


def _file_size_limits(folder: Path) -> tuple[int, int]:
    """Return the limits of a file's size: what the disk has free, without the reserve, in whole GiB, and the mark.

    A limit that is already there and lower stays, and then there is no mark.
    """
    size = max(shutil.disk_usage(folder).free - RESERVE, FILE_SIZE_LOWEST) // GIB * GIB + _mark(folder)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    size = size if hard == resource.RLIM_INFINITY else min(size, hard)
    return size, size

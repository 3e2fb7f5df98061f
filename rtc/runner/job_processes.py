"""Find and end the processes of a job: in whichever session they are, and whether or not their parents still live.

No process id is read from a file: by then it could belong to another process. A process belongs to a job if it has the
job's `USERS_LOCK` open, or its temporary folder (`TMPDIR`) is in the job's folder. A program inherits both from the one
that started it; many start others without open files (as Python's subprocess does), few without their environment.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from rtc.runner.folder_lock import USERS_LOCK

WAIT_STEP = 0.05
"""Seconds after which it is checked which of several processes have become zombies, for which psutil waits in vain."""


def find_holders(path: Path) -> list[psutil.Process]:
    """Return all processes that have this file open, except this one."""
    try:
        name = str(path.resolve(strict=True))
    except OSError:
        return []
    return [process for process in _others() if _has_open(process, name)]


def find_processes(folder: Path) -> list[psutil.Process]:
    """Return all processes of the job of this folder, except this one."""
    try:
        real = folder.resolve(strict=True)
    except OSError:
        return []
    lock = str(real / USERS_LOCK)
    return [process for process in _others() if _has_temp_in(process, real) or _has_open(process, lock)]


def end_processes(folder: Path, term_time: float, kill_time: float) -> None:
    """End every process of the job of this folder, with its process group; this process is left out.

    First by SIGTERM, waiting up to `term_time` seconds for their ends; then by SIGKILL, waiting up to `kill_time`.
    """
    for signal_number, timeout in ((signal.SIGTERM, term_time), (signal.SIGKILL, kill_time)):
        processes = find_processes(folder)
        if not processes:
            return
        _signal(processes, signal_number)
        _wait_ended(processes, timeout)


def _others() -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if process.pid != os.getpid()]


def _has_open(process: psutil.Process, name: str) -> bool:
    with suppress(psutil.Error):  # the process has ended, or belongs to another user
        return any(file.path == name for file in process.open_files())
    return False


def _has_temp_in(process: psutil.Process, folder: Path) -> bool:
    """Return whether the temporary folder with which this process was started is `folder` or inside it."""
    with suppress(psutil.Error, OSError, ValueError):
        temp = process.environ().get("TMPDIR", "")
        return temp.startswith("/") and Path(temp).resolve().is_relative_to(folder)
    return False


def _signal(processes: Iterable[psutil.Process], signal_number: int) -> None:
    """Signal the process group of each process; of a process in the group of this one, the process alone."""
    groups = set()
    for process in processes:
        with suppress(psutil.Error, ProcessLookupError, PermissionError):  # it has ended meanwhile
            group = os.getpgid(process.pid)
            if group == os.getpgrp():
                process.send_signal(signal_number)
            else:
                groups.add(group)
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal_number)


def _wait_ended(processes: list[psutil.Process], timeout: float) -> None:
    """Wait up to `timeout` seconds for the ends of these processes."""
    deadline = time.monotonic() + timeout
    while processes and time.monotonic() < deadline:
        _, alive = psutil.wait_procs(processes, timeout=WAIT_STEP)
        processes = [process for process in alive if not _is_zombie(process)]


def _is_zombie(process: psutil.Process) -> bool:
    """Return whether the process has ended; its parent may not have asked for its exit status yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True

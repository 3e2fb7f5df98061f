"""Find and end the processes that have a lock file open: all that a job has started, also in sessions of their own."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

WAIT_STEP = 0.05
"""Seconds after which it is checked which of several processes have become zombies, for which psutil waits in vain."""


def find_holders(path: Path) -> list[psutil.Process]:
    """Return all processes that have this file open, except this one."""
    try:
        name = str(path.resolve(strict=True))
    except OSError:
        return []
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _has_open(process, name)]


def end_holders(path: Path, term_time: float, kill_time: float) -> None:
    """End every process that has this file open, with all of its process group; this process is left out.

    First by SIGTERM, waiting up to `term_time` seconds for their ends; then by SIGKILL, waiting up to `kill_time`.
    """
    left: set[psutil.Process] = set()
    for signal_number, timeout in ((signal.SIGTERM, term_time), (signal.SIGKILL, kill_time)):
        left |= _with_groups(find_holders(path))  # who is left of a group may not have the file open
        if not left:
            return
        _signal(left, signal_number)
        left = _wait_ended(left, timeout)


def _has_open(process: psutil.Process, name: str) -> bool:
    with suppress(psutil.Error):  # the process has ended, or belongs to another user
        return any(file.path == name for file in process.open_files())
    return False


def _with_groups(processes: list[psutil.Process]) -> set[psutil.Process]:
    """Return these processes and all others of their process groups."""
    groups = _groups(processes)
    return {*processes, *(process for process in psutil.process_iter() if groups and groups & _groups([process]))}


def _groups(processes: Iterable[psutil.Process]) -> set[int]:
    """Return the ids of the groups of these processes, except the group of this process."""
    groups = set()
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):  # it has ended meanwhile
            groups.add(os.getpgid(process.pid))
    return groups - {os.getpgrp()}


def _signal(processes: set[psutil.Process], signal_number: int) -> None:
    """Signal the group of each process; of a process in the group of this one, the process alone."""
    for group in _groups(processes):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal_number)
    for process in processes:
        if not _groups([process]):
            with suppress(psutil.Error):
                process.send_signal(signal_number)


def _wait_ended(processes: set[psutil.Process], timeout: float) -> set[psutil.Process]:
    """Wait up to `timeout` seconds for the ends of these processes; return those that still run."""
    deadline = time.monotonic() + timeout
    while processes and time.monotonic() < deadline:
        _, alive = psutil.wait_procs(processes, timeout=WAIT_STEP)
        processes = {process for process in alive if not _is_zombie(process)}
    return processes


def _is_zombie(process: psutil.Process) -> bool:
    """Return whether the process has ended; its parent may not have asked for its exit status yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True

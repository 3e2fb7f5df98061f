"""Find and end the processes of a job: in whichever session they are, and whether or not their parents still live.

No process id is read from a file: by then it could belong to another process. A process belongs to a job if it has the
job's mark among its limits (`rtc.runner.limits`), has the job's `USERS_LOCK` open, or its temporary folder (`TMPDIR`)
is in the job's folder; or if it is in the job's cgroup (`rtc.runner.job_cgroup`). A program inherits all of this from
the one that started it; many start others without open files (as Python's subprocess does), few without their
environment, and none without its limits.

While the supervisor lives, it ends its descendants itself (`rtc.runner.containment`). This is for what is left when the
supervisor was killed.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from rtc.runner.folder_lock import USERS_LOCK
from rtc.runner.job_cgroup import find_cgroups, kill_cgroup, remove_cgroup
from rtc.runner.limits import find_marked, has_mark
from rtc.runner.pidfd import IsMeant, signal_process

EMPTY_LISTS = 20
"""Lists of processes in a row without one of the job that show that there is none."""
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
    lock, marked = str(real / USERS_LOCK), set(find_marked(real))
    return [
        process
        for process in _others()
        if (process.pid in marked or _has_temp_in(process, real) or _has_open(process, lock))
        and not _is_zombie(process)
    ]


def end_processes(folder: Path, term_time: float, kill_time: float) -> None:
    """End every process of the job of this folder, with its process group; this process is left out.

    First by SIGTERM, waiting up to `term_time` seconds for their ends; then by SIGKILL, again and again for up to
    `kill_time`, because a process that is being killed may just have started another.
    """
    processes = find_processes(folder)
    if processes:
        _signal(processes, signal.SIGTERM)
        _wait_ended(processes, term_time)
    deadline = time.monotonic() + kill_time
    for cgroup in find_cgroups(folder):
        kill_cgroup(cgroup)
    _kill_marked(folder, deadline)
    while (processes := find_processes(folder)) and time.monotonic() < deadline:
        _signal(processes, signal.SIGKILL)
        _wait_ended(processes, deadline - time.monotonic())
    for cgroup in find_cgroups(folder):
        remove_cgroup(cgroup)


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
            if group != os.getpgrp() and process.is_running():  # not another process that has its id by now
                groups.add(group)
            else:
                _signal_alone(process.pid, signal_number, process.is_running)
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal_number)


def _kill_marked(folder: Path, deadline: float) -> None:
    """Kill the processes with the job's mark until `EMPTY_LISTS` lists in a row have none, or until `deadline`.

    Each process is killed as soon as it is seen, or one that starts a successor and ends, again and again, would
    always be gone already. Then one is seen, but neither signalled nor there any more, and the list is not empty.
    """
    empty_lists = 0
    while empty_lists < EMPTY_LISTS and time.monotonic() < deadline:
        empty_lists += 1
        for pid in find_marked(folder):
            is_meant = partial(has_mark, pid, folder)
            if _signal_alone(pid, signal.SIGKILL, is_meant) or not is_meant():
                empty_lists = 0


def _signal_alone(pid: int, signal_number: int, is_meant: IsMeant) -> bool:
    """Signal a process, if it is the one that is meant and has not ended; return whether that is known to be so."""
    descriptor = signal_process(pid, signal_number, is_meant)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


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

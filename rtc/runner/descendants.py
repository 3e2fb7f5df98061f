"""Find and end all descendants of this process, whichever sessions and groups they have moved to (Linux).

A process that forks twice, so that its parent ends, usually becomes a child of init. As a child subreaper (prctl(2))
this process becomes its parent instead, so every process that a job has started stays below this one.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from attrs import frozen

from rtc.runner.pidfd import kill_processes

SUCCESSORS_TIME = 0.2
"""Seconds for which only new children are looked for, until the whole tree of processes is read again."""
_SET_CHILD_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER in Linux's `prctl.h`."""
_PROC = Path("/proc")


@frozen
class _Process:
    """A row of the process table, from `/proc/PID/stat` (proc_pid_stat(5))."""

    pid: int
    state: str
    parent: int
    group: int
    session: int

    @property
    def has_ended(self) -> bool:
        """Whether only its exit status is left."""
        return self.state in "ZX"


def become_subreaper() -> bool:
    """Make this process the new parent of its descendants whose parents end; return whether that is possible."""
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):  # a C library without prctl
        return False


def end_descendants(timeout: float) -> int:
    """Kill all descendants of this process, which is a subreaper, until none is left; return how many are left.

    Children that have ended are reaped, so no other part of the program may wait for a child meanwhile.

    Args:
        timeout: seconds after which it gives up. A killed process ends at once unless a disk or driver hangs.
    """
    deadline = time.monotonic() + timeout
    # the list of processes cannot show that none is left, since one may have started another while it was made
    while _reap():
        living = [process for process in _find_descendants() if not process.has_ended]
        if time.monotonic() > deadline:
            return max(1, len(living))
        if not _kill(living, deadline):
            _kill_successors(min(deadline, time.monotonic() + SUCCESSORS_TIME))
    return 0


def _reap() -> bool:
    """Take the exit status of each child that has ended; return whether there are other children."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _kill(processes: list[_Process], deadline: float) -> bool:
    """Kill these processes and the groups that they have made, and wait until the first of them has ended.

    Returns whether one of them was still there.
    """
    for process in processes:
        # a group of another session than ours was made by a descendant, and has descendants only; 0 would mean our own
        if process.session != os.getsid(0) and process.group > 0:
            with suppress(OSError):
                os.killpg(process.group, signal.SIGKILL)
    meant = {process.pid: partial(_has_parent, process) for process in processes}
    return kill_processes(meant, deadline - time.monotonic())


def _kill_successors(deadline: float) -> None:
    """Kill the children that appear until `deadline`, each as soon as it is seen; end early when there is no child.

    A process that starts a successor and ends, again and again, is never in a list of processes when that has been
    read to its end. Here only ids are listed, and only new ones are looked at. A child keeps its id until it is reaped.
    """
    seen: set[str] = set()
    while _reap() and time.monotonic() < deadline:
        names = {name for name in os.listdir(_PROC) if name.isdecimal()}
        for name in sorted(names - seen, key=int, reverse=True):
            process = _read(name)
            if process is not None and process.parent == os.getpid():
                with suppress(OSError):
                    os.kill(process.pid, signal.SIGKILL)
        seen = names


def _has_parent(process: _Process) -> bool:
    """Return whether the process with this id still has the parent that it had, or ours since that has ended."""
    now = _read(str(process.pid))
    return now is not None and now.parent in (process.parent, os.getpid())


def _find_descendants() -> list[_Process]:
    """Return the processes below this one, the newest first."""
    children: dict[int, list[_Process]] = {}
    for process in _list_processes():
        children.setdefault(process.parent, []).append(process)
    found: list[_Process] = []
    parents = [os.getpid()]
    while parents:
        below = children.pop(parents.pop(), [])
        found += below
        parents += [process.pid for process in below]
    return sorted(found, key=lambda process: process.pid, reverse=True)


def _list_processes() -> Iterator[_Process]:
    for name in os.listdir(_PROC):
        if name.isdecimal() and (process := _read(name)) is not None:
            yield process


def _read(name: str) -> _Process | None:
    """Return the process with this id; None when there is none."""
    try:
        text = (_PROC / name / "stat").read_bytes()
    except OSError:
        return None
    # the program's name stands in brackets before this, and may have brackets and blanks itself
    state, parent, group, session, *_ = text.rpartition(b")")[2].split()
    return _Process(int(name), state.decode(), int(parent), int(group), int(session))

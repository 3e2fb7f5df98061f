"""Signal processes by descriptors of them (pidfd_open(2)), so that no process that got an id meanwhile is hit.

Before Linux 5.3 there are no such descriptors. Then the id is used just after it was checked.
"""

import os
import select
import signal
import sys
from collections.abc import Callable, Mapping

IsMeant = Callable[[], bool]
"""Says whether the process that has an id now is the one that is meant."""


def signal_process(pid: int, number: int, is_meant: IsMeant) -> int | None:
    """Signal a process that has not ended, if it is the one that is meant.

    Args:
        pid: the process id.
        number: the signal.
        is_meant: called when the id cannot pass on to another process unnoticed any more.

    Returns:
        A descriptor that becomes readable when the process has ended; the caller closes it. None when nothing was
        signalled, and where there are no such descriptors.
    """
    descriptor = _open_pidfd(pid)
    try:
        if descriptor is None:
            if is_meant():
                os.kill(pid, number)
        elif sys.platform == "linux" and not _wait_for_one([descriptor], 0) and is_meant():
            signal.pidfd_send_signal(descriptor, number)
            signalled, descriptor = descriptor, None
            return signalled
    except OSError:
        pass  # it has ended meanwhile, or belongs to another user
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return None


def kill_processes(processes: Mapping[int, IsMeant], timeout: float) -> bool:
    """Kill processes and wait up to `timeout` seconds until the first of them has ended.

    Args:
        processes: which process is meant by each id.
        timeout: seconds.

    Returns:
        Whether one of them was still there; False also where there are no descriptors of processes.
    """
    descriptors = []
    try:
        for pid, is_meant in processes.items():
            descriptor = signal_process(pid, signal.SIGKILL, is_meant)
            if descriptor is not None:
                descriptors.append(descriptor)
        if descriptors:
            _wait_for_one(descriptors, timeout)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return bool(descriptors)


def _open_pidfd(pid: int) -> int | None:
    """Return a new descriptor of a process; None when it has ended, or where there are none."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _wait_for_one(descriptors: list[int], timeout: float) -> bool:
    """Wait up to `timeout` seconds until one of these processes has ended; return whether one has."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0, 1000 * timeout)))

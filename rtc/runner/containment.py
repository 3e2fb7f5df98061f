"""Keeps hold of all processes that a job starts, so that none of them outlives the step that started it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from attrs import frozen

from rtc.common.process_group import KILL_TIME
from rtc.runner.descendants import become_subreaper, end_descendants
from rtc.runner.job_cgroup import add_process, kill_cgroup, make_cgroup, remove_cgroup

log = logging.getLogger("rtc.containment")


@frozen
class Containment:
    """All processes below this one: its descendants and, where there is a cgroup for the job, those in it.

    Made by `open_containment` in the supervisor, which starts no other programs than those of the job.
    """

    subreaper: bool
    cgroup: Path | None

    @contextmanager
    def hold_started(self) -> Iterator[None]:
        """Be in the job's cgroup, so that what is started meanwhile is in it from its first moment on.

        A program that was moved there afterwards could have started others before, which would not be in it.
        """
        if self.cgroup is None:
            yield
            return
        add_process(self.cgroup, os.getpid())
        try:
            yield
        finally:
            add_process(self.cgroup.parent, os.getpid())

    async def end(self) -> None:
        """Kill all processes, and wait up to `KILL_TIME` until none is left; not interrupted by a cancellation."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.end_now)

    def end_now(self) -> None:
        """Do as `end`, blocking the calling thread."""
        if self.cgroup is not None:
            kill_cgroup(self.cgroup)
        left = end_descendants(KILL_TIME) if self.subreaper else 0
        if left:
            log.warning("%d processes of the job did not end when they were killed", left)

    def close(self) -> None:
        """Kill all processes, and remove the cgroup."""
        self.end_now()
        if self.cgroup is not None:
            remove_cgroup(self.cgroup)


def open_containment(folder: Path) -> Containment:
    """Return the containment of the job of this folder, whose programs this process is going to start."""
    return Containment(become_subreaper(), make_cgroup(folder))

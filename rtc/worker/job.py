"""One job of the worker's, from its first byte until its result is packed, and what jobs are run with."""

from pathlib import Path

import trio
from attrs import define, field, frozen

from protocol.ids import JobId, LinkId
from protocol.jobs import JobEnded, StopScope, SubmitJob
from rtc.runner.folder_lock import FolderLock
from rtc.runner.journal import JournalWatcher
from rtc.runner.supervisor_handle import SupervisorHandle
from rtc.sleap_nn.commands import Accelerator
from rtc.transport.files import Incoming
from rtc.worker.job_status import JobStatus

CLEAN_TIME = 30.0
"""Seconds that removing a job's folder may take when the program is being stopped."""


@frozen
class RunnerConfig:
    """Where and with what jobs are run."""

    work: Path
    """A job's folder lives here while it runs."""
    results: Path
    """Results wait here until they are fetched."""
    sleap_nn: Path
    accelerator: Accelerator
    gpu: str | None
    chunk_size: int
    package_max: int
    """Bytes of the largest package that is taken."""
    name: str = "worker"
    keep_time: float = 30 * 86400.0
    """Seconds for which a result waits for its owner."""
    keep_bytes: int = 100 * 10**9
    """Bytes that all waiting results may have; beyond it the oldest go."""


@define
class Job:
    """One job, and its folder."""

    name: JobId
    folder: Path
    lock: FolderLock | None = None
    """Held as long as the folder is there and ours."""
    submit: SubmitJob | None = None
    """None for a job that an earlier worker has begun."""
    begun: bool = False
    """Its package is here; from then on its own task sees to it."""
    started: bool = False
    """It was ordered to run."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    incoming: Incoming | None = None
    """Its package on the way."""
    supervisor: SupervisorHandle | None = None
    watcher: JournalWatcher | None = None
    status_line: JobStatus = field(factory=JobStatus)
    over: trio.Event = field(factory=trio.Event)
    ended: JobEnded | None = None
    """Set when it is over."""
    _link: LinkId | None = None
    _linked: trio.Event = field(factory=trio.Event)
    _stop: StopScope | None = None
    _cancel: bool = False

    def come_over(self, link: LinkId) -> None:
        """Its package comes, or goes on coming, over this link."""
        self._link = link
        self._linked.set()

    @property
    def expected(self) -> bool:
        """Whether somebody waits at a link that was not turned to yet."""
        return self._linked.is_set()

    async def next_link(self) -> LinkId:
        """The newest link, once there is one that was not turned to yet."""
        await self._linked.wait()
        self._linked = trio.Event()
        assert self._link is not None, "that is what was waited for"
        return self._link

    def stop(self, scope: StopScope) -> None:
        """Let it stop early; said again to the keeper if there is none yet."""
        self._stop = scope
        if self.supervisor is not None:
            self.supervisor.stop(scope)

    def cancel(self) -> None:
        """End it, likewise."""
        self._cancel = True
        if self.supervisor is not None:
            self.supervisor.cancel()

    def set_supervisor(self, supervisor: SupervisorHandle) -> None:
        """It has a keeper now, who hears what was wanted meanwhile."""
        self.supervisor = supervisor
        if self._cancel:
            supervisor.cancel()
        elif self._stop is not None:
            supervisor.stop(self._stop)

    def end(self, ended: JobEnded) -> None:
        """It is over, and nobody who follows it waits for more."""
        self.ended = ended
        self.over.set()
        if self.watcher is not None:
            self.watcher.end()

    async def discard(self) -> None:
        """Remove its folder, if that is still ours, also while being cancelled."""
        lock, self.lock = self.lock, None
        if lock is not None:
            with trio.move_on_after(CLEAN_TIME, shield=True):
                await trio.to_thread.run_sync(lock.give_up, abandon_on_cancel=True)

    async def release(self) -> None:
        """Leave its folder to whoever comes next."""
        lock, self.lock = self.lock, None
        if lock is not None:
            await trio.to_thread.run_sync(lock.release)

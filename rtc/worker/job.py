"""One job of the worker, from the first byte of its package to its packed result; and the runner's configuration."""

from pathlib import Path

import trio
from attrs import define, field, frozen

from protocol.ids import JobId, LinkId
from protocol.jobs import JobEnded, JobNote, StopScope, SubmitJob
from rtc.common.short_paths import remove_dead_links
from rtc.runner.folder_lock import FolderLock
from rtc.runner.journal import JournalWatcher
from rtc.runner.supervisor_handle import SupervisorHandle
from rtc.sleap_nn.commands import Accelerator
from rtc.transport.files import Incoming
from rtc.worker.job_database import DAY
from rtc.worker.job_status import JobStatus

CLEAN_TIME = 30.0
"""Seconds that removing a job's folder may take while the program is being cancelled."""


@frozen
class RunnerConfig:
    """The folders, the program and the limits with which the worker runs jobs."""

    work: Path
    """Holds the folder of each job until the job has ended."""
    results: Path
    """Holds the results until their owners have fetched them."""
    sleap_nn: Path
    """The sleap-nn program."""
    accelerator: Accelerator
    gpus: tuple[str, ...] | None
    """UUIDs of the GPUs that each job gets, none for the CPU; None where the GPU has no UUID: jobs see what the worker
    sees."""
    chunk_size: int
    """Bytes of one piece of a file on the data channel."""
    package_max: int
    """Bytes of the largest package that is accepted."""
    name: str = "worker"
    """The worker's name, recorded with each of its jobs."""
    keep_time: float = 30 * DAY
    """Seconds for which a result is stored for its owner."""
    keep_bytes: int = 100 * 10**9
    """Maximum size of all stored results together, in bytes; the oldest are removed first."""
    pass_env: tuple[str, ...] = ()
    """Names of further environment variables that jobs get."""

    @property
    def gpu_text(self) -> str | None:
        """The UUIDs with commas between them, as they are recorded with each job; None if there is none."""
        return ",".join(self.gpus or ()) or None

    def has_gpu_of(self, gpu_text: str | None) -> bool:
        """Return whether this worker has the first of these GPUs, so that a job that still runs there is its own."""
        return not self.gpus if gpu_text is None else gpu_text.split(",")[0] in (self.gpus or ())


@define
class Job:
    """One job, its folder, and its state in this process."""

    name: JobId
    folder: Path
    lock: FolderLock | None = None
    """Held while the folder exists and this worker owns it."""
    submit: SubmitJob | None = None
    """The client's request; None for a job that an earlier worker accepted."""
    package_complete: bool = False
    """The whole package was received."""
    started: bool = False
    """`StartJob` was received, or an earlier worker had started the job."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    """Cancelling it ends the reception of the package."""
    incoming: Incoming | None = None
    """The reception of the package; None until it begins. It stays after the package is complete."""
    supervisor: SupervisorHandle | None = None
    """None until the job's supervisor process is started or adopted."""
    watcher: JournalWatcher | None = None
    """The events of the job, for any number of readers."""
    status_line: JobStatus = field(factory=JobStatus)
    begun: trio.Event = field(factory=trio.Event)
    """Set together with `started`; only then its sender hears that the package is here."""
    recorded: trio.Event = field(factory=trio.Event)
    """Set when the job has a record, or will have none."""
    over: trio.Event = field(factory=trio.Event)
    """Set when the job has ended and its result is stored, or its package was given up."""
    ended: JobEnded | None = None
    """How the job ended; set together with `over`."""
    notice: JobNote | None = None
    """What the worker itself tells the owner after the last event of the job: its disk may be full, so that it cannot
    be written to the journal."""
    noticed: trio.Event = field(factory=trio.Event)
    """Set together with `notice`."""
    package_link: LinkId | None = None
    """The newest link over which the package comes; None for a job that an earlier worker accepted."""
    _new_link: trio.Event = field(factory=trio.Event)
    _stop: StopScope | None = None
    """The stop request, if there was one."""
    cancelled: bool = False
    """Whether the job is to be cancelled."""

    def set_package_link(self, link: LinkId) -> None:
        """Receive the package, or the rest of it, over this link from now on."""
        self.package_link = link
        self._new_link.set()

    @property
    def has_new_link(self) -> bool:
        """Whether there is a link that `next_link` has not returned yet."""
        return self._new_link.is_set()

    async def next_link(self) -> LinkId:
        """Wait for a link that was not returned yet, and return the newest one."""
        await self._new_link.wait()
        self._new_link = trio.Event()
        assert self.package_link is not None, "`set_package_link` sets it before the event"
        return self.package_link

    def stop(self, scope: StopScope) -> None:
        """Stop the job early, keeping what was trained. Before there is a supervisor, the request is saved for it."""
        self._stop = scope
        if self.supervisor is not None:
            self.supervisor.stop(scope)

    def cancel(self) -> None:
        """End the job now. Before there is a supervisor, the request is saved for it."""
        self.cancelled = True
        if self.supervisor is not None:
            self.supervisor.cancel()

    def set_supervisor(self, supervisor: SupervisorHandle) -> None:
        """Set the supervisor, and send it a stop or cancel request that came before it was there."""
        self.supervisor = supervisor
        if self.cancelled:
            supervisor.cancel()
        elif self._stop is not None:
            supervisor.stop(self._stop)

    def tell(self, notice: JobNote) -> None:
        """Tell the owners who wait for the end of the job, and those who come later, what it waits for."""
        self.notice = notice
        self.noticed.set()

    def end(self, ended: JobEnded) -> None:
        """Save how the job ended, set `over`, and end the stream of its events."""
        self.ended = ended
        self.recorded.set()
        self.over.set()
        if self.watcher is not None:
            self.watcher.end()

    async def discard(self) -> None:
        """Remove the job's folder, if this worker still owns it, and links to folders that are gone.

        Takes up to `CLEAN_TIME`, also under cancellation.
        """
        lock, self.lock = self.lock, None
        if lock is not None:
            with trio.move_on_after(CLEAN_TIME, shield=True):
                await trio.to_thread.run_sync(lock.remove, abandon_on_cancel=True)
                # a supervisor that was killed has left its own
                await trio.to_thread.run_sync(remove_dead_links, abandon_on_cancel=True)

    async def release(self) -> None:
        """Release the folder's lock and leave the folder as it is, for the next worker to adopt."""
        lock, self.lock = self.lock, None
        if lock is not None:
            await trio.to_thread.run_sync(lock.release)

"""The background worker's own side: its lock, its record, and what it gets from and tells its starter."""

import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio
from attrs import define, evolve, field

from actors.events import JobAdopted, JobFinished, StartJob, StatusChanged
from protocol.converter import WireError
from protocol.faults import FaultCode
from protocol.ids import JobId
from protocol.status import Status
from rtc.common.errors import ExitCode, RtcError
from rtc.common.nurseries import open_background_nursery
from rtc.config.folders import Folders
from rtc.worker.background.console import ConsoleStream, ReportPipe, take_hand_over
from rtc.worker.background.folder import BackgroundFolder, file_name, folder_of, take_lock
from rtc.worker.background.process import birth_of
from rtc.worker.background.record import BackgroundRecord, ConsoleReport, HandOver, RecordedEnd, RecordedWorker
from rtc.worker.room_membership import WorkerReady

UNIT_VARIABLE = "SLEAP_RTC_BACKGROUND_UNIT"
"""The environment variable with which a unit of ours tells the worker its name."""
RUNS_ALREADY = "A background worker named {name} runs already. sleap-rtc worker --status shows it."


def log_name(name: str) -> str:
    """Return the name of the log of the background worker of this name."""
    return f"worker-{file_name(name)}"


@define
class BackgroundWorker:
    """One process that runs a worker in the background."""

    folder: BackgroundFolder
    handed: HandOver
    record: BackgroundRecord
    _pipe: ReportPipe
    _jobs: dict[str, set[JobId]] = field(factory=dict, init=False)
    """The jobs that each worker runs, by the worker's name."""
    _changed: trio.Event = field(factory=trio.Event, init=False)
    """Set, and replaced by a new event, when the record changes."""

    @property
    def log_name(self) -> str:
        """The name of this worker's log."""
        return log_name(self.record.name)

    def joined(self, ready: tuple[WorkerReady, ...]) -> None:
        """Note that all workers of the process have joined their room; the starter may go now."""
        first, now = ready[0], time.time()
        names = [one.facts.name for one in ready]
        known = {one.name: one for one in self.record.workers}
        workers = (known.get(name, RecordedWorker(name, Status.AVAILABLE.value, now)) for name in sorted(names))
        self._change(
            room=first.room, server=first.session.server or "", has_secret=first.has_secret, workers=tuple(workers)
        )
        self.folder.write(self.record)  # before the starter reads it
        self._pipe.send(ConsoleReport(joined=True))
        self._pipe.close()

    def watch(self, name: str, effect: Any) -> None:
        """Note an event or effect of one of the workers, if it changes what `--status` shows."""
        jobs = self._jobs.setdefault(name, set())
        match effect:
            case StartJob():
                jobs.add(effect.job)
            case JobAdopted():
                jobs.add(effect.new_job)
            case JobFinished():
                jobs.discard(effect.job)
            case StatusChanged():
                status = f"{effect.status.value}, leaving" if effect.leaving else effect.status.value
                self._set_worker(RecordedWorker(name, status, time.time()))
                return
            case _:
                return
        known = {one.name: one for one in self.record.workers}
        self._set_worker(known.get(name, RecordedWorker(name, "starting", time.time())))

    def _set_worker(self, worker: RecordedWorker) -> None:
        worker = evolve(worker, jobs=tuple(sorted(self._jobs[worker.name])))
        known = {one.name: one for one in self.record.workers} | {worker.name: worker}
        self._change(workers=tuple(known[name] for name in sorted(known)))

    def _change(self, **changes: Any) -> None:
        self.record = evolve(self.record, **changes)
        self._changed.set()
        self._changed = trio.Event()

    def around(self, serve: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """Return a function that does the same as `serve` and keeps the record up to date meanwhile."""

        async def run(*arguments: Any) -> None:
            async with open_background_nursery() as nursery:
                nursery.start_soon(self._write_changes)
                await serve(*arguments, joined=self.joined)

        return run

    async def _write_changes(self) -> None:
        written = None
        while True:
            changed, record = self._changed, self.record
            if record != written:
                await trio.to_thread.run_sync(self.folder.write, record)
                written = record
            else:
                await changed.wait()

    def end(self, code: int) -> None:
        """Note the exit code, before the lock is released."""
        self.record = evolve(self.record, ended=RecordedEnd(time.time(), code))
        self.folder.remove_banner()
        self.folder.write(self.record)
        self._pipe.send(ConsoleReport(code=code))
        self._pipe.close()


def run_in_background(
    folders: Folders, name: str, command: tuple[str, ...], work: Callable[[BackgroundWorker], int]
) -> int:
    """Run a worker as a background worker: what it prints goes to its starter or to the log; return its exit code.

    Args:
        folders: the folders of this user.
        name: the worker's name.
        command: the options of this process, without secrets.
        work: runs the worker, and returns its exit code.
    """
    folder = folder_of(folders.state, name)
    folder.make()
    pipe = ReportPipe.open(folder.report)
    with _streams_replaced(pipe, folder):
        code: int = ExitCode.BUG
        background: BackgroundWorker | None = None
        try:
            background = _begin(folders, folder, name, command, pipe)
            code = work(background)
        except RtcError as error:
            from rtc.runtime.root import print_error

            print_error(error.fault.text)
            code = error.exit_code
        finally:
            if background is not None:
                background.end(code)
            pipe.send(ConsoleReport(code=code))
            pipe.close()
    return code  # the lock is released when the process ends


def _begin(
    folders: Folders, folder: BackgroundFolder, name: str, command: tuple[str, ...], pipe: ReportPipe
) -> BackgroundWorker:
    """Take the lock, which is held until the process ends, and what the starter hands over.

    Raises:
        RtcError: USAGE: the worker runs already.
    """
    if take_lock(folder.lock) is None:
        raise RtcError(FaultCode.USAGE, RUNS_ALREADY.format(name=name))
    try:
        handed = take_hand_over(folder.hand_over)
    except WireError:
        raise RtcError(FaultCode.USAGE, "What was handed over to this worker is damaged. Start it again.") from None
    record = BackgroundRecord(
        name=name,
        pid=os.getpid(),
        hostname=socket.gethostname(),
        started=time.time(),
        birth=birth_of(os.getpid()),
        log=str(folders.logs / f"{log_name(name)}.log"),
        unit=os.environ.get(UNIT_VARIABLE, ""),
        command=command,
    )
    folder.write(record)
    return BackgroundWorker(folder, handed, record, pipe)


@contextmanager
def _streams_replaced(pipe: ReportPipe, folder: BackgroundFolder) -> Iterator[None]:
    """Let what this process prints go to its starter, and later to the log."""
    before = sys.stdout, sys.stderr
    sys.stdout = ConsoleStream(pipe, folder.banner, before[0], is_error=False)
    sys.stderr = ConsoleStream(pipe, folder.banner, before[1], is_error=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before

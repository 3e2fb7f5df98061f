"""What happened in a job, on disk: its keeper writes, and any number of followers read, at once or much later.

Lasting events are numbered from 1 and appended to one file, a line each; what is of the moment only replaces a small
file beside it. A FIFO is the bell that wakes who follows. The job's own code could write into the file as well, so a
reader passes over what it cannot decode (`rtc.runner.journal_reader`).
"""

import errno
import logging
import os
import shutil
import stat
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio
from attrs import define, field

from protocol.ids import JobId
from protocol.jobs import FramesDone, GpuUse, JobEvent, JobNews, LogLines, Progress
from protocol.wire import encode
from rtc.common.safe_open import open_private, open_regular
from rtc.runner.journal_reader import BLOCK, JournalCursor, read_last_seq, read_momentary

log = logging.getLogger("rtc.journal")

JOURNAL, MOMENTARY, WAKE_FIFO = "events.jsonl", "now.json", "wake"
LOG_LINES_SIZE_MAX = 200 * 10**6
"""Bytes of a journal beyond which it takes no more log lines; job.log is shorter than that, too."""
JOURNAL_MAX = 250 * 10**6
"""Bytes beyond which it takes nothing more: not even a job that floods us fills the worker's disk."""
_LOG_LINES_OMITTED = "(The list of events is full; more log lines are only in job.log.)"


def is_momentary(news: JobNews) -> bool:
    """Whether nobody needs to hear this who did not hear it at the time."""
    match news:
        case Progress():
            return news.batch is not None
        case FramesDone():
            return news.total is None or news.done < news.total
    return isinstance(news, GpuUse)


def open_fifo(path: Path) -> int:
    """A FIFO's descriptor, made if it is not there. Opened for both directions it never ends, and never waits.

    Raises:
        OSError: it cannot be made, or there is something else of that name.
    """
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileExistsError(errno.EEXIST, "something else is there", path.name)
    return descriptor


# -------- the keeper's side


def _steady_clock() -> Callable[[], float]:
    """Seconds since 1970 that never jump: durations are told by their differences, also when the clock is set."""
    start = time.time() - time.monotonic()
    return lambda: start + time.monotonic()


class Journal:
    """The writer. A job does not depend on it: when the disk is full, that is logged once and events are lost.

    Raises:
        OSError: there can be no journal at all.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._momentary_path = folder / MOMENTARY
        self._clock = _steady_clock()
        self._momentary: dict[type, str] = {}
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        cursor = JournalCursor()
        while cursor.read(self._path) is not None:
            pass
        self._seq = cursor.seen
        self._size = os.fstat(self._file).st_size
        self._torn = self._size > cursor.offset
        self._log_lines_ended = self._size >= LOG_LINES_SIZE_MAX
        self._error_logged = False
        self._wake_fifo = open_fifo(folder / WAKE_FIFO)

    def close(self) -> None:
        """Nothing more will be written."""
        os.close(self._file)
        os.close(self._wake_fifo)

    def write(self, news: JobNews) -> None:
        """Take note of it, and wake whoever follows. Waits for nothing but the disk."""
        try:
            if is_momentary(news):
                self._replace_momentary(news)
            elif not self._is_full_for(news):
                self._append(news)
        except OSError as error:
            self._log_error(error)
        self._wake()

    def _is_full_for(self, news: JobNews) -> bool:
        if not isinstance(news, LogLines):
            return self._size >= JOURNAL_MAX
        if self._size >= LOG_LINES_SIZE_MAX and not self._log_lines_ended:
            self._log_lines_ended = True
            self._append(LogLines(news.job, (_LOG_LINES_OMITTED,)))
        return self._log_lines_ended

    def _append(self, news: JobNews) -> None:
        """One line and its number; a number is used up only when its line is whole."""
        line = encode(JobEvent(news, self._clock(), self._seq + 1)).encode() + b"\n"
        # what could not be written to its end before is made what nobody can read, or it could lack just its end
        block = b"?\n" + line if self._torn else line
        self._torn = True
        while block:
            written = os.write(self._file, block)
            self._size += written
            block = block[written:]
        self._torn = False
        self._seq += 1

    def _replace_momentary(self, news: JobNews) -> None:
        """The newest of each kind is kept, a line each."""
        self._momentary[type(news)] = encode(JobEvent(news, self._clock()))
        part = self._momentary_path.with_suffix(".part")
        with open_private(part) as file:
            file.write("\n".join(self._momentary.values()).encode())
        part.replace(self._momentary_path)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is full of rings that nobody has heard yet
            os.write(self._wake_fifo, b"\n")

    def _log_error(self, error: OSError) -> None:
        if not self._error_logged:
            self._error_logged = True
            log.warning("events of the job are lost (%s); the job goes on", error.strerror)


# -------- the worker's side


@define
class JournalWatcher:
    """One job's events, for any number of followers, who may come late and be slow."""

    job: JobId
    journal: Path
    momentary: Path | None = None
    """None for a job that is over: nothing is of the moment there."""
    over: bool = False
    """Nothing more will be written."""
    _changed: trio.Event = field(factory=trio.Event, init=False)

    @classmethod
    def of(cls, job: JobId, folder: Path) -> "JournalWatcher":
        """The feed of a job in its folder. `serve` it, and `end` it."""
        return cls(job, folder / JOURNAL, folder / MOMENTARY)

    def follow(self, seen: int = 0) -> "JournalReader":
        """The events after number `seen`, as an async iterator that ends with the job. It holds nothing open."""
        return JournalReader(self, JournalCursor(seen))

    async def last_seq(self) -> int:
        """The newest number there is."""
        return await trio.to_thread.run_sync(read_last_seq, self.journal)

    async def serve(self) -> None:
        """Wake the followers whenever the keeper rings, until cancelled. At most one at a time may serve a job."""
        try:
            wake_fifo = open_fifo(self.journal.with_name(WAKE_FIFO))
        except OSError as error:
            log.warning("events of %s are only heard at its end, as its bell is spoilt (%s)", self.job, error.strerror)
            await trio.sleep_forever()
        try:
            while True:
                await trio.lowlevel.wait_readable(wake_fifo)
                with suppress(BlockingIOError):
                    while os.read(wake_fifo, BLOCK):
                        pass
                self.wake()
        finally:
            os.close(wake_fifo)

    def wake(self) -> None:
        """There may be more to read."""
        self._changed.set()
        self._changed = trio.Event()

    def end(self) -> None:
        """The job is over; followers end when they have read all."""
        self.over = True
        self.wake()

    async def move_to(self, target: Path) -> None:
        """Have the journal of a job that is over, if there is one, at `target`, where followers read on from now.

        Raises:
            OSError: the disk is full, or worse; all is as before then.
        """
        if await trio.Path(self.journal).exists():
            await trio.to_thread.run_sync(_copy, self.journal, target)
        self.journal = target


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with open_regular(source) as file:
            try:
                part.hardlink_to(source)
            except OSError:  # another disk, or one that knows no second names
                with part.open("xb") as sink:
                    part.chmod(0o600)
                    shutil.copyfileobj(file, sink)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@define
class JournalReader:
    """One reader of a `JournalWatcher`."""

    _watcher: JournalWatcher
    _cursor: JournalCursor
    _ready: deque[JobEvent] = field(factory=deque, init=False)
    _lasting_at: float = field(default=0.0, init=False)
    """When the newest lasting event happened, log lines apart: what is of an older moment is no news."""
    _momentary_at: dict[type, float] = field(factory=dict, init=False)

    def __aiter__(self) -> "JournalReader":
        return self

    async def __anext__(self) -> JobEvent:
        await trio.lowlevel.checkpoint()
        while not self._ready:
            await self._fetch()
        return self._ready.popleft()

    async def _fetch(self) -> None:
        # what is asked before reading cannot be missed while we read
        changed, over, path = self._watcher._changed, self._watcher.over, self._watcher.journal
        try:
            events = await trio.to_thread.run_sync(self._cursor.read, path)
        except OSError as error:
            log.warning("the events of %s cannot be read on (%s)", self._watcher.job, error.strerror)
            raise StopAsyncIteration from None
        if events is not None:
            self._add_lasting(events)
        elif not over:
            self._ready.extend(await self._read_momentary())
            if not self._ready:
                await changed.wait()
        elif path == self._watcher.journal:  # and was not moved meanwhile
            raise StopAsyncIteration

    def _add_lasting(self, events: list[JobEvent]) -> None:
        self._ready.extend(event for event in events if event.news.job == self._watcher.job)
        lasting = [event.at for event in events if not isinstance(event.news, LogLines)]
        self._lasting_at = max([self._lasting_at, *lasting])

    async def _read_momentary(self) -> list[JobEvent]:
        if self._watcher.momentary is None:
            return []
        events = await trio.to_thread.run_sync(read_momentary, self._watcher.momentary)
        return [event for event in events if self._is_newer(event)]

    def _is_newer(self, event: JobEvent) -> bool:
        kind = type(event.news)
        # the GPU's use belongs to no step of the job, so no step makes it old
        newest = max(self._momentary_at.get(kind, 0.0), 0.0 if kind is GpuUse else self._lasting_at)
        if event.at <= newest or event.news.job != self._watcher.job:
            return False
        self._momentary_at[kind] = event.at
        return True

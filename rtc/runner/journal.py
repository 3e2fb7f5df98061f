"""The journal: the events of one job, on disk. One process writes it; any number of readers read it, at once or later.

- `Journal` is the writer, in the job's supervisor.
- `JournalWatcher` stands for one job's journal in the worker. It makes readers, and wakes them when the supervisor
  writes to the wake FIFO.
- `JournalReader` is one async iterator over the events. Its `JournalCursor` (`rtc.runner.journal_reader`) reads blocks
  of lines from a position in the file.

Lasting events are numbered from 1 and appended to `JOURNAL`, one per line. Momentary events (`is_momentary`) are not
numbered: the newest of each kind replaces the one before in `MOMENTARY`. The job's own code could write to these files
too, so a reader skips every line that it cannot decode.
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
from protocol.jobs import TIME, FramesDone, GpuUse, JobEvent, JobNews, LogLines, Progress
from protocol.version import EVERY_VERSION
from protocol.wire import encode
from rtc.common.safe_open import open_private, open_regular
from rtc.runner.journal_reader import BLOCK, JournalCursor, read_last_seq, read_momentary

log = logging.getLogger("rtc.journal")

JOURNAL, MOMENTARY, WAKE_FIFO = "events.jsonl", "now.json", "wake"
"""File names in the job's folder: lasting events, momentary events, and the FIFO that wakes readers."""
LOG_LINES_SIZE_MAX = 200 * 10**6
"""Bytes of a journal beyond which log lines are no longer written to it. `job.log` is shorter than that."""
JOURNAL_MAX = 250 * 10**6
"""Bytes of a journal beyond which nothing is written to it, so that no job can fill the worker's disk with events."""
_LOG_LINES_OMITTED = "(The list of events is full; more log lines are only in job.log.)"


def is_momentary(news: JobNews) -> bool:
    """Return whether an event matters only at the time when it happens, so that a later reader does not need it.

    These are: progress inside an epoch, frame counts inside a pass, and the use of the GPU.
    """
    match news:
        case Progress():
            return news.batch is not None
        case FramesDone():
            return news.total is None or news.done < news.total
    return isinstance(news, GpuUse)


def open_fifo(path: Path) -> int:
    """Open a FIFO, creating it if necessary, and return its descriptor.

    It is opened for reading and writing and without blocking. So opening never waits for the other end, reading never
    meets the end of the file when a writer closes (Linux, fifo(7)), and neither reading nor writing blocks.

    Raises:
        OSError: it cannot be created, or something other than a FIFO has that name.
    """
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileExistsError(errno.EEXIST, "something else is there", path.name)
    return descriptor


# -------- in the supervisor


def _steady_clock() -> Callable[[], float]:
    """Return a clock that gives seconds since 1970 and never jumps, even when somebody sets the system's clock.

    So the difference of two events' times is the time between them.
    """
    start = time.time() - time.monotonic()
    return lambda: min(max(TIME.low, start + time.monotonic()), TIME.high)  # whatever the system's clock says


class Journal:
    """The writer of a job's journal. It continues a journal that is already in the folder.

    The job does not depend on it: when an event cannot be written (a full disk), that is logged once and the event is
    lost.

    Raises:
        OSError: the journal or its wake FIFO cannot be opened.
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
        self._ends_incomplete = self._size > cursor.offset
        """Whether the file ends with an incomplete line."""
        self._log_lines_ended = self._size >= LOG_LINES_SIZE_MAX
        self._error_logged = False
        self._wake_fifo = open_fifo(folder / WAKE_FIFO)

    def close(self) -> None:
        """Close the journal and its wake FIFO. Nothing can be written after that."""
        os.close(self._file)
        os.close(self._wake_fifo)

    def write(self, news: JobNews) -> None:
        """Write an event and wake all readers. Waits for nothing but the disk; an error of the disk is only logged."""
        try:
            if is_momentary(news):
                self._replace_momentary(news)
            elif not self._is_full_for(news):
                self._append(news)
        except OSError as error:
            self._log_error(error)
        self._wake()

    def _is_full_for(self, news: JobNews) -> bool:
        """Return whether the journal is too long for an event of this kind.

        When it becomes too long for log lines, one last log line is written that says so.
        """
        if not isinstance(news, LogLines):
            return self._size >= JOURNAL_MAX
        if self._size >= LOG_LINES_SIZE_MAX and not self._log_lines_ended:
            self._log_lines_ended = True
            self._append(LogLines(news.job, (_LOG_LINES_OMITTED,)))
        return self._log_lines_ended

    def _append(self, news: JobNews) -> None:
        """Append a lasting event as one line. Its number is used only when the line was written completely."""
        line = encode(JobEvent(news, self._clock(), self._seq + 1), EVERY_VERSION).encode() + b"\n"
        # An incomplete line from before is made invalid by the `?`: if only its newline were missing, a newline alone
        # would complete it, with the number that this line has.
        block = b"?\n" + line if self._ends_incomplete else line
        self._ends_incomplete = True
        while block:
            written = os.write(self._file, block)
            self._size += written
            block = block[written:]
        self._ends_incomplete = False
        self._seq += 1

    def _replace_momentary(self, news: JobNews) -> None:
        """Replace the newest event of this kind in the file of momentary events, which has one line per kind."""
        self._momentary[type(news)] = encode(JobEvent(news, self._clock()), EVERY_VERSION)
        part = self._momentary_path.with_suffix(".part")
        with open_private(part) as file:
            file.write("\n".join(self._momentary.values()).encode())
        part.replace(self._momentary_path)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # the FIFO is full of bytes that no reader has read yet
            os.write(self._wake_fifo, b"\n")

    def _log_error(self, error: OSError) -> None:
        if not self._error_logged:
            self._error_logged = True
            log.warning("events of the job are lost (%s); the job goes on", error.strerror)


# -------- in the worker


@define
class JournalWatcher:
    """The journal of one job, for any number of readers, each at its own position and pace.

    While the job runs, `serve` wakes the readers whenever the supervisor writes to the wake FIFO. `end` lets them
    finish.
    """

    job: JobId
    journal: Path
    """The file of lasting events."""
    momentary: Path | None = None
    """The file of momentary events; None for a job that has ended, which has none."""
    over: bool = False
    """The job has ended: nothing more will be written."""
    _changed: trio.Event = field(factory=trio.Event, init=False)
    """Set, and replaced by a new one, whenever there may be more to read."""

    @classmethod
    def of(cls, job: JobId, folder: Path) -> "JournalWatcher":
        """Return the watcher of a running job. The caller runs `serve`, and calls `end` when the job has ended."""
        return cls(job, folder / JOURNAL, folder / MOMENTARY)

    def follow(self, seen: int = 0) -> "JournalReader":
        """Return an async iterator over the events after number `seen`, which ends when the job has ended.

        It keeps no file open between reads, so it need not be closed.
        """
        return JournalReader(self, JournalCursor(seen))

    async def last_seq(self) -> int:
        """Return the number of the newest lasting event; 0 when there is none."""
        return await trio.to_thread.run_sync(read_last_seq, self.journal)

    async def serve(self) -> None:
        """Wake the readers whenever the supervisor writes to the wake FIFO, until cancelled.

        Only one task at a time may serve a job: a byte in the FIFO reaches only one of several that read it.
        """
        try:
            wake_fifo = open_fifo(self.journal.with_name(WAKE_FIFO))
        except OSError as error:
            log.warning(
                "events of %s are read only at its end, because its wake FIFO cannot be opened (%s)",
                self.job,
                error.strerror,
            )
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
        """Wake all readers: there may be more to read."""
        self._changed.set()
        self._changed = trio.Event()

    def end(self) -> None:
        """Record that the job has ended; each reader ends when it has read all events."""
        self.over = True
        self.wake()

    async def move_to(self, target: Path) -> None:
        """Link or copy the journal of an ended job, if there is one, to `target`; readers continue there.

        The old file stays. Its owner removes it with the job's folder.

        Raises:
            OSError: it can be neither linked nor copied; the disk is full, for example. Nothing has changed then.
        """
        if await trio.Path(self.journal).exists():
            await trio.to_thread.run_sync(_copy, self.journal, target)
        self.journal = target


def _copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy of it, completely or not at all."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with open_regular(source) as file:
            try:
                part.hardlink_to(source)
            except OSError:  # another disk, or a file system without hard links
                with part.open("xb") as sink:
                    part.chmod(0o600)
                    shutil.copyfileobj(file, sink)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@define
class JournalReader:
    """An async iterator over the events of one job. Made by `JournalWatcher.follow`.

    Lasting events come in the order of their numbers, each once. When all of them have been read, the momentary events
    that are newer than they come too.
    """

    _watcher: JournalWatcher
    _cursor: JournalCursor
    _ready: deque[JobEvent] = field(factory=deque, init=False)
    _lasting_at: float = field(default=0.0, init=False)
    """Time of the newest lasting event that is not log lines; a momentary event older than that is outdated."""
    _momentary_at: dict[type, float] = field(factory=dict, init=False)
    """Time of the newest momentary event of each kind that was returned."""

    def __aiter__(self) -> "JournalReader":
        return self

    async def __anext__(self) -> JobEvent:
        """Wait for the next event and return it."""
        await trio.lowlevel.checkpoint()
        while not self._ready:
            await self._fetch()
        return self._ready.popleft()

    async def _fetch(self) -> None:
        """Read the next events into `_ready`, or wait until the journal has changed.

        Raises:
            StopAsyncIteration: the job has ended and all events were read, or the journal cannot be read.
        """
        # taken before reading, so that a change during the read is not missed
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
        elif path == self._watcher.journal:  # unless it was moved during the read
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
        """Return whether a momentary event is newer than those already returned, and note it as returned if so."""
        kind = type(event.news)
        # the use of the GPU belongs to no step of the job, so no lasting event makes it outdated
        newest = max(self._momentary_at.get(kind, 0.0), 0.0 if kind is GpuUse else self._lasting_at)
        if event.at <= newest or event.news.job != self._watcher.job:
            return False
        self._momentary_at[kind] = event.at
        return True

"""The events of one job, for many readers at a time, each of which begins with the first event; bounded in memory.

Of events that only report progress, the newest of each kind is kept: a reader that comes late, or is slow, misses the
ones before. All others are kept up to the limits below; then the oldest go.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable

import trio
from attrs import define, field

from rtc.terminal.json_events import (
    BatchEvent,
    DownloadEvent,
    FramesEvent,
    GpuEvent,
    JsonEvent,
    LogEvent,
    UploadEvent,
)

EVENTS_MAX = 20_000
"""Events that are kept of one job, log lines apart; each takes some hundred bytes."""
LOG_CHARS_MAX = 8_000_000
"""Characters of log lines that are kept of one job."""


@define(eq=False)
class EventHistory:
    """The events of one job. Not for several threads."""

    _events: dict[int, JsonEvent] = field(factory=dict)
    """The events that are kept, by number; numbers count up from 1."""
    _numbers: list[int] = field(factory=list)
    """The keys of `_events`, sorted."""
    _last: int = 0
    """The number of the newest event."""
    _newest: dict[Hashable, int] = field(factory=dict)
    """The newest event of each kind that only reports progress."""
    _lasting: deque[int] = field(factory=deque)
    """The events of other kinds that are kept, log lines apart."""
    _logs: deque[int] = field(factory=deque)
    _log_chars: int = 0
    _closed: bool = False
    _changed: trio.Event = field(factory=trio.Event)
    """Set, and replaced by a new event, when an event is added and at the end."""

    def add(self, event: JsonEvent) -> None:
        """Add an event, and wake the readers."""
        self._last += 1
        self._events[self._last] = event
        self._numbers.append(self._last)
        kind = _kind_of_progress(event)
        if kind is not None:
            self._drop(self._newest.get(kind))
            self._newest[kind] = self._last
        elif isinstance(event, LogEvent):
            self._add_log(event)
        else:
            self._lasting.append(self._last)
            if len(self._lasting) > EVENTS_MAX:
                self._drop(self._lasting.popleft())
        self._wake()

    def close(self) -> None:
        """End the history: readers end after the newest event."""
        self._closed = True
        self._wake()

    async def after(self, number: int) -> tuple[list[JsonEvent], int]:
        """Wait for events after this number, and return all that are kept, with the number of the last of them.

        Args:
            number: 0, or what the last call returned.

        Returns:
            No events after the end.
        """
        while self._last <= number and not self._closed:
            await self._changed.wait()
        await trio.lowlevel.checkpoint()
        return self.take(number)

    def take(self, number: int) -> tuple[list[JsonEvent], int]:
        """Return all events after this number that are kept, with the number of the last of them."""
        later = self._numbers[bisect_right(self._numbers, number) :]
        return [self._events[each] for each in later], self._last

    def _add_log(self, event: LogEvent) -> None:
        self._logs.append(self._last)
        self._log_chars += _chars(event)
        while self._log_chars > LOG_CHARS_MAX and len(self._logs) > 1:
            oldest = self._logs.popleft()
            self._log_chars -= _chars(self._events[oldest])
            self._drop(oldest)

    def _drop(self, number: int | None) -> None:
        if number is not None and self._events.pop(number, None) is not None:
            del self._numbers[bisect_right(self._numbers, number) - 1]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _kind_of_progress(event: JsonEvent) -> Hashable | None:
    """Return what an event reports the progress of; None for an event that says more than the one before."""
    match event:
        case UploadEvent() | DownloadEvent() | GpuEvent():
            return (type(event),)
        case BatchEvent():
            return BatchEvent, event.model
        case FramesEvent():
            return FramesEvent, event.prediction, event.lap
    return None


def _chars(event: JsonEvent) -> int:
    return sum(map(len, event.lines)) + len(event.lines) if isinstance(event, LogEvent) else 0

"""How much each kind of line may write into the log file, so that many of one kind do not push out all others.

Anybody who can reach a program can make it log the same kind of line without end. A kind is a place in the code that
logs. Each has an allowance of bytes, which grows again with time; lines beyond it are counted, and the count is logged.
"""

import logging
from collections.abc import Callable, Iterator

from attrs import define, field, frozen

BURST = 64_000
"""Bytes that a kind may write at once after it was quiet: some 400 lines."""
RATE = 20.0
"""Bytes a second by which an allowance grows: some seven lines a minute. If five kinds are written without end, as much
is logged in a day as the files hold (`rtc.common.logs`)."""
NOTICE_TIME = 60.0
"""Seconds between two lines that say how many of a kind were left out."""
NAME_MAX = 80
"""Characters of a kind's name in such a line, which is the format of its lines where they have no source."""
LINE_OVERHEAD = 70
"""Bytes of a line besides its text: time, process, level and logger."""
TRACEBACK = 2_000
"""Bytes that a traceback counts, whatever its length is."""
SOURCE = "source"
"""Attribute of a record (`extra`) that divides the lines of one place into kinds. Only our own code sets it."""
BOUNDED = ("rtc.story",)
"""Loggers without an allowance, since they bound themselves: a story is logged once for each phase and event."""


@frozen
class _Kind:
    """What lines of one kind have in common."""

    path: str
    line: int
    source: str


@define
class _Allowance:
    """What is left for one kind."""

    bytes_left: float
    since: float
    """When `bytes_left` was computed, in seconds."""
    left_out: int = 0
    """Lines that were left out since the last notice."""
    notice_at: float = 0
    """When the next notice is due, in seconds."""
    sample: logging.LogRecord | None = None
    """The newest line that was left out."""

    def grow(self, now: float) -> None:
        """Add what has grown since the last time."""
        self.bytes_left = min(BURST, self.bytes_left + RATE * (now - self.since))
        self.since = now


@define
class LogBudget:
    """The allowances of all kinds of lines of one log file."""

    clock: Callable[[], float]
    """Returns the time in seconds."""
    _allowances: dict[_Kind, _Allowance] = field(factory=dict, init=False)

    def allows(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be logged; count it either way."""
        if record.name in BOUNDED:
            return True
        now = self.clock()
        kind = _Kind(record.pathname, record.lineno, getattr(record, SOURCE, ""))
        allowance = self._allowances.setdefault(kind, _Allowance(BURST, now))
        allowance.grow(now)
        if allowance.bytes_left > 0:
            allowance.bytes_left -= _size(record)
            return True
        if not allowance.left_out:
            allowance.notice_at = now + NOTICE_TIME
        allowance.left_out += 1
        allowance.sample = record
        return False

    def take_notices(self, *, all_now: bool = False) -> Iterator[logging.LogRecord]:
        """Yield a record for each kind of which lines were left out, if its time has come or `all_now` is set."""
        now = self.clock()
        for kind, allowance in self._allowances.items():
            if allowance.left_out and allowance.sample is not None and (all_now or now >= allowance.notice_at):
                yield _notice(kind, allowance.sample, allowance.left_out)
                allowance.left_out, allowance.sample = 0, None


def _size(record: logging.LogRecord) -> int:
    """Return about how many bytes a record needs in the file."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # the arguments do not fit the format; the handler drops it
        text = ""
    # as it may be written: control characters become escape sequences of up to ten characters
    size = len(text.encode("unicode_escape", "surrogatepass"))
    return LINE_OVERHEAD + size + (TRACEBACK if record.exc_info else 0)


def _notice(kind: _Kind, sample: logging.LogRecord, count: int) -> logging.LogRecord:
    """Return the record that says how many lines of a kind were left out; `sample` is one of them."""
    text = "%d lines of one kind (%s) were left out, because there were too many"
    arguments = (count, kind.source or str(sample.msg)[:NAME_MAX])
    return logging.LogRecord(sample.name, sample.levelno, kind.path, kind.line, text, arguments, None)

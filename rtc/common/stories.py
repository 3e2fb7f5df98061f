"""The actors of a process: makes them, keeps their stories for the log, and writes the trace of `--trace`.

Like the log, all this is there once for a process. Rule: nothing is made into text unless a trace is asked for, or an
error is reported.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

import trio
from attrs import define, field, frozen

from actors.actor import Actor, Turn
from actors.events import UnexpectedMessage
from actors.mailbox import Mailbox
from actors.table import Table, UnexpectedEvent
from protocol.faults import Fault, FaultCode
from rtc.common.errors import RtcError
from rtc.common.turn_json import to_json, to_line, turn_to_json
from rtc.common.version import VERSION

log = logging.getLogger("rtc.story")

D = TypeVar("D")

LASTING_MAX = 64
"""Actors of which the stories are kept that serve a whole program."""
PASSING_MAX = 64
"""Actors of which the stories are kept that serve one link or one query; there may be many, one after the other."""
STORY_CHARS = 100_000
"""Characters of one story in the log; the newest turns that fit are written. A log file has fifty times as many."""
BUG_FAULT = Fault(
    FaultCode.LINK_LOST,
    "The link ended because of a bug in sleap-rtc, not your mistake; its details are in the log of one of the two "
    "programs. Try again, and please report it.",
)
"""Why a link or a query ends at an event that cannot happen."""


@frozen(eq=False)
class Story:
    """An actor under its name, and the data with which it began."""

    name: str
    actor: Actor[Any]
    data: Any
    made: float
    """When the actor was made, by trio's clock, in seconds."""


@define(eq=False)
class Stories:
    """The actors of one process."""

    trace: Path | None = None
    """The file to which every turn of every actor is written, if any."""
    strict: bool = field(default=False, kw_only=True)
    """Let an event that cannot happen end the program, and check invariants; always so with a trace."""
    _file: TextIO | None = field(default=None, init=False)
    _lasting: deque[Story] = field(factory=lambda: deque(maxlen=LASTING_MAX), init=False)
    _passing: deque[Story] = field(factory=lambda: deque(maxlen=PASSING_MAX), init=False)
    _counts: dict[str, int] = field(factory=dict, init=False)
    """How many actors were made for each table, by its name."""
    _reported: set[tuple[Any, ...]] = field(factory=set, init=False)
    """The tables, phases and events of which an error is in the log."""
    _start: tuple[float, datetime] | None = field(default=None, init=False)
    """When the first actor was made, by trio's clock and by the calendar; stories count the seconds from then on."""

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let `make_actor` use these stories during this block; meanwhile the file of the trace is open.

        Raises:
            RtcError: USAGE: the trace cannot be written to that file.
        """
        global _current
        before = _current
        with _open_trace(self.trace) as file:
            _current, self._file = self, file
            try:
                yield
            finally:
                _current, self._file = before, None

    def make_actor(
        self, table: Table[D], data: D, outbox: Mailbox[Any], ends_with: Any, watch: Callable[[Turn], None] | None
    ) -> Actor[D]:
        """Return a new actor, whose story is kept; see the function `make_actor`."""
        number = self._counts[table.name] = self._counts.get(table.name, 0) + 1
        if self._start is None:
            self._start = trio.current_time(), datetime.now(UTC)
        actor = Actor(table, data, outbox, watch=watch)
        story = Story(f"{table.name} {number}", actor, data, trio.current_time())
        (self._lasting if ends_with is None else self._passing).append(story)
        if not self.strict and self.trace is None:
            actor.on_unexpected = partial(self._report, story, ends_with)
        if self._file is not None:
            self._write(self._first_line(story))
            actor.watch = partial(self._trace_turn, story, watch)
        return actor

    def log(self) -> None:
        """Write the stories of the actors to the log: those of the program first, then those of links and queries."""
        for story in (*self._lasting, *self._passing):
            self._log_story(story)

    def _report(self, story: Story, ends_with: Any, error: UnexpectedEvent) -> None:
        """Log an event that cannot happen, once for each pair of phase and event; end what it concerns."""
        message = type(error.event.message) if isinstance(error.event, UnexpectedMessage) else None
        pair = (error.table, error.phase, type(error.event), message)
        if pair not in self._reported:
            self._reported.add(pair)
            log.error("a bug in sleap-rtc: %s; its story follows", error)
            self._log_story(story)
        if ends_with is not None:
            story.actor.outbox.put(ends_with)

    def _log_story(self, story: Story) -> None:
        """Log the newest turns, as many as fit into `STORY_CHARS`."""
        turns = story.actor.story
        lines: list[str] = []
        room = STORY_CHARS
        for turn in reversed(turns):
            line = self._turn_line(story, turn)
            room -= len(line)
            if room < 0:
                break
            lines.append(line)
        is_cut = len(lines) < len(turns) or len(turns) == turns.maxlen
        for line in (self._first_line(story, is_cut=is_cut), *reversed(lines)):
            log.info("%s", line)

    def _first_line(self, story: Story, *, is_cut: bool = False) -> str:
        assert self._start is not None, "it is set when the first actor is made"
        start, calendar = self._start
        return to_line(
            {
                "actor": story.name,
                "table": story.actor.table.name,
                "time": round(story.made - start, 6),
                "start": calendar.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "version": VERSION,
                "data": to_json(story.data),
                "cut": is_cut,  # whether the first turns are missing
            }
        )

    def _turn_line(self, story: Story, turn: Turn) -> str:
        assert self._start is not None, "it is set when the first actor is made"
        values = turn_to_json(turn)
        return to_line({"actor": story.name, **values, "time": round(turn.time - self._start[0], 6)})

    def _trace_turn(self, story: Story, watch: Callable[[Turn], None] | None, turn: Turn) -> None:
        if self._file is not None:
            self._write(self._turn_line(story, turn))
        if watch is not None:
            watch(turn)

    def _write(self, line: str) -> None:
        """Write one line to the trace, at once; where it cannot be written, end the trace and go on."""
        assert self._file is not None, "there is a trace"
        try:
            self._file.write(f"{line}\n")
            self._file.flush()
        except OSError as error:
            log.warning("the trace ends here, because it cannot be written (%s)", error.strerror)
            self._file = None


_current = Stories()


def make_actor(
    table: Table[D],
    data: D,
    outbox: Mailbox[Any],
    *,
    ends_with: Any = None,
    watch: Callable[[Turn], None] | None = None,
) -> Actor[D]:
    """Return a new actor of a program. Every actor is made here, except in tests of one actor.

    Its name is that of its table, with a number. When an event comes that cannot happen, its story goes to the log, and
    the event is dropped; unless the stories are strict, as with `--trace`: then the program ends with
    `UnexpectedEvent`.

    Args:
        table: the actor's table.
        data: its first data.
        outbox: where its effects go.
        ends_with: for an actor that serves one link or one query: the effect that ends it after an event that cannot
            happen. Without it the actor goes on.
        watch: called with each turn, before its effects are sent.
    """
    return _current.make_actor(table, data, outbox, ends_with, watch)


@contextmanager
def _open_trace(path: Path | None) -> Iterator[TextIO | None]:
    """Open the file of the trace, which only this user can read; an older one is replaced."""
    if path is None:
        yield None
        return
    try:
        raw = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o600)
        path.chmod(0o600)  # one that was there may have been readable by others
    except OSError as error:
        raise RtcError(FaultCode.USAGE, f"The trace {path} cannot be written ({error.strerror}).") from None
    file = open(raw, "w", encoding="ascii")  # noqa: SIM115 (a full disk must not matter when it is closed)
    try:
        yield file
    finally:
        with suppress(OSError):
            file.close()

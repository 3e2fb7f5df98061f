"""Reading a job's journal from disk, in constant memory, trusting none of its lines.

The rule of numbers: an event's number is at most the number of its line. It holds for all that we write, it lets a
reader skip what has been seen without decoding it, and a forged number can hide nothing that comes after.
"""

import os
from pathlib import Path

from attrs import define

from protocol.jobs import JobEvent
from protocol.wire import FRAME_MAX, TO_CLIENT, WireError, decode
from rtc.common.safe_open import open_regular

BLOCK = 2 * FRAME_MAX
"""Bytes read at once; every line of ours is shorter."""


@define
class JournalCursor:
    """Reads a journal forward in constant memory, from wherever it was last time."""

    seen: int = 0
    """The newest number given, or not wanted."""
    offset: int = 0
    """Bytes of whole lines read."""
    _lines: int = 0

    def read(self, path: Path) -> list[JobEvent] | None:
        """The events of the next block that are newer than `seen`, perhaps none; None when nothing more is there now.

        Raises:
            OSError: it cannot be read.
        """
        try:
            with open_regular(path) as file:
                file.seek(self.offset)
                block = file.read(BLOCK)
        except FileNotFoundError:
            return None
        whole = block.rfind(b"\n") + 1
        if not whole and len(block) == BLOCK:  # a line longer than any of ours is passed over
            whole = len(block)
        if not whole:
            return None
        self.offset += whole
        return [
            event for line in block[:whole].splitlines(keepends=True) if (event := self._next_event(line)) is not None
        ]

    def _next_event(self, line: bytes) -> JobEvent | None:
        self._lines += line.endswith(b"\n")
        if self._lines <= self.seen:  # by the rule of numbers
            return None
        event = _decode_event(line)
        if event is None or event.seq is None or not self.seen < event.seq <= self._lines:
            return None
        self.seen = event.seq
        return event


def _decode_event(line: bytes) -> JobEvent | None:
    try:
        message = decode(line, TO_CLIENT)
    except WireError:
        return None
    return message if isinstance(message, JobEvent) else None


def read_momentary(path: Path) -> list[JobEvent]:
    """The newest momentary events, oldest first; none when they cannot be read."""
    try:
        with open_regular(path) as file:
            lines = file.read(FRAME_MAX).splitlines()
    except OSError:
        return []
    events = (event for line in lines if (event := _decode_event(line)) is not None and event.seq is None)
    return sorted(events, key=lambda event: event.at)


def read_last_seq(path: Path) -> int:
    """The newest number in a journal, told from its end; 0 when there is nothing that can be read."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - BLOCK))
            lines = file.read(BLOCK).splitlines()
    except OSError:
        return 0
    return next((event.seq for line in reversed(lines) if (event := _decode_event(line)) and event.seq), 0)

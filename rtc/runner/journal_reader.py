"""Read a job's journal from disk, in constant memory, trusting none of its lines: the job's code can write to it too.

Rule of numbers: an event's number is at most the number of its line. It holds for every line that we write. It lets a
reader skip the events that it has already read without decoding them, and a forged number can hide no later event.
"""

import os
from pathlib import Path

from attrs import define

from protocol.converter import WireError
from protocol.jobs import JobEvent
from protocol.version import EVERY_VERSION
from protocol.wire import FRAME_MAX, TO_CLIENT, decode
from rtc.common.safe_open import open_regular

BLOCK = 2 * FRAME_MAX
"""Bytes read at once. Every line that we write is shorter, since it fits into a frame."""


@define
class JournalCursor:
    """A position in a journal: reads the next block of lines from there, in constant memory."""

    seen: int = 0
    """The highest event number that was returned, or that the reader already has."""
    offset: int = 0
    """Bytes of the complete lines read so far."""
    _lines: int = 0
    """Complete lines read so far."""

    def read(self, path: Path) -> list[JobEvent] | None:
        """Read the next block and return its events with numbers above `seen`, which may be an empty list.

        None when the file has no further complete line at present, or does not exist.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            with open_regular(path) as file:
                file.seek(self.offset)
                block = file.read(BLOCK)
        except FileNotFoundError:
            return None
        whole = block.rfind(b"\n") + 1
        if not whole and len(block) == BLOCK:  # skip a line that is longer than any that we write
            whole = len(block)
        if not whole:
            return None
        self.offset += whole
        return [
            event for line in block[:whole].splitlines(keepends=True) if (event := self._next_event(line)) is not None
        ]

    def _next_event(self, line: bytes) -> JobEvent | None:
        """Count a line and return its event; None when it was read before, or is not a valid next event."""
        self._lines += line.endswith(b"\n")
        if self._lines <= self.seen:  # by the rule of numbers, its event was read before
            return None
        event = _decode_event(line)
        if event is None or event.seq is None or not self.seen < event.seq <= self._lines:
            return None
        self.seen = event.seq
        return event


def _decode_event(line: bytes) -> JobEvent | None:
    try:
        message = decode(line, TO_CLIENT, EVERY_VERSION)
    except WireError:
        return None
    return message if isinstance(message, JobEvent) else None


def read_momentary(path: Path) -> list[JobEvent]:
    """Read the newest momentary event of each kind, oldest first; an empty list when the file cannot be read."""
    try:
        with open_regular(path) as file:
            lines = file.read(FRAME_MAX).splitlines()
    except OSError:
        return []
    events = (event for line in lines if (event := _decode_event(line)) is not None and event.seq is None)
    return sorted(events, key=lambda event: event.at)


def read_last_seq(path: Path) -> int:
    """Return the number of the newest event in the last block of a journal; 0 when none can be read there."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - BLOCK))
            lines = file.read(BLOCK).splitlines()
    except OSError:
        return 0
    return next((event.seq for line in reversed(lines) if (event := _decode_event(line)) and event.seq), 0)

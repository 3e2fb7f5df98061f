"""The view for programs: one JSON object per line, and nothing else. docs/json-events.md documents every event."""

import sys
from typing import TextIO

from attrs import define, field

from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId
from rtc.common.errors import RtcError
from rtc.common.line_writer import LineWriter
from rtc.terminal.event_view import EventView
from rtc.terminal.interface import Changed, Workers
from rtc.terminal.json_events import JsonEvent, to_line


@define
class JsonView(EventView):
    """Writes events to `out`."""

    _out: TextIO
    _lines: LineWriter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lines = LineWriter(self._out)

    def emit(self, event: JsonEvent) -> None:
        self._lines.write(to_line(event))

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        raise RtcError(
            FaultCode.USAGE,
            "With --json nobody is asked for a worker. Use --auto-select for the one with most GPU memory, "
            "or --worker-id to name one.",
        )


def write_end(fault: Fault) -> None:
    """Write the `ended` event of a program that failed before it had a view."""
    JsonView(sys.stdout).failed(fault, None)

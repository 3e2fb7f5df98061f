"""Shows a job's events to a person: a table that is redrawn in a Jupyter notebook, and plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from attrs import define, field

from rtc.common.line_writer import LineWriter
from rtc.common.sizes import count
from rtc.common.text import epoch, losses, percent, rate
from rtc.terminal import json_events as on
from rtc.terminal.summary import CONFIGURING

if TYPE_CHECKING:
    from rich.table import Table

DRAW_TIME = 0.3
"""Seconds between two drawings, apart from the last one."""


def show_events(events: Iterable[on.JsonEvent]) -> None:
    """Show events, in a notebook or on standard output, until they end."""
    from rich.console import Console

    if Console().is_jupyter:
        draw_events(events)
    else:
        print_events(events, sys.stdout)


def print_events(events: Iterable[on.JsonEvent], out: TextIO) -> None:
    """Write a line for each event that says something new."""
    writer = LineWriter(out)
    for event in events:
        line = line_of(event)
        if line is not None:
            writer.say(line)


def draw_events(events: Iterable[on.JsonEvent]) -> None:
    """Show a table in the output of a notebook's cell, and draw it again as events come."""
    from IPython.display import display

    table = ProgressTable()
    handle: Any = display(table.drawn(), display_id=True)  # type: ignore[no-untyped-call]
    drawn_at = time.monotonic()
    for event in events:
        table.update(event)
        if time.monotonic() - drawn_at >= DRAW_TIME or isinstance(event, on.EndedEvent):
            handle.update(table.drawn())
            drawn_at = time.monotonic()


def line_of(event: on.JsonEvent) -> str | None:
    """Return one line about an event; None for one that only reports progress."""
    match event:
        case on.StepEvent():
            return event.text
        case on.WarningEvent():
            return f"Warning: {event.text}"
        case on.NoteEvent():
            return f"Warning: {event.text}" if event.kind == "warning" else event.text
        case on.AcceptedEvent():
            return f"{event.worker} has accepted {event.job}"
        case on.UploadEvent() if event.done == event.total:
            return "The package is sent"
        case on.DownloadEvent() if event.done == event.total:
            return "The result is here"
        case on.ConfigurationStartedEvent():
            return CONFIGURING
        case on.ModelStartedEvent():
            return f"{event.name}: training begins"
        case on.EpochEvent():
            return f"{event.name}: {_epoch_text(event)}"
        case on.ModelTrainedEvent():
            return f"{event.name}: trained, {count(event.epochs, 'epoch')}"
        case on.PredictionStartedEvent():
            return f"{event.name}: prediction begins"
        case on.FramesEvent() if event.done == event.total:
            return f"{event.name}: {_frames_text(event)}"
        case on.EndedEvent():
            return event.text if event.folder is None else f"{event.text} Results are in {event.folder}"
    return None


@define
class ProgressTable:
    """What is drawn of one job: a title, a row for each transfer, model and prediction, and how it ended."""

    _title: str = "waiting for a worker"
    _rows: dict[tuple[str, int], tuple[str, str]] = field(factory=dict)
    """For each transfer, model and prediction its name and how far it is."""
    _notes: dict[str, str] = field(factory=dict)
    """The newest warning, the newest note of the worker, and the end."""

    def update(self, event: on.JsonEvent) -> None:
        """Apply one event."""
        match event:
            case on.AcceptedEvent():
                self._title = f"{event.job} on {event.worker}"
            case on.WarningEvent():
                self._notes["warning"] = event.text
            case on.NoteEvent():
                self._notes[event.kind] = event.text
            case on.UploadEvent():
                self._rows["upload", 0] = "package", f"{percent(event.done, event.total)} % sent"
            case on.DownloadEvent():
                self._rows["download", 0] = "result", f"{percent(event.done, event.total)} % here"
            case on.ConfigurationStartedEvent():
                self._notes["info"] = CONFIGURING
            case on.ModelStartedEvent():
                self._rows["model", event.model] = event.name, "training begins"
            case on.EpochEvent():
                self._rows["model", event.model] = event.name, _epoch_text(event)
            case on.ModelTrainedEvent():
                _, text = self._rows.get(("model", event.model), ("", ""))
                self._rows["model", event.model] = event.name, f"trained; {text}"
            case on.PredictionStartedEvent():
                self._rows["prediction", event.prediction] = event.name, "prediction begins"
            case on.FramesEvent():
                self._rows["prediction", event.prediction] = event.name, _frames_text(event)
            case on.EndedEvent():
                self._notes.pop("warning", None)
                self._notes["end"] = line_of(event) or ""

    def drawn(self) -> "Table":
        """Return the table as rich draws it."""
        from rich.table import Table
        from rich.text import Text

        # Text, not markup: names of other machines must not be able to set colours or links
        table = Table(title=Text(self._title), caption=Text("\n".join(self._notes.values())), show_header=False)
        for name, text in self._rows.values():
            table.add_row(Text(name), Text(text))
        return table


def _epoch_text(event: on.EpochEvent) -> str:
    return f"{epoch(event.epoch, event.of)}  {losses(event.train_loss, event.val_loss)}"


def _frames_text(event: on.FramesEvent) -> str:
    whole = "" if event.total is None else f"/{event.total}"
    speed = "" if event.rate is None else f"  {rate(event.rate)}"
    return f"{event.lap} {event.done}{whole} frames{speed}"

"""Draws the pictures of the documentation from a training that was recorded once.

Rule: the picture of a terminal is what `LiveView` writes, and the chart is the one of `training.html`; nothing is drawn
that the program would not show. The same recording always gives the same bytes, so a test can compare them.

The recording is what `sleap-rtc train bugs.zip --json` wrote for a package that SLEAP exported, without the `log` and
`batch` events, and the training_log.csv of both models. sleap-nn trained them on a CPU, 40 epochs each.
"""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import trio
from rich.console import Console
from rich.text import Text
from trio.testing import MockClock

from protocol.ids import JobId, PeerId
from protocol.jobs import JobNews, JobStarted, ModelStarted, ModelTrained, Progress
from rtc.client.report.chart import HEIGHT, WIDTH, render_chart
from rtc.client.report.history import History, read_histories
from rtc.client.report.page import STYLE
from rtc.common.nurseries import open_background_nursery
from rtc.terminal import json_events
from rtc.terminal.live_view import LiveView

RECORDED = Path(__file__).parents[2] / "docs" / "pictures" / "recorded"
"""The output of a client with `--json`, and the logs of the models that it downloaded."""
COLUMNS, ROWS = 92, 30
"""Cells of the terminal that is drawn."""
SHOWN_MODEL, SHOWN_EPOCH = 1, 31
"""The picture of the terminal shows the moment at which this epoch of this model has ended."""
SHOWN_NAME = "centered_instance"
"""The model of the chart."""
TITLE = "sleap-rtc train package.zip --session-string …"
ESCAPE = re.compile(r"(\r|\n|\x1b\[[0-9;?]*[A-Za-z])")
"""Line breaks, carriage returns and escape codes: all that `LiveRegion` writes besides text."""
TERMINAL_SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="LABEL">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono",
  "Liberation Mono", monospace; }}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's template without its fonts, which a browser would fetch from another server."""
TERMINAL_LABEL = (
    "A terminal while a job runs: its models and predictions, the epoch, the losses as numbers and as curves, the keys"
)


# -------- the live view


def live_view_picture() -> str:
    """Return the terminal of a client in the middle of a training, as SVG."""
    screen = trio.run(_show_recording, clock=MockClock(autojump_threshold=0))
    paper = _open_console(io.StringIO(), record=True)
    for line in screen:
        paper.print(Text.from_ansi(line), soft_wrap=True)
    template = TERMINAL_SVG.replace("LABEL", TERMINAL_LABEL)
    return _without_spaces_at_ends(paper.export_svg(title=TITLE, code_format=template, unique_id="live"))


def _open_console(file: io.StringIO, *, record: bool = False) -> Console:
    """Return a console that does not depend on the terminal and the environment of this process."""
    return Console(
        file=file,
        record=record,
        width=COLUMNS,
        height=ROWS,
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
        markup=False,
        highlight=False,
        emoji=False,
    )


async def _show_recording() -> list[str]:
    """Show the recorded job in a live view up to the chosen moment; return the lines on its screen."""
    events = [*map(json_events.from_line, (RECORDED / "client.jsonl").read_text(encoding="utf-8").splitlines())]
    out = io.StringIO()
    with _open_terminal() as terminal:
        view = LiveView(_open_console(out), stdin=terminal)
        async with open_background_nursery() as background:
            background.start_soon(view.run)
            background.start_soon(view.read_keys, lambda: None)
            before = events[0].time
            for event in events:
                await trio.sleep(event.time - before)
                before = event.time
                _show(view, event)
                match event:
                    case json_events.EpochEvent(model=model, epoch=epoch) if (model, epoch) == (
                        SHOWN_MODEL,
                        SHOWN_EPOCH,
                    ):
                        break
            await trio.sleep(0.5)  # the view draws at most ten times a second
    return _screen(out.getvalue())


@contextmanager
def _open_terminal() -> Iterator[int]:
    """Give the file descriptor of a pseudo-terminal on which nobody types: with one the view names its keys."""
    ends = os.openpty()
    try:
        yield ends[1]
    finally:
        for end in ends:
            os.close(end)


def _show(view: LiveView, event: json_events.JsonEvent) -> None:
    """Call the method of the view of which this JSON event was written (docs/json-events.md)."""
    match event:
        case json_events.StepEvent():
            view.step(event.text)
        case json_events.UploadEvent():
            view.upload(event.done, event.total)
        case json_events.AcceptedEvent():
            view.accepted(JobId(event.job), PeerId(event.worker))
        case _:
            if (news := _news(event)) is not None:
                view.news(news, getattr(event, "at", event.time))


def _news(event: json_events.JsonEvent) -> JobNews | None:
    """Return what happened in the job, or None for an event that the picture does not need."""
    job = JobId("job")  # a view does not look at it
    match event:
        case json_events.StartedEvent():
            return JobStarted(job, event.models, event.predictions)
        case json_events.ModelStartedEvent():
            return ModelStarted(job, event.model, event.epochs)
        case json_events.EpochEvent():
            return Progress(job, event.model, event.epoch - 1, train_loss=event.train_loss, val_loss=event.val_loss)
        case json_events.ModelTrainedEvent():
            return ModelTrained(job, event.model)
    return None


def _screen(written: str) -> list[str]:
    """Return the lines that a terminal shows after these bytes, with their colours.

    It knows the codes that `LiveRegion` writes. After a carriage return the region writes its lines again as a whole.
    """
    lines, row = [""], 0
    for part in ESCAPE.split(written):
        if part == "\r":
            lines[row] = ""
        elif part == "\n":
            row += 1
            lines[row:] = lines[row:] or [""]
            lines[row] = ""
        elif part.startswith("\x1b[") and part.endswith("A"):
            row -= int(part[2:-1])
            lines[row] = ""
        elif part == "\x1b[J":
            del lines[row + 1 :]
        elif not part.startswith("\x1b[") or part.endswith("m"):
            lines[row] += part
    return lines


def _without_spaces_at_ends(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


# -------- the chart of training.html


def loss_curves_picture() -> str:
    """Return the chart that `training.html` shows of one model, with its colours and its key, as SVG."""
    history = next(history for history in read_histories(RECORDED, 10) if history.name == SHOWN_NAME)
    top, margin = 44, 12
    width, height = WIDTH + 2 * margin, HEIGHT + top + margin
    return "\n".join(
        (
            f'<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">',
            f"<style>{STYLE}</style>",
            f'<rect width="{width}" height="{height}" rx="10" style="fill: var(--card)"/>',
            *_key(history, margin + 64, 30),
            f'<svg x="{margin}" y="{top}" width="{WIDTH}" height="{HEIGHT}"'
            + render_chart(history).removeprefix("<svg"),
            "</svg>\n",
        )
    )


def _key(history: History, left: int, y: int) -> Iterator[str]:
    """Yield the name of the model, and what the two curves are."""
    yield f'<text x="{left}" y="{y}" font-size="15" font-weight="600">{escape(history.name)}</text>'
    for number, (name, label) in enumerate((("train", "training"), ("val", "validation"))):
        x = left + 460 + 110 * number
        yield f'<polyline class="{name}" points="{x},{y - 5} {x + 26},{y - 5}"/>'
        yield f'<text x="{x + 34}" y="{y}">{label}</text>'

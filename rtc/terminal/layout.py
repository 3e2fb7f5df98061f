"""What a live view shows of a job, as rows for a region: pure functions from what is known to what is seen.

Rows are given away by their worth: how the current step goes first, then the keys, the GPU, the sequence, the log that
somebody asked for, and the curves with what is left.
"""

import textwrap
from collections.abc import Sequence

from attrs import frozen
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from protocol.jobs import GpuUse
from rtc.common.text import clean, duration, fit, gigabytes, loss, losses, percent
from rtc.terminal.braille_plot import HEIGHT_LEAST, curves
from rtc.terminal.job_progress import Item, JobProgress, ModelProgress, PredictionProgress
from rtc.terminal.transfer_rate import TransferRate, transfer_text

PLOT_MOST = 12
"""Rows of the curves, though there may be more room."""
LOG_MOST = 8
LOG_LEAST = 3
NOW, DONE, TO_COME = "▸ ", "✓ ", "· "
Rows = list[RenderableType]


@frozen
class LayoutInput:
    """Everything that a board is made of."""

    job_progress: JobProgress
    local: float
    """Our own clock."""
    head: str = ""
    """Which job, and on which worker."""
    transfer: tuple[str, TransferRate] | None = None
    """What is transferred now, and which way."""
    keys: tuple[str, ...] = ()
    """Which keys there are, in many words and in few."""
    question: tuple[str, ...] = ()
    """Asked now; it takes the place of the keys."""
    log: bool = False
    """Somebody wants to see what sleap-nn prints."""
    curves: bool = True
    """The terminal has the letters that curves are drawn with."""


def lay_out(shown: LayoutInput, width: int, height: int) -> Rows:
    """At most `height` rows, each of them made for `width` cells."""
    job_progress, now = shown.job_progress, shown.job_progress.now(shown.local)
    top: Rows = [_head(shown.head, width)] if shown.head else []
    block = [] if job_progress.ended else _current(job_progress.current, now)
    bottom: Rows = [] if (use := job_progress.gpu_use(shown.local)) is None else [_gpu(use)]
    bottom += [] if shown.transfer is None else [transfer_row(*shown.transfer, shown.local)]
    # while somebody is asked, what is shown besides is of no weight
    bottom += question_rows(shown.question, width) if shown.question else _keys(shown.keys, width)
    if len(block) + len(bottom) + len(top) > height:
        top = []
    room = height - len(top) - len(block) - len(bottom)
    before, after = _sequence(job_progress, room)
    room -= len(before) + len(after)
    log = _log(job_progress, min(room, LOG_MOST)) if shown.log else []
    room -= len(log)
    plot = _plot(job_progress.current, width, min(room, PLOT_MOST)) if shown.curves and not job_progress.ended else []
    return [*top, *before, *block, *plot, *after, *log, *bottom][-height:]


def _head(text: str, width: int) -> Text:
    title = f"── {fit(clean(text), min(len(text), max(1, width - 8)))} "
    return Text(title + "─" * (width - len(title)), "dim")


def _keys(texts: Sequence[str], width: int) -> Rows:
    """The longest that has room, or the last of them."""
    fitting = [text for text in texts if len(text) <= width] or texts[-1:]
    return [Text(text, "dim") for text in fitting[:1] if text]


def question_rows(lines: Sequence[str], width: int) -> Rows:
    """A question whole, also in a narrow terminal: its first line is bold."""
    rows: Rows = []
    for number, line in enumerate(lines):
        parts = textwrap.wrap(line, max(width, 10), subsequent_indent=" " * 5 if number else "")
        rows += [Text(part, "" if number else "bold") for part in parts]
    return rows


# -------- the sequence


def _sequence(job_progress: JobProgress, room: int) -> tuple[Rows, Rows]:
    """What is done and what is to come, around the current step: those nearest to it, where not all have room."""
    items = job_progress.items
    place = next((place for place, item in enumerate(items) if item is job_progress.current), None)
    before, after = (items[:place], items[place + 1 :]) if place is not None else ([], items)
    if job_progress.ended and place is not None:
        before = items[: place + 1]
    ahead = min(len(after), max(0, room - 1) if before else max(0, room))  # of what is done, the newest at least
    behind = min(len(before), max(0, room - ahead))
    done = _cut([_done(item) for item in before], behind, "before", last=True)
    return done, _cut([Text(f"{TO_COME}{item.title}", "dim") for item in after], ahead, "more")


def _cut(rows: Sequence[RenderableType], room: int, word: str, *, last: bool = False) -> Rows:
    """So many of them, with the number of the others in place of one."""
    if len(rows) <= room:
        return list(rows)
    if room < 2:
        return [*(rows[-1:] if last else rows[:1])][:room]
    note = Text(f"  … {len(rows) - room + 1} {word}", "dim")
    return [note, *rows[len(rows) - room + 1 :]] if last else [*rows[: room - 1], note]


def _done(item: Item) -> RenderableType:
    return _row(Text.assemble((DONE, "green"), item.title), Text(item.brief, "dim"), spread=0)


# -------- the current step


def _current(item: Item | None, now: float) -> Rows:
    match item:
        case ModelProgress():
            return [_title(item, now), *_model(item)]
        case PredictionProgress():
            return [_title(item, now), *_prediction(item)]
        case _:
            return []


def _title(item: Item, now: float) -> RenderableType:
    parts = []
    if isinstance(item, ModelProgress) and item.over is not None:
        parts.append("evaluating")
    if item.begun is not None:
        parts.append(duration(now - item.begun))
    if (left := item.left(now)) is not None:
        parts.append(f"{'≤ ' if isinstance(item, ModelProgress) else ''}{duration(left)} left")
    return _row(Text.assemble((NOW, "bold green"), (item.title, "bold")), Text("  ".join(parts)), spread=0)


def _model(model: ModelProgress) -> Rows:
    if not model.epoch:
        return [Text("  sleap-nn is starting", "dim")]
    parts = [f"epoch {model.epoch}", model.speed]
    bar: RenderableType = Text("  " + "  ".join(filter(None, parts)))
    if model.epochs:  # a bar without an end would say nothing
        parts[0] += f"/{model.epochs}"
        bar = _row(Text(""), _bar(model.ended, model.epochs), Text("  ".join(filter(None, parts))), spread=1)
    best = "" if model.best is None else f"  best val {loss(model.best)} (epoch {model.best_epoch})"
    return [bar, Text.assemble(f"  {losses(model.train, model.val)}", (best, "dim"))]


def _prediction(prediction: PredictionProgress) -> Rows:
    if not prediction.heard:
        return [Text("  sleap-nn is starting", "dim")]
    if not prediction.total:
        return [Text(f"  {prediction.status_line}")]
    return [_row(Text(""), _bar(prediction.done, prediction.total), Text(prediction.status_line), spread=1)]


def _plot(item: Item | None, width: int, room: int) -> Rows:
    if not isinstance(item, ModelProgress) or room < HEIGHT_LEAST:
        return []
    return [*curves(item.trains, item.vals, width, room)]


# -------- the rest


def _gpu(use: GpuUse) -> RenderableType:
    busy = "" if use.percent is None else f"  {use.percent} % busy"
    text = Text(f"{gigabytes(use.used_mb, use.total_mb)}{busy}")
    return _row(Text("GPU memory"), _bar(use.used_mb, use.total_mb, "magenta"), text, spread=1)


def _log(job_progress: JobProgress, room: int) -> Rows:
    if room < LOG_LEAST:
        return []
    lines = [line for line in job_progress.log if line.strip()][-room:] or ["sleap-nn has printed nothing yet"]
    return [Text(f"│ {line}", "dim") for line in lines]


def transfer_row(verb: str, transfer: TransferRate, now: float) -> RenderableType:
    """One file on its way."""
    part = Text(f"{percent(transfer.done, transfer.total):3} %")
    return _row(Text(verb), _bar(transfer.done, transfer.total), part, Text(transfer_text(transfer, now)), spread=1)


def _row(*cells: RenderableType, spread: int) -> Table:
    """One line; the column numbered `spread` takes the room that is left."""
    row = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for column in range(len(cells)):
        row.add_column(no_wrap=True, overflow="ellipsis", ratio=1 if column == spread else None)
    row.add_row(*cells)
    return row


def _bar(done: float, total: float, style: str = "bar.complete") -> ProgressBar:
    return ProgressBar(
        total=max(total, 1), completed=done, width=None, complete_style=style, finished_style="bar.finished"
    )

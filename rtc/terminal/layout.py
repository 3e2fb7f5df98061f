"""The rows that a live view shows of a job: pure functions from what is known to what is drawn.

When the terminal is too small for everything, rows are given out in this order: the current step, the keys, the GPU,
the other steps of the job, the log (if the person asked for it); the curves get what is left.
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
from rtc.terminal.braille_plot import HEIGHT_MIN, curves
from rtc.terminal.job_progress import Item, JobProgress, ModelProgress, PredictionProgress
from rtc.terminal.transfer_rate import TransferRate, transfer_text

PLOT_ROWS_MAX = 12
"""Rows of the curves, even if more are free."""
LOG_ROWS_MIN, LOG_ROWS_MAX = 3, 8
"""Rows of the log; with fewer rows free it is not shown."""
CURRENT, DONE, PENDING = "▸ ", "✓ ", "· "
"""Marks in front of the current step, those before it and those after it."""
Rows = list[RenderableType]


@frozen
class LayoutInput:
    """Everything that `lay_out` shows."""

    job_progress: JobProgress
    local_now: float
    """The time by trio's clock."""
    heading: str = ""
    """The job and its worker."""
    transfer: tuple[str, TransferRate] | None = None
    """The current transfer, with "Upload" or "Download"."""
    keys: tuple[str, ...] = ()
    """The row that names the keys, in several forms, the longest first."""
    question: tuple[str, ...] = ()
    """The lines of the question that is asked now; they replace the keys."""
    log: bool = False
    """Show the last lines that sleap-nn printed."""
    curves: bool = True
    """Show loss curves: the terminal can display braille characters."""


def lay_out(content: LayoutInput, width: int, height: int) -> Rows:
    """Return at most `height` rows, each made for `width` cells."""
    job_progress, now = content.job_progress, content.job_progress.worker_now(content.local_now)
    top: Rows = [_heading_row(content.heading, width)] if content.heading else []
    current = [] if job_progress.ended else _current_rows(job_progress.current, now)
    bottom: Rows = [] if (use := job_progress.gpu_use(content.local_now)) is None else [_gpu_row(use)]
    bottom += [] if content.transfer is None else [transfer_row(*content.transfer, content.local_now)]
    # the rows of a question are always kept; other rows are left out for them
    bottom += question_rows(content.question, width) if content.question else _keys_row(content.keys, width)
    if len(current) + len(bottom) + len(top) > height:
        top = []
    free = height - len(top) - len(current) - len(bottom)
    before, after = _sequence_rows(job_progress, free)
    free -= len(before) + len(after)
    log = _log_rows(job_progress, min(free, LOG_ROWS_MAX)) if content.log else []
    free -= len(log)
    draws_curves = content.curves and not job_progress.ended
    plot = _plot_rows(job_progress.current, width, min(free, PLOT_ROWS_MAX)) if draws_curves else []
    return [*top, *before, *current, *plot, *after, *log, *bottom][-height:]


def _heading_row(text: str, width: int) -> Text:
    title = f"── {fit(clean(text), min(len(text), max(1, width - 8)))} "
    return Text(title + "─" * (width - len(title)), "dim")


def _keys_row(texts: Sequence[str], width: int) -> Rows:
    """Return the first text that fits into the width, or the last one when none fits."""
    fitting = [text for text in texts if len(text) <= width] or texts[-1:]
    return [Text(text, "dim") for text in fitting[:1] if text]


def question_rows(lines: Sequence[str], width: int) -> Rows:
    """Return the lines of a question, wrapped in a narrow terminal so that nothing is cut; the first one is bold."""
    rows: Rows = []
    for number, line in enumerate(lines):
        parts = textwrap.wrap(line, max(width, 10), subsequent_indent=" " * 5 if number else "")
        rows += [Text(part, "" if number else "bold") for part in parts]
    return rows


# -------- the sequence


def _sequence_rows(job_progress: JobProgress, height: int) -> tuple[Rows, Rows]:
    """Return the rows for the steps before and after the current one; where not all fit, those nearest to it."""
    items = job_progress.items
    position = next((index for index, item in enumerate(items) if item is job_progress.current), None)
    before, after = (items[:position], items[position + 1 :]) if position is not None else ([], items)
    if job_progress.ended and position is not None:
        before = items[: position + 1]
    # one row is kept for the newest of the steps that are done
    after_height = min(len(after), max(0, height - 1) if before else max(0, height))
    before_height = min(len(before), max(0, height - after_height))
    done = _shorten([_done_row(item) for item in before], before_height, "before", keep_last=True)
    return done, _shorten([Text(f"{PENDING}{item.title}", "dim") for item in after], after_height, "more")


def _shorten(rows: Sequence[RenderableType], height: int, label: str, *, keep_last: bool = False) -> Rows:
    """Return at most `height` of the rows; one of them says how many were left out: `… 8 more`.

    Args:
        rows: all rows.
        height: how many fit.
        label: the word after the number of rows that were left out.
        keep_last: keep the last rows and not the first ones.
    """
    if len(rows) <= height:
        return list(rows)
    if height < 2:
        return [*(rows[-1:] if keep_last else rows[:1])][:height]
    note = Text(f"  … {len(rows) - height + 1} {label}", "dim")
    return [note, *rows[len(rows) - height + 1 :]] if keep_last else [*rows[: height - 1], note]


def _done_row(item: Item) -> RenderableType:
    """Return the row for a step that is done: its title and its result in brief."""
    return _row(Text.assemble((DONE, "green"), item.title), Text(item.brief, "dim"), spread=0)


# -------- the current step


def _current_rows(item: Item | None, now: float) -> Rows:
    """Return the title and the progress of the current step; `now` is the time by the worker's clock."""
    match item:
        case ModelProgress():
            return [_title_row(item, now), *_model_rows(item)]
        case PredictionProgress():
            return [_title_row(item, now), *_prediction_rows(item)]
        case _:
            return []


def _title_row(item: Item, now: float) -> RenderableType:
    parts = []
    if isinstance(item, ModelProgress) and item.trained_at is not None:
        parts.append("evaluating")
    if item.started_at is not None:
        parts.append(duration(now - item.started_at))
    if (left := item.seconds_left(now)) is not None:
        parts.append(f"{'≤ ' if isinstance(item, ModelProgress) else ''}{duration(left)} left")
    return _row(Text.assemble((CURRENT, "bold green"), (item.title, "bold")), Text("  ".join(parts)), spread=0)


def _model_rows(model: ModelProgress) -> Rows:
    if not model.epoch:
        return [Text("  sleap-nn is starting", "dim")]
    parts = [f"epoch {model.epoch}", model.speed]
    bar: RenderableType = Text("  " + "  ".join(filter(None, parts)))
    if model.max_epochs:  # without a known end there is no bar to draw
        parts[0] += f"/{model.max_epochs}"
        bar = _row(Text(""), _bar(model.epochs_ended, model.max_epochs), Text("  ".join(filter(None, parts))), spread=1)
    lowest = model.best_val_loss
    best = "" if lowest is None else f"  best val {loss(lowest)} (epoch {model.best_epoch})"
    return [bar, Text.assemble(f"  {losses(model.train_loss, model.val_loss)}", (best, "dim"))]


def _prediction_rows(prediction: PredictionProgress) -> Rows:
    if not prediction.has_progress:
        return [Text("  sleap-nn is starting", "dim")]
    if not prediction.total:
        return [Text(f"  {prediction.status_line}")]
    return [_row(Text(""), _bar(prediction.done, prediction.total), Text(prediction.status_line), spread=1)]


def _plot_rows(item: Item | None, width: int, height: int) -> Rows:
    if not isinstance(item, ModelProgress) or height < HEIGHT_MIN:
        return []
    return [*curves(item.train_losses, item.val_losses, width, height)]


# -------- GPU, log and transfer


def _gpu_row(use: GpuUse) -> RenderableType:
    busy = "" if use.percent is None else f"  {use.percent} % busy"
    text = Text(f"{gigabytes(use.used_mb, use.total_mb)}{busy}")
    return _row(Text("GPU memory"), _bar(use.used_mb, use.total_mb, "magenta"), text, spread=1)


def _log_rows(job_progress: JobProgress, height: int) -> Rows:
    if height < LOG_ROWS_MIN:
        return []
    lines = [line for line in job_progress.log if line.strip()][-height:] or ["sleap-nn has printed nothing yet"]
    return [Text(f"│ {line}", "dim") for line in lines]


def transfer_row(verb: str, transfer: TransferRate, now: float) -> RenderableType:
    """Return the row for a file that is being transferred: verb, bar, percents, bytes, speed and time left.

    Args:
        verb: "Upload" or "Download".
        transfer: its progress.
        now: the time by the clock of `transfer`.
    """
    percents = Text(f"{percent(transfer.done, transfer.total):3} %")
    return _row(Text(verb), _bar(transfer.done, transfer.total), percents, Text(transfer_text(transfer, now)), spread=1)


def _row(*cells: RenderableType, spread: int) -> Table:
    """Return one line of cells; the column numbered `spread` (from 0) takes the width that the others leave."""
    row = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for column in range(len(cells)):
        row.add_column(no_wrap=True, overflow="ellipsis", ratio=1 if column == spread else None)
    row.add_row(*cells)
    return row


def _bar(done: float, total: float, style: str = "bar.complete") -> ProgressBar:
    return ProgressBar(
        total=max(total, 1), completed=done, width=None, complete_style=style, finished_style="bar.finished"
    )

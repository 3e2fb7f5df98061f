"""Loss curves in a few rows of a terminal, drawn with braille characters: each cell has 2 columns and 4 rows of dots.

No plotting library is used: two curves must share cells, and must be distinguishable without colours too.
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

from attrs import frozen
from rich.text import Text

from rtc.common.loss_curves import mean_by_column, needs_log_scale
from rtc.common.sizes import count

EPOCHS_MIN = 3
"""With fewer epochs there is no curve to draw."""
WIDTH_MIN = 49
"""Cells that the row below the curves needs."""
HEIGHT_MIN = 5
"""Rows, including the row below the curves."""
LABEL_WIDTH = 9
"""Cells in front of the curves: a number and the axis."""
DASH = 3
"""The training curve has a dot only in every third column of dots, so that it can be recognised without colours."""
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of the braille patterns (Unicode, U+2800), by column and row of the dot."""
TRAIN_COLOR, VAL_COLOR = "cyan", "yellow"

Grid = dict[tuple[int, int], int]
"""The bits that are set in a cell, by row and column of the cell."""


@frozen
class _Scale:
    """Converts losses to rows of dots, counted from the lowest."""

    low: float
    high: float
    log: bool
    """The scale is logarithmic."""

    def __call__(self, value: float, dots: int) -> int:
        """Return the row of dots for this loss, from 0 (the bottom) to `dots` - 1."""
        low, high, at = (math.log10(each) if self.log else each for each in (self.low, self.high, value))
        fraction = 0.5 if high <= low else (at - low) / (high - low)
        return min(dots - 1, max(0, round(fraction * (dots - 1))))


def curves(train: Mapping[int, float], val: Mapping[int, float], width: int, height: int) -> list[Text]:
    """Draw the two curves in exactly `height` rows of at most `width` cells.

    Returns no rows where there are fewer than EPOCHS_MIN epochs, WIDTH_MIN cells or HEIGHT_MIN rows.

    Args:
        train: training losses by epoch, all finite; epochs are counted from 1.
        val: validation losses by epoch, all finite; epochs are counted from 1.
        width: cells.
        height: rows.
    """
    values = [*train.values(), *val.values()]
    if max(len(train), len(val)) < EPOCHS_MIN or width < WIDTH_MIN or height < HEIGHT_MIN:
        return []
    scale, last = _Scale(min(values), max(values), needs_log_scale(values)), max((*train, *val))
    rows, columns = height - 1, width - LABEL_WIDTH
    dotted, solid = (_draw(losses, last, rows, columns, scale, gap) for losses, gap in ((train, DASH), (val, 1)))
    labels = {0: scale.high, rows - 1: scale.low} if scale.low < scale.high else {rows // 2: scale.low}
    drawn = [_row(row, columns, dotted, solid, labels.get(row)) for row in range(rows)]
    return [*drawn, _axis_row(last, columns, log=scale.log)]


def resample(losses: Mapping[int, float], last: int, columns: int) -> list[float | None]:
    """Return one loss for each column.

    Where a column has several epochs it is their mean; where it has none it is interpolated between the two nearest.
    None before the first and after the last epoch that is known.

    Args:
        losses: losses by epoch, counted from 1.
        last: the epoch of the last column.
        columns: how many values to return.
    """
    known = mean_by_column(losses, last, columns)
    result: list[float | None] = [None] * columns
    for (here, left), (there, right) in pairwise(known.items()):
        for column in range(here, there):
            fraction = (column - here) / (there - here)
            result[column] = left * (1 - fraction) + right * fraction
    return [known.get(column, value) for column, value in enumerate(result)]


def _draw(
    losses: Mapping[int, float], last: int, rows: int, columns: int, scale: Callable[[float, int], int], gap: int
) -> Grid:
    """Return the dots of one curve; neighbouring columns are joined vertically, so that a steep curve has no holes.

    Args:
        losses: losses by epoch, counted from 1.
        last: the epoch of the last column.
        rows: rows of cells.
        columns: columns of cells.
        scale: converts a loss to a row of dots.
        gap: draw only every so many columns of dots.
    """
    grid: Grid = {}
    before: int | None = None
    for x, value in enumerate(resample(losses, last, columns * 2)):
        if value is None:
            before = None
            continue
        y = scale(value, rows * 4)
        start = y if before is None else before + (y > before) - (y < before)
        for dot in range(min(start, y), max(start, y) + 1) if x % gap == 0 else ():
            cell = rows - 1 - dot // 4, x // 2
            grid[cell] = grid.get(cell, 0) | DOTS[x % 2][3 - dot % 4]
        before = y
    return grid


def _row(row: int, columns: int, dotted: Grid, solid: Grid, label: float | None) -> Text:
    number, axis = ("", "│") if label is None else (format(label, ".2g"), "┤")
    text = Text(f"{number:>{LABEL_WIDTH - 2}} {axis}", "dim")
    for column in range(columns):
        cell = row, column
        bits = dotted.get(cell, 0) | solid.get(cell, 0)
        text.append(chr(0x2800 + bits) if bits else " ", VAL_COLOR if cell in solid else TRAIN_COLOR)
    return text


def _axis_row(last: int, columns: int, *, log: bool) -> Text:
    """Return the row below the curves: `└1── ⠁⠈⠁ train  ⠉⠉⠉ val  log scale ── 120 epochs`."""
    scale = "" if not log else " log scale " if columns > WIDTH_MIN else " log "
    key = Text.assemble((" ⠁⠈⠁ train ", TRAIN_COLOR), (" ⠉⠉⠉ val ", VAL_COLOR), (scale, "dim"))
    end = count(last, "epoch")
    free = columns - len(key) - len(end) - 1
    left = free // 2
    return Text.assemble(
        (" " * (LABEL_WIDTH - 1) + "└1" + "─" * (left - 1), "dim"),
        key,
        ("─" * (free - left), "dim"),
        (f" {end}", "dim"),
    )

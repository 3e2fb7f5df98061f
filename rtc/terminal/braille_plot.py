"""Loss curves in a few rows of a terminal, in braille: each cell has 2 × 4 dots.

No library: two curves must share cells, and be told apart without colours too.
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

from attrs import frozen
from rich.text import Text

from rtc.common.loss_curves import in_columns, wants_log
from rtc.common.text import count

EPOCHS_LEAST = 3
"""Fewer make no curve."""
WIDTH_LEAST = 49
"""Cells that the row below the curves needs."""
HEIGHT_LEAST = 5
"""Rows, the epochs' own row among them."""
LABEL = 9
"""Cells in front of the curves: a number and the axis."""
DASH = 3
"""The training curve is dotted, one column of dots in so many: without colours the two must be told apart, too."""
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of the braille patterns (U+2800), by column and row of the dot."""
TRAIN, VAL = "cyan", "yellow"

Grid = dict[tuple[int, int], int]
"""Cells, by row and column, with the bits that are set in them."""


@frozen
class _Scale:
    """Losses to dots above the lowest row."""

    low: float
    high: float
    log: bool

    def __call__(self, value: float, dots: int) -> int:
        """The dot for this loss, counted from the bottom."""
        low, high, at = (math.log10(each) if self.log else each for each in (self.low, self.high, value))
        part = 0.5 if high <= low else (at - low) / (high - low)
        return min(dots - 1, max(0, round(part * (dots - 1))))


def curves(train: Mapping[int, float], val: Mapping[int, float], width: int, height: int) -> list[Text]:
    """The two curves in exactly `height` rows of at most `width` cells; nothing where they would say nothing.

    Args:
        train: losses by their epoch, all finite; epochs counted from 1.
        val: likewise.
    """
    values = [*train.values(), *val.values()]
    if max(len(train), len(val)) < EPOCHS_LEAST or width < WIDTH_LEAST or height < HEIGHT_LEAST:
        return []
    scale, last = _Scale(min(values), max(values), wants_log(values)), max((*train, *val))
    rows, columns = height - 1, width - LABEL
    dotted, solid = (_draw(line, last, rows, columns, scale, gap) for line, gap in ((train, DASH), (val, 1)))
    labels = {0: scale.high, rows - 1: scale.low} if scale.low < scale.high else {rows // 2: scale.low}
    drawn = [_row(row, columns, dotted, solid, labels.get(row)) for row in range(rows)]
    return [*drawn, _foot(last, columns, log=scale.log)]


def thin(line: Mapping[int, float], last: int, columns: int) -> list[float | None]:
    """One loss for each column: the mean of its epochs, or what lies between two when there are fewer epochs than that.

    None before the first and after the last epoch that is known.
    """
    known = in_columns(line, last, columns)
    result: list[float | None] = [None] * columns
    for (here, left), (there, right) in pairwise(known.items()):
        for column in range(here, there):
            part = (column - here) / (there - here)
            result[column] = left * (1 - part) + right * part
    return [known.get(column, value) for column, value in enumerate(result)]


def _draw(
    line: Mapping[int, float], last: int, rows: int, columns: int, scale: Callable[[float, int], int], gap: int
) -> Grid:
    """The dots of one curve; neighbouring columns are joined, so that a steep line stays one."""
    grid: Grid = {}
    before: int | None = None
    for x, value in enumerate(thin(line, last, columns * 2)):
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
    text = Text(f"{'' if label is None else format(label, '.2g'):>{LABEL - 2}} {'│' if label is None else '┤'}", "dim")
    for column in range(columns):
        cell = row, column
        bits = dotted.get(cell, 0) | solid.get(cell, 0)
        text.append(chr(0x2800 + bits) if bits else " ", VAL if cell in solid else TRAIN)
    return text


def _foot(last: int, columns: int, *, log: bool) -> Text:
    """`1   ⠂⠂ train  ⠒⠒ val  (log scale)    120 epochs`"""
    scale = "" if not log else " log scale " if columns > WIDTH_LEAST else " log "
    key = Text.assemble((" ⠁⠈⠁ train ", TRAIN), (" ⠉⠉⠉ val ", VAL), (scale, "dim"))
    end = count(last, "epoch")
    room = columns - len(key) - len(end) - 1
    left = room // 2
    return Text.assemble(
        (" " * (LABEL - 1) + "└1" + "─" * (left - 1), "dim"), key, ("─" * (room - left), "dim"), (f" {end}", "dim")
    )

"""Loss curves as numbers, shared by all code that draws them: the choice of the scale, and the value of each column."""

import math
from collections.abc import Iterable, Mapping

DECADES = 2.0
"""Losses that span more powers of ten than this are drawn on a logarithmic scale."""


def needs_log_scale(losses: Iterable[float]) -> bool:
    """Return whether to draw these losses on a logarithmic scale: all are positive and they span more than DECADES.

    On a linear scale the end of such a training would be a flat line. There must be at least one loss.
    """
    known = list(losses)
    low, high = min(known), max(known)
    return low > 0 and math.log10(high) - math.log10(low) > DECADES


def mean_by_column(losses: Mapping[int, float], last: int, columns: int) -> dict[int, float]:
    """Return the mean loss of each column that has any epochs, by the column's number, from left to right.

    Args:
        losses: losses by epoch, counted from 1.
        last: the epoch of the last column.
        columns: how many columns there are; they are counted from 0.
    """
    by_column: dict[int, list[float]] = {}
    for number, value in losses.items():
        by_column.setdefault((number - 1) * (columns - 1) // max(1, last - 1), []).append(value)
    return {column: math.fsum(values) / len(values) for column, values in sorted(by_column.items())}

"""Loss curves as numbers, for whoever draws them: which scale suits them, and what stands in which column."""

import math
from collections.abc import Iterable, Mapping

DECADES = 2.0
"""A range beyond so many powers of ten is drawn on a logarithmic scale."""


def wants_log(losses: Iterable[float]) -> bool:
    """On a linear scale the end of the training would be one flat line."""
    known = list(losses)
    low, high = min(known), max(known)
    return low > 0 and math.log10(high) - math.log10(low) > DECADES


def in_columns(line: Mapping[int, float], last: int, columns: int) -> dict[int, float]:
    """The mean loss of each column that has any epochs, from left to right.

    Args:
        line: losses by their epoch, counted from 1.
        last: the epoch of the last column.
        columns: how many there are; counted from 0.
    """
    found: dict[int, list[float]] = {}
    for number, value in line.items():
        found.setdefault((number - 1) * (columns - 1) // max(1, last - 1), []).append(value)
    return {column: math.fsum(values) / len(values) for column, values in sorted(found.items())}

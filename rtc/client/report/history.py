"""How a training went, read from what sleap-nn wrote beside the model.

All of it is foreign: sizes are bounded, and only numbers and names leave this room.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import field, frozen

from rtc.client.unpack_results import LOG_MAX

EPOCHS_MAX = 100_000
"""Rows that are read of one log."""
METRICS_MAX = 16 * 2**20
"""Bytes of a metrics file that are read; real ones have some ten thousand."""
LOSS_MAX = 1e100
"""Beyond it no number is one that anybody could draw."""
TRAIN = ("train/loss", "train_loss")
VAL = ("val/loss", "val_loss")
RATE = ("learning_rate", "train/lr")
SPLITS = ("train", "val")

Metrics = dict[str, Any]


@frozen
class History:
    """One model's training. Epochs are counted from 1."""

    name: str
    """Its folder's name."""
    epochs: int
    trains: Mapping[int, float]
    """Training loss by epoch, each at the epoch that it is of."""
    vals: Mapping[int, float]
    rate: float | None = None
    """The learning rate at the end."""
    metrics: Mapping[str, Metrics] = field(factory=dict)
    """What sleap-nn measured with the finished model, by split (train, val)."""

    @property
    def best(self) -> int | None:
        """The epoch with the lowest validation loss, whose weights sleap-nn keeps."""
        return min(self.vals, key=lambda epoch: self.vals[epoch]) if self.vals else None


def read_histories(output: Path, most: int) -> tuple[History, ...]:
    """Every model below a folder of results, `most` at most."""
    logs = (path for path in sorted(output.rglob("training_log.csv")) if path.is_file())
    small = [path for path in logs if path.stat().st_size <= LOG_MAX]
    return tuple(_history(path) for path in small[:most])


def _history(log: Path) -> History:
    rows = list(_rows(log))
    # sleap-nn writes an epoch's training loss a row late, and none in the first row; another writer may do better
    late = 1 if rows and _number(rows[0], TRAIN) is None else 0
    trains = {row - late: value for row, value in _column(rows, TRAIN) if row > late}
    rates = [value for _, value in _column(rows, RATE)]
    rate = rates[-1] if rates else None
    metrics = {split: _metrics(log.with_name(f"metrics.{split}.0.json")) for split in SPLITS}
    return History(log.parent.name, len(rows), trains, dict(_column(rows, VAL)), rate, metrics)


def _rows(log: Path) -> Iterator[dict[str, str]]:
    # a cell longer than any number ends what can be read; what came before it holds
    with log.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
        for _, row in zip(range(EPOCHS_MAX), csv.DictReader(file), strict=False):
            yield row


def _column(rows: list[dict[str, str]], names: tuple[str, ...]) -> list[tuple[int, float]]:
    """The numbers of one column with their rows, counted from 1."""
    cells = ((number, _number(row, names)) for number, row in enumerate(rows, 1))
    return [(number, value) for number, value in cells if value is not None]


def _number(row: dict[str, str], names: tuple[str, ...]) -> float | None:
    """A cell as a number; None for empty ones, `inf`, `nan` and whatever else stands there."""
    for name in names:
        with suppress(ValueError):
            value = float(row.get(name) or "nan")
            if abs(value) <= LOSS_MAX:  # never true of nan
                return value
    return None


def _metrics(path: Path) -> Metrics:
    """What stands in a metrics file (sleap-nn 0.3.2 and later); nothing when it is missing or not what we know."""
    if not path.is_file() or path.stat().st_size > METRICS_MAX:
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

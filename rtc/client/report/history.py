"""The course of a training: losses and metrics, read from the files that sleap-nn writes beside a model.

These files come from the worker and are not trusted: sizes are limited, and only numbers and names are returned.
"""

import csv
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen

from rtc.sleap_nn.json_values import parse_object

TRAINING_LOG_MAX = 64 * 2**20
"""Bytes of the largest training_log.csv that is read; 10 000 epochs have 3 MB."""
EPOCHS_MAX = 100_000
"""Maximum number of rows that are read from one log."""
METRICS_MAX = 16 * 2**20
"""Maximum size of a metrics file in bytes; real ones have some ten thousand bytes."""
LOSS_MAX = 1e100
"""Numbers with a greater absolute value are ignored, because they cannot be drawn."""
TRAIN = ("train/loss", "train_loss")
"""Names of the column with the training loss in training_log.csv; the first one that has a number counts."""
VAL = ("val/loss", "val_loss")
"""Names of the column with the validation loss."""
RATE = ("learning_rate", "train/lr")
"""Names of the column with the learning rate."""
SPLITS = ("train", "val")
METRIC_MAX = 1e12
"""Numbers of a metrics file with a greater absolute value are ignored."""


@frozen
class Metrics:
    """The numbers of a metrics file of sleap-nn."""

    sections: Mapping[str, Mapping[str, float]] = field(factory=dict)
    """The numbers of each section by their names, those that can be shown."""

    def number(self, section: str, key: str) -> float | None:
        """Return a number, or None if the file has none of this name."""
        return self.sections.get(section, {}).get(key)


@frozen
class History:
    """The training of one model. Epochs are counted from 1."""

    name: str
    """The name of the model's folder."""
    epochs: int
    """Number of rows in the log."""
    train_losses: Mapping[int, float]
    """Training loss by the epoch that it belongs to; sleap-nn's log has it one row late."""
    val_losses: Mapping[int, float]
    """Validation loss by epoch."""
    learning_rate: float | None = None
    """The last learning rate in the log."""
    metrics: Mapping[str, Metrics] = field(factory=dict)
    """Metrics that sleap-nn computed with the finished model, by split (train, val)."""

    @property
    def best(self) -> int | None:
        """Return the epoch with the lowest validation loss, whose weights sleap-nn keeps, or None."""
        return min(self.val_losses, key=lambda epoch: self.val_losses[epoch]) if self.val_losses else None


def read_histories(output: Path, max_models: int) -> tuple[History, ...]:
    """Return the training of every model below a folder of results, at most `max_models` of them."""
    logs = (path for path in sorted(output.rglob("training_log.csv")) if path.is_file())
    small = [path for path in logs if path.stat().st_size <= TRAINING_LOG_MAX]
    return tuple(_read_history(path) for path in small[:max_models])


def _read_history(log: Path) -> History:
    """Return the training of the model whose training_log.csv this is."""
    rows = list(_read_rows(log))
    # sleap-nn writes the training loss of an epoch one row late, and none in the first row; if the first row has one,
    # the log is from a program that writes it in the right row
    late = 1 if rows and _parse_number(rows[0], TRAIN) is None else 0
    train_losses = {row - late: value for row, value in _column_numbers(rows, TRAIN) if row > late}
    rates = [value for _, value in _column_numbers(rows, RATE)]
    learning_rate = rates[-1] if rates else None
    metrics = {split: _read_metrics(log.with_name(f"metrics.{split}.0.json")) for split in SPLITS}
    return History(log.parent.name, len(rows), train_losses, dict(_column_numbers(rows, VAL)), learning_rate, metrics)


def _read_rows(log: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a training_log.csv, at most EPOCHS_MAX of them."""
    # csv raises an error at a cell of more than 131 072 characters; the rows before it are used
    with log.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
        for _, row in zip(range(EPOCHS_MAX), csv.DictReader(file), strict=False):
            yield row


def _column_numbers(rows: list[dict[str, str]], names: tuple[str, ...]) -> list[tuple[int, float]]:
    """Return the numbers in one column, each with its row, counted from 1."""
    cells = ((number, _parse_number(row, names)) for number, row in enumerate(rows, 1))
    return [(number, value) for number, value in cells if value is not None]


def _parse_number(row: dict[str, str], names: tuple[str, ...]) -> float | None:
    """Return the first number in the named columns of a row, or None.

    Empty cells, `inf`, `nan`, numbers beyond LOSS_MAX and cells that are no numbers are skipped.
    """
    for name in names:
        with suppress(ValueError):
            value = float(row.get(name) or "nan")
            if abs(value) <= LOSS_MAX:  # never true of nan
                return value
    return None


def _read_metrics(path: Path) -> Metrics:
    """Return the numbers of a metrics file (sleap-nn 0.3.2 and later); none if it is missing, too large or invalid."""
    if not path.is_file() or path.stat().st_size > METRICS_MAX:
        return Metrics()
    sections = {name: section for name, section in parse_object(path.read_bytes()).items() if isinstance(section, dict)}
    return Metrics({name: _numbers(section) for name, section in sections.items()})


def _numbers(section: Mapping[str, object]) -> dict[str, float]:
    """Return the entries of a section that are finite numbers of at most METRIC_MAX."""
    return {
        name: float(value)
        for name, value in section.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= METRIC_MAX  # not so for NaN
    }

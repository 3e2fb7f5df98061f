"""Reads `training_log.csv`, which sleap-nn writes beside a model, in time and memory that its size limits.

The file comes from the worker and is not trusted.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen

TRAINING_LOG_MAX = 16 * 2**20
"""Bytes of the largest log that is read; 10 000 epochs have 3 MB."""
TRAINING_LOGS_MAX = 64 * 2**20
"""Bytes that are read of all logs of a result."""
EPOCHS_MAX = 100_000
"""Maximum number of rows that are read from one log."""
LOSS_MAX = 1e100
"""Numbers with a greater absolute value are ignored, because they cannot be drawn."""
NUMBER_LENGTH = 100
"""Characters of the longest cell that may be a number."""
TRAIN = ("train/loss", "train_loss")
"""Names of the column with the training loss; the first one that has a number counts."""
VAL = ("val/loss", "val_loss")
"""Names of the column with the validation loss."""
RATE = ("learning_rate", "train/lr")
"""Names of the column with the learning rate."""


@frozen
class TrainingLog:
    """The numbers of one log. Each comes with its row, counted from 1; rows without a number are left out."""

    rows: int = 0
    train: list[tuple[int, float]] = field(factory=list)
    val: list[tuple[int, float]] = field(factory=list)
    rate: list[tuple[int, float]] = field(factory=list)


def find_training_logs(output: Path, max_logs: int) -> list[Path]:
    """Return the logs below a folder of results that are small enough, at most `max_logs` of them."""
    found: list[Path] = []
    bytes_left = TRAINING_LOGS_MAX
    for path in sorted(output.rglob("training_log.csv")):
        if len(found) == max_logs or path.is_symlink() or not path.is_file():
            continue
        size = path.stat().st_size
        if size <= min(TRAINING_LOG_MAX, bytes_left):
            bytes_left -= size
            found.append(path)
    return found


def read_training_log(path: Path) -> TrainingLog:
    """Return the numbers in the columns that are known; of a damaged log, those before the damage."""
    rows = 0
    train: list[tuple[int, float]] = []
    val: list[tuple[int, float]] = []
    rate: list[tuple[int, float]] = []
    for rows, (header, row) in enumerate(_read_rows(path), 1):
        for numbers, names in ((train, TRAIN), (val, VAL), (rate, RATE)):
            value = _first_number(row, [header[name] for name in names if name in header])
            if value is not None:
                numbers.append((rows, value))
    return TrainingLog(rows, train, val, rate)


def _read_rows(path: Path) -> Iterator[tuple[dict[str, int], list[str]]]:
    """Yield each row that is not empty, with the position of each column; at most EPOCHS_MAX of them.

    Not `csv.DictReader`: a million names in the first row would cost a million steps in each further row.
    """
    # csv raises an error at a cell of more than 131 072 characters; the rows before it are used
    with path.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
        reader = (row for row in csv.reader(file) if row)
        header = {name: column for column, name in enumerate(next(reader, []))}
        for _, row in zip(range(EPOCHS_MAX), reader, strict=False):
            yield header, row


def _first_number(row: Sequence[str], columns: Sequence[int]) -> float | None:
    """Return the first number in these columns of a row, or None.

    Empty cells, `inf`, `nan`, numbers beyond LOSS_MAX and cells that are no numbers are skipped.
    """
    for column in columns:
        with suppress(ValueError):
            value = float(row[column][:NUMBER_LENGTH] or "nan") if column < len(row) else float("nan")
            if abs(value) <= LOSS_MAX:  # never true of nan
                return value
    return None

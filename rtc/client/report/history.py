"""The course of a training: losses and metrics, read from the files that sleap-nn writes beside a model.

These files come from the worker and are not trusted: sizes are limited, and only numbers and names are returned.
"""

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from rtc.client.report.training_log import find_training_logs, read_training_log
from rtc.sleap_nn.json_values import parse_object

METRICS_MAX = 2 * 2**20
"""Maximum size of a metrics file in bytes; real ones have some ten thousand bytes."""
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
    return tuple(_read_history(path) for path in find_training_logs(output, max_models))


def _read_history(path: Path) -> History:
    """Return the training of the model whose training_log.csv this is."""
    log = read_training_log(path)
    # sleap-nn writes the training loss of an epoch one row late, and none in the first row; if the first row has one,
    # the log is from a program that writes it in the right row
    late = 0 if log.train and log.train[0][0] == 1 else 1
    train_losses = {row - late: value for row, value in log.train}
    learning_rate = log.rate[-1][1] if log.rate else None
    metrics = {split: _read_metrics(path.with_name(f"metrics.{split}.0.json")) for split in SPLITS}
    return History(path.parent.name, log.rows, train_losses, dict(log.val), learning_rate, metrics)


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

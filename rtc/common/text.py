"""Formats numbers and names for people: pure functions from values to short texts."""

from rich.cells import cell_len, set_cell_size

from protocol.fields import printable, without_escapes
from rtc.common import sizes

UNKNOWN = "–"
"""Shown for a number that is not known (yet)."""
_MB = 10**6

size = sizes.size


def clean(text: str) -> str:
    """Return one line without colours, cursor moves, bidi marks and line breaks, so that a terminal can only show it.

    Of a line that overwrites itself with carriage returns (a progress bar of sleap-nn), the last version is kept.
    """
    return printable(without_escapes(text).rstrip("\r\n").rpartition("\r")[2])


def clean_lines(text: str) -> str:
    """Apply `clean` to each line of a text of several lines, as a fault may have."""
    return "\n".join(clean(line) for line in text.strip("\r\n").split("\n"))


def fit(text: str, width: int) -> str:
    """Return `text` in exactly `width` terminal cells: padded, or cut with an ellipsis."""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def size_of(done: int, total: int) -> str:
    """Return bytes done and bytes in total: `412/1980 MB`."""
    unit, _, decimals = sizes.unit_of(total)
    return f"{done / unit:.{decimals}f}/{size(total)}"


def speed(rate: float) -> str:
    """Return bytes per second as `4.1 MB/s`."""
    return f"{rate / _MB:.1f} MB/s" if rate >= _MB / 10 else f"{rate / 1000:.1f} kB/s"


def duration(seconds: float) -> str:
    """Return seconds as `6:22`, or `1:06:22` from an hour on."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def loss(value: float | None) -> str:
    """Return a loss with four significant digits; `–` for None."""
    return UNKNOWN if value is None else f"{value:#.4g}"


def percent(done: int, total: int) -> int:
    """Return whole percents, rounded down: 100 only when everything is done. An empty file counts as done."""
    return 100 if done >= total else max(0, done * 100 // total)


def losses(train: float | None, val: float | None) -> str:
    """Return both losses: `train 0.001234  val 0.002345`."""
    return f"train {loss(train)}  val {loss(val)}"


def epoch(number: int, max_epochs: int | None) -> str:
    """Return `epoch 12/100`, or `epoch 12` when the maximum is not known; the number is counted from 1."""
    return f"epoch {number}" if max_epochs is None else f"epoch {number}/{max_epochs}"


def pace(seconds: float) -> str:
    """Return the seconds of one epoch as `4.2 s/epoch`, `12 epochs/s` or `3:20 per epoch`."""
    if seconds >= 100:
        return f"{duration(seconds)} per epoch"
    if seconds >= 0.5:
        return f"{seconds:.1f} s/epoch"
    return f"{1 / seconds:.0f} epochs/s" if seconds > 0 else ""


def rate(frames: float) -> str:
    """Return frames per second: `53.1 frames/s`."""
    return f"{frames:.1f} frames/s"


def gigabytes(used_mb: int, total_mb: int) -> str:
    """Return GPU memory in GB of 2**30 bytes, as NVIDIA counts: `12.3/79.6 GB`. The arguments are MB of 2**20 bytes."""
    return f"{used_mb / 1024:.1f}/{total_mb / 1024:.1f} GB"

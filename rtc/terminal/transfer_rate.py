"""The progress of one file's transfer: what a view knows of it, and the text that shows it."""

from collections import deque

from attrs import define, field

from rtc.common.text import duration, size, size_of, speed

PACE_TIME = 5.0
"""Seconds over which a speed is measured; over a shorter time it fluctuates, over a longer time it is outdated."""
PACE_TIME_MIN = 0.5
"""Seconds that must be measured before a speed is shown."""
STALL_TIME = 5.0
"""Seconds without a new byte after which a transfer is shown as stalled."""
_SAMPLE_TIME = 0.1
"""Seconds between two samples at least."""


@define
class TransferRate:
    """The transfer of one file. Times are seconds of any monotonic clock."""

    started_at: float
    offset: int
    """Bytes that had been transferred before `started_at` (a resumed transfer)."""
    total: int
    """Bytes of the whole file."""
    reported_percent: int = field(default=0, init=False)
    """Percents in the newest line that a view has written; set by the view."""
    done: int = field(init=False)
    """Bytes transferred so far, `offset` included."""
    moved_at: float = field(init=False)
    """When the newest byte was transferred."""
    _samples: deque[tuple[float, int]] = field(init=False)
    """Pairs of a time and the bytes done by then, for the last PACE_TIME seconds."""

    def __attrs_post_init__(self) -> None:
        self.done = self.offset
        self.moved_at = self.started_at
        self._samples = deque([(self.started_at, self.offset)])

    def update(self, now: float, done: int) -> None:
        """Record that `done` bytes are transferred at `now`."""
        if done != self.done:
            self.moved_at = now
        self.done = done
        if now - self._samples[-1][0] >= _SAMPLE_TIME:
            self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[1][0] >= PACE_TIME:
            self._samples.popleft()

    def rate(self, now: float) -> float | None:
        """Return the bytes per second of about the last PACE_TIME seconds; None before PACE_TIME_MIN has passed."""
        first_at, first_done = self._samples[0]
        return (self.done - first_done) / (now - first_at) if now - first_at >= PACE_TIME_MIN else None

    def stalled(self, now: float) -> bool:
        """Return whether no byte was transferred for STALL_TIME."""
        return now - self.moved_at >= STALL_TIME

    def average(self, now: float) -> float | None:
        """Return the bytes per second since `started_at`."""
        return (self.done - self.offset) / (now - self.started_at) if now > self.started_at else None


def transfer_text(transfer: TransferRate, now: float) -> str:
    """Return `412/1980 MB  4.1 MB/s  6:22 left`, or `412/1980 MB  nothing for 0:07` for a stalled transfer."""
    parts = [size_of(transfer.done, transfer.total)]
    rate = transfer.rate(now)
    if transfer.stalled(now):
        parts.append(f"nothing for {duration(now - transfer.moved_at)}")
    elif rate:
        parts += [speed(rate), f"{duration((transfer.total - transfer.done) / rate)} left"]
    return "  ".join(parts)


def moved_text(transfer: TransferRate, now: float) -> str:
    """Return the text for a completed transfer: `1980 MB in 6:22 (5.2 MB/s)`."""
    rate = transfer.average(now)
    return f"{size(transfer.total)} in {duration(now - transfer.started_at)}" + (f" ({speed(rate)})" if rate else "")

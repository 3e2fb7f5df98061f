"""How one file's transfer goes: what a view remembers of it, and how it is said."""

from collections import deque

from attrs import define, field

from rtc.common.text import duration, size, size_of, speed

PACE_TIME = 5.0
"""Seconds over which a speed is taken; shorter ones jump about, longer ones lag."""
PACE_LEAST = 0.5
"""Seconds of evidence before a speed is told."""
STALL_TIME = 5.0
"""Seconds without a new byte after which a transfer is said to wait."""
_SAMPLE_TIME = 0.1


@define
class TransferRate:
    """One file on its way. Times are seconds of any steady clock."""

    begun: float
    offset: int
    """Bytes that were there already when we began (a resumed transfer)."""
    total: int
    told: int = field(default=0, init=False)
    """Percents last told in words."""
    done: int = field(init=False)
    heard: float = field(init=False)
    """When the last new byte came."""
    _samples: deque[tuple[float, int]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.done = self.offset
        self.heard = self.begun
        self._samples = deque([(self.begun, self.offset)])

    def moved(self, now: float, done: int) -> None:
        """So many bytes are over."""
        if done != self.done:
            self.heard = now
        self.done = done
        if now - self._samples[-1][0] >= _SAMPLE_TIME:
            self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[1][0] >= PACE_TIME:
            self._samples.popleft()

    def rate(self, now: float) -> float | None:
        """Bytes per second of late, or None while it is too early to tell."""
        since, before = self._samples[0]
        return (self.done - before) / (now - since) if now - since >= PACE_LEAST else None

    def stalled(self, now: float) -> bool:
        """Nothing has come for a while."""
        return now - self.heard >= STALL_TIME

    def average(self, now: float) -> float | None:
        """Bytes per second from beginning to end."""
        return (self.done - self.offset) / (now - self.begun) if now > self.begun else None


def transfer_text(transfer: TransferRate, now: float) -> str:
    """`412/1980 MB  4.1 MB/s  6:22 left`, or that it waits."""
    parts = [size_of(transfer.done, transfer.total)]
    rate = transfer.rate(now)
    if transfer.stalled(now):
        parts.append(f"nothing for {duration(now - transfer.heard)}")
    elif rate:
        parts += [speed(rate), f"{duration((transfer.total - transfer.done) / rate)} left"]
    return "  ".join(parts)


def moved_text(transfer: TransferRate, now: float) -> str:
    """`1980 MB in 6:22 (5.2 MB/s)`"""
    rate = transfer.average(now)
    return f"{size(transfer.total)} in {duration(now - transfer.begun)}" + (f" ({speed(rate)})" if rate else "")

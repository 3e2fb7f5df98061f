"""Reports how many files are packed, now and then."""

import time
from collections.abc import Callable

from attrs import define, field

REPORT_TIME = 3.0
"""Seconds between two lines."""


@define
class PackingProgress:
    """Counts the files that are packed, and reports the count at most once in `REPORT_TIME` seconds."""

    total: int
    report: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    done: int = field(default=0, init=False)
    _reported: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._reported = self.clock()

    def add_one(self) -> None:
        """Count one file."""
        self.done += 1
        if self.clock() - self._reported >= REPORT_TIME:
            self._reported = self.clock()
            self.report(f"Packing files: {self.done:,} of {self.total:,}".replace(",", " "))

"""Watches the free memory of the GPU, and reports it to the room when it has changed noticeably.

Programs of other people use the same GPU, and the driver has no event for a change, so the memory is polled.
"""

from collections.abc import Callable

import trio
from attrs import define, field

from actors.events import FreeMemoryChanged
from protocol.status import WorkerFacts

PERIOD = 15.0
"""Seconds between two readings."""
MIN_CHANGE = 256
"""MB (2**20 bytes): smaller changes are not reported. CUDA's own context takes about this much."""


@define
class GpuMonitor:
    """Polls the free memory of one GPU."""

    read: Callable[[], int]
    """Returns the free memory in MB. It runs in a thread, as the driver may block it for any time."""
    report: Callable[[FreeMemoryChanged], None]
    facts: Callable[[], WorkerFacts]
    """Returns what the worker last announced about itself."""
    _check_requested: trio.Event = field(factory=trio.Event, init=False)

    def check_now(self, _effect: object = None) -> None:
        """Read the memory now; called when the worker's status changes, since a job then begins or frees its memory."""
        self._check_requested.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read the memory every `PERIOD` seconds, and after each `check_now`, until cancelled."""
        task_status.started()
        while True:
            with trio.move_on_after(PERIOD):
                await self._check_requested.wait()
            self._check_requested = trio.Event()
            free = await trio.to_thread.run_sync(self.read, abandon_on_cancel=True)
            if abs(free - self.facts().free_mb) >= MIN_CHANGE:
                self.report(FreeMemoryChanged(free))

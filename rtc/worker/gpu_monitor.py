"""Watches the free memory of the GPU, and reports it to the room when it has changed noticeably.

Programs of other people use the same GPU, and the driver has no event for a change, so the memory is polled.
"""

from collections.abc import Callable

import trio
from attrs import define, field

from actors.events import FreeMemoryChanged
from protocol.status import WorkerFacts
from rtc.common.gpu import NO_GPU, GpuFacts, read_gpu, read_gpus

PERIOD = 15.0
"""Seconds between two readings."""
MIN_CHANGE = 256
"""MB (2**20 bytes): smaller changes are not reported. CUDA's own context takes about this much."""

DRIVER_TIME = 5.0
"""Seconds in which the driver must answer when a job begins: a broken one may hang."""


async def read_job_gpus(gpus: tuple[str, ...] | None) -> tuple[GpuFacts, ...]:
    """Return what the driver reports now about the GPUs of a job; fewer of them, or none, where it does not answer.

    Args:
        gpus: their UUIDs; None for the GPU that CUDA would use.
    """
    with trio.move_on_after(DRIVER_TIME):
        return await trio.to_thread.run_sync(_read_gpus, gpus, abandon_on_cancel=True)
    return ()


def _read_gpus(gpus: tuple[str, ...] | None) -> tuple[GpuFacts, ...]:
    if gpus is not None:
        return read_gpus(gpus)
    found = read_gpu()
    return () if found == NO_GPU else (found,)


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

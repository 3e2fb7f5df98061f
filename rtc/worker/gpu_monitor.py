"""Watches how much of the GPU's memory is free, and tells the room when that has changed noticeably.

Other people's programs use the same GPU, so it has to be looked at again and again: the driver has no event for it.
"""

from collections.abc import Callable

import trio
from attrs import define, field

from actors.events import FreeMemoryChanged

PERIOD = 15.0
"""Seconds from one look to the next."""
NOTICEABLE = 256
"""MB (2**20 bytes): CUDA's own context takes about as much; less is nobody's news."""


@define
class GpuMonitor:
    """One GPU's free memory."""

    read: Callable[[], int]
    """The free memory in MB; may block for as long as the driver likes."""
    tell: Callable[[FreeMemoryChanged], None]
    told: int
    """MB, as last told."""
    _asked: trio.Event = field(factory=trio.Event, init=False)

    def look(self, _effect: object = None) -> None:
        """Look now: the worker's status has changed, and a job's memory with it."""
        self._asked.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look until cancelled."""
        task_status.started()
        while True:
            with trio.move_on_after(PERIOD):
                await self._asked.wait()
            self._asked = trio.Event()
            free = await trio.to_thread.run_sync(self.read, abandon_on_cancel=True)
            if abs(free - self.told) >= NOTICEABLE:
                self.told = free
                self.tell(FreeMemoryChanged(free))

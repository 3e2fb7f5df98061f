"""Two ends of a link made of memory, for tests: with delay, with loss of everything, and with a look at what passed."""

from collections.abc import Callable

import trio

from actors.mailbox import QueueFull
from protocol.faults import Fault, FaultCode
from rtc.common.errors import RtcError
from rtc.transport.webrtc.byte_queue import ByteQueue

CONTROL_QUEUE_MAX = 1024 * 1024
BULK_QUEUE_MAX = 16 * 1024 * 1024
"""As much as a real peer keeps unread; see `rtc.transport.webrtc.peer_connection`."""

LOST = Fault(FaultCode.LINK_LOST, "The wire was closed by the other side.")
STALLED = Fault(FaultCode.STALLED, "More came over the wire than was read.")


class MemoryConnection:
    """One end, made by `memory_connection_pair`; fits `rtc.transport.links.link.Wire`.

    Knobs: `silent` lets nothing through any more, in this direction, without telling anybody (a pulled cable);
    `stuck` makes sends wait; `tamper` may change or drop (None) what is sent; `sent_texts` keeps every control text.
    """

    def __init__(self, *, control_queue_max: int = CONTROL_QUEUE_MAX, bulk_queue_max: int = BULK_QUEUE_MAX) -> None:
        self.control: ByteQueue[str] = ByteQueue(control_queue_max)
        self.bulk: ByteQueue[bytes] = ByteQueue(bulk_queue_max)
        self.fault: Fault | None = None
        self.other: MemoryConnection
        self.silent = False
        self.stuck = False
        self.tamper: Callable[[str | bytes], str | bytes | None] = lambda item: item
        self.sent_texts: list[str] = []
        self.ended = trio.Event()

    @property
    def last_received_at(self) -> float:
        """When anything last came."""
        return max(self.control.last_received_at, self.bulk.last_received_at)

    async def send_control(self, text: str) -> None:
        """Put it into the other end's intake, if nothing is in the way."""
        self.sent_texts.append(text)
        await self._send(text)

    async def send_bulk(self, frame: bytes) -> None:
        """Likewise."""
        await self._send(frame)

    async def finish(self) -> None:
        """Memory is quick: all has arrived, unless the cable is pulled."""
        await trio.lowlevel.checkpoint()
        if self.silent:
            await self.ended.wait()

    async def aclose(self) -> None:
        """Close both ends, unless the cable is pulled, when the other end hears nothing of it."""
        await trio.lowlevel.checkpoint()
        self.fail(LOST)
        if not self.silent:
            self.other.fail(LOST)

    def fail(self, fault: Fault) -> None:
        """This end is over."""
        self.fault = self.fault or fault
        self.control.end()
        self.bulk.end()
        self.ended.set()

    async def _send(self, item: str | bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.stuck:
            await self.ended.wait()
        if self.fault is not None:
            raise RtcError.of(self.fault)
        passed = None if self.silent else self.tamper(item)
        try:
            if isinstance(passed, str):
                self.other.control.put(passed)
            elif passed is not None:
                self.other.bulk.put(passed)
        except QueueFull:
            self.other.fail(STALLED)
            self.fail(LOST)


def memory_connection_pair(
    *, control_queue_max: int = CONTROL_QUEUE_MAX, bulk_queue_max: int = BULK_QUEUE_MAX
) -> tuple[MemoryConnection, MemoryConnection]:
    """Two ends of one wire."""
    one = MemoryConnection(control_queue_max=control_queue_max, bulk_queue_max=bulk_queue_max)
    two = MemoryConnection(control_queue_max=control_queue_max, bulk_queue_max=bulk_queue_max)
    one.other, two.other = two, one
    return one, two

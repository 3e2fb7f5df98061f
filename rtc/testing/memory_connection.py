"""An in-memory connection for links in tests, which can block, lose or change messages, and records the texts sent."""

from collections.abc import Callable

import trio

from actors.mailbox import QueueFull
from protocol.faults import Fault, FaultCode
from rtc.common.errors import RtcError
from rtc.transport.webrtc.byte_queue import ByteQueue

CONTROL_QUEUE_MAX = 1024 * 1024
BULK_QUEUE_MAX = 16 * 1024 * 1024
"""The same limits as a real connection; see `rtc.transport.webrtc.peer_connection`."""

LOST = Fault(FaultCode.LINK_LOST, "The connection was closed by the other side.")
STALLED = Fault(FaultCode.STALLED, "A receive queue is full.")


class MemoryConnection:
    """One end of a connection, made by `memory_connection_pair`; implements `rtc.transport.links.link.Connection`.

    A test may set: `silent`, which drops everything sent from this end without any error, like a pulled cable;
    `stuck`, which makes sends wait; `tamper`, which may change or drop (None) each item sent. `sent_texts` holds every
    control text sent from this end.
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
        """Time of the last item received (trio's clock)."""
        return max(self.control.last_received_at, self.bulk.last_received_at)

    async def send_control(self, text: str) -> None:
        """Put `text` into the other end's control queue, unless `silent`, `stuck` or `tamper` prevents it."""
        self.sent_texts.append(text)
        await self._send(text)

    async def send_bulk(self, frame: bytes) -> None:
        """Put `frame` into the other end's bulk queue, unless `silent`, `stuck` or `tamper` prevents it."""
        await self._send(frame)

    async def finish(self) -> None:
        """Return at once, since everything sent has arrived; with `silent`, wait until this end has ended."""
        await trio.lowlevel.checkpoint()
        if self.silent:
            await self.ended.wait()

    async def aclose(self) -> None:
        """Close both ends; with `silent`, only this one."""
        await trio.lowlevel.checkpoint()
        self.fail(LOST)
        if not self.silent:
            self.other.fail(LOST)

    def fail(self, fault: Fault) -> None:
        """Close this end for the reason `fault`; only the first reason counts."""
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
    """Return the two ends of one connection; the limits are in bytes."""
    one = MemoryConnection(control_queue_max=control_queue_max, bulk_queue_max=bulk_queue_max)
    two = MemoryConnection(control_queue_max=control_queue_max, bulk_queue_max=bulk_queue_max)
    one.other, two.other = two, one
    return one, two

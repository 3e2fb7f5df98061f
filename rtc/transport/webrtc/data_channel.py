"""One WebRTC data channel for trio: sends that wait for buffer space, and a bounded queue of received messages."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import trio
from aiortc import InvalidStateError

from actors.mailbox import QueueFull
from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.transport.webrtc.byte_queue import ByteQueue

if TYPE_CHECKING:
    from aiortc import RTCDataChannel

T = TypeVar("T", bound="str | bytes")


class ChannelOwner(Protocol):
    """The peer connection that a data channel belongs to."""

    @property
    def over(self) -> bool:
        """Whether the connection has ended."""

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Schedule an asyncio-flavoured function on the asyncio loop. Never waits."""

    def fail(self, code: FaultCode = FaultCode.LINK_LOST) -> None:
        """End the connection for the reason `code`."""

    def channel_opened(self) -> None:
        """Handle the event that the data channel has opened."""

    def channel_closed(self) -> None:
        """Handle the event that the data channel has closed."""


class DataChannel(Generic[T]):
    """One data channel of the connection `owner`.

    Args:
        owner: the connection.
        kind: `str` or `bytes`; a received message of another type ends the connection.
        queue_max: bytes of received messages that may wait unread; more ends the connection.
        high: bytes in the send buffer above which `send` waits.
        low: bytes in the send buffer at which `send` goes on.
    """

    def __init__(self, owner: ChannelOwner, kind: type[T], *, queue_max: int, high: int, low: int) -> None:
        self.queue: ByteQueue[T] = ByteQueue(queue_max)
        self.open = False
        self.closed = trio.Event()
        self._owner = owner
        self._kind = kind
        self._high = high
        self._low = low
        self._posted_bytes = 0
        """Bytes passed to the asyncio loop that aiortc has not received yet."""
        self._senders = trio.lowlevel.ParkingLot()
        self._channel: RTCDataChannel | None = None

    def attach(self, channel: "RTCDataChannel") -> None:
        """asyncio-flavoured: use aiortc's `channel`. Callbacks must not raise: pyee would end the SCTP transport."""
        self._channel = channel
        channel.bufferedAmountLowThreshold = self._low
        channel.on("open", self._on_open)
        channel.on("message", self._on_message)
        channel.on("bufferedamountlow", self._senders.unpark_all)
        channel.on("close", self._on_close)

    async def send(self, data: T) -> None:
        """Send `data`, once the send buffer is not above its high mark.

        Raises:
            RtcError: LINK_LOST, when the connection has ended or is not open.
        """
        await trio.lowlevel.checkpoint()
        while self._unsent_bytes() > self._high and not self._owner.over:
            await self._senders.park()
        if self._owner.over or not self.open:
            raise RtcError(FaultCode.LINK_LOST, "The connection to the other side is gone.")
        self._posted_bytes += len(data)
        self._owner.post(self._send_now, data)

    def close(self) -> None:
        """asyncio-flavoured: close after the sent messages; `closed` is set when the peer has received them."""
        if self._channel is not None:
            self._channel.close()

    def wake(self) -> None:
        """Wake the tasks that wait in `send`, because the connection has ended."""
        self._senders.unpark_all()

    def _unsent_bytes(self) -> int:
        return self._posted_bytes + (self._channel.bufferedAmount if self._channel is not None else 0)

    def _send_now(self, data: T) -> None:
        self._posted_bytes -= len(data)
        if self._channel is None or self._owner.over:
            return
        try:
            self._channel.send(data)
        except (InvalidStateError, ValueError):  # closed meanwhile, or longer than the peer accepts
            self._owner.fail()
        if self._channel.bufferedAmount <= self._low:
            self._senders.unpark_all()  # sent at once: the buffer never crossed the low mark, so there is no event

    def _on_open(self) -> None:
        self.open = True
        self._owner.channel_opened()

    def _on_close(self) -> None:
        self.closed.set()
        self._owner.channel_closed()

    def _on_message(self, data: object) -> None:
        if not isinstance(data, self._kind):
            self._owner.fail(FaultCode.BAD_MESSAGE)
            return
        try:
            self.queue.put(data)
        except QueueFull:
            self._owner.fail(FaultCode.STALLED)

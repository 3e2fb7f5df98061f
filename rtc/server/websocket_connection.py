"""The WebSocket of one peer: its writer, and how long the peer may take to read."""

import trio
from attrs import define, field
from trio_websocket import WebSocketConnection

from protocol.version import VERSIONS
from protocol.wire import encode, is_known
from rtc.server.outbox import PeerOutbox
from rtc.server.rate_limits import source_network
from rtc.server.rooms import WebSocketId
from rtc.transport.signaling.websocket import KeepAlive

SEND_TIME = 10.0
"""Seconds in which a peer has to accept `PIECE` bytes; one that does not read at all is disconnected."""
PIECE = 4096
"""Bytes that are given to the operating system at once; a long message over a slow line takes more than `SEND_TIME`."""


@define(eq=False)
class PeerWebSocket:
    """The connection of one peer, from the TCP connection before the upgrade to the end of the WebSocket."""

    id: WebSocketId
    address: str
    """The peer's IP address; that of a trusted proxy until the request has told whose it is."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    """Cancelling this scope ends the connection at once."""
    outbox: PeerOutbox = field(factory=PeerOutbox)
    version: int = VERSIONS.newest
    """The version of the protocol that this WebSocket uses; the newest until the peer has said what it speaks."""
    unknown_count: int = 0
    """How many messages of an unknown name have come since the peer joined a room."""
    answers_due: int = 0
    """How many messages it may send without being slowed down: one for each offer that it was sent."""
    is_open: bool = False
    """Whether the upgrade to WebSocket is done, so that a last message and a close frame can be sent."""
    is_displaced: bool = False
    """Whether the connection is closed at once, without a close frame."""
    is_idle: bool = field(default=True, init=False)
    """Whether another connection may displace it while it is in no room."""
    _sending: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    """Ends when the peer has not accepted anything for `SEND_TIME`."""

    @property
    def source_network(self) -> str:
        """The key under which its requests are counted."""
        return source_network(self.address)

    def displace(self) -> None:
        """End the connection at once."""
        self.is_displaced = True
        self.scope.cancel()

    async def write(self, ws: WebSocketConnection, keep_alive: KeepAlive) -> None:
        """Send the messages of the outbox until `finish` is called and all of them are sent.

        Messages and fields that the peer's version does not have are left out.

        While a message is being sent, the peer need not be heard: a slow one answers a ping only when it has read all
        that was sent before, and none is heard while its replies wait. `SEND_TIME` ends one that reads nothing.

        Raises:
            ConnectionClosed: the peer has closed the WebSocket, or it is lost.
        """
        while True:
            try:
                message = await self.outbox.take()
            except trio.EndOfChannel:
                return
            if not is_known(message, self.version):
                continue
            with keep_alive.paused(), trio.move_on_after(SEND_TIME) as self._sending:
                await ws.send_message(encode(message, self.version))
            if self._sending.cancelled_caught:  # part of a frame may have been sent, so no other frame can follow
                self.scope.cancel()

    def note_progress(self) -> None:
        """Record that the peer has accepted something."""
        self._sending.deadline = trio.current_time() + SEND_TIME

    def finish(self) -> None:
        """Close the WebSocket after the messages in the outbox have been sent; does not wait for it."""
        if self.is_open:
            self.outbox.finish()
        else:
            self.scope.cancel()


@define(eq=False)
class PiecewiseStream(trio.abc.Stream):
    """A stream that sends long data in pieces of `PIECE` bytes, and tells after each that there is progress.

    When it ends before the WebSocket is open, it cancels the handshake, for which trio-websocket would wait for ever.
    """

    _stream: trio.abc.Stream
    _websocket: PeerWebSocket
    _first: bytes
    """What has been read already, and comes first."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`."""
        for start in range(0, len(data), PIECE):
            await self._stream.send_all(data[start : start + PIECE])
            self._websocket.note_progress()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` might not block."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return the next bytes that came."""
        first, self._first = self._first, b""
        data = first or await self._stream.receive_some(max_bytes)
        if not data:
            self._end_handshake()
        return data

    async def aclose(self) -> None:
        """Close the stream."""
        self._end_handshake()
        await self._stream.aclose()

    def _end_handshake(self) -> None:
        if not self._websocket.is_open:
            self._websocket.scope.cancel()

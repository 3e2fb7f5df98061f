"""The WebSocket of one peer, and the messages that wait to be sent over it."""

import trio
from attrs import define, field
from trio_websocket import WebSocketConnection

from actors.mailbox import Mailbox
from protocol.signaling import FromServer
from protocol.version import VERSIONS
from protocol.wire import encode, is_known
from rtc.server.rooms import WebSocketId

OUTBOX = 256
"""Messages that may wait for one WebSocket. At most half of them are messages that were relayed from other peers. The
other half is large enough for one message about each worker of a room at once (64 workers that all
reconnect after a restart)."""
SEND_TIME = 10.0
"""Seconds in which a peer has to accept one message."""


@define(eq=False)
class PeerWebSocket:
    """The connection of one peer, from the TCP connection before the upgrade to the end of the WebSocket."""

    id: WebSocketId
    source_network: str
    """The key under which its requests are counted (`rate_limits.source_network`)."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    """Cancelling this scope ends the connection at once."""
    outbox: Mailbox[FromServer] = field(factory=lambda: Mailbox(OUTBOX))
    version: int = VERSIONS.newest
    """The version of the protocol that this WebSocket uses; the newest until the peer has said what it speaks."""
    is_open: bool = False
    """Whether the upgrade to WebSocket is done, so that a last message and a close frame can be sent."""

    async def write(self, ws: WebSocketConnection) -> None:
        """Send the messages of the outbox until `finish` is called and all of them are sent.

        Messages and fields that the peer's version does not have are left out.

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
            with trio.move_on_after(SEND_TIME) as time_limit:
                await ws.send_message(encode(message, self.version))
            if time_limit.cancelled_caught:  # part of a frame may have been sent, so no other frame can follow
                self.scope.cancel()

    def finish(self) -> None:
        """Close the WebSocket after the messages in the outbox have been sent; does not wait for it."""
        if self.is_open:
            self.outbox.finish()
        else:
            self.scope.cancel()

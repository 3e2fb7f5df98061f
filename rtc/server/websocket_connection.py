"""One connection to the server, and the messages that wait for it."""

import trio
from attrs import define, field
from trio_websocket import WebSocketConnection

from actors.mailbox import Mailbox
from protocol.signaling import FromServer
from protocol.wire import encode
from rtc.server.rooms import SocketId

OUTBOX = 256
"""Messages that may wait for one socket. Half is for what others ask to be carried, and that half is never exceeded;
the other half takes a whole room's news at once (64 workers that return together after a restart)."""
SEND_TIME = 10.0
"""Seconds a socket may take to accept one message."""


@define(eq=False)
class PeerSocket:
    """One connection, from its first byte to its last."""

    id: SocketId
    origin: str
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    """Cut it, and the connection ends at once."""
    outbox: Mailbox[FromServer] = field(factory=lambda: Mailbox(OUTBOX))
    open: bool = False
    """Whether the upgrade to WebSocket is done, so that there is somebody to say good-bye to."""

    async def write(self, ws: WebSocketConnection) -> None:
        """Send what is put into the outbox until that is finished.

        Raises:
            ConnectionClosed: the other end is gone.
        """
        while True:
            try:
                message = await self.outbox.take()
            except trio.EndOfChannel:
                return
            with trio.move_on_after(SEND_TIME) as patience:
                await ws.send_message(encode(message))
            if patience.cancelled_caught:  # half a frame may have left: nothing more can follow
                self.scope.cancel()

    def finish(self) -> None:
        """Close it, after what it was told has left."""
        if self.open:
            self.outbox.finish()
        else:
            self.scope.cancel()

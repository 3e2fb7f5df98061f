"""What both ends of the signalling line need from trio-websocket, and its traps, in one place.

- It has no heartbeat: a line whose other end vanished stays open for ever. Hence `KeepAlive`.
- Its reader task lets errors of wsproto and of Python's decoders through: one header can raise them. Hence `ENDINGS`.
- `aclose` waits for the other end, and does nothing at all, not even free the socket, when the other end closed first
  or was cut for a message too long. Hence `close`.
"""

import math

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection
from wsproto.utilities import ProtocolError

PING_TIME = 10.0
"""Seconds between pings."""
SILENCE_TIME = 20.0
"""Seconds without a sign of life after which the other end counts as gone: a ping, and 10 s for its pong."""
CLOSE_TIME = 2.0
"""Seconds for the closing handshake."""
CANCELLED_CLOSE_TIME = 0.2
"""Seconds to send a last word that is not answered."""
NORMAL, GOING_AWAY = 1000, 1001
"""Close codes (RFC 6455, 7.4.1)."""
ENDINGS = (
    ConnectionClosed,
    HandshakeError,
    ProtocolError,
    UnicodeError,  # wsproto decodes headers as ASCII and IDNA
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)
"""How trio-websocket's tasks end when the other end is gone or talks nonsense."""


class KeepAlive:
    """Cancels its scope when the other end gives no sign of life. Messages count as well as pongs: a pong may be
    stuck behind messages that we read slowly on purpose."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope(deadline=trio.current_time() + SILENCE_TIME)

    def note_received(self) -> None:
        """The other end lives."""
        self.scope.deadline = trio.current_time() + SILENCE_TIME

    async def ping(self, ws: WebSocketConnection) -> None:
        """Ping for ever.

        Raises:
            ConnectionClosed: the line is closed.
        """
        while True:
            await trio.sleep(PING_TIME)
            await ws.ping()
            self.note_received()


async def close(ws: WebSocketConnection | None, stream: trio.abc.Stream, code: int) -> None:
    """Say good-bye if there is still somebody to say it to, and free the socket in any case.

    Takes at most `CLOSE_TIME`. When we are being cancelled, so is the task that would read the other end's answer;
    then the word is sent and its answer is not waited for.
    """
    cancelled = trio.current_effective_deadline() == -math.inf
    try:
        with trio.move_on_after(CANCELLED_CLOSE_TIME if cancelled else CLOSE_TIME, shield=True):
            if ws is not None:
                await ws.aclose(code)
    finally:
        await trio.aclose_forcefully(stream)

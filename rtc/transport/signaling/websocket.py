"""Heartbeat, closing and errors of a WebSocket, for peer and server: here are the workarounds for trio-websocket.

- trio-websocket has no heartbeat: a connection whose other end has vanished stays open for ever. `KeepAlive` closes it.
- Its reader task does not catch errors of wsproto and of Python's decoders, and a single HTTP header can cause one.
  `CONNECTION_ERRORS` lists them.
- `aclose` waits for the other end. When the other end closed first, or was cut because its message was too long,
  `aclose` does nothing and does not even free the socket. `close` always frees it.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection
from wsproto.utilities import ProtocolError

PING_TIME = 10.0
"""Seconds between pings."""
SILENCE_TIME = 20.0
"""Seconds without a message or pong after which the other end counts as lost: `PING_TIME`, and 10 s for the pong."""
CLOSE_TIME = 2.0
"""Seconds for the closing handshake (RFC 6455, 7.1.2)."""
CANCELLED_CLOSE_TIME = 0.2
"""Seconds to send a Close frame while being cancelled; the answer is not awaited."""
UNKNOWN_MAX = 10
"""Unknown messages on one WebSocket that are logged; all of them are ignored, and no peer can fill the log."""
NORMAL, GOING_AWAY = 1000, 1001
"""Close codes (RFC 6455, 7.4.1)."""
CONNECTION_ERRORS = (
    ConnectionClosed,
    HandshakeError,
    ProtocolError,
    UnicodeError,  # wsproto decodes headers as ASCII and IDNA
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)
"""The exceptions with which trio-websocket's tasks end when the other end has vanished or breaks the protocol."""


class KeepAlive:
    """A time-out on silence: cancels `scope` when nothing is received from the other end for `SILENCE_TIME`.

    Messages count as well as pongs: a pong may be stuck behind messages that we read slowly on purpose.
    """

    def __init__(self) -> None:
        self.scope = trio.CancelScope(deadline=trio.current_time() + SILENCE_TIME)
        self._left = 0.0
        """Seconds of the time-out that are left when the pause ends."""

    def note_received(self) -> None:
        """Record that something was received: the time-out begins again."""
        self._left = SILENCE_TIME
        if self.scope.deadline != math.inf:
            self.scope.deadline = trio.current_time() + SILENCE_TIME

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the time-out's clock while it would not be the other end's fault that nothing is heard."""
        self._left = self.scope.deadline - trio.current_time()
        self.scope.deadline = math.inf
        try:
            yield
        finally:
            self.scope.deadline = trio.current_time() + self._left

    async def ping(self, ws: WebSocketConnection) -> None:
        """Send a ping every `PING_TIME` and wait for its pong; never returns.

        Raises:
            ConnectionClosed: the connection is closed.
        """
        while True:
            await trio.sleep(PING_TIME)
            await ws.ping()
            self.note_received()


async def close(ws: WebSocketConnection | None, stream: trio.abc.Stream, code: int) -> None:
    """Send a Close frame with `code` if the WebSocket is open, and free the socket in any case.

    Takes at most `CLOSE_TIME`. When we are being cancelled, the task that would read the other end's answer is
    cancelled too; then the Close frame is sent and its answer is not awaited.
    """
    cancelled = trio.current_effective_deadline() == -math.inf
    try:
        with trio.move_on_after(CANCELLED_CLOSE_TIME if cancelled else CLOSE_TIME, shield=True):
            if ws is not None:
                await ws.aclose(code)
    finally:
        await trio.aclose_forcefully(stream)

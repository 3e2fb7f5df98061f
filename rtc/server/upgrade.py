"""The WebSocket handshake on the server's side, after checks that the libraries do not make."""

from collections.abc import Callable
from typing import Any

import trio
from trio_websocket import WebSocketConnection
from wsproto import ConnectionType, WSConnection

from protocol.wire import FRAME_MAX
from rtc.server.request_head import BadHead, HeadReader, header_values
from rtc.server.websocket_connection import PeerWebSocket, PiecewiseStream

PARTS_MAX = 64
"""Parts of one message that wait for its end as objects of their own."""
_CHUNK = 4096


class CompactWebSocket(WebSocketConnection):
    """A WebSocket for which a message in very many parts, even empty ones, takes no more memory than its text."""

    async def _handle_message_event(self, event: Any) -> None:
        if len(self._message_parts) >= PARTS_MAX:
            self._message_parts = [type(event.data)().join(self._message_parts)]
        await super()._handle_message_event(event)


async def upgrade(
    library_tasks: trio.Nursery,
    stream: trio.abc.Stream,
    websocket: PeerWebSocket,
    identify: Callable[[PeerWebSocket, bytes], bool],
) -> WebSocketConnection | None:
    """Read the request, check it, and open the WebSocket; return None when the peer has gone.

    Args:
        library_tasks: the nursery for trio-websocket's own reader task.
        identify: is given the head of the request; returns whether the connection may go on.

    Raises:
        BadHead: the connection is to be refused with this status.
    """
    found = await _read_head(stream)
    if found is None:
        return None
    head, rest = found
    if header_values(head, b"transfer-encoding") or header_values(head, b"content-length") not in ([], [b"0"]):
        raise BadHead(400)  # what follows the head would be read as frames here, and elsewhere as a body
    if not identify(websocket, head):
        raise BadHead(503)
    ws = CompactWebSocket(
        PiecewiseStream(stream, websocket, head + rest),
        WSConnection(ConnectionType.SERVER),
        max_message_size=FRAME_MAX,
    )
    library_tasks.start_soon(ws._reader_task)
    request = await ws._get_request()
    return await request.accept()


async def _read_head(stream: trio.abc.Stream) -> tuple[bytes, bytes] | None:
    """Return the head of the request and what has come after it; None when the peer has closed the connection."""
    reader = HeadReader()
    while data := await stream.receive_some(_CHUNK):
        found = reader.add(data)
        if found is not None:
            return found
    return None

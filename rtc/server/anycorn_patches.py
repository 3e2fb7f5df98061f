"""What is different from anycorn's own HTTP/1.1 protocol, in a subclass; and a log for it that quotes no request.

1. Connections stay HTTP/1.1; requests to upgrade to HTTP/2 are ignored.
2. Where anycorn itself answers with an error, such as to a request that is no HTTP, the answer has a body.
3. Where anycorn answers with an error although an answer has begun, nothing more is sent and the connection ends. It
   does so when an application is cancelled while the beginning of its answer is being sent: the peer has cut the
   connection, its time is over, or the server stops.
4. A connection ends after an answer when the next request has come together with a body (it would be read without the
   checks of `request_head.py`), and after a request whose body came in chunks (whose end proxies may see elsewhere).

It overrides private methods of anycorn 0.20, and reads a private name of h11. `tests/server/test_http_api.py` fails
when a later version no longer uses these names.
"""

import sys
from typing import Any

import h11
import trio
from anycorn.config import Config
from anycorn.events import Closed
from anycorn.logging import Logger
from anycorn.protocol.events import Body, Response, StreamClosed
from anycorn.protocol.h11 import STREAM_ID, H11Protocol

from rtc.server.incidents import report_incident
from rtc.server.problems import problem_parts

_CLOSE = (b"connection", b"close")


class Http11(H11Protocol):
    """The protocol of one connection."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._is_chunked = False
        """Whether the body of the present request comes in chunks."""
        self._answered = trio.Event()
        """Set when the present request is answered as a whole."""
        self._is_aborted = False
        """Whether the present answer stays a part, and nothing more of it is to be sent."""

    async def wait_may_continue(self) -> None:
        """Wait while a request has come as a whole and is being answered."""
        if isinstance(self.connection, h11.Connection) and not self.awaits_more:
            await self._answered.wait()

    @property
    def awaits_head(self) -> bool:
        """Whether the next bytes begin a request."""
        return isinstance(self.connection, h11.Connection) and self.connection.their_state is h11.IDLE

    @property
    def awaits_more(self) -> bool:
        """Whether the present request, or the next, has not come as a whole."""
        return isinstance(self.connection, h11.Connection) and self.connection.their_state in (h11.IDLE, h11.SEND_BODY)

    async def stream_send(self, event: Any) -> None:
        """Send a part of an answer; to an error without a body, as anycorn makes it, add one."""
        self._is_aborted |= isinstance(event, Response) and self._has_begun_to_answer()
        if self._is_aborted and not isinstance(event, StreamClosed):
            return
        if not isinstance(event, Response):
            await super().stream_send(event)
        elif event.status_code >= 400 and (b"content-length", b"0") in event.headers:
            headers, body = problem_parts(event.status_code)
            await super().stream_send(Response(STREAM_ID, [*headers, _CLOSE], event.status_code))
            if not self._asks_for_head():
                await super().stream_send(Body(STREAM_ID, body))
        else:
            more = [_CLOSE] if self._is_chunked else []
            await super().stream_send(Response(STREAM_ID, [*event.headers, *more], event.status_code))

    async def _send_error_response(self, status_code: int) -> None:
        """Answer a request that is no HTTP."""
        headers, body = problem_parts(status_code)
        headers += [_CLOSE, *self.config.response_headers("h11")]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        if not self._asks_for_head():
            await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())

    async def _check_protocol(self, event: h11.Request) -> None:
        """Replace anycorn's upgrade to HTTP/2 by doing nothing; note that a request has begun."""
        self._answered = trio.Event()
        self._is_chunked = any(name == b"transfer-encoding" for name, _ in event.headers)
        await trio.lowlevel.checkpoint()

    async def _maybe_recycle(self) -> None:
        """Await the next request on this connection, unless it has come too early."""
        has_more = isinstance(self.connection, h11.Connection) and bool(self.connection.trailing_data[0])
        if has_more or self._is_aborted:
            await self._close_stream()
            await self.send(Closed())
        else:
            await super()._maybe_recycle()
        self._answered.set()

    def _has_begun_to_answer(self) -> bool:
        """Return whether h11 has sent the head of an answer to the present request, and so takes no other."""
        h11_connection = getattr(self.connection, "h11_connection", self.connection)  # within that of a WebSocket
        return h11_connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE)

    def _asks_for_head(self) -> bool:
        """Return whether the present request has the method HEAD, whose answer has no body (RFC 9110, 9.3.2)."""
        return getattr(self.connection, "_request_method", None) == b"HEAD"


class IncidentLog(Logger):
    """Logs errors of the application without their texts, and nothing else: request lines and headers hold tokens."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.access_logger = self.error_logger = None

    async def exception(self, message: str, *_args: Any, **_kwargs: Any) -> None:
        """Log where the exception that is being handled came from."""
        error = sys.exception()
        if error is not None:
            report_incident(message, error)

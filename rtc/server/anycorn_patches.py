"""Three patches that anycorn needs on a public port.

1. An exception in one connection ends that connection alone, not the whole server.
2. Connections stay HTTP/1.1; requests to upgrade to HTTP/2 are ignored.
3. Where anycorn itself answers with an error, such as to a request that is no HTTP, the answer has a body.

They replace private names of anycorn 0.20, and read one of h11. The requests of `tests/server/test_http_api.py` fail
when a later version no longer uses these names.
"""

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from typing import Any

import anycorn.run
import h11
import trio
from anycorn.protocol.events import Body, Response
from anycorn.protocol.h11 import STREAM_ID, H11Protocol

log = logging.getLogger("rtc.server.http")

Handler = Callable[[Any], Awaitable[None]]
ErrorAnswer = Callable[[int], tuple[list[tuple[bytes, bytes]], bytes]]
"""Returns the headers and the body of an answer with this status."""
_RUN: Any = anycorn.run
_HTTP11: Any = H11Protocol
_make_handler: Callable[..., Handler] = _RUN.tcp_server_handler


_stream_send: Callable[[Any, Any], Awaitable[None]] = H11Protocol.stream_send


def patch_anycorn(error_answer: ErrorAnswer) -> None:
    """Apply all patches in this process; calling this again changes nothing but `error_answer`.

    Args:
        error_answer: what is sent where anycorn would send an error without a body.
    """
    _HTTP11._check_protocol = _stay_http11
    _RUN.tcp_server_handler = _make_isolated_handler

    async def send_with_body(protocol: Any, event: Any) -> None:
        """Send a part of an answer; to an error without a body, as anycorn makes it, add one."""
        if not isinstance(event, Response) or event.status_code < 400 or not _is_empty(event):
            await _stream_send(protocol, event)
            return
        headers, body = error_answer(event.status_code)
        await _stream_send(protocol, Response(STREAM_ID, [*headers, _CLOSE], event.status_code))
        if not _asks_for_head(protocol):
            await _stream_send(protocol, Body(STREAM_ID, body))

    async def send_error(protocol: Any, status: int) -> None:
        """Answer a request that is no HTTP."""
        headers, body = error_answer(status)
        headers += [_CLOSE, *protocol.config.response_headers("h11")]
        await protocol._send_h11_event(h11.Response(status_code=status, headers=headers))
        if not _asks_for_head(protocol):
            await protocol._send_h11_event(h11.Data(data=body))
        await protocol._send_h11_event(h11.EndOfMessage())

    _HTTP11.stream_send = send_with_body
    _HTTP11._send_error_response = send_error


_CLOSE = (b"connection", b"close")


def _is_empty(answer: Response) -> bool:
    return (b"content-length", b"0") in answer.headers


def _asks_for_head(protocol: Any) -> bool:
    """Return whether the present request has the method HEAD, whose answer has no body (RFC 9110, 9.3.2)."""
    return getattr(protocol.connection, "_request_method", None) == b"HEAD"


async def _stay_http11(_protocol: H11Protocol, _request: object) -> None:
    """Replace anycorn's upgrade to HTTP/2 by doing nothing.

    Nothing here needs HTTP/2, and an `HTTP2-Settings` header that is not base64 ended the whole server.
    """
    await trio.lowlevel.checkpoint()


@wraps(_make_handler)
def _make_isolated_handler(*arguments: Any) -> Handler:
    handle = _make_handler(*arguments)

    async def isolated(stream: Any) -> None:
        try:
            await handle(stream)
        except* Exception as group:  # noqa: BLE001 - any request may come in here; Cancelled passes through
            log.warning("a connection failed: %s", "; ".join(_error_locations(group)))

    return isolated


def _error_locations(error: BaseException) -> Iterator[str]:
    """Yield the type and the function of each error; never its text, which may quote a request and its token."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _error_locations(inner)
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        yield f"{type(error).__name__} in {frame.name}"

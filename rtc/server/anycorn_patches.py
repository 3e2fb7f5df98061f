"""Two patches that anycorn needs on a public port.

1. An exception in one connection ends that connection alone, not the whole server.
2. Connections stay HTTP/1.1; requests to upgrade to HTTP/2 are ignored.

Both replace private names of anycorn 0.20. The requests of `tests/server/test_http_api.py` fail when a later version no
longer uses these names.
"""

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from typing import Any

import anycorn.run
import trio
from anycorn.protocol.h11 import H11Protocol

log = logging.getLogger("rtc.server.http")

Handler = Callable[[Any], Awaitable[None]]
_RUN: Any = anycorn.run
_HTTP11: Any = H11Protocol
_make_handler: Callable[..., Handler] = _RUN.tcp_server_handler


def patch_anycorn() -> None:
    """Apply both patches in this process; calling this again changes nothing."""
    _HTTP11._check_protocol = _stay_http11
    _RUN.tcp_server_handler = _make_isolated_handler


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

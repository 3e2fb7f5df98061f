"""What anycorn lacks for an open port: one connection's failure stays its own, and HTTP/1.1 stays HTTP/1.1.

Both are done at names that anycorn does not promise to keep (0.20); `tests/server/test_http_api.py` fails when they
are gone.
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
    """Use both from now on, in this process; harmless when repeated."""
    _HTTP11._check_protocol = _stay
    _RUN.tcp_server_handler = _make_sheltered


async def _stay(_protocol: H11Protocol, _request: object) -> None:
    """In place of upgrades to HTTP/2. Nobody needs them here, and a header that is no base64 ended the whole server."""
    await trio.lowlevel.checkpoint()


@wraps(_make_handler)
def _make_sheltered(*arguments: Any) -> Handler:
    handle = _make_handler(*arguments)

    async def sheltered(stream: Any) -> None:
        try:
            await handle(stream)
        except* Exception as group:  # noqa: BLE001 - the edge of all that strangers reach; cancellation passes
            log.warning("a connection failed: %s", "; ".join(_where(group)))

    return sheltered


def _where(error: BaseException) -> Iterator[str]:
    """Kinds and places of what went wrong; never the texts, which may quote a request and its token."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _where(inner)
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        yield f"{type(error).__name__} in {frame.name}"

"""The server: rooms, tokens, who is present; signalling on one port, HTTP on another. It sees no package and no secret.

Everything lives between `open_server`'s two ends, so a test or the demo can hold one like a file.
"""

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import trio
from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.common.nurseries import ungrouped
from rtc.server.database import open_room_database
from rtc.server.http_api import HttpApi, serve_api
from rtc.server.rate_limits import RateLimits
from rtc.server.signaling import SignalingServer
from rtc.server.turn_credentials import NO_TURN, TurnCredentials

WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - these are names of it, not a choice
BACKLOG = 128


@frozen
class Server:
    """Where a running server is reached; with port 0, these are the ports that were found free."""

    host: str
    """A name that others can use: for a server on all addresses, this machine's own name."""
    ws_port: int
    http_port: int

    @property
    def ws_url(self) -> str:
        """What peers connect to."""
        return f"ws://{self._netloc}:{self.ws_port}"

    @property
    def http_url(self) -> str:
        """What browsers and scripts connect to."""
        return f"http://{self._netloc}:{self.http_port}"

    @property
    def _netloc(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


async def _bind(host: str, port: int, option: str) -> socket.socket:
    """One listening socket.

    Raises:
        RtcError: the port is taken or forbidden, or the host is not ours.
    """
    try:
        found = await trio.socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        raise RtcError(FaultCode.USAGE, _why_not(error, host, port, option)) from None
    return sock


def _why_not(error: Exception, host: str, port: int, option: str) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"Port {port} is taken by another program. Stop that one, or choose another with {option}."
    if number in (errno.EACCES, errno.EPERM):
        return f"Port {port} may not be used by you. Choose one above 1023 with {option}."
    return f"The server cannot listen on host {host!r}, port {port}. Choose others with --host and {option}."


@asynccontextmanager
async def open_server(
    *, host: str, ws_port: int, http_port: int, data: Path, turn_credentials: TurnCredentials = NO_TURN
) -> AsyncIterator[Server]:
    """A whole server, listening when this yields and stopped politely when the block ends.

    `turn_credentials`: the STUN and TURN servers that every peer is told of.

    Raises:
        RtcError: a port or the data folder cannot be used.
    """
    with (
        ungrouped(),
        closing(await _bind(host, ws_port, "--ws-port")) as ws,
        closing(await _bind(host, http_port, "--http-port")) as http,
    ):
        shown = socket.gethostname() if host in WILDCARDS else host
        server = Server(shown, ws.getsockname()[1], http.getsockname()[1])
        async with open_room_database(data) as store, trio.open_nursery() as nursery:
            limits = RateLimits()
            signaling = SignalingServer(store, limits, turn_credentials)
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(ws))
            await nursery.start(signaling.run, [listener])
            stopping = trio.Event()
            app = HttpApi(store, limits, signaling.book.workers).app()
            await nursery.start(serve_api, app, http.detach(), stopping.wait)
            try:
                yield server
            finally:
                signaling.stop()
                stopping.set()

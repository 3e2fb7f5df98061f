"""The signalling server: rooms, their tokens and the peers in them; signalling on one port, HTTP on another.

Job packages and room secrets never pass through it. `open_server` is a context manager that starts a whole server and
stops it, so tests, the demo and a worker with `--serve` can run one in their own process.
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
from rtc.server.descriptors import SERVER_RESERVE, few_capacity_errors, fit_to_system
from rtc.server.http_api import HttpApi
from rtc.server.http_server import HttpServer
from rtc.server.limits import DEFAULT_LIMITS, ServerLimits
from rtc.server.overload import Refusals
from rtc.server.rate_limits import RateLimits
from rtc.server.signaling import SignalingServer
from rtc.server.turn_credentials import NO_TURN, TurnCredentials

ALL_ADDRESSES = ("0.0.0.0", "::", "")  # noqa: S104 - hosts that are compared with, not listened on
"""Hosts that mean "all addresses of this machine"."""
BACKLOG = 1024
"""Connections that may wait to be accepted, per port."""


@frozen
class Server:
    """The addresses of a running server. Where port 0 was requested, the ports are those that the system chose."""

    host: str
    """A host under which others can reach it: for a server on all addresses, this machine's host name."""
    ws_port: int
    http_port: int
    limits: ServerLimits = DEFAULT_LIMITS
    """The limits that the server keeps: those asked for, or what the system's limit of open files leaves of them."""

    @property
    def ws_url(self) -> str:
        """The address that workers and clients connect to."""
        return f"ws://{self._netloc}:{self.ws_port}"

    @property
    def http_url(self) -> str:
        """The address that browsers and scripts connect to."""
        return f"http://{self._netloc}:{self.http_port}"

    @property
    def _netloc(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


async def _bind(host: str, port: int, option: str) -> socket.socket:
    """Return a listening TCP socket.

    Args:
        option: the command-line option that chooses the port, for the error text.

    Raises:
        RtcError: the port is taken or forbidden, or the host is no address of this machine.
    """
    try:
        addresses = await trio.socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
        family, kind, protocol, _, address = addresses[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        raise RtcError(FaultCode.USAGE, _explain_bind_error(error, host, port, option)) from None
    return sock


def _explain_bind_error(error: Exception, host: str, port: int, option: str) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"Port {port} is taken by another program. Stop that one, or choose another with {option}."
    if number in (errno.EACCES, errno.EPERM):
        return f"Port {port} may not be used by you. Choose one above 1023 with {option}."
    return f"The server cannot listen on host {host!r}, port {port}. Choose others with --host and {option}."


@asynccontextmanager
async def open_server(
    *,
    host: str,
    ws_port: int,
    http_port: int,
    data: Path,
    turn_credentials: TurnCredentials = NO_TURN,
    limits: ServerLimits = DEFAULT_LIMITS,
    reserve: int = SERVER_RESERVE,
) -> AsyncIterator[Server]:
    """Run a whole server: it listens when this yields, and its connections are closed in order when the block ends.

    Args:
        data: the folder of the database; created if it does not exist.
        turn_credentials: the STUN and TURN servers, with credentials, that every peer gets.
        limits: what the server takes at most; less where the system allows too few open files.
        reserve: file descriptors that are left for everything else in this process.

    Raises:
        RtcError: a port or the data folder cannot be used, or the system allows too few open files.
    """
    with (
        ungrouped(),
        few_capacity_errors(),
        closing(await _bind(host, ws_port, "--ws-port")) as ws,
        closing(await _bind(host, http_port, "--http-port")) as http,
    ):
        limits = fit_to_system(limits, reserve)
        reachable_host = socket.gethostname() if host in ALL_ADDRESSES else host
        server = Server(reachable_host, ws.getsockname()[1], http.getsockname()[1], limits)
        async with open_room_database(data) as database, trio.open_nursery() as nursery:
            rates, refusals = RateLimits(limits), Refusals()
            signaling = SignalingServer(database, rates, turn_credentials, limits=limits, refusals=refusals)
            app = HttpApi(database, rates, signaling.registry.workers, limits).app()
            http_server = HttpServer(app, limits, refusals)
            await nursery.start(signaling.run, [_listener(ws)])
            await nursery.start(http_server.run, [_listener(http)])
            try:
                yield server
            finally:
                signaling.stop()
                http_server.stop()


def _listener(sock: socket.socket) -> trio.SocketListener:
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))

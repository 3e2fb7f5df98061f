"""The server's HTTP port: accepts connections within the limits, and serves an ASGI application over them."""

import logging
from collections.abc import Sequence
from functools import partial

import trio
from anycorn.app_wrappers import ASGIWrapper
from anycorn.config import Config
from anycorn.worker_context import WorkerContext
from starlette.types import ASGIApp

from rtc.server.anycorn_patches import IncidentLog
from rtc.server.client_address import is_trusted
from rtc.server.connection_pool import ConnectionPool
from rtc.server.http_connection import HttpConnection
from rtc.server.incidents import error_places, report_incident
from rtc.server.limits import ServerLimits
from rtc.server.overload import BUSY_REASON, Refusals
from rtc.server.rate_limits import source_network
from rtc.server.request_head import HEAD_MAX

log = logging.getLogger(__name__)

STOP_TIME = 2.0
"""Seconds in which the requests that are being answered may end when the server stops."""


def _config() -> Config:
    config = Config()
    config.logger_class = IncidentLog
    config.h11_max_incomplete_size = HEAD_MAX
    config.websocket_permessage_deflate = False  # a small compressed frame may expand until the memory is full
    config.include_server_header = False
    return config


class HttpServer:
    """The HTTP port of one server."""

    def __init__(self, app: ASGIApp, limits: ServerLimits, refusals: Refusals) -> None:
        self._app = ASGIWrapper(app)  # type: ignore[arg-type]
        self._limits = limits
        self._refusals = refusals
        self._config = _config()
        self._context = WorkerContext(None)
        self._connections: set[HttpConnection] = set()
        self._pool = ConnectionPool(limits.max_http, limits.max_http_per_address)
        self._stopping = trio.Event()

    def stop(self) -> None:
        """Accept no new connection, and end those without a request; `run` returns when all have ended."""
        self._stopping.set()

    async def run(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept connections on `listeners` and serve them until `stop` is called."""
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                serve = partial(trio.serve_listeners, self._serve, list(listeners), handler_nursery=connections)
                await accepting.start(serve)
                task_status.started()
                await self._stopping.wait()
                accepting.cancel_scope.cancel()
            connections.cancel_scope.deadline = trio.current_time() + STOP_TIME
            await self._context.terminated.set()
            for connection in self._connections:
                if connection.is_idle:
                    connection.displace()

    async def _serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection until it ends. Whatever goes wrong ends this connection; nothing is raised."""
        try:
            await self._serve_or_fail(stream)
        except* OSError as group:  # the peer has gone
            log.debug("a connection ended: %s", error_places(group))
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except* Exception as group:  # noqa: BLE001 - any request may come in here; Cancelled passes through
            report_incident("a connection failed", group)

    async def _serve_or_fail(self, stream: trio.SocketStream) -> None:
        peer = str(stream.socket.getpeername()[0])
        address = None if is_trusted(peer, self._limits.trusted_proxies) else source_network(peer)
        connection = HttpConnection(stream, self._app, self._config, self._context)
        if not self._pool.admit(connection, address):
            log.info("a connection of %s to the HTTP port was refused: %s", address or peer, BUSY_REASON)
            await self._refusals.refuse(stream)
            return
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            await trio.aclose_forcefully(stream)
            self._pool.remove(connection)

"""The server's HTTP API: a health check, creating a room, and the workers of a room. Bodies are JSON.

The answer to a failed request contains one sentence for people. An unknown room, a wrong token and a missing token get
the same answer, so that nobody without the token can find out whether a room exists.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import attrs
import trio
from anycorn import Config, serve
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protocol.fields import ID_PATTERN
from protocol.ids import RoomId
from protocol.signaling import CreateRoom, WorkerPresent
from protocol.version import VERSIONS
from rtc.common.errors import RtcError
from rtc.server.anycorn_patches import patch_anycorn
from rtc.server.database import RoomDatabase, RoomInfo
from rtc.server.rate_limits import RateLimits, source_network

BODY_MAX = 64 * 1024
"""Bytes of a request's body."""
HEADERS_MAX = 16 * 1024
"""Bytes of a request's first line and headers."""
READ_TIME = 10
"""Seconds to wait for the next bytes of a request."""
STOP_TIME = 2.0
"""Seconds in which the requests that are being answered may end when the server stops."""
TOKEN_MAX = 200
"""Characters of a token that are read; the rest is cut off."""
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
NO_ROOM = "The server knows no room of this id that this token opens. Send the token as: Authorization: Bearer TOKEN."
ERROR_TEXTS = {
    404: "There is nothing here. The API has /health, /api/rooms and /api/rooms/ROOM.",
    405: "This address does not take that method.",
    413: f"The request is too long; at most {BODY_MAX} bytes are read.",
}

GetWorkers = Callable[[RoomId, float], tuple[WorkerPresent, ...]]
"""Returns the workers of a room, at a time of trio's clock."""


def our_version() -> str:
    """Return the version of sleap-rtc that runs, or "unknown" if it is not installed as a package."""
    try:
        return version("sleap-rtc")
    except PackageNotFoundError:
        return "unknown"


class HttpApi:
    """The handlers of the three addresses."""

    def __init__(self, database: RoomDatabase, limits: RateLimits, workers: GetWorkers) -> None:
        self._database = database
        self._limits = limits
        self._get_workers = workers

    def app(self) -> ASGIApp:
        """Return the ASGI application."""
        routes = [
            Route("/health", self.health, methods=["GET"]),
            Route("/api/rooms", self.create_room, methods=["POST"]),
            Route("/api/rooms/{room}", self.get_room, methods=["GET"]),
        ]
        handlers: dict[Any, Any] = {
            HTTPException: _http_error,
            RtcError: _database_error,
            ClientDisconnect: _client_disconnected,
        }
        return _SecurityHeaders(Starlette(routes=routes, exception_handlers=handlers))

    async def health(self, _request: Request) -> Response:
        """Answer that the server runs, with its version and protocol version; the answer says nothing about rooms."""
        return JSONResponse({"status": "ok", "version": our_version(), "protocol": VERSIONS.newest})

    async def create_room(self, request: Request) -> Response:
        """Create a room; answer with its id and its token, which is sent only this once."""
        name = _read_room_name(await _body(request))
        network, now = _source_network(request), trio.current_time()
        if self._limits.rooms.delay(network, now) > 0:
            raise HTTPException(429, "Too many rooms were made from your address. Try again in a minute.")
        self._limits.rooms.count(network, now)
        room, token = await self._database.create_room(name)
        return JSONResponse({"room_id": room, "token": token, "name": name}, 201)

    async def get_room(self, request: Request) -> Response:
        """Answer with a room and the workers in it, if the request has the room's token."""
        network = _source_network(request)
        if self._limits.guesses.delay(network, trio.current_time()) > 0:
            raise HTTPException(429, "Too many wrong tokens came from your address. Wait a minute.")
        room = RoomId(request.path_params["room"])
        info = await self._authorized_room(room, _token(request))
        if info is None:
            self._limits.guesses.count(network, trio.current_time())
            raise HTTPException(404, NO_ROOM)
        present = self._get_workers(room, trio.current_time())
        workers = [{"peer": one.peer, "seconds": one.seconds, **_facts_to_json(one.facts)} for one in present]
        return JSONResponse({"room_id": info.room, "name": info.name, "created": info.created, "workers": workers})

    async def _authorized_room(self, room: RoomId, token: str) -> RoomInfo | None:
        """Return the room if it exists and this is its token, otherwise None."""
        if not ID_PATTERN.fullmatch(room) or not await self._database.is_token_of(room, token):
            return None
        return await self._database.room_info(room)


def _source_network(request: Request) -> str:
    return source_network(request.client.host) if request.client is not None else ""


def _token(request: Request) -> str:
    """Return the bearer token of the request (RFC 6750, 2.1); "" if there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip()[:TOKEN_MAX] if scheme.lower() == "bearer" else ""


def _facts_to_json(facts: object) -> dict[str, Any]:
    def serialize(_owner: object, _field: object, value: object) -> object:
        return value.value if isinstance(value, Enum) else value

    return attrs.asdict(facts, value_serializer=serialize)  # type: ignore[arg-type]


async def _body(request: Request) -> bytes:
    """Read the request's body.

    Raises:
        HTTPException: 413: it is longer than `BODY_MAX`.
    """
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > BODY_MAX:
                raise HTTPException(413)
    return bytes(body)


def _read_room_name(body: bytes) -> str:
    """Return the room's name from the request's body; "" for an empty body. The limits are those of `CreateRoom`.

    Raises:
        HTTPException: 400: the body is not `{}` or `{"name": "…"}`, or the name is too long.
    """
    try:
        value = json.loads(body or b"{}")
        name = value.get("name", "") if isinstance(value, dict) and value.keys() <= {"name"} else None
        if type(name) is str:
            return CreateRoom(name).name
    except (ValueError, RecursionError):
        pass
    raise HTTPException(400, 'The body is not a JSON object such as {"name": "Lab 3"}, of at most 64 letters.')


async def _http_error(_request: Request, error: HTTPException) -> Response:
    """Answer an HTTP error with its own sentence; Starlette's default text is replaced by one of `ERROR_TEXTS`."""
    text = ERROR_TEXTS.get(error.status_code, error.detail) if error.detail in _DEFAULT_DETAILS else error.detail
    return JSONResponse({"error": text}, error.status_code, headers=error.headers)


_DEFAULT_DETAILS = tuple(HTTPException(status).detail for status in ERROR_TEXTS)


async def _database_error(_request: Request, error: RtcError) -> Response:
    return JSONResponse({"error": error.fault.text}, 503)


async def _client_disconnected(_request: Request, _error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # the client is gone and does not read this


class _SecurityHeaders:
    """ASGI middleware that adds the security headers to every answer, also to those of errors.

    It answers ASGI's lifespan messages itself: nothing has to be started, and Starlette would treat a cancellation as a
    failure.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{phase}.complete"})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        await self._app(scope, receive, with_headers)


async def serve_api(
    app: ASGIApp,
    listening_fd: int,
    wait_stop: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on a listening socket until `wait_stop` returns.

    There is no access log: request lines contain room ids, and headers contain tokens.

    Args:
        listening_fd: file descriptor of the socket; anycorn takes it over and closes it.
    """
    patch_anycorn()
    config = Config()
    config.bind = [f"fd://{listening_fd}"]
    config.accesslog = None
    config.errorlog = logging.getLogger("rtc.server.http")
    config.loglevel = "WARNING"
    config.h11_max_incomplete_size = HEADERS_MAX
    config.websocket_permessage_deflate = False  # a small compressed frame may expand until the memory is full
    config.include_server_header = False
    config.read_timeout = READ_TIME
    config.graceful_timeout = STOP_TIME
    await serve(app, config, shutdown_trigger=wait_stop, task_status=task_status, mode="asgi")  # type: ignore[arg-type]

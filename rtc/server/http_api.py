"""The server's HTTP side: is it alive, make a room, look into a room. JSON in, JSON out, one sentence per error.

Whoever has no right token learns nothing: an unknown room, a wrong token and a missing one get the same answer.
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

from protocol import PROTOCOL_VERSION
from protocol.fields import ID_PATTERN
from protocol.ids import RoomId
from protocol.signaling import CreateRoom, WorkerPresent
from rtc.common.errors import RtcError
from rtc.server.anycorn_patches import patch_anycorn
from rtc.server.database import RoomDatabase, RoomInfo
from rtc.server.rate_limits import RateLimits, origin

BODY_MAX = 64 * 1024
HEAD_MAX = 16 * 1024
"""Bytes of a request's first line and headers."""
READ_TIME = 10
"""Seconds to wait for the next bytes of a request."""
STOP_TIME = 2.0
"""Seconds for requests under way when the server stops."""
TOKEN_MAX = 200
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
NO_ROOM = "The server knows no room of this id that this token opens. Send the token as: Authorization: Bearer TOKEN."
SENTENCES = {
    404: "There is nothing here. The API has /health, /api/rooms and /api/rooms/ROOM.",
    405: "This address does not take that method.",
    413: f"The request is too long; at most {BODY_MAX} bytes are read.",
}

Workers = Callable[[RoomId, float], tuple[WorkerPresent, ...]]
"""Who is in a room at this time of trio's clock."""


def our_version() -> str:
    """The version of sleap-rtc that runs, or "unknown" when it was never installed."""
    try:
        return version("sleap-rtc")
    except PackageNotFoundError:
        return "unknown"


class HttpApi:
    """The three answers."""

    def __init__(self, store: RoomDatabase, limits: RateLimits, workers: Workers) -> None:
        self._store = store
        self._limits = limits
        self._workers = workers

    def app(self) -> ASGIApp:
        """The ASGI application."""
        routes = [
            Route("/health", self.health, methods=["GET"]),
            Route("/api/rooms", self.create_room, methods=["POST"]),
            Route("/api/rooms/{room}", self.room, methods=["GET"]),
        ]
        handlers: dict[Any, Any] = {HTTPException: _http_error, RtcError: _store_error, ClientDisconnect: _gone}
        return _SafeHeaders(Starlette(routes=routes, exception_handlers=handlers))

    async def health(self, _request: Request) -> Response:
        """Alive; says nothing about rooms."""
        return JSONResponse({"status": "ok", "version": our_version(), "protocol": PROTOCOL_VERSION})

    async def create_room(self, request: Request) -> Response:
        """A new room and its token, which is told this once."""
        name = _name_in(await _body(request))
        who, now = _origin(request), trio.current_time()
        if self._limits.rooms.wait(who, now) > 0:
            raise HTTPException(429, "Too many rooms were made from your address. Try again in a minute.")
        self._limits.rooms.take(who, now)
        room, token = await self._store.create_room(name)
        return JSONResponse({"room_id": room, "token": token, "name": name}, 201)

    async def room(self, request: Request) -> Response:
        """A room and the workers in it, for those who have its token."""
        who = _origin(request)
        if self._limits.guesses.wait(who, trio.current_time()) > 0:
            raise HTTPException(429, "Too many wrong tokens came from your address. Wait a minute.")
        room = RoomId(request.path_params["room"])
        info = await self._opened(room, _token(request))
        if info is None:
            self._limits.guesses.take(who, trio.current_time())
            raise HTTPException(404, NO_ROOM)
        present = self._workers(room, trio.current_time())
        workers = [{"peer": shown.peer, "seconds": shown.seconds, **_plain(shown.facts)} for shown in present]
        return JSONResponse({"room_id": info.room, "name": info.name, "created": info.created, "workers": workers})

    async def _opened(self, room: RoomId, token: str) -> RoomInfo | None:
        if not ID_PATTERN.fullmatch(room) or not await self._store.opens(room, token):
            return None
        return await self._store.room_info(room)


def _origin(request: Request) -> str:
    return origin(request.client.host) if request.client is not None else ""


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip()[:TOKEN_MAX] if scheme.lower() == "bearer" else ""


def _plain(facts: object) -> dict[str, Any]:
    def write(_owner: object, _field: object, value: object) -> object:
        return value.value if isinstance(value, Enum) else value

    return attrs.asdict(facts, value_serializer=write)  # type: ignore[arg-type]


async def _body(request: Request) -> bytes:
    body = bytearray()
    async with aclosing(request.stream()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > BODY_MAX:
                raise HTTPException(413)
    return bytes(body)


def _name_in(body: bytes) -> str:
    """The room's name, under the limits that `CreateRoom` has; an empty body names nothing."""
    try:
        value = json.loads(body or b"{}")
        name = value.get("name", "") if isinstance(value, dict) and value.keys() <= {"name"} else None
        if type(name) is str:
            return CreateRoom(name).name
    except (ValueError, RecursionError):
        pass
    raise HTTPException(400, 'The body is not a JSON object such as {"name": "Lab 3"}, of at most 64 letters.')


async def _http_error(_request: Request, error: HTTPException) -> Response:
    text = SENTENCES.get(error.status_code, error.detail) if error.detail in _DEFAULTS else error.detail
    return JSONResponse({"error": text}, error.status_code, headers=error.headers)


_DEFAULTS = tuple(HTTPException(status).detail for status in SENTENCES)


async def _store_error(_request: Request, error: RtcError) -> Response:
    return JSONResponse({"error": error.fault.text}, 503)


async def _gone(_request: Request, _error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # nobody reads it


class _SafeHeaders:
    """Adds the security headers to every answer, those of errors included.

    It answers ASGI's lifespan itself: there is nothing to start, and Starlette would take a cancellation for a failure.
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
    listening: int,
    until: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on a bound socket, given by its file descriptor, which anycorn takes over; `until` returns to stop.

    There is no access log: request lines are nobody's business, and headers hold tokens.
    """
    patch_anycorn()
    config = Config()
    config.bind = [f"fd://{listening}"]
    config.accesslog = None
    config.errorlog = logging.getLogger("rtc.server.http")
    config.loglevel = "WARNING"
    config.h11_max_incomplete_size = HEAD_MAX
    config.websocket_permessage_deflate = False  # a small deflated frame may fill the memory
    config.include_server_header = False
    config.read_timeout = READ_TIME
    config.graceful_timeout = STOP_TIME
    await serve(app, config, shutdown_trigger=until, task_status=task_status, mode="asgi")  # type: ignore[arg-type]

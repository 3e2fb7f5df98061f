"""The server's HTTP API: the handlers of the routes of `protocol/http.py`, and how every error is answered.

The answer to a failed request is a `Problem` with a sentence for people. An unknown room, a wrong token and a missing
token get the same answer, so that nobody without the token can find out whether a room exists.
"""

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import attrs
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protocol.converter import WireError, document_to_json, from_json, to_json
from protocol.fields import ID_PATTERN
from protocol.http import (
    BODY_MAX,
    CREATE_ROOM,
    GET_ROOM,
    HEALTH,
    JSON_TYPE,
    OPENAPI,
    Health,
    HttpRoute,
    NewRoom,
    Room,
    RoomRequest,
    RoomWorker,
)
from protocol.ids import RoomId
from protocol.signaling import WorkerPresent
from protocol.version import VERSIONS
from rtc.common.errors import RtcError
from rtc.server.client_address import FORWARDED_FOR, client_address
from rtc.server.database import RoomDatabase, RoomInfo
from rtc.server.limits import DEFAULT_LIMITS, ServerLimits
from rtc.server.openapi import openapi_document
from rtc.server.problems import HEADERS, error_text, problem
from rtc.server.rate_limits import (
    GUESS_DELAY,
    ROOMS_CLOSED,
    TOO_MANY_GUESSES,
    TOO_MANY_ROOMS,
    RateLimits,
    source_network,
)

TOKEN_MAX = 200
"""Characters of a token that are read; the rest is cut off."""
NO_ROOM = "The server knows no room of this id that this token opens. Send the token as: Authorization: Bearer TOKEN."
NO_WEBSOCKET = "There is no WebSocket here. Signalling has another port, which the server printed when it started."

log = logging.getLogger(__name__)

GetWorkers = Callable[[RoomId, float], tuple[WorkerPresent, ...]]
"""Returns the workers of a room, at a time of trio's clock."""


def our_version() -> str:
    """Return the version of sleap-rtc that runs, or "unknown" if it is not installed as a package."""
    try:
        return version("sleap-rtc")
    except PackageNotFoundError:
        return "unknown"


class HttpApi:
    """The handlers of the routes."""

    def __init__(
        self, database: RoomDatabase, rates: RateLimits, workers: GetWorkers, limits: ServerLimits = DEFAULT_LIMITS
    ) -> None:
        self._database = database
        self._rates = rates
        self._get_workers = workers
        self._limits = limits

    def app(self) -> ASGIApp:
        """Return the ASGI application."""
        routes = [
            _route(HEALTH, self.health),
            _route(OPENAPI, self.openapi),
            _route(CREATE_ROOM, self.create_room),
            _route(GET_ROOM, self.get_room),
        ]
        handlers: dict[Any, Any] = {
            HTTPException: _http_error,
            RtcError: _database_error,
            ClientDisconnect: _client_disconnected,
            Exception: _bug,  # Starlette raises it again, so it is logged too
        }
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False  # `/health/` would be sent to the host that the request names
        return _Outermost(app)

    async def health(self, _request: Request) -> Health:
        """Answer that the server runs, with its versions; the answer says nothing about rooms."""
        return Health("ok", our_version(), VERSIONS)

    async def openapi(self, _request: Request) -> str:
        """Answer with the description of this API."""
        return _openapi_text()

    async def create_room(self, request: Request) -> NewRoom:
        """Create a room; answer with its id and its token, which is sent only this once."""
        wanted: RoomRequest = await _read_body(request, CREATE_ROOM)
        if not self._limits.rooms_are_open:
            raise HTTPException(403, ROOMS_CLOSED)
        network, now = self._source_network(request), trio.current_time()
        delay = self._rates.rooms.delay(network, now)
        if delay > 0:
            log.info("a request of %s was refused: %s", network, TOO_MANY_ROOMS)
            raise HTTPException(429, TOO_MANY_ROOMS, _retry_after(delay))
        self._rates.rooms.count(network, now)
        try:
            room, token = await self._database.create_room(wanted.name)
        except RtcError:
            self._rates.rooms.count(network, now, cost=-1)
            raise
        return NewRoom(room, token, wanted.name)

    async def get_room(self, request: Request) -> Room:
        """Answer with a room and the workers in it, if the request has the room's token."""
        room = RoomId(request.path_params["room"])
        info = await self._authorized_room(room, _token(request))
        if info is None:
            await self._refuse_guess(self._source_network(request))
            raise HTTPException(404, NO_ROOM)
        workers = self._get_workers(room, trio.current_time())
        return Room(info.room, info.name, info.created, tuple(map(RoomWorker.of, workers)))

    async def _refuse_guess(self, network: str) -> None:
        """Count a wrong token.

        Raises:
            HTTPException: 429, after `GUESS_DELAY`: there were too many from this address.
        """
        delay = self._rates.guesses.delay(network, trio.current_time())
        self._rates.guesses.count(network, trio.current_time())
        if delay > 0:
            log.info("a request of %s was refused: %s", network, TOO_MANY_GUESSES)
            await trio.sleep(GUESS_DELAY)
            raise HTTPException(429, TOO_MANY_GUESSES, _retry_after(delay))

    def _source_network(self, request: Request) -> str:
        """Return the key under which this request is counted."""
        if request.client is None:
            return ""
        forwarded = request.headers.getlist(FORWARDED_FOR)
        return source_network(client_address(request.client.host, forwarded, self._limits.trusted_proxies))

    async def _authorized_room(self, room: RoomId, token: str) -> RoomInfo | None:
        """Return the room if it exists and this is its token, otherwise None."""
        if not ID_PATTERN.fullmatch(room) or not await self._database.is_token_of(room, token):
            return None
        return await self._database.room_info(room)


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(seconds))}


def _token(request: Request) -> str:
    """Return the bearer token of the request (RFC 6750, 2.1); "" if there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip()[:TOKEN_MAX] if scheme.lower() == "bearer" else ""


async def _read_body(request: Request, route: HttpRoute) -> Any:
    """Return the request's body as an object of the route's class; an empty body is read as `{}`.

    Raises:
        HTTPException: 400: it is no such object. 413: it is longer than `BODY_MAX`.
    """
    assert route.request is not None
    body = await _body(request)
    try:
        return from_json(body or b"{}", route.request, limit=BODY_MAX)
    except WireError:
        limits = ", ".join(f"{field.name}: {field.validator}" for field in attrs.fields(route.request))
        example = to_json(route.example, spaced=True)
        raise HTTPException(400, f"The body is not a JSON object such as {example} ({limits}).") from None


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


@cache
def _openapi_text() -> str:
    return document_to_json(openapi_document(our_version()))


def _route(route: HttpRoute, handler: Callable[[Request], Awaitable[object]]) -> Route:
    async def answer(request: Request) -> Response:
        reply = await handler(request)
        text = reply if isinstance(reply, str) else to_json(reply, version=None)
        return Response(text, route.status, media_type=JSON_TYPE)

    return Route(route.path, answer, methods=[route.method], name=route.name)


async def _http_error(_request: Request, error: HTTPException) -> Response:
    """Answer an HTTP error with its own sentence; Starlette's default text is replaced by one of `problems.py`."""
    is_default = error.detail == HTTPException(error.status_code).detail
    return problem(error.status_code, error_text(error.status_code) if is_default else error.detail, error.headers)


async def _database_error(_request: Request, error: RtcError) -> Response:
    return problem(503, error.fault.text)


async def _client_disconnected(_request: Request, _error: ClientDisconnect) -> Response:
    return problem(400, "The request is incomplete.")  # the client is gone, and probably does not read this


async def _bug(_request: Request, _error: Exception) -> Response:
    return problem(500, error_text(500))


class _Outermost:
    """ASGI middleware that adds the security headers to every answer, also to those of errors.

    It refuses WebSockets itself: Starlette would do so without a word.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            answer = problem(404, NO_WEBSOCKET)
            headers = [*answer.raw_headers, *HEADERS]
            await receive()
            await send({"type": "websocket.http.response.start", "status": answer.status_code, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": answer.body})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        await self._app(scope, receive, with_headers)

"""The HTTP API of the server: its bodies, and the table of its routes.

The server's handlers, the section about HTTP of `docs/messages.md` and the OpenAPI document are all made from `ROUTES`.
A body is one JSON object in UTF-8; fields that its class does not have are ignored, at both ends. Every answer with a
status from 400 on has a `Problem` as its body.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import asdict, field, frozen

from protocol.fields import SECONDS_MAX, SENTENCES_MAX, Id, Integer, MaxItems, SingleLine, sentences
from protocol.ids import PeerId, RoomId
from protocol.signaling import WORKERS_MAX, WorkerPresent
from protocol.status import WorkerFacts
from protocol.version import VersionRange

BODY_MAX = 64 * 1024
"""Bytes of a request's body."""
JSON_TYPE = "application/json"
PROBLEM_TYPE = "application/problem+json"
"""Content type of a `Problem` (RFC 9457)."""


@frozen
class Problem:
    """Why a request failed: problem details of RFC 9457.

    Its `type` is always `about:blank`, and therefore left out: the status says which kind of problem it is.
    """

    status: int = field(validator=Integer(400, 599))
    """The status of the answer."""
    title: str = field(validator=SingleLine())
    """The name of the status, as in RFC 9110."""
    detail: str = field(converter=sentences, validator=SingleLine(SENTENCES_MAX))
    """What happened and what to try, for people. Never contains a token."""

    @classmethod
    def of(cls, status: int, detail: str) -> "Problem":
        """Return the problem of an answer with this status."""
        return cls(status, status_title(status), detail)


def status_title(status: int) -> str:
    """Return the name of an HTTP status, as in RFC 9110."""
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return "Content Too Large"  # Python has RFC 7231's name for it before 3.13
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


@frozen
class Health:
    """The server runs. This says nothing about its rooms."""

    status: str = field(validator=SingleLine(64))
    """Always "ok"."""
    version: str = field(validator=SingleLine(64))
    """Version of sleap-rtc on the server."""
    protocol: VersionRange
    """The versions of the protocol that the server speaks."""


@frozen
class RoomRequest:
    """Make a room."""

    name: str = field(default="", validator=SingleLine(64))
    """A name for people; may be empty."""


@frozen
class NewRoom:
    """A room that was made for this request. Its token is in this answer only; nobody can ask for it again."""

    room_id: RoomId = field(validator=Id())
    token: str = field(validator=SingleLine(), repr=False)
    """Every peer needs it to join the room."""
    name: str = field(validator=SingleLine(64))


@frozen(kw_only=True)
class RoomWorker(WorkerFacts):
    """A worker of a room: its newest description of itself, and what the server knows about it."""

    peer: PeerId = field(validator=Id())
    """The worker's id."""
    seconds: int = field(validator=Integer(0, SECONDS_MAX))
    """For how many seconds the worker has had this status."""

    @classmethod
    def of(cls, worker: WorkerPresent) -> "RoomWorker":
        """Return a worker as HTTP shows it."""
        return cls(peer=worker.peer, seconds=worker.seconds, **asdict(worker.facts, recurse=False))


@frozen
class Room:
    """A room and the workers that are in it now."""

    room_id: RoomId = field(validator=Id())
    name: str = field(validator=SingleLine(64))
    """The name for people; may be empty."""
    created: str = field(validator=SingleLine(64))
    """When the room was made: date and time as in RFC 3339, UTC."""
    workers: tuple[RoomWorker, ...] = field(validator=MaxItems(WORKERS_MAX))


@frozen
class HttpRoute:
    """What one method of one address takes and answers."""

    name: str
    """One word that no other route has, for programs."""
    method: str
    path: str
    """Names in braces, such as `{room}`, stand for ids."""
    summary: str
    """One sentence: what the server does."""
    reply: type | None
    """The class of the answer's body when the request succeeds; None for the OpenAPI document."""
    status: int = 200
    """The status of the answer when the request succeeds."""
    request: type | None = None
    """The class of the request's body; None if it has none."""
    example: Any = None
    """An example of the request's body."""
    needs_token: bool = False
    """Whether the room's token must be sent, as a bearer token (RFC 6750)."""
    problems: Mapping[int, str] = field(factory=dict)
    """The statuses of answers with a `Problem` that belong to this route, and when each is sent; others may come from
    every address."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names in the path that stand for ids."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


_NO_DATABASE = "The database cannot be used now, for example because the disk is full."

HEALTH = HttpRoute(
    "health", "GET", "/health", "Says whether the server runs, and which versions it speaks.", reply=Health
)
OPENAPI = HttpRoute("openapi", "GET", "/openapi.json", "Describes this API to programs, in OpenAPI 3.1.", reply=None)
CREATE_ROOM = HttpRoute(
    "create_room",
    "POST",
    "/api/rooms",
    "Makes a room. An empty body is the same as {}.",
    reply=NewRoom,
    status=201,
    request=RoomRequest,
    example=RoomRequest("Lab 3"),
    problems={
        400: "The body is no JSON object, or has a field that does not fit.",
        403: "On this server only the administrator makes rooms.",
        413: f"The body is longer than {BODY_MAX} bytes.",
        429: "Too many rooms were made from this address.",
        503: _NO_DATABASE,
    },
)
GET_ROOM = HttpRoute(
    "get_room",
    "GET",
    "/api/rooms/{room}",
    "Shows a room and the workers in it.",
    reply=Room,
    needs_token=True,
    problems={
        404: "There is no such room, or the token is wrong or missing: the same answer for all.",
        429: "The token is wrong, and too many wrong ones came from this address.",
        503: _NO_DATABASE,
    },
)
ROUTES = (HEALTH, OPENAPI, CREATE_ROOM, GET_ROOM)

"""The room: joining it, its workers, and what a worker tells it about itself."""

from typing import Any

from attrs import field, frozen

from protocol.faults import Fault
from protocol.ids import PeerId, RoomId
from protocol.signaling import WorkerPresent
from protocol.status import Role, Status
from protocol.trust import RoomKeys


@frozen
class RoomCredentials:
    """What is needed to join a room: its id and token, or neither to have a room created; and the role there."""

    role: Role
    room: RoomId | None = None
    token: str | None = field(default=None, repr=False)
    peer: PeerId | None = None
    """The peer id that an earlier process had in this room, to get it again with `resume`."""
    resume: str | None = field(default=None, repr=False)
    """The `Joined.resume` that belongs to `peer`."""
    keys: RoomKeys | None = None
    """The keys of those who know the room's secret; None when this program knows none, and before there is a room."""


@frozen
class JoinRoom:
    """To Discovery: join this room and stay in it; without a room, have one created (`RoomMade`)."""

    room_credentials: RoomCredentials
    step_timeout: float
    """Seconds in which the first join must succeed; they include the time to connect to the server."""
    patient: bool = False
    """Whether to go on trying after that, as long as the reason may pass (`JoinDelayed`); otherwise the join has
    failed. It fails at once for a reason that does not pass, such as a wrong token."""


@frozen
class ServerConnected:
    """The WebSocket to the server is open."""


@frozen
class ServerDisconnected:
    """The WebSocket to the server closed, or could not be opened. The signalling connection keeps trying by itself."""

    text: str
    """Why, in one sentence for people."""


@frozen
class SendToServer:
    """To the signalling connection: send this message to the server."""

    message: Any


@frozen
class RoomMade:
    """The server has created the room that was asked for; join it now, with its keys if it has a secret."""

    room: RoomId
    token: str = field(repr=False)


@frozen
class JoinedRoom:
    """We have joined the room. Sent again after each reconnection, normally with the same peer id."""

    room: RoomId
    token: str = field(repr=False)
    peer: PeerId
    """Our own peer id."""
    keys: RoomKeys | None = None
    """The keys of the room, if it has a secret."""


@frozen
class JoinDelayed:
    """The room is not joined yet, for this reason, and Discovery goes on trying."""

    fault: Fault


@frozen
class JoinFailed:
    """The room cannot be joined, and Discovery has given up."""

    fault: Fault


@frozen
class WorkersChanged:
    """The workers of the room as they last described themselves, in the order of `by_preference`."""

    workers: tuple[WorkerPresent, ...]


@frozen
class RetryJoin:
    """To the program around the Worker: joining the room failed while a job runs; try to join again later."""

    fault: Fault
    """Why it failed."""


@frozen
class StatusChanged:
    """To Discovery: announce this status to the room."""

    status: Status
    leaving: bool = False
    """Whether the worker is stopping (`WorkerFacts.leaving`)."""


@frozen
class FreeMemoryChanged:
    """From the GPU monitor to Discovery: announce this amount of free GPU memory to the room."""

    free_mb: int
    """In MB (2**20 bytes)."""

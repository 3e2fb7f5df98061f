"""What a peer and the server say over the signalling WebSocket.

In `Offer`, `Answer` and `Refuse`, `peer` is always *the other one*: the addressee on the way to the server, the sender
on the way from it. The server writes the sender itself, from the socket it came in on.
"""

from attrs import field, frozen

from protocol import PROTOCOL_VERSION
from protocol.faults import Fault
from protocol.fields import FreeText, Id, Integer, MaxItems, SingleLine
from protocol.ids import JobId, PeerId, RoomId
from protocol.status import Role, WorkerFacts

SDP_MAX = 32 * 1024
"""Characters in a session description; aiortc's own, with a dozen candidates, has about 1 500."""
WORKERS_MAX = 64
"""Workers in one room."""
ICE_MAX = 8
"""STUN and TURN servers handed out; with their credentials they must fit into a frame beside the workers."""


@frozen
class CreateRoom:
    """Peer to server: make a room for me. Answered by `RoomCreated`."""

    name: str = field(default="", validator=SingleLine(64))
    version: int = field(default=PROTOCOL_VERSION, validator=Integer())


@frozen
class Join:
    """Peer to server: let me into this room. Answered by `Joined` or a `Fault`."""

    room: RoomId = field(validator=Id())
    token: str = field(validator=SingleLine(), repr=False)
    role: Role
    facts: WorkerFacts | None = None
    """A worker's own description; a client has none."""
    peer: PeerId | None = field(default=None, validator=Id())
    """Given together with `resume` by a peer that was here before and wants its old name back."""
    resume: str | None = field(default=None, validator=SingleLine(), repr=False)
    version: int = field(default=PROTOCOL_VERSION, validator=Integer())


@frozen
class Announce:
    """Worker to server: this is what I am now. Passed on to every client of the room."""

    facts: WorkerFacts


@frozen
class JoinQueue:
    """Client to server: put me in the room's line. Said again, when a promise came to nothing, it keeps my place."""

    min_memory_mb: int = field(default=0, validator=Integer())
    worker: PeerId | None = field(default=None, validator=Id())
    """This worker and no other; null: any that is large enough."""


@frozen
class LeaveQueue:
    """Client to server: I have what I waited for; the next, please."""


@frozen
class Leave:
    """Peer to server: good-bye; forget my name."""


@frozen
class RoomCreated:
    """Server to peer: your room, and the token that opens it."""

    room: RoomId = field(validator=Id())
    token: str = field(validator=SingleLine(), repr=False)


@frozen
class WorkerPresent:
    """Server to client: this worker is in the room, newly or with news."""

    peer: PeerId = field(validator=Id())
    facts: WorkerFacts
    seconds: int = field(default=0, validator=Integer())
    """How long the server has seen the worker in this status, when this was sent."""


@frozen
class WorkerLeft:
    """Server to client: this worker has left the room."""

    peer: PeerId = field(validator=Id())


@frozen
class QueuePosition:
    """Server to client: your place in the room's line, counted from 1."""

    place: int = field(validator=Integer(1))
    of: int = field(validator=Integer(1))


@frozen
class WorkerAssigned:
    """Server to client: this worker is free and promised to you; ask it now. Others are refused meanwhile."""

    peer: PeerId = field(validator=Id())


@frozen
class IceServerEntry:
    """A STUN or TURN server, with credentials of the peer's own that expire."""

    urls: str = field(validator=SingleLine(200))
    """One address, such as `turn:host:3478?transport=tcp`."""
    username: str | None = field(default=None, validator=SingleLine(150))
    credential: str | None = field(default=None, validator=SingleLine(100), repr=False)


@frozen
class IceServers:
    """Server to peer: use these from now on; the credentials given before expire soon."""

    ice: tuple[IceServerEntry, ...] = field(validator=MaxItems(ICE_MAX))


@frozen
class Joined:
    """Server to peer: you are in. `workers` is what a client may choose from now."""

    room: RoomId = field(validator=Id())
    peer: PeerId = field(validator=Id())
    resume: str = field(validator=SingleLine(), repr=False)
    """Shown again in `Join` after a lost line, it gives back the same `peer`; nobody else can claim it."""
    workers: tuple[WorkerPresent, ...] = field(default=(), validator=MaxItems(WORKERS_MAX))
    ice: tuple[IceServerEntry, ...] = field(default=(), validator=MaxItems(ICE_MAX))
    """Servers that help to reach the other peers through NATs and firewalls."""


@frozen
class Offer:
    """Client to worker, through the server: please open a link (an SDP offer, RFC 8866)."""

    peer: PeerId = field(validator=Id())
    sdp: str = field(validator=FreeText(SDP_MAX))
    job: JobId | None = field(default=None, validator=Id())
    """The job this client says it owns, when it returns to one; proven later, on the link, by the job's key."""
    version: int = field(default=PROTOCOL_VERSION, validator=Integer())


@frozen
class Answer:
    """Worker to client, through the server: here is my half of the link (an SDP answer)."""

    peer: PeerId = field(validator=Id())
    sdp: str = field(validator=FreeText(SDP_MAX))


@frozen
class Refuse:
    """Worker to client, through the server, or the server itself: no link, and why."""

    peer: PeerId = field(validator=Id())
    fault: Fault


ToServer = CreateRoom | Join | Announce | JoinQueue | LeaveQueue | Leave | Offer | Answer | Refuse
FromServer = (
    RoomCreated
    | Joined
    | IceServers
    | WorkerPresent
    | WorkerLeft
    | QueuePosition
    | WorkerAssigned
    | Offer
    | Answer
    | Refuse
    | Fault
)

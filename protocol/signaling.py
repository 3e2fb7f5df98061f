"""The messages between a peer and the server, over the signalling WebSocket.

In `Offer`, `Answer`, `Refuse` and `Withdraw`, `peer` is always *the other peer*: the addressee in a message to the
server, the sender in a message from it. The server sets the sender itself, from the socket that the message came in on.

The first message of a peer, `CreateRoom` or `Join`, says which versions of the protocol it speaks, and so does the
server's answer, `RoomCreated` or `Joined`. From then on both use the highest common version on this WebSocket. The
first message is encoded in the peer's newest version, so in later versions these four may only gain fields. A peer
without a common version gets a `Fault` with the code `version`. The same holds for `AskInvitation` and
`AnswerInvitation` of `protocol/invitations.py`.
"""

from attrs import field, frozen

from protocol.faults import Fault
from protocol.fields import COUNT_MAX, SECONDS_MAX, AsciiLines, Id, Integer, MaxItems, SingleLine
from protocol.ids import JobId, PeerId, RoomId
from protocol.invitations import InvitationNews, InvitationRequest
from protocol.status import GPUS_MAX, MEMORY_MAX, Role, WorkerFacts
from protocol.trust import Tag
from protocol.version import EXPLICIT, VERSIONS, VersionRange

SDP_MAX = 16 * 1024
"""Characters of the longest session description (SDP). One with a dozen candidates has about 1 500, one with 64, the
most that are read, about 8 000. Names in SDP may be UTF-8 (RFC 8866), but there are none in what WebRTC writes."""
WORKERS_MAX = 64
"""Largest number of workers in one room."""
ICE_MAX = 8
"""Largest number of STUN and TURN servers in one message; with their credentials they must fit into one frame together
with the list of workers."""


@frozen
class CreateRoom:
    """Peer to server: create a room. Answered by `RoomCreated` or a `Fault`."""

    name: str = field(default="", validator=SingleLine(64))
    """A name for people; may be empty."""
    versions: VersionRange = field(default=VERSIONS, metadata=EXPLICIT)
    """The versions of the protocol that the peer speaks."""


@frozen
class Join:
    """Peer to server: let me join this room. Answered by `Joined` or a `Fault`."""

    room: RoomId = field(validator=Id())
    token: str = field(validator=SingleLine(), repr=False)
    """The room's token, from `RoomCreated`."""
    role: Role
    facts: WorkerFacts | None = None
    """A worker's description of itself; null for a client."""
    peer: PeerId | None = field(default=None, validator=Id())
    """The id that this peer had in the room before and wants to get again; sent together with `resume`."""
    resume: str | None = field(default=None, validator=SingleLine(), repr=False)
    """The `Joined.resume` that belongs to `peer`."""
    versions: VersionRange = field(default=VERSIONS, metadata=EXPLICIT)
    """The versions of the protocol that the peer speaks."""


@frozen
class Announce:
    """Worker to server: this is my new description. The server sends it to the room's clients as `WorkerPresent`."""

    facts: WorkerFacts


@frozen
class JoinQueue:
    """Client to server: put me into the room's queue for a worker. Answered by `QueuePosition` or `WorkerAssigned`.

    Sent again when the assigned worker could not be reached or has not accepted the job; the client then keeps its
    position, and it is assigned no other worker before that.
    """

    min_memory_mb: int = field(default=0, validator=Integer(0, MEMORY_MAX))
    """Least total GPU memory of the worker, in MB (2**20 bytes)."""
    worker: PeerId | None = field(default=None, validator=Id())
    """Wait for this worker only; null: for any with enough memory and GPUs."""
    min_gpus: int = field(default=0, validator=Integer(0, GPUS_MAX))
    """Least number of GPUs that the worker gives to one job."""


@frozen
class LeaveQueue:
    """Client to server: remove me from the queue; a worker has accepted my job."""


@frozen
class Leave:
    """Peer to server: I leave the room."""


@frozen
class RoomCreated:
    """Server to peer: your room exists, with this id and token. The peer still has to join it."""

    room: RoomId = field(validator=Id())
    token: str = field(validator=SingleLine(), repr=False)
    """Every peer needs it to join the room."""
    versions: VersionRange = field(default=VERSIONS, metadata=EXPLICIT)
    """The versions of the protocol that the server speaks."""


@frozen
class WorkerPresent:
    """Server to client: this worker is in the room. Sent when it joins and whenever its facts change."""

    peer: PeerId = field(validator=Id())
    facts: WorkerFacts
    seconds: int = field(default=0, validator=Integer(0, SECONDS_MAX))
    """For how many seconds the worker has had this status, as the server saw it when it sent the message."""


@frozen
class WorkerLeft:
    """Server to client: this worker has left the room."""

    peer: PeerId = field(validator=Id())


@frozen
class QueuePosition:
    """Server to client: your position in the room's queue."""

    place: int = field(validator=Integer(1, COUNT_MAX))
    """The position, counted from 1."""
    of: int = field(validator=Integer(1, COUNT_MAX))
    """Number of clients in the queue."""


@frozen
class WorkerAssigned:
    """Server to client: this worker is available and kept for you; send it an offer now.

    The server refuses the offers of other clients to this worker meanwhile, except those that name a job. If the worker
    is not reserved within 45 seconds, it goes to the next client, and you go to the end of the queue. A worker with a
    room secret is not kept: the server passes on every offer to it, since only the worker knows whose tag is right.
    """

    peer: PeerId = field(validator=Id())


@frozen
class IceServerEntry:
    """A STUN or TURN server; a TURN server with credentials that are made for this peer and expire.

    It has the names and types of WebRTC's `RTCIceServer`, in which no member may be null (a browser reads null as the
    text "null"), so that a browser can use it as it is.
    """

    urls: str = field(validator=SingleLine(200))
    """One URI (RFC 7064, RFC 7065), such as `turn:host:3478?transport=tcp`."""
    username: str = field(default="", validator=SingleLine(150))
    """Empty for a STUN server."""
    credential: str = field(default="", validator=SingleLine(100), repr=False)
    """Empty for a STUN server."""


@frozen
class IceServers:
    """Server to peer: use these STUN and TURN servers from now on; the credentials sent before expire soon."""

    ice: tuple[IceServerEntry, ...] = field(validator=MaxItems(ICE_MAX))


@frozen
class Joined:
    """Server to peer: you have joined the room."""

    room: RoomId = field(validator=Id())
    peer: PeerId = field(validator=Id())
    """The id of the peer that joined."""
    resume: str = field(validator=SingleLine(), repr=False)
    """A secret of this peer: sent in `Join` after a lost connection, it gives the peer the same id again. Without it no
    other peer can get this id."""
    workers: tuple[WorkerPresent, ...] = field(default=(), validator=MaxItems(WORKERS_MAX))
    """For a client: the workers of the room now. Those that do not fit into this frame follow as `WorkerPresent`."""
    ice: tuple[IceServerEntry, ...] = field(default=(), validator=MaxItems(ICE_MAX))
    """STUN and TURN servers, for links through NATs and firewalls."""
    versions: VersionRange = field(default=VERSIONS, metadata=EXPLICIT)
    """The versions of the protocol that the server speaks."""


@frozen
class Offer:
    """Client to worker, through the server: open a link (SDP offer, RFC 3264). Answered by `Answer` or `Refuse`."""

    peer: PeerId = field(validator=Id())
    """To the server: the worker. From the server: the client."""
    sdp: str = field(validator=AsciiLines(SDP_MAX), repr=False)
    """The session description (RFC 8866), with all ICE candidates."""
    job: JobId | None = field(default=None, validator=Id())
    """The job that the client says it owns, if the link is about an existing job; the client proves it later, on the
    link, with the job's key."""
    number: int = field(default=0, validator=Integer(0, COUNT_MAX), metadata=EXPLICIT)
    """A number of the client's choice, higher than in all offers that this peer has made before. All that is said about
    the offer repeats it."""
    tag: Tag | None = None
    """What `offer_tag` returns; null when the client knows no secret of this room."""


@frozen
class Answer:
    """Worker to client, through the server: I accept the link (SDP answer, RFC 3264)."""

    peer: PeerId = field(validator=Id())
    """To the server: the client. From the server: the worker."""
    sdp: str = field(validator=AsciiLines(SDP_MAX), repr=False)
    """The session description (RFC 8866), with all ICE candidates."""
    number: int = field(default=0, validator=Integer(0, COUNT_MAX), metadata=EXPLICIT)
    """The number of the offer that is answered."""
    tag: Tag | None = None
    """What `answer_tag` returns; null when the worker has no room secret."""


@frozen
class Refuse:
    """Worker to client, through the server, or server to client: the offer is refused, for this reason."""

    peer: PeerId = field(validator=Id())
    """To the server: the client. From the server: the worker."""
    fault: Fault
    """Why it is refused."""
    number: int = field(default=0, validator=Integer(0, COUNT_MAX), metadata=EXPLICIT)
    """The number of the offer that is refused."""


@frozen
class SpokenVersions:
    """What a server reads from the first message of a peer before the message itself, whatever that is.

    Version 2, which was never released, sent one number.
    """

    versions: VersionRange | None = None
    version: int | None = field(default=None, validator=Integer())


@frozen
class Withdraw:
    """Client to worker, through the server: I take back my offer; I give up. Nothing answers it.

    The server sends it for a client that leaves the room, or whose connection ends, before its offer is answered.
    """

    peer: PeerId = field(validator=Id())
    """To the server: the worker. From the server: the client."""
    number: int = field(default=0, validator=Integer(0, COUNT_MAX), metadata=EXPLICIT)
    """The number of the offer that is taken back, with all offers of this client to this worker before it."""


ToServer = (
    CreateRoom
    | Join
    | Announce
    | JoinQueue
    | LeaveQueue
    | Leave
    | Offer
    | Answer
    | Refuse
    | Withdraw
    | InvitationRequest
)
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
    | Withdraw
    | InvitationNews
    | Fault
)

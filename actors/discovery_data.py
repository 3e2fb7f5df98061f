"""Where Discovery is on its way into the room, and what it remembers."""

import math

from attrs import field, frozen

from actors import events
from actors.offer_tags import OfferNonces
from actors.phase import AVAILABLE, BUSY, RESERVED, Phase
from protocol.faults import Fault
from protocol.signaling import WorkerPresent
from protocol.status import Role, WorkerFacts

NO_ROOM = events.RoomCredentials(Role.CLIENT)
"""The credentials of a peer that wants no room."""


class DiscoveryPhase(Phase):
    """Where a peer is on its way into its room, and back into it."""

    OFFLINE = "offline", AVAILABLE
    """No room is wanted; the connection to the server is down."""
    ONLINE = "online", AVAILABLE
    """No room is wanted; the connection to the server is up."""
    CONNECTING = "connecting", RESERVED
    """A room is wanted, and the first connection is awaited."""
    RETRYING = "retrying", RESERVED
    """A connection has failed, or was lost before the room was joined; the next one is awaited."""
    CREATING = "creating a room", RESERVED
    """The server was asked for a new room. When it is there, this peer wants no room until it is told to join that
    one, which it cannot before it has the room's keys."""
    JOINING = "joining", RESERVED
    """The server was asked to let this peer into the room."""
    PUT_OFF = "put off", RESERVED
    """The server cannot let this peer in at this moment, and closes the connection."""
    REJOIN_WAIT = "waiting to rejoin", RESERVED
    """The connection was lost while this peer was in the room; the next one is awaited, without a limit."""
    REJOINING = "rejoining", RESERVED
    """The server was asked to let this peer into the room again."""
    IN_ROOM = "in the room", BUSY


@frozen
class DiscoveryData:
    """Discovery's data: what is needed to join the room, and what the server has reported since."""

    facts: WorkerFacts | None = None
    """A worker's description of itself, as it is announced to the room; None for a client. This is the only copy in a
    worker's process: its name, GPU and so on never change, the rest changes with `StatusChanged` and
    `FreeMemoryChanged` only."""
    room_credentials: events.RoomCredentials = NO_ROOM
    """The room and its token, once they are known; and in the phases `MEMBER` our peer id, with its `resume`."""
    step_timeout: float = math.inf
    """Seconds in which the first join must succeed (`JoinRoom`)."""
    patient: bool = False
    """Whether to go on trying when the join has not succeeded in time (`JoinRoom`). Who was in the room is patient."""
    obstacle: Fault | None = None
    """In the phases `FIRST_JOIN`: why we are not in the room, if nothing more happens."""
    workers: tuple[WorkerPresent, ...] = ()
    """The workers of the room, sorted by `by_preference`."""
    last_link: int = 0
    """The id that was allotted last, to a link that a client has requested."""
    nonces: OfferNonces = field(factory=OfferNonces)
    """At a worker: the nonces of the tags that clients' offers must have, if the room has a secret."""

    @property
    def knows_room(self) -> bool:
        """Whether there is a room to join; otherwise the server has to create one."""
        return self.room_credentials.room is not None and self.room_credentials.token is not None

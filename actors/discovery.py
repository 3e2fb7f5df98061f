"""Discovery: being in a room. It keeps our name there, tells who else is there, and carries offers and answers.

available: in no room · reserved: joining, or rejoining after a lost line · busy: in the room.
"""

from attrs import evolve, field, frozen

from actors.events import (
    NO_TIMEOUT,
    AnswerReady,
    Drain,
    FreeMemoryChanged,
    JoinedRoom,
    JoinFailed,
    JoinRoom,
    LinkAnswered,
    LinkRefused,
    LinkRequested,
    OfferReady,
    RejectLink,
    RoomCredentials,
    SendToServer,
    ServerConnected,
    ServerDisconnected,
    StateTimeout,
    StatusChanged,
    TimedOut,
    WorkersChanged,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId
from protocol.signaling import (
    Announce,
    Answer,
    CreateRoom,
    Join,
    Joined,
    Leave,
    Offer,
    Refuse,
    RoomCreated,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role

RETRY_TIME = 5.0
"""Seconds to go on knocking once the server could not be reached: it may be starting in the next window."""


@frozen
class DiscoveryData:
    """Our place in the room, or on the way to it."""

    room_credentials: RoomCredentials = field(default=RoomCredentials(Role.CLIENT))
    connected: bool = False
    """Whether the line is open."""
    retrying: bool = False
    """The server could not be reached so far, and patience is running out."""
    peer: PeerId | None = None
    resume: str | None = None
    workers: tuple[WorkerPresent, ...] = ()


@frozen
class FirstConnectFailed:
    """The line fell before we were ever in the room."""

    text: str


@frozen
class RejoinLater:
    """The server cannot have us back just now; it closes the line, and we knock again when it is back."""


@frozen
class JoinDenied:
    """The server does not let us in."""

    fault: Fault


def classify(data: DiscoveryData, event: object) -> object:
    """A lost line means patience to those who were in, and a reason to give up to those who never were."""
    if isinstance(event, ServerDisconnected) and data.peer is None:
        return FirstConnectFailed(event.text)
    if isinstance(event, Fault):
        passing = data.peer is not None and event.code in (FaultCode.SERVER_LOST, FaultCode.ROOM_FULL)
        return RejoinLater() if passing else JoinDenied(event)
    return event


def join_effects(data: DiscoveryData) -> tuple[SendToServer, ...]:
    """Ask to be let in, by our old name if we had one; or first for a room of our own."""
    room_credentials = data.room_credentials
    if room_credentials.room is None or room_credentials.token is None:
        return (SendToServer(CreateRoom()),)
    join = Join(
        room=room_credentials.room,
        token=room_credentials.token,
        role=room_credentials.role,
        facts=room_credentials.facts,
        peer=data.peer or room_credentials.peer,
        resume=data.resume or room_credentials.resume,
    )
    return (SendToServer(join),)


def start_joining(data: DiscoveryData, event: JoinRoom) -> Step[DiscoveryData]:
    """Go for the room; knock at once if the line is open already."""
    fresh = DiscoveryData(event.room_credentials, connected=data.connected)
    late = Fault(
        FaultCode.SERVER_LOST, "The server did not answer in time. Is it the right address, and is it running?"
    )
    effects = (StateTimeout(event.patience, TimedOut(late)),)
    return Step(fresh, (*effects, *join_effects(fresh)) if data.connected else effects)


def note_connected(data: DiscoveryData, _event: ServerConnected) -> Step[DiscoveryData]:
    """Remember that the line is open."""
    return Step(evolve(data, connected=True))


def note_disconnected(data: DiscoveryData, _event: object) -> Step[DiscoveryData]:
    """Remember that the line is gone."""
    return Step(evolve(data, connected=False))


def request_join(data: DiscoveryData, _event: ServerConnected) -> Step[DiscoveryData]:
    """The line is open: knock."""
    data = evolve(data, connected=True)
    return Step(data, join_effects(data))


def keep_trying(data: DiscoveryData, event: FirstConnectFailed) -> Step[DiscoveryData]:
    """The server cannot be reached; go on a little from the first time on, then say what the line said."""
    fault = Fault(FaultCode.SERVER_LOST, event.text)
    effects = () if data.retrying else (StateTimeout(RETRY_TIME, TimedOut(fault)),)
    return Step(evolve(data, connected=False, retrying=True), effects)


def enter_created_room(data: DiscoveryData, event: RoomCreated) -> Step[DiscoveryData]:
    """A room of our own: join it."""
    data = evolve(data, room_credentials=evolve(data.room_credentials, room=event.room, token=event.token))
    return Step(data, join_effects(data))


def enter_room(data: DiscoveryData, event: Joined) -> Step[DiscoveryData]:
    """We are in: tell everyone in the house, under which name and with whom."""
    token = data.room_credentials.token or ""
    data = evolve(data, peer=event.peer, resume=event.resume, workers=in_order(event.workers))
    # a worker may have had news since it knocked; a server that knows them already passes nothing on
    facts = data.room_credentials.facts
    news = (SendToServer(Announce(facts)),) if facts is not None else ()
    return Step(data, (NO_TIMEOUT, JoinedRoom(event.room, token, event.peer), WorkersChanged(data.workers), *news))


def give_up(data: DiscoveryData, event: JoinDenied | TimedOut) -> Step[DiscoveryData]:
    """The room stays shut."""
    fault = event.fault or Fault(FaultCode.SERVER_LOST, "The server did not answer.")
    return Step(DiscoveryData(connected=data.connected), (JoinFailed(fault),))


def wait_for_line(data: DiscoveryData, _event: ServerDisconnected) -> Step[DiscoveryData]:
    """The line fell; it mends itself, and we knock again by our old name. Jobs know nothing of this."""
    return Step(evolve(data, connected=False))


def in_order(workers: tuple[WorkerPresent, ...]) -> tuple[WorkerPresent, ...]:
    """Most GPU memory first, then by name: the same list for everyone who looks."""
    return tuple(sorted(workers, key=lambda shown: (-shown.facts.memory_mb, shown.peer)))


def show_worker(data: DiscoveryData, event: WorkerPresent) -> Step[DiscoveryData]:
    """A worker came, or has news."""
    others = tuple(shown for shown in data.workers if shown.peer != event.peer)
    data = evolve(data, workers=in_order((*others, event)))
    return Step(data, (WorkersChanged(data.workers),))


def drop_worker(data: DiscoveryData, event: WorkerLeft) -> Step[DiscoveryData]:
    """A worker left."""
    data = evolve(data, workers=tuple(shown for shown in data.workers if shown.peer != event.peer))
    return Step(data, (WorkersChanged(data.workers),))


def pass_offer(data: DiscoveryData, event: Offer) -> Step[DiscoveryData]:
    """Somebody would like a link."""
    return Step(data, (LinkRequested(event.peer, event.sdp, event.job, event.version),))


def pass_answer(data: DiscoveryData, event: Answer) -> Step[DiscoveryData]:
    """The worker takes our link."""
    return Step(data, (LinkAnswered(event.peer, event.sdp),))


def pass_refusal(data: DiscoveryData, event: Refuse) -> Step[DiscoveryData]:
    """The worker, or the server, does not take our link."""
    return Step(data, (LinkRefused(event.peer, event.fault),))


def send_offer(data: DiscoveryData, event: OfferReady) -> Step[DiscoveryData]:
    """Ask for a link."""
    return Step(data, (SendToServer(Offer(event.peer, event.sdp, event.job)),))


def send_answer(data: DiscoveryData, event: AnswerReady) -> Step[DiscoveryData]:
    """Take a link."""
    return Step(data, (SendToServer(Answer(event.peer, event.sdp)),))


def send_refusal(data: DiscoveryData, event: RejectLink) -> Step[DiscoveryData]:
    """Refuse a link."""
    return Step(data, (SendToServer(Refuse(event.peer, event.fault)),))


def refuse_ourselves(data: DiscoveryData, event: OfferReady) -> Step[DiscoveryData]:
    """There is no room to ask in: say so at once, in the worker's place."""
    fault = Fault(FaultCode.SERVER_LOST, "The line to the server is down, so the worker cannot be asked. Try again.")
    return Step(data, (LinkRefused(event.peer, fault),))


def with_facts(data: DiscoveryData, event: StatusChanged | FreeMemoryChanged) -> DiscoveryData:
    """Remember the worker's newest word about itself; it goes along when we rejoin."""
    facts = data.room_credentials.facts
    if facts is None:
        return data
    news = {"status": event.status} if isinstance(event, StatusChanged) else {"free_mb": event.free_mb}
    return evolve(data, room_credentials=evolve(data.room_credentials, facts=evolve(facts, **news)))


def note_facts(data: DiscoveryData, event: StatusChanged | FreeMemoryChanged) -> Step[DiscoveryData]:
    """Nobody to tell now; it is told when we are in."""
    return Step(with_facts(data, event))


def announce_facts(data: DiscoveryData, event: StatusChanged | FreeMemoryChanged) -> Step[DiscoveryData]:
    """Tell the room."""
    data = with_facts(data, event)
    facts = data.room_credentials.facts
    return Step(data, (SendToServer(Announce(facts)),) if facts is not None else ())


def leave(data: DiscoveryData, _event: Drain) -> Step[DiscoveryData]:
    """Say good-bye, so that nobody waits for a time-out to notice."""
    return Step(DiscoveryData(connected=data.connected), (SendToServer(Leave()),))


def stop_trying(data: DiscoveryData, _event: Drain) -> Step[DiscoveryData]:
    """Leave the door."""
    return Step(DiscoveryData(connected=data.connected))


DISCOVERY: Table[DiscoveryData] = Table("discovery", AVAILABLE, (
    #   in         event        next       action
    row(AVAILABLE, JoinRoom,       RESERVED,  start_joining),
    ignore(JoinRoom, RESERVED, BUSY),

    # the line
    row(AVAILABLE, ServerConnected,      AVAILABLE, note_connected),
    row(RESERVED,  ServerConnected,      RESERVED,  request_join),
    ignore(ServerConnected, BUSY),
    row(AVAILABLE, FirstConnectFailed,   AVAILABLE, note_disconnected),
    row(RESERVED,  FirstConnectFailed,   RESERVED,  keep_trying),
    ignore(FirstConnectFailed, BUSY),
    ignore(ServerDisconnected, AVAILABLE),
    row(RESERVED,  ServerDisconnected,    RESERVED,  wait_for_line),
    row(BUSY,      ServerDisconnected,    RESERVED,  wait_for_line),

    # the door
    row(RESERVED,  RoomCreated, RESERVED,  enter_created_room),
    ignore(RoomCreated, AVAILABLE, BUSY),
    row(RESERVED,  Joined,      BUSY,      enter_room),
    ignore(Joined, AVAILABLE, BUSY),
    ignore(RejoinLater, AVAILABLE, RESERVED, BUSY),
    row(RESERVED,  JoinDenied,      AVAILABLE, give_up),
    ignore(JoinDenied, AVAILABLE, BUSY),
    row(RESERVED,  TimedOut,      AVAILABLE, give_up),
    ignore(TimedOut, AVAILABLE, BUSY),

    # who is there
    row(BUSY,      WorkerPresent, BUSY,      show_worker),
    ignore(WorkerPresent, AVAILABLE, RESERVED),
    row(BUSY,      WorkerLeft,  BUSY,      drop_worker),
    ignore(WorkerLeft, AVAILABLE, RESERVED),

    # heard for others
    row(BUSY,      Offer,       BUSY,      pass_offer),
    ignore(Offer, AVAILABLE, RESERVED),
    row(BUSY,      Answer,      BUSY,      pass_answer),
    ignore(Answer, AVAILABLE, RESERVED),
    row(BUSY,      Refuse,      BUSY,      pass_refusal),
    ignore(Refuse, AVAILABLE, RESERVED),

    # said for others
    row(AVAILABLE, OfferReady,  AVAILABLE, refuse_ourselves),
    row(RESERVED,  OfferReady,  RESERVED,  refuse_ourselves),
    row(BUSY,      OfferReady,  BUSY,      send_offer),
    row(BUSY,      AnswerReady, BUSY,      send_answer),
    ignore(AnswerReady, AVAILABLE, RESERVED),
    row(BUSY,      RejectLink,    BUSY,      send_refusal),
    ignore(RejectLink, AVAILABLE, RESERVED),
    row(AVAILABLE, StatusChanged,    AVAILABLE, note_facts),
    row(RESERVED,  StatusChanged,    RESERVED,  note_facts),
    row(BUSY,      StatusChanged,    BUSY,      announce_facts),
    row(AVAILABLE, FreeMemoryChanged,    AVAILABLE, note_facts),
    row(RESERVED,  FreeMemoryChanged,    RESERVED,  note_facts),
    row(BUSY,      FreeMemoryChanged,    BUSY,      announce_facts),

    row(RESERVED,  Drain,       AVAILABLE, stop_trying),
    row(BUSY,      Drain,       AVAILABLE, leave),
    ignore(Drain, AVAILABLE),
), classify)  # fmt: skip

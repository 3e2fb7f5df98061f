"""Discovery: this peer's membership of a room. It joins, reports the room's workers, and passes offers and answers on.

- available: this peer is in no room and does not try to join one.
- reserved: it is joining the room, or joining it again after the connection to the server was lost.
- busy: it is in the room.
"""

from attrs import evolve, field, frozen

from actors.events import (
    CANCEL_TIMEOUT,
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
from actors.old_table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId
from protocol.preference import by_preference
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
"""Seconds to keep trying after the first connection to the server has failed; the server may just be starting."""


@frozen
class DiscoveryData:
    """Discovery's data: what is needed to join the room, and what the server has reported since."""

    room_credentials: RoomCredentials = field(default=RoomCredentials(Role.CLIENT))
    connected: bool = False
    """Whether the connection to the server is open."""
    retrying: bool = False
    """The first connection to the server could not be opened, and `RETRY_TIME` is running."""
    peer: PeerId | None = None
    """Our peer id; None before the first join."""
    resume: str | None = None
    """The secret that gives us the same peer id again (`Joined.resume`)."""
    workers: tuple[WorkerPresent, ...] = ()
    """The workers of the room, sorted by `by_preference`."""


# -------- narrower events


@frozen
class FirstConnectFailed:
    """The connection to the server closed, or could not be opened, before the first join."""

    text: str
    """Why, in one sentence for people."""


@frozen
class RejoinLater:
    """The server cannot let us join again at this moment. It closes the connection; after the next one we ask again."""


@frozen
class JoinDenied:
    """The server has refused the join."""

    fault: Fault


def classify(data: DiscoveryData, event: object) -> object:
    """Return the event, or the narrower event for a lost connection or a fault.

    Before the first join these may end the program; afterwards most of them only delay the next join.
    """
    if isinstance(event, ServerDisconnected) and data.peer is None:
        return FirstConnectFailed(event.text)
    if isinstance(event, Fault):
        temporary = data.peer is not None and event.code in (FaultCode.SERVER_LOST, FaultCode.ROOM_FULL)
        return RejoinLater() if temporary else JoinDenied(event)
    return event


def join_effects(data: DiscoveryData) -> tuple[SendToServer, ...]:
    """Return the effect that sends `Join`, with our former peer id if there is one; or `CreateRoom` without a room."""
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
    """Start joining a room, and if the connection to the server is open, send the request at once."""
    data = DiscoveryData(event.room_credentials, connected=data.connected)
    fault = Fault(
        FaultCode.SERVER_LOST, "The server did not answer in time. Is it the right address, and is it running?"
    )
    effects = (StateTimeout(event.step_timeout, TimedOut(fault)),)
    return Step(data, (*effects, *join_effects(data)) if data.connected else effects)


def note_connected(data: DiscoveryData, _event: ServerConnected) -> Step[DiscoveryData]:
    """Record that the connection to the server is open."""
    return Step(evolve(data, connected=True))


def note_disconnected(data: DiscoveryData, _event: object) -> Step[DiscoveryData]:
    """Record that the connection to the server is closed."""
    return Step(evolve(data, connected=False))


def request_join(data: DiscoveryData, _event: ServerConnected) -> Step[DiscoveryData]:
    """Send the request to join, now that the connection to the server is open."""
    data = evolve(data, connected=True)
    return Step(data, join_effects(data))


def retry_first_connect(data: DiscoveryData, event: FirstConnectFailed) -> Step[DiscoveryData]:
    """Keep trying for `RETRY_TIME` after the first failed connection; then fail with its reason."""
    fault = Fault(FaultCode.SERVER_LOST, event.text)
    effects = () if data.retrying else (StateTimeout(RETRY_TIME, TimedOut(fault)),)
    return Step(evolve(data, connected=False, retrying=True), effects)


def join_created_room(data: DiscoveryData, event: RoomCreated) -> Step[DiscoveryData]:
    """Join the room that the server has created for us."""
    data = evolve(data, room_credentials=evolve(data.room_credentials, room=event.room, token=event.token))
    return Step(data, join_effects(data))


def report_joined(data: DiscoveryData, event: Joined) -> Step[DiscoveryData]:
    """Report that we have joined, with our peer id and the workers of the room; a worker announces its facts."""
    token = data.room_credentials.token or ""
    data = evolve(data, peer=event.peer, resume=event.resume, workers=by_preference(event.workers))
    # a worker's facts may have changed since its request to join; the server passes on only facts that are new to it
    facts = data.room_credentials.facts
    announce = (SendToServer(Announce(facts)),) if facts is not None else ()
    joined = JoinedRoom(event.room, token, event.peer)
    return Step(data, (CANCEL_TIMEOUT, joined, WorkersChanged(data.workers), *announce))


def fail(data: DiscoveryData, event: JoinDenied | TimedOut) -> Step[DiscoveryData]:
    """Fail because the server refused the join or did not answer in time."""
    fault = event.fault or Fault(FaultCode.SERVER_LOST, "The server did not answer.")
    return Step(DiscoveryData(connected=data.connected), (JoinFailed(fault),))


def await_server(data: DiscoveryData, _event: ServerDisconnected) -> Step[DiscoveryData]:
    """Wait until the server is connected again, to join with the same peer id. Links and jobs are not affected."""
    return Step(evolve(data, connected=False))


def update_worker(data: DiscoveryData, event: WorkerPresent) -> Step[DiscoveryData]:
    """Add the worker to the list, or replace its facts in the list, and report the list."""
    others = tuple(worker for worker in data.workers if worker.peer != event.peer)
    data = evolve(data, workers=by_preference((*others, event)))
    return Step(data, (WorkersChanged(data.workers),))


def remove_worker(data: DiscoveryData, event: WorkerLeft) -> Step[DiscoveryData]:
    """Remove the worker from the list, and report the list."""
    data = evolve(data, workers=tuple(worker for worker in data.workers if worker.peer != event.peer))
    return Step(data, (WorkersChanged(data.workers),))


def forward_offer(data: DiscoveryData, event: Offer) -> Step[DiscoveryData]:
    """Report a client's offer to the program."""
    return Step(data, (LinkRequested(event.peer, event.sdp, event.job, event.version),))


def forward_answer(data: DiscoveryData, event: Answer) -> Step[DiscoveryData]:
    """Report the worker's answer to the program."""
    return Step(data, (LinkAnswered(event.peer, event.sdp),))


def forward_refusal(data: DiscoveryData, event: Refuse) -> Step[DiscoveryData]:
    """Report to the program that the worker, or the server, has refused our offer."""
    return Step(data, (LinkRefused(event.peer, event.fault),))


def send_offer(data: DiscoveryData, event: OfferReady) -> Step[DiscoveryData]:
    """Send our offer to the worker, through the server."""
    return Step(data, (SendToServer(Offer(event.peer, event.sdp, event.job)),))


def send_answer(data: DiscoveryData, event: AnswerReady) -> Step[DiscoveryData]:
    """Send our answer to the client, through the server."""
    return Step(data, (SendToServer(Answer(event.peer, event.sdp)),))


def send_refusal(data: DiscoveryData, event: RejectLink) -> Step[DiscoveryData]:
    """Send our refusal to the client, through the server."""
    return Step(data, (SendToServer(Refuse(event.peer, event.fault)),))


def refuse_while_disconnected(data: DiscoveryData, event: OfferReady) -> Step[DiscoveryData]:
    """Refuse our own offer at once, because without a connection to the server it cannot be sent."""
    fault = Fault(FaultCode.SERVER_LOST, "The line to the server is down, so the worker cannot be asked. Try again.")
    return Step(data, (LinkRefused(event.peer, fault),))


def update_facts(data: DiscoveryData, event: StatusChanged | FreeMemoryChanged) -> DiscoveryData:
    """Return the data with the worker's new status or free memory, which is also sent at the next join."""
    facts = data.room_credentials.facts
    if facts is None:
        return data
    if isinstance(event, StatusChanged):
        facts = evolve(facts, status=event.status, leaving=event.leaving)
    else:
        facts = evolve(facts, free_mb=event.free_mb)
    return evolve(data, room_credentials=evolve(data.room_credentials, facts=facts))


def store_facts(data: DiscoveryData, event: StatusChanged | FreeMemoryChanged) -> Step[DiscoveryData]:
    """Store the worker's new status or free memory; it is announced after the next join."""
    return Step(update_facts(data, event))


def announce_facts(data: DiscoveryData, event: StatusChanged | FreeMemoryChanged) -> Step[DiscoveryData]:
    """Store the worker's new status or free memory, and announce it to the room."""
    data = update_facts(data, event)
    facts = data.room_credentials.facts
    return Step(data, (SendToServer(Announce(facts)),) if facts is not None else ())


def leave(data: DiscoveryData, _event: Drain) -> Step[DiscoveryData]:
    """Send `Leave`, so that the server need not wait for a time-out to notice that this peer is gone."""
    return Step(DiscoveryData(connected=data.connected), (SendToServer(Leave()),))


def stop_joining(data: DiscoveryData, _event: Drain) -> Step[DiscoveryData]:
    """Stop trying to join the room."""
    return Step(DiscoveryData(connected=data.connected))


DISCOVERY: Table[DiscoveryData] = Table("discovery", AVAILABLE, (
    #   in         event               next       action
    row(AVAILABLE, JoinRoom,           RESERVED,  start_joining),
    ignore(JoinRoom, RESERVED, BUSY),

    # the connection to the server
    row(AVAILABLE, ServerConnected,    AVAILABLE, note_connected),
    row(RESERVED,  ServerConnected,    RESERVED,  request_join),
    ignore(ServerConnected, BUSY),
    row(AVAILABLE, FirstConnectFailed, AVAILABLE, note_disconnected),
    row(RESERVED,  FirstConnectFailed, RESERVED,  retry_first_connect),
    ignore(FirstConnectFailed, BUSY),
    ignore(ServerDisconnected, AVAILABLE),
    row(RESERVED,  ServerDisconnected, RESERVED,  await_server),
    row(BUSY,      ServerDisconnected, RESERVED,  await_server),

    # joining
    row(RESERVED,  RoomCreated,        RESERVED,  join_created_room),
    ignore(RoomCreated, AVAILABLE, BUSY),
    row(RESERVED,  Joined,             BUSY,      report_joined),
    ignore(Joined, AVAILABLE, BUSY),
    ignore(RejoinLater, AVAILABLE, RESERVED, BUSY),
    row(RESERVED,  JoinDenied,         AVAILABLE, fail),
    ignore(JoinDenied, AVAILABLE, BUSY),
    row(RESERVED,  TimedOut,           AVAILABLE, fail),
    ignore(TimedOut, AVAILABLE, BUSY),

    # the workers of the room
    row(BUSY,      WorkerPresent,      BUSY,      update_worker),
    ignore(WorkerPresent, AVAILABLE, RESERVED),
    row(BUSY,      WorkerLeft,         BUSY,      remove_worker),
    ignore(WorkerLeft, AVAILABLE, RESERVED),

    # messages from the server to other parts of the program
    row(BUSY,      Offer,              BUSY,      forward_offer),
    ignore(Offer, AVAILABLE, RESERVED),
    row(BUSY,      Answer,             BUSY,      forward_answer),
    ignore(Answer, AVAILABLE, RESERVED),
    row(BUSY,      Refuse,             BUSY,      forward_refusal),
    ignore(Refuse, AVAILABLE, RESERVED),

    # messages to the server from other parts of the program
    row(AVAILABLE, OfferReady,         AVAILABLE, refuse_while_disconnected),
    row(RESERVED,  OfferReady,         RESERVED,  refuse_while_disconnected),
    row(BUSY,      OfferReady,         BUSY,      send_offer),
    row(BUSY,      AnswerReady,        BUSY,      send_answer),
    ignore(AnswerReady, AVAILABLE, RESERVED),
    row(BUSY,      RejectLink,         BUSY,      send_refusal),
    ignore(RejectLink, AVAILABLE, RESERVED),
    row(AVAILABLE, StatusChanged,      AVAILABLE, store_facts),
    row(RESERVED,  StatusChanged,      RESERVED,  store_facts),
    row(BUSY,      StatusChanged,      BUSY,      announce_facts),
    row(AVAILABLE, FreeMemoryChanged,  AVAILABLE, store_facts),
    row(RESERVED,  FreeMemoryChanged,  RESERVED,  store_facts),
    row(BUSY,      FreeMemoryChanged,  BUSY,      announce_facts),

    row(RESERVED,  Drain,              AVAILABLE, stop_joining),
    row(BUSY,      Drain,              AVAILABLE, leave),
    ignore(Drain, AVAILABLE),
), classify)  # fmt: skip

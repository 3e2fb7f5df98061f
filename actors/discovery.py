"""Discovery: this peer's membership of a room. It joins, reports the room's workers, and passes offers and answers on.

While this peer is in no room and wants none, it is available; on its way into the room, or back into it after the
connection to the server was lost, reserved; in the room, busy. The signalling connection opens itself again and again,
whether a room is wanted or not, and tells Discovery each time it is up (`ServerConnected`) or down
(`ServerDisconnected`).
"""

from typing import get_args

from attrs import evolve

from actors import discovery_tags as tag
from actors import events
from actors.discovery_data import NO_ROOM, DiscoveryData, DiscoveryPhase
from actors.phase import Phase
from actors.table import SAME, Step, Table, do_nothing, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.preference import by_preference
from protocol.signaling import (
    Announce,
    Answer,
    CreateRoom,
    FromServer,
    Join,
    Joined,
    Leave,
    Offer,
    Refuse,
    RoomCreated,
    Withdraw,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role, WorkerFacts

RETRY_TIME = 5.0
"""Seconds to keep trying after a connection to the server has failed; the server may just be starting."""
JOIN_DEADLINE = "join"
"""The name of the deadline that bounds the way into the room, from `JoinRoom` on."""

OFFLINE, ONLINE = DiscoveryPhase.OFFLINE, DiscoveryPhase.ONLINE
CONNECTING, RETRYING = DiscoveryPhase.CONNECTING, DiscoveryPhase.RETRYING
CREATING, JOINING, PUT_OFF = DiscoveryPhase.CREATING, DiscoveryPhase.JOINING, DiscoveryPhase.PUT_OFF
REJOIN_WAIT, REJOINING, IN_ROOM = DiscoveryPhase.REJOIN_WAIT, DiscoveryPhase.REJOINING, DiscoveryPhase.IN_ROOM

UNCONNECTED = CONNECTING, RETRYING
"""The phases in which a room is wanted and the connection is down."""
ASKING = CREATING, JOINING
"""The phases in which the server owes an answer."""
FIRST_JOIN = *UNCONNECTED, *ASKING, PUT_OFF
"""The phases from `JoinRoom` to the room."""
MEMBER = REJOIN_WAIT, REJOINING, IN_ROOM
"""The phases of a peer that the server knows by a peer id, or that comes back with it."""
NOT_IN_ROOM = OFFLINE, ONLINE, *FIRST_JOIN, REJOIN_WAIT, REJOINING
CLIENT_OUTSIDE = OFFLINE, ONLINE, *UNCONNECTED, JOINING, PUT_OFF, REJOIN_WAIT, REJOINING
"""The phases of a client that is not in its room; it never has one created."""


def check(phase: Phase, data: DiscoveryData) -> None:
    """Raise AssertionError if Discovery can never be in this phase with this data."""
    room_credentials = data.room_credentials
    assert (data.obstacle is not None) == (phase in FIRST_JOIN), "there is an obstacle exactly before the first join"
    assert (phase in (OFFLINE, ONLINE)) <= (room_credentials == NO_ROOM), "who wants no room remembers none"
    assert (phase in (JOINING, *MEMBER)) <= data.knows_room, "who joins knows the room"
    assert (phase is CREATING) <= (not data.knows_room), "no second room is created"
    assert (room_credentials.keys is not None) <= data.knows_room, "keys are those of a room"
    assert (phase in MEMBER) <= (data.patient and None not in (room_credentials.peer, room_credentials.resume))
    assert bool(data.workers) <= (phase in MEMBER), "the list of workers is that of our room"
    assert room_credentials == NO_ROOM or (room_credentials.role is Role.WORKER) == (data.facts is not None)
    if data.facts is not None and room_credentials != NO_ROOM:
        nonce = None if room_credentials.keys is None else data.nonces.present
        assert data.facts.offer_nonce == nonce, "a worker announces a nonce exactly when it has the keys"


# -------- guards


def names_room(_data: DiscoveryData, event: events.JoinRoom) -> bool:
    """Return whether there is a room to join; otherwise the server has to create one."""
    return event.room_credentials.room is not None and event.room_credentials.token is not None


def knows_room(data: DiscoveryData, _event: events.ServerConnected) -> bool:
    """Return whether there is a room to join; otherwise the server has to create one."""
    return data.knows_room


def may_pass(data: DiscoveryData, event: Fault) -> bool:
    """Return whether the server may let us in a moment later; a wrong token or version never becomes right.

    A full room is a reason to give up for somebody who comes for the first time and waits for an answer.
    """
    return event.code in (FaultCode.SERVER_LOST, FaultCode.STALLED) or (
        event.code is FaultCode.ROOM_FULL and data.patient
    )


def is_patient(data: DiscoveryData, _event: events.TimedOut) -> bool:
    """Return whether to go on trying, however long it takes."""
    return data.patient


def is_about_a_job(_data: DiscoveryData, event: Offer) -> bool:
    """Return whether the client asks for a link about an existing job."""
    return event.job is not None


# -------- joining


def _not_answered(data: DiscoveryData, what: str) -> Fault:
    """Return the fault for a server that is silent until the deadline; `what` says what it was asked for."""
    text = f"The server did not answer within {data.step_timeout:.0f} seconds: {what}."
    return Fault(FaultCode.SERVER_LOST, f"{text} Is it the right address, and is it running?")


def _wants(data: DiscoveryData, event: events.JoinRoom) -> DiscoveryData:
    wanted = event.room_credentials
    data = evolve(data, room_credentials=wanted, step_timeout=event.step_timeout, patient=event.patient)
    return tag.with_nonce(data)


def _deadline(data: DiscoveryData) -> events.Deadline:
    return events.Deadline(JOIN_DEADLINE, data.step_timeout, events.TimedOut())


def _join(data: DiscoveryData) -> events.SendToServer:
    """Return the effect that asks the server to let us in, with our former peer id if there is one."""
    room_credentials = data.room_credentials
    assert room_credentials.room is not None, "the guards look for it"
    assert room_credentials.token is not None, "the guards look for it"
    join = Join(
        room=room_credentials.room,
        token=room_credentials.token,
        role=room_credentials.role,
        facts=data.facts,
        peer=room_credentials.peer,
        resume=room_credentials.resume,
    )
    return events.SendToServer(join)


def _asked_to_join(data: DiscoveryData) -> DiscoveryData:
    return evolve(data, obstacle=_not_answered(data, "it was asked to let this program into the room"))


def _asked_for_room(data: DiscoveryData) -> DiscoveryData:
    return evolve(data, obstacle=_not_answered(data, "it was asked for a new room"))


def await_connection(data: DiscoveryData, event: events.JoinRoom) -> Step[DiscoveryData]:
    """Wait for a connection to the server, over which to join the room."""
    data = _wants(data, event)
    data = evolve(data, obstacle=_not_answered(data, "no connection to it came about"))
    return Step(data, (_deadline(data),))


def join_at_once(data: DiscoveryData, event: events.JoinRoom) -> Step[DiscoveryData]:
    """Ask the server to let us into the room; the connection is up."""
    data = _asked_to_join(_wants(data, event))
    return Step(data, (_deadline(data), _join(data)))


def create_at_once(data: DiscoveryData, event: events.JoinRoom) -> Step[DiscoveryData]:
    """Ask the server for a new room; the connection is up."""
    data = _asked_for_room(_wants(data, event))
    return Step(data, (_deadline(data), events.SendToServer(CreateRoom())))


def ask_to_join(data: DiscoveryData, _event: events.ServerConnected) -> Step[DiscoveryData]:
    """Ask the server to let us into the room, now that the connection is up."""
    return Step(_asked_to_join(data), (_join(data),))


def ask_for_room(data: DiscoveryData, _event: events.ServerConnected) -> Step[DiscoveryData]:
    """Ask the server for a new room, now that the connection is up."""
    return Step(_asked_for_room(data), (events.SendToServer(CreateRoom()),))


def report_room(data: DiscoveryData, event: RoomCreated) -> Step[DiscoveryData]:
    """Report the room that the server has created for us; the program finds its keys, and then wants to join it."""
    made = events.RoomMade(event.room, event.token)
    return Step(_outside(data), (events.cancel_deadline(JOIN_DEADLINE), made))


def try_again(data: DiscoveryData, event: events.ServerDisconnected) -> Step[DiscoveryData]:
    """Wait `RETRY_TIME` for the next connection, and remember why this one failed."""
    data = evolve(data, obstacle=Fault(FaultCode.SERVER_LOST, event.text))
    return Step(data, (events.StateTimeout(RETRY_TIME),))


def try_again_later(data: DiscoveryData, _event: events.ServerDisconnected) -> Step[DiscoveryData]:
    """Wait `RETRY_TIME` for the next connection; the reason that the server gave is the one to report."""
    return Step(data, (events.StateTimeout(RETRY_TIME),))


def note_reason(data: DiscoveryData, event: events.ServerDisconnected) -> Step[DiscoveryData]:
    """Remember why the newest connection failed; the time to try goes on."""
    return Step(evolve(data, obstacle=Fault(FaultCode.SERVER_LOST, event.text)))


def note_put_off(data: DiscoveryData, event: Fault) -> Step[DiscoveryData]:
    """Remember why the server cannot let us in at this moment; it closes the connection, and we ask again."""
    return Step(evolve(data, obstacle=event))


def report_joined(data: DiscoveryData, event: Joined) -> Step[DiscoveryData]:
    """Report that we have joined, with our peer id and the workers of the room; a worker announces its facts."""
    room_credentials = evolve(data.room_credentials, peer=event.peer, resume=event.resume)
    workers = by_preference(event.workers)
    after = evolve(data, room_credentials=room_credentials, patient=True, obstacle=None, workers=workers)
    joined = events.JoinedRoom(event.room, room_credentials.token or "", event.peer, room_credentials.keys)
    # a worker's facts may have changed since its request to join; the server passes on only facts that are new to it
    announce = () if data.facts is None else (events.SendToServer(Announce(data.facts)),)
    return Step(after, (events.cancel_deadline(JOIN_DEADLINE), joined, events.WorkersChanged(workers), *announce))


def ask_to_rejoin(data: DiscoveryData, _event: events.ServerConnected) -> Step[DiscoveryData]:
    """Ask the server to let us into the room again, with the same peer id. Links and jobs are not affected."""
    return Step(data, (_join(data),))


def _outside(data: DiscoveryData) -> DiscoveryData:
    """Return the data of a peer that wants no room."""
    return DiscoveryData(data.facts, last_link=data.last_link, nonces=data.nonces)


def _give_up(data: DiscoveryData, fault: Fault | None, *effects: events.SendToServer) -> Step[DiscoveryData]:
    assert fault is not None, "before the first join there is always an obstacle"
    return Step(_outside(data), (*effects, events.JoinFailed(fault)))


def fail_denied(data: DiscoveryData, event: Fault) -> Step[DiscoveryData]:
    """Fail because the server has refused the join for a reason that does not pass."""
    return _give_up(data, event)


def fail_late(data: DiscoveryData, _event: events.TimedOut) -> Step[DiscoveryData]:
    """Fail because no connection to the server could be opened in time, or it did not answer in time."""
    return _give_up(data, data.obstacle)


def fail_unanswered(data: DiscoveryData, _event: events.TimedOut) -> Step[DiscoveryData]:
    """Fail because the server did not answer in time; it may let us in after all.

    `Leave` then makes it close the connection and forget us.
    """
    return _give_up(data, data.obstacle, events.SendToServer(Leave()))


def report_delay(data: DiscoveryData, _event: events.TimedOut) -> Step[DiscoveryData]:
    """Report why the room is not joined yet, and go on trying."""
    assert data.obstacle is not None, "before the first join there is always an obstacle"
    return Step(data, (events.JoinDelayed(data.obstacle),))


# -------- in the room


def update_worker(data: DiscoveryData, event: WorkerPresent) -> Step[DiscoveryData]:
    """Add the worker to the list, or replace its facts in the list, and report the list."""
    others = tuple(worker for worker in data.workers if worker.peer != event.peer)
    data = evolve(data, workers=by_preference((*others, event)))
    return Step(data, (events.WorkersChanged(data.workers),))


def remove_worker(data: DiscoveryData, event: WorkerLeft) -> Step[DiscoveryData]:
    """Remove the worker from the list, and report the list."""
    data = evolve(data, workers=tuple(worker for worker in data.workers if worker.peer != event.peer))
    return Step(data, (events.WorkersChanged(data.workers),))


def forward_offer(data: DiscoveryData, event: Offer) -> Step[DiscoveryData]:
    """Report a client's offer for a new job, with an id for the link that it asks for."""
    data, announcement = tag.accept_offer(data, event)
    request = events.LinkRequested(LinkId(data.last_link), event.peer, event.sdp, number=event.number)
    return Step(data, (request, *announcement))


def forward_owners_offer(data: DiscoveryData, event: Offer) -> Step[DiscoveryData]:
    """Report the offer of a client that says it owns a job, with an id for the link that it asks for."""
    assert event.job is not None, "the guard looks for it"
    data, announcement = tag.accept_offer(data, event)
    link = LinkId(data.last_link)
    request = events.SessionRequested(link, event.peer, event.sdp, event.job, number=event.number)
    return Step(data, (request, *announcement))


def forward_answer(data: DiscoveryData, event: Answer) -> Step[DiscoveryData]:
    """Report the worker's answer."""
    return Step(data, (events.LinkAnswered(event.peer, event.sdp, number=event.number),))


def forward_refusal(data: DiscoveryData, event: Refuse) -> Step[DiscoveryData]:
    """Report that the worker, or the server, has refused our offer."""
    return Step(data, (events.LinkRefused(event.peer, event.fault, number=event.number),))


def forward_withdrawal(data: DiscoveryData, event: Withdraw) -> Step[DiscoveryData]:
    """Report that a client has taken back its offer."""
    return Step(data, (events.OfferWithdrawn(event.peer, number=event.number),))


def send_withdrawal(data: DiscoveryData, event: events.WithdrawOffer) -> Step[DiscoveryData]:
    """Tell the worker, through the server, that we have given up the link."""
    return Step(data, (events.SendToServer(Withdraw(event.peer, event.number)),))


def refuse_while_away(data: DiscoveryData, event: events.OfferReady) -> Step[DiscoveryData]:
    """Refuse our own offer at once, because outside the room it cannot be sent."""
    text = "The line to the server is down, so the worker cannot be asked. Try again."
    return Step(data, (events.LinkRefused(event.peer, Fault(FaultCode.SERVER_LOST, text), number=event.number),))


def send_refusal(data: DiscoveryData, event: events.RejectLink) -> Step[DiscoveryData]:
    """Send our refusal to the client, through the server."""
    return Step(data, (events.SendToServer(Refuse(event.peer, event.fault, event.number)),))


def _changed(data: DiscoveryData, event: events.StatusChanged | events.FreeMemoryChanged) -> WorkerFacts:
    """Return the worker's facts with its new status or free memory."""
    assert data.facts is not None, "only a worker has a status and a GPU"
    if isinstance(event, events.StatusChanged):
        return evolve(data.facts, status=event.status, leaving=event.leaving)
    return evolve(data.facts, free_mb=event.free_mb)


def store_facts(data: DiscoveryData, event: events.StatusChanged | events.FreeMemoryChanged) -> Step[DiscoveryData]:
    """Store the worker's new status or free memory; it is announced with the next join."""
    return Step(evolve(data, facts=_changed(data, event)))


def announce_facts(data: DiscoveryData, event: events.StatusChanged | events.FreeMemoryChanged) -> Step[DiscoveryData]:
    """Store the worker's new status or free memory, and announce it to the room."""
    facts = _changed(data, event)
    return Step(evolve(data, facts=facts), (events.SendToServer(Announce(facts)),))


DISCOVERY: Table[DiscoveryData] = Table("discovery", OFFLINE, (
    #   in                     event                      next         action
    row(OFFLINE,               events.JoinRoom,           CONNECTING,  await_connection),
    row(ONLINE,                events.JoinRoom,           JOINING,     join_at_once, when=names_room),
    row(ONLINE,                events.JoinRoom,           CREATING,    create_at_once),
    ignore((*UNCONNECTED, JOINING, PUT_OFF, *MEMBER), events.JoinRoom,
           because="a client asks again before each try to connect to its worker, whether it is in the room or not"),

    # the connection to the server
    row(OFFLINE,               events.ServerConnected,    ONLINE,      do_nothing),
    row(UNCONNECTED,           events.ServerConnected,    JOINING,     ask_to_join, when=knows_room),
    row(UNCONNECTED,           events.ServerConnected,    CREATING,    ask_for_room),
    row(REJOIN_WAIT,           events.ServerConnected,    REJOINING,   ask_to_rejoin),
    row(ONLINE,                events.ServerDisconnected, OFFLINE,     do_nothing),
    row((CONNECTING, *ASKING), events.ServerDisconnected, RETRYING,    try_again),
    row(RETRYING,              events.ServerDisconnected, SAME,        note_reason),
    row(PUT_OFF,               events.ServerDisconnected, RETRYING,    try_again_later),
    row((REJOINING, IN_ROOM),  events.ServerDisconnected, REJOIN_WAIT, do_nothing),
    ignore((OFFLINE, REJOIN_WAIT), events.ServerDisconnected,
           because="another try to connect has failed, and the next one follows"),

    # joining
    row(CREATING,              RoomCreated,               ONLINE,      report_room),
    row((JOINING, REJOINING),  Joined,                    IN_ROOM,     report_joined),
    row(ASKING,                Fault,                     PUT_OFF,     note_put_off, when=may_pass),
    row(ASKING,                Fault,                     ONLINE,      fail_denied),
    ignore(REJOINING,          Fault, when=may_pass,
           because="the server cannot let us in at this moment and closes the connection; over the next we ask again"),
    row(REJOINING,             Fault,                     ONLINE,      fail_denied),
    ignore(IN_ROOM,            Fault, because="the server closes the connection after it, and then we join again"),
    row(FIRST_JOIN,            events.TimedOut,           SAME,        report_delay, when=is_patient),
    row(UNCONNECTED,           events.TimedOut,           OFFLINE,     fail_late),
    row((CREATING, PUT_OFF),   events.TimedOut,           ONLINE,      fail_late),
    row(JOINING,               events.TimedOut,           ONLINE,      fail_unanswered),

    # in the room: from the server
    row(IN_ROOM,               WorkerPresent,             SAME,        update_worker),
    row(IN_ROOM,               WorkerLeft,                SAME,        remove_worker),
    row(IN_ROOM,               Offer,                     SAME,        tag.deny_untagged, when=tag.tag_is_missing),
    row(IN_ROOM,               Offer,                     SAME,        tag.deny_repeated, when=tag.tag_was_used),
    row(IN_ROOM,               Offer,                     SAME,        tag.deny_changed, when=tag.sdp_was_changed),
    row(IN_ROOM,               Offer,                     SAME,        tag.deny_wrong_tag, when=tag.tag_is_wrong),
    row(IN_ROOM,               Offer,                     SAME,        forward_owners_offer, when=is_about_a_job),
    row(IN_ROOM,               Offer,                     SAME,        forward_offer),
    row(IN_ROOM,               Answer,                    SAME,        tag.distrust_untagged, when=tag.tag_is_missing),
    row(IN_ROOM,               Answer,                    SAME,        tag.distrust_changed, when=tag.sdp_was_changed),
    row(IN_ROOM,               Answer,                    SAME,        tag.distrust_wrong_tag, when=tag.tag_is_wrong),
    row(IN_ROOM,               Answer,                    SAME,        forward_answer),
    row(IN_ROOM,               Refuse,                    SAME,        forward_refusal),
    row(IN_ROOM,               Withdraw,                  SAME,        forward_withdrawal),
    ignore((ONLINE, *ASKING, PUT_OFF, REJOINING, IN_ROOM), events.UnexpectedMessage,
           because="the server says what was not asked for, or answers after we gave up"),

    # to the server, from the links and the Worker
    row(IN_ROOM,               events.OfferReady,         SAME,        tag.refuse_absent, when=tag.nonce_is_unknown),
    row(IN_ROOM,               events.OfferReady,         SAME,        tag.send_offer),
    row(CLIENT_OUTSIDE,        events.OfferReady,         SAME,        refuse_while_away),
    row(IN_ROOM,               events.WithdrawOffer,      SAME,        send_withdrawal),
    ignore(CLIENT_OUTSIDE, events.WithdrawOffer,
           because="it cannot be sent now; the server tells the worker that this client is gone"),
    row(IN_ROOM,               events.AnswerReady,        SAME,        tag.send_answer),
    row(IN_ROOM,               events.RejectLink,         SAME,        send_refusal),
    ignore(NOT_IN_ROOM, events.AnswerReady, events.RejectLink,
           because="the client that asked cannot be reached through the server now; it asks again"),
    row(IN_ROOM,               events.StatusChanged,      SAME,        announce_facts),
    row(NOT_IN_ROOM,           events.StatusChanged,      SAME,        store_facts),
    row(IN_ROOM,               events.FreeMemoryChanged,  SAME,        announce_facts),
    row(NOT_IN_ROOM,           events.FreeMemoryChanged,  SAME,        store_facts),
), from_outside=get_args(FromServer), invariant=check)  # fmt: skip

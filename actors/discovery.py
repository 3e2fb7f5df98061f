"""Discovery: being in a room. It keeps our name there, tells who else is there, and carries offers and answers.

available: in no room · reserved: joining, or rejoining after a lost line · busy: in the room.
"""

from attrs import evolve, field, frozen

from actors.events import (
    NO_TIMEOUT,
    Answered,
    AnswerReady,
    Drain,
    Enter,
    Entered,
    EnterFailed,
    Lapsed,
    LineDown,
    LineUp,
    MemoryIs,
    Offered,
    OfferReady,
    Refused,
    RoomPass,
    RosterIs,
    Say,
    StateTimeout,
    StatusIs,
    TurnAway,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, quiet, row
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
    WorkerGone,
    WorkerShown,
)
from protocol.status import Role

KNOCK_TIME = 5.0
"""Seconds to go on knocking once the server could not be reached: it may be starting in the next window."""


@frozen
class Seat:
    """Our place in the room, or on the way to it."""

    room_pass: RoomPass = field(default=RoomPass(Role.CLIENT))
    up: bool = False
    """Whether the line is open."""
    knocking: bool = False
    """The server could not be reached so far, and patience is running out."""
    peer: PeerId | None = None
    resume: str | None = None
    workers: tuple[WorkerShown, ...] = ()


@frozen
class FirstDown:
    """The line fell before we were ever in the room."""

    text: str


@frozen
class PutOff:
    """The server cannot have us back just now; it closes the line, and we knock again when it is back."""


@frozen
class Denied:
    """The server does not let us in."""

    fault: Fault


def classify(seat: Seat, event: object) -> object:
    """A lost line means patience to those who were in, and a reason to give up to those who never were."""
    if isinstance(event, LineDown) and seat.peer is None:
        return FirstDown(event.text)
    if isinstance(event, Fault):
        passing = seat.peer is not None and event.code in (FaultCode.SERVER_LOST, FaultCode.ROOM_FULL)
        return PutOff() if passing else Denied(event)
    return event


def knock(seat: Seat) -> tuple[Say, ...]:
    """Ask to be let in, by our old name if we had one; or first for a room of our own."""
    room_pass = seat.room_pass
    if room_pass.room is None or room_pass.token is None:
        return (Say(CreateRoom()),)
    join = Join(
        room=room_pass.room,
        token=room_pass.token,
        role=room_pass.role,
        facts=room_pass.facts,
        peer=seat.peer or room_pass.peer,
        resume=seat.resume or room_pass.resume,
    )
    return (Say(join),)


def set_out(seat: Seat, event: Enter) -> Step[Seat]:
    """Go for the room; knock at once if the line is open already."""
    fresh = Seat(event.room_pass, up=seat.up)
    late = Fault(
        FaultCode.SERVER_LOST, "The server did not answer in time. Is it the right address, and is it running?"
    )
    effects = (StateTimeout(event.patience, Lapsed(late)),)
    return Step(fresh, (*effects, *knock(fresh)) if seat.up else effects)


def note_up(seat: Seat, _event: LineUp) -> Step[Seat]:
    """Remember that the line is open."""
    return Step(evolve(seat, up=True))


def note_down(seat: Seat, _event: object) -> Step[Seat]:
    """Remember that the line is gone."""
    return Step(evolve(seat, up=False))


def ask_in(seat: Seat, _event: LineUp) -> Step[Seat]:
    """The line is open: knock."""
    seat = evolve(seat, up=True)
    return Step(seat, knock(seat))


def knock_on(seat: Seat, event: FirstDown) -> Step[Seat]:
    """The server cannot be reached; go on a little from the first time on, then say what the line said."""
    fault = Fault(FaultCode.SERVER_LOST, event.text)
    effects = () if seat.knocking else (StateTimeout(KNOCK_TIME, Lapsed(fault)),)
    return Step(evolve(seat, up=False, knocking=True), effects)


def move_in(seat: Seat, event: RoomCreated) -> Step[Seat]:
    """A room of our own: join it."""
    seat = evolve(seat, room_pass=evolve(seat.room_pass, room=event.room, token=event.token))
    return Step(seat, knock(seat))


def sit_down(seat: Seat, event: Joined) -> Step[Seat]:
    """We are in: tell everyone in the house, under which name and with whom."""
    token = seat.room_pass.token or ""
    seat = evolve(seat, peer=event.peer, resume=event.resume, workers=in_order(event.workers))
    # a worker may have had news since it knocked; a server that knows them already passes nothing on
    facts = seat.room_pass.facts
    news = (Say(Announce(facts)),) if facts is not None else ()
    return Step(seat, (NO_TIMEOUT, Entered(event.room, token, event.peer), RosterIs(seat.workers), *news))


def give_up(seat: Seat, event: Denied | Lapsed) -> Step[Seat]:
    """The room stays shut."""
    fault = event.fault or Fault(FaultCode.SERVER_LOST, "The server did not answer.")
    return Step(Seat(up=seat.up), (EnterFailed(fault),))


def wait_for_line(seat: Seat, _event: LineDown) -> Step[Seat]:
    """The line fell; it mends itself, and we knock again by our old name. Jobs know nothing of this."""
    return Step(evolve(seat, up=False))


def in_order(workers: tuple[WorkerShown, ...]) -> tuple[WorkerShown, ...]:
    """Most GPU memory first, then by name: the same list for everyone who looks."""
    return tuple(sorted(workers, key=lambda shown: (-shown.facts.memory_mb, shown.peer)))


def show(seat: Seat, event: WorkerShown) -> Step[Seat]:
    """A worker came, or has news."""
    others = tuple(shown for shown in seat.workers if shown.peer != event.peer)
    seat = evolve(seat, workers=in_order((*others, event)))
    return Step(seat, (RosterIs(seat.workers),))


def drop(seat: Seat, event: WorkerGone) -> Step[Seat]:
    """A worker left."""
    seat = evolve(seat, workers=tuple(shown for shown in seat.workers if shown.peer != event.peer))
    return Step(seat, (RosterIs(seat.workers),))


def hand_offer(seat: Seat, event: Offer) -> Step[Seat]:
    """Somebody would like a link."""
    return Step(seat, (Offered(event.peer, event.sdp, event.job, event.version),))


def hand_answer(seat: Seat, event: Answer) -> Step[Seat]:
    """The worker takes our link."""
    return Step(seat, (Answered(event.peer, event.sdp),))


def hand_refusal(seat: Seat, event: Refuse) -> Step[Seat]:
    """The worker, or the server, does not take our link."""
    return Step(seat, (Refused(event.peer, event.fault),))


def send_offer(seat: Seat, event: OfferReady) -> Step[Seat]:
    """Ask for a link."""
    return Step(seat, (Say(Offer(event.peer, event.sdp, event.job)),))


def send_answer(seat: Seat, event: AnswerReady) -> Step[Seat]:
    """Take a link."""
    return Step(seat, (Say(Answer(event.peer, event.sdp)),))


def send_refusal(seat: Seat, event: TurnAway) -> Step[Seat]:
    """Refuse a link."""
    return Step(seat, (Say(Refuse(event.peer, event.fault)),))


def refuse_ourselves(seat: Seat, event: OfferReady) -> Step[Seat]:
    """There is no room to ask in: say so at once, in the worker's place."""
    fault = Fault(FaultCode.SERVER_LOST, "The line to the server is down, so the worker cannot be asked. Try again.")
    return Step(seat, (Refused(event.peer, fault),))


def with_news(seat: Seat, event: StatusIs | MemoryIs) -> Seat:
    """Remember the worker's newest word about itself; it goes along when we rejoin."""
    facts = seat.room_pass.facts
    if facts is None:
        return seat
    news = {"status": event.status} if isinstance(event, StatusIs) else {"free_mb": event.free_mb}
    return evolve(seat, room_pass=evolve(seat.room_pass, facts=evolve(facts, **news)))


def note_news(seat: Seat, event: StatusIs | MemoryIs) -> Step[Seat]:
    """Nobody to tell now; it is told when we are in."""
    return Step(with_news(seat, event))


def tell_news(seat: Seat, event: StatusIs | MemoryIs) -> Step[Seat]:
    """Tell the room."""
    seat = with_news(seat, event)
    facts = seat.room_pass.facts
    return Step(seat, (Say(Announce(facts)),) if facts is not None else ())


def leave(seat: Seat, _event: Drain) -> Step[Seat]:
    """Say good-bye, so that nobody waits for a time-out to notice."""
    return Step(Seat(up=seat.up), (Say(Leave()),))


def stop_knocking(seat: Seat, _event: Drain) -> Step[Seat]:
    """Leave the door."""
    return Step(Seat(up=seat.up))


DISCOVERY: Table[Seat] = Table("discovery", AVAILABLE, (
    #   in         event        next       action
    row(AVAILABLE, Enter,       RESERVED,  set_out),
    quiet(Enter, RESERVED, BUSY),

    # the line
    row(AVAILABLE, LineUp,      AVAILABLE, note_up),
    row(RESERVED,  LineUp,      RESERVED,  ask_in),
    quiet(LineUp, BUSY),
    row(AVAILABLE, FirstDown,   AVAILABLE, note_down),
    row(RESERVED,  FirstDown,   RESERVED,  knock_on),
    quiet(FirstDown, BUSY),
    quiet(LineDown, AVAILABLE),
    row(RESERVED,  LineDown,    RESERVED,  wait_for_line),
    row(BUSY,      LineDown,    RESERVED,  wait_for_line),

    # the door
    row(RESERVED,  RoomCreated, RESERVED,  move_in),
    quiet(RoomCreated, AVAILABLE, BUSY),
    row(RESERVED,  Joined,      BUSY,      sit_down),
    quiet(Joined, AVAILABLE, BUSY),
    quiet(PutOff, AVAILABLE, RESERVED, BUSY),
    row(RESERVED,  Denied,      AVAILABLE, give_up),
    quiet(Denied, AVAILABLE, BUSY),
    row(RESERVED,  Lapsed,      AVAILABLE, give_up),
    quiet(Lapsed, AVAILABLE, BUSY),

    # who is there
    row(BUSY,      WorkerShown, BUSY,      show),
    quiet(WorkerShown, AVAILABLE, RESERVED),
    row(BUSY,      WorkerGone,  BUSY,      drop),
    quiet(WorkerGone, AVAILABLE, RESERVED),

    # heard for others
    row(BUSY,      Offer,       BUSY,      hand_offer),
    quiet(Offer, AVAILABLE, RESERVED),
    row(BUSY,      Answer,      BUSY,      hand_answer),
    quiet(Answer, AVAILABLE, RESERVED),
    row(BUSY,      Refuse,      BUSY,      hand_refusal),
    quiet(Refuse, AVAILABLE, RESERVED),

    # said for others
    row(AVAILABLE, OfferReady,  AVAILABLE, refuse_ourselves),
    row(RESERVED,  OfferReady,  RESERVED,  refuse_ourselves),
    row(BUSY,      OfferReady,  BUSY,      send_offer),
    row(BUSY,      AnswerReady, BUSY,      send_answer),
    quiet(AnswerReady, AVAILABLE, RESERVED),
    row(BUSY,      TurnAway,    BUSY,      send_refusal),
    quiet(TurnAway, AVAILABLE, RESERVED),
    row(AVAILABLE, StatusIs,    AVAILABLE, note_news),
    row(RESERVED,  StatusIs,    RESERVED,  note_news),
    row(BUSY,      StatusIs,    BUSY,      tell_news),
    row(AVAILABLE, MemoryIs,    AVAILABLE, note_news),
    row(RESERVED,  MemoryIs,    RESERVED,  note_news),
    row(BUSY,      MemoryIs,    BUSY,      tell_news),

    row(RESERVED,  Drain,       AVAILABLE, stop_knocking),
    row(BUSY,      Drain,       AVAILABLE, leave),
    quiet(Drain, AVAILABLE),
), classify)  # fmt: skip

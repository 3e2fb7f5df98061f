"""A Visit: one link at the worker's window, where the owners of jobs ask about them. One actor for each such link.

available: nobody we know · reserved: a trusted peer, who has to say what it wants, and show its job's key with that ·
busy: it is told what happens in its job, and then gets the result. It has nothing to do with the worker's promise: the
window is open whatever the worker is meanwhile.
"""

from attrs import evolve, frozen

from actors.events import (
    NO_TIMEOUT,
    Cancel,
    CloseLink,
    Deliver,
    Drain,
    Follow,
    FollowEnded,
    Heard,
    Lapsed,
    LinkLost,
    LookUp,
    Receive,
    RecordFound,
    ResultGone,
    StateTimeout,
    StopEarly,
    Supply,
    Taken,
    TellLink,
    Trusted,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, quiet, row
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.jobs import (
    AttachJob,
    CancelJob,
    JobStage,
    JobWishes,
    ResultTaken,
    StopJob,
)

LINK_TIME = 45.0
"""Seconds a visitor may take to link and prove itself, as for any other link."""
ASK_TIME = 30.0
"""Seconds in which a visitor says what it wants, or what else it wants."""
TAKE_TIME = 600.0
"""Seconds to unpack a result and say that it is in its place; it is kept if nothing is said."""

RUDE_FAULT = Fault(FaultCode.BAD_MESSAGE, "The worker heard something out of turn and closed the link.")
LEAVING_FAULT = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping. What has been made is kept.")


@frozen
class Visitor:
    """Who is at this link, and what for."""

    link: LinkId
    fetch: bool = False
    """It wants the result, too, once the job has ended."""


# -------- narrower events


@frozen
class OwnerReceived:
    """The one who sent the job: no key need be shown."""

    receive: Receive


@frozen
class Wished:
    """The visitor wants something of a job."""

    wish: JobWishes


@frozen
class AttachFound:
    """It may hear all of its job."""

    found: RecordFound


@frozen
class SupplyFound:
    """Likewise, and it brings the rest of the package, which has not come whole."""

    found: RecordFound


@frozen
class AskFound:
    """It is told where its job stands, or that it has none here."""

    found: RecordFound


@frozen
class StopFound:
    """Its running job is to stop early."""

    found: RecordFound
    wish: StopJob


@frozen
class CancelFound:
    """Its job, which has not ended, is to end."""

    found: RecordFound


@frozen
class TakenFound:
    """It has the result of its job."""

    found: RecordFound


@frozen
class EndedBare:
    """The job has ended, and nothing is to be delivered."""

    over: FollowEnded


@frozen
class NotTaken:
    """The result did not get there."""

    fault: Fault


@frozen
class Misspoken:
    """Something was said out of turn."""


def classify(visitor: Visitor, event: object) -> object:
    """What is wanted, and of which job: asked here once, so that each answer can be a row."""
    if isinstance(event, Receive):
        return event if event.ticket is None else OwnerReceived(event)
    if isinstance(event, Heard):
        return Wished(event.message) if isinstance(event.message, JobWishes) else Misspoken()
    if isinstance(event, RecordFound):
        return _classify_found(event)
    if isinstance(event, FollowEnded):
        return event if event.ended.result and visitor.fetch else EndedBare(event)
    if isinstance(event, ResultGone):
        return event if event.fault is None else NotTaken(event.fault)
    return event


def _classify_found(found: RecordFound) -> object:
    stage, wish = found.state.stage, found.wish
    if stage in (JobStage.UNKNOWN, JobStage.ELSEWHERE):
        return AskFound(found)
    if isinstance(wish, AttachJob):
        return SupplyFound(found) if wish.supply and stage is JobStage.PREPARING else AttachFound(found)
    if isinstance(wish, StopJob) and stage is JobStage.RUNNING:
        return StopFound(found, wish)
    if isinstance(wish, CancelJob) and stage is not JobStage.ENDED:
        return CancelFound(found)
    if isinstance(wish, ResultTaken) and stage is JobStage.ENDED:
        return TakenFound(found)
    return AskFound(found)


# -------- who comes


def _patience(seconds: float) -> StateTimeout:
    text = "The worker heard nothing more and closed the link."
    return StateTimeout(seconds, Lapsed(Fault(FaultCode.STALLED, text)))


def await_link(visitor: Visitor, event: Receive) -> Step[Visitor]:
    """A link is being made; it must not take for ever."""
    return Step(evolve(visitor, link=event.link), (_patience(LINK_TIME),))


def serve_sender(visitor: Visitor, event: OwnerReceived) -> Step[Visitor]:
    """The job's beginning has just been ordered: it hears all of it."""
    receive = event.receive
    assert receive.ticket is not None, "that is what makes it the sender"
    visitor = evolve(visitor, link=receive.link, fetch=True)
    return Step(visitor, (Follow(receive.link, receive.ticket.job),))


def await_wish(visitor: Visitor, _event: Trusted) -> Step[Visitor]:
    """It may speak."""
    return Step(visitor, (_patience(ASK_TIME),))


def look_up(visitor: Visitor, event: Wished) -> Step[Visitor]:
    """First see whether the job is its own; there may be more to ask."""
    return Step(visitor, (LookUp(visitor.link, event.wish), _patience(ASK_TIME)))


def look_up_beside(visitor: Visitor, event: Wished) -> Step[Visitor]:
    """The same for one who listens, or is taking a result, whose patience is its own."""
    return Step(visitor, (LookUp(visitor.link, event.wish),))


# -------- what it gets


def follow(visitor: Visitor, event: AttachFound | SupplyFound) -> Step[Visitor]:
    """From the event after the last one that it has."""
    wish, state = event.found.wish, event.found.state
    assert isinstance(wish, AttachJob), "that is what makes it this event"
    told = TellLink(visitor.link, state)
    return Step(evolve(visitor, fetch=wish.result), (NO_TIMEOUT, told, Follow(visitor.link, wish.job, wish.seen)))


def take_rest(visitor: Visitor, event: SupplyFound) -> Step[Visitor]:
    """It goes on sending, and hears all of its job."""
    step = follow(visitor, event)
    return Step(step.data, (*step.effects, Supply(visitor.link, event.found.state.job)))


def tell(visitor: Visitor, event: AskFound | AttachFound | SupplyFound) -> Step[Visitor]:
    """Where it stands."""
    return Step(visitor, (TellLink(visitor.link, event.found.state),))


def stop(visitor: Visitor, event: StopFound) -> Step[Visitor]:
    """What it has learned is kept."""
    state = event.found.state
    return Step(visitor, (StopEarly(state.job, event.wish.scope), TellLink(visitor.link, state)))


def cancel(visitor: Visitor, event: CancelFound) -> Step[Visitor]:
    """The job's end is told like any other end."""
    state = event.found.state
    return Step(visitor, (Cancel(state.job), TellLink(visitor.link, state)))


def deliver(visitor: Visitor, event: FollowEnded) -> Step[Visitor]:
    """Tell how it ended, and send what it made."""
    ended = event.ended
    return Step(visitor, (TellLink(visitor.link, ended), Deliver(ended.job, visitor.link)))


def tell_end(visitor: Visitor, event: EndedBare) -> Step[Visitor]:
    """How it ended is all there is to say; whoever heard that hangs up."""
    return Step(visitor, (TellLink(visitor.link, event.over.ended), _patience(ASK_TIME)))


def await_thanks(visitor: Visitor, _event: ResultGone) -> Step[Visitor]:
    """The result is there; it is kept until it is in its place."""
    return Step(visitor, (_patience(TAKE_TIME),))


def forget(visitor: Visitor, event: TakenFound) -> Step[Visitor]:
    """Nothing of it need be kept here; the answer says that it is known."""
    state = event.found.state
    return Step(visitor, (Taken(state.job), TellLink(visitor.link, state), _patience(ASK_TIME)))


# -------- how it goes


def hang_up(visitor: Visitor, event: Lapsed | NotTaken) -> Step[Visitor]:
    """It took too long, or did not take what it wanted; that is kept."""
    return Step(visitor, (CloseLink(visitor.link, event.fault),))


def hang_up_rudely(visitor: Visitor, _event: Misspoken) -> Step[Visitor]:
    """We do not understand each other."""
    return Step(visitor, (CloseLink(visitor.link, RUDE_FAULT),))


def send_away(visitor: Visitor, _event: Drain) -> Step[Visitor]:
    """Nothing has been promised yet."""
    return Step(visitor, (CloseLink(visitor.link, LEAVING_FAULT),))


def part(visitor: Visitor, _event: LinkLost) -> Step[Visitor]:
    """It is gone; the job is not."""
    return Step(evolve(visitor, fetch=False))


VISIT: Table[Visitor] = Table("visit", AVAILABLE, (
    #   in         event          next       action
    row(AVAILABLE, Receive,       AVAILABLE, await_link),
    quiet(Receive, RESERVED, BUSY),
    row(AVAILABLE, OwnerReceived, BUSY,      serve_sender),
    quiet(OwnerReceived, RESERVED, BUSY),
    row(AVAILABLE, Trusted,       RESERVED,  await_wish),
    quiet(Trusted, RESERVED, BUSY),
    row(RESERVED,  Wished,        RESERVED,  look_up),
    row(BUSY,      Wished,        BUSY,      look_up_beside),
    quiet(Wished, AVAILABLE),

    # what it gets
    row(RESERVED,  AttachFound,   BUSY,      follow),
    row(BUSY,      AttachFound,   BUSY,      tell),
    quiet(AttachFound, AVAILABLE),
    row(RESERVED,  SupplyFound,   BUSY,      take_rest),
    row(BUSY,      SupplyFound,   BUSY,      tell),
    quiet(SupplyFound, AVAILABLE),
    row(RESERVED,  AskFound,      RESERVED,  tell),
    row(BUSY,      AskFound,      BUSY,      tell),
    quiet(AskFound, AVAILABLE),
    row(RESERVED,  StopFound,     RESERVED,  stop),
    row(BUSY,      StopFound,     BUSY,      stop),
    quiet(StopFound, AVAILABLE),
    row(RESERVED,  CancelFound,   RESERVED,  cancel),
    row(BUSY,      CancelFound,   BUSY,      cancel),
    quiet(CancelFound, AVAILABLE),
    row(BUSY,      FollowEnded,   BUSY,      deliver),
    quiet(FollowEnded, AVAILABLE, RESERVED),
    row(BUSY,      EndedBare,     BUSY,      tell_end),
    quiet(EndedBare, AVAILABLE, RESERVED),
    row(BUSY,      ResultGone,    BUSY,      await_thanks),
    quiet(ResultGone, AVAILABLE, RESERVED),
    row(BUSY,      NotTaken,      AVAILABLE, hang_up),
    quiet(NotTaken, AVAILABLE, RESERVED),
    row(RESERVED,  TakenFound,    RESERVED,  forget),
    row(BUSY,      TakenFound,    BUSY,      forget),
    quiet(TakenFound, AVAILABLE),

    # how it goes
    row(AVAILABLE, Lapsed,        AVAILABLE, hang_up),
    row(RESERVED,  Lapsed,        AVAILABLE, hang_up),
    row(BUSY,      Lapsed,        AVAILABLE, hang_up),
    row(RESERVED,  Misspoken,     AVAILABLE, hang_up_rudely),
    row(BUSY,      Misspoken,     AVAILABLE, hang_up_rudely),
    quiet(Misspoken, AVAILABLE),
    row(AVAILABLE, Drain,         AVAILABLE, send_away),
    row(RESERVED,  Drain,         AVAILABLE, send_away),
    quiet(Drain, BUSY),
    quiet(LinkLost, AVAILABLE),
    row(RESERVED,  LinkLost,      AVAILABLE, part),
    row(BUSY,      LinkLost,      AVAILABLE, part),
), classify)  # fmt: skip

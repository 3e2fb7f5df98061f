"""A Visit: one link at the worker's window, where the owners of jobs ask about them. One actor for each such link.

available: nobody we know · reserved: a trusted peer, who has to say what it wants, and show its job's key with that ·
busy: it is told what happens in its job, and then gets the result. It has nothing to do with the worker's promise: the
window is open whatever the worker is meanwhile.
"""

from attrs import evolve, frozen

from actors.events import (
    NO_TIMEOUT,
    Authenticated,
    Cancel,
    CloseLink,
    Drain,
    JobLookedUp,
    LinkLost,
    LookUpJob,
    OpenSession,
    PeerMessage,
    ReleaseResult,
    ResultSendEnded,
    SendResult,
    StateTimeout,
    StopEarly,
    StreamEnded,
    StreamEvents,
    SupplyPackage,
    TellPeer,
    TimedOut,
    UnexpectedMessage,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.jobs import (
    AttachJob,
    CancelJob,
    JobRequest,
    JobStage,
    ResultTaken,
    StopJob,
)

LINK_TIME = 45.0
"""Seconds a visitor may take to link and prove itself, as for any other link."""
ASK_TIME = 30.0
"""Seconds in which a visitor says what it wants, or what else it wants."""
RECEIPT_TIME = 600.0
"""Seconds to unpack a result and say that it is in its place; it is kept if nothing is said."""

OUT_OF_TURN_FAULT = Fault(FaultCode.BAD_MESSAGE, "The worker heard something out of turn and closed the link.")
LEAVING_FAULT = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping. What has been made is kept.")


@frozen
class JobSessionData:
    """Who is at this link, and what for."""

    link: LinkId
    fetch: bool = False
    """It wants the result, too, once the job has ended."""


# -------- narrower events


@frozen
class SenderSessionOpened:
    """The one who sent the job: no key need be shown."""

    receive: OpenSession


@frozen
class RequestHeard:
    """The visitor wants something of a job."""

    request: JobRequest


@frozen
class AttachAllowed:
    """It may hear all of its job."""

    found: JobLookedUp


@frozen
class SupplyAllowed:
    """Likewise, and it brings the rest of the package, which has not come whole."""

    found: JobLookedUp


@frozen
class StateAsked:
    """It is told where its job stands, or that it has none here."""

    found: JobLookedUp


@frozen
class StopAllowed:
    """Its running job is to stop early."""

    found: JobLookedUp
    request: StopJob


@frozen
class CancelAllowed:
    """Its job, which has not ended, is to end."""

    found: JobLookedUp


@frozen
class ReceiptAllowed:
    """It has the result of its job."""

    found: JobLookedUp


@frozen
class EndedWithoutDelivery:
    """The job has ended, and nothing is to be delivered."""

    stream: StreamEnded


@frozen
class ResultNotSent:
    """The result did not get there."""

    fault: Fault


def classify(data: JobSessionData, event: object) -> object:
    """What is wanted, and of which job: asked here once, so that each answer can be a row."""
    if isinstance(event, OpenSession):
        return event if event.credential is None else SenderSessionOpened(event)
    if isinstance(event, PeerMessage):
        return RequestHeard(event.message) if isinstance(event.message, JobRequest) else UnexpectedMessage(data.link)
    if isinstance(event, JobLookedUp):
        return _classify_looked_up(event)
    if isinstance(event, StreamEnded):
        return event if event.ended.result and data.fetch else EndedWithoutDelivery(event)
    if isinstance(event, ResultSendEnded):
        return event if event.fault is None else ResultNotSent(event.fault)
    return event


def _classify_looked_up(found: JobLookedUp) -> object:
    stage, request = found.state.stage, found.request
    if stage in (JobStage.UNKNOWN, JobStage.ELSEWHERE):
        return StateAsked(found)
    if isinstance(request, AttachJob):
        return SupplyAllowed(found) if request.supply and stage is JobStage.PREPARING else AttachAllowed(found)
    if isinstance(request, StopJob) and stage is JobStage.RUNNING:
        return StopAllowed(found, request)
    if isinstance(request, CancelJob) and stage is not JobStage.ENDED:
        return CancelAllowed(found)
    if isinstance(request, ResultTaken) and stage is JobStage.ENDED:
        return ReceiptAllowed(found)
    return StateAsked(found)


# -------- who comes


def _timeout(seconds: float) -> StateTimeout:
    text = "The worker heard nothing more and closed the link."
    return StateTimeout(seconds, TimedOut(Fault(FaultCode.STALLED, text)))


def await_link(data: JobSessionData, event: OpenSession) -> Step[JobSessionData]:
    """A link is being made; it must not take for ever."""
    return Step(evolve(data, link=event.link), (_timeout(LINK_TIME),))


def serve_sender(data: JobSessionData, event: SenderSessionOpened) -> Step[JobSessionData]:
    """The job's beginning has just been ordered: it hears all of it."""
    receive = event.receive
    assert receive.credential is not None, "that is what makes it the sender"
    data = evolve(data, link=receive.link, fetch=True)
    return Step(data, (StreamEvents(receive.link, receive.credential.job),))


def await_request(data: JobSessionData, _event: Authenticated) -> Step[JobSessionData]:
    """It may speak."""
    return Step(data, (_timeout(ASK_TIME),))


def look_up(data: JobSessionData, event: RequestHeard) -> Step[JobSessionData]:
    """First see whether the job is its own; there may be more to ask."""
    return Step(data, (LookUpJob(data.link, event.request), _timeout(ASK_TIME)))


def look_up_untimed(data: JobSessionData, event: RequestHeard) -> Step[JobSessionData]:
    """The same for one who listens, or is taking a result, whose patience is its own."""
    return Step(data, (LookUpJob(data.link, event.request),))


# -------- what it gets


def stream_events(data: JobSessionData, event: AttachAllowed | SupplyAllowed) -> Step[JobSessionData]:
    """From the event after the last one that it has."""
    request, state = event.found.request, event.found.state
    assert isinstance(request, AttachJob), "that is what makes it this event"
    told = TellPeer(data.link, state)
    return Step(
        evolve(data, fetch=request.result), (NO_TIMEOUT, told, StreamEvents(data.link, request.job, request.seen))
    )


def resume_upload(data: JobSessionData, event: SupplyAllowed) -> Step[JobSessionData]:
    """It goes on sending, and hears all of its job."""
    step = stream_events(data, event)
    return Step(step.data, (*step.effects, SupplyPackage(data.link, event.found.state.job)))


def tell_state(data: JobSessionData, event: StateAsked | AttachAllowed | SupplyAllowed) -> Step[JobSessionData]:
    """Where it stands."""
    return Step(data, (TellPeer(data.link, event.found.state),))


def stop(data: JobSessionData, event: StopAllowed) -> Step[JobSessionData]:
    """What it has learned is kept."""
    state = event.found.state
    return Step(data, (StopEarly(state.job, event.request.scope), TellPeer(data.link, state)))


def cancel(data: JobSessionData, event: CancelAllowed) -> Step[JobSessionData]:
    """The job's end is told like any other end."""
    state = event.found.state
    return Step(data, (Cancel(state.job), TellPeer(data.link, state)))


def send_result(data: JobSessionData, event: StreamEnded) -> Step[JobSessionData]:
    """Tell how it ended, and send what it made."""
    ended = event.ended
    return Step(data, (TellPeer(data.link, ended), SendResult(ended.job, data.link)))


def tell_end(data: JobSessionData, event: EndedWithoutDelivery) -> Step[JobSessionData]:
    """How it ended is all there is to say; whoever heard that hangs up."""
    return Step(data, (TellPeer(data.link, event.stream.ended), _timeout(ASK_TIME)))


def await_receipt(data: JobSessionData, _event: ResultSendEnded) -> Step[JobSessionData]:
    """The result is there; it is kept until it is in its place."""
    return Step(data, (_timeout(RECEIPT_TIME),))


def release_result(data: JobSessionData, event: ReceiptAllowed) -> Step[JobSessionData]:
    """Nothing of it need be kept here; the answer says that it is known."""
    state = event.found.state
    return Step(data, (ReleaseResult(state.job), TellPeer(data.link, state), _timeout(ASK_TIME)))


# -------- how it goes


def close_link(data: JobSessionData, event: TimedOut | ResultNotSent) -> Step[JobSessionData]:
    """It took too long, or did not take what it wanted; that is kept."""
    return Step(data, (CloseLink(data.link, event.fault),))


def close_out_of_turn(data: JobSessionData, _event: UnexpectedMessage) -> Step[JobSessionData]:
    """We do not understand each other."""
    return Step(data, (CloseLink(data.link, OUT_OF_TURN_FAULT),))


def close_leaving(data: JobSessionData, _event: Drain) -> Step[JobSessionData]:
    """Nothing has been promised yet."""
    return Step(data, (CloseLink(data.link, LEAVING_FAULT),))


def note_link_lost(data: JobSessionData, _event: LinkLost) -> Step[JobSessionData]:
    """It is gone; the job is not."""
    return Step(evolve(data, fetch=False))


JOB_SESSION: Table[JobSessionData] = Table("job session", AVAILABLE, (
    #   in         event          next       action
    row(AVAILABLE, OpenSession,       AVAILABLE, await_link),
    ignore(OpenSession, RESERVED, BUSY),
    row(AVAILABLE, SenderSessionOpened, BUSY,      serve_sender),
    ignore(SenderSessionOpened, RESERVED, BUSY),
    row(AVAILABLE, Authenticated,       RESERVED,  await_request),
    ignore(Authenticated, RESERVED, BUSY),
    row(RESERVED,  RequestHeard,        RESERVED,  look_up),
    row(BUSY,      RequestHeard,        BUSY,      look_up_untimed),
    ignore(RequestHeard, AVAILABLE),

    # what it gets
    row(RESERVED,  AttachAllowed,   BUSY,      stream_events),
    row(BUSY,      AttachAllowed,   BUSY,      tell_state),
    ignore(AttachAllowed, AVAILABLE),
    row(RESERVED,  SupplyAllowed,   BUSY,      resume_upload),
    row(BUSY,      SupplyAllowed,   BUSY,      tell_state),
    ignore(SupplyAllowed, AVAILABLE),
    row(RESERVED,  StateAsked,      RESERVED,  tell_state),
    row(BUSY,      StateAsked,      BUSY,      tell_state),
    ignore(StateAsked, AVAILABLE),
    row(RESERVED,  StopAllowed,     RESERVED,  stop),
    row(BUSY,      StopAllowed,     BUSY,      stop),
    ignore(StopAllowed, AVAILABLE),
    row(RESERVED,  CancelAllowed,   RESERVED,  cancel),
    row(BUSY,      CancelAllowed,   BUSY,      cancel),
    ignore(CancelAllowed, AVAILABLE),
    row(BUSY,      StreamEnded,   BUSY,      send_result),
    ignore(StreamEnded, AVAILABLE, RESERVED),
    row(BUSY,      EndedWithoutDelivery,     BUSY,      tell_end),
    ignore(EndedWithoutDelivery, AVAILABLE, RESERVED),
    row(BUSY,      ResultSendEnded,    BUSY,      await_receipt),
    ignore(ResultSendEnded, AVAILABLE, RESERVED),
    row(BUSY,      ResultNotSent,      AVAILABLE, close_link),
    ignore(ResultNotSent, AVAILABLE, RESERVED),
    row(RESERVED,  ReceiptAllowed,    RESERVED,  release_result),
    row(BUSY,      ReceiptAllowed,    BUSY,      release_result),
    ignore(ReceiptAllowed, AVAILABLE),

    # how it goes
    row(AVAILABLE, TimedOut,        AVAILABLE, close_link),
    row(RESERVED,  TimedOut,        AVAILABLE, close_link),
    row(BUSY,      TimedOut,        AVAILABLE, close_link),
    row(RESERVED,  UnexpectedMessage,     AVAILABLE, close_out_of_turn),
    row(BUSY,      UnexpectedMessage,     AVAILABLE, close_out_of_turn),
    ignore(UnexpectedMessage, AVAILABLE),
    row(AVAILABLE, Drain,         AVAILABLE, close_leaving),
    row(RESERVED,  Drain,         AVAILABLE, close_leaving),
    ignore(Drain, BUSY),
    ignore(LinkLost, AVAILABLE),
    row(RESERVED,  LinkLost,      AVAILABLE, note_link_lost),
    row(BUSY,      LinkLost,      AVAILABLE, note_link_lost),
), classify)  # fmt: skip

"""The JobSession: serves one link over which a client asks about an existing job. Each such link has its own actor.

- available: the client is not authenticated yet, or the session has ended.
- reserved: the client is authenticated and may send requests, each with its job's key.
- busy: the client follows a job: it receives the job's events, and then its result.

Sessions are independent of the Worker's state: a worker serves them also while it is reserved or busy.
"""

from attrs import evolve, frozen

from actors.events import (
    CANCEL_TIMEOUT,
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
from actors.old_table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
from actors.worker_limits import LINK_TIME, REQUEST_TIME, UNEXPECTED_MESSAGE_FAULT
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

RECEIPT_TIME = 600.0
"""Seconds that a client has to unpack a result and send `ResultTaken`; without that message the result is kept."""

LEAVING_FAULT = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping. What has been made is kept.")


@frozen
class JobSessionData:
    """The data of one session."""

    link: LinkId
    fetch: bool = False
    """The client wants the result, too, once the job has ended."""


# -------- narrower events


@frozen
class SenderSessionOpened:
    """A session opens for the client that has sent the job's package; it need not send the job's key."""

    open_session: OpenSession


@frozen
class RequestReceived:
    """The client has sent a request about a job."""

    request: JobRequest


@frozen
class AttachAllowed:
    """The client owns the job and may follow it."""

    lookup: JobLookedUp


@frozen
class SupplyAllowed:
    """The client owns the job and may follow it; it is to send the rest of the job's package, which is not complete."""

    lookup: JobLookedUp


@frozen
class StateRequested:
    """The request changes nothing and is answered with the job's state, which is UNKNOWN if there is no such job."""

    lookup: JobLookedUp


@frozen
class StopAllowed:
    """The client owns the job, which runs, and wants the job to stop early."""

    lookup: JobLookedUp
    request: StopJob


@frozen
class CancelAllowed:
    """The client owns the job, which has not ended, and wants the job to be cancelled."""

    lookup: JobLookedUp


@frozen
class ReceiptAllowed:
    """The client owns the job, which has ended, and has unpacked the job's result."""

    lookup: JobLookedUp


@frozen
class EndedWithoutDelivery:
    """The job has ended, and there is no result to send, or the client does not want it."""

    stream: StreamEnded


@frozen
class ResultNotSent:
    """The result could not be sent."""

    fault: Fault


def classify(data: JobSessionData, event: object) -> object:
    """Return the event, or the narrower event that says what the client wants and whether it may have it."""
    if isinstance(event, OpenSession):
        return event if event.credential is None else SenderSessionOpened(event)
    if isinstance(event, PeerMessage):
        return RequestReceived(event.message) if isinstance(event.message, JobRequest) else UnexpectedMessage(data.link)
    if isinstance(event, JobLookedUp):
        return _classify_looked_up(event)
    if isinstance(event, StreamEnded):
        return event if event.ended.result and data.fetch else EndedWithoutDelivery(event)
    if isinstance(event, ResultSendEnded):
        return event if event.fault is None else ResultNotSent(event.fault)
    return event


def _classify_looked_up(lookup: JobLookedUp) -> object:
    stage, request = lookup.state.stage, lookup.request
    if stage in (JobStage.UNKNOWN, JobStage.ELSEWHERE):
        return StateRequested(lookup)
    if isinstance(request, AttachJob):
        return SupplyAllowed(lookup) if request.supply and stage is JobStage.PREPARING else AttachAllowed(lookup)
    if isinstance(request, StopJob) and stage is JobStage.RUNNING:
        return StopAllowed(lookup, request)
    if isinstance(request, CancelJob) and stage is not JobStage.ENDED:
        return CancelAllowed(lookup)
    if isinstance(request, ResultTaken) and stage is JobStage.ENDED:
        return ReceiptAllowed(lookup)
    return StateRequested(lookup)


# -------- requests


def _timeout(seconds: float) -> StateTimeout:
    text = "The worker received nothing more and closed the link."
    return StateTimeout(seconds, TimedOut(Fault(FaultCode.STALLED, text)))


def await_link(data: JobSessionData, event: OpenSession) -> Step[JobSessionData]:
    """Wait until the link is open and authenticated, for at most `LINK_TIME`."""
    return Step(evolve(data, link=event.link), (_timeout(LINK_TIME),))


def serve_sender(data: JobSessionData, event: SenderSessionOpened) -> Step[JobSessionData]:
    """Send all events of the job, which is just starting, to the client that sent its package."""
    open_session = event.open_session
    assert open_session.credential is not None, "classify returns this event only with a credential"
    data = evolve(data, link=open_session.link, fetch=True)
    return Step(data, (StreamEvents(open_session.link, open_session.credential.job),))


def await_request(data: JobSessionData, _event: Authenticated) -> Step[JobSessionData]:
    """Wait for the authenticated client's first request, for at most `REQUEST_TIME`."""
    return Step(data, (_timeout(REQUEST_TIME),))


def look_up(data: JobSessionData, event: RequestReceived) -> Step[JobSessionData]:
    """Look up the job and compare the key, and give the client `REQUEST_TIME` for its next request."""
    return Step(data, (LookUpJob(data.link, event.request), _timeout(REQUEST_TIME)))


def look_up_without_timeout(data: JobSessionData, event: RequestReceived) -> Step[JobSessionData]:
    """Look up the job and compare the key, without a time-out, while the client follows a job or takes its result."""
    return Step(data, (LookUpJob(data.link, event.request),))


# -------- answers


def stream_events(data: JobSessionData, event: AttachAllowed | SupplyAllowed) -> Step[JobSessionData]:
    """Send the job's state, and then its events after the last one that the client has."""
    request, state = event.lookup.request, event.lookup.state
    assert isinstance(request, AttachJob), "classify returns these events only for this request"
    state_message = TellPeer(data.link, state)
    return Step(
        evolve(data, fetch=request.result),
        (CANCEL_TIMEOUT, state_message, StreamEvents(data.link, request.job, request.seen)),
    )


def resume_upload(data: JobSessionData, event: SupplyAllowed) -> Step[JobSessionData]:
    """Send the job's state and events, and receive the rest of its package over this link."""
    step = stream_events(data, event)
    return Step(step.data, (*step.effects, SupplyPackage(data.link, event.lookup.state.job)))


def send_state(data: JobSessionData, event: StateRequested | AttachAllowed | SupplyAllowed) -> Step[JobSessionData]:
    """Send the job's state."""
    return Step(data, (TellPeer(data.link, event.lookup.state),))


def stop_job(data: JobSessionData, event: StopAllowed) -> Step[JobSessionData]:
    """Stop the job's training early, and send the job's state from before the stop."""
    state = event.lookup.state
    return Step(data, (StopEarly(state.job, event.request.scope), TellPeer(data.link, state)))


def cancel_job(data: JobSessionData, event: CancelAllowed) -> Step[JobSessionData]:
    """Cancel the job, and send the job's state from before that; the job's end is reported like any other end."""
    state = event.lookup.state
    return Step(data, (Cancel(state.job), TellPeer(data.link, state)))


def send_result(data: JobSessionData, event: StreamEnded) -> Step[JobSessionData]:
    """Send how the job ended, and then its result."""
    ended = event.ended
    return Step(data, (TellPeer(data.link, ended), SendResult(ended.job, data.link)))


def send_end(data: JobSessionData, event: EndedWithoutDelivery) -> Step[JobSessionData]:
    """Send how the job ended, without a result; the client then has `REQUEST_TIME` to close the link."""
    return Step(data, (TellPeer(data.link, event.stream.ended), _timeout(REQUEST_TIME)))


def await_receipt(data: JobSessionData, _event: ResultSendEnded) -> Step[JobSessionData]:
    """Wait until the client acknowledges the result, for at most `RECEIPT_TIME`; the result is kept meanwhile."""
    return Step(data, (_timeout(RECEIPT_TIME),))


def release_result(data: JobSessionData, event: ReceiptAllowed) -> Step[JobSessionData]:
    """Release the result, which the client has unpacked, and acknowledge that with the job's state."""
    state = event.lookup.state
    return Step(data, (ReleaseResult(state.job), TellPeer(data.link, state), _timeout(REQUEST_TIME)))


# -------- the end of a session


def close_link(data: JobSessionData, event: TimedOut | ResultNotSent) -> Step[JobSessionData]:
    """Close the link because the client took too long or the result could not be sent; the result, if any, is kept."""
    return Step(data, (CloseLink(data.link, event.fault),))


def close_unexpected_message(data: JobSessionData, _event: UnexpectedMessage) -> Step[JobSessionData]:
    """Close the link because the client sent an unexpected message."""
    return Step(data, (CloseLink(data.link, UNEXPECTED_MESSAGE_FAULT),))


def close_on_drain(data: JobSessionData, _event: Drain) -> Step[JobSessionData]:
    """Close the link because the worker is stopping and the client does not follow a job."""
    return Step(data, (CloseLink(data.link, LEAVING_FAULT),))


def note_link_lost(data: JobSessionData, _event: LinkLost) -> Step[JobSessionData]:
    """End the session because its link has ended; the job continues."""
    return Step(evolve(data, fetch=False))


JOB_SESSION: Table[JobSessionData] = Table("job session", AVAILABLE, (
    #   in         event                 next       action
    row(AVAILABLE, OpenSession,          AVAILABLE, await_link),
    ignore(OpenSession, RESERVED, BUSY),
    row(AVAILABLE, SenderSessionOpened,  BUSY,      serve_sender),
    ignore(SenderSessionOpened, RESERVED, BUSY),
    row(AVAILABLE, Authenticated,        RESERVED,  await_request),
    ignore(Authenticated, RESERVED, BUSY),
    row(RESERVED,  RequestReceived,      RESERVED,  look_up),
    row(BUSY,      RequestReceived,      BUSY,      look_up_without_timeout),
    ignore(RequestReceived, AVAILABLE),

    # answers
    row(RESERVED,  AttachAllowed,        BUSY,      stream_events),
    row(BUSY,      AttachAllowed,        BUSY,      send_state),
    ignore(AttachAllowed, AVAILABLE),
    row(RESERVED,  SupplyAllowed,        BUSY,      resume_upload),
    row(BUSY,      SupplyAllowed,        BUSY,      send_state),
    ignore(SupplyAllowed, AVAILABLE),
    row(RESERVED,  StateRequested,       RESERVED,  send_state),
    row(BUSY,      StateRequested,       BUSY,      send_state),
    ignore(StateRequested, AVAILABLE),
    row(RESERVED,  StopAllowed,          RESERVED,  stop_job),
    row(BUSY,      StopAllowed,          BUSY,      stop_job),
    ignore(StopAllowed, AVAILABLE),
    row(RESERVED,  CancelAllowed,        RESERVED,  cancel_job),
    row(BUSY,      CancelAllowed,        BUSY,      cancel_job),
    ignore(CancelAllowed, AVAILABLE),
    row(BUSY,      StreamEnded,          BUSY,      send_result),
    ignore(StreamEnded, AVAILABLE, RESERVED),
    row(BUSY,      EndedWithoutDelivery, BUSY,      send_end),
    ignore(EndedWithoutDelivery, AVAILABLE, RESERVED),
    row(BUSY,      ResultSendEnded,      BUSY,      await_receipt),
    ignore(ResultSendEnded, AVAILABLE, RESERVED),
    row(BUSY,      ResultNotSent,        AVAILABLE, close_link),
    ignore(ResultNotSent, AVAILABLE, RESERVED),
    row(RESERVED,  ReceiptAllowed,       RESERVED,  release_result),
    row(BUSY,      ReceiptAllowed,       BUSY,      release_result),
    ignore(ReceiptAllowed, AVAILABLE),

    # the end of a session
    row(AVAILABLE, TimedOut,             AVAILABLE, close_link),
    row(RESERVED,  TimedOut,             AVAILABLE, close_link),
    row(BUSY,      TimedOut,             AVAILABLE, close_link),
    row(RESERVED,  UnexpectedMessage,    AVAILABLE, close_unexpected_message),
    row(BUSY,      UnexpectedMessage,    AVAILABLE, close_unexpected_message),
    ignore(UnexpectedMessage, AVAILABLE),
    row(AVAILABLE, Drain,                AVAILABLE, close_on_drain),
    row(RESERVED,  Drain,                AVAILABLE, close_on_drain),
    ignore(Drain, BUSY),
    ignore(LinkLost, AVAILABLE),
    row(RESERVED,  LinkLost,             AVAILABLE, note_link_lost),
    row(BUSY,      LinkLost,             AVAILABLE, note_link_lost),
), classify)  # fmt: skip

"""The JobSession: serves one link about a job. Each such link has its own actor.

- available: the client is not authenticated yet, or the session has ended.
- reserved: the client is authenticated; it may send requests, each with its job's key, or sends its job's package.
- busy: the client follows a job: it receives the job's events, and then its result.

Sessions are independent of the Worker's state: a worker serves them also while it is reserved or busy. The link of a
client whose job the worker has just accepted becomes a session; every other client names a job in its offer.
"""

from attrs import evolve, frozen

from actors import events
from actors.phase import AVAILABLE, BUSY, RESERVED, Phase
from actors.table import SAME, Step, Table, ignore, row
from actors.worker_limits import LINK_TIME, REQUEST_TIME, UNEXPECTED_MESSAGE_FAULT
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import AttachJob, CancelJob, JobStage, ResultTaken, StopJob

SESSIONS_MAX = 8
"""Largest number of open sessions; seldom does more than one client watch the same job."""
RECEIPT_TIME = 600.0
"""Seconds that a client has to unpack a result and send `ResultTaken`; without that message the result is kept."""

LEAVING_FAULT = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping. What has been made is kept.")
TOO_MANY_SESSIONS_FAULT = Fault(
    FaultCode.WORKER_LEAVING, "Too many ask this worker about their jobs at this moment. Try again in a minute."
)
UNKNOWN_FAULT = Fault(FaultCode.NO_SUCH_JOB, "The worker knows of no such job; it never began, or was long ago.")


def refusal(*, known: bool, sessions: int, leaving: bool) -> Fault | None:
    """Return why a client that asks about a job gets no session, or None if it gets one.

    Args:
        known: whether the worker knows the job.
        sessions: the number of open sessions.
        leaving: whether the worker leaves, and no job runs.
    """
    if leaving:
        return LEAVING_FAULT
    if not known:
        return UNKNOWN_FAULT
    return TOO_MANY_SESSIONS_FAULT if sessions >= SESSIONS_MAX else None


class JobSessionPhase(Phase):
    """What a session is doing."""

    LINKING = "linking", AVAILABLE
    """The link is not authenticated yet."""
    ASKING = "asking", RESERVED
    """The client may send requests."""
    RECEIVING = "receiving", RESERVED
    """The client sends the package of its job."""
    FOLLOWING = "following", BUSY
    """The client receives the events of its job."""
    DELIVERING = "delivering", BUSY
    """It receives the result."""
    DELIVERED = "delivered", BUSY
    """It has received the result, and is to acknowledge that."""
    TOLD = "told", BUSY
    """It has everything, and is to close the link."""
    CLOSED = "closed", AVAILABLE


LINKING, ASKING, RECEIVING, FOLLOWING, DELIVERING, DELIVERED, TOLD, CLOSED = JobSessionPhase
UNDELIVERED = (ASKING, RECEIVING, FOLLOWING, DELIVERING, TOLD)
SERVED = (*UNDELIVERED, DELIVERED)
"""The client is authenticated."""
OPEN = (LINKING, *SERVED)
AWAITED = (LINKING, ASKING, DELIVERED, TOLD)
"""The client is to do something, in a limited time."""


@frozen
class JobSessionData:
    """The data of one session."""

    link: LinkId | None
    """None when the session has ended."""
    job: JobId
    """The job that the client named in its offer, or the one whose package it sends."""
    fetch: bool = False
    """The client wants the result, too, once the job has ended."""


# -------- guards: what an owner may do, who has sent the job's key


def supplies_package(_data: JobSessionData, lookup: events.JobLookedUp) -> bool:
    """Return whether the client is to send the rest of the job's package."""
    request = lookup.request
    return isinstance(request, AttachJob) and request.supply and lookup.state.stage is JobStage.PREPARING


def may_follow(_data: JobSessionData, lookup: events.JobLookedUp) -> bool:
    """Return whether the client wants to follow the job, owns it, and this worker has it."""
    return isinstance(lookup.request, AttachJob) and lookup.state.stage not in (JobStage.UNKNOWN, JobStage.ELSEWHERE)


def may_stop(_data: JobSessionData, lookup: events.JobLookedUp) -> bool:
    """Return whether the client wants to stop the job early, and it runs."""
    return isinstance(lookup.request, StopJob) and lookup.state.stage is JobStage.RUNNING


def may_cancel(_data: JobSessionData, lookup: events.JobLookedUp) -> bool:
    """Return whether the client wants to cancel the job, and it has not ended."""
    return isinstance(lookup.request, CancelJob) and lookup.state.stage in (JobStage.PREPARING, JobStage.RUNNING)


def has_taken_result(_data: JobSessionData, lookup: events.JobLookedUp) -> bool:
    """Return whether the client acknowledges the result of a job that has ended."""
    return isinstance(lookup.request, ResultTaken) and lookup.state.stage is JobStage.ENDED


def wants_result(data: JobSessionData, event: events.StreamEnded) -> bool:
    """Return whether there is a result, and the client wants it."""
    return event.ended.result and data.fetch


def was_not_sent(_data: JobSessionData, event: events.ResultSendEnded) -> bool:
    """Return whether the result could not be sent."""
    return event.fault is not None


# -------- the beginning of a session


def _timeout(seconds: float, missing: str) -> events.StateTimeout:
    """Return the time-out of a client that does not do what is `missing`."""
    text = f"The client did not {missing} within {seconds:.0f} seconds, so the worker closed the link."
    return events.StateTimeout(seconds, events.TimedOut(Fault(FaultCode.STALLED, text)))


def accept_link(data: JobSessionData, offer: events.SessionRequested) -> Step[JobSessionData]:
    """Accept the client's link; it has `LINK_TIME` to connect and authenticate."""
    return Step(
        data,
        (
            events.AcceptLink(offer.new_link, offer.peer, offer.sdp, number=offer.number),
            _timeout(LINK_TIME, "connect and authenticate"),
        ),
    )


def await_package(data: JobSessionData, _event: events.OpenSession) -> Step[JobSessionData]:
    """Serve the client whose job was accepted; it sends the job's package, and will want the result."""
    return Step(evolve(data, fetch=True))


def await_request(data: JobSessionData, _event: events.Authenticated) -> Step[JobSessionData]:
    """Wait for the authenticated client's requests, for at most `REQUEST_TIME`."""
    return Step(data, (_timeout(REQUEST_TIME, "follow a job, or leave,"),))


# -------- requests


def _tell_state(data: JobSessionData, lookup: events.JobLookedUp) -> events.TellPeer:
    assert data.link is not None, "a session that has ended drops the events of its link"
    return events.TellPeer(data.link, lookup.state)


def send_state(data: JobSessionData, lookup: events.JobLookedUp) -> Step[JobSessionData]:
    """Send the job's state."""
    return Step(data, (_tell_state(data, lookup),))


def stream_events(data: JobSessionData, lookup: events.JobLookedUp) -> Step[JobSessionData]:
    """Send the job's state, and then its events after the last one that the client has."""
    request = lookup.request
    assert isinstance(request, AttachJob), "the guard is true only for this request"
    stream = events.StreamEvents(lookup.link, request.job, request.seen)
    return Step(evolve(data, fetch=request.result), (_tell_state(data, lookup), stream))


def resume_upload(data: JobSessionData, lookup: events.JobLookedUp) -> Step[JobSessionData]:
    """Send the job's state, and receive the rest of its package over this link."""
    request = lookup.request
    assert isinstance(request, AttachJob), "the guard is true only for this request"
    supply = events.SupplyPackage(lookup.link, request.job)
    return Step(evolve(data, fetch=request.result), (_tell_state(data, lookup), supply))


def stop_job(data: JobSessionData, lookup: events.JobLookedUp) -> Step[JobSessionData]:
    """Stop the job's training early, and send the job's state from before the stop."""
    request = lookup.request
    assert isinstance(request, StopJob), "the guard is true only for this request"
    return Step(data, (events.StopEarly(request.job, request.scope), _tell_state(data, lookup)))


def cancel_job(data: JobSessionData, lookup: events.JobLookedUp) -> Step[JobSessionData]:
    """Cancel the job, and send the job's state from before that; the job's end is reported like any other end."""
    return Step(data, (events.Cancel(lookup.request.job), _tell_state(data, lookup)))


def release_result(data: JobSessionData, lookup: events.JobLookedUp) -> Step[JobSessionData]:
    """Release the result, which the client has unpacked, and acknowledge that with the job's state."""
    return Step(data, (events.ReleaseResult(lookup.request.job), _tell_state(data, lookup)))


def release_delivered(data: JobSessionData, lookup: events.JobLookedUp) -> Step[JobSessionData]:
    """Release the result that was sent over this link; the client then has `REQUEST_TIME` to close the link."""
    step = release_result(data, lookup)
    return Step(step.data, (*step.effects, _timeout(REQUEST_TIME, "leave")))


# -------- the job's events, its end and its result


def follow_job(data: JobSessionData, event: events.FollowJob) -> Step[JobSessionData]:
    """Send all events of the job, which is just starting, to the client that sent its package."""
    return Step(data, (events.StreamEvents(event.link, event.job),))


def send_result(data: JobSessionData, event: events.StreamEnded) -> Step[JobSessionData]:
    """Send how the job ended, and then its result."""
    return Step(data, (events.TellPeer(event.link, event.ended), events.SendResult(event.ended.job, event.link)))


def send_end(data: JobSessionData, event: events.StreamEnded) -> Step[JobSessionData]:
    """Send how the job ended, without a result; the client then has `REQUEST_TIME` to close the link."""
    return Step(data, (events.TellPeer(event.link, event.ended), _timeout(REQUEST_TIME, "leave")))


def await_receipt(data: JobSessionData, _event: events.ResultSendEnded) -> Step[JobSessionData]:
    """Wait until the client acknowledges the result, for at most `RECEIPT_TIME`; the result is kept meanwhile."""
    return Step(data, (_timeout(RECEIPT_TIME, "say that it has unpacked the result"),))


# -------- the end of a session


def _close(data: JobSessionData, fault: Fault | None) -> Step[JobSessionData]:
    assert data.link is not None, "a session that has ended drops the events of its link"
    return Step(evolve(data, link=None), (events.CloseLink(data.link, fault),))


def close_link(data: JobSessionData, event: events.TimedOut | events.ResultSendEnded) -> Step[JobSessionData]:
    """Close the link because the client took too long or the result could not be sent; the result, if any, is kept."""
    return _close(data, event.fault)


def close_unexpected_message(data: JobSessionData, _event: events.UnexpectedMessage) -> Step[JobSessionData]:
    """Close the link because the client sent an unexpected message."""
    return _close(data, UNEXPECTED_MESSAGE_FAULT)


def close_leaving(data: JobSessionData, _event: events.EndSessions) -> Step[JobSessionData]:
    """Close the link because the worker leaves and the client does not follow a job."""
    return _close(data, LEAVING_FAULT)


def end(data: JobSessionData, _event: events.LinkLost) -> Step[JobSessionData]:
    """End the session because its link has ended; the job continues."""
    return Step(evolve(data, link=None))


# -------- the table


def own(data: JobSessionData) -> tuple[LinkId | JobId | None, ...]:
    """Return the id of the link until the session has ended, and that of its job."""
    return (data.link, data.job)


def check(phase: JobSessionPhase, data: JobSessionData) -> None:
    """Raise AssertionError if the session can never be in this phase with this data."""
    assert (data.link is None) == (phase is CLOSED), "a session has its link until it ends"
    assert not data.fetch or phase not in (LINKING, ASKING), "nobody has said yet that a result is wanted"


JOB_SESSION: Table[JobSessionData] = Table("job session", LINKING, (
    #   in                event                     next        action
    row(LINKING,          events.SessionRequested,  SAME,       accept_link),
    row(LINKING,          events.OpenSession,       RECEIVING,  await_package),
    row(LINKING,          events.Authenticated,     ASKING,     await_request),

    # requests, each with what was found about its job
    row(ASKING,           events.JobLookedUp,       RECEIVING,  resume_upload, when=supplies_package),
    row(ASKING,           events.JobLookedUp,       FOLLOWING,  stream_events, when=may_follow),
    row(SERVED,           events.JobLookedUp,       SAME,       stop_job, when=may_stop),
    row(SERVED,           events.JobLookedUp,       SAME,       cancel_job, when=may_cancel),
    row(DELIVERED,        events.JobLookedUp,       TOLD,       release_delivered, when=has_taken_result),
    row(UNDELIVERED,      events.JobLookedUp,       SAME,       release_result, when=has_taken_result),
    row(SERVED,           events.JobLookedUp,       SAME,       send_state),

    # the job's events, its end and its result
    row(RECEIVING,        events.FollowJob,         FOLLOWING,  follow_job),
    row(FOLLOWING,        events.StreamEnded,       DELIVERING, send_result, when=wants_result),
    row(FOLLOWING,        events.StreamEnded,       TOLD,       send_end),
    row(DELIVERING,       events.ResultSendEnded,   CLOSED,     close_link, when=was_not_sent),
    row(DELIVERING,       events.ResultSendEnded,   DELIVERED,  await_receipt),

    # the end of a session
    row(AWAITED,          events.TimedOut,          CLOSED,     close_link),
    row(SERVED,           events.UnexpectedMessage, CLOSED,     close_unexpected_message),
    row(OPEN,             events.LinkLost,          CLOSED,     end),
    row((LINKING, ASKING), events.EndSessions,      CLOSED,     close_leaving),
    ignore(RECEIVING, events.EndSessions, because="its package is not wanted any more, and its link is being closed"),
    ignore((FOLLOWING, DELIVERING, DELIVERED, TOLD), events.EndSessions,
           because="whoever follows a job is served to the end, also by a worker that leaves"),
    ignore(CLOSED, events.EndSessions, because="the session has ended, and the end of its link is on its way"),
), own, invariant=check)  # fmt: skip

"""The Worker: decides which client may use this worker's GPU.

- available: no client has reserved the worker and no job runs. The next offer for a new job is accepted.
- reserved: one client connects, authenticates, or uploads the package of its job; or its link broke during the upload,
  and it has `RETURN_TIME` to reconnect. Offers of other clients for new jobs are refused.
- busy: at least one job runs. Offers for new jobs are refused.

A job outlives links, and even this process: once its package is complete, it needs no client. A client that asks about
an existing job gets a session (`actors/job_session.py`) in each of the three states, and must send the job's key there.
"""

from typing import Any

from attrs import evolve

from actors.events import (
    CANCEL_TIMEOUT,
    AcceptLink,
    Authenticated,
    CloseLink,
    DiscardJob,
    Drain,
    EarlierJobsFound,
    Finished,
    ForwardToSession,
    JobAdopted,
    JobFinished,
    JobSubmitted,
    JoinFailed,
    LinkLost,
    LinkRequested,
    OpenSession,
    PackageFailed,
    PackageReceived,
    ReceivePackage,
    RejectLink,
    RetryJoin,
    Stale,
    StartJob,
    StateTimeout,
    StatusChanged,
    SupplyPackage,
    TellPeer,
    TimedOut,
    UnexpectedMessage,
)
from actors.old_table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
from actors.worker_events import (
    EarlySessionMessage,
    LastSessionClosed,
    LinkRequestedAgain,
    LinkRequestedWhileLeaving,
    OneOfSeveralJobsFinished,
    OtherVersionRequested,
    OwnerLinkRequested,
    SenderLost,
    SessionClosed,
    TooManySessions,
    UnknownJobRequested,
    WorkerData,
    classify,
)
from actors.worker_limits import LINK_TIME, REQUEST_TIME, UNEXPECTED_MESSAGE_FAULT
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import JobAccepted
from protocol.status import Status

RETURN_TIME = 60.0
"""Seconds that a client has to reconnect when its link breaks during the upload: enough to notice the loss and for two
tries to connect, of 23 seconds each."""

BUSY_FAULT = Fault(
    FaultCode.WORKER_BUSY,
    "The worker is held by someone else. Try again later, or use room discovery (--room-id and --token, perhaps with "
    "--auto-select) to find another one.",
)
LEAVING_FAULT = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping. Pick another one from the room.")
TOO_MANY_SESSIONS_FAULT = Fault(
    FaultCode.WORKER_LEAVING, "Too many ask this worker about their jobs at this moment. Try again in a minute."
)
UNKNOWN_FAULT = Fault(FaultCode.NO_SUCH_JOB, "The worker knows of no such job; it never began, or was long ago.")


# -------- the reservation


def reserve(data: WorkerData, offer: LinkRequested) -> Step[WorkerData]:
    """Reserve the worker for the client, and accept its link; it has `LINK_TIME` to connect and authenticate."""
    link = LinkId(data.last_link + 1)
    timed_out = TimedOut(Fault(FaultCode.LINK_FAILED, "The link did not come to be in time. Try again."))
    effects = (
        StatusChanged(Status.RESERVED),
        AcceptLink(link, offer.peer, offer.sdp),
        StateTimeout(LINK_TIME, timed_out),
    )
    return Step(evolve(data, peer=offer.peer, link=link, last_link=link), effects)


def reserve_again(data: WorkerData, event: LinkRequestedAgain) -> Step[WorkerData]:
    """Close the client's older link, drop what it had uploaded, and reserve the worker for it again.

    A client that is not authenticated gets no new `LINK_TIME`; otherwise a peer of the room without the secret could
    keep the worker reserved for ever.
    """
    step = reserve(_without_reservation(data), event.offer)
    effects = tuple(effect for effect in step.effects if data.authenticated or not isinstance(effect, StateTimeout))
    return Step(step.data, (*_drop_reservation(data), *effects))


def refuse_busy(data: WorkerData, offer: LinkRequested) -> Step[WorkerData]:
    """Refuse the offer because the worker serves another client; the fault says how to find other workers."""
    return Step(data, (RejectLink(offer.peer, BUSY_FAULT if data.leaving is None else LEAVING_FAULT),))


def refuse_leaving(data: WorkerData, event: LinkRequestedWhileLeaving) -> Step[WorkerData]:
    """Refuse the offer because the worker is stopping and serves only the sessions that are already open."""
    return Step(data, (RejectLink(event.offer.peer, LEAVING_FAULT),))


def refuse_other_version(data: WorkerData, event: OtherVersionRequested) -> Step[WorkerData]:
    """Refuse the offer because the client has another protocol version; the fault names both versions."""
    text = (
        f"The worker speaks protocol version {PROTOCOL_VERSION} and the client version {event.offer.version}. "
        "Install the same version of sleap-rtc on both."
    )
    return Step(data, (RejectLink(event.offer.peer, Fault(FaultCode.VERSION, text)),))


def await_request(data: WorkerData, _event: Authenticated) -> Step[WorkerData]:
    """Wait for the authenticated client to submit its job, for at most `REQUEST_TIME`."""
    timed_out = TimedOut(
        Fault(FaultCode.STALLED, "The worker received no job in time, and is free for others again. Try again.")
    )
    return Step(evolve(data, authenticated=True), (StateTimeout(REQUEST_TIME, timed_out),))


def accept_job(data: WorkerData, event: JobSubmitted) -> Step[WorkerData]:
    """Accept the job and receive its package; the transfer has time-outs of its own."""
    job, key = event.credential.job, event.credential.key
    effects = (
        CANCEL_TIMEOUT,
        TellPeer(event.link, JobAccepted(job, key)),
        ReceivePackage(event.link, event.credential, event.submit),
    )
    return Step(evolve(data, job=job, known_jobs=data.known_jobs | {job}), effects)


def start_job(data: WorkerData, event: PackageReceived) -> Step[WorkerData]:
    """Start the job, whose package is complete, and open a session for the client that sent it."""
    job, sessions = event.credential.job, data.sessions
    effects: tuple[Any, ...] = (StatusChanged(Status.BUSY), StartJob(job))
    # a client that reconnected to send the rest of the package has a session already
    if data.link is not None and data.link not in sessions:
        effects, sessions = (*effects, OpenSession(data.link, event.credential)), sessions | {data.link}
    after = evolve(
        _without_reservation(data), running=data.running | {job}, sessions=sessions, known_jobs=data.known_jobs
    )
    return Step(after, effects)


def await_sender(data: WorkerData, event: SenderLost) -> Step[WorkerData]:
    """Keep the reservation and the received part of the package for `RETURN_TIME`, after the link broke."""
    timed_out = TimedOut(
        Fault(FaultCode.STALLED, "The client that sent the package did not come back in time with the rest of it.")
    )
    after = evolve(data, link=None, sessions=data.sessions - {event.link})
    return Step(after, (StateTimeout(RETURN_TIME, timed_out),))


def resume_upload(data: WorkerData, event: SupplyPackage) -> Step[WorkerData]:
    """Continue the upload over the client's new link, and close its older link, whose loss may be unnoticed."""
    close_old = () if data.link is None else (CloseLink(data.link),)
    return Step(evolve(data, link=event.link), (CANCEL_TIMEOUT, *close_old))


# -------- the end of a reservation


def _without_reservation(data: WorkerData) -> WorkerData:
    """Return the data without the reservation, and without the job that its client was uploading."""
    known_jobs = data.known_jobs if data.job is None else data.known_jobs - {data.job}
    return evolve(data, peer=None, link=None, authenticated=False, job=None, known_jobs=known_jobs)


def _drop_reservation(data: WorkerData, fault: Fault | None = None) -> tuple[Any, ...]:
    """Return the effects that close the link of the reservation and discard the job that was being uploaded."""
    close = () if data.link is None else (CloseLink(data.link, fault),)
    return close if data.job is None else (*close, DiscardJob(data.job))


def _release(data: WorkerData, *before: Any) -> Step[WorkerData]:
    """Become available, after the effects `before`. A leaving worker instead ends, now or after its last session."""
    after: tuple[Any, ...] = (StatusChanged(Status.AVAILABLE),)
    if data.leaving is not None:
        after = () if data.sessions else (data.leaving,)
    return Step(_without_reservation(data), (*before, *after))


def release(data: WorkerData, _event: LinkLost) -> Step[WorkerData]:
    """End the reservation because the client's link has ended before it uploaded a job."""
    return _release(data, *_drop_reservation(data))


def time_out(data: WorkerData, event: TimedOut) -> Step[WorkerData]:
    """End the reservation because the client took too long, and close its link with the reason."""
    return _release(data, *_drop_reservation(data, event.fault))


def release_on_unexpected_message(data: WorkerData, _event: UnexpectedMessage) -> Step[WorkerData]:
    """End the reservation because the client sent an unexpected message, and close its link with that reason."""
    return _release(data, *_drop_reservation(data, UNEXPECTED_MESSAGE_FAULT))


def fail_package(data: WorkerData, event: PackageFailed) -> Step[WorkerData]:
    """End the reservation because the package could not be received, and report the reason to the client."""
    report = () if data.link is None else (TellPeer(data.link, event.fault), CloseLink(data.link, event.fault))
    return _release(data, *report)


# -------- running jobs


def adopt_job(data: WorkerData, event: JobAdopted) -> Step[WorkerData]:
    """Become busy with a job that an earlier worker started, until it ends."""
    after = evolve(data, running=data.running | {event.job}, known_jobs=data.known_jobs | {event.job})
    return Step(after, (StatusChanged(Status.BUSY),))


def finish_job(data: WorkerData, event: JobFinished) -> Step[WorkerData]:
    """Become available because the last running job has ended; sessions send its result from the disk."""
    return _release(_without_job(data, event.job))


def note_job_finished(data: WorkerData, event: OneOfSeveralJobsFinished) -> Step[WorkerData]:
    """Remove the ended job from the running jobs; another job still runs."""
    return Step(_without_job(data, event.job))


def _without_job(data: WorkerData, job: JobId) -> WorkerData:
    return evolve(data, running=data.running - {job})


# -------- the sessions


def note_earlier_jobs(data: WorkerData, event: EarlierJobsFound) -> Step[WorkerData]:
    """Add jobs of earlier worker processes to the known jobs, so that clients may open sessions about these jobs."""
    return Step(evolve(data, known_jobs=data.known_jobs | event.jobs))


def open_session(data: WorkerData, event: OwnerLinkRequested) -> Step[WorkerData]:
    """Accept the link and open a session for it; the worker's own state does not change."""
    link = LinkId(data.last_link + 1)
    effects = (AcceptLink(link, event.offer.peer, event.offer.sdp), OpenSession(link))
    return Step(evolve(data, sessions=data.sessions | {link}, last_link=link), effects)


def refuse_too_many(data: WorkerData, event: TooManySessions) -> Step[WorkerData]:
    """Refuse the offer because too many sessions are open; the client may try again later."""
    return Step(data, (RejectLink(event.offer.peer, TOO_MANY_SESSIONS_FAULT),))


def refuse_unknown(data: WorkerData, event: UnknownJobRequested) -> Step[WorkerData]:
    """Refuse the offer because the worker does not know the job."""
    return Step(data, (RejectLink(event.offer.peer, UNKNOWN_FAULT),))


def forward_message(data: WorkerData, event: EarlySessionMessage) -> Step[WorkerData]:
    """Forward the message to the session of its link, which was not yet open when the message was received."""
    return Step(data, (ForwardToSession(event.message),))


def close_session(data: WorkerData, event: SessionClosed) -> Step[WorkerData]:
    """Remove the ended link from the open sessions."""
    return Step(evolve(data, sessions=data.sessions - {event.link}))


def finish_after_last_session(data: WorkerData, event: LastSessionClosed) -> Step[WorkerData]:
    """End the worker because its last session has ended and it was waiting only for that."""
    assert data.leaving is not None, "classify returns this event only for a worker that is leaving"
    return Step(evolve(data, sessions=data.sessions - {event.link}), (data.leaving,))


# -------- ending


def _mark_leaving(data: WorkerData, event: Drain | JoinFailed) -> WorkerData:
    """Return the data of a worker that is to end; if it is already to end, the first reason stays."""
    leaving = data.leaving or Finished(event.fault if isinstance(event, JoinFailed) else None)
    return evolve(data, leaving=leaving)


def leave(data: WorkerData, event: Drain | JoinFailed) -> Step[WorkerData]:
    """End the worker as soon as no session is open; no job runs."""
    return _release(_mark_leaving(data, event))


def leave_reserved(data: WorkerData, event: Drain | JoinFailed) -> Step[WorkerData]:
    """End the reservation, and end the worker as soon as no session is open."""
    return _release(_mark_leaving(data, event), *_drop_reservation(data, LEAVING_FAULT))


def retry_join(data: WorkerData, event: JoinFailed) -> Step[WorkerData]:
    """Let the program try to join the room again later, because a job runs and its owner will ask for it."""
    return Step(data, (RetryJoin(event.fault),))


def leave_after_jobs(data: WorkerData, event: Drain) -> Step[WorkerData]:
    """Let the running jobs finish, and then end."""
    return Step(_mark_leaving(data, event))


WORKER: Table[WorkerData] = Table("worker", AVAILABLE, (
    #   in         event                      next       action
    row(AVAILABLE, LinkRequested,             RESERVED,  reserve),
    row(RESERVED,  LinkRequested,             RESERVED,  refuse_busy),
    row(BUSY,      LinkRequested,             BUSY,      refuse_busy),
    row(RESERVED,  LinkRequestedAgain,        RESERVED,  reserve_again),
    ignore(LinkRequestedAgain, AVAILABLE, BUSY),
    row(AVAILABLE, LinkRequestedWhileLeaving, AVAILABLE, refuse_leaving),
    ignore(LinkRequestedWhileLeaving, RESERVED, BUSY),
    row(AVAILABLE, OtherVersionRequested,     AVAILABLE, refuse_other_version),
    row(RESERVED,  OtherVersionRequested,     RESERVED,  refuse_other_version),
    row(BUSY,      OtherVersionRequested,     BUSY,      refuse_other_version),

    # from the reservation to the job
    row(RESERVED,  Authenticated,             RESERVED,  await_request),
    ignore(Authenticated, AVAILABLE, BUSY),
    row(RESERVED,  JobSubmitted,              RESERVED,  accept_job),
    ignore(JobSubmitted, AVAILABLE, BUSY),
    row(RESERVED,  PackageReceived,           BUSY,      start_job),
    ignore(PackageReceived, AVAILABLE, BUSY),
    row(RESERVED,  PackageFailed,             AVAILABLE, fail_package),
    ignore(PackageFailed, AVAILABLE, BUSY),
    row(RESERVED,  SenderLost,                RESERVED,  await_sender),
    ignore(SenderLost, AVAILABLE, BUSY),
    row(RESERVED,  SupplyPackage,             RESERVED,  resume_upload),
    ignore(SupplyPackage, AVAILABLE, BUSY),
    row(RESERVED,  LinkLost,                  AVAILABLE, release),
    ignore(LinkLost, AVAILABLE, BUSY),
    row(RESERVED,  TimedOut,                  AVAILABLE, time_out),
    ignore(TimedOut, AVAILABLE, BUSY),
    row(RESERVED,  UnexpectedMessage,         AVAILABLE, release_on_unexpected_message),
    ignore(UnexpectedMessage, AVAILABLE, BUSY),

    # running jobs
    row(AVAILABLE, JobAdopted,                BUSY,      adopt_job),
    row(BUSY,      JobAdopted,                BUSY,      adopt_job),
    ignore(JobAdopted, RESERVED),
    row(BUSY,      OneOfSeveralJobsFinished,  BUSY,      note_job_finished),
    ignore(OneOfSeveralJobsFinished, AVAILABLE, RESERVED),
    row(BUSY,      JobFinished,               AVAILABLE, finish_job),
    ignore(JobFinished, AVAILABLE, RESERVED),

    # the sessions
    row(AVAILABLE, EarlierJobsFound,          AVAILABLE, note_earlier_jobs),
    row(RESERVED,  EarlierJobsFound,          RESERVED,  note_earlier_jobs),
    row(BUSY,      EarlierJobsFound,          BUSY,      note_earlier_jobs),
    row(AVAILABLE, OwnerLinkRequested,        AVAILABLE, open_session),
    row(RESERVED,  OwnerLinkRequested,        RESERVED,  open_session),
    row(BUSY,      OwnerLinkRequested,        BUSY,      open_session),
    row(AVAILABLE, TooManySessions,           AVAILABLE, refuse_too_many),
    row(RESERVED,  TooManySessions,           RESERVED,  refuse_too_many),
    row(BUSY,      TooManySessions,           BUSY,      refuse_too_many),
    row(AVAILABLE, UnknownJobRequested,       AVAILABLE, refuse_unknown),
    row(RESERVED,  UnknownJobRequested,       RESERVED,  refuse_unknown),
    row(BUSY,      UnknownJobRequested,       BUSY,      refuse_unknown),
    row(AVAILABLE, EarlySessionMessage,       AVAILABLE, forward_message),
    row(RESERVED,  EarlySessionMessage,       RESERVED,  forward_message),
    row(BUSY,      EarlySessionMessage,       BUSY,      forward_message),
    row(AVAILABLE, SessionClosed,             AVAILABLE, close_session),
    row(RESERVED,  SessionClosed,             RESERVED,  close_session),
    row(BUSY,      SessionClosed,             BUSY,      close_session),
    row(AVAILABLE, LastSessionClosed,         AVAILABLE, finish_after_last_session),
    ignore(LastSessionClosed, RESERVED, BUSY),

    # the end
    row(AVAILABLE, Drain,                     AVAILABLE, leave),
    row(RESERVED,  Drain,                     AVAILABLE, leave_reserved),
    row(BUSY,      Drain,                     BUSY,      leave_after_jobs),
    row(AVAILABLE, JoinFailed,                AVAILABLE, leave),
    row(RESERVED,  JoinFailed,                AVAILABLE, leave_reserved),
    row(BUSY,      JoinFailed,                BUSY,      retry_join),

    ignore(Stale, AVAILABLE, RESERVED, BUSY),
), classify)  # fmt: skip

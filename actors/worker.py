"""The Worker: one GPU's promise.

available: free, announced · reserved: held by one named peer, who is linking, proving or uploading · busy: one job
runs. Jobs outlive links, and even this program: once its package is here, a job needs nobody, and whoever shows its key
is told of it at the window (`actors/job_session.py`), whatever we are meanwhile.
"""

from typing import Any

from attrs import evolve

from actors.events import (
    NO_TIMEOUT,
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
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
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
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import JobAccepted
from protocol.status import Status

LINK_TIME = 45.0
"""Seconds a peer may take to link and prove itself; an honest link is up, or has failed, within 20."""
ASK_TIME = 30.0
"""Seconds a trusted peer may take to say what it wants."""
RETURN_TIME = 60.0
"""Seconds for which who sends a package may be away: time to notice that the link is gone, and for two tries to come
back, of 23 seconds each."""

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
OUT_OF_TURN_FAULT = Fault(FaultCode.BAD_MESSAGE, "The worker heard something out of turn and closed the link.")


# -------- holding


def reserve(data: WorkerData, offer: LinkRequested) -> Step[WorkerData]:
    """Promise this GPU to one peer, for as long as linking and proving may take."""
    link = LinkId(data.last_link + 1)
    late = TimedOut(Fault(FaultCode.LINK_FAILED, "The link did not come to be in time. Try again."))
    effects = (
        StatusChanged(Status.RESERVED),
        AcceptLink(link, offer.peer, offer.sdp),
        StateTimeout(LINK_TIME, late),
    )
    return Step(evolve(data, peer=offer.peer, link=link, last_link=link), effects)


def reserve_again(data: WorkerData, event: LinkRequestedAgain) -> Step[WorkerData]:
    """The same peer starts over: its older link, and what it had begun, are dropped.

    Until it has proven itself its time does not start over, or a member without the secret could hold us for ever.
    """
    step = reserve(_unreserved(data), event.offer)
    effects = tuple(effect for effect in step.effects if data.authenticated or not isinstance(effect, StateTimeout))
    return Step(step.data, (*_drop_peer(data), *effects))


def refuse_busy(data: WorkerData, offer: LinkRequested) -> Step[WorkerData]:
    """One at a time; the stranger is told at once, and how to find others."""
    return Step(data, (RejectLink(offer.peer, BUSY_FAULT if data.leaving is None else LEAVING_FAULT),))


def refuse_leaving(data: WorkerData, event: LinkRequestedWhileLeaving) -> Step[WorkerData]:
    """Only those who are at the window already are still served."""
    return Step(data, (RejectLink(event.offer.peer, LEAVING_FAULT),))


def refuse_other_version(data: WorkerData, event: OtherVersionRequested) -> Step[WorkerData]:
    """We would not understand each other."""
    text = (
        f"The worker speaks protocol version {PROTOCOL_VERSION} and the client version {event.offer.version}. "
        "Install the same version of sleap-rtc on both."
    )
    return Step(data, (RejectLink(event.offer.peer, Fault(FaultCode.VERSION, text)),))


def await_request(data: WorkerData, _event: Authenticated) -> Step[WorkerData]:
    """The peer may speak; it should say soon what it wants."""
    silent = TimedOut(
        Fault(FaultCode.STALLED, "The worker heard no wish in time and took the next in line. Try again.")
    )
    return Step(evolve(data, authenticated=True), (StateTimeout(ASK_TIME, silent),))


def accept_job(data: WorkerData, event: JobSubmitted) -> Step[WorkerData]:
    """Accept, and fetch the package. From here on the transfer keeps its own time."""
    job, key = event.credential.job, event.credential.key
    effects = (
        NO_TIMEOUT,
        TellPeer(event.link, JobAccepted(job, key)),
        ReceivePackage(event.link, event.credential, event.submit),
    )
    return Step(evolve(data, job=job, known_jobs=data.known_jobs | {job}), effects)


def start_job(data: WorkerData, event: PackageReceived) -> Step[WorkerData]:
    """The package is here: run it. Whoever sent it has shown the key by that, and hears the job from the window."""
    job, sessions = event.credential.job, data.sessions
    effects: tuple[Any, ...] = (StatusChanged(Status.BUSY), StartJob(job))
    if data.link is not None and data.link not in sessions:  # who has come back with it is there already
        effects, sessions = (*effects, OpenSession(data.link, event.credential)), sessions | {data.link}
    after = evolve(_unreserved(data), running=data.running | {job}, sessions=sessions, known_jobs=data.known_jobs)
    return Step(after, effects)


def await_sender(data: WorkerData, event: SenderLost) -> Step[WorkerData]:
    """Its link is lost, not its wish: the promise is kept for it a while, and what is here of the package, too."""
    late = TimedOut(Fault(FaultCode.STALLED, "Who sent the package did not come back in time with the rest of it."))
    after = evolve(data, link=None, sessions=data.sessions - {event.link})
    return Step(after, (StateTimeout(RETURN_TIME, late),))


def resume_upload(data: WorkerData, event: SupplyPackage) -> Step[WorkerData]:
    """It is back; an older link of its, which may be dead and not know it yet, is of no more use."""
    old = () if data.link is None else (CloseLink(data.link),)
    return Step(evolve(data, link=event.link), (NO_TIMEOUT, *old))


# -------- letting go


def _unreserved(data: WorkerData) -> WorkerData:
    """Nobody holds us; a job that has not begun is not known any more."""
    known_jobs = data.known_jobs if data.job is None else data.known_jobs - {data.job}
    return evolve(data, peer=None, link=None, authenticated=False, job=None, known_jobs=known_jobs)


def _drop_peer(data: WorkerData, fault: Fault | None = None) -> tuple[Any, ...]:
    """Drop the link, and a job that has not begun."""
    last_link = () if data.link is None else (CloseLink(data.link, fault),)
    return last_link if data.job is None else (*last_link, DiscardJob(data.job))


def _release(data: WorkerData, *before: Any) -> Step[WorkerData]:
    """Nobody holds us and nothing runs: say so, or end if that was what we waited for and the window is empty."""
    after: tuple[Any, ...] = (StatusChanged(Status.AVAILABLE),)
    if data.leaving is not None:
        after = () if data.sessions else (data.leaving,)
    return Step(_unreserved(data), (*before, *after))


def release(data: WorkerData, _event: LinkLost) -> Step[WorkerData]:
    """The peer is gone before it had a job."""
    return _release(data, *_drop_peer(data))


def time_out(data: WorkerData, event: TimedOut) -> Step[WorkerData]:
    """The peer took too long; the promise ends, and it is told."""
    return _release(data, *_drop_peer(data, event.fault))


def end_out_of_turn(data: WorkerData, _event: UnexpectedMessage) -> Step[WorkerData]:
    """What was said makes no sense here; the promise ends."""
    return _release(data, *_drop_peer(data, OUT_OF_TURN_FAULT))


def fail_package(data: WorkerData, event: PackageFailed) -> Step[WorkerData]:
    """No package, no job; the peer hears why."""
    told = () if data.link is None else (TellPeer(data.link, event.fault), CloseLink(data.link, event.fault))
    return _release(data, *told)


# -------- the job


def adopt_job(data: WorkerData, event: JobAdopted) -> Step[WorkerData]:
    """An earlier worker's job is ours now, and keeps the GPU until it ends."""
    after = evolve(data, running=data.running | {event.job}, known_jobs=data.known_jobs | {event.job})
    return Step(after, (StatusChanged(Status.BUSY),))


def finish_job(data: WorkerData, event: JobFinished) -> Step[WorkerData]:
    """The GPU is free; what the job made waits on disk, and is handed over at the window."""
    return _release(_without_job(data, event.job))


def note_job_finished(data: WorkerData, event: OneOfSeveralJobsFinished) -> Step[WorkerData]:
    """One less."""
    return Step(_without_job(data, event.job))


def _without_job(data: WorkerData, job: JobId) -> WorkerData:
    return evolve(data, running=data.running - {job})


# -------- the window


def note_earlier_jobs(data: WorkerData, event: EarlierJobsFound) -> Step[WorkerData]:
    """Their owners may come."""
    return Step(evolve(data, known_jobs=data.known_jobs | event.jobs))


def open_session(data: WorkerData, event: OwnerLinkRequested) -> Step[WorkerData]:
    """To the window, which has nothing to do with the promise."""
    link = LinkId(data.last_link + 1)
    effects = (AcceptLink(link, event.offer.peer, event.offer.sdp), OpenSession(link))
    return Step(evolve(data, sessions=data.sessions | {link}, last_link=link), effects)


def refuse_too_many(data: WorkerData, event: TooManySessions) -> Step[WorkerData]:
    """Later."""
    return Step(data, (RejectLink(event.offer.peer, TOO_MANY_SESSIONS_FAULT),))


def refuse_unknown(data: WorkerData, event: UnknownJobRequested) -> Step[WorkerData]:
    """There is no such job; said at once, so that nobody waits for it."""
    return Step(data, (RejectLink(event.offer.peer, UNKNOWN_FAULT),))


def forward(data: WorkerData, event: EarlySessionMessage) -> Step[WorkerData]:
    """It spoke when its package was here and we had not yet said so; the window has it by now."""
    return Step(data, (ForwardToSession(event.said),))


def close_session(data: WorkerData, event: SessionClosed) -> Step[WorkerData]:
    """One less at the window."""
    return Step(evolve(data, sessions=data.sessions - {event.link}))


def end_after_last_session(data: WorkerData, event: LastSessionClosed) -> Step[WorkerData]:
    """Nothing is left to wait for."""
    assert data.leaving is not None, "that is what makes it the last"
    return Step(evolve(data, sessions=data.sessions - {event.link}), (data.leaving,))


# -------- ending


def _leave(data: WorkerData, event: Drain | JoinFailed) -> WorkerData:
    """What comes first says why we end."""
    leaving = data.leaving or Finished(event.fault if isinstance(event, JoinFailed) else None)
    return evolve(data, leaving=leaving)


def end(data: WorkerData, event: Drain | JoinFailed) -> Step[WorkerData]:
    """Free, so done, as soon as those at the window have what they came for."""
    return _release(_leave(data, event))


def end_reservation(data: WorkerData, event: Drain | JoinFailed) -> Step[WorkerData]:
    """No job runs yet: the peer is sent to another worker."""
    return _release(_leave(data, event), *_drop_peer(data, LEAVING_FAULT))


def retry_join(data: WorkerData, event: JoinFailed) -> Step[WorkerData]:
    """A job runs, whose owner will come for it; if the door is still shut when we are free, that ends us."""
    return Step(data, (RetryJoin(event.fault),))


def end_after_job(data: WorkerData, event: Drain) -> Step[WorkerData]:
    """A job is work; it is finished first."""
    return Step(_leave(data, event))


WORKER: Table[WorkerData] = Table("worker", AVAILABLE, (
    #   in         event             next       action
    row(AVAILABLE, LinkRequested,          RESERVED,  reserve),
    row(RESERVED,  LinkRequested,          RESERVED,  refuse_busy),
    row(BUSY,      LinkRequested,          BUSY,      refuse_busy),
    row(RESERVED,  LinkRequestedAgain,     RESERVED,  reserve_again),
    ignore(LinkRequestedAgain, AVAILABLE, BUSY),
    row(AVAILABLE, LinkRequestedWhileLeaving,   AVAILABLE, refuse_leaving),
    ignore(LinkRequestedWhileLeaving, RESERVED, BUSY),
    row(AVAILABLE, OtherVersionRequested,   AVAILABLE, refuse_other_version),
    row(RESERVED,  OtherVersionRequested,   RESERVED,  refuse_other_version),
    row(BUSY,      OtherVersionRequested,   BUSY,      refuse_other_version),

    # the way to a job
    row(RESERVED,  Authenticated,          RESERVED,  await_request),
    ignore(Authenticated, AVAILABLE, BUSY),
    row(RESERVED,  JobSubmitted,        RESERVED,  accept_job),
    ignore(JobSubmitted, AVAILABLE, BUSY),
    row(RESERVED,  PackageReceived,  BUSY,      start_job),
    ignore(PackageReceived, AVAILABLE, BUSY),
    row(RESERVED,  PackageFailed,    AVAILABLE, fail_package),
    ignore(PackageFailed, AVAILABLE, BUSY),
    row(RESERVED,  SenderLost,       RESERVED,  await_sender),
    ignore(SenderLost, AVAILABLE, BUSY),
    row(RESERVED,  SupplyPackage,           RESERVED,  resume_upload),
    ignore(SupplyPackage, AVAILABLE, BUSY),
    row(RESERVED,  LinkLost,         AVAILABLE, release),
    ignore(LinkLost, AVAILABLE, BUSY),
    row(RESERVED,  TimedOut,           AVAILABLE, time_out),
    ignore(TimedOut, AVAILABLE, BUSY),
    row(RESERVED,  UnexpectedMessage,        AVAILABLE, end_out_of_turn),
    ignore(UnexpectedMessage, AVAILABLE, BUSY),

    # the job
    row(AVAILABLE, JobAdopted,       BUSY,      adopt_job),
    row(BUSY,      JobAdopted,       BUSY,      adopt_job),
    ignore(JobAdopted, RESERVED),
    row(BUSY,      OneOfSeveralJobsFinished,       BUSY,      note_job_finished),
    ignore(OneOfSeveralJobsFinished, AVAILABLE, RESERVED),
    row(BUSY,      JobFinished,          AVAILABLE, finish_job),
    ignore(JobFinished, AVAILABLE, RESERVED),

    # the window
    row(AVAILABLE, EarlierJobsFound,        AVAILABLE, note_earlier_jobs),
    row(RESERVED,  EarlierJobsFound,        RESERVED,  note_earlier_jobs),
    row(BUSY,      EarlierJobsFound,        BUSY,      note_earlier_jobs),
    row(AVAILABLE, OwnerLinkRequested,     AVAILABLE, open_session),
    row(RESERVED,  OwnerLinkRequested,     RESERVED,  open_session),
    row(BUSY,      OwnerLinkRequested,     BUSY,      open_session),
    row(AVAILABLE, TooManySessions,          AVAILABLE, refuse_too_many),
    row(RESERVED,  TooManySessions,          RESERVED,  refuse_too_many),
    row(BUSY,      TooManySessions,          BUSY,      refuse_too_many),
    row(AVAILABLE, UnknownJobRequested,   AVAILABLE, refuse_unknown),
    row(RESERVED,  UnknownJobRequested,   RESERVED,  refuse_unknown),
    row(BUSY,      UnknownJobRequested,   BUSY,      refuse_unknown),
    row(AVAILABLE, EarlySessionMessage,       AVAILABLE, forward),
    row(RESERVED,  EarlySessionMessage,       RESERVED,  forward),
    row(BUSY,      EarlySessionMessage,       BUSY,      forward),
    row(AVAILABLE, SessionClosed,      AVAILABLE, close_session),
    row(RESERVED,  SessionClosed,      RESERVED,  close_session),
    row(BUSY,      SessionClosed,      BUSY,      close_session),
    row(AVAILABLE, LastSessionClosed,  AVAILABLE, end_after_last_session),
    ignore(LastSessionClosed, RESERVED, BUSY),

    # the end
    row(AVAILABLE, Drain,            AVAILABLE, end),
    row(RESERVED,  Drain,            AVAILABLE, end_reservation),
    row(BUSY,      Drain,            BUSY,      end_after_job),
    row(AVAILABLE, JoinFailed,      AVAILABLE, end),
    row(RESERVED,  JoinFailed,      AVAILABLE, end_reservation),
    row(BUSY,      JoinFailed,      BUSY,      retry_join),

    ignore(Stale, AVAILABLE, RESERVED, BUSY),
), classify)  # fmt: skip

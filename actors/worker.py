"""The Worker: decides which client may use this worker's GPU.

- available: no client has reserved the worker and no job runs. The next offer for a new job is accepted, unless the
  worker leaves.
- reserved: one client connects, authenticates, or uploads the package of its job; or its link broke during the upload,
  and it has `RETURN_TIME` to reconnect. Offers of other clients for new jobs are refused.
- busy: at least one job runs. Offers for new jobs are refused.

A job outlives links, and even this process: once its package is complete, it needs no client. From the moment in which
the worker accepts a job, the link of its client is a session about that job. Clients that ask about a job later get
sessions, too, whatever the worker does (`actors/job_session.py`).
"""

from typing import Any

from attrs import evolve, frozen

from actors import events
from actors.phase import AVAILABLE, BUSY, RESERVED, Phase
from actors.table import SAME, Step, Table, ignore, row
from actors.worker_limits import LINK_TIME, REQUEST_TIME, UNEXPECTED_MESSAGE_FAULT
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import JobAccepted

RETURN_TIME = 60.0
"""Seconds that a client has to reconnect when its link breaks during the upload: enough to notice the loss and for two
tries to connect, of 23 seconds each."""

BUSY_FAULT = Fault(
    FaultCode.WORKER_BUSY,
    "The worker is held by someone else. Try again later, or use room discovery (--room-id and --token, perhaps with "
    "--auto-select) to find another one.",
)
LEAVING_FAULT = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping. Pick another one from the room.")


class WorkerPhase(Phase):
    """What the worker is doing."""

    FREE = "free", AVAILABLE
    LINKING = "linking", RESERVED
    """One client has reserved the worker; its link is not authenticated yet."""
    ASKING = "asking", RESERVED
    """That client is authenticated, and is to submit its job."""
    UPLOADING = "uploading", RESERVED
    """It sends the package of its job."""
    SENDER_AWAY = "sender away", RESERVED
    """Its link broke during the upload."""
    RUNNING = "running", BUSY
    RUNNING_LAST = "running last", BUSY
    """The worker leaves as soon as its jobs have ended."""
    LEAVING = "leaving", AVAILABLE
    """No job runs, and no new one is accepted. The worker ends when the owners of jobs have ended their sessions."""


EVERY = tuple(WorkerPhase)
FREE, LINKING, ASKING, UPLOADING, SENDER_AWAY, RUNNING, RUNNING_LAST, LEAVING = EVERY
HELD = (LINKING, ASKING, UPLOADING, SENDER_AWAY)
"""One client has reserved the worker."""
TAKING = (UPLOADING, SENDER_AWAY)
"""Its job is accepted, and the job's package is on the way."""
WORKING = (RUNNING, RUNNING_LAST)


@frozen
class WorkerData:
    """The Worker's data: the client that has reserved it, and the running jobs."""

    peer: PeerId | None = None
    """The client that has reserved the worker."""
    link: LinkId | None = None
    """The link of that client, if it has one now."""
    job: JobId | None = None
    """The job whose package that client uploads."""
    running: frozenset[JobId] = frozenset()
    """Jobs that run; more than one only if earlier workers left several running jobs."""
    fault: Fault | None = None
    """Why the worker leaves; None if it was asked to."""


# -------- guards


def is_same_client(data: WorkerData, offer: events.LinkRequested) -> bool:
    """Return whether the offer is from the client that has reserved the worker."""
    return offer.peer == data.peer


def other_jobs_run(data: WorkerData, event: events.JobFinished) -> bool:
    """Return whether another job than the one that has ended still runs; both were adopted from earlier workers."""
    return data.running != {event.job}


# -------- the reservation


def reserve(data: WorkerData, offer: events.LinkRequested) -> Step[WorkerData]:
    """Reserve the worker for the client, and accept its link; it has `LINK_TIME` to connect and authenticate."""
    text = f"The client did not connect and authenticate within {LINK_TIME:.0f} seconds of its offer. Try again."
    effects = (
        events.AcceptLink(offer.new_link, offer.peer, offer.sdp, number=offer.number),
        events.StateTimeout(LINK_TIME, events.TimedOut(Fault(FaultCode.LINK_FAILED, text))),
    )
    return Step(evolve(data, peer=offer.peer, link=offer.new_link), effects)


def replace_link(data: WorkerData, offer: events.LinkRequested) -> Step[WorkerData]:
    """Accept the client's new link instead of its older one, which was not authenticated yet.

    The client gets no new `LINK_TIME`: otherwise one that never opens a link could keep the worker reserved for ever.
    """
    effects = (*_drop(data), events.AcceptLink(offer.new_link, offer.peer, offer.sdp, number=offer.number))
    return Step(evolve(data, link=offer.new_link), effects)


def start_over(data: WorkerData, offer: events.LinkRequested) -> Step[WorkerData]:
    """Close the client's older link, drop what it had uploaded, and reserve the worker for it again."""
    step = reserve(WorkerData(), offer)
    return Step(step.data, (*_drop(data), *step.effects))


def refuse_busy(data: WorkerData, offer: events.LinkRequested) -> Step[WorkerData]:
    """Refuse the offer because the worker serves another client; the fault says how to find other workers."""
    return Step(data, (events.RejectLink(offer.peer, BUSY_FAULT, number=offer.number),))


def refuse_leaving(data: WorkerData, offer: events.LinkRequested) -> Step[WorkerData]:
    """Refuse the offer because the worker leaves."""
    return Step(data, (events.RejectLink(offer.peer, LEAVING_FAULT, number=offer.number),))


def await_job(data: WorkerData, _event: events.Authenticated) -> Step[WorkerData]:
    """Wait for the authenticated client to submit its job, for at most `REQUEST_TIME`."""
    text = f"The client submitted no job within {REQUEST_TIME:.0f} seconds, so the worker is free again. Try again."
    return Step(data, (events.StateTimeout(REQUEST_TIME, events.TimedOut(Fault(FaultCode.STALLED, text))),))


def accept_job(data: WorkerData, event: events.JobSubmitted) -> Step[WorkerData]:
    """Accept the job and receive its package; the transfer has time-outs of its own."""
    job, key = event.credential.job, event.credential.key
    effects = (
        events.OpenSession(event.link, job),
        events.TellPeer(event.link, JobAccepted(job, key)),
        events.ReceivePackage(event.link, event.credential, event.submit),
    )
    return Step(evolve(data, job=job), effects)


def await_sender(data: WorkerData, _event: events.LinkLost) -> Step[WorkerData]:
    """Keep the reservation and the received part of the package for `RETURN_TIME`, after the link broke."""
    return Step(evolve(data, link=None), (events.StateTimeout(RETURN_TIME),))


def resume_upload(data: WorkerData, event: events.SupplyPackage) -> Step[WorkerData]:
    """Continue the upload over the client's new link, and close its older link, whose loss may be unnoticed."""
    close_old = () if data.link is None else (events.CloseLink(data.link),)
    return Step(evolve(data, link=event.new_link), close_old)


def start_job(data: WorkerData, event: events.PackageReceived) -> Step[WorkerData]:
    """Start the job, whose package is complete; its sender, if it is there, follows the job over the same link."""
    follow = () if data.link is None else (events.FollowJob(data.link, event.job),)
    return Step(WorkerData(running=frozenset({event.job})), (events.StartJob(event.job), *follow))


# -------- the end of a reservation


def _drop(data: WorkerData, fault: Fault | None = None) -> tuple[Any, ...]:
    """Return the effects that close the link of the reservation and discard the job that was being uploaded."""
    close = () if data.link is None else (events.CloseLink(data.link, fault),)
    return close if data.job is None else (*close, events.DiscardJob(data.job))


def release(_data: WorkerData, _event: events.LinkLost) -> Step[WorkerData]:
    """End the reservation because the client's link has ended before it submitted a job."""
    return Step(WorkerData())


def time_out(data: WorkerData, event: events.TimedOut) -> Step[WorkerData]:
    """End the reservation because the client took too long, and close its link with the reason."""
    return Step(WorkerData(), _drop(data, event.fault))


def drop_client(data: WorkerData, _event: events.UnexpectedMessage | events.JobSubmitted) -> Step[WorkerData]:
    """End the reservation because the client sent an unexpected message, and close its link with that reason."""
    return Step(WorkerData(), _drop(data, UNEXPECTED_MESSAGE_FAULT))


def fail_package(data: WorkerData, event: events.PackageFailed) -> Step[WorkerData]:
    """End the reservation because the package could not be received, and report the reason to the client."""
    if data.link is None:
        return Step(WorkerData())
    return Step(WorkerData(), (events.TellPeer(data.link, event.fault), events.CloseLink(data.link, event.fault)))


# -------- running jobs


def adopt_job(data: WorkerData, event: events.JobAdopted) -> Step[WorkerData]:
    """Become busy with a job that an earlier worker started, until it ends."""
    return Step(evolve(data, running=data.running | {event.new_job}))


def follow_job(data: WorkerData, event: events.SupplyPackage) -> Step[WorkerData]:
    """Let the sender, which returned just when its package became complete, follow the job over its new link."""
    return Step(data, (events.FollowJob(event.new_link, event.job),))


def note_job_finished(data: WorkerData, event: events.JobFinished) -> Step[WorkerData]:
    """Remove the ended job from the running jobs; sessions send its result from the disk."""
    return Step(evolve(data, running=data.running - {event.job}))


# -------- leaving


def leave(data: WorkerData, event: events.Drain | events.JoinFailed) -> Step[WorkerData]:
    """End the reservation, if there is one, and let the sessions end; then the worker ends."""
    fault = event.fault if isinstance(event, events.JoinFailed) else None
    return Step(WorkerData(fault=fault), (*_drop(data, LEAVING_FAULT), events.EndSessions()))


def leave_after_jobs(data: WorkerData, _event: events.Drain) -> Step[WorkerData]:
    """Let the running jobs finish; then the worker leaves."""
    return Step(data)


def leave_after_last_job(_data: WorkerData, _event: events.JobFinished) -> Step[WorkerData]:
    """Let the sessions end, which also send the result of the last job; then the worker ends."""
    return Step(WorkerData(), (events.EndSessions(),))


def retry_join(data: WorkerData, event: events.JoinFailed) -> Step[WorkerData]:
    """Let the program try to join the room again later, because a job runs and its owner will ask for it."""
    return Step(data, (events.RetryJoin(event.fault),))


def finish(data: WorkerData, _event: events.SessionsEnded) -> Step[WorkerData]:
    """End the worker."""
    return Step(data, (events.Finished(data.fault),))


# -------- the table


def own(data: WorkerData) -> tuple[LinkId | JobId | None, ...]:
    """Return the ids of the link and the job of the reservation, and of the running jobs."""
    return (data.link, data.job, *data.running)


def announce(phase: WorkerPhase) -> events.StatusChanged:
    """Return what the room is told about the worker in this phase."""
    return events.StatusChanged(phase.status, leaving=phase in (RUNNING_LAST, LEAVING))


def check(phase: WorkerPhase, data: WorkerData) -> None:
    """Raise AssertionError if the worker can never be in this phase with this data."""
    assert (data.peer is not None) == (phase in HELD), "one client holds the worker while it is reserved"
    assert (data.link is not None) == (phase in (LINKING, ASKING, UPLOADING)), "and has a link unless it is away"
    assert (data.job is not None) == (phase in (UPLOADING, SENDER_AWAY)), "and its job is accepted when it uploads"
    assert bool(data.running) == (phase.status is BUSY), "the worker is busy while a job runs"
    assert data.fault is None or phase is LEAVING, "only a worker that leaves has a reason for that"


WORKER: Table[WorkerData] = Table("worker", FREE, (
    #   in                       event                     next          action
    # offers for new jobs, which are answered before there is a link
    row(FREE,                    events.LinkRequested,     LINKING,      reserve),
    row(LINKING,                 events.LinkRequested,     SAME,         replace_link, when=is_same_client),
    row((ASKING, *TAKING),       events.LinkRequested,     LINKING,      start_over, when=is_same_client),
    row((*HELD, RUNNING),        events.LinkRequested,     SAME,         refuse_busy),
    row((RUNNING_LAST, LEAVING), events.LinkRequested,     SAME,         refuse_leaving),

    # from the reservation to the job
    row(LINKING,                 events.Authenticated,     ASKING,       await_job),
    row(ASKING,                  events.JobSubmitted,      UPLOADING,    accept_job),
    row(UPLOADING,               events.LinkLost,          SENDER_AWAY,  await_sender),
    row(TAKING,                  events.SupplyPackage,     UPLOADING,    resume_upload),
    row(TAKING,                  events.PackageReceived,   RUNNING,      start_job),

    # the end of a reservation
    row((LINKING, ASKING),       events.LinkLost,          FREE,         release),
    row((LINKING, ASKING, SENDER_AWAY), events.TimedOut,   FREE,         time_out),
    row((ASKING, UPLOADING),     events.UnexpectedMessage, FREE,         drop_client),
    row(UPLOADING,               events.JobSubmitted,      FREE,         drop_client),
    row(TAKING,                  events.PackageFailed,     FREE,         fail_package),

    # running jobs
    row((FREE, RUNNING),         events.JobAdopted,        RUNNING,      adopt_job),
    row(WORKING,                 events.SupplyPackage,     SAME,         follow_job),
    row(WORKING,                 events.JobFinished,       SAME,         note_job_finished, when=other_jobs_run),
    row(RUNNING,                 events.JobFinished,       FREE,         note_job_finished),
    row(RUNNING_LAST,            events.JobFinished,       LEAVING,      leave_after_last_job),

    # leaving
    row((FREE, *HELD),           (events.Drain, events.JoinFailed), LEAVING, leave),
    row(RUNNING,                 events.Drain,             RUNNING_LAST, leave_after_jobs),
    row(WORKING,                 events.JoinFailed,        SAME,         retry_join),
    row(LEAVING,                 events.SessionsEnded,     SAME,         finish),
    ignore(LEAVING, events.JoinFailed, because="the worker leaves already, and its sessions need no room"),
    ignore(LEAVING, events.Drain,      because="the worker leaves already, as it could not join its room"),
), own, announce=announce, invariant=check)  # fmt: skip

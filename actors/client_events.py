"""The Client's data, its narrower events, and `classify`, which chooses the narrower event for each event.

Whether an event is about our worker, our link or our job is decided here, once, so that each case can have a row in the
table.
"""

from attrs import evolve, field, frozen

from actors.events import (
    AskPerson,
    Authenticated,
    BestWorker,
    CancelWanted,
    DownloadFailed,
    Drain,
    JobWanted,
    JoinedRoom,
    LinkLost,
    LinkRefused,
    NamedWorker,
    PackageSent,
    PeerFault,
    PeerMessage,
    ResultUnpacked,
    Stale,
    StopWanted,
    TimedOut,
    UploadFailed,
    WaitExpired,
    WorkerPicked,
    WorkersChanged,
)
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import CancelJob, JobEnded, JobEvent, JobStage, JobState, Outcome, StopJob
from protocol.signaling import WorkerAssigned, WorkerPresent
from protocol.status import Status

TRY_OTHERS = (FaultCode.WORKER_BUSY, FaultCode.WORKER_LEAVING, FaultCode.NO_WORKER)
"""Codes of refusals after which another worker of the room may still accept the client."""
OFFERS_MAX = 5
"""Limit of `ClientData.offers`, after which the client gives up on a worker that answers no offer."""
RECONNECTS_MAX = 24
"""Limit of `ClientData.reconnects`. While the worker is not in the room each try counts as two, so the worker has a
little more than a minute to return to it."""
RESUBMITS_MAX = 3
"""How often a package is sent again from its beginning, because the worker has not kept the part that was sent."""


@frozen
class ClientData:
    """The Client's data: the job that is wanted, and what has been done for it so far."""

    wanted: JobWanted | None = None
    """None in the state available."""
    workers: tuple[WorkerPresent, ...] = ()
    """The workers of the room, in Discovery's order."""
    refused: frozenset[PeerId] = frozenset()
    """Workers that have refused our offer, so that others are asked instead."""
    peer: PeerId | None = None
    """The worker that was chosen."""
    link: LinkId | None = None
    """The newest link to that worker, open or not."""
    offers: int = 0
    """Offers to this worker that were neither accepted nor refused. An offer that the worker has probably received
    counts as two."""
    last_link: int = 0
    """The id of the newest link; ids count up from 1."""
    job: JobId | None = None
    key: str = field(default="", repr=False)
    """The job's key: sent on a new link, it proves that we own the job."""
    attaching: bool = False
    """The job is an existing one, and the worker has not yet confirmed that it knows the job."""
    reconnects: int = 0
    """Tries to reconnect since the job's link broke; a try while the worker is not in the room counts as two. 0 when
    connected."""
    resubmits: int = 0
    """How often the package was sent again from its beginning."""
    delivered: bool = False
    """The worker has the whole package, so the job runs without us."""
    request: StopJob | CancelJob | None = None
    """What the person requested of the running job; sent again after each reconnection."""
    queued: bool = False
    """We are in the room's queue, or a worker was assigned to us from it and has not accepted the link yet."""
    ended: JobEnded | None = None
    """How the job ended, once its result is being downloaded."""
    downloaded: bool = False
    """The archive with the result is completely on this machine, so the link is no longer needed for it."""
    unpacked: bool = False
    """The result is unpacked; the worker has been notified, and only its acknowledgement is awaited."""


# -------- narrower events


@frozen
class WorkersUpdated:
    """The list of workers has changed, and at this moment no worker is to be chosen from it."""

    workers: tuple[WorkerPresent, ...]


@frozen
class WorkerChosen:
    """The worker to which the next offer goes is chosen."""

    peer: PeerId
    data: ClientData
    """The data to continue with."""


@frozen
class NoWorkerFits:
    """No worker of the room is available and has enough memory."""

    data: ClientData
    """The data to continue with."""
    fault: Fault


@frozen
class ChoiceNeeded:
    """The person has to choose one of these workers."""

    data: ClientData
    """The data to continue with."""
    fitting_workers: tuple[WorkerPresent, ...]


@frozen
class QueueNeeded:
    """Every fitting worker is reserved or busy, and the client is to wait in the queue (`--wait`)."""

    data: ClientData
    """The data to continue with."""


@frozen
class RejoinedWhileQueued:
    """The client has joined the room again, after a lost connection to the server, while it was in the queue."""


@frozen
class ChoiceCancelled:
    """The person has left the list without choosing a worker."""


@frozen
class EndedWithoutResult:
    """The job has ended, and there is no result to download, or none is wanted."""

    ended: JobEnded


@frozen
class LinkClosedAfterDownload:
    """The link has ended after the result was downloaded."""


@frozen
class ResultWithoutLink:
    """The result is unpacked, and there is no link over which to notify the worker."""


@frozen
class ReceiptAcknowledged:
    """The worker has acknowledged `ResultTaken`, or its acknowledgement is not awaited any longer."""


@frozen
class TooLateToStop:
    """The person interrupts the client when the result is already downloaded and is only being unpacked."""


@frozen
class AuthenticatedForJob:
    """The link about an existing job is open and authenticated."""

    link: LinkId


@frozen
class JobAttached:
    """The worker knows the existing job, and has accepted its key."""


@frozen
class JobReattached:
    """After a reconnection, the worker knows the job, has accepted its key, and needs nothing more of its package."""


@frozen
class ResumeUpload:
    """After a reconnection, the worker knows the job, has accepted its key, and needs the rest of its package."""


@frozen
class UploadUncertain:
    """The link broke during the upload. Only the worker knows whether the package was complete and the job runs."""

    lost: LinkLost


@frozen
class ResubmitJob:
    """The worker does not know the job: the client was away too long during the upload, so it submits the job again."""


@frozen
class JobNotStarted:
    """The worker does not know the job, the package may never have been complete, and it is not submitted again."""


@frozen
class JobGone:
    """The worker no longer has the job or its result, or it cannot report on the job."""

    fault: Fault


@frozen
class OfferTimedOut:
    """The offer was not answered. The server may have lost the offer or the answer, so a new offer can help."""

    silent: bool
    """Whether the connection to the server was open, so that it is probably the worker that does not answer."""


@frozen
class ReconnectsExhausted:
    """The link broke, and the client has tried to reconnect `RECONNECTS_MAX` times."""

    fault: Fault | None


def classify(data: ClientData, event: object) -> object:
    """Return the event, or the narrower event that says what it means for our worker, link or job."""
    if data.unpacked:
        return _classify_unpacked(data, event)
    if isinstance(event, ResultUnpacked):
        return event if data.link is not None else ResultWithoutLink()
    if isinstance(event, WorkersChanged):
        return _classify_workers(data, event)
    if isinstance(event, WorkerAssigned | WaitExpired | JoinedRoom):
        return _classify_queue(data, event)
    if (
        isinstance(event, TimedOut)
        and event.fault is None
        and data.peer is not None
        and (data.job is None or data.attaching)
    ):
        return WorkerChosen(data.peer, data)  # the pause before the next offer is over
    if isinstance(event, DownloadFailed):
        return Stale() if event.fault.code is FaultCode.LINK_LOST else event  # `LinkLost` comes too and decides
    if isinstance(event, Drain | CancelWanted | StopWanted):
        return _classify_interruption(data, event)
    if isinstance(event, PackageSent):
        return Stale() if data.job is None or data.attaching else event
    if isinstance(event, UploadFailed):
        return Stale() if event.fault.code is FaultCode.LINK_LOST else event  # `LinkLost` comes too and decides
    if isinstance(event, WorkerPicked):
        if data.peer is not None:
            return Stale()
        return ChoiceCancelled() if event.peer is None else WorkerChosen(event.peer, data)
    if isinstance(event, LinkRefused):
        return _classify_link_refused(data, event)
    if isinstance(event, Authenticated):
        ours = AuthenticatedForJob(event.link) if data.attaching else event
        return ours if event.link == data.link else Stale()
    if isinstance(event, LinkLost):
        return _classify_link_lost(data, event)
    if isinstance(event, PeerMessage):
        return _classify_message(data, event)
    return event


def fitting_workers(data: ClientData) -> tuple[WorkerPresent, ...]:
    """Return the available workers with enough memory that have not refused us, best first (Discovery's order)."""
    min_memory_mb = data.wanted.min_memory_mb if data.wanted else 0
    return tuple(
        worker
        for worker in data.workers
        if worker.facts.status is Status.AVAILABLE
        and worker.facts.memory_mb >= min_memory_mb
        and worker.peer not in data.refused
    )


def _classify_unpacked(data: ClientData, event: object) -> object:
    """Return the narrower event once the result is unpacked, when only the worker's acknowledgement is awaited.

    A lost link, a time-out or `Drain` ends that wait like an acknowledgement: the result is here in any case."""
    if isinstance(event, PeerMessage) and not isinstance(event.message, JobState):
        return Stale()
    ours = isinstance(event, PeerMessage | LinkLost) and event.link == data.link
    return ReceiptAcknowledged() if ours or isinstance(event, TimedOut | Drain) else Stale()


def _classify_interruption(data: ClientData, event: Drain | CancelWanted | StopWanted) -> object:
    """Return the narrower event for an interruption by the person.

    A job that has ended can be neither stopped nor cancelled, so to cancel it means to leave its result on the worker.
    """
    if data.downloaded:
        return TooLateToStop()
    if data.ended is None or isinstance(event, Drain):
        return event
    return Drain() if isinstance(event, CancelWanted) else Stale()


def _classify_workers(data: ClientData, event: WorkersChanged) -> object:
    data = evolve(data, workers=event.workers)
    if data.wanted is None:
        return Stale()
    if data.peer is not None or data.queued:
        return WorkersUpdated(event.workers)
    if isinstance(data.wanted.choice, NamedWorker):
        return WorkerChosen(data.wanted.choice.peer, data)
    if isinstance(data.wanted.choice, AskPerson):
        return ChoiceNeeded(data, fitting_workers(data))
    return _choose_best_worker(data, _no_worker_fault(data))


def _choose_best_worker(data: ClientData, no_worker_fault: Fault) -> WorkerChosen | NoWorkerFits | QueueNeeded:
    """Choose the best fitting worker; if there is none, the queue where that is wanted, or else `no_worker_fault`."""
    found = fitting_workers(data)
    if found:
        return WorkerChosen(found[0].peer, data)
    busy = no_worker_fault.code is FaultCode.WORKER_BUSY
    return QueueNeeded(data) if busy and _may_queue(data) else NoWorkerFits(data, no_worker_fault)


def _may_queue(data: ClientData) -> bool:
    return data.wanted is not None and data.wanted.wait


def _classify_queue(data: ClientData, event: WorkerAssigned | WaitExpired | JoinedRoom) -> object:
    """Return the narrower event about the queue, which matters only while we are in it without an assigned worker."""
    if not data.queued or data.peer is not None:
        return Stale()
    if isinstance(event, WorkerAssigned):
        return WorkerChosen(event.peer, data)
    return RejoinedWhileQueued() if isinstance(event, JoinedRoom) else event


def _no_worker_fault(data: ClientData) -> Fault:
    """Return why no worker can be chosen: the room has none, none has enough memory, or all that fit are taken."""
    if not data.workers:
        text = "No worker is in this room. Start one there: sleap-rtc worker --room-id … --token …"
        return Fault(FaultCode.NO_WORKER, text)
    min_memory_mb = data.wanted.min_memory_mb if data.wanted else 0
    large_enough = [worker for worker in data.workers if worker.facts.memory_mb >= min_memory_mb]
    if not large_enough:
        max_memory_mb = max(worker.facts.memory_mb for worker in data.workers)
        text = f"No worker of this room has GPU memory enough; the largest has {max_memory_mb} MB (--min-gpu-memory)."
        return Fault(FaultCode.NO_WORKER, text)
    count = len(large_enough)
    text = "The only worker that fits is taken" if count == 1 else f"All {count} workers that fit are taken"
    return Fault(FaultCode.WORKER_BUSY, f"{text}. Try again later, or stand in line with --wait.")


def _classify_link_refused(data: ClientData, event: LinkRefused) -> object:
    """Return the narrower event for a refused offer.

    Before the job is accepted: with `BestWorker` the next best worker is chosen, with `AskPerson` the person chooses
    again, and with `NamedWorker` the refusal is reported; with `--wait` the client joins the queue if all are busy. On
    a reconnection only a refusal with NO_SUCH_JOB matters; `LinkLost` reports the others.
    """
    if event.peer != data.peer or data.wanted is None:
        return Stale()
    if data.reconnects and event.fault.code is FaultCode.NO_SUCH_JOB:
        return _classify_job_unknown(data, event.fault)
    if data.job is not None and not data.attaching:
        return Stale()
    choice = data.wanted.choice
    if event.fault.code is FaultCode.SERVER_LOST:
        return Stale()  # no worker has refused; the link that is not answered ends by itself (`LinkLost`)
    if event.fault.code not in TRY_OTHERS:
        return event
    if data.queued:
        return QueueNeeded(evolve(data, peer=None))
    if isinstance(choice, NamedWorker):
        busy = event.fault.code is FaultCode.WORKER_BUSY
        return QueueNeeded(evolve(data, peer=None)) if busy and _may_queue(data) else event
    data = evolve(data, refused=data.refused | {event.peer}, peer=None, offers=0)
    return (
        _choose_best_worker(data, event.fault)
        if isinstance(choice, BestWorker)
        else ChoiceNeeded(data, fitting_workers(data))
    )


def _classify_job_unknown(data: ClientData, fault: Fault) -> ResubmitJob | JobNotStarted | JobGone:
    """Return the narrower event for a worker that does not know the job; `fault` is what the worker reported."""
    if data.delivered:
        return JobGone(fault)
    return (
        ResubmitJob()
        if data.reconnects and _may_send_package(data) and data.resubmits < RESUBMITS_MAX
        else JobNotStarted()
    )


def _may_send_package(data: ClientData) -> bool:
    """Return whether the package is to be sent: the worker may not have it, and the job was not cancelled."""
    return not data.delivered and not isinstance(data.request, CancelJob)


def _classify_link_lost(data: ClientData, event: LinkLost) -> object:
    """Return the narrower event for a link that ended or could not be opened; what it means depends on the job."""
    if event.link != data.link:
        return Stale()
    if data.downloaded:
        return LinkClosedAfterDownload()
    if event.fault is not None and event.fault.code is FaultCode.CANCELLED:
        return PeerFault(event.fault)
    if (data.job is None or data.attaching) and data.offers < OFFERS_MAX and _is_unanswered(event.fault):
        return OfferTimedOut(silent=event.fault is not None and event.fault.code is FaultCode.STALLED)
    if data.job is not None and not data.attaching and not data.delivered and not data.reconnects:
        return UploadUncertain(event)
    return ReconnectsExhausted(event.fault) if data.reconnects >= RECONNECTS_MAX else event


def _is_unanswered(fault: Fault | None) -> bool:
    """Return whether the link failed because its offer was not answered, not because it was refused or broke."""
    return fault is not None and fault.code in (FaultCode.STALLED, FaultCode.SERVER_LOST)


def _classify_message(data: ClientData, event: PeerMessage) -> object:
    message = event.message
    if event.link != data.link or isinstance(message, JobEvent):
        return Stale()
    if isinstance(message, Fault):
        return PeerFault(message)
    if isinstance(message, JobState):
        return _classify_job_state(data, message)
    if isinstance(message, JobEnded):
        return _classify_job_ended(data, message)
    return message


def _classify_job_ended(data: ClientData, ended: JobEnded) -> object:
    """Return the narrower event for the end of a job. If its result is wanted but gone, the download has failed."""
    if not _wants_result(data):
        return EndedWithoutResult(ended)
    if ended.outcome is Outcome.DONE and not ended.result:
        return JobGone(Fault(FaultCode.NO_SUCH_JOB, ended.text))
    return ended if ended.result else EndedWithoutResult(ended)


def _classify_job_state(data: ClientData, state: JobState) -> object:
    """Return the narrower event for the worker's answer to `AttachJob`, `StopJob` or `CancelJob`."""
    if state.stage is JobStage.UNKNOWN:
        return _classify_job_unknown(data, Fault(FaultCode.NO_SUCH_JOB, state.text))
    if state.stage is JobStage.ELSEWHERE:
        return JobGone(Fault(FaultCode.NO_WORKER, state.text))
    if data.attaching:
        return JobAttached()
    if not data.reconnects:
        return Stale()
    return ResumeUpload() if state.stage is JobStage.PREPARING and _may_send_package(data) else JobReattached()


def _wants_result(data: ClientData) -> bool:
    return data.wanted is None or data.wanted.fetch

"""What the Client remembers, and what it makes of what it hears: which worker, which link, how far it has come.

Asked here, once, so that each answer can be a row of the table.
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
"""Refusals after which another worker of the room may still say yes."""


OFFERS_MAX = 5
"""How hard a worker is asked whose answers go astray, before we give up."""
RECONNECTS_MAX = 24
"""Tries to get back to a job; a worker that has left the room counts for two (it has more than a minute to be back)."""


RESUBMITS_MAX = 3
"""Times that a package is sent anew, of which the worker has not kept the beginning."""


@frozen
class ClientData:
    """The wish, and how far it has come."""

    wanted: JobWanted | None = None
    workers: tuple[WorkerPresent, ...] = ()
    refused: frozenset[PeerId] = frozenset()
    """Workers that have refused us, so that the next best is asked instead."""
    peer: PeerId | None = None
    link: LinkId | None = None
    offers: int = 0
    """How often this worker was asked and neither took us nor refused."""
    last_link: int = 0
    job: JobId | None = None
    key: str = field(default="", repr=False)
    """The running job's key: shown again on a new link, it makes us its owner there."""
    attaching: bool = False
    """We come back to a job that an earlier client started."""
    reconnects: int = 0
    """How hard we have tried to get back to the job since its link broke."""
    resubmits: int = 0
    """How often its package was sent anew."""
    delivered: bool = False
    """Its package is on the worker, whole: from here on it runs without us."""
    request: StopJob | CancelJob | None = None
    """What the person wants of the job while it runs; said again after a return."""
    queued: bool = False
    """We stand in the room's line, or were just promised a worker from it."""
    ended: JobEnded | None = None
    downloaded: bool = False
    """The result's archive is on this machine, whole; the link no longer matters."""
    unpacked: bool = False
    """The result is in its place; the worker is told, and that is all there is left to do."""


# -------- narrower events


@frozen
class WorkersNoted:
    """News of the room while a worker is being asked; it decides who is asked next."""

    workers: tuple[WorkerPresent, ...]


@frozen
class WorkerChosen:
    """It is settled which worker to ask."""

    peer: PeerId
    data: ClientData


@frozen
class NoWorkerFits:
    """No worker of the room is free and large enough."""

    data: ClientData
    fault: Fault


@frozen
class ChoiceNeeded:
    """The person is to choose among these."""

    data: ClientData
    fitting: tuple[WorkerPresent, ...]


@frozen
class QueueNeeded:
    """Every fitting worker is taken, and the person would rather wait than go."""

    data: ClientData


@frozen
class RejoinedWhileQueued:
    """The line to the server was lost and is back, while we waited in the room's line."""


@frozen
class ChoiceCancelled:
    """The person left the list without choosing."""


@frozen
class EndedWithoutResult:
    """The job is over and there is nothing to fetch."""

    ended: JobEnded


@frozen
class LinkClosedAfterDownload:
    """The link is over when the result is here already."""


@frozen
class ResultWithoutLink:
    """The result is in its place, and there is no link to say so over."""


@frozen
class ReceiptAcknowledged:
    """The worker knows that the result is home, or cannot be told."""


@frozen
class TooLateToStop:
    """An interruption when the result is here already and only has to be unpacked."""


@frozen
class AuthenticatedForJob:
    """The link to a job that was started before is open."""

    link: LinkId


@frozen
class JobAttached:
    """The worker knows the job, and us as its owner."""


@frozen
class JobReattached:
    """Likewise, after the link was lost: the job has what it needs."""


@frozen
class ResumeUpload:
    """Likewise, and its package is not there whole."""


@frozen
class UploadUncertain:
    """The link broke when the package may just have been over: only the worker knows whether the job runs."""

    lost: LinkLost


@frozen
class ResubmitJob:
    """The worker knows of no such job: we were away for too long while its package was on the way."""


@frozen
class JobNotStarted:
    """The worker knows of no such job, and we do not know that it ever began."""


@frozen
class JobGone:
    """The worker has no such job any more."""

    fault: Fault


@frozen
class OfferTimedOut:
    """The offer, or its answer, got lost on the way, perhaps with the server: nothing is known against the worker."""

    silent: bool
    """The server was there, so it may be the worker that does not answer."""


@frozen
class ReconnectsExhausted:
    """The link broke, and we have tried long enough to get back to the job."""

    fault: Fault | None


def classify(data: ClientData, event: object) -> object:
    """Which worker, which link, which phase: asked here once, so that each answer can be a row."""
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
        return WorkerChosen(data.peer, data)  # the moment before asking again is over
    if isinstance(event, DownloadFailed):
        return Stale() if event.fault.code is FaultCode.LINK_LOST else event  # the lost link itself is what counts
    if isinstance(event, Drain | CancelWanted | StopWanted):
        return _classify_person(data, event)
    if isinstance(event, PackageSent):
        return Stale() if data.job is None or data.attaching else event
    if isinstance(event, UploadFailed):
        return Stale() if event.fault.code is FaultCode.LINK_LOST else event  # likewise
    if isinstance(event, WorkerPicked):
        if data.peer is not None:
            return Stale()
        return ChoiceCancelled() if event.peer is None else WorkerChosen(event.peer, data)
    if isinstance(event, LinkRefused):
        return _classify_refusal(data, event)
    if isinstance(event, Authenticated):
        ours = AuthenticatedForJob(event.link) if data.attaching else event
        return ours if event.link == data.link else Stale()
    if isinstance(event, LinkLost):
        return _classify_loss(data, event)
    if isinstance(event, PeerMessage):
        return _classify_message(data, event)
    return event


def fitting(data: ClientData) -> tuple[WorkerPresent, ...]:
    """Available workers with memory enough that have not refused us, best first (Discovery keeps that order)."""
    least = data.wanted.min_memory_mb if data.wanted else 0
    return tuple(
        shown
        for shown in data.workers
        if shown.facts.status is Status.AVAILABLE and shown.facts.memory_mb >= least and shown.peer not in data.refused
    )


def _classify_unpacked(data: ClientData, event: object) -> object:
    """Nothing matters any more but that the worker need not keep the result."""
    if isinstance(event, PeerMessage) and not isinstance(event.message, JobState):
        return Stale()
    ours = isinstance(event, PeerMessage | LinkLost) and event.link == data.link
    return ReceiptAcknowledged() if ours or isinstance(event, TimedOut | Drain) else Stale()


def _classify_person(data: ClientData, event: Drain | CancelWanted | StopWanted) -> object:
    """A job that has ended can be neither stopped nor cancelled; what it made can be left where it is."""
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
        return WorkersNoted(event.workers)
    if isinstance(data.wanted.choice, NamedWorker):
        return WorkerChosen(data.wanted.choice.peer, data)
    if isinstance(data.wanted.choice, AskPerson):
        return ChoiceNeeded(data, fitting(data))
    return _best(data, _no_worker_fault(data))


def _best(data: ClientData, otherwise: Fault) -> WorkerChosen | NoWorkerFits | QueueNeeded:
    found = fitting(data)
    if found:
        return WorkerChosen(found[0].peer, data)
    taken = otherwise.code is FaultCode.WORKER_BUSY
    return QueueNeeded(data) if taken and _would_queue(data) else NoWorkerFits(data, otherwise)


def _would_queue(data: ClientData) -> bool:
    return data.wanted is not None and data.wanted.wait


def _classify_queue(data: ClientData, event: WorkerAssigned | WaitExpired | JoinedRoom) -> object:
    """What is said about the line matters only to those who stand in it and have not been promised anybody."""
    if not data.queued or data.peer is not None:
        return Stale()
    if isinstance(event, WorkerAssigned):
        return WorkerChosen(event.peer, data)
    return RejoinedWhileQueued() if isinstance(event, JoinedRoom) else event


def _no_worker_fault(data: ClientData) -> Fault:
    if not data.workers:
        text = "No worker is in this room. Start one there: sleap-rtc worker --room-id … --token …"
        return Fault(FaultCode.NO_WORKER, text)
    least = data.wanted.min_memory_mb if data.wanted else 0
    large = [shown for shown in data.workers if shown.facts.memory_mb >= least]
    if not large:
        most = max(shown.facts.memory_mb for shown in data.workers)
        text = f"No worker of this room has GPU memory enough; the largest has {most} MB (--min-gpu-memory)."
        return Fault(FaultCode.NO_WORKER, text)
    taken = "The only worker that fits is taken" if len(large) == 1 else f"All {len(large)} workers that fit are taken"
    return Fault(FaultCode.WORKER_BUSY, f"{taken}. Try again later, or stand in line with --wait.")


def _classify_refusal(data: ClientData, event: LinkRefused) -> object:
    """Who asked for the best gets the next best, who chose from the list chooses again, who named one hears why."""
    if event.peer != data.peer or data.wanted is None:
        return Stale()
    if data.reconnects and event.fault.code is FaultCode.NO_SUCH_JOB:
        return _job_unknown(data, event.fault)
    if data.job is not None and not data.attaching:
        return Stale()
    choice = data.wanted.choice
    if event.fault.code is FaultCode.SERVER_LOST:
        return Stale()  # nobody refused; the link that comes to nothing says the same
    if event.fault.code not in TRY_OTHERS:
        return event
    if data.queued:
        return QueueNeeded(evolve(data, peer=None))
    if isinstance(choice, NamedWorker):
        busy = event.fault.code is FaultCode.WORKER_BUSY
        return QueueNeeded(evolve(data, peer=None)) if busy and _would_queue(data) else event
    data = evolve(data, refused=data.refused | {event.peer}, peer=None, offers=0)
    return _best(data, event.fault) if isinstance(choice, BestWorker) else ChoiceNeeded(data, fitting(data))


def _job_unknown(data: ClientData, fault: Fault) -> ResubmitJob | JobNotStarted | JobGone:
    if data.delivered:
        return JobGone(fault)
    return (
        ResubmitJob() if data.reconnects and _would_send(data) and data.resubmits < RESUBMITS_MAX else JobNotStarted()
    )


def _would_send(data: ClientData) -> bool:
    """The worker may not have the package, and the person wants the job still."""
    return not data.delivered and not isinstance(data.request, CancelJob)


def _classify_loss(data: ClientData, event: LinkLost) -> object:
    if event.link != data.link:
        return Stale()
    if data.downloaded:
        return LinkClosedAfterDownload()
    if event.fault is not None and event.fault.code is FaultCode.CANCELLED:
        return PeerFault(event.fault)
    if (data.job is None or data.attaching) and data.offers < OFFERS_MAX and _got_lost(event.fault):
        return OfferTimedOut(silent=event.fault is not None and event.fault.code is FaultCode.STALLED)
    if data.job is not None and not data.attaching and not data.delivered and not data.reconnects:
        return UploadUncertain(event)
    return ReconnectsExhausted(event.fault) if data.reconnects >= RECONNECTS_MAX else event


def _got_lost(fault: Fault | None) -> bool:
    return fault is not None and fault.code in (FaultCode.STALLED, FaultCode.SERVER_LOST)


def _classify_message(data: ClientData, said: PeerMessage) -> object:
    message = said.message
    if said.link != data.link or isinstance(message, JobEvent):
        return Stale()
    if isinstance(message, Fault):
        return PeerFault(message)
    if isinstance(message, JobState):
        return _classify_state(data, message)
    if isinstance(message, JobEnded):
        return _classify_end(data, message)
    return message


def _classify_end(data: ClientData, ended: JobEnded) -> object:
    """Good work that is gone is no good end for who came to fetch it."""
    if not _fetches(data):
        return EndedWithoutResult(ended)
    if ended.outcome is Outcome.DONE and not ended.result:
        return JobGone(Fault(FaultCode.NO_SUCH_JOB, ended.text))
    return ended if ended.result else EndedWithoutResult(ended)


def _classify_state(data: ClientData, state: JobState) -> object:
    if state.stage is JobStage.UNKNOWN:
        return _job_unknown(data, Fault(FaultCode.NO_SUCH_JOB, state.text))
    if state.stage is JobStage.ELSEWHERE:
        return JobGone(Fault(FaultCode.NO_WORKER, state.text))
    if data.attaching:
        return JobAttached()
    if not data.reconnects:
        return Stale()
    return ResumeUpload() if state.stage is JobStage.PREPARING and _would_send(data) else JobReattached()


def _fetches(data: ClientData) -> bool:
    return data.wanted is None or data.wanted.fetch

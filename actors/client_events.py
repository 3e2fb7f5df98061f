"""What the Client remembers, and what it makes of what it hears: which worker, which link, how far it has come.

Asked here, once, so that each answer can be a row of the table.
"""

from attrs import evolve, field, frozen

from actors.events import (
    Ask,
    Best,
    CancelWanted,
    Direct,
    Drain,
    Entered,
    Heard,
    Lapsed,
    LinkLost,
    Overdue,
    PackageSent,
    Picked,
    Refused,
    ResultHere,
    ResultLost,
    RosterIs,
    SendFailed,
    StopWanted,
    Trusted,
    Wanted,
)
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import CancelJob, JobEnded, JobEvent, JobStage, JobState, Outcome, StopJob
from protocol.signaling import Granted, WorkerShown
from protocol.status import Status

ELSEWHERE = (FaultCode.WORKER_BUSY, FaultCode.WORKER_LEAVING, FaultCode.NO_WORKER)
"""Refusals after which another worker of the room may still say yes."""


ASKED_MAX = 5
"""How hard a worker is asked whose answers go astray, before we give up."""
RETURNS_MAX = 24
"""Tries to get back to a job; a worker that has left the room counts for two (it has more than a minute to be back)."""


AGAIN_MAX = 3
"""Times that a package is sent anew, of which the worker has not kept the beginning."""


@frozen
class Quest:
    """The wish, and how far it has come."""

    wanted: Wanted | None = None
    workers: tuple[WorkerShown, ...] = ()
    tried: frozenset[PeerId] = frozenset()
    """Workers that have refused us, so that the next best is asked instead."""
    peer: PeerId | None = None
    link: LinkId | None = None
    asked: int = 0
    """How often this worker was asked and neither took us nor refused."""
    links: int = 0
    job: JobId | None = None
    key: str = field(default="", repr=False)
    """The running job's key: shown again on a new link, it makes us its owner there."""
    attaching: bool = False
    """We come back to a job that an earlier client started."""
    returns: int = 0
    """How hard we have tried to get back to the job since its link broke."""
    again: int = 0
    """How often its package was sent anew."""
    begun: bool = False
    """Its package is on the worker, whole: from here on it runs without us."""
    urge: StopJob | CancelJob | None = None
    """What the person wants of the job while it runs; said again after a return."""
    waiting: bool = False
    """We stand in the room's line, or were just promised a worker from it."""
    ended: JobEnded | None = None
    safe: bool = False
    """The result's archive is on this machine, whole; the link no longer matters."""
    home: bool = False
    """The result is in its place; the worker is told, and that is all there is left to do."""


# -------- narrower events


@frozen
class Noted:
    """News of the room while a worker is being asked; it decides who is asked next."""

    workers: tuple[WorkerShown, ...]


@frozen
class Chosen:
    """It is settled which worker to ask."""

    peer: PeerId
    quest: Quest


@frozen
class NobodyFits:
    """No worker of the room is free and large enough."""

    quest: Quest
    fault: Fault


@frozen
class Shown:
    """The person is to choose among these."""

    quest: Quest
    fitting: tuple[WorkerShown, ...]


@frozen
class MustWait:
    """Every fitting worker is taken, and the person would rather wait than go."""

    quest: Quest


@frozen
class Returned:
    """The line to the server was lost and is back, while we waited in the room's line."""


@frozen
class Unsaid:
    """The person left the list without choosing."""


@frozen
class EndedEmpty:
    """The job is over and there is nothing to fetch."""

    ended: JobEnded


@frozen
class HungUp:
    """The link is over when the result is here already."""


@frozen
class HomeAlone:
    """The result is in its place, and there is no link to say so over."""


@frozen
class Thanked:
    """The worker knows that the result is home, or cannot be told."""


@frozen
class TooLate:
    """An interruption when the result is here already and only has to be unpacked."""


@frozen
class ToldOff:
    """The worker ends the conversation with a reason."""

    fault: Fault


@frozen
class TrustedAgain:
    """The link to a job that was started before is open."""

    link: LinkId


@frozen
class TakenBack:
    """The worker knows the job, and us as its owner."""


@frozen
class BackAgain:
    """Likewise, after the link was lost: the job has what it needs."""


@frozen
class SendOn:
    """Likewise, and its package is not there whole."""


@frozen
class Doubtful:
    """The link broke when the package may just have been over: only the worker knows whether the job runs."""

    lost: LinkLost


@frozen
class StartOver:
    """The worker knows of no such job: we were away for too long while its package was on the way."""


@frozen
class NeverBegan:
    """The worker knows of no such job, and we do not know that it ever began."""


@frozen
class Vanished:
    """The worker has no such job any more."""

    fault: Fault


@frozen
class Unanswered:
    """The offer, or its answer, got lost on the way, perhaps with the server: nothing is known against the worker."""

    silent: bool
    """The server was there, so it may be the worker that does not answer."""


@frozen
class Abandoned:
    """The link broke, and we have tried long enough to get back to the job."""

    fault: Fault | None


@frozen
class Stale:
    """News of a link that is no longer ours, or nothing that needs a decision."""


def classify(quest: Quest, event: object) -> object:
    """Which worker, which link, which phase: asked here once, so that each answer can be a row."""
    if quest.home:
        return _classify_at_home(quest, event)
    if isinstance(event, ResultHere):
        return event if quest.link is not None else HomeAlone()
    if isinstance(event, RosterIs):
        return _classify_roster(quest, event)
    if isinstance(event, Granted | Overdue | Entered):
        return _classify_waiting(quest, event)
    if (
        isinstance(event, Lapsed)
        and event.fault is None
        and quest.peer is not None
        and (quest.job is None or quest.attaching)
    ):
        return Chosen(quest.peer, quest)  # the moment before asking again is over
    if isinstance(event, ResultLost):
        return Stale() if event.fault.code is FaultCode.LINK_LOST else event  # the lost link itself is what counts
    if isinstance(event, Drain | CancelWanted | StopWanted):
        return _classify_wish(quest, event)
    if isinstance(event, PackageSent):
        return Stale() if quest.job is None or quest.attaching else event
    if isinstance(event, SendFailed):
        return Stale() if event.fault.code is FaultCode.LINK_LOST else event  # likewise
    if isinstance(event, Picked):
        if quest.peer is not None:
            return Stale()
        return Unsaid() if event.peer is None else Chosen(event.peer, quest)
    if isinstance(event, Refused):
        return _classify_refusal(quest, event)
    if isinstance(event, Trusted):
        ours = TrustedAgain(event.link) if quest.attaching else event
        return ours if event.link == quest.link else Stale()
    if isinstance(event, LinkLost):
        return _classify_loss(quest, event)
    if isinstance(event, Heard):
        return _classify_words(quest, event)
    return event


def fitting(quest: Quest) -> tuple[WorkerShown, ...]:
    """Available workers with memory enough that have not refused us, best first (Discovery keeps that order)."""
    least = quest.wanted.min_memory_mb if quest.wanted else 0
    return tuple(
        shown
        for shown in quest.workers
        if shown.facts.status is Status.AVAILABLE and shown.facts.memory_mb >= least and shown.peer not in quest.tried
    )


def _classify_at_home(quest: Quest, event: object) -> object:
    """Nothing matters any more but that the worker need not keep the result."""
    if isinstance(event, Heard) and not isinstance(event.message, JobState):
        return Stale()
    ours = isinstance(event, Heard | LinkLost) and event.link == quest.link
    return Thanked() if ours or isinstance(event, Lapsed | Drain) else Stale()


def _classify_wish(quest: Quest, event: Drain | CancelWanted | StopWanted) -> object:
    """A job that has ended can be neither stopped nor cancelled; what it made can be left where it is."""
    if quest.safe:
        return TooLate()
    if quest.ended is None or isinstance(event, Drain):
        return event
    return Drain() if isinstance(event, CancelWanted) else Stale()


def _classify_roster(quest: Quest, event: RosterIs) -> object:
    quest = evolve(quest, workers=event.workers)
    if quest.wanted is None:
        return Stale()
    if quest.peer is not None or quest.waiting:
        return Noted(event.workers)
    if isinstance(quest.wanted.choice, Direct):
        return Chosen(quest.wanted.choice.peer, quest)
    if isinstance(quest.wanted.choice, Ask):
        return Shown(quest, fitting(quest))
    return _best(quest, _nobody(quest))


def _best(quest: Quest, otherwise: Fault) -> Chosen | NobodyFits | MustWait:
    found = fitting(quest)
    if found:
        return Chosen(found[0].peer, quest)
    taken = otherwise.code is FaultCode.WORKER_BUSY
    return MustWait(quest) if taken and _would_wait(quest) else NobodyFits(quest, otherwise)


def _would_wait(quest: Quest) -> bool:
    return quest.wanted is not None and quest.wanted.wait


def _classify_waiting(quest: Quest, event: Granted | Overdue | Entered) -> object:
    """What is said about the line matters only to those who stand in it and have not been promised anybody."""
    if not quest.waiting or quest.peer is not None:
        return Stale()
    if isinstance(event, Granted):
        return Chosen(event.peer, quest)
    return Returned() if isinstance(event, Entered) else event


def _nobody(quest: Quest) -> Fault:
    if not quest.workers:
        text = "No worker is in this room. Start one there: sleap-rtc worker --room-id … --token …"
        return Fault(FaultCode.NO_WORKER, text)
    least = quest.wanted.min_memory_mb if quest.wanted else 0
    large = [shown for shown in quest.workers if shown.facts.memory_mb >= least]
    if not large:
        most = max(shown.facts.memory_mb for shown in quest.workers)
        text = f"No worker of this room has GPU memory enough; the largest has {most} MB (--min-gpu-memory)."
        return Fault(FaultCode.NO_WORKER, text)
    taken = "The only worker that fits is taken" if len(large) == 1 else f"All {len(large)} workers that fit are taken"
    return Fault(FaultCode.WORKER_BUSY, f"{taken}. Try again later, or stand in line with --wait.")


def _classify_refusal(quest: Quest, event: Refused) -> object:
    """Who asked for the best gets the next best, who chose from the list chooses again, who named one hears why."""
    if event.peer != quest.peer or quest.wanted is None:
        return Stale()
    if quest.returns and event.fault.code is FaultCode.NO_SUCH_JOB:
        return _vanished(quest, event.fault)
    if quest.job is not None and not quest.attaching:
        return Stale()
    choice = quest.wanted.choice
    if event.fault.code is FaultCode.SERVER_LOST:
        return Stale()  # nobody refused; the link that comes to nothing says the same
    if event.fault.code not in ELSEWHERE:
        return event
    if quest.waiting:
        return MustWait(evolve(quest, peer=None))
    if isinstance(choice, Direct):
        busy = event.fault.code is FaultCode.WORKER_BUSY
        return MustWait(evolve(quest, peer=None)) if busy and _would_wait(quest) else event
    quest = evolve(quest, tried=quest.tried | {event.peer}, peer=None, asked=0)
    return _best(quest, event.fault) if isinstance(choice, Best) else Shown(quest, fitting(quest))


def _vanished(quest: Quest, fault: Fault) -> StartOver | NeverBegan | Vanished:
    if quest.begun:
        return Vanished(fault)
    return StartOver() if quest.returns and _would_send(quest) and quest.again < AGAIN_MAX else NeverBegan()


def _would_send(quest: Quest) -> bool:
    """The worker may not have the package, and the person wants the job still."""
    return not quest.begun and not isinstance(quest.urge, CancelJob)


def _classify_loss(quest: Quest, event: LinkLost) -> object:
    if event.link != quest.link:
        return Stale()
    if quest.safe:
        return HungUp()
    if event.fault is not None and event.fault.code is FaultCode.CANCELLED:
        return ToldOff(event.fault)
    if (quest.job is None or quest.attaching) and quest.asked < ASKED_MAX and _went_astray(event.fault):
        return Unanswered(silent=event.fault is not None and event.fault.code is FaultCode.STALLED)
    if quest.job is not None and not quest.attaching and not quest.begun and not quest.returns:
        return Doubtful(event)
    return Abandoned(event.fault) if quest.returns >= RETURNS_MAX else event


def _went_astray(fault: Fault | None) -> bool:
    return fault is not None and fault.code in (FaultCode.STALLED, FaultCode.SERVER_LOST)


def _classify_words(quest: Quest, heard: Heard) -> object:
    message = heard.message
    if heard.link != quest.link or isinstance(message, JobEvent):
        return Stale()
    if isinstance(message, Fault):
        return ToldOff(message)
    if isinstance(message, JobState):
        return _classify_state(quest, message)
    if isinstance(message, JobEnded):
        return _classify_end(quest, message)
    return message


def _classify_end(quest: Quest, ended: JobEnded) -> object:
    """Good work that is gone is no good end for who came to fetch it."""
    if not _fetches(quest):
        return EndedEmpty(ended)
    if ended.outcome is Outcome.DONE and not ended.result:
        return Vanished(Fault(FaultCode.NO_SUCH_JOB, ended.text))
    return ended if ended.result else EndedEmpty(ended)


def _classify_state(quest: Quest, state: JobState) -> object:
    if state.stage is JobStage.UNKNOWN:
        return _vanished(quest, Fault(FaultCode.NO_SUCH_JOB, state.text))
    if state.stage is JobStage.ELSEWHERE:
        return Vanished(Fault(FaultCode.NO_WORKER, state.text))
    if quest.attaching:
        return TakenBack()
    if not quest.returns:
        return Stale()
    return SendOn() if state.stage is JobStage.PREPARING and _would_send(quest) else BackAgain()


def _fetches(quest: Quest) -> bool:
    return quest.wanted is None or quest.wanted.fetch

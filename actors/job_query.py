"""An Errand: short questions and orders to one worker about jobs that are ours, and its answers.

available: nothing to do · reserved: the worker is asked for a link · busy: it was asked, and its answers are awaited.
It ends in exactly one `Finished`.
"""

from attrs import evolve, frozen

from actors.events import (
    NO_TIMEOUT,
    CloseLink,
    Drain,
    Enter,
    EnterFailed,
    Finished,
    Heard,
    Lapsed,
    LinkLost,
    OpenLink,
    Refused,
    Reported,
    RosterIs,
    Sent,
    StateTimeout,
    TellLink,
    Trusted,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, quiet, row
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.jobs import JobStage, JobState, JobWishes

ANSWER_TIME = 20.0
"""Seconds for each answer; the worker looks into its records, no more."""


@frozen
class Errands:
    """What is to be asked, and what is still unanswered."""

    sent: Sent | None = None
    left: tuple[JobWishes, ...] = ()
    """Not answered yet; the first one's job is the one that opens the worker's window."""
    link: LinkId | None = None
    links: int = 0


# -------- narrower events


@frozen
class InRoom:
    """We are in the room, and may ask."""


@frozen
class Unknown:
    """The worker knows nothing of the job that was to open its window, but there are others to try."""

    fault: Fault


@frozen
class Answered:
    """One of several answers."""

    state: JobState


@frozen
class LastAnswered:
    """The last one."""

    state: JobState


@frozen
class ToldOff:
    """The worker ends the conversation, and says why."""

    fault: Fault


@frozen
class Stale:
    """Nothing that changes anything."""


def classify(errands: Errands, event: object) -> object:
    """Which answer, which link: asked here once, so that each answer can be a row."""
    if isinstance(event, RosterIs):
        return InRoom() if errands.link is None else Stale()
    if isinstance(event, Refused):
        return _classify_refusal(errands, event)
    if isinstance(event, Trusted):
        return event if event.link == errands.link else Stale()
    if isinstance(event, LinkLost):
        return event if event.link == errands.link else Stale()
    if isinstance(event, Heard):
        return _classify_words(errands, event)
    return event


def _classify_refusal(errands: Errands, event: Refused) -> object:
    if errands.sent is None or event.peer != errands.sent.peer:
        return Stale()
    if event.fault.code is FaultCode.NO_SUCH_JOB and len(errands.left) > 1:
        return Unknown(event.fault)
    return event


def _classify_words(errands: Errands, heard: Heard) -> object:
    message = heard.message
    if heard.link != errands.link:
        return Stale()
    if isinstance(message, Fault):
        return ToldOff(message)
    if not isinstance(message, JobState) or all(wish.job != message.job for wish in errands.left):
        return Stale()
    return Answered(message) if len(errands.left) > 1 else LastAnswered(message)


# -------- actions


def set_out(_errands: Errands, sent: Sent) -> Step[Errands]:
    """First the room, where the worker is."""
    return Step(Errands(sent, sent.wishes), (Enter(sent.room_pass, sent.patience),))


def knock(errands: Errands, _event: InRoom) -> Step[Errands]:
    """Ask the worker for a link, naming a job: that is what opens its window, whatever else it does."""
    assert errands.sent is not None, "only who was sent knocks"
    link = LinkId(errands.links + 1)
    late = Lapsed(Fault(FaultCode.LINK_FAILED, "The worker did not answer in time. Try again."))
    effects = (
        OpenLink(link, errands.sent.peer, errands.left[0].job),
        StateTimeout(errands.sent.patience, late),
    )
    return Step(evolve(errands, link=link, links=link), effects)


def knock_otherwise(errands: Errands, event: Unknown) -> Step[Errands]:
    """That one is answered by this; the next one may open the window."""
    wish, *left = errands.left
    unknown = Reported(JobState(wish.job, JobStage.UNKNOWN, event.fault.text))
    step = knock(evolve(errands, left=tuple(left)), InRoom())
    return Step(step.data, (unknown, *step.effects))


def ask(errands: Errands, event: Trusted) -> Step[Errands]:
    """All at once; each is answered by itself."""
    late = Lapsed(Fault(FaultCode.STALLED, "The worker did not answer in time. Try again."))
    told = (TellLink(event.link, wish) for wish in errands.left)
    return Step(errands, (*told, StateTimeout(ANSWER_TIME, late)))


def note(errands: Errands, event: Answered) -> Step[Errands]:
    """One less to wait for."""
    answered = next(wish for wish in errands.left if wish.job == event.state.job)
    left = tuple(wish for wish in errands.left if wish is not answered)
    return Step(evolve(errands, left=left), (Reported(event.state),))


def _end(errands: Errands, fault: Fault | None, *before: object) -> Step[Errands]:
    links = () if errands.link is None else (CloseLink(errands.link),)
    return Step(Errands(links=errands.links), (NO_TIMEOUT, *before, *links, Finished(fault)))


def finish(errands: Errands, event: LastAnswered) -> Step[Errands]:
    """That was all."""
    return _end(errands, None, Reported(event.state))


def fail(errands: Errands, event: EnterFailed | Refused | ToldOff) -> Step[Errands]:
    """The other side says why not."""
    return _end(errands, event.fault)


def fail_late(errands: Errands, event: Lapsed) -> Step[Errands]:
    """It kept us waiting."""
    return _end(errands, event.fault)


def fail_lost(errands: Errands, event: LinkLost) -> Step[Errands]:
    """The link broke."""
    return _end(errands, event.fault or Fault(FaultCode.LINK_LOST, "The link to the worker broke. Try again."))


def give_up(errands: Errands, _event: Drain) -> Step[Errands]:
    """Interrupted; what was asked already may have been done."""
    return _end(errands, Fault(FaultCode.INTERRUPTED, "Stopped before the worker had answered."))


ERRAND: Table[Errands] = Table("errand", AVAILABLE, (
    #   in         event         next       action
    row(AVAILABLE, Sent,         RESERVED,  set_out),
    quiet(Sent, RESERVED, BUSY),
    row(RESERVED,  InRoom,       RESERVED,  knock),
    quiet(InRoom, AVAILABLE, BUSY),
    row(RESERVED,  EnterFailed,  AVAILABLE, fail),
    quiet(EnterFailed, AVAILABLE, BUSY),
    row(RESERVED,  Refused,      AVAILABLE, fail),
    quiet(Refused, AVAILABLE, BUSY),
    row(RESERVED,  Unknown,      RESERVED,  knock_otherwise),
    quiet(Unknown, AVAILABLE, BUSY),
    row(RESERVED,  Trusted,      BUSY,      ask),
    quiet(Trusted, AVAILABLE, BUSY),
    row(BUSY,      Answered,     BUSY,      note),
    quiet(Answered, AVAILABLE, RESERVED),
    row(BUSY,      LastAnswered, AVAILABLE, finish),
    quiet(LastAnswered, AVAILABLE, RESERVED),
    row(RESERVED,  ToldOff,      AVAILABLE, fail),
    row(BUSY,      ToldOff,      AVAILABLE, fail),
    quiet(ToldOff, AVAILABLE),
    row(RESERVED,  Lapsed,       AVAILABLE, fail_late),
    row(BUSY,      Lapsed,       AVAILABLE, fail_late),
    quiet(Lapsed, AVAILABLE),
    row(RESERVED,  LinkLost,     AVAILABLE, fail_lost),
    row(BUSY,      LinkLost,     AVAILABLE, fail_lost),
    quiet(LinkLost, AVAILABLE),
    row(RESERVED,  Drain,        AVAILABLE, give_up),
    row(BUSY,      Drain,        AVAILABLE, give_up),
    quiet(Drain, AVAILABLE),
    quiet(Stale, AVAILABLE, RESERVED, BUSY),
), classify)  # fmt: skip

"""An Errand: short questions and orders to one worker about jobs that are ours, and its answers.

available: nothing to do · reserved: the worker is asked for a link · busy: it was asked, and its answers are awaited.
It ends in exactly one `Finished`.
"""

from attrs import evolve, frozen

from actors.events import (
    NO_TIMEOUT,
    Authenticated,
    CloseLink,
    Drain,
    Finished,
    JobReported,
    JoinFailed,
    JoinRoom,
    LinkLost,
    LinkRefused,
    OpenLink,
    PeerFault,
    PeerMessage,
    QueryWanted,
    Stale,
    StateTimeout,
    TellPeer,
    TimedOut,
    WorkersChanged,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.jobs import JobRequest, JobStage, JobState

ANSWER_TIME = 20.0
"""Seconds for each answer; the worker looks into its records, no more."""


@frozen
class QueryData:
    """What is to be asked, and what is still unanswered."""

    query: QueryWanted | None = None
    unanswered: tuple[JobRequest, ...] = ()
    """Not answered yet; the first one's job is the one that opens the worker's window."""
    link: LinkId | None = None
    last_link: int = 0


# -------- narrower events


@frozen
class RoomReady:
    """We are in the room, and may ask."""


@frozen
class JobUnknown:
    """The worker knows nothing of the job that was to open its window, but there are others to try."""

    fault: Fault


@frozen
class AnswerReceived:
    """One of several answers."""

    state: JobState


@frozen
class LastAnswerReceived:
    """The last one."""

    state: JobState


def classify(data: QueryData, event: object) -> object:
    """Which answer, which link: asked here once, so that each answer can be a row."""
    if isinstance(event, WorkersChanged):
        return RoomReady() if data.link is None else Stale()
    if isinstance(event, LinkRefused):
        return _classify_refusal(data, event)
    if isinstance(event, Authenticated):
        return event if event.link == data.link else Stale()
    if isinstance(event, LinkLost):
        return event if event.link == data.link else Stale()
    if isinstance(event, PeerMessage):
        return _classify_message(data, event)
    return event


def _classify_refusal(data: QueryData, event: LinkRefused) -> object:
    if data.query is None or event.peer != data.query.peer:
        return Stale()
    if event.fault.code is FaultCode.NO_SUCH_JOB and len(data.unanswered) > 1:
        return JobUnknown(event.fault)
    return event


def _classify_message(data: QueryData, said: PeerMessage) -> object:
    message = said.message
    if said.link != data.link:
        return Stale()
    if isinstance(message, Fault):
        return PeerFault(message)
    if not isinstance(message, JobState) or all(request.job != message.job for request in data.unanswered):
        return Stale()
    return AnswerReceived(message) if len(data.unanswered) > 1 else LastAnswerReceived(message)


# -------- actions


def join_room(_data: QueryData, query: QueryWanted) -> Step[QueryData]:
    """First the room, where the worker is."""
    return Step(QueryData(query, query.requests), (JoinRoom(query.room_credentials, query.patience),))


def open_link(data: QueryData, _event: RoomReady) -> Step[QueryData]:
    """Ask the worker for a link, naming a job: that is what opens its window, whatever else it does."""
    assert data.query is not None, "only who was sent knocks"
    link = LinkId(data.last_link + 1)
    late = TimedOut(Fault(FaultCode.LINK_FAILED, "The worker did not answer in time. Try again."))
    effects = (
        OpenLink(link, data.query.peer, data.unanswered[0].job),
        StateTimeout(data.query.patience, late),
    )
    return Step(evolve(data, link=link, last_link=link), effects)


def try_next_job(data: QueryData, event: JobUnknown) -> Step[QueryData]:
    """That one is answered by this; the next one may open the window."""
    request, *unanswered = data.unanswered
    unknown = JobReported(JobState(request.job, JobStage.UNKNOWN, event.fault.text))
    step = open_link(evolve(data, unanswered=tuple(unanswered)), RoomReady())
    return Step(step.data, (unknown, *step.effects))


def ask(data: QueryData, event: Authenticated) -> Step[QueryData]:
    """All at once; each is answered by itself."""
    late = TimedOut(Fault(FaultCode.STALLED, "The worker did not answer in time. Try again."))
    told = (TellPeer(event.link, request) for request in data.unanswered)
    return Step(data, (*told, StateTimeout(ANSWER_TIME, late)))


def note_answer(data: QueryData, event: AnswerReceived) -> Step[QueryData]:
    """One less to wait for."""
    answered = next(request for request in data.unanswered if request.job == event.state.job)
    unanswered = tuple(request for request in data.unanswered if request is not answered)
    return Step(evolve(data, unanswered=unanswered), (JobReported(event.state),))


def _end(data: QueryData, fault: Fault | None, *before: object) -> Step[QueryData]:
    last_link = () if data.link is None else (CloseLink(data.link),)
    return Step(QueryData(last_link=data.last_link), (NO_TIMEOUT, *before, *last_link, Finished(fault)))


def finish(data: QueryData, event: LastAnswerReceived) -> Step[QueryData]:
    """That was all."""
    return _end(data, None, JobReported(event.state))


def fail(data: QueryData, event: JoinFailed | LinkRefused | PeerFault) -> Step[QueryData]:
    """The other side says why not."""
    return _end(data, event.fault)


def fail_late(data: QueryData, event: TimedOut) -> Step[QueryData]:
    """It kept us waiting."""
    return _end(data, event.fault)


def fail_lost(data: QueryData, event: LinkLost) -> Step[QueryData]:
    """The link broke."""
    return _end(data, event.fault or Fault(FaultCode.LINK_LOST, "The link to the worker broke. Try again."))


def give_up(data: QueryData, _event: Drain) -> Step[QueryData]:
    """Interrupted; what was asked already may have been done."""
    return _end(data, Fault(FaultCode.INTERRUPTED, "Stopped before the worker had answered."))


JOB_QUERY: Table[QueryData] = Table("job query", AVAILABLE, (
    #   in         event         next       action
    row(AVAILABLE, QueryWanted,         RESERVED,  join_room),
    ignore(QueryWanted, RESERVED, BUSY),
    row(RESERVED,  RoomReady,       RESERVED,  open_link),
    ignore(RoomReady, AVAILABLE, BUSY),
    row(RESERVED,  JoinFailed,  AVAILABLE, fail),
    ignore(JoinFailed, AVAILABLE, BUSY),
    row(RESERVED,  LinkRefused,      AVAILABLE, fail),
    ignore(LinkRefused, AVAILABLE, BUSY),
    row(RESERVED,  JobUnknown,      RESERVED,  try_next_job),
    ignore(JobUnknown, AVAILABLE, BUSY),
    row(RESERVED,  Authenticated,      BUSY,      ask),
    ignore(Authenticated, AVAILABLE, BUSY),
    row(BUSY,      AnswerReceived,     BUSY,      note_answer),
    ignore(AnswerReceived, AVAILABLE, RESERVED),
    row(BUSY,      LastAnswerReceived, AVAILABLE, finish),
    ignore(LastAnswerReceived, AVAILABLE, RESERVED),
    row(RESERVED,  PeerFault,      AVAILABLE, fail),
    row(BUSY,      PeerFault,      AVAILABLE, fail),
    ignore(PeerFault, AVAILABLE),
    row(RESERVED,  TimedOut,       AVAILABLE, fail_late),
    row(BUSY,      TimedOut,       AVAILABLE, fail_late),
    ignore(TimedOut, AVAILABLE),
    row(RESERVED,  LinkLost,     AVAILABLE, fail_lost),
    row(BUSY,      LinkLost,     AVAILABLE, fail_lost),
    ignore(LinkLost, AVAILABLE),
    row(RESERVED,  Drain,        AVAILABLE, give_up),
    row(BUSY,      Drain,        AVAILABLE, give_up),
    ignore(Drain, AVAILABLE),
    ignore(Stale, AVAILABLE, RESERVED, BUSY),
), classify)  # fmt: skip

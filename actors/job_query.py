"""The JobQuery: sends one worker some requests about our jobs (state, stop, cancel, receipt) and reports its answers.

- available: there are no requests.
- reserved: the program joins the room and opens a link to the worker.
- busy: all requests are sent, and their answers are awaited.

Each `QueryWanted` ends with exactly one `Finished`.
"""

from attrs import evolve, frozen

from actors.events import (
    CANCEL_TIMEOUT,
    Authenticated,
    CloseLink,
    Drain,
    Finished,
    JobStateReported,
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
from actors.old_table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.jobs import JobRequest, JobStage, JobState

ANSWER_TIME = 20.0
"""Seconds for all answers; for each the worker only has to read its job database."""


@frozen
class QueryData:
    """The JobQuery's data: the requests, and which of them are unanswered."""

    query: QueryWanted | None = None
    """None in the state available."""
    unanswered: tuple[JobRequest, ...] = ()
    """Requests without an answer. The offer names the job of the first one: in each of its states a worker accepts a
    link about a job that it knows."""
    link: LinkId | None = None
    last_link: int = 0
    """The id of the newest link; ids count up from 1."""


# -------- narrower events


@frozen
class RoomReady:
    """We are in the room, and there is no link yet."""


@frozen
class JobUnknown:
    """The worker has refused the link because it does not know the job, and there are requests about other jobs."""

    fault: Fault


@frozen
class AnswerReceived:
    """The worker has answered a request, and others are unanswered."""

    state: JobState


@frozen
class LastAnswerReceived:
    """The worker has answered the last unanswered request."""

    state: JobState


def classify(data: QueryData, event: object) -> object:
    """Return the event, or the narrower event that says whether it is about our link or is the last answer."""
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


def _classify_message(data: QueryData, event: PeerMessage) -> object:
    message = event.message
    if event.link != data.link:
        return Stale()
    if isinstance(message, Fault):
        return PeerFault(message)
    if not isinstance(message, JobState) or all(request.job != message.job for request in data.unanswered):
        return Stale()
    return AnswerReceived(message) if len(data.unanswered) > 1 else LastAnswerReceived(message)


# -------- actions


def join_room(_data: QueryData, query: QueryWanted) -> Step[QueryData]:
    """Join the room of the worker."""
    return Step(QueryData(query, query.requests), (JoinRoom(query.room_credentials, query.step_timeout),))


def open_link(data: QueryData, _event: RoomReady) -> Step[QueryData]:
    """Open a link to the worker about one of the jobs; a reserved or busy worker accepts such a link, too."""
    assert data.query is not None, "in the state reserved there is a query"
    link = LinkId(data.last_link + 1)
    timeout = TimedOut(Fault(FaultCode.LINK_FAILED, "The worker did not answer in time. Try again."))
    effects = (
        OpenLink(link, data.query.peer, data.unanswered[0].job),
        StateTimeout(data.query.step_timeout, timeout),
    )
    return Step(evolve(data, link=link, last_link=link), effects)


def try_next_job(data: QueryData, event: JobUnknown) -> Step[QueryData]:
    """Report the job as unknown, and open a link about the job of the next request."""
    request, *unanswered = data.unanswered
    unknown = JobStateReported(JobState(request.job, JobStage.UNKNOWN, event.fault.text))
    step = open_link(evolve(data, unanswered=tuple(unanswered)), RoomReady())
    return Step(step.data, (unknown, *step.effects))


def send_requests(data: QueryData, event: Authenticated) -> Step[QueryData]:
    """Send all requests at once, and wait for their answers for at most `ANSWER_TIME`."""
    timeout = TimedOut(Fault(FaultCode.STALLED, "The worker did not answer in time. Try again."))
    requests = (TellPeer(event.link, request) for request in data.unanswered)
    return Step(data, (*requests, StateTimeout(ANSWER_TIME, timeout)))


def report_answer(data: QueryData, event: AnswerReceived) -> Step[QueryData]:
    """Report the worker's answer, and wait for the other answers."""
    answered = next(request for request in data.unanswered if request.job == event.state.job)
    unanswered = tuple(request for request in data.unanswered if request is not answered)
    return Step(evolve(data, unanswered=unanswered), (JobStateReported(event.state),))


def _end(data: QueryData, fault: Fault | None, *before: object) -> Step[QueryData]:
    """Send the effects `before`, close the link and send `Finished`; the actor is then available."""
    close = () if data.link is None else (CloseLink(data.link),)
    return Step(QueryData(last_link=data.last_link), (CANCEL_TIMEOUT, *before, *close, Finished(fault)))


def finish(data: QueryData, event: LastAnswerReceived) -> Step[QueryData]:
    """Report the last answer, and finish."""
    return _end(data, None, JobStateReported(event.state))


def fail(data: QueryData, event: JoinFailed | LinkRefused | PeerFault) -> Step[QueryData]:
    """Fail with the reason that the server or the worker gives."""
    return _end(data, event.fault)


def fail_timeout(data: QueryData, event: TimedOut) -> Step[QueryData]:
    """Fail because the worker did not answer in time."""
    return _end(data, event.fault)


def fail_link_lost(data: QueryData, event: LinkLost) -> Step[QueryData]:
    """Fail because the link ended before all answers came."""
    return _end(data, event.fault or Fault(FaultCode.LINK_LOST, "The link to the worker broke. Try again."))


def give_up(data: QueryData, _event: Drain) -> Step[QueryData]:
    """Finish because the person stopped the program; the worker may have carried out requests already."""
    return _end(data, Fault(FaultCode.INTERRUPTED, "Stopped before the worker had answered."))


JOB_QUERY: Table[QueryData] = Table("job query", AVAILABLE, (
    #   in         event               next       action
    row(AVAILABLE, QueryWanted,        RESERVED,  join_room),
    ignore(QueryWanted, RESERVED, BUSY),
    row(RESERVED,  RoomReady,          RESERVED,  open_link),
    ignore(RoomReady, AVAILABLE, BUSY),
    row(RESERVED,  JoinFailed,         AVAILABLE, fail),
    ignore(JoinFailed, AVAILABLE, BUSY),
    row(RESERVED,  LinkRefused,        AVAILABLE, fail),
    ignore(LinkRefused, AVAILABLE, BUSY),
    row(RESERVED,  JobUnknown,         RESERVED,  try_next_job),
    ignore(JobUnknown, AVAILABLE, BUSY),
    row(RESERVED,  Authenticated,      BUSY,      send_requests),
    ignore(Authenticated, AVAILABLE, BUSY),
    row(BUSY,      AnswerReceived,     BUSY,      report_answer),
    ignore(AnswerReceived, AVAILABLE, RESERVED),
    row(BUSY,      LastAnswerReceived, AVAILABLE, finish),
    ignore(LastAnswerReceived, AVAILABLE, RESERVED),
    row(RESERVED,  PeerFault,          AVAILABLE, fail),
    row(BUSY,      PeerFault,          AVAILABLE, fail),
    ignore(PeerFault, AVAILABLE),
    row(RESERVED,  TimedOut,           AVAILABLE, fail_timeout),
    row(BUSY,      TimedOut,           AVAILABLE, fail_timeout),
    ignore(TimedOut, AVAILABLE),
    row(RESERVED,  LinkLost,           AVAILABLE, fail_link_lost),
    row(BUSY,      LinkLost,           AVAILABLE, fail_link_lost),
    ignore(LinkLost, AVAILABLE),
    row(RESERVED,  Drain,              AVAILABLE, give_up),
    row(BUSY,      Drain,              AVAILABLE, give_up),
    ignore(Drain, AVAILABLE),
    ignore(Stale, AVAILABLE, RESERVED, BUSY),
), classify)  # fmt: skip

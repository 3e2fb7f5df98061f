"""The JobQuery: sends one worker some requests about our jobs (state, stop, cancel, receipt) and reports its answers.

- available: there are no requests.
- reserved: the program joins the room and opens a link to the worker.
- busy: all requests are sent, and their answers are awaited.

Each `QueryWanted` ends with exactly one `Finished`.
"""

from attrs import evolve, frozen

from actors import events
from actors.phase import AVAILABLE, BUSY, RESERVED, Phase
from actors.table import SAME, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.jobs import JobRequest, JobStage, JobState

ANSWER_TIME = 20.0
"""Seconds for all answers; for each the worker only has to read its job database."""


class QueryPhase(Phase):
    """What the JobQuery is doing."""

    IDLE = "idle", AVAILABLE
    JOINING = "joining", RESERVED
    CONNECTING = "connecting", RESERVED
    ASKING = "asking", BUSY


IDLE, JOINING, CONNECTING, ASKING = QueryPhase


@frozen
class QueryData:
    """The JobQuery's data: the requests, and which of them are unanswered."""

    query: events.QueryWanted | None = None
    """None in the phase idle."""
    unanswered: tuple[JobRequest, ...] = ()
    """Requests without an answer. The offer names the job of the first one: whatever a worker does, it accepts a link
    about a job that it knows."""
    link: LinkId | None = None
    last_link: int = 0
    """The id of the newest link; ids count up from 1."""


# -------- guards


def only_job_is_unknown(data: QueryData, event: events.LinkLost) -> bool:
    """Return whether the worker refused the link because it does not know the job, and there are other requests."""
    return event.fault is not None and event.fault.code is FaultCode.NO_SUCH_JOB and len(data.unanswered) > 1


def is_awaited(data: QueryData, state: JobState) -> bool:
    """Return whether an unanswered request is about this job."""
    return any(request.job == state.job for request in data.unanswered)


def is_last_answer(data: QueryData, state: JobState) -> bool:
    """Return whether this answers the only unanswered request."""
    return is_awaited(data, state) and len(data.unanswered) == 1


# -------- actions


def join_room(data: QueryData, query: events.QueryWanted) -> Step[QueryData]:
    """Join the room of the worker."""
    data = evolve(data, query=query, unanswered=query.requests)
    return Step(data, (events.JoinRoom(query.room_credentials, query.step_timeout),))


def open_link(data: QueryData, _event: events.JoinedRoom | events.LinkLost) -> Step[QueryData]:
    """Open a link to the worker about one of the jobs; a reserved or busy worker accepts such a link, too."""
    assert data.query is not None, "in every phase but idle there is a query"
    link = LinkId(data.last_link + 1)
    text = f"The link to the worker was not open within {data.query.step_timeout:.0f} seconds. Try again."
    effects = (
        events.OpenLink(link, data.query.peer, data.unanswered[0].job),
        events.StateTimeout(data.query.step_timeout, events.TimedOut(Fault(FaultCode.LINK_FAILED, text))),
    )
    return Step(evolve(data, link=link, last_link=link), effects)


def try_next_job(data: QueryData, event: events.LinkLost) -> Step[QueryData]:
    """Report the job as unknown, and open a link about the job of the next request."""
    request, *unanswered = data.unanswered
    text = "" if event.fault is None else event.fault.text
    unknown = events.JobStateReported(JobState(request.job, JobStage.UNKNOWN, text))
    step = open_link(evolve(data, unanswered=tuple(unanswered)), event)
    return Step(step.data, (unknown, *step.effects))


def send_requests(data: QueryData, event: events.Authenticated) -> Step[QueryData]:
    """Send all requests at once, and wait for their answers for at most `ANSWER_TIME`."""
    text = f"The worker did not answer all requests within {ANSWER_TIME:.0f} seconds. Try again."
    requests = (events.TellPeer(event.link, request) for request in data.unanswered)
    timeout = events.StateTimeout(ANSWER_TIME, events.TimedOut(Fault(FaultCode.STALLED, text)))
    return Step(data, (*requests, timeout))


def report_answer(data: QueryData, state: JobState) -> Step[QueryData]:
    """Report the worker's answer, and wait for the other answers."""
    answered = next(request for request in data.unanswered if request.job == state.job)
    unanswered = tuple(request for request in data.unanswered if request is not answered)
    return Step(evolve(data, unanswered=unanswered), (events.JobStateReported(state),))


def _end(data: QueryData, fault: Fault | None, *before: object) -> Step[QueryData]:
    """Send the effects `before`, close the link and send `Finished`; the actor is then idle."""
    close = () if data.link is None else (events.CloseLink(data.link),)
    return Step(QueryData(last_link=data.last_link), (*before, *close, events.Finished(fault)))


def finish(data: QueryData, state: JobState) -> Step[QueryData]:
    """Report the last answer, and finish."""
    return _end(data, None, events.JobStateReported(state))


def fail(data: QueryData, event: events.JoinFailed | events.TimedOut) -> Step[QueryData]:
    """Fail with the reason that the server gives, or because the worker did not answer in time."""
    return _end(data, event.fault)


def fail_refused(data: QueryData, fault: Fault) -> Step[QueryData]:
    """Fail with the reason that the worker gives over the link."""
    return _end(data, fault)


def fail_link_lost(data: QueryData, event: events.LinkLost) -> Step[QueryData]:
    """Fail because the worker refused the link, or the link ended before all answers came."""
    fault = event.fault or Fault(FaultCode.LINK_LOST, "The link to the worker broke. Try again.")
    return _end(evolve(data, link=None), fault)


# -------- the table


def own(data: QueryData) -> tuple[LinkId | None, ...]:
    """Return the id of the link."""
    return (data.link,)


def check(phase: QueryPhase, data: QueryData) -> None:
    """Raise AssertionError if the JobQuery can never be in this phase with this data."""
    assert (data.query is not None) == (phase is not IDLE), "a query ends when the actor is idle again"
    assert bool(data.unanswered) == (phase is not IDLE), "and with the last answer"
    assert (data.link is not None) == (phase in (CONNECTING, ASKING)), "links are opened in the room"


JOB_QUERY: Table[QueryData] = Table("job query", IDLE, (
    #   in                     event                    next        action
    row(IDLE,                  events.QueryWanted,      JOINING,    join_room),
    row(JOINING,               events.JoinedRoom,       CONNECTING, open_link),
    row((JOINING, CONNECTING), events.JoinFailed,       IDLE,       fail),
    row(CONNECTING,            events.Authenticated,    ASKING,     send_requests),
    row(CONNECTING,            events.LinkLost,         SAME,       try_next_job, when=only_job_is_unknown),
    row((CONNECTING, ASKING),  events.LinkLost,         IDLE,       fail_link_lost),
    row((CONNECTING, ASKING),  events.TimedOut,         IDLE,       fail),

    # the worker's messages
    row(ASKING,                JobState,                IDLE,       finish, when=is_last_answer),
    row(ASKING,                JobState,                SAME,       report_answer, when=is_awaited),
    row(ASKING,                Fault,                   IDLE,       fail_refused),
    ignore(ASKING, JobState, events.UnexpectedMessage,  because="a worker may say more than it was asked"),

    ignore((CONNECTING, ASKING), events.JoinedRoom,     because="the room was joined again after the server was lost"),
    ignore(ASKING, events.JoinFailed,                   because="an open link needs no room"),
    ignore(IDLE, events.JoinedRoom, events.JoinFailed,  because="the program is about to end"),
), own, invariant=check)  # fmt: skip

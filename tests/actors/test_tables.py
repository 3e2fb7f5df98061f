"""Tests of every table: random walks keep the invariants, and every state leads to available.

That each state answers each event is checked when a table is made, so at every import; here is tested only that it is.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import client, client_events, job_query, job_session, worker, worker_events
from actors.events import (
    AcceptLink,
    AskPerson,
    Authenticated,
    BestWorker,
    Cancel,
    CancelWanted,
    CloseLink,
    DownloadFailed,
    Drain,
    EarlierJobsFound,
    Finished,
    JobAdopted,
    JobCredential,
    JobFinished,
    JobLookedUp,
    JobStateReported,
    JobSubmitted,
    JobWanted,
    JoinedRoom,
    JoinFailed,
    LinkLost,
    LinkRefused,
    LinkRequested,
    NamedWorker,
    OpenLink,
    OpenSession,
    PackageFailed,
    PackageReceived,
    PackageSent,
    PeerMessage,
    QueryWanted,
    RejectLink,
    ReleaseResult,
    ResultDownloaded,
    ResultSendEnded,
    ResultUnpacked,
    RoomCredentials,
    SendJobKey,
    SendResult,
    SessionRequested,
    StatusChanged,
    StopEarly,
    StopWanted,
    StreamEnded,
    StreamEvents,
    TellPeer,
    TimedOut,
    UploadFailed,
    WorkerPicked,
    WorkersChanged,
)
from actors.old_table import AVAILABLE, BUSY, RESERVED, Step, Table, TableError, ignore, row
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import (
    AskJob,
    AttachJob,
    CancelJob,
    JobAccepted,
    JobEnded,
    JobKind,
    JobStage,
    JobState,
    Outcome,
    ResultTaken,
    StopJob,
    SubmitJob,
)
from protocol.signaling import WorkerPresent
from protocol.status import Role, Status, WorkerFacts
from rtc.command_line.generated_docs import TABLES

FAULT = Fault(FaultCode.LINK_LOST, "The link broke.")
ADA, BOB = PeerId("client-ada"), PeerId("client-bob")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)


def facts(memory: int = 0, status: Status = Status.AVAILABLE) -> WorkerFacts:
    return WorkerFacts(status, "bench", "lab", "CPU", memory, "0.3.5", "none", "0.1")


def test_a_table_with_a_gap_cannot_exist() -> None:
    with pytest.raises(TableError, match="busy × Drain has no answer"):
        Table("gappy", AVAILABLE, (ignore(Drain, AVAILABLE, RESERVED),))


def test_a_table_that_answers_twice_cannot_exist() -> None:
    with pytest.raises(TableError, match="answered twice"):
        Table("doubled", AVAILABLE, (ignore(Drain, AVAILABLE, RESERVED, BUSY), ignore(Drain, BUSY)))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_from_every_state_some_rows_lead_back_to_available(table: Table[Any]) -> None:
    returning = {AVAILABLE}
    for _ in Status:
        returning |= {one.state for one in table.rows if one.next in returning}
    assert returning == set(Status)


def test_the_drawing_shows_what_is_done_and_leaves_out_what_is_ignored() -> None:
    def go(data: int, _event: Drain) -> Step[int]:
        return Step(data)

    table = Table("tiny", AVAILABLE, (row(AVAILABLE, Drain, BUSY, go), ignore(Drain, RESERVED, BUSY)))
    assert table.mermaid() == "stateDiagram-v2\n    [*] --> available\n    available --> busy: Drain / go"


# -------- random walks


def each(kind: Callable[..., Any], *fields: Any) -> list[Any]:
    """Return one event or message for each combination of these values of its fields; one value stands for itself."""
    values = [field if isinstance(field, list) else [field] for field in fields]
    return [kind(*combination) for combination in product(*values)]


def walks(*events: list[Any], longest: int = 40) -> st.SearchStrategy[list[Any]]:
    """Return lists of events, which come from each of these lists about equally often."""

    def event(number: int) -> Any:
        rest, place = divmod(number, len(events))
        return events[place][rest % len(events[place])]

    numbers = st.sampled_from(range(len(events) * 2 * max(map(len, events))))  # one draw for an event: draws are slow
    return st.lists(numbers.map(event), min_size=10, max_size=longest)  # Hypothesis prefers lists near the shortest


ONE = LinkId(1)
YES_AND_NO = [True, False]
PEERS = [ADA, BOB]
LINKS = [LinkId(number) for number in range(7)]
JOBS = [JobId("job-1"), JobId("job-2")]
KEYS = ["key-1", "key-2"]
FAULTS = [None, FAULT, Fault(FaultCode.CANCELLED, "Stopped.")]
OUTCOMES = list(Outcome)

STATES = each(JobState, JOBS, list(JobStage), "so", 3, [None, *OUTCOMES])
REQUESTS = [
    *each(AttachJob, JOBS, KEYS, list(range(6)), YES_AND_NO),
    *each(AskJob, JOBS, KEYS),
    *each(StopJob, JOBS, KEYS),
    *each(CancelJob, JOBS, KEYS),
    *each(ResultTaken, JOBS, KEYS),
]
ENDINGS = each(JobEnded, JOBS, OUTCOMES, "ended", YES_AND_NO)
CREDENTIALS = each(JobCredential, JOBS, KEYS)

worker_walks = walks(
    each(LinkRequested, ONE, PEERS, "sdp", [PROTOCOL_VERSION, 0]),
    each(SessionRequested, ONE, PEERS, "sdp", JOBS, [PROTOCOL_VERSION, 0]),
    each(Authenticated, LINKS, PEERS, YES_AND_NO),
    each(JobSubmitted, LINKS, SUBMIT, CREDENTIALS),
    each(PeerMessage, LINKS, [*REQUESTS, SUBMIT]),
    [EarlierJobsFound(frozenset(found)) for found in ([], JOBS[:1], JOBS[1:], JOBS)],
    each(JobAdopted, JOBS),
    each(PackageReceived, CREDENTIALS),
    each(PackageFailed, JOBS, FAULT),
    each(JobFinished, JOBS, OUTCOMES, "over", YES_AND_NO),
    each(LinkLost, LINKS, FAULTS),
    each(TimedOut, FAULTS),
    [JoinFailed(FAULT)],
    [Drain()],
)


def walk(table: Table[Any], data: Any, events: list[Any], check: Callable[[Status, Any, Any, Step[Any]], None]) -> None:
    state = table.start
    for event in events:
        after, step = table.step(state, data, event)
        check(state, data, after, step)
        state, data = after, step.data


@given(worker_walks)
def test_the_state_of_a_worker_agrees_with_its_data(events: list[Any]) -> None:
    def check(
        _state: Status, _before: worker_events.WorkerData, after: Status, step: Step[worker_events.WorkerData]
    ) -> None:
        data = step.data
        assert (data.link is not None) == (after is RESERVED)
        assert bool(data.running) == (after is BUSY)
        assert data.job is None or after is RESERVED

    walk(worker.WORKER, worker_events.WorkerData(), events, check)


@given(st.lists(st.sampled_from(each(SessionRequested, ONE, PEERS, "sdp", JOBS, PROTOCOL_VERSION)), min_size=12))
def test_the_number_of_sessions_is_limited(offers: list[Any]) -> None:
    state, data = worker.WORKER.start, worker_events.WorkerData(known_jobs=frozenset({JobId("job-1"), JobId("job-2")}))
    for offer in offers:
        state, step = worker.WORKER.step(state, data, offer)
        data = step.data
    assert len(data.sessions) == worker_events.SESSIONS_MAX


@given(worker_walks)
def test_a_worker_announces_every_change_of_status_and_is_never_available_while_it_leaves(events: list[Any]) -> None:
    def check(
        state: Status, _before: worker_events.WorkerData, after: Status, step: Step[worker_events.WorkerData]
    ) -> None:
        statuses = [effect.status for effect in step.effects if isinstance(effect, StatusChanged)]
        leaving = step.data.leaving is not None
        if after is not state and not leaving:
            assert statuses[-1:] == [after]
        assert all(status is after for status in statuses[-1:])
        assert not (leaving and Status.AVAILABLE in statuses)

    walk(worker.WORKER, worker_events.WorkerData(), events, check)


@given(worker_walks)
def test_a_worker_ends_only_when_no_job_runs_and_no_session_is_open(events: list[Any]) -> None:
    def check(
        _state: Status, _before: worker_events.WorkerData, after: Status, step: Step[worker_events.WorkerData]
    ) -> None:
        if any(isinstance(effect, Finished) for effect in step.effects):
            assert after is AVAILABLE
            assert not step.data.running
            assert not step.data.sessions

    walk(worker.WORKER, worker_events.WorkerData(), events, check)


@given(worker_walks)
def test_every_link_a_worker_accepts_is_reserved_or_a_session_until_it_is_closed_or_lost(events: list[Any]) -> None:
    state, data = worker.WORKER.start, worker_events.WorkerData()
    open_links: set[LinkId] = set()
    received: list[LinkId] = []
    for event in events:
        if isinstance(event, LinkLost):
            open_links.discard(event.link)
        state, step = worker.WORKER.step(state, data, event)
        data = step.data
        for effect in step.effects:
            if isinstance(effect, AcceptLink):
                open_links.add(effect.link)
            if isinstance(effect, CloseLink):
                open_links.discard(effect.link)
            if isinstance(effect, OpenSession):
                received.append(effect.link)
        assert open_links <= {data.link, *data.sessions}
        assert data.sessions <= set(received)
    assert len(received) == len(set(received))


@given(worker_walks)
def test_every_offer_is_answered_at_once(events: list[Any]) -> None:
    state, data = worker.WORKER.start, worker_events.WorkerData()
    for event in events:
        state, step = worker.WORKER.step(state, data, event)
        data = step.data
        answers = [effect for effect in step.effects if isinstance(effect, AcceptLink | RejectLink)]
        assert len(answers) == isinstance(event, LinkRequested | SessionRequested)


session_walks = walks(
    [Authenticated(ONE, ADA, proven=True)],
    each(PeerMessage, ONE, [*REQUESTS, SUBMIT]),
    each(JobLookedUp, ONE, REQUESTS, STATES),
    each(StreamEnded, ONE, ENDINGS),
    each(ResultSendEnded, JOBS, ONE, FAULTS),
    [LinkLost(ONE)],
    [TimedOut(FAULT)],
    [Drain()],
)


@given(session_walks)
def test_a_session_gives_nothing_of_a_job_before_its_key_was_right(events: list[Any]) -> None:
    unlocked: set[JobId] = set()
    state, data = job_session.JOB_SESSION.start, job_session.JobSessionData(ONE)
    for event in [OpenSession(ONE), *events]:
        if isinstance(event, JobLookedUp) and event.state.stage is not JobStage.UNKNOWN:
            unlocked.add(event.state.job)
        before = state
        state, step = job_session.JOB_SESSION.step(state, data, event)
        data = step.data
        for effect in step.effects:
            if isinstance(effect, StopEarly | Cancel | ReleaseResult):
                assert effect.job in unlocked
            if isinstance(effect, StreamEvents):
                assert before is RESERVED
                assert isinstance(event, JobLookedUp)
            if isinstance(effect, SendResult):
                assert isinstance(event, StreamEnded)


@given(session_walks)
def test_a_session_follows_one_job_at_a_time(events: list[Any]) -> None:
    state, data = job_session.JOB_SESSION.start, job_session.JobSessionData(ONE)
    for event in [OpenSession(ONE), *events]:
        before = state
        state, step = job_session.JOB_SESSION.step(state, data, event)
        data = step.data
        streams = sum(isinstance(effect, StreamEvents) for effect in step.effects)
        assert streams == (state is BUSY and before is not BUSY)


WORKERS = (WorkerPresent(PeerId("worker-a"), facts(24000)), WorkerPresent(PeerId("worker-b"), facts(8000)))
WORKER_IDS = [one.peer for one in WORKERS]
TO_CLIENT = [*each(JobAccepted, JOBS, KEYS), *STATES, *ENDINGS, FAULT]
ROOM = RoomCredentials(Role.CLIENT, RoomId("r"), "t")
client_walks = walks(
    [
        JobWanted(ROOM, choice, SUBMIT, credential=credential, fetch=fetch)
        for choice in (NamedWorker(PeerId("worker-a")), BestWorker(), AskPerson())
        for credential in (None, *CREDENTIALS)
        for fetch in YES_AND_NO
    ],
    [JoinedRoom(RoomId("r"), "t", ADA)],
    [JoinFailed(FAULT)],
    each(WorkersChanged, [(), WORKERS, WORKERS[:1]]),
    each(WorkerPicked, [None, *WORKER_IDS]),
    each(LinkRefused, WORKER_IDS, [FAULT, worker.BUSY_FAULT, worker.UNKNOWN_FAULT]),
    each(Authenticated, LINKS, WORKER_IDS, YES_AND_NO),
    each(PeerMessage, LINKS, TO_CLIENT),
    each(LinkLost, LINKS, FAULTS),
    [UploadFailed(FAULT)],
    [PackageSent()],
    [StopWanted()],
    [CancelWanted()],
    [DownloadFailed(FAULT)],
    [ResultDownloaded()],
    [ResultUnpacked()],
    each(TimedOut, FAULTS),
    [Drain()],
)


@given(client_walks)
def test_a_wanted_job_ends_with_exactly_one_finished(events: list[Any]) -> None:
    requests = endings_seen = 0
    state, data = client.CLIENT.start, client_events.ClientData()
    for event in events:
        before = state
        state, step = client.CLIENT.step(state, data, event)
        data = step.data
        requests += before is AVAILABLE and state is RESERVED
        endings_seen += sum(isinstance(effect, Finished) for effect in step.effects)
        assert requests - endings_seen == (state is not AVAILABLE)


@given(client_walks)
def test_a_client_has_at_most_one_link(events: list[Any]) -> None:
    state, data = client.CLIENT.start, client_events.ClientData()
    open_links: set[LinkId] = set()
    for event in events:
        if isinstance(event, LinkLost):
            open_links.discard(event.link)
        state, step = client.CLIENT.step(state, data, event)
        data = step.data
        for effect in step.effects:
            if isinstance(effect, CloseLink):
                open_links.discard(effect.link)
            if isinstance(effect, OpenLink):
                open_links.add(effect.link)
        assert open_links <= {data.link}


@given(client_walks)
def test_a_client_acknowledges_a_result_only_when_it_is_unpacked_and_only_over_its_own_link(
    events: list[Any],
) -> None:
    state, data = client.CLIENT.start, client_events.ClientData()
    for event in events:
        link = data.link
        state, step = client.CLIENT.step(state, data, event)
        data = step.data
        for effect in step.effects:
            if isinstance(effect, TellPeer | SendJobKey):
                assert effect.link == link
            if isinstance(effect, TellPeer) and isinstance(effect.message, ResultTaken):
                assert isinstance(event, ResultUnpacked)


ASKED = (AskJob(JobId("job-1"), "key-1"), CancelJob(JobId("job-2"), "key-2"))
query_walks = walks(
    [QueryWanted(ROOM, PeerId("worker-a"), ASKED)],
    [JoinFailed(FAULT)],
    [WorkersChanged(WORKERS)],
    each(LinkRefused, WORKER_IDS, [FAULT, worker.BUSY_FAULT, worker.UNKNOWN_FAULT]),
    each(Authenticated, LINKS, WORKER_IDS, YES_AND_NO),
    each(PeerMessage, LINKS, [*STATES, FAULT]),
    each(LinkLost, LINKS, FAULTS),
    [TimedOut(FAULT)],
    [Drain()],
)


@given(query_walks)
def test_a_query_ends_once_and_reports_each_job_at_most_once(events: list[Any]) -> None:
    state, data = job_query.JOB_QUERY.start, job_query.QueryData()
    reported: list[JobId] = []
    sent = ended = 0
    for event in events:
        before = state
        state, step = job_query.JOB_QUERY.step(state, data, event)
        data = step.data
        if before is AVAILABLE and state is RESERVED:
            sent += 1
            reported.clear()
        reported += [effect.state.job for effect in step.effects if isinstance(effect, JobStateReported)]
        done = [effect for effect in step.effects if isinstance(effect, Finished)]
        ended += len(done)
        assert sent - ended == (state is not AVAILABLE)
        assert len(reported) == len(set(reported))
        if done and done[0].fault is None:
            assert set(reported) == {request_.job for request_ in ASKED}

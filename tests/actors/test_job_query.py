"""Tests of the JobQuery, by events and effects: some requests to one worker, their answers, and the end."""

import pytest
from trio.testing import MockClock

from actors.events import (
    Authenticated,
    CloseLink,
    Finished,
    JobStateReported,
    JoinedRoom,
    JoinFailed,
    JoinRoom,
    LinkLost,
    OpenLink,
    PeerMessage,
    QueryWanted,
    RoomCredentials,
    TellPeer,
)
from actors.job_query import ANSWER_TIME, QueryData
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import AskJob, JobStage, JobState, Outcome, StopJob
from protocol.status import Role, Status
from rtc.testing.embedding import Embedded

Query = Embedded[QueryData]

pytestmark = pytest.mark.usefixtures("autojump_clock")

CREDENTIALS = RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
WORKER = PeerId("worker-1")
ONE, TWO = LinkId(1), LinkId(2)
FIRST, SECOND = JobId("job-1"), JobId("job-2")
ASK, STOP = AskJob(FIRST, "key-1"), StopJob(SECOND, "key-2")
RUNS = JobState(FIRST, JobStage.RUNNING, "Epoch 3 of 20.", events=40)
OVER = JobState(SECOND, JobStage.ENDED, "Trained.", 52, Outcome.DONE, result=True)
NO_JOB = Fault(FaultCode.NO_SUCH_JOB, "The worker knows of no such job.")
JOINED = JoinedRoom(RoomId("room-1"), "token", PeerId("client-ada"))
PATIENCE = 30.0


async def linking(job_query: Query, *requests: AskJob | StopJob) -> None:
    await job_query.after(QueryWanted(CREDENTIALS, WORKER, requests or (ASK, STOP), PATIENCE), JOINED)
    assert job_query.state is Status.RESERVED


async def asked(job_query: Query, *requests: AskJob | StopJob) -> None:
    await linking(job_query, *requests)
    await job_query.after(Authenticated(ONE, WORKER, proven=True, version=3))
    assert job_query.state is Status.BUSY


def fault_of(effects: list[object]) -> Fault:
    finished = effects[-1]
    assert isinstance(finished, Finished)
    assert finished.fault is not None
    return finished.fault


async def end_of(job_query: Query, *events: object) -> Fault:
    """Send these events, after which the JobQuery must have failed; return the fault."""
    fault = fault_of(await job_query.after(*events))
    assert job_query.state is Status.AVAILABLE
    return fault


# -------- before the link is open


async def test_first_the_room_then_the_worker(job_query: Query) -> None:
    assert await job_query.after(QueryWanted(CREDENTIALS, WORKER, (ASK, STOP), PATIENCE)) == [
        JoinRoom(CREDENTIALS, PATIENCE)
    ]
    assert await job_query.after(JOINED) == [OpenLink(ONE, WORKER, FIRST)]


async def test_a_room_that_is_joined_again_does_not_make_it_ask_twice(job_query: Query) -> None:
    await linking(job_query)
    assert await job_query.after(JOINED, JOINED) == []


async def test_a_failed_join_ends_it(job_query: Query) -> None:
    await job_query.after(QueryWanted(CREDENTIALS, WORKER, (ASK,), PATIENCE))
    fault = Fault(FaultCode.ROOM_DENIED, "No.")
    assert await job_query.after(JoinFailed(fault)) == [Finished(fault)]


async def test_a_worker_that_does_not_answer_is_given_up(job_query: Query, autojump_clock: MockClock) -> None:
    await linking(job_query)
    autojump_clock.jump(PATIENCE - 1)
    assert await job_query.after() == []
    autojump_clock.jump(2)
    effects = await job_query.after()
    assert fault_of(effects).code is FaultCode.LINK_FAILED
    assert effects[0] == CloseLink(ONE)


async def test_a_worker_that_refuses_is_quoted(job_query: Query) -> None:
    await linking(job_query)
    leaving = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping.")
    assert await job_query.after(LinkLost(ONE, leaving)) == [Finished(leaving)]
    assert job_query.state is Status.AVAILABLE


@pytest.mark.parametrize("was_linking", [False, True])
async def test_a_room_that_is_lost_before_the_link_is_open_ends_it(job_query: Query, was_linking: bool) -> None:
    await job_query.after(QueryWanted(CREDENTIALS, WORKER, (ASK,), PATIENCE), *[JOINED] * was_linking)
    assert await end_of(job_query, JoinFailed(NO_JOB)) == NO_JOB


async def test_a_room_that_is_lost_while_the_worker_answers_changes_nothing(job_query: Query) -> None:
    await asked(job_query)
    assert await job_query.after(JoinFailed(NO_JOB)) == []


async def test_a_link_that_breaks_before_anything_was_asked_ends_it(job_query: Query) -> None:
    await linking(job_query)
    no_way = Fault(FaultCode.LINK_FAILED, "No common route.")
    assert await end_of(job_query, LinkLost(ONE, no_way)) == no_way


async def test_a_worker_that_does_not_know_one_job_is_asked_about_the_others(job_query: Query) -> None:
    await linking(job_query)
    unknown = JobStateReported(JobState(FIRST, JobStage.UNKNOWN, NO_JOB.text))
    assert await job_query.after(LinkLost(ONE, NO_JOB)) == [unknown, OpenLink(TWO, WORKER, SECOND)]
    assert await job_query.after(Authenticated(ONE, WORKER, proven=True, version=3)) == []
    assert await job_query.after(Authenticated(TWO, WORKER, proven=True, version=3)) == [TellPeer(TWO, STOP)]
    assert await job_query.after(PeerMessage(TWO, OVER)) == [JobStateReported(OVER), CloseLink(TWO), Finished()]


async def test_the_time_for_a_link_begins_again_with_each_one(job_query: Query, autojump_clock: MockClock) -> None:
    await linking(job_query)
    autojump_clock.jump(PATIENCE - 1)
    await job_query.after(LinkLost(ONE, NO_JOB))
    autojump_clock.jump(PATIENCE - 1)
    assert await job_query.after() == []
    autojump_clock.jump(2)
    assert (await end_of(job_query)).code is FaultCode.LINK_FAILED


async def test_a_worker_that_does_not_know_the_only_job_is_quoted(job_query: Query) -> None:
    await linking(job_query, ASK)
    assert await end_of(job_query, LinkLost(ONE, NO_JOB)) == NO_JOB


# -------- requests and answers


async def test_all_is_asked_at_once_each_answer_reported_and_the_last_ends_it(job_query: Query) -> None:
    await linking(job_query)
    assert await job_query.after(Authenticated(ONE, WORKER, proven=True, version=3)) == [
        TellPeer(ONE, ASK),
        TellPeer(ONE, STOP),
    ]
    assert await job_query.after(PeerMessage(ONE, OVER)) == [JobStateReported(OVER)]
    assert job_query.state is Status.BUSY
    assert await job_query.after(PeerMessage(ONE, RUNS)) == [JobStateReported(RUNS), CloseLink(ONE), Finished()]
    assert job_query.state is Status.AVAILABLE


async def test_an_answer_counts_once(job_query: Query) -> None:
    await asked(job_query)
    await job_query.after(PeerMessage(ONE, RUNS))
    assert await job_query.after(PeerMessage(ONE, RUNS)) == []


async def test_of_two_requests_about_one_job_each_is_answered(job_query: Query) -> None:
    await asked(job_query, ASK, StopJob(FIRST, "key-1"))
    assert await job_query.after(PeerMessage(ONE, RUNS)) == [JobStateReported(RUNS)]
    assert await job_query.after(PeerMessage(ONE, RUNS)) == [JobStateReported(RUNS), CloseLink(ONE), Finished()]


async def test_answers_that_were_not_requested_are_ignored(job_query: Query) -> None:
    await asked(job_query)
    other_job = JobState(JobId("job-9"), JobStage.RUNNING, "Epoch 1 of 2.")
    assert await job_query.after(PeerMessage(ONE, other_job), PeerMessage(TWO, RUNS), PeerMessage(ONE, ASK)) == []
    assert job_query.state is Status.BUSY


async def test_answers_are_not_waited_for_long(job_query: Query, autojump_clock: MockClock) -> None:
    await asked(job_query)
    autojump_clock.jump(ANSWER_TIME - 1)
    assert await job_query.after() == []
    autojump_clock.jump(2)
    effects = await job_query.after()
    assert effects[0] == CloseLink(ONE)
    assert fault_of(effects).code is FaultCode.STALLED


async def test_a_link_that_breaks_ends_it_with_the_reason_if_there_is_one(job_query: Query) -> None:
    await asked(job_query)
    leaving = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping.")
    assert await job_query.after(LinkLost(TWO)) == []
    assert await end_of(job_query, LinkLost(ONE, leaving)) == leaving


async def test_a_link_that_breaks_without_a_reason_is_reported_as_lost(job_query: Query) -> None:
    await asked(job_query)
    assert (await end_of(job_query, LinkLost(ONE))).code is FaultCode.LINK_LOST


async def test_a_worker_that_ends_the_conversation_is_quoted(job_query: Query) -> None:
    await asked(job_query)
    unexpected = Fault(FaultCode.BAD_MESSAGE, "The worker received a message that it did not expect.")
    assert await job_query.after(PeerMessage(ONE, unexpected)) == [CloseLink(ONE), Finished(unexpected)]
    assert job_query.state is Status.AVAILABLE


async def test_after_the_end_nothing_is_sent(job_query: Query, autojump_clock: MockClock) -> None:
    await asked(job_query, ASK)
    await job_query.after(PeerMessage(ONE, RUNS))
    assert await job_query.after(JOINED, PeerMessage(ONE, RUNS), LinkLost(ONE), JoinFailed(NO_JOB)) == []
    autojump_clock.jump(PATIENCE + ANSWER_TIME)
    assert await job_query.after() == []

"""Tests of the JobSession, by events and effects: what a job's owner may receive and request, and no other client."""

import pytest
from attrs import evolve
from trio.testing import MockClock

from actors.events import (
    Authenticated,
    Cancel,
    CloseLink,
    Drain,
    JobCredential,
    JobLookedUp,
    LinkLost,
    LookUpJob,
    OpenSession,
    PeerMessage,
    ReleaseResult,
    ResultSendEnded,
    SendResult,
    StopEarly,
    StreamEnded,
    StreamEvents,
    TellPeer,
)
from actors.job_session import (
    LEAVING_FAULT,
    RECEIPT_TIME,
    JobSessionData,
)
from actors.worker_limits import LINK_TIME, REQUEST_TIME, UNEXPECTED_MESSAGE_FAULT
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import (
    AskJob,
    AttachJob,
    CancelJob,
    JobEnded,
    JobKind,
    JobRequest,
    JobStage,
    JobState,
    Outcome,
    ResultTaken,
    StopJob,
    StopScope,
    SubmitJob,
)
from protocol.status import Status
from rtc.testing.embedding import Embedded

JobSession = Embedded[JobSessionData]

pytestmark = pytest.mark.usefixtures("autojump_clock")

ONE, ADA = LinkId(1), PeerId("client-ada")
JOB, KEY = JobId("job-1"), "key-1"
TRUSTED = Authenticated(ONE, ADA, proven=True)
ATTACH, ASK = AttachJob(JOB, KEY, seen=17), AskJob(JOB, KEY)
STOP, CANCEL, TAKEN = StopJob(JOB, KEY, StopScope.ALL), CancelJob(JOB, KEY), ResultTaken(JOB, KEY)
REQUESTS = [ATTACH, ASK, STOP, CANCEL, TAKEN]
RUNNING = JobState(JOB, JobStage.RUNNING, "Epoch 3 of 20.", events=40)
PREPARING = JobState(JOB, JobStage.PREPARING, "Its package is on the way.")
ENDED = JobState(JOB, JobStage.ENDED, "Trained.", 52, Outcome.DONE, result=True)
UNKNOWN = JobState(JOB, JobStage.UNKNOWN, "The worker has no such job of yours.")
OVER = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)
EMPTY = JobEnded(JOB, Outcome.CANCELLED, "Cancelled.", result=False)
A_NIGHT = 12 * 3600

each_request = pytest.mark.parametrize("job_request", REQUESTS, ids=lambda job_request: type(job_request).__name__)


def looked_up(job_request: JobRequest, state: JobState = RUNNING) -> JobLookedUp:
    return JobLookedUp(ONE, job_request, state)


async def trusted(job_session: JobSession) -> None:
    await job_session.after(OpenSession(ONE), TRUSTED)
    assert job_session.state is Status.RESERVED


async def following(job_session: JobSession, *, result: bool = True) -> None:
    await trusted(job_session)
    job_request = evolve(ATTACH, result=result)
    await job_session.after(PeerMessage(ONE, job_request), looked_up(job_request))
    assert job_session.state is Status.BUSY


# -------- keys and requests


async def test_a_client_that_does_not_connect_in_time_is_timed_out(
    job_session: JobSession, autojump_clock: MockClock
) -> None:
    await job_session.after(OpenSession(ONE))
    autojump_clock.jump(LINK_TIME - 1)
    assert await job_session.after() == []
    autojump_clock.jump(2)
    [close] = await job_session.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.STALLED)
    assert job_session.state is Status.AVAILABLE


async def test_an_authenticated_client_without_a_request_is_timed_out(
    job_session: JobSession, autojump_clock: MockClock
) -> None:
    await trusted(job_session)
    autojump_clock.jump(REQUEST_TIME - 1)
    assert await job_session.after() == []
    autojump_clock.jump(2)
    [close] = await job_session.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.STALLED)
    assert job_session.state is Status.AVAILABLE


async def test_the_sender_of_a_job_receives_all_its_events_without_sending_a_key(job_session: JobSession) -> None:
    assert await job_session.after(OpenSession(ONE, JobCredential(JOB, KEY))) == [StreamEvents(ONE, JOB)]
    assert job_session.state is Status.BUSY
    assert await job_session.after(StreamEnded(ONE, OVER)) == [TellPeer(ONE, OVER), SendResult(JOB, ONE)]


async def test_the_sender_of_a_job_may_follow_it_all_night(job_session: JobSession, autojump_clock: MockClock) -> None:
    await job_session.after(OpenSession(ONE, JobCredential(JOB, KEY)))
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []


@each_request
async def test_the_key_of_every_request_is_checked_first(job_session: JobSession, job_request: JobRequest) -> None:
    await trusted(job_session)
    assert await job_session.after(PeerMessage(ONE, job_request)) == [LookUpJob(ONE, job_request)]
    assert job_session.state is Status.RESERVED


@each_request
async def test_a_client_that_follows_a_job_sends_its_key_with_every_request(
    job_session: JobSession, job_request: JobRequest
) -> None:
    await following(job_session)
    assert await job_session.after(PeerMessage(ONE, job_request)) == [LookUpJob(ONE, job_request)]
    assert job_session.state is Status.BUSY


@each_request
async def test_a_wrong_key_gives_access_to_nothing(job_session: JobSession, job_request: JobRequest) -> None:
    await trusted(job_session)
    assert await job_session.after(PeerMessage(ONE, job_request), looked_up(job_request, UNKNOWN)) == [
        LookUpJob(ONE, job_request),
        TellPeer(ONE, UNKNOWN),
    ]
    assert job_session.state is Status.RESERVED


@each_request
async def test_a_client_that_follows_a_job_gets_nothing_with_a_wrong_key(
    job_session: JobSession, job_request: JobRequest
) -> None:
    await following(job_session)
    assert await job_session.after(looked_up(job_request, UNKNOWN)) == [TellPeer(ONE, UNKNOWN)]
    assert job_session.state is Status.BUSY


@pytest.mark.parametrize("unexpected", [SubmitJob(JobKind.TRAIN, "flies.zip", 10), Fault(FaultCode.STALLED, "Hm?")])
@pytest.mark.parametrize("prepare", [trusted, following], ids=["no request yet", "following"])
async def test_a_message_that_is_no_request_about_a_job_ends_the_session(
    job_session: JobSession, prepare: object, unexpected: object
) -> None:
    await prepare(job_session)
    assert await job_session.after(PeerMessage(ONE, unexpected)) == [CloseLink(ONE, UNEXPECTED_MESSAGE_FAULT)]
    assert job_session.state is Status.AVAILABLE


# -------- answers and events


async def test_a_client_that_attaches_receives_the_state_and_the_missed_events(job_session: JobSession) -> None:
    await trusted(job_session)
    effects = await job_session.after(PeerMessage(ONE, ATTACH), looked_up(ATTACH))
    assert effects == [LookUpJob(ONE, ATTACH), TellPeer(ONE, RUNNING), StreamEvents(ONE, JOB, 17)]
    assert job_session.state is Status.BUSY


async def test_a_client_that_attaches_may_follow_the_job_all_night(
    job_session: JobSession, autojump_clock: MockClock
) -> None:
    await following(job_session)
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []
    assert job_session.state is Status.BUSY


async def test_a_client_that_attaches_twice_does_not_receive_the_events_twice(job_session: JobSession) -> None:
    await following(job_session)
    assert await job_session.after(PeerMessage(ONE, ATTACH), looked_up(ATTACH)) == [
        LookUpJob(ONE, ATTACH),
        TellPeer(ONE, RUNNING),
    ]


async def test_a_client_that_attaches_to_an_ended_job_receives_its_events_and_its_result(
    job_session: JobSession,
) -> None:
    await trusted(job_session)
    assert await job_session.after(looked_up(ATTACH, ENDED)) == [TellPeer(ONE, ENDED), StreamEvents(ONE, JOB, 17)]
    assert await job_session.after(StreamEnded(ONE, OVER)) == [TellPeer(ONE, OVER), SendResult(JOB, ONE)]


async def test_a_client_that_wants_only_the_events_gets_no_result(job_session: JobSession) -> None:
    await following(job_session, result=False)
    assert await job_session.after(StreamEnded(ONE, OVER)) == [TellPeer(ONE, OVER)]


async def test_of_a_job_without_a_result_only_the_end_is_sent(job_session: JobSession) -> None:
    await following(job_session)
    assert await job_session.after(StreamEnded(ONE, EMPTY)) == [TellPeer(ONE, EMPTY)]
    assert job_session.state is Status.BUSY


async def test_the_link_of_a_client_that_stays_after_the_end_is_closed(
    job_session: JobSession, autojump_clock: MockClock
) -> None:
    await following(job_session)
    await job_session.after(StreamEnded(ONE, EMPTY))
    autojump_clock.jump(REQUEST_TIME - 1)
    assert await job_session.after() == []
    autojump_clock.jump(2)
    [close] = await job_session.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.STALLED)
    assert job_session.state is Status.AVAILABLE


@pytest.mark.parametrize("job_request", [ASK, STOP, CANCEL], ids=lambda job_request: type(job_request).__name__)
async def test_a_client_is_answered_and_may_send_more_requests(
    job_session: JobSession, job_request: JobRequest, autojump_clock: MockClock
) -> None:
    await trusted(job_session)
    for _ in range(3):
        effects = await job_session.after(PeerMessage(ONE, job_request), looked_up(job_request))
        assert (effects[0], effects[-1]) == (LookUpJob(ONE, job_request), TellPeer(ONE, RUNNING))
        assert job_session.state is Status.RESERVED
        autojump_clock.jump(REQUEST_TIME - 1)
    assert await job_session.after() == []
    autojump_clock.jump(2)
    assert [type(effect) for effect in await job_session.after()] == [CloseLink]


async def test_a_client_that_sends_a_request_continues_to_follow_the_job(
    job_session: JobSession, autojump_clock: MockClock
) -> None:
    await following(job_session)
    assert await job_session.after(looked_up(ASK)) == [TellPeer(ONE, RUNNING)]
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []
    assert job_session.state is Status.BUSY


@pytest.mark.parametrize("prepare", [trusted, following], ids=["no request yet", "following"])
class TestRequests:
    """What an owner may request, whether it follows the job or not."""

    async def test_a_running_job_is_stopped_as_far_as_was_asked(self, job_session: JobSession, prepare: object) -> None:
        await prepare(job_session)
        was = job_session.state
        assert await job_session.after(looked_up(STOP)) == [StopEarly(JOB, StopScope.ALL), TellPeer(ONE, RUNNING)]
        this = evolve(STOP, scope=StopScope.THIS)
        assert await job_session.after(looked_up(this)) == [StopEarly(JOB, StopScope.THIS), TellPeer(ONE, RUNNING)]
        assert job_session.state is was

    @pytest.mark.parametrize("state", [PREPARING, ENDED], ids=lambda state: state.stage.value)
    async def test_a_job_that_does_not_run_is_not_stopped_and_its_state_sent(
        self, job_session: JobSession, prepare: object, state: JobState
    ) -> None:
        await prepare(job_session)
        assert await job_session.after(looked_up(STOP, state)) == [TellPeer(ONE, state)]

    @pytest.mark.parametrize("state", [PREPARING, RUNNING], ids=lambda state: state.stage.value)
    async def test_a_job_is_cancelled_before_it_runs_or_while_it_does(
        self, job_session: JobSession, prepare: object, state: JobState
    ) -> None:
        await prepare(job_session)
        was = job_session.state
        assert await job_session.after(looked_up(CANCEL, state)) == [Cancel(JOB), TellPeer(ONE, state)]
        assert job_session.state is was

    async def test_a_job_that_has_ended_is_not_cancelled_and_its_state_sent(
        self, job_session: JobSession, prepare: object
    ) -> None:
        await prepare(job_session)
        assert await job_session.after(looked_up(CANCEL, ENDED)) == [TellPeer(ONE, ENDED)]

    async def test_a_result_that_the_client_has_unpacked_is_released(
        self, job_session: JobSession, prepare: object
    ) -> None:
        await prepare(job_session)
        was = job_session.state
        assert await job_session.after(looked_up(TAKEN, ENDED)) == [ReleaseResult(JOB), TellPeer(ONE, ENDED)]
        assert job_session.state is was

    async def test_a_result_that_does_not_exist_yet_is_not_released(
        self, job_session: JobSession, prepare: object
    ) -> None:
        await prepare(job_session)
        assert await job_session.after(looked_up(TAKEN, RUNNING)) == [TellPeer(ONE, RUNNING)]

    async def test_after_its_receipt_the_client_has_a_limited_time(
        self, job_session: JobSession, prepare: object, autojump_clock: MockClock
    ) -> None:
        await prepare(job_session)
        autojump_clock.jump(REQUEST_TIME - 1)
        await job_session.after(looked_up(TAKEN, ENDED))
        autojump_clock.jump(REQUEST_TIME - 1)
        assert await job_session.after() == []
        autojump_clock.jump(2)
        assert [type(effect) for effect in await job_session.after()] == [CloseLink]


# -------- the result


async def test_a_result_is_given_all_the_time_it_needs(job_session: JobSession, autojump_clock: MockClock) -> None:
    await following(job_session)
    await job_session.after(StreamEnded(ONE, OVER))
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []


async def test_a_result_that_was_sent_is_kept_until_its_owner_has_unpacked_it(
    job_session: JobSession, autojump_clock: MockClock
) -> None:
    await following(job_session)
    await job_session.after(StreamEnded(ONE, OVER))
    assert await job_session.after(ResultSendEnded(JOB, ONE)) == []
    autojump_clock.jump(RECEIPT_TIME - 1)
    assert await job_session.after() == [], "unpacking takes its time"
    effects = await job_session.after(PeerMessage(ONE, TAKEN), looked_up(TAKEN, ENDED))
    assert effects == [LookUpJob(ONE, TAKEN), ReleaseResult(JOB), TellPeer(ONE, ENDED)]


async def test_a_result_that_is_never_acknowledged_is_kept(job_session: JobSession, autojump_clock: MockClock) -> None:
    await following(job_session)
    await job_session.after(StreamEnded(ONE, OVER), ResultSendEnded(JOB, ONE))
    autojump_clock.jump(RECEIPT_TIME + 1)
    [close] = await job_session.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.STALLED)
    assert job_session.state is Status.AVAILABLE


async def test_a_result_that_could_not_be_sent_ends_the_session_with_the_reason(job_session: JobSession) -> None:
    await following(job_session)
    await job_session.after(StreamEnded(ONE, OVER))
    fault = Fault(FaultCode.DISK_FULL, "No room.")
    assert await job_session.after(ResultSendEnded(JOB, ONE, fault)) == [CloseLink(ONE, fault)]
    assert job_session.state is Status.AVAILABLE


# -------- the end of a session


async def test_a_draining_worker_closes_a_session_that_is_not_authenticated(job_session: JobSession) -> None:
    await job_session.after(OpenSession(ONE))
    assert await job_session.after(Drain()) == [CloseLink(ONE, LEAVING_FAULT)]
    assert job_session.state is Status.AVAILABLE


async def test_a_draining_worker_closes_a_session_that_follows_no_job(job_session: JobSession) -> None:
    await trusted(job_session)
    assert await job_session.after(Drain()) == [CloseLink(ONE, LEAVING_FAULT)]
    assert job_session.state is Status.AVAILABLE


async def test_a_draining_worker_serves_clients_that_follow_a_job_to_the_end(job_session: JobSession) -> None:
    await following(job_session)
    assert await job_session.after(Drain()) == []
    assert await job_session.after(StreamEnded(ONE, OVER)) == [TellPeer(ONE, OVER), SendResult(JOB, ONE)]


@pytest.mark.parametrize("prepare", [trusted, following], ids=["no request yet", "following"])
async def test_after_its_link_is_lost_nothing_more_is_sent(
    job_session: JobSession, prepare: object, autojump_clock: MockClock
) -> None:
    await prepare(job_session)
    assert await job_session.after(LinkLost(ONE)) == []
    assert job_session.state is Status.AVAILABLE
    late_events = [
        PeerMessage(ONE, CANCEL),
        *(looked_up(job_request) for job_request in REQUESTS),
        looked_up(TAKEN, ENDED),
    ]
    late_events += [StreamEnded(ONE, OVER), StreamEnded(ONE, EMPTY), ResultSendEnded(JOB, ONE)]
    late_events += [ResultSendEnded(JOB, ONE, Fault(FaultCode.LINK_LOST, "Gone."))]
    assert await job_session.after(*late_events) == []
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []

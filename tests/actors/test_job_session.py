"""Tests of the JobSession, by events and effects: what a job's owner may receive and request, and no other client."""

import pytest
from attrs import evolve
from trio.testing import MockClock

from actors.events import (
    AcceptLink,
    Authenticated,
    Cancel,
    CloseLink,
    EndSessions,
    FollowJob,
    JobLookedUp,
    LinkLost,
    OpenSession,
    PeerMessage,
    ReleaseResult,
    ResultSendEnded,
    SendResult,
    SessionRequested,
    StopEarly,
    StreamEnded,
    StreamEvents,
    SupplyPackage,
    TellPeer,
)
from actors.job_session import (
    LEAVING_FAULT,
    RECEIPT_TIME,
    SERVED,
    SESSIONS_MAX,
    TOO_MANY_SESSIONS_FAULT,
    UNKNOWN_FAULT,
    JobSessionData,
    JobSessionPhase,
    refusal,
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
Phase = JobSessionPhase

pytestmark = pytest.mark.usefixtures("autojump_clock")

ONE, ADA = LinkId(1), PeerId("client-ada")
JOB, KEY = JobId("job-1"), "key-1"
OFFER = SessionRequested(ONE, ADA, "sdp", JOB, number=7)
TRUSTED = Authenticated(ONE, ADA, proven=True, version=3)
ATTACH, ASK = AttachJob(JOB, KEY, seen=17), AskJob(JOB, KEY)
STOP, CANCEL, TAKEN = StopJob(JOB, KEY, StopScope.ALL), CancelJob(JOB, KEY), ResultTaken(JOB, KEY)
REQUESTS = [ATTACH, ASK, STOP, CANCEL, TAKEN]
RUNNING = JobState(JOB, JobStage.RUNNING, "Epoch 3 of 20.", events=40)
PREPARING = JobState(JOB, JobStage.PREPARING, "Its package is on the way.")
ENDED = JobState(JOB, JobStage.ENDED, "Trained.", 52, Outcome.DONE, result=True)
UNKNOWN = JobState(JOB, JobStage.UNKNOWN, "The worker has no such job of yours.")
ELSEWHERE = JobState(JOB, JobStage.ELSEWHERE, "The job is with another worker of that machine.")
OVER = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)
EMPTY = JobEnded(JOB, Outcome.CANCELLED, "Cancelled.", result=False)
BROKEN = Fault(FaultCode.DISK_FULL, "No room.")
A_NIGHT = 12 * 3600


def looked_up(job_request: JobRequest, state: JobState = RUNNING) -> JobLookedUp:
    return JobLookedUp(ONE, job_request, state)


WALKS = {
    Phase.ASKING: [OFFER, TRUSTED],
    Phase.RECEIVING: [OpenSession(ONE, JOB)],
    Phase.FOLLOWING: [OFFER, TRUSTED, looked_up(ATTACH)],
    Phase.DELIVERING: [OFFER, TRUSTED, looked_up(ATTACH), StreamEnded(ONE, OVER)],
    Phase.DELIVERED: [OFFER, TRUSTED, looked_up(ATTACH), StreamEnded(ONE, OVER), ResultSendEnded(JOB, ONE)],
    Phase.TOLD: [OFFER, TRUSTED, looked_up(ATTACH), StreamEnded(ONE, EMPTY)],
    Phase.LINKING: [OFFER],
}
"""For each phase, events that lead there."""


async def bring(job_session: JobSession, phase: Phase) -> None:
    await job_session.after(*WALKS[phase])
    assert job_session.phase is phase


in_every_phase = pytest.mark.parametrize("phase", SERVED, ids=lambda phase: phase.value)
each_request = pytest.mark.parametrize("job_request", REQUESTS, ids=lambda job_request: type(job_request).__name__)


# -------- who gets a session


def refused(*, known: bool = True, sessions: int = 0, leaving: bool = False) -> object:
    return refusal(known=known, sessions=sessions, leaving=leaving)


def test_who_asks_about_a_known_job_gets_a_session_and_no_other() -> None:
    assert refused() is None
    assert refused(known=False) == UNKNOWN_FAULT
    assert refused(leaving=True) == LEAVING_FAULT
    assert refused(sessions=SESSIONS_MAX - 1) is None
    assert refused(sessions=SESSIONS_MAX) == TOO_MANY_SESSIONS_FAULT


async def test_the_link_of_an_owner_is_accepted(job_session: JobSession) -> None:
    assert await job_session.after(OFFER) == [AcceptLink(ONE, ADA, "sdp", number=7)]
    assert await job_session.after(TRUSTED) == []
    assert job_session.phase is Phase.ASKING


@pytest.mark.parametrize(
    ("phase", "seconds"),
    [
        (Phase.LINKING, LINK_TIME),
        (Phase.ASKING, REQUEST_TIME),
        (Phase.DELIVERED, RECEIPT_TIME),
        (Phase.TOLD, REQUEST_TIME),
    ],
    ids=lambda value: getattr(value, "value", None),
)
async def test_a_client_that_does_nothing_more_is_timed_out(
    job_session: JobSession, phase: Phase, seconds: float, autojump_clock: MockClock
) -> None:
    await bring(job_session, phase)
    autojump_clock.jump(seconds - 1)
    assert await job_session.after() == []
    autojump_clock.jump(2)
    [close] = await job_session.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.STALLED)
    assert job_session.phase is Phase.CLOSED


@pytest.mark.parametrize("phase", [Phase.RECEIVING, Phase.FOLLOWING, Phase.DELIVERING], ids=lambda phase: phase.value)
async def test_what_takes_its_time_may_take_all_night(
    job_session: JobSession, phase: Phase, autojump_clock: MockClock
) -> None:
    await bring(job_session, phase)
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []
    assert job_session.phase is phase


# -------- the client whose job was accepted


async def test_the_sender_of_a_job_receives_all_its_events_and_its_result_without_a_key(
    job_session: JobSession,
) -> None:
    assert await job_session.after(OpenSession(ONE, JOB)) == []
    assert job_session.state is Status.RESERVED
    assert await job_session.after(FollowJob(ONE, JOB)) == [StreamEvents(ONE, JOB)]
    assert job_session.state is Status.BUSY
    assert await job_session.after(StreamEnded(ONE, OVER)) == [TellPeer(ONE, OVER), SendResult(JOB, ONE)]


async def test_a_sender_that_returns_sends_the_rest_and_then_follows_its_job(job_session: JobSession) -> None:
    await bring(job_session, Phase.ASKING)
    supply = evolve(ATTACH, seen=0, supply=True)
    assert await job_session.after(looked_up(supply, PREPARING)) == [TellPeer(ONE, PREPARING), SupplyPackage(ONE, JOB)]
    assert job_session.phase is Phase.RECEIVING
    assert await job_session.after(FollowJob(ONE, JOB)) == [StreamEvents(ONE, JOB)]


async def test_a_sender_that_returns_after_its_package_was_complete_follows_at_once(job_session: JobSession) -> None:
    await bring(job_session, Phase.ASKING)
    assert (await job_session.after(looked_up(evolve(ATTACH, supply=True))))[-1] == StreamEvents(ONE, JOB, 17)


# -------- requests


@each_request
@in_every_phase
async def test_a_wrong_key_gives_access_to_nothing(
    job_session: JobSession, phase: Phase, job_request: JobRequest
) -> None:
    await bring(job_session, phase)
    for state in (UNKNOWN, ELSEWHERE):
        assert await job_session.after(looked_up(job_request, state)) == [TellPeer(ONE, state)]
    assert job_session.phase is phase


@pytest.mark.parametrize("unexpected", [SubmitJob(JobKind.TRAIN, "flies.zip", 10), Fault(FaultCode.STALLED, "Hm?")])
@in_every_phase
async def test_a_message_that_is_no_request_about_a_job_ends_the_session(
    job_session: JobSession, phase: Phase, unexpected: object
) -> None:
    await bring(job_session, phase)
    assert await job_session.after(PeerMessage(ONE, unexpected)) == [CloseLink(ONE, UNEXPECTED_MESSAGE_FAULT)]
    assert job_session.phase is Phase.CLOSED


@pytest.mark.parametrize("state", [RUNNING, ENDED], ids=lambda state: state.stage.value)
async def test_a_client_that_attaches_receives_the_state_the_missed_events_and_the_result(
    job_session: JobSession, state: JobState
) -> None:
    await bring(job_session, Phase.ASKING)
    assert await job_session.after(looked_up(ATTACH, state)) == [TellPeer(ONE, state), StreamEvents(ONE, JOB, 17)]
    assert job_session.phase is Phase.FOLLOWING
    assert await job_session.after(StreamEnded(ONE, OVER)) == [TellPeer(ONE, OVER), SendResult(JOB, ONE)]


async def test_a_client_that_attaches_twice_does_not_receive_the_events_twice(job_session: JobSession) -> None:
    await bring(job_session, Phase.FOLLOWING)
    assert await job_session.after(looked_up(ATTACH)) == [TellPeer(ONE, RUNNING)]


@in_every_phase
class TestRequests:
    """What an owner may request, whatever its session does."""

    async def test_a_running_job_is_stopped_as_far_as_was_asked(self, job_session: JobSession, phase: Phase) -> None:
        await bring(job_session, phase)
        assert await job_session.after(looked_up(STOP)) == [StopEarly(JOB, StopScope.ALL), TellPeer(ONE, RUNNING)]
        this = evolve(STOP, scope=StopScope.THIS)
        assert await job_session.after(looked_up(this)) == [StopEarly(JOB, StopScope.THIS), TellPeer(ONE, RUNNING)]
        assert job_session.phase is phase

    @pytest.mark.parametrize("state", [PREPARING, ENDED], ids=lambda state: state.stage.value)
    async def test_a_job_that_does_not_run_is_not_stopped_and_its_state_sent(
        self, job_session: JobSession, phase: Phase, state: JobState
    ) -> None:
        await bring(job_session, phase)
        assert await job_session.after(looked_up(STOP, state)) == [TellPeer(ONE, state)]

    @pytest.mark.parametrize("state", [PREPARING, RUNNING], ids=lambda state: state.stage.value)
    async def test_a_job_is_cancelled_before_it_runs_or_while_it_does(
        self, job_session: JobSession, phase: Phase, state: JobState
    ) -> None:
        await bring(job_session, phase)
        assert await job_session.after(looked_up(CANCEL, state)) == [Cancel(JOB), TellPeer(ONE, state)]
        assert job_session.phase is phase

    async def test_a_job_that_has_ended_is_not_cancelled_and_its_state_sent(
        self, job_session: JobSession, phase: Phase
    ) -> None:
        await bring(job_session, phase)
        assert await job_session.after(looked_up(CANCEL, ENDED)) == [TellPeer(ONE, ENDED)]

    async def test_a_result_that_the_client_has_unpacked_is_released(
        self, job_session: JobSession, phase: Phase
    ) -> None:
        await bring(job_session, phase)
        assert await job_session.after(looked_up(TAKEN, ENDED)) == [ReleaseResult(JOB), TellPeer(ONE, ENDED)]
        assert job_session.phase is (Phase.TOLD if phase is Phase.DELIVERED else phase)

    async def test_a_result_that_does_not_exist_yet_is_not_released(
        self, job_session: JobSession, phase: Phase
    ) -> None:
        await bring(job_session, phase)
        assert await job_session.after(looked_up(TAKEN, RUNNING)) == [TellPeer(ONE, RUNNING)]


# -------- the end of the job, and its result


async def test_a_client_that_wants_only_the_events_gets_no_result(job_session: JobSession) -> None:
    await bring(job_session, Phase.ASKING)
    await job_session.after(looked_up(evolve(ATTACH, result=False)))
    assert await job_session.after(StreamEnded(ONE, OVER)) == [TellPeer(ONE, OVER)]
    assert job_session.phase is Phase.TOLD


async def test_of_a_job_without_a_result_only_the_end_is_sent(job_session: JobSession) -> None:
    await bring(job_session, Phase.FOLLOWING)
    assert await job_session.after(StreamEnded(ONE, EMPTY)) == [TellPeer(ONE, EMPTY)]
    assert job_session.phase is Phase.TOLD


async def test_after_its_receipt_the_client_has_a_limited_time(
    job_session: JobSession, autojump_clock: MockClock
) -> None:
    await bring(job_session, Phase.DELIVERED)
    autojump_clock.jump(RECEIPT_TIME - 1)
    await job_session.after(looked_up(TAKEN, ENDED))
    autojump_clock.jump(REQUEST_TIME - 1)
    assert await job_session.after() == []
    autojump_clock.jump(2)
    assert [type(effect) for effect in await job_session.after()] == [CloseLink]


async def test_a_result_that_could_not_be_sent_ends_the_session_with_the_reason(job_session: JobSession) -> None:
    await bring(job_session, Phase.DELIVERING)
    assert await job_session.after(ResultSendEnded(JOB, ONE, BROKEN)) == [CloseLink(ONE, BROKEN)]
    assert job_session.phase is Phase.CLOSED


# -------- the end of a session


@pytest.mark.parametrize("phase", [Phase.LINKING, *SERVED], ids=lambda phase: phase.value)
async def test_a_leaving_worker_serves_who_follows_a_job_and_sends_the_others_away(
    job_session: JobSession, phase: Phase
) -> None:
    await bring(job_session, phase)
    goes = phase in (Phase.LINKING, Phase.ASKING)
    assert await job_session.after(EndSessions()) == ([CloseLink(ONE, LEAVING_FAULT)] if goes else [])
    assert job_session.phase is (Phase.CLOSED if goes else phase)


@pytest.mark.parametrize("phase", [Phase.LINKING, *SERVED], ids=lambda phase: phase.value)
async def test_after_its_link_is_lost_nothing_more_is_sent(
    job_session: JobSession, phase: Phase, autojump_clock: MockClock
) -> None:
    await bring(job_session, phase)
    assert await job_session.after(LinkLost(ONE)) == []
    assert job_session.state is Status.AVAILABLE
    late_events = [
        PeerMessage(ONE, Fault(FaultCode.STALLED, "Hm?")),
        *(looked_up(job_request) for job_request in REQUESTS),
        FollowJob(ONE, JOB),
        StreamEnded(ONE, OVER),
        ResultSendEnded(JOB, ONE, BROKEN),
        EndSessions(),
    ]
    assert await job_session.after(*late_events) == []
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []

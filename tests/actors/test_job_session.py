"""A Visit, in its own words: what a job's owner may hear and do at the worker's window, and nobody else."""

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
    LINK_TIME,
    RECEIPT_TIME,
    REQUEST_TIME,
    UNEXPECTED_MESSAGE_FAULT,
    JobSessionData,
)
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
WISHES = [ATTACH, ASK, STOP, CANCEL, TAKEN]
RUNNING = JobState(JOB, JobStage.RUNNING, "Epoch 3 of 20.", events=40)
PREPARING = JobState(JOB, JobStage.PREPARING, "Its package is on the way.")
ENDED = JobState(JOB, JobStage.ENDED, "Trained.", 52, Outcome.DONE, result=True)
UNKNOWN = JobState(JOB, JobStage.UNKNOWN, "The worker has no such job of yours.")
OVER = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)
EMPTY = JobEnded(JOB, Outcome.CANCELLED, "Cancelled.", result=False)
A_NIGHT = 12 * 3600

each_wish = pytest.mark.parametrize("wish", WISHES, ids=lambda wish: type(wish).__name__)


def found(wish: JobRequest, state: JobState = RUNNING) -> JobLookedUp:
    return JobLookedUp(ONE, wish, state)


async def trusted(job_session: JobSession) -> None:
    await job_session.after(OpenSession(ONE), TRUSTED)
    assert job_session.state is Status.RESERVED


async def following(job_session: JobSession, *, result: bool = True) -> None:
    await trusted(job_session)
    wish = evolve(ATTACH, result=result)
    await job_session.after(PeerMessage(ONE, wish), found(wish))
    assert job_session.state is Status.BUSY


# -------- who comes


async def test_who_does_not_link_in_time_is_not_waited_for(job_session: JobSession, autojump_clock: MockClock) -> None:
    await job_session.after(OpenSession(ONE))
    autojump_clock.jump(LINK_TIME - 1)
    assert await job_session.after() == []
    autojump_clock.jump(2)
    [close] = await job_session.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.STALLED)
    assert job_session.state is Status.AVAILABLE


async def test_who_is_trusted_and_wants_nothing_is_not_waited_for(
    job_session: JobSession, autojump_clock: MockClock
) -> None:
    await trusted(job_session)
    autojump_clock.jump(REQUEST_TIME - 1)
    assert await job_session.after() == []
    autojump_clock.jump(2)
    [close] = await job_session.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.STALLED)
    assert job_session.state is Status.AVAILABLE


async def test_the_one_who_sent_a_job_hears_all_of_it_and_need_show_no_key(job_session: JobSession) -> None:
    assert await job_session.after(OpenSession(ONE, JobCredential(JOB, KEY))) == [StreamEvents(ONE, JOB)]
    assert job_session.state is Status.BUSY
    assert await job_session.after(StreamEnded(ONE, OVER)) == [TellPeer(ONE, OVER), SendResult(JOB, ONE)]


async def test_the_one_who_sent_a_job_may_listen_all_night(job_session: JobSession, autojump_clock: MockClock) -> None:
    await job_session.after(OpenSession(ONE, JobCredential(JOB, KEY)))
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []


@each_wish
async def test_of_every_wish_it_is_first_seen_whose_the_job_is(job_session: JobSession, wish: JobRequest) -> None:
    await trusted(job_session)
    assert await job_session.after(PeerMessage(ONE, wish)) == [LookUpJob(ONE, wish)]
    assert job_session.state is Status.RESERVED


@each_wish
async def test_a_listener_shows_its_key_again_with_every_wish(job_session: JobSession, wish: JobRequest) -> None:
    await following(job_session)
    assert await job_session.after(PeerMessage(ONE, wish)) == [LookUpJob(ONE, wish)]
    assert job_session.state is Status.BUSY


@each_wish
async def test_a_key_that_does_not_fit_opens_nothing(job_session: JobSession, wish: JobRequest) -> None:
    await trusted(job_session)
    assert await job_session.after(PeerMessage(ONE, wish), found(wish, UNKNOWN)) == [
        LookUpJob(ONE, wish),
        TellPeer(ONE, UNKNOWN),
    ]
    assert job_session.state is Status.RESERVED


@each_wish
async def test_a_listener_gets_nothing_with_a_key_that_does_not_fit(job_session: JobSession, wish: JobRequest) -> None:
    await following(job_session)
    assert await job_session.after(found(wish, UNKNOWN)) == [TellPeer(ONE, UNKNOWN)]
    assert job_session.state is Status.BUSY


@pytest.mark.parametrize("rude", [SubmitJob(JobKind.TRAIN, "flies.zip", 10), Fault(FaultCode.STALLED, "Hm?")])
@pytest.mark.parametrize("come", [trusted, following], ids=["no wish yet", "listening"])
async def test_what_is_no_wish_about_a_job_ends_the_visit(job_session: JobSession, come: object, rude: object) -> None:
    await come(job_session)
    assert await job_session.after(PeerMessage(ONE, rude)) == [CloseLink(ONE, UNEXPECTED_MESSAGE_FAULT)]
    assert job_session.state is Status.AVAILABLE


# -------- what it gets


async def test_who_attaches_hears_where_the_job_stands_and_what_it_has_missed(job_session: JobSession) -> None:
    await trusted(job_session)
    said = await job_session.after(PeerMessage(ONE, ATTACH), found(ATTACH))
    assert said == [LookUpJob(ONE, ATTACH), TellPeer(ONE, RUNNING), StreamEvents(ONE, JOB, 17)]
    assert job_session.state is Status.BUSY


async def test_who_attaches_may_listen_all_night(job_session: JobSession, autojump_clock: MockClock) -> None:
    await following(job_session)
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []
    assert job_session.state is Status.BUSY


async def test_who_attaches_twice_does_not_hear_everything_twice(job_session: JobSession) -> None:
    await following(job_session)
    assert await job_session.after(PeerMessage(ONE, ATTACH), found(ATTACH)) == [
        LookUpJob(ONE, ATTACH),
        TellPeer(ONE, RUNNING),
    ]


async def test_who_attaches_to_a_job_that_has_ended_hears_its_story_and_gets_what_it_made(
    job_session: JobSession,
) -> None:
    await trusted(job_session)
    assert await job_session.after(found(ATTACH, ENDED)) == [TellPeer(ONE, ENDED), StreamEvents(ONE, JOB, 17)]
    assert await job_session.after(StreamEnded(ONE, OVER)) == [TellPeer(ONE, OVER), SendResult(JOB, ONE)]


async def test_who_only_listens_gets_no_result(job_session: JobSession) -> None:
    await following(job_session, result=False)
    assert await job_session.after(StreamEnded(ONE, OVER)) == [TellPeer(ONE, OVER)]


async def test_a_job_that_made_nothing_has_its_end_told_and_no_more(job_session: JobSession) -> None:
    await following(job_session)
    assert await job_session.after(StreamEnded(ONE, EMPTY)) == [TellPeer(ONE, EMPTY)]
    assert job_session.state is Status.BUSY


async def test_who_has_heard_the_end_and_does_not_hang_up_is_hung_up_on(
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


@pytest.mark.parametrize("wish", [ASK, STOP, CANCEL], ids=lambda wish: type(wish).__name__)
async def test_who_wants_something_is_told_and_may_want_more(
    job_session: JobSession, wish: JobRequest, autojump_clock: MockClock
) -> None:
    await trusted(job_session)
    for _ in range(3):
        said = await job_session.after(PeerMessage(ONE, wish), found(wish))
        assert (said[0], said[-1]) == (LookUpJob(ONE, wish), TellPeer(ONE, RUNNING))
        assert job_session.state is Status.RESERVED
        autojump_clock.jump(REQUEST_TIME - 1)
    assert await job_session.after() == []
    autojump_clock.jump(2)
    assert [type(said) for said in await job_session.after()] == [CloseLink]


async def test_a_listener_who_asks_goes_on_listening_all_night(
    job_session: JobSession, autojump_clock: MockClock
) -> None:
    await following(job_session)
    assert await job_session.after(found(ASK)) == [TellPeer(ONE, RUNNING)]
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []
    assert job_session.state is Status.BUSY


@pytest.mark.parametrize("come", [trusted, following], ids=["no wish yet", "listening"])
class TestOrders:
    """What an owner may have done, whether it listens or not."""

    async def test_a_running_job_is_stopped_as_far_as_was_asked(self, job_session: JobSession, come: object) -> None:
        await come(job_session)
        was = job_session.state
        assert await job_session.after(found(STOP)) == [StopEarly(JOB, StopScope.ALL), TellPeer(ONE, RUNNING)]
        this = evolve(STOP, scope=StopScope.THIS)
        assert await job_session.after(found(this)) == [StopEarly(JOB, StopScope.THIS), TellPeer(ONE, RUNNING)]
        assert job_session.state is was

    @pytest.mark.parametrize("state", [PREPARING, ENDED], ids=lambda state: state.stage.value)
    async def test_a_job_that_does_not_run_is_not_stopped_and_its_state_told(
        self, job_session: JobSession, come: object, state: JobState
    ) -> None:
        await come(job_session)
        assert await job_session.after(found(STOP, state)) == [TellPeer(ONE, state)]

    @pytest.mark.parametrize("state", [PREPARING, RUNNING], ids=lambda state: state.stage.value)
    async def test_a_job_is_cancelled_before_it_runs_or_while_it_does(
        self, job_session: JobSession, come: object, state: JobState
    ) -> None:
        await come(job_session)
        was = job_session.state
        assert await job_session.after(found(CANCEL, state)) == [Cancel(JOB), TellPeer(ONE, state)]
        assert job_session.state is was

    async def test_a_job_that_has_ended_is_not_cancelled_and_its_state_told(
        self, job_session: JobSession, come: object
    ) -> None:
        await come(job_session)
        assert await job_session.after(found(CANCEL, ENDED)) == [TellPeer(ONE, ENDED)]

    async def test_a_result_that_is_in_its_place_is_not_kept(self, job_session: JobSession, come: object) -> None:
        await come(job_session)
        was = job_session.state
        assert await job_session.after(found(TAKEN, ENDED)) == [ReleaseResult(JOB), TellPeer(ONE, ENDED)]
        assert job_session.state is was

    async def test_a_result_that_does_not_exist_yet_cannot_have_been_taken(
        self, job_session: JobSession, come: object
    ) -> None:
        await come(job_session)
        assert await job_session.after(found(TAKEN, RUNNING)) == [TellPeer(ONE, RUNNING)]

    async def test_after_its_thanks_it_is_not_waited_for_long(
        self, job_session: JobSession, come: object, autojump_clock: MockClock
    ) -> None:
        await come(job_session)
        autojump_clock.jump(REQUEST_TIME - 1)
        await job_session.after(found(TAKEN, ENDED))
        autojump_clock.jump(REQUEST_TIME - 1)
        assert await job_session.after() == []
        autojump_clock.jump(2)
        assert [type(said) for said in await job_session.after()] == [CloseLink]


# -------- the result


async def test_a_result_is_given_all_the_time_it_needs(job_session: JobSession, autojump_clock: MockClock) -> None:
    await following(job_session)
    await job_session.after(StreamEnded(ONE, OVER))
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []


async def test_a_result_that_was_sent_is_kept_until_its_owner_says_that_it_is_in_its_place(
    job_session: JobSession, autojump_clock: MockClock
) -> None:
    await following(job_session)
    await job_session.after(StreamEnded(ONE, OVER))
    assert await job_session.after(ResultSendEnded(JOB, ONE)) == []
    autojump_clock.jump(RECEIPT_TIME - 1)
    assert await job_session.after() == [], "unpacking takes its time"
    said = await job_session.after(PeerMessage(ONE, TAKEN), found(TAKEN, ENDED))
    assert said == [LookUpJob(ONE, TAKEN), ReleaseResult(JOB), TellPeer(ONE, ENDED)]


async def test_an_owner_who_never_says_that_the_result_is_in_its_place_has_it_kept(
    job_session: JobSession, autojump_clock: MockClock
) -> None:
    await following(job_session)
    await job_session.after(StreamEnded(ONE, OVER), ResultSendEnded(JOB, ONE))
    autojump_clock.jump(RECEIPT_TIME + 1)
    [close] = await job_session.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.STALLED)
    assert job_session.state is Status.AVAILABLE


async def test_a_result_that_could_not_be_taken_ends_the_visit_with_its_reason(job_session: JobSession) -> None:
    await following(job_session)
    await job_session.after(StreamEnded(ONE, OVER))
    fault = Fault(FaultCode.DISK_FULL, "No room.")
    assert await job_session.after(ResultSendEnded(JOB, ONE, fault)) == [CloseLink(ONE, fault)]
    assert job_session.state is Status.AVAILABLE


# -------- how it goes


async def test_a_draining_worker_sends_away_who_is_not_linked_yet(job_session: JobSession) -> None:
    await job_session.after(OpenSession(ONE))
    assert await job_session.after(Drain()) == [CloseLink(ONE, LEAVING_FAULT)]
    assert job_session.state is Status.AVAILABLE


async def test_a_draining_worker_sends_away_who_has_been_promised_nothing(job_session: JobSession) -> None:
    await trusted(job_session)
    assert await job_session.after(Drain()) == [CloseLink(ONE, LEAVING_FAULT)]
    assert job_session.state is Status.AVAILABLE


async def test_a_draining_worker_serves_its_listeners_to_the_end(job_session: JobSession) -> None:
    await following(job_session)
    assert await job_session.after(Drain()) == []
    assert await job_session.after(StreamEnded(ONE, OVER)) == [TellPeer(ONE, OVER), SendResult(JOB, ONE)]


@pytest.mark.parametrize("come", [trusted, following], ids=["no wish yet", "listening"])
async def test_who_is_gone_is_told_nothing_more(
    job_session: JobSession, come: object, autojump_clock: MockClock
) -> None:
    await come(job_session)
    assert await job_session.after(LinkLost(ONE)) == []
    assert job_session.state is Status.AVAILABLE
    late = [PeerMessage(ONE, CANCEL), *(found(wish) for wish in WISHES), found(TAKEN, ENDED)]
    late += [StreamEnded(ONE, OVER), StreamEnded(ONE, EMPTY), ResultSendEnded(JOB, ONE)]
    late += [ResultSendEnded(JOB, ONE, Fault(FaultCode.LINK_LOST, "Gone."))]
    assert await job_session.after(*late) == []
    autojump_clock.jump(A_NIGHT)
    assert await job_session.after() == []

"""The Worker, in its own words."""

import pytest
from trio.testing import MockClock

from actors.events import (
    NO_TIMEOUT,
    AcceptLink,
    CloseLink,
    Deliver,
    Drain,
    EnterFailed,
    Finished,
    Forget,
    Heard,
    JobOver,
    LinkLost,
    Listen,
    LookUp,
    Offered,
    PackageArrived,
    PackageFailed,
    Prepare,
    ResultFound,
    ResultGone,
    ResultMissing,
    StartJob,
    StatusIs,
    Submitted,
    TellLink,
    Ticket,
    Trusted,
    TurnAway,
)
from actors.worker import ASK_TIME, BUSY_FAULT, HOLD_TIME, LEAVING_FAULT
from actors.worker_events import Hold
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import AttachJob, JobAccepted, JobEnded, JobKind, Outcome, SubmitJob
from protocol.status import Status
from rtc.testing.embedding import Embedded

ADA, BOB = PeerId("client-ada"), PeerId("client-bob")
ONE, TWO = LinkId(1), LinkId(2)
JOB, KEY = JobId("job-1"), "key-1"
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
SUBMITTED = Submitted(ONE, SUBMIT, Ticket(JOB, KEY))
OVER = JobOver(JOB, Outcome.DONE, "Trained.", result=True)

Worker = Embedded[Hold]

pytestmark = pytest.mark.usefixtures("autojump_clock")


def offer(peer: PeerId, job: JobId | None = None, version: int = PROTOCOL_VERSION) -> Offered:
    return Offered(peer, "sdp", job, version)


async def held(worker: Worker) -> None:
    await worker.after(offer(ADA), Trusted(ONE, ADA, proven=True))


async def running(worker: Worker) -> None:
    await held(worker)
    await worker.after(SUBMITTED, PackageArrived(JOB))
    assert worker.state is Status.BUSY


async def test_an_offer_reserves_the_worker(worker: Worker) -> None:
    assert await worker.after(offer(ADA)) == [StatusIs(Status.RESERVED), AcceptLink(ONE, ADA, "sdp")]


async def test_a_stranger_is_refused_while_another_is_held(worker: Worker) -> None:
    await worker.after(offer(ADA))
    assert await worker.after(offer(BOB)) == [TurnAway(BOB, BUSY_FAULT)]


async def test_a_stranger_is_refused_while_a_job_runs(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(offer(BOB)) == [TurnAway(BOB, BUSY_FAULT)]


async def test_another_version_is_refused_with_both_versions(worker: Worker) -> None:
    [said] = await worker.after(offer(ADA, version=99))
    assert isinstance(said, TurnAway)
    assert said.fault.code is FaultCode.VERSION
    assert "99" in said.fault.text
    assert str(PROTOCOL_VERSION) in said.fault.text


async def test_the_same_peer_may_start_over(worker: Worker) -> None:
    await worker.after(offer(ADA))
    said = await worker.after(offer(ADA))
    assert said == [CloseLink(ONE), StatusIs(Status.RESERVED), AcceptLink(TWO, ADA, "sdp")]
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.state is Status.RESERVED


async def test_starting_over_again_and_again_without_a_proof_does_not_hold_the_worker(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await worker.after(offer(ADA))
    autojump_clock.jump(HOLD_TIME / 2)
    await worker.after(offer(ADA))
    autojump_clock.jump(HOLD_TIME / 2 + 1)
    await worker.after()
    assert worker.state is Status.AVAILABLE


async def test_a_peer_that_does_not_link_lets_the_promise_lapse(worker: Worker, autojump_clock: MockClock) -> None:
    await worker.after(offer(ADA))
    autojump_clock.jump(HOLD_TIME + 1)
    [close, free] = await worker.after()
    assert isinstance(close, CloseLink)
    assert free == StatusIs(Status.AVAILABLE)


async def test_a_trusted_peer_that_says_nothing_lets_the_promise_lapse(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await held(worker)
    autojump_clock.jump(ASK_TIME + 1)
    assert (await worker.after())[-1] == StatusIs(Status.AVAILABLE)


async def test_an_upload_may_take_all_night(worker: Worker, autojump_clock: MockClock) -> None:
    await held(worker)
    await worker.after(SUBMITTED)
    autojump_clock.jump(12 * 3600)
    assert await worker.after() == []
    assert worker.state is Status.RESERVED


async def test_a_job_is_accepted_fetched_run_delivered_and_the_worker_free_again(worker: Worker) -> None:
    await held(worker)
    assert await worker.after(SUBMITTED) == [
        TellLink(ONE, JobAccepted(JOB, KEY)),
        Prepare(ONE, Ticket(JOB, KEY), SUBMIT),
    ]
    assert await worker.after(PackageArrived(JOB)) == [StatusIs(Status.BUSY), StartJob(JOB)]
    assert await worker.after(OVER) == [
        TellLink(ONE, JobEnded(JOB, Outcome.DONE, "Trained.", result=True)),
        Deliver(JOB, ONE),
    ]
    assert await worker.after(ResultGone(JOB, ONE)) == [CloseLink(ONE), StatusIs(Status.AVAILABLE)]


async def test_a_package_that_is_none_is_given_back_with_its_reason(worker: Worker) -> None:
    await held(worker)
    await worker.after(SUBMITTED)
    fault = Fault(FaultCode.BAD_PACKAGE, "No jobs in it.")
    said = await worker.after(PackageFailed(JOB, fault))
    assert said == [TellLink(ONE, fault), CloseLink(ONE, fault), StatusIs(Status.AVAILABLE)]


async def test_a_peer_lost_in_mid_upload_leaves_nothing_behind(worker: Worker) -> None:
    await held(worker)
    await worker.after(SUBMITTED)
    assert await worker.after(LinkLost(ONE)) == [CloseLink(ONE), Forget(JOB), StatusIs(Status.AVAILABLE)]


async def test_a_job_outlives_its_link_and_its_result_is_kept(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.state is Status.BUSY
    assert await worker.after(OVER) == [StatusIs(Status.AVAILABLE)]


async def test_a_link_lost_while_the_result_is_on_its_way_frees_the_worker(worker: Worker) -> None:
    await running(worker)
    await worker.after(OVER)
    assert await worker.after(LinkLost(ONE)) == [StatusIs(Status.AVAILABLE)]
    assert await worker.after(ResultGone(JOB, ONE)) == []


async def test_news_of_an_older_link_or_job_changes_nothing(worker: Worker) -> None:
    await running(worker)
    old = JobId("job-0")
    assert (
        await worker.after(LinkLost(LinkId(7)), PackageArrived(old), ResultGone(old, ONE), Trusted(TWO, BOB, True))
        == []
    )
    assert worker.state is Status.BUSY


async def test_a_second_wish_over_the_same_link_ends_the_promise(worker: Worker) -> None:
    await held(worker)
    await worker.after(SUBMITTED)
    [close, forget, free] = await worker.after(Submitted(ONE, SUBMIT, Ticket(JobId("job-2"), "k")))
    assert isinstance(close, CloseLink)
    assert (forget, free) == (Forget(JOB), StatusIs(Status.AVAILABLE))


async def test_the_owner_returns_with_the_key_and_takes_the_job_up_again(worker: Worker) -> None:
    await running(worker)
    await worker.after(LinkLost(ONE))
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(TWO, ADA, "sdp")]
    said = await worker.after(Heard(TWO, AttachJob(JOB, KEY)))
    assert said == [TellLink(TWO, JobAccepted(JOB, KEY)), Listen(JOB, TWO)]
    assert (await worker.after(OVER))[-1] == Deliver(JOB, TWO)


async def test_the_owner_may_return_while_the_old_link_is_still_dying(worker: Worker) -> None:
    await running(worker)
    await worker.after(offer(ADA, JOB))
    said = await worker.after(Heard(TWO, AttachJob(JOB, KEY)))
    assert said[0] == CloseLink(ONE)
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.data.link == TWO


async def test_an_owner_who_comes_when_the_job_is_over_is_given_the_result(worker: Worker) -> None:
    await held(worker)
    ticket = Ticket(JOB, KEY)
    assert await worker.after(Heard(ONE, AttachJob(JOB, KEY))) == [LookUp(ONE, ticket)]
    assert await worker.after(ResultFound(ONE, ticket, Outcome.DONE, "Trained.")) == [
        StatusIs(Status.BUSY),
        TellLink(ONE, JobAccepted(JOB, KEY)),
        TellLink(ONE, JobEnded(JOB, Outcome.DONE, "Trained.", result=True)),
        Deliver(JOB, ONE),
    ]
    assert await worker.after(ResultGone(JOB, ONE)) == [CloseLink(ONE), StatusIs(Status.AVAILABLE)]


async def test_who_asks_for_a_result_that_is_not_here_is_told_so(worker: Worker) -> None:
    await held(worker)
    await worker.after(Heard(ONE, AttachJob(JOB, "guess")))
    [told, close, free] = await worker.after(ResultMissing(ONE))
    assert told.message.code is FaultCode.NO_SUCH_JOB
    assert (close, free) == (CloseLink(ONE), StatusIs(Status.AVAILABLE))


async def test_a_returning_stranger_with_a_wrong_key_is_shown_out_and_the_job_goes_on(worker: Worker) -> None:
    await running(worker)
    await worker.after(offer(BOB, JOB))
    [said] = await worker.after(Heard(TWO, AttachJob(JOB, "guess")))
    assert isinstance(said, CloseLink)
    assert said.link == TWO
    assert worker.state is Status.BUSY
    assert worker.data.link == ONE


async def test_a_returning_link_that_shows_no_key_lapses_and_the_job_goes_on(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await running(worker)
    await worker.after(offer(BOB, JOB))
    autojump_clock.jump(HOLD_TIME + 1)
    assert await worker.after() == [CloseLink(TWO)]
    assert worker.state is Status.BUSY


async def test_a_free_worker_that_is_drained_ends(worker: Worker) -> None:
    assert await worker.after(Drain()) == [Finished()]


async def test_a_promise_is_broken_off_with_advice_when_drained(worker: Worker) -> None:
    await worker.after(offer(ADA))
    assert await worker.after(Drain()) == [CloseLink(ONE, LEAVING_FAULT), Finished()]


async def test_a_job_is_finished_and_delivered_before_a_drained_worker_ends(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(Drain()) == []
    assert await worker.after(offer(BOB)) == [TurnAway(BOB, LEAVING_FAULT)]
    await worker.after(OVER)
    assert await worker.after(ResultGone(JOB, ONE)) == [CloseLink(ONE), Finished()]


async def test_a_room_that_shuts_its_door_does_not_stop_a_job(worker: Worker) -> None:
    await running(worker)
    fault = Fault(FaultCode.ROOM_DENIED, "No such room.")
    assert await worker.after(EnterFailed(fault)) == []
    await worker.after(LinkLost(ONE))
    assert await worker.after(OVER) == [Finished(fault)]


def test_no_time_out_is_a_time_out_that_never_comes() -> None:
    assert NO_TIMEOUT.after == float("inf")

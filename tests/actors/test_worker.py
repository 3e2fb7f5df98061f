"""The Worker, in its own words. What its visitors are told is the Visit's affair (`test_job_session.py`)."""

import pytest
from trio.testing import MockClock

from actors.events import (
    CANCEL_TIMEOUT,
    AcceptLink,
    Authenticated,
    CloseLink,
    DiscardJob,
    Drain,
    EarlierJobsFound,
    Finished,
    ForwardToSession,
    JobAdopted,
    JobCredential,
    JobFinished,
    JobSubmitted,
    JoinFailed,
    LinkLost,
    LinkRequested,
    OpenSession,
    PackageFailed,
    PackageReceived,
    PeerMessage,
    ReceivePackage,
    RejectLink,
    RetryJoin,
    StartJob,
    StatusChanged,
    SupplyPackage,
    TellPeer,
)
from actors.worker import (
    BUSY_FAULT,
    LEAVING_FAULT,
    LINK_TIME,
    REQUEST_TIME,
    RETURN_TIME,
    TOO_MANY_SESSIONS_FAULT,
    UNEXPECTED_MESSAGE_FAULT,
    UNKNOWN_FAULT,
)
from actors.worker_events import SESSIONS_MAX, WorkerData
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import AskJob, CancelJob, JobAccepted, JobKind, Outcome, SubmitJob
from protocol.status import Status
from rtc.testing.embedding import Embedded

ADA, BOB = PeerId("client-ada"), PeerId("client-bob")
ONE, TWO, THREE = LinkId(1), LinkId(2), LinkId(3)
JOB, KEY, OLD = JobId("job-1"), "key-1", JobId("job-of-yesterday")
TICKET = JobCredential(JOB, KEY)
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
SUBMITTED = JobSubmitted(ONE, SUBMIT, TICKET)
SHUT = Fault(FaultCode.ROOM_DENIED, "No such room.")
A_NIGHT = 12 * 3600

Worker = Embedded[WorkerData]

pytestmark = pytest.mark.usefixtures("autojump_clock")
in_every_state = pytest.mark.parametrize("status", list(Status), ids=lambda status: status.value)


def offer(peer: PeerId, job: JobId | None = None, version: int = PROTOCOL_VERSION) -> LinkRequested:
    return LinkRequested(peer, "sdp", job, version)


def over(job: JobId) -> JobFinished:
    return JobFinished(job, Outcome.DONE, "Trained.", result=True)


async def task(worker: Worker) -> None:
    await worker.after(offer(ADA), Authenticated(ONE, ADA, proven=True))


async def uploading(worker: Worker) -> None:
    await task(worker)
    await worker.after(SUBMITTED)


async def running(worker: Worker) -> None:
    await uploading(worker)
    await worker.after(PackageReceived(TICKET))
    assert worker.state is Status.BUSY


async def become(worker: Worker, status: Status) -> LinkId:
    """Bring it into this state, with one known job of yesterday; returns the link that it would take next."""
    await worker.after(EarlierJobsFound(frozenset({OLD})))
    if status is Status.RESERVED:
        await task(worker)
    if status is Status.BUSY:
        await running(worker)
    assert worker.state is status
    return LinkId(worker.data.last_link + 1)


# -------- the promise


async def test_an_offer_reserves_the_worker(worker: Worker) -> None:
    assert await worker.after(offer(ADA)) == [StatusChanged(Status.RESERVED), AcceptLink(ONE, ADA, "sdp")]
    assert worker.state is Status.RESERVED


async def test_a_stranger_is_refused_while_another_is_held(worker: Worker) -> None:
    await worker.after(offer(ADA))
    assert await worker.after(offer(BOB)) == [RejectLink(BOB, BUSY_FAULT)]
    assert (worker.state, worker.data.peer) == (Status.RESERVED, ADA)


async def test_a_stranger_is_refused_while_a_job_runs(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(offer(BOB)) == [RejectLink(BOB, BUSY_FAULT)]
    assert worker.state is Status.BUSY


async def test_the_one_who_sent_the_running_job_is_refused_a_second_one(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(offer(ADA)) == [RejectLink(ADA, BUSY_FAULT)]
    assert worker.state is Status.BUSY


@in_every_state
async def test_another_version_is_refused_with_both_versions(worker: Worker, status: Status) -> None:
    await become(worker, status)
    [said] = await worker.after(offer(BOB, version=99))
    assert isinstance(said, RejectLink)
    assert said.fault.code is FaultCode.VERSION
    assert "99" in said.fault.text
    assert str(PROTOCOL_VERSION) in said.fault.text
    assert worker.state is status


async def test_the_same_peer_may_start_over(worker: Worker) -> None:
    await worker.after(offer(ADA))
    said = await worker.after(offer(ADA))
    assert said == [CloseLink(ONE), StatusChanged(Status.RESERVED), AcceptLink(TWO, ADA, "sdp")]
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.state is Status.RESERVED


async def test_who_starts_over_after_an_upload_began_leaves_nothing_of_it(worker: Worker) -> None:
    await uploading(worker)
    said = await worker.after(offer(ADA))
    assert said == [CloseLink(ONE), DiscardJob(JOB), StatusChanged(Status.RESERVED), AcceptLink(TWO, ADA, "sdp")]
    assert await worker.after(offer(BOB, JOB)) == [RejectLink(BOB, UNKNOWN_FAULT)]


async def test_who_was_trusted_and_starts_over_has_the_whole_time_again(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await task(worker)
    await worker.after(offer(ADA))
    autojump_clock.jump(LINK_TIME - 1)
    assert await worker.after() == []
    autojump_clock.jump(2)
    assert (await worker.after())[-1] == StatusChanged(Status.AVAILABLE)


async def test_starting_over_again_and_again_without_a_proof_does_not_hold_the_worker(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await worker.after(offer(ADA))
    autojump_clock.jump(LINK_TIME / 2)
    await worker.after(offer(ADA))
    autojump_clock.jump(LINK_TIME / 2 + 1)
    await worker.after()
    assert worker.state is Status.AVAILABLE


async def test_a_peer_that_does_not_link_lets_the_promise_lapse(worker: Worker, autojump_clock: MockClock) -> None:
    await worker.after(offer(ADA))
    autojump_clock.jump(LINK_TIME + 1)
    [close, free] = await worker.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.LINK_FAILED)
    assert free == StatusChanged(Status.AVAILABLE)


async def test_a_trusted_peer_that_says_nothing_lets_the_promise_lapse(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await task(worker)
    autojump_clock.jump(REQUEST_TIME + 1)
    [close, free] = await worker.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.STALLED)
    assert free == StatusChanged(Status.AVAILABLE)


async def test_trust_in_another_link_than_the_held_one_gives_no_more_time(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await worker.after(EarlierJobsFound(frozenset({OLD})), offer(ADA), offer(BOB, OLD))
    autojump_clock.jump(LINK_TIME - 1)
    assert await worker.after(Authenticated(TWO, BOB, proven=True)) == []
    autojump_clock.jump(2)
    assert (await worker.after())[-1] == StatusChanged(Status.AVAILABLE)


# -------- the way to a job


async def test_a_job_is_accepted_fetched_and_run_and_its_sender_goes_to_the_window(worker: Worker) -> None:
    await task(worker)
    assert await worker.after(SUBMITTED) == [TellPeer(ONE, JobAccepted(JOB, KEY)), ReceivePackage(ONE, TICKET, SUBMIT)]
    assert await worker.after(PackageReceived(TICKET)) == [
        StatusChanged(Status.BUSY),
        StartJob(JOB),
        OpenSession(ONE, TICKET),
    ]
    assert worker.state is Status.BUSY


async def test_a_job_that_ends_frees_the_worker_whoever_is_at_the_window(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(over(JOB)) == [StatusChanged(Status.AVAILABLE)]
    assert worker.data.sessions == {ONE}
    assert await worker.after(offer(BOB)) == [StatusChanged(Status.RESERVED), AcceptLink(TWO, BOB, "sdp")]


async def test_an_upload_may_take_all_night(worker: Worker, autojump_clock: MockClock) -> None:
    await uploading(worker)
    autojump_clock.jump(A_NIGHT)
    assert await worker.after() == []
    assert worker.state is Status.RESERVED


async def test_a_package_that_is_none_is_given_back_with_its_reason(worker: Worker) -> None:
    await uploading(worker)
    fault = Fault(FaultCode.BAD_PACKAGE, "No jobs in it.")
    said = await worker.after(PackageFailed(JOB, fault))
    assert said == [TellPeer(ONE, fault), CloseLink(ONE, fault), StatusChanged(Status.AVAILABLE)]
    assert worker.state is Status.AVAILABLE
    assert await worker.after(offer(ADA, JOB)) == [RejectLink(ADA, UNKNOWN_FAULT)]


async def test_a_peer_lost_before_it_had_a_job_leaves_nothing_behind(worker: Worker) -> None:
    await task(worker)
    assert await worker.after(LinkLost(ONE)) == [CloseLink(ONE), StatusChanged(Status.AVAILABLE)]


# -------- a link lost in mid upload


async def cut(worker: Worker) -> None:
    """The link over which the package was coming breaks."""
    await uploading(worker)
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.state is Status.RESERVED


async def back(worker: Worker, link: LinkId = TWO) -> None:
    """Its sender is at the window with the rest."""
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(link, ADA, "sdp"), OpenSession(link)]
    await worker.after(Authenticated(link, ADA, proven=True), SupplyPackage(link, JOB))
    assert worker.state is Status.RESERVED


async def test_a_promise_is_kept_for_a_sender_whose_link_breaks_but_not_for_long(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await cut(worker)
    assert await worker.after(offer(BOB)) == [RejectLink(BOB, BUSY_FAULT)]
    autojump_clock.jump(RETURN_TIME - 1)
    assert await worker.after() == []
    autojump_clock.jump(2)
    assert await worker.after() == [DiscardJob(JOB), StatusChanged(Status.AVAILABLE)]
    assert await worker.after(offer(ADA, JOB)) == [RejectLink(ADA, UNKNOWN_FAULT)]


async def test_a_sender_that_is_back_takes_the_time_it_needs_and_its_job_begins(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await cut(worker)
    await back(worker)
    autojump_clock.jump(3 * RETURN_TIME)
    assert await worker.after() == []
    said = await worker.after(PackageReceived(TICKET))
    assert said == [StatusChanged(Status.BUSY), StartJob(JOB)], "its sender is at the window already"


async def test_a_sender_may_come_back_more_than_once(worker: Worker, autojump_clock: MockClock) -> None:
    await cut(worker)
    await back(worker)
    assert await worker.after(LinkLost(TWO)) == []
    await back(worker, LinkId(3))
    assert await worker.after(LinkLost(LinkId(3))) == []
    autojump_clock.jump(RETURN_TIME + 1)
    assert await worker.after() == [DiscardJob(JOB), StatusChanged(Status.AVAILABLE)]


async def test_a_sender_that_is_back_before_its_old_link_is_known_to_be_dead_goes_on_over_the_new_one(
    worker: Worker,
) -> None:
    await uploading(worker)
    await worker.after(offer(ADA, JOB))
    assert await worker.after(SupplyPackage(TWO, JOB)) == [CloseLink(ONE)]
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.state is Status.RESERVED
    assert await worker.after(PackageReceived(TICKET)) == [StatusChanged(Status.BUSY), StartJob(JOB)]


async def test_a_package_that_is_whole_just_when_its_link_breaks_is_run(worker: Worker) -> None:
    await cut(worker)
    assert await worker.after(PackageReceived(TICKET)) == [StatusChanged(Status.BUSY), StartJob(JOB)]
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(TWO, ADA, "sdp"), OpenSession(TWO)]


async def test_a_worker_that_is_stopped_does_not_wait_for_a_sender_that_is_away(worker: Worker) -> None:
    await cut(worker)
    assert await worker.after(Drain()) == [DiscardJob(JOB), Finished()]


async def test_who_supplies_another_job_than_the_one_that_is_waited_for_changes_nothing(worker: Worker) -> None:
    await cut(worker)
    assert await worker.after(SupplyPackage(TWO, OLD)) == []
    assert worker.data.link is None


async def test_news_of_an_older_link_or_job_changes_nothing(worker: Worker) -> None:
    await uploading(worker)
    refused = PackageFailed(OLD, Fault(FaultCode.BAD_PACKAGE, "No."))
    said = await worker.after(
        LinkLost(LinkId(7)),
        PackageReceived(JobCredential(OLD, KEY)),
        refused,
        Authenticated(TWO, BOB, proven=True),
        PeerMessage(TWO, SUBMIT),
        JobSubmitted(TWO, SUBMIT, JobCredential(OLD, KEY)),
    )
    assert said == []
    assert (worker.state, worker.data.job) == (Status.RESERVED, JOB)


async def test_the_end_of_a_job_that_is_not_ours_does_not_free_the_worker(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(over(OLD)) == []
    assert worker.state is Status.BUSY


async def test_a_second_wish_over_the_same_link_ends_the_promise(worker: Worker) -> None:
    await uploading(worker)
    said = await worker.after(JobSubmitted(ONE, SUBMIT, JobCredential(JobId("job-2"), "k")))
    assert said == [CloseLink(ONE, UNEXPECTED_MESSAGE_FAULT), DiscardJob(JOB), StatusChanged(Status.AVAILABLE)]


async def test_who_holds_the_worker_and_asks_about_a_job_is_out_of_turn(worker: Worker) -> None:
    await task(worker)
    said = await worker.after(PeerMessage(ONE, AskJob(OLD, KEY)))
    assert said == [CloseLink(ONE, UNEXPECTED_MESSAGE_FAULT), StatusChanged(Status.AVAILABLE)]


async def test_what_visitors_say_is_none_of_the_promises_business(worker: Worker) -> None:
    await running(worker)
    heard = PeerMessage(ONE, CancelJob(JOB, KEY))  # said in the turn in which the package was here, so it came to us
    assert await worker.after(heard, JobSubmitted(ONE, SUBMIT, JobCredential(OLD, KEY))) == [ForwardToSession(heard)]
    assert worker.state is Status.BUSY


async def test_a_job_outlives_its_link(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.state is Status.BUSY
    assert await worker.after(over(JOB)) == [StatusChanged(Status.AVAILABLE)]


# -------- jobs of earlier workers


async def test_a_job_of_an_earlier_worker_keeps_the_gpu_until_it_ends(worker: Worker) -> None:
    assert await worker.after(JobAdopted(OLD)) == [StatusChanged(Status.BUSY)]
    assert await worker.after(offer(ADA)) == [RejectLink(ADA, BUSY_FAULT)]
    assert await worker.after(over(OLD)) == [StatusChanged(Status.AVAILABLE)]


async def test_the_owner_of_a_job_that_was_taken_up_is_let_in(worker: Worker) -> None:
    await worker.after(JobAdopted(OLD))
    assert await worker.after(offer(ADA, OLD)) == [AcceptLink(ONE, ADA, "sdp"), OpenSession(ONE)]


async def test_the_gpu_is_free_when_the_last_of_several_old_jobs_has_ended(worker: Worker) -> None:
    older = JobId("job-of-last-week")
    assert await worker.after(JobAdopted(OLD), JobAdopted(older)) == [
        StatusChanged(Status.BUSY),
        StatusChanged(Status.BUSY),
    ]
    assert await worker.after(over(OLD)) == []
    assert worker.state is Status.BUSY
    assert await worker.after(over(OLD)) == [], "it cannot end twice"
    assert await worker.after(over(older)) == [StatusChanged(Status.AVAILABLE)]


# -------- the window


@in_every_state
async def test_who_asks_about_a_known_job_is_let_in_whatever_the_worker_is(worker: Worker, status: Status) -> None:
    link = await become(worker, status)
    before = worker.data
    assert await worker.after(offer(BOB, OLD)) == [AcceptLink(link, BOB, "sdp"), OpenSession(link)]
    assert worker.state is status
    assert (worker.data.peer, worker.data.link, worker.data.job) == (before.peer, before.link, before.job)
    assert worker.data.sessions == before.sessions | {link}


@in_every_state
async def test_who_asks_about_a_job_that_is_not_known_is_told_at_once(worker: Worker, status: Status) -> None:
    await become(worker, status)
    assert await worker.after(offer(BOB, JobId("job-of-no-one"))) == [RejectLink(BOB, UNKNOWN_FAULT)]
    assert worker.state is status


@in_every_state
async def test_jobs_that_become_known_have_their_owners_let_in(worker: Worker, status: Status) -> None:
    link = await become(worker, status)
    older = JobId("job-of-last-week")
    assert await worker.after(EarlierJobsFound(frozenset({older}))) == []
    assert worker.state is status
    assert await worker.after(offer(BOB, older)) == [AcceptLink(link, BOB, "sdp"), OpenSession(link)]
    assert OLD in worker.data.known_jobs, "those known before stay known"


@in_every_state
async def test_a_crowd_at_the_window_is_kept_small_and_the_rest_told_to_come_later(
    worker: Worker, status: Status
) -> None:
    await become(worker, status)
    room = SESSIONS_MAX - len(worker.data.sessions)
    await worker.after(*[offer(BOB, OLD)] * room)
    assert await worker.after(offer(ADA, OLD)) == [RejectLink(ADA, TOO_MANY_SESSIONS_FAULT)]
    assert worker.state is status


@in_every_state
async def test_who_leaves_the_window_makes_room_for_another(worker: Worker, status: Status) -> None:
    await become(worker, status)
    await worker.after(*[offer(BOB, OLD)] * SESSIONS_MAX)
    leaver = max(worker.data.sessions)
    assert await worker.after(LinkLost(leaver)) == []
    assert worker.state is status
    assert leaver not in worker.data.sessions
    link = LinkId(worker.data.last_link + 1)
    assert await worker.after(offer(ADA, OLD)) == [AcceptLink(link, ADA, "sdp"), OpenSession(link)]


async def test_the_owner_may_come_while_the_package_is_on_its_way_and_the_upload_goes_on(worker: Worker) -> None:
    await uploading(worker)
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(TWO, ADA, "sdp"), OpenSession(TWO)]
    assert (worker.data.link, worker.data.job) == (ONE, JOB)


async def test_the_owner_may_return_while_the_old_link_is_still_dying(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(TWO, ADA, "sdp"), OpenSession(TWO)]
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.data.sessions == {TWO}


async def test_the_owner_may_come_after_the_job_and_the_worker_stays_free_for_others(worker: Worker) -> None:
    await running(worker)
    await worker.after(LinkLost(ONE), over(JOB))
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(TWO, ADA, "sdp"), OpenSession(TWO)]
    assert await worker.after(offer(BOB)) == [StatusChanged(Status.RESERVED), AcceptLink(THREE, BOB, "sdp")]


async def test_the_sender_of_a_job_hears_it_however_crowded_the_window_is(worker: Worker) -> None:
    await uploading(worker)
    await worker.after(*[offer(BOB, JOB)] * SESSIONS_MAX)
    assert await worker.after(PackageReceived(TICKET)) == [
        StatusChanged(Status.BUSY),
        StartJob(JOB),
        OpenSession(ONE, TICKET),
    ]


# -------- the end


@pytest.mark.parametrize(("leave", "end"), [(Drain(), Finished()), (JoinFailed(SHUT), Finished(SHUT))])
class TestLeaving:
    """Drained by its person, or turned out by the room: it leaves alike, and the program hears which it was."""

    async def test_a_free_worker_ends(self, worker: Worker, leave: object, end: Finished) -> None:
        assert await worker.after(leave) == [end]

    async def test_a_promise_is_broken_off_with_advice(self, worker: Worker, leave: object, end: Finished) -> None:
        await worker.after(offer(ADA))
        assert await worker.after(leave) == [CloseLink(ONE, LEAVING_FAULT), end]

    async def test_an_upload_is_broken_off_and_nothing_left_of_it(
        self, worker: Worker, leave: object, end: Finished
    ) -> None:
        await uploading(worker)
        assert await worker.after(leave) == [CloseLink(ONE, LEAVING_FAULT), DiscardJob(JOB), end]

    async def test_a_free_worker_waits_for_those_at_its_window_and_takes_nobody_new(
        self, worker: Worker, leave: object, end: Finished
    ) -> None:
        await worker.after(EarlierJobsFound(frozenset({OLD})), offer(ADA, OLD))
        assert await worker.after(leave) == []
        assert await worker.after(offer(BOB), offer(BOB, OLD)) == [RejectLink(BOB, LEAVING_FAULT)] * 2
        assert await worker.after(LinkLost(ONE)) == [end]

    async def test_a_broken_promise_does_not_end_it_before_the_window_is_empty(
        self, worker: Worker, leave: object, end: Finished
    ) -> None:
        await worker.after(EarlierJobsFound(frozenset({OLD})), offer(ADA, OLD), offer(BOB))
        assert await worker.after(leave) == [CloseLink(TWO, LEAVING_FAULT)]
        assert worker.state is Status.AVAILABLE
        assert await worker.after(LinkLost(TWO)) == []
        assert await worker.after(LinkLost(ONE)) == [end]


async def test_a_job_is_finished_first(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(Drain()) == []
    assert worker.state is Status.BUSY
    assert await worker.after(offer(BOB)) == [RejectLink(BOB, LEAVING_FAULT)]
    assert await worker.after(LinkLost(ONE), over(JOB)) == [Finished()]


async def test_why_it_ends_is_what_came_first(worker: Worker) -> None:
    await running(worker)
    await worker.after(Drain(), JoinFailed(SHUT), LinkLost(ONE))
    assert await worker.after(over(JOB)) == [Finished()]


async def test_of_several_jobs_the_last_is_waited_for(worker: Worker) -> None:
    await worker.after(JobAdopted(OLD), JobAdopted(JOB), Drain())
    assert await worker.after(over(JOB)) == []
    assert await worker.after(over(OLD)) == [Finished()]


async def test_those_at_the_window_have_what_they_came_for_first(worker: Worker) -> None:
    await running(worker)
    await worker.after(Drain(), offer(ADA, JOB))
    assert await worker.after(over(JOB)) == [], "it is not announced as free, and has not ended"
    assert await worker.after(LinkLost(TWO)) == []
    assert await worker.after(LinkLost(ONE)) == [Finished()]


async def test_a_worker_whose_room_is_shut_knocks_again_while_a_job_runs(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(JoinFailed(SHUT)) == [RetryJoin(SHUT)]
    assert await worker.after(LinkLost(ONE), over(JOB)) == [StatusChanged(Status.AVAILABLE)]
    assert await worker.after(JoinFailed(SHUT)) == [Finished(SHUT)]


async def test_owners_of_a_running_job_are_let_in_while_a_drained_worker_waits_for_it(worker: Worker) -> None:
    await running(worker)
    await worker.after(Drain())
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(TWO, ADA, "sdp"), OpenSession(TWO)]


def test_no_time_out_is_a_time_out_that_never_comes() -> None:
    assert CANCEL_TIMEOUT.after == float("inf")

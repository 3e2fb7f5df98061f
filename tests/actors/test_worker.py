"""Tests of the Worker, by events and effects. What its sessions send is tested in `test_job_session.py`."""

import pytest
from trio.testing import MockClock

from actors.events import (
    AcceptLink,
    Authenticated,
    CloseLink,
    DiscardJob,
    Drain,
    EndSessions,
    Finished,
    FollowJob,
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
    SessionsEnded,
    StartJob,
    StatusChanged,
    SupplyPackage,
    TellPeer,
)
from actors.worker import BUSY_FAULT, LEAVING_FAULT, RETURN_TIME, WorkerData, WorkerPhase
from actors.worker_limits import LINK_TIME, REQUEST_TIME, UNEXPECTED_MESSAGE_FAULT
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import AskJob, JobAccepted, JobKind, Outcome, SubmitJob
from protocol.status import Status
from rtc.testing.embedding import Embedded

ADA, BOB = PeerId("client-ada"), PeerId("client-bob")
ONE, TWO, THREE = LinkId(1), LinkId(2), LinkId(3)
JOB, KEY, OLD = JobId("job-1"), "key-1", JobId("job-of-yesterday")
CREDENTIAL = JobCredential(JOB, KEY)
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
SUBMITTED = JobSubmitted(ONE, SUBMIT, CREDENTIAL)
SHUT = Fault(FaultCode.ROOM_DENIED, "No such room.")
BROKEN = Fault(FaultCode.DISK_FULL, "No room.")
AVAILABLE, RESERVED, BUSY = map(StatusChanged, Status)
LEAVING, LEAVING_BUSY = StatusChanged(Status.AVAILABLE, leaving=True), StatusChanged(Status.BUSY, leaving=True)
A_NIGHT = 12 * 3600

Worker = Embedded[WorkerData]

pytestmark = pytest.mark.usefixtures("autojump_clock")


def offer(peer: PeerId, link: LinkId = ONE) -> LinkRequested:
    return LinkRequested(link, peer, "sdp", number=7)


def over(job: JobId) -> JobFinished:
    return JobFinished(job, Outcome.DONE, "Trained.", result=True)


WALK = {
    WorkerPhase.LINKING: [offer(ADA)],
    WorkerPhase.ASKING: [Authenticated(ONE, ADA, proven=True, version=3)],
    WorkerPhase.UPLOADING: [SUBMITTED],
    WorkerPhase.SENDER_AWAY: [LinkLost(ONE)],
}
"""The events that lead from each phase of a reservation to the next."""


async def bring(worker: Worker, phase: WorkerPhase) -> None:
    """Bring the Worker, which is free, into this phase."""
    held = list(WALK)
    if phase in held:
        await worker.after(*[event for step in held[: held.index(phase) + 1] for event in WALK[step]])
    if phase in (WorkerPhase.RUNNING, WorkerPhase.RUNNING_LAST):
        await bring(worker, WorkerPhase.UPLOADING)
        await worker.after(PackageReceived(JOB))
    if phase in (WorkerPhase.LEAVING, WorkerPhase.RUNNING_LAST):
        await worker.after(Drain())
    assert worker.phase is phase


in_every_phase = pytest.mark.parametrize("phase", list(WorkerPhase), ids=lambda phase: phase.value)
while_reserved = pytest.mark.parametrize("phase", list(WALK), ids=lambda phase: phase.value)


# -------- the reservation


async def test_an_offer_reserves_the_worker(worker: Worker) -> None:
    assert await worker.after(offer(ADA)) == [RESERVED, AcceptLink(ONE, ADA, "sdp", number=7)]
    assert worker.phase is WorkerPhase.LINKING


@in_every_phase
async def test_a_stranger_is_refused_unless_the_worker_is_free(worker: Worker, phase: WorkerPhase) -> None:
    await bring(worker, phase)
    before = worker.data
    effects = await worker.after(offer(BOB, TWO))
    if phase is WorkerPhase.FREE:
        assert effects == [RESERVED, AcceptLink(TWO, BOB, "sdp", number=7)]
        return
    is_leaving = phase in (WorkerPhase.RUNNING_LAST, WorkerPhase.LEAVING)
    assert effects == [RejectLink(BOB, LEAVING_FAULT if is_leaving else BUSY_FAULT, number=7)]
    assert (worker.phase, worker.data) == (phase, before)


async def test_the_sender_of_the_running_job_is_refused_a_second_one(worker: Worker) -> None:
    await bring(worker, WorkerPhase.RUNNING)
    assert await worker.after(offer(ADA, TWO)) == [RejectLink(ADA, BUSY_FAULT, number=7)]


@while_reserved
async def test_the_client_that_has_reserved_the_worker_may_start_over_and_leaves_nothing_behind(
    worker: Worker, phase: WorkerPhase
) -> None:
    await bring(worker, phase)
    effects = await worker.after(offer(ADA, TWO))
    closed = [] if phase is WorkerPhase.SENDER_AWAY else [CloseLink(ONE)]
    discarded = [DiscardJob(JOB)] if phase in (WorkerPhase.UPLOADING, WorkerPhase.SENDER_AWAY) else []
    assert effects == [*closed, *discarded, AcceptLink(TWO, ADA, "sdp", number=7)]
    assert worker.phase is WorkerPhase.LINKING
    late = [
        LinkLost(ONE),
        Authenticated(ONE, ADA, proven=True, version=3),
        PackageReceived(JOB),
        PackageFailed(JOB, BROKEN),
    ]
    assert await worker.after(*late) == []
    assert worker.phase is WorkerPhase.LINKING


async def test_an_authenticated_client_that_starts_over_has_the_whole_time_again(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await bring(worker, WorkerPhase.ASKING)
    await worker.after(offer(ADA, TWO))
    autojump_clock.jump(LINK_TIME - 1)
    assert await worker.after() == []
    autojump_clock.jump(2)
    assert (await worker.after())[0] == AVAILABLE


async def test_starting_over_repeatedly_without_a_proof_does_not_keep_the_worker_reserved(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await worker.after(offer(ADA))
    autojump_clock.jump(LINK_TIME / 2)
    await worker.after(offer(ADA, TWO))
    autojump_clock.jump(LINK_TIME / 2 + 1)
    [free, close] = await worker.after()
    assert (free, close.link) == (AVAILABLE, TWO)


async def test_a_client_that_does_not_connect_loses_the_reservation(worker: Worker, autojump_clock: MockClock) -> None:
    await worker.after(offer(ADA))
    autojump_clock.jump(LINK_TIME + 1)
    [free, close] = await worker.after()
    assert free == AVAILABLE
    assert (close.link, close.fault.code) == (ONE, FaultCode.LINK_FAILED)


async def test_an_authenticated_client_that_submits_nothing_loses_the_reservation(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await bring(worker, WorkerPhase.ASKING)
    autojump_clock.jump(REQUEST_TIME + 1)
    [free, close] = await worker.after()
    assert free == AVAILABLE
    assert (close.link, close.fault.code) == (ONE, FaultCode.STALLED)


async def test_the_authentication_of_a_session_gives_no_more_time(worker: Worker, autojump_clock: MockClock) -> None:
    await worker.after(offer(ADA))
    autojump_clock.jump(LINK_TIME - 1)
    assert await worker.after(Authenticated(TWO, BOB, proven=True, version=3)) == []
    autojump_clock.jump(2)
    assert (await worker.after())[0] == AVAILABLE


@pytest.mark.parametrize("phase", [WorkerPhase.LINKING, WorkerPhase.ASKING], ids=lambda phase: phase.value)
async def test_a_client_lost_before_it_submitted_a_job_leaves_nothing_behind(
    worker: Worker, phase: WorkerPhase
) -> None:
    await bring(worker, phase)
    assert await worker.after(LinkLost(ONE)) == [AVAILABLE]
    assert worker.data == WorkerData()


# -------- from the reservation to the job


async def test_a_job_is_accepted_received_and_run_and_its_sender_follows_it(worker: Worker) -> None:
    await bring(worker, WorkerPhase.ASKING)
    assert await worker.after(SUBMITTED) == [
        OpenSession(ONE, JOB),
        TellPeer(ONE, JobAccepted(JOB, KEY)),
        ReceivePackage(ONE, CREDENTIAL, SUBMIT),
    ]
    assert await worker.after(PackageReceived(JOB)) == [BUSY, StartJob(JOB), FollowJob(ONE, JOB)]
    assert await worker.after(LinkLost(ONE)) == [], "a job outlives its link"
    assert await worker.after(over(JOB)) == [AVAILABLE]
    assert worker.data == WorkerData()


async def test_an_upload_may_take_all_night(worker: Worker, autojump_clock: MockClock) -> None:
    await bring(worker, WorkerPhase.UPLOADING)
    autojump_clock.jump(A_NIGHT)
    assert await worker.after() == []
    assert worker.state is Status.RESERVED


async def test_a_package_that_fails_is_reported_with_its_reason(worker: Worker) -> None:
    await bring(worker, WorkerPhase.UPLOADING)
    effects = await worker.after(PackageFailed(JOB, BROKEN))
    assert effects == [AVAILABLE, TellPeer(ONE, BROKEN), CloseLink(ONE, BROKEN)]
    assert worker.data == WorkerData()


async def test_a_package_that_fails_while_its_sender_is_away_frees_the_worker(worker: Worker) -> None:
    await bring(worker, WorkerPhase.SENDER_AWAY)
    assert await worker.after(PackageFailed(JOB, BROKEN)) == [AVAILABLE]


async def test_a_second_job_over_the_same_link_ends_the_reservation(worker: Worker) -> None:
    await bring(worker, WorkerPhase.UPLOADING)
    effects = await worker.after(JobSubmitted(ONE, SUBMIT, JobCredential(JobId("job-2"), "k")))
    assert effects == [AVAILABLE, CloseLink(ONE, UNEXPECTED_MESSAGE_FAULT), DiscardJob(JOB)]


@pytest.mark.parametrize("phase", [WorkerPhase.ASKING, WorkerPhase.UPLOADING], ids=lambda phase: phase.value)
async def test_a_message_other_than_a_job_ends_the_reservation(worker: Worker, phase: WorkerPhase) -> None:
    await bring(worker, phase)
    effects = await worker.after(PeerMessage(ONE, AskJob(OLD, KEY)))
    assert effects[:2] == [AVAILABLE, CloseLink(ONE, UNEXPECTED_MESSAGE_FAULT)]
    assert worker.phase is WorkerPhase.FREE


@in_every_phase
async def test_events_about_other_links_and_jobs_change_nothing(worker: Worker, phase: WorkerPhase) -> None:
    await bring(worker, phase)
    before = worker.data
    others = [
        LinkLost(THREE),
        Authenticated(THREE, BOB, proven=True, version=3),
        PeerMessage(THREE, SUBMIT),
        JobSubmitted(THREE, SUBMIT, JobCredential(OLD, KEY)),
        PackageReceived(OLD),
        PackageFailed(OLD, BROKEN),
        SupplyPackage(THREE, OLD),
        over(OLD),
    ]
    assert await worker.after(*others) == []
    assert (worker.phase, worker.data) == (phase, before)


# -------- a link lost during the upload


async def test_the_worker_stays_reserved_for_a_sender_whose_link_breaks_but_not_for_long(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await bring(worker, WorkerPhase.SENDER_AWAY)
    assert await worker.after(offer(BOB, TWO)) == [RejectLink(BOB, BUSY_FAULT, number=7)]
    autojump_clock.jump(RETURN_TIME - 1)
    assert await worker.after() == []
    autojump_clock.jump(2)
    assert await worker.after() == [AVAILABLE, DiscardJob(JOB)]


async def test_a_sender_that_has_reconnected_takes_the_time_it_needs_and_its_job_begins(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await bring(worker, WorkerPhase.SENDER_AWAY)
    assert await worker.after(SupplyPackage(TWO, JOB)) == []
    assert worker.phase is WorkerPhase.UPLOADING
    autojump_clock.jump(3 * RETURN_TIME)
    assert await worker.after() == []
    assert await worker.after(PackageReceived(JOB)) == [BUSY, StartJob(JOB), FollowJob(TWO, JOB)]


async def test_a_sender_may_reconnect_more_than_once(worker: Worker, autojump_clock: MockClock) -> None:
    await bring(worker, WorkerPhase.SENDER_AWAY)
    for link in (TWO, THREE):
        await worker.after(SupplyPackage(link, JOB), LinkLost(link))
        assert worker.phase is WorkerPhase.SENDER_AWAY
    autojump_clock.jump(RETURN_TIME + 1)
    assert await worker.after() == [AVAILABLE, DiscardJob(JOB)]


async def test_a_sender_that_reconnects_before_its_old_link_is_known_to_be_dead_continues_over_the_new_one(
    worker: Worker,
) -> None:
    await bring(worker, WorkerPhase.UPLOADING)
    assert await worker.after(SupplyPackage(TWO, JOB)) == [CloseLink(ONE)]
    assert await worker.after(LinkLost(ONE)) == []
    assert await worker.after(PackageReceived(JOB)) == [BUSY, StartJob(JOB), FollowJob(TWO, JOB)]


async def test_a_package_that_is_complete_just_when_its_link_breaks_is_run(worker: Worker) -> None:
    await bring(worker, WorkerPhase.SENDER_AWAY)
    assert await worker.after(PackageReceived(JOB)) == [BUSY, StartJob(JOB)]


async def test_a_sender_that_returns_just_when_its_package_is_complete_follows_its_job(worker: Worker) -> None:
    await bring(worker, WorkerPhase.SENDER_AWAY)
    await worker.after(PackageReceived(JOB))
    assert await worker.after(SupplyPackage(TWO, JOB)) == [FollowJob(TWO, JOB)]


# -------- jobs of earlier workers


async def test_a_job_of_an_earlier_worker_keeps_the_gpu_until_it_ends(worker: Worker) -> None:
    assert await worker.after(JobAdopted(OLD)) == [BUSY]
    assert await worker.after(offer(ADA)) == [RejectLink(ADA, BUSY_FAULT, number=7)]
    assert await worker.after(over(OLD)) == [AVAILABLE]


async def test_the_gpu_is_free_when_the_last_of_several_old_jobs_has_ended(worker: Worker) -> None:
    assert await worker.after(JobAdopted(OLD), JobAdopted(JOB)) == [BUSY]
    assert await worker.after(over(OLD)) == []
    assert await worker.after(over(OLD)) == [], "it cannot end twice"
    assert await worker.after(over(JOB)) == [AVAILABLE]


# -------- the end


@pytest.mark.parametrize(("reason", "fault"), [(Drain(), None), (JoinFailed(SHUT), SHUT)], ids=["drain", "no room"])
class TestLeaving:
    """A worker is asked to leave, or cannot join its room."""

    async def test_a_free_worker_ends_when_its_sessions_have_ended(
        self, worker: Worker, reason: object, fault: Fault | None
    ) -> None:
        assert await worker.after(reason) == [LEAVING, EndSessions()]
        assert await worker.after(offer(ADA)) == [RejectLink(ADA, LEAVING_FAULT, number=7)]
        assert await worker.after(SessionsEnded()) == [Finished(fault)]

    @while_reserved
    async def test_a_reservation_ends_at_once(
        self, worker: Worker, phase: WorkerPhase, reason: object, fault: Fault | None
    ) -> None:
        await bring(worker, phase)
        effects = await worker.after(reason)
        closed = [] if phase is WorkerPhase.SENDER_AWAY else [CloseLink(ONE, LEAVING_FAULT)]
        discarded = [DiscardJob(JOB)] if phase in (WorkerPhase.UPLOADING, WorkerPhase.SENDER_AWAY) else []
        assert effects == [LEAVING, *closed, *discarded, EndSessions()]
        assert await worker.after(LinkLost(ONE), SessionsEnded()) == [Finished(fault)]

    async def test_the_first_reason_counts(self, worker: Worker, reason: object, fault: Fault | None) -> None:
        await worker.after(reason)
        assert await worker.after(JoinFailed(BROKEN) if fault is None else Drain()) == []
        assert await worker.after(SessionsEnded()) == [Finished(fault)]


async def test_a_worker_that_is_asked_to_leave_finishes_its_jobs_and_sessions_first(worker: Worker) -> None:
    await worker.after(JobAdopted(OLD), JobAdopted(JOB))
    assert await worker.after(Drain()) == [LEAVING_BUSY]
    assert await worker.after(offer(BOB)) == [RejectLink(BOB, LEAVING_FAULT, number=7)]
    assert await worker.after(over(JOB)) == []
    assert await worker.after(over(OLD)) == [LEAVING, EndSessions()]
    assert await worker.after(SessionsEnded()) == [Finished()]


@pytest.mark.parametrize("phase", [WorkerPhase.RUNNING, WorkerPhase.RUNNING_LAST], ids=lambda phase: phase.value)
async def test_a_worker_that_cannot_join_its_room_retries_while_a_job_runs(worker: Worker, phase: WorkerPhase) -> None:
    await bring(worker, phase)
    assert await worker.after(JoinFailed(SHUT)) == [RetryJoin(SHUT)]
    assert worker.phase is phase

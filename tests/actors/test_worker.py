"""Tests of the Worker, by events and effects. What its sessions send is tested in `test_job_session.py`."""

import pytest
from trio.testing import MockClock

from actors.events import (
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
    SessionRequested,
    StartJob,
    StatusChanged,
    SupplyPackage,
    TellPeer,
)
from actors.worker import (
    BUSY_FAULT,
    LEAVING_FAULT,
    RETURN_TIME,
    TOO_MANY_SESSIONS_FAULT,
    UNKNOWN_FAULT,
)
from actors.worker_events import SESSIONS_MAX, WorkerData
from actors.worker_limits import LINK_TIME, REQUEST_TIME, UNEXPECTED_MESSAGE_FAULT
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import AskJob, CancelJob, JobAccepted, JobKind, Outcome, SubmitJob
from protocol.status import Status
from rtc.testing.embedding import Embedded

ADA, BOB = PeerId("client-ada"), PeerId("client-bob")
ONE, TWO, THREE = LinkId(1), LinkId(2), LinkId(3)
JOB, KEY, OLD = JobId("job-1"), "key-1", JobId("job-of-yesterday")
CREDENTIAL = JobCredential(JOB, KEY)
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
SUBMITTED = JobSubmitted(ONE, SUBMIT, CREDENTIAL)
SHUT = Fault(FaultCode.ROOM_DENIED, "No such room.")
A_NIGHT = 12 * 3600

Worker = Embedded[WorkerData]

pytestmark = pytest.mark.usefixtures("autojump_clock")
in_every_state = pytest.mark.parametrize("status", list(Status), ids=lambda status: status.value)


def offer(peer: PeerId, job: JobId | None = None, version: int = PROTOCOL_VERSION) -> LinkRequested | SessionRequested:
    if job is not None:
        return SessionRequested(ONE, peer, "sdp", job, version)
    return LinkRequested(ONE, peer, "sdp", version)


def over(job: JobId) -> JobFinished:
    return JobFinished(job, Outcome.DONE, "Trained.", result=True)


async def authenticated(worker: Worker) -> None:
    await worker.after(offer(ADA), Authenticated(ONE, ADA, proven=True))


async def uploading(worker: Worker) -> None:
    await authenticated(worker)
    await worker.after(SUBMITTED)


async def running(worker: Worker) -> None:
    await uploading(worker)
    await worker.after(PackageReceived(CREDENTIAL))
    assert worker.state is Status.BUSY


async def bring_to_state(worker: Worker, status: Status) -> LinkId:
    """Bring the Worker into this state, with one known job of an earlier worker; return the id of its next link."""
    await worker.after(EarlierJobsFound(frozenset({OLD})))
    if status is Status.RESERVED:
        await authenticated(worker)
    if status is Status.BUSY:
        await running(worker)
    assert worker.state is status
    return LinkId(worker.data.last_link + 1)


# -------- the reservation


async def test_an_offer_reserves_the_worker(worker: Worker) -> None:
    assert await worker.after(offer(ADA)) == [StatusChanged(Status.RESERVED), AcceptLink(ONE, ADA, "sdp")]
    assert worker.state is Status.RESERVED


async def test_another_client_is_refused_while_the_worker_is_reserved(worker: Worker) -> None:
    await worker.after(offer(ADA))
    assert await worker.after(offer(BOB)) == [RejectLink(BOB, BUSY_FAULT)]
    assert (worker.state, worker.data.peer) == (Status.RESERVED, ADA)


async def test_another_client_is_refused_while_a_job_runs(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(offer(BOB)) == [RejectLink(BOB, BUSY_FAULT)]
    assert worker.state is Status.BUSY


async def test_the_sender_of_the_running_job_is_refused_a_second_one(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(offer(ADA)) == [RejectLink(ADA, BUSY_FAULT)]
    assert worker.state is Status.BUSY


@in_every_state
async def test_another_version_is_refused_with_both_versions(worker: Worker, status: Status) -> None:
    await bring_to_state(worker, status)
    [effect] = await worker.after(offer(BOB, version=99))
    assert isinstance(effect, RejectLink)
    assert effect.fault.code is FaultCode.VERSION
    assert "99" in effect.fault.text
    assert str(PROTOCOL_VERSION) in effect.fault.text
    assert worker.state is status


async def test_the_same_peer_may_start_over(worker: Worker) -> None:
    await worker.after(offer(ADA))
    effects = await worker.after(offer(ADA))
    assert effects == [CloseLink(ONE), StatusChanged(Status.RESERVED), AcceptLink(TWO, ADA, "sdp")]
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.state is Status.RESERVED


async def test_a_client_that_starts_over_after_an_upload_began_leaves_nothing_of_it(worker: Worker) -> None:
    await uploading(worker)
    effects = await worker.after(offer(ADA))
    assert effects == [CloseLink(ONE), DiscardJob(JOB), StatusChanged(Status.RESERVED), AcceptLink(TWO, ADA, "sdp")]
    assert await worker.after(offer(BOB, JOB)) == [RejectLink(BOB, UNKNOWN_FAULT)]


async def test_an_authenticated_client_that_starts_over_has_the_whole_time_again(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await authenticated(worker)
    await worker.after(offer(ADA))
    autojump_clock.jump(LINK_TIME - 1)
    assert await worker.after() == []
    autojump_clock.jump(2)
    assert (await worker.after())[-1] == StatusChanged(Status.AVAILABLE)


async def test_starting_over_repeatedly_without_a_proof_does_not_keep_the_worker_reserved(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await worker.after(offer(ADA))
    autojump_clock.jump(LINK_TIME / 2)
    await worker.after(offer(ADA))
    autojump_clock.jump(LINK_TIME / 2 + 1)
    await worker.after()
    assert worker.state is Status.AVAILABLE


async def test_a_client_that_does_not_connect_loses_the_reservation(worker: Worker, autojump_clock: MockClock) -> None:
    await worker.after(offer(ADA))
    autojump_clock.jump(LINK_TIME + 1)
    [close, free] = await worker.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.LINK_FAILED)
    assert free == StatusChanged(Status.AVAILABLE)


async def test_an_authenticated_client_that_submits_nothing_loses_the_reservation(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await authenticated(worker)
    autojump_clock.jump(REQUEST_TIME + 1)
    [close, free] = await worker.after()
    assert (close.link, close.fault.code) == (ONE, FaultCode.STALLED)
    assert free == StatusChanged(Status.AVAILABLE)


async def test_the_authentication_of_another_link_gives_no_more_time(worker: Worker, autojump_clock: MockClock) -> None:
    await worker.after(EarlierJobsFound(frozenset({OLD})), offer(ADA), offer(BOB, OLD))
    autojump_clock.jump(LINK_TIME - 1)
    assert await worker.after(Authenticated(TWO, BOB, proven=True)) == []
    autojump_clock.jump(2)
    assert (await worker.after())[-1] == StatusChanged(Status.AVAILABLE)


# -------- from the reservation to the job


async def test_a_job_is_accepted_received_and_run_and_its_sender_gets_a_session(worker: Worker) -> None:
    await authenticated(worker)
    assert await worker.after(SUBMITTED) == [
        TellPeer(ONE, JobAccepted(JOB, KEY)),
        ReceivePackage(ONE, CREDENTIAL, SUBMIT),
    ]
    assert await worker.after(PackageReceived(CREDENTIAL)) == [
        StatusChanged(Status.BUSY),
        StartJob(JOB),
        OpenSession(ONE, CREDENTIAL),
    ]
    assert worker.state is Status.BUSY


async def test_a_job_that_ends_frees_the_worker_while_sessions_are_open(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(over(JOB)) == [StatusChanged(Status.AVAILABLE)]
    assert worker.data.sessions == {ONE}
    assert await worker.after(offer(BOB)) == [StatusChanged(Status.RESERVED), AcceptLink(TWO, BOB, "sdp")]


async def test_an_upload_may_take_all_night(worker: Worker, autojump_clock: MockClock) -> None:
    await uploading(worker)
    autojump_clock.jump(A_NIGHT)
    assert await worker.after() == []
    assert worker.state is Status.RESERVED


async def test_a_package_that_fails_is_reported_with_its_reason(worker: Worker) -> None:
    await uploading(worker)
    fault = Fault(FaultCode.BAD_PACKAGE, "No jobs in it.")
    effects = await worker.after(PackageFailed(JOB, fault))
    assert effects == [TellPeer(ONE, fault), CloseLink(ONE, fault), StatusChanged(Status.AVAILABLE)]
    assert worker.state is Status.AVAILABLE
    assert await worker.after(offer(ADA, JOB)) == [RejectLink(ADA, UNKNOWN_FAULT)]


async def test_a_client_lost_before_it_submitted_a_job_leaves_nothing_behind(worker: Worker) -> None:
    await authenticated(worker)
    assert await worker.after(LinkLost(ONE)) == [CloseLink(ONE), StatusChanged(Status.AVAILABLE)]


# -------- a link lost during the upload


async def lose_sender(worker: Worker) -> None:
    """Break the link over which the package is being uploaded."""
    await uploading(worker)
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.state is Status.RESERVED


async def return_sender(worker: Worker, link: LinkId = TWO) -> None:
    """Let the sender open a session and supply the rest of the package."""
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(link, ADA, "sdp"), OpenSession(link)]
    await worker.after(Authenticated(link, ADA, proven=True), SupplyPackage(link, JOB))
    assert worker.state is Status.RESERVED


async def test_the_worker_stays_reserved_for_a_sender_whose_link_breaks_but_not_for_long(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await lose_sender(worker)
    assert await worker.after(offer(BOB)) == [RejectLink(BOB, BUSY_FAULT)]
    autojump_clock.jump(RETURN_TIME - 1)
    assert await worker.after() == []
    autojump_clock.jump(2)
    assert await worker.after() == [DiscardJob(JOB), StatusChanged(Status.AVAILABLE)]
    assert await worker.after(offer(ADA, JOB)) == [RejectLink(ADA, UNKNOWN_FAULT)]


async def test_a_sender_that_has_reconnected_takes_the_time_it_needs_and_its_job_begins(
    worker: Worker, autojump_clock: MockClock
) -> None:
    await lose_sender(worker)
    await return_sender(worker)
    autojump_clock.jump(3 * RETURN_TIME)
    assert await worker.after() == []
    effects = await worker.after(PackageReceived(CREDENTIAL))
    assert effects == [StatusChanged(Status.BUSY), StartJob(JOB)], "its sender has a session already"


async def test_a_sender_may_reconnect_more_than_once(worker: Worker, autojump_clock: MockClock) -> None:
    await lose_sender(worker)
    await return_sender(worker)
    assert await worker.after(LinkLost(TWO)) == []
    await return_sender(worker, LinkId(3))
    assert await worker.after(LinkLost(LinkId(3))) == []
    autojump_clock.jump(RETURN_TIME + 1)
    assert await worker.after() == [DiscardJob(JOB), StatusChanged(Status.AVAILABLE)]


async def test_a_sender_that_reconnects_before_its_old_link_is_known_to_be_dead_continues_over_the_new_one(
    worker: Worker,
) -> None:
    await uploading(worker)
    await worker.after(offer(ADA, JOB))
    assert await worker.after(SupplyPackage(TWO, JOB)) == [CloseLink(ONE)]
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.state is Status.RESERVED
    assert await worker.after(PackageReceived(CREDENTIAL)) == [StatusChanged(Status.BUSY), StartJob(JOB)]


async def test_a_package_that_is_complete_just_when_its_link_breaks_is_run(worker: Worker) -> None:
    await lose_sender(worker)
    assert await worker.after(PackageReceived(CREDENTIAL)) == [StatusChanged(Status.BUSY), StartJob(JOB)]
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(TWO, ADA, "sdp"), OpenSession(TWO)]


async def test_a_worker_that_is_stopped_does_not_wait_for_a_sender_that_is_away(worker: Worker) -> None:
    await lose_sender(worker)
    assert await worker.after(Drain()) == [DiscardJob(JOB), Finished()]


async def test_the_package_of_another_job_than_the_awaited_one_changes_nothing(worker: Worker) -> None:
    await lose_sender(worker)
    assert await worker.after(SupplyPackage(TWO, OLD)) == []
    assert worker.data.link is None


async def test_events_about_an_older_link_or_job_change_nothing(worker: Worker) -> None:
    await uploading(worker)
    refused = PackageFailed(OLD, Fault(FaultCode.BAD_PACKAGE, "No."))
    effects = await worker.after(
        LinkLost(LinkId(7)),
        PackageReceived(JobCredential(OLD, KEY)),
        refused,
        Authenticated(TWO, BOB, proven=True),
        PeerMessage(TWO, SUBMIT),
        JobSubmitted(TWO, SUBMIT, JobCredential(OLD, KEY)),
    )
    assert effects == []
    assert (worker.state, worker.data.job) == (Status.RESERVED, JOB)


async def test_the_end_of_a_job_that_is_not_ours_does_not_free_the_worker(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(over(OLD)) == []
    assert worker.state is Status.BUSY


async def test_a_second_job_over_the_same_link_ends_the_reservation(worker: Worker) -> None:
    await uploading(worker)
    effects = await worker.after(JobSubmitted(ONE, SUBMIT, JobCredential(JobId("job-2"), "k")))
    assert effects == [CloseLink(ONE, UNEXPECTED_MESSAGE_FAULT), DiscardJob(JOB), StatusChanged(Status.AVAILABLE)]


async def test_a_request_about_a_job_over_the_reserved_link_is_unexpected(worker: Worker) -> None:
    await authenticated(worker)
    effects = await worker.after(PeerMessage(ONE, AskJob(OLD, KEY)))
    assert effects == [CloseLink(ONE, UNEXPECTED_MESSAGE_FAULT), StatusChanged(Status.AVAILABLE)]


async def test_messages_of_a_session_are_forwarded_to_it(worker: Worker) -> None:
    await running(worker)
    # a message that was received just when the package was complete, and so came to the Worker
    received = PeerMessage(ONE, CancelJob(JOB, KEY))
    assert await worker.after(received, JobSubmitted(ONE, SUBMIT, JobCredential(OLD, KEY))) == [
        ForwardToSession(received)
    ]
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


async def test_the_owner_of_an_adopted_job_gets_a_session(worker: Worker) -> None:
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


# -------- the sessions


@in_every_state
async def test_a_client_that_asks_about_a_known_job_gets_a_session_in_every_state(
    worker: Worker, status: Status
) -> None:
    link = await bring_to_state(worker, status)
    before = worker.data
    assert await worker.after(offer(BOB, OLD)) == [AcceptLink(link, BOB, "sdp"), OpenSession(link)]
    assert worker.state is status
    assert (worker.data.peer, worker.data.link, worker.data.job) == (before.peer, before.link, before.job)
    assert worker.data.sessions == before.sessions | {link}


@in_every_state
async def test_a_client_that_asks_about_an_unknown_job_is_refused_at_once(worker: Worker, status: Status) -> None:
    await bring_to_state(worker, status)
    assert await worker.after(offer(BOB, JobId("job-of-no-one"))) == [RejectLink(BOB, UNKNOWN_FAULT)]
    assert worker.state is status


@in_every_state
async def test_owners_of_jobs_that_become_known_get_sessions(worker: Worker, status: Status) -> None:
    link = await bring_to_state(worker, status)
    older = JobId("job-of-last-week")
    assert await worker.after(EarlierJobsFound(frozenset({older}))) == []
    assert worker.state is status
    assert await worker.after(offer(BOB, older)) == [AcceptLink(link, BOB, "sdp"), OpenSession(link)]
    assert OLD in worker.data.known_jobs, "those known before stay known"


@in_every_state
async def test_the_number_of_sessions_is_limited_and_further_clients_are_refused(
    worker: Worker, status: Status
) -> None:
    await bring_to_state(worker, status)
    room = SESSIONS_MAX - len(worker.data.sessions)
    await worker.after(*[offer(BOB, OLD)] * room)
    assert await worker.after(offer(ADA, OLD)) == [RejectLink(ADA, TOO_MANY_SESSIONS_FAULT)]
    assert worker.state is status


@in_every_state
async def test_a_session_that_ends_makes_room_for_another(worker: Worker, status: Status) -> None:
    await bring_to_state(worker, status)
    await worker.after(*[offer(BOB, OLD)] * SESSIONS_MAX)
    closed = max(worker.data.sessions)
    assert await worker.after(LinkLost(closed)) == []
    assert worker.state is status
    assert closed not in worker.data.sessions
    link = LinkId(worker.data.last_link + 1)
    assert await worker.after(offer(ADA, OLD)) == [AcceptLink(link, ADA, "sdp"), OpenSession(link)]


async def test_the_owner_may_open_a_session_during_the_upload_which_continues(worker: Worker) -> None:
    await uploading(worker)
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(TWO, ADA, "sdp"), OpenSession(TWO)]
    assert (worker.data.link, worker.data.job) == (ONE, JOB)


async def test_the_owner_may_reconnect_while_the_old_link_is_not_yet_lost(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(TWO, ADA, "sdp"), OpenSession(TWO)]
    assert await worker.after(LinkLost(ONE)) == []
    assert worker.data.sessions == {TWO}


async def test_the_owner_may_open_a_session_after_the_job_and_the_worker_stays_available(worker: Worker) -> None:
    await running(worker)
    await worker.after(LinkLost(ONE), over(JOB))
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(TWO, ADA, "sdp"), OpenSession(TWO)]
    assert await worker.after(offer(BOB)) == [StatusChanged(Status.RESERVED), AcceptLink(THREE, BOB, "sdp")]


async def test_the_sender_of_a_job_gets_a_session_above_the_limit(worker: Worker) -> None:
    await uploading(worker)
    await worker.after(*[offer(BOB, JOB)] * SESSIONS_MAX)
    assert await worker.after(PackageReceived(CREDENTIAL)) == [
        StatusChanged(Status.BUSY),
        StartJob(JOB),
        OpenSession(ONE, CREDENTIAL),
    ]


# -------- the end


@pytest.mark.parametrize(("leave", "end"), [(Drain(), Finished()), (JoinFailed(SHUT), Finished(SHUT))])
class TestLeaving:
    """A worker that is drained and one that has lost its room end in the same way, with different faults."""

    async def test_a_free_worker_ends(self, worker: Worker, leave: object, end: Finished) -> None:
        assert await worker.after(leave) == [end]

    async def test_a_reservation_is_ended_with_advice(self, worker: Worker, leave: object, end: Finished) -> None:
        await worker.after(offer(ADA))
        assert await worker.after(leave) == [CloseLink(ONE, LEAVING_FAULT), end]

    async def test_an_upload_is_ended_and_nothing_left_of_it(
        self, worker: Worker, leave: object, end: Finished
    ) -> None:
        await uploading(worker)
        assert await worker.after(leave) == [CloseLink(ONE, LEAVING_FAULT), DiscardJob(JOB), end]

    async def test_a_free_worker_waits_for_its_sessions_and_accepts_no_new_client(
        self, worker: Worker, leave: object, end: Finished
    ) -> None:
        await worker.after(EarlierJobsFound(frozenset({OLD})), offer(ADA, OLD))
        assert await worker.after(leave) == []
        assert await worker.after(offer(BOB), offer(BOB, OLD)) == [RejectLink(BOB, LEAVING_FAULT)] * 2
        assert await worker.after(LinkLost(ONE)) == [end]

    async def test_an_ended_reservation_does_not_end_it_before_its_sessions_have_ended(
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


async def test_the_first_reason_to_end_counts(worker: Worker) -> None:
    await running(worker)
    await worker.after(Drain(), JoinFailed(SHUT), LinkLost(ONE))
    assert await worker.after(over(JOB)) == [Finished()]


async def test_of_several_jobs_the_last_is_awaited(worker: Worker) -> None:
    await worker.after(JobAdopted(OLD), JobAdopted(JOB), Drain())
    assert await worker.after(over(JOB)) == []
    assert await worker.after(over(OLD)) == [Finished()]


async def test_open_sessions_end_first(worker: Worker) -> None:
    await running(worker)
    await worker.after(Drain(), offer(ADA, JOB))
    assert await worker.after(over(JOB)) == [], "it is not announced as free, and has not ended"
    assert await worker.after(LinkLost(TWO)) == []
    assert await worker.after(LinkLost(ONE)) == [Finished()]


async def test_a_worker_that_cannot_join_its_room_retries_while_a_job_runs(worker: Worker) -> None:
    await running(worker)
    assert await worker.after(JoinFailed(SHUT)) == [RetryJoin(SHUT)]
    assert await worker.after(LinkLost(ONE), over(JOB)) == [StatusChanged(Status.AVAILABLE)]
    assert await worker.after(JoinFailed(SHUT)) == [Finished(SHUT)]


async def test_owners_of_a_running_job_get_sessions_while_a_drained_worker_waits_for_it(worker: Worker) -> None:
    await running(worker)
    await worker.after(Drain())
    assert await worker.after(offer(ADA, JOB)) == [AcceptLink(TWO, ADA, "sdp"), OpenSession(TWO)]

"""Tests of the Client from the link on: package, job, reconnection and result, by events and effects."""

import pytest
from actors.client_events import RECONNECTS_MAX, RESUBMITS_MAX, ClientData
from trio.testing import MockClock

from actors.client import FIRST_PAUSE, RECEIPT_TIME, RECONNECT_PAUSE
from actors.events import (
    Authenticated,
    CancelWanted,
    CloseLink,
    DownloadFailed,
    Drain,
    FetchResult,
    Finished,
    JobCredential,
    JobWanted,
    JoinedRoom,
    LinkLost,
    LinkRefused,
    NamedWorker,
    OpenLink,
    PackageSent,
    PeerMessage,
    ResultDownloaded,
    ResultUnpacked,
    RoomCredentials,
    SendJobKey,
    SendPackage,
    StopWanted,
    TellPeer,
    UploadFailed,
    WorkersChanged,
)
from actors.worker import BUSY_FAULT, UNKNOWN_FAULT
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import (
    CancelJob,
    JobAccepted,
    JobEnded,
    JobEvent,
    JobKind,
    JobStage,
    JobStarted,
    JobState,
    Outcome,
    ResultTaken,
    StopJob,
    StopScope,
    SubmitJob,
)
from protocol.status import Role, Status
from rtc.testing.embedding import Embedded

Client = Embedded[ClientData]

pytestmark = pytest.mark.usefixtures("autojump_clock")

CREDENTIALS = RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
WORKER, OTHER = PeerId("worker-1"), PeerId("worker-2")
ONE, TWO, THREE = LinkId(1), LinkId(2), LinkId(3)
JOB, KEY = JobId("job-1"), "key"
CREDENTIAL = JobCredential(JOB, KEY)
PATIENCE = 30.0
A_NIGHT = 12 * 3600
STOP, STOP_ALL = StopJob(JOB, KEY), StopJob(JOB, KEY, StopScope.ALL)
CANCEL, TAKEN = CancelJob(JOB, KEY), ResultTaken(JOB, KEY)
RUNS = JobState(JOB, JobStage.RUNNING, "Epoch 3 of 20.", events=40)
PREPARING = JobState(JOB, JobStage.PREPARING, "Its package is on the way.")
GONE = JobState(JOB, JobStage.UNKNOWN, "The worker has no such job of yours.")
ENDED = JobState(JOB, JobStage.ENDED, "Trained.", 52, Outcome.DONE, result=True)
DONE = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)
FAILED = JobEnded(JOB, Outcome.FAILED, "Key 'x' not in 'TrainerConfig'", result=True)
CANCELLED = JobEnded(JOB, Outcome.CANCELLED, "Cancelled.", result=False)
NO_WORKER = Fault(FaultCode.NO_WORKER, "No such worker.")


def trusted(link: LinkId) -> Authenticated:
    return Authenticated(link, WORKER, proven=True)


async def submitted(client: Client) -> None:
    await client.after(
        JobWanted(CREDENTIALS, NamedWorker(WORKER), SUBMIT, 0, PATIENCE), WorkersChanged(()), trusted(ONE)
    )


async def uploading(client: Client) -> None:
    await submitted(client)
    await client.after(PeerMessage(ONE, JobAccepted(JOB, KEY)))
    assert client.state is Status.RESERVED


async def running(client: Client) -> None:
    await uploading(client)
    await client.after(PackageSent())
    assert client.state is Status.BUSY


async def attaching(client: Client, *, fetch: bool = True) -> list[object]:
    await client.after(
        JobWanted(CREDENTIALS, NamedWorker(WORKER), step_timeout=PATIENCE, credential=CREDENTIAL, fetch=fetch)
    )
    return await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-2")), WorkersChanged(()))


async def ended(client: Client) -> None:
    await running(client)
    assert await client.after(PeerMessage(ONE, DONE)) == [FetchResult(ONE)]


async def away(client: Client, clock: MockClock, *, begun: bool = True) -> None:
    """Break the link, and let the Client send an offer for a new link."""
    await (running(client) if begun else uploading(client))
    await client.after(LinkLost(ONE))
    clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, WORKER, JOB)]


def fault_of(effects: list[object]) -> Fault:
    finished = effects[-1]
    assert isinstance(finished, Finished)
    assert finished.fault is not None
    return finished.fault


async def end_of(client: Client, *events: object) -> Fault:
    """Send these events, after which the Client must have failed; return the fault."""
    fault = fault_of(await client.after(*events))
    assert client.state is Status.AVAILABLE
    return fault


# -------- the package


async def test_after_the_authentication_the_job_and_its_package_are_sent(client: Client) -> None:
    await client.after(JobWanted(CREDENTIALS, NamedWorker(WORKER), SUBMIT, 0, PATIENCE), WorkersChanged(()))
    assert await client.after(trusted(ONE)) == [TellPeer(ONE, SUBMIT)]
    assert await client.after(PeerMessage(ONE, JobAccepted(JOB, KEY))) == [SendPackage(ONE, JOB)]
    assert client.state is Status.RESERVED
    assert await client.after(PackageSent()) == []
    assert client.state is Status.BUSY


async def test_a_worker_that_does_not_say_whether_it_takes_the_job_is_given_up(
    client: Client, autojump_clock: MockClock
) -> None:
    await client.after(JobWanted(CREDENTIALS, NamedWorker(WORKER), SUBMIT, 0, PATIENCE), WorkersChanged(()))
    autojump_clock.jump(PATIENCE - 1)
    await client.after(trusted(ONE))
    autojump_clock.jump(PATIENCE - 1)
    assert await client.after() == []
    autojump_clock.jump(2)
    effects = await client.after()
    assert fault_of(effects).code is FaultCode.LINK_FAILED
    assert effects[0] == CloseLink(ONE)


async def test_an_upload_may_take_all_night(client: Client, autojump_clock: MockClock) -> None:
    await uploading(client)
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == []


async def test_a_link_lost_before_the_job_was_accepted_ends_the_client(client: Client) -> None:
    await submitted(client)
    assert (await end_of(client, LinkLost(ONE))).code is FaultCode.LINK_LOST


@pytest.mark.parametrize("prepare", [submitted, uploading, running])
async def test_a_worker_that_ends_the_conversation_is_quoted(client: Client, prepare: object) -> None:
    await prepare(client)
    fault = Fault(FaultCode.BAD_PACKAGE, "No jobs in it.")
    assert await client.after(PeerMessage(ONE, fault)) == [CloseLink(ONE), Finished(fault)]
    assert client.state is Status.AVAILABLE


async def test_a_package_that_cannot_be_sent_ends_the_client_with_the_reason(client: Client) -> None:
    await uploading(client)
    fault = Fault(FaultCode.DISK_FULL, "No room.")
    assert await client.after(UploadFailed(fault)) == [CloseLink(ONE), Finished(fault)]
    assert client.state is Status.AVAILABLE


async def test_a_package_that_the_worker_rejects_ends_the_client_with_its_reason(client: Client) -> None:
    await uploading(client)
    bad = JobEnded(JOB, Outcome.FAILED, "No jobs in it.", result=False)
    effects = await client.after(PeerMessage(ONE, bad))
    assert effects == [CloseLink(ONE), Finished(Fault(FaultCode.JOB_FAILED, bad.text), bad)]
    assert client.state is Status.AVAILABLE


@pytest.mark.parametrize("leave", [Drain(), CancelWanted()])
async def test_an_interruption_before_the_job_was_accepted_leaves_nothing(client: Client, leave: object) -> None:
    await submitted(client)
    effects = await client.after(leave)
    assert effects[:-1] == [CloseLink(ONE)]
    assert fault_of(effects).code is FaultCode.INTERRUPTED


@pytest.mark.parametrize("leave", [Drain(), CancelWanted()])
async def test_an_interruption_of_the_upload_cancels_a_job_that_may_just_have_begun(
    client: Client, leave: object
) -> None:
    await uploading(client)
    effects = await client.after(leave)
    assert effects[:-1] == [TellPeer(ONE, CANCEL), CloseLink(ONE)]
    assert fault_of(effects).code is FaultCode.INTERRUPTED


async def test_there_is_nothing_to_stop_before_the_job_runs(client: Client) -> None:
    await uploading(client)
    assert await client.after(StopWanted()) == []
    assert client.state is Status.RESERVED


# -------- a link lost during the upload


async def test_whether_a_job_began_whose_upload_was_cut_is_asked_of_the_worker(
    client: Client, autojump_clock: MockClock
) -> None:
    await uploading(client)
    cut = UploadFailed(Fault(FaultCode.LINK_LOST, "The link broke."))
    assert await client.after(cut, LinkLost(ONE)) == []
    assert client.state is Status.BUSY
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, WORKER, JOB)]
    assert await client.after(trusted(TWO)) == [SendJobKey(TWO, CREDENTIAL, supply=True)]


async def test_a_job_that_began_though_its_upload_was_cut_goes_on_like_any_other(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    assert await client.after(trusted(TWO), PeerMessage(TWO, RUNS)) == [SendJobKey(TWO, CREDENTIAL, supply=True)]
    assert await client.after(PeerMessage(TWO, DONE)) == [FetchResult(TWO)]


async def test_a_package_whose_beginning_was_not_kept_is_sent_again_when_the_worker_refuses_its_job(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    assert await client.after(LinkRefused(WORKER, UNKNOWN_FAULT)) == [CloseLink(TWO), OpenLink(THREE, WORKER)]
    assert client.state is Status.RESERVED
    assert await client.after(trusted(THREE)) == [TellPeer(THREE, SUBMIT)]
    again = JobId("job-2")
    assert await client.after(PeerMessage(THREE, JobAccepted(again, "key-2"))) == [SendPackage(THREE, again)]


async def test_a_package_whose_beginning_was_not_kept_is_sent_again_when_the_session_does_not_know_its_job(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    effects = await client.after(trusted(TWO), PeerMessage(TWO, GONE))
    assert effects == [SendJobKey(TWO, CREDENTIAL, supply=True), CloseLink(TWO), OpenLink(THREE, WORKER)]


async def test_a_package_that_never_gets_there_is_not_sent_for_ever(client: Client, autojump_clock: MockClock) -> None:
    await away(client, autojump_clock, begun=False)
    for link in range(3, 3 + 2 * RESUBMITS_MAX, 2):
        await client.after(LinkRefused(WORKER, UNKNOWN_FAULT), trusted(LinkId(link)))
        await client.after(PeerMessage(LinkId(link), JobAccepted(JOB, KEY)), LinkLost(LinkId(link)))
        autojump_clock.jump(FIRST_PAUSE)
        assert await client.after() == [CloseLink(LinkId(link)), OpenLink(LinkId(link + 1), WORKER, JOB)]
    fault = await end_of(client, LinkRefused(WORKER, UNKNOWN_FAULT))
    assert fault.code is FaultCode.LINK_LOST
    assert "nothing runs there" in fault.text


async def test_a_job_that_was_to_be_cancelled_is_not_sent_again(client: Client, autojump_clock: MockClock) -> None:
    await away(client, autojump_clock, begun=False)
    await client.after(CancelWanted())
    assert "nothing runs there" in (await end_of(client, LinkRefused(WORKER, UNKNOWN_FAULT))).text


async def test_a_person_that_leaves_while_the_upload_is_uncertain_is_told_so(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    fault = await end_of(client, Drain())
    assert fault.code is FaultCode.DETACHED
    assert "only the worker knows" in fault.text


async def test_a_worker_that_has_only_a_part_of_the_package_is_sent_the_rest(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    effects = await client.after(trusted(TWO), PeerMessage(TWO, PREPARING))
    assert effects == [SendJobKey(TWO, CREDENTIAL, supply=True), SendPackage(TWO, JOB)]
    assert client.state is Status.RESERVED
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == [], "it may take all night again"
    assert await client.after(PackageSent()) == []
    assert client.state is Status.BUSY
    assert await client.after(PeerMessage(TWO, DONE)) == [FetchResult(TWO)]


async def test_a_worker_that_gives_up_on_the_rest_is_quoted(client: Client, autojump_clock: MockClock) -> None:
    await away(client, autojump_clock, begun=False)
    await client.after(trusted(TWO), PeerMessage(TWO, PREPARING))
    never = JobEnded(JOB, Outcome.FAILED, "Its package never came whole.", result=False)
    assert await end_of(client, PeerMessage(TWO, never)) == Fault(FaultCode.JOB_FAILED, never.text)


async def test_after_a_cancel_while_the_upload_is_uncertain_the_rest_is_not_sent(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    effects = await client.after(CancelWanted(), trusted(TWO), PeerMessage(TWO, PREPARING))
    assert effects == [SendJobKey(TWO, CREDENTIAL, supply=True), TellPeer(TWO, CANCEL)]
    assert client.state is Status.BUSY


async def test_a_client_that_never_reconnects_to_an_uncertain_job_is_not_promised_its_result(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    effects: list[object] = []
    for link in range(2, 2 + RECONNECTS_MAX):
        effects = await client.after(LinkLost(LinkId(link)))
        autojump_clock.jump(RECONNECT_PAUSE)
        await client.after()
    assert "its result is kept" not in fault_of(effects).text


async def test_a_job_whose_package_was_complete_when_its_link_broke_is_known_to_have_begun(client: Client) -> None:
    await uploading(client)
    assert await client.after(LinkLost(ONE), PackageSent()) == []
    assert "the job runs on" in (await end_of(client, Drain())).text


async def test_a_worker_that_does_not_know_the_job_it_has_just_accepted_runs_nothing(client: Client) -> None:
    await uploading(client)
    effects = await client.after(PeerMessage(ONE, GONE))
    assert effects[:-1] == [CloseLink(ONE)]
    assert "nothing runs there" in fault_of(effects).text
    assert client.state is Status.AVAILABLE


async def test_a_link_that_breaks_again_while_the_upload_is_uncertain_is_opened_again(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    await client.after(trusted(TWO), PeerMessage(TWO, PREPARING), LinkLost(TWO))
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(TWO), OpenLink(THREE, WORKER, JOB)]


# -------- the job


async def test_what_happens_in_the_job_needs_no_decision(client: Client) -> None:
    await running(client)
    news = JobEvent(JobStarted(JOB, ("centroid",)), at=1.0, seq=1)
    assert await client.after(PeerMessage(ONE, news), PeerMessage(ONE, RUNS), PeerMessage(TWO, CANCELLED)) == []
    assert client.state is Status.BUSY


async def test_a_job_is_stopped_as_far_as_the_person_wants(client: Client) -> None:
    await running(client)
    assert await client.after(StopWanted()) == [TellPeer(ONE, STOP)]
    assert await client.after(StopWanted(StopScope.ALL)) == [TellPeer(ONE, STOP_ALL)]
    assert client.state is Status.BUSY


async def test_a_cancelled_jobs_end_is_awaited_and_reported(client: Client) -> None:
    await running(client)
    assert await client.after(CancelWanted()) == [TellPeer(ONE, CANCEL)]
    assert client.state is Status.BUSY
    effects = await client.after(PeerMessage(ONE, CANCELLED))
    assert effects == [CloseLink(ONE), Finished(Fault(FaultCode.CANCELLED, "Cancelled."), CANCELLED)]


async def test_an_interruption_while_the_job_runs_detaches(client: Client) -> None:
    await running(client)
    effects = await client.after(Drain())
    assert effects[:-1] == [CloseLink(ONE)]
    assert fault_of(effects).code is FaultCode.DETACHED
    assert "the job runs on" in fault_of(effects).text


async def test_a_worker_that_was_stopped_does_not_run_on(client: Client) -> None:
    await running(client)
    fault = Fault(FaultCode.CANCELLED, "The worker was stopped.")
    assert await end_of(client, LinkLost(ONE, fault)) == fault


async def test_a_late_refusal_changes_nothing_for_a_running_job(client: Client) -> None:
    await running(client)
    assert await client.after(LinkRefused(WORKER, BUSY_FAULT), LinkRefused(OTHER, BUSY_FAULT)) == []
    assert client.state is Status.BUSY


# -------- reconnection


async def test_a_link_lost_while_the_job_runs_is_opened_again_and_the_job_reattached_with_its_key(
    client: Client, autojump_clock: MockClock
) -> None:
    await running(client)
    assert await client.after(LinkLost(ONE)) == []
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, WORKER, JOB)]
    assert await client.after(trusted(TWO)) == [SendJobKey(TWO, CREDENTIAL)]
    assert await client.after(PeerMessage(TWO, RUNS)) == []
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == []
    assert await client.after(PeerMessage(TWO, DONE)) == [FetchResult(TWO)]


async def test_further_tries_come_after_a_longer_pause(client: Client, autojump_clock: MockClock) -> None:
    await away(client, autojump_clock)
    assert await client.after(LinkLost(TWO)) == []
    autojump_clock.jump(RECONNECT_PAUSE - 0.1)
    assert await client.after() == []
    autojump_clock.jump(0.2)
    assert await client.after() == [CloseLink(TWO), OpenLink(THREE, WORKER, JOB)]


async def test_after_a_reconnection_the_count_of_tries_begins_again(client: Client, autojump_clock: MockClock) -> None:
    for link in range(1, RECONNECTS_MAX + 3):
        if link == 1:
            await running(client)
        else:
            await client.after(trusted(LinkId(link)), PeerMessage(LinkId(link), RUNS))
        assert await client.after(LinkLost(LinkId(link))) == []
        autojump_clock.jump(FIRST_PAUSE)
        await client.after()
    assert client.state is Status.BUSY


async def test_tries_to_reconnect_end_and_report_what_is_known(client: Client, autojump_clock: MockClock) -> None:
    await running(client)
    effects: list[object] = []
    for link in range(1, 2 + RECONNECTS_MAX):
        assert client.state is Status.BUSY
        effects = await client.after(LinkLost(LinkId(link)))
        autojump_clock.jump(RECONNECT_PAUSE)
        await client.after()
    assert fault_of(effects).code is FaultCode.LINK_LOST
    assert "its result is kept on the worker" in fault_of(effects).text
    assert client.state is Status.AVAILABLE


async def test_a_worker_that_has_left_its_room_is_awaited_for_a_shorter_time(
    client: Client, autojump_clock: MockClock
) -> None:
    await running(client)
    effects: list[object] = []
    for link in range(1, 2 + RECONNECTS_MAX // 2):
        assert client.state is Status.BUSY
        effects = await client.after(LinkLost(LinkId(link), NO_WORKER))
        autojump_clock.jump(RECONNECT_PAUSE)
        await client.after()
    assert NO_WORKER.text in fault_of(effects).text


async def test_a_job_that_the_worker_does_not_know_any_more_ends_with_its_reason(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock)
    assert await end_of(client, LinkRefused(WORKER, UNKNOWN_FAULT)) == UNKNOWN_FAULT


async def test_a_job_that_the_session_does_not_know_any_more_ends_with_its_reason(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock)
    effects = await client.after(trusted(TWO), PeerMessage(TWO, GONE))
    assert fault_of(effects) == Fault(FaultCode.NO_SUCH_JOB, GONE.text)


async def test_a_request_without_a_link_is_sent_after_the_reconnection(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock)
    assert await client.after(StopWanted(StopScope.ALL)) == []
    assert await client.after(trusted(TWO)) == [SendJobKey(TWO, CREDENTIAL)]
    assert await client.after(PeerMessage(TWO, RUNS)) == [TellPeer(TWO, STOP_ALL)]


async def test_a_request_just_before_the_link_broke_is_sent_again(client: Client, autojump_clock: MockClock) -> None:
    await running(client)
    await client.after(CancelWanted(), LinkLost(ONE))
    autojump_clock.jump(FIRST_PAUSE)
    await client.after()
    assert await client.after(trusted(TWO), PeerMessage(TWO, RUNS)) == [
        SendJobKey(TWO, CREDENTIAL),
        TellPeer(TWO, CANCEL),
    ]


async def test_a_stop_does_not_replace_a_cancel(client: Client, autojump_clock: MockClock) -> None:
    await away(client, autojump_clock)
    await client.after(CancelWanted(), StopWanted())
    assert TellPeer(TWO, CANCEL) in await client.after(trusted(TWO), PeerMessage(TWO, RUNS))


async def test_a_person_that_leaves_without_a_link_to_a_running_job_is_told_that_it_runs(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock)
    assert "the job runs on" in (await end_of(client, Drain())).text


# -------- a job of an earlier client


async def test_a_client_attaches_to_a_job_of_an_earlier_client(client: Client, autojump_clock: MockClock) -> None:
    assert await attaching(client) == [OpenLink(ONE, WORKER, JOB)]
    assert await client.after(trusted(ONE)) == [SendJobKey(ONE, CREDENTIAL)]
    assert client.state is Status.RESERVED
    assert await client.after(PeerMessage(ONE, RUNS)) == []
    assert client.state is Status.BUSY
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == []
    assert await client.after(PeerMessage(ONE, DONE)) == [FetchResult(ONE)]


async def test_a_job_that_was_attached_to_is_like_any_other(client: Client, autojump_clock: MockClock) -> None:
    await attaching(client)
    await client.after(trusted(ONE), PeerMessage(ONE, RUNS))
    assert await client.after(StopWanted()) == [TellPeer(ONE, STOP)]
    assert await client.after(LinkLost(ONE)) == []
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, WORKER, JOB)]


async def test_a_client_that_wants_only_the_events_ends_with_the_job_and_fetches_nothing(client: Client) -> None:
    await attaching(client, fetch=False)
    assert await client.after(trusted(ONE), PeerMessage(ONE, ENDED)) == [SendJobKey(ONE, CREDENTIAL, fetch=False)]
    assert await client.after(PeerMessage(ONE, DONE)) == [CloseLink(ONE), Finished(None, DONE)]


@pytest.mark.parametrize("leave", [Drain(), CancelWanted()])
async def test_leaving_before_an_earlier_job_was_reached_changes_nothing_for_it(client: Client, leave: object) -> None:
    await attaching(client)
    effects = await client.after(trusted(ONE), leave)
    assert effects[1:-1] == [CloseLink(ONE)], "the worker is not asked to cancel"
    assert fault_of(effects).code is FaultCode.DETACHED
    assert "nothing has changed" in fault_of(effects).text


async def test_an_earlier_job_that_the_worker_does_not_know_is_reported(client: Client) -> None:
    await attaching(client)
    assert await end_of(client, LinkRefused(WORKER, UNKNOWN_FAULT)) == UNKNOWN_FAULT


async def test_an_earlier_job_under_another_key_is_reported_as_unknown(client: Client) -> None:
    await attaching(client)
    await client.after(trusted(ONE))
    assert await end_of(client, PeerMessage(ONE, GONE)) == Fault(FaultCode.NO_SUCH_JOB, GONE.text)


async def test_a_worker_that_does_not_say_whether_it_knows_the_job_is_given_up(
    client: Client, autojump_clock: MockClock
) -> None:
    await attaching(client)
    autojump_clock.jump(PATIENCE - 1)
    await client.after(trusted(ONE))
    autojump_clock.jump(PATIENCE - 1)
    assert await client.after() == []
    autojump_clock.jump(2)
    assert (await end_of(client)).code is FaultCode.LINK_FAILED


async def test_an_unanswered_offer_for_an_earlier_job_is_sent_again(client: Client, autojump_clock: MockClock) -> None:
    await attaching(client)
    assert await client.after(LinkLost(ONE, Fault(FaultCode.STALLED, "The worker's half did not come."))) == []
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, WORKER, JOB)]


# -------- the result


async def test_a_result_is_fetched_and_unpacked_and_the_worker_notified(client: Client) -> None:
    await ended(client)
    assert await client.after(ResultDownloaded()) == []
    assert await client.after(ResultUnpacked()) == [TellPeer(ONE, TAKEN)]
    assert client.state is Status.BUSY
    assert await client.after(PeerMessage(ONE, ENDED)) == [CloseLink(ONE), Finished(None, DONE)]
    assert client.state is Status.AVAILABLE


async def test_a_failed_job_is_fetched_too_and_ends_with_its_reason(client: Client) -> None:
    await running(client)
    assert await client.after(PeerMessage(ONE, FAILED)) == [FetchResult(ONE)]
    effects = await client.after(ResultDownloaded(), ResultUnpacked(), PeerMessage(ONE, ENDED))
    assert effects[-1] == Finished(Fault(FaultCode.JOB_FAILED, FAILED.text), FAILED)


async def test_a_job_without_a_result_ends_at_once_with_its_reason(client: Client) -> None:
    await running(client)
    nothing = JobEnded(JOB, Outcome.FAILED, "No frames.", result=False)
    effects = await client.after(PeerMessage(ONE, nothing))
    assert effects == [CloseLink(ONE), Finished(Fault(FaultCode.JOB_FAILED, "No frames."), nothing)]


async def test_a_worker_that_does_not_acknowledge_the_receipt_is_not_awaited_for_long(
    client: Client, autojump_clock: MockClock
) -> None:
    await ended(client)
    await client.after(ResultDownloaded(), ResultUnpacked())
    autojump_clock.jump(RECEIPT_TIME - 1)
    assert await client.after() == []
    autojump_clock.jump(2)
    assert await client.after() == [CloseLink(ONE), Finished(None, DONE)]


@pytest.mark.parametrize("over", [LinkLost(ONE), Drain(), LinkLost(ONE, NO_WORKER)])
async def test_once_the_result_is_unpacked_no_event_makes_it_a_failure(client: Client, over: object) -> None:
    await ended(client)
    await client.after(ResultDownloaded(), ResultUnpacked())
    assert await client.after(over) == [CloseLink(ONE), Finished(None, DONE)]


async def test_once_the_result_is_unpacked_other_events_are_ignored(client: Client) -> None:
    await ended(client)
    await client.after(ResultDownloaded(), ResultUnpacked())
    late = (
        PeerMessage(ONE, BUSY_FAULT),
        PeerMessage(ONE, CANCELLED),
        PeerMessage(TWO, RUNS),
        LinkLost(TWO),
        CancelWanted(),
    )
    assert (
        await client.after(*late, StopWanted(), WorkersChanged(()), LinkRefused(WORKER, UNKNOWN_FAULT), trusted(ONE))
        == []
    )
    assert client.state is Status.BUSY


async def test_a_link_lost_while_the_result_is_unpacked_is_not_needed(
    client: Client, autojump_clock: MockClock
) -> None:
    await ended(client)
    assert await client.after(ResultDownloaded(), LinkLost(ONE)) == []
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == [], "there is no reason to reconnect"
    assert await client.after(ResultUnpacked()) == [Finished(None, DONE)], "and no link to notify the worker"
    assert client.state is Status.AVAILABLE


async def test_an_interruption_while_the_result_is_unpacked_does_not_lose_it(client: Client) -> None:
    await ended(client)
    assert await client.after(ResultDownloaded(), Drain(), CancelWanted(), StopWanted()) == []
    assert await client.after(ResultUnpacked()) == [TellPeer(ONE, TAKEN)]


async def test_an_interruption_while_the_result_comes_leaves_it_on_the_worker(client: Client) -> None:
    await ended(client)
    effects = await client.after(Drain())
    assert fault_of(effects).code is FaultCode.DETACHED
    assert "has ended" in fault_of(effects).text


async def test_a_job_that_has_ended_can_be_left_but_neither_stopped_nor_cancelled(client: Client) -> None:
    await ended(client)
    assert await client.after(StopWanted()) == []
    effects = await client.after(CancelWanted())
    assert effects[:-1] == [CloseLink(ONE)]
    assert fault_of(effects).code is FaultCode.DETACHED


async def test_a_link_lost_before_the_result_is_downloaded_is_opened_again_and_the_result_fetched(
    client: Client, autojump_clock: MockClock
) -> None:
    await ended(client)
    lost = DownloadFailed(Fault(FaultCode.LINK_LOST, "The link broke."))
    assert await client.after(lost, LinkLost(ONE)) == []
    autojump_clock.jump(FIRST_PAUSE)
    await client.after()
    assert await client.after(trusted(TWO), PeerMessage(TWO, ENDED)) == [SendJobKey(TWO, CREDENTIAL)]
    assert await client.after(PeerMessage(TWO, DONE)) == [FetchResult(TWO)]


async def test_a_result_that_finds_no_disk_space_ends_the_client_with_the_reason(client: Client) -> None:
    await ended(client)
    fault = Fault(FaultCode.DISK_FULL, "No room.")
    assert await client.after(DownloadFailed(fault)) == [CloseLink(ONE), Finished(fault)]


async def test_a_result_that_is_downloaded_just_after_the_link_broke_is_not_fetched_again(
    client: Client, autojump_clock: MockClock
) -> None:
    await ended(client)
    await client.after(LinkLost(ONE), ResultDownloaded())
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == []

"""The Client from the link on: its package, its job, the way back to it, and the result, in its own words."""

import pytest
from trio.testing import MockClock

from actors.client import FIRST_PAUSE, RECEIPT_TIME, RECONNECT_PAUSE
from actors.client_events import RECONNECTS_MAX, RESUBMITS_MAX, ClientData
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
    SendPackage,
    ShowJobKey,
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

PASS = RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
WORKER, OTHER = PeerId("worker-1"), PeerId("worker-2")
ONE, TWO, THREE = LinkId(1), LinkId(2), LinkId(3)
JOB, KEY = JobId("job-1"), "key"
TICKET = JobCredential(JOB, KEY)
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
    await client.after(JobWanted(PASS, NamedWorker(WORKER), SUBMIT, 0, PATIENCE), WorkersChanged(()), trusted(ONE))


async def uploading(client: Client) -> None:
    await submitted(client)
    await client.after(PeerMessage(ONE, JobAccepted(JOB, KEY)))
    assert client.state is Status.RESERVED


async def running(client: Client) -> None:
    await uploading(client)
    await client.after(PackageSent())
    assert client.state is Status.BUSY


async def attaching(client: Client, *, fetch: bool = True) -> list[object]:
    await client.after(JobWanted(PASS, NamedWorker(WORKER), patience=PATIENCE, credential=TICKET, fetch=fetch))
    return await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-2")), WorkersChanged(()))


async def ended(client: Client) -> None:
    await running(client)
    assert await client.after(PeerMessage(ONE, DONE)) == [FetchResult(ONE)]


async def away(client: Client, clock: MockClock, *, begun: bool = True) -> None:
    """The link is lost, and another one asked for."""
    await (running(client) if begun else uploading(client))
    await client.after(LinkLost(ONE))
    clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, WORKER, JOB)]


def fault_of(said: list[object]) -> Fault:
    finished = said[-1]
    assert isinstance(finished, Finished)
    assert finished.fault is not None
    return finished.fault


async def end_of(client: Client, *events: object) -> Fault:
    """Tell it these, and nothing is wanted any more; why that is a failure."""
    fault = fault_of(await client.after(*events))
    assert client.state is Status.AVAILABLE
    return fault


# -------- the package


async def test_trust_is_followed_by_the_wish_and_the_package(client: Client) -> None:
    await client.after(JobWanted(PASS, NamedWorker(WORKER), SUBMIT, 0, PATIENCE), WorkersChanged(()))
    assert await client.after(trusted(ONE)) == [TellPeer(ONE, SUBMIT)]
    assert await client.after(PeerMessage(ONE, JobAccepted(JOB, KEY))) == [SendPackage(ONE, JOB)]
    assert client.state is Status.RESERVED
    assert await client.after(PackageSent()) == []
    assert client.state is Status.BUSY


async def test_a_worker_that_does_not_say_whether_it_takes_the_job_is_given_up(
    client: Client, autojump_clock: MockClock
) -> None:
    await client.after(JobWanted(PASS, NamedWorker(WORKER), SUBMIT, 0, PATIENCE), WorkersChanged(()))
    autojump_clock.jump(PATIENCE - 1)
    await client.after(trusted(ONE))
    autojump_clock.jump(PATIENCE - 1)
    assert await client.after() == []
    autojump_clock.jump(2)
    said = await client.after()
    assert fault_of(said).code is FaultCode.LINK_FAILED
    assert said[0] == CloseLink(ONE)


async def test_an_upload_may_take_all_night(client: Client, autojump_clock: MockClock) -> None:
    await uploading(client)
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == []


async def test_a_link_lost_before_the_job_was_accepted_ends_the_wish(client: Client) -> None:
    await submitted(client)
    assert (await end_of(client, LinkLost(ONE))).code is FaultCode.LINK_LOST


@pytest.mark.parametrize("come", [submitted, uploading, running])
async def test_a_worker_that_ends_the_conversation_is_quoted(client: Client, come: object) -> None:
    await come(client)
    fault = Fault(FaultCode.BAD_PACKAGE, "No jobs in it.")
    assert await client.after(PeerMessage(ONE, fault)) == [CloseLink(ONE), Finished(fault)]
    assert client.state is Status.AVAILABLE


async def test_a_package_that_cannot_be_sent_ends_the_wish_with_the_couriers_reason(client: Client) -> None:
    await uploading(client)
    fault = Fault(FaultCode.DISK_FULL, "No room.")
    assert await client.after(UploadFailed(fault)) == [CloseLink(ONE), Finished(fault)]
    assert client.state is Status.AVAILABLE


async def test_a_package_that_turns_out_to_be_none_ends_the_wish_with_its_reason(client: Client) -> None:
    await uploading(client)
    bad = JobEnded(JOB, Outcome.FAILED, "No jobs in it.", result=False)
    said = await client.after(PeerMessage(ONE, bad))
    assert said == [CloseLink(ONE), Finished(Fault(FaultCode.JOB_FAILED, bad.text), bad)]
    assert client.state is Status.AVAILABLE


@pytest.mark.parametrize("leave", [Drain(), CancelWanted()])
async def test_an_interruption_before_the_job_was_accepted_leaves_nothing(client: Client, leave: object) -> None:
    await submitted(client)
    said = await client.after(leave)
    assert said[:-1] == [CloseLink(ONE)]
    assert fault_of(said).code is FaultCode.INTERRUPTED


@pytest.mark.parametrize("leave", [Drain(), CancelWanted()])
async def test_an_interruption_of_the_upload_cancels_a_job_that_may_just_have_begun(
    client: Client, leave: object
) -> None:
    await uploading(client)
    said = await client.after(leave)
    assert said[:-1] == [TellPeer(ONE, CANCEL), CloseLink(ONE)]
    assert fault_of(said).code is FaultCode.INTERRUPTED


async def test_there_is_nothing_to_stop_before_the_job_runs(client: Client) -> None:
    await uploading(client)
    assert await client.after(StopWanted()) == []
    assert client.state is Status.RESERVED


# -------- a link lost in mid-upload


async def test_whether_a_job_began_whose_upload_was_cut_is_asked_of_the_worker(
    client: Client, autojump_clock: MockClock
) -> None:
    await uploading(client)
    cut = UploadFailed(Fault(FaultCode.LINK_LOST, "The link broke."))
    assert await client.after(cut, LinkLost(ONE)) == []
    assert client.state is Status.BUSY
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, WORKER, JOB)]
    assert await client.after(trusted(TWO)) == [ShowJobKey(TWO, TICKET, supply=True)]


async def test_a_job_that_began_though_its_upload_was_cut_goes_on_like_any_other(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    assert await client.after(trusted(TWO), PeerMessage(TWO, RUNS)) == [ShowJobKey(TWO, TICKET, supply=True)]
    assert await client.after(PeerMessage(TWO, DONE)) == [FetchResult(TWO)]


async def test_a_package_whose_beginning_was_not_kept_is_sent_anew_when_the_worker_refuses_its_job(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    assert await client.after(LinkRefused(WORKER, UNKNOWN_FAULT)) == [CloseLink(TWO), OpenLink(THREE, WORKER)]
    assert client.state is Status.RESERVED
    assert await client.after(trusted(THREE)) == [TellPeer(THREE, SUBMIT)]
    again = JobId("job-2")
    assert await client.after(PeerMessage(THREE, JobAccepted(again, "key-2"))) == [SendPackage(THREE, again)]


async def test_a_package_whose_beginning_was_not_kept_is_sent_anew_when_the_window_does_not_know_its_job(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    said = await client.after(trusted(TWO), PeerMessage(TWO, GONE))
    assert said == [ShowJobKey(TWO, TICKET, supply=True), CloseLink(TWO), OpenLink(THREE, WORKER)]


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


async def test_a_job_that_was_to_be_cancelled_is_not_sent_anew(client: Client, autojump_clock: MockClock) -> None:
    await away(client, autojump_clock, begun=False)
    await client.after(CancelWanted())
    assert "nothing runs there" in (await end_of(client, LinkRefused(WORKER, UNKNOWN_FAULT))).text


async def test_who_leaves_while_it_is_in_doubt_whether_the_job_runs_is_told_so(
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
    said = await client.after(trusted(TWO), PeerMessage(TWO, PREPARING))
    assert said == [ShowJobKey(TWO, TICKET, supply=True), SendPackage(TWO, JOB)]
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


async def test_who_has_the_job_cancelled_while_its_package_is_in_doubt_does_not_send_the_rest(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    said = await client.after(CancelWanted(), trusted(TWO), PeerMessage(TWO, PREPARING))
    assert said == [ShowJobKey(TWO, TICKET, supply=True), TellPeer(TWO, CANCEL)]
    assert client.state is Status.BUSY


async def test_who_never_gets_back_to_a_job_in_doubt_is_not_promised_its_result(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock, begun=False)
    said: list[object] = []
    for link in range(2, 2 + RECONNECTS_MAX):
        said = await client.after(LinkLost(LinkId(link)))
        autojump_clock.jump(RECONNECT_PAUSE)
        await client.after()
    assert "its result is kept" not in fault_of(said).text


async def test_a_package_that_was_over_when_its_link_broke_is_known_to_have_begun(client: Client) -> None:
    await uploading(client)
    assert await client.after(LinkLost(ONE), PackageSent()) == []
    assert "the job runs on" in (await end_of(client, Drain())).text


async def test_a_worker_that_does_not_know_the_job_it_has_just_taken_runs_nothing(client: Client) -> None:
    await uploading(client)
    said = await client.after(PeerMessage(ONE, GONE))
    assert said[:-1] == [CloseLink(ONE)]
    assert "nothing runs there" in fault_of(said).text
    assert client.state is Status.AVAILABLE


async def test_a_link_that_breaks_again_while_the_package_is_in_doubt_is_made_again(
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


async def test_a_cancelled_jobs_end_is_waited_for_and_told(client: Client) -> None:
    await running(client)
    assert await client.after(CancelWanted()) == [TellPeer(ONE, CANCEL)]
    assert client.state is Status.BUSY
    said = await client.after(PeerMessage(ONE, CANCELLED))
    assert said == [CloseLink(ONE), Finished(Fault(FaultCode.CANCELLED, "Cancelled."), CANCELLED)]


async def test_an_interruption_while_the_job_runs_detaches(client: Client) -> None:
    await running(client)
    said = await client.after(Drain())
    assert said[:-1] == [CloseLink(ONE)]
    assert fault_of(said).code is FaultCode.DETACHED
    assert "the job runs on" in fault_of(said).text


async def test_a_worker_that_was_stopped_does_not_run_on(client: Client) -> None:
    await running(client)
    fault = Fault(FaultCode.CANCELLED, "The worker was stopped.")
    assert await end_of(client, LinkLost(ONE, fault)) == fault


async def test_a_late_refusal_changes_nothing_for_a_running_job(client: Client) -> None:
    await running(client)
    assert await client.after(LinkRefused(WORKER, BUSY_FAULT), LinkRefused(OTHER, BUSY_FAULT)) == []
    assert client.state is Status.BUSY


# -------- the way back


async def test_a_link_lost_while_the_job_runs_is_made_again_and_the_job_taken_up_with_its_key(
    client: Client, autojump_clock: MockClock
) -> None:
    await running(client)
    assert await client.after(LinkLost(ONE)) == []
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, WORKER, JOB)]
    assert await client.after(trusted(TWO)) == [ShowJobKey(TWO, TICKET)]
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


async def test_after_a_return_the_count_of_tries_begins_again(client: Client, autojump_clock: MockClock) -> None:
    for link in range(1, RECONNECTS_MAX + 3):
        if link == 1:
            await running(client)
        else:
            await client.after(trusted(LinkId(link)), PeerMessage(LinkId(link), RUNS))
        assert await client.after(LinkLost(LinkId(link))) == []
        autojump_clock.jump(FIRST_PAUSE)
        await client.after()
    assert client.state is Status.BUSY


async def test_tries_to_get_back_come_to_an_end_and_say_what_is_known(
    client: Client, autojump_clock: MockClock
) -> None:
    await running(client)
    said: list[object] = []
    for link in range(1, 2 + RECONNECTS_MAX):
        assert client.state is Status.BUSY
        said = await client.after(LinkLost(LinkId(link)))
        autojump_clock.jump(RECONNECT_PAUSE)
        await client.after()
    assert fault_of(said).code is FaultCode.LINK_LOST
    assert "its result is kept on the worker" in fault_of(said).text
    assert client.state is Status.AVAILABLE


async def test_a_worker_that_has_left_its_room_is_not_waited_for_as_long(
    client: Client, autojump_clock: MockClock
) -> None:
    await running(client)
    said: list[object] = []
    for link in range(1, 2 + RECONNECTS_MAX // 2):
        assert client.state is Status.BUSY
        said = await client.after(LinkLost(LinkId(link), NO_WORKER))
        autojump_clock.jump(RECONNECT_PAUSE)
        await client.after()
    assert NO_WORKER.text in fault_of(said).text


async def test_a_job_that_the_worker_does_not_know_any_more_is_said_in_its_words(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock)
    assert await end_of(client, LinkRefused(WORKER, UNKNOWN_FAULT)) == UNKNOWN_FAULT


async def test_a_job_that_the_window_does_not_know_any_more_is_said_in_its_words(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock)
    said = await client.after(trusted(TWO), PeerMessage(TWO, GONE))
    assert fault_of(said) == Fault(FaultCode.NO_SUCH_JOB, GONE.text)


async def test_what_the_person_wants_while_we_are_away_is_said_after_the_return(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock)
    assert await client.after(StopWanted(StopScope.ALL)) == []
    assert await client.after(trusted(TWO)) == [ShowJobKey(TWO, TICKET)]
    assert await client.after(PeerMessage(TWO, RUNS)) == [TellPeer(TWO, STOP_ALL)]


async def test_what_was_wanted_just_before_the_link_broke_is_said_again(
    client: Client, autojump_clock: MockClock
) -> None:
    await running(client)
    await client.after(CancelWanted(), LinkLost(ONE))
    autojump_clock.jump(FIRST_PAUSE)
    await client.after()
    assert await client.after(trusted(TWO), PeerMessage(TWO, RUNS)) == [ShowJobKey(TWO, TICKET), TellPeer(TWO, CANCEL)]


async def test_a_stop_does_not_take_back_a_cancel(client: Client, autojump_clock: MockClock) -> None:
    await away(client, autojump_clock)
    await client.after(CancelWanted(), StopWanted())
    assert TellPeer(TWO, CANCEL) in await client.after(trusted(TWO), PeerMessage(TWO, RUNS))


async def test_who_leaves_while_away_from_a_job_that_runs_is_told_that_it_does(
    client: Client, autojump_clock: MockClock
) -> None:
    await away(client, autojump_clock)
    assert "the job runs on" in (await end_of(client, Drain())).text


# -------- a job of an earlier client


async def test_a_job_of_an_earlier_client_is_come_back_to(client: Client, autojump_clock: MockClock) -> None:
    assert await attaching(client) == [OpenLink(ONE, WORKER, JOB)]
    assert await client.after(trusted(ONE)) == [ShowJobKey(ONE, TICKET)]
    assert client.state is Status.RESERVED
    assert await client.after(PeerMessage(ONE, RUNS)) == []
    assert client.state is Status.BUSY
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == []
    assert await client.after(PeerMessage(ONE, DONE)) == [FetchResult(ONE)]


async def test_a_job_that_was_come_back_to_is_like_any_other(client: Client, autojump_clock: MockClock) -> None:
    await attaching(client)
    await client.after(trusted(ONE), PeerMessage(ONE, RUNS))
    assert await client.after(StopWanted()) == [TellPeer(ONE, STOP)]
    assert await client.after(LinkLost(ONE)) == []
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, WORKER, JOB)]


async def test_who_wants_only_the_news_is_told_how_the_job_ended_and_fetches_nothing(client: Client) -> None:
    await attaching(client, fetch=False)
    assert await client.after(trusted(ONE), PeerMessage(ONE, ENDED)) == [ShowJobKey(ONE, TICKET, fetch=False)]
    assert await client.after(PeerMessage(ONE, DONE)) == [CloseLink(ONE), Finished(None, DONE)]


@pytest.mark.parametrize("leave", [Drain(), CancelWanted()])
async def test_who_leaves_before_an_earlier_job_was_reached_has_changed_nothing_for_it(
    client: Client, leave: object
) -> None:
    await attaching(client)
    said = await client.after(trusted(ONE), leave)
    assert said[1:-1] == [CloseLink(ONE)], "it is not told to cancel"
    assert fault_of(said).code is FaultCode.DETACHED
    assert "nothing has changed" in fault_of(said).text


async def test_an_earlier_job_that_the_worker_does_not_know_is_said(client: Client) -> None:
    await attaching(client)
    assert await end_of(client, LinkRefused(WORKER, UNKNOWN_FAULT)) == UNKNOWN_FAULT


async def test_an_earlier_job_under_another_key_is_said_to_be_unknown(client: Client) -> None:
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


async def test_an_offer_for_an_earlier_job_that_went_astray_is_made_again(
    client: Client, autojump_clock: MockClock
) -> None:
    await attaching(client)
    assert await client.after(LinkLost(ONE, Fault(FaultCode.STALLED, "The worker's half did not come."))) == []
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, WORKER, JOB)]


# -------- the result


async def test_a_result_is_fetched_put_in_its_place_and_the_worker_thanked(client: Client) -> None:
    await ended(client)
    assert await client.after(ResultDownloaded()) == []
    assert await client.after(ResultUnpacked()) == [TellPeer(ONE, TAKEN)]
    assert client.state is Status.BUSY
    assert await client.after(PeerMessage(ONE, ENDED)) == [CloseLink(ONE), Finished(None, DONE)]
    assert client.state is Status.AVAILABLE


async def test_a_failed_job_is_fetched_too_and_ends_in_its_reason(client: Client) -> None:
    await running(client)
    assert await client.after(PeerMessage(ONE, FAILED)) == [FetchResult(ONE)]
    said = await client.after(ResultDownloaded(), ResultUnpacked(), PeerMessage(ONE, ENDED))
    assert said[-1] == Finished(Fault(FaultCode.JOB_FAILED, FAILED.text), FAILED)


async def test_a_job_that_made_nothing_ends_at_once_in_its_reason(client: Client) -> None:
    await running(client)
    nothing = JobEnded(JOB, Outcome.FAILED, "No frames.", result=False)
    said = await client.after(PeerMessage(ONE, nothing))
    assert said == [CloseLink(ONE), Finished(Fault(FaultCode.JOB_FAILED, "No frames."), nothing)]


async def test_a_worker_that_does_not_answer_our_thanks_is_not_waited_for_long(
    client: Client, autojump_clock: MockClock
) -> None:
    await ended(client)
    await client.after(ResultDownloaded(), ResultUnpacked())
    autojump_clock.jump(RECEIPT_TIME - 1)
    assert await client.after() == []
    autojump_clock.jump(2)
    assert await client.after() == [CloseLink(ONE), Finished(None, DONE)]


@pytest.mark.parametrize("over", [LinkLost(ONE), Drain(), LinkLost(ONE, NO_WORKER)])
async def test_once_the_result_is_home_nothing_can_spoil_it(client: Client, over: object) -> None:
    await ended(client)
    await client.after(ResultDownloaded(), ResultUnpacked())
    assert await client.after(over) == [CloseLink(ONE), Finished(None, DONE)]


async def test_once_the_result_is_home_other_news_is_of_no_interest(client: Client) -> None:
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


async def test_a_link_lost_while_the_result_is_unpacked_is_not_missed(
    client: Client, autojump_clock: MockClock
) -> None:
    await ended(client)
    assert await client.after(ResultDownloaded(), LinkLost(ONE)) == []
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == [], "there is nothing to go back for"
    assert await client.after(ResultUnpacked()) == [Finished(None, DONE)], "and nobody to thank"
    assert client.state is Status.AVAILABLE


async def test_an_interruption_while_the_result_is_unpacked_does_not_lose_it(client: Client) -> None:
    await ended(client)
    assert await client.after(ResultDownloaded(), Drain(), CancelWanted(), StopWanted()) == []
    assert await client.after(ResultUnpacked()) == [TellPeer(ONE, TAKEN)]


async def test_an_interruption_while_the_result_comes_leaves_it_on_the_worker(client: Client) -> None:
    await ended(client)
    said = await client.after(Drain())
    assert fault_of(said).code is FaultCode.DETACHED
    assert "has ended" in fault_of(said).text


async def test_a_job_that_has_ended_can_be_left_but_neither_stopped_nor_cancelled(client: Client) -> None:
    await ended(client)
    assert await client.after(StopWanted()) == []
    said = await client.after(CancelWanted())
    assert said[:-1] == [CloseLink(ONE)]
    assert fault_of(said).code is FaultCode.DETACHED


async def test_a_link_lost_before_the_result_is_safe_is_made_again_and_the_result_fetched(
    client: Client, autojump_clock: MockClock
) -> None:
    await ended(client)
    lost = DownloadFailed(Fault(FaultCode.LINK_LOST, "The link broke."))
    assert await client.after(lost, LinkLost(ONE)) == []
    autojump_clock.jump(FIRST_PAUSE)
    await client.after()
    assert await client.after(trusted(TWO), PeerMessage(TWO, ENDED)) == [ShowJobKey(TWO, TICKET)]
    assert await client.after(PeerMessage(TWO, DONE)) == [FetchResult(TWO)]


async def test_a_result_that_finds_no_room_here_ends_the_wish_with_the_couriers_reason(client: Client) -> None:
    await ended(client)
    fault = Fault(FaultCode.DISK_FULL, "No room.")
    assert await client.after(DownloadFailed(fault)) == [CloseLink(ONE), Finished(fault)]


async def test_a_result_that_is_safe_just_after_the_link_broke_is_not_fetched_again(
    client: Client, autojump_clock: MockClock
) -> None:
    await ended(client)
    await client.after(LinkLost(ONE), ResultDownloaded())
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == []

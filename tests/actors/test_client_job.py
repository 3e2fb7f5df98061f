"""Tests of the Client from an accepted job on: package, job, reconnection and result, by events and effects."""

from typing import Any

import pytest
from attrs import evolve
from trio.testing import MockClock

from actors import events
from actors.client_actions import FIRST_PAUSE, RECEIPT_TIME, RECONNECT_PAUSE
from actors.client_data import ClientData, ClientPhase
from actors.client_guards import FOR_GOOD, RECONNECTS_MAX, RESUBMITS_MAX
from actors.events import (
    CloseLink,
    FetchResult,
    Finished,
    Interrupt,
    LinkLost,
    OpenLink,
    PeerMessage,
    RemoveTicket,
    TellPeer,
)
from actors.job_session import UNKNOWN_FAULT
from actors.worker import BUSY_FAULT
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import (
    AttachJob,
    CancelJob,
    JobAccepted,
    JobEnded,
    JobEvent,
    JobKind,
    JobNews,
    JobStage,
    JobStarted,
    JobState,
    LogLines,
    ModelStarted,
    ModelTrained,
    Outcome,
    PredictionStarted,
    ResultTaken,
    StopJob,
    StopScope,
    SubmitJob,
)
from protocol.status import Role
from rtc.testing.embedding import Embedded

Client = Embedded[ClientData]

pytestmark = pytest.mark.usefixtures("autojump_clock")

P = ClientPhase
CREDENTIALS = events.RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
WORKER = PeerId("worker-1")
ONE, TWO, THREE = LinkId(1), LinkId(2), LinkId(3)
JOB, KEY = JobId("job-1"), "key"
CREDENTIAL = events.JobCredential(JOB, KEY)
PATIENCE = 30.0
A_NIGHT = 12 * 3600
STOP, STOP_ALL = StopJob(JOB, KEY), StopJob(JOB, KEY, StopScope.ALL)
CANCEL, TAKEN = CancelJob(JOB, KEY), ResultTaken(JOB, KEY)
RUNS = JobState(JOB, JobStage.RUNNING, "Epoch 3 of 20.", events=40)
PREPARING = JobState(JOB, JobStage.PREPARING, "Its package is on the way.")
GONE = JobState(JOB, JobStage.UNKNOWN, "The worker has no such job of yours.")
ELSEWHERE = JobState(JOB, JobStage.ELSEWHERE, "Another worker of that machine has it.")
ENDED = JobState(JOB, JobStage.ENDED, "Trained.", 52, Outcome.DONE, result=True)
DONE = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)
FAILED = JobEnded(JOB, Outcome.FAILED, "Key 'x' not in 'TrainerConfig'", result=True)
CANCELLED = JobEnded(JOB, Outcome.CANCELLED, "Cancelled.", result=False)
NO_WORKER = Fault(FaultCode.NO_WORKER, "No such worker.")
STOPPED = Fault(FaultCode.CANCELLED, "The worker was stopped.")
BROKEN = Fault(FaultCode.LINK_LOST, "The connection to the other side was lost.")
NO_ROOM = Fault(FaultCode.DISK_FULL, "No room.")
DROPPED = RemoveTicket(JOB)
REJOIN = events.JoinRoom(CREDENTIALS, PATIENCE)
WANTED = events.JobWanted(CREDENTIALS, events.NamedWorker(WORKER), SUBMIT, 0, PATIENCE)
ATTACH = evolve(WANTED, submit=None, credential=CREDENTIAL)
JOINED = events.JoinedRoom(RoomId("room-1"), "token", PeerId("client-1"))


def trusted(link: LinkId) -> events.Authenticated:
    return events.Authenticated(link, WORKER, proven=True, version=3)


def happened(seq: int | None, news: JobNews | None = None) -> JobEvent:
    return JobEvent(news or LogLines(JOB, ("a line",)), at=1.0, seq=seq)


def attach(link: LinkId, seen: int = 0, *, fetch: bool = True, supply: bool = False) -> TellPeer:
    return TellPeer(link, AttachJob(JOB, KEY, seen, fetch, supply))


# -------- on the way to each phase


async def submitted(client: Client, wanted: events.JobWanted = WANTED) -> None:
    await client.after(wanted, events.WorkersChanged(()), trusted(ONE))
    assert client.phase is P.SUBMITTING


async def uploading(client: Client, wanted: events.JobWanted = WANTED) -> None:
    await submitted(client, wanted)
    await client.after(PeerMessage(ONE, JobAccepted(JOB, KEY)))
    assert client.phase is P.UPLOADING


async def running(client: Client, wanted: events.JobWanted = WANTED, seen: int = 0) -> None:
    await uploading(client, wanted)
    await client.after(events.PackageSent(ONE), *(PeerMessage(ONE, happened(seq)) for seq in range(1, seen + 1)))
    assert client.phase is P.RUNNING


async def attaching(client: Client, wanted: events.JobWanted = ATTACH) -> list[object]:
    await client.after(wanted)
    return await client.after(JOINED, events.WorkersChanged(()))


async def attached(client: Client, wanted: events.JobWanted = ATTACH) -> None:
    await attaching(client, wanted)
    await client.after(trusted(ONE), PeerMessage(ONE, RUNS))
    assert client.phase is P.RUNNING


async def ended(client: Client, wanted: events.JobWanted = WANTED) -> None:
    await running(client, wanted)
    assert await client.after(PeerMessage(ONE, DONE)) == [FetchResult(ONE)]
    assert client.phase is P.DOWNLOADING


async def unpacking(client: Client) -> None:
    await ended(client)
    assert await client.after(events.ResultDownloaded()) == []
    assert client.phase is P.UNPACKING


async def confirming(client: Client) -> None:
    await unpacking(client)
    assert await client.after(events.ResultUnpacked()) == [TellPeer(ONE, TAKEN)]
    assert client.phase is P.CONFIRMING


async def upload_away(client: Client) -> None:
    await uploading(client)
    assert await client.after(LinkLost(ONE, BROKEN)) == []
    assert client.phase is P.UPLOAD_AWAY


async def upload_return(client: Client, clock: MockClock) -> None:
    await upload_away(client)
    clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), REJOIN, OpenLink(TWO, WORKER, JOB)]
    assert client.phase is P.UPLOAD_RETURN


async def away(client: Client, *, wanted: events.JobWanted = WANTED, seen: int = 0) -> None:
    await running(client, wanted, seen)
    assert await client.after(LinkLost(ONE, BROKEN)) == [CloseLink(ONE)]
    assert client.phase is P.RECONNECT_WAIT


async def reconnecting(client: Client, clock: MockClock, *, seen: int = 0) -> None:
    await away(client, seen=seen)
    clock.jump(FIRST_PAUSE)
    assert await client.after() == [REJOIN, OpenLink(TWO, WORKER, JOB)]
    assert client.phase is P.RECONNECTING


def finished_of(effects: list[object]) -> Finished:
    finished = effects[-1]
    assert isinstance(finished, Finished)
    return finished


def fault_of(effects: list[object]) -> Fault:
    fault = finished_of(effects).fault
    assert fault is not None
    return fault


async def end_of(client: Client, *happens: object) -> Fault:
    """Send these events, after which the Client must have failed; return the fault."""
    fault = fault_of(await client.after(*happens))
    assert client.phase is P.IDLE
    return fault


# -------- the package


async def test_the_accepted_job_gets_a_ticket_and_its_package_is_sent(client: Client) -> None:
    await submitted(client)
    assert await client.after(PeerMessage(ONE, JobAccepted(JOB, KEY))) == [
        events.SaveTicket(CREDENTIAL, WORKER),
        events.SendPackage(ONE, JOB),
    ]
    assert await client.after(events.PackageSent(ONE)) == []
    assert client.phase is P.RUNNING


async def test_an_upload_may_take_all_night(client: Client, autojump_clock: MockClock) -> None:
    await uploading(client)
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == []


async def test_a_job_whose_first_event_is_faster_than_the_end_of_its_upload_runs(client: Client) -> None:
    await uploading(client)
    assert await client.after(PeerMessage(ONE, happened(1)), events.PackageSent(ONE)) == []
    assert client.phase is P.RUNNING


async def test_a_job_that_ends_before_the_end_of_its_upload_is_noticed_is_fetched(client: Client) -> None:
    await uploading(client)
    assert await client.after(PeerMessage(ONE, FAILED), events.PackageSent(ONE)) == [FetchResult(ONE)]
    assert client.phase is P.DOWNLOADING


async def test_a_worker_that_cannot_go_on_with_the_upload_is_quoted(client: Client) -> None:
    await uploading(client)
    fault = Fault(FaultCode.BAD_PACKAGE, "No jobs in it.")
    assert await client.after(PeerMessage(ONE, fault)) == [DROPPED, CloseLink(ONE), Finished(fault)]


async def test_a_package_that_cannot_be_sent_ends_the_client_with_the_reason(client: Client) -> None:
    await uploading(client)
    assert await client.after(events.UploadFailed(ONE, NO_ROOM)) == [DROPPED, CloseLink(ONE), Finished(NO_ROOM)]


async def test_a_package_that_the_worker_rejects_ends_the_client_with_its_reason(client: Client) -> None:
    await uploading(client)
    bad = JobEnded(JOB, Outcome.FAILED, "No jobs in it.", result=False)
    effects = await client.after(PeerMessage(ONE, bad))
    assert effects == [DROPPED, CloseLink(ONE), Finished(Fault(FaultCode.JOB_FAILED, bad.text), bad)]


async def test_a_worker_that_is_stopped_during_the_upload_keeps_nothing(client: Client) -> None:
    await uploading(client)
    assert await client.after(LinkLost(ONE, STOPPED)) == [DROPPED, CloseLink(ONE), Finished(STOPPED)]


LEAVE = pytest.mark.parametrize(
    "leave", [events.Interrupted(), events.Drain(), events.CancelWanted()], ids=lambda event: type(event).__name__
)


@LEAVE
async def test_an_interruption_of_the_upload_cancels_a_job_that_may_just_have_begun(
    client: Client, leave: object
) -> None:
    await uploading(client)
    effects = await client.after(leave)
    assert effects[:-1] == [TellPeer(ONE, CANCEL), DROPPED, CloseLink(ONE)]
    assert fault_of(effects).code is FaultCode.INTERRUPTED


# -------- a link lost during the upload


async def test_whether_a_job_began_whose_upload_was_cut_is_asked_of_the_worker(
    client: Client, autojump_clock: MockClock
) -> None:
    await upload_return(client, autojump_clock)
    assert await client.after(trusted(TWO)) == [attach(TWO, supply=True)]


async def test_a_job_that_began_though_its_upload_was_cut_goes_on_like_any_other(
    client: Client, autojump_clock: MockClock
) -> None:
    await upload_return(client, autojump_clock)
    await client.after(trusted(TWO), PeerMessage(TWO, RUNS))
    assert client.phase is P.RUNNING
    assert await client.after(PeerMessage(TWO, DONE)) == [FetchResult(TWO)]


async def test_a_package_whose_beginning_was_not_kept_is_sent_again_when_the_worker_refuses_its_job(
    client: Client, autojump_clock: MockClock
) -> None:
    await upload_return(client, autojump_clock)
    assert await client.after(LinkLost(TWO, UNKNOWN_FAULT)) == [CloseLink(TWO), DROPPED, OpenLink(THREE, WORKER)]
    assert await client.after(trusted(THREE)) == [TellPeer(THREE, SUBMIT)]
    again = events.JobCredential(JobId("job-2"), "key-2")
    assert await client.after(PeerMessage(THREE, JobAccepted(again.job, again.key))) == [
        events.SaveTicket(again, WORKER),
        events.SendPackage(THREE, again.job),
    ]


async def test_a_package_whose_beginning_was_not_kept_is_sent_again_when_the_session_does_not_know_its_job(
    client: Client, autojump_clock: MockClock
) -> None:
    await upload_return(client, autojump_clock)
    effects = await client.after(trusted(TWO), PeerMessage(TWO, GONE))
    assert effects[1:] == [CloseLink(TWO), DROPPED, OpenLink(THREE, WORKER)]
    assert client.phase is P.CONNECTING


async def test_a_package_that_never_gets_there_is_not_sent_for_ever(client: Client, autojump_clock: MockClock) -> None:
    await upload_return(client, autojump_clock)
    for link in range(3, 3 + 2 * RESUBMITS_MAX, 2):
        await client.after(LinkLost(LinkId(link - 1), UNKNOWN_FAULT), trusted(LinkId(link)))
        await client.after(PeerMessage(LinkId(link), JobAccepted(JOB, KEY)), LinkLost(LinkId(link), BROKEN))
        autojump_clock.jump(FIRST_PAUSE)
        assert (await client.after())[-1] == OpenLink(LinkId(link + 1), WORKER, JOB)
    effects = await client.after(LinkLost(LinkId(2 + 2 * RESUBMITS_MAX), UNKNOWN_FAULT))
    assert DROPPED in effects
    assert fault_of(effects).code is FaultCode.LINK_LOST
    assert "nothing runs there" in fault_of(effects).text


@pytest.mark.parametrize("over_link", [False, True])
async def test_a_job_that_was_to_be_cancelled_is_not_sent_again(
    client: Client, autojump_clock: MockClock, over_link: bool
) -> None:
    await upload_return(client, autojump_clock)
    assert await client.after(events.CancelWanted()) == []
    unknown = [trusted(TWO), PeerMessage(TWO, GONE)] if over_link else [LinkLost(TWO, UNKNOWN_FAULT)]
    effects = await client.after(*unknown)
    assert effects[-3:-1] == [DROPPED, CloseLink(TWO)]
    assert "nothing runs there" in fault_of(effects).text


async def test_a_worker_that_has_only_a_part_of_the_package_is_sent_the_rest(
    client: Client, autojump_clock: MockClock
) -> None:
    await upload_return(client, autojump_clock)
    effects = await client.after(trusted(TWO), PeerMessage(TWO, PREPARING))
    assert effects[1:] == [events.SendPackage(TWO, JOB)]
    assert client.phase is P.UPLOADING
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == [], "it may take all night again"
    assert await client.after(events.PackageSent(ONE)) == [], "an older link says nothing about this one"
    assert client.phase is P.UPLOADING
    assert await client.after(events.PackageSent(TWO)) == []
    assert await client.after(PeerMessage(TWO, DONE)) == [FetchResult(TWO)]


async def test_a_worker_that_gives_up_on_the_rest_is_quoted(client: Client, autojump_clock: MockClock) -> None:
    await upload_return(client, autojump_clock)
    await client.after(trusted(TWO), PeerMessage(TWO, PREPARING))
    never = JobEnded(JOB, Outcome.FAILED, "Its package never came whole.", result=False)
    assert await end_of(client, PeerMessage(TWO, never)) == Fault(FaultCode.JOB_FAILED, never.text)


async def test_after_a_cancel_while_the_upload_is_uncertain_the_rest_is_not_sent(
    client: Client, autojump_clock: MockClock
) -> None:
    await upload_return(client, autojump_clock)
    effects = await client.after(events.CancelWanted(), trusted(TWO), PeerMessage(TWO, PREPARING))
    assert effects == [attach(TWO), TellPeer(TWO, CANCEL)], "nor is it offered"
    assert client.phase is P.RUNNING


async def test_a_client_that_never_comes_back_to_its_upload_is_not_promised_a_result(
    client: Client, autojump_clock: MockClock
) -> None:
    await upload_return(client, autojump_clock)
    effects: list[object] = []
    for link in range(2, 2 + RECONNECTS_MAX):
        assert client.phase is P.UPLOAD_RETURN
        effects = await client.after(LinkLost(LinkId(link), BROKEN))
        autojump_clock.jump(RECONNECT_PAUSE)
        await client.after()
    assert "only the worker knows" in fault_of(effects).text
    assert finished_of(effects).left == JOB


async def test_a_package_that_was_complete_when_its_link_broke_is_known_to_have_begun(
    client: Client, autojump_clock: MockClock
) -> None:
    await upload_away(client)
    assert await client.after(events.PackageSent(ONE)) == [CloseLink(ONE)]
    assert client.phase is P.RECONNECT_WAIT
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [REJOIN, OpenLink(TWO, WORKER, JOB)]
    assert client.phase is P.RECONNECTING


async def test_a_link_that_breaks_again_in_mid_upload_is_opened_again(
    client: Client, autojump_clock: MockClock
) -> None:
    await upload_return(client, autojump_clock)
    await client.after(trusted(TWO), PeerMessage(TWO, PREPARING), LinkLost(TWO, BROKEN))
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(TWO), REJOIN, OpenLink(THREE, WORKER, JOB)]


async def test_a_worker_that_is_stopped_while_its_client_returns_may_have_begun_the_job(
    client: Client, autojump_clock: MockClock
) -> None:
    await upload_return(client, autojump_clock)
    assert await client.after(LinkLost(TWO, STOPPED)) == [CloseLink(TWO), Finished(STOPPED, left=JOB)]


# -------- the job


async def test_what_happens_in_the_job_needs_no_effect(client: Client) -> None:
    await running(client)
    assert await client.after(PeerMessage(ONE, happened(1)), PeerMessage(ONE, happened(None))) == []
    assert client.data.seen == 1
    assert await client.after(PeerMessage(ONE, RUNS), PeerMessage(TWO, CANCELLED)) == []
    assert client.phase is P.RUNNING


async def test_a_repeated_event_is_ignored(client: Client) -> None:
    turns: list[Any] = []
    client.actor.watch = turns.append
    await running(client, seen=3)
    await client.after(PeerMessage(ONE, happened(2)), PeerMessage(ONE, happened(4)))
    assert [bool(turn.row.because) for turn in turns[-2:]] == [True, False]
    assert client.data.seen == 4


async def test_a_job_is_stopped_as_far_as_the_person_wants(client: Client) -> None:
    await running(client, seen=1)
    assert await client.after(events.StopWanted()) == [TellPeer(ONE, STOP)]
    assert await client.after(events.StopWanted(StopScope.ALL)) == [TellPeer(ONE, STOP_ALL)]
    assert client.phase is P.RUNNING


async def test_a_stop_before_the_first_event_is_sent_with_it(client: Client) -> None:
    await running(client)
    assert await client.after(events.StopWanted()) == [], "the worker has nothing to stop yet"
    assert await client.after(PeerMessage(ONE, happened(None))) == []
    assert await client.after(PeerMessage(ONE, happened(1, JobStarted(JOB, ("centroid",))))) == [TellPeer(ONE, STOP)]
    assert await client.after(PeerMessage(ONE, happened(2))) == []


async def test_a_cancel_before_the_first_event_is_sent_at_once_and_once(client: Client) -> None:
    await running(client)
    assert await client.after(events.CancelWanted()) == [TellPeer(ONE, CANCEL)]
    assert await client.after(PeerMessage(ONE, happened(1))) == []


STORY: list[tuple[JobNews, bool]] = [
    (JobStarted(JOB, ("centroid", "centered_instance")), True),
    (ModelStarted(JOB, 0), True),
    (LogLines(JOB, ("a line",)), True),
    (ModelTrained(JOB, 0), False),
    (ModelStarted(JOB, 1), True),
    (ModelTrained(JOB, 1), False),
    (PredictionStarted(JOB, 0), False),
]
"""The story of a job, and whether one model could be stopped after each event."""


async def test_one_model_is_stopped_only_while_a_model_trains_or_is_about_to(client: Client) -> None:
    await running(client)
    for seq, (news, stoppable) in enumerate(STORY, start=1):
        await client.after(PeerMessage(ONE, happened(seq, news)))
        stop = [TellPeer(ONE, STOP)] if stoppable else []
        assert await client.after(events.StopWanted()) == stop, news
        assert await client.after(events.Interrupted()) == [events.AskInterrupt(stoppable)], news
    assert await client.after(events.StopWanted(StopScope.ALL)) == [TellPeer(ONE, STOP_ALL)], "the job goes on"


async def test_a_prediction_has_nothing_to_stop_from_the_beginning(client: Client) -> None:
    await running(client, evolve(WANTED, kind=JobKind.TRACK))
    assert await client.after(events.StopWanted(), PeerMessage(ONE, happened(1)), events.StopWanted()) == []
    assert await client.after(events.Interrupted()) == [events.AskInterrupt(stoppable=False)]


async def test_a_cancelled_jobs_end_is_awaited_and_reported(client: Client) -> None:
    await running(client)
    assert await client.after(events.CancelWanted()) == [TellPeer(ONE, CANCEL)]
    assert client.phase is P.RUNNING
    effects = await client.after(PeerMessage(ONE, CANCELLED))
    assert effects == [DROPPED, CloseLink(ONE), Finished(Fault(FaultCode.CANCELLED, "Cancelled."), CANCELLED)]


async def test_a_worker_that_was_stopped_does_not_run_on_but_keeps_what_there_is(client: Client) -> None:
    await running(client)
    assert await client.after(LinkLost(ONE, STOPPED)) == [CloseLink(ONE), Finished(STOPPED, left=JOB)]


async def test_a_fault_about_one_of_our_messages_does_not_end_a_running_job(client: Client) -> None:
    await running(client)
    unclear = Fault(FaultCode.BAD_MESSAGE, "What?")
    assert await client.after(PeerMessage(ONE, unclear), PeerMessage(ONE, BUSY_FAULT)) == []
    assert client.phase is P.RUNNING


async def test_a_worker_that_forgets_a_running_job_ends_it(client: Client) -> None:
    await running(client)
    effects = await client.after(events.StopWanted(StopScope.ALL), PeerMessage(ONE, GONE))
    assert effects == [DROPPED, CloseLink(ONE), Finished(Fault(FaultCode.NO_SUCH_JOB, GONE.text))]


async def test_what_the_room_says_does_not_concern_a_running_job(client: Client) -> None:
    await running(client)
    said = (JOINED, events.WorkersChanged(()), events.JoinFailed(NO_WORKER))
    assert await client.after(*said) == []
    assert client.phase is P.RUNNING


# -------- reconnection


async def test_a_link_lost_while_the_job_runs_is_opened_again_and_the_job_reattached_with_its_key(
    client: Client, autojump_clock: MockClock
) -> None:
    await reconnecting(client, autojump_clock, seen=7)
    assert await client.after(trusted(TWO)) == [attach(TWO, 7)], "only the later events are wanted"
    assert await client.after(PeerMessage(TWO, RUNS)) == []
    assert client.phase is P.RUNNING
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == []
    assert await client.after(PeerMessage(TWO, DONE)) == [FetchResult(TWO)]


async def test_further_tries_come_after_a_longer_pause(client: Client, autojump_clock: MockClock) -> None:
    await reconnecting(client, autojump_clock)
    assert await client.after(LinkLost(TWO, BROKEN)) == [CloseLink(TWO)]
    autojump_clock.jump(RECONNECT_PAUSE - 0.1)
    assert await client.after() == []
    autojump_clock.jump(0.2)
    assert await client.after() == [REJOIN, OpenLink(THREE, WORKER, JOB)]


@pytest.mark.parametrize("proven", [False, True])
async def test_a_try_that_nobody_answers_is_given_up_and_its_link_closed(
    client: Client, autojump_clock: MockClock, proven: bool
) -> None:
    await reconnecting(client, autojump_clock)
    if proven:
        await client.after(trusted(TWO))
    autojump_clock.jump(PATIENCE + 0.1)
    assert await client.after() == [CloseLink(TWO)]
    late = (trusted(TWO), PeerMessage(TWO, RUNS), LinkLost(TWO))
    assert await client.after(*late) == [], "whatever it does now"
    autojump_clock.jump(RECONNECT_PAUSE)
    assert await client.after() == [REJOIN, OpenLink(THREE, WORKER, JOB)]


async def test_a_return_to_the_upload_that_nobody_answers_is_given_up_and_its_link_closed(
    client: Client, autojump_clock: MockClock
) -> None:
    await upload_return(client, autojump_clock)
    autojump_clock.jump(PATIENCE + 0.1)
    assert await client.after() == [CloseLink(TWO)]
    assert client.phase is P.UPLOAD_AWAY
    assert await client.after(trusted(TWO), PeerMessage(TWO, PREPARING), LinkLost(TWO)) == []
    autojump_clock.jump(RECONNECT_PAUSE)
    assert await client.after() == [REJOIN, OpenLink(THREE, WORKER, JOB)]


async def test_after_a_reconnection_the_count_of_tries_begins_again(client: Client, autojump_clock: MockClock) -> None:
    for link in range(1, RECONNECTS_MAX + 3):
        if link == 1:
            await running(client)
        else:
            await client.after(trusted(LinkId(link)), PeerMessage(LinkId(link), RUNS))
        assert await client.after(LinkLost(LinkId(link), BROKEN)) == [CloseLink(LinkId(link))]
        autojump_clock.jump(FIRST_PAUSE)
        await client.after()
    assert client.phase is P.RECONNECTING


async def test_tries_to_reconnect_end_and_report_what_is_known(client: Client, autojump_clock: MockClock) -> None:
    await reconnecting(client, autojump_clock)
    effects: list[object] = []
    for link in range(2, 2 + RECONNECTS_MAX):
        assert client.phase is P.RECONNECTING
        effects = await client.after(LinkLost(LinkId(link), BROKEN))
        autojump_clock.jump(RECONNECT_PAUSE)
        await client.after()
    assert fault_of(effects).code is FaultCode.LINK_LOST
    assert "its result is kept on the worker" in fault_of(effects).text
    assert finished_of(effects).left == JOB


@pytest.mark.parametrize("code", FOR_GOOD)
async def test_a_worker_that_refuses_for_good_is_not_tried_again_and_the_ticket_stays(
    client: Client, autojump_clock: MockClock, code: FaultCode
) -> None:
    await reconnecting(client, autojump_clock)
    effects = await client.after(LinkLost(TWO, Fault(code, "It wants another secret.")))
    assert fault_of(effects).code is code
    assert fault_of(effects).text.startswith("It wants another secret. What is there of the job stays")
    assert finished_of(effects).left == JOB


async def test_a_worker_that_has_left_its_room_is_awaited_for_a_shorter_time(
    client: Client, autojump_clock: MockClock
) -> None:
    await reconnecting(client, autojump_clock)
    effects: list[object] = []
    for link in range(2, 3 + RECONNECTS_MAX // 2):
        assert client.phase is P.RECONNECTING
        effects = await client.after(LinkLost(LinkId(link), NO_WORKER))
        autojump_clock.jump(RECONNECT_PAUSE)
        await client.after()
    assert NO_WORKER.text in fault_of(effects).text


@pytest.mark.parametrize("over_link", [False, True])
async def test_a_job_that_the_worker_does_not_know_any_more_ends_with_its_reason(
    client: Client, autojump_clock: MockClock, over_link: bool
) -> None:
    await reconnecting(client, autojump_clock)
    unknown = [trusted(TWO), PeerMessage(TWO, GONE)] if over_link else [LinkLost(TWO, UNKNOWN_FAULT)]
    effects = await client.after(*unknown)
    assert effects[-3:-1] == [DROPPED, CloseLink(TWO)]
    assert fault_of(effects).code is FaultCode.NO_SUCH_JOB
    assert fault_of(effects).text in (GONE.text, UNKNOWN_FAULT.text)


async def test_a_worker_that_is_stopped_while_its_client_comes_back_is_quoted(
    client: Client, autojump_clock: MockClock
) -> None:
    await reconnecting(client, autojump_clock)
    assert await client.after(LinkLost(TWO, STOPPED)) == [CloseLink(TWO), Finished(STOPPED, left=JOB)]


async def test_a_stop_without_a_link_is_sent_after_the_reconnection(client: Client, autojump_clock: MockClock) -> None:
    await reconnecting(client, autojump_clock, seen=1)
    assert await client.after(events.StopWanted(StopScope.ALL)) == []
    await client.after(trusted(TWO))
    assert await client.after(PeerMessage(TWO, RUNS)) == [TellPeer(TWO, STOP_ALL)]


async def test_a_stop_before_the_first_event_waits_for_it_also_over_a_new_link(
    client: Client, autojump_clock: MockClock
) -> None:
    await reconnecting(client, autojump_clock)
    await client.after(events.StopWanted(), trusted(TWO))
    assert await client.after(PeerMessage(TWO, RUNS)) == []
    assert await client.after(PeerMessage(TWO, happened(1))) == [TellPeer(TWO, STOP)]


async def test_a_request_just_before_the_link_broke_is_sent_again(client: Client, autojump_clock: MockClock) -> None:
    await running(client)
    await client.after(events.CancelWanted(), LinkLost(ONE, BROKEN))
    autojump_clock.jump(FIRST_PAUSE)
    await client.after()
    assert await client.after(trusted(TWO), PeerMessage(TWO, RUNS)) == [attach(TWO), TellPeer(TWO, CANCEL)]


async def test_a_stop_does_not_replace_a_cancel(client: Client, autojump_clock: MockClock) -> None:
    await reconnecting(client, autojump_clock)
    await client.after(events.CancelWanted(), events.StopWanted())
    assert TellPeer(TWO, CANCEL) in await client.after(trusted(TWO), PeerMessage(TWO, RUNS))


async def test_without_a_link_too_there_may_be_nothing_to_stop(client: Client, autojump_clock: MockClock) -> None:
    await running(client)
    await client.after(PeerMessage(ONE, happened(1, PredictionStarted(JOB, 0))), LinkLost(ONE, BROKEN))
    autojump_clock.jump(FIRST_PAUSE)
    await client.after()
    assert await client.after(events.StopWanted(), trusted(TWO), PeerMessage(TWO, RUNS)) == [attach(TWO, 1)]


async def test_a_job_that_another_worker_has_is_left_where_it_is(client: Client, autojump_clock: MockClock) -> None:
    await reconnecting(client, autojump_clock)
    effects = await client.after(trusted(TWO), PeerMessage(TWO, ELSEWHERE))
    assert finished_of(effects) == Finished(Fault(FaultCode.NO_WORKER, ELSEWHERE.text), left=JOB)


# -------- a job of an earlier client


async def test_a_client_attaches_to_a_job_of_an_earlier_client(client: Client, autojump_clock: MockClock) -> None:
    assert await attaching(client) == [OpenLink(ONE, WORKER, JOB)]
    assert await client.after(trusted(ONE)) == [attach(ONE)]
    assert client.phase is P.ATTACHING
    assert await client.after(PeerMessage(ONE, RUNS)) == []
    assert client.phase is P.RUNNING
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == []
    assert await client.after(PeerMessage(ONE, DONE)) == [FetchResult(ONE)]


async def test_a_job_that_was_attached_to_is_like_any_other(client: Client, autojump_clock: MockClock) -> None:
    await attached(client)
    await client.after(PeerMessage(ONE, happened(1)))
    assert await client.after(events.StopWanted()) == [TellPeer(ONE, STOP)]
    assert await client.after(LinkLost(ONE, BROKEN)) == [CloseLink(ONE)]
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [REJOIN, OpenLink(TWO, WORKER, JOB)]


async def test_a_client_that_wants_only_the_events_ends_with_the_job_and_fetches_nothing(client: Client) -> None:
    await attaching(client, evolve(ATTACH, fetch=False))
    assert await client.after(trusted(ONE), PeerMessage(ONE, ENDED)) == [attach(ONE, fetch=False)]
    assert await client.after(PeerMessage(ONE, DONE)) == [CloseLink(ONE), Finished(None, DONE)], "and no ticket goes"


CATCH_UP = evolve(ATTACH, fetch=False, follow=False)


async def test_a_client_that_is_not_to_follow_ends_after_the_last_event_there_is(client: Client) -> None:
    await attached(client, CATCH_UP)
    for seq in range(1, RUNS.events):
        assert await client.after(PeerMessage(ONE, happened(seq))) == []
    assert await client.after(PeerMessage(ONE, happened(RUNS.events))) == [CloseLink(ONE), Finished(None)]
    assert client.phase is P.IDLE


async def test_a_client_that_is_not_to_follow_ends_at_once_when_there_is_no_event(client: Client) -> None:
    await attaching(client, CATCH_UP)
    effects = await client.after(trusted(ONE), PeerMessage(ONE, PREPARING))
    assert effects[1:] == [CloseLink(ONE), Finished(None)]


async def test_a_client_that_is_not_to_follow_goes_on_after_a_reconnection(
    client: Client, autojump_clock: MockClock
) -> None:
    await attached(client, CATCH_UP)
    await client.after(PeerMessage(ONE, happened(1)), LinkLost(ONE, BROKEN))
    autojump_clock.jump(FIRST_PAUSE)
    await client.after()
    later = evolve(RUNS, events=60)
    assert await client.after(trusted(TWO), PeerMessage(TWO, later)) == [attach(TWO, 1, fetch=False)]
    news = [PeerMessage(TWO, happened(seq)) for seq in range(2, RUNS.events + 1)]
    assert await client.after(*news) == [CloseLink(TWO), Finished(None)], "what it wanted at first is all here"


@LEAVE
@pytest.mark.parametrize("proven", [False, True])
async def test_leaving_before_an_earlier_job_was_reached_changes_nothing_for_it(
    client: Client, leave: object, proven: bool
) -> None:
    await attaching(client)
    if proven:
        await client.after(trusted(ONE))
    effects = await client.after(leave)
    assert effects[:-1] == [CloseLink(ONE)], "the worker is not asked to cancel"
    assert fault_of(effects).code is FaultCode.DETACHED
    assert "nothing has changed" in fault_of(effects).text
    assert finished_of(effects).left is None, "it says so already"


@pytest.mark.parametrize("worker_named", [False, True])
async def test_an_earlier_job_that_the_worker_does_not_know_is_reported(client: Client, worker_named: bool) -> None:
    await attaching(client, evolve(ATTACH, worker_named=worker_named))
    dropped = [] if worker_named else [DROPPED]
    effects = await client.after(LinkLost(ONE, UNKNOWN_FAULT))
    assert effects == [*dropped, CloseLink(ONE), Finished(UNKNOWN_FAULT)], "a named worker may be the wrong one"


async def test_an_earlier_job_under_another_key_is_reported_as_unknown(client: Client) -> None:
    await attaching(client)
    await client.after(trusted(ONE))
    assert await end_of(client, PeerMessage(ONE, GONE)) == Fault(FaultCode.NO_SUCH_JOB, GONE.text)


async def test_an_earlier_job_that_another_worker_has_is_reported_with_a_worker_to_look_for(client: Client) -> None:
    await attaching(client)
    await client.after(trusted(ONE))
    assert await end_of(client, PeerMessage(ONE, ELSEWHERE)) == Fault(FaultCode.NO_WORKER, ELSEWHERE.text)


async def test_a_worker_that_does_not_say_whether_it_knows_the_job_is_asked_again(
    client: Client, autojump_clock: MockClock
) -> None:
    await attaching(client)
    autojump_clock.jump(PATIENCE - 1)
    await client.after(trusted(ONE))
    autojump_clock.jump(PATIENCE - 1)
    assert await client.after() == []
    autojump_clock.jump(2)
    assert await client.after() == [CloseLink(ONE)]
    assert client.phase is P.RETRY_WAIT
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [OpenLink(TWO, WORKER, JOB)]


async def test_an_earlier_jobs_worker_that_is_not_there_is_reported(client: Client) -> None:
    await attaching(client)
    assert await end_of(client, LinkLost(ONE, NO_WORKER)) == NO_WORKER


async def test_a_worker_that_cannot_talk_about_the_job_is_quoted(client: Client) -> None:
    await attaching(client)
    await client.after(trusted(ONE))
    assert await end_of(client, PeerMessage(ONE, BUSY_FAULT)) == BUSY_FAULT


# -------- the result


async def test_a_result_is_fetched_and_unpacked_and_the_worker_notified(client: Client) -> None:
    await confirming(client)
    assert await client.after(PeerMessage(ONE, ENDED)) == [DROPPED, CloseLink(ONE), Finished(None, DONE)]
    assert client.phase is P.IDLE


async def test_a_failed_job_is_fetched_too_and_ends_with_its_reason(client: Client) -> None:
    await running(client)
    assert await client.after(PeerMessage(ONE, FAILED)) == [FetchResult(ONE)]
    effects = await client.after(events.ResultDownloaded(), events.ResultUnpacked(), PeerMessage(ONE, ENDED))
    assert effects[-1] == Finished(Fault(FaultCode.JOB_FAILED, FAILED.text), FAILED)


async def test_a_job_without_a_result_ends_at_once_with_its_reason(client: Client) -> None:
    await running(client)
    nothing = JobEnded(JOB, Outcome.FAILED, "No frames.", result=False)
    effects = await client.after(PeerMessage(ONE, nothing))
    assert effects == [DROPPED, CloseLink(ONE), Finished(Fault(FaultCode.JOB_FAILED, "No frames."), nothing)]


async def test_a_result_that_was_removed_meanwhile_is_a_job_that_is_gone(client: Client) -> None:
    await attached(client)
    removed = JobEnded(JOB, Outcome.DONE, "Its result was removed after 30 days.", result=False)
    effects = await client.after(PeerMessage(ONE, removed))
    assert effects == [DROPPED, CloseLink(ONE), Finished(Fault(FaultCode.NO_SUCH_JOB, removed.text))]


async def test_a_worker_that_does_not_acknowledge_the_receipt_is_not_awaited_for_long(
    client: Client, autojump_clock: MockClock
) -> None:
    await confirming(client)
    autojump_clock.jump(RECEIPT_TIME - 1)
    assert await client.after() == []
    autojump_clock.jump(2)
    assert await client.after() == [DROPPED, CloseLink(ONE), Finished(None, DONE)]


@pytest.mark.parametrize("over", [LinkLost(ONE), events.Drain(), LinkLost(ONE, NO_WORKER), events.Interrupted()])
async def test_once_the_result_is_unpacked_no_event_makes_it_a_failure(client: Client, over: object) -> None:
    await confirming(client)
    assert await client.after(over) == [DROPPED, CloseLink(ONE), Finished(None, DONE)]


async def test_once_the_result_is_unpacked_other_events_are_ignored(client: Client) -> None:
    await confirming(client)
    late = (
        *(PeerMessage(ONE, BUSY_FAULT), PeerMessage(ONE, CANCELLED), PeerMessage(TWO, RUNS), LinkLost(TWO)),
        *(events.CancelWanted(), events.StopWanted(), events.WorkersChanged(()), JOINED),
    )
    assert await client.after(*late) == []
    assert client.phase is P.CONFIRMING


async def test_a_link_lost_while_the_result_is_unpacked_is_not_needed(
    client: Client, autojump_clock: MockClock
) -> None:
    await unpacking(client)
    assert await client.after(LinkLost(ONE, BROKEN)) == [CloseLink(ONE)]
    assert client.phase is P.UNPACKING_OFFLINE
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == [], "there is no reason to reconnect"
    assert await client.after(events.ResultUnpacked()) == [DROPPED, Finished(None, DONE)], "nor a link to say it over"
    assert client.phase is P.IDLE


async def test_who_leaves_while_the_link_for_the_result_is_lost_hears_that_the_job_has_ended(client: Client) -> None:
    await ended(client)
    await client.after(LinkLost(ONE))
    assert "the job has ended" in (await end_of(client, events.Drain())).text


async def test_a_link_lost_before_the_result_is_downloaded_is_opened_again_and_the_result_fetched(
    client: Client, autojump_clock: MockClock
) -> None:
    await ended(client)
    assert await client.after(LinkLost(ONE, BROKEN)) == [CloseLink(ONE)]
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [REJOIN, OpenLink(TWO, WORKER, JOB)]
    assert await client.after(trusted(TWO), PeerMessage(TWO, ENDED)) == [attach(TWO)]
    assert await client.after(PeerMessage(TWO, DONE)) == [FetchResult(TWO)]


@pytest.mark.parametrize("prepare", [ended, unpacking])
async def test_a_result_that_finds_no_place_ends_the_client_with_the_reason(client: Client, prepare: Any) -> None:
    await prepare(client)
    assert await client.after(events.DownloadFailed(NO_ROOM)) == [CloseLink(ONE), Finished(NO_ROOM, DONE, JOB)]


async def test_a_result_that_cannot_be_unpacked_offline_ends_the_client_with_the_reason(client: Client) -> None:
    await unpacking(client)
    await client.after(LinkLost(ONE, BROKEN))
    assert await client.after(events.DownloadFailed(NO_ROOM)) == [Finished(NO_ROOM, DONE, JOB)]


async def test_a_result_that_is_complete_just_after_the_link_broke_is_not_fetched_again(
    client: Client, autojump_clock: MockClock
) -> None:
    await ended(client)
    assert await client.after(LinkLost(ONE, BROKEN), events.ResultDownloaded()) == [CloseLink(ONE)]
    assert client.phase is P.UNPACKING_OFFLINE
    autojump_clock.jump(A_NIGHT)
    assert await client.after() == []
    assert await client.after(events.ResultUnpacked()) == [DROPPED, Finished(None, DONE)]


async def test_a_result_that_is_complete_while_a_new_link_opens_needs_no_link(
    client: Client, autojump_clock: MockClock
) -> None:
    await ended(client)
    await client.after(LinkLost(ONE, BROKEN))
    autojump_clock.jump(FIRST_PAUSE)
    await client.after()
    assert await client.after(events.ResultDownloaded()) == [CloseLink(TWO)]
    assert client.phase is P.UNPACKING_OFFLINE


@pytest.mark.parametrize("fetched_again", [False, True])
async def test_a_result_that_is_complete_when_the_client_is_back_is_acknowledged_over_the_new_link(
    client: Client, autojump_clock: MockClock, fetched_again: bool
) -> None:
    await ended(client)
    await client.after(LinkLost(ONE, BROKEN))
    autojump_clock.jump(FIRST_PAUSE)
    await client.after()
    await client.after(trusted(TWO), PeerMessage(TWO, ENDED))
    if fetched_again:
        assert await client.after(PeerMessage(TWO, DONE)) == [FetchResult(TWO)]
    assert await client.after(events.ResultDownloaded(), PeerMessage(TWO, DONE)) == []
    assert client.phase is P.UNPACKING
    assert await client.after(events.ResultUnpacked()) == [TellPeer(TWO, TAKEN)]


# -------- the person interrupts


async def test_without_a_policy_the_person_is_asked(client: Client) -> None:
    await running(client)
    assert await client.after(events.Interrupted()) == [events.AskInterrupt(stoppable=True)]
    assert client.phase is P.RUNNING
    assert await client.after(events.StopWanted(), PeerMessage(ONE, happened(1))) == [TellPeer(ONE, STOP)]
    assert await client.after(events.Interrupted()) == [events.AskInterrupt(stoppable=True)], "once more"


async def run(client: Client, _clock: MockClock, wanted: events.JobWanted) -> None:
    await running(client, wanted, seen=1)


async def wait_to_reconnect(client: Client, _clock: MockClock, wanted: events.JobWanted) -> None:
    await away(client, wanted=wanted, seen=1)


async def reconnect(client: Client, clock: MockClock, wanted: events.JobWanted) -> None:
    await away(client, wanted=wanted, seen=1)
    clock.jump(FIRST_PAUSE)
    await client.after()


at_job = pytest.mark.parametrize("prepare", [run, wait_to_reconnect, reconnect])


@at_job
@pytest.mark.parametrize("scope", list(StopScope))
async def test_the_policy_stop_stops_the_job_early_and_a_second_interrupt_leaves_it(
    client: Client, autojump_clock: MockClock, prepare: Any, scope: StopScope
) -> None:
    await prepare(client, autojump_clock, evolve(WANTED, on_interrupt=Interrupt.STOP, stop=scope))
    assert await client.after(events.Interrupted()) == [events.StopWanted(scope)]
    assert (await end_of(client, events.Interrupted())).code is FaultCode.DETACHED


@at_job
async def test_the_policy_cancel_cancels_the_job_and_a_second_interrupt_leaves_it(
    client: Client, autojump_clock: MockClock, prepare: Any
) -> None:
    await prepare(client, autojump_clock, evolve(WANTED, on_interrupt=Interrupt.CANCEL))
    assert await client.after(events.Interrupted()) == [events.CancelWanted()]
    assert (await end_of(client, events.Interrupted())).code is FaultCode.DETACHED


@at_job
@pytest.mark.parametrize("leave", [events.Interrupted(), events.Drain()], ids=["policy detach", "Drain"])
async def test_who_leaves_a_running_job_is_told_that_it_runs_on(
    client: Client, autojump_clock: MockClock, prepare: Any, leave: object
) -> None:
    await prepare(client, autojump_clock, evolve(WANTED, on_interrupt=Interrupt.DETACH))
    effects = await client.after(leave)
    assert fault_of(effects).code is FaultCode.DETACHED
    assert "the job runs on" in fault_of(effects).text
    assert finished_of(effects).left == JOB
    assert client.phase is P.IDLE


async def test_a_job_that_another_wanted_to_stop_is_still_cancelled_by_policy(client: Client) -> None:
    await running(client, evolve(WANTED, on_interrupt=Interrupt.CANCEL), seen=1)
    await client.after(events.StopWanted())
    assert await client.after(events.Interrupted()) == [events.CancelWanted()]


@pytest.mark.parametrize("policy", [None, *Interrupt])
@pytest.mark.parametrize("leave", [events.Interrupted(), events.Drain()], ids=["Interrupted", "Drain"])
async def test_who_leaves_an_interrupted_upload_is_told_that_only_the_worker_knows(
    client: Client, autojump_clock: MockClock, policy: Interrupt | None, leave: object
) -> None:
    await uploading(client, evolve(WANTED, on_interrupt=policy))
    await client.after(LinkLost(ONE, BROKEN))
    if policy is not None:
        autojump_clock.jump(FIRST_PAUSE)
        await client.after()
    effects = await client.after(leave)
    assert fault_of(effects).code is FaultCode.DETACHED
    assert "only the worker knows" in fault_of(effects).text
    assert finished_of(effects).left == JOB


@pytest.mark.parametrize("policy", [None, *Interrupt])
@LEAVE
async def test_a_job_that_has_ended_can_only_be_left(client: Client, policy: Interrupt | None, leave: object) -> None:
    await ended(client, evolve(WANTED, on_interrupt=policy))
    assert await client.after(events.StopWanted()) == []
    effects = await client.after(leave)
    assert effects[:-1] == [CloseLink(ONE)]
    assert fault_of(effects).code is FaultCode.DETACHED
    assert "has ended" in fault_of(effects).text
    assert finished_of(effects).left == JOB


@pytest.mark.parametrize("offline", [False, True])
async def test_an_interruption_while_the_result_is_unpacked_does_not_lose_it_but_the_next_signal_ends_the_program(
    client: Client, offline: bool
) -> None:
    await unpacking(client)
    if offline:
        await client.after(LinkLost(ONE))
    for interruption in (events.Interrupted(), events.Drain()):
        assert await client.after(interruption) == [events.LetNextSignalCancel()]
    assert await client.after(events.CancelWanted(), events.StopWanted()) == []
    effects = await client.after(events.ResultUnpacked())
    assert effects == ([DROPPED, Finished(None, DONE)] if offline else [TellPeer(ONE, TAKEN)])


# -------- messages that fit nowhere


async def test_messages_that_fit_nowhere_change_nothing(client: Client, autojump_clock: MockClock) -> None:
    await submitted(client)
    assert await client.after(PeerMessage(ONE, RUNS), PeerMessage(ONE, happened(1)), PeerMessage(ONE, DONE)) == []
    assert client.phase is P.SUBMITTING
    await client.after(PeerMessage(ONE, JobAccepted(JOB, KEY)))
    assert await client.after(PeerMessage(ONE, GONE), PeerMessage(ONE, JobAccepted(JOB, KEY))) == []
    assert client.phase is P.UPLOADING
    autojump_clock.jump(PATIENCE + 1)
    assert await client.after() == [], "the time-out of the step before is over"

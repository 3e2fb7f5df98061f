"""The Client, in its own words."""

import pytest
from trio.testing import MockClock

from actors.client import FIRST_PAUSE, RETURN_PAUSE
from actors.client_events import ASKED_MAX, RETURNS_MAX, Quest
from actors.events import (
    Ask,
    Best,
    CloseLink,
    Direct,
    Drain,
    Enter,
    Entered,
    EnterFailed,
    FetchResult,
    Finished,
    Heard,
    LinkLost,
    OpenLink,
    Overdue,
    Picked,
    Refused,
    ResultHere,
    ResultLost,
    ResultSafe,
    RoomPass,
    RosterIs,
    Say,
    SendFailed,
    SendPackage,
    ShowRoster,
    TellLink,
    Ticket,
    Trusted,
    Wanted,
)
from actors.worker import BUSY_FAULT
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import AttachJob, JobAccepted, JobEnded, JobKind, JobStarted, Outcome, SubmitJob
from protocol.signaling import Granted, StandDown, Wait, WorkerShown
from protocol.status import Role, Status, WorkerFacts
from rtc.testing.embedding import Embedded

Client = Embedded[Quest]

pytestmark = pytest.mark.usefixtures("autojump_clock")

PASS = RoomPass(Role.CLIENT, RoomId("room-1"), "token")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
BIG, SMALL = PeerId("worker-big"), PeerId("worker-small")
ONE, TWO = LinkId(1), LinkId(2)
JOB = JobId("job-1")
PATIENCE = 30.0


def shown(peer: PeerId, memory: int, status: Status = Status.AVAILABLE) -> WorkerShown:
    return WorkerShown(peer, WorkerFacts(status, "bench", "lab", "GPU", memory, "0.3.5", "12.4", "0.1"))


BOTH = (shown(BIG, 24000), shown(SMALL, 8000))


async def want(client: Client, choice: Direct | Best | Ask, *roster: WorkerShown, memory: int = 0) -> list[object]:
    await client.after(Wanted(PASS, choice, SUBMIT, memory, PATIENCE))
    return await client.after(Entered(RoomId("room-1"), "token", PeerId("client-1")), RosterIs(roster))


async def submitted(client: Client) -> None:
    await want(client, Best(), *BOTH)
    await client.after(Trusted(ONE, BIG, proven=True))


async def running(client: Client) -> None:
    await submitted(client)
    await client.after(Heard(ONE, JobAccepted(JOB, "key")), Heard(ONE, JobStarted(JOB, ("centroid",))))
    assert client.state is Status.BUSY


def fault_of(said: list[object]) -> Fault:
    finished = said[-1]
    assert isinstance(finished, Finished)
    assert finished.fault is not None
    return finished.fault


async def test_first_the_room_then_a_worker(client: Client) -> None:
    assert await client.after(Wanted(PASS, Best(), SUBMIT, 0, PATIENCE)) == [Enter(PASS, PATIENCE)]


async def test_the_best_is_the_available_worker_with_most_memory(client: Client) -> None:
    assert await want(client, Best(), *BOTH) == [OpenLink(ONE, BIG)]


async def test_a_busy_worker_is_passed_over(client: Client) -> None:
    assert await want(client, Best(), shown(BIG, 24000, Status.BUSY), BOTH[1]) == [OpenLink(ONE, SMALL)]


async def test_the_next_best_is_asked_when_the_best_was_taken_meanwhile(client: Client) -> None:
    await want(client, Best(), *BOTH)
    assert await client.after(Refused(BIG, BUSY_FAULT)) == [CloseLink(ONE), OpenLink(TWO, SMALL)]


async def test_the_last_refusal_is_told_when_nobody_is_left(client: Client) -> None:
    await want(client, Best(), BOTH[0])
    assert fault_of(await client.after(Refused(BIG, BUSY_FAULT))) == BUSY_FAULT


async def test_too_little_memory_is_said_with_what_there_is(client: Client) -> None:
    fault = fault_of(await want(client, Best(), *BOTH, memory=40000))
    assert fault.code is FaultCode.NO_WORKER
    assert "24000 MB" in fault.text


async def test_an_empty_room_is_said(client: Client) -> None:
    assert fault_of(await want(client, Best())).code is FaultCode.NO_WORKER


async def test_all_taken_is_another_thing_than_nobody_there(client: Client) -> None:
    fault = fault_of(await want(client, Best(), shown(BIG, 24000, Status.RESERVED)))
    assert fault.code is FaultCode.WORKER_BUSY


async def test_a_named_worker_is_asked_without_looking_at_the_list(client: Client) -> None:
    assert await want(client, Direct(SMALL)) == [OpenLink(ONE, SMALL)]


async def test_a_named_worker_that_is_busy_ends_the_wish_with_its_advice(client: Client) -> None:
    await want(client, Direct(BIG), *BOTH)
    assert await client.after(Refused(BIG, BUSY_FAULT)) == [CloseLink(ONE), Finished(BUSY_FAULT)]


async def test_the_person_sees_only_workers_that_fit_and_sees_changes(client: Client) -> None:
    busy = shown(BIG, 24000, Status.BUSY)
    assert await want(client, Ask(), busy, BOTH[1]) == [ShowRoster((BOTH[1],))]
    assert await client.after(RosterIs(BOTH)) == [ShowRoster(BOTH)]


async def test_the_persons_choice_is_asked(client: Client) -> None:
    await want(client, Ask(), *BOTH)
    assert await client.after(Picked(SMALL)) == [OpenLink(ONE, SMALL)]


async def test_the_person_chooses_again_when_the_choice_was_taken(client: Client) -> None:
    await want(client, Ask(), *BOTH)
    await client.after(Picked(BIG))
    assert await client.after(Refused(BIG, BUSY_FAULT)) == [CloseLink(ONE), ShowRoster((BOTH[1],))]


async def test_a_person_may_think_as_long_as_they_like(client: Client, autojump_clock: MockClock) -> None:
    await want(client, Ask(), *BOTH)
    autojump_clock.jump(24 * 3600)
    assert await client.after() == []


async def test_leaving_the_list_is_an_interruption(client: Client) -> None:
    await want(client, Ask(), *BOTH)
    assert fault_of(await client.after(Picked(None))).code is FaultCode.INTERRUPTED


async def test_a_worker_that_does_not_answer_is_given_up(client: Client, autojump_clock: MockClock) -> None:
    await want(client, Best(), *BOTH)
    autojump_clock.jump(PATIENCE + 1)
    assert fault_of(await client.after()).code is FaultCode.LINK_FAILED


async def test_an_offer_that_went_astray_is_made_again_a_moment_later(
    client: Client, autojump_clock: MockClock
) -> None:
    await want(client, Direct(BIG), *BOTH)
    astray = Fault(FaultCode.STALLED, "The worker's half did not come.")
    assert await client.after(LinkLost(ONE, astray)) == []
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, BIG)]


async def test_a_worker_that_never_answers_is_given_up(client: Client, autojump_clock: MockClock) -> None:
    await want(client, Direct(BIG), *BOTH)
    astray = Fault(FaultCode.STALLED, "The worker's half did not come.")
    said: list[object] = []
    for link in range(1, 2 + (ASKED_MAX + 1) // 2):
        said = await client.after(LinkLost(LinkId(link), astray))
        autojump_clock.jump(FIRST_PAUSE * 2**ASKED_MAX)
        await client.after()
    assert fault_of(said) == astray


async def test_a_server_that_restarts_while_a_worker_is_asked_costs_some_seconds_only(
    client: Client, autojump_clock: MockClock
) -> None:
    await want(client, Direct(BIG), *BOTH)
    down = Fault(FaultCode.SERVER_LOST, "The line is down.")
    for link in range(1, 1 + ASKED_MAX):
        assert await client.after(Refused(BIG, down), LinkLost(LinkId(link), down)) == []
        autojump_clock.jump(FIRST_PAUSE * 2 ** (link - 1))
        assert await client.after() == [CloseLink(LinkId(link)), OpenLink(LinkId(link + 1), BIG)]


async def test_a_link_that_finds_no_way_is_not_tried_again(client: Client) -> None:
    await want(client, Direct(BIG), *BOTH)
    no_way = Fault(FaultCode.LINK_FAILED, "No common route.")
    assert fault_of(await client.after(LinkLost(ONE, no_way))) == no_way


async def test_a_shut_room_ends_the_wish(client: Client) -> None:
    await client.after(Wanted(PASS, Best(), SUBMIT))
    fault = Fault(FaultCode.ROOM_DENIED, "No.")
    assert await client.after(EnterFailed(fault)) == [Finished(fault)]


async def test_trust_is_followed_by_the_wish_and_the_package(client: Client) -> None:
    await want(client, Best(), *BOTH)
    assert await client.after(Trusted(ONE, BIG, proven=True)) == [TellLink(ONE, SUBMIT)]
    assert await client.after(Heard(ONE, JobAccepted(JOB, "key"))) == [SendPackage(ONE, JOB)]


async def test_an_upload_may_take_all_night(client: Client, autojump_clock: MockClock) -> None:
    await submitted(client)
    await client.after(Heard(ONE, JobAccepted(JOB, "key")))
    autojump_clock.jump(12 * 3600)
    assert await client.after() == []


async def test_a_finished_job_is_fetched_and_then_done(client: Client) -> None:
    await running(client)
    ended = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)
    assert await client.after(Heard(ONE, ended)) == [FetchResult(ONE)]
    assert await client.after(ResultSafe(), LinkLost(ONE), ResultHere()) == [CloseLink(ONE), Finished(None, ended)]


async def test_a_failed_job_is_fetched_too_and_ends_in_its_reason(client: Client) -> None:
    await running(client)
    ended = JobEnded(JOB, Outcome.FAILED, "Key 'x' not in 'TrainerConfig'", result=True)
    await client.after(Heard(ONE, ended))
    fault = fault_of(await client.after(ResultHere()))
    assert (fault.code, fault.text) == (FaultCode.JOB_FAILED, ended.text)


async def test_a_cancelled_job_without_result_ends_at_once(client: Client) -> None:
    await running(client)
    ended = JobEnded(JOB, Outcome.CANCELLED, "Cancelled.", result=False)
    assert fault_of(await client.after(Heard(ONE, ended))).code is FaultCode.CANCELLED


async def test_a_link_lost_before_the_job_ends_the_wish(client: Client) -> None:
    await submitted(client)
    assert fault_of(await client.after(LinkLost(ONE))).code is FaultCode.LINK_LOST


async def test_a_link_lost_while_the_job_runs_is_made_again_and_the_job_taken_up_with_its_key(
    client: Client, autojump_clock: MockClock
) -> None:
    await running(client)
    assert await client.after(LinkLost(ONE)) == []
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, BIG, JOB)]
    assert await client.after(Trusted(TWO, BIG, proven=True)) == [TellLink(TWO, AttachJob(JOB, "key"))]
    assert await client.after(Heard(TWO, JobAccepted(JOB, "key"))) == []
    ended = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)
    assert await client.after(Heard(TWO, ended)) == [FetchResult(TWO)]


async def test_a_job_of_an_earlier_client_is_come_back_to(client: Client) -> None:
    ticket = Ticket(JOB, "key")
    await client.after(Wanted(PASS, Direct(BIG), patience=PATIENCE, ticket=ticket))
    said = await client.after(Entered(RoomId("room-1"), "token", PeerId("client-2")), RosterIs(BOTH))
    assert said == [OpenLink(ONE, BIG, JOB)]
    assert await client.after(Trusted(ONE, BIG, proven=True)) == [TellLink(ONE, AttachJob(JOB, "key"))]
    assert await client.after(Heard(ONE, JobAccepted(JOB, "key"))) == []
    assert client.state is Status.BUSY
    ended = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)
    assert await client.after(Heard(ONE, ended)) == [FetchResult(ONE)]


async def test_a_job_that_the_worker_does_not_know_is_said(client: Client) -> None:
    await client.after(Wanted(PASS, Direct(BIG), patience=PATIENCE, ticket=Ticket(JOB, "key")))
    await client.after(Entered(RoomId("room-1"), "token", PeerId("client-2")), RosterIs(BOTH))
    unknown = Fault(FaultCode.NO_SUCH_JOB, "No such job of yours.")
    assert fault_of(await client.after(Heard(ONE, unknown))) == unknown


async def test_tries_to_get_back_come_to_an_end_and_say_what_is_known(
    client: Client, autojump_clock: MockClock
) -> None:
    await running(client)
    said: list[object] = []
    for link in range(1, 2 + RETURNS_MAX):
        said = await client.after(LinkLost(LinkId(link)))
        autojump_clock.jump(RETURN_PAUSE)
        await client.after()
    assert "If the worker still runs, so does the job" in fault_of(said).text


async def test_a_worker_that_has_left_its_room_is_not_waited_for_long(
    client: Client, autojump_clock: MockClock
) -> None:
    await running(client)
    gone = Fault(FaultCode.NO_WORKER, "No such worker.")
    said: list[object] = []
    for link in range(1, 2 + RETURNS_MAX // 4):
        said = await client.after(LinkLost(LinkId(link), gone))
        autojump_clock.jump(RETURN_PAUSE)
        await client.after()
    assert isinstance(said[-1], Finished)


async def test_a_worker_that_was_stopped_does_not_run_on(client: Client) -> None:
    await running(client)
    fault = Fault(FaultCode.CANCELLED, "The worker was stopped.")
    assert fault_of(await client.after(LinkLost(ONE, fault))) == fault


async def test_a_link_lost_before_the_result_is_safe_is_made_again_and_the_result_fetched(
    client: Client, autojump_clock: MockClock
) -> None:
    await running(client)
    ended = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)
    await client.after(Heard(ONE, ended))
    lost = ResultLost(Fault(FaultCode.LINK_LOST, "The link broke."))
    assert await client.after(lost, LinkLost(ONE)) == []
    autojump_clock.jump(FIRST_PAUSE)
    await client.after(Trusted(TWO, BIG, proven=True), Heard(TWO, JobAccepted(JOB, "key")))
    assert await client.after(Heard(TWO, ended)) == [FetchResult(TWO)]


@pytest.mark.parametrize("failed", [SendFailed, ResultLost])
async def test_the_couriers_reason_is_the_verdict(client: Client, failed: type[SendFailed] | type[ResultLost]) -> None:
    await (submitted(client) if failed is SendFailed else running(client))
    fault = Fault(FaultCode.DISK_FULL, "No room.")
    assert fault_of(await client.after(failed(fault))) == fault


async def wait_in_line(client: Client) -> None:
    busy = (shown(BIG, 24000, Status.BUSY),)
    await client.after(Wanted(PASS, Best(), SUBMIT, 8000, PATIENCE, wait=True))
    await client.after(Entered(RoomId("room-1"), "token", PeerId("client-1")), RosterIs(busy))
    assert client.data.waiting


async def test_who_would_rather_wait_stands_in_line(client: Client) -> None:
    await client.after(Wanted(PASS, Best(), SUBMIT, 8000, PATIENCE, wait=True))
    entered = Entered(RoomId("room-1"), "token", PeerId("client-1"))
    assert await client.after(entered, RosterIs((shown(BIG, 24000, Status.BUSY),))) == [Say(Wait(8000))]


async def test_who_waits_for_one_worker_waits_for_no_other(client: Client) -> None:
    await client.after(Wanted(PASS, Direct(BIG), SUBMIT, 0, PATIENCE, wait=True))
    await client.after(Entered(RoomId("room-1"), "token", PeerId("client-1")), RosterIs(BOTH))
    assert await client.after(Refused(BIG, BUSY_FAULT)) == [CloseLink(ONE), Say(Wait(0, BIG))]


async def test_a_room_in_which_nobody_would_ever_fit_is_not_waited_for(client: Client) -> None:
    await client.after(Wanted(PASS, Best(), SUBMIT, 99000, PATIENCE, wait=True))
    said = await client.after(Entered(RoomId("room-1"), "token", PeerId("client-1")), RosterIs(BOTH))
    assert fault_of(said).code is FaultCode.NO_WORKER


async def test_a_promised_worker_is_asked_and_the_line_left_once_it_trusts_us(client: Client) -> None:
    await wait_in_line(client)
    assert await client.after(Granted(BIG)) == [OpenLink(ONE, BIG)]
    assert await client.after(Trusted(ONE, BIG, proven=True)) == [Say(StandDown()), TellLink(ONE, SUBMIT)]


async def test_a_promise_that_comes_to_nothing_keeps_the_place(client: Client) -> None:
    await wait_in_line(client)
    await client.after(Granted(BIG))
    assert await client.after(Refused(BIG, BUSY_FAULT)) == [CloseLink(ONE), Say(Wait(8000))]


async def test_who_waits_does_not_jump_at_a_worker_that_the_list_shows_free(client: Client) -> None:
    await wait_in_line(client)
    assert await client.after(RosterIs(BOTH)) == []


async def test_after_a_lost_line_the_place_is_asked_for_again(client: Client) -> None:
    await wait_in_line(client)
    assert await client.after(Entered(RoomId("room-1"), "token", PeerId("client-1"))) == [Say(Wait(8000))]


async def test_the_line_is_waited_in_for_as_long_as_was_said(client: Client, autojump_clock: MockClock) -> None:
    await wait_in_line(client)
    autojump_clock.jump(24 * 3600)
    assert await client.after() == []
    assert fault_of(await client.after(Overdue())).code is FaultCode.WORKER_BUSY


async def test_patience_that_ends_after_the_promise_changes_nothing(client: Client) -> None:
    await wait_in_line(client)
    await client.after(Granted(BIG))
    assert await client.after(Overdue()) == []


async def test_an_interruption_before_the_job_leaves_nothing(client: Client) -> None:
    await submitted(client)
    said = await client.after(Drain())
    assert said[0] == CloseLink(ONE)
    assert fault_of(said).code is FaultCode.INTERRUPTED


async def test_an_interruption_while_the_job_runs_detaches(client: Client) -> None:
    await running(client)
    assert fault_of(await client.after(Drain())).code is FaultCode.DETACHED


async def test_an_interruption_while_the_result_is_unpacked_does_not_lose_it(client: Client) -> None:
    await running(client)
    ended = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)
    await client.after(Heard(ONE, ended), ResultSafe())
    assert await client.after(Drain()) == []
    assert await client.after(ResultHere()) == [CloseLink(ONE), Finished(None, ended)]


async def test_a_second_choice_while_the_first_is_being_linked_changes_nothing(client: Client) -> None:
    await want(client, Ask(), *BOTH)
    await client.after(Picked(BIG))
    assert await client.after(Picked(SMALL), Picked(None)) == []


async def test_a_late_refusal_of_another_worker_changes_nothing(client: Client) -> None:
    await running(client)
    assert await client.after(Refused(BIG, BUSY_FAULT), Refused(SMALL, BUSY_FAULT)) == []

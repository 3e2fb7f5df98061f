"""The Client on its way to a worker, in its own words; what follows is in `test_client_job.py`."""

import pytest
from trio.testing import MockClock

from actors.client import FIRST_PAUSE
from actors.client_events import OFFERS_MAX, ClientData
from actors.events import (
    AskPerson,
    Authenticated,
    BestWorker,
    CancelWanted,
    CloseLink,
    Drain,
    Finished,
    JobWanted,
    JoinedRoom,
    JoinFailed,
    JoinRoom,
    LinkLost,
    LinkRefused,
    NamedWorker,
    OpenLink,
    PeerMessage,
    RoomCredentials,
    SendToServer,
    ShowWorkers,
    TellPeer,
    WaitExpired,
    WorkerPicked,
    WorkersChanged,
)
from actors.worker import BUSY_FAULT
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import JobKind, SubmitJob
from protocol.signaling import JoinQueue, LeaveQueue, WorkerAssigned, WorkerPresent
from protocol.status import Role, Status, WorkerFacts
from rtc.testing.embedding import Embedded

Client = Embedded[ClientData]

pytestmark = pytest.mark.usefixtures("autojump_clock")

PASS = RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
BIG, SMALL = PeerId("worker-big"), PeerId("worker-small")
ONE, TWO = LinkId(1), LinkId(2)
JOB = JobId("job-1")
PATIENCE = 30.0


def shown(peer: PeerId, memory: int, status: Status = Status.AVAILABLE) -> WorkerPresent:
    return WorkerPresent(peer, WorkerFacts(status, "bench", "lab", "GPU", memory, "0.3.5", "12.4", "0.1"))


BOTH = (shown(BIG, 24000), shown(SMALL, 8000))


async def want(
    client: Client, choice: NamedWorker | BestWorker | AskPerson, *roster: WorkerPresent, memory: int = 0
) -> list[object]:
    await client.after(JobWanted(PASS, choice, SUBMIT, memory, PATIENCE))
    return await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-1")), WorkersChanged(roster))


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


async def test_first_the_room_then_a_worker(client: Client) -> None:
    assert await client.after(JobWanted(PASS, BestWorker(), SUBMIT, 0, PATIENCE)) == [JoinRoom(PASS, PATIENCE)]


async def test_the_best_is_the_available_worker_with_most_memory(client: Client) -> None:
    assert await want(client, BestWorker(), *BOTH) == [OpenLink(ONE, BIG)]


async def test_a_busy_worker_is_passed_over(client: Client) -> None:
    assert await want(client, BestWorker(), shown(BIG, 24000, Status.BUSY), BOTH[1]) == [OpenLink(ONE, SMALL)]


async def test_the_next_best_is_asked_when_the_best_was_taken_meanwhile(client: Client) -> None:
    await want(client, BestWorker(), *BOTH)
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), OpenLink(TWO, SMALL)]


async def test_who_is_asked_next_is_looked_up_in_the_newest_list(client: Client) -> None:
    await want(client, BestWorker(), *BOTH)
    other = shown(PeerId("worker-other"), 16000)
    assert await client.after(WorkersChanged((BOTH[0], other, shown(SMALL, 8000, Status.BUSY)))) == []
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), OpenLink(TWO, other.peer)]


async def test_the_last_refusal_is_told_when_nobody_is_left(client: Client) -> None:
    await want(client, BestWorker(), BOTH[0])
    assert await end_of(client, LinkRefused(BIG, BUSY_FAULT)) == BUSY_FAULT


async def test_too_little_memory_is_said_with_what_there_is(client: Client) -> None:
    fault = fault_of(await want(client, BestWorker(), *BOTH, memory=40000))
    assert fault.code is FaultCode.NO_WORKER
    assert "24000 MB" in fault.text


async def test_an_empty_room_is_said(client: Client) -> None:
    assert fault_of(await want(client, BestWorker())).code is FaultCode.NO_WORKER


async def test_all_taken_is_another_thing_than_nobody_there(client: Client) -> None:
    fault = fault_of(await want(client, BestWorker(), shown(BIG, 24000, Status.RESERVED)))
    assert fault.code is FaultCode.WORKER_BUSY


async def test_a_named_worker_is_asked_without_looking_at_the_list(client: Client) -> None:
    assert await want(client, NamedWorker(SMALL)) == [OpenLink(ONE, SMALL)]


async def test_a_named_worker_that_is_busy_ends_the_wish_with_its_advice(client: Client) -> None:
    await want(client, NamedWorker(BIG), *BOTH)
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), Finished(BUSY_FAULT)]


async def test_the_person_sees_only_workers_that_fit_and_sees_changes(client: Client) -> None:
    busy = shown(BIG, 24000, Status.BUSY)
    assert await want(client, AskPerson(), busy, BOTH[1]) == [ShowWorkers((BOTH[1],))]
    assert await client.after(WorkersChanged(BOTH)) == [ShowWorkers(BOTH)]


async def test_the_persons_choice_is_asked(client: Client) -> None:
    await want(client, AskPerson(), *BOTH)
    assert await client.after(WorkerPicked(SMALL)) == [OpenLink(ONE, SMALL)]


async def test_the_person_chooses_again_when_the_choice_was_taken(client: Client) -> None:
    await want(client, AskPerson(), *BOTH)
    await client.after(WorkerPicked(BIG))
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), ShowWorkers((BOTH[1],))]


async def test_a_person_may_think_as_long_as_they_like(client: Client, autojump_clock: MockClock) -> None:
    await want(client, AskPerson(), *BOTH)
    autojump_clock.jump(24 * 3600)
    assert await client.after() == []


@pytest.mark.parametrize("leave", [Drain(), CancelWanted()])
@pytest.mark.parametrize("choice", [BestWorker(), AskPerson()])
async def test_an_interruption_on_the_way_leaves_nothing(
    client: Client, choice: BestWorker | AskPerson, leave: Drain | CancelWanted
) -> None:
    await want(client, choice, *BOTH)
    said = await client.after(leave)
    assert fault_of(said).code is FaultCode.INTERRUPTED
    assert said[:-1] == ([CloseLink(ONE)] if choice == BestWorker() else [])
    assert client.state is Status.AVAILABLE


async def test_leaving_the_list_is_an_interruption(client: Client) -> None:
    await want(client, AskPerson(), *BOTH)
    assert (await end_of(client, WorkerPicked(None))).code is FaultCode.INTERRUPTED


async def test_a_worker_that_does_not_answer_is_given_up(client: Client, autojump_clock: MockClock) -> None:
    await want(client, BestWorker(), *BOTH)
    autojump_clock.jump(PATIENCE + 1)
    assert (await end_of(client)).code is FaultCode.LINK_FAILED


async def test_an_offer_that_went_astray_is_made_again_a_moment_later(
    client: Client, autojump_clock: MockClock
) -> None:
    await want(client, NamedWorker(BIG), *BOTH)
    astray = Fault(FaultCode.STALLED, "The worker's half did not come.")
    assert await client.after(LinkLost(ONE, astray)) == []
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, BIG)]


async def test_a_worker_that_never_answers_is_given_up(client: Client, autojump_clock: MockClock) -> None:
    await want(client, NamedWorker(BIG), *BOTH)
    astray = Fault(FaultCode.STALLED, "The worker's half did not come.")
    said: list[object] = []
    for link in range(1, 2 + (OFFERS_MAX + 1) // 2):
        said = await client.after(LinkLost(LinkId(link), astray))
        autojump_clock.jump(FIRST_PAUSE * 2**OFFERS_MAX)
        await client.after()
    assert fault_of(said) == astray


async def test_a_server_that_restarts_while_a_worker_is_asked_costs_some_seconds_only(
    client: Client, autojump_clock: MockClock
) -> None:
    await want(client, NamedWorker(BIG), *BOTH)
    down = Fault(FaultCode.SERVER_LOST, "The line is down.")
    for link in range(1, 1 + OFFERS_MAX):
        assert await client.after(LinkRefused(BIG, down), LinkLost(LinkId(link), down)) == []
        autojump_clock.jump(FIRST_PAUSE * 2 ** (link - 1))
        assert await client.after() == [CloseLink(LinkId(link)), OpenLink(LinkId(link + 1), BIG)]


async def test_a_link_that_finds_no_way_is_not_tried_again(client: Client) -> None:
    await want(client, NamedWorker(BIG), *BOTH)
    no_way = Fault(FaultCode.LINK_FAILED, "No common route.")
    assert await end_of(client, LinkLost(ONE, no_way)) == no_way


async def test_a_link_that_breaks_before_the_wish_was_said_ends_it(client: Client) -> None:
    await want(client, NamedWorker(BIG), *BOTH)
    said = await client.after(LinkLost(TWO), LinkLost(ONE))
    assert fault_of(said).code is FaultCode.LINK_LOST


async def test_what_is_said_before_the_link_is_trusted_or_over_another_is_not_for_us(client: Client) -> None:
    await want(client, BestWorker(), *BOTH)
    assert (
        await client.after(
            Authenticated(TWO, SMALL, proven=True), PeerMessage(TWO, BUSY_FAULT), LinkRefused(SMALL, BUSY_FAULT)
        )
        == []
    )


async def test_a_shut_room_ends_the_wish(client: Client) -> None:
    await client.after(JobWanted(PASS, BestWorker(), SUBMIT))
    fault = Fault(FaultCode.ROOM_DENIED, "No.")
    assert await client.after(JoinFailed(fault)) == [Finished(fault)]


async def wait_in_line(client: Client) -> None:
    busy = (shown(BIG, 24000, Status.BUSY),)
    await client.after(JobWanted(PASS, BestWorker(), SUBMIT, 8000, PATIENCE, wait=True))
    await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-1")), WorkersChanged(busy))
    assert client.data.queued


async def test_who_would_rather_wait_stands_in_line(client: Client) -> None:
    await client.after(JobWanted(PASS, BestWorker(), SUBMIT, 8000, PATIENCE, wait=True))
    entered = JoinedRoom(RoomId("room-1"), "token", PeerId("client-1"))
    assert await client.after(entered, WorkersChanged((shown(BIG, 24000, Status.BUSY),))) == [
        SendToServer(JoinQueue(8000))
    ]


async def test_who_waits_for_one_worker_waits_for_no_other(client: Client) -> None:
    await client.after(JobWanted(PASS, NamedWorker(BIG), SUBMIT, 0, PATIENCE, wait=True))
    await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-1")), WorkersChanged(BOTH))
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), SendToServer(JoinQueue(0, BIG))]


async def test_a_room_in_which_nobody_would_ever_fit_is_not_waited_for(client: Client) -> None:
    await client.after(JobWanted(PASS, BestWorker(), SUBMIT, 99000, PATIENCE, wait=True))
    said = await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-1")), WorkersChanged(BOTH))
    assert fault_of(said).code is FaultCode.NO_WORKER


async def test_a_promised_worker_is_asked_and_the_line_left_once_it_trusts_us(client: Client) -> None:
    await wait_in_line(client)
    assert await client.after(WorkerAssigned(BIG)) == [OpenLink(ONE, BIG)]
    assert await client.after(Authenticated(ONE, BIG, proven=True)) == [
        SendToServer(LeaveQueue()),
        TellPeer(ONE, SUBMIT),
    ]


async def test_a_promise_that_comes_to_nothing_keeps_the_place(client: Client) -> None:
    await wait_in_line(client)
    await client.after(WorkerAssigned(BIG))
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), SendToServer(JoinQueue(8000))]


async def test_who_waits_does_not_jump_at_a_worker_that_the_list_shows_free(client: Client) -> None:
    await wait_in_line(client)
    assert await client.after(WorkersChanged(BOTH)) == []


async def test_after_a_lost_line_the_place_is_asked_for_again(client: Client) -> None:
    await wait_in_line(client)
    assert await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-1"))) == [
        SendToServer(JoinQueue(8000))
    ]
    assert client.state is Status.RESERVED


async def test_the_line_is_waited_in_for_as_long_as_was_said(client: Client, autojump_clock: MockClock) -> None:
    await wait_in_line(client)
    autojump_clock.jump(24 * 3600)
    assert await client.after() == []
    assert (await end_of(client, WaitExpired())).code is FaultCode.WORKER_BUSY


async def test_patience_that_ends_after_the_promise_changes_nothing(client: Client) -> None:
    await wait_in_line(client)
    await client.after(WorkerAssigned(BIG))
    assert await client.after(WaitExpired()) == []


async def test_a_second_choice_while_the_first_is_being_linked_changes_nothing(client: Client) -> None:
    await want(client, AskPerson(), *BOTH)
    await client.after(WorkerPicked(BIG))
    assert await client.after(WorkerPicked(SMALL), WorkerPicked(None)) == []

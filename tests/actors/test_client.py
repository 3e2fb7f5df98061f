"""Tests of the Client until it submits its job, by events and effects; what follows is in `test_client_job.py`."""

import pytest
from actors.client_events import OFFERS_MAX, ClientData
from trio.testing import MockClock

from actors.client import FIRST_PAUSE
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

CREDENTIALS = RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
BIG, SMALL = PeerId("worker-big"), PeerId("worker-small")
ONE, TWO = LinkId(1), LinkId(2)
JOB = JobId("job-1")
PATIENCE = 30.0


def present(peer: PeerId, memory: int, status: Status = Status.AVAILABLE) -> WorkerPresent:
    return WorkerPresent(peer, WorkerFacts(status, "bench", "lab", "GPU", memory, "0.3.5", "12.4", "0.1"))


BOTH = (present(BIG, 24000), present(SMALL, 8000))


async def choose(
    client: Client, choice: NamedWorker | BestWorker | AskPerson, *workers: WorkerPresent, memory: int = 0
) -> list[object]:
    await client.after(JobWanted(CREDENTIALS, choice, SUBMIT, memory, PATIENCE))
    return await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-1")), WorkersChanged(workers))


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


async def test_first_the_room_then_a_worker(client: Client) -> None:
    assert await client.after(JobWanted(CREDENTIALS, BestWorker(), SUBMIT, 0, PATIENCE)) == [
        JoinRoom(CREDENTIALS, PATIENCE)
    ]


async def test_the_best_is_the_available_worker_with_most_memory(client: Client) -> None:
    assert await choose(client, BestWorker(), *BOTH) == [OpenLink(ONE, BIG)]


async def test_a_busy_worker_is_passed_over(client: Client) -> None:
    assert await choose(client, BestWorker(), present(BIG, 24000, Status.BUSY), BOTH[1]) == [OpenLink(ONE, SMALL)]


async def test_the_next_best_is_asked_when_the_best_was_taken_meanwhile(client: Client) -> None:
    await choose(client, BestWorker(), *BOTH)
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), OpenLink(TWO, SMALL)]


async def test_the_next_worker_is_chosen_from_the_newest_list(client: Client) -> None:
    await choose(client, BestWorker(), *BOTH)
    other = present(PeerId("worker-other"), 16000)
    assert await client.after(WorkersChanged((BOTH[0], other, present(SMALL, 8000, Status.BUSY)))) == []
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), OpenLink(TWO, other.peer)]


async def test_the_last_refusal_is_reported_when_no_worker_is_left(client: Client) -> None:
    await choose(client, BestWorker(), BOTH[0])
    assert await end_of(client, LinkRefused(BIG, BUSY_FAULT)) == BUSY_FAULT


async def test_too_little_memory_is_reported_with_the_largest_there_is(client: Client) -> None:
    fault = fault_of(await choose(client, BestWorker(), *BOTH, memory=40000))
    assert fault.code is FaultCode.NO_WORKER
    assert "24000 MB" in fault.text


async def test_an_empty_room_is_reported(client: Client) -> None:
    assert fault_of(await choose(client, BestWorker())).code is FaultCode.NO_WORKER


async def test_reserved_workers_are_reported_differently_from_an_empty_room(client: Client) -> None:
    fault = fault_of(await choose(client, BestWorker(), present(BIG, 24000, Status.RESERVED)))
    assert fault.code is FaultCode.WORKER_BUSY


async def test_a_named_worker_is_asked_without_looking_at_the_list(client: Client) -> None:
    assert await choose(client, NamedWorker(SMALL)) == [OpenLink(ONE, SMALL)]


async def test_a_named_worker_that_is_busy_ends_the_client_with_its_advice(client: Client) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), Finished(BUSY_FAULT)]


async def test_the_person_sees_only_workers_that_fit_and_sees_changes(client: Client) -> None:
    busy = present(BIG, 24000, Status.BUSY)
    assert await choose(client, AskPerson(), busy, BOTH[1]) == [ShowWorkers((BOTH[1],))]
    assert await client.after(WorkersChanged(BOTH)) == [ShowWorkers(BOTH)]


async def test_the_persons_choice_is_asked(client: Client) -> None:
    await choose(client, AskPerson(), *BOTH)
    assert await client.after(WorkerPicked(SMALL)) == [OpenLink(ONE, SMALL)]


async def test_the_person_chooses_again_when_the_choice_was_taken(client: Client) -> None:
    await choose(client, AskPerson(), *BOTH)
    await client.after(WorkerPicked(BIG))
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), ShowWorkers((BOTH[1],))]


async def test_a_person_may_think_as_long_as_they_like(client: Client, autojump_clock: MockClock) -> None:
    await choose(client, AskPerson(), *BOTH)
    autojump_clock.jump(24 * 3600)
    assert await client.after() == []


@pytest.mark.parametrize("leave", [Drain(), CancelWanted()])
@pytest.mark.parametrize("choice", [BestWorker(), AskPerson()])
async def test_an_interruption_before_the_job_is_submitted_leaves_nothing(
    client: Client, choice: BestWorker | AskPerson, leave: Drain | CancelWanted
) -> None:
    await choose(client, choice, *BOTH)
    effects = await client.after(leave)
    assert fault_of(effects).code is FaultCode.INTERRUPTED
    assert effects[:-1] == ([CloseLink(ONE)] if choice == BestWorker() else [])
    assert client.state is Status.AVAILABLE


async def test_leaving_the_list_is_an_interruption(client: Client) -> None:
    await choose(client, AskPerson(), *BOTH)
    assert (await end_of(client, WorkerPicked(None))).code is FaultCode.INTERRUPTED


async def test_a_worker_that_does_not_answer_is_given_up(client: Client, autojump_clock: MockClock) -> None:
    await choose(client, BestWorker(), *BOTH)
    autojump_clock.jump(PATIENCE + 1)
    assert (await end_of(client)).code is FaultCode.LINK_FAILED


async def test_an_unanswered_offer_is_sent_again_after_a_pause(client: Client, autojump_clock: MockClock) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    unanswered = Fault(FaultCode.STALLED, "The worker's half did not come.")
    assert await client.after(LinkLost(ONE, unanswered)) == []
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, BIG)]


async def test_a_worker_that_never_answers_is_given_up(client: Client, autojump_clock: MockClock) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    unanswered = Fault(FaultCode.STALLED, "The worker's half did not come.")
    effects: list[object] = []
    for link in range(1, 2 + (OFFERS_MAX + 1) // 2):
        effects = await client.after(LinkLost(LinkId(link), unanswered))
        autojump_clock.jump(FIRST_PAUSE * 2**OFFERS_MAX)
        await client.after()
    assert fault_of(effects) == unanswered


async def test_a_server_that_restarts_during_an_offer_costs_only_some_seconds(
    client: Client, autojump_clock: MockClock
) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    down = Fault(FaultCode.SERVER_LOST, "The line is down.")
    for link in range(1, 1 + OFFERS_MAX):
        assert await client.after(LinkRefused(BIG, down), LinkLost(LinkId(link), down)) == []
        autojump_clock.jump(FIRST_PAUSE * 2 ** (link - 1))
        assert await client.after() == [CloseLink(LinkId(link)), OpenLink(LinkId(link + 1), BIG)]


async def test_a_link_without_a_common_route_is_not_tried_again(client: Client) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    no_way = Fault(FaultCode.LINK_FAILED, "No common route.")
    assert await end_of(client, LinkLost(ONE, no_way)) == no_way


async def test_a_link_that_breaks_before_the_job_was_submitted_ends_the_client(client: Client) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    effects = await client.after(LinkLost(TWO), LinkLost(ONE))
    assert fault_of(effects).code is FaultCode.LINK_LOST


async def test_messages_before_authentication_or_over_another_link_are_ignored(client: Client) -> None:
    await choose(client, BestWorker(), *BOTH)
    assert (
        await client.after(
            Authenticated(TWO, SMALL, proven=True), PeerMessage(TWO, BUSY_FAULT), LinkRefused(SMALL, BUSY_FAULT)
        )
        == []
    )


async def test_a_failed_join_ends_the_client(client: Client) -> None:
    await client.after(JobWanted(CREDENTIALS, BestWorker(), SUBMIT))
    fault = Fault(FaultCode.ROOM_DENIED, "No.")
    assert await client.after(JoinFailed(fault)) == [Finished(fault)]


async def wait_in_queue(client: Client) -> None:
    busy = (present(BIG, 24000, Status.BUSY),)
    await client.after(JobWanted(CREDENTIALS, BestWorker(), SUBMIT, 8000, PATIENCE, wait=True))
    await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-1")), WorkersChanged(busy))
    assert client.data.queued


async def test_a_client_with_wait_joins_the_queue(client: Client) -> None:
    await client.after(JobWanted(CREDENTIALS, BestWorker(), SUBMIT, 8000, PATIENCE, wait=True))
    joined = JoinedRoom(RoomId("room-1"), "token", PeerId("client-1"))
    assert await client.after(joined, WorkersChanged((present(BIG, 24000, Status.BUSY),))) == [
        SendToServer(JoinQueue(8000))
    ]


async def test_a_client_that_named_a_worker_queues_for_this_worker_only(client: Client) -> None:
    await client.after(JobWanted(CREDENTIALS, NamedWorker(BIG), SUBMIT, 0, PATIENCE, wait=True))
    await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-1")), WorkersChanged(BOTH))
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), SendToServer(JoinQueue(0, BIG))]


async def test_a_client_does_not_queue_in_a_room_without_a_fitting_worker(client: Client) -> None:
    await client.after(JobWanted(CREDENTIALS, BestWorker(), SUBMIT, 99000, PATIENCE, wait=True))
    effects = await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-1")), WorkersChanged(BOTH))
    assert fault_of(effects).code is FaultCode.NO_WORKER


async def test_an_assigned_worker_is_asked_and_the_queue_left_once_the_link_is_authenticated(client: Client) -> None:
    await wait_in_queue(client)
    assert await client.after(WorkerAssigned(BIG)) == [OpenLink(ONE, BIG)]
    assert await client.after(Authenticated(ONE, BIG, proven=True)) == [
        SendToServer(LeaveQueue()),
        TellPeer(ONE, SUBMIT),
    ]


async def test_a_refused_link_to_an_assigned_worker_keeps_the_position_in_the_queue(client: Client) -> None:
    await wait_in_queue(client)
    await client.after(WorkerAssigned(BIG))
    assert await client.after(LinkRefused(BIG, BUSY_FAULT)) == [CloseLink(ONE), SendToServer(JoinQueue(8000))]


async def test_a_queued_client_does_not_ask_a_worker_that_the_list_shows_as_available(client: Client) -> None:
    await wait_in_queue(client)
    assert await client.after(WorkersChanged(BOTH)) == []


async def test_after_a_reconnection_to_the_server_the_client_joins_the_queue_again(client: Client) -> None:
    await wait_in_queue(client)
    assert await client.after(JoinedRoom(RoomId("room-1"), "token", PeerId("client-1"))) == [
        SendToServer(JoinQueue(8000))
    ]
    assert client.state is Status.RESERVED


async def test_the_client_stays_in_the_queue_until_the_wait_expires(client: Client, autojump_clock: MockClock) -> None:
    await wait_in_queue(client)
    autojump_clock.jump(24 * 3600)
    assert await client.after() == []
    assert (await end_of(client, WaitExpired())).code is FaultCode.WORKER_BUSY


async def test_a_wait_that_expires_after_the_assignment_changes_nothing(client: Client) -> None:
    await wait_in_queue(client)
    await client.after(WorkerAssigned(BIG))
    assert await client.after(WaitExpired()) == []


async def test_a_second_choice_while_the_first_link_opens_changes_nothing(client: Client) -> None:
    await choose(client, AskPerson(), *BOTH)
    await client.after(WorkerPicked(BIG))
    assert await client.after(WorkerPicked(SMALL), WorkerPicked(None)) == []

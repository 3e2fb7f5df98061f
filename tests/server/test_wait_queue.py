"""The room's wait queue: first come, first served, and no worker is assigned twice."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from protocol.ids import PeerId
from protocol.signaling import JoinQueue, QueuePosition, WorkerAssigned, WorkerPresent
from protocol.status import Status, WorkerFacts
from rtc.server.wait_queue import WaitQueue

BIG, SMALL = PeerId("worker-big"), PeerId("worker-small")


def shown(peer: PeerId, memory: int, status: Status = Status.AVAILABLE) -> WorkerPresent:
    return WorkerPresent(peer, WorkerFacts(status, "bench", "lab", "GPU", memory, "0.3.5", "12.4", "0.1"))


def assign(queue: WaitQueue[str], *workers: WorkerPresent) -> list[tuple[str, Any]]:
    sent: list[tuple[str, Any]] = []
    queue.assign(workers, lambda who, message: sent.append((who, message)))
    return sent


def queue_of(*names: str) -> WaitQueue[str]:
    queue: WaitQueue[str] = WaitQueue()
    for name in names:
        queue.join(name, JoinQueue())
    return queue


def test_every_client_gets_its_position_once() -> None:
    queue = queue_of("ada", "bob")
    assert assign(queue) == [("ada", QueuePosition(1, 2)), ("bob", QueuePosition(2, 2))]
    assert assign(queue) == []


def test_the_first_in_the_queue_is_assigned_the_worker_that_becomes_free_and_the_others_move_up() -> None:
    queue = queue_of("ada", "bob", "cyd")
    assign(queue)
    assert assign(queue, shown(BIG, 24000)) == [("ada", WorkerAssigned(BIG))]
    queue.leave("ada")
    assert assign(queue, shown(BIG, 24000, Status.RESERVED)) == [
        ("bob", QueuePosition(1, 2)),
        ("cyd", QueuePosition(2, 2)),
    ]


def test_two_workers_that_become_free_together_go_to_the_first_two_in_order() -> None:
    queue = queue_of("ada", "bob", "cyd")
    sent = assign(queue, shown(SMALL, 8000), shown(BIG, 24000))
    assert sent == [("ada", WorkerAssigned(BIG)), ("bob", WorkerAssigned(SMALL)), ("cyd", QueuePosition(3, 3))]


def test_a_client_that_needs_more_memory_does_not_delay_one_that_needs_less() -> None:
    queue: WaitQueue[str] = WaitQueue()
    queue.join("ada", JoinQueue(20000))
    queue.join("bob", JoinQueue())
    assert assign(queue, shown(SMALL, 8000)) == [("bob", WorkerAssigned(SMALL)), ("ada", QueuePosition(1, 2))]


def test_a_client_that_waits_for_one_worker_is_not_assigned_another() -> None:
    queue: WaitQueue[str] = WaitQueue()
    queue.join("ada", JoinQueue(worker=BIG))
    assert assign(queue, shown(SMALL, 8000)) == [("ada", QueuePosition(1, 1))]
    assert assign(queue, shown(BIG, 24000)) == [("ada", WorkerAssigned(BIG))]


def test_an_assigned_worker_is_withheld_from_all_others() -> None:
    queue = queue_of("ada")
    assign(queue, shown(BIG, 24000))
    assert queue.is_assigned_to_another("bob", BIG)
    assert not queue.is_assigned_to_another("ada", BIG)
    queue.leave("ada")
    assert not queue.is_assigned_to_another("bob", BIG)


def test_after_a_failed_assignment_the_client_keeps_its_position_and_is_not_assigned_the_same_worker_at_once() -> None:
    queue = queue_of("ada", "bob")
    assign(queue, shown(BIG, 24000))
    queue.join("ada", JoinQueue())
    assert not any(isinstance(message, WorkerAssigned) for _, message in assign(queue, shown(BIG, 24000)))
    queue.confirm(BIG)
    assert ("ada", WorkerAssigned(BIG)) in assign(queue, shown(BIG, 24000))


def test_a_client_that_reconnects_keeps_its_position() -> None:
    queue = queue_of("ada", "bob")
    assign(queue)
    queue.rename("ada", "ada again")
    assert assign(queue, shown(BIG, 24000)) == [("ada again", WorkerAssigned(BIG))]


names = st.sampled_from(["ada", "bob", "cyd", "dee"])
moves = st.one_of(
    st.tuples(st.just("join"), names, st.sampled_from([JoinQueue(), JoinQueue(20000), JoinQueue(worker=SMALL)])),
    st.tuples(st.just("leave"), names, st.none()),
    st.tuples(st.just("announce"), st.sampled_from([BIG, SMALL]), st.sampled_from(list(Status))),
)


@given(st.lists(moves, max_size=60))
def test_no_worker_is_assigned_twice_and_no_client_is_passed_over(steps: list[tuple[str, Any, Any]]) -> None:
    queue: WaitQueue[str] = WaitQueue()
    workers = {BIG: shown(BIG, 24000), SMALL: shown(SMALL, 8000)}
    for kind, who, what in steps:
        if kind == "join":
            queue.join(who, what)
        elif kind == "leave":
            queue.leave(who)
        else:
            workers[who] = shown(who, workers[who].facts.memory_mb, what)
            queue.confirm(who)
        assign(queue, *workers.values())
        assigned = [waiting.assigned for waiting in queue._waiting if waiting.assigned]
        assert len(assigned) == len(set(assigned))
        free = [one for one in workers.values() if one.facts.status is Status.AVAILABLE]
        idle = [one for one in free if one.peer not in assigned and one.peer not in queue._unconfirmed]
        for waiting in queue._waiting:
            assert waiting.assigned is not None or not any(waiting.accepts(one) for one in idle)

"""The room's line: first come, first served, and no worker promised twice."""

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


def served(queue: WaitQueue[str], *workers: WorkerPresent) -> list[tuple[str, Any]]:
    said: list[tuple[str, Any]] = []
    queue.serve(workers, lambda who, news: said.append((who, news)))
    return said


def lined_up(*names: str) -> WaitQueue[str]:
    queue: WaitQueue[str] = WaitQueue()
    for name in names:
        queue.join(name, JoinQueue())
    return queue


def test_everyone_is_told_their_place_once() -> None:
    queue = lined_up("ada", "bob")
    assert served(queue) == [("ada", QueuePosition(1, 2)), ("bob", QueuePosition(2, 2))]
    assert served(queue) == []


def test_the_first_in_line_is_promised_the_worker_that_comes_free_and_the_others_move_up() -> None:
    queue = lined_up("ada", "bob", "cyd")
    served(queue)
    assert served(queue, shown(BIG, 24000)) == [("ada", WorkerAssigned(BIG))]
    queue.leave("ada")
    assert served(queue, shown(BIG, 24000, Status.RESERVED)) == [
        ("bob", QueuePosition(1, 2)),
        ("cyd", QueuePosition(2, 2)),
    ]


def test_two_workers_that_come_free_together_go_to_the_first_two_in_order() -> None:
    queue = lined_up("ada", "bob", "cyd")
    said = served(queue, shown(SMALL, 8000), shown(BIG, 24000))
    assert said == [("ada", WorkerAssigned(BIG)), ("bob", WorkerAssigned(SMALL)), ("cyd", QueuePosition(3, 3))]


def test_who_needs_more_memory_does_not_hold_up_who_needs_less() -> None:
    queue: WaitQueue[str] = WaitQueue()
    queue.join("ada", JoinQueue(20000))
    queue.join("bob", JoinQueue())
    assert served(queue, shown(SMALL, 8000)) == [("bob", WorkerAssigned(SMALL)), ("ada", QueuePosition(1, 2))]


def test_who_waits_for_one_worker_is_not_given_another() -> None:
    queue: WaitQueue[str] = WaitQueue()
    queue.join("ada", JoinQueue(worker=BIG))
    assert served(queue, shown(SMALL, 8000)) == [("ada", QueuePosition(1, 1))]
    assert served(queue, shown(BIG, 24000)) == [("ada", WorkerAssigned(BIG))]


def test_a_promised_worker_is_kept_from_all_others() -> None:
    queue = lined_up("ada")
    served(queue, shown(BIG, 24000))
    assert queue.withholds_from("bob", BIG)
    assert not queue.withholds_from("ada", BIG)
    queue.leave("ada")
    assert not queue.withholds_from("bob", BIG)


def test_a_promise_that_came_to_nothing_keeps_the_place_and_is_not_made_again_at_once() -> None:
    queue = lined_up("ada", "bob")
    served(queue, shown(BIG, 24000))
    queue.join("ada", JoinQueue())
    assert not any(isinstance(news, WorkerAssigned) for _, news in served(queue, shown(BIG, 24000)))
    queue.heard(BIG)
    assert ("ada", WorkerAssigned(BIG)) in served(queue, shown(BIG, 24000))


def test_a_client_on_a_new_line_keeps_its_place() -> None:
    queue = lined_up("ada", "bob")
    served(queue)
    queue.rename("ada", "ada again")
    assert served(queue, shown(BIG, 24000)) == [("ada again", WorkerAssigned(BIG))]


names = st.sampled_from(["ada", "bob", "cyd", "dee"])
moves = st.one_of(
    st.tuples(st.just("join"), names, st.sampled_from([JoinQueue(), JoinQueue(20000), JoinQueue(worker=SMALL)])),
    st.tuples(st.just("leave"), names, st.none()),
    st.tuples(st.just("word"), st.sampled_from([BIG, SMALL]), st.sampled_from(list(Status))),
)


@given(st.lists(moves, max_size=60))
def test_no_worker_is_promised_twice_and_nobody_is_passed_over(steps: list[tuple[str, Any, Any]]) -> None:
    queue: WaitQueue[str] = WaitQueue()
    workers = {BIG: shown(BIG, 24000), SMALL: shown(SMALL, 8000)}
    for kind, who, what in steps:
        if kind == "join":
            queue.join(who, what)
        elif kind == "leave":
            queue.leave(who)
        else:
            workers[who] = shown(who, workers[who].facts.memory_mb, what)
            queue.heard(who)
        served(queue, *workers.values())
        assigned = [waiter.assigned for waiter in queue._waiters if waiter.assigned]
        assert len(assigned) == len(set(assigned))
        free = [one for one in workers.values() if one.facts.status is Status.AVAILABLE]
        idle = [one for one in free if one.peer not in assigned and one.peer not in queue._unconfirmed]
        for waiter in queue._waiters:
            assert waiter.assigned is not None or not any(waiter.fits(one) for one in idle)

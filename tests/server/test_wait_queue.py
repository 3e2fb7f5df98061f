"""The room's wait queue: first come, first served, no worker is assigned twice, and no assignment lasts for nothing."""

import math
from typing import Any

from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from protocol.ids import PeerId
from protocol.signaling import JoinQueue, QueuePosition, WorkerAssigned, WorkerPresent
from protocol.status import Status, WorkerFacts
from rtc.server.wait_queue import (
    RESERVATION_TIME,
    RETRY_PAUSE,
    SHARE_TIME,
    Assigned,
    Connecting,
    Silent,
    Waiting,
    WaitQueue,
)

BIG, SMALL = PeerId("worker-big"), PeerId("worker-small")
NOW = 1000.0
LAPSE = NOW + RESERVATION_TIME


def shown(peer: PeerId, memory: int, status: Status = Status.AVAILABLE, *, leaving: bool = False) -> WorkerPresent:
    facts = WorkerFacts(status, "bench", "lab", "GPU", memory, "0.3.5", "12.4", "0.1", leaving=leaving)
    return WorkerPresent(peer, facts)


FREE = shown(BIG, 24000)
RESERVED, BUSY = shown(BIG, 24000, Status.RESERVED), shown(BIG, 24000, Status.BUSY)
FREE_SMALL = shown(SMALL, 8000)


def update(queue: WaitQueue[str], *workers: WorkerPresent, now: float = NOW) -> list[tuple[str, Any]]:
    return list(queue.update(workers, now))


def queue_of(*names: str) -> WaitQueue[str]:
    queue: WaitQueue[str] = WaitQueue()
    for name in names:
        queue.join(name, JoinQueue())
    return queue


def queue_with_assignment(*names: str) -> WaitQueue[str]:
    """A queue in which all have heard their positions, and then the first was assigned the big worker."""
    queue = queue_of(*names)
    update(queue)
    assert update(queue, FREE) == [(names[0], WorkerAssigned(BIG))]
    return queue


# -------- workers with a secret

GUARDED = evolve(FREE, facts=evolve(FREE.facts, offer_nonce=b"n" * 32))
GUARDED_RESERVED = evolve(RESERVED, facts=evolve(RESERVED.facts, offer_nonce=b"n" * 32))


def test_a_worker_with_a_secret_that_its_client_does_not_reserve_is_assigned_to_the_next_too() -> None:
    queue = queue_of("eve", "ada", "bob")
    assert dict(update(queue, GUARDED))["eve"] == WorkerAssigned(BIG)
    assert queue.next_deadline() == NOW + SHARE_TIME
    assert update(queue, GUARDED, now=NOW + SHARE_TIME - 0.1) == []
    assert ("ada", WorkerAssigned(BIG)) in update(queue, GUARDED, now=NOW + SHARE_TIME)
    assert ("bob", WorkerAssigned(BIG)) in update(queue, GUARDED, now=NOW + 2 * SHARE_TIME)
    assert queue.next_deadline() == NOW + 3 * SHARE_TIME
    update(queue, GUARDED, now=NOW + 3 * SHARE_TIME)
    assert queue.next_deadline() == LAPSE


def test_who_asks_again_without_having_reserved_a_worker_with_a_secret_goes_to_the_end() -> None:
    queue = queue_of("eve", "ada")
    update(queue, GUARDED)
    queue.join("eve", JoinQueue())
    assert ("ada", WorkerAssigned(BIG)) in update(queue, GUARDED)
    assert ("eve", QueuePosition(2, 2)) in [*update(queue, GUARDED), ("eve", QueuePosition(2, 2))]


def test_who_reconnects_and_asks_again_does_not_keep_a_worker_with_a_secret_either() -> None:
    queue = queue_of("eve", "ada")
    update(queue, GUARDED)
    queue.rename("eve", "eve again")
    queue.join("eve again", JoinQueue())
    assert ("ada", WorkerAssigned(BIG)) in update(queue, GUARDED)


def test_who_could_reserve_a_worker_with_a_secret_keeps_the_position_when_the_link_fails() -> None:
    queue = queue_of("ada", "bob")
    update(queue, GUARDED)
    update(queue, GUARDED_RESERVED)
    queue.join("ada", JoinQueue())
    assert ("ada", QueuePosition(1, 2)) in update(queue, GUARDED_RESERVED)


@given(st.lists(st.sampled_from(["ask again", "reconnect", "wait", "leave"]), max_size=60))
def test_however_many_in_the_queue_do_not_know_the_secret_the_others_come_in_turn(tricks: list[str]) -> None:
    hostile = [f"eve {number}" for number in range(4)]
    queue, now, told = queue_of(*hostile, "ada"), NOW, False
    for step, trick in enumerate(tricks):
        told |= ("ada", WorkerAssigned(BIG)) in update(queue, GUARDED, now=now)
        eve = hostile[step % 4]
        if trick == "wait":
            now += SHARE_TIME
        elif trick == "reconnect":
            hostile[step % 4] = f"{eve} "
            queue.rename(eve, f"{eve} ")
        elif trick == "leave":
            queue.leave(eve)
        queue.join(hostile[step % 4], JoinQueue())
    waited = (now - NOW) / SHARE_TIME
    assert told or waited <= len(hostile)


# -------- the order


def test_every_client_gets_its_position_once() -> None:
    queue = queue_of("ada", "bob")
    assert update(queue) == [("ada", QueuePosition(1, 2)), ("bob", QueuePosition(2, 2))]
    assert update(queue) == []


def test_the_first_in_the_queue_is_assigned_the_worker_that_becomes_free_and_the_others_move_up() -> None:
    queue = queue_with_assignment("ada", "bob", "cyd")
    queue.leave("ada")
    assert update(queue, RESERVED) == [("bob", QueuePosition(1, 2)), ("cyd", QueuePosition(2, 2))]


def test_two_workers_that_become_free_together_go_to_the_first_two_in_order() -> None:
    sent = update(queue_of("ada", "bob", "cyd"), FREE_SMALL, FREE)
    assert sent == [("ada", WorkerAssigned(BIG)), ("bob", WorkerAssigned(SMALL)), ("cyd", QueuePosition(3, 3))]


def test_a_client_that_needs_more_memory_does_not_delay_one_that_needs_less() -> None:
    queue: WaitQueue[str] = WaitQueue()
    queue.join("ada", JoinQueue(20000))
    queue.join("bob", JoinQueue())
    assert update(queue, FREE_SMALL) == [("bob", WorkerAssigned(SMALL)), ("ada", QueuePosition(1, 2))]


PAIR = evolve(FREE_SMALL, facts=evolve(FREE_SMALL.facts, gpus=2))


def test_a_client_that_asks_for_two_gpus_waits_for_a_worker_that_has_as_many() -> None:
    queue: WaitQueue[str] = WaitQueue()
    queue.join("ada", JoinQueue(min_gpus=2))
    queue.join("bob", JoinQueue())
    assert update(queue, FREE) == [("bob", WorkerAssigned(BIG)), ("ada", QueuePosition(1, 2))]
    assert update(queue, BUSY, PAIR) == [("ada", WorkerAssigned(SMALL))]


def test_who_asks_for_no_number_of_gpus_gets_one_rather_than_two() -> None:
    pair = evolve(FREE, peer=SMALL, facts=evolve(FREE.facts, gpus=2))
    single = evolve(FREE, facts=evolve(FREE.facts, gpus=1))
    assert update(queue_of("ada"), pair, single) == [("ada", WorkerAssigned(BIG))]


def test_a_client_that_waits_for_one_worker_is_not_assigned_another() -> None:
    queue: WaitQueue[str] = WaitQueue()
    queue.join("ada", JoinQueue(worker=BIG))
    assert update(queue, FREE_SMALL) == [("ada", QueuePosition(1, 1))]
    assert update(queue, FREE) == [("ada", WorkerAssigned(BIG))]


def test_an_assigned_worker_is_withheld_from_all_others() -> None:
    queue = queue_with_assignment("ada")
    assert queue.is_assigned_to_another("bob", BIG)
    assert not queue.is_assigned_to_another("ada", BIG)
    queue.leave("ada")
    assert not queue.is_assigned_to_another("bob", BIG)


def test_a_leaving_worker_is_assigned_to_nobody() -> None:
    queue = queue_of("ada")
    assert update(queue, shown(BIG, 24000, leaving=True)) == [("ada", QueuePosition(1, 1))]
    assert update(queue, shown(BIG, 24000, leaving=True), FREE_SMALL) == [("ada", WorkerAssigned(SMALL))]


# -------- an assignment that nobody takes


def test_an_assignment_lapses_and_its_client_goes_to_the_end_and_the_worker_to_the_next() -> None:
    queue = queue_with_assignment("ada", "bob", "cyd")
    assert queue.next_deadline() == LAPSE
    assert update(queue, FREE, now=LAPSE - 0.001) == []
    assert update(queue, FREE, now=LAPSE) == [
        ("bob", WorkerAssigned(BIG)),
        ("cyd", QueuePosition(2, 3)),
        ("ada", QueuePosition(3, 3)),
    ]
    assert queue.next_deadline() == LAPSE + RESERVATION_TIME
    assert queue.is_assigned_to_another("ada", BIG)


def test_a_client_that_was_passed_over_gets_a_worker_only_when_it_asks_again() -> None:
    queue = queue_with_assignment("ada")
    assert update(queue, FREE, now=LAPSE) == [("ada", QueuePosition(1, 1))]
    assert not queue.is_assigned_to_another("bob", BIG), "nobody has to wait for a client that says nothing"
    assert queue.next_deadline() == math.inf
    queue.join("ada", JoinQueue())
    assert update(queue, FREE, now=LAPSE + 1) == [("ada", WorkerAssigned(BIG))]


def test_the_announced_reservation_keeps_an_assignment_while_the_client_proves_itself_and_submits() -> None:
    queue = queue_with_assignment("ada", "bob")
    assert update(queue, RESERVED, now=NOW + 1) == []
    assert queue.next_deadline() == math.inf
    assert update(queue, RESERVED, now=LAPSE + 100) == []
    assert queue.is_assigned_to_another("bob", BIG)
    queue.leave("ada")
    assert update(queue, RESERVED, now=LAPSE + 101) == [("bob", QueuePosition(1, 1))]


def test_a_worker_that_becomes_available_without_a_job_goes_to_the_next_and_the_client_keeps_its_position() -> None:
    queue = queue_with_assignment("ada", "bob")
    update(queue, RESERVED)
    assert update(queue, FREE, now=NOW + 9) == [("bob", WorkerAssigned(BIG))]
    assert update(queue, FREE, FREE_SMALL, now=NOW + 9) == [], "Ada is still trying, or gone"
    queue.join("ada", JoinQueue())
    assert update(queue, FREE, FREE_SMALL, now=NOW + 9) == [("ada", WorkerAssigned(SMALL))]


def test_an_assigned_worker_that_is_leaving_or_gone_is_not_waited_for() -> None:
    for change in ((shown(BIG, 24000, leaving=True),), ()):
        queue = queue_with_assignment("ada")
        assert update(queue, *change, FREE_SMALL) == []
        assert queue.next_deadline() == math.inf
        queue.join("ada", JoinQueue())
        assert update(queue, *change, FREE_SMALL) == [("ada", WorkerAssigned(SMALL))]


# -------- an assignment that fails


def test_after_a_failed_assignment_the_client_keeps_its_position_and_the_worker_goes_to_the_next() -> None:
    queue = queue_with_assignment("ada", "bob")
    queue.join("ada", JoinQueue())
    assert update(queue, FREE) == [("bob", WorkerAssigned(BIG)), ("ada", QueuePosition(1, 2))]


def test_a_worker_that_a_client_could_not_reach_is_assigned_to_it_again_after_a_pause() -> None:
    queue = queue_with_assignment("ada")
    update(queue, RESERVED)
    queue.join("ada", JoinQueue())
    assert update(queue, RESERVED, now=NOW + 1) == [("ada", QueuePosition(1, 1))]
    assert update(queue, RESERVED, now=NOW + 20) == []
    assert update(queue, FREE, now=NOW + 21) == []
    assert queue.next_deadline() == NOW + 21 + RETRY_PAUSE
    assert update(queue, FREE, now=NOW + 21 + RETRY_PAUSE) == [("ada", WorkerAssigned(BIG))]


def test_the_pause_is_the_same_when_the_worker_notices_first() -> None:
    queue = queue_with_assignment("ada")
    update(queue, RESERVED)
    update(queue, FREE, now=NOW + 21)
    queue.join("ada", JoinQueue())
    assert update(queue, FREE, now=NOW + 22) == [("ada", QueuePosition(1, 1))]
    assert queue.next_deadline() <= NOW + 22 + RETRY_PAUSE
    assert update(queue, FREE, now=queue.next_deadline()) == [("ada", WorkerAssigned(BIG))]


def test_a_worker_that_was_taken_by_somebody_else_in_the_same_moment_comes_back_without_a_pause() -> None:
    for meanwhile in ((BUSY,), ()):  # it has run the other one's job, or it was started again
        queue = queue_with_assignment("ada", "bob")
        update(queue, RESERVED)
        queue.join("ada", JoinQueue())
        update(queue, RESERVED)
        assert update(queue, *meanwhile) == []
        assert update(queue, FREE) == [("ada", WorkerAssigned(BIG))]


# -------- clients that reconnect


def test_a_client_that_reconnects_keeps_its_position_and_hears_it_again() -> None:
    queue = queue_of("ada", "bob")
    update(queue)
    queue.rename("ada", "ada again")
    assert update(queue) == [("ada again", QueuePosition(1, 2))]
    assert update(queue, FREE) == [("ada again", WorkerAssigned(BIG))]


def test_a_client_that_reconnects_while_it_connects_to_its_worker_keeps_the_worker() -> None:
    queue = queue_with_assignment("ada", "bob")
    queue.rename("ada", "ada again")
    assert update(queue, FREE) == []
    assert queue.next_deadline() == LAPSE
    assert update(queue, RESERVED) == []
    assert queue.is_assigned_to_another("bob", BIG)


def test_a_client_that_may_not_have_heard_of_its_worker_is_told_again() -> None:
    queue = queue_with_assignment("ada", "bob")
    queue.rename("ada", "ada again")
    queue.join("ada again", JoinQueue())
    assert update(queue, FREE) == [("ada again", WorkerAssigned(BIG))]


# -------- random sequences


@define
class Watch:
    """What an observer of the queue knows, who reads only its messages and the workers' announcements."""

    queue: WaitQueue[str] = field(factory=WaitQueue)
    workers: dict[PeerId, WorkerPresent] = field(factory=lambda: {BIG: FREE, SMALL: FREE_SMALL})
    now: float = NOW
    line: list[str] = field(factory=list)
    """The clients in the order in which they are to be served."""
    asking: dict[str, JoinQueue] = field(factory=dict)
    """The clients that have asked for a worker and were not assigned one since."""
    promises: dict[str, tuple[PeerId, float]] = field(factory=dict)
    """The worker that each client was assigned last and may still take, and when that happened."""
    reserved: set[str] = field(factory=set)
    """The clients whose assigned worker was reserved since."""
    told: dict[str, int] = field(factory=dict)
    """The position that each client heard last."""

    def step(self, kind: str, who: Any, what: Any) -> None:
        """Let one thing happen, and check everything."""
        if kind == "time":
            self.pass_time(self.now + what)
            return
        if kind == "join":
            self.queue.join(who, what)
            self.line += [who] if who not in self.line else []
            self.asking[who] = what
            self.forget(who)
            self.told.pop(who, None)
        elif kind == "leave":
            self.queue.leave(who)
            self.line = [one for one in self.line if one != who]
            self.asking.pop(who, None)
            self.forget(who)
        elif kind == "reconnect":
            self.queue.rename(who, who)
            self.told.pop(who, None)
        elif kind == "announce":
            self.workers[who] = evolve(what, peer=who)
        else:
            self.workers.pop(who, None)
        self.update()

    def forget(self, who: str) -> None:
        self.promises.pop(who, None)
        self.reserved.discard(who)

    def pass_time(self, until: float) -> None:
        """Let time pass as the server does: the queue is updated at each of its deadlines."""
        while (deadline := self.queue.next_deadline()) <= until:
            assert deadline >= self.now
            self.now = deadline
            self.update()
            assert self.queue.next_deadline() > self.now, "the server would never sleep again"
        self.now = until
        self.update()

    def update(self) -> None:
        self.end_promises()
        sent = self.queue.update(self.workers.values(), self.now)
        for who, message in sent:
            if isinstance(message, QueuePosition):
                self.told[who] = message.place
                assert message.of == len(self.line)
            else:
                self.check_assignment(who, self.workers[message.peer])
                self.promises[who] = (message.peer, self.now)
                del self.asking[who]
        self.check()

    def end_promises(self) -> None:
        """Note which promises are taken, and which have come to nothing; the order of the line follows from that."""
        for who in [one for one in self.line if one in self.promises]:
            peer, since = self.promises[who]
            worker = self.workers.get(peer)
            if worker is not None and worker.facts.status is not Status.AVAILABLE:
                self.reserved.add(who)
            elif worker is None or worker.facts.leaving or who in self.reserved:
                self.forget(who)
            elif self.now >= since + RESERVATION_TIME:
                self.forget(who)
                self.line = [one for one in self.line if one != who] + [who]

    def fits(self, who: str, worker: WorkerPresent) -> bool:
        """Return whether the client asks for a worker like this, and does not pause after a failure with this one."""
        request = self.asking.get(who)
        pauses = next(one.pauses for one in self.queue._waiting if one.client == who)
        if worker.facts.status is Status.AVAILABLE:
            assert pauses.get(worker.peer, 0) <= self.now + RETRY_PAUSE
        named = request is not None and request.worker in (None, worker.peer)
        enough = request is not None and worker.facts.memory_mb >= request.min_memory_mb
        enough = enough and request is not None and worker.facts.gpus >= request.min_gpus
        return named and enough and worker.peer not in pauses

    def check_assignment(self, who: str, worker: WorkerPresent) -> None:
        """Whoever has waited longest and fits gets the worker."""
        assert worker.facts.status is Status.AVAILABLE
        assert not worker.facts.leaving
        assert self.fits(who, worker)
        assert not any(self.fits(earlier, worker) for earlier in self.line[: self.line.index(who)])

    def check(self) -> None:
        assert [waiting.client for waiting in self.queue._waiting] == self.line, "nobody is lost or twice in the line"
        promised = {waiting.client: waiting.worker for waiting in self.queue._waiting if waiting.worker is not None}
        assert promised == {who: peer for who, (peer, _) in self.promises.items()}
        assert len(set(promised.values())) == len(promised), "a worker is promised to one client at most"
        for waiting in self.queue._waiting:
            who, asks = waiting.client, waiting.client in self.asking
            state: type = Waiting if asks else Silent
            if who in self.promises:
                state = Connecting if who in self.reserved else Assigned
            assert isinstance(waiting.state, state)
            if state is Assigned:
                assert self.now < self.promises[who][1] + RESERVATION_TIME
            if who not in self.promises:
                assert self.told[who] == self.line.index(who) + 1
        idle = [
            worker
            for worker in self.workers.values()
            if worker.facts.status is Status.AVAILABLE
            and not worker.facts.leaving
            and worker.peer not in promised.values()
        ]
        assert not any(self.fits(who, worker) for who in self.line for worker in idle)


names = st.sampled_from(["ada", "bob", "cyd", "dee"])
peers = st.sampled_from([BIG, SMALL])
announced = st.builds(shown, peers, st.sampled_from([8000, 24000]), st.sampled_from(Status), leaving=st.booleans())
moves = st.one_of(
    st.tuples(st.just("join"), names, st.sampled_from([JoinQueue(), JoinQueue(20000), JoinQueue(worker=SMALL)])),
    st.tuples(st.just("leave"), names, st.none()),
    st.tuples(st.just("reconnect"), names, st.none()),
    st.tuples(st.just("announce"), peers, announced),
    st.tuples(st.just("announce"), peers, st.sampled_from([FREE, RESERVED, BUSY])),
    st.tuples(st.just("gone"), peers, st.none()),
    st.tuples(st.just("time"), st.none(), st.sampled_from([0, 1, RETRY_PAUSE, 44, RESERVATION_TIME, 100])),
)


@given(st.lists(moves, min_size=30, max_size=60))
def test_the_line_keeps_its_promises_whatever_happens(steps: list[tuple[str, Any, Any]]) -> None:
    watch = Watch()
    for step in steps:
        watch.step(*step)

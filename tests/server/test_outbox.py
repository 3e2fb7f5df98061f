"""The outbox of one peer: what it keeps, what it leaves out, and that in the end the peer knows the truth."""

from collections import defaultdict, deque

import pytest
import trio
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from actors.mailbox import QueueFull
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.signaling import (
    WORKERS_MAX,
    Answer,
    IceServerEntry,
    IceServers,
    Joined,
    JoinQueue,
    Offer,
    QueuePosition,
    Refuse,
    RoomCreated,
    Withdraw,
    WorkerAssigned,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role, Status, WorkerFacts
from rtc.server.outbox import NOT_READ, OUTBOX_MAX, RELAY_BYTES, RELAYS_MAX, REPLIES_MAX, SPEAKER_MAX, PeerOutbox
from rtc.server.rooms import CLIENTS_MAX, RoomEffects, RoomRegistry, SendMessage, WebSocketId
from rtc.server.send_budget import SendBudget
from rtc.server.wait_queue import RESERVATION_TIME, Assigned, Connecting, Waiting

ROOM = RoomId("room")
FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab-1", "CPU", 0, "0.3.5", "none", "0.1.0")
BUSY = evolve(FACTS, status=Status.BUSY)
WIM, ZOE, ADA, BOB = PeerId("worker-wim"), PeerId("worker-zoe"), PeerId("client-ada"), PeerId("client-bob")
NO = Fault(FaultCode.WORKER_BUSY, "Busy.")


def waiting_in(*messages) -> list:
    """Return what is sent if all these messages come in before the first one is sent."""
    outbox = PeerOutbox()
    for message in messages:
        outbox.put(message)
    return drain(outbox)


def drain(outbox: PeerOutbox) -> list:
    return [outbox.take_nowait() for _ in range(len(outbox))]


def test_offers_of_many_bytes_wait_outside_and_answers_replace_the_oldest():
    outbox = PeerOutbox()
    offer = Offer(ADA, "x" * 16_000)
    clients = [PeerId(f"client-{n}") for n in range(CLIENTS_MAX)]
    fit = []
    while outbox.has_place(clients[len(fit)], offer):
        fit.append(clients[len(fit)])
        outbox.put(evolve(offer, peer=fit[-1]))
    assert RELAY_BYTES // 20_000 < len(fit) < RELAY_BYTES // 16_000
    assert outbox.waiting_bytes <= RELAY_BYTES
    assert outbox.has_place(ADA, Withdraw(ADA)), "that is small, and makes room"
    for number in range(100):
        outbox.put(Answer(PeerId(f"worker-{number}"), "x" * 16_000))
    assert outbox.waiting_bytes <= RELAY_BYTES
    assert drain(outbox)[-1].peer == "worker-99"
    assert outbox.waiting_bytes == 0
    assert outbox.has_place(ADA, offer)


MESSAGES = (
    *(WorkerPresent(WIM, FACTS), WorkerPresent(WIM, BUSY), WorkerLeft(WIM), WorkerAssigned(WIM), QueuePosition(1, 2)),
    *(Offer(ADA, "x" * 9000), Answer(WIM, "y" * 5000), Withdraw(ADA), Refuse(WIM, NO), RoomCreated(ROOM, "token")),
)


@given(st.data())
def test_the_budget_counts_what_waits_and_nothing_else(data: st.DataObject):
    budget = SendBudget(50_000)
    outboxes = [PeerOutbox(budget) for _ in range(3)]
    for _ in range(data.draw(st.integers(0, 20))):
        outbox = data.draw(st.sampled_from(outboxes))
        action = data.draw(st.sampled_from(["put", "put", "put", "take", "close"]))
        if action == "close":
            outbox.close()
        elif action == "take" and len(outbox):
            outbox.take_nowait()
        elif action == "put":
            message = data.draw(st.sampled_from(MESSAGES))
            if not isinstance(message, Offer) or outbox.has_place(ADA, message):
                outbox.put(message)
        assert budget.total == sum(one.waiting_bytes for one in outboxes) <= budget.limit
        for one in outboxes:
            waiting = [entry for entry in one._waiting.values() if entry.message != NOT_READ]
            assert one.waiting_bytes == sum(entry.size for entry in waiting)


def test_when_the_budget_is_used_up_the_one_that_has_waited_longest_with_most_goes_first():
    budget = SendBudget(30_000)
    old, large, quick = (PeerOutbox(budget) for _ in range(3))
    old.put(Answer(WIM, "x" * 5_000))
    for number in range(200):
        quick.put(Answer(PeerId(f"worker-{number}"), "y" * 10_000))
        quick.take_nowait()
    quick.put(Answer(ZOE, "y" * 15_000))
    large.put(Answer(ZOE, "z" * 11_000))
    assert [outbox.given_up.is_set() for outbox in (old, large, quick)] == [True, False, False]
    assert drain(old) == [NOT_READ]
    assert old.is_finished


# -------- state


def test_of_a_workers_facts_only_the_newest_wait_in_the_place_of_the_first():
    assert waiting_in(
        WorkerPresent(WIM, FACTS), Answer(WIM, "sdp"), WorkerPresent(ZOE, FACTS), WorkerPresent(WIM, BUSY)
    ) == [
        WorkerPresent(WIM, BUSY),
        Answer(WIM, "sdp"),
        WorkerPresent(ZOE, FACTS),
    ]


def test_a_worker_that_comes_and_leaves_before_the_peer_hears_of_it_leaves_no_trace():
    assert waiting_in(WorkerPresent(WIM, FACTS), WorkerPresent(WIM, BUSY), WorkerLeft(WIM)) == []


def test_a_worker_that_the_peer_knows_leaves_and_comes_back_in_order():
    outbox = PeerOutbox()
    outbox.put(WorkerPresent(WIM, FACTS))
    assert drain(outbox) == [WorkerPresent(WIM, FACTS)]
    for message in (WorkerPresent(WIM, BUSY), Refuse(WIM, NO), WorkerLeft(WIM), WorkerPresent(WIM, FACTS)):
        outbox.put(message)
    left_again = [WorkerLeft(WIM), WorkerPresent(WIM, BUSY)]
    for message in left_again:
        outbox.put(message)
    assert drain(outbox) == [Refuse(WIM, NO), WorkerLeft(WIM), WorkerPresent(WIM, BUSY)]


def test_the_workers_in_joined_are_known_and_what_changes_while_it_waits_follows_it():
    joined = Joined(ROOM, ADA, "proof", (WorkerPresent(WIM, FACTS), WorkerPresent(ZOE, FACTS)))
    said = waiting_in(joined, WorkerLeft(WIM), WorkerPresent(ZOE, BUSY))
    assert said == [joined, WorkerLeft(WIM), WorkerPresent(ZOE, BUSY)]


def test_of_positions_and_of_ice_servers_only_the_newest_wait():
    old, new = (IceServers((IceServerEntry(f"stun:{name}"),)) for name in ("old", "new"))
    said = waiting_in(QueuePosition(3, 3), old, QueuePosition(2, 2), new, QueuePosition(1, 1))
    assert said == [QueuePosition(1, 1), new]


def test_an_assignment_replaces_what_was_said_about_the_queue_and_comes_after_its_worker():
    said = waiting_in(QueuePosition(1, 1), WorkerPresent(WIM, FACTS), WorkerAssigned(WIM))
    assert said == [WorkerPresent(WIM, FACTS), WorkerAssigned(WIM)]
    shown = WorkerPresent(ZOE, FACTS)
    said = waiting_in(WorkerAssigned(WIM), QueuePosition(1, 1), shown, WorkerAssigned(ZOE))
    assert said == [shown, WorkerAssigned(ZOE)]


def test_a_position_does_not_replace_an_assignment_since_the_client_must_ask_again_after_it():
    said = waiting_in(WorkerAssigned(WIM), QueuePosition(2, 2), QueuePosition(1, 2))
    assert said == [WorkerAssigned(WIM), QueuePosition(1, 2)]


# -------- relays


def test_a_withdrawal_replaces_all_that_its_client_said_before_and_nothing_of_others():
    said = waiting_in(Offer(ADA, "1"), Offer(BOB, "2"), Offer(ADA, "3"), Withdraw(ADA), Offer(ADA, "4"), Withdraw(BOB))
    assert said == [Withdraw(ADA), Offer(ADA, "4"), Withdraw(BOB)]


def test_a_withdrawal_leaves_later_offers_of_its_client_alone():
    later = Offer(ADA, "2", number=2)
    assert waiting_in(Offer(ADA, "1", number=1), later, Withdraw(ADA, number=1)) == [later, Withdraw(ADA, number=1)]


def test_withdrawals_of_earlier_offers_take_no_more_places_than_other_messages():
    outbox = PeerOutbox()
    for number in (8, 9):
        outbox.put(Offer(ADA, "sdp", number=number))
    assert not outbox.has_place(ADA, Withdraw(WIM, number=7))
    assert outbox.has_place(ADA, Withdraw(WIM, number=8))


def test_of_a_workers_answers_the_newest_wait_and_another_workers_are_its_own():
    said = waiting_in(Answer(ZOE, "z"), *(Answer(WIM, str(n)) for n in range(9)), Refuse(WIM, NO))
    assert said == [Answer(ZOE, "z"), Answer(WIM, "8"), Refuse(WIM, NO)]


def test_answers_of_workers_that_come_and_go_are_bounded_and_the_oldest_are_dropped():
    said = waiting_in(*(Answer(PeerId(f"worker-{n}"), str(n)) for n in range(3 * RELAYS_MAX)))
    assert [answer.sdp for answer in said] == [str(n) for n in range(2 * RELAYS_MAX, 3 * RELAYS_MAX)]


async def test_a_client_waits_for_its_own_place_and_for_no_other_clients(nursery):
    outbox, through = PeerOutbox(), []

    async def speak(client, number):
        for n in range(number):
            await outbox.wait_for_place(client, Offer(client, "x"))
            outbox.put(Offer(client, f"{client} {n}"))
            through.append(client)

    nursery.start_soon(speak, ADA, 10)
    await trio.testing.wait_all_tasks_blocked()
    assert through == [ADA] * SPEAKER_MAX
    nursery.start_soon(speak, BOB, 1)
    await trio.testing.wait_all_tasks_blocked()
    assert through[-1] == BOB
    said = []
    while len(outbox):
        said.append(await outbox.take())
        await trio.testing.wait_all_tasks_blocked()
    assert [offer.sdp for offer in said if offer.peer == ADA] == [f"{ADA} {n}" for n in range(10)]
    assert said.index(Offer(BOB, f"{BOB} 0")) == SPEAKER_MAX


def test_a_withdrawal_needs_no_place_of_its_own():
    outbox = PeerOutbox()
    for _ in range(SPEAKER_MAX):
        outbox.put(Offer(ADA, "sdp"))
    assert not outbox.has_place(ADA, Offer(WIM, "sdp"))
    assert outbox.has_place(ADA, Withdraw(WIM))


async def test_when_all_places_are_taken_by_clients_that_are_gone_a_new_one_waits_for_one_of_them(nursery):
    outbox = PeerOutbox()
    for n in range(RELAYS_MAX):
        outbox.put(Offer(PeerId(f"client-{n}"), "sdp"))
    assert not outbox.has_place(ADA, Offer(ADA, "sdp"))
    assert not outbox.has_place(ADA, Withdraw(ADA))
    passed = trio.Event()

    async def speak():
        await outbox.wait_for_place(ADA, Offer(ADA, "sdp"))
        passed.set()

    nursery.start_soon(speak)
    await trio.testing.wait_all_tasks_blocked()
    assert not passed.is_set()
    outbox.take_nowait()
    with trio.fail_after(1):
        await passed.wait()


@pytest.mark.parametrize("end", [PeerOutbox.finish, PeerOutbox.close])
async def test_nobody_waits_for_an_outbox_that_has_ended(end):
    outbox = PeerOutbox()
    for _ in range(REPLIES_MAX):
        outbox.put(RoomCreated(ROOM, "token"))
    for _ in range(SPEAKER_MAX):
        outbox.put(Offer(ADA, "sdp"))
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.wait_for_replies)
            nursery.start_soon(outbox.wait_for_place, ADA, Offer(ADA, "sdp"))
            await trio.testing.wait_all_tasks_blocked()
            end(outbox)
        outbox.put(Offer(BOB, "late"))
        for message in drain(outbox):
            assert message != Offer(BOB, "late")
        with pytest.raises(trio.EndOfChannel):
            await outbox.take()


async def test_a_peer_is_not_heard_while_many_replies_wait_whatever_others_say(nursery):
    outbox, heard = PeerOutbox(), []

    async def read():
        for n in range(2 * REPLIES_MAX):
            await outbox.wait_for_replies()
            outbox.put(RoomCreated(ROOM, str(n)))
            heard.append(n)

    for n in range(RELAYS_MAX):
        outbox.put(Offer(PeerId(f"client-{n}"), "sdp"))
    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    assert heard == list(range(REPLIES_MAX))
    for _ in range(RELAYS_MAX + 1):
        await outbox.take()
    await trio.testing.wait_all_tasks_blocked()
    assert heard == list(range(REPLIES_MAX + 1))


def test_an_overflow_is_a_bug_and_loud():
    outbox = PeerOutbox()
    for n in range(OUTBOX_MAX):
        outbox.put(RoomCreated(ROOM, str(n)))
    with pytest.raises(QueueFull, match="RoomCreated"):
        outbox.put(RoomCreated(ROOM, "one too many"))


# -------- a room whose members read as slowly as they like


@define
class Listener:
    """A peer that reads when it likes, and what it knows from what it has read."""

    outbox: PeerOutbox = field(factory=PeerOutbox)
    workers: dict[PeerId, WorkerFacts] = field(factory=dict)
    place: int | None = None
    asked: bool = False
    """Whether it has asked for a worker over this WebSocket."""
    assigned: PeerId | None = None
    """The worker that it was assigned last, since it has asked last."""
    relays: dict[PeerId, list[str]] = field(factory=lambda: defaultdict(list))
    withdrawn: set[PeerId] = field(factory=set)
    """The clients whose last word is that they have taken back their offers."""

    def read(self) -> None:
        if not len(self.outbox):
            return
        match self.outbox.take_nowait():
            case Joined(workers=workers):
                self.workers = {worker.peer: worker.facts for worker in workers}
            case WorkerPresent(peer=peer, facts=facts):
                self.workers[peer] = facts
            case WorkerLeft(peer=peer):
                del self.workers[peer]
            case QueuePosition(place=place):
                self.place = place
            case WorkerAssigned(peer=peer):
                self.assigned = peer
            case Offer(peer=peer, sdp=sdp) | Answer(peer=peer, sdp=sdp):
                self.relays[peer].append(sdp)
                self.withdrawn.discard(peer)
            case Withdraw(peer=peer):
                self.withdrawn.add(peer)
        assert len(self.workers) <= WORKERS


WORKERS = 3
"""Workers that the room of the walks takes."""
numbers = st.integers(0, 5)
walks = st.lists(
    st.one_of(
        st.tuples(st.just("read"), numbers, st.integers(1, 3)),
        st.tuples(
            st.sampled_from(["join", "join again", "leave", "busy", "free", "queue", "leave queue", "lapse"]), numbers
        ),
        st.tuples(st.sampled_from(["offer", "withdraw", "answer"]), numbers, numbers),
    ),
    min_size=40,  # by itself Hypothesis draws about five steps, in which nothing happens
    max_size=80,
)


@define
class Hall:
    """The registry of rooms, and an outbox for each WebSocket; six peers, half of them workers."""

    registry: RoomRegistry = field(factory=RoomRegistry)
    listeners: dict[WebSocketId, Listener] = field(factory=dict)
    sockets: dict[int, WebSocketId] = field(factory=dict)
    """The WebSocket of each peer that is in the room."""
    last: int = 0
    now: float = 1000.0
    offers: dict[tuple[WebSocketId, PeerId], list[str]] = field(factory=lambda: defaultdict(list))
    """What was said to each listener by each speaker, in order."""

    def do(self, what: str, number: int, *rest: int) -> None:
        socket = self.sockets.get(number)
        is_worker = number % 2 == 0
        if what == "lapse":
            self.now += RESERVATION_TIME
            self.apply(self.registry.lapse(self.now))
        elif what in ("join", "join again") and (socket is None or what == "join again"):
            self.last += 1
            self.sockets[number] = new = WebSocketId(self.last)
            self.listeners[new] = Listener()
            peer, role = peer_of(number), Role.WORKER if is_worker else Role.CLIENT
            self.apply(self.registry.join(new, ROOM, peer, role, FACTS if is_worker else None, "proof", self.now))
        elif socket is None:
            return
        elif what == "read":
            for _ in range(rest[0]):
                self.listeners[socket].read()
        elif what == "leave":
            del self.sockets[number]
            self.apply(self.registry.leave(socket, self.now))
        elif is_worker:
            if what in ("busy", "free"):
                self.apply(self.registry.announce(socket, BUSY if what == "busy" else FACTS, self.now))
            elif what == "answer":
                self.say(socket, Answer(peer_of(rest[0] | 1), str(self.last)))
        elif what == "queue":
            self.listeners[socket].asked, self.listeners[socket].assigned = True, None
            self.apply(self.registry.join_queue(socket, JoinQueue(), self.now))
        elif what == "leave queue":
            self.apply(self.registry.leave_queue(socket, self.now))
        elif what in ("offer", "withdraw"):
            to = peer_of(rest[0] & ~1)
            self.say(socket, Offer(to, str(self.last)) if what == "offer" else Withdraw(to))

    def say(self, socket: WebSocketId, message) -> None:
        self.last += 1
        target = self.registry.websocket_of(socket, message.peer)
        member = self.registry.member_of(socket)
        if (
            isinstance(message, Answer)
            or target is None
            or self.listeners[target].outbox.has_place(member.peer, message)
        ):
            self.apply(self.registry.relay(socket, message))

    def apply(self, effects: RoomEffects) -> None:
        for effect in effects:
            listener = self.listeners[effect.websocket]
            if not isinstance(effect, SendMessage):
                listener.outbox.finish()
                continue
            listener.outbox.put(effect.message)
            if isinstance(effect.message, Offer | Answer):
                self.offers[effect.websocket, effect.message.peer].append(effect.message.sdp)

    def check_bounds(self) -> None:
        for listener in self.listeners.values():
            assert len(listener.outbox) <= 2 * WORKERS + 3 + SPEAKER_MAX * 3 + 3


def peer_of(number: int) -> PeerId:
    return PeerId(f"{'client' if number % 2 else 'worker'}-{number}")


@given(walks)
def test_however_slowly_the_members_read_they_know_the_room_in_the_end(walk):
    hall = Hall()
    for number in range(6):
        hall.do("join", number)
    for step in walk:
        hall.do(*step)
        hall.check_bounds()
    for number, socket in hall.sockets.items():
        listener = hall.listeners[socket]
        while len(listener.outbox):
            listener.read()
        for speaker, heard in listener.relays.items():
            said = deque(hall.offers[socket, speaker])
            assert all(sdp in iter(said.popleft, None) for sdp in heard), "in order, and nothing twice"
        if number % 2:
            room = hall.registry.workers(ROOM, hall.now)
            assert listener.workers == {worker.peer: worker.facts for worker in room}
            check_queue(hall.registry, socket, listener)


def check_queue(registry: RoomRegistry, socket: WebSocketId, listener: Listener) -> None:
    """Check that a client that waits knows its position, and that one without a worker knows that it must ask again."""
    queue = registry._queues.get(ROOM)
    for position, waiting in enumerate(queue._waiting if queue is not None else (), 1):
        if waiting.client != socket or not listener.asked:
            continue  # a client that has reconnected asks again at once
        match waiting.state:
            case Waiting():
                assert listener.place == position
            case Assigned(worker=worker) | Connecting(worker=worker):
                assert listener.assigned == worker
            case _:
                assert listener.assigned is not None


def test_there_is_a_place_for_each_member_of_a_full_room():
    assert SPEAKER_MAX * max(CLIENTS_MAX, WORKERS_MAX) <= RELAYS_MAX

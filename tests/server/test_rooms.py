"""The server's room registry: which messages each method sends to whom, and random walks that try to break it."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from protocol.faults import Fault, FaultCode
from protocol.fields import SENTENCES_MAX
from protocol.ids import JobId, PeerId, RoomId
from protocol.signaling import (
    SDP_MAX,
    WORKERS_MAX,
    Answer,
    Joined,
    JoinQueue,
    Offer,
    QueuePosition,
    Refuse,
    Withdraw,
    WorkerAssigned,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role, Status, WorkerFacts
from protocol.wire import FRAME_MAX, FROM_SERVER, decode, encode
from rtc.server.rooms import CLIENTS_MAX, CloseSocket, RoomEffects, RoomRegistry, SendMessage, WebSocketId
from rtc.server.wait_queue import RESERVATION_TIME

ROOM = RoomId("room-one")
ELSEWHERE = RoomId("room-two")
FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab-1", "CPU", 0, "0.3.5", "none", "0.1.0")
RESERVED_FACTS, BUSY_FACTS = evolve(FACTS, status=Status.RESERVED), evolve(FACTS, status=Status.BUSY)
LEAVING_FACTS = evolve(FACTS, leaving=True)
REFUSAL = Fault(FaultCode.WORKER_BUSY, "Busy.")
LONG = Fault(FaultCode.WORKER_BUSY, "😀" * SENTENCES_MAX)
ADA, BOB, WIM, ZOE = PeerId("client-ada"), PeerId("client-bob"), PeerId("worker-wim"), PeerId("worker-zoe")


NOW = 1000.0


def join(
    book: RoomRegistry, websocket: int, peer: PeerId, room: RoomId = ROOM, facts: WorkerFacts = FACTS, now: float = NOW
) -> RoomEffects:
    role = Role.WORKER if peer.startswith("worker") else Role.CLIENT
    return book.join(WebSocketId(websocket), room, peer, role, facts if role is Role.WORKER else None, "proof", now)


@pytest.fixture
def book() -> RoomRegistry:
    return RoomRegistry()


def test_a_client_gets_the_present_workers_and_the_ones_that_join_later(book):
    join(book, 1, WIM)
    assert join(book, 2, ADA) == (SendMessage(2, Joined(ROOM, ADA, "proof", (WorkerPresent(WIM, FACTS),))),)
    assert join(book, 3, ZOE) == (SendMessage(3, Joined(ROOM, ZOE, "proof")), SendMessage(2, WorkerPresent(ZOE, FACTS)))


def test_nobody_sees_clients(book):
    join(book, 1, WIM)
    join(book, 2, ADA)
    assert join(book, 3, BOB) == (SendMessage(3, Joined(ROOM, BOB, "proof", (WorkerPresent(WIM, FACTS),))),)
    assert book.leave(3, NOW) == ()


def test_new_facts_reach_the_clients_of_the_room_once(book):
    join(book, 1, WIM)
    join(book, 2, ADA)
    join(book, 3, BOB, ELSEWHERE)
    assert book.announce(1, BUSY_FACTS, NOW) == (SendMessage(2, WorkerPresent(WIM, BUSY_FACTS)),)
    assert book.announce(1, BUSY_FACTS, NOW) == ()
    assert book.workers(ROOM, NOW) == (WorkerPresent(WIM, BUSY_FACTS),)


def test_the_time_in_a_status_is_sent_and_only_another_status_restarts_it(book):
    join(book, 1, WIM, now=10.0)
    less = evolve(FACTS, free_mb=7)
    assert join(book, 2, ADA, now=14.5) == (
        SendMessage(2, Joined(ROOM, ADA, "proof", (WorkerPresent(WIM, FACTS, 4),))),
    )
    assert book.announce(1, less, 15.0) == (SendMessage(2, WorkerPresent(WIM, less, 5)),)
    assert book.announce(1, BUSY_FACTS, 20.0) == (SendMessage(2, WorkerPresent(WIM, BUSY_FACTS, 0)),)
    assert book.workers(ROOM, 3620.9) == (WorkerPresent(WIM, BUSY_FACTS, 3600),)
    assert book.workers(ROOM, 3.0) == (WorkerPresent(WIM, BUSY_FACTS, 0),), (
        "a clock that went back gives no negative time"
    )


def test_a_worker_that_reconnects_in_the_same_status_keeps_its_time(book):
    join(book, 1, WIM, facts=BUSY_FACTS, now=10.0)
    join(book, 2, WIM, facts=BUSY_FACTS, now=50.0)
    assert book.workers(ROOM, 70.0) == (WorkerPresent(WIM, BUSY_FACTS, 60),)
    join(book, 3, WIM, facts=FACTS, now=80.0)
    assert book.workers(ROOM, 81.0) == (WorkerPresent(WIM, FACTS, 1),)


def test_a_worker_that_leaves_is_gone_for_the_clients(book):
    join(book, 1, WIM)
    join(book, 2, ADA)
    assert book.leave(1, NOW) == (SendMessage(2, WorkerLeft(WIM)),)
    assert book.leave(1, NOW) == ()
    assert book.workers(ROOM, NOW) == ()


def test_an_offer_arrives_under_the_name_of_its_sender(book):
    join(book, 1, WIM)
    join(book, 2, ADA)
    assert book.relay(2, Offer(WIM, "sdp", JobId("j"))) == (SendMessage(1, Offer(ADA, "sdp", JobId("j"))),)
    assert book.relay(1, Answer(ADA, "sdp")) == (SendMessage(2, Answer(WIM, "sdp")),)
    assert book.relay(1, Refuse(ADA, REFUSAL)) == (SendMessage(2, Refuse(WIM, REFUSAL)),)
    assert book.relay(2, Withdraw(WIM)) == (SendMessage(1, Withdraw(ADA)),)


@pytest.mark.parametrize("absent", [PeerId("worker-who"), BOB, ADA, ZOE])
def test_an_offer_to_nobody_here_is_refused_at_once(book, absent):
    join(book, 1, WIM)
    join(book, 2, ADA)
    join(book, 3, BOB)
    join(book, 4, ZOE, ELSEWHERE)
    (effect,) = book.relay(2, Offer(absent, "sdp", number=7))
    assert effect.websocket == 2
    assert (effect.message.peer, effect.message.number) == (absent, 7)
    assert effect.message.fault.code is FaultCode.NO_WORKER


@pytest.mark.parametrize("absent", [PeerId("worker-who"), BOB, ADA, ZOE])
def test_a_withdrawal_to_nobody_here_is_dropped(book, absent):
    join(book, 1, WIM)
    join(book, 2, ADA)
    join(book, 3, BOB)
    join(book, 4, ZOE, ELSEWHERE)
    assert book.relay(2, Withdraw(absent)) == ()


@pytest.mark.parametrize("absent", [PeerId("client-who"), ZOE, BOB])
def test_an_answer_to_nobody_here_is_dropped(book, absent):
    join(book, 1, WIM)
    join(book, 2, BOB, ELSEWHERE)
    join(book, 3, ZOE)
    assert book.relay(1, Answer(absent, "sdp")) == ()
    assert book.relay(1, Refuse(absent, REFUSAL)) == ()


@pytest.mark.parametrize(
    ("websocket", "said"),
    [(1, Offer(ADA, "sdp")), (1, Withdraw(ADA)), (2, Answer(WIM, "sdp")), (2, Refuse(WIM, REFUSAL))],
)
def test_a_message_of_the_other_role_is_answered_by_a_fault_and_the_websocket_is_closed(book, websocket, said):
    join(book, 1, WIM)
    join(book, 2, ADA)
    rejection, close = book.relay(websocket, said)
    assert rejection.message.code is FaultCode.BAD_MESSAGE
    assert (rejection.websocket, close) == (websocket, CloseSocket(websocket))


def test_a_client_cannot_announce_itself_nor_a_worker_hide(book):
    join(book, 2, ADA)
    rejection, close = book.announce(2, FACTS, NOW)
    assert (rejection.message.code, close) == (FaultCode.BAD_MESSAGE, CloseSocket(2))
    rejection, close = book.join(WebSocketId(3), ROOM, WIM, Role.WORKER, None, "proof", NOW)
    assert (rejection.message.code, close) == (FaultCode.BAD_MESSAGE, CloseSocket(3))
    assert book.workers(ROOM, NOW) == ()


def test_a_websocket_joins_only_once(book):
    join(book, 1, WIM)
    rejection, close = join(book, 1, ZOE)
    assert (rejection.message.code, close) == (FaultCode.BAD_MESSAGE, CloseSocket(1))
    assert book.member_of(1).peer == WIM


def test_a_peer_that_reconnects_replaces_its_old_websocket_without_a_gap(book):
    join(book, 1, WIM)
    join(book, 2, ADA)
    fault, close, joined, shown = join(book, 3, WIM, facts=BUSY_FACTS)
    assert (fault.websocket, close) == (1, CloseSocket(1))
    assert isinstance(fault.message, Fault)
    assert joined == SendMessage(3, Joined(ROOM, WIM, "proof"))
    assert shown == SendMessage(2, WorkerPresent(WIM, BUSY_FACTS))
    assert book.leave(1, NOW) == ()
    assert book.announce(1, FACTS, NOW) == book.relay(1, Answer(ADA, "late")) == ()
    assert book.relay(2, Offer(WIM, "sdp")) == (SendMessage(3, Offer(ADA, "sdp")),)


def test_a_full_room_refuses_new_peers_but_not_those_that_reconnect(book):
    for n in range(WORKERS_MAX):
        join(book, n, PeerId(f"worker-{n}"))
    for n in range(CLIENTS_MAX):
        join(book, 1000 + n, PeerId(f"client-{n}"))
    for stranger in (WIM, ADA):
        rejection, close = join(book, 5000, stranger)
        assert (rejection.message.code, close) == (FaultCode.ROOM_FULL, CloseSocket(5000))
    assert SendMessage(5001, Joined(ROOM, PeerId("worker-7"), "proof")) in join(book, 5001, PeerId("worker-7"))
    assert len(book.workers(ROOM, NOW)) == WORKERS_MAX


def test_the_longest_facts_still_fit_into_frames(book):
    wide = WorkerFacts(Status.BUSY, *("\U00020000" * 64, "\U00020000" * 200, "\U00020000" * 200), 0, *("x" * 64,) * 3)
    for n in range(WORKERS_MAX):
        join(book, n, PeerId(f"worker-{n}"), facts=wide)
    effects = join(book, 100, ADA)
    assert all(decode(encode(effect.message), FROM_SERVER) == effect.message for effect in effects)
    sent = [*effects[0].message.workers, *(effect.message for effect in effects[1:])]
    assert tuple(sent) == book.workers(ROOM, NOW)


LONGEST = "\r\n" * (SDP_MAX // 2)


@pytest.mark.parametrize("message", [Offer(WIM, LONGEST), Answer(ADA, LONGEST), Refuse(ADA, LONG)])
def test_the_longest_message_of_a_peer_can_be_passed_on(message):
    assert len(encode(message)) < FRAME_MAX


# -------- offers of clients that are gone


def offered(book) -> RoomRegistry:
    """Return the registry in which Ada has made an offer to Wim and to Zoe, and awaits their answers."""
    for websocket, peer in enumerate((WIM, ZOE, ADA, BOB), 1):
        join(book, websocket, peer)
    for worker in (WIM, ZOE):
        book.relay(3, Offer(worker, "sdp"))
    return book


def test_the_offers_of_a_client_that_leaves_are_withdrawn_from_the_workers_that_have_not_answered(book):
    assert offered(book).leave(3, NOW) == (SendMessage(1, Withdraw(ADA)), SendMessage(2, Withdraw(ADA)))
    assert book.leave(4, NOW) == ()


@pytest.mark.parametrize("answer", [Answer(ADA, "sdp"), Refuse(ADA, REFUSAL)])
def test_an_offer_that_was_answered_is_not_withdrawn_until_there_is_another(book, answer):
    offered(book).relay(1, answer)
    book.relay(2, Answer(BOB, "another client"))
    assert book.leave(3, NOW) == (SendMessage(2, Withdraw(ADA)),)
    join(book, 5, ADA)
    book.relay(5, Offer(WIM, "again"))
    assert book.leave(5, NOW) == (SendMessage(1, Withdraw(ADA)),)


def test_an_answer_to_an_earlier_offer_is_none_to_a_later_one(book):
    join(book, 1, WIM)
    join(book, 3, ADA)
    book.relay(3, Offer(WIM, "first", number=6))
    book.relay(3, Offer(WIM, "second", number=7))
    book.relay(1, Answer(ADA, "of the first", 6))
    assert book.leave(3, NOW) == (SendMessage(1, Withdraw(ADA, 7)),)


def test_what_the_client_has_withdrawn_itself_is_not_withdrawn_again(book):
    offered(book).relay(3, Withdraw(ZOE))
    assert book.leave(3, NOW) == (SendMessage(1, Withdraw(ADA)),)


def test_an_offer_that_the_server_refused_is_not_withdrawn(line):
    line.relay(3, Offer(WIM, "promised to Ada"))
    assert line.leave(3, NOW) == ()


def test_a_worker_that_comes_back_knows_of_no_offer_and_hears_of_no_withdrawal(book):
    offered(book).leave(1, NOW)
    join(book, 5, WIM)
    assert book.leave(3, NOW) == (SendMessage(2, Withdraw(ADA)),)


def test_who_withdraws_a_later_offer_withdraws_those_before_it(book):
    offered(book).relay(3, Offer(WIM, "again", number=2))
    book.relay(3, Withdraw(WIM, 2))
    assert book.leave(3, NOW) == (SendMessage(2, Withdraw(ADA)),)


def test_whoever_replaces_its_connection_keeps_its_offers(book):
    offered(book)
    join(book, 5, ADA)
    assert book.leave(3, NOW) == ()
    join(book, 6, WIM)
    assert book.leave(5, NOW) == (SendMessage(6, Withdraw(ADA)), SendMessage(2, Withdraw(ADA)))


# -------- the queue


def wait(book: RoomRegistry, websocket: int, now: float = NOW) -> RoomEffects:
    return book.join_queue(WebSocketId(websocket), JoinQueue(), now)


@pytest.fixture
def line(book) -> RoomRegistry:
    """A room with a worker that was busy until now; it is assigned to Ada, and Bob waits behind her."""
    join(book, 1, WIM, facts=BUSY_FACTS)
    join(book, 2, ADA)
    join(book, 3, BOB)
    assert wait(book, 2) == (SendMessage(2, QueuePosition(1, 1)),)
    assert wait(book, 3) == (SendMessage(3, QueuePosition(2, 2)),)
    shown = WorkerPresent(WIM, FACTS)
    free = book.announce(1, FACTS, NOW)
    assert free == (SendMessage(2, shown), SendMessage(3, shown), SendMessage(2, WorkerAssigned(WIM)))
    return book


def test_an_assignment_lapses_at_its_deadline_and_not_before(line):
    assert line.next_deadline() == NOW + RESERVATION_TIME
    assert line.lapse(NOW + RESERVATION_TIME - 0.001) == ()
    assert line.lapse(NOW + RESERVATION_TIME) == (
        SendMessage(3, WorkerAssigned(WIM)),
        SendMessage(2, QueuePosition(2, 2)),
    )
    assert line.relay(3, Offer(WIM, "sdp")) == (SendMessage(1, Offer(BOB, "sdp")),)
    (refusal,) = line.relay(2, Offer(WIM, "late"))
    assert refusal.message.fault.code is FaultCode.WORKER_BUSY


def test_a_reservation_ends_the_deadline_and_the_job_that_begins_the_place_in_the_line(line):
    line.announce(1, RESERVED_FACTS, NOW + 1)
    assert line.next_deadline() == float("inf")
    assert line.leave_queue(2, NOW + 9) == (SendMessage(3, QueuePosition(1, 1)),)
    line.announce(1, BUSY_FACTS, NOW + 10)
    assert line.announce(1, FACTS, NOW + 11)[-1] == SendMessage(3, WorkerAssigned(WIM))


def test_an_assignment_holds_back_offers_of_others_but_not_one_that_names_a_job(line):
    (refusal,) = line.relay(3, Offer(WIM, "sdp"))
    assert (refusal.websocket, refusal.message.fault.code) == (3, FaultCode.WORKER_BUSY)
    about_job = Offer(WIM, "sdp", JobId("job-one"))
    assert line.relay(3, about_job) == (SendMessage(1, evolve(about_job, peer=BOB)),)
    assert line.next_deadline() == NOW + RESERVATION_TIME, "the worker is still assigned"


def test_a_leaving_worker_is_shown_as_leaving_and_assigned_to_nobody(line):
    shown = WorkerPresent(WIM, LEAVING_FACTS, 1)
    assert line.announce(1, LEAVING_FACTS, NOW + 1) == (SendMessage(2, shown), SendMessage(3, shown))
    assert wait(line, 2) == (SendMessage(2, QueuePosition(1, 2)),)
    assert line.workers(ROOM, NOW + 1) == (shown,)
    assert join(line, 4, ZOE)[-1] == SendMessage(2, WorkerAssigned(ZOE))


def test_a_worker_that_leaves_the_room_is_assigned_to_nobody_and_the_line_goes_on(line):
    assert line.leave(1, NOW) == (SendMessage(2, WorkerLeft(WIM)), SendMessage(3, WorkerLeft(WIM)))
    assert line.next_deadline() == float("inf")
    wait(line, 2)
    assert join(line, 4, WIM)[-1] == SendMessage(2, WorkerAssigned(WIM))


def test_a_client_whose_connection_closes_gives_its_worker_to_the_next(line):
    assert line.leave(2, NOW) == (SendMessage(3, WorkerAssigned(WIM)),)


def test_a_client_that_reconnects_keeps_its_place_and_hears_of_its_worker_when_it_asks(line):
    *_, joined = join(line, 5, ADA)
    assert joined.message == Joined(ROOM, ADA, "proof", (WorkerPresent(WIM, FACTS),))
    assert wait(line, 5) == (SendMessage(5, WorkerAssigned(WIM)),)
    *_, joined, place = join(line, 6, BOB)
    assert (joined.websocket, place) == (6, SendMessage(6, QueuePosition(2, 2)))


def test_assignments_of_several_rooms_lapse_each_at_its_time(line):
    join(line, 4, ZOE, ELSEWHERE)
    join(line, 5, ADA, ELSEWHERE)
    assert wait(line, 5, NOW + 10) == (SendMessage(5, WorkerAssigned(ZOE)),)
    assert [effect.websocket for effect in line.lapse(NOW + RESERVATION_TIME)] == [3, 2]
    assert line.next_deadline() == NOW + 10 + RESERVATION_TIME
    assert line.lapse(line.next_deadline()) == (SendMessage(5, QueuePosition(1, 1)),)


# -------- random walks


websockets = st.integers(0, 7).map(WebSocketId)
peers = st.sampled_from([ADA, BOB, WIM, ZOE])
rooms = st.sampled_from([ROOM, ELSEWHERE])
steps = st.one_of(
    st.tuples(st.just("join"), websockets, peers, rooms),
    st.tuples(st.just("leave"), websockets),
    st.tuples(st.just("announce"), websockets, st.sampled_from([FACTS, RESERVED_FACTS, BUSY_FACTS, LEAVING_FACTS])),
    st.tuples(st.just("queue"), websockets),
    st.tuples(st.just("leave queue"), websockets),
    st.tuples(st.just("relay"), websockets, st.sampled_from([Offer, Answer, Withdraw]), peers),
)


def apply(book: RoomRegistry, step: tuple) -> tuple[RoomEffects, set[RoomId]]:
    """Apply a step; return its effects and the rooms that they may concern."""
    what, websocket, *rest = step
    before = book.member_of(websocket)
    match what:
        case "join":
            effects = join(book, websocket, rest[0], rest[1])
        case "leave":
            effects = book.leave(websocket, NOW)
        case "announce":
            effects = book.announce(websocket, rest[0], NOW)
        case "queue":
            effects = wait(book, websocket)
        case "leave queue":
            effects = book.leave_queue(websocket, NOW)
        case _:
            effects = book.relay(websocket, Withdraw(rest[1]) if rest[0] is Withdraw else rest[0](rest[1], "sdp"))
    after = book.member_of(websocket)
    return effects, {member.room for member in (before, after) if member is not None}


@given(st.lists(steps, min_size=20, max_size=60))
def test_random_walks_keep_the_registry_consistent(walk):
    book = RoomRegistry()
    closed: set[WebSocketId] = set()
    for step in walk:
        was = {websocket: book.member_of(websocket) for websocket in map(WebSocketId, range(8))}
        effects, touched = apply(book, step)
        closed = {effect.websocket for effect in effects if isinstance(effect, CloseSocket)}
        members = [member for websocket in range(8) if (member := book.member_of(WebSocketId(websocket))) is not None]
        assert all(book.member_of(member.websocket) is member for member in members)
        assert len({(member.room, member.peer) for member in members}) == len(members)
        assert {member.peer for member in members if member.room == ROOM and member.role is Role.WORKER} == {
            shown.peer for shown in book.workers(ROOM, NOW)
        }
        for effect in effects:
            own = effect.websocket == step[1]
            member = book.member_of(effect.websocket) or was[effect.websocket]
            assert own or (member is not None and member.room in touched)
        for websocket in closed - {step[1]}:  # a WebSocket that was replaced has no member any more
            assert book.member_of(websocket) is None
    for websocket in range(8):
        book.leave(WebSocketId(websocket), NOW)
    assert book == RoomRegistry()

"""The server's room book: who hears what, and a walk that tries to confuse it."""

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.signaling import (
    WORKERS_MAX,
    Answer,
    Joined,
    Offer,
    Refuse,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role, Status, WorkerFacts
from protocol.wire import FRAME_MAX, FROM_SERVER, decode, encode
from rtc.server.rooms import CLIENTS_MAX, CloseSocket, RoomEffects, RoomRegistry, SendMessage, SocketId

ROOM = RoomId("room-one")
ELSEWHERE = RoomId("room-two")
FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab-1", "CPU", 0, "0.3.5", "none", "0.1.0")
BUSY_FACTS = evolve(FACTS, status=Status.BUSY)
REFUSAL = Fault(FaultCode.WORKER_BUSY, "Busy.")
ADA, BOB, WIM, ZOE = PeerId("client-ada"), PeerId("client-bob"), PeerId("worker-wim"), PeerId("worker-zoe")


NOW = 1000.0


def come(
    book: RoomRegistry, socket: int, peer: PeerId, room: RoomId = ROOM, facts: WorkerFacts = FACTS, now: float = NOW
) -> RoomEffects:
    role = Role.WORKER if peer.startswith("worker") else Role.CLIENT
    return book.enter(SocketId(socket), room, peer, role, facts if role is Role.WORKER else None, "proof", now)


@pytest.fixture
def book() -> RoomRegistry:
    return RoomRegistry()


def test_a_client_hears_who_is_there_and_who_comes(book):
    come(book, 1, WIM)
    assert come(book, 2, ADA) == (SendMessage(2, Joined(ROOM, ADA, "proof", (WorkerPresent(WIM, FACTS),))),)
    assert come(book, 3, ZOE) == (SendMessage(3, Joined(ROOM, ZOE, "proof")), SendMessage(2, WorkerPresent(ZOE, FACTS)))


def test_nobody_sees_clients(book):
    come(book, 1, WIM)
    come(book, 2, ADA)
    assert come(book, 3, BOB) == (SendMessage(3, Joined(ROOM, BOB, "proof", (WorkerPresent(WIM, FACTS),))),)
    assert book.leave(3) == ()


def test_news_reaches_the_clients_of_the_room_once(book):
    come(book, 1, WIM)
    come(book, 2, ADA)
    come(book, 3, BOB, ELSEWHERE)
    assert book.announce(1, BUSY_FACTS, NOW) == (SendMessage(2, WorkerPresent(WIM, BUSY_FACTS)),)
    assert book.announce(1, BUSY_FACTS, NOW) == ()
    assert book.workers(ROOM, NOW) == (WorkerPresent(WIM, BUSY_FACTS),)


def test_the_time_in_a_status_is_told_and_only_another_status_starts_it_anew(book):
    come(book, 1, WIM, now=10.0)
    less = evolve(FACTS, free_mb=7)
    assert come(book, 2, ADA, now=14.5) == (
        SendMessage(2, Joined(ROOM, ADA, "proof", (WorkerPresent(WIM, FACTS, 4),))),
    )
    assert book.announce(1, less, 15.0) == (SendMessage(2, WorkerPresent(WIM, less, 5)),)
    assert book.announce(1, BUSY_FACTS, 20.0) == (SendMessage(2, WorkerPresent(WIM, BUSY_FACTS, 0)),)
    assert book.workers(ROOM, 3620.9) == (WorkerPresent(WIM, BUSY_FACTS, 3600),)
    assert book.workers(ROOM, 3.0) == (WorkerPresent(WIM, BUSY_FACTS, 0),), "a clock that went back is no reason to lie"


def test_who_comes_back_in_the_same_status_keeps_its_time(book):
    come(book, 1, WIM, facts=BUSY_FACTS, now=10.0)
    come(book, 2, WIM, facts=BUSY_FACTS, now=50.0)
    assert book.workers(ROOM, 70.0) == (WorkerPresent(WIM, BUSY_FACTS, 60),)
    come(book, 3, WIM, facts=FACTS, now=80.0)
    assert book.workers(ROOM, 81.0) == (WorkerPresent(WIM, FACTS, 1),)


def test_a_worker_that_leaves_is_gone_for_the_clients(book):
    come(book, 1, WIM)
    come(book, 2, ADA)
    assert book.leave(1) == (SendMessage(2, WorkerLeft(WIM)),)
    assert book.leave(1) == ()
    assert book.workers(ROOM, NOW) == ()


def test_an_offer_arrives_under_the_name_of_its_sender(book):
    come(book, 1, WIM)
    come(book, 2, ADA)
    assert book.relay(2, Offer(WIM, "sdp", version=7)) == (SendMessage(1, Offer(ADA, "sdp", version=7)),)
    assert book.relay(1, Answer(ADA, "sdp")) == (SendMessage(2, Answer(WIM, "sdp")),)
    assert book.relay(1, Refuse(ADA, REFUSAL)) == (SendMessage(2, Refuse(WIM, REFUSAL)),)


@pytest.mark.parametrize("nobody", [PeerId("worker-who"), BOB, ADA, ZOE])
def test_an_offer_to_nobody_here_is_refused_at_once(book, nobody):
    come(book, 1, WIM)
    come(book, 2, ADA)
    come(book, 3, BOB)
    come(book, 4, ZOE, ELSEWHERE)
    (effect,) = book.relay(2, Offer(nobody, "sdp"))
    assert effect.socket == 2
    assert effect.message.peer == nobody
    assert effect.message.fault.code is FaultCode.NO_WORKER


@pytest.mark.parametrize("nobody", [PeerId("client-who"), ZOE, BOB])
def test_an_answer_to_nobody_here_is_dropped(book, nobody):
    come(book, 1, WIM)
    come(book, 2, BOB, ELSEWHERE)
    come(book, 3, ZOE)
    assert book.relay(1, Answer(nobody, "sdp")) == ()
    assert book.relay(1, Refuse(nobody, REFUSAL)) == ()


@pytest.mark.parametrize(
    ("socket", "said"),
    [(1, Offer(ADA, "sdp")), (2, Answer(WIM, "sdp")), (2, Refuse(WIM, REFUSAL))],
)
def test_who_says_what_is_not_theirs_is_told_and_closed(book, socket, said):
    come(book, 1, WIM)
    come(book, 2, ADA)
    post, close = book.relay(socket, said)
    assert post.message.code is FaultCode.BAD_MESSAGE
    assert (post.socket, close) == (socket, CloseSocket(socket))


def test_a_client_cannot_announce_itself_nor_a_worker_hide(book):
    come(book, 2, ADA)
    post, close = book.announce(2, FACTS, NOW)
    assert (post.message.code, close) == (FaultCode.BAD_MESSAGE, CloseSocket(2))
    post, close = book.enter(SocketId(3), ROOM, WIM, Role.WORKER, None, "proof", NOW)
    assert (post.message.code, close) == (FaultCode.BAD_MESSAGE, CloseSocket(3))
    assert book.workers(ROOM, NOW) == ()


def test_nobody_sits_twice(book):
    come(book, 1, WIM)
    post, close = come(book, 1, ZOE)
    assert (post.message.code, close) == (FaultCode.BAD_MESSAGE, CloseSocket(1))
    assert book.member_of(1).peer == WIM


def test_who_comes_back_replaces_the_old_socket_without_a_gap(book):
    come(book, 1, WIM)
    come(book, 2, ADA)
    fault, close, joined, shown = come(book, 3, WIM, facts=BUSY_FACTS)
    assert (fault.socket, close) == (1, CloseSocket(1))
    assert isinstance(fault.message, Fault)
    assert joined == SendMessage(3, Joined(ROOM, WIM, "proof"))
    assert shown == SendMessage(2, WorkerPresent(WIM, BUSY_FACTS))
    assert book.leave(1) == ()
    assert book.announce(1, FACTS, NOW) == book.relay(1, Answer(ADA, "late")) == ()
    assert book.relay(2, Offer(WIM, "sdp")) == (SendMessage(3, Offer(ADA, "sdp")),)


def test_a_full_room_says_so_but_lets_the_returning_in(book):
    for n in range(WORKERS_MAX):
        come(book, n, PeerId(f"worker-{n}"))
    for n in range(CLIENTS_MAX):
        come(book, 1000 + n, PeerId(f"client-{n}"))
    for stranger in (WIM, ADA):
        post, close = come(book, 5000, stranger)
        assert (post.message.code, close) == (FaultCode.ROOM_FULL, CloseSocket(5000))
    assert SendMessage(5001, Joined(ROOM, PeerId("worker-7"), "proof")) in come(book, 5001, PeerId("worker-7"))
    assert len(book.workers(ROOM, NOW)) == WORKERS_MAX


def test_the_longest_facts_still_fit_into_frames(book):
    wide = WorkerFacts(Status.BUSY, *("\U00020000" * 64, "\U00020000" * 200, "\U00020000" * 200), 0, *("x" * 64,) * 3)
    for n in range(WORKERS_MAX):
        come(book, n, PeerId(f"worker-{n}"), facts=wide)
    posts = come(book, 100, ADA)
    assert all(decode(encode(post.message), FROM_SERVER) == post.message for post in posts)
    told = [*posts[0].message.workers, *(post.message for post in posts[1:])]
    assert tuple(told) == book.workers(ROOM, NOW)


def test_a_word_that_grows_beyond_a_frame_is_not_passed_on(book):
    come(book, 1, WIM)
    come(book, 2, ADA)
    assert len(encode(Offer(ADA, "é" * 30_000))) > FRAME_MAX
    post, close = book.relay(2, Offer(WIM, "é" * 30_000))
    assert (post.socket, post.message.code, close) == (2, FaultCode.BAD_MESSAGE, CloseSocket(2))


sockets = st.integers(0, 7).map(SocketId)
peers = st.sampled_from([ADA, BOB, WIM, ZOE])
rooms = st.sampled_from([ROOM, ELSEWHERE])
steps = st.one_of(
    st.tuples(st.just("enter"), sockets, peers, rooms),
    st.tuples(st.just("leave"), sockets),
    st.tuples(st.just("announce"), sockets, st.sampled_from([FACTS, BUSY_FACTS])),
    st.tuples(st.just("relay"), sockets, st.sampled_from([Offer, Answer]), peers),
)


def take(book: RoomRegistry, step: tuple) -> tuple[RoomEffects, set[RoomId]]:
    """Take a step; also the rooms that its orders may touch."""
    what, socket, *rest = step
    before = book.member_of(socket)
    match what:
        case "enter":
            effects = come(book, socket, rest[0], rest[1])
        case "leave":
            effects = book.leave(socket)
        case "announce":
            effects = book.announce(socket, rest[0], NOW)
        case _:
            effects = book.relay(socket, rest[0](rest[1], "sdp"))
    after = book.member_of(socket)
    return effects, {member.room for member in (before, after) if member is not None}


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=60))
def test_walks_keep_the_book_whole(walk):
    book = RoomRegistry()
    closed: set[SocketId] = set()
    for step in walk:
        was = {socket: book.member_of(socket) for socket in map(SocketId, range(8))}
        effects, touched = take(book, step)
        closed = {effect.socket for effect in effects if isinstance(effect, CloseSocket)}
        seats = [member for socket in range(8) if (member := book.member_of(SocketId(socket))) is not None]
        assert all(book.member_of(member.socket) is member for member in seats)
        assert len({(member.room, member.peer) for member in seats}) == len(seats)
        assert {member.peer for member in seats if member.room == ROOM and member.role is Role.WORKER} == {
            shown.peer for shown in book.workers(ROOM, NOW)
        }
        for effect in effects:
            own = effect.socket == step[1]
            member = book.member_of(effect.socket) or was[effect.socket]
            assert own or (member is not None and member.room in touched)
        for socket in closed - {step[1]}:  # who was replaced has no seat left
            assert book.member_of(socket) is None
    for socket in range(8):
        book.leave(SocketId(socket))
    assert book == RoomRegistry()

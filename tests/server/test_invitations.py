"""Invitations at the server: numbers, turns, limits, and what happens when one side goes; all in memory."""

import itertools
import random

import pytest
import trio
from attrs import evolve
from trio.testing import memory_stream_pair, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, wrap_client_stream

from protocol.faults import Fault, FaultCode
from protocol.ids import RoomId
from protocol.invitations import (
    AnswerInvitation,
    AskInvitation,
    CloseInvitation,
    GiveInvitation,
    InvitationDenied,
    InvitationKind,
    InvitationOpened,
    OpenInvitation,
    ProveInvitation,
    RefuseInvitation,
)
from protocol.signaling import Join, Joined, Leave, Offer
from protocol.status import Role, Status, WorkerFacts
from protocol.version import VERSIONS, VersionRange
from protocol.wire import FROM_SERVER, decode, encode
from rtc.invitations.code_exchange import JoinerExchange, answer_joiner, is_proof_of, make_proof
from rtc.invitations.short_code import make_code
from rtc.server import invitations
from rtc.server.invitation_relay import TOO_MANY_ASKS, TOO_MANY_MADE
from rtc.server.invitations import (
    AWAY_MAX,
    AWAY_TIME,
    EXCHANGE_TIMES,
    INVITER_GONE,
    JOINER_GONE,
    NEARBY_NUMBERS,
    NONE_ALLOWED,
    NOT_KEPT,
    OPEN_TIME,
    TOO_MANY_OPEN,
    TOO_SLOW,
    UNKNOWN,
    InvitationRegistry,
)
from rtc.server.limits import DEFAULT_LIMITS, ServerLimits
from rtc.server.rate_limits import GUESS_DELAY, JOIN_TIME, RateLimits
from rtc.server.rooms import CloseSocket, RoomMember, SendMessage, WebSocketId
from rtc.server.signaling import SignalingServer
from rtc.server.websocket_connection import PeerWebSocket

FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab-1", "CPU", 0, "0.3.5", "none", "0.1.0")
CODE, NEARBY = InvitationKind
ROOM = RoomId("room")
NO = Fault(FaultCode.AUTH_INVALID, "No.")
SHARE, PROOF, SEALED = b"s" * 33, b"p" * 32, b"r" * 99


class Rooms:
    """Stands in for `RoomDatabase`; each token that is the room's name is right."""

    async def create_room(self, name):
        return RoomId(name), name

    async def is_token_of(self, room, token):
        return token == room

    def resume_proof(self, room, peer):
        return f"proof-{room}-{peer}"


class Peer:
    """The peer's end of a connection."""

    def __init__(self, ws) -> None:
        self.ws = ws

    async def send(self, message) -> None:
        await self.ws.send_message(encode(message))

    async def receive(self):
        with trio.fail_after(10_000):
            return decode(await self.ws.get_message(), FROM_SERVER)

    async def ask(self, message):
        await self.send(message)
        return await self.receive()

    async def is_closed(self) -> bool:
        with pytest.raises(ConnectionClosed):
            await self.ws.get_message()
        return True


class Hall:
    """A signalling server in memory, and peers of it."""

    def __init__(self, nursery, limits: ServerLimits) -> None:
        self.server = SignalingServer(Rooms(), RateLimits(limits), limits=limits)
        self.nursery = nursery

    @property
    def invitations(self) -> InvitationRegistry:
        return self.server._invitations.registry

    async def peer(self, address="10.0.0.1") -> Peer:
        ours, theirs = memory_stream_pair()
        self.nursery.start_soon(self.server.serve, theirs, address)
        return Peer(await wrap_client_stream(self.nursery, ours, "server", "/"))

    async def member(self, room="room", role=Role.WORKER, **more) -> tuple[Peer, Joined]:
        peer = await self.peer()
        facts = FACTS if role is Role.WORKER else None
        return peer, await peer.ask(Join(RoomId(room), room, role, facts, **more))

    async def inviter(self, kind=CODE, **more) -> tuple[Peer, InvitationOpened]:
        peer, _ = await self.member(**more)
        return peer, await peer.ask(OpenInvitation(kind))


class Quiet(trio.abc.Listener):
    async def accept(self):
        await trio.sleep_forever()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


@pytest.fixture
def make_hall(nursery, autojump_clock):
    async def make(**limits) -> Hall:
        hall = Hall(nursery, ServerLimits(**limits))
        await nursery.start(hall.server.run, [Quiet()])
        return hall

    return make


@pytest.fixture
async def hall(make_hall):
    return await make_hall()


def ask(number, name="laptop") -> AskInvitation:
    return AskInvitation(number, name, SHARE)


# -------- the exchange


async def test_the_messages_of_an_exchange_pass_in_their_order_and_the_joiner_is_disconnected(autojump_clock, hall):
    inviter, opened = await hall.inviter()
    assert opened == InvitationOpened(CODE, 1, int(OPEN_TIME))
    joiner = await hall.peer("10.0.0.2")
    await joiner.send(ask(1))
    assert await inviter.receive() == ask(1)
    await inviter.send(AnswerInvitation(1, SHARE, versions=VersionRange(1, 9)))
    assert await joiner.receive() == AnswerInvitation(1, SHARE, versions=VERSIONS)
    await joiner.send(ProveInvitation(999, PROOF))
    assert await inviter.receive() == ProveInvitation(1, PROOF)
    await inviter.send(GiveInvitation(1, SEALED))
    assert await joiner.receive() == GiveInvitation(1, SEALED)
    assert await joiner.is_closed()
    assert len(hall.invitations) == 0


@pytest.mark.parametrize("kind", InvitationKind)
async def test_the_first_who_asks_uses_an_invitation_up(autojump_clock, hall, kind):
    inviter, opened = await hall.inviter(kind)
    await (await hall.peer()).send(ask(opened.number))
    assert await inviter.receive() == ask(opened.number)
    second = await hall.peer()
    assert await second.ask(ask(opened.number)) == RefuseInvitation(opened.number, UNKNOWN)
    assert await second.is_closed()


async def test_numbers_of_codes_are_the_lowest_that_were_not_used_lately(autojump_clock, hall):
    inviters = [(await hall.inviter())[0] for _ in range(3)]
    await inviters[1].send(CloseInvitation(2))
    assert (await hall.inviter())[1].number == 4
    await trio.sleep(OPEN_TIME + 1)  # the others have just expired
    assert (await hall.inviter())[1].number == 2
    await trio.sleep(OPEN_TIME)
    assert (await hall.inviter())[1].number == 1


async def test_numbers_of_nearby_invitations_cannot_be_counted_up_and_have_no_end(autojump_clock, hall):
    numbers = {(await hall.inviter(NEARBY))[1] for _ in range(5)}
    assert len(numbers) == 5
    assert all(one.number in NEARBY_NUMBERS and one.seconds is None for one in numbers)
    await trio.sleep(2 * OPEN_TIME)
    assert len(hall.invitations) == 5


async def test_a_member_has_one_invitation_of_each_kind(autojump_clock, hall):
    inviter, first = await hall.inviter()
    await inviter.ask(OpenInvitation(NEARBY))
    second = await inviter.ask(OpenInvitation(CODE))
    assert second.number != first.number
    assert len(hall.invitations) == 2
    assert (await (await hall.peer()).ask(ask(first.number))).fault == UNKNOWN


async def test_a_refusal_reaches_the_other_side(autojump_clock, hall):
    inviter, _ = await hall.inviter()
    joiner = await hall.peer()
    await joiner.send(ask(1))
    await inviter.receive()
    await inviter.send(RefuseInvitation(1, NO))
    assert await joiner.receive() == RefuseInvitation(1, NO)
    assert await joiner.is_closed()
    second = await inviter.ask(OpenInvitation(CODE))
    joiner = await hall.peer()
    await joiner.send(ask(second.number))
    await inviter.receive()
    await joiner.send(RefuseInvitation(1, NO))
    assert await inviter.receive() == RefuseInvitation(second.number, NO)


@pytest.mark.parametrize("leave", [True, False])
async def test_when_one_side_goes_the_other_one_hears_of_it(autojump_clock, hall, leave):
    inviter, _ = await hall.inviter()
    joiner = await hall.peer()
    await joiner.send(ask(1))
    await inviter.receive()
    if leave:
        await inviter.send(Leave())
    else:
        await inviter.ws.aclose()
    assert await joiner.receive() == RefuseInvitation(1, INVITER_GONE)
    inviter, opened = await hall.inviter()
    joiner = await hall.peer()
    await joiner.send(ask(opened.number))
    await inviter.receive()
    await joiner.ws.aclose()
    assert await inviter.receive() == RefuseInvitation(opened.number, JOINER_GONE)


@pytest.mark.parametrize("kind", InvitationKind)
async def test_an_exchange_has_a_time_of_its_own_and_no_more(autojump_clock, hall, kind):
    inviter, opened = await hall.inviter(kind)
    joiner, start = await hall.peer(), trio.current_time()
    await joiner.send(ask(opened.number))
    await inviter.receive()
    assert await joiner.receive() == RefuseInvitation(opened.number, TOO_SLOW)
    assert trio.current_time() - start == EXCHANGE_TIMES[kind] > JOIN_TIME
    assert await inviter.receive() == RefuseInvitation(opened.number, TOO_SLOW)
    assert await joiner.is_closed()


async def test_a_code_expires_and_then_its_number_is_as_unknown_as_any_other(autojump_clock, hall):
    await hall.inviter()
    await trio.sleep(OPEN_TIME)
    answers = []
    for number in (1, 2, 999):
        start = trio.current_time()
        answers.append(((await (await hall.peer()).ask(ask(number))).fault, trio.current_time() - start))
    assert answers == [(UNKNOWN, 0)] * 3


# -------- who may say what


@pytest.mark.parametrize(
    "message",
    [OpenInvitation(CODE), CloseInvitation(1), AnswerInvitation(1, SHARE), GiveInvitation(1, SEALED),
     ProveInvitation(1, PROOF), RefuseInvitation(1, NO)],
    ids=lambda message: type(message).__name__,
)  # fmt: skip
async def test_who_is_in_no_room_can_only_ask(autojump_clock, hall, message):
    await hall.inviter()
    stranger = await hall.peer()
    fault = await stranger.ask(message)
    assert fault.code is FaultCode.BAD_MESSAGE
    assert await stranger.is_closed()
    assert len(hall.invitations) == 1


@pytest.mark.parametrize("message", [ask(1), ProveInvitation(1, PROOF)], ids=lambda message: type(message).__name__)
async def test_a_member_cannot_be_a_joiner(autojump_clock, hall, message):
    member, _ = await hall.member("another")
    assert (await member.ask(message)).code is FaultCode.BAD_MESSAGE


@pytest.mark.parametrize(
    "message",
    [ask(1), ask(2), OpenInvitation(CODE), CloseInvitation(1), AnswerInvitation(1, SHARE), GiveInvitation(1, SEALED),
     ProveInvitation(1, PROOF), Join(ROOM, "room", Role.CLIENT), Offer("w", "sdp"), Leave()],
    ids=lambda message: type(message).__name__,
)  # fmt: skip
async def test_a_joiner_that_does_not_wait_for_its_turn_is_disconnected(autojump_clock, hall, message):
    inviter, _ = await hall.inviter()
    joiner = await hall.peer()
    await joiner.send(ask(1))
    await inviter.receive()
    assert (await joiner.ask(message)).code is FaultCode.BAD_MESSAGE
    assert await joiner.is_closed()
    assert (await inviter.receive()).fault == JOINER_GONE
    assert len(hall.invitations) == 0


async def test_nobody_can_say_anything_in_the_exchange_of_others(autojump_clock, hall):
    inviter, _ = await hall.inviter()
    joiner = await hall.peer()
    await joiner.send(ask(1))
    await inviter.receive()
    for role in Role:
        other, _ = await hall.member(role=role)
        for message in (
            AnswerInvitation(1, b"x"),
            GiveInvitation(1, b"x"),
            RefuseInvitation(1, NO),
            CloseInvitation(1),
        ):
            await other.send(message)
    await (await hall.peer()).send(ProveInvitation(1, b"x"))
    await wait_all_tasks_blocked()
    await inviter.send(AnswerInvitation(1, SHARE))
    assert await joiner.receive() == AnswerInvitation(1, SHARE)


async def test_the_inviter_cannot_speak_out_of_turn(autojump_clock, hall):
    inviter, _ = await hall.inviter()
    joiner = await hall.peer()
    await joiner.send(ask(1))
    await inviter.receive()
    await inviter.send(GiveInvitation(1, SEALED))
    assert (await joiner.receive()).fault == INVITER_GONE
    assert (await inviter.receive()).fault == TOO_SLOW
    await inviter.send(AnswerInvitation(1, SHARE))  # the exchange is over: nothing happens
    assert (await inviter.ask(OpenInvitation(CODE))).number == 2


# -------- a short loss of the inviter's connection


async def rejoined(hall: Hall, joined: Joined) -> Peer:
    again, back = await hall.member(peer=joined.peer, resume=joined.resume)
    assert back.peer == joined.peer
    return again


async def test_a_code_survives_a_short_loss_of_its_inviters_connection(autojump_clock, hall):
    inviter, joined = await hall.member()
    await inviter.ask(OpenInvitation(CODE))
    await inviter.ws.aclose()
    assert (await (await hall.peer()).ask(ask(1))).fault == UNKNOWN
    await trio.sleep(AWAY_TIME - 1)
    again = await rejoined(hall, joined)
    opened = await again.ask(OpenInvitation(CODE, 1))
    assert opened == InvitationOpened(CODE, 1, int(OPEN_TIME - AWAY_TIME + 1))
    await (await hall.peer()).send(ask(1))
    assert await again.receive() == ask(1)


async def test_it_survives_when_the_old_connection_still_seems_to_be_there(autojump_clock, hall):
    inviter, joined = await hall.member()
    await inviter.ask(OpenInvitation(CODE))
    again = await rejoined(hall, joined)
    assert (await again.ask(OpenInvitation(CODE, 1))).number == 1
    await trio.sleep(AWAY_TIME + 1)
    await (await hall.peer()).send(ask(1))
    assert await again.receive() == ask(1)


async def test_a_long_loss_ends_it_and_nobody_else_can_take_it_over(autojump_clock, hall):
    inviter, joined = await hall.member()
    await inviter.ask(OpenInvitation(CODE))
    await inviter.ws.aclose()
    other, _ = await hall.member()
    assert await other.ask(OpenInvitation(CODE, 1)) == InvitationDenied(CODE, NOT_KEPT)
    await trio.sleep(AWAY_TIME + 1)
    again = await rejoined(hall, joined)
    assert await again.ask(OpenInvitation(CODE, 1)) == InvitationDenied(CODE, NOT_KEPT)


async def test_who_leaves_takes_its_invitations_along(autojump_clock, hall):
    inviter, joined = await hall.member()
    await inviter.ask(OpenInvitation(CODE))
    await inviter.send(Leave())
    assert await inviter.is_closed()
    again = await rejoined(hall, joined)
    assert await again.ask(OpenInvitation(CODE, 1)) == InvitationDenied(CODE, NOT_KEPT)


# -------- limits


async def test_the_open_invitations_of_a_room_are_limited(autojump_clock, make_hall):
    hall = await make_hall(max_invitations=2)
    for _ in range(2):
        assert isinstance((await hall.inviter())[1], InvitationOpened)
    assert (await hall.inviter())[1] == InvitationDenied(CODE, TOO_MANY_OPEN)
    assert isinstance((await hall.inviter(room="another"))[1], InvitationOpened)
    await trio.sleep(OPEN_TIME + 1)
    assert isinstance((await hall.inviter())[1], InvitationOpened)


async def test_an_administrator_may_allow_none(autojump_clock, make_hall):
    hall = await make_hall(max_invitations=0)
    assert (await hall.inviter())[1] == InvitationDenied(CODE, NONE_ALLOWED)


async def test_the_invitations_made_in_a_room_are_limited_and_going_on_with_one_is_free(autojump_clock, make_hall):
    hall = await make_hall(max_invitations_per_hour=2)
    inviter, joined = await hall.member()
    for _ in range(2):
        opened = await inviter.ask(OpenInvitation(CODE))
    assert await inviter.ask(OpenInvitation(CODE)) == InvitationDenied(CODE, TOO_MANY_MADE)
    again = await rejoined(hall, joined)
    assert (await again.ask(OpenInvitation(CODE, opened.number))).number == opened.number
    assert isinstance((await hall.inviter(room="another"))[1], InvitationOpened)
    await trio.sleep(1800)
    assert isinstance(await again.ask(OpenInvitation(CODE)), InvitationOpened)


async def test_too_many_codes_from_one_address_are_refused_after_a_while_and_burn_nothing(autojump_clock, hall):
    inviter, _ = await hall.inviter()
    answers = []
    for number in range(100, 100 + DEFAULT_LIMITS.max_asks + 3):
        start = trio.current_time()
        fault = (await (await hall.peer("10.6.6.6")).ask(ask(number))).fault
        answers.append((fault, trio.current_time() - start))
    assert answers[: DEFAULT_LIMITS.max_asks] == [(UNKNOWN, 0)] * DEFAULT_LIMITS.max_asks
    assert set(answers[DEFAULT_LIMITS.max_asks :]) == {(TOO_MANY_ASKS, GUESS_DELAY)}
    assert (await (await hall.peer("10.6.6.6")).ask(ask(1))).fault == TOO_MANY_ASKS
    await (await hall.peer("10.0.0.9")).send(ask(1))
    assert await inviter.receive() == ask(1)


async def test_the_codes_that_an_address_may_try_can_be_set(autojump_clock, make_hall):
    hall = await make_hall(max_asks=1)
    faults = [(await (await hall.peer()).ask(ask(7))).fault for _ in range(2)]
    assert faults == [UNKNOWN, TOO_MANY_ASKS]


async def test_an_inviter_that_does_not_read_costs_little_memory(autojump_clock, hall):
    """It opens invitations and closes them again; each is asked for meanwhile."""
    websocket = PeerWebSocket(WebSocketId(1), "10.0.0.1")
    hall.server._websockets[websocket.id] = websocket
    hall.server.registry.join(websocket.id, ROOM, "worker-1", Role.WORKER, FACTS, "", 0.0)
    for number in itertools.count(1):
        effects = hall.invitations.open(hall.server.registry.member_of(websocket.id), OpenInvitation(CODE), 0.0, 10**6)
        hall.server._apply(effects)
        joiner = WebSocketId(1000 + number)
        hall.server._apply(hall.invitations.ask(joiner, ask(number), 0.0))
        hall.server._apply(hall.invitations.leave(joiner, 0.0, for_good=False))
        with trio.move_on_after(1) as blocked:
            await websocket.outbox.wait_for_replies()
        if blocked.cancelled_caught:
            break
    assert len(websocket.outbox) < 40
    del hall.server._websockets[websocket.id]


# -------- the registry by itself


def member(number: int, room=ROOM) -> RoomMember:
    return RoomMember(WebSocketId(number), room, f"worker-{number}", Role.WORKER)


def test_invitations_whose_inviters_are_away_are_forgotten_when_they_are_many() -> None:
    registry = InvitationRegistry(10**6)
    for number in range(1, AWAY_MAX + 11):
        registry.open(member(number), OpenInvitation(CODE), float(number), 10**6)
        registry.leave(WebSocketId(number), float(number), for_good=False)
    assert len(registry) == AWAY_MAX
    back = evolve(member(1), websocket=WebSocketId(9999))
    assert registry.open(back, OpenInvitation(CODE, 1), 1.0, 0) == (
        SendMessage(WebSocketId(9999), InvitationDenied(CODE, NOT_KEPT)),
    )


def test_the_numbers_that_are_held_back_are_limited(monkeypatch) -> None:
    monkeypatch.setattr(invitations, "RESTING_MAX", 50)
    registry = InvitationRegistry(10)
    highest = 0
    for _ in range(200):
        (effect,) = registry.open(member(1), OpenInvitation(CODE), 0.0, 10**6)
        highest = max(highest, effect.message.number)
        registry.close(WebSocketId(1), effect.message.number, 0.0)
    assert highest <= 52
    assert len(registry._resting) <= 51


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_in_whatever_order_nobody_hears_of_the_exchange_of_others(seed: int) -> None:
    """A walk with five members and five joiners that say anything at any time."""
    randoms, registry, now = random.Random(seed), InvitationRegistry(3), 0.0
    joiners = itertools.count(100)
    asked: dict[int, int] = {}
    open_for = {}
    for _ in range(400):
        now += randoms.choice((0, 1, 20))
        number = randoms.randrange(1, 12)
        inviter = member(randoms.randrange(1, 6))
        joiner = WebSocketId(randoms.choice([*asked, next(joiners)]))
        action = randoms.randrange(9)
        match action:
            case 0:
                kept = randoms.choice((None, None, number))
                effects = registry.open(inviter, OpenInvitation(CODE, kept), now, 10**6)
            case 1:
                effects = registry.close(inviter.websocket, number, now)
            case 2 if not registry.is_joiner(joiner):
                effects = registry.ask(joiner, ask(number), now)
                if registry.is_joiner(joiner):
                    asked[joiner] = number
            case 3:
                effects = registry.answer(inviter.websocket, AnswerInvitation(number, SHARE), now)
            case 4:
                effects = registry.answer(inviter.websocket, GiveInvitation(number, SEALED), now)
            case 5:
                effects = registry.answer(inviter.websocket, RefuseInvitation(number, NO), now)
            case 6:
                effects = registry.prove(joiner, ProveInvitation(number, PROOF), now)
            case 7:
                effects = registry.leave(randoms.choice((joiner, inviter.websocket)), now, for_good=seed % 2 == 0)
            case _:
                effects = registry.lapse(now)
        for effect in effects:
            if isinstance(effect, CloseSocket):
                continue
            message = effect.message
            if isinstance(message, InvitationOpened):
                open_for[message.number] = effect.websocket
            elif isinstance(message, AskInvitation | ProveInvitation):
                assert open_for[message.number] == effect.websocket
            elif isinstance(message, AnswerInvitation | GiveInvitation):
                assert asked[effect.websocket] == message.number
                assert open_for[message.number] == inviter.websocket
        assert registry.next_deadline() >= now or action != 8
        assert not {one for one in asked if registry.is_joiner(one)} ^ set(registry._by_joiner)
    registry.lapse(now + 10**6)
    for number in range(1, 6):
        registry.leave(WebSocketId(number), now, for_good=True)
    assert len(registry) == 0
    assert not registry._by_joiner
    assert not registry._by_inviter


# -------- ten thousand guesses


@pytest.mark.slow
async def test_of_ten_thousand_guesses_at_a_hundred_codes_each_code_costs_one_and_none_is_found(autojump_clock, hall):
    """From as many addresses as an attacker may have, so that no limit of an address helps; each is one message."""
    codes = {}
    for number in range(1, 101):
        room = RoomId(f"room-{number // 50}")
        inviter = PeerWebSocket(WebSocketId(number), "10.0.0.1")
        hall.server._websockets[inviter.id] = inviter
        hall.server.registry.join(inviter.id, room, f"worker-{number}", Role.WORKER, FACTS, "", 0.0)
        await hall.server._handle(inviter, encode(OpenInvitation(CODE)))
        codes[number] = (make_code(inviter.outbox.take_nowait().number), inviter)
    joiner_exchange = JoinerExchange(make_code(1), "x")
    evaluated, found = 0, 0
    for guess in range(10_000):
        number = guess % 100 + 1
        joiner = PeerWebSocket(WebSocketId(1000 + guess), f"10.{guess // 65536}.{guess // 256 % 256}.{guess % 256}")
        hall.server._websockets[joiner.id] = joiner
        await hall.server._handle(joiner, encode(AskInvitation(number, "x", joiner_exchange.share)))
        code, inviter = codes[number]
        while len(inviter.outbox):
            assert isinstance(inviter.outbox.take_nowait(), AskInvitation)
            evaluated += 1
            share, keys = answer_joiner(code, "x", joiner_exchange.share)
            await hall.server._handle(inviter, encode(AnswerInvitation(number, share)))
            joiner.outbox.take_nowait()
            proof = make_proof(JoinerExchange(make_code(number), "x").finish(share))
            await hall.server._handle(joiner, encode(ProveInvitation(number, proof)))
            found += is_proof_of(keys, inviter.outbox.take_nowait().proof)
            await hall.server._handle(inviter, encode(RefuseInvitation(number, NO)))
        del hall.server._websockets[joiner.id]
    for _, inviter in codes.values():
        del hall.server._websockets[inviter.id]
    assert (evaluated, found) == (100, 0)

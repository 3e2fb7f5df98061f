"""Inviter and Invitee: explored together with the server's registry, each message and each loss at any moment.

In the exploration the connections may break, the server may close anything and lie, time-outs may end at any time, and
the person's answer may come late. No event may come that a table has no row for, every row must be reached, and both
actors come home.
"""

from collections import deque
from typing import Any

import pytest
import trio
from attrs import frozen

from actors import events
from actors.invitee import INVITEE, InviteeData, InviteePhase
from actors.inviter import CODE_TIME, EXCHANGE_TIME, INVITER, REPLY_TIME, InviterData, InviterPhase
from actors.phase import AVAILABLE, Phase
from actors.table import Row, Table
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
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
from protocol.signaling import WorkerLeft
from protocol.status import Status
from rtc.testing.state_space import ActorState, start_of

CODE, NEARBY = InvitationKind
WRONG = Fault(FaultCode.AUTH_INVALID, "Wrong.")
JOINED = events.JoinedRoom(RoomId("room-1"), "token", PeerId("worker-1"))
LOST, UP = events.ServerDisconnected("The line was lost."), events.ServerConnected()
SHARE, PROOF, SEALED = b"s" * 33, b"p" * 32, b"r" * 99
WANTED = events.AskWanted(1, "laptop", SHARE, 30.0)


@frozen(cache_hash=True)
class InviterWorld:
    """One Inviter, whether it is connected, and what the adapter has still to say."""

    state: ActorState[InviterData]
    online: bool = True
    orders: tuple[Any, ...] = ()
    """The orders that the adapter works on; it may be late with the answers."""


def said_to_inviter(number: int) -> tuple[Any, ...]:
    """Return all that a server, honest or not, may say to an inviter."""
    return (
        *(InvitationOpened(kind, number, seconds) for kind in InvitationKind for seconds in (None, 600)),
        *(InvitationDenied(kind, WRONG) for kind in InvitationKind),
        *(AskInvitation(number, "laptop", SHARE), ProveInvitation(number, PROOF), RefuseInvitation(number, WRONG)),
        *(AnswerInvitation(number, SHARE), GiveInvitation(number, SEALED)),
    )


def answers_to(order: Any) -> tuple[Any, ...]:
    """Return what the adapter may answer to an order."""
    failed = events.ExchangeFailed(order.number, WRONG)
    if isinstance(order, events.MakeShare):
        return events.ShareReady(order.number, SHARE), failed
    if isinstance(order, events.CheckProof):
        return events.ProofAccepted(order.number, SEALED), failed
    return events.ProofReady(order.number, PROOF), failed


class Explorer:
    """Explores all worlds of one table breadth-first, and notes the rows that answered."""

    def __init__(self, table: Table[Any]) -> None:
        self.table = table
        self.reached: set[tuple[Phase, int]] = set()

    def note(self, phase: Phase, row: Row[Any]) -> None:
        self.reached.add((phase, id(row)))

    def unreached(self) -> set[str]:
        """Return the rows that nothing has reached."""
        return {f"{phase.value}: {row}" for phase, row in self.table.answers() if (phase, id(row)) not in self.reached}

    def explore(self, start: Any, steps: Any) -> set[Any]:
        found, todo = {start}, deque([start])
        while todo:
            for world in steps(todo.popleft()):
                if world not in found:
                    found.add(world)
                    todo.append(world)
        return found


def inviter_steps(explorer: Explorer, world: InviterWorld) -> list[InviterWorld]:
    def after(state: ActorState[InviterData], event: Any, *, online: bool = True, answered: Any = None) -> InviterWorld:
        state, effects = state.turn(INVITER, event, explorer.note)
        ours = tuple(one for one in effects if isinstance(one, events.MakeShare | events.CheckProof))
        orders = tuple(one for one in world.orders if one is not answered)
        return InviterWorld(state, online, (*orders, *ours)[-2:])

    online = world.online
    found = [after(before, event, online=online) for before, event in world.state.due]
    found += [after(world.state, events.Drain(), online=online)]
    found += [after(world.state, events.InviteWanted(kind), online=online) for kind in InvitationKind]
    if online or world.state.phase is InviterPhase.AWAY:  # there may be a line again, and a server that lies
        found += [after(world.state, said, online=online) for number in (1, 2) for said in said_to_inviter(number)]
    found += [after(world.state, LOST, online=False)]
    found += [after(world.state, JOINED)] if not online or world.state.phase in (
        InviterPhase.IDLE, InviterPhase.OPENING) else []  # fmt: skip
    found += [
        after(world.state, one, online=online, answered=order) for order in world.orders for one in answers_to(order)
    ]
    return found


@pytest.mark.parametrize("kind", InvitationKind)
def test_the_inviter_answers_whatever_happens_and_each_row_is_reached(kind: InvitationKind) -> None:
    explorer = Explorer(INVITER)
    start = InviterWorld(start_of(INVITER, InviterData(kind)))
    worlds = explorer.explore(start, lambda world: inviter_steps(explorer, world))
    assert {world.state.phase for world in worlds} == set(InviterPhase)
    assert explorer.unreached() == set()


@frozen(cache_hash=True)
class InviteeWorld:
    """One Invitee, and what the adapter has still to say."""

    state: ActorState[InviteeData]
    orders: tuple[Any, ...] = ()


def invitee_steps(explorer: Explorer, world: InviteeWorld) -> list[InviteeWorld]:
    def after(state: ActorState[InviteeData], event: Any, answered: Any = None) -> InviteeWorld:
        state, effects = state.turn(INVITEE, event, explorer.note)
        ours = tuple(one for one in effects if isinstance(one, events.FinishExchange))
        return InviteeWorld(state, (*(one for one in world.orders if one is not answered), *ours)[-2:])

    phase = world.state.phase
    found = [after(before, event) for before, event in world.state.due]
    found += [after(world.state, LOST)]
    if phase in (InviteePhase.IDLE, InviteePhase.CONNECTING, InviteePhase.RETRYING):
        found += [after(world.state, UP)]
    if phase is InviteePhase.IDLE:
        found += [after(world.state, WANTED)]
    found += [after(world.state, said) for said in (*said_to_inviter(1), WRONG, WorkerLeft(PeerId("w")))]
    found += [after(world.state, one, order) for order in world.orders for one in answers_to(order)
              if phase in (InviteePhase.IDLE, InviteePhase.PROVING)]  # fmt: skip
    return found


def test_the_invitee_answers_whatever_happens_and_each_row_is_reached() -> None:
    explorer = Explorer(INVITEE)
    start = InviteeWorld(start_of(INVITEE, InviteeData()))
    worlds = explorer.explore(start, lambda world: invitee_steps(explorer, world))
    assert {world.state.phase for world in worlds} == set(InviteePhase)
    assert explorer.unreached() == set()


@pytest.mark.parametrize("table", [INVITER, INVITEE], ids=lambda table: table.name)
def test_there_is_a_way_home_from_each_phase(table: Table[Any]) -> None:
    """By time-outs and by the end of the program alone, whatever the server keeps to itself."""
    home = {phase for phase in table.phases if phase.status is AVAILABLE}
    for _ in table.phases:
        home |= {
            phase
            for phase, row in table.answers()
            if row.event in (events.TimedOut, events.InvitationExpired, events.Drain) and row.after(phase) in home
        }
    assert home == set(table.phases)


# -------- by events and effects


async def opened(embedded: Any, kind: InvitationKind = CODE) -> Any:
    inviter = await embedded(INVITER, InviterData(kind))
    assert await inviter.after(events.InviteWanted(kind)) == [events.SendToServer(OpenInvitation(kind))]
    ready = events.InvitationReady(kind, 7, 600 if kind is CODE else None)
    assert await inviter.after(InvitationOpened(kind, 7, 600 if kind is CODE else None)) == [ready]
    assert inviter.state is Status.RESERVED
    return inviter


async def asked(embedded: Any, kind: InvitationKind = CODE) -> Any:
    inviter = await opened(embedded, kind)
    order = events.MakeShare(kind, 7, "laptop", SHARE)
    assert await inviter.after(AskInvitation(7, "laptop", SHARE)) == [order]
    assert inviter.state is Status.BUSY
    return inviter


async def test_a_right_proof_gives_the_room(embedded: Any, autojump_clock: Any) -> None:
    inviter = await asked(embedded)
    answer = events.SendToServer(AnswerInvitation(7, SHARE))
    assert await inviter.after(events.ShareReady(7, SHARE)) == [answer]
    assert await inviter.after(ProveInvitation(7, PROOF)) == [events.CheckProof(CODE, 7, PROOF)]
    assert await inviter.after(events.ProofAccepted(7, SEALED)) == [
        events.SendToServer(GiveInvitation(7, SEALED)),
        events.InvitationUsed(CODE, "laptop"),
    ]
    assert inviter.state is AVAILABLE


async def test_a_wrong_proof_is_refused_reported_and_has_no_second_try(embedded: Any, autojump_clock: Any) -> None:
    inviter = await asked(embedded)
    await inviter.after(events.ShareReady(7, SHARE), ProveInvitation(7, PROOF))
    assert await inviter.after(events.ExchangeFailed(7, WRONG)) == [
        events.SendToServer(RefuseInvitation(7, WRONG)),
        events.InvitationUsed(CODE, "laptop", WRONG),
    ]
    assert await inviter.after(AskInvitation(7, "laptop", SHARE), ProveInvitation(7, PROOF)) == []


async def test_a_server_that_asks_or_proves_twice_is_heard_once(embedded: Any, autojump_clock: Any) -> None:
    inviter = await asked(embedded)
    assert await inviter.after(AskInvitation(7, "another", SHARE), ProveInvitation(7, PROOF)) == []
    await inviter.after(events.ShareReady(7, SHARE))
    assert await inviter.after(ProveInvitation(7, PROOF)) == [events.CheckProof(CODE, 7, PROOF)]
    assert await inviter.after(ProveInvitation(7, b"q" * 32)) == []


async def test_a_code_expires_although_the_server_promises_more(embedded: Any, autojump_clock: Any) -> None:
    inviter = await embedded(INVITER, InviterData(CODE))
    await inviter.after(events.InviteWanted(CODE))
    for seconds in (None, 10**9):
        ready = events.InvitationReady(CODE, 7, CODE_TIME)
        assert await inviter.after(InvitationOpened(CODE, 7, seconds)) == [ready]
        await trio.sleep(CODE_TIME + 1)
        closed, ended = await inviter.after()
        assert closed == events.SendToServer(CloseInvitation(7))
        assert ended.fault.code is FaultCode.STALLED
        await inviter.after(events.InviteWanted(CODE))


async def test_an_open_code_survives_a_loss_of_the_line_and_an_exchange_does_not(
    embedded: Any, autojump_clock: Any
) -> None:
    inviter = await opened(embedded)
    assert await inviter.after(LOST, LOST) == []
    assert await inviter.after(JOINED) == [events.SendToServer(OpenInvitation(CODE, 7))]
    assert await inviter.after(InvitationOpened(CODE, 7, 400)) == [events.InvitationReady(CODE, 7, 400)]
    await inviter.after(AskInvitation(7, "laptop", SHARE))
    (used,) = await inviter.after(LOST)
    assert used.fault.code is FaultCode.SERVER_LOST


async def test_no_server_makes_a_code_last_longer_by_losses_of_the_line(embedded: Any, autojump_clock: Any) -> None:
    inviter = await opened(embedded)
    for _ in range(3):
        await trio.sleep(CODE_TIME / 4)
        await inviter.after(LOST, JOINED, InvitationOpened(CODE, 7, CODE_TIME))
        assert inviter.state is Status.RESERVED
    await trio.sleep(CODE_TIME / 4 + 1)
    (closed, ended) = await inviter.after()
    assert (closed.message, ended.fault.code) == (CloseInvitation(7), FaultCode.STALLED)


async def test_each_wait_of_the_inviter_ends(embedded: Any, autojump_clock: Any) -> None:
    inviter = await embedded(INVITER, InviterData(CODE))
    await inviter.after(events.InviteWanted(CODE))
    await trio.sleep(REPLY_TIME + 1)
    (ended,) = await inviter.after()
    assert ended.fault.code is FaultCode.SERVER_LOST
    assert await inviter.after(InvitationOpened(CODE, 3, 600)) == [events.SendToServer(CloseInvitation(3))]
    inviter = await asked(embedded)
    await trio.sleep(EXCHANGE_TIME + 1)
    refusal, used = await inviter.after()
    assert (refusal.message.fault.code, used.fault.code) == (FaultCode.STALLED, FaultCode.STALLED)


async def test_a_person_has_more_time_than_a_program(embedded: Any, autojump_clock: Any) -> None:
    inviter = await asked(embedded, NEARBY)
    await inviter.after(events.ShareReady(7, SHARE), ProveInvitation(7, PROOF))
    await trio.sleep(EXCHANGE_TIME + 1)
    assert await inviter.after() == []
    assert len(await inviter.after(events.ProofAccepted(7, SEALED))) == 2


async def test_what_is_about_another_kind_or_number_is_left_alone(embedded: Any, autojump_clock: Any) -> None:
    inviter = await embedded(INVITER, InviterData(NEARBY))
    assert await inviter.after(events.InviteWanted(CODE), InvitationOpened(CODE, 7, 600)) == []
    inviter = await opened(embedded)
    assert await inviter.after(AskInvitation(8, "laptop", SHARE), RefuseInvitation(8, WRONG)) == []
    assert inviter.state is Status.RESERVED


async def test_the_invitee_asks_once_and_proves_once(embedded: Any, autojump_clock: Any) -> None:
    invitee = await embedded(INVITEE, InviteeData())
    assert await invitee.after(WANTED) == []
    assert await invitee.after(UP) == [events.SendToServer(AskInvitation(1, "laptop", SHARE))]
    answer = AnswerInvitation(1, SHARE)
    assert await invitee.after(answer, answer) == [events.FinishExchange(1, SHARE)]
    assert await invitee.after(events.ProofReady(1, PROOF)) == [events.SendToServer(ProveInvitation(1, PROOF))]
    give = GiveInvitation(1, SEALED)
    assert await invitee.after(answer, give, give) == [events.RoomGiven(SEALED)]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ((), FaultCode.SERVER_LOST),
        ((LOST,), FaultCode.SERVER_LOST),
        ((UP,), FaultCode.STALLED),
        ((UP, LOST), FaultCode.SERVER_LOST),
        ((UP, RefuseInvitation(1, WRONG)), FaultCode.AUTH_INVALID),
        ((UP, Fault(FaultCode.VERSION, "Old.")), FaultCode.VERSION),
        ((UP, AnswerInvitation(1, SHARE), events.ExchangeFailed(1, WRONG)), FaultCode.AUTH_INVALID),
    ],
)
async def test_the_invitee_fails_once_and_in_time(
    embedded: Any, autojump_clock: Any, more: tuple[Any, ...], code: FaultCode
) -> None:
    invitee = await embedded(INVITEE, InviteeData())
    effects = await invitee.after(WANTED, *more)
    await trio.sleep(WANTED.seconds + 1)
    effects += await invitee.after()
    assert [one.fault.code for one in effects if isinstance(one, events.AskFailed)] == [code]

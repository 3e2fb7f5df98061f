"""Tests of the loop that runs a table: time-outs, announcements, stories, and what follows from an impossible event."""

import math
from typing import Any

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock

from actors.actor import STORY_MAX, Actor, Turn
from actors.events import (
    CANCEL_TIMEOUT,
    Deadline,
    LinkLost,
    PeerMessage,
    StateTimeout,
    TimedOut,
    UnexpectedMessage,
    cancel_deadline,
)
from actors.mailbox import Mailbox
from actors.phase import AVAILABLE, BUSY, RESERVED, Phase
from actors.table import SAME, Step, Table, UnexpectedEvent, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import AskJob, CancelJob
from protocol.status import Status
from rtc.testing.embedding import Embedded, embed

LINK = LinkId(1)
LATE = Fault(FaultCode.STALLED, "Nothing came.")


class BoilerPhase(Phase):
    """The phases of a boiler."""

    COLD = "cold", AVAILABLE
    COOLING = "cooling", AVAILABLE
    WARMING = "warming", RESERVED
    HOT = "hot", BUSY


COLD, COOLING, WARMING, HOT = BoilerPhase


@frozen
class Do:
    """Send these effects."""

    effects: tuple[Any, ...] = ()


@frozen
class GoTo:
    """Go to this phase, and send these effects."""

    phase: Phase
    effects: tuple[Any, ...] = ()


@frozen
class Rang:
    """The event of a deadline."""

    name: str


@frozen
class Broken:
    """An event at which the action fails."""


@frozen
class Announced:
    status: Status


def send(data: int, event: Do | GoTo) -> Step[int]:
    return Step(data + 1, event.effects)


def report(data: int, event: Any) -> Step[int]:
    return Step(data + 1, (event,))


def fail(_data: int, _event: Broken) -> Step[int]:
    raise ZeroDivisionError


def goes_to(phase: Phase) -> Any:
    def guard(_data: int, event: GoTo) -> bool:
        return event.phase is phase

    return guard


PHASES = (COLD, COOLING, WARMING, HOT)


def is_sound(_phase: Phase, data: int) -> None:
    assert data != 3, "three is too many"


def boiler(**options: Any) -> Table[int]:
    return Table("boiler", COLD, (
        *(row(PHASES, GoTo, phase, send, when=goes_to(phase)) for phase in PHASES),
        row(PHASES, GoTo,     SAME, send),
        row(PHASES, Do,       SAME, send),
        row(PHASES, TimedOut, SAME, report),
        row(PHASES, Rang,     SAME, report),
        row(COLD,   Broken,   SAME, fail),
        row(HOT,    LinkLost, COLD, report),
        row(HOT,    AskJob,   SAME, report),
        row(HOT,    UnexpectedMessage, SAME, report),
        ignore(COOLING, LinkLost, because="it is cooling anyway"),
    ), **options)  # fmt: skip


BOILER = boiler()


@pytest.fixture
async def actor(nursery: trio.Nursery) -> Embedded[int]:
    return await embed(nursery, BOILER, 0)


async def sent_in(actor: Embedded[int], seconds: float) -> list[tuple[float, Any]]:
    """What the actor sends in the next seconds, and after how many of them."""
    start, sent = trio.current_time(), []
    while True:
        with trio.move_on_after(seconds - (trio.current_time() - start)) as over:
            effect = await actor.outbox.take()
        if over.cancelled_caught:
            return sent
        sent.append((round(trio.current_time() - start, 3), effect))


# -------- the time-out of a phase


async def test_a_time_out_comes_when_the_phase_has_lasted_so_long(
    actor: Embedded[int], autojump_clock: MockClock
) -> None:
    await actor.after(GoTo(WARMING, (StateTimeout(5, TimedOut(LATE)),)))
    assert await sent_in(actor, 60) == [(5, TimedOut(LATE))]


async def test_it_ends_with_the_phase(actor: Embedded[int], autojump_clock: MockClock) -> None:
    await actor.after(GoTo(WARMING, (StateTimeout(5),)))
    await actor.after(GoTo(HOT))
    await actor.after(GoTo(WARMING))
    assert await sent_in(actor, 60) == []


async def test_it_goes_on_while_the_phase_is_the_same(actor: Embedded[int], autojump_clock: MockClock) -> None:
    await actor.after(GoTo(WARMING, (StateTimeout(5),)))
    await trio.sleep(3)
    await actor.after(Do(), GoTo(WARMING))
    assert await sent_in(actor, 60) == [(2, TimedOut())]


async def test_a_second_one_in_the_same_phase_replaces_the_first(
    actor: Embedded[int], autojump_clock: MockClock
) -> None:
    await actor.after(GoTo(WARMING, (StateTimeout(5),)), Do((StateTimeout(9, TimedOut(LATE)),)))
    assert await sent_in(actor, 60) == [(9, TimedOut(LATE))]


async def test_it_can_be_cancelled(actor: Embedded[int], autojump_clock: MockClock) -> None:
    await actor.after(GoTo(WARMING, (StateTimeout(5),)), Do((CANCEL_TIMEOUT,)))
    assert await sent_in(actor, 60) == []


async def test_the_row_that_leads_to_a_phase_sets_the_time_out_of_that_phase(
    actor: Embedded[int], autojump_clock: MockClock
) -> None:
    await actor.after(GoTo(WARMING, (StateTimeout(5),)))
    await actor.after(GoTo(HOT, (StateTimeout(7),)))
    assert await sent_in(actor, 60) == [(7, TimedOut())]


async def test_a_time_out_of_no_seconds_comes_before_what_is_said_later(actor: Embedded[int]) -> None:
    assert await actor.after(GoTo(WARMING, (StateTimeout(0),)), Do(("later",))) == [TimedOut(), "later"]


# -------- deadlines


async def test_a_deadline_survives_phases(actor: Embedded[int], autojump_clock: MockClock) -> None:
    await actor.after(GoTo(WARMING, (Deadline("patience", 5, Rang("patience")),)))
    await trio.sleep(3)
    await actor.after(GoTo(HOT))
    assert await sent_in(actor, 60) == [(2, Rang("patience"))]


async def test_it_ends_when_the_actor_is_available_again(actor: Embedded[int], autojump_clock: MockClock) -> None:
    await actor.after(GoTo(WARMING, (Deadline("patience", 5, Rang("patience")),)))
    await actor.after(GoTo(COOLING), GoTo(WARMING))
    assert await sent_in(actor, 60) == []


async def test_one_that_is_set_while_the_actor_is_available_runs_until_the_actor_is_available_again(
    actor: Embedded[int], autojump_clock: MockClock
) -> None:
    await actor.after(Do((Deadline("patience", 5, Rang("patience")),)), Do(), GoTo(COOLING))
    assert await sent_in(actor, 60) == [(5, Rang("patience"))]


async def test_the_row_that_makes_the_actor_available_may_set_one(
    actor: Embedded[int], autojump_clock: MockClock
) -> None:
    await actor.after(GoTo(HOT), GoTo(COLD, (Deadline("patience", 5, Rang("patience")),)))
    assert await sent_in(actor, 60) == [(5, Rang("patience"))]


async def test_a_second_one_of_the_same_name_replaces_the_first(
    actor: Embedded[int], autojump_clock: MockClock
) -> None:
    await actor.after(GoTo(WARMING, (Deadline("a", 5, Rang("first")), Deadline("b", 6, Rang("other")))))
    await actor.after(Do((Deadline("a", 9, Rang("second")),)))
    assert await sent_in(actor, 60) == [(6, Rang("other")), (9, Rang("second"))]


async def test_one_of_several_can_be_cancelled(actor: Embedded[int], autojump_clock: MockClock) -> None:
    await actor.after(GoTo(WARMING, (Deadline("", 5, Rang("first")), Deadline("b", 6, Rang("other")))))
    await actor.after(Do((cancel_deadline("b"), cancel_deadline("never set"))))
    assert await sent_in(actor, 60) == [(5, Rang("first"))]


async def test_each_comes_once(actor: Embedded[int], autojump_clock: MockClock) -> None:
    await actor.after(GoTo(WARMING, (Deadline("a", 1, Rang("a")), Deadline("b", 2, Rang("b")), StateTimeout(3))))
    assert await sent_in(actor, 60) == [(1, Rang("a")), (2, Rang("b")), (3, TimedOut())]


async def test_two_that_end_at_the_same_time_both_come_that_of_the_phase_first(
    actor: Embedded[int], autojump_clock: MockClock
) -> None:
    await actor.after(GoTo(WARMING, (Deadline("a", 5, Rang("a")), Deadline("b", 5, Rang("b")), StateTimeout(5))))
    assert await sent_in(actor, 60) == [(5, TimedOut()), (5, Rang("a")), (5, Rang("b"))]


async def test_a_time_out_that_makes_the_actor_available_ends_the_deadline_of_the_same_moment(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    rows = (*(one for one in BOILER.rows if one.event is not TimedOut), row(WARMING, TimedOut, COLD, report))
    actor = await embed(nursery, Table("timid boiler", COLD, rows), 0)
    await actor.after(GoTo(WARMING, (Deadline("a", 5, Rang("a")), StateTimeout(5))))
    assert await sent_in(actor, 60) == [(5, TimedOut())]


# -------- announcements


def announce(phase: Phase) -> Announced:
    return Announced(phase.status)


async def test_a_change_is_announced_before_the_effects_of_its_row(nursery: trio.Nursery) -> None:
    actor = await embed(nursery, boiler(announce=announce), 0)
    assert await actor.after(GoTo(WARMING, ("effect",))) == [Announced(Status.RESERVED), "effect"]
    assert [turn.effects for turn in actor.actor.story] == [(Announced(Status.RESERVED), "effect")]


async def test_only_what_differs_from_the_last_announcement_is_announced(nursery: trio.Nursery) -> None:
    actor = await embed(nursery, boiler(announce=announce), 0)
    assert await actor.after(Do(), GoTo(COOLING), GoTo(COLD)) == [], "the first phase is known, and these are the same"
    assert await actor.after(GoTo(HOT), Do(), GoTo(COOLING)) == [Announced(Status.BUSY), Announced(Status.AVAILABLE)]


# -------- what is not ours, and what cannot happen


async def test_a_stale_event_is_dropped_and_told(mock_clock: MockClock) -> None:
    turns: list[Turn] = []
    actor = Actor(boiler(own=lambda _data: {LINK}), 0, Mailbox(), watch=turns.append)
    actor.handle(GoTo(HOT, (StateTimeout(5),)))
    actor.handle(LinkLost(LinkId(2)))
    assert (actor.phase, actor.data) == (HOT, 1)
    assert turns[-1] == Turn(trio.current_time(), HOT, LinkLost(LinkId(2)), None, HOT)
    actor.handle(LinkLost(LINK))
    assert actor.phase is COLD


async def test_a_message_is_unwrapped(actor: Embedded[int]) -> None:
    ask, cancel = AskJob(JobId("job-1"), "key"), CancelJob(JobId("job-1"), "key")
    sent = await actor.after(GoTo(HOT), PeerMessage(LINK, ask), PeerMessage(LINK, cancel))
    assert sent == [ask, UnexpectedMessage(cancel)]
    assert [turn.event for turn in actor.actor.story][1:] == [ask, UnexpectedMessage(cancel)]


async def test_a_strict_actor_raises_at_an_event_that_cannot_happen() -> None:
    actor = Actor(BOILER, 0, Mailbox())
    with pytest.raises(UnexpectedEvent, match="boiler: LinkLost cannot happen in the phase 'cold'"):
        actor.handle(LinkLost(LINK))
    assert actor.story[-1].is_unexpected


async def test_an_actor_that_is_not_strict_tells_and_drops_it(mock_clock: MockClock) -> None:
    told: list[UnexpectedEvent] = []
    actor = Actor(BOILER, 0, Mailbox(), on_unexpected=told.append)
    actor.handle(GoTo(WARMING))
    actor.handle(LinkLost(LINK))
    assert [(error.phase, error.event) for error in told] == [(WARMING, LinkLost(LINK))]
    assert (actor.phase, actor.data) == (WARMING, 1)
    assert actor.story[-1] == Turn(trio.current_time(), WARMING, LinkLost(LINK), None, WARMING, is_unexpected=True)
    actor.handle(GoTo(HOT))
    assert actor.phase is HOT


async def test_the_invariant_of_a_strict_actor_is_checked_after_each_turn() -> None:
    actor = Actor(boiler(invariant=is_sound), 0, Mailbox())
    actor.handle(Do())
    actor.handle(Do())
    with pytest.raises(AssertionError, match="three is too many"):
        actor.handle(Do())
    assert len(actor.story) == 3


async def test_a_running_program_does_not_check_it() -> None:
    actor = Actor(boiler(invariant=is_sound), 0, Mailbox(), on_unexpected=print)
    for _ in range(3):
        actor.handle(Do())
    assert actor.data == 3


# -------- the story


async def test_a_turn_tells_what_came_and_what_followed(autojump_clock: MockClock) -> None:
    outbox: Mailbox[Any] = Mailbox()
    turns: list[tuple[Turn, Any]] = []

    def watch(turn: Turn) -> None:
        with pytest.raises(trio.WouldBlock):
            outbox.take_nowait()
        turns.append((turn, actor.phase))

    actor = Actor(BOILER, 0, outbox, watch=watch)
    await trio.sleep(2.5)
    event = GoTo(WARMING, ("effect", CANCEL_TIMEOUT))
    actor.handle(event)
    answer = next(one for one in BOILER.rows if one.next is WARMING)
    turn = Turn(2.5, COLD, event, answer, WARMING, ("effect", CANCEL_TIMEOUT))
    assert turns == [(turn, WARMING)], "it is told before the effects are sent, and after the phase has changed"
    assert list(actor.story) == [turn]
    assert outbox.take_nowait() == "effect"


async def test_the_story_keeps_the_newest_turns() -> None:
    actor = Actor(BOILER, 0, Mailbox())
    for number in range(STORY_MAX + 7):
        actor.handle(Do((Deadline(str(number), math.inf),)))
    assert STORY_MAX == 500
    assert [turn.effects[0].name for turn in actor.story] == [str(number) for number in range(7, STORY_MAX + 7)]


async def test_a_story_ends_with_the_event_at_which_an_action_failed() -> None:
    actor = Actor(BOILER, 0, Mailbox(), on_unexpected=print)
    with pytest.raises(ZeroDivisionError):
        actor.handle(Broken())
    assert [(turn.event, str(turn.row), turn.next) for turn in actor.story] == [(Broken(), "Broken / fail", COLD)]


async def test_an_actor_ends_when_its_inbox_is_finished_and_empty() -> None:
    actor = Actor(BOILER, 0, Mailbox())
    actor.inbox.put(Do())
    actor.inbox.finish()
    await actor.run()
    assert actor.data == 1

"""Asking a program nearby for its room, through a real server: who is let in, who is not, and how often one may ask."""

import os
import re
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, evolve, field

from actors import events
from actors.invitee import INVITEE, InviteeData
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.invitations import (
    AnswerInvitation,
    AskInvitation,
    GiveInvitation,
    InvitationDenied,
    InvitationKind,
    InvitationOpened,
    InvitedRoom,
    OpenInvitation,
    ProveInvitation,
    RefuseInvitation,
)
from protocol.status import Role, Status, WorkerFacts
from rtc.client.join_nearby import NearbyOptions, find_nearby
from rtc.client.join_room import FoundRoom
from rtc.common.errors import RtcError
from rtc.common.line_writer import LineWriter
from rtc.config.load import Config, load_config
from rtc.invitations import ask_nearby as ask_nearby_module
from rtc.invitations import nearby_inviter
from rtc.invitations.ask_nearby import NOT_THE_SAME, ask_nearby
from rtc.invitations.nearby_exchange import NearbyJoinerExchange
from rtc.invitations.nearby_inviter import ASKS_MAX, ASKS_TIME, REOPEN_PAUSE_MAX, NearbyInviter
from rtc.nearby import multicast
from rtc.runtime.signaling_runtime import SignalingRuntime
from rtc.server import open_server
from rtc.server.database import open_room_database
from rtc.terminal.keyboard import Keyboard
from rtc.testing.embedding import embed
from rtc.testing.limits import HANG_TIME
from rtc.worker.nearby import WorkerConsole

Words = tuple[str, ...]
NEARBY = InvitationKind.NEARBY


@define(eq=False)
class FakeConsole:
    """A person who answers as the test says, and reads what is printed."""

    answer: bool | None = True
    on_question: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    asked: list[tuple[str, Words]] = field(factory=list)
    printed: list[str] = field(factory=list)
    number: int | None = None
    numbers: list[int | None] = field(factory=list)
    changed: trio.Event = field(factory=trio.Event)

    async def number_changed(self, number: int | None) -> None:
        self.number = number
        self.numbers.append(number)
        self.changed.set()
        self.changed = trio.Event()

    async def confirm(self, name: str, words: Words) -> bool | None:
        self.asked.append((name, words))
        await self.on_question()
        return self.answer

    def print(self, text: str) -> None:
        self.printed.append(text)

    async def next_number(self, old: int | None = None) -> int:
        """Wait for an invitation that is open, and not the old one; return its number."""
        with trio.fail_after(HANG_TIME):
            while self.number is None or self.number == old:
                await self.changed.wait()
        return self.number


@define(eq=False)
class Site:
    """A server with one room, and a program in it that lets others ask."""

    config: Config
    room: InvitedRoom
    console: FakeConsole

    async def ask(self, number: int, *, same: bool = True, seen: list[Words] | None = None) -> InvitedRoom:
        async def compare(words: Words) -> bool:
            if seen is not None:
                seen.append(words)
            return same

        with trio.fail_after(HANG_TIME):
            return await ask_nearby(number, self.config, compare=compare, name="ada's laptop")


async def no_answer(_words: Words) -> bool:
    """Be a person who does not answer."""
    await trio.sleep_forever()
    return False


@pytest.fixture
async def site(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Site]:
    async with open_room_database(tmp_path) as database:
        room, token = await database.create_room("lab")
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path) as server:
        config = load_config(server=server.ws_url, environ={}, cwd=tmp_path, settings=tmp_path)
        invited = InvitedRoom(server.ws_url, room, token, "the secret", "lab")
        console = FakeConsole()
        async with trio.open_nursery() as programs:
            await programs.start(run_inviter, config, invited, console)
            yield Site(config, invited, console)
            programs.cancel_scope.cancel()


async def run_inviter(
    config: Config, room: InvitedRoom, console: FakeConsole, *, task_status: trio.TaskStatus[None]
) -> None:
    """Run a program that is in the room, and nothing else."""
    router = Router({})
    signaling = SignalingRuntime(config, router)

    async def room_source() -> InvitedRoom:
        return room

    inviter = NearbyInviter(router, room_source, console)
    ignored = (
        *(events.LinkRequested, events.SessionRequested, events.LinkAnswered, events.LinkRefused),
        *(events.OfferWithdrawn, events.TagDenied, events.WorkersChanged, events.JoinFailed),
    )
    routes: dict[type, tuple[Any, ...]] = dict.fromkeys(ignored, ())
    for more in (signaling.routes(), inviter.routes()):
        for kind, receivers in more.items():
            routes[kind] = (*routes.get(kind, ()), *receivers)
    async with trio.open_nursery() as nursery:
        router.routes = routes
        await nursery.start(router.run)
        await nursery.start(inviter.run)
        await signaling.open(nursery, nursery)
        router.outbox.put(events.JoinRoom(events.RoomCredentials(Role.CLIENT, room.room, room.token), HANG_TIME))
        task_status.started()


async def test_both_persons_see_the_same_words_and_the_room_is_given(site: Site) -> None:
    seen: list[Words] = []
    assert await site.ask(await site.console.next_number(), seen=seen) == site.room
    assert site.console.asked == [("ada's laptop", seen[0])]
    assert len(seen[0]) == 3


async def test_the_worker_s_person_hears_what_came_of_it_and_the_next_may_ask(site: Site) -> None:
    first = await site.console.next_number()
    await site.ask(first)
    second = await site.console.next_number(first)
    assert site.console.printed == ['The program that calls itself "ada\'s laptop" has this room now.']
    assert second != first
    assert await site.ask(second) == site.room
    words = [words for _, words in site.console.asked]
    assert words[0] != words[1]


@pytest.mark.parametrize(
    ("answer", "text"), [(False, "The person at the worker said no."), (None, "Nobody can answer at the worker now")]
)
async def test_nobody_is_let_in_without_a_yes(site: Site, answer: bool | None, text: str) -> None:
    site.console.answer = answer
    number = await site.console.next_number()
    with pytest.raises(RtcError, match=text) as error:
        await site.ask(number)
    assert error.value.fault.code is FaultCode.ROOM_DENIED
    await site.console.next_number(number)
    assert "has not joined" in site.console.printed[0]


async def test_a_room_is_not_taken_if_the_words_differ_for_the_person_who_asks(site: Site) -> None:
    """Whoever is between the two, or pretends to be the worker, gives a room of its own without asking anybody."""
    with pytest.raises(RtcError) as error:
        await site.ask(await site.console.next_number(), same=False)
    assert error.value.fault == Fault(FaultCode.AUTH_INVALID, NOT_THE_SAME)


async def test_a_room_is_not_taken_before_the_person_who_asks_has_agreed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_nearby_module, "LATE_TIME", 0.0)
    number = await site.console.next_number()
    with pytest.raises(RtcError, match="Nobody has said here"), trio.fail_after(HANG_TIME):
        await ask_nearby(number, site.config, compare=no_answer)


async def test_the_question_at_the_worker_ends_when_the_asker_has_gone(site: Site) -> None:
    """Otherwise a y, pressed late, would be for nobody, or for the next one."""
    shown, ended = trio.Event(), trio.Event()

    async def wait_for_the_end() -> None:
        shown.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    site.console.on_question = wait_for_the_end
    number = await site.console.next_number()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(ask_nearby, number, site.config, compare=no_answer))
        with trio.fail_after(HANG_TIME):
            await shown.wait()
        nursery.cancel_scope.cancel()
    with trio.fail_after(HANG_TIME):
        await ended.wait()
    await site.console.next_number(number)
    assert "has gone" in site.console.printed[0]


async def test_a_second_asker_is_told_to_try_again(site: Site) -> None:
    answered = trio.Event()
    site.console.on_question = answered.wait
    number = await site.console.next_number()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.ask, number)
        with trio.fail_after(HANG_TIME):
            while not site.console.asked:  # noqa: ASYNC110 (the question is asked by the program under test)
                await trio.sleep(0.01)
        with pytest.raises(RtcError, match="somebody else may just be asking"):
            await site.ask(number)
        answered.set()
    assert len(site.console.asked) == 1


async def test_an_asker_learns_at_once_that_the_server_is_not_there(tmp_path: Path) -> None:
    config = load_config(server="ws://127.0.0.1:1", environ={}, cwd=tmp_path, settings=tmp_path)
    with pytest.raises(RtcError) as error, trio.fail_after(HANG_TIME):
        await ask_nearby(1, evolve(config, connection_timeout=0.2), compare=no_answer)
    assert error.value.fault.code is FaultCode.SERVER_LOST


# -------- the adapter alone, with a clock that jumps


@define(eq=False)
class Alone:
    """The adapter with its console; the test plays the server."""

    inviter: NearbyInviter
    console: FakeConsole
    sent: list[Any]
    number: int = 0

    async def tell(self, *what: Any) -> None:
        for event in what:
            self.inviter.router.outbox.put(event)
        await trio.testing.wait_all_tasks_blocked()

    async def begin(self) -> None:
        """Open the invitation that was asked for, and begin an exchange that the asker breaks off."""
        self.number += 1
        await self.tell(InvitationOpened(NEARBY, self.number, None))
        joiner = NearbyJoinerExchange(self.number, "mallory")
        await self.tell(AskInvitation(self.number, "mallory", joiner.share))
        gone = Fault(FaultCode.CANCELLED, "The other program has gone.")
        await self.tell(RefuseInvitation(self.number, gone))

    @property
    def opened(self) -> int:
        """How often the server was asked for an invitation."""
        return sum(isinstance(effect.message, OpenInvitation) for effect in self.sent)


@pytest.fixture
async def alone(nursery: trio.Nursery) -> Alone:
    router = Router({})
    sent: list[Any] = []

    async def room_source() -> InvitedRoom:
        return InvitedRoom("ws://server", RoomId("room"), "token")

    console = FakeConsole()
    inviter = NearbyInviter(router, room_source, console)
    router.routes = inviter.routes() | {events.SendToServer: (sent.append,)}
    await nursery.start(router.run)
    await nursery.start(inviter.run)
    alone = Alone(inviter, console, sent)
    await alone.tell(joined())
    return alone


def joined() -> events.JoinedRoom:
    return events.JoinedRoom(RoomId("room"), "token", PeerId("worker-1"))


async def test_askers_cannot_make_the_console_scroll(alone: Alone, autojump_clock: object) -> None:
    """Nor can they look for words that are the same by breaking off what does not suit them."""
    for _ in range(ASKS_MAX):
        await alone.begin()
    assert alone.opened == ASKS_MAX
    assert alone.console.numbers[-1] is None, "nothing is announced meanwhile"
    assert (
        alone.console.printed[-1] == f"There were {ASKS_MAX} requests to join from nearby; the next may come in 10 min."
    )
    assert len(alone.console.printed) == ASKS_MAX + 1
    assert alone.console.asked == [], "nobody is asked before the asker has kept to its commitment"
    await trio.sleep(ASKS_TIME - 1)
    assert alone.opened == ASKS_MAX
    await trio.sleep(2)
    assert alone.opened == ASKS_MAX + 1


async def test_a_lost_connection_does_not_shorten_the_pause(alone: Alone, autojump_clock: object) -> None:
    for _ in range(ASKS_MAX):
        await alone.begin()
    await alone.tell(events.ServerDisconnected("The server has gone."), joined())
    assert alone.opened == ASKS_MAX
    await trio.sleep(ASKS_TIME + 1)
    assert alone.opened == ASKS_MAX + 1


async def test_a_server_that_opens_no_invitations_is_asked_less_and_less_and_reported_once(
    alone: Alone, autojump_clock: object
) -> None:
    pauses = [min(10.0 * 2**failures, REOPEN_PAUSE_MAX) for failures in range(9)]
    for failures, pause in enumerate(pauses, 1):
        await alone.tell(InvitationDenied(NEARBY, Fault(FaultCode.ROOM_DENIED, "Not here.")))
        await trio.sleep(pause - 0.5)
        assert alone.opened == failures
        await trio.sleep(1)
        assert alone.opened == failures + 1
    assert pauses[-1] == REOPEN_PAUSE_MAX
    assert alone.console.printed == ["Nobody nearby can ask to join now: Not here."]


async def test_an_asker_with_another_key_than_announced_is_refused_and_nobody_is_asked(
    alone: Alone, autojump_clock: object
) -> None:
    await alone.tell(InvitationOpened(NEARBY, 5, None))
    await alone.tell(AskInvitation(5, "mallory", NearbyJoinerExchange(5, "mallory").share))
    await alone.tell(ProveInvitation(5, NearbyJoinerExchange(5, "mallory").proof))
    assert RefuseInvitation(5, nearby_inviter.NOT_KEPT) in [effect.message for effect in alone.sent]
    assert alone.console.asked == []


async def test_a_person_who_does_not_answer_has_not_agreed(alone: Alone, autojump_clock: object) -> None:
    alone.console.on_question = trio.sleep_forever
    joiner = NearbyJoinerExchange(5, "ada")
    await alone.tell(InvitationOpened(NEARBY, 5, None), AskInvitation(5, "ada", joiner.share))
    await alone.tell(ProveInvitation(5, joiner.proof))
    assert alone.console.asked
    await trio.sleep(nearby_inviter.PERSON_TIME + 1)
    said = [effect.message for effect in alone.sent]
    assert not any(isinstance(message, GiveInvitation) for message in said)
    assert [message.fault.code for message in said if isinstance(message, RefuseInvitation)] == [FaultCode.STALLED]


async def test_a_program_that_ends_opens_no_more_invitations(alone: Alone, autojump_clock: object) -> None:
    await alone.begin()
    opened = alone.opened
    await alone.tell(events.Drain())
    await trio.sleep(10 * ASKS_TIME)
    assert alone.opened == opened
    assert alone.console.numbers[-1] is None


# -------- the joiner's time


@pytest.mark.parametrize(("person_seconds", "ends"), [(None, 10), (120.0, 120)])
async def test_a_person_gets_more_time_than_a_server(
    nursery: trio.Nursery, autojump_clock: object, person_seconds: float | None, ends: float
) -> None:
    asking = await embed(nursery, INVITEE, InviteeData())
    await asking.after(events.AskWanted(7, "ada", b"share", 10, person_seconds), events.ServerConnected())
    assert events.FinishExchange(7, b"theirs") in await asking.after(AnswerInvitation(7, b"theirs"))
    await asking.after(events.ProofReady(7, b"proof"))
    await trio.sleep(ends - 1)
    assert await asking.after() == []
    await trio.sleep(2)
    assert [type(effect) for effect in await asking.after()] == [events.AskFailed]


async def test_a_server_gets_no_more_time_because_a_person_would(nursery: trio.Nursery, autojump_clock: object) -> None:
    asking = await embed(nursery, INVITEE, InviteeData())
    await asking.after(events.AskWanted(7, "ada", b"share", 10, 120.0))
    await trio.sleep(11)
    assert [type(effect) for effect in await asking.after()] == [events.AskFailed]


# -------- the whole, with real multicast and real terminals


@define(eq=False)
class Terminal:
    """A pseudo-terminal on which a test types."""

    master: int
    slave: int

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    async def wait_for_keys(self) -> None:
        """Wait until single keys are read; what is typed before does not count."""
        with trio.fail_after(HANG_TIME):
            while termios.tcgetattr(self.slave)[3] & termios.ICANON:  # noqa: ASYNC110 (settings have no event)
                await trio.sleep(0.01)


@pytest.fixture
def terminals() -> Iterator[tuple[Terminal, Terminal]]:
    pair = Terminal(*os.openpty()), Terminal(*os.openpty())
    yield pair
    for terminal in pair:
        os.close(terminal.master)
        os.close(terminal.slave)


@define(eq=False)
class Screen:
    """What is printed, and who is told."""

    text: str = ""
    changed: trio.Event = field(factory=trio.Event)

    def write(self, text: str) -> None:
        self.text += f"{text}\n"
        self.changed.set()
        self.changed = trio.Event()

    def flush(self) -> None: ...

    async def until(self, pattern: str) -> re.Match[str]:
        """Wait until the screen shows this, and return what it matches."""
        with trio.fail_after(HANG_TIME):
            while (found := re.search(pattern, self.text)) is None:
                await self.changed.wait()
        return found


WORDS_SHOWN = r"\n    ([a-z]+ [a-z]+ [a-z]+)\n"
FACTS = WorkerFacts(Status.AVAILABLE, "bench-4", "host-4", "NVIDIA A40", 46068, "0.3.5", "12.4", "0.1.0")


@pytest.mark.slow
async def test_two_computers_find_each_other_and_their_people_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminals: tuple[Terminal, Terminal]
) -> None:
    at_worker, at_joiner = terminals
    loopback = ("127.0.0.1",)
    monkeypatch.setattr(multicast, "open_announcer", partial(multicast.open_announcer, interfaces=loopback))
    async with open_room_database(tmp_path) as database:
        room, token = await database.create_room("lab")
    worker, joiner, rooms = Screen(), Screen(), []
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path) as server:
        config = load_config(server=server.ws_url, environ={}, cwd=tmp_path, settings=tmp_path)
        invited = InvitedRoom(server.ws_url, room, token, "a secret of the whole lab", "lab")
        console = WorkerConsole(FACTS, server.ws_url, worker.write, Keyboard(at_worker.slave))
        options = NearbyOptions(
            lambda address: evolve(config, signaling_websocket=address),
            worker="bench-4",
            interfaces=loopback,
            out=LineWriter(joiner),  # type: ignore[arg-type]  # it has what is used
            stdin=at_joiner.slave,
        )

        async def join() -> None:
            rooms.append(await find_nearby(options))

        async with trio.open_nursery() as programs:
            await programs.start(run_inviter, config, invited, console)
            programs.start_soon(console.run)
            try:
                await worker.until("find this worker as 'bench-4")
            except trio.TooSlowError:
                pytest.skip(f"this machine's loopback interface has no multicast: {worker.text}")
            async with trio.open_nursery() as joining:
                joining.start_soon(join)
                words = await worker.until(WORDS_SHOWN), await joiner.until(WORDS_SHOWN)
                assert words[0][1] == words[1][1]
                await at_worker.wait_for_keys()
                at_worker.type("y")
                at_joiner.type("y\n")
            await worker.until("has this room now")
            programs.cancel_scope.cancel()
    assert rooms == [FoundRoom(server.ws_url, room, token, "a secret of the whole lab", "lab")]

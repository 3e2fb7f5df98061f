"""What a person sees and types at `sleap-rtc join --nearby`; a stand-in finds workers, and another one asks them."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field

from protocol.faults import FaultCode
from protocol.ids import RoomId
from protocol.invitations import InvitedRoom
from rtc.client import join_nearby
from rtc.client.join_nearby import COMPARE_PROMPT, NearbyOptions, find_nearby
from rtc.client.join_room import FoundRoom
from rtc.common.errors import RtcError
from rtc.common.line_writer import LineWriter
from rtc.config.load import Config, load_config
from rtc.nearby.announcement import Announcement, NearbyWorker
from rtc.testing.limits import HANG_TIME

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

LAB = NearbyWorker("lab", Announcement("lab", "NVIDIA A40", "ws://192.168.1.20:8080", 7))
BENCH = NearbyWorker("bench 4", Announcement("bench 4", "CPU", "ws://192.168.1.21:8080", 8))
WORDS = ("tulip", "otter", "radio")
SECRET = "a secret of the whole lab"


class Screen(StringIO):
    """What is shown; when the question about the words is, the person answers it."""

    answer: Callable[[], None]

    def write(self, text: str) -> int:
        written = super().write(text)
        if text.endswith(COMPARE_PROMPT):
            self.answer()
        return written


@define(eq=False)
class Person:
    """A person at a pseudo-terminal, and what is there to find."""

    master: int
    slave: int
    folder: Path
    nearby: tuple[NearbyWorker, ...] = (LAB,)
    asked: list[tuple[int, str]] = field(factory=list)
    agreed: list[bool] = field(factory=list)
    out: Screen = field(factory=Screen)
    answer: str = "y\n"
    """What is typed when the question about the words is shown for the first time."""

    def __attrs_post_init__(self) -> None:
        self.out.answer = self._answer

    def _answer(self) -> None:
        typed, self.answer = self.answer, ""
        self.type(typed)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    async def browse(self, _interfaces: Any, *, enough: Callable[[NearbyWorker], bool] | None) -> Any:
        await trio.lowlevel.checkpoint()
        return self.nearby

    async def ask(
        self, number: int, config: Config, *, compare: Callable[[tuple[str, ...]], Awaitable[bool]]
    ) -> InvitedRoom:
        self.asked.append((number, config.signaling_websocket))
        self.agreed.append(await compare(WORDS))
        return InvitedRoom("ws://localhost:8080", RoomId("room-1"), "token", SECRET, "lab")

    async def join(self, **more: Any) -> FoundRoom:
        options = NearbyOptions(self.config_for, out=LineWriter(self.out), stdin=self.slave, **more)
        with trio.fail_after(HANG_TIME):
            return await find_nearby(options)

    def config_for(self, server: str | None) -> Config:
        return load_config(server=server, environ={}, cwd=self.folder, settings=self.folder)


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    person = Person(*os.openpty(), tmp_path)
    monkeypatch.setattr(join_nearby, "browse", person.browse)
    monkeypatch.setattr(join_nearby, "ask_nearby", person.ask)
    yield person
    os.close(person.master)
    os.close(person.slave)


async def test_the_only_worker_is_taken_and_said(person: Person) -> None:
    found = await person.join()
    assert person.asked == [(7, "ws://192.168.1.20:8080")]
    assert person.agreed == [True]
    assert "Asking lab (NVIDIA A40)" in person.out.getvalue()
    assert "\n    tulip otter radio\n" in person.out.getvalue()
    assert found == FoundRoom("ws://192.168.1.20:8080", RoomId("room-1"), "token", SECRET, "lab")


async def test_of_several_the_person_chooses(person: Person) -> None:
    person.nearby = (BENCH, LAB)
    person.type("3\nx\n²\n2\n")
    await person.join()
    assert person.asked == [(7, "ws://192.168.1.20:8080")]
    lines = person.out.getvalue().splitlines()
    assert "  1  bench 4  CPU         ws://192.168.1.21:8080" in lines
    assert "  2  lab      NVIDIA A40  ws://192.168.1.20:8080" in lines
    assert person.out.getvalue().count("Please type a number of the list, or q.") == 3


@pytest.mark.parametrize("typed", ["q\n", "Quit\n", "\x04"])
async def test_whoever_chooses_none_joins_nothing(person: Person, typed: str) -> None:
    person.nearby = (BENCH, LAB)
    person.type(typed)
    with pytest.raises(RtcError, match="nothing was joined") as error:
        await person.join()
    assert error.value.fault.code is FaultCode.CANCELLED
    assert person.asked == []


@pytest.mark.parametrize("name", ["BENCH 4", "bench 4"])
async def test_a_worker_may_be_named(person: Person, name: str) -> None:
    person.nearby = (BENCH, LAB)
    await person.join(worker=name)
    assert person.asked == [(8, "ws://192.168.1.21:8080")]


async def test_two_workers_of_one_name_are_told_apart(person: Person) -> None:
    person.nearby = (LAB, NearbyWorker("lab-2", Announcement("lab", "CPU", LAB.announcement.server, 9)))
    person.type("2\n")
    await person.join(worker="lab")
    assert person.asked[0][0] == 9
    person.answer = "y\n"
    await person.join(worker="lab-2")
    assert person.asked[1][0] == 9


async def test_the_server_s_address_may_be_another_than_announced(person: Person) -> None:
    found = await person.join(server="wss://lab.example.org")
    assert found.server == "wss://lab.example.org"


async def test_a_name_that_nobody_has_is_answered_with_those_that_are_there(person: Person) -> None:
    with pytest.raises(RtcError, match=r"'other'. There are: lab") as error:
        await person.join(worker="other")
    assert error.value.fault.code is FaultCode.NO_WORKER


async def test_where_nobody_is_found_it_is_said_what_to_try(person: Person) -> None:
    person.nearby = ()
    with pytest.raises(RtcError, match="5353") as error:
        await person.join()
    assert error.value.fault.code is FaultCode.NO_WORKER


@pytest.mark.parametrize(
    ("typed", "agreed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("maybe\n\nno\n", False), ("\x04", False)]
)
async def test_only_a_clear_yes_agrees(person: Person, typed: str, agreed: bool) -> None:
    person.answer = typed
    await person.join()
    assert person.agreed == [agreed]


@pytest.mark.parametrize("early", ["y\n", "y\ny\ny\n", "y"])
async def test_what_was_typed_before_the_words_were_shown_does_not_agree(person: Person, early: str) -> None:
    person.type(early)
    person.answer = "\nn\n"
    await person.join()
    assert person.agreed == [False]


async def test_without_a_terminal_nothing_is_asked(person: Person) -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(RtcError, match="needs a terminal") as error:
            await find_nearby(NearbyOptions(person.config_for, out=LineWriter(person.out), stdin=reading))
    finally:
        os.close(reading)
        os.close(writing)
    assert error.value.fault.code is FaultCode.USAGE
    assert person.out.getvalue() == ""

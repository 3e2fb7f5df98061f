"""The list of remembered rooms: asked at the same time and each for a short time, and shown without tokens."""

import json
from pathlib import Path

import pytest
import trio
from attrs import evolve, frozen
from trio.testing import MockClock

from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.signaling import WorkerPresent
from protocol.status import Status, WorkerFacts
from rtc.client import rooms_table as module
from rtc.client.rooms_table import ROOM_TIME, ROOMS_AT_ONCE, RoomRow, ask_rooms, rooms_json, rooms_table
from rtc.common.errors import RtcError
from rtc.config.load import Config, load_config
from rtc.config.remembered_rooms import RememberedRoom, RememberedRoomsJson

SERVER, AWAY = "ws://lab.example.org:8080", "ws://away.example.org:8080"
LAB = RememberedRoom("lab", SERVER, RoomId("room-1"), "canary-token", "canary-secret of the lab")
FREE = WorkerPresent(PeerId("worker-1"), WorkerFacts(Status.AVAILABLE, "b", "lab", "GPU", 8000, "0.3", "12.4", "0.1"))
BUSY = evolve(FREE, peer=PeerId("worker-2"), facts=evolve(FREE.facts, status=Status.BUSY))
DENIED = Fault(FaultCode.ROOM_DENIED, "The server knows no room of this id that this token opens.")
LOST = Fault(FaultCode.SERVER_LOST, f"The server at {AWAY} cannot be reached (connection refused).")


@frozen
class Asked:
    """One question to a server."""

    room: RoomId
    at: float
    patience: float


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """Let each room answer after half of its time; a room on `AWAY` fails after all of it."""
    seen: list[Asked] = []

    async def list_workers(config: Config, room: RoomId, token: str) -> tuple[WorkerPresent, ...]:
        seen.append(Asked(room, trio.current_time(), config.connection_timeout))
        if config.signaling_websocket == AWAY:
            await trio.sleep(config.connection_timeout)
            raise RtcError.of(LOST)
        await trio.sleep(config.connection_timeout / 2)
        if token == "wrong":
            raise RtcError.of(DENIED)
        return (FREE, BUSY)

    monkeypatch.setattr(module, "list_workers", list_workers)
    return seen


@pytest.fixture
def ask(tmp_path: Path, asked: list[Asked]):  # type: ignore[no-untyped-def]
    def config_for(address: str) -> Config:
        return load_config(server=address, environ={}, cwd=tmp_path, settings=tmp_path)

    async def ask(*rooms: RememberedRoom, default: str | None = None) -> list[RoomRow]:
        return await ask_rooms(RememberedRoomsJson(rooms, default), config_for)

    return ask


def many(count: int, server: str = SERVER, name: str = "lab") -> list[RememberedRoom]:
    return [
        evolve(LAB, name=f"{name}-{number}", room=RoomId(f"{name}-{number}"), server=server) for number in range(count)
    ]


async def test_rooms_of_several_servers_are_asked_at_the_same_time(  # type: ignore[no-untyped-def]
    ask, asked: list[Asked], autojump_clock: MockClock
) -> None:
    start = trio.current_time()
    rows = await ask(evolve(LAB, name="far", server=AWAY), *many(3))
    assert trio.current_time() - start == ROOM_TIME
    assert {one.at for one in asked} == {start}
    assert {one.patience for one in asked} == {ROOM_TIME}
    assert [(row.room.name, row.fault is None) for row in rows] == [
        ("far", False),
        ("lab-0", True),
        ("lab-1", True),
        ("lab-2", True),
    ]


async def test_many_rooms_of_a_server_that_is_away_are_not_all_waited_for(  # type: ignore[no-untyped-def]
    ask, asked: list[Asked], autojump_clock: MockClock
) -> None:
    start = trio.current_time()
    rows = await ask(*many(1000, AWAY))
    assert trio.current_time() - start == ROOM_TIME
    assert len(asked) == ROOMS_AT_ONCE
    assert len([row for row in rows if row.fault is not None]) == 1000


async def test_a_room_that_is_denied_does_not_hide_the_others(  # type: ignore[no-untyped-def]
    ask, autojump_clock: MockClock
) -> None:
    rows = await ask(evolve(LAB, name="gone", token="wrong"), LAB)
    assert rows[0].fault is not None
    assert "sleap-rtc join WHAT --name gone" in rows[0].fault.text
    assert (rows[1].workers, rows[1].available) == ((FREE, BUSY), 1)


async def test_the_room_that_is_meant_without_a_word_is_marked(  # type: ignore[no-untyped-def]
    ask, autojump_clock: MockClock
) -> None:
    two = many(2)
    assert [row.is_default for row in await ask(*two)] == [False, False]
    assert [row.is_default for row in await ask(*two, default="lab-1")] == [False, True]
    assert [row.is_default for row in await ask(LAB)] == [True]


# -------- what is shown


ROWS = [
    RoomRow(LAB, is_default=True, workers=(FREE, BUSY)),
    RoomRow(evolve(LAB, name="gone", secret=None), is_default=False, fault=DENIED),
    RoomRow(evolve(LAB, name="far", server=AWAY), is_default=False, fault=LOST),
]


def test_the_table_says_what_can_be_reached_and_why_not() -> None:
    lines = rooms_table(ROWS, None).splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["name", "reachable", "workers", "secret", "server", "room"],
        ["*", "lab", "yes", "1/2", "yes", SERVER, "room-1"],
        ["gone", "denied", "-", "no", SERVER, "room-1"],
        ["far", "no", "-", "yes", AWAY, "room-1"],
    ]
    assert f"gone: {DENIED.text}" in lines
    assert f"far: {LOST.text}" in lines


def test_the_table_fits_a_terminal_and_shows_no_token_and_no_secret() -> None:
    long = evolve(LAB, name="n" * 100, server="ws://" + "s" * 300, room=RoomId("r" * 100))
    text = rooms_table([RoomRow(long, is_default=True, workers=(FREE,)), ROWS[0]], 80)
    without_default = rooms_table([evolve(row, is_default=False) for row in ROWS if row.fault is None], 80)
    assert all(len(line) <= 80 for line in (text + without_default).splitlines())
    for shown in (text, rooms_json(ROWS), rooms_table(ROWS, None)):
        assert "canary" not in shown


def test_no_room_is_said_with_what_to_do() -> None:
    assert "sleap-rtc join" in rooms_table([], 80)
    assert rooms_json([]) == "[]\n"


def test_the_json_has_its_documented_fields() -> None:
    first, _, third = json.loads(rooms_json(ROWS))
    assert first == {
        "name": "lab",
        "server": SERVER,
        "room": "room-1",
        "default": True,
        "reachable": True,
        "problem": None,
        "workers": 2,
        "available": 1,
        "secret": True,
    }
    assert (third["reachable"], third["problem"], third["workers"]) == (False, LOST.text, None)
    page = (Path(__file__).parents[2] / "docs" / "rooms.md").read_text(encoding="utf-8")
    for name in first:
        assert f"`{name}`" in page

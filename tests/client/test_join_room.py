"""Joining a room for good: what may be given, that nothing is remembered unchecked, and how a room is renewed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve, field, frozen

from protocol.faults import FaultCode
from protocol.ids import PeerId, RoomId
from protocol.invitations import InvitedRoom
from protocol.session_string import SessionString
from protocol.signaling import WorkerPresent
from protocol.status import Status, WorkerFacts
from rtc.client import join_room as module
from rtc.client.join_room import JoinOptions, JoinOutcome, join_room
from rtc.command_line.join_command import about_join
from rtc.common.errors import ExitCode, RtcError
from rtc.config.load import Config, load_config
from rtc.config.remembered_rooms import RememberedRoom, RememberedRooms, RememberedRoomsJson
from rtc.config.server_url import server_url
from rtc.invitations.short_code import ShortCode
from rtc.testing.lab import Lab

SERVER, OTHER_SERVER = "ws://lab.example.org:8080", "ws://other.example.org:8080"
ROOM, TOKEN = RoomId("room-1"), "canary-token"
SESSION = SessionString(ROOM, TOKEN, PeerId("worker-1"), SERVER).write()
CODE = "7-tulip-otter-radio"
SECRET = "canary-secret of the lab"
INVITED = InvitedRoom("ws://localhost:8080", ROOM, TOKEN, SECRET, "Fly room / 2nd floor")
FREE = WorkerPresent(PeerId("worker-1"), WorkerFacts(Status.AVAILABLE, "b", "lab", "GPU", 8000, "0.3", "12.4", "0.1"))
BUSY = evolve(FREE, peer=PeerId("worker-2"), facts=evolve(FREE.facts, status=Status.BUSY))


@frozen
class World:
    """A folder with remembered rooms, and a server that lets everybody in."""

    folder: Path
    joined: list[tuple[str, RoomId, str]] = field(factory=list)
    """Server, room and token of each try to join."""
    redeemed: list[tuple[str, str]] = field(factory=list)
    """Server and code of each code that was used up."""
    invitation: list[InvitedRoom] = field(factory=lambda: [INVITED])
    """What a short code gives."""
    workers: list[WorkerPresent] = field(factory=lambda: [FREE, BUSY])
    denied: list[FaultCode] = field(factory=list)

    @property
    def rooms(self) -> RememberedRooms:
        return RememberedRooms(self.folder / "rooms.json")

    def config_for(self, address: str | None) -> Config:
        environ = {"SLEAP_RTC_ENV": "development"}
        return load_config(
            server=server_url(address) if address else None, environ=environ, cwd=self.folder, settings=self.folder
        )

    async def redeem(self, code: ShortCode, config: Config) -> InvitedRoom:
        await trio.lowlevel.checkpoint()
        self.redeemed.append((config.signaling_websocket, str(code)))
        return self.invitation[0]

    async def list_workers(self, config: Config, room: RoomId, token: str) -> tuple[WorkerPresent, ...]:
        await trio.lowlevel.checkpoint()
        self.joined.append((config.signaling_websocket, room, token))
        if self.denied:
            raise RtcError(self.denied[0], "No.")
        return tuple(self.workers)

    async def join(self, what: str | None = None, **options: Any) -> JoinOutcome:
        return await join_room(JoinOptions(self.rooms, self.config_for, self.redeem, what=what, **options))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.setattr(module, "list_workers", world.list_workers)
    return world


def remembered(world: World) -> dict[str, RememberedRoom]:
    """Return what is remembered, without the time."""
    return {room.name: evolve(room, joined=0) for room in world.rooms.read().rooms}


# -------- what may be given


async def test_a_session_string_is_joined_and_remembered_with_its_server(world: World) -> None:
    outcome = await world.join(SESSION)
    assert remembered(world) == {"lab": RememberedRoom("lab", SERVER, ROOM, TOKEN)}
    assert world.joined == [(SERVER, ROOM, TOKEN)]
    assert (outcome.workers, outcome.replaced) == ((FREE, BUSY), ())


async def test_a_session_string_without_a_server_is_of_the_configured_one(world: World) -> None:
    await world.join(SessionString(ROOM, TOKEN, PeerId("worker-1")).write())
    assert world.joined == [("ws://localhost:8080", ROOM, TOKEN)]


async def test_a_server_that_is_named_comes_before_the_one_in_the_session_string(world: World) -> None:
    await world.join(SESSION, server=OTHER_SERVER)
    assert remembered(world)["lab"].server == OTHER_SERVER


async def test_room_and_token_are_joined_with_a_secret_and_a_name(world: World) -> None:
    await world.join(room="room-1", token=TOKEN, server=SERVER, secret=SECRET, name="Flies")
    assert remembered(world) == {"Flies": RememberedRoom("Flies", SERVER, ROOM, TOKEN, SECRET)}


TYPED = [CODE, "7 Tulip OTTER radio", "7tulipotterradio", "\uff17\uff0dtulip\u3000otter-radio"]


@pytest.mark.parametrize("typed", TYPED, ids=ascii)
async def test_a_short_code_brings_room_token_secret_and_a_name(world: World, typed: str) -> None:
    await world.join(typed, server="lab.example.org")
    assert world.redeemed == [(SERVER, CODE)]
    name = "Fly-room-2nd-floor"
    assert remembered(world) == {name: RememberedRoom(name, SERVER, ROOM, TOKEN, SECRET)}


async def test_of_a_short_code_the_server_is_kept_that_has_just_worked_from_here(world: World) -> None:
    await world.join(CODE, server=SERVER)
    assert world.joined == [(SERVER, ROOM, TOKEN)]


@pytest.mark.parametrize("name", ["", "///", "ä", "-", "."])
async def test_an_inviters_name_that_cannot_be_one_is_replaced(world: World, name: str) -> None:
    world.invitation[0] = evolve(world.invitation[0], name=name)
    assert (await world.join(CODE)).room.name == "lab"


async def test_a_secret_that_can_be_none_is_not_remembered(world: World) -> None:
    world.invitation[0] = evolve(world.invitation[0], secret="short")
    with pytest.raises(RtcError, match="of the short code cannot be used"):
        await world.join(CODE)
    assert remembered(world) == {}


@pytest.mark.parametrize(
    ("what", "part"),
    [
        ("hello", "neither a short code"),
        ("7-tulip-otter", "3 words"),
        ("7-tulpi-otter-radio", "near it"),
        (SESSION[:60], "damaged"),
        ("x" * 5000, "not a session string"),
    ],
)
async def test_what_is_no_room_is_said_and_not_repeated(world: World, what: str, part: str) -> None:
    with pytest.raises(RtcError) as caught:
        await world.join(what)
    assert caught.value.exit_code is ExitCode.USAGE
    assert part in caught.value.fault.text
    assert world.redeemed == world.joined == []


# -------- nothing is remembered unchecked


@pytest.mark.parametrize("code", [FaultCode.ROOM_DENIED, FaultCode.SERVER_LOST, FaultCode.VERSION])
async def test_a_room_that_cannot_be_joined_is_not_remembered_and_the_earlier_one_stays(
    world: World, code: FaultCode
) -> None:
    await world.join(SESSION)
    before = world.rooms.path.read_bytes()
    world.denied.append(code)
    with pytest.raises(RtcError) as caught:
        await world.join(room="room-2", token="t", name="lab")
    assert caught.value.fault.code is code
    assert world.rooms.path.read_bytes() == before


@pytest.mark.parametrize("options", [{"name": "a b"}, {"name": ""}], ids=str)
async def test_a_name_that_cannot_be_one_is_refused_before_a_code_is_used_up(world: World, options: Any) -> None:
    with pytest.raises(RtcError, match="letters without accents"):
        await world.join(CODE, **options)
    assert world.redeemed == []


async def test_a_damaged_file_is_reported_before_a_code_is_used_up(world: World) -> None:
    world.rooms.path.write_text("{")
    with pytest.raises(RtcError, match="is damaged"):
        await world.join(CODE)
    assert world.redeemed == []


# -------- joining again


async def test_joining_again_renews_the_token_and_keeps_name_and_secret(world: World) -> None:
    await world.join(CODE, server=SERVER, name="flies")
    outcome = await world.join(SessionString(ROOM, "newer", PeerId("worker-1"), SERVER).write())
    assert remembered(world) == {"flies": RememberedRoom("flies", SERVER, ROOM, "newer", SECRET)}
    assert [one.token for one in outcome.replaced] == [TOKEN]
    assert "Renewed: the room is remembered as flies." in about_join(outcome)


async def test_a_server_that_has_moved_is_renewed_under_the_same_name(world: World) -> None:
    await world.join(CODE, server=SERVER, name="flies")
    outcome = await world.join(SESSION, server=OTHER_SERVER, name="Flies")
    assert remembered(world) == {"Flies": RememberedRoom("Flies", OTHER_SERVER, ROOM, TOKEN, SECRET)}
    assert "Renewed" in about_join(outcome)


async def test_a_server_that_is_joined_at_another_of_its_addresses_has_the_same_room(world: World) -> None:
    await world.join(CODE, server=SERVER, name="flies")
    outcome = await world.join(SESSION, server=OTHER_SERVER)
    assert remembered(world) == {"flies": RememberedRoom("flies", OTHER_SERVER, ROOM, TOKEN, SECRET)}
    assert about_join(outcome).splitlines()[:2] == [
        "Renewed: the room is remembered as flies.",
        f"Its server was {SERVER} before.",
    ]


async def test_a_room_of_another_server_with_the_same_id_and_another_token_takes_no_place(world: World) -> None:
    await world.join(SESSION)
    strange = SessionString(ROOM, "another", PeerId("worker-1"), OTHER_SERVER).write()
    assert (await world.join(strange)).room.name == "lab-2"
    assert remembered(world)["lab"] == RememberedRoom("lab", SERVER, ROOM, TOKEN)


async def test_a_person_may_keep_both_addresses_under_two_names(world: World) -> None:
    await world.join(SESSION, name="inside")
    await world.join(SESSION, server=OTHER_SERVER, name="outside")
    assert {name: room.server for name, room in remembered(world).items()} == {
        "inside": SERVER,
        "outside": OTHER_SERVER,
    }


async def test_another_room_under_the_same_name_takes_its_place_which_is_said(world: World) -> None:
    await world.join(CODE, server=SERVER, name="flies")
    outcome = await world.join(room="room-2", token="t", name="flies")
    assert remembered(world)["flies"].secret is None, "the secret was that of the other room"
    assert f"flies was another room before, room-1 on {SERVER}." in about_join(outcome)


async def test_a_room_that_gets_another_name_loses_the_first_one_which_is_said(world: World) -> None:
    await world.join(SESSION)
    outcome = await world.join(SESSION, name="flies")
    assert list(remembered(world)) == ["flies"]
    assert "It was remembered as lab before." in about_join(outcome)


async def test_a_room_that_takes_the_name_of_another_one_keeps_its_secret_and_both_are_said(world: World) -> None:
    await world.join(CODE, server=SERVER, name="flies")
    await world.join(room="room-2", token="t", server=SERVER, name="mice")
    outcome = await world.join(SESSION, name="Mice")
    assert remembered(world) == {"Mice": RememberedRoom("Mice", SERVER, ROOM, TOKEN, SECRET)}
    assert about_join(outcome).splitlines()[:3] == [
        "Renewed: the room is remembered as Mice.",
        f"mice was another room before, room-2 on {SERVER}.",
        "It was remembered as flies before.",
    ]


async def test_a_name_in_another_case_is_not_said_to_be_an_earlier_one_of_a_new_room(world: World) -> None:
    await world.join(SESSION, name="mice")
    text = about_join(await world.join(room="room-2", token="t", server=SERVER, name="MICE"))
    assert f"mice was another room before, room-1 on {SERVER}." in text
    assert "It was remembered as" not in text


async def test_a_second_room_gets_a_name_of_its_own(world: World) -> None:
    await world.join(SESSION)
    await world.join(room="room-2", token="t", server=SERVER)
    assert [(name, room.room) for name, room in remembered(world).items()] == [("lab", "room-1"), ("lab-2", "room-2")]


async def test_the_id_of_another_room_is_no_name_which_is_said_before_a_code_is_used_up(world: World) -> None:
    await world.join(SESSION)
    with pytest.raises(RtcError, match="the id of the remembered room lab"):
        await world.join(CODE, server=OTHER_SERVER, name="room-1")
    world.invitation[0] = evolve(world.invitation[0], room=RoomId("room-2"), name="room-1")
    assert (await world.join(CODE)).room.name == "room-1-2"


async def test_a_name_that_another_program_takes_at_the_last_moment_is_left_to_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[RememberedRoom] = []
    change_file = RememberedRooms._change

    def after_the_other(rooms: RememberedRooms, change: Any) -> None:
        if others:
            rooms.remember(others.pop())
        change_file(rooms, change)

    async def list_workers(*_arguments: object) -> tuple[WorkerPresent, ...]:
        await trio.lowlevel.checkpoint()
        others.append(RememberedRoom("lab", SERVER, RoomId("room-9"), "t"))
        return ()

    monkeypatch.setattr(RememberedRooms, "_change", after_the_other)
    monkeypatch.setattr(module, "list_workers", list_workers)
    outcome = await world.join(SESSION)
    assert (outcome.room.name, outcome.replaced) == ("lab-2", ())
    assert [room.name for room in outcome.content.rooms] == ["lab", "lab-2"]


# -------- what is printed


async def test_what_to_type_next_is_said_without_a_token_or_secret(world: World) -> None:
    text = about_join(await world.join(CODE, server=SERVER, name="lab"))
    assert text.splitlines() == [
        "Joined: the room is remembered as lab.",
        f"  server   {SERVER}",
        "  workers  2, of which 1 takes a job now",
        "  secret   remembered with it",
        "",
        "Train now:  sleap-rtc train FILE",
    ]
    assert "canary" not in text


async def test_of_several_rooms_it_is_said_how_to_mean_this_one(world: World) -> None:
    await world.join(SESSION)
    second = await world.join(room="room-2", token="t", name="mice")
    assert "sleap-rtc train FILE --room mice" in about_join(second)
    assert "To leave out --room:  sleap-rtc rooms default mice" in about_join(second)
    world.rooms.set_default("mice")
    assert about_join(await world.join(room="room-2", token="t", name="mice")).endswith("train FILE")


async def test_an_empty_room_is_remembered_with_how_to_start_a_worker_in_it(world: World) -> None:
    world.workers.clear()
    text = about_join(await world.join(SESSION))
    assert "workers  none now" in text
    assert "sleap-rtc worker --room lab" in text


def test_each_line_fits_a_terminal() -> None:
    room = RememberedRoom("lab-room", "ws://signaling.lab.example.org:8080", ROOM, TOKEN, SECRET)
    others = tuple(evolve(room, name=f"room-{number}", room=RoomId(f"r-{number}")) for number in range(9))
    outcome = JoinOutcome(room, (), (), RememberedRoomsJson((*others, room)))
    assert all(len(line) <= 80 for line in about_join(outcome).splitlines())


# -------- with a real server


@pytest.mark.slow
async def test_a_real_room_is_joined_and_a_wrong_token_or_an_absent_server_is_not(lab: Lab, tmp_path: Path) -> None:
    worker = await lab.start_worker()
    rooms = RememberedRooms(tmp_path / "rooms.json")
    address = lab.config.signaling_websocket

    def config_for(server: str | None) -> Config:
        if server is None or server == address:
            return lab.config
        return evolve(lab.config, signaling_websocket=server, connection_timeout=1.0)  # it is not there

    options = JoinOptions(rooms, config_for, World(tmp_path).redeem, what=worker.ready.session.write())
    outcome = await join_room(options)
    assert [one.peer for one in outcome.workers] == [worker.peer]
    assert outcome.room.server == address
    by_token: Callable[..., JoinOptions] = lambda **more: evolve(  # noqa: E731
        options, what=None, room=worker.ready.room, **more
    )
    for wrong, code in (
        (by_token(token="wrong"), ExitCode.AUTHENTICATION),
        (by_token(token=worker.ready.token, server="ws://127.0.0.1:9"), ExitCode.NETWORK),
    ):
        with pytest.raises(RtcError) as caught:
            await join_room(wrong)
        assert caught.value.exit_code is code
    assert [room.token for room in rooms.read().rooms] == [worker.ready.token]

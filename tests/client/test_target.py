"""Which room and worker a person means: by a session string, by room and token, or by what is remembered."""

from pathlib import Path

import pytest
from attrs import evolve

from actors.events import AskPerson, BestWorker, NamedWorker, WorkerCalled
from protocol.faults import FaultCode
from protocol.ids import PeerId, RoomId
from protocol.session_string import SessionString
from rtc.client.target import SHOWN_MAX, Target, choose_target
from rtc.common.errors import RtcError
from rtc.config.remembered_rooms import RememberedRoom, RememberedRooms

LAB_SERVER, OTHER_SERVER = "ws://lab.example.org:8080", "ws://other.example.org:8080"
LAB = RememberedRoom("lab", LAB_SERVER, RoomId("room-1"), "token of lab", "the secret of the lab")
MICE = RememberedRoom("Mice", LAB_SERVER, RoomId("room-2"), "token of mice")
FAR = RememberedRoom("far", OTHER_SERVER, RoomId("room-1"), "token of far")
ONLY = AskPerson(take_only=True)
SESSION = SessionString(RoomId("room-9"), "token of session", PeerId("worker-9"), OTHER_SERVER).write()


@pytest.fixture
def rooms(tmp_path: Path) -> RememberedRooms:
    return RememberedRooms(tmp_path / "rooms.json")


def remember(rooms: RememberedRooms, *remembered: RememberedRoom, default: str | None = None) -> RememberedRooms:
    for room in remembered:
        rooms.remember(room)
    rooms.set_default(default)
    return rooms


def error_of(rooms: RememberedRooms, **options: object) -> str:
    """Return the text of the usage error that these options give."""
    with pytest.raises(RtcError) as caught:
        choose_target(remembered=rooms, **options)  # type: ignore[arg-type]
    assert caught.value.fault.code is FaultCode.USAGE
    return caught.value.fault.text


# -------- ways that need no remembered room


def test_a_session_string_names_room_worker_and_server(rooms: RememberedRooms) -> None:
    remember(rooms, LAB)
    target = choose_target(remembered=rooms, session=SESSION)
    assert target == Target(RoomId("room-9"), "token of session", NamedWorker(PeerId("worker-9")), OTHER_SERVER)


@pytest.mark.parametrize(
    "more", [{"room_name": "lab"}, {"room": "r"}, {"token": "t"}, {"worker": "w"}, {"auto_select": True}], ids=str
)
def test_a_session_string_excludes_all_other_words_about_room_and_worker(
    rooms: RememberedRooms, more: dict[str, object]
) -> None:
    assert "already names the room" in error_of(remember(rooms, LAB), session=SESSION, **more)


def test_room_and_token_ask_the_person_also_where_only_one_worker_fits(rooms: RememberedRooms) -> None:
    target = choose_target(remembered=remember(rooms, LAB), room="room-9", token="t")
    assert target == Target(RoomId("room-9"), "t", AskPerson())


@pytest.mark.parametrize("half", [{"room": "room-1"}, {"token": "t"}], ids=str)
def test_a_room_without_its_token_is_a_mistake_although_one_is_remembered(
    rooms: RememberedRooms, half: dict[str, str]
) -> None:
    assert "go together" in error_of(remember(rooms, LAB), **half)


def test_room_and_token_exclude_a_remembered_room(rooms: RememberedRooms) -> None:
    assert "--room names a remembered room" in error_of(remember(rooms, LAB), room="r", token="t", room_name="lab")


def test_a_damaged_file_of_rooms_hinders_nobody_who_does_not_need_it(rooms: RememberedRooms) -> None:
    rooms.path.write_text("{")
    assert choose_target(remembered=rooms, session=SESSION).room == "room-9"
    assert choose_target(remembered=rooms, room="room-9", token="t").room == "room-9"
    assert "is damaged" in error_of(rooms)


# -------- a remembered room


def test_the_only_room_needs_no_word(rooms: RememberedRooms) -> None:
    target = choose_target(remembered=remember(rooms, LAB))
    assert target == Target(LAB.room, LAB.token, ONLY, LAB_SERVER, "lab", LAB.secret)


def test_token_and_secret_are_in_no_text_of_a_target(rooms: RememberedRooms) -> None:
    shown = repr(choose_target(remembered=remember(rooms, LAB)))
    assert LAB.token not in shown
    assert str(LAB.secret) not in shown


@pytest.mark.parametrize("name", ["mice", "MICE", "Mice", "room-2"])
def test_a_room_is_named_by_its_name_in_any_case_or_by_its_id(rooms: RememberedRooms, name: str) -> None:
    assert choose_target(remembered=remember(rooms, LAB, MICE), room_name=name).name == "Mice"


def test_a_name_comes_before_an_id(rooms: RememberedRooms) -> None:
    remember(rooms, LAB, evolve(MICE, name="room-1"))
    assert choose_target(remembered=rooms, room_name="room-1").token == MICE.token


def test_of_two_rooms_with_one_id_the_server_decides_or_else_the_one_that_was_joined_last(
    rooms: RememberedRooms,
) -> None:
    remember(rooms, LAB, FAR)
    assert choose_target(remembered=rooms, room_name="room-1").name == "far"
    assert choose_target(remembered=rooms, room_name="room-1", server="lab.example.org").name == "lab"


def test_with_a_server_it_is_the_room_of_that_server(rooms: RememberedRooms) -> None:
    remember(rooms, LAB, FAR, default="lab")
    for typed in ("ws://other.example.org:8080", "other.example.org", "http://OTHER.example.org:8001/"):
        assert choose_target(remembered=rooms, server=typed).name == "far"


def test_a_host_alone_is_the_server_of_its_usual_port_and_else_the_one_that_it_has(rooms: RememberedRooms) -> None:
    secure = evolve(MICE, name="secure", server="wss://lab.example.org", room=RoomId("room-3"))
    odd = evolve(MICE, name="odd", server="ws://odd.example.org:4000", room=RoomId("room-4"))
    six = evolve(MICE, name="six", server="ws://[::1]:4000", room=RoomId("room-5"))
    remember(rooms, LAB, secure, odd, six)
    for typed, name in (
        ("lab.example.org", "lab"),
        ("https://lab.example.org:443", None),
        ("wss://lab.example.org", "secure"),
        ("ODD.example.org", "odd"),
        ("odd.example.org:4000", "odd"),
        ("odd.example.org:4001", None),
        ("ws://odd.example.org", None),
        ("[::1]", "six"),
        ("[::1]:4001", None),
        ("example.org", None),
    ):
        if name is None:
            assert "No room of" in error_of(rooms, server=typed), typed
        else:
            target = choose_target(remembered=rooms, server=typed)
            assert target.name == name, typed
            assert target.address(typed) == target.server, "the address is the one that has worked"
    remember(rooms, evolve(odd, name="odd-2", server="wss://odd.example.org:5000"))
    assert "odd, odd-2." in error_of(rooms, server="odd.example.org")


def test_a_server_that_is_named_counts_for_a_room_that_is_not_remembered(rooms: RememberedRooms) -> None:
    assert choose_target(remembered=rooms, session=SESSION).address("localhost") == "localhost"
    assert choose_target(remembered=rooms, session=SESSION).address(None) == OTHER_SERVER
    assert choose_target(remembered=rooms, room="r", token="t").address("localhost") == "localhost"


def test_the_default_decides_among_several_rooms_also_of_one_server(rooms: RememberedRooms) -> None:
    remember(rooms, LAB, MICE, FAR, default="mice")
    assert choose_target(remembered=rooms).name == "Mice"
    assert choose_target(remembered=rooms, server=LAB_SERVER).name == "Mice"


def test_several_rooms_and_no_default_are_listed(rooms: RememberedRooms) -> None:
    remember(rooms, LAB, MICE, FAR)
    text = error_of(rooms)
    assert "lab, Mice, far" in text
    assert "--room NAME" in text
    assert "sleap-rtc rooms default" in text
    of_server = error_of(rooms, server=LAB_SERVER)
    assert "lab, Mice." in of_server
    assert "far" not in of_server


def test_of_many_rooms_only_some_are_listed(rooms: RememberedRooms) -> None:
    many = (evolve(LAB, name=f"lab-{number}", room=RoomId(f"room-{number}")) for number in range(SHOWN_MAX + 5))
    assert "lab-9 and 5 more." in error_of(remember(rooms, *many))


def test_without_any_room_it_is_said_how_to_join_one(rooms: RememberedRooms) -> None:
    for options in ({}, {"server": LAB_SERVER}, {"room_name": "lab"}, {"auto_select": True}):
        text = error_of(rooms, **options)
        assert "sleap-rtc join" in text
        assert "--session-string" in text
        assert "--room-id" in text


def test_a_server_without_a_remembered_room_is_said_with_those_of_others(rooms: RememberedRooms) -> None:
    text = error_of(remember(rooms, LAB), server="other.example.org")
    assert f"No room of {OTHER_SERVER}" in text
    assert "Remembered: lab." in text


def test_an_unknown_name_lists_the_known_ones_and_is_not_repeated_since_it_may_be_a_secret(
    rooms: RememberedRooms,
) -> None:
    text = error_of(remember(rooms, LAB, MICE), room_name="token-by-mistake")
    assert "lab, Mice" in text
    assert "token-by-mistake" not in text


def test_a_token_never_goes_to_another_server_than_the_one_it_is_remembered_with(rooms: RememberedRooms) -> None:
    text = error_of(remember(rooms, LAB), room_name="lab", server=OTHER_SERVER)
    assert LAB_SERVER in text
    assert "sleap-rtc join WHAT --name lab" in text


# -------- the worker in it


def test_a_worker_is_called_by_id_or_name_in_a_remembered_room_or_another_one(rooms: RememberedRooms) -> None:
    remember(rooms, LAB)
    assert choose_target(remembered=rooms, worker="GPU box 2").choice == WorkerCalled("GPU box 2")
    named = choose_target(remembered=rooms, room="r", token="t", worker="worker-1")
    assert named.choice == WorkerCalled("worker-1")
    assert choose_target(remembered=rooms, auto_select=True).choice == BestWorker()


@pytest.mark.parametrize("worker", ["", "  ", "a\nb", "x" * 101])
def test_what_can_be_neither_id_nor_name_of_a_worker_is_refused(rooms: RememberedRooms, worker: str) -> None:
    assert "not a worker's id or name" in error_of(remember(rooms, LAB), worker=worker)


def test_a_worker_and_the_best_worker_exclude_each_other(rooms: RememberedRooms) -> None:
    assert "give one of them" in error_of(remember(rooms, LAB), worker="w", auto_select=True)

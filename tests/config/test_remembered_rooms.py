"""The file with the remembered rooms: found again, renewed, shared by programs, and what is said if it is unusable."""

import errno
import json
import logging
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from filelock import FileLock, SoftFileLock

from protocol.faults import FaultCode
from protocol.ids import RoomId
from rtc.common.errors import RtcError
from rtc.common.logs import open_log
from rtc.config import remembered_rooms
from rtc.config.remembered_rooms import ROOMS_MAX, RememberedRoom, RememberedRooms, RememberedRoomsJson, check_room_name
from rtc.config.room_secrets import shared_file

SERVER = "ws://lab.example.org:8080"
LAB = RememberedRoom("lab", SERVER, RoomId("room-1"), "canary-token", "canary-secret of the lab", 100)
MICE = RememberedRoom("Mice", SERVER, RoomId("room-2"), "token of mice")


@pytest.fixture
def rooms(tmp_path: Path) -> RememberedRooms:
    return RememberedRooms(tmp_path / "state" / "rooms.json")


def names(rooms: RememberedRooms) -> list[str]:
    return [room.name for room in rooms.read().rooms]


def error_of(rooms: RememberedRooms) -> str:
    with pytest.raises(RtcError) as caught:
        rooms.read()
    assert caught.value.fault.code is FaultCode.USAGE
    return caught.value.fault.text


def write(rooms: RememberedRooms, text: str) -> None:
    rooms.path.parent.mkdir(parents=True)
    rooms.path.write_text(text)
    rooms.path.chmod(0o600)


# -------- remembering and finding


def test_without_a_file_nothing_is_remembered_and_none_is_made_by_reading(rooms: RememberedRooms) -> None:
    assert rooms.read() == RememberedRoomsJson()
    assert rooms.find("lab") is None
    assert not rooms.path.parent.exists()


def test_a_room_is_remembered_in_a_file_that_only_its_user_can_read(rooms: RememberedRooms) -> None:
    rooms.remember(LAB)
    assert rooms.read() == RememberedRoomsJson((LAB,))
    assert rooms.path.stat().st_mode & 0o777 == 0o600
    assert rooms.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["mice", "MICE", "room-2"])
def test_a_room_is_found_by_its_name_in_any_case_or_by_its_id(rooms: RememberedRooms, name: str) -> None:
    rooms.remember(LAB)
    rooms.remember(MICE)
    assert rooms.find(name) == MICE


def test_the_same_name_in_another_case_is_the_same_name(rooms: RememberedRooms) -> None:
    rooms.remember(MICE)
    rooms.remember(evolve(LAB, name="mice"))
    assert names(rooms) == ["mice"]


def test_a_room_is_remembered_once_also_if_it_gets_another_name(rooms: RememberedRooms) -> None:
    rooms.remember(LAB)
    rooms.remember(evolve(LAB, name="ours", token="a newer token"))
    assert names(rooms) == ["ours"]
    assert rooms.read().rooms[0].token == "a newer token"


def test_the_same_id_on_another_server_is_another_room(rooms: RememberedRooms) -> None:
    rooms.remember(LAB)
    rooms.remember(evolve(LAB, name="far", server="ws://other.example.org:8080"))
    assert names(rooms) == ["lab", "far"]


def test_a_free_name_is_counted_up(rooms: RememberedRooms) -> None:
    assert rooms.read().free_name() == "lab"
    rooms.remember(evolve(LAB, name="LAB"))
    rooms.remember(evolve(MICE, name="lab-2"))
    assert rooms.read().free_name() == "lab-3"
    assert rooms.read().free_name("mice") == "mice"
    assert rooms.read().free_name("room-1") == "room-1-2", "--room would take it for the other room's id"


def test_the_longest_name_can_be_counted_up(rooms: RememberedRooms) -> None:
    longest = "x" * 100
    rooms.remember(evolve(LAB, name=longest))
    assert check_room_name(rooms.read().free_name(longest)) == f"{'x' * 90}-2"


@pytest.mark.parametrize("name", ["", "-x", "a b", "läb", "x" * 101, "a/b", "a\n"])
def test_a_name_must_look_like_an_id(name: str) -> None:
    with pytest.raises(RtcError, match="letters without accents"):
        check_room_name(name)


# -------- the default


def test_the_default_is_chosen_in_any_case_and_kept_when_its_room_is_renewed_or_renamed(
    rooms: RememberedRooms,
) -> None:
    rooms.remember(LAB)
    rooms.remember(MICE)
    rooms.set_default("LAB")
    assert rooms.read().default == "lab"
    rooms.remember(evolve(LAB, token="newer"))
    assert rooms.read().default == "lab"
    rooms.remember(evolve(LAB, name="ours"))
    assert rooms.read().default == "ours"
    rooms.set_default(None)
    assert rooms.read().default is None


def test_who_leaves_the_default_room_has_none(rooms: RememberedRooms) -> None:
    rooms.remember(LAB)
    rooms.remember(MICE)
    rooms.set_default("lab")
    rooms.forget("MICE")
    assert rooms.read().default == "lab"
    rooms.forget("lab")
    assert rooms.read() == RememberedRoomsJson()


def test_a_default_that_is_no_room_is_refused_and_not_repeated(rooms: RememberedRooms) -> None:
    rooms.remember(LAB)
    with pytest.raises(RtcError, match="sleap-rtc rooms") as caught:
        rooms.set_default("canary")
    assert "canary" not in caught.value.fault.text


# -------- its secret


def test_the_secret_is_found_by_the_rooms_id_and_forgotten_alone(rooms: RememberedRooms) -> None:
    rooms.remember(LAB)
    rooms.remember(evolve(LAB, name="far", server="ws://other:8080", secret=None))
    assert rooms.secret_of(LAB.room) == LAB.secret
    assert rooms.secret_of(MICE.room) is None
    rooms.forget_secret(LAB.room)
    assert rooms.secret_of(LAB.room) is None
    assert names(rooms) == ["lab", "far"]


def test_tokens_and_secrets_are_in_no_text_and_no_log(rooms: RememberedRooms, tmp_path: Path) -> None:
    rooms.remember(LAB)
    assert "canary" not in repr(rooms.read())
    with open_log("test", tmp_path / "logs") as opened:
        rooms.read()
        logging.getLogger("rtc.test").info("%s and %s", LAB.token, LAB.secret)
        assert opened.file is not None
        assert "canary" not in opened.file.read_text()


# -------- files that are not as we write them


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"rooms": {}}',
        '{"rooms": [{"name": "lab"}]}',
        '{"rooms": [{"name": "../x", "server": "ws://s", "room": "r", "token": "t"}]}',
        '{"rooms": [{"name": "lab", "server": "ws://s", "room": "r", "token": "t\\u001b[2J"}]}',
        '{"rooms": [], "default": 7}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_reported_with_its_path_and_never_overwritten(rooms: RememberedRooms, text: str) -> None:
    write(rooms, text)
    assert f"{rooms.path}, is damaged. Move it away, and join your rooms again." in error_of(rooms)
    for change in (lambda: rooms.remember(LAB), lambda: rooms.forget("lab"), lambda: rooms.set_default(None)):
        with pytest.raises(RtcError, match="is damaged"):
            change()
    assert rooms.path.read_text() == text


def test_a_default_that_names_no_room_is_as_none(rooms: RememberedRooms) -> None:
    write(rooms, json.dumps({"rooms": [], "default": "gone"}))
    assert rooms.read().default == "gone"
    rooms.remember(LAB)
    rooms.forget("nobody")
    assert rooms.read().default is None


def test_what_a_newer_version_has_written_is_kept(rooms: RememberedRooms) -> None:
    newer = {"version": 9, "rooms": [{"color": "blue", **as_json(LAB)}, {"color": "red", **as_json(MICE)}]}
    write(rooms, json.dumps(newer))
    rooms.remember(evolve(LAB, token="renewed"))
    rooms.set_default("Mice")
    content = json.loads(rooms.path.read_text())
    assert content["version"] == 9
    assert [(room["name"], room["color"]) for room in content["rooms"]] == [("Mice", "red"), ("lab", "blue")]
    assert content["rooms"][1]["token"] == "renewed"
    rooms.forget("lab")
    assert "blue" not in rooms.path.read_text()


def as_json(room: RememberedRoom) -> dict[str, Any]:
    return {"name": room.name, "server": room.server, "room": room.room, "token": room.token}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_file_that_others_can_read_is_used_with_a_warning_and_made_private_by_the_next_change(
    rooms: RememberedRooms,
) -> None:
    warnings: list[str] = []
    warned = RememberedRooms(rooms.path, warnings.append)
    warned.remember(LAB)
    rooms.path.chmod(0o644)
    assert warned.read().rooms == (LAB,)
    assert f"chmod 600 {rooms.path}" in warnings[0]
    warned.remember(MICE)
    assert rooms.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["folder", "fifo", "too large"])
def test_what_is_no_ordinary_file_of_bounded_size_is_reported_at_once(rooms: RememberedRooms, kind: str) -> None:
    rooms.path.parent.mkdir(parents=True)
    match kind:
        case "folder":
            rooms.path.mkdir()
        case "fifo":
            os.mkfifo(rooms.path)
        case _:
            rooms.path.write_bytes(b" " * (remembered_rooms.FILE_MAX + 1))
    text = error_of(rooms)
    assert f"The file with the remembered rooms, {rooms.path}," in text
    assert "move it away, and join your rooms again" in text


def test_a_link_to_the_file_stays_a_link(rooms: RememberedRooms, tmp_path: Path) -> None:
    rooms.path.parent.mkdir(parents=True)
    rooms.path.symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "elsewhere.json").write_text("{}")
    rooms.remember(LAB)
    assert rooms.path.is_symlink()
    assert RememberedRooms(tmp_path / "elsewhere.json").read().rooms == (LAB,)


# -------- many rooms, and several programs


def test_a_thousand_rooms_are_remembered_and_one_more_is_refused(rooms: RememberedRooms) -> None:
    many = tuple(evolve(LAB, name=f"lab-{number}", room=RoomId(f"many-{number}")) for number in range(ROOMS_MAX - 1))
    rooms._change(lambda _: RememberedRoomsJson(many))
    rooms.remember(MICE)
    assert len(rooms.read().rooms) == ROOMS_MAX
    rooms.remember(evolve(MICE, token="renewed"))
    with pytest.raises(RtcError, match="is full"):
        rooms.remember(evolve(LAB, name="one-more", room=RoomId("one-more")))
    assert len(rooms.read().rooms) == ROOMS_MAX


def test_a_file_is_never_written_that_would_be_too_large_to_be_read(
    rooms: RememberedRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered_rooms, "FILE_MAX", 400)
    rooms.remember(LAB)
    with pytest.raises(RtcError, match="is full"):
        rooms.remember(evolve(MICE, token="t" * 200))
    assert names(rooms) == ["lab"]


def test_of_programs_that_join_at_the_same_time_none_loses_a_room(rooms: RememberedRooms) -> None:
    def join(number: int) -> None:
        rooms.remember(evolve(LAB, name=f"lab-{number}", room=RoomId(f"room-{number}")))

    threads = [threading.Thread(target=join, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names(rooms)) == sorted(f"lab-{number}" for number in range(12))


def test_a_file_that_another_program_holds_for_too_long_is_reported(
    rooms: RememberedRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms.remember(LAB)
    monkeypatch.setattr(shared_file, "LOCK_TIME", 0)
    with FileLock(f"{rooms.path}.lock"), pytest.raises(RtcError, match="in use by another program"):
        rooms.remember(MICE)
    assert names(rooms) == ["lab"]


def test_rooms_are_remembered_where_a_file_system_has_no_locks(
    rooms: RememberedRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    rooms.remember(LAB)
    monkeypatch.setattr(shared_file, "LOCK_TIME", 0)
    with SoftFileLock(f"{rooms.path}.soft-lock"), pytest.raises(RtcError, match="in use by another program"):
        rooms.remember(MICE)
    rooms.remember(MICE)
    assert names(rooms) == ["lab", MICE.name]


@pytest.mark.parametrize("make_place", ["folder that is a file", "full disk", "damaged"])
def test_whether_the_file_can_be_changed_is_known_before_it_must_be(
    rooms: RememberedRooms, monkeypatch: pytest.MonkeyPatch, make_place: str
) -> None:
    rooms.check()
    assert not rooms.path.exists()
    if make_place == "damaged":
        rooms.path.write_text("{")
    elif make_place == "full disk":
        monkeypatch.setattr(tempfile, "TemporaryFile", fail_as_full)
    else:
        rooms = RememberedRooms(rooms.path.parent / "rooms.json.lock" / "rooms.json")
    with pytest.raises(RtcError, match="is damaged" if make_place == "damaged" else "cannot be written"):
        rooms.check()


def fail_as_full(**_options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_reported(rooms: RememberedRooms) -> None:
    rooms.remember(LAB)
    rooms.path.parent.chmod(0o500)
    try:
        with pytest.raises(RtcError, match="cannot be written"):
            rooms.remember(MICE)
    finally:
        rooms.path.parent.chmod(0o700)


def test_a_folder_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RtcError, match="cannot be written"):
        RememberedRooms(tmp_path / "file" / "rooms.json").remember(LAB)

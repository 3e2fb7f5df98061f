"""The server's database: what it stores, what it never stores, and the errors when it cannot be used."""

import errno
import os
import sqlite3
import stat

import pytest
import trio

from protocol.faults import FaultCode
from protocol.fields import ID_PATTERN
from protocol.ids import PeerId, RoomId
from rtc.common import file_system
from rtc.common.errors import RtcError
from rtc.common.file_system import Feature
from rtc.server.database import DATABASE, open_room_database


@pytest.fixture
async def store(tmp_path):
    async with open_room_database(tmp_path / "data") as store:
        yield store


async def test_a_token_opens_its_own_room_and_no_other(store):
    room, token = await store.create_room("Lab")
    other, other_token = await store.create_room("")
    assert await store.is_token_of(room, token)
    assert await store.is_token_of(other, other_token)
    assert not await store.is_token_of(room, other_token)
    assert not await store.is_token_of(room, "")
    assert not await store.is_token_of(room, "\ud800")
    assert not await store.is_token_of(RoomId("room-that-is-not"), token)


async def test_a_room_is_described_without_its_token(store):
    room, token = await store.create_room("Mice · β")
    info = await store.room_info(room)
    assert (info.room, info.name) == (room, "Mice · β")
    assert info.created.endswith("+00:00")
    assert token not in repr(info)
    assert await store.room_info(RoomId("room-that-is-not")) is None


async def test_ids_and_tokens_cannot_be_guessed(store):
    made = [await store.create_room("") for _ in range(20)]
    assert len({room for room, _ in made}) == len({token for _, token in made}) == 20
    for room, token in made:
        assert ID_PATTERN.fullmatch(room)
        assert len(room.removeprefix("room-")) * 5 >= 128  # base32: 5 bits a character
        assert len(token) * 6 >= 128  # base64: 6 bits a character


async def test_rooms_and_names_survive_a_restart(tmp_path):
    async with open_room_database(tmp_path) as store:
        room, token = await store.create_room("Lab")
        resume = store.resume_proof(room, PeerId("worker-1"))
    async with open_room_database(tmp_path) as store:
        assert await store.is_token_of(room, token)
        assert store.resume_proof(room, PeerId("worker-1")) == resume
        assert store.resume_proof(room, PeerId("worker-2")) != resume
        assert store.resume_proof(RoomId("room-x"), PeerId("worker-1")) != resume


async def test_two_servers_do_not_share_a_key(tmp_path):
    async with open_room_database(tmp_path / "a") as one, open_room_database(tmp_path / "b") as two:
        assert one.resume_proof(RoomId("r"), PeerId("p")) != two.resume_proof(RoomId("r"), PeerId("p"))


async def test_no_token_is_in_the_files_and_no_file_is_for_others(tmp_path):
    folder = tmp_path / "data"
    old_mask = os.umask(0)
    try:
        async with open_room_database(folder) as store:
            _, token = await store.create_room("Lab")
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            files = list(folder.iterdir())
            assert len(files) == 3  # the database, its log and its index
            for file in files:
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
                assert token.encode() not in file.read_bytes()
    finally:
        os.umask(old_mask)


async def test_many_rooms_at_once_are_all_there(store):
    made = []

    async def make() -> None:
        made.append(await store.create_room(""))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(make)
    assert [await store.is_token_of(room, token) for room, token in made] == [True] * 20


async def error_of_opening(folder) -> RtcError:
    with pytest.raises(RtcError) as caught:
        async with open_room_database(folder):
            pass
    assert str(folder.parent) not in str(caught.value)
    return caught.value


async def test_a_newer_database_is_left_alone(tmp_path):
    async with open_room_database(tmp_path):
        pass
    database = sqlite3.connect(tmp_path / DATABASE)
    database.execute("PRAGMA user_version = 99")
    database.close()
    error = await error_of_opening(tmp_path)
    assert error.fault.code is FaultCode.VERSION
    assert "99" in str(error)


@pytest.mark.parametrize("content", [b"this is no database at all, but a letter" * 100, b"\xff" * 5000])
async def test_a_file_that_is_no_database_is_said_to_be_damaged(tmp_path, content):
    (tmp_path / DATABASE).write_bytes(content)
    error = await error_of_opening(tmp_path)
    assert error.fault.code is FaultCode.USAGE
    assert "damaged" in str(error)
    assert (tmp_path / DATABASE).read_bytes() == content


async def test_a_database_with_a_torn_page_is_said_to_be_damaged(tmp_path):
    async with open_room_database(tmp_path) as store:
        for _ in range(60):
            await store.create_room("x" * 64)
    file = tmp_path / DATABASE
    content = bytearray(file.read_bytes())
    content[4096 : 4096 * 5] = b"\x55" * 4096 * 4
    file.write_bytes(content)
    assert "damaged" in str(await error_of_opening(tmp_path))


async def test_a_folder_that_cannot_be_created_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    error = await error_of_opening(tmp_path / "file")
    assert error.fault.code is FaultCode.USAGE
    assert "--data" in str(error)


async def test_a_database_that_fails_later_is_an_expected_failure(tmp_path):
    async with open_room_database(tmp_path) as store:
        database = sqlite3.connect(tmp_path / DATABASE)
        database.execute("DROP TABLE rooms")
        database.close()
        with pytest.raises(RtcError, match="database"):
            await store.is_token_of(RoomId("room-x"), "token")


async def test_a_file_system_without_locks_is_told_from_a_full_disk(tmp_path, monkeypatch):
    def refuse(*_arguments, **_options):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("rtc.server.database.open_sqlite", refuse)
    with pytest.raises(RtcError, match="Is the disk full"):
        async with open_room_database(tmp_path / "data"):
            pass
    monkeypatch.setitem(file_system._TRIALS, Feature.LOCKS, refuse_locks)
    with pytest.raises(RtcError, match=r"'data' is on a file system without locks\. Choose .* --data"):
        async with open_room_database(tmp_path / "data"):
            pass


def refuse_locks(_path):
    raise OSError(errno.ENOLCK, "No locks available")

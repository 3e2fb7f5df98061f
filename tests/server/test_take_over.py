"""A server takes over the database of an earlier version while no server has it open."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

from rtc.config.folders import Folders
from rtc.server.database import DATABASE, open_room_database
from rtc.server.take_over import take_over_server

DATABASE_FILES = {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / ".sleap-rtc", tmp_path / "state" / "sleap-rtc")


def make_room(folder: Path) -> str:
    async def make() -> str:
        async with open_room_database(folder) as database:
            room, _ = await database.create_room("lab")
            return str(room)

    return trio.run(make)


def rooms(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        return {room for (room,) in database.execute("SELECT id FROM rooms")}


def key(folder: Path) -> bytes:
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        (found,) = database.execute("SELECT value FROM settings WHERE name = 'key'").fetchone()
        return bytes(found)


def test_rooms_and_the_servers_key_are_taken_over(folders: Folders) -> None:
    told: list[str] = []
    old = folders.settings / "server"
    room, secret = make_room(old), key(old)
    assert take_over_server(folders, told.append) == folders.server
    assert (rooms(folders.server), key(folders.server)) == ({room}, secret)
    assert (old.exists(), (folders.server / DATABASE).stat().st_mode & 0o777, told) == (False, 0o600, [])


def test_rooms_that_a_killed_server_has_written_last_are_taken_over(folders: Folders, tmp_path: Path) -> None:
    old = folders.settings / "server"
    with closing(sqlite3.connect(tmp_path / DATABASE)):
        make_room(tmp_path)
        with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as database:
            database.execute("PRAGMA wal_autocheckpoint = 0")
            database.execute("INSERT INTO rooms VALUES ('last', 'lab', '2026-01-01T00:00:00Z', x'00')")
            old.mkdir(parents=True)
            for name in (DATABASE, f"{DATABASE}-wal"):
                (old / name).write_bytes((tmp_path / name).read_bytes())
    take_over_server(folders, lambda _text: None)
    assert "last" in rooms(folders.server)


def test_while_a_server_runs_its_database_stays_in_use_and_that_is_told_once(folders: Folders) -> None:
    told: list[str] = []
    old = folders.settings / "server"
    room = make_room(old)
    with closing(sqlite3.connect(old / DATABASE)) as running:
        running.execute("SELECT * FROM rooms").fetchall()
        for _ in range(2):
            assert take_over_server(folders, told.append) == old
    assert (rooms(old), len(told)) == ({room}, 1)
    assert "a server is running there" in told[0]
    assert take_over_server(folders, told.append) == folders.server
    assert rooms(folders.server) == {room}


def test_two_databases_stay_two_and_that_is_told(folders: Folders) -> None:
    told: list[str] = []
    old = folders.settings / "server"
    one, other = make_room(old), make_room(folders.server)
    assert take_over_server(folders, told.append) == folders.server
    assert (rooms(old), rooms(folders.server), len(told)) == ({one}, {other}, 1)


def test_a_move_that_was_killed_before_its_last_step_is_completed(folders: Folders) -> None:
    old = folders.settings / "server"
    room = make_room(old)
    folders.server.mkdir(parents=True)
    (folders.server / DATABASE).write_bytes((old / DATABASE).read_bytes())
    assert take_over_server(folders, pytest.fail) == folders.server
    assert (rooms(folders.server), old.exists()) == ({room}, False)


def test_what_is_no_database_stays(folders: Folders) -> None:
    told: list[str] = []
    old = folders.settings / "server"
    old.mkdir(parents=True)
    (old / DATABASE).write_text("no database" * 1000)
    take_over_server(folders, told.append)
    assert ((old / DATABASE).exists(), "damaged" in told[0]) == (True, True)

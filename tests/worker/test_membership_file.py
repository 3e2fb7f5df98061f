"""The file that saves a worker's room membership: read as it was written, by every version, whatever is in it."""

from pathlib import Path

import pytest

from protocol.ids import PeerId, RoomId
from rtc.config.load import load_config
from rtc.worker.job_database import open_job_database
from rtc.worker.membership_file import SavedMembership, open_membership_file
from rtc.worker.program import WorkerOptions, _saved_membership

SAVED = SavedMembership("ws://lab:8080", RoomId("room-1"), "token", PeerId("worker-1"), "resume")
OLD = '{"server": "ws://lab:8080", "room": "room-1", "token": "token", "peer": "worker-1", "resume": "resume"'
"""`SAVED` as the version before has written it, without the last brace."""


def read(results: Path, text: str) -> SavedMembership | None:
    with open_membership_file(results, "bench", None):
        pass
    [path] = results.glob(".place-*.json")
    path.write_text(text)
    with open_membership_file(results, "bench", None) as file:
        return file.read()


def test_a_membership_is_read_as_it_was_written(tmp_path: Path) -> None:
    with open_membership_file(tmp_path, "bench", None) as file:
        assert file.read() is None
        file.write(SAVED)
        assert file.read() == SAVED


@pytest.mark.parametrize("end", ["}", ', "newer": 1}'])
def test_a_membership_of_another_version_is_read(tmp_path: Path, end: str) -> None:
    assert read(tmp_path, OLD + end) == SAVED


@pytest.mark.parametrize(
    "text",
    [
        "",
        OLD,
        "[]",
        "7",
        "[" * 5000,
        OLD + ', "room": "../x"}',
        OLD + ', "token": 7}',
        OLD + ', "peer": null}',
        OLD + "}" + " " * 20_000,
        "\ud800".encode("utf-8", "surrogatepass").decode("latin1"),
    ],
)
def test_anything_else_is_no_membership(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) is None


@pytest.mark.parametrize(
    ("server", "room", "token", "peer"),
    [
        ("ws://lab:8080", "room-1", "token", "worker-1"),
        ("ws://moved:8080", "room-1", "token", "worker-1"),
        ("ws://moved:8080", "room-1", "another token", None),
        ("ws://moved:8080", "room-2", "token", None),
        ("ws://moved:8080", None, None, None),
    ],
)
async def test_a_worker_keeps_its_id_when_the_server_of_its_room_has_moved(
    tmp_path: Path, server: str, room: str | None, token: str | None, peer: str | None
) -> None:
    config = load_config(server=server, environ={}, cwd=tmp_path, settings=tmp_path)
    options = WorkerOptions(config, None if room is None else RoomId(room), token, work=tmp_path, results=tmp_path)
    with open_membership_file(tmp_path, "lab", None) as file:
        file.write(SAVED)
        async with open_job_database(tmp_path) as job_database:
            saved = await _saved_membership(options, job_database, file)
    assert (saved and (saved.peer, saved.server)) == (peer and (peer, server))

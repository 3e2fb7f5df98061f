"""Tickets of jobs that were started from here: found by a part of the job's id, and checked when they are read."""

import errno
import json
import os
from pathlib import Path

import pytest
from attrs import evolve

from protocol.faults import Fault, FaultCode
from protocol.ids import JobId
from protocol.jobs import JobKind, JobStage, JobState, Outcome
from rtc.client import tickets
from rtc.client.jobs_table import JobRow, as_json
from rtc.client.tickets import JobTicket
from rtc.common.errors import ExitCode, RtcError
from rtc.packages.original_paths import OriginalPath, OriginalPaths

TICKET = JobTicket("job-1", "key", "worker-1", "room-1", "token", "ws://127.0.0.1:1", "toy.zip")
OLD = {
    "job": "job-1",
    "key": "key",
    "worker": "worker-1",
    "room": "room-1",
    "token": "token",
    "server": "ws://127.0.0.1:1",
    "package": "toy.zip",
}
"""What `TICKET` was in the file of the version before, whose tickets had neither a kind nor an output folder."""


def test_tickets_of_other_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "job-1.json").write_text(json.dumps(OLD))
    assert tickets.find(tmp_path, None) == TICKET
    (tmp_path / "job-1.json").write_text(json.dumps(OLD | {"kind": "track", "output": "/\udcff/out", "newer": []}))
    assert tickets.find(tmp_path, None) == evolve(TICKET, kind=JobKind.TRACK, output="/\udcff/out")


def test_a_ticket_is_read_as_it_was_saved(tmp_path: Path) -> None:
    ticket = evolve(TICKET, kind=JobKind.TRACK, package="déjà \udcff.zip", output="/out")
    tickets.save(tmp_path, ticket)
    assert tickets.find(tmp_path, None) == ticket


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for job in ("job-1", "job-2"):
        tickets.save(tmp_path, evolve(TICKET, job=job))
    return tmp_path


def refused(folder: Path, job: str | None, code: ExitCode = ExitCode.USAGE) -> str:
    with pytest.raises(RtcError) as caught:
        tickets.find(folder, job)
    assert caught.value.exit_code is code
    return caught.value.fault.text


def test_jobs_are_shown_to_scripts_with_the_promised_fields() -> None:
    running = JobState(TICKET.job, JobStage.ENDED, "Done.", outcome=Outcome.DONE, result=True)
    first, second = json.loads(
        as_json((JobRow(TICKET, running), JobRow(TICKET, fault=Fault(FaultCode.ROOM_DENIED, "Its room is gone."))))
    )
    assert first == {
        "job": "job-1",
        "package": "toy.zip",
        "kind": "train",
        "worker": "worker-1",
        "state": "done",
        "text": "Done. Its result waits to be fetched.",
        "result": True,
    }
    assert (second["state"], second["text"], second["result"]) == ("unreachable", "Its room is gone.", False)
    assert json.loads(as_json(())) == []


def test_a_job_is_found_by_a_part_of_its_name_and_the_newest_by_none(folder: Path) -> None:
    assert tickets.find(folder, "b-1").job == "job-1"
    assert tickets.find(folder, None).job == "job-2"
    assert "job-1, job-2" in refused(folder, "job")
    assert "job-1, job-2" in refused(folder, "nojob", ExitCode.NOT_AVAILABLE)


@pytest.mark.parametrize("nothing", ["", " "])
def test_no_name_at_all_is_no_part_of_the_only_jobs_name(tmp_path: Path, nothing: str) -> None:
    tickets.save(tmp_path, TICKET)
    assert "which job" in refused(tmp_path, nothing)


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "[",
        "[" * 30_000,
        "7",
        "{}",
        json.dumps(OLD | {"key": 7}),
        json.dumps(OLD | {"job": "../x"}),
        json.dumps(OLD | {"kind": "dance"}),
        json.dumps(OLD | {"room": "\x1b"}),
        json.dumps(OLD | {"output": "x" * 70_000}),
        json.dumps(OLD | {"output": "/out\0"}),
        json.dumps(OLD | {"package": "toy\ud800.zip"}),
        json.dumps({key: value for key, value in OLD.items() if key != "token"}),
    ],
    ids=[
        *("empty", "cut off", "deep", "no ticket", "nothing in it", "wrong type", "wrong name"),
        *("wrong kind", "wrong room", "too long", "no path", "no file", "no token"),
    ],
)
def test_a_damaged_ticket_is_said_and_hides_no_others(folder: Path, damaged: str) -> None:
    (folder / "job-3.json").write_text(damaged)
    assert "job-3" in refused(folder, "job-3")
    assert tickets.find(folder, None).job == "job-2"


def test_a_ticket_that_cannot_be_saved_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_paths: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted(folder.iterdir())
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="space"):
        tickets.save(folder, evolve(TICKET, job=JobId("job-9")))
    assert sorted(folder.iterdir()) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFOs in folders")
def test_a_fifo_in_the_place_of_a_ticket_keeps_nobody_waiting(folder: Path) -> None:
    os.mkfifo(folder / "job-0.json")
    with pytest.raises(RtcError, match="The ticket of job-0 cannot be read"):
        tickets.read(folder, "job-0")


def test_when_no_ticket_can_be_read_the_newest_is_named(tmp_path: Path) -> None:
    for name in ("job-1", "job-2"):
        (tmp_path / f"{name}.json").mkdir()
    assert "job-2" in refused(tmp_path, None)


def test_the_original_paths_are_beside_the_ticket_for_its_owner_alone(tmp_path: Path) -> None:
    paths = OriginalPaths((OriginalPath("video.mp4", "/home/ada/cam0/video.mp4"),))
    tickets.save(tmp_path, TICKET, paths)
    assert tickets.read_paths(tmp_path, JobId("job-1")) == paths
    assert tickets.jobs_with_tickets(tmp_path) == ["job-1"]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    tickets.delete(tmp_path, JobId("job-1"))
    assert list(tmp_path.iterdir()) == []


def test_a_ticket_without_original_paths_is_as_good(tmp_path: Path) -> None:
    tickets.save(tmp_path, TICKET)
    assert tickets.read_paths(tmp_path, JobId("job-1")) == OriginalPaths()
    (tmp_path / "job-1.paths").write_text("damaged")
    assert tickets.read_paths(tmp_path, JobId("job-1")) == OriginalPaths()

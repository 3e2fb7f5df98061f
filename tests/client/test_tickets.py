"""Tickets of jobs that were started from here: found by a part of the job's id, and checked when they are read."""

import json
from pathlib import Path

import pytest
from attrs import asdict, evolve

from rtc.client import tickets
from rtc.client.tickets import JobTicket
from rtc.common.errors import ExitCode, RtcError

TICKET = JobTicket("job-1", "key", "worker-1", "room-1", "token", "ws://127.0.0.1:1", "toy.zip")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for job in ("job-1", "job-2"):
        tickets.save(tmp_path, evolve(TICKET, job=job))
    return tmp_path


def refused(folder: Path, job: str | None) -> str:
    with pytest.raises(RtcError) as caught:
        tickets.find(folder, job)
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value.fault.text


def test_a_job_is_found_by_a_part_of_its_name_and_the_newest_by_none(folder: Path) -> None:
    assert tickets.find(folder, "b-1").job == "job-1"
    assert tickets.find(folder, None).job == "job-2"
    assert "job-1, job-2" in refused(folder, "job")
    assert "job-1, job-2" in refused(folder, "nojob")


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
        json.dumps(asdict(TICKET) | {"key": 7}),
        json.dumps(asdict(TICKET) | {"job": "../x"}),
    ],
    ids=["empty", "cut off", "deep", "no ticket", "nothing in it", "wrong type", "wrong name"],
)
def test_a_damaged_ticket_is_said_and_hides_no_others(folder: Path, damaged: str) -> None:
    (folder / "job-3.json").write_text(damaged)
    assert "job-3" in refused(folder, "job-3")
    assert tickets.find(folder, None).job == "job-2"


def test_when_no_ticket_can_be_read_the_newest_is_named(tmp_path: Path) -> None:
    for name in ("job-1", "job-2"):
        (tmp_path / f"{name}.json").mkdir()
    assert "job-2" in refused(tmp_path, None)

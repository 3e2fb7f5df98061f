"""The small JSON files in a job's folder are read as they were written, whatever the job has put in their places."""

import json
import os
from pathlib import Path

import pytest
import trio

from protocol.jobs import JobKind, Outcome
from rtc.common.job_result import JobResult
from rtc.packages.inference import PredictStep
from rtc.packages.plan import Plan, TrainStep
from rtc.runner.job_files import (
    ENDED_FROM_OUTSIDE,
    OUTCOME,
    RESULT_PATHS,
    SUPERVISOR_LOCK,
    SUPERVISOR_LOG,
    read_outcome,
    read_result_paths,
    write_outcome,
    write_result_paths,
)
from rtc.runner.supervisor_handle import SupervisorHandle, collect_result
from rtc.testing.limits import HANG_TIME

MADE_PLAN = Plan(
    JobKind.TRACK,
    (TrainStep("models/a", "", "models/a"),),
    root="flies/",
    predictions=(PredictStep("deep/x.slp", "", (), "deep/x.slp"),),
)


def test_where_the_results_will_be_is_read_as_it_was_written(tmp_path):
    assert read_result_paths(tmp_path) == Plan(JobKind.TRAIN, ())
    write_result_paths(tmp_path, MADE_PLAN)
    assert read_result_paths(tmp_path) == MADE_PLAN


@pytest.mark.parametrize(
    "fields",
    [
        {"runs": [5]},
        {"runs": ["a\0b"]},
        {"runs": ["\ud800"]},
        {"runs": "models"},
        {"runs": None},
        {"outputs": [["x"]]},
        {"outputs": ["../x"]},
        {"root": 7},
        {"root": "/etc"},
        {"kind": "dance"},
        {"kind": []},
    ],
    ids=str,
)
def test_what_no_supervisor_would_have_written_raises_an_os_error(tmp_path, fields):
    note = {"kind": "train", "root": "", "runs": [], "outputs": []} | fields
    (tmp_path / RESULT_PATHS).write_text(json.dumps(note))
    with pytest.raises(OSError, match="spoilt"):
        read_result_paths(tmp_path)


SPOILERS = {
    "nothing": Path.touch,
    "a list": lambda path: path.write_text("[]"),
    "brackets": lambda path: path.write_text("[" * 100_000),
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a link": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
async def test_whatever_a_job_puts_in_place_of_our_files_we_do_not_wait_for_it(tmp_path, spoil):
    for name in (RESULT_PATHS, OUTCOME, SUPERVISOR_LOG, SUPERVISOR_LOCK):
        spoil(tmp_path / name)
    with pytest.raises(OSError):  # noqa: PT011 (what the system says of it differs)
        read_result_paths(tmp_path)
    with trio.fail_after(HANG_TIME):
        await SupervisorHandle(tmp_path, None).wait()
        assert await collect_result(tmp_path) == ENDED_FROM_OUTSIDE


def test_an_outcome_is_not_written_through_what_a_job_put_in_its_place(tmp_path):
    os.mkfifo(tmp_path / f"{OUTCOME}.part")
    with pytest.raises(OSError, match="No such device"):
        write_outcome(tmp_path, ENDED_FROM_OUTSIDE)


def test_an_outcome_is_read_as_it_was_written_and_nothing_else_is(tmp_path):
    assert read_outcome(tmp_path) is None
    result = JobResult(Outcome.FAILED, "\ud800 it was not meant to be " * 500)
    write_outcome(tmp_path, result)
    assert read_outcome(tmp_path) == JobResult(Outcome.FAILED, result.text[:2000])
    for text in ("", "[]", "[" * 50_000, '{"outcome": "done"}', '{"outcome": "fine", "text": ""}', "\xff"):
        (tmp_path / "outcome.json").write_text(text)
        assert read_outcome(tmp_path) is None

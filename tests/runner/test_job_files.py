"""The small JSON files in a job's folder are read as they were written, whatever the job has put in their places."""

import json
import os
from pathlib import Path

import pytest
import trio
from attrs import evolve

from protocol.converter import WireError
from protocol.ids import JobId
from protocol.jobs import JobKind, Outcome, StopScope
from rtc.common.gpu import GpuFacts
from rtc.common.job_result import JobResult
from rtc.packages.inference import PredictStep
from rtc.packages.plan import Plan, TrainStep
from rtc.runner.commands import CancelRun, StopRun, from_line, to_line
from rtc.runner.job_files import (
    ENDED_FROM_OUTSIDE,
    OUTCOME,
    RESULT_PATHS,
    SUPERVISOR_LOCK,
    SUPERVISOR_LOG,
    Spec,
    read_outcome,
    read_result_paths,
    read_spec,
    write_outcome,
    write_result_paths,
    write_spec,
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


def test_what_sleap_nn_has_written_is_part_of_the_result(tmp_path):
    plan = evolve(MADE_PLAN, written=("centroid.yaml",))
    write_result_paths(tmp_path, plan)
    assert read_result_paths(tmp_path) == plan


@pytest.mark.parametrize(
    "fields",
    [
        {"configs": ["../x.yaml"]},
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


def test_files_of_the_version_before_are_read(tmp_path):
    """Their keys are those of today, written with spaces; and what a newer version adds is ignored."""
    (tmp_path / RESULT_PATHS).write_text(
        '{"kind": "track", "root": "flies/", "runs": ["models/a"], "outputs": ["deep/x.slp"], "newer": {}}'
    )
    assert read_result_paths(tmp_path) == MADE_PLAN
    (tmp_path / OUTCOME).write_text('{"outcome": "done", "text": "Trained 1 model.", "newer": 1}' + " " * 1000)
    assert read_outcome(tmp_path) == JobResult(Outcome.DONE, "Trained 1 model.")


@pytest.mark.parametrize("path", ["\ud800", "a\0b", "../x"])
def test_a_result_that_no_file_can_hold_is_an_os_error_when_it_is_written(tmp_path, path):
    plan = evolve(MADE_PLAN, steps=(TrainStep(path, "", path),))
    with pytest.raises(OSError, match="no file can be named"):
        write_result_paths(tmp_path, plan)


@pytest.mark.parametrize("gpus", [None, (), ("GPU-1", "GPU-2")])
def test_a_spec_is_read_as_it_was_written(tmp_path, gpus):
    facts = (GpuFacts("A", 2, 1, "12.4", "GPU-1"),)
    spec = Spec(JobId("job-1"), Path("/opt/sleap \udcff/sleap-nn"), "auto", gpus, ("a=1", "b=[1,2]"), gpu_facts=facts)
    write_spec(tmp_path, spec)
    assert read_spec(tmp_path) == spec


@pytest.mark.parametrize("command", [CancelRun(), StopRun(StopScope.THIS), StopRun(StopScope.ALL)])
def test_a_command_is_one_line_that_is_read_as_it_was_written(command):
    line = to_line(command)
    assert line.index(b"\n") == len(line) - 1
    assert from_line(line) == command


@pytest.mark.parametrize("line", [b"", b"dance", b"[]", b'{"type":"STOP_RUN"}', b'{"type":"DANCE"}', b"[" * 5000])
def test_what_is_no_command_is_a_wire_error(line):
    with pytest.raises(WireError):
        from_line(line)


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

"""The output for programs: one JSON object per line, as docs/json-events.md documents."""

import json
import math
import os
import re
from io import StringIO
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from protocol.converter import WireError
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId
from protocol.jobs import (
    ConfigurationStarted,
    FramesDone,
    GpuUse,
    JobNews,
    JobNote,
    JobStarted,
    LogLines,
    ModelStarted,
    ModelTrained,
    NoteKind,
    PredictionStarted,
    Progress,
)
from rtc.common.errors import EXIT_CODES, ExitCode, RtcError
from rtc.terminal import ClientView, JobSummary, Losses, Mode, open_view
from rtc.terminal.json_events import EVENTS, JsonEvent, from_line, to_line

JOB = JobId("job-1")
PAGE = Path(__file__).parents[2] / "docs" / "json-events.md"
NEWS: tuple[JobNews, ...] = (
    JobStarted(JOB, ("centroid",), ("video.mp4",)),
    ModelStarted(JOB, 0, 2),
    Progress(JOB, 0, 0, 1, 0.5),
    Progress(JOB, 0, 0, None, 0.5, None, 0.25),
    Progress(JOB, 0, 1, None, 0.5, 0.3, None),
    ModelTrained(JOB, 0),
    PredictionStarted(JOB, 0, tracking=True),
    FramesDone(JOB, 0, 16, 16, 38.1, 0.0),
    FramesDone(JOB, 0, 1, None, None, None, 1),
    GpuUse(JOB, 2816, 81559, 31),
    LogLines(JOB, ("\x1b[31mred\x1b[0m", "“naïve”")),
    JobNote(JOB, "It runs on the CPU: this will be slow."),
    JobNote(JOB, "A prediction is left out.", NoteKind.WARNING),
    ConfigurationStarted(JOB),
)


def strict(line: str) -> dict[str, Any]:
    """Parse a line as other JSON readers than Python's do: NaN and Infinity are errors."""
    found = json.loads(line, parse_constant=pytest.fail)
    assert isinstance(found, dict)
    return found


class JsonOutput:
    """A JSON view and the events that it has written."""

    def __init__(self, view: ClientView, out: StringIO) -> None:
        self.view, self._out = view, out

    @property
    def text(self) -> str:
        return self._out.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        assert self.text.isascii()
        return [strict(line) for line in self.text.splitlines()]

    def named(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == event]


@pytest.fixture
async def told():
    out = StringIO()
    async with open_view(terminal=True, mode=Mode.JSON, out=out) as view:
        yield JsonOutput(view, out)


def everything(told: JsonOutput) -> None:
    view = told.view
    view.step("Joined room room-1")
    view.warn("The other worker was busy")
    view.upload(1, 2)
    view.accepted(JOB, PeerId("worker-aa"))
    for at, news in enumerate(NEWS):
        view.news(news, 100.0 + at)
    view.download(2, 2)
    view.finished(
        JobSummary("Trained.", Path("/here"), ("centroid",), (Losses(0.1, math.inf),), (Path("/here/a.slp"),))
    )


async def test_the_page_and_the_code_know_the_same_events_and_fields(told: JsonOutput) -> None:
    everything(told)
    written = {each["event"]: {name: kind(value) for name, value in each.items()} for each in told.events}
    promised = dict(sections(PAGE.read_text()))
    assert written.keys() == promised.keys()
    for event, fields in written.items():
        del fields["event"], fields["time"]
        assert fields.keys() == promised[event].keys(), event
        for name, found in fields.items():
            assert found in promised[event][name], (event, name)


async def test_every_line_is_as_it_was_first_promised(told: JsonOutput) -> None:
    """Scripts read these lines: their names, their order and their values were recorded before there were classes."""
    everything(told)
    recorded = (Path(__file__).parents[1] / "data" / "json_events.jsonl").read_text()
    assert re.sub(r'"time": [0-9.]+', '"time": 0', told.text) == recorded


def test_the_page_names_the_fields_of_each_event_in_the_order_in_which_they_are_written() -> None:
    promised = sections(PAGE.read_text())
    assert [event for event, _ in promised] == list(EVENTS)
    for event, fields in promised:
        written = [field.name for field in attrs.fields(EVENTS[event])]
        assert written == ["event", "time", *fields], event


async def test_what_was_written_is_read(told: JsonOutput) -> None:
    everything(told)
    for line in told.text.splitlines(keepends=True):
        assert to_line(from_line(line)) == line


def test_an_event_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    assert from_line('{"event": "newer", "time": 1.5, "text": "x"}') == JsonEvent(event="newer", time=1.5)
    with pytest.raises(WireError):
        from_line('{"event": "step", "time": 1.5}')


def sections(page: str) -> list[tuple[str, dict[str, str]]]:
    """Return every event of the page, with its fields and their types."""
    parts = re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    return [(event, dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", body, re.MULTILINE))) for event, body in parts]


def kind(value: object) -> str:
    """Return the page's name for the type of a value."""
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null", list: "array"}
    return kinds[type(value)]


def test_the_session_on_the_page_is_one_that_could_have_been_written() -> None:
    page = PAGE.read_text()
    lines = re.search(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL).group(1).splitlines()
    promised = dict(sections(page))
    for event in map(strict, lines):
        assert event.keys() == promised[event["event"]].keys() | {"event", "time"}, event["event"]


async def test_numbers_that_are_none_are_null_and_text_of_others_is_clean(told: JsonOutput) -> None:
    everything(told)
    assert [(each["epoch"], each["of"], each["train_loss"], each["val_loss"]) for each in told.named("epoch")] == [
        (1, 2, None, 0.25),
        (2, 2, 0.3, None),
    ]
    assert told.named("frames")[1]["rate"] is None
    assert told.named("log")[0]["lines"] == ["red", "“naïve”"]
    assert told.named("ended")[0]["models"] == [{"name": "centroid", "train_loss": 0.1, "val_loss": None}]


async def test_events_that_only_report_progress_come_once_a_second_and_at_the_end(
    told: JsonOutput, autojump_clock: trio.testing.MockClock
) -> None:
    for done in range(101):
        told.view.upload(done, 100)
        told.view.news(Progress(JOB, 0, 0, done + 1, 0.5), 0.0)
        told.view.news(FramesDone(JOB, 0, done, 100), 0.0)
        told.view.news(FramesDone(JOB, 0, done, 100, pass_index=1), 0.0)
        await trio.sleep(0.0301)
    assert [each["done"] for each in told.named("upload")] == [0, 34, 68, 100]
    assert [each["batch"] for each in told.named("batch")] == [1, 35, 69]
    assert [(each["lap"], each["done"]) for each in told.named("frames")][-2:] == [
        ("predicting", 100),
        ("tracking", 100),
    ]
    assert len(told.named("frames")) == 8


async def test_every_epoch_is_written_also_when_all_come_at_once(told: JsonOutput) -> None:
    for epoch in range(500):
        told.view.news(Progress(JOB, 0, epoch, None, 0.5, 0.5, 0.5), 7.0)
    assert [each["epoch"] for each in told.named("epoch")] == list(range(1, 501))
    assert {each["at"] for each in told.named("epoch")} == {7.0}


async def test_the_start_is_written_once(told: JsonOutput) -> None:
    told.view.news(NEWS[0], 1.0)
    told.view.news(NEWS[0], 2.0)
    assert len(told.named("started")) == 1


@pytest.mark.parametrize("code", list(FaultCode))
async def test_the_end_of_a_failed_job_has_its_fault_and_exit_code(told: JsonOutput, code: FaultCode) -> None:
    made = JobSummary("It is over.", Path("/here"), ("centroid",), (Losses(0.1, None),), (Path("/here/training.html"),))
    told.view.failed(Fault(code, "It is over.\nReally."), made)
    [ended] = told.named("ended")
    outcomes = {FaultCode.CANCELLED: "cancelled", FaultCode.DETACHED: "detached", FaultCode.INTERRUPTED: "interrupted"}
    assert ended["outcome"] == outcomes.get(code, "failed")
    assert (ended["fault"], ended["exit_code"]) == (code.value, EXIT_CODES[code])
    assert (ended["folder"], ended["files"]) == ("/here", ["/here/training.html"])
    assert ended["models"] == [{"name": "centroid", "train_loss": 0.1, "val_loss": None}]


async def test_nothing_is_written_after_the_end(told: JsonOutput) -> None:
    told.view.failed(Fault(FaultCode.DETACHED, "Left at once."), None)
    everything(told)
    assert [each["event"] for each in told.events] == ["ended"]


async def test_a_failed_job_without_any_result_has_no_folder(told: JsonOutput) -> None:
    told.view.failed(Fault(FaultCode.NO_WORKER, "Nobody is there."), None)
    [ended] = told.named("ended")
    assert (ended["folder"], ended["models"], ended["files"]) == (None, [], [])


async def test_a_folder_with_a_name_that_is_no_text_is_written_all_the_same(told: JsonOutput) -> None:
    told.view.finished(JobSummary("Done.", Path(os.fsdecode(b"/here/\xff"))))
    assert told.named("ended")[0]["folder"] == "/here/?"
    assert told.named("ended")[0]["exit_code"] == ExitCode.DONE


async def test_nobody_is_asked(told: JsonOutput) -> None:
    with pytest.raises(RtcError, match=r"--auto-select.*--worker-id") as caught:
        await told.view.choose(tuple)
    assert caught.value.exit_code == ExitCode.USAGE
    assert told.events == []

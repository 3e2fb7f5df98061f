"""The events of a job: every reader begins with the first one, and what is kept is bounded."""

import io
import pickle
from pathlib import Path

import pytest
import trio
import trio.testing
from rich.console import Console

from protocol.faults import FaultCode
from protocol.jobs import Outcome
from rtc.api import event_history
from rtc.api.errors import NotAvailable, api_error
from rtc.api.event_history import EventHistory
from rtc.api.job import EventReader
from rtc.api.result import Result
from rtc.api.show_progress import ProgressTable, line_of
from rtc.common.errors import EXIT_CODES, RtcError
from rtc.terminal import json_events as on


def epoch(number: int) -> on.EpochEvent:
    return on.EpochEvent(at=0, model=0, name="centroid", epoch=number, of=10, train_loss=0.5, val_loss=0.25)


def batch(number: int, model: int = 0) -> on.BatchEvent:
    return on.BatchEvent(at=0, model=model, name="centroid", epoch=1, batch=number, loss=0.5)


def log(*lines: str) -> on.LogEvent:
    return on.LogEvent(at=0, lines=lines)


async def test_every_reader_gets_all_events_whenever_it_comes(autojump_clock: trio.testing.MockClock) -> None:
    history = EventHistory()
    got: dict[str, list[on.JsonEvent]] = {"early": [], "late": []}

    async def read(name: str) -> None:
        async for event in EventReader(history):
            got[name].append(event)

    told = [epoch(number) for number in range(1, 5)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, "early")
        for event in told[:3]:
            await trio.testing.wait_all_tasks_blocked()
            history.add(event)
        nursery.start_soon(read, "late")
        await trio.testing.wait_all_tasks_blocked()
        history.add(told[3])
        history.close()
    assert got == {"early": told, "late": told}


async def test_of_what_only_reports_progress_a_late_reader_gets_the_newest() -> None:
    history = EventHistory()
    for number in range(1, 4):
        history.add(batch(number))
        history.add(batch(number, model=1))
        history.add(epoch(number))
        history.add(on.UploadEvent(done=number, total=3))
    history.close()
    events, last = await history.after(0)
    assert events == [
        epoch_at(events, 0),
        epoch_at(events, 1),
        *events[2:4],
        epoch_at(events, 2),
        events[5],
    ]
    assert [event.batch for event in events if isinstance(event, on.BatchEvent)] == [3, 3]
    assert [event.done for event in events if isinstance(event, on.UploadEvent)] == [3]
    assert [event.epoch for event in events if isinstance(event, on.EpochEvent)] == [1, 2, 3]
    assert await history.after(last) == ([], last)


def epoch_at(events: list[on.JsonEvent], index: int) -> on.JsonEvent:
    return [event for event in events if isinstance(event, on.EpochEvent)][index]


async def test_a_job_of_any_length_takes_a_bounded_amount_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_history, "EVENTS_MAX", 5)
    monkeypatch.setattr(event_history, "LOG_CHARS_MAX", 50)
    history = EventHistory()
    for number in range(1, 101):
        history.add(epoch(number))
        history.add(batch(number))
        history.add(log(f"line {number}", "."))
    events = history.take(0)[0]
    assert [event.epoch for event in events if isinstance(event, on.EpochEvent)] == [96, 97, 98, 99, 100]
    kept = [line for event in events if isinstance(event, on.LogEvent) for line in event.lines if line != "."]
    assert kept[-1] == "line 100"
    assert 1 < len(kept) < 10
    assert len(history._events) == len(history._numbers) == len(events)


def test_a_reader_that_is_behind_goes_on_with_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_history, "EVENTS_MAX", 2)
    history = EventHistory()
    history.add(epoch(1))
    _, number = history.take(0)
    for later in range(2, 9):
        history.add(epoch(later))
    assert [event.epoch for event in history.take(number)[0] if isinstance(event, on.EpochEvent)] == [7, 8]


def test_what_is_shown_of_a_job_says_how_far_it_is() -> None:
    ended = on.EndedEvent(
        outcome="done", text="Trained 1 model.", fault=None, exit_code=0, folder="/home/ada/bugs", models=(), files=()
    )
    told = [
        on.StepEvent(text="In room lab-1 as client-1"),
        on.AcceptedEvent(job="job-1", worker="worker-1"),
        on.UploadEvent(done=5, total=10),
        on.UploadEvent(done=10, total=10),
        on.ModelStartedEvent(at=0, model=0, name="[red]centroid", epochs=10),
        epoch(3),
        on.ModelTrainedEvent(at=0, model=0, name="centroid", epochs=3),
        on.FramesEvent(at=0, prediction=0, name="fly.mp4", lap="predicting", done=7, total=7, rate=3.5, left=0.0),
        ended,
    ]
    lines = [line for event in told if (line := line_of(event))]
    assert lines == [
        "In room lab-1 as client-1",
        "worker-1 has accepted job-1",
        "The package is sent",
        "[red]centroid: training begins",
        "centroid: epoch 3/10  train 0.5000  val 0.2500",
        "centroid: trained, 3 epochs",
        "fly.mp4: predicting 7/7 frames  3.5 frames/s",
        "Trained 1 model. Results are in /home/ada/bugs",
    ]
    table = ProgressTable()
    for event in told[:5]:
        table.update(event)
    out = io.StringIO()
    Console(file=out, width=60).print(table.drawn())
    text = out.getvalue()
    for part in ("job-1 on worker-1", "100 % sent", "[red]centroid"):
        assert part in text


def test_results_events_and_exceptions_can_be_sent_to_another_process() -> None:
    result = Result("job-1", Outcome.DONE, "Trained 1 model.", Path("bugs"), (on.ModelResult("centroid", 0.5, None),))
    for thing in (result, epoch(1)):
        assert pickle.loads(pickle.dumps(thing)) == thing
    error = pickle.loads(pickle.dumps(NotAvailable(FaultCode.WORKER_BUSY, "It is taken.")))
    assert (type(error), str(error), error.exit_code) == (NotAvailable, "It is taken.", 3)


def test_every_exit_code_of_an_expected_error_has_an_exception_of_its_own() -> None:
    classes = {code: type(api_error(RtcError(fault, "Text."))) for fault, code in EXIT_CODES.items()}
    assert len(set(classes.values())) == len(classes) == 9
    assert RtcError not in classes.values()

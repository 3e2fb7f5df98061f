"""Every view draws whatever valid messages come, in any order, and what it writes are whole lines that only show."""

import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st
from valid_messages import fewer_examples, hostile_texts, valid

from actors import events
from protocol.faults import Fault, FaultCode
from protocol.fields import is_printable
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import (
    RATE,
    FramesDone,
    JobAccepted,
    JobEnded,
    JobEvent,
    JobStarted,
    JobState,
    LogLines,
    ModelStarted,
    PredictionStarted,
    Progress,
    SubmitJob,
)
from protocol.signaling import QueuePosition, WorkerPresent
from protocol.transfer import FileOffer
from rtc.client.jobs_table import WITH_ADVICE, JobRow, as_json
from rtc.client.jobs_table import as_table as jobs_as_table
from rtc.client.lossviewer.bridge import LossViewer
from rtc.client.presenter import Presenter
from rtc.client.report import write_report
from rtc.client.tickets import JobTicket
from rtc.common.line_writer import LineWriter
from rtc.common.text import clean
from rtc.terminal import open_view
from rtc.terminal.interface import ClientView, JobSummary, Losses, Mode
from rtc.terminal.live_region import CLEAR_BELOW, CLEAR_LINE, HIDE_CURSOR, SHOW_CURSOR
from rtc.terminal.log_view import LogView
from rtc.terminal.worker_prompt import listing
from rtc.terminal.worker_table import as_table, json_text
from rtc.worker.banner import fleet_banner, worker_banner
from rtc.worker.event_log import EventLog
from rtc.worker.job_status import JobStatus

JOB, HERE, ROOM = JobId("job-1"), PeerId("worker-1"), RoomId("room-1")
OURS = re.compile(
    "|".join(map(re.escape, (HIDE_CURSOR, SHOW_CURSOR, CLEAR_LINE, CLEAR_BELOW))) + r"|\x1b\[\d+A|\x1b\[[\d;]*m|\r"
)
"""The escape sequences of the live view itself: the cursor, clearing, and colours."""

Screen = tuple[int, int]


@frozen
class Transfer:
    """How far the transfer of a file is."""

    offer: FileOffer
    percent: int


shown_messages = st.lists(
    st.one_of(
        valid(JobEvent),
        valid(Fault),
        valid(JobAccepted),
        valid(QueuePosition),
        st.builds(Transfer, valid(FileOffer), st.integers(0, 100)),
    ),
    max_size=12,
)
ends = valid(JobEnded) | valid(Fault)
screens = st.tuples(st.sampled_from((1, 20, 49, 80, 300)), st.sampled_from((1, 4, 24, 100)))


def lines_of(written: str) -> list[str]:
    """The lines that were written, each of which a terminal can only show."""
    assert written == "" or written.endswith("\n")
    lines = written.split("\n")
    assert all(map(is_printable, lines)), written
    return lines[:-1]


def show(view: ClientView, message: Any) -> None:
    """Notify a view of one message, as the client does."""
    match message:
        case JobEvent():
            view.news(message.news, message.at)
        case Fault():
            view.warn(f"{HERE}: {message.text}")
            view.step(message.text)
        case JobAccepted():
            view.accepted(message.job, HERE)
        case QueuePosition():
            Presenter(view, options=None).show_position(message)  # type: ignore[arg-type]
        case Transfer():
            done = message.offer.size * message.percent // 100
            view.upload(done, message.offer.size)
            view.download(done, message.offer.size)


def end(view: ClientView, message: JobEnded | Fault) -> None:
    """Notify a view of the end of the job."""
    if isinstance(message, Fault):
        view.failed(message, JobSummary(message.text, Path("here")))
    else:
        view.finished(JobSummary(message.text, Path("here"), ("centroid",), (Losses(1e38, None),), (Path("a.slp"),)))


def draw(open_it: Callable[[StringIO], Any], messages: list[Any], last: JobEnded | Fault) -> str:
    """Return what a view has written after all messages and the end; it had the time to draw after each of them."""
    out = StringIO()

    async def notify() -> None:
        async with open_it(out) as view:
            for message in messages:
                show(view, message)
                await trio.sleep(1.1)
            end(view, last)

    trio.run(notify, clock=trio.testing.MockClock(autojump_threshold=0))
    return out.getvalue()


SLOW = [
    JobEvent(JobStarted(JOB, (), ("a.mp4",)), 0.0),
    JobEvent(PredictionStarted(JOB, 0), 0.0),
    JobEvent(FramesDone(JOB, 0, 0, 10**9, RATE.low), 0.0),
]
"""The slowest prediction: a rate of 1e-308 once ended the live view with OverflowError."""
TINY = [JobEvent(Progress(JOB, 0, epoch, None, 0.0, 5e-324, 5e-324 * epoch), 5e-324 * epoch) for epoch in range(4)]
"""Numbers of which a division makes 0 or Infinity."""
LARGE = [
    JobEvent(ModelStarted(JOB, 0, 10**9), 0.0),
    *(JobEvent(Progress(JOB, 0, epoch, None, 1e38, -1e38, 1e38 * (-1) ** epoch), 2.5e11) for epoch in range(4)),
]
FORGED = [
    Fault(FaultCode.OTHER, "a\n12:00:00  Job done.\x1b[2J"),
    JobEvent(LogLines(JOB, ("a\nb", "\x1b]0;title\x07")), 1.0),
]
DONE = JobEnded(JOB, "done", "Done.\nReally.", result=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [Mode.NORMAL, Mode.VERBOSE, Mode.QUIET])
@fewer_examples
@given(messages=shown_messages, last=ends)
@example(messages=SLOW, last=DONE)
@example(messages=TINY, last=DONE)
@example(messages=LARGE, last=DONE)
@example(messages=FORGED, last=DONE)
def test_plain_and_quiet_views_write_lines(mode: Mode, messages: list[Any], last: Any) -> None:
    written = lines_of(draw(lambda out: open_view(terminal=False, mode=mode, out=out), messages, last))
    assert not any(re.search(r"\b(nan|inf)\b [se]", line) for line in written)
    faults = [message for message in messages if isinstance(message, Fault)]
    warnings = [line for line in written if line.startswith(f"Warning: {HERE}: ")]
    assert len(warnings) == len(faults), "a fault is one line, and no other text looks like one"


@fewer_examples
@given(messages=shown_messages, last=ends)
@example(messages=TINY, last=DONE)
@example(messages=FORGED, last=DONE)
def test_every_line_of_the_json_view_is_one_event(messages: list[Any], last: Any) -> None:
    written = draw(lambda out: open_view(terminal=True, mode=Mode.JSON, out=out), messages, last)
    assert written.isascii()
    found = [json.loads(line) for line in lines_of(written)]
    assert found[-1]["event"] == "ended"
    assert all(is_printable(text) for event in found for text in texts_in(event))


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts_in(one)


@pytest.mark.parametrize("mode", [Mode.NORMAL, Mode.VERBOSE])
@fewer_examples
@given(messages=shown_messages, last=ends, screen=screens)
@example(messages=SLOW, last=DONE, screen=(80, 24))
@example(messages=TINY, last=DONE, screen=(80, 24))
@example(messages=LARGE, last=DONE, screen=(80, 24))
@example(messages=FORGED, last=DONE, screen=(80, 24))
def test_the_live_view_draws_anything_on_any_screen(mode: Mode, messages: list[Any], last: Any, screen: Screen) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("TERM", "xterm"), ("COLUMNS", str(screen[0])), ("LINES", str(screen[1]))):
            patch.setenv(name, value)
        written = draw(lambda out: open_view(terminal=True, mode=mode, out=out), messages, last)
    assert all(map(is_printable, OURS.sub("", written).split("\n"))), written


@fewer_examples
@given(st.lists(valid(LogLines), max_size=5))
def test_the_log_view_writes_each_line_as_one(all_lines: list[LogLines]) -> None:
    out = StringIO()
    for lines in all_lines:
        LogView(out).news(lines, 0.0)
    assert len(lines_of(out.getvalue())) == sum(len(lines.lines) for lines in all_lines)


@fewer_examples
@given(messages=st.lists(valid(JobEvent) | valid(JobEnded), max_size=12))
@example(messages=[*TINY, *LARGE])
def test_sleaps_viewer_gets_json_that_it_can_read(messages: list[Any]) -> None:
    sent: list[bytes] = []
    viewer = LossViewer(sent.append)
    for message in messages:
        viewer.handle(message.news if isinstance(message, JobEvent) else message)
    viewer.send_history()
    assert all(json.loads(raw)["event"] for raw in sent)


@fewer_examples
@given(messages=st.lists(valid(JobEvent), max_size=8))
def test_the_status_of_any_job_is_one_line_that_a_message_takes(messages: list[JobEvent]) -> None:
    status = JobStatus()
    for message in messages:
        status.update(message.news)
        assert is_printable(status.text)
        assert JobState(JOB, "running", status.text).text == status.text  # type: ignore[arg-type]


# -------- tables


@fewer_examples
@given(st.lists(valid(WorkerPresent), max_size=4), st.none() | st.integers(1, 300))
def test_any_workers_are_a_table_with_one_line_for_each(workers: list[WorkerPresent], width: int | None) -> None:
    table = lines_of(as_table(workers, width))
    assert workers == [] or [line for line in table if line].index(table[0]) == 0
    assert len(table) in ((1,) if not workers else (len(workers) + 3, len(workers) + 4))
    assert len(lines_of(listing(dict(enumerate(workers, 1)), width or 80))) == (len(workers) + 1 if workers else 1)
    assert len(json.loads(json_text(workers))) == len(workers)
    for worker in workers:
        lines_of(worker_banner(worker.facts, ROOM, "token", "session", "ws://host", has_secret=True) + "\n")
    if workers:
        lines_of(
            fleet_banner(
                [(worker.facts, "session") for worker in workers], ROOM, "token", "ws://host", has_secret=False
            )
            + "\n"
        )


@fewer_examples
@given(st.lists(valid(JobState) | valid(Fault), min_size=1, max_size=4), hostile_texts, st.none() | st.integers(1, 300))
def test_any_states_of_jobs_are_a_table_with_one_line_for_each(answers: list[Any], package: str, width: Any) -> None:
    ticket = JobTicket(JOB, "key", HERE, ROOM, "token", "ws://host", package)
    rows = [
        JobRow(ticket, fault=one) if isinstance(one, Fault) else JobRow(ticket, one) for one in answers
    ]  # fmt: skip
    advice = {clean(row.text) for row in rows if row.fault is not None and row.fault.code in WITH_ADVICE}
    assert len(lines_of(jobs_as_table(rows, width))) == len(rows) + 3 + 2 * sum(bool(text.strip()) for text in advice)
    assert len(json.loads(as_json(rows))) == len(rows)


# -------- the worker's console

from_outside = st.one_of(
    st.builds(events.JobFinished, st.just(JOB), valid(events.JobFinished.__annotations__["outcome"]), hostile_texts,
              result=st.booleans()),
    st.builds(events.RejectLink, st.just(HERE), valid(Fault)),
    st.builds(events.PackageFailed, st.just(JOB), valid(Fault)),
    st.builds(events.LinkLost, st.just(LinkId(1)), valid(Fault)),
    st.builds(events.JoinDelayed, valid(Fault)),
    st.builds(events.JoinFailed, valid(Fault)),
    st.builds(events.ServerDisconnected, hostile_texts),
    st.builds(events.JobSubmitted, st.just(LinkId(1)), valid(SubmitJob), st.just(events.JobCredential(JOB, "key"))),
)  # fmt: skip


@fewer_examples
@given(from_outside)
def test_the_workers_console_has_one_line_for_each_event(event: Any) -> None:
    out = StringIO()
    EventLog(LineWriter(out).say, "[gpu-0] ").tap(event)
    written = lines_of(out.getvalue())
    assert len(written) <= 1
    assert all(line.startswith("[gpu-0] ") for line in written)


# -------- the page with the loss curves


@fewer_examples
@given(messages=st.lists(valid(Progress), min_size=1, max_size=6))
@example(messages=[one.news for one in TINY])
@example(messages=[one.news for one in LARGE[1:]])
@example(messages=[Progress(JOB, 0, 0, None, 0, 0, 0), Progress(JOB, 0, 1, None, 0, 2e-323, 2e-323)])
@example(messages=[Progress(JOB, 0, 0, None, 1, 1, 1), Progress(JOB, 0, 1, None, 1, 1.0000000000000002, 1)])
def test_any_losses_are_drawn_on_the_page(tmp_path_factory: pytest.TempPathFactory, messages: list[Progress]) -> None:
    folder = tmp_path_factory.mktemp("report")
    model = folder / "models" / "centroid"
    model.mkdir(parents=True)
    rows = (f"{one.epoch},{cell(one.train_loss)},{cell(one.val_loss)},{cell(one.loss)}\n" for one in messages)
    (model / "training_log.csv").write_text("epoch,train/loss,val/loss,learning_rate\n" + "".join(rows))
    page = write_report(folder, "A title\n\u202e")
    assert page is not None
    assert not re.search(r"\b(nan|inf)\b", page.read_text().replace("</style>", "").partition("<h1>")[2])


def cell(number: float | None) -> str:
    return "" if number is None else repr(number)

"""What a person sees: numbers, lines, the live region, the question, and a terminal that is always restored."""

import os
import re
import shlex
from collections.abc import AsyncIterator, Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
import trio
from attrs import evolve

from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId, RoomId
from protocol.jobs import (
    FramesDone,
    GpuUse,
    JobStarted,
    LogLines,
    ModelStarted,
    ModelTrained,
    PredictionStarted,
    Progress,
)
from protocol.session_string import SessionString, read_session_string
from protocol.signaling import WorkerPresent
from protocol.status import Status, WorkerFacts
from rtc.common import sizes, text
from rtc.common.errors import ExitCode, RtcError
from rtc.config.load import DEFAULT_SERVERS
from rtc.terminal import open_view
from rtc.terminal.interface import ClientView, JobSummary, Losses, Mode
from rtc.terminal.plain_view import PlainView
from rtc.terminal.transfer_rate import TransferRate
from rtc.terminal.worker_prompt import choose, listing
from rtc.testing.limits import HANG_TIME
from rtc.worker.banner import worker_banner

JOB = JobId("job-1")
MB = 10**6
H200 = WorkerPresent(
    PeerId("worker-aa"), WorkerFacts(Status.AVAILABLE, "ada", "box-1", "NVIDIA H200", 143771, "0.3.5", "12.4", "0.1")
)
CPU = WorkerPresent(PeerId("worker-bb"), evolve(H200.facts, gpu="CPU", memory_mb=0, hostname="laptop"))


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set up a terminal of 80 × 24 cells that can draw, wherever the tests run."""
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", "80"), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def keyboard() -> Iterator[tuple[Callable[[str], None], int]]:
    """Give a function that types, and the file descriptor of the pseudo-terminal on which the text arrives."""
    master, slave = os.openpty()
    yield lambda keys: (os.write(master, keys.encode()), None)[1], slave
    for fd in (master, slave):
        os.close(fd)


class Screen(StringIO):
    """Records what is written, and lets a test wait until it contains a certain text."""

    def __init__(self) -> None:
        super().__init__()
        self._written = trio.Event()

    def write(self, text: str) -> int:
        self._written.set()
        self._written = trio.Event()
        return super().write(text)

    async def shows(self, wanted: str, times: int = 1) -> None:
        while self.getvalue().count(wanted) < times:
            await self._written.wait()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.size_of(412 * MB, 1980 * MB), "412/1980 MB"),
        (text.size_of(0, 500), "0.0/0.5 kB"),
        (text.size_of(300_000, 1_200_000), "0.3/1.2 MB"),
        (text.size_of(4_120 * MB, 12_400 * MB), "4.12/12.40 GB"),
        (text.size(0), "0.0 kB"),
        (text.speed(4_100_000), "4.1 MB/s"),
        (text.speed(4_100), "4.1 kB/s"),
        (text.duration(382), "6:22"),
        (text.duration(59.6), "1:00"),
        (text.duration(3982), "1:06:22"),
        (text.duration(-1), "0:00"),
        (text.loss(0.00123456), "0.001235"),
        (text.loss(0.05), "0.05000"),
        (text.loss(12.3456), "12.35"),
        (text.loss(1.23456e-7), "1.235e-07"),
        (text.loss(None), "–"),
        (text.losses(0.5, None), "train 0.5000  val –"),
        (text.epoch(3, 100), "epoch 3/100"),
        (text.epoch(3, None), "epoch 3"),
        (sizes.count(1, "model"), "1 model"),
        (sizes.count(2, "model"), "2 models"),
        (text.percent(1999, 2000), 99),
        (text.percent(0, 0), 100),
        (text.fit("häuser", 8), "häuser  "),
        (text.fit("worker", 4), "wor…"),
        (text.fit("日本語", 4), "日 …"),
    ],
)
def test_values_are_written_as_people_read_them(shown: object, expected: object) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("10 %\r20 %\r", "20 %"),
        ("line\r\n", "line"),
        ("a\tb", "a    b"),
        ("a\nb\x07\u202e\x1b[", "a�b���["),
        ("[red]tag[/red] :smile:", "[red]tag[/red] :smile:"),
    ],
)
def test_text_of_others_can_do_nothing_but_be_read(raw: str, shown: str) -> None:
    assert text.clean(raw) == shown


def test_a_speed_is_that_of_the_last_seconds() -> None:
    transfer = TransferRate(started_at=0.0, offset=100, total=1000)
    assert transfer.rate(0.1) is None
    for now in range(1, 11):
        transfer.update(float(now), 100 + 10 * now)
    assert transfer.rate(10.0) == pytest.approx(10)
    for now in range(11, 21):
        transfer.update(float(now), 200 + 50 * (now - 10))
    assert transfer.rate(20.0) == pytest.approx(50)
    assert transfer.average(20.0) == pytest.approx(30)
    assert not transfer.stalled(24.0)
    assert transfer.stalled(25.0)


async def notify_of_a_job(view: ClientView, *, pause: float = 1.0) -> None:
    """Notify a view of one whole job, as a client does; the worker's clock differs from the local one."""

    def at() -> float:
        return trio.current_time() + 1e9

    view.step("Joined room room-1")
    view.warn("The other [red]worker[/red]\x1b[2J was busy")
    for tenth in range(0, 101, 5):
        view.upload(tenth * MB, 100 * MB)
        await trio.sleep(pause / 10)
    view.accepted(JOB, H200.peer)
    view.news(JobStarted(JOB, ("centroid", "instance"), ("video.mp4",)), at())
    for model in (0, 1):
        view.news(ModelStarted(JOB, model, 2), at())
        await trio.sleep(pause)
        for epoch in (0, 1):
            for batch in (1, None):
                view.news(Progress(JOB, model, epoch, batch, 0.5, 0.25 if epoch else None, 0.125), at())
                view.news(LogLines(JOB, (f"line {model}{epoch}{batch}\x1b[2J",)), at())
                await trio.sleep(pause)
        view.news(ModelTrained(JOB, model), at())
        view.news(GpuUse(JOB, 20480, 81920, 97), at())
        await trio.sleep(pause)
    view.news(PredictionStarted(JOB, 0, tracking=True), at())
    await trio.sleep(pause)
    for pass_index in (0, 1):
        for done in range(0, 1001, 50):
            view.news(FramesDone(JOB, 0, done, 1000, 50.0, (1000 - done) / 50, pass_index), at())
            await trio.sleep(pause)
    for part in (0, 50, 100):
        view.download(part, 100)
        await trio.sleep(pause)
    losses = (Losses(0.1, 0.2), Losses(0.3, None))
    here = Path("here")
    view.finished(JobSummary("Trained 2 models.", here, ("centroid", "instance"), losses, (here / "video.slp",)))


async def test_plain_is_whole_lines_and_few(autojump_clock: trio.testing.MockClock) -> None:
    out = StringIO()
    async with open_view(terminal=False, mode=Mode.NORMAL, out=out) as view:
        await notify_of_a_job(view)
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["Joined room room-1", "Warning: The other [red]worker[/red] was busy"]
    assert lines[2:4] == ["Upload: 10 %  10/100 MB", "Upload: 20 %  20/100 MB"]
    assert lines[6] == "Upload: 50 %  50/100 MB  50.0 MB/s  0:01 left"
    assert lines[11:23] == [
        "Upload: 100 MB in 0:02 (50.0 MB/s)",
        "Training 2 models: centroid, instance; then predicting on 1 file: video.mp4",
        "model 1/2 centroid: started, at most 2 epochs",
        "model 1/2 centroid: epoch 1/2  train –  val 0.1250",
        "model 1/2 centroid: epoch 2/2  train 0.2500  val 0.1250",
        "model 1/2 centroid: trained, 2 epochs in 0:05  train 0.2500  val 0.1250; sleap-nn evaluates it",
        "model 2/2 instance: started, at most 2 epochs",
        "model 2/2 instance: epoch 1/2  train –  val 0.1250",
        "model 2/2 instance: epoch 2/2  train 0.2500  val 0.1250",
        "model 2/2 instance: trained, 2 epochs in 0:05  train 0.2500  val 0.1250; sleap-nn evaluates it",
        "prediction 1/1 video.mp4: started",
        "prediction 1/1 video.mp4: 10 %  predicting  100/1000 frames  50.0 frames/s  0:18 left",
    ]
    assert lines[32] == "prediction 1/1 video.mp4: 10 %  tracking  100/1000 frames  50.0 frames/s  0:18 left"
    assert lines[42:] == [
        "Download: 50 %  0.1/0.1 kB  0.1 kB/s  0:01 left",
        "Download: 0.1 kB in 0:02 (0.1 kB/s)",
        "Trained 2 models.",
        "  centroid: train 0.1000  val 0.2000",
        "  instance: train 0.3000  val –",
        "  video.slp",
        "Results are in here",
    ]


async def test_sleap_nns_own_lines_are_shown_only_in_verbose_mode(autojump_clock: trio.testing.MockClock) -> None:
    out = StringIO()
    async with open_view(terminal=False, mode=Mode.VERBOSE, out=out) as view:
        await notify_of_a_job(view)
    assert [line for line in out.getvalue().splitlines() if line.startswith("|")][:2] == ["| line 001", "| line 00None"]


async def test_a_resumed_upload_says_so_and_does_not_count_what_was_there(
    autojump_clock: trio.testing.MockClock,
) -> None:
    out = StringIO()
    async with open_view(terminal=False, mode=Mode.NORMAL, out=out) as view:
        view.upload(38 * MB, 100 * MB)
        await trio.sleep(2)
        view.upload(100 * MB, 100 * MB)
        view.upload(100 * MB, 100 * MB)
    assert out.getvalue().splitlines() == ["Upload: resumed at 38 %", "Upload: 100 MB in 0:02 (31.0 MB/s)"]


async def test_a_summary_without_losses_shows_the_last_reported_ones(autojump_clock: trio.testing.MockClock) -> None:
    out = StringIO()
    async with open_view(terminal=False, mode=Mode.NORMAL, out=out) as view:
        view.news(JobStarted(JOB, ("centroid",)), 0.0)
        view.news(Progress(JOB, 0, 4, None, None, 0.5, 0.25), 1.0)
        view.finished(JobSummary("Two sentences.\nIn lines."))
    assert out.getvalue().splitlines()[-3:] == [
        "Two sentences.",
        "In lines.",
        "  model 1/1 centroid: 5 epochs  train 0.5000  val 0.2500",
    ]


async def test_a_client_that_reconnects_does_not_show_the_start_twice() -> None:
    out = StringIO()
    async with open_view(terminal=False, mode=Mode.NORMAL, out=out) as view:
        for _ in range(2):
            view.news(JobStarted(JOB, (), ("a.mp4", "b.mp4")), 0.0)
    assert out.getvalue() == "Predicting on 2 files: a.mp4, b.mp4\n"


async def test_frames_without_a_known_number_are_shown_now_and_then() -> None:
    out = StringIO()
    async with open_view(terminal=False, mode=Mode.NORMAL, out=out) as view:
        view.news(PredictionStarted(JOB, 0), 0.0)
        for second in range(70):
            view.news(FramesDone(JOB, 0, second), float(second))
    assert out.getvalue().splitlines()[1:] == ["prediction 1/1 1: 30 frames", "prediction 1/1 1: 60 frames"]


@pytest.mark.parametrize("mode", [Mode.NORMAL, Mode.QUIET])
@pytest.mark.parametrize("terminal", [True, False])
async def test_a_failed_job_shows_the_folder_of_its_partial_result_and_not_the_faults_sentence(
    terminal: bool, mode: Mode
) -> None:
    out = StringIO()
    async with open_view(terminal=terminal, mode=mode, out=out) as view:
        view.failed(Fault(FaultCode.JOB_FAILED, "It failed."), JobSummary("It failed.", Path("here")))
    assert seen(out.getvalue()).strip() == "What the job has produced is in here"


@pytest.mark.parametrize("terminal", [True, False])
async def test_quiet_says_warnings_and_one_line(autojump_clock: trio.testing.MockClock, terminal: bool) -> None:
    out = StringIO()
    async with open_view(terminal=terminal, mode=Mode.QUIET, out=out) as view:
        await notify_of_a_job(view)
    assert out.getvalue().splitlines() == [
        "Warning: The other [red]worker[/red] was busy",
        "Trained 2 models. Results are in here",
    ]


def test_a_reader_that_leaves_does_not_stop_the_job() -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as out:
        view = PlainView(out)
        with pytest.raises(BrokenPipeError):
            os.write(write, b"nobody is there")
        for _ in range(3):
            view.step("to nobody")
        assert os.fstat(write).st_rdev == os.stat(os.devnull).st_rdev  # what is written from now on goes nowhere


def seen(raw: str) -> str:
    """Return what was written, without colours and cursor moves."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw).replace("\r", "\n")


async def test_live_shows_steps_bars_and_losses_within_the_width(autojump_clock: trio.testing.MockClock) -> None:
    out = StringIO()
    async with open_view(terminal=True, mode=Mode.VERBOSE, out=out) as view:
        await notify_of_a_job(view)
    lines = [line.rstrip() for line in seen(out.getvalue()).split("\n")]
    for expected in (
        "✓ Joined room room-1",
        "! The other [red]worker[/red] was busy",
        "✓ Uploaded 100 MB in 0:02 (50.0 MB/s)",
        "line 001",
        "── job-1 on worker-aa " + "─" * 57,
        "· model 2/2 instance",
        "· prediction 1/1 video.mp4",
        "  train 0.2500  val 0.1250  best val 0.1250 (epoch 1)",
        "  centroid: train 0.1000  val 0.2000",
        "Results are in here",
    ):
        assert expected in lines
    assert max(map(len, lines)) <= 80
    for pattern in (
        r"Upload +━.+ 75 %  75/100 MB  50\.0 MB/s  0:0[01] left",
        r"  ━.+epoch 2/2  1\.5 s/epoch",
        r"▸ model 1/2 centroid +0:0\d  ≤ 0:0\d left",
        r"▸ model 2/2 instance +evaluating  0:05",
        r"✓ model 1/2 centroid +2 epochs  best val 0\.1250",
        r"▸ prediction 1/1 video\.mp4 +0:3\d  0:0\d left",
        r"  ━.+tracking  850/1000 frames  50\.0 frames/s",
        r"✓ prediction 1/1 video\.mp4 +1000 frames in 0:42",
        r"GPU memory  ━.+20\.0/80\.0 GB  97 % busy",
    ):
        assert any(re.fullmatch(pattern, line) for line in lines), pattern
    assert "\x1b[2J" not in out.getvalue()


async def test_live_shows_that_a_transfer_has_stalled(autojump_clock: trio.testing.MockClock) -> None:
    out = StringIO()
    async with open_view(terminal=True, mode=Mode.NORMAL, out=out) as view:
        view.upload(10 * MB, 100 * MB)
        await trio.sleep(7.5)
    assert "nothing for 0:07" in seen(out.getvalue())


async def test_live_draws_at_most_ten_times_a_second(autojump_clock: trio.testing.MockClock) -> None:
    out = StringIO()
    async with open_view(terminal=True, mode=Mode.NORMAL, out=out) as view:
        for part in range(1000):
            view.upload(part, 1000)
            await trio.sleep(0.001)
    assert 5 <= out.getvalue().count("Upload") <= 12


async def test_ten_thousand_lines_at_once_are_not_ten_thousand_drawings(autojump_clock: trio.testing.MockClock) -> None:
    out = StringIO()
    async with open_view(terminal=True, mode=Mode.VERBOSE, out=out) as view:
        view.news(JobStarted(JOB, ("centroid",)), 0.0)
        for number in range(10_000):
            view.news(LogLines(JOB, (f"line {number}",)), 0.0)
        view.step("in order")
        await trio.sleep(1)
    shown = seen(out.getvalue())
    assert shown.count("model 1/1 centroid") < 10
    assert re.findall(r"line \d+|in order", shown)[-2:] == ["line 9999", "in order"]
    assert shown.count("line ") == 10_000


async def test_no_color_is_obeyed(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def colours() -> bool:
        out = StringIO()
        async with open_view(terminal=True, mode=Mode.NORMAL, out=out) as view:
            await notify_of_a_job(view)
        return re.search(r"\x1b\[[0-9;]*3[0-9]", out.getvalue()) is not None

    assert await colours()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not await colours()


async def test_a_terminal_that_cannot_draw_gets_lines(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = StringIO()
    async with open_view(terminal=True, mode=Mode.NORMAL, out=out) as view:
        await notify_of_a_job(view)
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("end", ["cancel", "crash"])
async def test_whatever_ends_it_the_terminal_is_restored(autojump_clock: trio.testing.MockClock, end: str) -> None:
    out = StringIO()

    async def show() -> None:
        async with open_view(terminal=True, mode=Mode.NORMAL, out=out) as view:
            view.news(JobStarted(JOB, ("centroid", "instance")), 0.0)
            view.news(Progress(JOB, 0, 1, None, None, 0.5, 0.25), 1.0)
            view.news(Progress(JOB, 1, 4, None, None, 0.5, 0.25), 2.0)
            await trio.sleep(1)
            if end == "crash":
                raise RuntimeError
            await trio.sleep_forever()

    with trio.move_on_after(5):
        if end == "crash":
            with pytest.RaisesGroup(RuntimeError):
                await show()
        else:
            await show()
    raw = out.getvalue()
    assert raw.rindex("\x1b[?25l") < raw.rindex("\x1b[?25h")
    assert seen(raw).rstrip().splitlines()[-2:] == [
        "✓ model 1/2 centroid: 2 epochs  train 0.5000  val 0.2500",
        "… model 2/2 instance: 5 epochs  train 0.5000  val 0.2500",
    ]


def test_the_list_numbers_the_workers_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = listing({1: H200, 2: CPU}, 80).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["1", "worker-aa", "NVIDIA", "H200", "143771", "MB", "available", "ada", "box-1"],
        ["2", "worker-bb", "CPU", "0", "MB", "available", "ada", "laptop"],
    ]
    facts = evolve(H200.facts, gpu="G" * 200, hostname="h" * 200, name="n" * 64)
    wide = evolve(H200, peer=PeerId("worker-0123456789"), facts=facts)
    narrow = listing({1: wide, 2: CPU}, 80)
    assert all(len(line) <= 80 for line in narrow.splitlines())
    assert "worker-0123456789" in narrow
    assert "\x1b" not in listing({1: evolve(H200, facts=evolve(H200.facts, hostname="box[red]"))}, 80)
    assert "No worker is available" in listing({}, 80)


class Asked:
    """The open prompt for a worker: a test types, waits for what the screen shows, and reads the choice."""

    def __init__(self, keys: Callable[[str], None], fd: int) -> None:
        self.type, self._fd = keys, fd
        self.screen = Screen()
        self.workers: tuple[WorkerPresent, ...] = (H200, CPU)
        self.news = trio.Event()
        self.choice: PeerId | None = None
        self.done = trio.Event()

    async def changed(self) -> None:
        await self.news.wait()
        self.news = trio.Event()

    async def run(self) -> None:
        self.choice = await choose(lambda: self.workers, self.changed, out=self.screen, stdin=self._fd, width=80)
        self.done.set()


@pytest.fixture
async def asked(keyboard: tuple[Callable[[str], None], int]) -> AsyncIterator[Asked]:
    question = Asked(*keyboard)
    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(question.run)
            await question.screen.shows("q to leave: ")
            yield question
            await question.done.wait()


async def test_a_number_chooses(asked: Asked) -> None:
    asked.type("2\n")
    await asked.done.wait()
    assert asked.choice == "worker-bb"


@pytest.mark.parametrize("wrong", ["0", "3", "-1", "x", "", "1 2", "²", "1" * 30])
async def test_a_wrong_answer_is_asked_again(asked: Asked, wrong: str) -> None:
    asked.type(f"{wrong}\n")
    await asked.screen.shows("Please type a number of the list, r or q.")
    asked.type(" 1 \n")
    await asked.done.wait()
    assert asked.choice == "worker-aa"


async def test_r_shows_the_list_as_it_is_now(asked: Asked) -> None:
    asked.workers = (CPU,)
    asked.type("r\n")
    await asked.screen.shows("q to leave: ", times=2)
    assert "H200" not in asked.screen.getvalue().rpartition("r to refresh")[0].rpartition("r to refresh")[2]
    asked.type("1\n")
    await asked.done.wait()
    assert asked.choice == "worker-bb"


async def test_a_worker_that_went_meanwhile_is_not_chosen(asked: Asked) -> None:
    asked.workers = (CPU,)
    asked.type("1\n")
    await asked.screen.shows("worker-aa is no longer available.")
    asked.type("q\n")
    await asked.done.wait()
    assert asked.choice is None


async def test_a_worker_that_is_leaving_is_marked_and_cannot_be_chosen(asked: Asked) -> None:
    asked.workers = (evolve(H200, facts=evolve(H200.facts, leaving=True)), CPU)
    asked.news.set()
    await asked.screen.shows("leaving")
    asked.type("1\n")
    await asked.screen.shows("worker-aa is leaving and takes no new job.")
    asked.type("2\n")
    await asked.done.wait()
    assert asked.choice == "worker-bb"


async def test_a_worker_that_begins_to_leave_while_its_number_is_typed_is_not_chosen(asked: Asked) -> None:
    asked.workers = (evolve(H200, facts=evolve(H200.facts, leaving=True)), CPU)
    asked.type("1\n")
    await asked.screen.shows("worker-aa is no longer available.")
    asked.type("q\n")


async def test_the_list_follows_workers_that_join_change_and_leave_and_numbers_stay(asked: Asked) -> None:
    third = evolve(CPU, peer=PeerId("worker-cc"))
    asked.workers = (CPU, third)  # the first has left, and another has joined
    asked.news.set()
    await asked.screen.shows("worker-cc")
    newest = asked.screen.getvalue().rpartition("status")[2]
    assert re.search(r"2 +worker-bb", newest)
    assert re.search(r"3 +worker-cc", newest)
    asked.type("1\n")
    await asked.screen.shows("Please type a number of the list, r or q.")
    asked.type("2\n")
    await asked.done.wait()
    assert asked.choice == "worker-bb"


async def test_news_that_changes_nothing_in_the_list_does_not_draw_it_again(asked: Asked) -> None:
    asked.news.set()
    await trio.testing.wait_all_tasks_blocked()
    assert asked.screen.getvalue().count("q to leave: ") == 1
    asked.type("q\n")


async def test_an_empty_list_fills_by_itself(asked: Asked) -> None:
    asked.workers = ()
    asked.type("r\n")
    await asked.screen.shows("No worker is available")
    asked.type("1\n")
    await asked.screen.shows("Please type r or q.")
    asked.news.set()  # a worker has joined, but not one that can be chosen
    await trio.testing.wait_all_tasks_blocked()
    asked.workers = (CPU,)
    asked.news.set()
    await asked.screen.shows("laptop", times=2)
    asked.type("1\n")
    await asked.done.wait()
    assert asked.choice == "worker-bb"


async def test_the_end_of_input_leaves(asked: Asked) -> None:
    asked.type("\x04")
    await asked.done.wait()
    assert asked.choice is None


async def test_asking_can_be_cancelled(keyboard: tuple[Callable[[str], None], int]) -> None:
    question = Asked(*keyboard)
    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(question.run)
            await question.screen.shows("q to leave: ")
            nursery.cancel_scope.cancel()
    assert not question.done.is_set()


@pytest.mark.parametrize("terminal", [True, False])
async def test_with_nobody_to_ask_the_other_options_are_named(terminal: bool) -> None:
    read, write = os.pipe()
    async with open_view(terminal=terminal, mode=Mode.NORMAL, out=StringIO(), stdin=read) as view:
        with pytest.raises(RtcError, match=r"--auto-select.*--worker-id") as caught:
            await view.choose(lambda: (H200,), None)
    assert caught.value.exit_code == ExitCode.USAGE
    os.close(read)
    os.close(write)


async def test_a_live_view_asks_on_its_own_screen(keyboard: tuple[Callable[[str], None], int]) -> None:
    keys, fd = keyboard
    out = StringIO()
    async with open_view(terminal=True, mode=Mode.NORMAL, out=out, stdin=fd) as view:
        keys("1\n")
        with trio.fail_after(HANG_TIME):
            assert await view.choose(lambda: (H200,), None) == "worker-aa"
    assert "NVIDIA H200" in out.getvalue()


def banner(server: str, *, has_secret: bool = False) -> str:
    session = SessionString(RoomId("room-1"), "-tok'en", PeerId("worker-aa")).write()
    return worker_banner(H200.facts, RoomId("room-1"), "-tok'en", session, server, has_secret=has_secret)


def test_the_session_string_and_the_commands_of_the_banner_can_be_copied() -> None:
    lines = banner("ws://localhost:8080").splitlines()
    sessions = [line for line in lines if line.startswith("ey")]
    assert read_session_string(sessions[0]).token == "-tok'en"
    commands = [shlex.split(line) for line in lines if line.startswith("  sleap-rtc ")]
    signaling = ["--room-id", "room-1", "--token", "-tok'en"]
    server = ["--server", "ws://localhost:8080"]
    assert commands == [
        ["sleap-rtc", "client-train", *signaling, "--auto-select", "--pkg-path", "package.zip", *server],
        ["sleap-rtc", "worker", *signaling, *server],
        ["sleap-rtc", "room", "invite", *signaling, *server],
        ["sleap-rtc", "client-train", "--session-string", sessions[0], "--pkg-path", "package.zip"],
    ]
    assert "  GPU       NVIDIA H200, 143771 MB, CUDA 12.4" in lines


def test_with_a_room_secret_each_command_of_the_banner_names_a_file_with_it_and_the_warning_names_the_secret() -> None:
    lines = banner("ws://localhost:8080", has_secret=True).splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("  sleap-rtc ")]
    assert len(commands) == 4
    assert all(command[-2:] == ["--room-secret-file", "FILE"] for command in commands)
    assert lines[-2].startswith("Whoever has these and the room secret may send jobs here:")
    assert banner("ws://localhost:8080").splitlines()[-2].startswith("Whoever has these may send jobs here:")


def test_the_default_server_needs_no_option() -> None:
    assert "--server" not in banner(DEFAULT_SERVERS["production"][0])

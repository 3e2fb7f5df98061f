"""What a view knows of a job, and its layout: the worker's clock, curves in few rows, small terminals."""

from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.text import Text

from protocol.fields import COUNT_MAX
from protocol.ids import JobId
from protocol.jobs import (
    FramesDone,
    GpuUse,
    JobNews,
    JobStarted,
    LogLines,
    ModelStarted,
    ModelTrained,
    PredictionStarted,
    Progress,
)
from rtc.common import text
from rtc.terminal.braille_plot import curves, resample
from rtc.terminal.job_progress import CURVE_EPOCHS_MAX, JobProgress
from rtc.terminal.layout import LayoutInput, lay_out
from rtc.terminal.live_region import LiveRegion
from rtc.terminal.transfer_rate import TransferRate

JOB = JobId("job-1")


def progress_after(*news: tuple[float, JobNews], local_now: float = 0.0) -> JobProgress:
    """Return the progress after these events, which all arrive at one moment of the local clock."""
    job_progress = JobProgress()
    for at, each in news:
        job_progress.update(each, at, local_now)
    return job_progress


def epochs(count: int, *, seconds: float = 10.0, model: int = 0) -> list[tuple[float, JobNews]]:
    """Return the events of a training with a falling loss; the training loss comes one epoch late, as from sleap-nn."""
    return [
        (
            1000 + seconds * (epoch + 1),
            Progress(JOB, model, epoch, None, 0.5, 1 / epoch if epoch else None, 2 / (epoch + 1)),
        )
        for epoch in range(count)
    ]


# -------- the progress


def test_a_training_remembers_its_best_epoch_and_guesses_the_time_by_the_workers_clock() -> None:
    vals = (0.3, 0.1, 0.2, None)
    news = [(1100.0 + epoch, Progress(JOB, 0, epoch, None, None, 0.5, val)) for epoch, val in enumerate(vals)]
    job_progress = progress_after(
        (900, JobStarted(JOB, ("centroid", "b"))), (1000, ModelStarted(JOB, 0, 10)), *news, local_now=7.0
    )
    model = job_progress.models[0]
    assert (model.best_val_loss, model.best_epoch, model.epochs_ended, model.val_loss) == (0.1, 2, 4, None)
    assert model.status_line == "epoch 4/10  train 0.5000  val –"
    assert model.result == "4 epochs  train 0.5000  val –  best val 0.1000 (epoch 2)"
    assert model.title == "model 1/2 centroid"
    assert model.speed == "1.0 s/epoch"
    assert model.seconds_left(job_progress.worker_now(7.0)) == pytest.approx(6.0)
    assert model.seconds_left(job_progress.worker_now(9.0)) == pytest.approx(4.0)
    assert job_progress.worker_now(9.0) == pytest.approx(1105.0)


def test_a_client_that_attaches_days_later_sees_what_took_how_long() -> None:
    job_progress = progress_after(
        (0, JobStarted(JOB, ("centroid",))), (5, ModelStarted(JOB, 0, 100)), *epochs(50, seconds=60)
    )
    model = job_progress.models[0]
    assert model.seconds_per_epoch == pytest.approx(60)
    assert model.seconds_left(job_progress.worker_now(0.0)) == pytest.approx(50 * 60)


def test_a_model_that_has_trained_takes_no_more_time() -> None:
    job_progress = progress_after((1000, ModelStarted(JOB, 0, 100)), *epochs(12), (1121, ModelTrained(JOB, 0)))
    assert job_progress.models[0].seconds_left(1121) is None
    assert job_progress.models[0].result.startswith("12 epochs in 2:01  train ")


def test_the_training_loss_is_recorded_for_the_epoch_before() -> None:
    model = progress_after(*epochs(4)).models[0]
    assert model.train_losses == {1: 1.0, 2: 0.5, 3: 1 / 3}
    assert model.val_losses == {1: 2.0, 2: 1.0, 3: 2 / 3, 4: 0.5}


def test_a_second_job_started_keeps_the_progress() -> None:
    started = JobStarted(JOB, ("centroid", "b"), ("a.mp4",))
    job_progress = progress_after((0, started), *epochs(5))
    job_progress.update(started, 0.0, 1.0)
    assert job_progress.current is job_progress.models[0]
    assert job_progress.models[0].epochs_ended == 5
    job_progress.update(Progress(JOB, 0, 1, None, 0.5, 1.0, 1.0), 1020.0, 1.0)
    assert job_progress.models[0].epochs_ended == 5


def test_losses_of_an_impossible_epoch_are_not_kept() -> None:
    job_progress = progress_after((0, Progress(JOB, 0, COUNT_MAX, None, 0.5, 0.5, 0.5)))
    assert job_progress.models[0].val_losses == {}
    assert CURVE_EPOCHS_MAX >= 10_000


def test_events_of_a_model_that_was_not_announced_are_shown_all_the_same() -> None:
    assert progress_after((0, Progress(JOB, 2, 0))).current.title == "model 3/3 3"
    assert progress_after((0, FramesDone(JOB, 1, 5))).current.title == "prediction 2/2 2"


def test_a_prediction_may_start_again_and_go_twice_through_its_frames() -> None:
    job_progress = progress_after((0, JobStarted(JOB, (), ("a.mp4",))), (10, PredictionStarted(JOB, 0, tracking=True)))
    prediction = job_progress.predictions[0]
    assert not prediction.has_progress
    job_progress.update(FramesDone(JOB, 0, 100, 100, 50.0, 0.0), 12.0, 0.0)
    job_progress.update(FramesDone(JOB, 0, 1, 100, 2.5, None, 1), 13.0, 0.0)
    assert prediction.status_line == "tracking  1/100 frames  2.5 frames/s"
    assert prediction.seconds_left(job_progress.worker_now(1.0)) == pytest.approx(99 / 2.5 - 1)
    assert prediction.result == "1 frame in 0:03"


def test_an_old_report_about_the_gpu_is_not_shown() -> None:
    job_progress = progress_after((100, GpuUse(JOB, 1, 2, 3)), local_now=0.0)
    assert job_progress.gpu_use(10.0) == GpuUse(JOB, 1, 2, 3)
    assert job_progress.gpu_use(61.0) is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(4.21, "4.2 s/epoch"), (0.08, "12 epochs/s"), (200, "3:20 per epoch"), (0.0, ""), (0.5, "0.5 s/epoch")],
)
def test_a_pace_is_written_as_people_read_it(seconds: float, shown: str) -> None:
    assert text.pace(seconds) == shown


# -------- curves


def plain(rows: Sequence[object]) -> list[str]:
    """Return the rows as lines of text, without colours and trailing spaces."""
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        for row in rows:
            console.print(row, width=100, no_wrap=True)
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize("count", [3, 7, 100, 10_000])
@pytest.mark.parametrize(("width", "height"), [(49, 5), (79, 9), (100, 12)])
def test_curves_have_the_size_that_is_asked_for(count: int, width: int, height: int) -> None:
    val = {epoch: 1 / epoch for epoch in range(1, count + 1)}
    rows = curves({epoch: loss * 0.8 for epoch, loss in val.items()}, val, width, height)
    assert len(rows) == height
    assert all(row.cell_len <= width for row in rows)
    assert f"{count} epochs" in rows[-1].plain
    assert (" log " in rows[-1].plain) == (count > 7)


def test_a_falling_loss_goes_down_from_left_to_right() -> None:
    val = {epoch: 1.0 - epoch / 200 for epoch in range(1, 101)}
    rows = [row.plain[9:] for row in curves({}, val, 60, 9)]
    first = [next(column for column, dot in enumerate(row) if dot not in " ─└") for row in rows[:-1]]
    assert first == sorted(first)
    assert first[0] == 0


@pytest.mark.parametrize(
    ("train", "val", "size"),
    [
        ({}, {}, (80, 10)),
        ({1: 0.5}, {1: 0.5, 2: 0.4}, (80, 10)),
        ({}, {1: 0.5, 2: 0.4, 3: 0.3}, (48, 10)),
        ({}, {1: 0.5, 2: 0.4, 3: 0.3}, (80, 4)),
    ],
)
def test_no_curve_is_drawn_where_it_would_say_nothing(
    train: dict[int, float], val: dict[int, float], size: tuple[int, int]
) -> None:
    assert curves(train, val, *size) == []


@pytest.mark.parametrize(
    "val",
    [
        {1: 0.0, 2: 0.0, 3: 0.0},
        {1: -1.0, 2: 0.0, 3: 5e300},
        {5: 1e-300, 900: 1e300, 901: 1.0},
        dict.fromkeys((1, 2, 9999), 3.0),
    ],
)
def test_odd_losses_are_drawn_all_the_same(val: dict[int, float]) -> None:
    assert len(curves({}, val, 60, 6)) == 6


def test_between_known_epochs_a_curve_goes_straight_and_outside_of_them_not_at_all() -> None:
    assert resample({2: 1.0, 4: 3.0}, 5, 5) == [None, 1.0, 2.0, 3.0, None]
    assert resample({1: 1.0, 2: 3.0, 3: 5.0, 4: 7.0}, 4, 2) == [3.0, 7.0]
    assert resample({}, 5, 3) == [None, None, None]


def test_without_colours_the_curves_can_be_told_apart() -> None:
    line = {epoch: 1.0 - epoch / 200 for epoch in range(1, 101)}
    solid, dotted = ("".join(row.plain[9:] for row in curves(*pair, 60, 9)[:-1]) for pair in (({}, line), (line, {})))
    dots = [sum((ord(char) - 0x2800).bit_count() for char in each if ord(char) > 0x2800) for each in (solid, dotted)]
    assert dots[0] > 2 * dots[1] > 0


# -------- the layout

SEQUENCE = JobStarted(JOB, ("centroid", "instance"), ("a.mp4", "b.mp4"))
LOG = LogLines(JOB, tuple(f"line {number} " + "x" * 200 for number in range(20)))


def training() -> JobProgress:
    """Return the progress of a job whose second model is training."""
    return progress_after(
        *((0, SEQUENCE), (1, ModelStarted(JOB, 0, 9)), *epochs(9), (1100, ModelTrained(JOB, 0))),
        *((1100, ModelStarted(JOB, 1, 50)), *epochs(30, model=1)),
        *((1300, LOG), (1300, GpuUse(JOB, 20480, 81920, 97))),
    )


@pytest.mark.parametrize("height", [1, 2, 4, 6, 9, 11, 15, 23, 39, 100])
@pytest.mark.parametrize("width", [20, 49, 79, 100])
@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("question", [(), ("May I ask something long that needs a second line?", "  s  stop early")])
def test_the_layout_never_needs_more_rows_than_there_are(
    width: int, height: int, log: bool, question: tuple[str, ...]
) -> None:
    content = LayoutInput(
        training(), 0.0, "job-1 on worker-aa", ("Download", TransferRate(0.0, 0, 9)), ("keys",), question, log
    )
    rows = lay_out(content, width, height)
    assert len(rows) <= height
    assert len(plain(rows)) <= height


def test_a_small_terminal_shows_the_current_step_and_the_keys() -> None:
    lines = plain(lay_out(LayoutInput(training(), 0.0, "job-1 on worker-aa", None, ("s stop early",)), 49, 6))
    assert [line[:20] for line in lines] == [
        "── job-1 on worker-a",
        "▸ model 2/2 instance",
        "  ━━━━━━━━━━━━━━━━━━",
        "  train 0.03448  val",
        "GPU memory  ━━━━━━━━",
        "s stop early",
    ]


def test_a_large_terminal_shows_everything() -> None:
    lines = plain(lay_out(LayoutInput(training(), 0.0, "job-1 on worker-aa", None, ("keys",), (), True), 100, 40))
    shown = "\n".join(lines)
    for part in (
        "✓ model 1/2",
        "▸ model 2/2",
        "· prediction 2/2 b.mp4",
        "└1──",
        "│ line 19",
        "20.0/80.0 GB  97 % busy",
    ):
        assert part in shown


def test_of_a_long_sequence_the_nearest_steps_are_shown() -> None:
    names = tuple(f"m{number}" for number in range(30))
    job_progress = progress_after((0, JobStarted(JOB, names)), *((0, ModelStarted(JOB, model)) for model in range(16)))
    lines = plain(lay_out(LayoutInput(job_progress, 0.0), 80, 10))
    assert [line.split("  ")[0] for line in lines] == [
        "✓ model 15/30 m14",
        "▸ model 16/30 m15",
        "",
        *(f"· model {number + 1}/30 m{number}" for number in range(16, 22)),
        "",
    ]
    assert lines[-1] == "  … 8 more"


def test_the_longest_line_of_keys_that_has_room_is_taken() -> None:
    for width, expected in ((80, "many words"), (9, "few"), (2, "few")):
        assert lay_out(LayoutInput(JobProgress(), 0.0, keys=("many words", "few")), width, 5)[0].plain == expected


# -------- the region


class Terminal:
    """The part of a terminal that a region needs: a size, and a record of each write."""

    def __init__(self, width: int, height: int) -> None:
        self.console = Console(width=width, height=height, force_terminal=True, color_system=None, file=self)
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written += [text] if text else []
        return len(text)

    def flush(self) -> None:
        pass


def test_each_drawing_is_one_write_that_goes_back_over_the_last() -> None:
    terminal = Terminal(20, 5)
    live_region = LiveRegion(terminal.console)
    live_region.draw(["one", "two"])
    live_region.draw(["three"])
    live_region.print_above("scrolls", ["four"])
    live_region.draw([])
    live_region.draw([])
    assert terminal.written == [
        "\x1b[?25lone\x1b[K\ntwo\x1b[K",
        "\r\x1b[1Athree\x1b[K\x1b[J",
        "\r\x1b[Jscrolls\nfour\x1b[K\x1b[J",
        "\r\x1b[J\x1b[?25h",
    ]


def test_a_terminal_made_narrower_has_wrapped_what_was_drawn() -> None:
    terminal = Terminal(40, 9)
    live_region = LiveRegion(terminal.console)
    live_region.draw(["x" * 39, "y"])
    terminal.console.width = 20
    live_region.draw(["z" * 50])
    assert terminal.written[-1] == f"\r\x1b[2A{'z' * 18}…\x1b[K\x1b[J"


def test_more_rows_than_the_terminal_has_are_not_drawn() -> None:
    terminal = Terminal(40, 4)
    LiveRegion(terminal.console).draw([f"row {number}" for number in range(9)])
    assert terminal.written[0].count("\n") == 2


@pytest.mark.parametrize("width", [20, 80])
def test_what_scrolls_by_is_never_cut_so_that_it_can_be_copied(width: int) -> None:
    terminal = Terminal(width, 9)
    long = f"Results are in /home/ada/{'a_long_folder' * 9}"
    LiveRegion(terminal.console).print_above(Text(f"{long}\n| {'x' * 200}"), ["below"])
    assert f"{long}\n| {'x' * 200}\n" in terminal.written[-1]

"""The view for files, pipes and batch systems: few lines, each whole, and nothing that is redrawn."""

import trio
from attrs import define, field

from protocol.jobs import (
    ConfigurationStarted,
    FramesDone,
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
from rtc.common.sizes import count
from rtc.common.text import clean, clean_lines, duration, percent
from rtc.terminal.interface import JobSummary
from rtc.terminal.job_progress import JobProgress, PredictionProgress
from rtc.terminal.line_view import LineView
from rtc.terminal.summary import CONFIGURING, closing_lines
from rtc.terminal.transfer_rate import TransferRate, moved_text, transfer_text

PERCENT_STEP = 10
"""Percents of a transfer or a prediction between two lines."""
FRAMES_PERIOD = 30.0
"""Seconds of the worker's clock between two lines, when the number of frames is not known."""


@define
class PlainView(LineView):
    """Writes one line per step, per tenth of a transfer and per epoch. It asks only on a terminal that cannot draw."""

    _verbose: bool = False
    """Write also what sleap-nn prints."""
    _transfers: dict[str, TransferRate] = field(factory=dict, init=False)
    """By verb: "Upload" and "Download"."""
    _job_progress: JobProgress = field(factory=JobProgress, init=False)
    _configuring: bool = field(default=False, init=False)
    """The line about the configuration is written; a client that reconnects receives the event again."""
    _last_epoch: tuple[int, int] = field(default=(-1, -1), init=False)
    """Model and epoch of the newest line about an epoch."""
    _last_frames: tuple[int, int, int] = field(default=(-1, 0, 0), init=False)
    """Prediction, pass and number of the newest line about frames."""

    def step(self, text: str) -> None:
        self._lines.say(text)

    def upload(self, done: int, total: int) -> None:
        self._show_transfer("Upload", done, total)

    def download(self, done: int, total: int) -> None:
        self._show_transfer("Download", done, total)

    def news(self, news: JobNews, at: float) -> None:
        before = [item.title for item in self._job_progress.items]
        self._job_progress.update(news, at, trio.current_time())
        match news:
            case ConfigurationStarted() if not self._configuring:
                self._configuring = True
                self._lines.say(CONFIGURING)
            case JobStarted() if before != [item.title for item in self._job_progress.items]:
                self._lines.say(_sequence_text(news))
            case ModelStarted():
                limit = f", at most {count(news.epochs, 'epoch')}" if news.epochs else ""
                self._lines.say(f"{self._job_progress.model(news.model).title}: started{limit}")
            case Progress(batch=None) if (news.model, news.epoch) > self._last_epoch:
                self._last_epoch = news.model, news.epoch
                model = self._job_progress.model(news.model)
                self._lines.say(f"{model.title}: {model.status_line}")
            case ModelTrained():
                model = self._job_progress.model(news.model)
                self._lines.say(f"{model.title}: trained, {model.result}; sleap-nn evaluates it")
            case PredictionStarted():
                self._lines.say(f"{self._job_progress.prediction(news.prediction).title}: started")
            case FramesDone():
                self._show_frames(news, self._job_progress.worker_now(trio.current_time()))
            case JobNote(kind=NoteKind.WARNING):
                self.warn(news.text)
            case JobNote():
                self._lines.say(clean_lines(news.text))
            case LogLines() if self._verbose:
                for line in news.lines:
                    self._lines.say(f"| {clean(line)}")

    def finished(self, summary: JobSummary) -> None:
        for line in closing_lines(summary, self._job_progress):
            self._lines.say(line)

    def _show_transfer(self, verb: str, done: int, total: int) -> None:
        now, percents = trio.current_time(), percent(done, total)
        transfer = self._transfers.get(verb)
        if transfer is None or done < transfer.done or total != transfer.total:  # another file, or from the start again
            transfer = self._transfers[verb] = TransferRate(now, done, total)
            transfer.reported_percent = percents - percents % PERCENT_STEP if percents < 100 else 0
            if 0 < done < total:
                self._lines.say(f"{verb}: resumed at {percents} %")
        transfer.update(now, done)
        if percents < transfer.reported_percent + PERCENT_STEP:
            return
        transfer.reported_percent = percents - percents % PERCENT_STEP
        if percents == 100:
            self._lines.say(f"{verb}: {moved_text(transfer, now)}")
        else:
            self._lines.say(f"{verb}: {percents} %  {transfer_text(transfer, now)}")

    def _show_frames(self, news: FramesDone, now: float) -> None:
        """Write a line for each tenth of a pass, or every FRAMES_PERIOD when the number of frames is not known.

        Args:
            news: the event, which `_job_progress` has already received.
            now: the time by the worker's clock.
        """
        prediction = self._job_progress.prediction(news.prediction)
        current = news.prediction, news.pass_index
        last = self._last_frames[2] if self._last_frames[:2] == current else 0
        number = percent(news.done, news.total) // PERCENT_STEP if news.total else _periods_passed(prediction, now)
        if number > last:
            self._last_frames = (*current, number)
            shown = f"{number * PERCENT_STEP} %  " if news.total else ""
            left = prediction.seconds_left(now)
            rest = f"  {duration(left)} left" if left else ""
            self._lines.say(f"{prediction.title}: {shown}{prediction.status_line}{rest}")


def _periods_passed(prediction: PredictionProgress, now: float) -> int:
    """Return how many times FRAMES_PERIOD has passed since the prediction started."""
    return int((now - (now if prediction.started_at is None else prediction.started_at)) // FRAMES_PERIOD)


def _sequence_text(news: JobStarted) -> str:
    """Return `Training 2 models: centroid, instance; then predicting on 1 file: video.mp4`."""
    models = f"Training {count(len(news.models), 'model')}: {', '.join(map(clean, news.models))}"
    files = f"redicting on {count(len(news.predictions), 'file')}: {', '.join(map(clean, news.predictions))}"
    if not news.predictions:
        return models
    return f"{models}; then p{files}" if news.models else f"P{files}"

"""The view for files, pipes and batch systems: whole lines, few of them, nothing that moves."""

import trio
from attrs import define, field

from protocol.jobs import (
    FramesDone,
    JobNews,
    JobStarted,
    LogLines,
    ModelStarted,
    ModelTrained,
    PredictionStarted,
    Progress,
)
from rtc.common.text import clean, count, duration, percent
from rtc.terminal.interface import JobSummary
from rtc.terminal.job_progress import JobProgress, PredictionProgress
from rtc.terminal.line_view import LineView
from rtc.terminal.summary import closing_lines
from rtc.terminal.transfer_rate import TransferRate, moved_text, transfer_text

STEP = 10
"""Percents of a transfer or a prediction from one line to the next."""
WAIT = 30.0
"""Seconds of the worker's from one line to the next, when nobody knows how many frames there are."""


@define
class PlainView(LineView):
    """One line per step, per tenth of a transfer and per epoch. It asks only on a terminal that cannot draw."""

    _verbose: bool = False
    _transfers: dict[str, TransferRate] = field(factory=dict, init=False)
    _job_progress: JobProgress = field(factory=JobProgress, init=False)
    _epoch: tuple[int, int] = field(default=(-1, -1), init=False)
    """Model and epoch last told."""
    _frames: tuple[int, int, int] = field(default=(-1, 0, 0), init=False)
    """Prediction, lap and part of it last told."""

    def step(self, text: str) -> None:
        self._lines.say(text)

    def upload(self, done: int, total: int) -> None:
        self._moved("Upload", done, total)

    def download(self, done: int, total: int) -> None:
        self._moved("Download", done, total)

    def news(self, news: JobNews, at: float) -> None:
        before = [item.title for item in self._job_progress.items]
        self._job_progress.hear(news, at, trio.current_time())
        match news:
            case JobStarted() if before != [item.title for item in self._job_progress.items]:
                self._lines.say(_sequence(news))
            case ModelStarted():
                most = f", at most {count(news.epochs, 'epoch')}" if news.epochs else ""
                self._lines.say(f"{self._job_progress.model(news.model).title}: started{most}")
            case Progress(batch=None) if (news.model, news.epoch) > self._epoch:
                self._epoch = news.model, news.epoch
                model = self._job_progress.model(news.model)
                self._lines.say(f"{model.title}: {model.status_line}")
            case ModelTrained():
                model = self._job_progress.model(news.model)
                self._lines.say(f"{model.title}: trained, {model.result}; sleap-nn evaluates it")
            case PredictionStarted():
                self._lines.say(f"{self._job_progress.prediction(news.prediction).title}: started")
            case FramesDone():
                self._predicted(news, self._job_progress.now(trio.current_time()))
            case LogLines() if self._verbose:
                for line in news.lines:
                    self._lines.say(f"| {clean(line)}")

    def finished(self, summary: JobSummary) -> None:
        for line in closing_lines(summary, self._job_progress):
            self._lines.say(line)

    def _moved(self, verb: str, done: int, total: int) -> None:
        now, part = trio.current_time(), percent(done, total)
        transfer = self._transfers.get(verb)
        if transfer is None or done < transfer.done or total != transfer.total:  # another file, or from the start again
            transfer = self._transfers[verb] = TransferRate(now, done, total)
            transfer.told = part - part % STEP if part < 100 else 0
            if 0 < done < total:
                self._lines.say(f"{verb}: resumed at {part} %")
        transfer.moved(now, done)
        if part < transfer.told + STEP:
            return
        transfer.told = part - part % STEP
        self._lines.say(
            f"{verb}: {moved_text(transfer, now) if part == 100 else f'{part} %  {transfer_text(transfer, now)}'}"
        )

    def _predicted(self, news: FramesDone, at: float) -> None:
        prediction = self._job_progress.prediction(news.prediction)
        pass_index = news.prediction, news.pass_index
        told = self._frames[2] if self._frames[:2] == pass_index else 0
        part = percent(news.done, news.total) // STEP if news.total else _waited(prediction, at)
        if part > told:
            self._frames = (*pass_index, part)
            shown = f"{part * STEP} %  " if news.total else ""
            left = prediction.left(at)
            rest = f"  {duration(left)} left" if left else ""
            self._lines.say(f"{prediction.title}: {shown}{prediction.status_line}{rest}")


def _waited(prediction: PredictionProgress, at: float) -> int:
    """Which of the moments to say something this is."""
    return int((at - (at if prediction.begun is None else prediction.begun)) // WAIT)


def _sequence(news: JobStarted) -> str:
    """`Training 2 models: centroid, instance; then predicting on 1 file: video.mp4`"""
    models = f"Training {count(len(news.models), 'model')}: {', '.join(map(clean, news.models))}"
    files = f"redicting on {count(len(news.predictions), 'file')}: {', '.join(map(clean, news.predictions))}"
    if not news.predictions:
        return models
    return f"{models}; then p{files}" if news.models else f"P{files}"

"""The view for programs: one JSON object a line, and nothing else. docs/json-events.md promises what stands here."""

import json
import math
import sys
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TextIO

import trio
from attrs import define, field

from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId
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
from rtc.common.errors import EXIT_CODES, ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.common.text import clean, clean_lines
from rtc.terminal.base_view import BaseView
from rtc.terminal.interface import Changed, JobSummary, Workers
from rtc.terminal.job_progress import PASSES, JobProgress

PERIOD = 1.0
"""Seconds between two events of a kind that only tell how far something is; its last one is always told."""
OUTCOMES = {FaultCode.CANCELLED: "cancelled", FaultCode.DETACHED: "detached", FaultCode.INTERRUPTED: "interrupted"}
"""Any other fault is a failure."""


@define
class JsonView(BaseView):
    """Writes events."""

    _out: TextIO
    _lines: LineWriter = field(init=False)
    _job_progress: JobProgress = field(factory=JobProgress, init=False)
    """Knows the names of models and predictions, and how many epochs a model may take."""
    _told: dict[Hashable, float] = field(factory=dict, init=False)
    _started: JobStarted | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._lines = LineWriter(self._out)

    def step(self, text: str) -> None:
        self._write("step", text=clean_lines(text))

    def warn(self, text: str) -> None:
        self._write("warning", text=clean_lines(text))

    def upload(self, done: int, total: int) -> None:
        self._moved("upload", done, total)

    def download(self, done: int, total: int) -> None:
        self._moved("download", done, total)

    def accepted(self, job: JobId, worker: PeerId) -> None:
        self._write("accepted", job=job, worker=worker)

    def news(self, news: JobNews, at: float) -> None:
        self._job_progress.hear(news, at, trio.current_time())
        match news:
            case JobStarted() if news != self._started:  # told once more to a client that has come back
                self._started = news
                self._write(
                    "started", at=at, job=news.job, models=_names(news.models), predictions=_names(news.predictions)
                )
            case ModelStarted():
                self._write("model_started", at=at, **self._model(news), epochs=news.epochs)
            case Progress():
                self._progress(news, at)
            case ModelTrained():
                self._write(
                    "model_trained", at=at, **self._model(news), epochs=self._job_progress.model(news.model).ended
                )
            case PredictionStarted():
                self._write("prediction_started", at=at, **self._prediction(news), tracking=news.tracking)
            case FramesDone():
                self._frames(news, at)
            case GpuUse():
                self._write("gpu", at=at, used_mb=news.used_mb, total_mb=news.total_mb, percent=news.percent)
            case LogLines():
                self._write("log", at=at, lines=[clean(line) for line in news.lines])

    def finished(self, summary: JobSummary) -> None:
        self._end("done", summary.text, None, ExitCode.DONE, summary)

    def failed(self, fault: Fault, partial: JobSummary | None) -> None:
        outcome = OUTCOMES.get(fault.code, "failed")
        self._end(outcome, fault.text, fault.code.value, EXIT_CODES[fault.code], partial or JobSummary(fault.text))

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        raise RtcError(
            FaultCode.USAGE,
            "With --json nobody is asked for a worker. Use --auto-select for the one with most GPU memory, "
            "or --worker-id to name one.",
        )

    # -------- one by one

    def _moved(self, event: str, done: int, total: int) -> None:
        if self._is_due(event, last=done >= total):
            self._write(event, done=done, total=total)

    def _progress(self, news: Progress, at: float) -> None:
        model = self._job_progress.model(news.model)
        if news.batch is None:
            losses = {"train_loss": news.train_loss, "val_loss": news.val_loss}
            self._write("epoch", at=at, **self._model(news), epoch=news.epoch + 1, of=model.epochs, **losses)
        elif self._is_due("batch"):
            self._write("batch", at=at, **self._model(news), epoch=news.epoch + 1, batch=news.batch, loss=news.loss)

    def _frames(self, news: FramesDone, at: float) -> None:
        if not self._is_due(("frames", news.prediction, news.pass_index), last=news.done == news.total):
            return
        seen = {"done": news.done, "total": news.total, "rate": news.rate, "left": news.left}
        self._write("frames", at=at, **self._prediction(news), lap=PASSES[min(news.pass_index, 1)], **seen)

    def _is_due(self, what: Hashable, *, last: bool = False) -> bool:
        now = trio.current_time()
        if not last and now - self._told.get(what, -math.inf) < PERIOD:
            return False
        self._told[what] = now
        return True

    def _model(self, news: ModelStarted | Progress | ModelTrained) -> dict[str, Any]:
        return {"model": news.model, "name": self._job_progress.model(news.model).name}

    def _prediction(self, news: PredictionStarted | FramesDone) -> dict[str, Any]:
        return {"prediction": news.prediction, "name": self._job_progress.prediction(news.prediction).name}

    def _end(self, outcome: str, text: str, fault: str | None, code: ExitCode, made: JobSummary) -> None:
        self._write(
            "ended",
            outcome=outcome,
            text=clean_lines(text),
            fault=fault,
            exit_code=int(code),
            folder=None if made.folder is None else _path(made.folder),
            models=_models(made),
            files=[_path(file) for file in made.files],
        )

    def _write(self, event: str, **fields: Any) -> None:
        told = {"event": event, "time": round(time.time(), 3)} | fields
        self._lines.write(json.dumps(_sayable(told), allow_nan=False) + "\n")


def tell_end(fault: Fault) -> None:
    """The last word to programs where nothing else was said: it failed before there was a view."""
    JsonView(sys.stdout).failed(fault, None)


def _names(names: tuple[str, ...]) -> list[str]:
    return [clean(name) for name in names]


def _models(made: JobSummary) -> list[dict[str, Any]]:
    losses = [*made.losses, *[None] * len(made.models)]
    return [
        {"name": clean(name), "train_loss": each and each.train, "val_loss": each and each.val}
        for name, each in zip(made.models, losses, strict=False)
    ]


def _path(path: Path) -> str:
    """A path whose bytes are no text is still written as something that every reader of JSON takes."""
    return str(path).encode("utf-8", "replace").decode()


def _sayable(value: Any) -> Any:
    """JSON has no word for Infinity and NaN."""
    if isinstance(value, dict):
        return {key: _sayable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_sayable(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

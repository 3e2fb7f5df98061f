"""A view that turns what happens into the events of `json_events`: for programs, and for the Python API."""

import math
from collections.abc import Hashable
from pathlib import Path
from typing import TypedDict

import trio
from attrs import define, field

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
    PredictionStarted,
    Progress,
)
from rtc.common.errors import EXIT_CODES, ExitCode
from rtc.common.text import clean, clean_lines
from rtc.terminal import json_events
from rtc.terminal.base_view import BaseView
from rtc.terminal.interface import JobSummary
from rtc.terminal.job_progress import PASSES, JobProgress

PERIOD = 1.0
"""Seconds between two events of a kind that only reports progress; the last one of a kind is always written."""
OUTCOMES = {FaultCode.CANCELLED: "cancelled", FaultCode.DETACHED: "detached", FaultCode.INTERRUPTED: "interrupted"}
"""`outcome` of the `ended` event by fault; for any other fault it is "failed"."""


@define
class EventView(BaseView):
    """Makes an event of everything that is shown, and gives it to `emit`, which subclasses define."""

    _job_progress: JobProgress = field(factory=JobProgress, init=False)
    """Knows the names of models and predictions, and the maximal number of epochs of a model."""
    _written_at: dict[Hashable, float] = field(factory=dict, init=False)
    """When the newest event of a kind that only reports progress was written, by trio's clock."""
    _started: JobStarted | None = field(default=None, init=False)
    """The newest event of this type."""
    _configuring: bool = field(default=False, init=False)
    """The `configuration_started` event is written; a client that reconnects receives it again."""
    _ended: bool = field(default=False, init=False)
    """The `ended` event is written. What the worker sends while a cancelled client closes its links is not shown."""

    def emit(self, event: json_events.JsonEvent) -> None:
        """Handle one event; nothing comes after the one that ends a job."""
        raise NotImplementedError

    def step(self, text: str) -> None:
        self._write(json_events.StepEvent(text=clean_lines(text)))

    def warn(self, text: str) -> None:
        self._write(json_events.WarningEvent(text=clean_lines(text)))

    def upload(self, done: int, total: int) -> None:
        self._write_transfer(json_events.UploadEvent(done=done, total=total))

    def download(self, done: int, total: int) -> None:
        self._write_transfer(json_events.DownloadEvent(done=done, total=total))

    def accepted(self, job: JobId, worker: PeerId) -> None:
        self._write(json_events.AcceptedEvent(job=job, worker=worker))

    def news(self, news: JobNews, at: float) -> None:
        self._job_progress.update(news, at, trio.current_time())
        match news:
            case ConfigurationStarted() if not self._configuring:
                self._configuring = True
                self._write(json_events.ConfigurationStartedEvent(at=at, job=news.job))
            case JobStarted() if news != self._started:  # a client that reconnects receives it again
                self._started = news
                models, predictions = _names(news.models), _names(news.predictions)
                self._write(json_events.StartedEvent(at=at, job=news.job, models=models, predictions=predictions))
            case ModelStarted():
                self._write(json_events.ModelStartedEvent(at=at, **self._model_fields(news), epochs=news.epochs))
            case Progress():
                self._write_progress(news, at)
            case ModelTrained():
                epochs = self._job_progress.model(news.model).epochs_ended
                self._write(json_events.ModelTrainedEvent(at=at, **self._model_fields(news), epochs=epochs))
            case PredictionStarted():
                fields = self._prediction_fields(news)
                self._write(json_events.PredictionStartedEvent(at=at, **fields, tracking=news.tracking))
            case FramesDone():
                self._write_frames(news, at)
            case GpuUse():
                self._write(
                    json_events.GpuEvent(at=at, used_mb=news.used_mb, total_mb=news.total_mb, percent=news.percent)
                )
            case LogLines():
                self._write(json_events.LogEvent(at=at, lines=_names(news.lines)))
            case JobNote():
                self._write(json_events.NoteEvent(at=at, kind=news.kind.value, text=clean_lines(news.text)))

    def finished(self, summary: JobSummary) -> None:
        self._end("detached" if summary.is_left else "done", summary.text, None, ExitCode.DONE, summary)

    def failed(self, fault: Fault, partial: JobSummary | None) -> None:
        outcome = OUTCOMES.get(fault.code, "failed")
        self._end(outcome, fault.text, fault.code.value, EXIT_CODES[fault.code], partial or JobSummary(fault.text))

    # -------- events

    def _write_transfer(self, event: json_events.UploadEvent | json_events.DownloadEvent) -> None:
        if self._is_due(event.event, last=event.done >= event.total):
            self._write(event)

    def _write_progress(self, news: Progress, at: float) -> None:
        model = self._job_progress.model(news.model)
        if news.batch is None:
            self._write(
                json_events.EpochEvent(
                    at=at,
                    **self._model_fields(news),
                    epoch=news.epoch + 1,
                    of=model.max_epochs,
                    train_loss=news.train_loss,
                    val_loss=news.val_loss,
                )
            )
        elif self._is_due("batch"):
            self._write(
                json_events.BatchEvent(
                    at=at, **self._model_fields(news), epoch=news.epoch + 1, batch=news.batch, loss=news.loss
                )
            )

    def _write_frames(self, news: FramesDone, at: float) -> None:
        if not self._is_due(("frames", news.prediction, news.pass_index), last=news.done == news.total):
            return
        self._write(
            json_events.FramesEvent(
                at=at,
                **self._prediction_fields(news),
                lap=PASSES[min(news.pass_index, 1)],
                done=news.done,
                total=news.total,
                rate=news.rate,
                left=news.left,
            )
        )

    def _is_due(self, what: Hashable, *, last: bool = False) -> bool:
        """Return whether an event of the kind `what` may be written now, and record it as written if so.

        Args:
            what: the kind of event.
            last: it is the last one of its kind, which is always written.
        """
        now = trio.current_time()
        if not last and now - self._written_at.get(what, -math.inf) < PERIOD:
            return False
        self._written_at[what] = now
        return True

    def _model_fields(self, news: ModelStarted | Progress | ModelTrained) -> "_ModelFields":
        return {"model": news.model, "name": self._job_progress.model(news.model).name}

    def _prediction_fields(self, news: PredictionStarted | FramesDone) -> "_PredictionFields":
        return {"prediction": news.prediction, "name": self._job_progress.prediction(news.prediction).name}

    def _end(self, outcome: str, text: str, fault: str | None, code: ExitCode, summary: JobSummary) -> None:
        """Write the `ended` event, which is the last one."""
        self._write(
            json_events.EndedEvent(
                outcome=outcome,
                text=clean_lines(text),
                fault=fault,
                exit_code=int(code),
                folder=None if summary.folder is None else _path_text(summary.folder),
                models=_model_results(summary),
                files=tuple(map(_path_text, summary.files)),
            )
        )
        self._ended = True

    def _write(self, event: json_events.JsonEvent) -> None:
        if not self._ended:
            self.emit(event)


class _ModelFields(TypedDict):
    model: int
    name: str


class _PredictionFields(TypedDict):
    prediction: int
    name: str


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(clean, names))


def _model_results(summary: JobSummary) -> tuple[json_events.ModelResult, ...]:
    losses = [*summary.losses, *[None] * len(summary.models)]
    return tuple(
        json_events.ModelResult(clean(name), None if each is None else each.train, None if each is None else each.val)
        for name, each in zip(summary.models, losses, strict=False)
    )


def _path_text(path: Path) -> str:
    """Return the path as text that every reader of JSON accepts, even if its bytes are not valid UTF-8."""
    return str(path).encode("utf-8", "replace").decode()

"""What a view knows of a job in order to show it: its models and predictions, and the progress of each.

All times are those of the worker's clock: a client that attaches days later shows how long things took on the worker,
not how fast the events reached it.
"""

from collections import deque

from attrs import define, field

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
from rtc.common.sizes import count
from rtc.common.text import clean, duration, epoch, loss, losses, pace, rate

PACE_EPOCHS = 20
"""The speed is that of so many last epochs: epochs may become slower, when another program uses the GPU too."""
CURVE_EPOCHS_MAX = 20_000
"""Epochs whose losses are kept for one model; higher epoch numbers from a worker are ignored in the curves."""
LOG_LINES_KEPT = 200
"""Log lines kept for the moment when the person asks to see them."""
GPU_USE_TIME = 60.0
"""Seconds after which a report about the GPU is too old to be shown as its current state."""
PASSES = ("predicting", "tracking")
"""Names of the passes over the frames, by `FramesDone.pass_index`."""


@define
class ModelProgress:
    """The training of one model: how far it is, and its losses."""

    name: str
    number: int
    """Position among the job's models, counted from 1."""
    of: int
    """How many models the job trains."""
    started_at: float | None = None
    """When its training started."""
    trained_at: float | None = None
    """When its last epoch ended."""
    max_epochs: int | None = None
    epoch: int = 0
    """The current epoch, counted from 1; 0 before the first."""
    epochs_ended: int = 0
    train_loss: float | None = None
    val_loss: float | None = None
    best_val_loss: float | None = None
    """The lowest validation loss."""
    best_epoch: int = 0
    """The epoch that had `best_val_loss`, counted from 1."""
    train_losses: dict[int, float] = field(factory=dict)
    """Training loss by epoch, where it is known; epochs are counted from 1."""
    val_losses: dict[int, float] = field(factory=dict)
    """Validation loss by epoch, where it is known; epochs are counted from 1."""
    _epoch_ends: deque[tuple[float, int]] = field(factory=lambda: deque(maxlen=PACE_EPOCHS + 1), init=False)
    """Pairs of a time and the number of epochs that had ended by then."""

    @property
    def title(self) -> str:
        """`model 1/2 centroid`"""
        return f"model {self.number}/{self.of} {self.name}"

    @property
    def status_line(self) -> str:
        """`epoch 12/100  train 0.001234  val 0.002345`"""
        return f"{epoch(self.epoch, self.max_epochs)}  {losses(self.train_loss, self.val_loss)}"

    @property
    def result(self) -> str:
        """`12 epochs in 0:51  train 0.001234  val 0.002345`, and the best epoch if another was better than the last."""
        start, end, lowest = self.started_at, self.trained_at, self.best_val_loss
        took = "" if start is None or end is None else f" in {duration(end - start)}"
        best = "" if lowest in (None, self.val_loss) else f"  best val {loss(lowest)} (epoch {self.best_epoch})"
        return f"{count(self.epochs_ended, 'epoch')}{took}  {losses(self.train_loss, self.val_loss)}{best}"

    @property
    def brief(self) -> str:
        """`12 epochs  best val 0.002345`: sleap-nn keeps the model of the best epoch."""
        return f"{count(self.epochs_ended, 'epoch')}  best val {loss(self.best_val_loss)}"

    @property
    def has_progress(self) -> bool:
        """Whether any epoch of it was reported."""
        return self.epoch > 0

    def update(self, progress: Progress, at: float) -> None:
        """Apply one progress event.

        A loss that is None does not replace the known one, but for the validation loss at the end of an epoch. An event
        about an epoch before the current one only adds its losses to the curves.

        Args:
            progress: the event.
            at: when it happened, by the worker's clock.
        """
        epoch_ended, number = progress.batch is None, progress.epoch + 1
        if epoch_ended:
            self._record_losses(progress)
        if number < self.epoch or (number == self.epochs_ended and not epoch_ended):
            return
        self.started_at = at if self.started_at is None else self.started_at
        self.epoch, self.epochs_ended = number, number if epoch_ended else progress.epoch
        if not self._epoch_ends or (epoch_ended and number > self._epoch_ends[-1][1]):
            self._epoch_ends.append((at, self.epochs_ended))
        self.train_loss = self.train_loss if progress.train_loss is None else progress.train_loss
        if epoch_ended or progress.val_loss is not None:
            self.val_loss = progress.val_loss

    def _record_losses(self, progress: Progress) -> None:
        number = progress.epoch + 1
        if number > CURVE_EPOCHS_MAX:
            return
        if progress.train_loss is not None and progress.epoch:
            self.train_losses[progress.epoch] = progress.train_loss  # sleap-nn reports it one epoch late
        if (val_loss := progress.val_loss) is not None:
            self.val_losses[number] = val_loss
            if self.best_val_loss is None or val_loss < self.best_val_loss:
                self.best_val_loss, self.best_epoch = val_loss, number

    @property
    def seconds_per_epoch(self) -> float | None:
        """The mean of the last PACE_EPOCHS epochs; None before an epoch has ended."""
        if len(self._epoch_ends) < 2:
            return None
        (first_at, first_ended), (last_at, last_ended) = self._epoch_ends[0], self._epoch_ends[-1]
        return max(0.0, last_at - first_at) / (last_ended - first_ended)

    @property
    def speed(self) -> str:
        """`4.2 s/epoch` or `12 epochs/s`; empty before an epoch has ended."""
        return "" if self.seconds_per_epoch is None else pace(self.seconds_per_epoch)

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds that the remaining epochs would take, or None when that is not known.

        Training may stop earlier (early stopping).

        Args:
            now: the time by the worker's clock.
        """
        if not self.max_epochs or self.seconds_per_epoch is None or self.trained_at is not None:
            return None
        since_last_end = max(0.0, now - self._epoch_ends[-1][0])
        return max(0.0, (self.max_epochs - self.epochs_ended) * self.seconds_per_epoch - since_last_end)


@define
class PredictionProgress:
    """The prediction on one file: how far it is."""

    name: str
    number: int
    """Position among the job's predictions, counted from 1."""
    of: int
    """On how many files the job predicts."""
    started_at: float | None = None
    updated_at: float | None = None
    """When the newest `FramesDone` was sent."""
    tracking: bool = False
    """The frames are read twice: once to predict, once to track."""
    done: int = 0
    """Frames of the current pass."""
    total: int | None = None
    frame_rate: float | None = None
    """Frames per second."""
    reported_left: float | None = None
    """Seconds that the current pass would still take at `updated_at`."""
    pass_index: int = 0
    """0 while predicting, 1 while tracking."""

    @property
    def title(self) -> str:
        """`prediction 1/1 video.mp4`"""
        return f"prediction {self.number}/{self.of} {self.name}"

    @property
    def status_line(self) -> str:
        """`tracking  412/1100 frames  53.1 frames/s`"""
        whole = "" if self.total is None else f"/{self.total}"
        speed = "" if self.frame_rate is None else rate(self.frame_rate)
        parts = [self.pass_name, f"{self.done}{whole} frames", speed]
        return "  ".join(part for part in parts if part)

    @property
    def pass_name(self) -> str:
        """`predicting` or `tracking`; empty when there is only one pass."""
        return PASSES[min(self.pass_index, 1)] if self.tracking or self.pass_index else ""

    @property
    def result(self) -> str:
        """`1100 frames in 0:21`"""
        start, end = self.started_at, self.updated_at
        took = "" if start is None or end is None else f" in {duration(end - start)}"
        return f"{count(self.done, 'frame')}{took}"

    @property
    def brief(self) -> str:
        """The same text as `result`, which is short enough for one row."""
        return self.result

    @property
    def has_progress(self) -> bool:
        """Whether any frame of it was reported."""
        return self.updated_at is not None

    def update(self, news: FramesDone, at: float) -> None:
        """Apply one event. The count of frames may fall: when the second pass begins, or when sleap-nn starts again.

        Args:
            news: the event.
            at: when it happened, by the worker's clock.
        """
        self.started_at = at if self.started_at is None else self.started_at
        self.updated_at = at
        self.done, self.total, self.pass_index = news.done, news.total, news.pass_index
        self.frame_rate, self.reported_left = news.rate, news.left

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds that the current pass would still take, or None when that is not known.

        Args:
            now: the time by the worker's clock.
        """
        left = self.reported_left
        if left is None and self.frame_rate and self.total is not None:
            left = (self.total - self.done) / self.frame_rate
        return None if left is None or self.updated_at is None else max(0.0, left - max(0.0, now - self.updated_at))


Item = ModelProgress | PredictionProgress
"""One step of a job's sequence."""


@define
class JobProgress:
    """One job: its sequence of models and predictions, the current one of them, its GPU and its log."""

    models: list[ModelProgress] = field(factory=list)
    predictions: list[PredictionProgress] = field(factory=list)
    current: Item | None = None
    """The item that the newest event was about."""
    ended: bool = False
    """The job has ended, well or not: no further events come."""
    gpu: GpuUse | None = None
    """The newest report about the GPU."""
    log: deque[str] = field(factory=lambda: deque(maxlen=LOG_LINES_KEPT))
    """The last lines that sleap-nn printed."""
    _worker_time: float = field(default=0.0, init=False)
    """When the newest event happened, by the worker's clock."""
    _local_time: float | None = field(default=None, init=False)
    """When that event arrived, by trio's clock."""
    _gpu_time: float = field(default=0.0, init=False)
    """When `gpu` was measured, by the worker's clock."""

    @property
    def items(self) -> list[Item]:
        """The whole sequence, in order: first the models, then the predictions."""
        return [*self.models, *self.predictions]

    def worker_now(self, local_now: float) -> float:
        """Estimate the time by the worker's clock: that of the newest event, and what has passed here since.

        Args:
            local_now: the time by trio's clock.
        """
        if self._local_time is None:
            return self._worker_time
        return self._worker_time + max(0.0, local_now - self._local_time)

    def gpu_use(self, local_now: float) -> GpuUse | None:
        """Return what the GPU does, or None when the newest report is older than GPU_USE_TIME.

        Args:
            local_now: the time by trio's clock.
        """
        return self.gpu if self.worker_now(local_now) - self._gpu_time <= GPU_USE_TIME else None

    def update(self, news: JobNews, at: float, local_now: float) -> None:
        """Apply one event.

        Args:
            news: the event.
            at: when it happened, by the worker's clock.
            local_now: when it arrived, by trio's clock.
        """
        self._worker_time, self._local_time = at, local_now
        match news:
            case JobStarted():
                self._set_sequence(news)
            case ModelStarted():
                self.current = model = self.model(news.model)
                model.started_at, model.max_epochs = at, news.epochs
            case Progress():
                self.current = model = self.model(news.model)
                model.update(news, at)
            case ModelTrained():
                self.model(news.model).trained_at = at
            case PredictionStarted():
                self.current = prediction = self.prediction(news.prediction)
                prediction.started_at, prediction.tracking = at, news.tracking
            case FramesDone():
                self.current = prediction = self.prediction(news.prediction)
                prediction.update(news, at)
            case GpuUse():
                self.gpu, self._gpu_time = news, at
            case LogLines():
                self.log.extend(clean(line) for line in news.lines)

    def _set_sequence(self, news: JobStarted) -> None:
        """Set the models and predictions of the job.

        A client that reconnects receives `JobStarted` again; when the names are the same, all progress is kept.
        """
        models, predictions = [clean(name) for name in news.models], [clean(name) for name in news.predictions]
        if [each.name for each in self.models] != models:
            self.models = [ModelProgress(name, number, len(models)) for number, name in enumerate(models, 1)]
            self.current = None
        if [each.name for each in self.predictions] != predictions:
            self.predictions = [
                PredictionProgress(name, number, len(predictions)) for number, name in enumerate(predictions, 1)
            ]
            self.current = None

    def model(self, index: int) -> ModelProgress:
        """Return the model with this index, counted from 0.

        An index beyond the announced models is a mistake of the worker; models without a name are added for it, so that
        its progress is shown all the same.
        """
        for number in range(len(self.models) + 1, index + 2):
            self.models.append(ModelProgress(f"{number}", number, number))
        return self.models[index]

    def prediction(self, index: int) -> PredictionProgress:
        """Return the prediction with this index, counted from 0; missing ones are added, as in `model`."""
        for number in range(len(self.predictions) + 1, index + 2):
            self.predictions.append(PredictionProgress(f"{number}", number, number))
        return self.predictions[index]

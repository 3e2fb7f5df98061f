"""What a view remembers of a job in order to show it: its models and predictions, and how each of them goes.

Times are the worker's: a client that comes days later shows what is true there, not how fast it was told.
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
from rtc.common.text import clean, count, duration, epoch, loss, losses, pace, rate

PACE_EPOCHS = 20
"""Epochs over which the speed is taken: later ones may be slower, when another program wants the GPU too."""
CURVE_MAX = 20_000
"""Epochs remembered of one model; a worker that counts beyond is not believed."""
LOG_KEPT = 200
"""Log lines remembered, to be looked at when somebody asks."""
GPU_FRESH = 60.0
"""Seconds after which what was said of the GPU is no longer shown as how it is."""
NUMBER_MAX = 1e100
"""Beyond it no number of the worker's is one that anybody could draw."""
PASSES = ("predicting", "tracking")


@define
class ModelProgress:
    """How far the training of one model is, and how good it is."""

    name: str
    number: int
    """Counted from 1."""
    of: int
    begun: float | None = None
    """When its training started."""
    over: float | None = None
    """When its last epoch had ended."""
    epochs: int | None = None
    epoch: int = 0
    """The epoch it is in, counted from 1; 0 before the first."""
    ended: int = 0
    """Epochs that have ended."""
    train: float | None = None
    val: float | None = None
    best: float | None = None
    """The lowest validation loss, and the epoch that had it."""
    best_epoch: int = 0
    trains: dict[int, float] = field(factory=dict)
    """Training loss of each epoch where it is known; epochs counted from 1."""
    vals: dict[int, float] = field(factory=dict)
    _paces: deque[tuple[float, int]] = field(factory=lambda: deque(maxlen=PACE_EPOCHS + 1), init=False)
    """When so many epochs had ended."""

    @property
    def title(self) -> str:
        """`model 1/2 centroid`"""
        return f"model {self.number}/{self.of} {self.name}"

    @property
    def status_line(self) -> str:
        """`epoch 12/100  train 0.001234  val 0.002345`"""
        return f"{epoch(self.epoch, self.epochs)}  {losses(self.train, self.val)}"

    @property
    def result(self) -> str:
        """`12 epochs in 0:51  train 0.001234  val 0.002345`, and the best epoch if another was better than the last."""
        took = "" if self.begun is None or self.over is None else f" in {duration(self.over - self.begun)}"
        best = "" if self.best in (None, self.val) else f"  best val {loss(self.best)} (epoch {self.best_epoch})"
        return f"{count(self.ended, 'epoch')}{took}  {losses(self.train, self.val)}{best}"

    @property
    def brief(self) -> str:
        """`12 epochs  best val 0.002345`: the best is what sleap-nn keeps."""
        return f"{count(self.ended, 'epoch')}  best val {loss(self.best)}"

    @property
    def heard(self) -> bool:
        """There is something to tell of it."""
        return self.epoch > 0

    def hear(self, progress: Progress, at: float) -> None:
        """Take in one message; a loss it does not know is no news, and an epoch that is over is only remembered."""
        whole, number = progress.batch is None, progress.epoch + 1
        if whole:
            self._remember(progress)
        if number < self.epoch or (number == self.ended and not whole):
            return
        self.begun = at if self.begun is None else self.begun
        self.epoch, self.ended = number, number if whole else progress.epoch
        if not self._paces or (whole and number > self._paces[-1][1]):
            self._paces.append((at, self.ended))
        self.train = _finite(progress.train_loss) if _finite(progress.train_loss) is not None else self.train
        if whole or progress.val_loss is not None:
            self.val = _finite(progress.val_loss)

    def _remember(self, progress: Progress) -> None:
        number = progress.epoch + 1
        if number > CURVE_MAX:
            return
        if (train := _finite(progress.train_loss)) is not None and progress.epoch:
            self.trains[progress.epoch] = train  # sleap-nn tells it an epoch late
        if (val := _finite(progress.val_loss)) is not None:
            self.vals[number] = val
            if self.best is None or val < self.best:
                self.best, self.best_epoch = val, number

    @property
    def seconds(self) -> float | None:
        """What one epoch takes of late."""
        if len(self._paces) < 2:
            return None
        (since, before), (until, now) = self._paces[0], self._paces[-1]
        return max(0.0, until - since) / (now - before)

    @property
    def speed(self) -> str:
        """`4.2 s/epoch` or `12 epochs/s`; nothing while it is too early to tell."""
        return "" if self.seconds is None else pace(self.seconds)

    def left(self, now: float) -> float | None:
        """Seconds that the remaining epochs would take; training may stop earlier."""
        if not self.epochs or self.seconds is None or self.over is not None:
            return None
        return max(0.0, (self.epochs - self.ended) * self.seconds - max(0.0, now - self._paces[-1][0]))


@define
class PredictionProgress:
    """How far the prediction on one file is."""

    name: str
    number: int
    of: int
    begun: float | None = None
    told: float | None = None
    """When it was last heard of."""
    tracking: bool = False
    done: int = 0
    total: int | None = None
    frames: float | None = None
    """Frames per second."""
    rest: float | None = None
    """Seconds this lap would still take when it was last heard of."""
    pass_index: int = 0

    @property
    def title(self) -> str:
        """`prediction 1/1 video.mp4`"""
        return f"prediction {self.number}/{self.of} {self.name}"

    @property
    def status_line(self) -> str:
        """`tracking  412/1100 frames  53.1 frames/s`"""
        whole = "" if self.total is None else f"/{self.total}"
        parts = [self.pass_name, f"{self.done}{whole} frames", "" if self.frames is None else rate(self.frames)]
        return "  ".join(part for part in parts if part)

    @property
    def pass_name(self) -> str:
        """`predicting` or `tracking`, where there is a difference."""
        return PASSES[min(self.pass_index, 1)] if self.tracking or self.pass_index else ""

    @property
    def result(self) -> str:
        """`1100 frames in 0:21`"""
        took = "" if self.begun is None or self.told is None else f" in {duration(self.told - self.begun)}"
        return f"{count(self.done, 'frame')}{took}"

    @property
    def brief(self) -> str:
        """The same, since it is short."""
        return self.result

    @property
    def heard(self) -> bool:
        """There is something to tell of it."""
        return self.told is not None

    def hear(self, news: FramesDone, at: float) -> None:
        """Take in one message. The count may fall: a second lap begins, or sleap-nn began anew."""
        self.begun = at if self.begun is None else self.begun
        self.told = at
        self.done, self.total, self.pass_index = news.done, news.total, news.pass_index
        self.frames, self.rest = _finite(news.rate), _finite(news.left)

    def left(self, now: float) -> float | None:
        """Seconds that this lap would still take."""
        rest = self.rest
        if rest is None and self.frames and self.total is not None:
            rest = (self.total - self.done) / self.frames
        return None if rest is None or self.told is None else max(0.0, rest - max(0.0, now - self.told))


Item = ModelProgress | PredictionProgress
"""One step of a job's sequence."""


@define
class JobProgress:
    """One job: its sequence, where it is in it, and what its GPU and its log say."""

    models: list[ModelProgress] = field(factory=list)
    predictions: list[PredictionProgress] = field(factory=list)
    current: Item | None = None
    ended: bool = False
    """The job is over, well or not: nothing of it moves any more."""
    gpu: GpuUse | None = None
    log: deque[str] = field(factory=lambda: deque(maxlen=LOG_KEPT))
    _at: float = field(default=0.0, init=False)
    _local: float | None = field(default=None, init=False)
    """When `_at` was heard, by our own clock."""
    _gpu_at: float = field(default=0.0, init=False)

    @property
    def items(self) -> list[Item]:
        """The whole sequence, in order."""
        return [*self.models, *self.predictions]

    def now(self, local: float) -> float:
        """The worker's clock, as far as can be told from here."""
        return self._at if self._local is None else self._at + max(0.0, local - self._local)

    def gpu_use(self, local: float) -> GpuUse | None:
        """What the GPU does, unless that was said too long ago."""
        return self.gpu if self.now(local) - self._gpu_at <= GPU_FRESH else None

    def hear(self, news: JobNews, at: float, local: float) -> None:
        """Take in what happened at `at` (the worker's clock) and is heard at `local` (ours)."""
        self._at, self._local = at if abs(at) <= NUMBER_MAX else self._at, local
        at = self._at
        match news:
            case JobStarted():
                self._begin(news)
            case ModelStarted():
                self.current = model = self.model(news.model)
                model.begun, model.epochs = at, news.epochs
            case Progress():
                self.current = model = self.model(news.model)
                model.hear(news, at)
            case ModelTrained():
                self.model(news.model).over = at
            case PredictionStarted():
                self.current = prediction = self.prediction(news.prediction)
                prediction.begun, prediction.tracking = at, news.tracking
            case FramesDone():
                self.current = prediction = self.prediction(news.prediction)
                prediction.hear(news, at)
            case GpuUse():
                self.gpu, self._gpu_at = news, at
            case LogLines():
                self.log.extend(clean(line) for line in news.lines)

    def _begin(self, news: JobStarted) -> None:
        """These are the steps. Told once more to a client that comes back, it changes nothing of what is known."""
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
        """The model with this index; a worker that counts wrongly is no reason to show nothing."""
        for number in range(len(self.models) + 1, index + 2):
            self.models.append(ModelProgress(f"{number}", number, number))
        return self.models[index]

    def prediction(self, index: int) -> PredictionProgress:
        """The prediction with this index, likewise."""
        for number in range(len(self.predictions) + 1, index + 2):
            self.predictions.append(PredictionProgress(f"{number}", number, number))
        return self.predictions[index]


def _finite(value: float | None) -> float | None:
    # never true of nan
    return value if value is not None and abs(value) <= NUMBER_MAX else None

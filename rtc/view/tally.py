"""What a view remembers in order to show it: how a transfer flows, and how a training goes."""

from collections import deque

from attrs import define, field

from protocol.jobs import ModelStarted, Progress
from rtc.view.text import clean, count, epoch, loss, losses

PACE_TIME = 5.0
"""Seconds over which a speed is taken; shorter ones jump about, longer ones lag."""
PACE_LEAST = 0.5
"""Seconds of evidence before a speed is told."""
STALL_TIME = 5.0
"""Seconds without a new byte after which a transfer is said to wait."""
_SAMPLE_TIME = 0.1


@define
class Flow:
    """One file on its way. Times are seconds of any steady clock."""

    begun: float
    offset: int
    """Bytes that were there already when we began (a resumed transfer)."""
    total: int
    told: int = field(default=0, init=False)
    """Percents last told in words."""
    done: int = field(init=False)
    heard: float = field(init=False)
    """When the last new byte came."""
    _samples: deque[tuple[float, int]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.done = self.offset
        self.heard = self.begun
        self._samples = deque([(self.begun, self.offset)])

    def moved(self, now: float, done: int) -> None:
        """So many bytes are over."""
        if done != self.done:
            self.heard = now
        self.done = done
        if now - self._samples[-1][0] >= _SAMPLE_TIME:
            self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[1][0] >= PACE_TIME:
            self._samples.popleft()

    def rate(self, now: float) -> float | None:
        """Bytes per second of late, or None while it is too early to tell."""
        since, before = self._samples[0]
        return (self.done - before) / (now - since) if now - since >= PACE_LEAST else None

    def stalled(self, now: float) -> bool:
        """Nothing has come for a while."""
        return now - self.heard >= STALL_TIME

    def average(self, now: float) -> float | None:
        """Bytes per second from beginning to end."""
        return (self.done - self.offset) / (now - self.begun) if now > self.begun else None


@define
class Model:
    """How far the training of one model is, and how good it is."""

    name: str
    number: int
    """Counted from 1."""
    of: int
    begun: float | None = None
    """When its training started."""
    first: float | None = None
    """When it was first heard of an epoch; loading sleap-nn before takes long and says nothing about epochs."""
    heard: float | None = None
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

    @property
    def title(self) -> str:
        """`model 1/2 centroid`"""
        return f"model {self.number}/{self.of} {self.name}"

    @property
    def standing(self) -> str:
        """`epoch 12/100  train 0.001234  val 0.002345`"""
        return f"{epoch(self.epoch, self.epochs)}  {losses(self.train, self.val)}"

    @property
    def result(self) -> str:
        """`12 epochs  train 0.001234  val 0.002345`, and the best epoch if another was better than the last."""
        best = "" if self.best in (None, self.val) else f"  best val {loss(self.best)} (epoch {self.best_epoch})"
        return f"{count(self.ended, 'epoch')}  {losses(self.train, self.val)}{best}"

    def hear(self, progress: Progress, now: float) -> None:
        """Take in one message; a loss it does not know is no news."""
        if self.begun is None:
            self.begun = now
        if self.first is None:
            self.first = now
        self.heard = now
        self.epoch = progress.epoch + 1
        self.ended = self.epoch if progress.batch is None else progress.epoch
        self.train = progress.train_loss if progress.train_loss is not None else self.train
        if progress.batch is None or progress.val_loss is not None:
            self.val = progress.val_loss
        if progress.batch is None and self.val is not None and (self.best is None or self.val < self.best):
            self.best, self.best_epoch = self.val, self.epoch

    def left(self, now: float) -> float | None:
        """Seconds that the remaining epochs would take; training may stop earlier."""
        if not self.epochs or self.first is None or not self.ended:
            return None
        return max(0.0, (self.epochs - self.ended) * (now - self.first) / self.ended)


@define
class Training:
    """The models of one job, in order."""

    models: list[Model] = field(factory=list)
    current: Model | None = None

    def begin(self, names: tuple[str, ...]) -> None:
        """These will be trained."""
        self.models = [Model(clean(name), number, len(names)) for number, name in enumerate(names, 1)]
        self.current = None

    def hear(self, news: ModelStarted | Progress, now: float) -> Model:
        """Take in one message; the model it is about becomes the current one."""
        model = self._model(news.model)
        if isinstance(news, Progress):
            model.hear(news, now)
        else:
            model.begun, model.epochs = now, news.epochs
        self.current = model
        return model

    def _model(self, index: int) -> Model:
        # a worker that counts wrongly, or a view that came late, is no reason to show nothing
        for number in range(len(self.models) + 1, index + 2):
            self.models.append(Model(f"{number}", number, number))
        return self.models[index]

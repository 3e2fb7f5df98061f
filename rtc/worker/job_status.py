"""The status of a running job in one sentence, for `sleap-rtc jobs`, which asks once and does not follow the events."""

from attrs import define

from protocol.jobs import (
    ConfigurationStarted,
    FramesDone,
    JobNews,
    JobStarted,
    ModelStarted,
    ModelTrained,
    PredictionStarted,
    Progress,
)

TEXT_MAX = 300
"""Characters of the sentence at most."""


@define
class JobStatus:
    """The status sentence of one job, updated with each of its events."""

    _job: JobStarted | None = None
    _model: ModelStarted | None = None
    _text: str = "The job is starting."

    @property
    def text(self) -> str:
        """The status in one sentence."""
        return self._text[:TEXT_MAX]

    def update(self, news: JobNews) -> None:
        """Update the sentence with this event of the job; events that do not change the status are ignored."""
        match news:
            case ConfigurationStarted():
                self._text = "sleap-nn writes the configuration."
            case JobStarted():
                self._job, self._text = news, "The job is starting."
            case ModelStarted():
                self._model = news
                self._text = f"{self._training(news.model)}: sleap-nn is starting."
            case Progress():
                self._text = f"{self._training(news.model)}, epoch {self._epoch(news)}."
            case ModelTrained():
                self._text = f"{self._training(news.model)} is evaluated."
            case PredictionStarted():
                self._text = f"{self._predicting(news.prediction)}: sleap-nn is starting."
            case FramesDone():
                total = "" if news.total is None else f" of {news.total}"
                activity = self._predicting(news.prediction) if not news.pass_index else "Tracking"
                self._text = f"{activity}: {news.done}{total} frames."
            case _:
                return

    def _training(self, index: int) -> str:
        names = self._job.models if self._job is not None else ()
        name = f" ({names[index]})" if index < len(names) else ""
        return f"Model {index + 1} of {max(len(names), index + 1)}{name}"

    def _epoch(self, news: Progress) -> str:
        epochs = self._model.epochs if self._model is not None and self._model.model == news.model else None
        return f"{news.epoch + 1}" if epochs is None else f"{news.epoch + 1} of {epochs}"

    def _predicting(self, index: int) -> str:
        names = self._job.predictions if self._job is not None else ()
        return f"Predicting on {names[index]}" if index < len(names) else "Predicting"

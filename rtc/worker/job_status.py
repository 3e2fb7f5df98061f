"""Where a running job stands, in one sentence: for `sleap-rtc jobs`, which asks now and then and does not listen."""

from attrs import define

from protocol.jobs import (
    FramesDone,
    JobNews,
    JobStarted,
    ModelStarted,
    ModelTrained,
    PredictionStarted,
    Progress,
)

TEXT_MAX = 300


@define
class JobStatus:
    """Hears everything that happens in one job."""

    _job: JobStarted | None = None
    _model: ModelStarted | None = None
    _text: str = "The job is starting."

    @property
    def text(self) -> str:
        """The sentence."""
        return self._text[:TEXT_MAX]

    def hear(self, news: JobNews) -> None:
        """One more thing has happened."""
        match news:
            case JobStarted():
                self._job = news
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
                doing = self._predicting(news.prediction) if not news.pass_index else "Tracking"
                self._text = f"{doing}: {news.done}{total} frames."
            case _:
                return

    def _training(self, index: int) -> str:
        names = self._job.models if self._job is not None else ()
        name = f" ({names[index]})" if index < len(names) else ""
        return f"Model {index + 1} of {max(len(names), index + 1)}{name}"

    def _epoch(self, news: Progress) -> str:
        most = self._model.epochs if self._model is not None and self._model.model == news.model else None
        return f"{news.epoch + 1}" if most is None else f"{news.epoch + 1} of {most}"

    def _predicting(self, index: int) -> str:
        names = self._job.predictions if self._job is not None else ()
        return f"Predicting on {names[index]}" if index < len(names) else "Predicting"

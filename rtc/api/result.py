"""How a job has ended, and what of it is on this machine."""

from pathlib import Path

from attrs import frozen

from protocol.jobs import Outcome
from rtc.terminal.interface import JobSummary
from rtc.terminal.json_events import ModelResult


@frozen
class Result:
    """A job that has ended, and its files on this machine."""

    job: str
    """The job's id."""
    outcome: Outcome
    """`Outcome.DONE`, `Outcome.FAILED` or `Outcome.CANCELLED`."""
    text: str
    """How it ended, in one sentence."""
    folder: Path | None = None
    """The folder with everything that was fetched; None if nothing was. Of a job that failed or was cancelled, it has
    the log and the models until then."""
    models: tuple[ModelResult, ...] = ()
    """The trained models: the name of each one's folder in `folder / "models"`, and its final losses."""
    files: tuple[Path, ...] = ()
    """Configurations that sleap-nn has written for labels, predictions, and the page with the loss curves."""

    @property
    def is_done(self) -> bool:
        """Whether the job did all that it was to do, or was stopped early and kept."""
        return self.outcome is Outcome.DONE

    @property
    def predictions(self) -> tuple[Path, ...]:
        """The files of predictions among `files`."""
        return tuple(path for path in self.files if path.suffix == ".slp")

    @property
    def configs(self) -> tuple[Path, ...]:
        """The configurations among `files`, which sleap-nn has written for labels without one."""
        return tuple(path for path in self.files if path.suffix == ".yaml")


def result_of(job: str, outcome: Outcome, text: str, summary: JobSummary | None) -> Result:
    """Return the result that the client's summary tells; None is a summary of nothing."""
    if summary is None:
        return Result(job, outcome, text)
    losses = [*summary.losses, *[None] * len(summary.models)]
    models = tuple(
        ModelResult(name, None if each is None else each.train, None if each is None else each.val)
        for name, each in zip(summary.models, losses, strict=False)
    )
    return Result(job, outcome, text, summary.folder, models, summary.files)

"""The last lines about a job: how it went, how good the models are, and where everything lies."""

from collections.abc import Sequence
from pathlib import Path

from rtc.common.text import clean, losses
from rtc.terminal.interface import JobSummary
from rtc.terminal.job_progress import Item, JobProgress

WHAT_THERE_IS = "What there is of it lies in"


def closing_lines(ending: JobSummary, job_progress: JobProgress) -> list[str]:
    """A job's good end; the folder stands last and at the end of its line, to be copied."""
    where = [] if ending.folder is None else [f"Results are in {ending.folder}"]
    made = [f"  {name}" for name in file_names(ending)]
    return [ending.text, *(f"  {line}" for line in _models(ending, job_progress)), *made, *where]


def file_names(ending: JobSummary) -> list[str]:
    """The files as somebody in the result folder would call them."""
    return [_inside(path, ending.folder) for path in ending.files]


def _models(ending: JobSummary, job_progress: JobProgress) -> list[str]:
    """One line per model with its final losses: those given, else those heard."""
    if ending.models and ending.losses:
        pairs = zip(ending.models, ending.losses, strict=False)
        return [f"{clean(name)}: {losses(each.train, each.val)}" for name, each in pairs]
    return item_lines([model for model in job_progress.models if model.heard])


def item_lines(items: Sequence[Item]) -> list[str]:
    """How each of these went: `model 1/2 centroid: 12 epochs in 0:51  train …`."""
    return [f"{item.title}: {item.result}" for item in items if item.heard]


def _inside(path: Path, folder: Path | None) -> str:
    return str(path.relative_to(folder)) if folder is not None and path.is_relative_to(folder) else str(path)

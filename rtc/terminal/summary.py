"""Lines about a job that views share; the last ones say how it ended, how good the models are, and where they are."""

from collections.abc import Sequence
from pathlib import Path

from rtc.common.text import clean, losses
from rtc.terminal.interface import JobSummary
from rtc.terminal.job_progress import Item, JobProgress

PARTIAL_RESULT = "What the job has produced is in"
"""The folder with a partial result follows."""
CONFIGURING = "sleap-nn writes the configuration"
"""The line for `ConfigurationStarted`."""


def closing_lines(summary: JobSummary, job_progress: JobProgress) -> list[str]:
    """Return the lines for a job that ended well.

    The folder comes last and stands at the end of its line, so that it is easy to copy.
    """
    where = [] if summary.folder is None else [f"Results are in {summary.folder}"]
    files = [f"  {name}" for name in file_names(summary)]
    return [summary.text, *(f"  {line}" for line in _model_lines(summary, job_progress)), *files, *where]


def file_names(summary: JobSummary) -> list[str]:
    """Return the paths of the files relative to the result folder, or whole where they are outside of it."""
    return [_relative(path, summary.folder) for path in summary.files]


def _model_lines(summary: JobSummary, job_progress: JobProgress) -> list[str]:
    """Return one line per model with its final losses: from the summary, or as last reported if it has none."""
    if summary.models and summary.losses:
        pairs = zip(summary.models, summary.losses, strict=False)
        return [f"{clean(name)}: {losses(each.train, each.val)}" for name, each in pairs]
    return item_lines([model for model in job_progress.models if model.has_progress])


def item_lines(items: Sequence[Item]) -> list[str]:
    """Return one line for each item with progress: `model 1/2 centroid: 12 epochs in 0:51  train …`."""
    return [f"{item.title}: {item.result}" for item in items if item.has_progress]


def _relative(path: Path, folder: Path | None) -> str:
    return str(path.relative_to(folder)) if folder is not None and path.is_relative_to(folder) else str(path)

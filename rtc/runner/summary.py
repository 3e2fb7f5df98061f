"""Build the closing sentence of a job: which models were trained, which files predicted on, and what was left out."""

from attrs import frozen

from protocol.fields import SENTENCES_MAX
from rtc.packages.plan import Plan

TEXT_MAX = SENTENCES_MAX
"""Characters that a closing sentence can have: the limit of `JobEnded.text`."""


@frozen
class CompletedSteps:
    """The steps that a job has completed so far."""

    models: tuple[str, ...] = ()
    """Names of the trained models, in order."""
    files: tuple[str, ...] = ()
    """Names of the files predicted on, in order."""
    frames: tuple[int | None, ...] = ()
    """Frames in each of these files; None where sleap-nn has not reported it."""


def success_summary(plan: Plan, completed: CompletedSteps) -> str:
    """Return the closing sentence of a job that did not fail; steps that are missing were left out by an early stop."""
    left = _left_out(plan, completed)
    done = ", and ".join(_done(plan, completed))
    if left:
        return _truncate(f"Stopped early: {done or 'nothing was begun'}; left out: {left}.")
    return _truncate(f"{done[:1].upper()}{done[1:]}.")


def failure_summary(completed: CompletedSteps, why: str) -> str:
    """Return the closing sentence of a failed job: what went wrong, and that its results so far are not lost."""
    kept = [f"trained and kept: {', '.join(completed.models)}"] if completed.models else []
    kept += [f"predicted before that: {', '.join(completed.files)}"] if completed.files else []
    if not kept:
        return _truncate(why)
    return _truncate(f"{why.rstrip('.')}. What was made is not lost ({'; '.join(kept)}).")


def _done(plan: Plan, completed: CompletedSteps) -> list[str]:
    """Return up to two parts of a sentence: the trained models, and the files predicted on."""
    parts = []
    if completed.models:
        of = f" of {len(plan.steps)}" if len(completed.models) < len(plan.steps) else ""
        parts.append(
            f"trained {len(completed.models)}{of} {_plural('model', len(plan.steps))}: {', '.join(completed.models)}"
        )
    if completed.files:
        parts.append(_predicted(completed))
    return parts


def _predicted(completed: CompletedSteps) -> str:
    """Return the part of a sentence about the predictions, with the number of frames if all of them are known."""
    known = [count for count in completed.frames if count is not None]
    where = (
        completed.files[0]
        if len(completed.files) == 1
        else f"{len(completed.files)} files: {', '.join(completed.files)}"
    )
    if len(known) < len(completed.files):
        return f"predicted on {where}"
    return f"predicted {sum(known)} {_plural('frame', sum(known))} in {where}"


def _left_out(plan: Plan, completed: CompletedSteps) -> str:
    """Return the names of the steps that were not completed, as a list in a sentence; "" when there are none."""
    models = [step.name for step in plan.steps[len(completed.models) :]]
    files = [step.name for step in plan.predictions[len(completed.files) :]]
    if files and not completed.files and plan.steps:
        files = [_plural("the prediction", len(files))]
    left = models + files
    return " and ".join(part for part in (", ".join(left[:-1]), left[-1]) if part) if left else ""


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _truncate(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"

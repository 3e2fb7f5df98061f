"""Build the closing sentence of a job: which models were trained, what was predicted, and what was left out."""

from collections.abc import Sequence

from attrs import frozen

from protocol.fields import SENTENCES_MAX
from rtc.packages.inference import PredictStep
from rtc.packages.plan import Plan
from rtc.runner.count_predictions import FileCounts

TEXT_MAX = SENTENCES_MAX
"""Characters that a closing sentence can have: the limit of `JobEnded.text`."""
NO_ANIMAL = "No animal was found on {on} in {where}; {advice}"
NO_PREDICTION = "Nothing was predicted in {where}, since {why}"
NO_TRACKING = "Nothing was tracked in {where}, since {why}"
SELECTIONS = {
    "only_suggested_frames": "it has no suggested frames",
    "only_labeled_frames": "it has no labelled frames",
    "only_predicted_frames": "it has no frames with predictions",
    "exclude_user_labeled": "a person has labelled all its frames, and those were left out",
}
"""Why there was no frame to predict on, by the option that chose the frames."""


@frozen
class PredictedFile:
    """One file that was predicted on, or whose predictions were tracked."""

    step: PredictStep
    frames: int | None = None
    """Frames that sleap-nn has reported to be done; None if it has reported nothing."""
    counts: FileCounts | None = None
    """None if the output could not be counted."""

    @property
    def name(self) -> str:
        """The file's name, for display."""
        return self.step.name

    @property
    def processed(self) -> int | None:
        """Frames that sleap-nn went through; None if that is not known."""
        if self.frames is not None or self.counts is None:
            return self.frames
        return self.counts.processed


@frozen
class CompletedSteps:
    """The steps that a job has completed so far."""

    models: tuple[str, ...] = ()
    """Names of the trained models, in order."""
    files: tuple[PredictedFile, ...] = ()
    """The files predicted on, in order."""


def success_summary(plan: Plan, completed: CompletedSteps) -> str:
    """Return the closing sentence of a job that did not fail; steps that are missing were left out by an early stop."""
    left = _left_out(plan, completed)
    done = ", and ".join(_done(plan, completed))
    if left:
        return _truncate(f"Stopped early: {done or 'nothing was begun'}; left out: {left}.")
    return _truncate(f"{done[:1].upper()}{done[1:]}.")


def written_summary(plan: Plan) -> str:
    """Return the closing sentence of a job that only had configurations written."""
    return _truncate(f"Written by sleap-nn: {', '.join(plan.written)}.")


def failure_summary(completed: CompletedSteps, why: str) -> str:
    """Return the closing sentence of a failed job: what went wrong, and that its results so far are not lost."""
    kept = [f"trained and kept: {', '.join(completed.models)}"] if completed.models else []
    kept += [f"predicted before that: {_names(completed.files)}"] if completed.files else []
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
        parts.append(_predicted(completed.files, trained=bool(completed.models)))
    return parts


def _predicted(files: Sequence[PredictedFile], *, trained: bool) -> str:
    """Return the part of a sentence about the predictions: what was found, and on how many frames.

    Args:
        files: the files that were predicted on.
        trained: the models were trained in the same job.
    """
    counts = [file.counts for file in files if file.counts is not None]
    processed = [file.processed for file in files if file.processed is not None]
    where = files[0].name if len(files) == 1 else f"{len(files)} files: {_names(files)}"
    if len(counts) < len(files):
        if len(processed) < len(files):
            return f"predicted on {where}"
        return f"predicted {_count(sum(processed), 'frame')} in {where}"
    found = sum(one.instances for one in counts)
    if not found:
        return _nothing(files, sum(processed), where, trained=trained)
    verb = "predicted" if any(file.step.models for file in files) else "tracked"
    on = f"on {sum(one.frames for one in counts)} of {_count(sum(processed), 'frame')}"
    tracks = sum(one.tracks for one in counts)
    parts = [f"{verb} {_count(found, 'instance')} {on} in {where}"]
    parts += [f"with {_count(tracks, 'track')}"] if tracks and any(file.step.tracking for file in files) else []
    without = [file for file in files if file.counts is not None and not file.counts.instances]
    return ", ".join(parts) + (f"; nothing was found in {_names(without)}" if without else "")


def _nothing(files: Sequence[PredictedFile], processed: int, where: str, *, trained: bool) -> str:
    """Return the part of a sentence about predictions in which nothing was found, with what to try."""
    if not processed:
        why = {_why_no_frame(file) for file in files}
        sentence = NO_PREDICTION if any(file.step.models for file in files) else NO_TRACKING
        return _as_part(sentence.format(where=where, why=why.pop() if len(why) == 1 else "no frame was chosen"))
    if not any(file.step.models for file in files):
        why_not = f"its {_count(processed, 'frame')} {'holds' if processed == 1 else 'hold'} no predictions"
        return _as_part(NO_TRACKING.format(where=where, why=why_not))
    advice = "train longer, or try a lower peak threshold" if trained else "try a lower --peak-threshold"
    on = "the only frame" if processed == 1 else f"any of the {processed} frames"
    return _as_part(NO_ANIMAL.format(on=on, where=where, advice=advice))


def _as_part(sentence: str) -> str:
    """Return a sentence as it is in the middle of another one."""
    return f"{sentence[:1].lower()}{sentence[1:]}"


def _why_no_frame(file: PredictedFile) -> str:
    """Return why there was no frame to predict on in a file."""
    options = file.step.options
    if "frames" in options:
        length = file.counts.video_frames if file.counts is not None else None
        has = f", which has {_count(length, 'frame')}, counted from 0" if length else ""
        return f"--frames {options['frames']} names no frame of it{has}"
    return next((text for name, text in SELECTIONS.items() if options.get(name)), "it has no frames to predict on")


def _names(files: Sequence[PredictedFile]) -> str:
    return ", ".join(file.name for file in files)


def _count(number: int, word: str) -> str:
    return f"{number} {_plural(word, number)}"


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

"""The closing sentence of a job: what was made, and what was left out."""

from attrs import frozen

from rtc.packages.plan import Plan

TEXT_MAX = 2000
"""Characters of a closing sentence, as `JobEnded` has it."""


@frozen
class Made:
    """What a job has made so far."""

    models: tuple[str, ...] = ()
    """Names of models, in order."""
    files: tuple[str, ...] = ()
    """Names of the files predicted on, in order."""
    frames: tuple[int | None, ...] = ()
    """How many in each, as far as that is known."""


def closing(plan: Plan, made: Made) -> str:
    """How a job ended well; where something is missing, it was stopped early."""
    left = _left_out(plan, made)
    done = ", and ".join(_done(plan, made))
    if left:
        return _cut(f"Stopped early: {done or 'nothing was begun'}; left out: {left}.")
    return _cut(f"{done[:1].upper()}{done[1:]}.")


def broken_off(made: Made, why: str) -> str:
    """How a job ended badly: what went wrong, and that what was made is not lost."""
    kept = [f"trained and kept: {', '.join(made.models)}"] if made.models else []
    kept += [f"predicted before that: {', '.join(made.files)}"] if made.files else []
    if not kept:
        return _cut(why)
    return _cut(f"{why.rstrip('.')}. What was made is not lost ({'; '.join(kept)}).")


def _done(plan: Plan, made: Made) -> list[str]:
    parts = []
    if made.models:
        of = f" of {len(plan.steps)}" if len(made.models) < len(plan.steps) else ""
        parts.append(f"trained {len(made.models)}{of} {_plural('model', len(plan.steps))}: {', '.join(made.models)}")
    if made.files:
        parts.append(_predicted(made))
    return parts


def _predicted(made: Made) -> str:
    known = [count for count in made.frames if count is not None]
    where = made.files[0] if len(made.files) == 1 else f"{len(made.files)} files: {', '.join(made.files)}"
    if len(known) < len(made.files):
        return f"predicted on {where}"
    return f"predicted {sum(known)} {_plural('frame', sum(known))} in {where}"


def _left_out(plan: Plan, made: Made) -> str:
    models = [step.name for step in plan.steps[len(made.models) :]]
    files = [step.name for step in plan.predictions[len(made.files) :]]
    if files and not made.files and plan.steps:
        files = [_plural("the prediction", len(files))]
    left = models + files
    return " and ".join(part for part in (", ".join(left[:-1]), left[-1]) if part) if left else ""


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"

"""Text that describes what a package will train and predict: the output of `sleap-rtc package inspect`."""

from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from attrs import evolve

from protocol.jobs import JobKind
from rtc.common.text import clean
from rtc.packages.config_request import ConfigRequest
from rtc.packages.inference import PredictStep
from rtc.packages.plan import Plan, TrainStep, inspect_package
from rtc.packages.predict_options import Value
from rtc.packages.setting_checks import check_refused

_KINDS = {JobKind.TRAIN: "a training package", JobKind.TRACK: "an inference package"}


def describe(path: Path, sleap_nn: Collection[str] = ()) -> str:
    """Return a text of several lines for people: what the package at `path` will train and predict.

    Args:
        path: the package.
        sleap_nn: the versions of sleap-nn that are to run it; empty: those whose settings are known.

    Raises:
        RtcError: USAGE or BAD_PACKAGE, under the conditions of `inspect_package` and `check_refused`.
    """
    plan = inspect_package(path)
    warnings = (*plan.warnings, *check_refused(plan.refused_by, sleap_nn))
    lines = _plan_lines(evolve(plan, warnings=warnings))
    return "\n".join([f"{clean(path.name)}: {_KINDS[plan.kind]}, {_size_text(path.stat().st_size)}", *lines])


def _plan_lines(plan: Plan) -> Iterator[str]:
    if plan.configure is not None:
        yield from _configure_lines(plan.configure)
    if plan.steps:
        yield "Trains, in this order:"
    for number, step in enumerate(plan.steps, 1):
        yield f"  {number}. {_model_line(step)}"
        for override in step.overrides:
            if override.is_removal:
                yield f"       {override.key} = (sleap-nn's default)"
                continue
            yield f"       {override.key} = {'(hidden)' if override.is_secret else override.value}"
    if plan.predictions:
        yield "Then predicts:" if plan.steps else "Predicts:"
    for number, prediction in enumerate(plan.predictions, 1):
        yield from _prediction_lines(number, prediction)
    if plan.warnings:
        yield "Note:"
    for note in plan.warnings:
        yield f"  - {note}"


def _configure_lines(request: ConfigRequest) -> Iterator[str]:
    chosen = "as it chooses" if request.pipeline is None else f"for {request.pipeline}"
    yield f"Has sleap-nn on the worker write the configuration, {chosen}, for {request.labels}."
    if not request.train:
        yield "Trains nothing: the configuration is sent home."
        return
    yield "Then trains with it, and sends it home with the models."
    for override in request.overrides:
        yield f"  {override.key} = {'(hidden)' if override.is_secret else override.value}"


def _model_line(step: TrainStep) -> str:
    head = f" ({step.head})" if step.head not in ("", step.name) else ""
    epochs = f", at most {step.epochs} epochs" if step.epochs is not None else ""
    converted = ", converted from SLEAP 1.4" if step.legacy else ""
    return f"{step.name}{head} on {', '.join(step.effective_labels)}{epochs}{converted}"


def _prediction_lines(number: int, step: PredictStep) -> Iterator[str]:
    yield f"  {number}. on {step.data}, into {step.output}"
    names = [PurePosixPath(model).name for model in step.models]
    yield (
        f"       with {' and '.join(names)}"
        if names
        else "       tracking only: it takes the predictions that are there"
    )
    options = [_option_text(name, value) for name, value in step.options.items()]
    if options:
        yield f"       {', '.join(options)}"


def _option_text(name: str, value: Value) -> str:
    """Return `name = value`, or the name alone for a flag that is on."""
    return name if value is True else f"{name} = {value}"


def _size_text(size: int) -> str:
    for unit, bytes_each in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_each:
            return f"{size / bytes_each:.3g} {unit}"
    return f"{size} bytes"

"""What a package wants done: read from `jobs.yaml`, else from SLEAP's scripts, which are never run.

The client reads the zip before it connects anywhere; the worker reads the unpacked folder again, trusting nobody.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import frozen

from protocol.faults import FaultCode
from protocol.jobs import MODELS_MAX, OVERRIDES_MAX, JobKind
from rtc.common.errors import RtcError
from rtc.packages.file_names import fresh, plain_name, short_name, slashed
from rtc.packages.hydra_overrides import EPOCHS_KEY, JOBS, LABELS_KEY, TYPED, Override, leaves, newest, read_overrides
from rtc.packages.inference import PackageContext, PredictStep, read_predictions
from rtc.packages.inference_script import PredictLine, read_predict_script
from rtc.packages.model_config import ModelConfig, read_config
from rtc.packages.safe_yaml import safe_yaml
from rtc.packages.sources import FolderSource, Inside, Source, ZipSource
from rtc.packages.train_script import read_script
from rtc.packages.zip_reader import bad, open_zip

JOBS_FILE, SCRIPT_FILE, PREDICT_FILE = "jobs.yaml", "train-script.sh", "inference-script.sh"
_FILE_KEYS = frozenset(
    {"data_config.val_labels_path", "data_config.test_file_path", "trainer_config.resume_ckpt_path"}
    | {"model_config.pretrained_backbone_weights", "model_config.pretrained_head_weights"}
)
"""Settings that name files which must be in the package."""


@frozen
class TrainStep:
    """One model to train; one run of sleap-nn."""

    name: str
    """For people: the configuration's name without its ending, as SLEAP names the head."""
    config: str
    """Relative to the plan's root, as all paths here."""
    run_path: str
    """`models/<run>`, not there yet, different for each step."""
    labels: tuple[str, ...] = ()
    """Labels to train on instead of those the configuration names; empty when it is right."""
    overrides: tuple[Override, ...] = ()
    epochs: int | None = None
    legacy: bool = False
    """The configuration is SLEAP ≤ 1.4's JSON."""
    head: str = ""
    """What the model finds (`centroid`, `bottomup`), as its configuration says."""
    learns_from: tuple[str, ...] = ()
    """The labels, whoever names them; for people."""


@frozen
class Plan:
    """All that a package asks for, checked."""

    kind: JobKind
    steps: tuple[TrainStep, ...]
    root: str = ""
    """The folder inside the package in which everything lies; empty when nothing is wrapped."""
    predictions: tuple[PredictStep, ...] = ()
    """What is predicted on, after all training."""
    notes: tuple[str, ...] = ()
    """Sentences for people: what the package asks for that will not be done, and why."""


@frozen
class _Wish:
    """A training entry as written, before it is checked against the files."""

    config: str
    run: str | None = None
    labels: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()


def inspect_package(path: Path, overrides: Sequence[str] = ()) -> Plan:
    """What a zip asks for, without unpacking it; `overrides` as a person typed them, for every model.

    Raises:
        RtcError: USAGE: no such file, or a wrong override. BAD_PACKAGE: it is no package that can be run, and why.
    """
    with open_zip(path) as archive:
        return _plan(ZipSource(archive), overrides)


def read_plan(folder: Path, overrides: Sequence[str] = ()) -> Plan:
    """What an unpacked package asks for. Raises as `inspect_package` does."""
    return _plan(FolderSource(folder), overrides)


def _plan(source: Source, typed: Sequence[str]) -> Plan:
    names = source.names()
    root = _root(names)
    inside = Inside(source, root, frozenset(name.removeprefix(root) for name in names if name.startswith(root)))
    jobs = safe_yaml("The package's jobs.yaml", inside.text(JOBS_FILE)) if JOBS_FILE in inside.files else None
    wishes = _from_jobs(jobs) if JOBS_FILE in inside.files else _from_script(inside)
    if len(wishes) > MODELS_MAX:
        raise bad(f"The package asks for {len(wishes)} models; more than {MODELS_MAX} are not taken.")
    steps, runs = _steps(wishes, inside, _typed(typed, wishes))
    lines = _predict_lines(inside)
    tree = (jobs or {}) if JOBS_FILE in inside.files else None
    predictions, notes = read_predictions(tree, lines, PackageContext(inside, runs), strict=not steps)
    if not steps and not predictions:
        raise bad(
            "The package holds nothing to train and nothing to predict on. Export it with SLEAP's 'Export training "
            "job package', or let `sleap-rtc track` build one."
        )
    return Plan(JobKind.TRAIN if steps else JobKind.TRACK, steps, root, predictions, notes)


def _root(names: frozenset[str]) -> str:
    marks = {JOBS_FILE, SCRIPT_FILE, PREDICT_FILE}
    if names & marks:
        return ""
    tops = {f"{name.split('/')[0]}/" for name in names}
    for top in sorted(tops):
        if len(tops) == 1 and any(top + mark in names for mark in marks):
            return top
    raise bad("This is no job package: it has neither jobs.yaml nor train-script.sh. Export one with SLEAP.")


def _typed(words: Sequence[str], wishes: Sequence[_Wish]) -> tuple[Override, ...]:
    if len(words) > OVERRIDES_MAX:
        raise RtcError(FaultCode.USAGE, f"More than {OVERRIDES_MAX} overrides are not taken.")
    if words and not wishes:
        raise RtcError(FaultCode.USAGE, "The package trains nothing, so there is nothing to override. Leave it out.")
    return read_overrides(words, TYPED)


def _from_jobs(tree: Any) -> tuple[_Wish, ...]:
    entries = tree.get("training") if isinstance(tree, dict) else None
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise bad("The package's jobs.yaml has no list of models to train. Export it again.")
    return tuple(_wish(entry) for entry in entries)


def _wish(entry: Any) -> _Wish:
    config = entry.get("cfg") if isinstance(entry, dict) else None
    if not isinstance(config, str) or not config:
        raise bad("An entry of the package's jobs.yaml names no configuration. Export it again.")
    run, labels, words = entry.get("run_path"), entry.get("train_labels"), entry.get("overrides") or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or len(words) > OVERRIDES_MAX:
        raise bad("The package's jobs.yaml lists overrides in a way that is not understood. Build it again.")
    return _Wish(
        config,
        run if isinstance(run, str) else None,
        (labels,) if isinstance(labels, str) else (),
        read_overrides(words, JOBS),
    )


def _from_script(inside: Inside) -> tuple[_Wish, ...]:
    if SCRIPT_FILE not in inside.files:
        return ()
    lines = read_script(inside.text(SCRIPT_FILE))
    return tuple(_Wish(line.config, None, line.labels, line.overrides) for line in lines)


def _predict_lines(inside: Inside) -> tuple[PredictLine, ...]:
    return read_predict_script(inside.text(PREDICT_FILE)) if PREDICT_FILE in inside.files else ()


def _steps(
    wishes: Iterable[_Wish], inside: Inside, typed: tuple[Override, ...]
) -> tuple[tuple[TrainStep, ...], dict[str, str]]:
    """The steps, and where their models will be by the paths and names that the package gives them."""
    steps: list[TrainStep] = []
    runs: dict[str, str] = {}
    for wish in wishes:
        config = _found(wish.config, inside.files, "configuration")
        read = read_config(config, inside.text(config))
        wished = slashed(wish.run or read.run or PurePosixPath(config).stem)
        run_path = _run_path(wished, inside.files, [step.run_path for step in steps])
        steps.append(_step(wish, config, read, run_path, inside.files, typed))
        for name in (wished, PurePosixPath(wished).name):
            runs.setdefault(name, run_path)
    return tuple(steps), runs


def _step(
    wish: _Wish, config: str, read: ModelConfig, run_path: str, files: frozenset[str], typed: tuple[Override, ...]
) -> TrainStep:
    changed = newest([*wish.overrides, *typed])
    _check_files(changed, files)
    named = next((item.texts() for item in changed if item.key == LABELS_KEY), ()) or wish.labels
    labels = _labels(named, read, config, files)
    return TrainStep(
        plain_name(PurePosixPath(config).stem, "model"),
        config,
        run_path,
        labels if read.legacy or labels != read.labels else (),
        tuple(item for item in changed if item.key != LABELS_KEY),
        _epochs(changed, read.epochs),
        read.legacy,
        read.head,
        labels,
    )


def _check_files(overrides: Iterable[Override], files: frozenset[str]) -> None:
    for override in overrides:
        if override.key in _FILE_KEYS:
            for path in override.texts():
                if leaves(path) or slashed(path) not in files:
                    raise bad(f"{override.key} names {short_name(path)!r}, which is not in the package. Put it in.")


def _epochs(overrides: Iterable[Override], otherwise: int | None) -> int | None:
    """The most epochs, as an override says it where one does."""
    said = [item.value for item in overrides if item.key == EPOCHS_KEY]
    return int(said[0]) if said and said[0].isdecimal() and 0 < len(said[0]) < 10 else otherwise


def _labels(named: tuple[str, ...], read: ModelConfig, config: str, files: frozenset[str]) -> tuple[str, ...]:
    """The labels to train on; all that the configuration needs must be here."""
    labels = named or read.labels
    if not labels:
        raise bad(f"{config} names no labels to train on. Export the package again.")
    for other in read.others:
        _found(other, files, "labels file")
    return tuple(_found(path, files, "labels file") for path in labels)


def _found(path: str, files: frozenset[str], what: str) -> str:
    """A path of the package, written plainly."""
    if leaves(path):
        raise bad(f"The package names a {what} outside itself. Export it again, with everything inside.")
    plain = slashed(path)
    if plain not in files:
        raise bad(f"The {what} {short_name(plain)!r} is missing from the package. Export it again.")
    return plain


def _run_path(wished: str, files: frozenset[str], taken: list[str]) -> str:
    """A fresh folder below `models/`: sleap-nn silently picks another where one exists, and its model would be lost."""
    if leaves(wished):
        raise bad("The package would write its models outside itself. Export it again.")
    base = "models/" + plain_name(PurePosixPath(wished).name, "run")
    return fresh(base, [*taken, *("/".join(name.split("/")[:2]) for name in files)])

"""The plan of a package: the runs of sleap-nn that it asks for, read from `jobs.yaml` or from SLEAP's scripts.

The scripts are never executed. The client reads the plan from the zip before it connects anywhere. The worker reads it
again from the unpacked folder, because it does not trust the client.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import evolve, field, frozen

from protocol.faults import FaultCode
from protocol.jobs import MODELS_MAX, OVERRIDE_MAX, OVERRIDES_MAX, JobKind
from rtc.common.errors import RtcError
from rtc.packages.config_request import ConfigRequest, read_config_request
from rtc.packages.file_names import UsedNames, base_name, collision_key, plain_name, posix_path
from rtc.packages.foreign_errors import bad_package
from rtc.packages.hydra_overrides import (
    EPOCHS_KEY,
    FROM_COMMAND_LINE,
    FROM_JOBS_YAML,
    LABELS_KEY,
    Override,
    last_of_each_key,
    leaves_folder,
    left_out_overrides,
    quote_for_hydra,
    read_overrides,
)
from rtc.packages.inference import PackageContext, PredictStep, read_predictions
from rtc.packages.inference_script import PredictLine, read_inference_script
from rtc.packages.model_config import FILE_SETTINGS, ModelConfig, read_model_config, setting_leaves_package
from rtc.packages.model_sets import TrainedModel, known_head
from rtc.packages.safe_yaml import safe_yaml
from rtc.packages.setting_checks import RefusedBy, find_refused, merge
from rtc.packages.sources import FolderSource, PackageFiles, Source, ZipSource
from rtc.packages.train_script import read_train_script
from rtc.packages.zip_reader import open_zip

HEADS_KEY = "model_config.head_configs"
"""The section in which one head is filled in, which says what the model predicts."""
JOBS_FILE, TRAIN_SCRIPT_FILE, INFERENCE_SCRIPT_FILE = "jobs.yaml", "train-script.sh", "inference-script.sh"


@frozen
class TrainStep:
    """One model to train, with one run of `sleap-nn train`."""

    name: str
    """The configuration's file name without its suffix, for display; SLEAP names the file after the head."""
    config: str
    """Path of the training configuration. All paths in this class are relative to the plan's root."""
    run_path: str
    """The run folder, `models/<run>`; it does not exist in the package, and no two steps have the same one."""
    labels: tuple[str, ...] = ()
    """Labels to train on instead of those in the configuration; empty when the configuration names the right ones."""
    overrides: tuple[Override, ...] = ()
    epochs: int | None = None
    """Maximum number of epochs, if known."""
    legacy: bool = False
    """The configuration is the JSON of SLEAP 1.4 or older."""
    head: str = ""
    """The model's head (`centroid`, `bottomup`), from its configuration; empty when unknown."""
    effective_labels: tuple[str, ...] = ()
    """The labels that the model is trained on, wherever they are named; for display."""
    notes: tuple[str, ...] = ()
    """Sentences for people about settings of the package that are left out."""
    refused_by: RefusedBy = field(factory=dict, eq=False, repr=False)
    """What versions of sleap-nn refuse in its settings."""


@frozen
class Plan:
    """Everything that a package asks for, checked against its files."""

    kind: JobKind
    steps: tuple[TrainStep, ...]
    root: str = ""
    """The folder in the package that contains all files, with a final slash; empty when there is no such folder."""
    predictions: tuple[PredictStep, ...] = ()
    """Predictions, made after all training."""
    warnings: tuple[str, ...] = ()
    """Sentences for people: each says what the package asks for that will not be done, and why."""
    configure: ConfigRequest | None = None
    """What sleap-nn is to write before anything is trained; then there are no steps yet."""
    written: tuple[str, ...] = ()
    """Configurations that sleap-nn has written, for the result; paths relative to the root."""

    @property
    def refused_by(self) -> RefusedBy:
        """What versions of sleap-nn refuse in the settings of the trainings; `check_refused` says what that means."""
        overrides = self.configure.overrides if self.configure is not None else ()
        unwritten = find_refused("The configuration", None, overrides, ()) if overrides else {}
        return merge((unwritten, *(step.refused_by for step in self.steps)))


@frozen
class _RequestedTraining:
    """A training entry as jobs.yaml or the script contains it, before it is checked against the package's files."""

    config: str
    run: str | None = None
    labels: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences for people about overrides that are left out."""


def inspect_package(path: Path, overrides: Sequence[str] = ()) -> Plan:
    """Return the plan of a zip without unpacking it.

    Args:
        path: the zip.
        overrides: Hydra overrides as a person typed them; they apply to every model.

    Raises:
        RtcError: USAGE: there is no such file, or an override is wrong. BAD_PACKAGE: the package cannot be run; the
            sentence says why.
    """
    with open_zip(path) as archive:
        return _read_package(ZipSource(archive), overrides)


def read_plan(folder: Path, overrides: Sequence[str] = ()) -> Plan:
    """Return the plan of an unpacked package.

    Raises:
        RtcError: under the conditions of `inspect_package`.
    """
    return _read_package(FolderSource(folder), overrides)


def plan_written_configs(folder: Path, plan: Plan, request: ConfigRequest, configs: Mapping[str, str]) -> Plan:
    """Return the plan of an unpacked package whose configurations sleap-nn has written, after the checks of any other.

    Args:
        folder: the unpacked package.
        plan: the plan before.
        request: what sleap-nn was asked for.
        configs: the path of each configuration, relative to the plan's root, by the head of its model, in the order
            in which the models are trained.

    Raises:
        RtcError: BAD_PACKAGE: a configuration cannot be run.
    """
    source = FolderSource(folder)
    names = frozenset(name.removeprefix(plan.root) for name in source.names() if name.startswith(plan.root))
    requests = [
        _RequestedTraining(config, request.run_of(head), (request.labels,), request.overrides)
        for head, config in configs.items()
    ]
    steps, _ = _train_steps(requests, PackageFiles(source, plan.root, names), ())
    return evolve(plan, steps=steps, configure=None)


def _plan_to_configure(request: ConfigRequest, package: PackageFiles, overrides: Sequence[str]) -> Plan:
    """Return the plan of a package whose configurations sleap-nn is to write.

    Raises:
        RtcError: USAGE: an override is wrong. BAD_PACKAGE: a file that is needed is not in the package.
    """
    merged = last_of_each_key([*request.overrides, *_typed_overrides(overrides, trains=request.train)])
    merged = _find_file_overrides(merged, package)
    if leaves_folder(request.run_path):
        raise bad_package("The package would write its models outside itself. Build it again.")
    labels = _path_in_package(request.labels, package, "labels file")
    return Plan(JobKind.TRAIN, (), package.root, configure=evolve(request, labels=labels, overrides=merged))


def _read_package(source: Source, overrides: Sequence[str]) -> Plan:
    names = source.names()
    root = _find_root(names)
    package = PackageFiles(source, root, frozenset(name.removeprefix(root) for name in names if name.startswith(root)))
    jobs_file = package.find(JOBS_FILE)
    tree = None
    if jobs_file is not None:
        tree = safe_yaml("The package's jobs.yaml", package.text(jobs_file)) or {}
    if (configure := read_config_request(tree)) is not None:
        return _plan_to_configure(configure, package, overrides)
    requests = _requests_from_script(package) if tree is None else _requests_from_jobs_yaml(tree)
    if len(requests) > MODELS_MAX:
        raise bad_package(f"The package asks for {len(requests)} models; more than {MODELS_MAX} are not taken.")
    steps, run_paths = _train_steps(requests, package, _typed_overrides(overrides, trains=bool(requests)))
    lines, unread = _script_predictions(package)
    context = PackageContext(package, run_paths, {step.run_path: _future_model(step) for step in steps})
    predictions, warnings = read_predictions(tree, lines, context, strict=not steps)
    if not steps and not predictions:
        raise bad_package(
            "The package holds nothing to train and nothing to predict on. Export it with SLEAP's 'Export training "
            "job package', or let `sleap-rtc track` build one."
        )
    notes = (*left_out_overrides(overrides, FROM_COMMAND_LINE), *(note for step in steps for note in step.notes))
    warnings = tuple(dict.fromkeys((*notes, *(unread if predictions or tree is None else ()), *warnings)))
    return Plan(JobKind.TRAIN if steps else JobKind.TRACK, steps, root, predictions, warnings)


def _find_root(names: frozenset[str]) -> str:
    """Return the package's root (`Plan.root`): the highest folder that holds jobs.yaml or a script of SLEAP.

    Other files may be beside it.

    Raises:
        RtcError: BAD_PACKAGE: there is none, or several folders are as high.
    """
    markers = {JOBS_FILE, TRAIN_SCRIPT_FILE, INFERENCE_SCRIPT_FILE}
    found = {name for name in names if name.rpartition("/")[2].casefold() in markers}
    if not found:
        raise _no_package(names)
    height = min(name.count("/") for name in found)
    highest = {name for name in found if name.count("/") == height}
    highest = {name for name in highest if name.rpartition("/")[2].casefold() == JOBS_FILE} or highest
    folders = sorted({name[: name.rfind("/") + 1] for name in highest})
    if len(folders) > 1:
        shown = " and ".join(repr(base_name(folder)) for folder in folders[:2])
        raise bad_package(f"This zip holds several packages, such as {shown}. Make a zip of each, and send one.")
    return folders[0]


def _no_package(names: frozenset[str]) -> RtcError:
    inner = next((name for name in sorted(names) if name.casefold().endswith(".zip")), None)
    if inner is not None:
        return bad_package(f"This zip holds another zip, {base_name(inner)!r}. Unpack it, and send the one inside.")
    return bad_package("This is no job package: it has neither jobs.yaml nor train-script.sh. Export one with SLEAP.")


def _typed_overrides(texts: Sequence[str], *, trains: bool) -> tuple[Override, ...]:
    if len(texts) > OVERRIDES_MAX:
        raise RtcError(FaultCode.USAGE, f"More than {OVERRIDES_MAX} overrides are not taken.")
    if any(len(text) > OVERRIDE_MAX for text in texts):
        raise RtcError(FaultCode.USAGE, f"An override of more than {OVERRIDE_MAX} characters is not taken.")
    if texts and not trains:
        raise RtcError(FaultCode.USAGE, "The package trains nothing, so there is nothing to override. Leave it out.")
    return read_overrides(texts, FROM_COMMAND_LINE)


def _requests_from_jobs_yaml(tree: Any) -> tuple[_RequestedTraining, ...]:
    entries = tree.get("training") if isinstance(tree, dict) else None
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise bad_package("The package's jobs.yaml has no list of models to train. Export it again.")
    return tuple(_read_training_entry(entry) for entry in entries)


def _read_training_entry(entry: Any) -> _RequestedTraining:
    config = entry.get("cfg") if isinstance(entry, dict) else None
    if not isinstance(config, str) or not config:
        raise bad_package("An entry of the package's jobs.yaml names no configuration. Export it again.")
    run, labels, overrides = entry.get("run_path"), entry.get("train_labels"), entry.get("overrides") or []
    is_texts = isinstance(overrides, list) and all(isinstance(text, str) for text in overrides)
    if not is_texts or len(overrides) > OVERRIDES_MAX:
        raise bad_package("The package's jobs.yaml lists overrides in a way that is not understood. Build it again.")
    return _RequestedTraining(
        config,
        run if isinstance(run, str) else None,
        (labels,) if isinstance(labels, str) else (),
        read_overrides(overrides, FROM_JOBS_YAML),
        left_out_overrides(overrides, FROM_JOBS_YAML),
    )


def _requests_from_script(package: PackageFiles) -> tuple[_RequestedTraining, ...]:
    script = package.find(TRAIN_SCRIPT_FILE)
    lines = read_train_script(package.text(script)) if script is not None else ()
    return tuple(_RequestedTraining(line.config, None, line.labels, line.overrides, line.notes) for line in lines)


def _script_predictions(package: PackageFiles) -> tuple[tuple[PredictLine, ...], tuple[str, ...]]:
    """Return the lines of inference-script.sh, and a sentence for people if there is one that cannot be read.

    Such a file is left out: jobs.yaml names the same predictions, and a training needs none of them.
    """
    script = package.find(INFERENCE_SCRIPT_FILE)
    if script is None:
        return (), ()
    try:
        return read_inference_script(package.text(script)), ()
    except RtcError as error:
        return (), (f"{error.fault.text.split('. ')[0].removesuffix('.')}. It is left out, with the options in it.",)


def _train_steps(
    requests: Iterable[_RequestedTraining], package: PackageFiles, typed_overrides: tuple[Override, ...]
) -> tuple[tuple[TrainStep, ...], dict[str, str]]:
    """Return the training steps, and each model's run folder by the path and by the name that the package gives it.

    The keys are those of `collision_key`.
    """
    steps: list[TrainStep] = []
    run_paths: dict[str, str] = {}
    model_configs: dict[str, ModelConfig] = {}
    used = UsedNames.of({"/".join(name.split("/", 2)[:2]) for name in package.files})
    for request in requests:
        config = _path_in_package(request.config, package, "configuration")
        if config not in model_configs:
            model_configs[config] = read_model_config(config, package.text(config))
        model_config = model_configs[config]
        requested_run = posix_path(request.run or model_config.run_name or PurePosixPath(config).stem)
        run_path = _unused_run_folder(requested_run, used)
        steps.append(_train_step(request, config, model_config, run_path, package, typed_overrides))
        for name in (requested_run, PurePosixPath(requested_run).name):
            run_paths.setdefault(collision_key(name), run_path)
    return tuple(steps), run_paths


def _train_step(
    request: _RequestedTraining,
    config: str,
    model_config: ModelConfig,
    run_path: str,
    package: PackageFiles,
    typed_overrides: tuple[Override, ...],
) -> TrainStep:
    """Return the step for a requested training, after checking its labels and overrides against the package's files.

    Args:
        request: the training entry.
        config: path of its training configuration.
        model_config: the content of that configuration.
        run_path: the run folder.
        package: all files of the package.
        typed_overrides: overrides that a person typed; they replace those of the package.

    Raises:
        RtcError: BAD_PACKAGE: a file that the training needs is not in the package.
    """
    overrides = _find_file_overrides(last_of_each_key([*request.overrides, *typed_overrides]), package)
    requested_labels = next((item.paths() for item in overrides if item.key == LABELS_KEY), ()) or request.labels
    labels = _train_labels(requested_labels, model_config, config, package)
    _check_other_files(model_config, frozenset(item.key for item in overrides), package)
    return TrainStep(
        plain_name(PurePosixPath(config).stem, "model"),
        config,
        run_path,
        labels if model_config.legacy or labels != model_config.labels else (),
        tuple(item for item in overrides if item.key != LABELS_KEY),
        _max_epochs(overrides, model_config.epochs),
        model_config.legacy,
        model_config.head,
        labels,
        (*request.notes, *model_config.notes),
        find_refused(config, model_config.tree, overrides, labels),
    )


def _future_model(step: TrainStep) -> TrainedModel:
    """Return what is known of a model that is still to be trained."""
    changes_head = any(override.key.startswith(HEADS_KEY) for override in step.overrides)
    return TrainedModel(step.name, "" if changes_head else known_head(step.head))


def _find_file_overrides(overrides: Iterable[Override], package: PackageFiles) -> tuple[Override, ...]:
    """Return the overrides, with each file (see `FILE_SETTINGS`) by the path that it has in the package.

    Raises:
        RtcError: BAD_PACKAGE: a file is not there, or an override sets a path that leads out of the package.
    """
    return tuple(_find_file_override(override, package) for override in overrides)


def _find_file_override(override: Override, package: PackageFiles) -> Override:
    if setting_leaves_package(override.key, override.paths()):
        raise bad_package(f"{override.key} is set to a place outside the package. Use relative paths.")
    if override.key not in FILE_SETTINGS or override.key == LABELS_KEY:
        return override
    given = override.paths()
    found = [None if leaves_folder(path) else package.find(path) for path in given]
    for path, name in zip(given, found, strict=True):
        if name is None:
            raise bad_package(f"{override.key} names {base_name(path)!r}, which is not in the package. Put it in.")
    if [posix_path(path) for path in given] == found:
        return override
    names = ",".join(quote_for_hydra(name) for name in found if name is not None)
    return Override(override.key, f"[{names}]" if override.value.startswith("[") else names)


def _max_epochs(overrides: Iterable[Override], default: int | None) -> int | None:
    """Return the maximum number of epochs: that of an override, otherwise `default`."""
    values = [item.value for item in overrides if item.key == EPOCHS_KEY]
    return int(values[0]) if values and values[0].isdecimal() and 0 < len(values[0]) < 10 else default


def _train_labels(
    requested_labels: tuple[str, ...], model_config: ModelConfig, config: str, package: PackageFiles
) -> tuple[str, ...]:
    """Return the paths of the labels to train on: `requested_labels`, otherwise those of the configuration.

    Raises:
        RtcError: BAD_PACKAGE: there are none, or they are not in the package.
    """
    labels = requested_labels or model_config.labels
    if not labels:
        raise bad_package(f"{config} names no labels to train on. Export the package again.")
    return tuple(_path_in_package(path, package, "labels file") for path in labels)


def _check_other_files(model_config: ModelConfig, overridden: frozenset[str], package: PackageFiles) -> None:
    """Check that the labels and weights that a configuration names besides the labels to train on are in the package.

    Raises:
        RtcError: BAD_PACKAGE: one is not, and no override replaces the setting.
    """
    for key, paths in model_config.other_files.items():
        for path in paths if key not in overridden else ():
            _path_in_package(path, package, "labels file" if "label" in key or "test" in key else "file of weights")


def _path_in_package(path: str, package: PackageFiles, what: str) -> str:
    """Return the path in the package of the file that is named so; `what` names the kind of file in the error.

    Raises:
        RtcError: BAD_PACKAGE: the path leads outside the package, or there is no such file.
    """
    if leaves_folder(path):
        raise bad_package(f"The package names a {what} outside itself. Export it again, with everything inside.")
    found = package.find(path)
    if found is None:
        raise bad_package(f"The {what} {base_name(path)!r} is missing from the package. Export it again.")
    return found


def _unused_run_folder(requested_run: str, used: UsedNames) -> str:
    """Return a folder below `models/` that does not exist yet, and add it to `used`.

    Only the last part of the requested folder counts: where models are put is the worker's choice. Where the folder
    exists, sleap-nn silently chooses another name, and its model would not be found.
    """
    return used.choose("models/" + plain_name(PurePosixPath(requested_run).name, "run"))

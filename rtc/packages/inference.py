"""The predictions that a package asks for: entries under `inference` in its jobs.yaml, checked against its files.

SLEAP names models and videos that it does not put into the package. A prediction that cannot work is left out with a
warning, or is an error; nothing is guessed.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from attrs import field, frozen

from protocol.fields import WORD_MAX, printable
from protocol.jobs import MODELS_MAX
from rtc.common.errors import RtcError
from rtc.packages.file_names import UsedNames, base_name, collision_key, plain_name, posix_path
from rtc.packages.foreign_errors import bad_package
from rtc.packages.hydra_overrides import leaves_folder
from rtc.packages.inference_script import PredictLine
from rtc.packages.member_names import IMAGE_ENDINGS
from rtc.packages.model_config import FILE_SETTINGS, parse_settings
from rtc.packages.model_sets import TrainedModel, check_models_together, trained_model
from rtc.packages.predict_options import BY_NAME, NEED_LABELS, Value, read_options
from rtc.packages.sources import PackageFiles
from rtc.packages.tracking_settings import tracking_options
from rtc.packages.worker_settings import WORKER_OPTIONS, option_left_out
from rtc.packages.zip_reader import FOLDERS_MAX

LABELS_ENDING = ".slp"
VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mj2", ".mkv", ".h5", ".hdf5", ".seq", ".tif", ".tiff")
"""Suffixes of files that sleap-nn 0.3.5 reads as a video, through sleap-io."""
WEIGHTS_FILES = ("best.ckpt", "best_model.h5")
"""The second is that of SLEAP 1.4 and older, which sleap-nn reads too."""
CONFIG_FILES = ("training_config.yaml", "training_config.json")
_MODEL_FILE_NAMES = frozenset({*WEIGHTS_FILES, *CONFIG_FILES, "training_config.yml", "initial_config.yaml"})
_UNKNOWN_MAX = 10
"""Maximum number of unknown settings of one prediction that are named in warnings."""
MODELS_FOLDER = "models/"
"""The folder of the package in which trained models are returned."""


@frozen
class PredictStep:
    """One file to predict on, with one run of `sleap-nn predict`."""

    name: str
    """The file name of the data, for display."""
    data: str
    """The file to predict on. All paths in this class are relative to the plan's root."""
    models: tuple[str, ...]
    """Folders of models, in the package or trained by the plan; empty when existing predictions are only tracked."""
    output: str
    """The file to write; it does not exist in the package, and no two steps have the same one."""
    options: Mapping[str, Value] = field(factory=dict)
    tracking: bool = False


@frozen
class RequestedPrediction:
    """A prediction as jobs.yaml and the script request it, before it is checked against the package's files."""

    data: str
    models: tuple[str, ...]
    output: str
    options: Mapping[str, object]
    is_video: bool = False
    """True when SLEAP asks for a prediction on a whole video; `data` may still name the project that refers to it."""
    warnings: tuple[str, ...] = ()
    """Sentences for people about settings that are ignored."""


@frozen
class PackageContext:
    """The files and the future models that predictions of a package may use."""

    package: PackageFiles
    run_paths: Mapping[str, str]
    """Run folder of each model that the plan trains, by the `collision_key` of the path and of the name that the
    package gives the model."""
    trained: dict[str, TrainedModel] = field(factory=dict)
    """What is known of each model, by its run folder, or by its folder in the package once it was checked."""
    used: UsedNames = field(init=False)
    """The files of the package, and the outputs of the predictions that were read."""
    models: Mapping[str, str] = field(init=False)
    """The configuration of each trained model in the package, by the model's folder."""
    models_by_key: Mapping[str, str] = field(init=False)
    """The folders of these models, by the `collision_key` of the folder."""
    models_by_name: Mapping[str, list[str]] = field(init=False)
    """The folders of these models, by the `collision_key` of the folder's last part."""
    image_folders: Mapping[str, str] = field(init=False)
    """The folders that hold images, by the `collision_key` of the folder."""

    @used.default
    def _use_files(self) -> UsedNames:
        return UsedNames.of(self.package.files)

    @models.default
    def _find_models(self) -> Mapping[str, str]:
        return _model_folders(self.package.files)

    @models_by_key.default
    def _find_keys(self) -> Mapping[str, str]:
        return {collision_key(folder): folder for folder in self.models}

    @models_by_name.default
    def _name_models(self) -> Mapping[str, list[str]]:
        names: dict[str, list[str]] = {}
        for folder in self.models:
            names.setdefault(collision_key(PurePosixPath(folder).name), []).append(folder)
        return names

    @image_folders.default
    def _find_image_folders(self) -> Mapping[str, str]:
        images = (name for name in self.package.files if name.endswith(IMAGE_ENDINGS))
        folders = {name.rpartition("/")[0] for name in images}
        return {collision_key(folder): folder for folder in folders if folder}


def read_predictions(
    tree: Any, lines: tuple[PredictLine, ...], context: PackageContext, *, strict: bool
) -> tuple[tuple[PredictStep, ...], tuple[str, ...]]:
    """Return the predictions that are possible, and a sentence for people about each thing that is left out.

    Args:
        tree: the parsed jobs.yaml of the package, or None when the package has only scripts.
        lines: the predicting lines of inference-script.sh.
        context: what the predictions may refer to.
        strict: raise an error for a prediction that is not possible, instead of leaving it out.

    Raises:
        RtcError: BAD_PACKAGE: `strict` is set, and a prediction is not possible.
    """
    entries = islice(_entries_with_lines(tree, lines), 2 * MODELS_MAX)
    steps: list[PredictStep] = []
    warnings: list[str] = []
    for entry, line in entries:
        try:
            if len(steps) == MODELS_MAX:
                raise bad_package(f"The package asks for more than {MODELS_MAX} predictions, which are not taken.")
            requested = _read_entry(entry, line)
            step = _check_request(requested, context)
            models = [context.trained[model] for model in step.models]
            on_labels = step.data.casefold().endswith(LABELS_ENDING)
            warnings += (*requested.warnings, *check_models_together(models, step.name, on_labels=on_labels))
            steps.append(step)
        except RtcError as error:
            if strict:
                raise bad_package(error.fault.text) from None
            warnings.append(f"A prediction is left out. {error.fault.text}")
            if len(steps) == MODELS_MAX:
                break
    return tuple(steps), tuple(dict.fromkeys(warnings))


def _entries_with_lines(tree: Any, lines: tuple[PredictLine, ...]) -> Iterator[tuple[Any, PredictLine]]:
    """Yield each `inference` entry of jobs.yaml with its line of inference-script.sh, or with an empty line.

    Entries and lines belong together only when there are as many entries as lines. Without jobs.yaml, an entry is made
    from each line.
    """
    if tree is None:
        yield from (({"data_path": line.data, "models": list(line.models)}, line) for line in lines)
        return
    entries = tree.get("inference") if isinstance(tree, dict) else None
    if not isinstance(entries, list):
        entries = [entries] if entries else []  # not a list: reported as one invalid entry
    matched = lines if len(lines) == len(entries) else (PredictLine(),) * len(entries)
    yield from zip(entries, matched, strict=True)


def _read_entry(entry: Any, line: PredictLine) -> RequestedPrediction:
    """Parse one entry of jobs.yaml, together with its line of inference-script.sh.

    Raises:
        RtcError: BAD_PACKAGE: the entry names no data, or its models are not a list of names.
    """
    data = entry.get("data_path") if isinstance(entry, dict) else None
    if not isinstance(data, str) or not data:
        raise bad_package("An entry of the package's jobs.yaml names no data to predict on.")
    models = entry.get("models")
    models = [models] if isinstance(models, str) else models or []
    if (
        not isinstance(models, list)
        or len(models) > MODELS_MAX
        or not all(isinstance(model, str) and model for model in models)
    ):
        raise bad_package(f"The models to predict on {base_name(data)} with are not named in a way that is understood.")
    output = entry.get("output_path")
    options, warnings = _merge_options(entry, line)
    output = output if isinstance(output, str) else line.output
    return RequestedPrediction(data, tuple(models), output, options, entry.get("type") == "video", warnings)


def _merge_options(entry: dict[str, Any], line: PredictLine) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the requested options, unchecked, and warnings about settings that are ignored.

    Where several places set one option, the order of precedence is: `options` in jobs.yaml (only our own packages have
    it), then the script, then SLEAP's own keys in jobs.yaml.
    """
    own_options = _section(entry, "options")
    left_out = line.left_out | {name: own_options.pop(name) for name in WORKER_OPTIONS if name in own_options}
    entry_tracking, unknown_in_entry = tracking_options(_section(entry, "tracking"))
    script_tracking, unknown_in_script = tracking_options(line.tracking)
    flags = {name: True for name in NEED_LABELS if entry.get(name) is True}
    warnings = [
        f"SLEAP's tracking setting {printable(name[:WORD_MAX])} is not known to sleap-nn and left out."
        for name in (*unknown_in_entry[:_UNKNOWN_MAX], *unknown_in_script[:_UNKNOWN_MAX])
    ]
    warnings += [option_left_out(name, value) for name, value in left_out.items()]
    requested: dict[str, object] = entry_tracking | flags | script_tracking
    for name, value in line.options.items():
        try:
            requested[name] = BY_NAME[name].read(value)
        except RtcError:
            warnings.append(f"inference-script.sh sets {name} in a way that is not understood; it is left out.")
    return requested | own_options, tuple(dict.fromkeys(warnings))


def _section(entry: dict[str, Any], key: str) -> dict[str, object]:
    section = entry.get(key)
    return {str(name): value for name, value in section.items()} if isinstance(section, dict) else {}


def _check_request(requested: RequestedPrediction, context: PackageContext) -> PredictStep:
    """Return the step for a requested prediction, after checking it against the files of the package.

    Raises:
        RtcError: BAD_PACKAGE: data or a model is missing. USAGE: an option is unknown or invalid.
    """
    data = _find_data(requested, context)
    is_labels = data.casefold().endswith(LABELS_ENDING)
    options = read_options(
        requested.options
        if is_labels
        else {key: value for key, value in requested.options.items() if key not in NEED_LABELS}
    )
    tracking = bool(options.get("tracking"))
    models = tuple(dict.fromkeys(_find_model(model, context) for model in requested.models))
    if not models and not (tracking and is_labels):
        raise bad_package(f"No model is named to predict on {base_name(data)} with.")
    name = plain_name(PurePosixPath(data).name, "data")
    output = _unused_output(requested.output or f"{name}.predictions.slp", context)
    return PredictStep(name, data, models, output, options, tracking)


def _find_data(requested: RequestedPrediction, context: PackageContext) -> str:
    """Return the path in the package of the data to predict on, a file or a folder of images.

    SLEAP's scripts contain absolute paths of the computer that exported them; only the file name of these is used. When
    a project (`.slp`) is named, its `.pkg.slp` is accepted too, because SLEAP puts only that into the package. This
    does not apply to a prediction on a video.

    Raises:
        RtcError: BAD_PACKAGE: the data are missing, outside the package, or nothing that sleap-nn predicts on.
    """
    path = requested.data
    path_in_package = posix_path(path)
    candidates = [PurePosixPath(path_in_package).name] if leaves_folder(path) else [path_in_package]
    if path_in_package.endswith(".slp") and not path_in_package.endswith(".pkg.slp") and not requested.is_video:
        candidates += [candidate.removesuffix(".slp") + ".pkg.slp" for candidate in candidates]
    if ".." in path_in_package.split("/"):
        raise bad_package("The package names data to predict on outside itself.")
    for candidate in candidates:
        file, folder = context.package.find(candidate), context.image_folders.get(collision_key(candidate))
        found = file or folder
        if found is None:
            continue
        if found == folder and PurePosixPath(folder).suffix == LABELS_ENDING:
            raise bad_package(f"{base_name(found)} is a folder, and its name is one of labels. Rename it.")
        if found == file and not found.casefold().endswith((LABELS_ENDING, *VIDEO_ENDINGS, *IMAGE_ENDINGS)):
            raise bad_package(f"{base_name(found)} is neither a video nor labels that sleap-nn can predict on.")
        return found
    raise bad_package(
        f"The data {base_name(path)!r} to predict on is missing from the package. "
        "Put it in, or let `sleap-rtc track` build the package."
    )


def _find_model(path: str, context: PackageContext) -> str:
    """Return the folder of a model that the plan trains, or of one that is in the package.

    `path` may name the folder or one of its files; a path of another computer is matched by the folder's name.

    Raises:
        RtcError: BAD_PACKAGE: there is no such model, several have its name, or the path leads outside the package.
    """
    folder = PurePosixPath(posix_path(path))
    if folder.name in _MODEL_FILE_NAMES:
        folder = folder.parent
    key, name_key = collision_key(folder.as_posix()), collision_key(folder.name)
    if key in context.run_paths:
        return context.run_paths[key]
    if ".." in folder.parts:
        raise bad_package("The package names a model outside itself.")
    if name_key in context.run_paths:
        return context.run_paths[name_key]
    inside = None if leaves_folder(path) else context.models_by_key.get(key)
    found = [inside] if inside is not None else context.models_by_name.get(name_key, [])
    if len(found) == 1:
        _check_model_config(found[0], context)
        return found[0]
    raise bad_package(
        f"The model {base_name(folder.as_posix())!r} is missing from the package: "
        "its folder with best.ckpt and training_config.yaml. Put it in, or let `sleap-rtc track` build the package."
    )


def _check_model_config(folder: str, context: PackageContext) -> None:
    """Parse and check the configuration of a trained model, which sleap-nn reads too; once for each model.

    Paths in it are those of the computer that trained the model, and sleap-nn does not open them for a prediction.

    Raises:
        RtcError: BAD_PACKAGE: it cannot be parsed, or reads environment variables.
    """
    if folder not in context.trained:
        name = context.models[folder]
        text = context.package.text(name)
        # sleap-nn itself says what is wrong with an empty one
        tree = parse_settings(name, text, FILE_SETTINGS) if text.strip() else None
        context.trained[folder] = trained_model(folder, tree)


def _model_folders(files: frozenset[str]) -> dict[str, str]:
    """Return the configuration of each model whose folder also holds its weights, by the folder."""
    folders = {name.rpartition("/")[0] for name in files if name.rpartition("/")[2] in WEIGHTS_FILES}
    found = (
        (folder, f"{folder}/{config}") for folder in sorted(filter(None, folders)) for config in CONFIG_FILES[::-1]
    )
    return {folder: config for folder, config in found if config in files}


def _unused_output(requested: str, context: PackageContext) -> str:
    """Return an output path that collides with no file of the package and no other output.

    sleap-nn would overwrite an existing file, and the names of results must also differ on a disk that ignores case.
    The requested folder is kept, unless it is outside the package, below the folder of models, or a file.
    """
    parts = [plain_name(part, "predictions") for part in posix_path(requested).split("/")[-FOLDERS_MAX:]]
    if leaves_folder(requested) or f"{parts[0]}/".casefold() == MODELS_FOLDER:
        parts = parts[-1:]
    if any("/".join(parts[:depth]) in context.package.files for depth in range(1, len(parts))):
        parts = parts[-1:]  # one of its folders is a file in the package
    name = "/".join(parts)
    ending = ".predictions.slp" if name.endswith(".predictions.slp") else LABELS_ENDING
    return context.used.choose(name, ending)

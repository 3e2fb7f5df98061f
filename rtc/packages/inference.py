"""What a package wants predicted: the entries under `inference` in its jobs.yaml, checked against its files.

SLEAP names models and videos that it does not put into the package; what cannot work is told, never guessed at.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from attrs import field, frozen

from protocol.faults import FaultCode
from protocol.jobs import MODELS_MAX
from rtc.common.errors import RtcError
from rtc.packages.file_names import fresh, plain_name, short_name, slashed
from rtc.packages.hydra_overrides import leaves
from rtc.packages.inference_script import PredictLine
from rtc.packages.predict_options import BY_NAME, NEED_LABELS, Value, read_options
from rtc.packages.sources import Inside
from rtc.packages.tracking_settings import tracking_options
from rtc.packages.zip_reader import bad

LABELS_ENDING = ".slp"
VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mj2", ".mkv", ".h5", ".hdf5", ".seq", ".tif", ".tiff")
"""What sleap-nn 0.3.5 reads as a video, through sleap-io."""
_MODEL_FILES = ("best.ckpt", "best_model.h5")
_MODEL_CONFIGS = ("training_config.yaml", "training_config.json")
_MODEL_PARTS = frozenset({*_MODEL_FILES, *_MODEL_CONFIGS, "training_config.yml", "initial_config.yaml"})
MODELS = "models/"


@frozen
class PredictStep:
    """One file to predict on; one run of sleap-nn."""

    name: str
    """For people: the data's file name."""
    data: str
    """Relative to the plan's root, as all paths here."""
    models: tuple[str, ...]
    """Folders of models, in the package or trained by the plan; none when it only tracks what was predicted before."""
    output: str
    """Not there yet, and different for each step."""
    options: Mapping[str, Value] = field(factory=dict)
    tracking: bool = False


@frozen
class RequestedPrediction:
    """A prediction as written, before it is checked against the files."""

    data: str
    models: tuple[str, ...]
    output: str
    options: Mapping[str, object]
    of_video: bool = False
    """SLEAP wants a video gone through, even where it names the project that knows the video."""
    notes: tuple[str, ...] = ()


@frozen
class PackageContext:
    """What predictions of a package may use."""

    inside: Inside
    runs: Mapping[str, str]
    """Where the plan's own training puts its models, by the path and by the name that the package gives them."""


def read_predictions(
    tree: Any, lines: tuple[PredictLine, ...], context: PackageContext, *, strict: bool
) -> tuple[tuple[PredictStep, ...], tuple[str, ...]]:
    """The predictions that can be made, and a sentence for each thing that is left out.

    `tree` is the package's jobs.yaml, or None when there is only a script. `strict`: all must be possible.

    Raises:
        RtcError: BAD_PACKAGE: `strict`, and one is not.
    """
    entries = _entries(tree, lines)
    steps: list[PredictStep] = []
    notes: list[str] = []
    for entry, line in entries:
        try:
            if len(steps) == MODELS_MAX:
                raise bad(f"The package asks for more than {MODELS_MAX} predictions, which are not taken.")
            wanted = _wanted(entry, line)
            steps.append(_step(wanted, context, [step.output for step in steps]))
            notes += wanted.notes
        except RtcError as error:
            if strict:
                raise bad(error.fault.text) from None
            notes.append(f"A prediction is left out. {error.fault.text}")
            if len(steps) == MODELS_MAX:
                break
    return tuple(steps), tuple(dict.fromkeys(notes))


def _entries(tree: Any, lines: tuple[PredictLine, ...]) -> Iterator[tuple[Any, PredictLine]]:
    """Entries of jobs.yaml, each with its line of the script; the script alone when there is no jobs.yaml."""
    if tree is None:
        yield from (({"data_path": line.data, "models": list(line.models)}, line) for line in lines)
        return
    entries = tree.get("inference") if isinstance(tree, dict) else None
    if not isinstance(entries, list):
        entries = [entries] if entries else []  # no list: told as an entry that is none
    matched = lines if len(lines) == len(entries) else (PredictLine(),) * len(entries)
    yield from zip(entries, matched, strict=True)


def _wanted(entry: Any, line: PredictLine) -> RequestedPrediction:
    data = entry.get("data_path") if isinstance(entry, dict) else None
    if not isinstance(data, str) or not data:
        raise bad("An entry of the package's jobs.yaml names no data to predict on.")
    models = entry.get("models")
    models = [models] if isinstance(models, str) else models or []
    if not isinstance(models, list) or not all(isinstance(model, str) and model for model in models):
        raise bad(f"The models to predict on {short_name(data)} with are not named in a way that is understood.")
    output = entry.get("output_path")
    options, notes = _options(entry, line)
    output = output if isinstance(output, str) else line.output
    return RequestedPrediction(data, tuple(models), output, options, entry.get("type") == "video", notes)


def _options(entry: dict[str, Any], line: PredictLine) -> tuple[dict[str, object], tuple[str, ...]]:
    """All that is asked for; what our own packages say outweighs the script, which outweighs SLEAP's jobs.yaml."""
    tracking, own = _part(entry, "tracking"), _part(entry, "options")
    tracked, strange = tracking_options(tracking)
    old, strange_too = tracking_options(line.tracking)
    flags = {name: True for name in NEED_LABELS if entry.get(name) is True}
    notes = [f"SLEAP's tracking setting {name} is not known to sleap-nn and left out." for name in strange]
    notes += [f"SLEAP's tracking setting {name} is not known to sleap-nn and left out." for name in strange_too]
    said: dict[str, object] = tracked | flags | old
    for name, value in line.options.items():
        try:
            said[name] = BY_NAME[name].read(value)
        except RtcError:
            notes.append(f"inference-script.sh sets {name} in a way that is not understood; it is left out.")
    return said | own, tuple(dict.fromkeys(notes))


def _part(entry: dict[str, Any], key: str) -> dict[str, object]:
    part = entry.get(key)
    return {str(name): value for name, value in part.items()} if isinstance(part, dict) else {}


def _step(wanted: RequestedPrediction, context: PackageContext, outputs: list[str]) -> PredictStep:
    data = _data(wanted, context.inside.files)
    is_labels = data.casefold().endswith(LABELS_ENDING)
    options = read_options(
        wanted.options if is_labels else {key: value for key, value in wanted.options.items() if key not in NEED_LABELS}
    )
    tracking = bool(options.get("tracking"))
    models = tuple(dict.fromkeys(_model(model, context) for model in wanted.models))
    if not models and not (tracking and is_labels):
        raise bad(f"No model is named to predict on {short_name(data)} with.")
    name = plain_name(PurePosixPath(data).name, "data")
    output = _output(wanted.output or f"{name}.predictions.slp", context.inside.files, outputs)
    return PredictStep(name, data, models, output, options, tracking)


def _data(wanted: RequestedPrediction, files: frozenset[str]) -> str:
    """The data's place in the package. SLEAP's scripts name the exporter's own folders; then the name alone counts."""
    path = wanted.data
    plain = slashed(path)
    places = [PurePosixPath(plain).name] if leaves(path) else [plain]
    if plain.endswith(".slp") and not plain.endswith(".pkg.slp") and not wanted.of_video:
        places += [place.removesuffix(".slp") + ".pkg.slp" for place in places]  # the project itself stayed at home
    if ".." in plain.split("/"):
        raise bad("The package names data to predict on outside itself.")
    for place in places:
        if place in files:
            if not place.casefold().endswith((LABELS_ENDING, *VIDEO_ENDINGS)):
                raise bad(f"{short_name(place)} is neither a video nor labels that sleap-nn can predict on.")
            return place
    raise RtcError(
        FaultCode.BAD_PACKAGE,
        f"The data {short_name(path)!r} to predict on is missing from the package. "
        "Put it in, or let `sleap-rtc track` build the package.",
    )


def _model(path: str, context: PackageContext) -> str:
    """A model's folder: one that the plan trains, or one that lies in the package."""
    folder = PurePosixPath(slashed(path))
    if folder.name in _MODEL_PARTS:
        folder = folder.parent
    if ".." in folder.parts:
        raise bad("The package names a model outside itself.")
    for known in (folder.as_posix(), folder.name):
        if known in context.runs:
            return context.runs[known]
    here = _model_folders(context.inside.files)
    if not leaves(path) and folder.as_posix() in here:
        return folder.as_posix()
    same = [model for model in here if PurePosixPath(model).name == folder.name]
    if len(same) == 1:
        return same[0]
    raise bad(
        f"The model {short_name(folder.as_posix())!r} is missing from the package: "
        "its folder with best.ckpt and training_config.yaml. Put it in, or let `sleap-rtc track` build the package."
    )


def _model_folders(files: frozenset[str]) -> list[str]:
    """Every folder that holds a whole model."""
    folders = {name.rpartition("/")[0] for name in files if name.rpartition("/")[2] in _MODEL_FILES}
    return sorted(
        folder for folder in folders if folder and any(f"{folder}/{config}" in files for config in _MODEL_CONFIGS)
    )


def _output(wished: str, files: frozenset[str], outputs: list[str]) -> str:
    """A fresh file: sleap-nn would write over another, and results must not fall together on anybody's disk.

    It keeps its folder, unless that is where models come back.
    """
    parts = [plain_name(part, "predictions") for part in slashed(wished).split("/")]
    if leaves(wished) or f"{parts[0]}/".casefold() == MODELS:
        parts = parts[-1:]
    if any("/".join(parts[:depth]) in files for depth in range(1, len(parts))):
        parts = parts[-1:]  # what it names as its folder is a file
    name = "/".join(parts)
    ending = ".predictions.slp" if name.endswith(".predictions.slp") else LABELS_ENDING
    return fresh(name, [*files, *outputs], ending)

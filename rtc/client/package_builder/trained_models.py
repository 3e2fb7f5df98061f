"""Finds trained models on the client's disk: of each the two files that prediction needs, weights and configuration."""

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.inference import CONFIG_FILES, WEIGHTS_FILES


@frozen
class ModelFiles:
    """One trained model."""

    name: str
    """The name of its folder."""
    files: tuple[Path, ...]
    """The weights and the configuration."""


def find_models(paths: Sequence[Path]) -> tuple[ModelFiles, ...]:
    """Return the models at these paths, each once.

    A path may be the model's folder, its weights (`best.ckpt`) or its configuration (`training_config.yaml`).

    Raises:
        RtcError: USAGE: a model does not exist, or lacks one of its two files.
    """
    return tuple({model.files[0]: model for model in map(_find_model, paths)}.values())


def _find_model(path: Path) -> ModelFiles:
    """Return the model at this path.

    Raises:
        RtcError: USAGE: it does not exist, or lacks one of its two files.
    """
    folder = path.parent if path.name in WEIGHTS_FILES + CONFIG_FILES else path
    folder = folder.resolve()
    if not folder.is_dir():
        what = "is no model; name its folder" if folder.exists() else "is not there"
        raise RtcError(FaultCode.USAGE, f"The model {path.name or path} {what}.")
    weights, config = (_first_existing(folder, names) for names in (WEIGHTS_FILES, CONFIG_FILES))
    if weights is None or config is None:
        missing = WEIGHTS_FILES[0] if weights is None else CONFIG_FILES[0]
        raise RtcError(FaultCode.USAGE, f"The model {folder.name} lacks its {missing}.{_suggest_models(folder)}")
    return ModelFiles(folder.name, (weights, config))


def _first_existing(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _suggest_models(folder: Path) -> str:
    """Return a sentence that names models below this folder, or an empty text.

    Models are in a folder of models, and that is in a folder of results; a person may have named one of these instead.
    """
    found = (
        path for pattern in ("*", "models/*") for path in folder.glob(pattern) if _first_existing(path, WEIGHTS_FILES)
    )
    below = sorted(path.relative_to(folder).as_posix() for path in found)
    return f" Name a model in it: {', '.join(below[:5])}." if below else ""

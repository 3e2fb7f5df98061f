"""Finds trained models on the client's disk: of each the two files that prediction needs, weights and configuration."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.inference import CONFIG_FILES, WEIGHTS_FILES
from rtc.packages.model_config import parse_settings
from rtc.packages.model_sets import TrainedModel, trained_model
from rtc.packages.setting_paths import get_setting
from rtc.packages.sources import TEXT_MAX
from rtc.packages.text_encoding import decode_text

_ZIP_START, _POINTER_START = b"PK\x03\x04", b"version https://git-lfs"
"""The first bytes of PyTorch's weights, and of what Git LFS leaves in place of a large file."""


@frozen
class ModelFiles:
    """One trained model."""

    name: str
    """The name of its folder."""
    files: tuple[Path, ...]
    """The weights and the configuration."""
    described: TrainedModel
    """What its configuration says about its use."""


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
    modern, legacy = zip(WEIGHTS_FILES, CONFIG_FILES, strict=True)
    kind = modern if any((folder / name).is_file() for name in modern) else legacy
    weights, config = (_first_existing(folder, [name]) for name in kind)
    if weights is None or config is None:
        missing = (kind if weights or config else modern)[0 if weights is None else 1]
        early = " Its training has saved no model yet, or was ended before it did." if config is not None else ""
        raise RtcError(FaultCode.USAGE, f"The model {folder.name} lacks its {missing}.{early}{_suggest_models(folder)}")
    _check_weights(weights, folder.name)
    return ModelFiles(folder.name, (weights, config), _describe(config, folder.name))


def _check_weights(path: Path, model: str) -> None:
    """Check that a file of weights is whole, as far as its first and last bytes tell.

    Raises:
        RtcError: USAGE: it is empty, cut off, or a placeholder.
    """
    with path.open("rb") as file:
        start = file.read(len(_POINTER_START))
    if start.startswith(_POINTER_START):
        text = f"{path.name} of the model {model} is a placeholder of Git LFS. Get the file itself with: git lfs pull"
        raise RtcError(FaultCode.USAGE, text)
    if not start or (start.startswith(_ZIP_START) and not zipfile.is_zipfile(path)):
        text = f"{path.name} of the model {model} is not whole. Was it copied before it was written to its end?"
        raise RtcError(FaultCode.USAGE, text)


def _describe(config: Path, model: str) -> TrainedModel:
    """Return what the configuration of a model says about its use.

    Raises:
        RtcError: USAGE: SLEAP 1.4 or older made the model with a backbone that sleap-nn does not have. BAD_PACKAGE: the
            configuration cannot be read.
    """
    with config.open("rb") as file:
        data = file.read(TEXT_MAX + 1)
    name = f"{config.name} of the model {model}"
    text = decode_text(name, data) if len(data) <= TEXT_MAX else ""
    tree = parse_settings(config.name, text) if text.strip() else None
    backbones = get_setting(tree, "model.backbone") if isinstance(tree, dict) else None
    if isinstance(backbones, dict) and any(backbones.values()) and not backbones.get("unet"):
        text = f"The model {model} has a backbone that today's SLEAP no longer has. Use a U-Net, or train it again."
        raise RtcError(FaultCode.USAGE, text)
    return trained_model(model, tree)


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

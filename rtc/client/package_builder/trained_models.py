"""Trained models on a person's disk: the two files of each that predicting needs."""

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError

WEIGHTS = ("best.ckpt", "best_model.h5")
"""The second is SLEAP ≤ 1.4's, which sleap-nn reads too."""
CONFIGS = ("training_config.yaml", "training_config.json")


@frozen
class ModelFiles:
    """One trained model."""

    name: str
    """Its folder's."""
    files: tuple[Path, ...]


def find_models(given: Sequence[Path]) -> tuple[ModelFiles, ...]:
    """Models named by their folder, their `best.ckpt` or their `training_config.yaml`; each once.

    Raises:
        RtcError: USAGE: one is not there, or not whole.
    """
    return tuple({model.files[0]: model for model in map(_find, given)}.values())


def _find(given: Path) -> ModelFiles:
    folder = given.parent if given.name in WEIGHTS + CONFIGS else given
    folder = folder.resolve()
    if not folder.is_dir():
        what = "is no model; name its folder" if folder.exists() else "is not there"
        raise RtcError(FaultCode.USAGE, f"The model {given.name or given} {what}.")
    weights, config = (_first(folder, names) for names in (WEIGHTS, CONFIGS))
    if weights is None or config is None:
        missing = WEIGHTS[0] if weights is None else CONFIGS[0]
        raise RtcError(FaultCode.USAGE, f"The model {folder.name} lacks its {missing}.{_instead(folder)}")
    return ModelFiles(folder.name, (weights, config))


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _instead(folder: Path) -> str:
    """Models come in folders of models, and those in folders of results; somebody may have named one of these."""
    found = (path for pattern in ("*", "models/*") for path in folder.glob(pattern) if _first(path, WEIGHTS))
    below = sorted(path.relative_to(folder).as_posix() for path in found)
    return f" Name a model in it: {', '.join(below[:5])}." if below else ""

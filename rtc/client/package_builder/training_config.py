"""Training configurations from a person's own disk, made fit for a package: every file they name comes along.

A configuration may come from SLEAP, from a config folder, or from an earlier training, whose paths lead anywhere.
"""

import json
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml
from attrs import frozen

from protocol.faults import FaultCode
from rtc.client.package_builder.slp_files import check_file
from rtc.common.errors import RtcError
from rtc.packages.model_config import read_config
from rtc.packages.safe_yaml import safe_yaml
from rtc.packages.sources import TEXT_MAX, decode_text

_LABELS = (("data_config", "val_labels_path"), ("data_config", "test_file_path"))
_OLD_LABELS = (("data", "labels", "validation_labels"), ("data", "labels", "test_labels"))
_WEIGHTS = (
    ("trainer_config", "resume_ckpt_path"),
    ("model_config", "pretrained_backbone_weights"),
    ("model_config", "pretrained_head_weights"),
)
_NOWHERE = (("data_config", "cache_img_path"),)
"""Folders of the person's own machine, which mean nothing elsewhere."""
_FIRST = "centroid"
"""Trained before what is centered on it, as SLEAP does."""

Bring = Callable[[Path, str], str]
"""Takes a file along, in a folder of the package; its name there."""


@frozen
class TrainingConfig:
    """One model's configuration, as it was found."""

    path: Path
    head: str
    tree: dict[str, Any]
    legacy: bool

    @property
    def ending(self) -> str:
        """Of its name in the package."""
        return ".json" if self.legacy else ".yaml"

    def others(self) -> tuple[Path, ...]:
        """The further labels that it names.

        Raises:
            RtcError: USAGE: one is not there.
        """
        keys = _OLD_LABELS if self.legacy else _LABELS
        return tuple(self._find(path) for key in keys for path in _texts(_get(self.tree, key)))

    def packed(self, labels: str, run: str, bring: Bring) -> str:
        """Its text for the package: these labels, this run, and whatever else it names brought along.

        Raises:
            RtcError: a file it names is not there, or it asks for what is not allowed.
        """
        tree: dict[str, Any] = json.loads(json.dumps(self.tree, default=str))
        for keys, folder in (
            (_OLD_LABELS if self.legacy else _LABELS, ""),
            (() if self.legacy else _WEIGHTS, "weights"),
        ):
            for key in keys:
                self._bring(tree, key, folder, bring)
        if self.legacy:
            _set(tree, ("data", "labels", "training_labels"), labels)
            _set(tree, ("outputs", "run_name"), run)
        else:
            _set(tree, ("data_config", "train_labels_path"), [labels])
            _set(tree, ("trainer_config", "ckpt_dir"), "models")
            _set(tree, ("trainer_config", "run_name"), run)
            for key in _NOWHERE:
                if _get(tree, key) is not None:
                    _set(tree, key, None)
        text = json.dumps(tree, indent=1) if self.legacy else yaml.safe_dump(tree, sort_keys=False)
        read_config(f"{self.path.stem}{self.ending}", text)
        return text

    def _bring(self, tree: dict[str, Any], key: tuple[str, ...], folder: str, bring: Bring) -> None:
        value = _get(tree, key)
        names = [bring(self._find(path), folder) for path in _texts(value)]
        if names:
            _set(tree, key, names if isinstance(value, list) else names[0])

    def _find(self, named: str) -> Path:
        """A file that the configuration names: where it says, or next to it."""
        name = PureWindowsPath(named).name  # understands both kinds of slashes
        for place in (self.path.parent / named, self.path.parent / name, Path(named)):
            if place.is_file():
                return place
        raise RtcError(
            FaultCode.USAGE,
            f"{self.path.name} names {name!r}, which is not there. Put it next to {self.path.name}, or take it out.",
        )


def read_training_configs(paths: tuple[Path, ...]) -> tuple[TrainingConfig, ...]:
    """All configurations, in the order in which their models are trained.

    Raises:
        RtcError: USAGE or BAD_PACKAGE: one is none.
    """
    if not paths:
        raise RtcError(FaultCode.USAGE, "Name a training configuration, one for each model.")
    return tuple(sorted(map(_read, paths), key=lambda training_config: training_config.head != _FIRST))


def _read(path: Path) -> TrainingConfig:
    check_file(path)
    legacy = path.suffix.lower() == ".json"
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        raise RtcError(FaultCode.USAGE, f"{path.name} is no training configuration; these end in .yaml.")
    with path.open("rb") as file:
        data = file.read(TEXT_MAX + 1)
    if len(data) > TEXT_MAX:
        raise RtcError(FaultCode.USAGE, f"{path.name} is too large to be a training configuration.")
    tree = _parse(path.name, decode_text(path.name, data), legacy)
    heads = tree.get("model", {}) if legacy else tree.get("model_config", {})
    heads = heads.get("heads" if legacy else "head_configs") if isinstance(heads, dict) else None
    found = [str(name) for name, head in heads.items() if head is not None] if isinstance(heads, dict) else []
    if len(found) != 1:
        text = f"{path.name} is no training configuration of one model: it fills in {len(found)} heads instead of one."
        raise RtcError(FaultCode.USAGE, text)
    return TrainingConfig(path, found[0], tree, legacy)


def _parse(name: str, text: str, legacy: bool) -> dict[str, Any]:
    try:
        tree = json.loads(text) if legacy else safe_yaml(name, text)
    except (ValueError, RecursionError):
        raise RtcError(FaultCode.USAGE, f"{name} cannot be read: it is no valid JSON.") from None
    if not isinstance(tree, dict):
        raise RtcError(FaultCode.USAGE, f"{name} is no training configuration.")
    return tree


def _get(tree: dict[str, Any], key: tuple[str, ...]) -> Any:
    here: Any = tree
    for part in key:
        here = here.get(part) if isinstance(here, dict) else None
    return here


def _set(tree: dict[str, Any], key: tuple[str, ...], value: Any) -> None:
    here = tree
    for part in key[:-1]:
        if not isinstance(here.get(part), dict):
            here[part] = {}
        here = here[part]
    here[key[-1]] = value


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str) and item]

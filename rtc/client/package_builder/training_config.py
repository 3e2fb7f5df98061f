"""Reads training configurations on the client's disk, and writes their text for a package, with the files they name.

A configuration may come from SLEAP, from a folder of configurations, or from an earlier training; the paths in it may
be outdated or belong to another computer.
"""

from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from attrs import frozen

from protocol.faults import FaultCode
from rtc.client.package_builder.slp_files import check_file
from rtc.common.errors import RtcError
from rtc.packages.hydra_overrides import FROM_COMMAND_LINE, LABELS_KEY, Override, read_overrides
from rtc.packages.model_config import CKPT_DIR_KEY, RUN_NAME_KEY, WANDB_KEY, parse_settings, read_model_config
from rtc.packages.safe_yaml import json_text, yaml_text
from rtc.packages.setting_checks import RefusedBy, find_refused, merge
from rtc.packages.setting_paths import get_setting, with_setting
from rtc.packages.sources import TEXT_MAX
from rtc.packages.text_encoding import decode_text
from rtc.packages.written_config import TRAINED_FIRST

_LABELS = ("data_config.val_labels_path", "data_config.test_file_path")
_LEGACY_LABELS = ("data.labels.validation_labels", "data.labels.test_labels")
_WEIGHTS = (
    "trainer_config.resume_ckpt_path",
    "model_config.pretrained_backbone_weights",
    "model_config.pretrained_head_weights",
)
_OWN_SETTINGS = ("data_config.cache_img_path", WANDB_KEY)
"""Settings that are removed: a folder of the client's own computer, which does not exist elsewhere, and the key of a
service, which no job needs."""

AddFile = Callable[[Path, str], str]
"""Adds a file to a folder of the package, and returns its name in the package."""


@frozen
class TrainingConfig:
    """The training configuration of one model, as it is on disk."""

    path: Path
    head: str
    """The one head that is filled in, such as `centroid`."""
    tree: dict[str, Any]
    """The parsed content."""
    legacy: bool
    """True for the JSON of SLEAP 1.4 and older."""

    @property
    def ending(self) -> str:
        """The suffix of its name in the package."""
        return ".json" if self.legacy else ".yaml"

    def other_labels(self) -> tuple[Path, ...]:
        """Return the paths of the labels for validation and test that it names.

        Raises:
            RtcError: USAGE: a file does not exist.
        """
        keys = _LEGACY_LABELS if self.legacy else _LABELS
        return tuple(self._find_file(path) for key in keys for path in _strings(get_setting(self.tree, key)))

    def package_text(self, labels: str, run: str, add: AddFile) -> str:
        """Return the text of the configuration for the package, after adding every other file that it names.

        Args:
            labels: the name in the package of the labels to train on.
            run: the name of the run.
            add: adds a file to the package.

        Raises:
            RtcError: USAGE: a file does not exist. BAD_PACKAGE: the configuration contains something not allowed.
        """
        tree = self.tree
        for key in _LEGACY_LABELS if self.legacy else _LABELS:
            tree = self._with_files(tree, key, "", add)
        for key in () if self.legacy else _WEIGHTS:
            tree = self._with_files(tree, key, "weights", add)
        if self.legacy:
            tree = with_setting(tree, "data.labels.training_labels", labels)
            tree = with_setting(tree, "outputs.run_name", run)
        else:
            tree = with_setting(tree, LABELS_KEY, [labels])
            tree = with_setting(tree, CKPT_DIR_KEY, "models")
            tree = with_setting(tree, RUN_NAME_KEY, run)
            for key in _OWN_SETTINGS:
                if get_setting(tree, key) is not None:
                    tree = with_setting(tree, key, None)
        text = json_text(tree) if self.legacy else yaml_text(tree)
        read_model_config(f"{self.path.stem}{self.ending}", text)
        return text

    def _with_files(self, tree: dict[str, Any], key: str, folder: str, add: AddFile) -> dict[str, Any]:
        """Add the files that one setting names to a folder of the package; return `tree` with their new names.

        Raises:
            RtcError: USAGE: a file does not exist.
        """
        value = get_setting(tree, key)
        names = [add(self._find_file(path), folder) for path in _strings(value)]
        return with_setting(tree, key, names if isinstance(value, list) else names[0]) if names else tree

    def _find_file(self, named: str) -> Path:
        """Return the path of a file that the configuration names: at the path it gives, or next to the configuration.

        Raises:
            RtcError: USAGE: there is no such file.
        """
        name = PureWindowsPath(named).name  # accepts both `/` and `\` as separators
        candidates = (self.path.parent / named, self.path.parent / name, Path(named))
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        if any(candidate.is_dir() for candidate in candidates):
            text = f"{self.path.name} names {named!r}, which is a folder. Name the file in it, such as best.ckpt."
            raise RtcError(FaultCode.USAGE, text)
        raise RtcError(
            FaultCode.USAGE,
            f"{self.path.name} names {name!r}, which is not there. Put it next to {self.path.name}, or take it out.",
        )


def read_training_configs(paths: tuple[Path, ...]) -> tuple[TrainingConfig, ...]:
    """Read training configurations; return them in the order in which the models are trained.

    Raises:
        RtcError: USAGE or BAD_PACKAGE: there are none, or a file is not a training configuration of one model.
    """
    if not paths:
        raise RtcError(FaultCode.USAGE, "Name a training configuration, one for each model.")
    return tuple(sorted(map(_read, paths), key=lambda config: not config.head.startswith(TRAINED_FIRST)))


def refused_settings(paths: tuple[Path, ...], overrides: Sequence[str]) -> RefusedBy:
    """Return what versions of sleap-nn refuse in training configurations with these overrides (`check_refused`).

    Args:
        paths: one configuration for each model; none: sleap-nn writes them later.
        overrides: overrides as a person typed them; they apply to every model.

    Raises:
        RtcError: USAGE or BAD_PACKAGE: under the conditions of `read_training_configs` and `read_overrides`.
    """
    configs = read_training_configs(paths) if paths else ()
    return find_refused_in(configs, read_overrides(overrides, FROM_COMMAND_LINE))


def find_refused_in(configs: Sequence[TrainingConfig], overrides: Sequence[Override]) -> RefusedBy:
    """Do as `refused_settings`, for configurations and overrides that are read already."""
    if not configs:
        return find_refused("The configuration", None, overrides, ())
    return merge(
        find_refused(config.path.name, None if config.legacy else config.tree, overrides, ("labels.slp",))
        for config in configs
    )


def _read(path: Path) -> TrainingConfig:
    check_file(path)
    legacy = path.suffix.lower() == ".json"
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        raise RtcError(FaultCode.USAGE, f"{path.name} is no training configuration; these end in .yaml.")
    with path.open("rb") as file:
        data = file.read(TEXT_MAX + 1)
    if len(data) > TEXT_MAX:
        raise RtcError(FaultCode.USAGE, f"{path.name} is too large to be a training configuration.")
    tree = _parse(path.name, decode_text(path.name, data))
    heads = tree.get("model", {}) if legacy else tree.get("model_config", {})
    heads = heads.get("heads" if legacy else "head_configs") if isinstance(heads, dict) else None
    found = [str(name) for name, head in heads.items() if head is not None] if isinstance(heads, dict) else []
    if len(found) != 1:
        text = f"{path.name} is no training configuration of one model: it fills in {len(found)} heads instead of one."
        raise RtcError(FaultCode.USAGE, text)
    return TrainingConfig(path, found[0], tree, legacy)


def _parse(name: str, text: str) -> dict[str, Any]:
    tree = parse_settings(name, text)
    if not isinstance(tree, dict):
        raise RtcError(FaultCode.USAGE, f"{name} is no training configuration.")
    return tree


def _strings(value: Any) -> list[str]:
    """Return the non-empty strings of a list, or the value itself in a list if it is a non-empty string."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str) and item]

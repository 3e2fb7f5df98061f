"""The training configuration of one model: the few settings that planning needs, and a check for outside paths.

Two formats exist: the YAML of sleap-nn (SLEAP 1.5 and later), and the JSON of SLEAP 1.4 and older, which the worker
converts before training.
"""

import json
from typing import Any

from attrs import frozen

from protocol.fields import COUNT_MAX, is_printable
from rtc.packages.hydra_overrides import leaves_folder
from rtc.packages.safe_yaml import safe_yaml
from rtc.packages.zip_reader import bad_package

_PATH_SETTINGS = (
    ("data_config", "train_labels_path"),
    ("data_config", "val_labels_path"),
    ("data_config", "test_file_path"),
    ("data_config", "cache_img_path"),
    ("trainer_config", "ckpt_dir"),
    ("trainer_config", "run_name"),
    ("trainer_config", "resume_ckpt_path"),
    ("model_config", "pretrained_backbone_weights"),
    ("model_config", "pretrained_head_weights"),
)
"""Settings of sleap-nn 0.3.5 that name a file or folder to read or write; weights are pickles, which can run code."""


@frozen
class ModelConfig:
    """The settings of a training configuration that a plan needs."""

    labels: tuple[str, ...]
    """Paths of the labels to train on, as written; empty when the configuration names none."""
    other_labels: tuple[str, ...]
    """Paths of the other labels that the configuration needs: validation and test."""
    run_name: str
    """The name of the run, or empty."""
    epochs: int | None
    """Maximum number of epochs, if the configuration has one."""
    legacy: bool
    """True for the JSON of SLEAP 1.4 and older."""
    head: str = ""
    """The model's head, such as `centroid` or `centered_instance`; empty when it is not exactly one."""


def read_model_config(name: str, text: str) -> ModelConfig:
    """Parse and check the text of a configuration; `name` is its path in the package.

    Raises:
        RtcError: BAD_PACKAGE: it cannot be parsed, describes no model, names a path outside the package, or reads
            environment variables (`${…}`).
    """
    if "${" in text:  # OmegaConf would fill in the worker's environment
        raise bad_package(
            f"{name} fills in values from the worker's environment (it holds '${{'), which is not allowed."
        )
    legacy = name.endswith(".json")
    tree = _parse(name, text, legacy)
    return _read_legacy(name, tree) if legacy else _read_yaml(name, tree)


def _parse(name: str, text: str, legacy: bool) -> dict[str, Any]:
    tree = _parse_json(name, text) if legacy else safe_yaml(name, text)
    if not isinstance(tree, dict):
        raise bad_package(f"{name} is no training configuration. Export the package again.")
    return tree


def _parse_json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise bad_package(f"{name} cannot be read: it is no valid JSON. Export it again.") from None


def _read_yaml(name: str, tree: dict[str, Any]) -> ModelConfig:
    if not _section(tree, "model_config"):
        raise bad_package(f"{name} describes no model (it has no model_config). Export the package again.")
    for section, key in _PATH_SETTINGS:
        if any(leaves_folder(path) for path in _paths(_section(tree, section).get(key))):
            raise bad_package(f"{name} sets {key} to a place outside the package. Use paths relative to the package.")
    data, trainer = _section(tree, "data_config"), _section(tree, "trainer_config")
    run_name = trainer.get("run_name")
    return ModelConfig(
        labels=_paths(data.get("train_labels_path")),
        other_labels=_paths(data.get("val_labels_path")) + _paths(data.get("test_file_path")),
        run_name=run_name if isinstance(run_name, str) else "",
        epochs=_positive_integer(trainer.get("max_epochs")),
        legacy=False,
        head=_single_head(_section(_section(tree, "model_config"), "head_configs")),
    )


def _read_legacy(name: str, tree: dict[str, Any]) -> ModelConfig:
    """Read a configuration of SLEAP 1.4 or older.

    Its path to the training labels belongs to the computer that exported it. A path outside the package is therefore
    ignored, not refused.
    """
    backbone = _section(_section(tree, "model"), "backbone")
    if not backbone:
        raise bad_package(f"{name} describes no model. Export the package again.")
    if not backbone.get("unet"):
        raise bad_package(f"{name} uses a backbone that today's SLEAP no longer has. Choose a U-Net and export again.")
    labels, outputs = _section(_section(tree, "data"), "labels"), _section(tree, "outputs")
    other_labels = _paths(labels.get("validation_labels")) + _paths(labels.get("test_labels"))
    if any(leaves_folder(path) for path in other_labels):
        raise bad_package(f"{name} names validation or test labels outside the package. Remove them and export again.")
    train_labels = tuple(path for path in _paths(labels.get("training_labels")) if not leaves_folder(path))
    run_name = outputs.get("run_name")
    epochs = _positive_integer(_section(tree, "optimization").get("epochs"))
    head = _single_head(_section(_section(tree, "model"), "heads"))
    return ModelConfig(
        train_labels, other_labels, run_name if isinstance(run_name, str) else "", epochs, legacy=True, head=head
    )


def _single_head(heads: dict[str, Any]) -> str:
    """Return the name of the one head that is not null; empty when there is not exactly one."""
    found = [str(name) for name, value in heads.items() if value is not None]
    return found[0] if len(found) == 1 and is_printable(found[0]) else ""


def _section(tree: dict[str, Any], key: str) -> dict[str, Any]:
    section = tree.get(key)
    return section if isinstance(section, dict) else {}


def _paths(value: object) -> tuple[str, ...]:
    """Return the paths in a setting, which holds one path, a list of paths, or nothing."""
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in items if isinstance(item, str) and item)


def _positive_integer(value: object) -> int | None:
    """Return a whole number from 1 to `COUNT_MAX`, or None if `value` is anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= COUNT_MAX else None

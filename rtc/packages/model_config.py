"""One model's configuration: read just enough of it to plan the run, and refuse what could reach beyond the package.

Two writings exist: sleap-nn's YAML (SLEAP ≥ 1.5) and SLEAP ≤ 1.4's JSON, which the worker converts before training.
"""

import json
from typing import Any

from attrs import frozen

from protocol.fields import is_printable
from rtc.packages.hydra_overrides import leaves
from rtc.packages.safe_yaml import safe_yaml
from rtc.packages.zip_reader import bad

_PATHS = (
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
"""Settings of sleap-nn 0.3.5 that name a file or folder to read, write, or (weights are pickles) run."""


@frozen
class ModelConfig:
    """What a configuration says that we act on."""

    labels: tuple[str, ...]
    """Labels to train on, as written; empty when the file names none."""
    others: tuple[str, ...]
    """Further labels files it needs: validation and test."""
    run: str
    """The run's own name, or empty."""
    epochs: int | None
    legacy: bool
    head: str = ""
    """What the model finds, such as `centroid`; empty when that cannot be told."""


def read_config(name: str, text: str) -> ModelConfig:
    """Read a configuration; `name` is its path in the package.

    Raises:
        RtcError: BAD_PACKAGE: it is broken, names no model, or reaches outside the package.
    """
    if "${" in text:  # OmegaConf would fill in the worker's environment
        raise bad(f"{name} fills in values from the worker's surroundings (it holds '${{'), which is not allowed.")
    legacy = name.endswith(".json")
    tree = _parse(name, text, legacy)
    return _read_legacy(name, tree) if legacy else _read_yaml(name, tree)


def _parse(name: str, text: str, legacy: bool) -> dict[str, Any]:
    tree = _parse_json(name, text) if legacy else safe_yaml(name, text)
    if not isinstance(tree, dict):
        raise bad(f"{name} is no training configuration. Export the package again.")
    return tree


def _parse_json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise bad(f"{name} cannot be read: it is no valid JSON. Export it again.") from None


def _read_yaml(name: str, tree: dict[str, Any]) -> ModelConfig:
    if not _part(tree, "model_config"):
        raise bad(f"{name} describes no model (it has no model_config). Export the package again.")
    for section, key in _PATHS:
        if any(leaves(path) for path in _texts(_part(tree, section).get(key))):
            raise bad(f"{name} sets {key} to a place outside the package. Use paths relative to the package.")
    data, trainer = _part(tree, "data_config"), _part(tree, "trainer_config")
    run = trainer.get("run_name")
    return ModelConfig(
        labels=_texts(data.get("train_labels_path")),
        others=_texts(data.get("val_labels_path")) + _texts(data.get("test_file_path")),
        run=run if isinstance(run, str) else "",
        epochs=_count(trainer.get("max_epochs")),
        legacy=False,
        head=_head(_part(_part(tree, "model_config"), "head_configs")),
    )


def _read_legacy(name: str, tree: dict[str, Any]) -> ModelConfig:
    """SLEAP ≤ 1.4. Its own path to the training labels is the exporter's, never meant to be used elsewhere."""
    backbone = _part(_part(tree, "model"), "backbone")
    if not backbone:
        raise bad(f"{name} describes no model. Export the package again.")
    if not backbone.get("unet"):
        raise bad(f"{name} uses a backbone that today's SLEAP no longer has. Choose a U-Net and export again.")
    labels, outputs = _part(_part(tree, "data"), "labels"), _part(tree, "outputs")
    others = _texts(labels.get("validation_labels")) + _texts(labels.get("test_labels"))
    if any(leaves(path) for path in others):
        raise bad(f"{name} names validation or test labels outside the package. Remove them and export again.")
    own = tuple(path for path in _texts(labels.get("training_labels")) if not leaves(path))
    run = outputs.get("run_name")
    epochs = _count(_part(tree, "optimization").get("epochs"))
    head = _head(_part(_part(tree, "model"), "heads"))
    return ModelConfig(own, others, run if isinstance(run, str) else "", epochs, legacy=True, head=head)


def _head(heads: dict[str, Any]) -> str:
    """The one head that is filled in; every other is null."""
    found = [str(name) for name, value in heads.items() if value is not None]
    return found[0] if len(found) == 1 and is_printable(found[0]) else ""


def _part(tree: dict[str, Any], key: str) -> dict[str, Any]:
    part = tree.get(key)
    return part if isinstance(part, dict) else {}


def _texts(value: object) -> tuple[str, ...]:
    """A path, a list of paths, or nothing."""
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in items if isinstance(item, str) and item)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else None

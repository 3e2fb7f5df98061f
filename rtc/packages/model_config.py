"""The training configuration of one model: the few settings that planning needs, and a check for outside paths.

Two formats exist: the YAML of sleap-nn (SLEAP 1.5 and later), and the JSON of SLEAP 1.4 and older, which the worker
converts before training.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from protocol.fields import COUNT_MAX, is_printable
from rtc.packages.foreign_errors import bad_package
from rtc.packages.hydra_overrides import LABELS_KEY, leaves_folder
from rtc.packages.safe_yaml import safe_json, safe_yaml
from rtc.packages.setting_paths import get_setting, without_setting
from rtc.packages.setting_tree import holds_interpolation
from rtc.packages.worker_settings import WORKER_SETTINGS, notes_about

CKPT_DIR_KEY, RUN_NAME_KEY = "trainer_config.ckpt_dir", "trainer_config.run_name"
"""Settings with the folder for a model and its name; the worker chooses both."""
FILE_SETTINGS = (
    LABELS_KEY,
    "data_config.val_labels_path",
    "data_config.test_file_path",
    "trainer_config.resume_ckpt_path",
    "model_config.pretrained_backbone_weights",
    "model_config.pretrained_head_weights",
)
"""Settings of sleap-nn 0.3.5 whose values are files that it reads; weights are pickles, which can run code."""
_INSIDE_SETTINGS = (
    *FILE_SETTINGS,
    "model_config.backbone_config.pretrained.model_name",
    "model_config.backbone_config.pretrained.revision",
)
"""Settings that become a path: these files, and names of models of Hugging Face, which may also be folders."""
_NOT_READ = (
    *(setting.key for setting in WORKER_SETTINGS),
    *(LABELS_KEY, "trainer_config.wandb"),
    *("outputs.runs_folder", "outputs.run_name", "outputs.run_name_prefix", "outputs.run_name_suffix"),
    *("outputs.zmq", "data.labels.training_labels"),
)
"""Settings of both formats that do not count on a worker, whatever they say: it chooses them itself, or they are about
a service to which a job uploads nothing. The labels to train on count only where nothing else names them."""
_WEIGHTS_NAMES = tuple(
    f"model_config.backbone_config.{backbone}.pre_trained_weights" for backbone in ("unet", "convnext", "swint")
)
"""Settings with a name of torchvision, such as `ConvNeXt_Tiny_Weights`."""
_HYDRA_KEYS = ("defaults", "hydra")
"""Keys at the top with which Hydra reads further files, or looks for them anywhere on the machine."""
WANDB_KEY, WANDB_RUN_KEY = "trainer_config.wandb.api_key", "trainer_config.wandb.prv_runid"
"""Settings of Weights & Biases with a key, and with the run that is to be continued there."""


@frozen
class ModelConfig:
    """The settings of a training configuration that a plan needs."""

    labels: tuple[str, ...]
    """Paths of the labels to train on, as written; empty when the configuration names none."""
    run_name: str
    """The name of the run, or empty."""
    epochs: int | None
    """Maximum number of epochs, if the configuration has one."""
    legacy: bool
    """True for the JSON of SLEAP 1.4 and older."""
    head: str = ""
    """The model's head, such as `centroid` or `centered_instance`; empty when it is not exactly one."""
    other_files: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """Paths of all other files that the model needs, as written, by the setting that names them."""
    notes: tuple[str, ...] = ()
    """Sentences for people about settings that are left out."""
    tree: Mapping[str, Any] | None = field(default=None, eq=False, repr=False)
    """The whole content, if it is in sleap-nn's own form."""


def read_model_config(name: str, text: str) -> ModelConfig:
    """Parse and check the text of a configuration; `name` is its path in the package.

    Raises:
        RtcError: BAD_PACKAGE: it cannot be parsed, describes no model, names a path outside the package, or reads
            environment variables (`${…}`).
    """
    legacy = name.lower().endswith(".json")
    tree = parse_model_config(name, text)
    return _read_legacy(name, tree) if legacy else _read_yaml(name, tree)


def parse_settings(name: str, text: str, not_read: Sequence[str] = ()) -> Any:
    """Parse and check the text of any configuration, which is JSON or YAML, as its name says.

    Settings that do not count are left out if they would be refused: they hold an interpolation (`${…}`).

    Args:
        name: the configuration's path in the package.
        text: its text.
        not_read: further settings that do not count, besides `_NOT_READ`.

    Raises:
        RtcError: BAD_PACKAGE: under the conditions of `safe_json` and `safe_yaml`.
    """

    def prepare(tree: Any) -> Any:
        for key in (*_NOT_READ, *not_read):
            if isinstance(tree, dict) and holds_interpolation(get_setting(tree, key)):
                tree = without_setting(tree, key)
        return tree

    return safe_json(name, text, prepare) if name.lower().endswith(".json") else safe_yaml(name, text, prepare)


def parse_model_config(name: str, text: str) -> dict[str, Any]:
    """Parse and check the text of a configuration; the content may be that of any program.

    Raises:
        RtcError: BAD_PACKAGE: it cannot be parsed, has no settings, has Hydra read other files, or reads environment
            variables.
    """
    tree = parse_settings(name, text)
    if not isinstance(tree, dict):
        raise bad_package(f"{name} is no training configuration. Export the package again.")
    if found := [key for key in _HYDRA_KEYS if key in tree]:
        raise bad_package(f"{name} holds {found[0]!r}, with which other files would be read. Take it out.")
    return tree


def setting_leaves_package(key: str, paths: tuple[str, ...]) -> bool:
    """Return whether the texts of a setting are paths, and one of them could lead out of the package."""
    if key in _WEIGHTS_NAMES:
        return any(not re.fullmatch(r"\w+", name, re.ASCII) for name in paths)
    return key in _INSIDE_SETTINGS and any(leaves_folder(path) for path in paths)


def check_paths(name: str, tree: Mapping[str, Any]) -> None:
    """Check every setting of sleap-nn that is a path; `name` names the configuration in the error.

    The labels to train on are not among them: only the plan knows whether they are named somewhere else.

    Raises:
        RtcError: BAD_PACKAGE: one leads out of the package, or is no text.
    """
    for key in (*_INSIDE_SETTINGS, *_WEIGHTS_NAMES):
        if key == LABELS_KEY:
            continue
        value, short = get_setting(tree, key), key.rpartition(".")[2]
        items = value if isinstance(value, list) else [value]
        if not all(item is None or isinstance(item, str) for item in items):
            raise bad_package(f"{name} sets {short} to something that is no path. Export it again.")
        if setting_leaves_package(key, _texts(value)):
            raise bad_package(f"{name} sets {short} to a place outside the package. Use paths relative to the package.")


def _read_yaml(name: str, tree: dict[str, Any]) -> ModelConfig:
    if not isinstance(tree.get("model_config"), dict) or not tree["model_config"]:
        raise bad_package(f"{name} describes no model (it has no model_config). Export the package again.")
    check_paths(name, tree)
    run_name = get_setting(tree, RUN_NAME_KEY)
    files = {key: _texts(get_setting(tree, key)) for key in FILE_SETTINGS if key != LABELS_KEY}
    return ModelConfig(
        labels=_texts(get_setting(tree, LABELS_KEY)),
        run_name=run_name if isinstance(run_name, str) else "",
        epochs=_positive_integer(get_setting(tree, "trainer_config.max_epochs")),
        legacy=False,
        head=_single_head(get_setting(tree, "model_config.head_configs")),
        other_files={key: paths for key, paths in files.items() if paths},
        notes=tuple(notes_about(tree)),
        tree=tree,
    )


def _read_legacy(name: str, tree: dict[str, Any]) -> ModelConfig:
    """Read a configuration of SLEAP 1.4 or older.

    Its path to the training labels belongs to the computer that exported it. A path outside the package is therefore
    ignored, not refused.
    """
    backbone = get_setting(tree, "model.backbone")
    if not isinstance(backbone, dict) or not backbone:
        raise bad_package(f"{name} describes no model. Export the package again.")
    if not backbone.get("unet"):
        raise bad_package(f"{name} uses a backbone that today's SLEAP no longer has. Choose a U-Net and export again.")
    keys = ("data.labels.validation_labels", "data.labels.test_labels", "model.base_checkpoint")
    other_files = {key: paths for key in keys if (paths := _texts(get_setting(tree, key)))}
    if any(leaves_folder(path) for path in _all_paths(other_files)):
        raise bad_package(
            f"{name} names validation or test labels or weights outside the package. Remove them and export again."
        )
    labels = tuple(path for path in _texts(get_setting(tree, "data.labels.training_labels")) if not leaves_folder(path))
    run_name = get_setting(tree, "outputs.run_name")
    return ModelConfig(
        labels=labels,
        run_name=run_name if isinstance(run_name, str) else "",
        epochs=_positive_integer(get_setting(tree, "optimization.epochs")),
        legacy=True,
        head=_single_head(get_setting(tree, "model.heads")),
        other_files=other_files,
    )


def _all_paths(files: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for paths in files.values():
        yield from paths


def _single_head(heads: object) -> str:
    """Return the name of the one head that is not null; empty when there is not exactly one."""
    found = [str(name) for name, value in heads.items() if value is not None] if isinstance(heads, dict) else []
    return found[0] if len(found) == 1 and is_printable(found[0]) else ""


def _texts(value: object) -> tuple[str, ...]:
    """Return the texts in a setting, which holds one text, a list of texts, or nothing; empty texts are left out."""
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in items if isinstance(item, str) and item)


def _positive_integer(value: object) -> int | None:
    """Return a whole number from 1 to `COUNT_MAX`, or None if `value` is anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= COUNT_MAX else None

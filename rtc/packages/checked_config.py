"""Writes the configurations that sleap-nn reads on the worker: from what was checked, not from what the sender wrote.

The text of the sender and ours are read by different programs. So sleap-nn gets only texts of `yaml_text` and
`json_text`, which have one meaning. API keys are left out: a job uploads nothing (`WANDB_MODE=offline`), and sleap-nn
would print them into the log.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.common.safe_open import open_private, open_regular
from rtc.packages.file_names import posix_path
from rtc.packages.foreign_errors import bad_package
from rtc.packages.hydra_overrides import LABELS_KEY, is_secret_name
from rtc.packages.inference import CONFIG_FILES
from rtc.packages.model_config import (
    CKPT_DIR_KEY,
    FILE_SETTINGS,
    RUN_NAME_KEY,
    WANDB_KEY,
    WANDB_RUN_KEY,
    check_paths,
    parse_model_config,
    parse_settings,
)
from rtc.packages.plan import Plan, TrainStep
from rtc.packages.safe_yaml import json_text, yaml_text
from rtc.packages.setting_paths import get_setting, with_setting
from rtc.packages.sources import TEXT_MAX, folder_files
from rtc.packages.text_encoding import decode_text
from rtc.packages.worker_settings import without_worker_settings

_SECRET_MIN = 8
"""Minimum length of a secret in characters; to hide shorter texts would hide parts of words."""


def rewrite_config(root: Path, config: str, step: TrainStep) -> None:
    """Check the configuration of a step once more, and write it anew in its place.

    Args:
        root: the root of the unpacked package; the paths are relative to it.
        config: the configuration, which may have been converted from that of the step.
        step: the step, with the labels to train on.

    Raises:
        RtcError: BAD_PACKAGE: the configuration is not allowed. JOB_FAILED: it cannot be written.
    """
    tree = parse_model_config(config, _read(root, config))
    if config.lower().endswith(".json"):
        _write(root, config, json_text(tree))
    else:
        tree = _with_worker_settings(tree, step)
        check_paths(config, tree)
        _write(root, config, yaml_text(_with_plain_paths(root, tree)))


def _with_worker_settings(tree: dict[str, Any], step: TrainStep) -> dict[str, Any]:
    """Return a configuration with the step's labels and run folder, and without a key.

    What the worker chooses is left out; its own values come on sleap-nn's command line, except for the folder.
    """
    tree = without_worker_settings(tree)
    if step.effective_labels:
        tree = with_setting(tree, LABELS_KEY, list(step.effective_labels))
    ckpt_dir, _, run_name = step.run_path.partition("/")
    tree = with_setting(with_setting(tree, CKPT_DIR_KEY, ckpt_dir), RUN_NAME_KEY, run_name)
    for key in (WANDB_KEY, WANDB_RUN_KEY):  # a job uploads nothing, and so continues no run there
        if get_setting(tree, key) is not None:
            tree = with_setting(tree, key, None)
    return tree


def _with_plain_paths(root: Path, tree: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in which each file has the path that it has in the package."""
    for key in FILE_SETTINGS:
        value = get_setting(tree, key)
        if isinstance(value, str) and value:
            tree = with_setting(tree, key, _existing_path(root, value))
        elif isinstance(value, list):
            tree = with_setting(tree, key, [_existing_path(root, path) if path else path for path in value])
    return tree


def _existing_path(root: Path, path: str) -> str:
    """Return the path of the file that the plan has found for a path; it may differ in case or Unicode form."""
    plain = posix_path(path)
    return plain if (root / plain).is_file() else folder_files(root).find(plain) or plain


def prepare_configs(root: Path, plan: Plan) -> frozenset[str]:
    """Write anew the configuration of each trained model in a package, and return the secrets that the package holds.

    Args:
        root: the root of the unpacked package; no model of the plan is trained yet.
        plan: the plan of the package.

    Raises:
        RtcError: BAD_PACKAGE: a configuration is not allowed. JOB_FAILED: it cannot be written.
    """
    found = {*_rewrite_trained_models(root, plan), *_secret_values(root, plan)}
    return frozenset(text for text in found if len(text) >= _SECRET_MIN)


def _rewrite_trained_models(root: Path, plan: Plan) -> Iterator[str]:
    """Write anew the configuration of each trained model, without its key, and yield the secrets that it holds."""
    for folder in sorted({model for step in plan.predictions for model in step.models}):
        for name in (f"{folder}/{base}" for base in CONFIG_FILES if (root / folder / base).is_file()):
            text = _read(root, name)
            tree = parse_settings(name, text, FILE_SETTINGS) if text.strip() else None
            yield from _secrets_in(tree)
            if isinstance(tree, dict) and get_setting(tree, WANDB_KEY):
                tree = with_setting(tree, WANDB_KEY, None)
            if tree is not None:
                _write(root, name, json_text(tree) if name.endswith(".json") else yaml_text(tree))


def _read(root: Path, name: str) -> str:
    """Return the text of a configuration. Code of an earlier model of the job may have put something else in its place.

    Raises:
        RtcError: BAD_PACKAGE: it is too large, or not UTF-8. JOB_FAILED: it cannot be read.
    """
    with _os_errors(name), open_regular(root / name) as file:
        data = file.read(TEXT_MAX + 1)
    if len(data) > TEXT_MAX:
        raise bad_package(f"{name} is too large to be a configuration.")
    return decode_text(name, data, lambda: folder_files(root).base_names())


def _write(root: Path, name: str, text: str) -> None:
    """Replace the text of a configuration.

    Raises:
        RtcError: JOB_FAILED: it cannot be written.
    """
    with _os_errors(name), open_private(root / name) as file:
        file.write(text.encode())


@contextmanager
def _os_errors(name: str) -> Iterator[None]:
    """Turn an OSError of the body into JOB_FAILED."""
    try:
        yield
    except OSError as error:
        text = f"The configuration {name} could not be read and written on the worker ({error.strerror})."
        raise RtcError(FaultCode.JOB_FAILED, text) from None


def _secret_values(root: Path, plan: Plan) -> Iterator[str]:
    """Yield the texts that configurations and overrides of a package hold under names such as `api_key`."""
    for config in {step.config for step in plan.steps}:
        yield from _secrets_in(parse_settings(config, _read(root, config)))
    for step in plan.steps:
        yield from (item.bare for item in step.overrides if item.is_secret)


def _secrets_in(tree: object, *, is_secret: bool = False) -> Iterator[str]:
    """Yield every text and whole number that a tree, of at most `DEPTH_MAX` levels, holds under a secret name."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _secrets_in(value, is_secret=is_secret or is_secret_name(str(key)))
    elif isinstance(tree, list):
        for item in tree:
            yield from _secrets_in(item, is_secret=is_secret)
    elif is_secret and isinstance(tree, str | int):
        yield str(tree)

"""Says before a training begins which of its settings sleap-nn refuses, for each version whose settings are known.

A client does not know at first which sleap-nn a worker has, and a newer one may know more settings. So a package is
refused only if no worker that may get it could take it; otherwise what is doubtful is said.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.config_schema import BadSetting, known_schemas
from rtc.packages.hydra_overrides import LABELS_KEY, Override
from rtc.packages.setting_paths import get_setting, with_setting, without_setting
from rtc.packages.worker_settings import find_worker_setting

RefusedBy = Mapping[str, tuple[str, ...]]
"""Sentences about settings that a version of sleap-nn refuses, by this version, the newest first."""
_SENTENCES_MAX = 3
"""Maximum number of settings that are named in one error."""


def find_refused(
    config: str, tree: Mapping[str, Any] | None, overrides: Iterable[Override], labels: tuple[str, ...]
) -> RefusedBy:
    """Return what each known version of sleap-nn refuses in the settings of one training.

    Args:
        config: the name of the configuration, for the sentences.
        tree: its content; None if it is not in sleap-nn's form yet. Then only the overrides are checked.
        overrides: they change the content, the last one of a setting counts.
        labels: the labels to train on, which the worker writes into the configuration.
    """
    overrides = tuple(overrides)
    changed, missing = _apply(tree or {}, overrides if tree is not None else _additions(overrides))
    if tree is not None and labels:
        changed = with_setting(changed, LABELS_KEY, list(labels))
    keys = [override.key for override in overrides]
    found = {}
    for schema in known_schemas():
        problems = [*missing, *schema.find_problems(changed, is_whole=tree is not None)]
        texts = [_sentence(config, keys, problem) for problem in problems if not _is_replaced(problem.key)]
        if texts:
            found[schema.version] = tuple(dict.fromkeys(texts))
    return found


def _is_replaced(key: str) -> bool:
    """Return whether the worker replaces a setting by its own, whatever the value is."""
    setting = find_worker_setting(key)
    return setting is not None and not setting.only


def with_overrides(tree: Mapping[str, Any], overrides: Iterable[Override]) -> dict[str, Any]:
    """Return a copy of a configuration with overrides, as Hydra applies them; the last one of a setting counts."""
    return _apply(tree, overrides)[0]


def merge(parts: Iterable[RefusedBy]) -> RefusedBy:
    """Return the sentences of several models together."""
    merged: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for version, texts in part.items():
            merged[version] = tuple(dict.fromkeys((*merged.get(version, ()), *texts)))
    return merged


def newest_refusals(refused_by: RefusedBy) -> tuple[str, ...]:
    """Return what the newest version says that refuses anything."""
    return next(iter(refused_by.values()), ())


def check_refused(refused_by: RefusedBy, versions: Collection[str] = ()) -> tuple[str, ...]:
    """Return sentences for people about settings that may be refused.

    Args:
        refused_by: what is wrong, by version.
        versions: those of sleap-nn on the workers that may run the package; empty: nothing is known about them.

    Raises:
        RtcError: USAGE: each of these versions refuses something.
    """
    if not refused_by:
        return ()
    candidates = tuple(versions) or tuple(schema.version for schema in known_schemas())
    refusing = [version for version in refused_by if version in candidates]
    if len(refusing) == len(set(candidates)):
        raise RtcError(FaultCode.USAGE, _together(refused_by[refusing[0]]))
    if refusing:
        return (f"{_together(refused_by[refusing[0]])} Not every worker has that version, so it is sent.",)
    known = {schema.version for schema in known_schemas()}
    if any(version in known for version in candidates):
        return ()
    return (
        f"{_together(newest_refusals(refused_by))} The worker has another version, which may take it, so it is sent.",
    )


def _together(texts: tuple[str, ...]) -> str:
    more = len(texts) - _SENTENCES_MAX
    return " ".join(texts[:_SENTENCES_MAX]) + (f" There are {more} more." if more > 0 else "")


def _sentence(config: str, keys: Iterable[str], problem: BadSetting) -> str:
    """Return the sentence about a problem; one of the configuration's own text names the configuration."""
    key = problem.key
    is_changed = any(key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in keys)
    text = f"{problem}" if is_changed else f"{config}: {problem}"
    return text if text.endswith("?") else f"{text}."


def _additions(overrides: tuple[Override, ...]) -> tuple[Override, ...]:
    return tuple(override for override in overrides if not override.is_removal)


def _apply(tree: Mapping[str, Any], overrides: Iterable[Override]) -> tuple[dict[str, Any], list[BadSetting]]:
    """Return a copy of the configuration with the overrides as Hydra applies them, and what cannot be taken out."""
    changed, missing = dict(tree), []
    for override in overrides:
        if override.is_removal:
            section, _, name = override.key.rpartition(".")
            settings = get_setting(changed, section)
            if isinstance(settings, dict) and name in settings:
                changed = without_setting(changed, override.key)
            else:
                missing.append(BadSetting(override.key, "is not in the configuration, so it cannot be taken out of it"))
        elif override.parsed != {} or not isinstance(get_setting(changed, override.key), dict):  # `{}` changes nothing
            changed = with_setting(changed, override.key, override.parsed)
    return changed, missing

"""What the settings of sleap-nn are: names, types and bounds, as data, one file for each version in `schemas/`.

The files are written from sleap-nn's own classes by `rtc/sleap_nn/export_schema.py`. A configuration that these refuse
fails on a worker after ten seconds of imports; here it costs nothing, and a setting that was misspelt can be named.
Values are taken as OmegaConf 2.3 takes them (`omegaconf/nodes.py`): `"5"` is a whole number, `5.0` and `true` are none.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from attrs import frozen

from protocol.fields import LINE_MAX, printable
from rtc.packages.safe_yaml import safe_json
from rtc.packages.setting_types import SettingType, show_value

SCHEMAS = Path(__file__).parent / "schemas"
_PROBLEMS_MAX = 20
"""Maximum number of problems of one configuration that are looked for; a search for a similar name takes a while."""
_NEAR = 0.75
"""How similar two names must be for one to be suggested, by `difflib`; `max_epoch` and `max_epochs`: 0.95."""
_MISSING = "???"
"""OmegaConf's text for a value that is still to be filled in; the default stays then."""


@frozen
class Section:
    """Settings with one parent."""

    settings: Mapping[str, SettingType]
    one_of: bool
    """Whether at most one setting is not null."""


@frozen
class BadSetting:
    """Something in a configuration that sleap-nn refuses."""

    key: str
    """The path of keys to the setting, such as `trainer_config.max_epoch`."""
    text: str
    """The rest of a sentence whose subject is the setting, such as `is no setting of sleap-nn 0.3.5`."""

    def __str__(self) -> str:
        return f"{self.key} {self.text}"


@frozen
class Schema:
    """The settings of one version of sleap-nn."""

    version: str
    sections: Mapping[str, Section]
    root: str
    dropped: frozenset[str]
    """Settings of older versions that sleap-nn takes out before it checks a configuration."""
    must_be_set: tuple[str, ...]
    """Sections in which one setting is not null."""

    def find_problems(self, tree: Mapping[Any, Any], *, is_whole: bool = True) -> tuple[BadSetting, ...]:
        """Return what sleap-nn refuses in a configuration.

        Args:
            tree: the configuration, parsed.
            is_whole: False for the settings that are changed in a configuration which is not known.
        """
        found = self._check_section(self.sections[self.root], tree, ())
        return tuple(islice(chain(found, self._check_must_be_set(tree) if is_whole else ()), _PROBLEMS_MAX))

    def suggest(self, key: str) -> str:
        """Return the setting that was probably meant by a key that does not exist, or an empty text."""
        parent, _, name = key.rpartition(".")
        keys = sorted(self.all_keys(), key=lambda other: (other.split(".")[0] != key.split(".")[0], other.count(".")))
        siblings = [other for other in keys if other.rpartition(".")[0] == parent]
        named = [other for other in keys if other.rpartition(".")[2] == name]
        return _nearest(name, siblings) or next(iter(named), "") or _nearest(name, keys)

    def all_keys(self) -> tuple[str, ...]:
        """Return every setting as a path of keys."""
        return _all_keys(self.version)

    def _check_section(self, section: Section, tree: Mapping[Any, Any], path: tuple[str, ...]) -> Iterator[BadSetting]:
        for name, value in tree.items():
            key = ".".join((*path, printable(str(name))[:LINE_MAX]))
            if key in self.dropped:
                continue
            setting = section.settings.get(name) if isinstance(name, str) else None
            if setting is None:
                yield BadSetting(key, self._unknown(key))
            else:
                yield from self._check_value(setting, value, key, (*path, str(name)))
        filled = [str(name) for name, value in tree.items() if _is_set(value) and name in section.settings]
        if section.one_of and len(filled) > 1:
            yield BadSetting(
                ".".join(path), f"has {' and '.join(filled)}, of which sleap-nn takes one: set the others to null"
            )

    def _unknown(self, key: str) -> str:
        meant = self.suggest(key)
        return f"is no setting of sleap-nn {self.version}" + (f"; did you mean {meant}?" if meant else "")

    def _check_value(self, setting: SettingType, value: Any, key: str, path: tuple[str, ...]) -> Iterator[BadSetting]:
        if value == _MISSING:
            return
        if setting.kind == "section" and isinstance(value, dict):
            yield from self._check_section(self.sections[setting.section], value, path)
        elif setting.kind == "section" and value is not None:
            yield BadSetting(key, f"is a section with settings of its own, and not {show_value(value)}")
        elif not setting.accepts(value):
            yield BadSetting(key, f"must be {setting.says()} for sleap-nn {self.version}, and is {show_value(value)}")

    def _check_must_be_set(self, tree: Mapping[Any, Any]) -> Iterator[BadSetting]:
        for key in self.must_be_set:
            node: Any = tree
            for part in key.split("."):
                node = node.get(part) if isinstance(node, dict) else None
            if not _is_set(node) or (isinstance(node, dict) and not any(map(_is_set, node.values()))):
                names = self.keys_in(key)
                yield BadSetting(key, f"is empty, and sleap-nn wants one of {', '.join(names)} in it")

    def keys_in(self, key: str) -> tuple[str, ...]:
        """Return the names of the settings in a section."""
        section = self.sections[self.root]
        for part in key.split("."):
            section = self.sections[section.settings[part].section]
        return tuple(section.settings)


def _is_set(value: Any) -> bool:
    return value is not None and value != _MISSING


def known_schemas() -> tuple[Schema, ...]:
    """Return the schema of every version that is known, the newest first."""
    return tuple(map(schema_of_file, _versions()))


@cache
def _versions() -> tuple[str, ...]:
    names = [path.stem for path in SCHEMAS.glob("*.json")]
    return tuple(sorted(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)], reverse=True))


@cache
def schema_of_file(version: str) -> Schema:
    """Read the schema of a version from its file."""
    data = safe_json(version, (SCHEMAS / f"{version}.json").read_text(encoding="utf-8"))
    sections = {
        name: Section({key: SettingType.of(setting) for key, setting in section["settings"].items()}, section["one_of"])
        for name, section in data["sections"].items()
    }
    return Schema(data["version"], sections, data["root"], frozenset(data["dropped"]), tuple(data["must_be_set"]))


@cache
def _all_keys(version: str) -> tuple[str, ...]:
    schema = schema_of_file(version)

    def walk(section: Section, path: str) -> Iterator[str]:
        for name, setting in section.settings.items():
            yield f"{path}{name}"
            if setting.kind == "section":
                yield from walk(schema.sections[setting.section], f"{path}{name}.")

    return tuple(walk(schema.sections[schema.root], ""))


def _nearest(name: str, keys: list[str]) -> str:
    """Return the setting whose last part is most like a name, or an empty text if none is much like it."""
    by_name: dict[str, str] = {}
    for key in keys:
        by_name.setdefault(key.rpartition(".")[2], key)
    found = difflib.get_close_matches(name, by_name, n=1, cutoff=_NEAR)
    return by_name[found[0]] if found else ""

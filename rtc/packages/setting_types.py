"""The types of sleap-nn's settings: what OmegaConf converts to them, what validators accept, and how to say it."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from protocol.fields import printable

_VALUE_MAX = 40
"""Maximum length of a value that is shown in a sentence, in characters."""
_TRUTHS = {"yes": True, "y": True, "on": True, "true": True, "no": False, "n": False, "off": False, "false": False}
"""Texts that OmegaConf takes for a bool, in lower case."""


@frozen
class Rule:
    """Values that a validator of sleap-nn accepts; what is None does not matter."""

    kinds: frozenset[str] | None
    """Python's names of the types, and `none`, or `list of` one of them."""
    choices: frozenset[str] | None
    any_case: bool
    bounds: Mapping[str, float]
    """Bounds of a number, or of each number in a list: `min` and `max`, or `above` and `below` without the bound."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Rule":
        """Return the rule of a file."""
        kinds, choices = (frozenset(data[key]) if key in data else None for key in ("kinds", "choices"))
        bounds = {key: data[key] for key in _COMPARE if key in data}
        return cls(kinds, choices, bool(data.get("any_case")), bounds)

    def accepts(self, value: Any, *, is_list: bool = True) -> bool:
        """Return whether sleap-nn accepts a value that has the setting's type; choices are those of a list's items.

        Args:
            value: the value.
            is_list: whether the setting is a list; otherwise no list is one of the choices, an empty one neither.
        """
        if self.kinds is not None and not self.kinds & _kinds_of(value):
            return False
        if self.choices is not None and isinstance(value, list) and not is_list:
            return False
        items = value if isinstance(value, list) else [value]
        if self.choices is not None:
            texts = [item.lower() if self.any_case and isinstance(item, str) else item for item in items]
            return all(isinstance(text, str) and text in self.choices for text in texts)
        numbers = [item for item in items if isinstance(item, int | float)]
        return all(_COMPARE[key](number, bound) for key, bound in self.bounds.items() for number in numbers)

    def says(self, name: str) -> str:
        """Return what it accepts, for people, such as `a number of at least 0`; `name` is that of its type."""
        if self.choices is not None:
            return f"one of {', '.join(sorted(self.choices))}" if len(self.choices) > 1 else next(iter(self.choices))
        if name == _NAMES["any"]:
            name = " or ".join(_KIND_NAMES[kind] for kind in sorted(self.kinds or ()) if kind in _KIND_NAMES)
        bounds = " and ".join(f"{_BOUND_NAMES[key]} {bound:g}" for key, bound in self.bounds.items())
        return " ".join(filter(None, (name, bounds)))


@frozen
class SettingType:
    """One setting, or a section with settings of its own."""

    kind: str
    """`int`, `float`, `str`, `bool`, `list`, `dict`, `section`, or `any`."""
    optional: bool
    """Whether `null` is a value."""
    item: "SettingType | None"
    """What is in a list."""
    section: str
    """The name of the section, in `Schema.sections`."""
    rules: tuple[Rule, ...]
    """One of them accepts a value; empty: every value of the type is accepted, as far as is known."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "SettingType":
        """Return the setting of a file."""
        item = cls.of(data["item"]) if "item" in data else None
        rules = tuple(map(Rule.of, data.get("rules", ())))
        return cls(data["kind"], bool(data.get("optional")), item, data.get("section", ""), rules)

    def accepts(self, value: Any) -> bool:
        """Return whether sleap-nn accepts a value, if this is no section."""
        if value is None and not self.optional and self.kind != "any":
            return False
        try:
            converted = value if value is None else _convert(self, value)
        except (TypeError, ValueError):
            return False
        return not self.rules or any(rule.accepts(converted, is_list=self.kind == "list") for rule in self.rules)

    def says(self) -> str:
        """Return what it takes, for people, such as `a whole number of at least 0, or auto`."""
        name = _NAMES[self.kind]
        if self.kind == "list" and self.item is not None and self.item.kind in _KIND_NAMES:
            name = f"a list, each item of which is {_KIND_NAMES[self.item.kind]}"
        if self.kind == "list" and self.item is not None and self.item.kind == "list":
            name = "a list of lists"
        rules = [text for rule in self.rules if rule.kinds != frozenset({"none"}) and (text := rule.says(name))]
        return ", or ".join(rules) or name


def _convert(setting: SettingType, value: Any) -> Any:
    """Return the value as OmegaConf converts it to the setting's type.

    Raises:
        TypeError or ValueError: OmegaConf refuses it.
    """
    kind = setting.kind
    if kind == "any":
        return value
    if kind in ("list", "dict"):
        if not isinstance(value, list if kind == "list" else dict):
            raise TypeError
        if kind == "dict":
            return value
        assert setting.item is not None, "every list of a schema has an item"
        return [_convert_item(setting.item, item) for item in value]
    if isinstance(value, list | dict):
        raise TypeError
    return _CONVERT[kind](value)


def _convert_item(item: SettingType, value: Any) -> Any:
    if isinstance(value, dict) and item.kind == "list":
        raise TypeError
    if isinstance(value, list | dict):
        return value  # OmegaConf does not look into lists of a list, whatever their type
    if value is None and not item.optional and item.kind != "any":
        raise TypeError
    return None if value is None else _convert(item, value)


def _to_int(value: Any) -> int:
    if type(value) not in (int, str):
        raise TypeError
    return int(value)


def _to_float(value: Any) -> float:
    if type(value) not in (int, str, float):
        raise TypeError
    try:
        return float(value)
    except OverflowError:
        raise ValueError from None


def _to_bool(value: Any) -> bool:
    if isinstance(value, int):  # a bool is one
        return value != 0
    if not isinstance(value, str):
        raise TypeError
    return _TRUTHS[value.lower()] if value.lower() in _TRUTHS else int(value) != 0


_CONVERT: Mapping[str, Callable[[Any], Any]] = {"int": _to_int, "float": _to_float, "bool": _to_bool, "str": str}
_TYPES = {bool: "bool", int: "int", float: "float", str: "str", type(None): "none", dict: "dict"}
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "min": lambda number, bound: number >= bound,
    "above": lambda number, bound: number > bound,
    "max": lambda number, bound: number <= bound,
    "below": lambda number, bound: number < bound,
}
_BOUND_NAMES = {"min": "of at least", "above": "above", "max": "of at most", "below": "below"}
_KIND_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "none": "null",
    "list of float": "a list of numbers",
    "list of str": "a list of texts",
}
_NAMES = {**_KIND_NAMES, "list": "a list", "dict": "a mapping", "section": "a section", "any": "another value"}


def _kinds_of(value: Any) -> frozenset[str]:
    """Return the names in `Rule.kinds` that fit a value."""
    if not isinstance(value, list):
        return frozenset({_TYPES.get(type(value), "any")})
    kinds = {type(item) for item in value}
    return frozenset(f"list of {name}" for kind, name in _TYPES.items() if kinds <= {kind})


def show_value(value: Any) -> str:
    """Return a value for a sentence: short, in one line."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = printable(str(value))
    text = text if len(text) <= _VALUE_MAX else f"{text[: _VALUE_MAX - 1]}…"
    return repr(text) if isinstance(value, str) else text

"""Values of Hydra overrides: text to value as Hydra 1.3 reads it, and back (its grammar, `OverrideParser.g4`).

Hydra refuses many texts without quotes, such as `a=b` or `é`; they are read as texts here, because what a person means
is clear. Functions (`int(3)`) and several values (`1,2`) are read as texts too: one run has one value.
"""

import re
from collections.abc import Iterator
from typing import Any

_INT = r"(?:0|[1-9](?:_?[0-9])*)"
_POINT = rf"(?:{_INT}\.|{_INT}?\.[0-9](?:_?[0-9])*)"
_INTEGER = re.compile(rf"[+-]?{_INT}")
_FLOAT = re.compile(rf"[+-]?(?:{_POINT}|(?:{_INT}|{_POINT})[eE][+-]?[0-9](?:_?[0-9])*|inf|nan)", re.IGNORECASE)
_WORDS = {"true": True, "false": False, "null": None}
_QUOTED = re.compile(r"""'(?:\\\\)*'|"(?:\\\\)*"|'.*?[^\\](?:\\\\)*'|".*?[^\\](?:\\\\)*\"""", re.DOTALL)
_UNQUOTED = re.compile(r"(?:\\.|[^][{},\\'\"]|\\)+", re.DOTALL)
"""One item of a list; it ends at a comma or a bracket without a backslash before it."""
_ESCAPED = re.compile(r"\\([\\()\[\]{}:=, \t])")
_KEY = re.compile(r"\s*([A-Za-z_][\w-]*)\s*:", re.ASCII)
_DEPTH_MAX = 8
"""Maximum depth of lists in lists; settings of sleap-nn have two."""
INTEGER_DIGITS = 19
"""Maximum number of digits of a whole number; Python takes quadratic time to read a long one."""


class NoHydraValue(ValueError):
    """A list or a mapping is not closed, or has an empty item."""


def parse_value(text: str) -> Any:
    """Return the value of an override: None, a bool, int, float or text, or a list or dict of such values.

    Raises:
        NoHydraValue: the text begins like a list, a mapping or a quoted text, and is none.
    """
    text = text.strip(" \t")
    if text[:1] not in ("[", "{", "'", '"'):
        return _scalar(text)
    value, end = _parse_item(text, 0, 0)
    if text[end:].strip(" \t"):
        raise NoHydraValue
    return value


def leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the key and the value of each setting in a mapping, at any depth; an empty mapping is a value."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(f"{key}.{name}", inner)
    else:
        yield key, value


def _parse_item(text: str, start: int, depth: int) -> tuple[Any, int]:
    """Return the value that begins at an index, and the index after it."""
    if depth > _DEPTH_MAX:
        raise NoHydraValue
    start = _skip(text, start)
    first = text[start : start + 1]
    if first == "[":
        return _parse_list(text, start + 1, depth)
    if first == "{":
        return _parse_mapping(text, start + 1, depth)
    found = (_QUOTED if first in ("'", '"') and first else _UNQUOTED).match(text, start)
    if found is None or not found[0].strip():
        raise NoHydraValue
    return (_unquote(found[0]) if first in ("'", '"') else _scalar(found[0].strip(" \t"))), found.end()


def _parse_list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        return items, at + 1
    while True:
        item, at = _parse_item(text, at, depth + 1)
        items.append(item)
        at, ended = _separator(text, at, "]")
        if ended:
            return items, at


def _parse_mapping(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    mapping: dict[str, Any] = {}
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        return mapping, at + 1
    while True:
        found = _KEY.match(text, at)
        if found is None:
            raise NoHydraValue
        mapping[found[1]], at = _parse_item(text, found.end(), depth + 1)
        at, ended = _separator(text, at, "}")
        if ended:
            return mapping, at


def _separator(text: str, at: int, closing: str) -> tuple[int, bool]:
    """Return the index after a comma or the closing bracket, and whether it is the bracket."""
    at = _skip(text, at)
    if text[at : at + 1] not in (",", closing):
        raise NoHydraValue
    return at + 1, text[at] == closing


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t"):
        at += 1
    return at


def _scalar(text: str) -> Any:
    """Return what a text without quotes means: `null`, `true` or `false`, a number, or the text."""
    lower = text.lower()
    if lower in _WORDS:
        return _WORDS[lower]
    if len(text) <= INTEGER_DIGITS and _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return _ESCAPED.sub(r"\1", text)


def _unquote(text: str) -> str:
    """Return the content of a quoted text: pairs of backslashes before a quote, or at the end, are one backslash."""
    quote = text[0]
    *parts, last = text[1:-1].split(quote)
    return quote.join([*(_halve(part, up=False) for part in parts), _halve(last, up=True)])


def _halve(text: str, *, up: bool) -> str:
    """Return a text with half of the backslashes at its end. A regular expression would take quadratic time."""
    kept = text.rstrip("\\")
    return kept + "\\" * ((len(text) - len(kept) + up) // 2)

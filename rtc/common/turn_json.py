"""What actors were told and did, as JSON, for traces and logs; `rtc.testing.replay` makes events and data of it again.

Rule: no secret is written. Text or bytes in a field with `repr=False` become a placeholder of the same type. None and
empty values stay as they are, because guards ask for them.
"""

import base64
import importlib
import json
import math
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

import actors
import protocol
from actors.actor import Turn
from actors.table import Table

TAG = "type"
"""The JSON key that holds the name of an object's class."""
HIDDEN = "hidden"
"""Stands for a secret text; its bytes stand for secret bytes."""
STALE = "stale"
"""In place of a row: the event was about something that was not the actor's."""
UNEXPECTED = "cannot happen"
"""In place of a row: the table has none."""


class UnknownClass(Exception):
    """The JSON names a class that this version of sleap-rtc does not have."""


def turn_to_json(turn: Turn) -> dict[str, Any]:
    """Return a turn as JSON values: time, phase, event, row (as diagrams write it), next phase, effects."""
    dropped = UNEXPECTED if turn.is_unexpected else STALE
    return {
        "time": round(turn.time, 6),
        "phase": turn.phase.value,
        "event": to_json(turn.event),
        "row": dropped if turn.row is None else str(turn.row),
        "next": turn.next.value,
        "effects": [to_json(effect) for effect in turn.effects],
    }


def to_json(value: Any) -> Any:
    """Return a value as JSON values; an object of an attrs class has its class's name beside its fields."""
    return _converter.unstructure(value)


def to_line(values: Mapping[str, Any]) -> str:
    """Return JSON values as one line of ASCII; a value of another kind becomes the name of its type."""
    return json.dumps(values, separators=(",", ":"), allow_nan=False, default=lambda value: type(value).__name__)


def from_line(line: str) -> Any:
    """Return the JSON values in a line.

    Raises:
        ValueError: it is not JSON.
    """
    return json.loads(line)


def known_classes(more: Iterable[type] = ()) -> dict[str, type]:
    """Return every attrs class of `actors` and `protocol` by its name, and `more` classes."""
    found = (one for one in _values() if isinstance(one, type) and attrs.has(one))
    return {one.__name__: one for one in (*found, *more)}


def known_tables() -> dict[str, Table[Any]]:
    """Return every table of `actors` by its name."""
    return {one.name: one for one in _values() if isinstance(one, Table)}


def _values() -> Iterator[Any]:
    """Return an iterator over whatever the modules of `actors` and `protocol` have given a name to."""
    for package in (actors, protocol):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield from vars(importlib.import_module(info.name)).values()


def hides(field: "attrs.Attribute[Any]") -> bool:
    """Return whether the values of this field are secret."""
    return not field.repr


# -------- writing


def _hide(value: Any) -> Any:
    if isinstance(value, str) and value:
        return HIDDEN
    if isinstance(value, bytes) and value:
        return _from_bytes(HIDDEN.encode())
    return to_json(value)


def _from_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _from_float(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no numbers like infinity


def _from_set(value: Iterable[Any]) -> list[Any]:
    return sorted(map(to_json, value), key=json.dumps)


def _object_writer(kind: type) -> Any:
    hidden: dict[str, Any] = {field.name: override(unstruct_hook=_hide) for field in attrs.fields(kind) if hides(field)}
    write: Callable[[Any], dict[str, Any]] = make_dict_unstructure_fn(kind, _converter, **hidden)
    return lambda value: {TAG: kind.__name__, **write(value)}


SETS: tuple[Any, ...] = (set, frozenset)
UNIONS: tuple[Any, ...] = (Union, UnionType)

_converter = Converter()
_converter.register_unstructure_hook(bytes, _from_bytes)
_converter.register_unstructure_hook(float, _from_float)
_converter.register_unstructure_hook_func(lambda kind: (get_origin(kind) or kind) in SETS, _from_set)
_converter.register_unstructure_hook_factory(attrs.has, _object_writer)


# -------- reading


class Reader:
    """Makes the objects again that `to_json` has written, with placeholders for secrets."""

    def __init__(self, classes: Mapping[str, type]) -> None:
        """Take the classes that may be made, by their names; see `known_classes`."""
        self._classes = classes
        self._converter = converter = Converter(detailed_validation=False)
        converter.register_structure_hook(bytes, lambda value, _kind: base64.b64decode(value))
        converter.register_structure_hook_func(lambda kind: kind is Any, lambda value, _kind: self._read(value))
        converter.register_structure_hook_func(lambda kind: get_origin(kind) in UNIONS, self._read_union)
        converter.register_structure_hook_factory(attrs.has, lambda kind: make_dict_structure_fn(kind, converter))

    def read(self, value: Any) -> Any:
        """Return the object that the value tells, or the value itself if it names no class.

        The limits of fields are not checked, because a placeholder may be shorter than the secret was.

        Raises:
            UnknownClass: there is no class of that name.
            Exception: the fields do not fit the class (cattrs raises many kinds).
        """
        with attrs.validators.disabled():
            return self._read(value)

    def _read(self, value: Any) -> Any:
        if not isinstance(value, dict) or TAG not in value:
            return value
        if value[TAG] not in self._classes:
            raise UnknownClass(f"there is no class {value[TAG]!r}")
        return self._converter.structure(value, self._classes[value[TAG]])

    def _read_union(self, value: Any, union: Any) -> Any:
        kinds = [kind for kind in get_args(union) if kind is not type(None)]
        if value is None or isinstance(value, dict) or len(kinds) > 1:
            return self._read(value)
        return self._converter.structure(value, kinds[0])

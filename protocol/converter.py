"""The one converter between attrs classes and JSON text, for everything that another program reads or has written.

`from_json` checks the size first; then it returns an instance of the class, or raises `WireError` and no other
exception. cattrs alone is no validator (it coerces numbers to text and raises five kinds of exception), hence the
strict hooks. Fields that a class does not have are ignored, so that a newer program may send more.

There is one converter for each version of the protocol that this program speaks: it leaves out the fields that are
newer (see `protocol/version.py`).
"""

import base64
import json
import math
import re
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, get_args, get_origin

import attrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.json import JsonConverter, make_converter

from protocol.faults import FaultCode
from protocol.version import EVERY_VERSION, OLDER_VALUES, VERSIONS, has_field, is_explicit, is_spoken

TAG = "type"
"""The JSON key that holds a message's tag."""
OPTIONAL = {"optional": True}
"""The metadata of a field that is left out of the text while it has its default."""


class WireError(Exception):
    """A received text or frame is not what it should be; the exception's text says why, in one sentence."""


class NotJson(WireError):
    """A received text is no JSON at all: damaged, or something else."""


class UnknownMessage(WireError):
    """A received message has a tag that this receiver does not know, or not in this version of the protocol."""


def tag_of(message: type) -> str:
    """Return a message class's tag on the wire: its name in upper snake case (`AuthChallenge`: `AUTH_CHALLENGE`)."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", message.__name__).upper()


def _of_exact_type(kind: type, value: Any, _target: object = None) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _finite(value: Any, _target: object = None) -> float:
    # `math.isfinite` raises OverflowError for an int that is larger than every float; `from_json` catches it
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError("expected a finite number")
    return float(value)


def _bytes_from_base64(value: Any, _target: object = None) -> bytes:
    return base64.b64decode(_of_exact_type(str, value), validate=True)


def _fault_code(value: Any, _target: object = None) -> FaultCode:
    """Return the fault code; a newer program may name one that is not known here."""
    try:
        return FaultCode(_of_exact_type(str, value))
    except ValueError:
        return FaultCode.OTHER


def _value_in_version(version: int, value: Enum) -> Any:
    """Return what an enumeration's member is called in this version: its own value, or that of a predecessor."""
    while version != EVERY_VERSION and value in OLDER_VALUES and version < OLDER_VALUES[value][0]:
        value = OLDER_VALUES[value][1]
    return value.value


def _left_out(version: int, kind: type) -> dict[str, Any]:
    """Return cattrs's overrides that leave out the fields which this version does not have, and `OPTIONAL` defaults."""
    fields = attrs.fields(kind)
    optional = {one.name: override(omit_if_default=True) for one in fields if OPTIONAL.items() <= one.metadata.items()}
    return optional | {one.name: override(omit=True) for one in fields if not has_field(one.metadata, version)}


def _structure_object(version: int, converter: JsonConverter, kind: type) -> Callable[[Any, Any], Any]:
    structure: Callable[[Any, Any], Any] = make_dict_structure_fn(
        kind, converter, _cattrs_forbid_extra_keys=False, _cattrs_detailed_validation=False, **_left_out(version, kind)
    )
    explicit = [one.name for one in attrs.fields(kind) if is_explicit(one.metadata)]

    def structure_explicit(value: Any, target: Any) -> Any:
        fields = _of_exact_type(dict, value)
        for name in explicit:
            fields[name]  # raises a KeyError if it is missing, like every field without a default
        return structure(fields, target)

    return structure_explicit


def _is_tuple(kind: Any) -> bool:
    origin: object = get_origin(kind)
    return origin is tuple


def _structure_list(converter: JsonConverter, kind: Any) -> Callable[[Any, Any], Any]:
    """Return a hook for `tuple[…, ...]`; without it cattrs takes a text for a list of its letters."""
    item_kind = get_args(kind)[0]
    structure = converter.get_structure_hook(item_kind)
    return lambda value, _target: tuple(structure(item, item_kind) for item in _of_exact_type(list, value))


def _make_converter(version: int, values_of: int) -> JsonConverter:
    """Return the converter of one version that writes the values of enumerations of another, usually of the same."""
    converter = make_converter(detailed_validation=False)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, partial(_of_exact_type, kind))
    converter.register_structure_hook(float, _finite)
    converter.register_structure_hook(bytes, _bytes_from_base64)
    converter.register_structure_hook(FaultCode, _fault_code)
    converter.register_structure_hook_factory(_is_tuple, partial(_structure_list, converter))
    converter.register_structure_hook_factory(attrs.has, partial(_structure_object, version, converter))
    converter.register_unstructure_hook(bytes, lambda value: base64.b64encode(value).decode())
    converter.register_unstructure_hook_func(
        lambda kind: isinstance(kind, type) and issubclass(kind, Enum), partial(_value_in_version, values_of)
    )
    converter.register_unstructure_hook_factory(
        attrs.has, lambda kind: make_dict_unstructure_fn(kind, converter, **_left_out(version, kind))
    )
    return converter


_converters = {
    version: _make_converter(version, version)
    for version in (EVERY_VERSION, *range(VERSIONS.oldest, VERSIONS.newest + 1))
}
_unagreed_converter = _make_converter(VERSIONS.newest, VERSIONS.oldest)
"""For readers with whom no version is agreed: the first message of a peer to the server, and HTTP."""


def register_union(union: Any) -> None:
    """Let the converter choose among the classes of `union` by their tags, in each version those that it has."""
    for version, converter in _converters.items():
        converter.register_structure_hook(union, _structure_union(version, converter, union))
        converter.register_unstructure_hook(union, partial(_tagged, converter.unstructure))


def _structure_union(version: int, converter: JsonConverter, union: Any) -> Callable[[Any, Any], Any]:
    kinds = {tag_of(kind): kind for kind in get_args(union) if is_spoken(kind, version)}

    def structure(value: Any, _target: object) -> Any:
        tag = _of_exact_type(str, _of_exact_type(dict, value).get(TAG))
        if tag not in kinds:
            shown = tag if _is_usual(tag) else "its name is unusual"
            raise UnknownMessage(f"a message came that is not known here ({shown})")
        return converter.structure(value, kinds[tag])

    return structure


def _is_usual(tag: object) -> bool:
    """Return whether an error text may show a received tag: only letters, and not many."""
    return isinstance(tag, str) and re.fullmatch(r"[A-Z][A-Z_]{0,39}", tag) is not None


def _name_of(value: dict[str, Any], kind: Any) -> str:
    """Return what an error text calls a received object: its tag, or the name of the class that was expected."""
    tag = value.get(TAG)
    return str(tag) if _is_usual(tag) else getattr(kind, "__name__", "what came")


def _tagged(unstructure: Callable[[Any], dict[str, Any]], message: Any) -> dict[str, Any]:
    return {TAG: tag_of(type(message)), **unstructure(message)}


def to_json(
    value: Any,
    *,
    tagged: bool = False,
    version: int | None = VERSIONS.newest,
    indent: int | None = None,
    spaced: bool = False,
) -> str:
    """Return an attrs object, or a list of them, as JSON text.

    The text is ASCII only. Therefore its length is its size in bytes, and a string with half a surrogate pair can be
    sent.

    Args:
        tagged: begin with the tag of the object's class.
        version: the version of the protocol; newer fields are left out. None if none is agreed with the reader: then
            all fields are written, because who does not know a field ignores it, but of each enumeration only values
            that every version knows, because who does not know a value does not understand the whole.
        indent: spaces by which the lines are indented, for people; None for one line.
        spaced: put a space after each comma and colon of one line, for people.

    Raises:
        TypeError: it is neither of both.
        ValueError: a float field is Infinity or NaN.
    """
    if not all(attrs.has(type(one)) for one in (value if isinstance(value, tuple) else (value,))):
        raise TypeError(f"{type(value).__name__} is no class that says what may be in it")
    unstructure = (_unagreed_converter if version is None else _converters[version]).unstructure
    whole = _tagged(unstructure, value) if tagged else unstructure(value)
    return json.dumps(whole, separators=None if indent or spaced else (",", ":"), indent=indent, allow_nan=False)


def document_to_json(document: Any, *, indent: int | None = None, spaced: bool = False) -> str:
    """Return values that are JSON by themselves as JSON text: a description of classes, or of what a trace has.

    Args:
        indent: spaces by which the lines are indented, for people; None for one line.
        spaced: put a space after each comma and colon of one line, for people.

    Raises:
        ValueError: a number is Infinity or NaN.
    """
    return json.dumps(document, separators=None if indent or spaced else (",", ":"), indent=indent, allow_nan=False)


def spelled_in_json(text: str) -> str:
    """Return a text as it stands between the quotation marks of JSON."""
    return json.dumps(text)[1:-1]


def from_json(text: str | bytes, kind: Any, *, limit: int, version: int = VERSIONS.newest) -> Any:
    """Return the object that `text` encodes.

    Args:
        kind: an attrs class, or a union that `register_union` knows.
        limit: bytes of UTF-8 that are read.
        version: the version of the protocol; newer fields are ignored.

    Raises:
        UnknownMessage: the text's tag is none of this union, in this version.
        NotJson: the text is not JSON.
        WireError: the text is too long, not JSON, or has missing or invalid fields.
    """
    size = len(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    if size > limit:
        raise WireError(f"a message of {size} bytes came; at most {limit} are read")
    try:
        value = json.loads(text if isinstance(text, str) else text.decode())  # bytes would be taken for UTF-16, too
    except (ValueError, RecursionError):
        raise NotJson("what came is not JSON") from None
    if not isinstance(value, dict):
        raise WireError("what came is no JSON object")
    try:
        return _converters[version].structure(value, kind)
    except KeyError:
        raise WireError(f"{_name_of(value, kind)} lacks a field") from None
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
        raise WireError(f"{_name_of(value, kind)} has a field that does not fit") from None

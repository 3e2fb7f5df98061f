"""JSON Schema (2020-12) of the protocol's classes, from their fields, types, validators and docstrings."""

from collections.abc import Callable
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs

from protocol.fields import (
    ID_PATTERN,
    AsciiLines,
    ExactBytes,
    FreeText,
    Id,
    Integer,
    MaxBytes,
    MaxItems,
    Number,
    SingleLine,
)
from rtc.common.docstrings import class_text, field_texts

Schema = dict[str, Any]

SIMPLE: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    bytes: {"type": "string", "contentEncoding": "base64"},
}
LIMITS: dict[type, Callable[[Any], Schema]] = {
    SingleLine: lambda validator: {"maxLength": validator.max_length},
    AsciiLines: lambda validator: {"maxLength": validator.max_length, "pattern": r"^[\r\n -~]*$"},
    FreeText: lambda validator: {"maxLength": validator.max_length},
    Id: lambda _: {"pattern": f"^{ID_PATTERN.pattern}$"},
    Integer: lambda validator: {"minimum": validator.low, "maximum": validator.high},
    Number: lambda validator: {"minimum": validator.low, "maximum": validator.high},
    ExactBytes: lambda validator: dict.fromkeys(("minLength", "maxLength"), (validator.length + 2) // 3 * 4),
    MaxBytes: lambda validator: {"minLength": 4, "maxLength": (validator.max_length + 2) // 3 * 4},
    MaxItems: lambda validator: {"maxItems": validator.max_length},
}
"""For each class of `protocol.fields`, a function that returns the limits of a validator as keywords of JSON Schema."""


def limits_of(validator: Any) -> Schema:
    """Return the limits that a validator sets, as keywords of JSON Schema; none for None.

    Raises:
        KeyError: `LIMITS` has no such validator.
    """
    return {} if validator is None else LIMITS[type(validator)](validator)


class Schemas:
    """Makes schemas, and collects those of classes and enumerations, to which the other ones refer by name."""

    def __init__(self, place: str) -> None:
        """Take the place of the named schemas in the document, such as `#/components/schemas/`."""
        self._place = place
        self.named: dict[str, Schema] = {}

    def of(self, kind: Any, validator: Any = None) -> Schema:
        """Return the schema of a type: of a class of attrs, an enumeration, or anything that their fields have.

        Args:
            validator: the validator of a field of this type, if it has one.

        Raises:
            TypeError: the type, or the validator's class, has no schema.
        """
        if hasattr(kind, "__supertype__"):  # made by NewType
            return self.of(kind.__supertype__, validator)
        if get_origin(kind) in (Union, UnionType):
            return self._of_union(get_args(kind), validator)
        if get_origin(kind) is tuple:
            items = self.of(get_args(kind)[0], getattr(validator, "each", None))
            return {"type": "array", "items": items} | limits_of(validator)
        if kind in SIMPLE:
            return SIMPLE[kind] | limits_of(validator)
        if isinstance(kind, type) and (attrs.has(kind) or issubclass(kind, Enum)):
            return self._reference(kind)
        raise TypeError(f"there is no JSON Schema for {kind}")

    def _of_union(self, kinds: tuple[Any, ...], validator: Any) -> Schema:
        schemas = [self.of(kind, validator) for kind in kinds if kind is not NoneType]
        return {"anyOf": [*schemas, {"type": "null"}]} if NoneType in kinds else {"anyOf": schemas}

    def _reference(self, kind: type) -> Schema:
        """Return a reference to the schema of a class, which is made if it is not there yet."""
        if kind.__name__ not in self.named:
            self.named[kind.__name__] = {}  # also ends the search in a class that contains itself
            self.named[kind.__name__] = _of_enum(kind) if issubclass(kind, Enum) else self._of_class(kind)
        return {"$ref": self._place + kind.__name__}

    def _of_class(self, kind: type) -> Schema:
        hints, texts = get_type_hints(kind), field_texts(kind)
        properties = {
            field.name: self.of(hints[field.name], field.validator) | _described(texts.get(field.name, ""))
            for field in attrs.fields(kind)
        }
        required = [field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING]
        return {"type": "object", "properties": properties, "required": required} | _described(class_text(kind))


def _of_enum(kind: type[Enum]) -> Schema:
    texts = [f"`{member.value}`: {text}" for name, text in field_texts(kind).items() for member in [kind[name]]]
    return {"enum": [member.value for member in kind]} | _described(" ".join([class_text(kind), *texts]))


def _described(text: str) -> Schema:
    return {"description": text} if text else {}

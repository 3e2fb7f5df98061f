"""The limits a message's fields may have: attrs validators that also say their limit for `docs/messages.md`.

Each raises `ValueError` with the field's name and never its value, so that no error text can hold a secret.
"""

import re
import unicodedata
from collections.abc import Sized
from typing import Any

from attrs import Attribute, frozen

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Ids are safe in paths, URLs and logs."""
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Unicode categories that a terminal or a page would obey instead of show (controls, bidi marks, surrogates)."""


def is_printable(text: str) -> bool:
    """True when showing `text` on one line can do nothing but show it (no ANSI escapes, no bidi overrides)."""
    return not any(unicodedata.category(char) in _UNSEEN for char in text)


@frozen
class SingleLine:
    """A short text that people see, all of it printable."""

    max_length: int = 200

    def __call__(self, _message: object, field: "Attribute[Any]", value: str | None) -> None:
        if value is not None and (len(value) > self.max_length or not is_printable(value)):
            raise ValueError(f"{field.name} is longer than {self.max_length} or has characters that cannot be shown")

    def __str__(self) -> str:
        return f"≤ {self.max_length} printable characters"


@frozen
class FreeText:
    """A longer text, line breaks allowed."""

    max_length: int

    def __call__(self, _message: object, field: "Attribute[Any]", value: str) -> None:
        if len(value) > self.max_length:
            raise ValueError(f"{field.name} is longer than {self.max_length} characters")

    def __str__(self) -> str:
        return f"≤ {self.max_length} characters"


@frozen
class Id:
    """Letters, digits, `-`, `_` and `.`."""

    def __call__(self, _message: object, field: "Attribute[Any]", value: str | None) -> None:
        if value is not None and not ID_PATTERN.fullmatch(value):
            raise ValueError(f"{field.name} is not an id")

    def __str__(self) -> str:
        return "id: ≤ 100 of A-Z a-z 0-9 - _ ."


@frozen
class Integer:
    """A whole number; 2**53 is the largest that every JSON reader keeps exact."""

    low: int = 0
    high: int = 2**53

    def __call__(self, _message: object, field: "Attribute[Any]", value: int | None) -> None:
        if value is not None and not self.low <= value <= self.high:
            raise ValueError(f"{field.name} is not between {self.low} and {self.high}")

    def __str__(self) -> str:
        return f"{self.low} … {self.high}"


@frozen
class ExactBytes:
    """Exactly so many bytes; base64 (RFC 4648) on the wire."""

    length: int

    def __call__(self, _message: object, field: "Attribute[Any]", value: bytes | None) -> None:
        if value is not None and len(value) != self.length:
            raise ValueError(f"{field.name} is not {self.length} bytes")

    def __str__(self) -> str:
        return f"{self.length} bytes, base64"


@frozen
class MaxItems:
    """A list of at most so many items."""

    max_length: int

    def __call__(self, _message: object, field: "Attribute[Any]", value: Sized) -> None:
        if len(value) > self.max_length:
            raise ValueError(f"{field.name} has more than {self.max_length} items")

    def __str__(self) -> str:
        return f"≤ {self.max_length} items"

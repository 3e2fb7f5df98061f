"""The limits of the fields of messages: attrs validators, whose `str` is the limit as `docs/messages.md` shows it.

Each validator raises `ValueError` with the field's name and never its value, so that no error text can hold a secret.
"""

import re
import unicodedata
from collections.abc import Sized
from typing import Any

from attrs import Attribute, frozen

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Every id matches this, so it is safe in paths, URLs and logs."""
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Unicode categories that a terminal or a web page would interpret instead of show (controls, bidi marks, surrogates,
private use, line and paragraph separators)."""


def is_printable(text: str) -> bool:
    """Return whether `text` can be shown on one line without side effects (no ANSI escapes, no bidi overrides)."""
    if (
        text.isascii() and text.isprintable()
    ):  # most texts, and much faster: cleaning a log line asks for each character
        return True
    return not any(unicodedata.category(char) in _INVISIBLE for char in text)


@frozen
class SingleLine:
    """A validator for a short text that people see: at most `max_length` characters, all printable; None passes."""

    max_length: int = 200

    def __call__(self, _message: object, field: "Attribute[Any]", value: str | None) -> None:
        if value is not None and (len(value) > self.max_length or not is_printable(value)):
            raise ValueError(f"{field.name} is longer than {self.max_length} or has characters that cannot be shown")

    def __str__(self) -> str:
        return f"≤ {self.max_length} printable characters"


@frozen
class FreeText:
    """A validator for a longer text: at most `max_length` characters of any kind, line breaks included."""

    max_length: int

    def __call__(self, _message: object, field: "Attribute[Any]", value: str) -> None:
        if len(value) > self.max_length:
            raise ValueError(f"{field.name} is longer than {self.max_length} characters")

    def __str__(self) -> str:
        return f"≤ {self.max_length} characters"


@frozen
class Id:
    """A validator for ids: 1 to 100 of the ASCII letters, digits, `-`, `_` and `.`, beginning with a letter or digit.

    None passes.
    """

    def __call__(self, _message: object, field: "Attribute[Any]", value: str | None) -> None:
        if value is not None and not ID_PATTERN.fullmatch(value):
            raise ValueError(f"{field.name} is not an id")

    def __str__(self) -> str:
        return "id: ≤ 100 of A-Z a-z 0-9 - _ ."


@frozen
class Integer:
    """A validator for whole numbers from `low` to `high`, both included; None passes.

    2**53 is the largest integer up to which every JSON reader keeps integers exact (RFC 8259, section 6).
    """

    low: int = 0
    high: int = 2**53

    def __call__(self, _message: object, field: "Attribute[Any]", value: int | None) -> None:
        if value is not None and not self.low <= value <= self.high:
            raise ValueError(f"{field.name} is not between {self.low} and {self.high}")

    def __str__(self) -> str:
        return f"{self.low} … {self.high}"


@frozen
class ExactBytes:
    """A validator for binary fields of exactly `length` bytes, base64 (RFC 4648) on the wire; None passes."""

    length: int

    def __call__(self, _message: object, field: "Attribute[Any]", value: bytes | None) -> None:
        if value is not None and len(value) != self.length:
            raise ValueError(f"{field.name} is not {self.length} bytes")

    def __str__(self) -> str:
        return f"{self.length} bytes, base64"


@frozen
class MaxItems:
    """A validator for lists of at most `max_length` items."""

    max_length: int

    def __call__(self, _message: object, field: "Attribute[Any]", value: Sized) -> None:
        if len(value) > self.max_length:
            raise ValueError(f"{field.name} has more than {self.max_length} items")

    def __str__(self) -> str:
        return f"≤ {self.max_length} items"

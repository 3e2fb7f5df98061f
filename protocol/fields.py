"""The limits of the fields of messages: attrs validators, whose `str` is the limit as `docs/messages.md` shows it.

Each validator raises `ValueError` with the field's name and never its value, so that no error text can hold a secret.

A text for people has an attrs converter too (`word`, `line`, `lines`, `brief`, `sentences`): it makes the text fit, at
both ends alike. So a program can put what it has found (an error of the system, a host's name) into a message as it
is, and whoever shows a message can rely on it.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from attrs import Attribute, frozen

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Every id matches this, so it is safe in paths, URLs and logs."""
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Unicode categories that a terminal or a web page would interpret instead of show (controls, bidi marks, surrogates,
private use, line and paragraph separators)."""
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # control sequences: colours, cursor
    r"|[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # control strings: window titles, links
    r"|[ -/]+[0-~]"  # character sets
    r"|[0-OQ-WYZ\\`-~])"  # all other ones, of two characters
)
"""Terminal escape sequences (ECMA-48, ECMA-35). A broken one is harmless without its first character."""
WORD_MAX, LINE_MAX, BRIEF_MAX, SENTENCES_MAX = 64, 200, 300, 2000
"""Characters of the texts that `word`, `line`, `brief` and `sentences` return. A brief text fits into the short frames
before authentication, where JSON may spell each character with twelve bytes."""
NO_SENTENCE = "No reason was given."
"""What `sentences` makes of an empty text."""
COUNT_MAX = 10**9
"""The largest number of things that happen one after the other: epochs, batches, frames, events."""
SECONDS_MAX = 10**9
"""The longest time span, about 31 years."""


class _Replacements(dict[int, int]):
    """For each character the one to show instead, for `str.translate`: itself, or U+FFFD. Some thousand are kept."""

    def __missing__(self, code: int) -> int:
        shown = 0xFFFD if unicodedata.category(chr(code)) in _INVISIBLE else code
        if len(self) < _REPLACEMENTS_MAX:
            self[code] = shown
        return shown


_REPLACEMENTS_MAX = 4096
_REPLACEMENTS = _Replacements()
"""`str.translate` with it is much faster than a loop: who sends the longest texts must not slow down others."""


def is_printable(text: str) -> bool:
    """Return whether `text` can be shown on one line without side effects (no ANSI escapes, no bidi overrides)."""
    if text.isascii():  # most texts, and faster still
        return text.isprintable()
    return text.translate(_REPLACEMENTS) == text


def without_escapes(text: str) -> str:
    """Return a text without the escape sequences that a terminal would interpret."""
    return _ESCAPES.sub("", text)


def printable(text: str) -> str:
    """Return a text so that it can only be shown, on one line, without escape sequences and with spaces for each tab.

    Any other character that `is_printable` does not accept, such as a line break, is replaced by U+FFFD.
    """
    if is_printable(text):
        return text
    plain = without_escapes(text).replace("\t", "    ")
    return plain.translate(_REPLACEMENTS)


def one_line(text: str, max_length: int) -> str:
    """Return a text as `printable` does, with its lines joined by spaces, and cut to `max_length` with an ellipsis."""
    parts: list[str] = []
    length = 0
    for each in text.splitlines():
        if length > max_length + 1:  # the rest is cut off
            break
        if part := printable(each).strip():
            parts.append(part)
            length += len(part) + 1
    joined = " ".join(parts)
    return joined if len(joined) <= max_length else f"{joined[: max_length - 1]}…"


def word(text: str) -> str:
    """Return a name or version as `one_line` does, of at most `WORD_MAX` characters."""
    return one_line(text, WORD_MAX)


def line(text: str) -> str:
    """Return a name as `one_line` does, of at most `LINE_MAX` characters."""
    return one_line(text, LINE_MAX)


def lines(texts: Sequence[str]) -> tuple[str, ...]:
    """Return each of several names as `line` does."""
    return tuple(line(text) for text in texts)


def brief(text: str) -> str:
    """Return one or two sentences as `one_line` does, of at most `BRIEF_MAX` characters and never empty."""
    return one_line(text, BRIEF_MAX) or NO_SENTENCE


def sentences(text: str) -> str:
    """Return one or more sentences as `one_line` does, of at most `SENTENCES_MAX` characters and never empty."""
    return one_line(text, SENTENCES_MAX) or NO_SENTENCE


@frozen
class SingleLine:
    """A validator for a short text that people see: at most `max_length` characters, all printable; None passes."""

    max_length: int = LINE_MAX

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
class AsciiLines:
    """A validator for a text of at most `max_length` ASCII characters: printable ones and line breaks."""

    max_length: int

    def __call__(self, _message: object, field: "Attribute[Any]", value: str) -> None:
        if len(value) > self.max_length or not value.isascii() or not re.sub(r"[\r\n]", "", value).isprintable():
            raise ValueError(f"{field.name} is longer than {self.max_length} or has other characters than ASCII lines")

    def __str__(self) -> str:
        return f"≤ {self.max_length} ASCII characters"


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
class Number:
    """A validator for finite numbers from `low` to `high`, both included; NaN is none of them. None passes."""

    low: float
    high: float

    def __call__(self, _message: object, field: "Attribute[Any]", value: float | None) -> None:
        if value is not None and not self.holds(value):
            raise ValueError(f"{field.name} is not between {self.low:.15g} and {self.high:.15g}")

    def holds(self, value: float) -> bool:
        """Return whether the value is one of these numbers."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:.15g} … {self.high:.15g}"


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
class MaxBytes:
    """A validator for binary fields of 1 to `max_length` bytes, base64 (RFC 4648) on the wire; None passes."""

    max_length: int

    def __call__(self, _message: object, field: "Attribute[Any]", value: bytes | None) -> None:
        if value is not None and not 1 <= len(value) <= self.max_length:
            raise ValueError(f"{field.name} has not between 1 and {self.max_length} bytes")

    def __str__(self) -> str:
        return f"1 … {self.max_length} bytes, base64"


@frozen
class MaxItems:
    """A validator for lists of at most `max_length` items, each of which the validator `each` accepts, if there is one.

    Lists of numbers and texts have one; messages check their own fields.
    """

    max_length: int
    each: Callable[[Any, Any, Any], None] | None = None

    def __call__(self, message: object, field: "Attribute[Any]", value: Sequence[Any]) -> None:
        if len(value) > self.max_length:
            raise ValueError(f"{field.name} has more than {self.max_length} items")
        if self.each is not None:
            for item in value:
                self.each(message, field, item)

    def __str__(self) -> str:
        return f"≤ {self.max_length} items" + ("" if self.each is None else f", each {self.each}")

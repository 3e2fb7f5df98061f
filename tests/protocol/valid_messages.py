"""Hypothesis strategies for any valid message, made of the classes' fields, their types and their limits.

Texts are drawn as another program may give them: where a class makes a text fit, the strategy gives it any text.
"""

from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
from hypothesis import settings
from hypothesis import strategies as st

from protocol.fields import AsciiLines, ExactBytes, FreeText, Id, Integer, MaxBytes, MaxItems, Number, SingleLine
from protocol.version import VersionRange

Strategy = st.SearchStrategy[Any]

HOSTILE = ("\x1b[2J\x1b[31m", "\x1b]0;title\x07", "\u202e", "\r\n12:00:00  Job done.", "\t", "\x9b", "\ud800", "\u2028")
"""What a text may have that forges lines, or does something else than to be shown."""
TYPICAL_SIZE = 3
"""Items of a list, but for a list that is as long as possible."""
fewer_examples = settings(max_examples=settings().max_examples // 4)
"""For tests in which each example has several messages; a search for new examples goes on being longer."""

hostile_texts = st.lists(st.text(max_size=9) | st.sampled_from(HOSTILE), max_size=6).map("".join)
long_texts = st.sampled_from(("x", "é", "語", "😀", " ", "\t", "\n")).map(lambda char: char * 5000)
printable_texts = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Co", "Zl", "Zp")), max_size=60)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True) | st.just("i" * 100)


def valid(kind: Any) -> Strategy:
    """Return a strategy for the valid values of a type: a message class, a union of such, or a type of their fields."""
    return _of_type(kind, None, made_to_fit=False)


def _of_type(kind: Any, limit: Any, *, made_to_fit: bool) -> Strategy:
    """Return a strategy for the values of a type that a field with this validator may have.

    Raises:
        TypeError: no strategy is known for such a field.
    """
    if hasattr(kind, "__supertype__"):  # made by NewType
        return _of_type(kind.__supertype__, limit, made_to_fit=made_to_fit)
    if get_origin(kind) in (Union, UnionType):
        return st.one_of([_of_type(one, limit, made_to_fit=made_to_fit) for one in get_args(kind)])
    if kind is NoneType:
        return st.none()
    if kind is bool:
        return st.booleans()
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    if attrs.has(kind):
        return _of_class(kind)
    if get_origin(kind) is tuple and isinstance(limit, MaxItems):
        return _of_list(get_args(kind)[0], limit, made_to_fit=made_to_fit)
    if kind is str and made_to_fit:
        return hostile_texts | long_texts | printable_texts
    return _of_limit(kind, limit)


def _of_limit(kind: Any, limit: Any) -> Strategy:
    match limit:
        case SingleLine() if kind is str:
            longest = st.sampled_from("x語😀").map(lambda char: char * limit.max_length)
            return printable_texts.map(lambda text: text[: limit.max_length]) | longest
        case AsciiLines() if kind is str:
            return st.text(st.characters(codec="ascii", categories=("L", "N", "P", "Zs"))) | st.just("x\r\n" * 5000)
        case FreeText() if kind is str:
            return hostile_texts.map(lambda text: text[: limit.max_length]) | st.just("x" * limit.max_length)
        case Id() if kind is str:
            return ids
        case Integer() if kind is int:
            return st.integers(limit.low, limit.high) | st.sampled_from((limit.low, limit.high))
        case Number() if kind is float:
            return st.floats(limit.low, limit.high) | st.sampled_from((float(limit.low), float(limit.high)))
        case ExactBytes() if kind is bytes:
            return st.binary(min_size=limit.length, max_size=limit.length)
        case MaxBytes() if kind is bytes:
            return st.binary(min_size=1, max_size=min(limit.max_length, 99)) | st.just(b"x" * limit.max_length)
    raise TypeError(f"a field of the type {kind} has no limit that is known here: {limit}")


def _of_list(kind: Any, limit: MaxItems, *, made_to_fit: bool) -> Strategy:
    item = _of_type(kind, limit.each, made_to_fit=made_to_fit)
    short = hostile_texts if made_to_fit else item
    longest = short.map(lambda one: (one,) * limit.max_length)
    return st.lists(item, max_size=min(TYPICAL_SIZE, limit.max_length)).map(tuple) | longest


def _of_class(kind: Any) -> Strategy:
    if kind is VersionRange:  # the only class whose fields depend on each other
        return st.tuples(*[_of_limit(int, field.validator) for field in attrs.fields(kind)]).map(
            lambda pair: VersionRange(*sorted(pair))
        )
    hints = get_type_hints(kind)
    fields = {
        field.alias: _of_type(hints[field.name], field.validator, made_to_fit=field.converter is not None)
        for field in attrs.fields(kind)
    }
    return st.builds(kind, **fields)

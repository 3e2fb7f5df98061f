"""Every number, text and list of the protocol has limits, and a text for people is made to fit them."""

import math
from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from valid_messages import fewer_examples, hostile_texts, long_texts, valid

from protocol.fields import MaxItems, Number, is_printable, one_line, printable
from protocol.http import ROUTES, Problem
from protocol.jobs import LOSS, RATE, TIME, JobEvent, LogLines
from protocol.session_string import SessionStringJson
from protocol.signaling import SpokenVersions
from protocol.wire import VOCABULARIES, Vocabulary, decode, encode


def parts_of(kind: Any) -> Iterator[type]:
    """Every class of attrs that a type names: itself, those of its fields, of its members and of its items."""
    if get_origin(kind) in (Union, UnionType, tuple):
        for one in get_args(kind):
            yield from parts_of(one)
    elif attrs.has(kind):
        yield kind
        for hint in get_type_hints(kind).values():
            yield from parts_of(hint)


BODIES = [body for route in ROUTES for body in (route.request, route.reply) if body is not None]
WHOLE = (*(one.union for one in VOCABULARIES), *BODIES, Problem, SessionStringJson, SpokenVersions)
"""All that is sent: messages, bodies of HTTP, and what is in a session string."""
MESSAGES = sorted({part for one in WHOLE for part in parts_of(one)}, key=lambda kind: kind.__name__)
FIELDS = [
    pytest.param(get_type_hints(kind)[field.name], field, id=f"{kind.__name__}.{field.name}")
    for kind in MESSAGES
    for field in attrs.fields(kind)
]


def plain_types(hint: Any) -> set[Any]:
    """The types of numbers, texts and bytes that a field may have."""
    if hasattr(hint, "__supertype__"):
        return plain_types(hint.__supertype__)
    if get_origin(hint) in (Union, UnionType):
        return {one for each in get_args(hint) for one in plain_types(each)}
    return {hint} & {int, float, str, bytes}


@pytest.mark.parametrize(("hint", "field"), FIELDS)
def test_every_number_text_and_list_of_every_message_has_a_limit(hint: Any, field: "attrs.Attribute[Any]") -> None:
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        assert isinstance(field.validator, MaxItems)
        assert attrs.has(item) or field.validator.each is not None
    elif plain_types(hint):
        assert field.validator is not None
        assert str(field.validator)[:1] != "<", "its limit is shown in docs/messages.md"


@pytest.mark.parametrize(("hint", "field"), FIELDS)
def test_no_number_beyond_all_limits_is_taken(hint: Any, field: "attrs.Attribute[Any]") -> None:
    wrong = {
        float: (math.nan, math.inf, -math.inf, 1e300),
        int: (-1, 2**64),
        str: ("x" * 10**6,),
        bytes: (b"x" * 10**6,),
    }
    for value in (value for kind in plain_types(hint) for value in wrong[kind]):
        with pytest.raises(ValueError, match=field.name):
            field.validator(None, field, value)


@fewer_examples
@given(texts=st.lists(hostile_texts | long_texts, min_size=1, max_size=2))
def test_a_text_for_people_is_made_to_fit(texts: list[str]) -> None:
    for hint, field in (param.values for param in FIELDS):
        if field.converter is not None:
            once = field.converter(texts[0] if plain_types(hint) else tuple(texts))
            field.validator(None, field, once)
            assert field.converter(once) == once


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=lambda vocabulary: vocabulary.speaker)
@fewer_examples
@given(data=st.data())
def test_every_valid_message_that_fits_into_a_frame_survives_the_wire(
    vocabulary: Vocabulary[Any], data: st.DataObject
) -> None:
    message = data.draw(valid(vocabulary.union))
    text = encode(message)
    if len(text) <= vocabulary.limit:
        assert decode(text, vocabulary) == message


@given(hostile_texts, st.integers(1, 50))
def test_any_text_becomes_one_line_that_can_only_be_shown(text: str, length: int) -> None:
    assert is_printable(one_line(text, length))
    assert len(one_line(text, length)) <= length
    assert is_printable(printable(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo\r\n three\u2028four", "one two three four"),
        ("\x1b[31mred\x1b[0m \x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\ \x1b(Bplain", "red link plain"),
        ("a\tb\x00\u202ec", "a    b\ufffd\ufffdc"),
        ("\x1b[", "\ufffd["),
        ("\x1b\x1b[m[2J", "\ufffd[2J"),
        ("  \n ", ""),
    ],
)
def test_lines_are_joined_and_what_is_not_a_letter_is_removed_or_replaced(text: str, shown: str) -> None:
    assert one_line(text, 100) == shown


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert one_line("x" * 11, 10) == "x" * 9 + "…"
    assert one_line("x" * 10, 10) == "x" * 10


def test_log_lines_keep_their_indentation() -> None:
    assert LogLines("j", ("\tindented", "two\nlines")).lines == ("    indented", "two\ufffdlines")  # type: ignore[arg-type]


@pytest.mark.parametrize("limits", [LOSS, RATE, TIME, Number(0.5, 2)])
def test_a_number_is_within_its_limits_both_included(limits: Number) -> None:
    assert limits.holds(limits.low)
    assert limits.holds(limits.high)
    assert not limits.holds(math.nextafter(limits.high, math.inf))
    assert not limits.holds(math.nan)


def test_an_event_of_no_time_is_none() -> None:
    with pytest.raises(ValueError, match="at is not between"):
        JobEvent(LogLines("j", ()), 1e300)  # type: ignore[arg-type]


@given(hostile_texts | long_texts, st.integers(1, 70))
def test_only_as_many_lines_are_joined_as_are_shown(text: str, length: int) -> None:
    joined = " ".join(part for each in text.splitlines() if (part := printable(each).strip()))
    assert one_line(text, length) == (joined if len(joined) <= length else joined[: length - 1] + "…")

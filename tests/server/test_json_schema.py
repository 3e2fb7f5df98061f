"""JSON Schemas of the protocol's classes: they accept what the converter accepts."""

import inspect
import json
from enum import Enum

import attrs
import jsonschema
import pytest
from attrs import field, frozen

import protocol.fields
from protocol.converter import WireError, from_json
from protocol.fields import ExactBytes, FreeText, Id, Integer, MaxItems, SingleLine
from protocol.version import VersionRange
from rtc.common.docstrings import field_texts
from rtc.server.json_schema import LIMITS, Schemas


class Colour(Enum):
    """A colour."""

    RED = "red"
    """As a rose."""
    BLUE = "blue"


@frozen
class Thing:
    """A thing
    with all kinds of fields."""

    name: str = field(validator=SingleLine(5))
    """What it is called."""
    id: str = field(validator=Id())
    digest: bytes = field(validator=ExactBytes(4))
    colour: Colour
    size: int = field(default=0, validator=Integer(0, 9))
    label: str | None = field(default=None, validator=SingleLine(5))
    text: str = field(default="", validator=FreeText(5))
    share: float | None = None
    parts: tuple[VersionRange, ...] = field(default=(), validator=MaxItems(2))
    is_new: bool = False


def schema_of(kind: type) -> dict[str, object]:
    schemas = Schemas("#/$defs/")
    return {**schemas.of(kind), "$defs": schemas.named}


def test_every_validator_has_a_schema() -> None:
    """A new validator of `protocol.fields` needs an entry in `LIMITS`."""
    own = [
        kind for _, kind in inspect.getmembers(protocol.fields, inspect.isclass) if kind.__module__ == "protocol.fields"
    ]
    assert {kind for kind in own if attrs.has(kind)} == LIMITS.keys()


def test_a_validator_or_type_without_a_schema_is_an_error() -> None:
    with pytest.raises(KeyError):
        Schemas("#/").of(str, attrs.validators.min_len(3))
    with pytest.raises(TypeError, match="complex"):
        Schemas("#/").of(complex)


def test_the_words_of_a_schema_are_docstrings() -> None:
    named = schema_of(Thing)["$defs"]
    assert named["Thing"]["description"] == "A thing with all kinds of fields."
    assert named["Thing"]["properties"]["name"]["description"] == "What it is called."
    assert named["Colour"]["description"] == "A colour. `red`: As a rose."


@pytest.mark.parametrize("source", ["number = 1", "class Thing:\n  def f(", ""])
def test_without_the_source_that_runs_there_are_no_texts(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """The source of a server that runs may be replaced by another one, in an update."""
    monkeypatch.setattr(inspect, "getsource", lambda _kind: source)
    assert field_texts.__wrapped__(Thing) == {}


def test_fields_without_a_default_are_required() -> None:
    assert schema_of(Thing)["$defs"]["Thing"]["required"] == ["name", "id", "digest", "colour"]


GOOD = {"name": "abcde", "id": "a", "digest": "AAAAAA==", "colour": "red"}


@pytest.mark.parametrize(
    ("more", "fits"),
    [
        ({}, True),
        ({"unknown": 1}, True),
        ({"name": "abcdef"}, False),
        ({"name": None}, False),
        ({"id": "../x"}, False),
        ({"digest": "AAAA"}, False),
        ({"colour": "green"}, False),
        ({"size": 9}, True),
        ({"size": 10}, False),
        ({"size": -1}, False),
        ({"size": "1"}, False),
        ({"size": True}, False),
        ({"label": None}, True),
        ({"label": "abcdef"}, False),
        ({"text": "ab\ncd"}, True),
        ({"text": "abcdef"}, False),
        ({"share": 1}, True),
        ({"share": "1"}, False),
        ({"parts": [{"oldest": 3, "newest": 4}]}, True),
        ({"parts": [{"oldest": 3}]}, False),
        ({"parts": [{"oldest": 3, "newest": 4}] * 3}, False),
        ({"parts": {}}, False),
        ({"is_new": 1}, False),
    ],
)
def test_a_schema_accepts_what_the_converter_accepts(more: dict[str, object], fits: bool) -> None:
    values = GOOD | more
    assert jsonschema.Draft202012Validator(schema_of(Thing)).is_valid(values) == fits
    if fits:
        assert from_json(json.dumps(values), Thing, limit=1000).colour is Colour.RED
    else:
        with pytest.raises(WireError):
            from_json(json.dumps(values), Thing, limit=1000)

"""Values of overrides: read as Hydra reads them."""

import pytest

from rtc.packages.hydra_values import NoHydraValue, leaves, parse_value

READ = {
    "5": 5,
    "+5": 5,
    "1_000": 1000,
    "007": "007",
    "5.": 5.0,
    ".5": 0.5,
    "1e-05": 1e-5,
    "-INF": float("-inf"),
    "TRUE": True,
    "false": False,
    "null": None,
    "": "",
    " a b ": "a b",
    "yes": "yes",
    "1:30": "1:30",
    "0x10": "0x10",
    "'5'": "5",
    '"a\\"b"': 'a"b',
    "'a\\\\'": "a\\",
    "'a\\\\\\'b'": "a\\'b",
    "a\\,b": "a,b",
    "a\\b": "a\\b",
    "[]": [],
    "[ 1 , a b ]": [1, "a b"],
    "[a,[b,c]]": ["a", ["b", "c"]],
    "['a,b']": ["a,b"],
    "[a\\,b]": ["a,b"],
    "{}": {},
    "{a: 1, b: {c: [x, 'y z']}}": {"a": 1, "b": {"c": ["x", "y z"]}},
    "[{a: null}]": [{"a": None}],
}


@pytest.mark.parametrize("text", READ)
def test_a_value_is_read(text):
    value = parse_value(text)
    assert (value, type(value)) == (READ[text], type(READ[text]))


@pytest.mark.slow
def test_hydra_reads_the_same():
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser").OverridesParser.create()
    assert {text: parser.parse_override(f"k={text}").value() for text in READ} == READ


@pytest.mark.parametrize("text", ["[1", "[1,]", "[,]", "{a}", "{a: }", "'abc", "[1][2]", "'a'b", "[" * 20 + "]" * 20])
def test_what_is_not_closed_is_no_value(text):
    with pytest.raises(NoHydraValue):
        parse_value(text)


def test_long_texts_are_read_in_time():
    for text in (
        "\\" * 2**16,
        "'" + "\\" * 2**16 + "a'",
        "9" * 2**16,
        "[" + "a," * 2**15 + "a]",
        "['" + "a\\'" * 2**14 + "']",
    ):
        parse_value(text)


def test_the_settings_of_a_mapping_are_those_of_every_depth():
    assert list(leaves("a", {"b": 1, "c": {"d": [{}], "e": {}}})) == [("a.b", 1), ("a.c.d", [{}]), ("a.c.e", {})]

"""YAML and JSON of a package: what is checked is what sleap-nn reads, and hostile texts are refused at once."""

import importlib.util
import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages import safe_yaml as module
from rtc.packages.safe_yaml import json_text, safe_json, safe_yaml, yaml_text
from rtc.packages.setting_tree import DEPTH_MAX

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]" for number in range(1, 13)]
)


def refusal(read, text):
    with pytest.raises(RtcError) as caught:
        read("a.yaml", text)
    assert caught.value.fault.code is FaultCode.BAD_PACKAGE
    return caught.value.fault.text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),
        ("-1:30:00", "-1:30:00"),
        ("1:30.5", "1:30.5"),
        ("0o17", "0o17"),
        ("017", 15),
        ("0x1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("1e-4", 0.0001),
        ("1e5", 1e5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("yes", True),
        ("off", False),
        ("y", "y"),
        ("2020-01-01", "2020-01-01"),
        ("2020-01-01 10:00:00", "2020-01-01 10:00:00"),
        ("~", None),
        ("", None),
        ("=", "="),
        ("'5'", "5"),
        ('"\\x41"', "A"),
    ],
)
def test_scalars_are_read_as_sleap_nn_reads_them_without_sexagesimal_numbers(text, value):
    read = safe_yaml("a.yaml", f"a: {text}")["a"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    "text", ["1e5", "1:30", "0x1F", "1_000", "yes", "null", "2020-01-01", "=", "<<", "", "5", "a\nb"]
)
def test_a_text_stays_a_text_for_every_reader(text):
    written = yaml_text({text: [text]})
    assert safe_yaml("a.yaml", written) == {text: [text]}
    assert yaml.safe_load(written) == {text: [text]}


def test_a_path_as_omegaconf_writes_it_is_a_text():
    text = "a: !!python/object/apply:pathlib.PosixPath\n- /home\n- ada\n"
    assert safe_yaml("a.yaml", text) == {"a": "/home/ada"}


@pytest.mark.parametrize(
    "text",
    [
        "a: !!int '3'",
        "a: !!str 3",
        "a: !!binary aGk=",
        "a: !!set {b}",
        "a: !own b",
        "!!python/name:os.system x",
        "a: 1\na: 2",
        "1: a\n1.0: b",
        "a: {<<: {b: 1}}",
        "? [a]\n: b",
        "~: a",
        "--- 1\n--- 2",
        "a: \tb: c",
        "&a [*a]",
        "a: &a {b: *a}",
        "*a",
        "a: " + "9" * 30,
        "a: " + "9" * 5000,
        "a: 0x_",
        "a: '\\0'\nb: \"\\0\"",
        'a: "\\ud800"',
        "_target_: os.system",
        "a: [{_args_: 1}]",
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(text):
    assert refusal(safe_yaml, text)


@pytest.mark.parametrize(
    "text", ['a: "\\x24{oc.env:HOME}"', 'a: "\\u0024\\x7Boc.env:HOME}"', "a: {'${b}': 1}", "['${a}']"]
)
def test_an_interpolation_is_found_in_the_value_not_in_the_text(text):
    assert "environment" in refusal(safe_yaml, text)
    with pytest.raises(RtcError, match="environment"):
        safe_json("a.json", '{"a": ["\\u0024{oc.env:HOME}"]}')


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a0: &a0 []\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 200)),
        "[" * 100000,
        "{a: " * 1000,
        "- " * 100000,
        "a: [" + "1," * 501 + "]",
    ],
)
def test_too_many_or_too_deep_values_are_refused_before_they_fill_the_memory(text, monkeypatch):
    monkeypatch.setattr(module, "NODES_MAX", 500)
    assert "too many" in refusal(safe_yaml, text)


def test_a_long_text_that_is_used_often_does_not_fill_the_disk_when_it_is_written():
    assert "too many" in refusal(safe_yaml, f"a: &a '{'x' * 100_000}'\nb: [{', '.join(['*a'] * 1000)}]")
    assert "too many" in refusal(safe_yaml, f"? &a '{'x' * 100_000}'\n: 1\nb: [{', '.join(['{*a : 1}'] * 1000)}]")


def test_the_same_limits_hold_for_json(monkeypatch):
    monkeypatch.setattr(module, "JSON_NODES_MAX", 500)
    assert "lists in lists" in refusal(safe_json, "[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1))
    assert "JSON" in refusal(safe_json, "[" * 100_000)
    assert refusal(safe_json, "[1" + ",1" * 500 + "]")


def test_parts_that_are_used_twice_are_read_and_written_twice():
    tree = safe_yaml("jobs.yaml", "a: &a {b: 1}\nc: *a\n")
    assert tree == {"a": {"b": 1}, "c": {"b": 1}}
    assert "*" not in yaml_text(tree)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20)
    | st.sampled_from(["1e5", "1:30", "on", "~", "0o7", "{a}", "$", "# a", "'", '"', "\\", "a: b", "- a", "\u2028"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=settings.default.max_examples // 2)
@given(TREES)
def test_what_is_written_is_what_was_checked(tree):
    try:
        module.check_tree("a.yaml", tree)
    except RtcError:
        return
    assert safe_yaml("a.yaml", yaml_text(tree)) == tree
    assert yaml.safe_load(yaml_text(tree)) == tree
    assert safe_json("a.json", json_text(tree)) == tree


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("omegaconf") is None, reason="OmegaConf comes with sleap-nn")
@given(st.dictionaries(st.text(min_size=1, max_size=8), TREES, min_size=1, max_size=4))
def test_omegaconf_reads_the_tree_that_was_checked(tree):
    from io import StringIO

    from omegaconf import OmegaConf

    try:
        module.check_tree("a.yaml", tree)
    except RtcError:
        return
    assert OmegaConf.to_container(OmegaConf.load(StringIO(yaml_text(tree)))) == tree


def test_a_large_number_is_refused_before_it_is_a_key_among_others_of_the_same_hash():
    assert "number" in refusal(safe_yaml, f"{{{2**64}: 1, a: 1, a: 2}}")

"""The command with which sleap-nn writes configurations, and what it prints when it cannot."""

from pathlib import Path

import pytest

from rtc.sleap_nn.auto_config import (
    REASON_MAX,
    Recommendation,
    choice_text,
    config_command,
    has_no_config_command,
    read_recommendation,
    usage_reason,
)

BOX = [
    "Usage: sleap-nn config [OPTIONS] [SLP_PATH]",
    "╭─ Error ───────────────────────────────────────────╮",
    "│ Invalid value for '--pipeline': 'x' is not one of │",
    "│ 'single_instance', 'bottomup'.                    │",
    "╰───────────────────────────────────────────────────╯",
]


def test_the_command_is_that_of_sleap_nn() -> None:
    assert config_command(Path("/bin/sleap-nn"), "x.slp", "out.yaml", None) == [
        "/bin/sleap-nn", "config", "x.slp", "--auto", "-o", "out.yaml",
    ]  # fmt: skip
    assert config_command(Path("s"), "x.slp", "out.yaml", "topdown")[-1] == "--pipeline=topdown"
    assert config_command(Path("s"), "--help", "out.yaml", None)[2] == "./--help"


def test_what_click_says_is_told_without_its_box() -> None:
    expected = "Invalid value for '--pipeline': 'x' is not one of 'single_instance', 'bottomup'."
    assert usage_reason(2, BOX) == expected
    assert usage_reason(1, BOX) == ""


@pytest.mark.parametrize(
    "line",
    [
        "Error: No such command 'config'.",
        "│ No such command 'config'.      │",
        "Error: No such option: --auto",
        "│ No such option: --auto         │",
        "sleap-nn: error: argument command: invalid choice: 'config' (choose from 'train', 'track')",
    ],
)
def test_a_sleap_nn_without_the_command_is_known(line: str) -> None:
    assert has_no_config_command(2, ["Usage: …", line])
    assert not has_no_config_command(1, [line])
    assert not has_no_config_command(2, BOX)


def test_only_a_whole_recommendation_is_read_and_it_fits_on_one_line() -> None:
    assert read_recommendation(b'{"pipeline": "bottomup", "reason": "Large\\nanimals"}') is not None
    found = read_recommendation(b'{"pipeline": "bottomup", "reason": "Large animals"}')
    assert found == Recommendation("bottomup", "Large animals")
    for line in (b"", b"Loading", b"[]", b'{"reason": 1}', b'{"pipeline": "x", "reason": ""}', b"\xff"):
        assert read_recommendation(line) is None
    assert read_recommendation(b'{"pipeline": "x", "reason": "%s"}' % (b"y" * (REASON_MAX + 1))) is None


def test_the_choice_is_told_with_its_reason_if_sleap_nn_has_one() -> None:
    heads = ("centroid", "centered_instance")
    reason = Recommendation("centroid", "Animals are small.")
    assert choice_text(None, heads, reason) == (
        "sleap-nn looked at the labels and chose centroid, then centered_instance. Its reason: Animals are small."
    )
    assert choice_text(None, heads[:1], None) == "sleap-nn looked at the labels and chose centroid."
    assert choice_text("topdown", heads, None) == (
        "sleap-nn wrote the configuration for centroid, then centered_instance, as you asked with --pipeline topdown."
    )

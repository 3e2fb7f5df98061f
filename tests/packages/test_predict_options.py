"""One table of prediction options: flags, YAML and sleap-nn's command line agree."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from protocol.faults import FaultCode
from rtc.command_line.predict_options import add_predict_options, chosen_options
from rtc.common.errors import RtcError
from rtc.packages.predict_options import (
    BY_NAME,
    FRAMES_TEXT_MAX,
    OPTIONS,
    OptionKind,
    option_arguments,
    read_frames,
    read_options,
)


def refusal(read, *arguments):
    with pytest.raises(RtcError) as caught:
        read(*arguments)
    assert caught.value.fault.code is FaultCode.USAGE
    return caught.value.fault.text


@pytest.mark.parametrize(
    ("given", "frames"),
    [
        ("0,3,5", "0,3,5"),
        ("0-49", "0-49"),
        ("0,-49", "0-49"),  # how SLEAP writes a range
        ("0,3-5", "0,3,4,5"),  # sleap-nn crashes on this
        (" 7 ", "7"),
        ("7-7", "7"),
        (7, "7"),
        ([1, 2, 2], "1,2"),
        (["0-2", 9], "0,1,2,9"),
        ("0-999999999", "0-999999999"),
    ],
)
def test_frames_are_written_as_sleap_nn_reads_them(given, frames):
    assert read_frames(given) == frames


@pytest.mark.parametrize(
    "given", ["", ",", "a", "-3", "5-2", "1-2-3", "1.5", "٣", "0,-", True, [True], None, {}, "9" * 99]
)
def test_frames_that_are_none_are_refused(given):
    assert "--frames" in refusal(read_frames, given)


@pytest.mark.parametrize("given", ["0,2-99999999", ",".join(map(str, range(0, 60_000, 2)))])
def test_too_many_frames_for_a_command_line_are_refused(given):
    assert "too many" in refusal(read_frames, given)
    assert len(read_frames("0-9,20-9000")) < FRAMES_TEXT_MAX


def test_options_are_checked_and_become_sleap_nns_arguments():
    options = read_options({"max_instances": "2", "peak_threshold": 0.5, "only_labeled_frames": True, "frames": "0,2"})
    assert options == {"frames": "0,2", "only_labeled_frames": True, "peak_threshold": 0.5, "max_instances": 2}
    assert option_arguments(options) == [
        "--frames", "0,2", "--only_labeled_frames", "--peak_threshold", "0.5", "--max_instances", "2",
    ]  # fmt: skip


def test_a_switch_has_two_sides_and_a_flag_has_one():
    assert option_arguments(read_options({"ensure_rgb": False, "use_flow": False})) == ["--no-ensure_rgb"]
    assert option_arguments(read_options({"ensure_grayscale": "yes"})) == ["--ensure_grayscale"]


def test_any_option_of_tracking_switches_it_on():
    assert read_options({"max_tracks": 2}) == {"tracking": True, "max_tracks": 2}
    assert read_options({"tracking": False}) == {}


def test_nothing_said_and_nothing_refined_are_two_things():
    assert read_options({"integral_refinement": None}) == {}
    assert read_options({"integral_refinement": "none"}) == {"integral_refinement": "none"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0), ("batch_size", 1.5), ("batch_size", "many"), ("batch_size", True), ("batch_size", []),
        ("peak_threshold", 1.01), ("peak_threshold", "nan"), ("peak_threshold", "inf"), ("max_tracks", 2**40),
        ("features", "looks"), ("features", 3), ("anchor_part", "--device"), ("anchor_part", "a\nb"),
        ("anchor_part", "x" * 500), ("tracking", "perhaps"), ("input_scale", 10**400),
    ],
)  # fmt: skip
def test_a_wrong_value_names_its_option(name, value):
    assert BY_NAME[name].flag in refusal(read_options, {name: value})


@pytest.mark.parametrize(
    "name", ["device", "gui", "output_path", "backbone_ckpt_path", "sam_checkpoint", "headers", "x"]
)
def test_what_the_worker_decides_cannot_be_asked_for(name):
    assert repr(name) in refusal(read_options, {name: "1"})


@click.command()
@add_predict_options
def track(**given):
    options = chosen_options(given)
    click.echo(repr(options))


def test_flags_become_options():
    words = ["--peak-threshold", "0.3", "--frames", "0,-9", "--tracking", "--no-ensure-rgb", "--features", "bboxes"]
    result = CliRunner().invoke(track, words)
    assert result.exception is None
    assert result.output.strip() == repr(
        {"frames": "0-9", "peak_threshold": 0.3, "ensure_rgb": False, "tracking": True, "features": "bboxes"}
    )
    assert CliRunner().invoke(track, []).output.strip() == "{}"


def test_a_wrong_flag_is_refused_in_the_tables_words():
    result = CliRunner().invoke(track, ["--batch-size", "none"])
    assert isinstance(result.exception, RtcError)
    assert result.exception.fault.text == "--batch-size takes a whole number of 1 or more."


@pytest.mark.slow
def test_the_options_are_light_to_import():
    heavy = {"trio", "numpy", "yaml", "zmq", "torch"}
    program = f"import sys, rtc.command_line.predict_options; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_sleap_nn_knows_every_option():
    """Compare the table with sleap-nn's own command, if sleap-nn is installed; the import takes some seconds."""
    commands = pytest.importorskip("sleap_nn.cli")
    known = {word: option for option in commands.predict.params for word in [*option.opts, *option.secondary_opts]}
    for option in OPTIONS:
        theirs = known[f"--{option.name}"]
        assert (option.kind in (OptionKind.FLAG, OptionKind.SWITCH)) == theirs.is_flag
        assert (option.kind is OptionKind.SWITCH) == bool(theirs.secondary_opts)
        choices = getattr(theirs.type, "choices", None)
        assert choices is None or set(option.choices) == set(choices)

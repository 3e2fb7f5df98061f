"""Images that are packed have the values that sleap-nn would read from the videos, or one sentence says why not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.faults import FaultCode
from rtc.client.package_builder import sleap_io_process
from rtc.client.package_builder.sleap_io_process import DISK_FULL, REFUSED, run_sleap_io
from rtc.common import cancellable_process, subprocess_input
from rtc.common.errors import RtcError

CASES = Path(__file__).with_name("embed_cases.py")
PROGRAM = Path(sleap_io_process.__file__).with_name("embed_subprocess.py")
SAME = ("uint8", "colour", "fractions", "fractions in colour, channels first", "half", "16 bit", "signed", "32 bit",
        "bool", "two channels", "alpha", "png", "jpg", "bmp", "png with alpha", "png of 16 bit",
        "tif of 16 bit in colour", "tif with fractions", "png and jpg", "jpg and tif", "bmp and png", "sizes",
        "package", "crop", "rotated", "uneven")  # fmt: skip
REFUSALS = {
    "sizes with fractions": "has images of several kinds: frame 3 is float32 (19, 24, 1)",
    "too short": "has labels on frame 99 of too_short, which has 6 frames, counted from 0",
    "broken": "Frame 3 of 3.png, which x.slp refers to, cannot be read",
}


@pytest.mark.slow
def test_packed_images_have_the_values_of_the_video_or_one_sentence_says_why_not(tmp_path):
    """None is changed: fractions, 16 bit, colours, alpha, image files of several kinds, crops, rotated videos.

    A variable frame rate, with which readers of videos differ, is said to the person.
    """
    pytest.importorskip("sleap_io")
    pytest.importorskip("cv2")
    command = [sys.executable, "-W", "ignore", str(CASES), str(PROGRAM), str(tmp_path)]  # one process for all of them
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: found[name]["outcome"] for name in SAME} == dict.fromkeys(SAME, "same")
    assert {name: text for name, text in REFUSALS.items() if text not in found[name]["outcome"]} == {}, found
    assert {name for name in found if "variable frame rate" in found[name]["said"]} == {"uneven"}


def outcome(code, report=None):
    """Return what a program ends with: what it prints, or the fault."""
    try:
        return run_sleap_io(sys.executable, Path("/home/ada/x.slp"), ["-c", code], "", report).decode()
    except RtcError as error:
        return error.fault


def test_a_program_that_refuses_says_one_sentence():
    fault = outcome(f"import sys; print('It is too short.'); sys.exit({REFUSED})")
    assert (fault.code, fault.text) == (FaultCode.USAGE, "It is too short.")


def test_a_full_disk_while_images_are_packed_is_said_as_such():
    assert outcome(f"import sys; sys.exit({DISK_FULL})").code is FaultCode.DISK_FULL


@pytest.mark.parametrize(
    "error", ["TypeError(\"'NoneType' object is not subscriptable\")", "OSError('Unable to open file (eof = 96)')"]
)
def test_what_a_library_raises_is_not_shown(error):
    text = outcome(f"raise {error}").text
    assert text == (
        "x.slp could not be read. It is damaged, or not of a kind that sleap-io knows. Save it again in SLEAP."
    )


def test_words_of_sleap_io_about_a_file_are_shown():
    assert outcome("raise ValueError('a format of the future')").text.endswith("sleap-io says: a format of the future")


def test_a_program_that_is_killed_is_one_sentence_too():
    assert "x.slp could not be read" in outcome("import os; os.kill(os.getpid(), 9)").text


def test_lines_for_the_person_are_reported_once_and_others_never():
    said = []
    code = "import sys; print('say: a\\nwarning\\nsay: b', file=sys.stderr); print('done')"
    assert outcome(code, said.append).strip() == "done"
    assert said == ["a", "b"]


def test_a_program_that_starts_slowly_gets_all_of_a_long_text(monkeypatch):
    monkeypatch.setattr(cancellable_process, "CANCEL_CHECK_TIME", 0.001)  # much less than the start of a Python takes
    code = "import sys; print(len(sys.stdin.read()))"
    assert run_sleap_io(sys.executable, Path("x.slp"), ["-c", code], "x" * 10**6).split() == [b"1000000"]


def test_no_room_for_temporary_files_is_one_sentence(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subprocess_input.tempfile, "TemporaryFile", full)
    assert outcome("").code is FaultCode.DISK_FULL

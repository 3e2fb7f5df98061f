"""The closing sentence of a job says what was found, on how many frames, and also when nothing was."""

import pytest

from protocol.jobs import JobKind
from rtc.packages.inference import PredictStep
from rtc.packages.plan import Plan
from rtc.runner.count_predictions import FileCounts
from rtc.runner.summary import CompletedSteps, PredictedFile, success_summary


def file(name="a.mp4", frames=16, counts=None, models=("m",), **options):
    step = PredictStep(name, name, models, f"{name}.predictions.slp", options, tracking=bool(options.get("tracking")))
    return PredictedFile(step, frames, counts)


def said(*files, models=()):
    plan = Plan(JobKind.TRACK, (), predictions=tuple(one.step for one in files))
    return success_summary(plan, CompletedSteps(models, files))


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([file(counts=FileCounts(32, 16, 16))], "Predicted 32 instances on 16 of 16 frames in a.mp4."),
        ([file(frames=1, counts=FileCounts(1, 1, 1))], "Predicted 1 instance on 1 of 1 frame in a.mp4."),
        ([file(frames=None, counts=FileCounts(3, 2, 5))], "Predicted 3 instances on 2 of 5 frames in a.mp4."),
        (
            [file(counts=FileCounts(32, 16, 16, 2), tracking=True)],
            "Predicted 32 instances on 16 of 16 frames in a.mp4, with 2 tracks.",
        ),
        (
            [file("a.slp", counts=FileCounts(32, 16, 16, 2), models=(), tracking=True)],
            "Tracked 32 instances on 16 of 16 frames in a.slp, with 2 tracks.",
        ),
        (
            [file(counts=FileCounts(32, 16, 16)), file("b.mp4", 4, FileCounts(0, 0, 4))],
            "Predicted 32 instances on 16 of 20 frames in 2 files: a.mp4, b.mp4; nothing was found in b.mp4.",
        ),
        (
            [file(counts=FileCounts(0, 0, 16))],
            "No animal was found on any of the 16 frames in a.mp4; try a lower --peak-threshold.",
        ),
        (
            [file(counts=FileCounts(0, 0, 16)), file("b.mp4", 4, FileCounts(0, 0, 4))],
            "No animal was found on any of the 20 frames in 2 files: a.mp4, b.mp4; try a lower --peak-threshold.",
        ),
        (
            [file(frames=0, counts=FileCounts(0, 0, 0, 0, 8), frames_="")],
            "Nothing was predicted in a.mp4, since it has no frames to predict on.",
        ),
        (
            [file("a.slp", 0, FileCounts(0, 0, 0), only_suggested_frames=True)],
            "Nothing was predicted in a.slp, since it has no suggested frames.",
        ),
        (
            [file("a.slp", 5, FileCounts(0, 0, 5), models=(), tracking=True)],
            "Nothing was tracked in a.slp, since its 5 frames hold no predictions.",
        ),
        ([file()], "Predicted 16 frames in a.mp4."),
        ([file(frames=None)], "Predicted on a.mp4."),
    ],
)
def test_what_was_found_is_said(files, sentence):
    assert said(*files) == sentence


def test_frames_beyond_the_end_are_said_as_such():
    step = PredictStep("a.mp4", "a.mp4", ("m",), "out.slp", {"frames": "100-110"})
    assert said(PredictedFile(step, None, FileCounts(0, 0, 0, 0, 8))) == (
        "Nothing was predicted in a.mp4, since --frames 100-110 names no frame of it, which has 8 frames, counted "
        "from 0."
    )


def test_a_model_that_finds_nothing_after_its_training_may_need_more():
    step = PredictStep("a.slp", "a.slp", ("m",), "out.slp")
    plan = Plan(JobKind.TRAIN, (), predictions=(step,))
    completed = CompletedSteps((), (PredictedFile(step, 4, FileCounts(0, 0, 4)),))
    assert success_summary(plan, completed).endswith("try a lower --peak-threshold.")
    assert "train longer" in success_summary(plan, CompletedSteps(("one",), completed.files))

"""Only what a training or a prediction reads is asked for; the cases follow sleap-nn 0.3.5."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from rtc.client.package_builder import contents
from rtc.client.package_builder.contents import InspectedLabels, PackageContents
from rtc.client.package_builder.frames_read import frames_of_prediction, frames_of_training
from rtc.client.package_builder.packing_progress import REPORT_TIME, PackingProgress
from rtc.client.package_builder.slp_files import PredictionFrames, Project, Relinked, TrainingFrames, Video
from rtc.client.package_builder.training_config import TrainingConfig
from rtc.packages.hydra_overrides import FROM_COMMAND_LINE, read_overrides

PROGRAM = Path(contents.__file__).with_name("slp_subprocess.py")


@pytest.fixture(scope="module")
def program():
    """Return the program that opens projects as a module; it imports sleap-io only when it opens one."""
    spec = importlib.util.spec_from_file_location("slp_subprocess_of_tests", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FakeVideo:
    """A video as sleap-io shows it, of which comparisons are counted."""

    compared = 0

    def __init__(self, filename, **metadata):
        self.filename, self.backend_metadata = filename, metadata

    def __eq__(self, other):
        FakeVideo.compared += 1
        return self is other

    __hash__ = object.__hash__


SKELETON = SimpleNamespace(node_names=["nose", "tail"], edges=[1])


def frame(video, number, kind="user", **more):
    instance = SimpleNamespace(is_empty=kind == "empty", skeleton=SKELETON)
    return SimpleNamespace(
        video=video,
        frame_idx=number,
        instances=[instance] if kind else [],
        user_instances=[instance] if kind in ("user", "empty") else [],
        predicted_instances=[instance] if kind == "predicted" else [],
        **more,
    )


@pytest.fixture
def labels(program, monkeypatch):
    """Return a project of a video with labels of several kinds, a sequence of images, and a predicted video."""
    a, b, c = FakeVideo("a.mp4"), FakeVideo([f"b/{number}.png" for number in range(6)]), FakeVideo("c.mp4")
    project = SimpleNamespace(
        videos=[a, b, c],
        labeled_frames=[frame(a, 4), frame(a, 2, "predicted"), frame(b, 3), frame(c, 9, "predicted")],
        skeletons=[],
        tracks=[],
        suggestions=[SimpleNamespace(video=a, frame_idx=4), SimpleNamespace(video=b, frame_idx=1)],
    )
    monkeypatch.setattr(program, "_load", lambda _file: project)
    return project


def read(program, **options):
    """Return the frames that a prediction with these options reads, for each video."""
    reads = frames_of_prediction(options, options.pop("models", True))
    found = program.inspect_data(Path("x.slp"), {
        "which": reads.which, "frames": reads.frames, "video_index": reads.video_index,
        "tracking_only": reads.tracking_only, "images": reads.images,
    })  # fmt: skip
    return [video["needed"] for video in found["videos"]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[2, 4], [3], [9]]),
        ({"only_labeled_frames": True}, [[4], [3], []]),
        ({"only_suggested_frames": True}, [[], [1], []]),
        ({"exclude_user_labeled": True}, [[2], [], [9]]),
        ({"only_predicted_frames": True}, [[2], [], [9]]),
        ({"only_predicted_frames": True, "only_labeled_frames": True}, [[4], [3], []]),
        ({"frames": "0-1"}, [[2, 4], [], []]),  # places in the list of labelled frames
        ({"frames": "3"}, [[], [], [9]]),
        ({"only_labeled_frames": True, "frames": "0"}, [[4], [3], []]),  # sleap-nn does not look at --frames then
        ({"video_index": 2}, [[], [], None]),
        ({"video_index": 2, "exclude_user_labeled": True}, [[], [], None]),
        ({"video_index": 0, "only_labeled_frames": True}, [[0, 4], [], []]),
        ({"video_index": 0, "only_suggested_frames": True}, [[0], [], []]),
        ({"video_index": 1, "frames": "2-3"}, [[], [0, 2, 3], []]),  # frames of the video
        ({"video_index": 1, "frames": "2,3", "only_labeled_frames": True}, [[], [0, 3], []]),
        ({"models": False, "tracking": True}, [[], [], []]),
        ({"models": False, "tracking": True, "video_index": 2}, [[], [], []]),
        ({"models": False, "tracking": True, "use_flow": True}, [[2, 4], [3], [9]]),
        ({"models": False, "tracking": True, "use_flow": True, "frames": "0-4"}, [[2, 4], [3], []]),
        ({"models": False, "tracking": True, "use_flow": True, "video_index": 1}, [[], [3], []]),
        ({"video_index": 7}, [[], [], []]),
    ],
)
def test_a_prediction_reads_these_frames(program, labels, options, expected):
    assert read(program, **options) == expected


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        (TrainingFrames(), ([4], [])),
        (TrainingFrames(negative=True), ([4, 6], [])),
        (TrainingFrames(predicted=True), ([2, 4], [])),
        (TrainingFrames(annotated=True), ([4, 5], [])),
    ],
)
def test_a_training_reads_these_frames(program, labels, reads, expected):
    a, _, c = labels.videos
    labels.labeled_frames = [
        frame(a, 4), frame(a, 2, "predicted"), frame(a, 6, None, is_negative=True), frame(c, 1, "empty"),
        frame(a, 5, None, masks=[SimpleNamespace(is_predicted=False)]),
        frame(a, 8, None, masks=[SimpleNamespace(is_predicted=True)]),
    ]  # fmt: skip
    asked = {"predicted": reads.predicted, "negative": reads.negative, "annotated": reads.annotated}
    found = program.inspect_training(Path("x.slp"), asked)["videos"]
    assert (found[0]["needed"], found[2]["needed"]) == expected
    assert found[2]["optional"] == [1], "an animal without points teaches nothing, but its image is of use"


@pytest.mark.parametrize(("predicted", "expected"), [(False, (1, 1, 3)), (True, (2, 0, 2))])
def test_what_models_have_to_fit_is_read_with_the_frames(program, labels, predicted, expected):
    a, b, _ = labels.videos
    twice = frame(a, 2, "predicted")
    twice.instances *= 2
    labels.labeled_frames = [frame(a, 1, "empty"), frame(b, 3), twice]
    labels.skeletons = [SimpleNamespace(node_names=["x"], edges=[]), SKELETON]
    labels.tracks = [SimpleNamespace(name=name) for name in ("male", "female", "male")]
    asked = {"predicted": predicted, "negative": False, "annotated": False}
    found = program.inspect_training(Path("x.slp"), asked)["animals"]
    assert (found["nodes"], found["edges"], found["used_nodes"]) == (["x"], 0, [["nose", "tail"]])
    assert found["tracks"] == 2
    assert (found["max_animals"], found["video"], found["frame"]) == expected


def test_a_video_whose_name_no_file_can_have_is_only_missing(program, tmp_path):
    """A path of Windows is one long name here."""
    name = "//?/C:/lab/" + "x" * 300 + ".mp4"
    (path,) = program._describe(FakeVideo(name), tmp_path / "x.slp", [0])["paths"]
    assert Video((Path(path),), is_sequence=False, needed=(0,)).missing == (Path(path),)


def config(head="single_instance", **data):
    return TrainingConfig(Path("c.yaml"), head, {"data_config": data}, legacy=False)


@pytest.mark.parametrize(
    ("configs", "overrides", "expected"),
    [
        ([config()], (), TrainingFrames()),
        ([config(user_instances_only=False)], (), TrainingFrames()),  # splitting takes predictions out
        ([config(user_instances_only=False, val_labels_path=["v.slp"])], (), TrainingFrames(predicted=True)),
        (
            [config(use_same_data_for_val=True)],
            ("data_config.user_instances_only=false",),
            TrainingFrames(predicted=True),
        ),
        ([config()], ("++data_config.use_negative_frames=true",), TrainingFrames(negative=True)),
        ([config()], ("data_config.use_negative_frames='true'",), TrainingFrames(negative=True)),
        ([config(use_negative_frames=True)], ("~data_config.use_negative_frames",), TrainingFrames()),
        ([config(), config("centroid")], (), TrainingFrames(annotated=True)),
    ],
)
def test_configurations_and_overrides_say_what_a_training_reads(configs, overrides, expected):
    assert frames_of_training(configs, read_overrides(overrides, FROM_COMMAND_LINE)) == expected


@pytest.mark.parametrize("videos", [1, 1_000])
def test_a_project_is_inspected_in_a_time_that_grows_with_its_frames(program, labels, videos):
    FakeVideo.compared = 0
    labels.videos = [FakeVideo(f"{number}.png") for number in range(videos)]
    labels.labeled_frames = [frame(labels.videos[number % videos], number) for number in range(2_000)]
    program.inspect_training(Path("x.slp"), {"predicted": False, "negative": False, "annotated": False})
    read(program, only_labeled_frames=True)
    read(program, video_index=0)
    assert FakeVideo.compared == 0, "no video is looked for in the list of videos"


def test_of_a_sequence_only_the_images_that_are_read_are_packed(tmp_path, monkeypatch):
    given = []

    def relink(_labels, _copy, paths):
        given.extend(paths)
        return Relinked("{}", ())

    monkeypatch.setattr(contents, "relink_videos", relink)
    images = tuple(tmp_path / "walk" / f"{number}.png" for number in range(5))
    videos = (
        Video(images, is_sequence=True, needed=(3,)),
        Video((tmp_path / "gone.mp4",), is_sequence=False, needed=()),
        Video((tmp_path / "long.mp4",), is_sequence=False),
        Video((), is_sequence=False, needed=(1,)),
    )
    packed = PackageContents(tmp_path)
    packed.add_data_labels(InspectedLabels(tmp_path / "x.slp", Project(1, videos)))
    assert [name for name in packed.files if name != "x.slp"] == ["walk/0.png", "walk/3.png", "long.mp4"]
    assert given == [[f"walk/{number}.png" for number in range(5)], "gone.mp4", "long.mp4", None]


def test_a_video_that_one_entry_of_a_project_reads_is_packed_whatever_another_says(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "relink_videos", lambda *_: Relinked("{}", ()))
    path = (tmp_path / "a.mp4",)
    videos = (Video(path, is_sequence=False, needed=()), Video(path, is_sequence=False, needed=(2,)))
    packed = PackageContents(tmp_path)
    packed.add_data_labels(InspectedLabels(tmp_path / "x.slp", Project(1, videos)))
    assert packed.files["a.mp4"] == path[0]


def test_missing_videos_of_which_nothing_is_read_are_left_out_with_a_word(tmp_path, monkeypatch):
    videos = tuple(Video((tmp_path / name,), is_sequence=False, needed=()) for name in ("gone.mp4", "off.mp4"))
    monkeypatch.setattr(contents, "read_project", lambda _path, _reads: Project(3, videos))
    said = []
    contents.inspect_data_labels(tmp_path / "x.slp", PredictionFrames(), said.append)
    assert said == ["Left out, since they are not there and no frame of them is needed: gone.mp4, off.mp4"]


def test_progress_is_told_now_and_then():
    now, said = [0.0], []
    progress = PackingProgress(10_000, said.append, clock=lambda: now[0])
    for _ in range(10_000):
        now[0] += REPORT_TIME / 4_000
        progress.add_one()
    assert said == ["Packing files: 4 000 of 10 000", "Packing files: 8 000 of 10 000"]

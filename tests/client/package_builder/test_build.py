"""Packages that are built from files on disk can be run; missing files are reported before anything is written."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import trio
import yaml

from protocol.faults import FaultCode
from rtc.client.package_builder import build, contents, slp_files
from rtc.client.package_builder.build import build_tracking, build_training
from rtc.client.package_builder.contents import inspect_data_labels
from rtc.client.package_builder.slp_files import PredictionFrames, Project, Video
from rtc.client.package_builder.trained_models import find_models
from rtc.client.package_builder.training_config import refused_settings
from rtc.common.errors import RtcError
from rtc.common.hdf5 import HDF5
from rtc.packages.describe import describe
from rtc.packages.original_paths import MEMBER, OriginalPath, edit_for_sending, read_original_paths
from rtc.packages.plan import inspect_package
from rtc.packages.zip_writer import add_file, open_zip_writer

CONFIG = {
    "data_config": {
        "train_labels_path": ["/home/lab/flies.slp"],
        "val_labels_path": None,
        "cache_img_path": "/scratch/cache",
    },
    "model_config": {
        "backbone_config": {"unet": {}},
        "head_configs": {"centroid": {"confmaps": {}}, "bottomup": None},
    },
    "trainer_config": {"max_epochs": 7, "ckpt_dir": "/home/lab/models", "run_name": "old"},
}


@pytest.fixture
def blind(monkeypatch):
    """Simulate a computer without sleap-io and sleap-nn, which cannot open a project."""
    monkeypatch.setattr(slp_files, "python_with", lambda _module: None)


@pytest.fixture
def place(tmp_path, blind):
    """Return a folder with labels, training configurations, models and a video."""
    (tmp_path / "flies.pkg.slp").write_bytes(HDF5 + b"labels")
    (tmp_path / "fly.mp4").write_bytes(b"video")
    for head in ("centroid", "centered_instance"):
        tree = CONFIG | {
            "model_config": {"backbone_config": {"unet": {}}, "head_configs": {head: {}, "bottomup": None}}
        }
        (tmp_path / f"my {head}.yaml").write_text(yaml.safe_dump(tree))
        (tmp_path / "runs" / head).mkdir(parents=True)
        (tmp_path / "runs" / head / "best.ckpt").write_bytes(head.encode())
        (tmp_path / "runs" / head / "training_config.yaml").write_text("{}")
        (tmp_path / "runs" / head / "labels_pr.train.0.slp").write_bytes(b"not needed")
    return tmp_path


def train(place, labels="flies.pkg.slp", configs=("my centroid.yaml",), overrides=(), target="out.zip"):
    build_training(
        place / labels, [place / config for config in configs], overrides, place / target, lambda _text: None
    )
    return inspect_package(place / target)


def track(place, data="fly.mp4", models=("runs/centroid",), **options):
    build_tracking(place / data, [place / model for model in models], options, place / "out.zip", lambda _text: None)
    return inspect_package(place / "out.zip")


def refusal(make, *arguments, **options):
    with pytest.raises(RtcError) as caught:
        make(*arguments, **options)
    return caught.value.fault


def inside(place):
    with zipfile.ZipFile(place / "out.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def leftovers(place):
    return sorted(
        path.name for path in place.iterdir() if path.name.startswith(".") or path.name.endswith((".part", ".zip"))
    )


def test_a_training_package_is_laid_out_as_sleap_does(place):
    plan = train(place, configs=("my centered_instance.yaml", "my centroid.yaml"))
    assert [step.head for step in plan.steps] == ["centroid", "centered_instance"]  # in whichever order they are given
    files = inside(place)
    assert list(files) == [
        "centroid.yaml", "centered_instance.yaml", "jobs.yaml", "train-script.sh", "inference-script.sh",
        MEMBER, "flies.pkg.slp",
    ]  # fmt: skip
    assert read_original_paths(place / "out.zip").files == (
        OriginalPath("flies.pkg.slp", (place / "flies.pkg.slp").as_posix()),
    )
    assert files["flies.pkg.slp"] == HDF5 + b"labels"
    tree = yaml.safe_load(files["centroid.yaml"])
    assert tree["data_config"]["train_labels_path"] == ["flies.pkg.slp"]
    assert tree["data_config"]["cache_img_path"] is None
    assert tree["trainer_config"]["ckpt_dir"] == "models"
    assert plan.steps[0].run_path == f"models/{tree['trainer_config']['run_name']}"
    assert tree["trainer_config"]["run_name"].endswith(".centroid")
    assert yaml.safe_load(files["jobs.yaml"])["inference"] == []
    assert leftovers(place) == ["out.zip"]


def test_the_script_of_a_built_package_asks_for_the_same(place):
    plan = train(place, overrides=["trainer_config.max_epochs=5", "trainer_config.wandb.name=a b"])
    files = {name: data for name, data in inside(place).items() if name != "jobs.yaml"}
    with zipfile.ZipFile(place / "other.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert inspect_package(place / "other.zip").steps == plan.steps
    assert [str(item) for item in plan.steps[0].overrides] == [
        "++trainer_config.max_epochs=5",
        '++trainer_config.wandb.name="a b"',
    ]
    assert plan.steps[0].epochs == 5


def test_two_configurations_for_one_head_are_two_models(place):
    plan = train(place, configs=("my centroid.yaml",) * 2)
    assert [step.name for step in plan.steps] == ["centroid", "centroid-2"]
    assert len({step.run_path for step in plan.steps}) == 2


def test_weights_that_are_named_by_their_folder_are_not_called_missing(place):
    tree = CONFIG | {"model_config": CONFIG["model_config"] | {"pretrained_backbone_weights": "runs/centroid"}}
    tree["data_config"] = {}
    (place / "c.yaml").write_text(yaml.safe_dump(tree))
    fault = refusal(train, place, configs=("c.yaml",))
    assert fault.code is FaultCode.USAGE
    assert "c.yaml names 'runs/centroid', which is a folder. Name the file in it, such as best.ckpt." in fault.text


def test_what_a_configuration_names_comes_along_when_it_lies_beside_it(place):
    tree = json.loads(json.dumps(CONFIG))
    tree["data_config"] |= {"val_labels_path": ["/home/lab/val.pkg.slp"], "test_file_path": "C:\\lab\\test.pkg.slp"}
    tree["model_config"]["pretrained_backbone_weights"] = "/home/lab/runs/best.ckpt"
    (place / "c.yaml").write_text(yaml.safe_dump(tree))
    for missing in ("val.pkg.slp", "test.pkg.slp", "best.ckpt"):
        fault = refusal(train, place, configs=("c.yaml",))
        assert fault.code is FaultCode.USAGE
        assert f"c.yaml names '{missing}', which is not there" in fault.text
        assert "/home/lab" not in fault.text
        assert leftovers(place) == []
        (place / missing).write_bytes(HDF5)
    train(place, configs=("c.yaml",))
    packed = yaml.safe_load(inside(place)["centroid.yaml"])
    assert packed["data_config"]["val_labels_path"] == ["val.pkg.slp"]
    assert packed["data_config"]["test_file_path"] == "test.pkg.slp"
    assert packed["model_config"]["pretrained_backbone_weights"] == "weights/best.ckpt"


def test_a_configuration_of_sleap_1_4_is_taken(place):
    old = {
        "data": {"labels": {"training_labels": "C:\\flies.slp"}},
        "model": {"backbone": {"unet": {"filters": 8}}, "heads": {"centroid": {"sigma": 2.5}, "multi": None}},
        "optimization": {"epochs": 9},
    }
    (place / "old.json").write_text(json.dumps(old))
    (step,) = train(place, configs=("old.json",)).steps
    assert (step.config, step.head, step.legacy, step.epochs) == ("centroid.json", "centroid", True, 9)
    assert step.effective_labels == ("flies.pkg.slp",)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"labels": "fly.mp4"}, "Name a .slp"),
        ({"labels": "gone.slp"}, "gone.slp cannot be opened"),
        ({"labels": "bad.slp"}, "no SLEAP project"),
        ({"labels": "folder.slp"}, "is a folder"),
        ({"labels": "flies.slp"}, r"pip install '.[labels]'"),
        ({"configs": ("gone.yaml",)}, "gone.yaml cannot be opened"),
        ({"configs": ("fly.mp4",)}, "no training configuration"),
        ({"configs": ("two.yaml",)}, "2 heads"),
        ({"configs": ("list.yaml",)}, "no training configuration"),
        ({"configs": ("broken.yaml",)}, "no valid YAML"),
        ({"configs": ("broken.json",)}, "no valid JSON"),
        ({"configs": ("env.yaml",)}, "worker's environment"),
        ({"configs": ("large.yaml",)}, "too large"),
        ({"overrides": ["seed=1"]}, "is not understood"),
        ({"target": "nowhere/out.zip"}, "could not be written"),
        ({"target": "n" * 249 + ".zip"}, "too long for a package"),
        ({"labels": "pipe.slp"}, "pipe.slp is no ordinary file"),
        ({"configs": ("pipe.slp",)}, "pipe.slp is no ordinary file"),
    ],
)
def test_what_cannot_be_packed_is_refused_and_nothing_is_left_behind(changes, expected, place):
    (place / "bad.slp").write_bytes(b"no labels")
    (place / "flies.slp").write_bytes(HDF5)
    (place / "folder.slp").mkdir()
    os.mkfifo(place / "pipe.slp")
    (place / "two.yaml").write_text("model_config: {head_configs: {centroid: {}, bottomup: {}}}")
    (place / "list.yaml").write_text("[1]")
    (place / "broken.yaml").write_text("a: [")
    (place / "broken.json").write_text("{")
    (place / "env.yaml").write_text("model_config: {head_configs: {centroid: {a: '${oc.env:HOME}'}}}")
    (place / "large.yaml").write_text("#" * 2**21)
    fault = refusal(train, place, **changes)
    assert expected in fault.text
    assert fault.code in (FaultCode.USAGE, FaultCode.BAD_PACKAGE)
    assert str(place) not in fault.text
    assert leftovers(place) == []


def test_an_inference_package_holds_what_predicting_needs_and_no_more(place):
    models = ("runs/centroid/best.ckpt", "runs/centered_instance/training_config.yaml", "runs/centroid")
    plan = track(place, models=models, peak_threshold="0.3", frames="0,-9")
    (step,) = plan.predictions
    assert (step.data, step.models) == ("fly.mp4", ("models/centroid", "models/centered_instance"))
    assert (step.output, step.options) == ("fly.mp4.predictions.slp", {"frames": "0-9", "peak_threshold": 0.3})
    assert sorted(inside(place)) == sorted(
        [MEMBER, "fly.mp4", "inference-script.sh", "jobs.yaml", "train-script.sh"]
        + [
            f"models/{head}/{name}"
            for head in ("centroid", "centered_instance")
            for name in ("best.ckpt", "training_config.yaml")
        ]
    )
    assert leftovers(place) == ["out.zip"]


def test_models_of_one_name_are_kept_apart(place):
    (place / "other").mkdir()
    (place / "runs/centroid").rename(place / "other/run")
    (place / "runs/centered_instance").rename(place / "runs/run")
    assert track(place, models=("other/run", "runs/run")).predictions[0].models == ("models/run", "models/run-2")


def test_files_of_any_name_find_their_place(place):
    (place / "models").write_bytes(b"")
    name = "fly: über " + "x" * 150 + ".MP4"
    (place / name).write_bytes(b"video")
    (step,) = track(place, data=name).predictions
    assert step.data.endswith(".MP4")
    assert len(step.data.encode()) <= 100


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data": "runs"}, "The folder runs holds no images"),
        ({"data": "."}, "Name one of its files: bad.slp, flies.pkg.slp, fly.mp4."),
        ({"data": "gone.mp4"}, "gone.mp4 cannot be opened"),
        ({"data": "my centroid.yaml"}, "no data to predict on"),
        ({"data": "p.zip"}, "is a package already"),
        ({"data": "bad.slp"}, "no SLEAP project"),
        ({"models": ()}, "Say which models"),
        ({"models": ("runs",)}, "Name a model in it: centered_instance, centroid"),
        ({"models": ("gone/best.ckpt",)}, "is not there"),
        ({"models": ("fly.mp4",)}, "name its folder"),
        ({"models": ("half",)}, "lacks its training_config.yaml"),
        ({"models": ("quick",)}, "The model quick lacks its best.ckpt. Name a model in it: models/a, models/b."),
        ({"data": "pipe.mp4"}, "pipe.mp4 is no ordinary file"),
        ({"only_labeled_frames": True}, "--only-labeled-frames is for labels"),
        ({"video_index": 0}, "--video-index is for labels"),
        ({"batch_size": 0}, "--batch-size"),
    ],
)
def test_what_cannot_be_predicted_on_is_refused(changes, expected, place):
    (place / "bad.slp").write_bytes(b"no labels")
    (place / "half").mkdir()
    (place / "half/best.ckpt").write_bytes(b"")
    for name in ("a", "b"):
        (place / "quick/models" / name).mkdir(parents=True)
        (place / "quick/models" / name / "best.ckpt").write_bytes(b"")
    os.mkfifo(place / "pipe.mp4")
    fault = refusal(track, place, **changes)
    assert fault.code is FaultCode.USAGE
    assert expected in fault.text
    assert str(place) not in fault.text
    assert leftovers(place) == []


def test_tracking_needs_no_model_when_labels_hold_predictions(place):
    (step,) = track(place, data="flies.pkg.slp", models=(), max_tracks=2).predictions
    assert (step.models, step.tracking) == ((), True)


def test_a_full_disk_is_reported_before_anything_is_written(place, monkeypatch):
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 1}))
    assert refusal(track, place).code is FaultCode.DISK_FULL
    assert leftovers(place) == []


async def test_building_ends_when_it_is_cancelled(place):
    with trio.CancelScope() as scope:
        scope.cancel()
        await trio.to_thread.run_sync(track, place)
    assert leftovers(place) == []


def test_a_large_file_is_stored_as_it_is(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(20 * 2**20)
    seen = []
    with open_zip_writer(tmp_path / "p.zip", 0o644, seen.append) as archive:
        add_file(archive, "large", tmp_path / "large")
    assert seen == [tmp_path / "p.zip.part"]
    (info,) = zipfile.ZipFile(tmp_path / "p.zip").infolist()
    assert (info.compress_type, info.file_size, info.extract_version) == (zipfile.ZIP_STORED, 20 * 2**20, 45)


def test_a_package_is_described(place):
    train(place, configs=("my centroid.yaml",), overrides=["trainer_config.seed=3"])
    assert describe(place / "out.zip").splitlines()[1:] == [
        "Trains, in this order:",
        "  1. centroid on flies.pkg.slp, at most 7 epochs",
        "       trainer_config.seed = 3",
    ]
    track(place, max_tracks=2)
    assert describe(place / "out.zip").splitlines()[1:] == [
        "Predicts:",
        "  1. on fly.mp4, into fly.mp4.predictions.slp",
        "       with centroid",
        "       tracking, max_tracks = 2",
    ]


def test_what_is_left_out_is_described(place):
    train(place)
    files = inside(place)
    jobs = yaml.safe_load(files["jobs.yaml"])
    jobs["inference"] = [{"data_path": "gone.mp4", "models": [jobs["training"][0]["run_path"]]}]
    with zipfile.ZipFile(place / "out.zip", "w") as archive:
        for name, data in (files | {"jobs.yaml": yaml.safe_dump(jobs)}).items():
            archive.writestr(name, data)
    *_, heading, note = describe(place / "out.zip").splitlines()
    assert heading == "Note:"
    assert note.startswith("  - A prediction is left out. The data 'gone.mp4' to predict on is missing")


# -------- with sleap-io, of the extras `labels` and `worker`


DRAW = """
import sys, numpy as np, imageio.v3 as images, sleap_io as sio
from pathlib import Path
folder, kind = Path(sys.argv[1]), sys.argv[2]
frames = np.random.default_rng(1).integers(0, 255, (6, 32, 32), dtype=np.uint8)
(folder / "videos").mkdir()
def video(name):
    if kind == "images":
        paths = [folder / "videos" / name / f"{number}.png" for number in range(6)]
        paths[0].parent.mkdir()
        for path, frame in zip(paths, frames): images.imwrite(path, frame)
        return sio.Video.from_filename([str(path) for path in paths], grayscale=True)
    path = folder / "videos" / f"{name}.mp4"
    images.imwrite(path, np.repeat(frames[..., None], 3, 3), fps=10)
    return sio.load_video(str(path))
skeleton = sio.Skeleton(nodes=["head", "tail"], name="fly")
videos = [video(name) for name in ("a", "b")]
points = np.array([[1.0, 2.0], [9.0, 9.0]])
def frame(index):
    return sio.LabeledFrame(videos[0], index, [sio.Instance.from_numpy(points, skeleton=skeleton)])
sio.Labels([frame(0), frame(3)], videos=videos, skeletons=[skeleton]).save(str(folder / "flies.slp"))
"""
READ = """
import sys, json, sleap_io as sio
labels = sio.load_slp(sys.argv[1])
print(json.dumps({
    "names": [video.filename for video in labels.videos],
    "labelled": [frame.image.shape[0] for frame in labels.user_labeled_frames],
    "frames": [len(video) for video in labels.videos],
}))
"""


def python(code, *words, cwd):
    """Run code in a subprocess, where its warnings and its folder do not affect the tests; return its stdout."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=["videos", "images"])
def project(tmp_path, request):
    """Return a folder with a project of two videos, of which one has labelled frames, a configuration and a model."""
    pytest.importorskip("sleap_io")
    place = tmp_path / "home"
    place.mkdir()
    python(DRAW, place, request.param, cwd=tmp_path)
    (place / "c.yaml").write_text(yaml.safe_dump(CONFIG))
    (place / "run").mkdir()
    (place / "run/best.ckpt").write_bytes(b"weights")
    (place / "run/training_config.yaml").write_text("{}")
    return place


def opened(place, name):
    """Return what sleap-io reads from the packed labels after unpacking, when the original videos are gone."""
    away = place.parent / "away"
    with zipfile.ZipFile(place / "out.zip") as archive:
        archive.extractall(away)
    place.rename(place.with_name("gone"))
    return json.loads(python(READ, name, cwd=away))


@pytest.mark.slow
def test_labels_that_point_at_videos_take_their_images_along(project):
    for path in (project / "videos").glob("b*"):
        path.rename(project / path.name)  # it has no labelled frames, so it is not needed
    (step,) = train(project, "flies.slp", ("c.yaml",)).steps
    assert step.effective_labels == ("flies.pkg.slp",)
    assert step.run_path.endswith(".centroid.n=2")
    assert opened(project, "flies.pkg.slp")["labelled"] == [32, 32]


@pytest.mark.slow
def test_labels_to_predict_on_find_their_videos_beside_them(project):
    (step,) = track(project, "flies.slp", ("run",)).predictions
    assert step.data == "flies.slp"
    found = opened(project, "flies.slp")
    assert (found["frames"], found["labelled"]) == ([6, 6], [32, 32])
    assert not any("home" in str(name) for name in found["names"])


@pytest.mark.slow
def test_only_the_video_that_is_asked_for_comes_along(project):
    track(project, "flies.slp", ("run",), video_index=1)
    names = [name for name in inside(project) if name.endswith((".mp4", ".png"))]
    assert {name.split("/")[0] for name in names} in ({"b.mp4"}, {"b"})
    assert "has 2 videos" in refusal(track, project, "flies.slp", ("run",), video_index=2).text


def test_one_video_is_not_called_several(tmp_path, monkeypatch):
    project = Project(1, (Video((tmp_path / "a.mp4",), is_sequence=False),))
    monkeypatch.setattr(contents, "read_project", lambda _path, _reads: project)
    reads = PredictionFrames(video_index=5)
    assert "has 1 video, counted from 0" in refusal(inspect_data_labels, tmp_path / "flies.slp", reads, print).text


@pytest.mark.parametrize("answer", [b"", b"loading ...", b"[]", b'{"frames": 1}', b'{"frames": "1", "videos": []}'])
def test_an_odd_answer_of_sleap_io_is_one_sentence(tmp_path, monkeypatch, answer):
    monkeypatch.setattr(slp_files, "_run_subprocess", lambda *_: answer)
    fault = refusal(slp_files.read_project, tmp_path / "flies.slp", PredictionFrames())
    assert "flies.slp could not be read" in fault.text


@pytest.mark.slow
def test_missing_videos_are_named_before_anything_is_written(project):
    first = next((project / "videos").glob("a*"))
    for path in [first] if first.is_file() else sorted(first.iterdir()):
        path.unlink()
    for fault in (refusal(train, project, "flies.slp", ("c.yaml",)), refusal(track, project, "flies.slp", ("run",))):
        assert fault.code is FaultCode.USAGE
        assert "a.mp4" in fault.text or "0.png" in fault.text
        assert str(project) not in fault.text
    assert leftovers(project) == []


@pytest.mark.slow
def test_labels_without_a_labelled_frame_teach_nothing(project):
    python("import sys, sleap_io as s; l = s.load_slp(sys.argv[1]); l.labeled_frames = []; l.save(sys.argv[2])",
           project / "flies.slp", project / "none.slp", cwd=project)  # fmt: skip
    assert "no labelled frames" in refusal(train, project, "none.slp", ("c.yaml",)).text


@pytest.mark.slow
def test_labels_that_sleap_io_cannot_read_are_refused_in_one_sentence(project):
    (project / "bad.slp").write_bytes(HDF5 + b"\0" * 100)
    fault = refusal(train, project, "bad.slp", ("c.yaml",))
    assert fault.text.startswith("bad.slp could not be read. It is damaged")
    assert str(project) not in fault.text


def test_no_key_of_a_service_leaves_this_machine(place):
    tree = CONFIG | {"trainer_config": CONFIG["trainer_config"] | {"wandb": {"api_key": "key-of-mine", "project": "p"}}}
    (place / "my centroid.yaml").write_text(yaml.safe_dump(tree | {"model_config": {"head_configs": {"centroid": {}}}}))
    overrides = ("trainer_config.wandb.api_key=another-of-mine", "trainer_config.max_epochs=3")
    (step,) = train(place, overrides=overrides).steps
    assert [str(item) for item in step.overrides] == ["++trainer_config.max_epochs=3"]
    assert not any(b"of-mine" in content for content in inside(place).values())


def test_devices_that_a_person_asks_for_are_not_put_into_a_package(place):
    (step,) = train(place, overrides=("trainer_config.trainer_devices=2", "trainer_config.max_epochs=3")).steps
    assert [str(item) for item in step.overrides] == ["++trainer_config.max_epochs=3"]
    assert not any(b"trainer_devices" in content for content in inside(place).values())


def test_texts_of_a_configuration_that_look_like_numbers_stay_texts(place):
    tree = CONFIG | {"model_config": {"head_configs": {"centroid": {"confmaps": {"anchor_part": "1e5"}}}}}
    (place / "my centroid.yaml").write_text(yaml.safe_dump(tree).replace("1e5", '"1e5"'))
    train(place)
    assert b'"anchor_part": "1e5"' in inside(place)["centroid.yaml"]


def test_thousands_of_images_take_as_long_as_there_are(tmp_path):
    packed = contents.PackageContents(tmp_path)
    images = tuple(tmp_path / "frames" / f"{number % 3}.png" for number in range(3)) + tuple(
        tmp_path / f"f{number}" / "same.png" for number in range(8_000)
    )
    names = {packed.add(path, "frames") for path in images}
    assert len(names) == 8_003
    assert {packed.add(path, "frames") for path in images} == names, "a file is packed once"


def test_an_inference_package_remembers_paths_that_are_not_sent(place):
    track(place, data="fly.mp4")
    paths = {one.name: (one.path, one.absolute) for one in read_original_paths(place / "out.zip").files}
    assert paths["fly.mp4"] == ((place / "fly.mp4").as_posix(),) * 2
    assert paths["models/centroid"] == ((place / "runs" / "centroid").as_posix(),) * 2
    with (place / "out.zip").open("rb") as file:
        edit = edit_for_sending(file)
        sent = edit.read(file, 0, edit.end) + edit.ending
    assert len(sent) == edit.size
    assert str(place).encode() not in sent
    assert str(place).encode() in (place / "out.zip").read_bytes()


@pytest.mark.slow
def test_labels_are_packed_without_the_paths_of_their_videos(tmp_path, monkeypatch):
    """HDF5 does not erase what is deleted in a file, and a video that is not sent has a path too."""
    sleap_io = pytest.importorskip("sleap_io")
    for camera in ("cam0", "cam1"):
        (tmp_path / camera).mkdir()
        (tmp_path / camera / "video.mp4").write_bytes(b"video")
    videos = [sleap_io.Video(str(tmp_path / camera / "video.mp4"), open_backend=False) for camera in ("cam0", "cam1")]
    videos[0].source_video = sleap_io.Video(str(tmp_path / "before.mp4"), open_backend=False)
    skeleton = sleap_io.Skeleton(["nose"])
    animal = sleap_io.PredictedInstance.from_numpy([[1.0, 2.0]], skeleton=skeleton)
    frames = [sleap_io.LabeledFrame(video=video, frame_idx=0, instances=[animal]) for video in videos]
    provenance = {"source_file": str(tmp_path / "before.slp")}
    labels = sleap_io.Labels(frames, videos=videos, skeletons=[skeleton], provenance=provenance)
    labels.save(str(tmp_path / "flies.slp"), verbose=False)
    monkeypatch.chdir(tmp_path)
    for head in ("runs/m",):
        (tmp_path / head).mkdir(parents=True)
        (tmp_path / head / "best.ckpt").write_bytes(b"weights")
        (tmp_path / head / "training_config.yaml").write_text("{}")
    for index in (None, 1):
        options = {} if index is None else {"video_index": index}
        track(tmp_path, data="flies.slp", models=("runs/m",), **options)
        paths = {one.name: one.path for one in read_original_paths(tmp_path / "out.zip").files}
        assert paths["video.mp4"] == (tmp_path / "cam0" / "video.mp4").as_posix()
        assert paths["video-2.mp4"] == (tmp_path / "cam1" / "video.mp4").as_posix()
        files = inside(tmp_path)
        assert ("video.mp4" in files, "video-2.mp4" in files) == (index is None, True)
        assert paths["sleap-rtc-source-1.mp4"] == (tmp_path / "before.mp4").as_posix()
        assert str(tmp_path / "before.slp") in read_original_paths(tmp_path / "out.zip").provenance
        assert str(tmp_path).encode() not in files["flies.slp"]


@pytest.mark.slow
def test_videos_on_the_web_and_missing_ones_are_remembered_as_the_labels_have_them(tmp_path, monkeypatch):
    """None of their frames is read. What follows a `?` in an address may be a password."""
    sleap_io, h5py = map(pytest.importorskip, ("sleap_io", "h5py"))
    (tmp_path / "fly.mp4").write_bytes(b"a local file of the name that the video on the web has")
    (tmp_path / "old.mp4").write_bytes(b"beside the labels")
    names = ["https://lab.example/uc//fly.mp4?id=1&key=secret", "https://lab.example/uc//fly.mp4?id=2", "/no/gone.mp4"]
    videos = [sleap_io.Video(name, open_backend=False) for name in names]
    videos[2].source_video = sleap_io.Video("https://lab.example/a?key=secret", open_backend=False)
    sleap_io.Labels(videos=videos).save(str(tmp_path / "flies.slp"), verbose=False)
    with h5py.File(tmp_path / "flies.slp", "r+") as tree:
        video = json.loads(tree["videos_json"][2])
        video["original_video"] = {"backend": {"filename": "C:\\secret\\old.mp4"}}  # as SLEAP writes it
        tree["videos_json"][2] = json.dumps(video)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best.ckpt").write_bytes(b"weights")
    (tmp_path / "run" / "training_config.yaml").write_text("{}")
    track(tmp_path, data="flies.slp", models=("run",), only_labeled_frames=True)
    paths = {one.name: (one.path, one.is_there) for one in read_original_paths(tmp_path / "out.zip").files}
    found = list(paths.values())
    assert [(name, False) for name in names] == [one for one in found if one[0] in names]
    assert {("https://lab.example/a?key=secret", False), ((tmp_path / "old.mp4").as_posix(), True)} <= set(found)
    assert b"secret" not in inside(tmp_path)["flies.slp"]
    fault = refusal(track, tmp_path, "flies.slp", ("run",), video_index=0)
    assert "videos from the web: fly.mp4." in fault.text


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (b"", "not whole"),
        (b"PK\x03\x04 and no more", "not whole"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
    ],
)
def test_weights_that_are_not_whole_are_refused(place, weights, reason):
    (place / "runs" / "centroid" / "best.ckpt").write_bytes(weights)
    with pytest.raises(RtcError, match=reason) as caught:
        find_models([place / "runs" / "centroid"])
    assert caught.value.fault.code is FaultCode.USAGE


def test_a_run_without_a_model_is_said_to_be_one(place):
    (place / "runs" / "centroid" / "best.ckpt").unlink()
    with pytest.raises(RtcError, match=r"lacks its best\.ckpt\. Its training has saved no model yet"):
        find_models([place / "runs" / "centroid"])


def test_an_old_model_needs_a_u_net(place):
    folder = place / "runs" / "old"
    folder.mkdir()
    (folder / "best_model.h5").write_bytes(HDF5)
    for backbone, fits in (("unet", True), ("hourglass", False)):
        tree = {"model": {"backbone": {backbone: {"filters": 8}, "resnet": None}, "heads": {"centroid": {}}}}
        (folder / "training_config.json").write_text(json.dumps(tree))
        if fits:
            assert find_models([folder])[0].described.head == "centroid"
        else:
            with pytest.raises(RtcError, match="no longer has"):
                find_models([folder])


def test_models_are_checked_together_before_anything_is_packed(place):
    for head in ("centroid", "centered_instance"):
        tree = {"model_config": {"head_configs": {head: {}}}}
        (place / "runs" / head / "training_config.yaml").write_text(yaml.safe_dump(tree))
    said = []
    build_tracking(place / "fly.mp4", [place / "runs" / "centroid"], {}, place / "one.zip", said.append)
    assert "one point for each animal" in said[0]
    with pytest.raises(RtcError, match="half of a pair"):
        build_tracking(place / "fly.mp4", [place / "runs" / "centered_instance"], {}, place / "two.zip", said.append)
    assert not (place / "two.zip").exists()


def test_a_doubtful_setting_is_said_before_the_labels_are_read(place):
    said = []
    configs, overrides = [place / "my centroid.yaml"], ["trainer_config.max_epoch=5"]
    build_training(place / "flies.pkg.slp", configs, overrides, place / "out.zip", said.append)
    assert "did you mean trainer_config.max_epochs?" in said[0]
    assert refused_settings(tuple(configs), overrides).keys() == inspect_package(place / "out.zip").refused_by.keys()


@pytest.mark.parametrize("temporary", [True, False])
def test_a_full_disk_is_named_and_for_a_package_to_be_sent_how_to_use_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: bool
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path if temporary else tmp_path / "other"))
    text = build._disk_full(tmp_path / "sleap-rtc-x7" / "mice.zip").fault.text
    assert f"The disk of {tmp_path}{'' if temporary else '/sleap-rtc-x7'} is too full for the package mice.zip." in text
    assert ("TMPDIR" in text) is temporary

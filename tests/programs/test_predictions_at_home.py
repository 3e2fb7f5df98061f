"""What comes home is what sleap-nn by hand writes on the same input: videos with their metadata, and provenance."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from rtc.client.package_builder.build import build_tracking
from rtc.client.restore_videos import restore_videos
from rtc.packages.original_paths import edit_for_sending, read_original_paths
from rtc.packages.plan import inspect_package
from rtc.sleap_nn.commands import find_sleap_nn, predict_command
from rtc.sleap_nn.environment import SHIM

pytestmark = [pytest.mark.long, pytest.mark.real_sleap_nn]
SIZE = 64
TIMES = ("start_timestamp", "end_timestamp", "runtime_seconds")


def sleap_nn(folder: Path, *words: object) -> None:
    command = [str(find_sleap_nn()), *map(str, words)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(SHIM)})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, and with data of every kind: `cam0/video.mp4`, `cam1/video.mp4`, images and HDF5."""
    folder = tmp_path_factory.mktemp("mouse #3, day 1 [left]")
    make_model(folder)
    make_data(folder)
    return folder


def make_model(folder: Path) -> None:
    """Train a model for one epoch, on the data of `sleap-rtc demo`."""
    make = [sys.executable, "-P", str(Path(sys.modules["rtc"].__path__[0]) / "demo" / "data.py"), str(folder / "d.zip")]
    subprocess.run(make, check=True, capture_output=True)
    with zipfile.ZipFile(folder / "d.zip") as archive:
        archive.extractall(folder / "demo")
    [entry] = yaml.safe_load((folder / "demo" / "jobs.yaml").read_text())["training"]
    settings = ("max_epochs=1", "min_train_steps_per_epoch=1", "ckpt_dir=models", "run_name=run", "save_ckpt=true")
    accelerator = ("trainer_accelerator=cpu", "trainer_devices=1")
    overrides = [f"++trainer_config.{setting}" for setting in (*settings, *accelerator)]
    sleap_nn(folder / "demo", "train", "--config", entry["cfg"], *overrides)


def make_data(folder: Path) -> None:
    import h5py
    import imageio.v3
    import numpy
    import sleap_io

    images = numpy.random.default_rng(0).integers(0, 255, (6, SIZE, SIZE, 1), dtype="uint8")
    skeleton = sleap_io.Skeleton(nodes=["a", "b"], edges=[("a", "b")])

    def save(name: str, *videos: Any) -> None:
        points = numpy.array([[10.0, 10.0], [20.0, 20.0]])
        frames = [
            sleap_io.LabeledFrame(video, 1, [sleap_io.Instance.from_numpy(points, skeleton=skeleton)])
            for video in videos
        ]
        sleap_io.Labels(frames, videos=list(videos), skeletons=[skeleton]).save(str(folder / name), verbose=False)

    for camera in ("cam0", "cam1"):
        (folder / camera / "img").mkdir(parents=True)
        sleap_io.save_video(numpy.repeat(images, 3, -1), str(folder / camera / "video.mp4"))
        for number, image in enumerate(images):
            imageio.v3.imwrite(folder / camera / "img" / f"{number}.png", image[..., 0])
    with h5py.File(folder / "d.h5", "w") as tree:
        tree["a/b"] = images
    video = sleap_io.Video.from_filename
    save("videos.slp", *(video(str(folder / camera / "video.mp4")) for camera in ("cam0", "cam1")))
    pictures = [[str(folder / camera / "img" / f"{number}.png") for number in range(6)] for camera in ("cam0", "cam1")]
    save("images.slp", *map(video, pictures))
    save("hdf5.slp", video(str(folder / "d.h5"), dataset="a/b", input_format="channels_last"))


def without_times(value: Any) -> Any:
    if isinstance(value, list):
        return [without_times(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: without_times(each) for key, each in value.items() if not key.endswith(TIMES)}


def written(path: Path) -> tuple[list[Any], Any]:
    """Return the videos and the provenance that a file has."""
    import h5py

    with h5py.File(path) as tree:
        videos = [json.loads(text) for text in tree["videos_json"][()]]
        return videos, without_times(json.loads(tree["provenance_json"][()]))


def by_hand(project: Path, data: str, *options: str) -> Path:
    out = project / "by_hand.slp"
    sleap_nn(project, "predict", "--data_path", data, *options, "-o", out.name, "--device", "cpu")
    return out


def through_a_worker(project: Path, folder: Path, data: str, models: list[Path], **options: Any) -> Path:
    """Predict as a worker does, in a folder of its own, on what is sent to it; return what comes home."""
    package = folder / "p.zip"
    build_tracking(Path(data), models, options, package, lambda _text: None)
    with package.open("rb") as file:
        edit = edit_for_sending(file)
        assert edit is not None
        (folder / "sent.zip").write_bytes(edit.read(file, 0, edit.end) + edit.ending)
    [step] = inspect_package(folder / "sent.zip").predictions
    with zipfile.ZipFile(folder / "sent.zip") as archive:
        archive.extractall(folder / "job")
    sleap_nn(folder / "job", *predict_command(find_sleap_nn(), step, "cpu")[1:])
    out = folder / "job" / step.output
    assert restore_videos([out], read_original_paths(package)) == ""
    return out


@pytest.mark.parametrize("data", ["videos.slp", "images.slp", "hdf5.slp", "cam1/video.mp4", "demo/{pkg}"])
def test_it_is_what_sleap_nn_by_hand_writes(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    import sleap_io

    [labels] = (path.name for path in (project / "demo").glob("*.pkg.slp"))
    monkeypatch.chdir(project)
    data, model = data.format(pkg=labels), project / "demo" / "models" / "run"
    home = through_a_worker(project, tmp_path, data, [model])
    expected = written(by_hand(project, data, "--model_paths", str(model)))
    assert written(home) == expected
    if data.endswith(".slp"):
        mine, count = sleap_io.load_slp(data), len(expected[0])
        mine.merge(sleap_io.load_slp(str(home)))
        assert len(mine.videos) == count


def test_tracking_again_what_came_home_works(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    model = project / "demo" / "models" / "run"
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    through_a_worker(project, tmp_path / "one", "videos.slp", [model]).rename(project / "home.slp")
    home = through_a_worker(project, tmp_path / "two", "home.slp", [], tracking=True)
    assert written(home) == written(by_hand(project, "home.slp", "--tracking"))

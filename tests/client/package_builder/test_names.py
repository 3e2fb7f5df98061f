"""Whatever the names of a person's files, our own reading takes what our own packing makes; and folders of images."""

import shutil
import zipfile
from pathlib import Path

import pytest
import trio
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc.client.package_builder import image_folders, slp_files
from rtc.client.package_builder.build import build_tracking, build_training
from rtc.client.package_builder.image_folders import find_images
from rtc.common.errors import RtcError
from rtc.common.hdf5 import HDF5
from rtc.packages.plan import inspect_package, read_plan
from rtc.packages.zip_reader import members, open_zip, unpack

CONFIG = "model_config: {head_configs: {centroid: {}}}"
ODD = (
    *("COM3", "aux", "nul.", "models", "jobs.yaml", "train-script.sh", ".hidden", "a:b", "trailing ", "trailing."),
    *(
        "n" * 251,
        "é" * 125,
        "e\u0301",
        "\U0001f41d\U0001f469\u200d\U0001f52c",
        "-",
        "--help",
        "~",
        "%",
        "a\\b",
        "job.log",
    ),
    *(
        "ハエ",
        "\u202egnp",
        "new\nline",
        "con.",
        "lpt1.x",
        "._a",
        "desktop.ini",
        "Thumbs.db",
        "__MACOSX",
        ".git",
        " ",
        "..",
    ),
    *("${oc.env:HOME}", "'", '"', "[a,b]", "a=b", "#", "a\u00a0b", "\ue000", "x.pkg", "C:", "CONIN$", "…"),
)
stems = (
    st.sampled_from(ODD) | st.text(max_size=12) | st.lists(st.sampled_from(ODD), min_size=2, max_size=3).map("".join)
)
few = settings(max_examples=settings.default.max_examples // 8)
"""Each example of these tests writes a package."""


def make(path):
    """Write a file of this name, or return False where the file system does not have such names."""
    try:
        path.write_bytes(HDF5)
    except (OSError, ValueError):
        return False
    return True


def read_back(package, folder):
    """Return the plan of a package, as it is read in the zip and after unpacking, by a client and on a worker."""
    trio.run(unpack, package, folder)
    plan = read_plan(folder)
    assert plan == inspect_package(package)
    return plan


@few
@given(stem=stems, ending=st.sampled_from([".mp4", ".MP4", ".slp", ".pkg.slp", ".h5", ".png"]), model=stems)
def test_data_and_models_of_any_name_are_read_again(tmp_path_factory, stem, ending, model):
    place = tmp_path_factory.mktemp("p")
    data = place / (stem + ending)
    folder = place / "m" / model
    try:
        folder.mkdir(parents=True)
    except (OSError, ValueError):
        folder = place / "m"
        folder.mkdir(exist_ok=True)
    for name in ("best.ckpt", "training_config.yaml"):
        (folder / name).write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slp_files, "python_with", lambda _module: None)
        if (
            "/" in stem
            or not data.suffix
            or not make(data)
            or (ending == ".slp" and not data.name.casefold().endswith(".pkg.slp"))
        ):
            return
        build_tracking(data, [folder], {}, place / "out.zip", lambda _text: None)
        (step,) = read_back(place / "out.zip", place / "out").predictions
        assert Path(step.data).suffix == data.suffix
        if ending == ".pkg.slp":
            (place / "c.yaml").write_text(CONFIG)
            build_training(data, [place / "c.yaml"], [], place / "train.zip", lambda _text: None)
            assert read_back(place / "train.zip", place / "train").steps
    shutil.rmtree(place)


@few
@given(folder=stems, names=st.lists(stems, min_size=1, max_size=8, unique=True))
def test_images_of_any_names_keep_their_order(tmp_path_factory, folder, names):
    place = tmp_path_factory.mktemp("p")
    data = place / folder if "/" not in folder and folder not in ("..", ".", "") else place / "images"
    model = place / "run"
    model.mkdir()
    for name in ("best.ckpt", "training_config.yaml"):
        (model / name).write_text("{}")
    try:
        data.mkdir(exist_ok=True)
    except (OSError, ValueError):
        return
    for name in names:
        if "/" not in name and make(data / f"{name}.png"):
            (data / f"{name}.png").write_bytes(name.encode(errors="replace"))
    if not list(data.glob("*.png")) or data.suffix.lower() == ".zip" or not (images := _images(data)):
        return
    build_tracking(data, [model], {}, place / "out.zip", lambda _text: None)
    (step,) = read_back(place / "out.zip", place / "out").predictions
    packed = sorted((place / "out" / step.data).glob("*"))
    assert [path.read_bytes() for path in packed] == [path.read_bytes() for path in images]
    shutil.rmtree(place)


def _images(folder):
    try:
        return find_images(folder)
    except RtcError:
        return ()


@pytest.fixture
def frames(tmp_path):
    """Return a folder of images among other files, and a model beside it."""
    for name in ("img2.png", "img10.png", "img1.jpg", "notes.txt", "._img1.png", "Thumbs.db", "inner/img.png"):
        (tmp_path / "my frames" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my frames" / name).write_text(name)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/best.ckpt").write_text("weights")
    (tmp_path / "run/training_config.yaml").write_text(yaml.safe_dump({"a": 1}))
    return tmp_path / "my frames"


def track(folder, said=None, **options):
    target = folder.parent / "out.zip"
    build_tracking(folder, [folder.parent / "run"], options, target, (said if said is not None else []).append)
    with open_zip(target) as archive:
        return inspect_package(target), [member.name for member in members(archive)]


def test_a_folder_of_images_is_packed_as_sleap_nn_would_read_it(frames):
    plan, names = track(frames, peak_threshold=0.3)
    assert (plan.predictions[0].data, plan.predictions[0].options) == ("my frames", {"peak_threshold": 0.3})
    assert [name for name in names if name.startswith("my frames")] == [
        "my frames/img1.jpg",
        "my frames/img10.png",
        "my frames/img2.png",
    ]


@pytest.mark.long
def test_the_frames_of_a_folder_are_those_that_sleap_io_takes(frames):
    from sleap_io.io.video_reading import ImageVideo

    (frames / "._img1.png").unlink()  # sleap-io takes the shadows of macOS for images
    assert [Path(name) for name in ImageVideo.find_images(str(frames))] == list(find_images(frames))


def test_images_with_endings_in_capitals_are_taken_if_there_are_no_others(frames):
    said = []
    (frames / "IMG_3.PNG").write_text("")
    assert not any("3" in name for name in track(frames, said)[1])
    assert said[0] == "Left out of my frames, as in sleap-nn: images whose endings are in capitals, 1 in number"
    for name in ("img2.png", "img10.png", "img1.jpg"):
        (frames / name).unlink()
    (frames.parent / "out.zip").unlink()
    assert "my frames/IMG_3.png" in track(frames)[1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"only_labeled_frames": True}, "my frames is a folder of images"), ({"video_index": 1}, "is for labels")],
)
def test_options_for_labels_are_refused_for_images(options, expected, frames):
    with pytest.raises(RtcError, match=expected):
        track(frames, **options)


def test_too_many_images_are_refused_before_they_are_packed(frames, monkeypatch):
    monkeypatch.setattr(image_folders, "IMAGES_MAX", 2)
    with pytest.raises(RtcError, match="holds 3 images; a package has room for 2"):
        track(frames)
    assert not (frames.parent / "out.zip").exists()


def test_an_image_folder_that_is_named_as_labels_or_as_our_own_files_gets_another_name(frames):
    for name, packed in (("models", "models-2"), ("job.log", "job.log-2"), ("flies.slp", "flies.slp_images")):
        folder = frames.rename(frames.with_name(name))
        assert track(folder)[0].predictions[0].data == packed
        folder.rename(frames)
        (frames.parent / "out.zip").unlink()


def test_one_image_is_data(frames):
    build_tracking(frames / "img2.png", [frames.parent / "run"], {}, frames.parent / "out.zip", lambda _text: None)
    assert inspect_package(frames.parent / "out.zip").predictions[0].data == "img2.png"
    with zipfile.ZipFile(frames.parent / "out.zip") as archive:
        assert archive.read("img2.png") == b"img2.png"

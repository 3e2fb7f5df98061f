"""Predictions that come home name their videos as sleap-nn by hand would have: by the paths that the input had."""

import importlib
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import asdict, evolve

from actors.events import BestWorker, JobCredential
from protocol.converter import to_json
from protocol.ids import JobId, PeerId, RoomId
from protocol.jobs import JobKind
from rtc.client import restore_videos as module
from rtc.client import tickets
from rtc.client.options import ClientOptions
from rtc.client.program import original_paths
from rtc.client.restore_videos import can_restore, restore_videos
from rtc.client.result_folder import ResultFolder
from rtc.client.tickets import JobTicket
from rtc.config.load import Config
from rtc.packages.original_paths import MEMBER, OriginalPath, OriginalPaths

h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.slow  # some start the program that changes the file

ON_WORKER = "/srv/jobs/job-1/files"
PATHS = OriginalPaths(
    (
        OriginalPath("video.mp4", "/data/cam0/video.mp4"),
        OriginalPath("video-2.mp4", "cam1/video.mp4"),
        OriginalPath("images/a.png", "/data/images/a.png"),
        OriginalPath("images-2/a.png", "/other/images/a.png"),
        OriginalPath("d.h5", "C:/Users/ada/d.h5"),
        OriginalPath("labels.pkg.slp", "labels.pkg.slp"),
        OriginalPath("data.slp", "flies.slp", "/data/flies.slp"),
        OriginalPath("models/run", "/data/models/run", "/data/models/run"),
    )
)


def restore(path: Path, paths: OriginalPaths, folder: str = "") -> None:
    """Do what the program does, without starting it."""
    program = importlib.import_module("rtc.client.restore_subprocess")
    with h5py.File(path, "r+") as tree:
        program.restore_file(tree, program.Paths([asdict(one) for one in paths.files], folder, paths.provenance))


def media(name: str) -> dict[str, Any]:
    return {"filename": name, "backend": {"type": "MediaVideo", "filename": name, "shape": [8, 64, 64, 1]}}


def images(*names: str) -> dict[str, Any]:
    backend = {"type": "ImageVideo", "filename": names[0], "filenames": list(names), "height_": 64}
    return {"filename": list(names), "backend": backend}


def embedded(name: str, source: dict[str, Any] | None = None) -> dict[str, Any]:
    backend = {"type": "HDF5Video", "filename": name, "dataset": "video0/video", "has_embedded_images": True}
    return {"filename": name, "backend": backend} | ({} if source is None else {"source_video": source})


@pytest.fixture
def predictions(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file as sleap-io does, as far as it is about paths."""

    def write(*videos: dict[str, Any], provenance: dict[str, Any] | None = None) -> Path:
        path = tmp_path / "predictions.slp"
        with h5py.File(path, "w") as tree:
            tree.create_dataset("videos_json", data=[json.dumps(video) for video in videos], dtype=h5py.string_dtype())
            if provenance is not None:
                tree.create_dataset("provenance_json", data=json.dumps(provenance))
            metadata = tree.create_group("metadata")
            metadata.attrs["format_id"] = 1.4
            metadata.attrs["json"] = json.dumps({"skeletons": [], "provenance": provenance or {}})
            tree.create_dataset("instances", data=[1, 2, 3])
        return path

    return write


def videos(path: Path) -> list[dict[str, Any]]:
    with h5py.File(path) as tree:
        return [json.loads(text) for text in tree["videos_json"][()]]


def provenance(path: Path) -> dict[str, Any]:
    with h5py.File(path) as tree:
        found: dict[str, Any] = json.loads(tree["provenance_json"][()])
        assert json.loads(tree["metadata"].attrs["json"])["provenance"] == found
        assert list(tree["instances"]) == [1, 2, 3]
        return found


def test_every_kind_of_video_gets_the_path_that_the_input_had(predictions: Callable[..., Path]) -> None:
    hdf5 = {"filename": "d.h5", "backend": {"type": "HDF5Video", "filename": "d.h5", "dataset": "a/b"}}
    path = predictions(
        media("video.mp4"),
        media("video-2.mp4"),
        images("images/a.png"),
        images("images-2/a.png"),
        images("images-2/a.png") | {"filename": "images-2"},  # a folder as data
        hdf5,
        embedded("labels.pkg.slp", media("/exporter/video.mp4")),
        embedded("."),
    )
    restore(path, PATHS)
    assert videos(path) == [
        media("/data/cam0/video.mp4"),
        media("cam1/video.mp4"),
        images("/data/images/a.png"),
        images("/other/images/a.png"),
        images("/other/images/a.png") | {"filename": "/other/images"},
        {
            "filename": "C:/Users/ada/d.h5",
            "backend": {"type": "HDF5Video", "filename": "C:/Users/ada/d.h5", "dataset": "a/b"},
        },
        embedded("labels.pkg.slp", media("/exporter/video.mp4")),
        embedded("."),
    ]


def test_a_video_that_was_not_sent_is_described_as_one_that_was(predictions: Callable[..., Path]) -> None:
    """A worker that cannot open it writes other metadata; it is not sent when none of its frames is read."""
    unsent, unopened = media("video.mp4"), embedded("labels.pkg.slp", media("/exporter/video.mp4"))
    unsent["backend"]["dataset"], unopened["backend"]["has_embedded_images"] = None, False
    path = predictions(unsent, unopened)
    restore(path, PATHS)
    found = [video["backend"] for video in videos(path)]
    assert (found[0]["dataset"], found[1]["has_embedded_images"]) == ("", True)


def test_a_video_that_is_missing_here_too_is_described_as_one_that_cannot_be_opened(
    predictions: Callable[..., Path],
) -> None:
    gone = media("gone.mp4")
    gone["backend"]["dataset"] = None
    path = predictions(gone)
    restore(path, OriginalPaths((OriginalPath("gone.mp4", "https://lab.example//gone.mp4", is_there=False),)))
    [found] = videos(path)
    assert (found["filename"], found["backend"]["dataset"]) == ("https://lab.example//gone.mp4", None)


def test_images_in_a_package_that_is_nowhere_on_disk_become_the_video_that_they_are_from(
    predictions: Callable[..., Path],
) -> None:
    """A zip that SLEAP exported has labels with images, which know the person's own video."""
    path = predictions(embedded("flies.pkg.slp", media("/home/ada/flies.mp4")), embedded("unknown.pkg.slp"))
    restore(path, OriginalPaths())
    assert videos(path) == [media("/home/ada/flies.mp4"), embedded("unknown.pkg.slp")]


def test_the_provenance_names_no_path_of_the_worker(predictions: Callable[..., Path]) -> None:
    path = predictions(
        media("video.mp4"),
        provenance={
            "source_file": f"{ON_WORKER}/data.slp",
            "model_paths": [f"{ON_WORKER}/models/run", f"{ON_WORKER}/models/run/best.ckpt"],
            "source_labels": "data.slp",
            "input_provenance": {"filename": "data.slp"},
            "inference_config": {"peak_threshold": 0.2},
            "tracking": {"videos": [{"video": 0, "video_filename": "video.mp4"}]},
        },
    )
    before = json.dumps({"filename": "old.slp", "source_file": "/data/before.slp"})
    restore(path, evolve(PATHS, provenance=before))
    assert provenance(path) == {
        "source_file": "/data/flies.slp",
        "model_paths": ["/data/models/run", "/data/models/run/best.ckpt"],
        "source_labels": "flies.slp",
        "input_provenance": {"filename": "flies.slp", "source_file": "/data/before.slp"},
        "inference_config": {"peak_threshold": 0.2},
        "tracking": {"videos": [{"video": 0, "video_filename": "/data/cam0/video.mp4"}]},
    }


def test_models_that_the_job_has_trained_are_named_where_they_come_home(predictions: Callable[..., Path]) -> None:
    path = predictions(
        embedded("flies.pkg.slp", media("/home/ada/flies.mp4")),
        provenance={"source_file": f"{ON_WORKER}/flies.pkg.slp", "model_paths": [f"{ON_WORKER}/models/run.n=3"]},
    )
    restore(path, OriginalPaths(), "/home/ada/flies")
    assert provenance(path) == {"source_file": "flies.pkg.slp", "model_paths": ["/home/ada/flies/models/run.n=3"]}


def test_a_file_that_cannot_be_changed_stays_as_it_is_and_that_is_said(predictions: Callable[..., Path]) -> None:
    path = predictions(media("video.mp4"))
    with h5py.File(path, "r+") as tree:
        del tree["videos_json"]
    before = path.read_bytes()
    said = restore_videos([path], PATHS)
    assert "as the worker wrote them" in said
    assert "it has no list of videos" in said
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_program_that_hangs_is_given_up(
    predictions: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "hang.py"
    program.write_text("import time; time.sleep(3600)")
    monkeypatch.setattr(module, "_SUBPROCESS", program)
    monkeypatch.setattr(module, "RESTORE_TIME", 0.0)
    path = predictions(media("video.mp4"))
    assert "took longer than 0 s" in restore_videos([path], PATHS)
    assert videos(path) == [media("video.mp4")]


@pytest.mark.parametrize("part", ["videos_json", "metadata"])
def test_a_file_of_the_person_to_which_a_result_leads_is_not_touched(
    predictions: Callable[..., Path], tmp_path: Path, part: str
) -> None:
    """A worker could send a file whose parts are links to another file on this machine."""
    mine = predictions(media("mine.mp4"), provenance={"source_file": f"{ON_WORKER}/data.slp"}).rename(
        tmp_path / "mine.slp"
    )
    before = mine.read_bytes()
    path = predictions(media("video.mp4"), provenance={"source_file": f"{ON_WORKER}/data.slp"})
    with h5py.File(path, "r+") as tree:
        del tree[part]
        tree[part] = h5py.ExternalLink(str(mine), part)
    with suppress(ValueError):  # it has no list of videos of its own
        restore(path, PATHS)
    assert mine.read_bytes() == before
    with h5py.File(path) as tree:
        assert isinstance(tree.get(part, getlink=True), h5py.ExternalLink)


def options_for(package: Path, kind: JobKind, **more: Any) -> ClientOptions:
    return ClientOptions(
        Config("test", "ws://s", "http://s"), package, RoomId("r"), "t", BestWorker(), kind=kind, **more
    )


@pytest.mark.parametrize("kind", JobKind)
async def test_a_result_has_the_paths_of_this_machine_when_it_appears(
    predictions: Callable[..., Path], tmp_path: Path, kind: JobKind
) -> None:
    archive = tmp_path / "result.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.write(predictions(media("video.mp4")), "video.mp4.predictions.slp")
    options = options_for(tmp_path / "p.zip", kind)
    result = ResultFolder(options, tmp_path / ("out" if kind is JobKind.TRAIN else "out.slp"), paths=PATHS)
    await result.unpack(archive)
    assert [videos(path) for path in result.files] == [[media("/data/cam0/video.mp4")]]
    assert result.warning == ""


def test_another_file_of_the_package_that_has_the_name_of_the_data_is_not_taken_for_it(
    predictions: Callable[..., Path],
) -> None:
    """A person has added it to a package that was made here, in a folder of its own."""
    source = f"{ON_WORKER}/b/video.mp4"
    path = predictions(
        media("b/video.mp4"), provenance={"source_file": source, "model_paths": [f"{ON_WORKER}/models/run"]}
    )
    restore(path, PATHS)
    assert provenance(path) == {"source_file": "b/video.mp4", "model_paths": ["/data/models/run"]}
    assert videos(path) == [media("b/video.mp4")]


async def test_labels_that_come_home_beside_a_model_name_the_videos_of_the_project(
    predictions: Callable[..., Path], tmp_path: Path
) -> None:
    archive = tmp_path / "result.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.write(predictions(embedded("flies.pkg.slp", media("/flies/a.mp4"))), "models/run/labels_pr.val.0.slp")
    result = ResultFolder(options_for(tmp_path / "p.zip", JobKind.TRAIN), tmp_path / "out")
    await result.unpack(archive)
    assert videos(tmp_path / "out" / "models" / "run" / "labels_pr.val.0.slp") == [media("/flies/a.mp4")]
    assert result.files == []


def test_a_later_client_finds_the_paths_beside_the_ticket(tmp_path: Path) -> None:
    """Also after a restart of the machine, when the package that was sent is gone."""
    package = tmp_path / "p.zip"
    with zipfile.ZipFile(package, "w") as opened:
        opened.writestr(MEMBER, to_json(PATHS))
    first = options_for(package, JobKind.TRACK, tickets_folder=tmp_path / "jobs")
    ticket = JobTicket(JobId("job-1"), "key", PeerId("w"), RoomId("r"), "t", "ws://s", "p.zip", JobKind.TRACK)
    tickets.save(tmp_path / "jobs", ticket, original_paths(first))
    package.unlink()
    later = evolve(first, credential=JobCredential(JobId("job-1"), "key"))
    assert original_paths(later) == PATHS
    assert original_paths(evolve(later, tickets_folder=None)) == OriginalPaths()


def test_without_h5py_the_predictions_come_as_they_are_with_a_sentence(
    predictions: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = predictions(media("video.mp4"))
    monkeypatch.setattr(module, "python_with", lambda _module: None)
    assert not can_restore()
    assert "pip install" in restore_videos([path], PATHS)
    assert videos(path) == [media("video.mp4")]
    other = path.with_name("other.slp")
    other.write_bytes(b"no HDF5 file")
    assert restore_videos([other], PATHS) == ""

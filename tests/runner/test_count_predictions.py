"""What sleap-nn has predicted is counted, and a file that cannot be counted fails no job."""

import importlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rtc.common.hdf5 import HDF5
from rtc.packages.inference import PredictStep
from rtc.runner import count_predictions as module
from rtc.runner.count_predictions import FileCounts, count_predictions

INSTANCE = [("instance_type", "u1"), ("frame_id", "u8"), ("track", "i4")]
STEP = PredictStep("a.mp4", "a.mp4", ("m",), "out.slp")


def write(path, instances, frames=4, shape=(8, 64, 64, 1), provenance=None):
    h5py, numpy = pytest.importorskip("h5py"), pytest.importorskip("numpy")
    with h5py.File(path, "w") as tree:
        tree["instances"] = numpy.array(instances, dtype=INSTANCE)
        tree["frames"] = numpy.zeros(frames)
        video = {"filename": "a.mp4", "backend": {"filename": "a.mp4", "shape": shape}}
        tree.create_dataset("videos_json", data=[json.dumps(video)], dtype=h5py.string_dtype())
        if provenance is not None:
            tree["provenance_json"] = numpy.bytes_(json.dumps(provenance))
    return path


def counted(path, *, tracked=False):
    h5py = pytest.importorskip("h5py")
    program = importlib.import_module("rtc.runner.count_subprocess")
    with h5py.File(path) as tree:
        return FileCounts(**program.count(tree, tracked=tracked))


def test_instances_are_counted_with_the_frames_that_they_are_on(tmp_path):
    found = [(1, 0, -1), (1, 0, -1), (1, 2, -1), (0, 3, -1)]
    path = write(tmp_path / "out.slp", found, provenance={"frame_selection": {"frames_processed": 16}})
    assert counted(path) == FileCounts(3, 2, 16, 0, 8)


def test_tracking_counts_the_instances_of_persons_too(tmp_path):
    path = write(tmp_path / "out.slp", [(1, 0, 0), (0, 1, 1)], provenance={"frames_processed": 2})
    assert counted(path, tracked=True) == FileCounts(2, 2, 2, 2, 8)


def test_what_a_model_without_points_has_found_is_counted(tmp_path):
    path = write(tmp_path / "out.slp", [])
    with importlib.import_module("h5py").File(path, "r+") as tree:
        tree.create_group("centroids").create_dataset("video", data=[0, 0, 0])
        tree["centroids"]["frame_idx"] = [1, 1, 2]
    assert counted(path) == FileCounts(3, 2, 4, 0, 8)


def test_a_file_with_nothing_in_it_counts_to_nothing(tmp_path):
    assert counted(write(tmp_path / "out.slp", [], frames=0)) == FileCounts(0, 0, 0, 0, 8)


@pytest.mark.slow
@pytest.mark.parametrize("content", [None, b"no HDF5", HDF5 + b"damaged", "hangs"])
async def test_what_cannot_be_counted_is_not_counted(tmp_path, monkeypatch, content):
    context = SimpleNamespace(
        folder=tmp_path, sleap_nn=Path("sleap-nn"), environment=dict(os.environ), inherit=(), holder=None
    )
    monkeypatch.setattr(module, "python_of", lambda _program: Path(sys.executable))
    if content == "hangs":
        program = tmp_path / "program.py"
        program.write_text("import time; time.sleep(3600)")
        monkeypatch.setattr(module, "_SUBPROCESS", program)
        monkeypatch.setattr(module, "COUNT_TIME", 0.0)
        content = HDF5
    if content is not None:
        (tmp_path / "out.slp").write_bytes(content)
    assert await count_predictions(context, STEP) is None

"""A program that counts what is in a file of predictions. It is run by sleap-nn's Python, and never imported.

    count_subprocess.py FILE      print one line of JSON with the fields of `rtc.runner.count_predictions.FileCounts`

The names of the parts are those that sleap-io 0.9 writes: a table `instances`, and for models that find no points
`masks` (a table), `centroids` and `bboxes` (groups with a list per column).
"""

import json
import sys
from typing import Any

import h5py
import numpy

PREDICTED = 1
"""`instance_type` of an instance that a model has found; 0 is one of a person."""
WITHOUT_POINTS = ("centroids", "masks", "bboxes")


def count(tree: h5py.File, *, tracked: bool) -> dict[str, int | None]:
    """Return the counts of an open file.

    Args:
        tracked: count the instances of persons too, since tracking gives both kinds a track.
    """
    instances = tree["instances"][()]
    if not tracked:
        instances = instances[instances["instance_type"] == PREDICTED]
    number, frames = len(instances), len(numpy.unique(instances["frame_id"]))
    for name in WITHOUT_POINTS:
        if not number and name in tree:
            number, frames = count_rows(tree[name])
    processed = processed_frames(tree)
    return {
        "instances": number,
        "frames": frames,
        "processed": len(tree["frames"]) if processed is None else processed,
        "tracks": len(numpy.unique(instances["track"][instances["track"] >= 0])),
        "video_frames": video_frames(tree),
    }


def count_rows(part: Any) -> tuple[int, int]:
    """Return the number of rows of a table or of a group of columns, and the number of frames that they are on."""
    names = part.dtype.names or () if isinstance(part, h5py.Dataset) else tuple(part)
    columns = [numpy.asarray(part[name]) for name in ("video", "frame_idx") if name in names]
    if columns:
        return len(columns[0]), len(set(zip(*(column.tolist() for column in columns), strict=True)))
    rows = len(part) if isinstance(part, h5py.Dataset) else 0
    return rows, rows


def processed_frames(tree: h5py.File) -> int | None:
    """Return how many frames sleap-nn says that it went through; None if it does not say so."""
    if "provenance_json" not in tree:
        return None
    provenance = json.loads(tree["provenance_json"][()].item())
    found = provenance.get("frame_selection", {}).get("frames_processed", provenance.get("frames_processed"))
    return found if isinstance(found, int) else None


def video_frames(tree: h5py.File) -> int | None:
    """Return how many frames the video has, if there is one video, and its size is known."""
    videos = tree["videos_json"][()]
    shape = json.loads(videos[0]).get("backend", {}).get("shape") if len(videos) == 1 else None
    return shape[0] if isinstance(shape, list) and shape and isinstance(shape[0], int) else None


if __name__ == "__main__":
    with h5py.File(sys.argv[1], "r") as opened:
        counts = count(opened, tracked="tracked" in sys.argv[2:])
    sys.stdout.write(json.dumps(counts) + "\n")

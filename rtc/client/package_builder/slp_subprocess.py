"""Run by a Python that has sleap-io, never imported: opens a SLEAP project, which nobody else here does.

    slp_subprocess.py look FILE             what it holds, as one line of JSON
    slp_subprocess.py embed FILE OUT        a copy with the images of all labelled frames inside
    slp_subprocess.py relink FILE OUT       a copy whose videos have other paths: JSON on stdin, a path or list for each

A program of its own: sleap-io, h5py and video decoders stay out of the client, and can be ended at any time.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any


def look(file: Path) -> dict[str, Any]:
    """Its videos, and how many labelled frames each has."""
    import sleap_io

    labels = sleap_io.load_slp(str(file), open_videos=False)
    labelled = [labels.videos.index(frame.video) for frame in labels.user_labeled_frames]
    return {
        "frames": len(labelled),
        "videos": [
            {
                "paths": _paths(video, file),
                "listed": isinstance(video.filename, list),
                "labelled": labelled.count(index),
            }
            for index, video in enumerate(labels.videos)
        ],
    }


def _paths(video: Any, file: Path) -> list[str]:
    """The video's files, where they are now; none when its images lie in the project itself."""
    if video.backend_metadata.get("filename") == ".":
        return []
    recorded = video.filename if isinstance(video.filename, list) else [video.filename]
    return [str(_found(name.replace("\\", "/"), file)) for name in recorded]


def _found(name: str, file: Path) -> Path:
    """As sleap-io looks: where it was, else beside the project."""
    recorded, beside = Path(name), file.parent / Path(name).name
    return beside if not recorded.is_file() and beside.is_file() else recorded


def embed(file: Path, out: Path) -> None:
    """Like SLEAP's export of a training package."""
    import sleap_io

    labels = sleap_io.load_slp(str(file))
    labels.save(str(out), embed="user", verbose=False)


def relink(file: Path, out: Path, paths: list[str | list[str] | None]) -> None:
    """Only the list of videos is written anew: whatever else the project holds stays as it is."""
    import h5py  # type: ignore[import-untyped]

    shutil.copyfile(file, out)
    with h5py.File(out, "r+") as tree:
        videos = [json.loads(text) for text in tree["videos_json"][()]]
        for video, path in zip(videos, paths, strict=True):
            if path is not None:
                _set_path(video, path)
        attributes = dict(tree["videos_json"].attrs)
        del tree["videos_json"]
        texts = [json.dumps(video, separators=(",", ":")) for video in videos]
        kind = h5py.special_dtype(vlen=bytes)
        made = tree.create_dataset("videos_json", data=texts, maxshape=(None,), dtype=kind)
        made.attrs.update(attributes)


def _set_path(video: dict[str, Any], path: str | list[str]) -> None:
    backend = video.setdefault("backend", {})
    if isinstance(path, list):
        backend["filenames"] = path
    first = path if isinstance(path, str) else path[0]
    backend["filename"] = first
    video["filename"] = path if isinstance(video.get("filename"), list) else first


if __name__ == "__main__":
    command, source, *rest = sys.argv[1:]
    if command == "look":
        print(json.dumps(look(Path(source))))
    elif command == "embed":
        embed(Path(source), Path(rest[0]))
    elif command == "relink":
        relink(Path(source), Path(rest[0]), json.load(sys.stdin))

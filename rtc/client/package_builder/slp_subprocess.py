"""A program that opens SLEAP projects. It is run by a Python that has sleap-io, and never imported.

    slp_subprocess.py inspect FILE          print the contents as one line of JSON
    slp_subprocess.py embed FILE OUT        write a copy with the images of all labelled frames inside
    slp_subprocess.py relink FILE OUT       write a copy whose videos have other paths; stdin is the JSON of `Relinking`

It is a separate program so that the client does not load sleap-io, h5py and video decoders, and can kill them at any
time. The Python that runs it may have no cattrs; therefore it writes and reads JSON by itself. The client reads and
writes the same with the classes of `slp_files.py`.
"""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def inspect(file: Path) -> dict[str, Any]:
    """Return the number of labelled frames, and for each video its files and its number of labelled frames."""
    import sleap_io

    labels = sleap_io.load_slp(str(file), open_videos=False)
    labelled = [labels.videos.index(frame.video) for frame in labels.user_labeled_frames]
    return {
        "frames": len(labelled),
        "videos": [
            {
                "paths": _paths(video, file),
                "is_sequence": isinstance(video.filename, list),
                "labelled": labelled.count(index),
            }
            for index, video in enumerate(labels.videos)
        ],
    }


def _paths(video: Any, file: Path) -> list[str]:
    """Return the current paths of the video's files; none when its images are embedded in the project."""
    if video.backend_metadata.get("filename") == ".":
        return []
    recorded = video.filename if isinstance(video.filename, list) else [video.filename]
    return [str(_current_path(name.replace("\\", "/"), file)) for name in recorded]


def _current_path(name: str, file: Path) -> Path:
    """Return where sleap-io would find a file: at its recorded path, otherwise beside the project."""
    recorded, neighbour = Path(name), file.parent / Path(name).name
    return neighbour if not recorded.is_file() and neighbour.is_file() else recorded


def embed(file: Path, out: Path) -> None:
    """Write a copy with the images of user-labelled frames inside, as SLEAP's export of a training package does."""
    import sleap_io

    labels = sleap_io.load_slp(str(file))
    labels.save(str(out), embed="user", verbose=False)


def relink(file: Path, out: Path, new_paths: list[dict[str, Any] | None]) -> None:
    """Write a copy in which only the list of videos is replaced; everything else in the project is unchanged.

    The parts are copied into a new file: HDF5 does not erase what is deleted in a file, and the old paths would stay
    readable in it.
    """
    import h5py

    with h5py.File(file, "r") as source, h5py.File(out, "w") as tree:
        tree.attrs.update(source.attrs)
        for name in source:
            if name != "videos_json":
                source.copy(source[name], tree, name=name)
        videos = [json.loads(text) for text in source["videos_json"][()]]
        for video, new in zip(videos, new_paths, strict=True):
            if new is not None:
                _set_path(video, new["paths"] if new["is_sequence"] else new["paths"][0])
        texts = [json.dumps(video, separators=(",", ":")) for video in videos]
        kind = h5py.special_dtype(vlen=bytes)
        dataset = tree.create_dataset("videos_json", data=texts, maxshape=(None,), dtype=kind)
        dataset.attrs.update(source["videos_json"].attrs)


def _set_path(video: dict[str, Any], path: str | list[str]) -> None:
    backend = video.setdefault("backend", {})
    if isinstance(path, list):
        backend["filenames"] = path
    first = path if isinstance(path, str) else path[0]
    backend["filename"] = first
    video["filename"] = path if isinstance(video.get("filename"), list) else first


if __name__ == "__main__":
    command, source, *rest = sys.argv[1:]
    if command == "inspect":
        with redirect_stdout(sys.stderr):  # what a library prints there must not be taken for ours
            contents = inspect(Path(source))
        print(json.dumps(contents))
    elif command == "embed":
        embed(Path(source), Path(rest[0]))
    elif command == "relink":
        relink(Path(source), Path(rest[0]), json.load(sys.stdin)["videos"])

"""A program that gives the videos in predictions their paths on this machine. It is run by a Python that has h5py, and
never imported.

    restore_subprocess.py FILE OUT      write a copy; stdin is the JSON of `restore_videos.Restoring`

The predictions come from a worker, which is not trusted: only parts that lie in the file itself are read or changed.
What sleap-io 0.9 writes, and where: `videos_json`, `provenance_json` and the attribute `json` of `metadata`; of images
inside the file also `videoN/source_video`.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import h5py
import numpy

VIDEOS, PROVENANCE, METADATA, JSON = "videos_json", "provenance_json", "metadata", "json"
MODELS = "/models/"
"""What follows the package's folder in the path of a model of a package."""
ATTRIBUTE_MAX = 64_000
"""Bytes of the longest JSON text that sleap-io writes into an attribute; HDF5 allows few more."""
TEXT_MAX = 2**28
"""Bytes of the longest JSON text that is read."""
VIDEOS_MAX = 100_000

Translate = Callable[[str], str]


class Paths:
    """What each name of the package, and each path below the package's folder on the worker, is on this machine."""

    def __init__(self, files: list[dict[str, Any]], folder: str, provenance: str) -> None:
        self.paths: dict[str, str] = {file["name"]: file["path"] for file in files}
        self.missing = {file["name"] for file in files if not file["is_there"]}
        """Names of videos that were not there when the package was made."""
        self.absolute: dict[str, str] = {file["name"]: file["absolute"] for file in files if file["absolute"]}
        self.folder = folder
        """The folder with the result of a training; empty for predictions."""
        self.before: Any = json.loads(provenance or "{}")
        """The provenance of the labels that were predicted on, without which they were sent."""
        self.root = ""
        """The package's folder on the worker."""
        for name, path in list(self.paths.items()):
            self._add_folders(name, path)

    def _add_folders(self, name: str, path: str) -> None:
        """Add the folders of a file as far as the package and this machine have the same names below them."""
        inside, here = PurePosixPath(name), PurePosixPath(path)
        while inside.name == here.name and inside.parent.name:
            inside, here = inside.parent, here.parent
            self.paths.setdefault(str(inside), str(here))

    def find_root(self, provenance: dict[str, Any]) -> None:
        """Find the package's folder on the worker from the absolute paths that sleap-nn has written.

        The models are looked at first, since another file of the package may have the name of the data in a folder.
        """
        models = provenance.get("model_paths")
        of_models = [path for path in models if _is_absolute(path)] if isinstance(models, list) else []
        names = sorted(self.paths, key=len, reverse=True)
        ends = (
            [(path, f"/{name}") for path in of_models for name in names if f"/{name}".startswith(MODELS)]
            + [(path, MODELS + path.rpartition(MODELS)[2]) for path in of_models if MODELS in path]
            + [(path, f"/{name}") for path in (provenance.get("source_file"), *of_models) for name in names]
        )
        self.root = next((path[: -len(end)] for path, end in ends if _is_absolute(path) and path.endswith(end)), "")

    def _below_root(self, text: str) -> str | None:
        return text.removeprefix(f"{self.root}/") if self.root and text.startswith(f"{self.root}/") else None

    def file(self, name: str) -> str:
        """Return the path on this machine of a file that a video has, as the person named it."""
        return self.paths.get(name, name)

    def in_provenance(self, text: str) -> str:
        """Return a path of the provenance as it is on this machine; other texts as they are."""
        below = self._below_root(text)
        if below is None:
            return text
        for name in [below, *map(str, PurePosixPath(below).parents)]:
            if name in self.absolute:
                return self.absolute[name] + below[len(name) :]
        if below in self.paths:
            return self.paths[below]
        return f"{self.folder}/{below}" if self.folder and f"/{below}".startswith(MODELS) else below


def _is_absolute(path: object) -> bool:
    return isinstance(path, str) and path.startswith("/")


def restore_video(video: Any, paths: Paths) -> Any:
    """Return the JSON of a video with its paths on this machine.

    A video whose images are in a package that exists nowhere on this machine is replaced by the one from which they
    were taken, if that is known.
    """
    if not isinstance(video, dict):
        return video
    backend = video.get("backend")
    backend = backend if isinstance(backend, dict) else {}
    name = backend.get("filename", video.get("filename"))
    source = video.get("source_video")
    is_in_package = isinstance(name, str) and name != "." and not name.startswith("/") and name not in paths.paths
    if is_in_package and backend.get("has_embedded_images") is True and isinstance(source, dict):
        return restore_video(source, paths)
    for tree, key in ((video, "filename"), (backend, "filename"), (backend, "filenames")):
        if key in tree:
            tree[key] = _map_texts(tree[key], paths.file)
    if isinstance(name, str) and name in paths.paths and name not in paths.missing:
        _complete_backend(backend, source)
    if isinstance(source, dict):
        video["source_video"] = restore_video(source, paths)
    return video


def _complete_backend(backend: dict[str, Any], source: Any) -> None:
    """Set what sleap-io writes of a video that it can open: a worker gets no video of which no frame is read.

    `has_embedded_images` is false there, although the images were taken from another video; `dataset` is null.
    """
    if backend.get("type") == "MediaVideo" and backend.get("dataset", "") is None:
        backend["dataset"] = ""
    has_images = isinstance(source, dict) and str(backend.get("dataset")).endswith("/video")
    if backend.get("type") == "HDF5Video" and backend.get("has_embedded_images") is False and has_images:
        backend["has_embedded_images"] = True


def _map_texts(value: Any, translate: Translate) -> Any:
    """Return a JSON value in which each text is translated; the keys of objects stay."""
    if isinstance(value, str):
        return translate(value)
    if isinstance(value, list):
        return [_map_texts(each, translate) for each in value]
    if isinstance(value, dict):
        return {key: _map_texts(each, translate) for key, each in value.items()}
    return value


def restore_provenance(provenance: dict[str, Any], paths: Paths) -> dict[str, Any]:
    """Return the provenance with the paths of this machine in place of the worker's."""
    restored: dict[str, Any] = _restore_names(_map_texts(provenance, paths.in_provenance), paths)
    source = restored.get("input_provenance")
    if isinstance(source, dict) and isinstance(paths.before, dict):
        restored["input_provenance"] = paths.before | source
    return restored


def _restore_names(value: Any, paths: Paths) -> Any:
    """Return a JSON value in which the names under which sleap-nn opened files are their paths on this machine."""
    if isinstance(value, list):
        return [_restore_names(each, paths) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _map_texts(each, lambda name: paths.paths.get(name, name))
        if key.endswith("filename") or key == "source_labels"
        else _restore_names(each, paths)
        for key, each in value.items()
    }


def own(tree: h5py.Group, name: str, kind: type) -> Any:
    """Return a part of a file if it lies in the file itself and is of this kind, and None otherwise."""
    if not isinstance(tree.get(name, getlink=True), h5py.HardLink):
        return None
    part = tree[name]
    if not isinstance(part, kind):
        return None
    is_elsewhere = isinstance(part, h5py.Dataset) and (part.external or part.is_virtual)
    return None if is_elsewhere else part


def read_json(text: Any) -> Any:
    """Return the JSON value of a text as h5py reads it."""
    raw = text.item() if isinstance(text, numpy.ndarray | numpy.generic) else text
    if len(raw) > TEXT_MAX:
        raise ValueError("a text in it is too long")
    return json.loads(raw)


def to_text(value: Any) -> str:
    """Return a JSON text as sleap-io writes it."""
    return json.dumps(value, separators=(",", ":"))


def restore_file(tree: h5py.File, paths: Paths) -> None:
    """Give the videos and the provenance of an open file the paths of this machine."""
    provenance_text = own(tree, PROVENANCE, h5py.Dataset)
    provenance = read_json(provenance_text[()]) if provenance_text is not None else None
    metadata = own(tree, METADATA, h5py.Group)
    about = read_json(metadata.attrs[JSON]) if metadata is not None and JSON in metadata.attrs else None
    if provenance is None and isinstance(about, dict):
        provenance = about.get("provenance")
    if isinstance(provenance, dict):
        paths.find_root(provenance)
        provenance = restore_provenance(provenance, paths)
        if provenance_text is not None:
            del tree[PROVENANCE]
            tree.create_dataset(PROVENANCE, data=numpy.bytes_(to_text(provenance)))
        if isinstance(about, dict) and about.get("provenance"):
            about["provenance"] = provenance
            if len(to_text(about)) > ATTRIBUTE_MAX:
                about["provenance"] = {}  # as sleap-io does: the dataset has it
            metadata.attrs[JSON] = numpy.bytes_(to_text(about))
    restore_videos(tree, paths)


def restore_videos(tree: h5py.File, paths: Paths) -> None:
    """Give the videos of an open file their paths on this machine."""
    dataset = own(tree, VIDEOS, h5py.Dataset)
    if dataset is None or dataset.size > VIDEOS_MAX:
        raise ValueError("it has no list of videos")
    videos = [restore_video(read_json(text), paths) for text in dataset[()]]
    attributes = dict(dataset.attrs)
    del tree[VIDEOS]
    new = tree.create_dataset(VIDEOS, data=list(map(to_text, videos)), maxshape=(None,), dtype=h5py.string_dtype())
    new.attrs.update(attributes)
    for name in tree:
        group = own(tree, name, h5py.Group) if re.fullmatch(r"video\d+", name) else None
        source = own(group, "source_video", h5py.Group) if group is not None else None
        if source is not None and JSON in source.attrs:
            text = to_text(restore_video(read_json(source.attrs[JSON]), paths))
            if len(text) <= ATTRIBUTE_MAX:
                source.attrs[JSON] = text


if __name__ == "__main__":
    file, out = sys.argv[1:]
    wanted = json.load(sys.stdin)
    shutil.copyfile(file, out)
    with h5py.File(out, "r+") as opened:
        restore_file(opened, Paths(wanted["files"], wanted["folder"], wanted["provenance"]))

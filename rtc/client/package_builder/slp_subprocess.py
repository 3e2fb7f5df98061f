"""A program that opens SLEAP projects. It is run by a Python that has sleap-io, and never imported.

    slp_subprocess.py inspect-training FILE     print which frames a training reads; stdin: the JSON of `TrainingFrames`
    slp_subprocess.py inspect-data FILE         print which frames a prediction reads; stdin: `PredictionFrames`
    slp_subprocess.py strip FILE OUT            write a copy without images, if it records the sizes of all videos;
                                                print whether it does; stdin: an empty object
    slp_subprocess.py relink FILE OUT           write a copy whose videos have other paths; stdin: `Relinking`

It is a separate program so that the client does not load sleap-io, h5py and video decoders, and can kill them at any
time. The Python that runs it may have no cattrs; therefore it writes and reads JSON by itself. The client reads and
writes the same with the classes of `slp_files.py`.

Which frames are read follows sleap-nn 0.3.5: `sleap_nn/training/model_trainer.py` and `data/custom_datasets.py` for
training, `cli.py` and `inference/providers.py` for prediction.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

Frames = list[int] | None
"""Frames of one video by number; None for every frame."""
_IMAGES = ("png", "jpg", "jpeg", "tif", "tiff", "bmp")
"""The endings of the images in a folder that is a video, as in `ImageVideo.EXTS` of sleap-io."""


def inspect_training(file: Path, reads: dict[str, Any]) -> dict[str, Any]:
    """Return for each video its files, and which of its frames a training reads."""
    labels = _load(file)
    needed, optional = ({id(video): set[int]() for video in labels.videos} for _ in range(2))
    for frame in labels.labeled_frames:
        if _is_trained_on(frame, reads):
            needed[id(frame.video)].add(frame.frame_idx)
        elif frame.user_instances or getattr(frame, "is_negative", False):
            optional[id(frame.video)].add(frame.frame_idx)
    return {
        "frames": sum(map(len, needed.values())),
        "edges": sum(len(skeleton.edges) for skeleton in labels.skeletons),
        "tracks": len(labels.tracks),
        "videos": [
            _describe(video, file, sorted(needed[id(video)]), sorted(optional[id(video)])) for video in labels.videos
        ],
        "animals": _animals(labels, reads),
    }


def _animals(labels: Any, reads: dict[str, Any]) -> dict[str, Any]:
    """Return what models have to fit: the skeletons, the tracks, and a frame with most animals."""
    skeleton = next(iter(labels.skeletons), None)
    used: dict[int, Any] = {}
    most, place = 0, (0, 0)
    for frame in labels.labeled_frames:
        instances = frame.instances if reads["predicted"] else frame.user_instances
        labelled = [instance for instance in instances if not instance.is_empty]
        used.update((id(instance.skeleton), instance.skeleton) for instance in labelled)
        count = len(labelled)
        if count > most:
            index = next(index for index, video in enumerate(labels.videos) if video is frame.video)
            most, place = count, (index, int(frame.frame_idx))
    return {
        "nodes": list(skeleton.node_names) if skeleton is not None else [],
        "edges": len(skeleton.edges) if skeleton is not None else 0,
        "used_nodes": [list(one.node_names) for one in used.values()],
        "tracks": len({track.name for track in labels.tracks}),
        "max_animals": most,
        "video": place[0],
        "frame": place[1],
    }


def _is_trained_on(frame: Any, reads: dict[str, Any]) -> bool:
    """Return True if sleap-nn would learn from this frame."""
    if any(not instance.is_empty for instance in frame.user_instances):
        return True
    if reads["negative"] and getattr(frame, "is_negative", False):
        return True
    if reads["predicted"] and any(not instance.is_empty for instance in frame.instances):
        return True
    kinds = ("centroids", "masks", "bboxes", "rois") if reads["annotated"] else ()
    return any(not item.is_predicted for kind in kinds for item in getattr(frame, kind, None) or ())


def inspect_data(file: Path, reads: dict[str, Any]) -> dict[str, Any]:
    """Return for each video its files, and which of its frames a prediction reads."""
    labels = _load(file)
    index, videos = reads["video_index"], labels.videos
    chosen: list[Frames] = [[] for _ in videos]
    if index is not None and index < len(videos) and not reads["tracking_only"]:
        chosen[index] = _of_video(labels, videos[index], reads)
    elif index is None or index < len(videos):
        numbers: dict[int, set[int]] = {id(video): set() for video in videos}
        for video, number in _of_labels(labels, reads):
            numbers[id(video)].add(number)
        chosen = [sorted(numbers[id(video)]) for video in videos]
    return {
        "frames": sum(len(one) for one in chosen if one is not None),
        "videos": [_describe(video, file, one) for video, one in zip(videos, chosen, strict=True)],
    }


def _of_video(labels: Any, video: Any, reads: dict[str, Any]) -> Frames:
    """Return the frames that `--video-index` selects: those of the video itself, also where nothing is labelled.

    Frame 0 is always among them, because sleap-nn reads it to see whether the video can be read.
    """
    if _is_embedded(video) or (reads["which"] == "all" and reads["frames"] is None):
        return None
    user = {frame.frame_idx for frame in labels.labeled_frames if frame.video is video and frame.user_instances}
    lists: dict[str, Callable[[], Iterable[int]]] = {
        "labeled": lambda: user,
        "suggested": lambda: {item.frame_idx for item in labels.suggestions if item.video is video} - user,
        "predicted": lambda: {
            frame.frame_idx for frame in labels.labeled_frames if frame.video is video and frame.predicted_instances
        },
    }
    asked_for = _is_asked_for(reads["frames"])
    if reads["which"] in lists:
        return sorted({0} | {number for number in lists[reads["which"]]() if asked_for(number)})
    if reads["frames"] is None:
        return None  # all but the labelled ones; how many there are only the video knows
    number_list = isinstance(video.filename, list) and len(video.filename)
    return [0, *filter(asked_for, range(1, number_list))] if number_list else [0]


def _of_labels(labels: Any, reads: dict[str, Any]) -> Iterable[tuple[Any, int]]:
    """Return the video and number of every frame that sleap-nn reads when it goes by the list of labelled frames."""
    frames = labels.labeled_frames
    if reads["tracking_only"]:
        asked_for, index = _is_asked_for(reads["frames"]), reads["video_index"]
        only = None if index is None else labels.videos[index]
        chosen = [frame for frame in frames if asked_for(frame.frame_idx) and (only is None or frame.video is only)]
        return [(frame.video, frame.frame_idx) for frame in chosen] if reads["images"] else []
    if reads["which"] == "suggested":
        user = {(id(frame.video), frame.frame_idx) for frame in frames if frame.user_instances}
        pairs = [(item.video, item.frame_idx) for item in labels.suggestions]
        return [(video, number) for video, number in pairs if (id(video), number) not in user]
    tests: dict[str, Callable[[Any], bool]] = {
        "labeled": lambda frame: bool(frame.user_instances),
        "unlabeled": lambda frame: not frame.user_instances,
        "predicted": lambda frame: bool(frame.predicted_instances),
    }
    if reads["which"] in tests:
        return [(frame.video, frame.frame_idx) for frame in frames if tests[reads["which"]](frame)]
    # without any other filter, `--frames` counts labelled frames, not frames of a video
    asked_for = _is_asked_for(reads["frames"])
    return [(frame.video, frame.frame_idx) for place, frame in enumerate(frames) if asked_for(place)]


def _is_asked_for(text: str | None) -> Callable[[int], bool]:
    """Return a function that tells whether a number is in `--frames`: one range `0-49`, or a list `0,3,5`."""
    if text is None:
        return lambda _number: True
    first, dash, last = text.partition("-")
    numbers = range(int(first), int(last) + 1) if dash else {int(item) for item in text.split(",")}
    return lambda number: number in numbers


def _load(file: Path) -> Any:
    import sleap_io

    return sleap_io.load_slp(str(file), open_videos=False)


def _describe(video: Any, file: Path, needed: Frames, optional: Frames = None) -> dict[str, Any]:
    """Return the files of a video, the frames of it that are read, and how many of them are not in the project.

    Only images that are embedded in the project can be lacking there.
    """
    embedded = video.backend_metadata.get("filename") == "."
    recorded = [] if embedded else video.filename if isinstance(video.filename, list) else [video.filename]
    if len(recorded) == 1 and _is_address(str(recorded[0])):
        return _describe_address(str(recorded[0]), needed, optional)
    paths = [_current_path(str(name).replace("\\", "/"), file) for name in recorded]
    folder = paths[0] if len(paths) == 1 and os.path.isdir(paths[0]) else None
    if folder is not None:  # sleap-io reads a folder as the sequence of its images
        paths = sorted(path for path in folder.iterdir() if path.suffix[1:] in _IMAGES)
    return {
        "paths": [str(path) for path in paths],
        "is_sequence": folder is not None or isinstance(video.filename, list),
        "needed": needed,
        "optional": optional or [],
        "lacking": _count_lacking(video, file, needed) if embedded and needed else 0,
        "address": "",
    }


def _is_address(name: str) -> bool:
    """Return whether a video is at an address on the web; a single letter before the colon is a drive of Windows."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None


def _describe_address(address: str, needed: Frames, optional: Frames) -> dict[str, Any]:
    """Return what `_describe` does, for a video on the web; what follows a `?` in its address may be a password."""
    name = re.split(r"[?#]", address)[0].rstrip("/").rpartition("/")[2]
    return {
        "paths": [name or "video"],
        "is_sequence": False,
        "needed": needed,
        "optional": optional or [],
        "lacking": 0,
        "address": address,
    }


def _count_lacking(video: Any, file: Path, frames: list[int]) -> int:
    """Return how many of these frames of an embedded video have no image in the project."""
    import h5py

    dataset = str(video.backend_metadata.get("dataset") or "")
    with h5py.File(file, "r") as tree:
        if dataset not in tree:
            return len(frames)
        group = tree[dataset].parent if isinstance(tree[dataset], h5py.Dataset) else tree[dataset]
        if "frame_numbers" not in group:
            return 0
        present = set(group["frame_numbers"][()].astype(int).tolist())
    return sum(number not in present for number in frames)


def _is_embedded(video: Any) -> bool:
    """Return True if the video consists of images that a project holds, this one or another."""
    return str(video.backend_metadata.get("dataset") or "").endswith("/video")


def _current_path(name: str, file: Path) -> Path:
    """Return where sleap-io would find a file: at its recorded path, otherwise beside the project."""
    recorded, neighbour = Path(name), file.parent / Path(name).name
    # not `Path.exists`, which raises an error for a name that is too long, as of a path of Windows with `\\` in it
    return neighbour if not os.path.exists(recorded) and os.path.exists(neighbour) else recorded


def strip(file: Path, out: Path) -> bool:
    """Write a copy without images, paths and provenance, if all videos have a recorded size; return whether they do."""
    import h5py

    with h5py.File(file, "r") as source:
        videos = [json.loads(text) for text in source["videos_json"][()]]
        if not videos or not all(_has_size(video) for video in videos):
            return False
    images = {video["backend"].get("dataset", "").split("/")[0] for video in videos if _is_inside(video)}
    relink(file, out, [None if _is_inside(video) else _bare_name(video) for video in videos], images)
    return True


def _bare_name(video: dict[str, Any]) -> dict[str, Any]:
    """Return the new path of a video that is not sent: its name without folders, which are nobody else's business."""
    is_sequence = isinstance(video.get("filename"), list)
    recorded = video["filename"] if is_sequence else [video.get("filename") or video["backend"].get("filename")]
    return {"paths": [str(name).replace("\\", "/").rpartition("/")[2] for name in recorded], "is_sequence": is_sequence}


def _is_inside(video: dict[str, Any]) -> bool:
    """Return whether the project itself holds the images of a video."""
    return bool(video["backend"].get("filename") == ".")


def _has_size(video: dict[str, Any]) -> bool:
    """Return whether a project records the frames, height, width and channels of a video."""
    shape = video.get("backend", {}).get("shape")
    return isinstance(shape, list) and len(shape) == 4 and all(isinstance(one, int) and one > 0 for one in shape)


def relink(
    file: Path, out: Path, new_paths: list[dict[str, Any] | None], left_out: Collection[str] = ()
) -> dict[str, Any]:
    """Write a copy with other paths of its videos and without its provenance; nothing else in the project is changed.

    The parts are copied into a new file: HDF5 does not erase what is deleted in a file, and the old paths would stay
    readable in it.

    Returns:
        What the copy has no more, as the fields of `slp_files.Relinked`.
    """
    import h5py

    sources: list[dict[str, Any]] = []
    with h5py.File(file, "r") as source, h5py.File(out, "w") as tree:
        tree.attrs.update(source.attrs)
        for name in source:
            if name not in ("videos_json", "provenance_json", "metadata", *left_out):
                source.copy(source[name], tree, name=name)
        provenance = _copy_metadata(source, tree)
        videos = [json.loads(text) for text in source["videos_json"][()]]
        for video, new in zip(videos, new_paths, strict=True):
            if new is not None:
                _set_path(video, new["paths"] if new["is_sequence"] else new["paths"][0])
            for key in ("source_video", "original_video"):  # SLEAP and older sleap-io know the second
                _rename_source(video.get(key), sources, file)
        texts = [json.dumps(video, separators=(",", ":")) for video in videos]
        kind = h5py.special_dtype(vlen=bytes)
        dataset = tree.create_dataset("videos_json", data=texts, maxshape=(None,), dtype=kind)
        dataset.attrs.update(source["videos_json"].attrs)
    return {"provenance": json.dumps(provenance), "sources": sources}


def _copy_metadata(source: Any, tree: Any) -> Any:
    """Copy the metadata into another file without the provenance; return the provenance, in which paths are."""
    import numpy

    found = json.loads(source["provenance_json"][()].item()) if "provenance_json" in source else {}
    if "metadata" not in source:
        return found
    metadata = tree.create_group("metadata")
    for name in source["metadata"]:
        source.copy(source["metadata"][name], metadata, name=name)
    attributes = dict(source["metadata"].attrs)
    if "json" in attributes:
        text = attributes["json"]
        about = json.loads(text.item() if hasattr(text, "item") else text)
        found = found or about.get("provenance") or {}
        attributes["json"] = numpy.bytes_(json.dumps(about | {"provenance": {}}, separators=(",", ":")))
    metadata.attrs.update(attributes)
    return found


def _rename_source(video: Any, sources: list[dict[str, Any]], file: Path) -> None:
    """Give the video from which a video was made names without a path, and add these names to `sources`."""
    if not isinstance(video, dict):
        return
    backend = video.get("backend", {})
    recorded = video.get("filename") or backend.get("filenames") or backend.get("filename")
    is_sequence = isinstance(recorded, list)
    names = []
    for name in recorded if is_sequence else [recorded]:
        if name and name != ".":
            path = _source_path(name, file, is_alone=not is_sequence)
            suffix = Path(re.split(r"[?#]", path["path"])[0]).suffix
            names.append(f"sleap-rtc-source-{len(sources) + 1}{suffix}")
            sources.append({"name": names[-1], **path, "absolute": ""})
    if names and backend.get("filename") != ".":
        _set_path(video, names if is_sequence else names[0])
    for key in ("source_video", "original_video"):
        _rename_source(video.get(key), sources, file)


def _source_path(name: str, file: Path, *, is_alone: bool) -> dict[str, Any]:
    """Return the path that sleap-io would write for a video from which another one was made, and whether it is there.

    Only a single file is searched for beside the project, not the images of a sequence.
    """
    if _is_address(name):
        return {"path": name, "is_there": False}
    recorded = Path(name.replace("\\", "/"))
    path = _current_path(str(recorded), file) if is_alone else recorded
    return {"path": path.as_posix(), "is_there": path.exists()}


def _set_path(video: dict[str, Any], path: str | list[str]) -> None:
    backend = video.setdefault("backend", {})
    if isinstance(path, list):
        backend["filenames"] = path
    first = path if isinstance(path, str) else path[0]
    backend["filename"] = first
    video["filename"] = path if isinstance(video.get("filename"), list) else first


if __name__ == "__main__":
    command, source, *rest = sys.argv[1:]
    request = json.load(sys.stdin)
    if command == "relink":
        print(json.dumps(relink(Path(source), Path(rest[0]), request["videos"])))
    elif command == "strip":
        print(json.dumps(strip(Path(source), Path(rest[0]))))
    else:
        with redirect_stdout(sys.stderr):  # what a library prints there must not be taken for ours
            contents = {"inspect-training": inspect_training, "inspect-data": inspect_data}[command](
                Path(source), request
            )
        print(json.dumps(contents))

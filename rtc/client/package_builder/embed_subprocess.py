"""A program that copies images of videos into a SLEAP project. It is run by a Python that has sleap-io, never imported.

    embed_subprocess.py FILE OUT        write a copy of FILE that needs no video; stdin is the JSON of `Embedding`

The copy differs from the project in its list of videos alone. sleap-io's own `Labels.save(embed=…)` is not used: it
keeps all images in memory, needs the size of every video, and turns images with fractions into 0 and 1. Here one image
is in memory at a time, and each has the values that sleap-nn would read from the video: it is stored as the bytes of
its file (PNG and JPEG), as a PNG, or as the array itself if a PNG cannot hold it.

Lines for the person go to stderr and begin with `FOR_PERSON`. With status `REFUSED` stdout is one sentence for the
person, with status `DISK_FULL` there was no space for the copy.
"""

import errno
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOR_PERSON = "say: "
REFUSED, DISK_FULL = 3, 4
REPORT_TIME = 3.0
"""Seconds between two lines of progress."""
WRONG_BY = 0.5
"""Frames by which a decoder that goes by time must be wrong before a person is told."""
ATTRIBUTE_MAX = 60_000
"""Bytes of an attribute in HDF5, which allows 64 KiB with its header; sleap-io reads what is longer from a dataset."""
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg"}
"""The first bytes of the image files that are copied as they are."""


class ImageError(Exception):
    """An image cannot be read or stored; the text is a sentence for a person."""


class ImageCount:
    """Tells how many images are packed, at most once in `REPORT_TIME` seconds."""

    def __init__(self, total: int) -> None:
        self.done, self.total, self.reported = 0, total, time.monotonic()

    def add_one(self) -> None:
        """Count one image."""
        self.done += 1
        if time.monotonic() - self.reported >= REPORT_TIME:
            self.reported = time.monotonic()
            _say(f"Packing images: {self.done:,} of {self.total:,}".replace(",", " "))


def embed(file: Path, out: Path, plan: list[dict[str, Any] | None]) -> None:
    """Write a copy of the project whose videos are replaced by images inside; those with null stay as they are."""
    import h5py
    from sleap_io.io.slp import read_videos

    shutil.copyfile(file, out)
    with h5py.File(out, "r+") as tree:
        originals = [json.loads(text) for text in tree["videos_json"][()]]
        _replace_videos(tree, [_found(entry, one) for entry, one in zip(originals, plan, strict=True)])
    videos = read_videos(str(out))  # opens them as sleap-nn does
    progress = ImageCount(sum(len(one["frames"]) for one in plan if one is not None))
    with h5py.File(out, "r+") as tree:
        entries = list(originals)
        for index, (video, one) in enumerate(zip(videos, plan, strict=True)):
            if one is not None:
                reader = VideoReader(video, one["paths"], file.name)
                group = _new_group(tree, index)
                backend = (
                    _write_images(group, reader, one["frames"], progress)
                    if one["frames"]
                    else _write_nothing(group, reader, originals[index])
                )
                _write_source(group, originals[index])
                entries[index] = {"filename": ".", "backend": backend}
                reader.close()
        _replace_videos(tree, entries)


def _found(entry: dict[str, Any], plan: dict[str, Any] | None) -> dict[str, Any]:
    """Return the entry of a video in the project with the paths at which its files are now."""
    if plan is None or not plan["paths"]:
        return entry
    paths = plan["paths"] if plan["is_sequence"] else plan["paths"][0]
    files = {"filenames": paths, "filename": paths[0]} if plan["is_sequence"] else {"filename": paths}
    return entry | {"filename": paths, "backend": entry.get("backend", {}) | files}


def _replace_videos(tree: Any, entries: list[dict[str, Any]]) -> None:
    import h5py

    attributes = dict(tree["videos_json"].attrs)
    del tree["videos_json"]
    texts = [json.dumps(entry, separators=(",", ":")) for entry in entries]
    kind = h5py.special_dtype(vlen=bytes)
    dataset = tree.create_dataset("videos_json", data=texts, shape=(len(texts),), maxshape=(None,), dtype=kind)
    dataset.attrs.update(attributes)


def _new_group(tree: Any, index: int) -> Any:
    """Return a new group for the images of a video, with a name that the project does not use."""
    name = f"video{index}"
    while name in tree:
        name += "_"
    return tree.create_group(name)


class VideoReader:
    """Reads frames of a video with the values that sleap-nn gets."""

    def __init__(self, video: Any, paths: list[str], labels: str) -> None:
        backend = video.backend
        # the crop of a video stays a setting of the project; images are stored whole
        self._backend = getattr(backend, "inner", backend)
        self._paths, self._labels = paths, labels
        self.shape = self._read_shape()

    @property
    def name(self) -> str:
        """The name of the video's file, or of the folder of its images."""
        path = Path(self._paths[0]) if self._paths else Path("video")
        return path.parent.name or path.name if len(self._paths) > 1 else path.name

    @property
    def fps(self) -> float | None:
        """Frames per second, if known."""
        value = getattr(self._backend, "fps", None)
        return float(value) if value else None

    @property
    def grayscale(self) -> bool | None:
        """Whether sleap-io reduces every image to its first channel."""
        value = getattr(self._backend, "grayscale", None)
        return None if value is None else bool(value)

    def _read_shape(self) -> tuple[int, ...] | None:
        """Return number of frames, height, width and channels; None if the video cannot be read.

        sleap-nn asks for the shape before anything else, and sleap-io then decides by frame 0 whether it is gray.
        """
        try:
            return tuple(int(size) for size in self._backend.shape)
        except Exception:  # noqa: BLE001 (whatever a decoder raises; the frames themselves tell what is wrong)
            return None

    def read(self, frame: int) -> Any:
        """Return one frame as an array of height, width and channels.

        Raises:
            ImageError: it cannot be read.
        """
        if self._backend is None:
            raise ImageError(
                f"{self.name}, which {self._labels} refers to, cannot be opened as a video. Check that it plays."
            )
        if self.shape is not None and not 0 <= frame < self.shape[0] and not getattr(self._backend, "frame_map", None):
            raise ImageError(
                f"{self._labels} has labels on frame {frame} of {self.name}, which has {self.shape[0]} frames, counted "
                "from 0. Is it the right video?"
            )
        try:
            image = self._backend.get_frame(frame)
        except Exception:  # noqa: BLE001 (cv2, av, imageio, h5py and sleap-io all have errors of their own)
            raise ImageError(
                f"Frame {frame} of {self._name_of(frame)}, which {self._labels} refers to, cannot be read. "
                "Check that it opens, or take its labels away."
            ) from None
        if getattr(image, "ndim", 0) != 3 or 0 in image.shape:
            raise ImageError(f"Frame {frame} of {self._name_of(frame)} is no image: {self._labels} cannot be packed.")
        return image

    def _name_of(self, frame: int) -> str:
        return Path(self._paths[frame]).name if len(self._paths) > 1 and frame < len(self._paths) else self.name

    def file_bytes(self, frame: int) -> tuple[str, bytes] | None:
        """Return the format and the bytes of the image file of a frame, if the video is a sequence of PNG or JPEG."""
        if type(self._backend).__name__ != "ImageVideo":
            return None
        data = Path(self._backend.filename[frame]).read_bytes()
        kind = next((kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), None)
        return None if kind is None else (kind, data)

    @property
    def is_video_file(self) -> bool:
        """Return True for a file such as `.mp4`, of which a decoder finds the frames by their times."""
        return type(self._backend).__name__ == "MediaVideo"

    def has_variable_rate(self) -> bool:
        """Return True if the frames come at uneven times, by so much that a frame may be taken for its neighbour.

        The file says its average rate and the rate of its clock; a decoder that goes by time is wrong by their
        difference. False without PyAV, which alone tells both.
        """
        try:
            import av

            with av.open(self._backend.filename) as container:
                stream = container.streams.video[0]
                average, base = float(stream.average_rate or 0), float(stream.base_rate or 0)
        except Exception:  # noqa: BLE001 (this is a hint only; the frames themselves tell what is wrong)
            return False
        frames = self.shape[0] if self.shape is not None else 0
        return bool(average and base) and abs(1 - average / base) * frames > WRONG_BY

    def close(self) -> None:
        """Close the video."""
        if hasattr(self._backend, "close"):
            self._backend.close()


def _say_what_is_uncertain(reader: VideoReader) -> None:
    """Tell the person if the frames of a video file may be others than those that sleap-nn, or SLEAP, would show."""
    if not reader.is_video_file:
        return
    if _opencv() is None:
        _say(
            f"Note: sleap-nn reads {reader.name} with OpenCV, which is not installed here; its frames may differ a bit."
        )
    if reader.has_variable_rate():
        _say(
            f"Note: {reader.name} has a variable frame rate. Readers of videos count its frames in different ways, so "
            "that labels may be on the wrong frames. Convert it to a constant rate to be sure."
        )


def _say(text: str) -> None:
    print(f"{FOR_PERSON}{text}", file=sys.stderr, flush=True)


def _write_images(group: Any, reader: VideoReader, frames: list[int], progress: ImageCount) -> dict[str, Any]:
    """Store frames of a video in a group; return the entry of its backend in the project.

    Raises:
        ImageError: a frame cannot be read, or cannot be stored unchanged together with the others.
    """
    first = reader.read(frames[0])
    _say_what_is_uncertain(reader)
    writer = _choose_writer(group, reader, first, frames)
    for place, frame in enumerate(frames):
        writer.write(place, frame, first if place == 0 else reader.read(frame))
        progress.add_one()
    group.create_dataset("frame_numbers", data=frames, dtype="int64")
    shape = reader.shape or (len(frames), *first.shape)
    return _describe(writer.dataset, shape, reader)


def _write_nothing(group: Any, reader: VideoReader, original: dict[str, Any]) -> dict[str, Any]:
    """Store that no image of a video is in the project; return the entry of its backend.

    sleap-nn wants the size of every video. One of unknown size, whose file is missing too, becomes one pixel.
    """
    backend = original.get("backend", {})
    recorded = backend.get("shape") or (0, backend.get("height_"), backend.get("width_"), backend.get("channels_"))
    known = len(recorded) == 4 and all(recorded[1:])
    shape = reader.shape or (tuple(int(size or 0) for size in recorded) if known else (0, 1, 1, 1))
    dataset = group.create_dataset("video", shape=(0,), dtype="int8")
    dataset.attrs["format"], dataset.attrs["channel_order"] = "png", "RGB"
    group.create_dataset("frame_numbers", shape=(0,), dtype="int64")
    return _describe(dataset, shape, reader)


def _describe(dataset: Any, shape: tuple[int, ...], reader: VideoReader) -> dict[str, Any]:
    """Set the attributes of a dataset of images; return the entry of its backend in the project."""
    for name, size in zip(("frames", "height", "width", "channels"), shape, strict=True):
        dataset.attrs[name] = size
    fps, grayscale = reader.fps, reader.grayscale
    if fps is not None:
        dataset.attrs["fps"] = fps
    return {
        "type": "HDF5Video",
        "shape": list(shape),
        "filename": ".",
        "dataset": dataset.name.lstrip("/"),
        "input_format": "channels_last",
        "convert_range": False,
        "has_embedded_images": "format" in dataset.attrs,
        "grayscale": shape[-1] == 1 if grayscale is None else grayscale,
        "fps": fps,
    }


def _write_source(group: Any, original: dict[str, Any]) -> None:
    """Store the entry of the video that the images come from, as sleap-io does."""
    import numpy as np

    text = json.dumps(original, separators=(",", ":"))
    source = group.create_group("source_video")
    if len(text.encode()) <= ATTRIBUTE_MAX:
        source.attrs["json"] = text
    else:
        source.create_dataset("json", data=np.bytes_(text.encode()))


def _choose_writer(group: Any, reader: VideoReader, first: Any, frames: list[int]) -> "ImageWriter | ArrayWriter":
    """Return what stores the frames of a video: as image files if these can hold the first frame, else as arrays."""
    copied = reader.file_bytes(frames[0])
    if copied is not None or _fits_png(first):
        return ImageWriter(group, reader, len(frames), "png" if copied is None else copied[0], copied is not None)
    return ArrayWriter(group, reader, len(frames), first)


def _fits_png(image: Any) -> bool:
    """Return True if a PNG can hold every value of an image, and what writes PNG here (OpenCV or Pillow) can do it."""
    fitting = {"uint8": (1, 3, 4), "uint16": (1, 3, 4)} if _opencv() is not None else {"uint8": (1, 3), "uint16": (1,)}
    return image.shape[-1] in fitting.get(str(image.dtype), ())


class ImageWriter:
    """Stores frames as image files: those of a sequence of PNG or JPEG with the same bytes, all others as PNG."""

    def __init__(self, group: Any, reader: VideoReader, count: int, kind: str, copies: bool) -> None:
        import h5py
        import numpy as np

        self._reader, self._copies = reader, copies
        self.dataset = group.create_dataset("video", shape=(count,), dtype=h5py.vlen_dtype(np.int8))
        self.dataset.attrs["format"] = kind
        # readers turn colours round if the file and their own decoder (OpenCV: BGR) differ in this
        self._turns = copies or _opencv() is None
        self.dataset.attrs["channel_order"] = "RGB" if self._turns else "BGR"

    def write(self, place: int, frame: int, image: Any) -> None:
        """Store one frame.

        Raises:
            ImageError: no image file can hold it.
        """
        import numpy as np

        copied = self._reader.file_bytes(frame) if self._copies else None
        if copied is None and not _fits_png(image):
            raise ImageError(
                f"{self._reader.name} has images of several kinds: frame {frame} has values of type {image.dtype} in "
                f"{image.shape[-1]} channels, others fit into a PNG. Save all of them in one format."
            )
        data = _png(image, self._turns) if copied is None else copied[1]
        self.dataset[place] = np.frombuffer(data, dtype=np.int8)


class ArrayWriter:
    """Stores frames as the arrays that they are, such as images with fractions from 0.0 to 1.0."""

    def __init__(self, group: Any, reader: VideoReader, count: int, first: Any) -> None:
        self._reader, self._like = reader, first
        # no attribute "format": it would mean that image files are inside
        self.dataset = group.create_dataset(
            "video",
            shape=(count, *first.shape),
            dtype=first.dtype,
            chunks=(1, *first.shape),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )

    def write(self, place: int, frame: int, image: Any) -> None:
        """Store one frame.

        Raises:
            ImageError: it has another size or type than the first one.
        """
        if image.dtype != self._like.dtype or image.shape != self._like.shape:
            raise ImageError(
                f"{self._reader.name} has images of several kinds: frame {frame} is {image.dtype} {image.shape}, the "
                f"first one {self._like.dtype} {self._like.shape}. Save all of them with one size and type."
            )
        self.dataset[place] = image


def _opencv() -> Any:
    """Return the module of OpenCV, which sleap-io prefers too; None if it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def _png(image: Any, turn: bool) -> bytes:
    """Return an image as a PNG file, without loss.

    Args:
        image: height, width and 1, 3 or 4 channels.
        turn: the file is to have red where the image has it first; else its first channel is stored as blue.
    """
    opencv = _opencv()
    if opencv is None:
        import imageio.v3

        flat = image[..., 0] if image.shape[-1] == 1 else image
        return bytes(imageio.v3.imwrite("<bytes>", flat, extension=".png"))
    turned = image[..., ::-1] if turn and image.shape[-1] == 3 else image
    done, data = opencv.imencode(".png", turned)
    assert done
    return bytes(data)


def _lines(error: BaseException) -> Iterator[str]:
    """Yield the texts of an exception and of those that led to it."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    request = json.load(sys.stdin)
    try:
        embed(source, target, request["videos"])
    except ImageError as error:
        print(error)
        sys.exit(REFUSED)
    except OSError as error:
        if error.errno == errno.ENOSPC or any("No space left" in text for text in _lines(error)):
            sys.exit(DISK_FULL)
        raise

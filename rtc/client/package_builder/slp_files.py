"""SLEAP projects (`.slp`): their labelled frames and videos, read by a subprocess that has sleap-io."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen

from protocol.converter import WireError, from_json, to_json
from protocol.faults import FaultCode
from rtc.client.package_builder.sleap_io_process import run_sleap_io, unreadable
from rtc.common.errors import RtcError
from rtc.common.hdf5 import HDF5
from rtc.packages.original_paths import OriginalPath
from rtc.packages.zip_reader import open_user_file
from rtc.sleap_nn.commands import python_with

CONTENTS_MAX = 2**28
"""Bytes of JSON about one project: a million images with long paths."""
_INSPECT, _EMBED = (Path(__file__).resolve().parent / name for name in ("slp_subprocess.py", "embed_subprocess.py"))


@frozen
class TrainingFrames:
    """Which frames of labels a training reads, besides those on which a person has placed points."""

    predicted: bool = False
    """Frames with predicted animals too (`user_instances_only: false`)."""
    negative: bool = False
    """Frames too on which a person has said that there is no animal (`use_negative_frames: true`)."""
    annotated: bool = False
    """Frames with masks, boxes or centroids of a person too."""


@frozen
class PredictionFrames:
    """Which frames of labels a prediction reads."""

    which: str = "all"
    """One of all, labeled, suggested, unlabeled and predicted."""
    frames: str | None = None
    """The value of `--frames`: one range `0-49`, or a list `0,3,5`."""
    video_index: int | None = None
    tracking_only: bool = False
    """No model predicts; the animals in the labels are tracked."""
    images: bool = True
    """False if a tracking needs no images."""


@frozen
class Video:
    """One video of a project, and which of its frames are read."""

    paths: tuple[Path, ...]
    """The files of the video: one, or the images of a sequence; none when the images are embedded in the project."""
    is_sequence: bool
    """The video is a sequence of image files."""
    needed: tuple[int, ...] | None = None
    """The frames that are read, in ascending order; None for every frame."""
    optional: tuple[int, ...] = ()
    """Frames that are of use if they are there."""
    lacking: int = 0
    """Number of needed frames of which the project should contain the image, and does not."""
    address: str = ""
    """Its address, if it is on the web; `paths` has only the name of its file then."""

    @property
    def is_needed(self) -> bool:
        """Return True if a frame of the video is read."""
        return self.needed is None or bool(self.needed)

    @property
    def needed_paths(self) -> tuple[Path, ...]:
        """Return the files of the video that are read: for some images of a sequence these and the first one."""
        if not self.is_sequence or self.needed is None:
            return self.paths if self.is_needed else ()
        places = dict.fromkeys((0, *self.needed)) if self.needed else {}
        return tuple(self.paths[place] for place in places if place < len(self.paths))

    @property
    def missing(self) -> tuple[Path, ...]:
        """Return the files of the video that are read and do not exist."""
        return () if self.address else tuple(path for path in self.needed_paths if not os.path.isfile(path))


@frozen
class LabelledAnimals:
    """What is labelled in a project that is trained on; the settings of a model have to fit it."""

    nodes: tuple[str, ...]
    """The names of the parts of the animal in the first skeleton, which is the one that sleap-nn takes; none if there
    is no skeleton."""
    edges: int
    """Number of connections between the parts in it."""
    used_nodes: tuple[tuple[str, ...], ...]
    """The names of the parts in each skeleton with which an animal is labelled."""
    tracks: int
    """Number of identities, counted by their names."""
    max_animals: int
    """The largest number of animals in a frame."""
    video: int
    """The index of the video of the first frame with so many, from 0."""
    frame: int
    """The number of this frame, from 0."""


@frozen
class Project:
    """The contents of a `.slp` or `.pkg.slp` file."""

    frames: int
    """Number of frames that are read, without those of videos that are read whole."""
    videos: tuple[Video, ...]
    edges: int | None = None
    """Number of edges of the skeletons; None: not known."""
    tracks: int | None = None
    """Number of tracks, by which animals are told apart; None: not known."""
    animals: LabelledAnimals | None = None
    """None for labels on which is predicted."""


@frozen
class NewPaths:
    """Where one video of a project is to be found from now on."""

    paths: tuple[str, ...]
    """One path, or those of the images of a sequence."""
    is_sequence: bool


@frozen
class Relinking:
    """What the subprocess is to do with each video of a project; it leaves those with null unchanged."""

    videos: tuple[NewPaths | None, ...]


@frozen
class Images:
    """Which images of a video are to be copied into a project."""

    paths: tuple[str, ...]
    is_sequence: bool
    frames: tuple[int, ...]


@frozen
class Embedding:
    """Which images are to be copied into a project, for each of its videos; those with null stay as they are."""

    videos: tuple[Images | None, ...]


@frozen
class Relinked:
    """What a copy of a project for a package has no more, because the client keeps it: paths on this machine."""

    provenance: str
    """The JSON of the project's provenance."""
    sources: tuple[OriginalPath, ...]
    """The videos from which the project's videos were made, by the names that they have in the copy."""


def is_package(labels: Path) -> bool:
    """Return True when the name of the labels says that they contain their images (`.pkg.slp`)."""
    return labels.name.casefold().endswith(".pkg.slp")


def check_labels(labels: Path) -> None:
    """Check that a file begins as an HDF5 file, as every SLEAP project does.

    Raises:
        RtcError: USAGE: it does not, or it cannot be opened.
    """
    with open_user_file(labels) as file:
        if file.read(len(HDF5)) != HDF5:
            raise RtcError(
                FaultCode.USAGE, f"{labels.name} is no SLEAP project, or is damaged. Save it again in SLEAP."
            )


def check_file(path: Path) -> None:
    """Check that a file can be opened.

    Raises:
        RtcError: under the conditions of `open_user_file`.
    """
    open_user_file(path).close()


def read_project(labels: Path, reads: TrainingFrames | PredictionFrames) -> Project:
    """Return the contents of a project, and which of its frames are read.

    Raises:
        RtcError: USAGE: no sleap-io is installed here, or sleap-io cannot read the file.
    """
    command = "inspect-training" if isinstance(reads, TrainingFrames) else "inspect-data"
    try:
        output = _run_subprocess(labels, _INSPECT, [command, str(labels)], to_json(reads))
        project: Project = from_json(output, Project, limit=CONTENTS_MAX)
    except WireError as error:
        raise unreadable(labels, str(error)) from None
    return project


def embed_images(labels: Path, out: Path, project: Project, report: Callable[[str], None]) -> None:
    """Write a copy with the images of all frames that are read inside, which needs no video.

    Frames that are only of use are left out where a file of their video does not exist.

    Args:
        labels: the project.
        out: the path of the copy.
        project: its contents.
        report: called with a line of text now and then, and with what a person should know about the images.

    Raises:
        RtcError: USAGE: an image cannot be read, or under the conditions of `read_project`. DISK_FULL.
    """
    videos = tuple(_images_of(video) if video.paths else None for video in project.videos)
    _run_subprocess(labels, _EMBED, [str(labels), str(out)], to_json(Embedding(videos)), report)


def _images_of(video: Video) -> Images:
    """Return the images of a video that are to be copied."""
    frames = set(video.needed or ())
    if video.is_sequence:
        frames |= {frame for frame in video.optional if frame < len(video.paths) and os.path.isfile(video.paths[frame])}
    elif os.path.isfile(video.paths[0]):
        frames |= set(video.optional)
    return Images(tuple(map(str, video.paths)), video.is_sequence, tuple(sorted(frames)))


def copy_without_images(labels: Path, out: Path) -> bool:
    """Write a copy without images, if the labels record the size of each video; return whether they do.

    What sleap-nn chooses for labels depends on these sizes and on the poses, not on the images.

    Raises:
        RtcError: under the conditions of `read_project`.
    """
    return _run_subprocess(labels, _INSPECT, ["strip", str(labels), str(out)], "{}").strip() == b"true"


def relink_videos(labels: Path, out: Path, paths: Sequence[str | list[str] | None]) -> Relinked:
    """Write a copy that refers to its videos by other paths, and has no provenance; return what it has no more.

    Args:
        paths: for each video, its new path, the list of its images, or None to leave it unchanged.

    Raises:
        RtcError: under the conditions of `read_project`.
    """
    videos = tuple(
        None if one is None else NewPaths((one,) if isinstance(one, str) else tuple(one), not isinstance(one, str))
        for one in paths
    )
    output = _run_subprocess(labels, _INSPECT, ["relink", str(labels), str(out)], to_json(Relinking(videos)))
    try:
        relinked: Relinked = from_json(output, Relinked, limit=CONTENTS_MAX)
    except WireError as error:
        raise unreadable(labels, str(error)) from None
    return relinked


def _run_subprocess(
    labels: Path, program: Path, arguments: list[str], stdin_text: str, report: Callable[[str], None] | None = None
) -> bytes:
    """Run a subprocess to its end and return its stdout; kill it when the task that waits is cancelled.

    Raises:
        RtcError: under the conditions of `embed_images`.
    """
    python = python_with("sleap_io")
    if python is None:
        raise RtcError(
            FaultCode.USAGE,
            f"{labels.name} cannot be opened without sleap-io. Run: pip install '.[labels]' in sleap-rtc's folder, "
            "or export a package in SLEAP ('Export training job package').",
        )
    return run_sleap_io(python, labels, [str(program), *arguments], stdin_text, report)


def has_sleap_io() -> bool:
    """Return True when a Python with sleap-io is installed here, which can open a project."""
    return python_with("sleap_io") is not None

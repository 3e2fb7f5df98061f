"""The files that go into a package: their paths on the client's disk, and their names in the package."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define, field, frozen

from protocol.faults import FaultCode
from rtc.client.package_builder.slp_files import (
    Project,
    Video,
    embed_images,
    has_sleap_io,
    is_package,
    read_project,
    relink_videos,
)
from rtc.common.errors import RtcError
from rtc.packages.file_names import UsedNames, plain_file
from rtc.packages.original_paths import MEMBER, PathRecord

_RESERVED = ("jobs.yaml", "train-script.sh", "inference-script.sh", "job.log", "models", MEMBER)
"""Names at the top of a package that sleap-rtc uses itself; a file of the person with such a name is renamed."""
_NAMED_MAX = 5
"""Maximum number of missing files that one error text names."""


@frozen
class InspectedLabels:
    """Labels whose contents are known."""

    path: Path
    project: Project | None
    """None when no sleap-io is installed here; then the labels are a `.pkg.slp`, which need not be opened."""


@define
class PackageContents:
    """The files of a package that is being built.

    Labels that have to be changed are first copied into the folder `scratch`, and the copy is packed.
    """

    scratch: Path
    files: dict[str, Path] = field(factory=dict)
    """Paths on disk by name in the package."""
    originals: PathRecord = field(factory=PathRecord, init=False)
    """The paths that go into the package's member `MEMBER`."""
    _names: dict[tuple[Path, str], str] = field(factory=dict, init=False)
    """The name in the package by path on disk and folder in the package."""
    _used: UsedNames = field(factory=lambda: UsedNames.of(_RESERVED), init=False)
    _used_at_top: UsedNames = field(factory=UsedNames, init=False)
    """Names of the files and folders at the top of the package."""
    _scratch_numbers: dict[Path, int] = field(factory=dict, init=False)

    def add(self, path: Path, folder: str = "", name: str | None = None) -> str:
        """Add a file, unless it is already in this folder of the package; return its name in the package.

        Args:
            path: the file on disk.
            folder: the folder in the package; empty for the top.
            name: the preferred file name, if it differs from that of `path`.
        """
        if (path, folder) in self._names:
            return self._names[path, folder]
        plain = plain_file(name or path.name, "file")
        suffix = Path(plain).suffix
        chosen = self._used.choose(f"{folder}/{plain}" if folder else plain, suffix)
        self.files[chosen] = path
        self._names[path, folder] = chosen
        self._used_at_top.add(chosen.split("/")[0])
        if self.scratch not in path.parents:
            self.originals.add(chosen, path)
        return chosen

    def add_training_labels(self, labels: InspectedLabels) -> str:
        """Add labels with the images of their labelled frames inside; return their name in the package."""
        if labels.project is None or not _videos_to_embed(labels.project):
            return self.add(labels.path)
        name = labels.path.name if is_package(labels.path) else f"{labels.path.stem}.pkg.slp"
        copy = self._scratch_path(labels.path)
        if not copy.exists():
            embed_images(labels.path, copy)
        return self.add(copy, name=name)

    def add_data_labels(self, labels: InspectedLabels, video_index: int | None) -> str:
        """Add labels and their videos; return the name of the labels in the package.

        The labels are copied, and the copy refers to the videos by their names in the package.

        Args:
            video_index: add only this video, counted from 0; None adds all.
        """
        videos = labels.project.videos if labels.project is not None else ()
        wanted = [video_index is None or index == video_index for index in range(len(videos))]
        if not any(video.paths for video in videos):
            return self.add(labels.path)
        copy = self._scratch_path(labels.path)
        name = self.add(copy, name=labels.path.name)  # before the videos, so that the labels keep their name
        paths = [
            self._add_video(video) if want else self._name_video(video)
            for video, want in zip(videos, wanted, strict=True)
        ]
        relink_videos(labels.path, copy, paths)
        return name

    def _add_video(self, video: Video) -> str | list[str] | None:
        """Add a video; return its name in the package, the names of its images, or None if the labels contain it."""
        if not video.paths:
            return None
        if not video.is_sequence:
            return self.add(video.paths[0])
        folder = self._used_at_top.choose(plain_file(video.paths[0].parent.name, "images"))
        return [self.add(path, folder) for path in video.paths]

    def _name_video(self, video: Video) -> str | list[str] | None:
        """Return names for a video that is not sent, so that nobody but the client learns its path."""
        names = [self._used.choose(plain_file(path.name, "file"), path.suffix) for path in video.paths]
        for name, path in zip(names, video.paths, strict=True):
            self.originals.add(name, path)
        return names if video.is_sequence else next(iter(names), None)

    def _scratch_path(self, path: Path) -> Path:
        """Return the path in the scratch folder for a copy of this file; it is the same at every call."""
        return self.scratch / f"{self._scratch_numbers.setdefault(path, len(self._scratch_numbers))}.slp"


def inspect_training_labels(path: Path) -> InspectedLabels:
    """Read labels to train on, and check that they can be packed.

    Raises:
        RtcError: USAGE: they have no labelled frames, a video that is needed is missing, or they cannot be read.
    """
    labels = _inspect(path)
    if labels.project is not None:
        if not labels.project.frames:
            raise RtcError(FaultCode.USAGE, f"{path.name} has no labelled frames, so there is nothing to learn from.")
        _check_videos_exist(path, _videos_to_embed(labels.project))
    return labels


def inspect_data_labels(path: Path, video_index: int | None) -> InspectedLabels:
    """Read labels to predict on, and check that they can be packed.

    Args:
        video_index: the only video that is needed, counted from 0; None for all.

    Raises:
        RtcError: USAGE: a video that is needed is missing, there is no video with this index, or they cannot be read.
    """
    labels = _inspect(path)
    if labels.project is not None:
        videos = labels.project.videos
        if video_index is not None and video_index >= len(videos):
            text = f"--video-index {video_index}: {path.name} has {_count_videos(len(videos))}, counted from 0."
            raise RtcError(FaultCode.USAGE, text)
        _check_videos_exist(path, videos if video_index is None else videos[video_index : video_index + 1])
    return labels


def _inspect(path: Path) -> InspectedLabels:
    """Read labels; a `.pkg.slp` is not opened when no sleap-io is installed here."""
    return InspectedLabels(path, None if is_package(path) and not has_sleap_io() else read_project(path))


def _videos_to_embed(project: Project) -> tuple[Video, ...]:
    """Return the videos whose images have to be embedded into the labels."""
    return tuple(video for video in project.videos if video.labelled and video.paths)


def _check_videos_exist(path: Path, videos: Sequence[Video]) -> None:
    """Check that every file of these videos of the labels `path` exists.

    Raises:
        RtcError: USAGE: a file is missing.
    """
    missing = list(_missing_names(videos))
    if missing:
        more = f" and {len(missing) - _NAMED_MAX} more" if len(missing) > _NAMED_MAX else ""
        shown = ", ".join(missing[:_NAMED_MAX]) + more
        text = f"{path.name} needs files that are not there: {shown}. Put them beside {path.name}."
        raise RtcError(FaultCode.USAGE, text)


def _count_videos(number: int) -> str:
    return f"{number} video{'' if number == 1 else 's'}"


def _missing_names(videos: Sequence[Video]) -> Iterator[str]:
    for video in videos:
        yield from (file.name for file in video.missing)

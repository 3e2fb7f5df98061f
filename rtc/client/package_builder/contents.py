"""What goes into a package that is built here: files of a person's disk, and their names in the package."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define, field, frozen

from protocol.faults import FaultCode
from rtc.client.package_builder.slp_files import (
    Project,
    Video,
    can_look,
    embed_images,
    is_package,
    look_into,
    relink_videos,
)
from rtc.common.errors import RtcError
from rtc.packages.file_names import fresh, plain_file

_RESERVED = ("jobs.yaml", "train-script.sh", "inference-script.sh", "job.log", "models")
_NAMED_MAX = 5
"""Missing files named in one sentence."""


@frozen
class Labels:
    """Labels that have been looked into."""

    path: Path
    project: Project | None
    """None when nothing here can open it; it is a package then, which needs no opening."""


@define
class PackageContents:
    """The files of a package in the making. What has to be made for it first lies in `scratch`."""

    scratch: Path
    files: dict[str, Path] = field(factory=dict)
    """By name in the package."""
    _made: dict[Path, int] = field(factory=dict, init=False)

    def bring(self, path: Path, folder: str = "", name: str | None = None) -> str:
        """Take a file along once; its name in the package."""
        for known, taken in self.files.items():
            if taken == path and known.rpartition("/")[0] == folder:
                return known
        plain = plain_file(name or path.name, "file")
        suffix = Path(plain).suffix
        chosen = fresh(f"{folder}/{plain}" if folder else plain, [*_RESERVED, *self.files], suffix)
        self.files[chosen] = path
        return chosen

    def bring_training(self, labels: Labels) -> str:
        """Take labels along with the images of their labelled frames."""
        if labels.project is None or not _needed(labels.project):
            return self.bring(labels.path)
        name = labels.path.name if is_package(labels.path) else f"{labels.path.stem}.pkg.slp"
        made = self._make(labels.path)
        if not made.exists():
            embed_images(labels.path, made)
        return self.bring(made, name=name)

    def bring_data(self, labels: Labels, video_index: int | None) -> str:
        """Take labels along with their videos, which they then look for beside themselves."""
        videos = labels.project.videos if labels.project is not None else ()
        wanted = [video_index is None or index == video_index for index in range(len(videos))]
        if not any(video.paths and take for video, take in zip(videos, wanted, strict=True)):
            return self.bring(labels.path)
        made = self._make(labels.path)
        name = self.bring(made, name=labels.path.name)  # before its videos, so that it keeps its name
        places = [self._bring_video(video) if take else None for video, take in zip(videos, wanted, strict=True)]
        relink_videos(labels.path, made, places)
        return name

    def _bring_video(self, video: Video) -> str | list[str] | None:
        if not video.paths:
            return None
        if not video.listed:
            return self.bring(video.paths[0])
        folder = fresh(plain_file(video.paths[0].parent.name, "images"), {name.split("/")[0] for name in self.files})
        return [self.bring(path, folder) for path in video.paths]

    def _make(self, path: Path) -> Path:
        """Where something made of this file goes, always the same place."""
        return self.scratch / f"{self._made.setdefault(path, len(self._made))}.slp"


def look_training(path: Path) -> Labels:
    """Look into labels to train on.

    Raises:
        RtcError: USAGE: nothing in it is labelled, or a video that is needed is not there.
    """
    labels = _look(path)
    if labels.project is not None:
        if not labels.project.frames:
            raise RtcError(FaultCode.USAGE, f"{path.name} has no labelled frames, so there is nothing to learn from.")
        _check_there(path, _needed(labels.project))
    return labels


def look_data(path: Path, video_index: int | None) -> Labels:
    """Look into labels to predict on.

    Raises:
        RtcError: USAGE: a video that is needed is not there, or there is no such video.
    """
    labels = _look(path)
    if labels.project is not None:
        videos = labels.project.videos
        if video_index is not None and video_index >= len(videos):
            text = f"--video-index {video_index}: {path.name} has {_videos(len(videos))}, counted from 0."
            raise RtcError(FaultCode.USAGE, text)
        _check_there(path, videos if video_index is None else videos[video_index : video_index + 1])
    return labels


def _look(path: Path) -> Labels:
    return Labels(path, None if is_package(path) and not can_look() else look_into(path))


def _needed(project: Project) -> tuple[Video, ...]:
    """The videos whose images have to be put into the labels."""
    return tuple(video for video in project.videos if video.labelled and video.paths)


def _check_there(path: Path, videos: Sequence[Video]) -> None:
    missing = list(_missing(videos))
    if missing:
        more = f" and {len(missing) - _NAMED_MAX} more" if len(missing) > _NAMED_MAX else ""
        shown = ", ".join(missing[:_NAMED_MAX]) + more
        text = f"{path.name} needs files that are not there: {shown}. Put them beside {path.name}."
        raise RtcError(FaultCode.USAGE, text)


def _videos(number: int) -> str:
    return f"{number} video{'' if number == 1 else 's'}"


def _missing(videos: Sequence[Video]) -> Iterator[str]:
    for video in videos:
        yield from (file.name for file in video.missing)

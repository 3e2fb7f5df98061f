"""The files that go into a package: their paths on the client's disk, and their names in the package."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import define, field, frozen

from protocol.faults import FaultCode
from rtc.client.package_builder.slp_files import (
    PredictionFrames,
    Project,
    TrainingFrames,
    Video,
    embed_images,
    has_sleap_io,
    is_package,
    read_project,
    relink_videos,
)
from rtc.common.errors import RtcError
from rtc.packages.file_names import UsedNames, plain_file, plain_name
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
    _used_at_top: UsedNames = field(factory=lambda: UsedNames.of(_RESERVED), init=False)
    """Names of the files and folders at the top of the package."""
    _scratch_numbers: dict[Path, int] = field(factory=dict, init=False)

    def add(self, path: Path, folder: str = "", name: str | None = None, sent: bool = True) -> str:
        """Add a file, unless it is already in this folder of the package; return its name in the package.

        Args:
            path: the file on disk.
            folder: the folder in the package; empty for the top.
            name: the preferred file name, if it differs from that of `path`.
            sent: False if the file only gets a name.
        """
        if (path, folder) in self._names:
            chosen = self._names[path, folder]
            if sent:
                self.files[chosen] = path
            return chosen
        plain = plain_file(name or path.name, "file")
        suffix = Path(plain).suffix
        chosen = self._used.choose(f"{folder}/{plain}" if folder else plain, suffix)
        if sent:
            self.files[chosen] = path
        self._names[path, folder] = chosen
        self._used_at_top.add(chosen.split("/")[0])
        if self.scratch not in path.parents:
            self.originals.add(chosen, path.as_posix(), is_there=sent or path.exists())
        return chosen

    def add_folder(self, name: str, files: Mapping[Path, str]) -> str:
        """Add files to a new folder at the top of the package; return the folder's name there.

        Args:
            name: the preferred name of the folder.
            files: the preferred name of each file in the folder, by its path on disk.
        """
        plain = plain_name(name, "images")
        # sleap-nn takes a folder for labels whose name ends so
        folder = self._used_at_top.choose(f"{plain}_images" if plain.casefold().endswith(".slp") else plain)
        for path, file_name in files.items():
            self.add(path, folder, file_name)
        return folder

    def add_training_labels(self, labels: InspectedLabels, report: Callable[[str], None]) -> str:
        """Add labels with the images of the frames that are trained on inside; return their name in the package.

        Args:
            labels: the labels.
            report: called with a line of text now and then while images are copied.
        """
        project = labels.project
        if project is None or not any(video.paths for video in project.videos):
            return self.add(labels.path)
        name = labels.path.name if is_package(labels.path) else f"{labels.path.stem}.pkg.slp"
        copy = self._scratch_path(labels.path)
        if not copy.exists():
            embed_images(labels.path, copy, project, report)
        return self.add(copy, name=name)

    def add_data_labels(self, labels: InspectedLabels) -> str:
        """Add labels and the videos of which a frame is read; return the name of the labels in the package.

        The labels are copied, and the copy refers to all videos by names in the package: the others are not there.
        """
        videos = labels.project.videos if labels.project is not None else ()
        if not any(video.paths for video in videos):
            return self.add(labels.path)
        copy = self._scratch_path(labels.path)
        name = self.add(copy, name=labels.path.name)  # before the videos, so that the labels keep their name
        relinked = relink_videos(labels.path, copy, [self._add_video(video) for video in videos])
        self.originals.keep(relinked.sources, relinked.provenance)
        return name

    def _add_video(self, video: Video) -> str | list[str] | None:
        """Add the files of a video that are read.

        Return its name in the package, the names of its images, or None if the labels contain it.
        """
        if not video.paths:
            return None
        if video.address:
            name = self._used.choose(plain_file(video.paths[0].name, "video"), video.paths[0].suffix)
            self.originals.add(name, video.address, is_there=False)
            return name
        read = set(video.needed_paths)
        if not video.is_sequence:
            return self.add(video.paths[0], sent=bool(read))
        folder = self._used_at_top.choose(plain_name(video.paths[0].parent.name, "images"))
        return [self.add(path, folder, sent=path in read) for path in video.paths]

    def _scratch_path(self, path: Path) -> Path:
        """Return the path in the scratch folder for a copy of this file; it is the same at every call."""
        return self.scratch / f"{self._scratch_numbers.setdefault(path, len(self._scratch_numbers))}.slp"


def inspect_labels(path: Path) -> InspectedLabels:
    """Read labels to train on, which need not be packed.

    Raises:
        RtcError: USAGE: they cannot be read.
    """
    return _inspect(path, TrainingFrames())


def inspect_training_labels(path: Path, reads: TrainingFrames, report: Callable[[str], None]) -> InspectedLabels:
    """Read labels to train on, and check that they can be packed.

    Args:
        path: the labels.
        reads: which of their frames the training reads.
        report: called with a sentence about videos that are left out.

    Raises:
        RtcError: USAGE: they have no labelled frames, a video that is needed is missing, or they cannot be read.
    """
    labels = _inspect(path, reads)
    check_has_labels(labels)
    if labels.project is not None:
        _check_images_inside(path, labels.project)
        _check_videos_exist(path, labels.project.videos, report)
    return labels


def check_has_labels(labels: InspectedLabels) -> None:
    """Check that there is something to learn from, as far as the contents are known.

    Raises:
        RtcError: USAGE: no frame is labelled.
    """
    if labels.project is not None and not labels.project.frames:
        text = f"{labels.path.name} has no labelled frames, so there is nothing to learn from."
        raise RtcError(FaultCode.USAGE, text)


def inspect_data_labels(path: Path, reads: PredictionFrames, report: Callable[[str], None]) -> InspectedLabels:
    """Read labels to predict on, and check that they can be packed.

    Args:
        path: the labels.
        reads: which of their frames the prediction reads.
        report: called with a sentence about videos that are left out.

    Raises:
        RtcError: USAGE: a video that is needed is missing, there is no video with this index, or they cannot be read.
    """
    labels = _inspect(path, reads)
    if labels.project is not None:
        videos, index = labels.project.videos, reads.video_index
        if index is not None and index >= len(videos):
            text = f"--video-index {index}: {path.name} has {_count_videos(len(videos))}, counted from 0."
            raise RtcError(FaultCode.USAGE, text)
        _check_videos_exist(path, videos, report)
    return labels


def _inspect(path: Path, reads: TrainingFrames | PredictionFrames) -> InspectedLabels:
    """Read labels; a `.pkg.slp` is not opened when no sleap-io is installed here."""
    return InspectedLabels(path, None if is_package(path) and not has_sleap_io() else read_project(path, reads))


def _check_images_inside(path: Path, project: Project) -> None:
    """Check that the labels `path` contain the images that they are said to contain.

    Raises:
        RtcError: USAGE: an image is lacking.
    """
    lacking = sum(video.lacking for video in project.videos)
    if lacking:
        text = (
            f"{path.name} has no image for {lacking} of its {project.frames} labelled frames. Export it again in SLEAP."
        )
        raise RtcError(FaultCode.USAGE, text)


def _check_videos_exist(path: Path, videos: Sequence[Video], report: Callable[[str], None]) -> None:
    """Check that every file of the labels `path` that is read exists; report the videos that are left out.

    Raises:
        RtcError: USAGE: a file is missing.
    """
    on_web = [video.paths[0].name for video in videos if video.address and video.is_needed]
    if on_web:
        text = f"{path.name} needs videos from the web: {_shown(on_web)}. Download them, and choose the files in SLEAP."
        raise RtcError(FaultCode.USAGE, text)
    missing = list(_missing_names(videos))
    if missing:
        text = f"{path.name} needs files that are not there: {_shown(missing)}. Put them beside {path.name}."
        raise RtcError(FaultCode.USAGE, text)
    empty = [file.name for video in videos for file in video.needed_paths if not file.stat().st_size]
    if empty:
        raise RtcError(FaultCode.USAGE, f"{path.name} needs files that are empty: {_shown(empty)}. Copy them again.")
    gone = [video.paths[0].name for video in videos if video.paths and not video.is_needed and not _exists(video)]
    if gone:
        report(f"Left out, since they are not there and no frame of them is needed: {_shown(gone)}")


def _exists(video: Video) -> bool:
    return not video.address and os.path.isfile(video.paths[0])


def _shown(names: Sequence[str]) -> str:
    """Return the first names of a list, and the number of the others."""
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more


def _count_videos(number: int) -> str:
    return f"{number} video{'' if number == 1 else 's'}"


def _missing_names(videos: Sequence[Video]) -> Iterator[str]:
    for video in videos:
        yield from (file.name for file in video.missing)

"""SLEAP projects (`.slp`): their labelled frames and videos, read by a subprocess that has sleap-io."""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from protocol.converter import WireError, from_json, to_json
from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.zip_reader import open_user_file
from rtc.packages.zip_writer import check_cancelled
from rtc.sleap_nn.commands import find_sleap_nn, python_of
from rtc.sleap_nn.output import clean_line, failure_reason

HDF5 = b"\x89HDF\r\n\x1a\n"
"""The first bytes of every HDF5 file, which a `.slp` file is."""
CANCEL_CHECK_TIME = 0.2
"""Seconds between two checks whether the task that waits for the subprocess was cancelled."""
CONTENTS_MAX = 2**28
"""Bytes of JSON about one project: a million images with long paths."""
_SUBPROCESS = Path(__file__).resolve().parent / "slp_subprocess.py"


@frozen
class Video:
    """One video of a project."""

    paths: tuple[Path, ...]
    """The files of the video: one, or the images of a sequence; none when the images are embedded in the project."""
    is_sequence: bool
    """The video is a sequence of image files."""
    labelled: int
    """Number of frames that a person has labelled."""

    @property
    def missing(self) -> tuple[Path, ...]:
        """Return the files of the video that do not exist."""
        return tuple(path for path in self.paths if not path.is_file())


@frozen
class Project:
    """The contents of a `.slp` or `.pkg.slp` file."""

    frames: int
    """Number of frames that a person has labelled."""
    videos: tuple[Video, ...]


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


def read_project(labels: Path) -> Project:
    """Return the contents of a project.

    Raises:
        RtcError: USAGE: no sleap-io is installed here, or sleap-io cannot read the file.
    """
    try:
        project: Project = from_json(_run_subprocess(labels, ["inspect", str(labels)]), Project, limit=CONTENTS_MAX)
    except WireError as error:
        raise _unreadable(labels, str(error)) from None
    return project


def embed_images(labels: Path, out: Path) -> None:
    """Write a copy with the images of all labelled frames inside, which needs no video.

    Raises:
        RtcError: under the conditions of `read_project`.
    """
    _run_subprocess(labels, ["embed", str(labels), str(out)])


def relink_videos(labels: Path, out: Path, paths: Sequence[str | list[str] | None]) -> None:
    """Write a copy that refers to its videos by other paths.

    Args:
        paths: for each video, its new path, the list of its images, or None to leave it unchanged.

    Raises:
        RtcError: under the conditions of `read_project`.
    """
    videos = tuple(
        None if one is None else NewPaths((one,) if isinstance(one, str) else tuple(one), not isinstance(one, str))
        for one in paths
    )
    _run_subprocess(labels, ["relink", str(labels), str(out)], to_json(Relinking(videos)))


def _run_subprocess(labels: Path, arguments: list[str], stdin_text: str = "") -> bytes:
    """Run the subprocess to its end and return its stdout; kill it when the task that waits is cancelled.

    Raises:
        RtcError: under the conditions of `read_project`.
    """
    python = _python_with_sleap_io()
    if python is None:
        raise RtcError(
            FaultCode.USAGE,
            f"{labels.name} cannot be opened without sleap-io. Run: pip install '.[labels]' in sleap-rtc's folder, "
            "or export a package in SLEAP ('Export training job package').",
        )
    # -P: without it our own folder would come first on sys.path, and our modules would hide packages of the same name
    command = [python, "-P", str(_SUBPROCESS), *arguments]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as process:
        pending: bytes | None = stdin_text.encode()
        try:
            while True:
                try:
                    output, errors = process.communicate(pending, CANCEL_CHECK_TIME)
                    break
                except subprocess.TimeoutExpired:
                    pending = None
                    check_cancelled()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        why = failure_reason([clean_line(line) for line in errors.splitlines()]) or f"status {process.returncode}"
        raise _unreadable(labels, why)
    return bytes(output)


def _unreadable(labels: Path, why: str) -> RtcError:
    return RtcError(FaultCode.USAGE, f"{labels.name} could not be read. sleap-io says: {why}")


def has_sleap_io() -> bool:
    """Return True when a Python with sleap-io is installed here, which can open a project."""
    return _python_with_sleap_io() is not None


def _python_with_sleap_io() -> str | None:
    """Return the path of a Python that has sleap-io: our own, or that of sleap-nn; None when there is none."""
    if importlib.util.find_spec("sleap_io") is not None:
        return sys.executable
    try:
        return str(python_of(find_sleap_nn()))
    except RtcError:
        return None

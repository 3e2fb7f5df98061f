"""SLEAP projects (`.slp`) from outside: what they hold and where their videos are; a child with sleap-io looks."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.zip_reader import open_file
from rtc.packages.zip_writer import give_way
from rtc.sleap_nn.commands import find_sleap_nn, python_of
from rtc.sleap_nn.output import clean_line, reason

HDF5 = b"\x89HDF\r\n\x1a\n"
PATIENCE = 0.2
"""Seconds between two looks at whether anybody still waits for the child."""
_CHILD = Path(__file__).resolve().parent / "slp_subprocess.py"


@frozen
class Video:
    """One video of a project."""

    paths: tuple[Path, ...]
    """Its files: one, or the images of a sequence; none when the images lie in the project itself."""
    listed: bool
    """It is a sequence of images."""
    labelled: int
    """Frames that a person has labelled."""

    @property
    def missing(self) -> tuple[Path, ...]:
        """Those of its files that are not there."""
        return tuple(path for path in self.paths if not path.is_file())


@frozen
class Project:
    """What a `.slp` or `.pkg.slp` holds."""

    frames: int
    """Frames that a person has labelled."""
    videos: tuple[Video, ...]


def is_package(labels: Path) -> bool:
    """True for labels that say by their name that their images lie in them."""
    return labels.name.casefold().endswith(".pkg.slp")


def check_labels(labels: Path) -> None:
    """See that this can be a SLEAP project, without opening it.

    Raises:
        RtcError: USAGE: it cannot.
    """
    with open_file(labels) as file:
        if file.read(len(HDF5)) != HDF5:
            raise RtcError(
                FaultCode.USAGE, f"{labels.name} is no SLEAP project, or is damaged. Save it again in SLEAP."
            )


def check_file(path: Path) -> None:
    """See that there is a file. Raises as `open_file` does."""
    open_file(path).close()


def look_into(labels: Path) -> Project:
    """What a project holds.

    Raises:
        RtcError: USAGE: nothing here can open it, or it cannot be read.
    """
    said = json.loads(_child(labels, ["look", str(labels)]))
    videos = [Video(tuple(map(Path, item["paths"])), item["listed"], item["labelled"]) for item in said["videos"]]
    return Project(said["frames"], tuple(videos))


def embed_images(labels: Path, out: Path) -> None:
    """Write a copy that needs no video. Raises as `look_into` does."""
    _child(labels, ["embed", str(labels), str(out)])


def relink_videos(labels: Path, out: Path, paths: Sequence[str | list[str] | None]) -> None:
    """Write a copy that looks for its videos elsewhere; None leaves one as it is. Raises as `look_into` does."""
    _child(labels, ["relink", str(labels), str(out)], json.dumps(paths))


def _child(labels: Path, words: list[str], told: str = "") -> str:
    """Run the child to its end; what it printed. It is ended with the task that waits."""
    python = _python()
    if python is None:
        raise RtcError(
            FaultCode.USAGE,
            f"{labels.name} cannot be opened without sleap-io. Run: pip install '.[labels]' in sleap-rtc's folder, "
            "or export a package in SLEAP ('Export training job package').",
        )
    # -P: our own folder must not come first on its path, where our rooms would hide packages of their name
    command = [python, "-P", str(_CHILD), *words]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as child:
        pending: bytes | None = told.encode()
        try:
            while True:
                try:
                    said, errors = child.communicate(pending, PATIENCE)
                    break
                except subprocess.TimeoutExpired:
                    pending = None
                    give_way()
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        why = reason([clean_line(line) for line in errors.splitlines()]) or f"status {child.returncode}"
        raise RtcError(FaultCode.USAGE, f"{labels.name} could not be read. sleap-io says: {why}")
    return bytes(said).decode()


def can_look() -> bool:
    """True when something here can open a project."""
    return _python() is not None


def _python() -> str | None:
    """A Python that has sleap-io: ours, or that of a sleap-nn."""
    if importlib.util.find_spec("sleap_io") is not None:
        return sys.executable
    try:
        return str(python_of(find_sleap_nn()))
    except RtcError:
        return None

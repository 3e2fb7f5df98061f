"""Moments of a job that a test can wait for, each with a package for which the moment lasts long enough."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from rtc.testing.stand_in import make_package
from rtc.testing.terminals import FILE_COUNT_NAME, Scene, Terminal

MEGABYTES = 24
"""Size of a package or result whose transfer takes long enough."""
FILE_COUNT = 10_000
"""Number of files of a package or result whose unpacking takes long enough."""


@frozen
class Moment:
    """A moment of a job, and the package that the job needs."""

    wait: Callable[[Scene, Terminal], object]
    """Waits until the moment has come."""
    package: Callable[[Path], Path]
    """Writes the package to a path."""
    package_complete: bool = True
    """Whether the complete package is on the worker, so that the job cannot be lost any more."""
    has_supervisor: bool = True
    """Whether the job's supervisor process is running."""


# -------- packages


def _slow(path: Path) -> Path:
    """Write a package whose job takes long enough in every phase."""
    timing: dict[str, Any] = {"startup": 1.5, "seconds": 0.4, "evaluation": 1.5, "predicting": 3.0}
    models = ("centroid", "centered_instance")
    return make_package(path, models=models, predict=True, megabytes=1, epochs=4, **timing)


def _large_package(path: Path) -> Path:
    """Write a large package with many files."""
    make_package(path, epochs=2)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("video.bin", os.urandom(MEGABYTES * 2**20))
        for number in range(FILE_COUNT):
            archive.writestr(f"more/{number}.txt", b"one of many")
    return path


def _large_result(path: Path) -> Path:
    """Write a package whose result is large."""
    return make_package(path, epochs=1, megabytes=MEGABYTES)


def _many_result_files(path: Path) -> Path:
    """Write a package whose result has many files; `rtc.testing.terminals.WRAPPER` writes them."""
    make_package(path, epochs=1)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE_COUNT_NAME, str(FILE_COUNT))
    return path


# -------- conditions to wait for


def _event_printed(name: str, **fields: Any) -> Callable[[Scene, Terminal], object]:
    return lambda _scene, client: client.until_event(name, **fields)


def _mid_upload(scene: Scene, client: Terminal) -> None:
    client.until("some of the package", lambda: _largest(scene.work, "job-*/arrived/*") > MEGABYTES * 2**18)


def _last_byte(_scene: Scene, client: Terminal) -> None:
    def over() -> bool:
        ups = [event for event in client.events if event["event"] == "upload"]
        return bool(ups) and ups[-1]["done"] == ups[-1]["total"]

    client.until("all of the package", over)


def _unpacking(scene: Scene, client: Terminal) -> None:
    client.until("the package being unpacked", lambda: any(scene.work.glob("job-*/package/more")))


def _mid_download(scene: Scene, client: Terminal) -> None:
    client.until("some of the result", lambda: _largest(scene.person_folder, ".sleap-rtc-*/*.part") > MEGABYTES * 2**18)


def _unpacking_result(scene: Scene, client: Terminal) -> None:
    client.until("the result being unpacked", lambda: any(scene.person_folder.glob(".sleap-rtc-*/models/*/more")))


def _largest(folder: Path, pattern: str) -> int:
    sizes = [0]
    for path in folder.glob(pattern):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # renamed meanwhile
            continue
    return max(sizes)


MOMENTS = {
    "before the upload": Moment(
        lambda _, client: client.until_printed("Asking"), _large_package, package_complete=False, has_supervisor=False
    ),
    "in mid upload": Moment(_mid_upload, _large_package, package_complete=False, has_supervisor=False),
    "after the last byte": Moment(_last_byte, _large_package, package_complete=False, has_supervisor=False),
    "while the package is unpacked": Moment(_unpacking, _large_package),
    "at start-up": Moment(_event_printed("model_started", model=0), _slow),
    "in the first epoch": Moment(_event_printed("epoch", model=0, epoch=1), _slow),
    "between two models": Moment(_event_printed("model_started", model=1), _slow),
    "in the evaluation": Moment(_event_printed("model_trained", model=1), _slow),
    "in the prediction": Moment(_event_printed("prediction_started"), _slow),
    "at the job's end": Moment(
        lambda scene, _: scene.worker.until_printed(" done: "), _large_result, has_supervisor=False
    ),
    "in mid download": Moment(_mid_download, _large_result, has_supervisor=False),
    "while the result is unpacked": Moment(_unpacking_result, _many_result_files, has_supervisor=False),
}

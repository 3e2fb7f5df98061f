"""Gives the videos in predictions that came home the paths that they have on this machine, by a subprocess with h5py.

A worker sees the names of the package only. sleap-nn run by hand would have written the paths of the input, absolute or
relative as they are there; so the client puts them back before the predictions appear. Predictions that cannot be
changed come home as they are: no failure here may lose a result.
"""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from protocol.converter import to_json
from rtc.client.package_builder.slp_files import HDF5
from rtc.common.errors import RtcError
from rtc.common.scratch_dirs import scratch_name
from rtc.common.subprocess_input import open_input
from rtc.packages.original_paths import OriginalPath, OriginalPaths
from rtc.packages.zip_writer import check_cancelled
from rtc.sleap_nn.commands import find_sleap_nn, python_of
from rtc.sleap_nn.output import clean_line, failure_reason

RESTORE_TIME = 600.0
"""Seconds after which the change of one file is given up; a file of a gigabyte takes some ten."""
CANCEL_CHECK_TIME = 0.2
"""Seconds between two checks whether the task that waits for the subprocess was cancelled."""
NO_H5PY = "h5py is not installed. Before the next job, run: pip install '.[labels]' in sleap-rtc's folder"
NOT_HERE = (
    "The predictions will name their videos as the package does, not by their paths here, since h5py is not installed. "
    "Run: pip install '.[labels]' in sleap-rtc's folder"
)
NOT_RESTORED = (
    "The predictions are here as the worker wrote them: they name their videos as the package does, not by their paths "
    "here, since {}. Open them in SLEAP, which asks where the videos are."
)
_SUBPROCESS = Path(__file__).resolve().parent / "restore_subprocess.py"


@frozen
class Restoring:
    """What the subprocess is to put into a file."""

    files: tuple[OriginalPath, ...]
    folder: str
    """The folder of a training's result, in which its models will be; "" for predictions alone."""
    provenance: str
    """The JSON of the provenance of the labels that were predicted on; "" if it is not known."""


def can_restore() -> bool:
    """Return whether there is a Python on this machine that can change predictions."""
    return _python_with_h5py() is not None


def restore_videos(files: Sequence[Path], paths: OriginalPaths, folder: str = "") -> str:
    """Give the videos in files of predictions their paths on this machine.

    Args:
        files: the files, each of which is replaced whole, or stays as it is.
        paths: the original paths of the package.
        folder: the absolute path that the folder of a training's result will have; "" for predictions alone.

    Returns:
        What could not be done, in one sentence; "" if everything was.
    """
    changeable = [file for file in files if _is_hdf5(file)]
    if not changeable:
        return ""
    python = _python_with_h5py()
    if python is None:
        return NOT_RESTORED.format(NO_H5PY)
    reasons = [_restore(python, file, Restoring(paths.files, folder, paths.provenance)) for file in changeable]
    why = next(filter(None, reasons), "")
    return NOT_RESTORED.format(why.rstrip(".")) if why else ""


def _is_hdf5(file: Path) -> bool:
    """Return whether a file begins as predictions do; another one has no videos."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(HDF5)) == HDF5
    except OSError:
        return False


def _restore(python: str, file: Path, wanted: Restoring) -> str:
    """Replace a file by one with other paths; return why this was not possible, or ""."""
    changed = file.with_name(scratch_name())
    try:
        why = _run(python, file, changed, to_json(wanted))
        if not why:
            changed.replace(file)
    except OSError as error:
        return f"they could not be changed ({error.strerror})"
    finally:
        changed.unlink(missing_ok=True)
    return why


def _run(python: str, file: Path, changed: Path, text: str) -> str:
    """Run the subprocess to its end; return why it has failed, or "".

    It is killed when it takes too long, and when the task that waits is cancelled.

    Raises:
        OSError: it cannot be started, or has no room for its input.
    """
    # -P: without it our own folder would come first on sys.path, and our modules would hide packages of the same name
    command = [python, "-P", str(_SUBPROCESS), str(file), str(changed)]
    outputs: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with open_input(text) as stdin, subprocess.Popen(command, stdin=stdin, **outputs) as process:
        deadline = time.monotonic() + RESTORE_TIME
        try:
            while True:
                try:
                    _, errors = process.communicate(timeout=CANCEL_CHECK_TIME)
                    break
                except subprocess.TimeoutExpired:
                    check_cancelled()
                if time.monotonic() > deadline:
                    process.kill()
                    return f"to change them took longer than {RESTORE_TIME:.0f} s"
        except BaseException:
            process.kill()
            raise
    if not process.returncode:
        return ""
    why = failure_reason([clean_line(line) for line in errors.splitlines()]) or f"status {process.returncode}"
    return f"they could not be changed ({why})"


def _python_with_h5py() -> str | None:
    """Return the path of a Python that has h5py: our own, or that of sleap-nn; None when there is none."""
    if importlib.util.find_spec("h5py") is not None:
        return sys.executable
    try:
        return str(python_of(find_sleap_nn()))
    except (RtcError, OSError):
        return None

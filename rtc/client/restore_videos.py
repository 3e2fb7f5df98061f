"""Gives the videos in predictions that came home the paths that they have on this machine, by a subprocess with h5py.

A worker sees the names of the package only. sleap-nn run by hand would have written the paths of the input, absolute or
relative as they are there; so the client puts them back before the predictions appear. Predictions that cannot be
changed come home as they are: no failure here may lose a result.
"""

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from protocol.converter import to_json
from rtc.common.cancellable_process import run_cancellable
from rtc.common.hdf5 import is_hdf5
from rtc.common.scratch_dirs import scratch_name
from rtc.common.subprocess_input import open_input
from rtc.packages.original_paths import OriginalPath, OriginalPaths
from rtc.sleap_nn.commands import python_with
from rtc.sleap_nn.output import clean_line, failure_reason

RESTORE_TIME = 600.0
"""Seconds after which the change of one file is given up; a file of a gigabyte takes some ten."""
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
    return python_with("h5py") is not None


def restore_videos(files: Sequence[Path], paths: OriginalPaths, folder: str = "") -> str:
    """Give the videos in files of predictions their paths on this machine.

    Args:
        files: the files, each of which is replaced whole, or stays as it is.
        paths: the original paths of the package.
        folder: the absolute path that the folder of a training's result will have; "" for predictions alone.

    Returns:
        What could not be done, in one sentence; "" if everything was.
    """
    changeable = [file for file in files if is_hdf5(file)]
    if not changeable:
        return ""
    python = python_with("h5py")
    if python is None:
        return NOT_RESTORED.format(NO_H5PY)
    reasons = [_restore(python, file, Restoring(paths.files, folder, paths.provenance)) for file in changeable]
    why = next(filter(None, reasons), "")
    return NOT_RESTORED.format(why.rstrip(".")) if why else ""


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
    try:
        with open_input(text) as stdin:
            ended = run_cancellable(command, stdin, max_seconds=RESTORE_TIME)
    except TimeoutError:
        return f"to change them took longer than {RESTORE_TIME:.0f} s"
    if not ended.status:
        return ""
    why = failure_reason([clean_line(line) for line in ended.stderr.splitlines()]) or f"status {ended.status}"
    return f"they could not be changed ({why})"

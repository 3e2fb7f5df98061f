"""Chooses the output folder of a training, and unpacks the result archive there, whole or not at all."""

import csv
import math
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import trio
from attrs import frozen

from protocol.faults import FaultCode
from rtc.client.report.history import TRAINING_LOG_MAX
from rtc.common.errors import RtcError
from rtc.common.scratch_dirs import scratch_name
from rtc.packages.zip_reader import unpack

CLEAN_TIME = 60.0
"""Seconds for removing the temporary folder after unpacking."""


@frozen
class ModelLosses:
    """The newest losses of one model; None for a loss that was never a finite number."""

    model: str
    """The name of the model's folder."""
    epochs: int
    """Rows of training_log.csv."""
    train: float | None
    """The newest training loss that sleap-nn wrote: it is that of the epoch before the last."""
    val: float | None


def choose_output_folder(package: Path, output: Path | None) -> Path:
    """Return the absolute path of the folder for a package's results, and check that it can be written.

    The check is done before anything is sent, because an error after the training would come too late.

    Args:
        package: when `output` is None, the folder is in the current folder and named after this package.
        output: the folder that the person named; it must be empty or not exist.

    Raises:
        RtcError: USAGE: `output` is not empty, or the folder cannot be made.
    """
    try:
        chosen = _default_folder(package) if output is None else _requested_folder(output)
        _check_writable(chosen)
    except (OSError, RuntimeError):  # a name too long; links in a circle are a RuntimeError before Python 3.13
        shown = output.name if output is not None else "for the results"
        raise RtcError(FaultCode.USAGE, f"The output folder {shown} cannot be made there. Name another one.") from None
    return chosen


def _requested_folder(output: Path) -> Path:
    """Return the absolute path of the folder that the person named.

    Raises:
        RtcError: USAGE: it is neither an empty folder nor free to be made.
    """
    dangling = output.is_symlink() and not output.exists()
    chosen = output.resolve()  # absolute, so that `.` has a name and a parent
    if dangling or (chosen.exists() and (not chosen.is_dir() or any(chosen.iterdir()))):
        raise RtcError(FaultCode.USAGE, f"The output folder {chosen.name} is not empty. Name another one.")
    return chosen


def _check_writable(chosen: Path) -> None:
    """Check that the folder, and its nearest parent that exists, can be written.

    The parent is checked because the archive is stored there until it is unpacked.

    Raises:
        RtcError: USAGE: one of them cannot be written, or the parent is a file.
    """
    parent = next(folder for folder in chosen.parents if folder.exists())
    if not parent.is_dir():
        raise RtcError(
            FaultCode.USAGE, f"{parent.name} is a file, so {chosen.name} cannot be made in it. Name another."
        )
    for folder in (chosen, parent):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise RtcError(FaultCode.USAGE, f"The folder {folder.name} cannot be written. Name another with --output.")


def _default_folder(package: Path) -> Path:
    """Return a path in the current folder that does not exist yet, named after the package without its endings."""
    name = re.sub(r"(\.(zip|training_job|slp|pkg))+$", "", package.name, flags=re.IGNORECASE).strip(". ") or "results"
    candidate, count = Path.cwd() / name, 2
    while candidate.exists() or candidate.is_symlink():
        candidate, count = candidate.with_name(f"{name}-{count}"), count + 1
    return candidate


async def unpack_results(archive: Path, output: Path) -> tuple[Path, ...]:
    """Unpack a result archive so that `output` appears whole or not at all.

    Returns:
        The folders of the models, relative to `output`.

    Raises:
        RtcError: BAD_PACKAGE or DISK_FULL from unpacking; USAGE when `output` is not empty any more.
    """
    temporary = (
        _unpack_parent(output) / scratch_name()
    )  # not mkdtemp: its mode 0700 would let nobody else read the result
    try:
        await unpack(archive, temporary)
        return await trio.to_thread.run_sync(_move_to_output, temporary, output)
    finally:
        with trio.move_on_after(CLEAN_TIME, shield=True):
            await trio.to_thread.run_sync(lambda: shutil.rmtree(temporary, ignore_errors=True))


def _unpack_parent(output: Path) -> Path:
    """Return the folder in which to unpack, so that the last step is a rename on one disk.

    An output folder that exists is not replaced, because it may be the current folder of a shell, or a mounted disk:
    the archive is unpacked inside it.
    """
    return output if output.is_dir() else output.parent


def _move_to_output(temporary: Path, output: Path) -> tuple[Path, ...]:
    """Move the unpacked files to `output`; return the folders of the models, relative to `output`.

    Raises:
        RtcError: USAGE: they could not be moved; `output` is then as before.
    """
    try:
        if temporary.parent == output:
            _move_up(temporary, output)
        else:
            temporary.rename(output)
    except OSError:
        raise RtcError(
            FaultCode.USAGE, f"The output folder {output.name} could not be written. Name another."
        ) from None
    found = sorted(output.rglob("best.ckpt"))
    return tuple(path.parent.relative_to(output) for path in found)


def _move_up(temporary: Path, output: Path) -> None:
    """Move everything from `temporary`, a folder inside `output`, up into `output`; everything or nothing.

    Raises:
        OSError: `output` contains other files, or a rename failed.
    """
    if any(path != temporary for path in output.iterdir()):
        raise FileExistsError
    moved: list[Path] = []
    try:
        for path in sorted(temporary.iterdir()):
            moved.append(path.rename(output / path.name))
    except OSError:
        for path in moved:
            path.rename(temporary / path.name)
        raise


def final_losses(output: Path) -> tuple[ModelLosses, ...]:
    """Return the final losses of each model, read from the training_log.csv files below a folder.

    A file larger than TRAINING_LOG_MAX is skipped.
    """
    logs = sorted(output.rglob("training_log.csv"))
    return tuple(_read_losses(path) for path in logs if path.is_file() and path.stat().st_size <= TRAINING_LOG_MAX)


def _read_losses(path: Path) -> ModelLosses:
    """Return the final losses in one training_log.csv."""
    epochs, train, val = 0, None, None
    # the csv module refuses a cell of more than 131072 characters; the rows before it count
    with path.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
        for row in csv.DictReader(file):
            epochs += 1
            train = _number(row, "train/loss", "train_loss", default=train)
            val = _number(row, "val/loss", "val_loss", default=val)
    return ModelLosses(path.parent.name, epochs, train, val)


def _number(row: dict[str, str], *names: str, default: float | None) -> float | None:
    """Return the first finite number in the named columns; `default` where all are empty, `inf`, `nan` or no number."""
    for name in names:
        try:
            value = float(row.get(name) or "nan")
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return default

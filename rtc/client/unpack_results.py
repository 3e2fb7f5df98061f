"""A result archive becomes a folder of the client's own: whole, or not at all."""

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
from rtc.common.errors import RtcError
from rtc.common.scratch_dirs import aside_name
from rtc.packages.zip_reader import unpack

LOG_MAX = 64 * 2**20
"""Bytes of a training_log.csv that are read; 10 000 epochs have 3 MB."""


CLEAN_TIME = 60.0
"""Seconds to remove what was half unpacked."""


@frozen
class ModelLosses:
    """Where a model's training ended."""

    model: str
    """Its folder's name."""
    epochs: int
    train: float | None
    """The newest training loss sleap-nn wrote: that of the epoch before the last."""
    val: float | None


def choose_output(package: Path, output: Path | None) -> Path:
    """The folder for a package's results: the one asked for, else one named after the package in the current folder.

    Its path is absolute, and it can be written as far as can be told now: an error would come only after the training.

    Raises:
        RtcError: USAGE: the one asked for already holds something, or it cannot be made.
    """
    try:
        chosen = _beside_cwd(package) if output is None else _asked_for(output)
        _check_writable(chosen)
    except (OSError, RuntimeError):  # a name too long; links in a circle are a RuntimeError before Python 3.13
        shown = output.name if output is not None else "for the results"
        raise RtcError(FaultCode.USAGE, f"The output folder {shown} cannot be made there. Name another one.") from None
    return chosen


def _asked_for(output: Path) -> Path:
    dangling = output.is_symlink() and not output.exists()
    chosen = output.resolve()  # absolute, so that `.` has a name and a parent
    if dangling or (chosen.exists() and (not chosen.is_dir() or any(chosen.iterdir()))):
        raise RtcError(FaultCode.USAGE, f"The output folder {chosen.name} is not empty. Name another one.")
    return chosen


def _check_writable(chosen: Path) -> None:
    """The folder, or where it will be made; and its parent, where the archive lies until it is unpacked."""
    there = next(folder for folder in chosen.parents if folder.exists())
    if not there.is_dir():
        raise RtcError(FaultCode.USAGE, f"{there.name} is a file, so {chosen.name} cannot be made in it. Name another.")
    for folder in (chosen, there):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise RtcError(FaultCode.USAGE, f"The folder {folder.name} cannot be written. Name another with --output.")


def _beside_cwd(package: Path) -> Path:
    name = re.sub(r"(\.(zip|training_job|slp|pkg))+$", "", package.name, flags=re.IGNORECASE).strip(". ") or "results"
    candidate, count = Path.cwd() / name, 2
    while candidate.exists() or candidate.is_symlink():
        candidate, count = candidate.with_name(f"{name}-{count}"), count + 1
    return candidate


async def unpack_results(archive: Path, output: Path) -> tuple[Path, ...]:
    """Unpack a result archive so that `output` appears whole or not at all; the models' folders, relative to it.

    Raises:
        RtcError: BAD_PACKAGE or DISK_FULL from unpacking; USAGE when `output` was filled meanwhile.
    """
    temporary = _place_for(output) / aside_name()  # not mkdtemp: nobody else could read it
    try:
        await unpack(archive, temporary)
        return await trio.to_thread.run_sync(_put_in_place, temporary, output)
    finally:
        with trio.move_on_after(CLEAN_TIME, shield=True):
            await trio.to_thread.run_sync(lambda: shutil.rmtree(temporary, ignore_errors=True))


def _place_for(output: Path) -> Path:
    """Where to unpack, so that the last step is a rename. An output that is there already stays what it is: it may be
    somebody's current folder, or a mounted disk."""
    return output if output.is_dir() else output.parent


def _put_in_place(temporary: Path, output: Path) -> tuple[Path, ...]:
    try:
        if temporary.parent == output:
            _fill(output, temporary)
        else:
            temporary.rename(output)
    except OSError:
        raise RtcError(
            FaultCode.USAGE, f"The output folder {output.name} could not be written. Name another."
        ) from None
    found = sorted(output.rglob("best.ckpt"))
    return tuple(path.parent.relative_to(output) for path in found)


def _fill(output: Path, temporary: Path) -> None:
    """Move everything up into the output, or nothing."""
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
    """Where each model's training ended, read from the training_log.csv files below a folder."""
    logs = sorted(output.rglob("training_log.csv"))
    return tuple(_losses(path) for path in logs if path.is_file() and path.stat().st_size <= LOG_MAX)


def _losses(path: Path) -> ModelLosses:
    epochs, train, val = 0, None, None
    # a cell longer than any number ends what can be read; what came before it holds
    with path.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
        for row in csv.DictReader(file):
            epochs += 1
            train = _number(row, "train/loss", "train_loss", otherwise=train)
            val = _number(row, "val/loss", "val_loss", otherwise=val)
    return ModelLosses(path.parent.name, epochs, train, val)


def _number(row: dict[str, str], *names: str, otherwise: float | None) -> float | None:
    """A cell as a number; empty ones, `inf` and `nan` leave what was known."""
    for name in names:
        try:
            value = float(row.get(name) or "nan")
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return otherwise

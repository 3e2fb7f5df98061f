"""Chooses the output folder of a training, and unpacks the result archive there, whole or not at all."""

import os
import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import trio
from attrs import frozen

from protocol.faults import FaultCode
from protocol.jobs import MODELS_MAX
from rtc.client.report import PAGE
from rtc.client.report.training_log import find_training_logs, read_training_log
from rtc.common.errors import RtcError
from rtc.common.scratch_dirs import scratch_name
from rtc.common.size_limits import RESULT_MAX
from rtc.packages.file_names import UsedNames, collision_key
from rtc.packages.zip_reader import COMPONENT_MAX, UnpackLimit, unpack

FOREIGN_SUFFIX = ".from-worker"
"""What is added to the name of a page of a result, so that no program opens it."""
PAGE_SUFFIXES = frozenset(
    {".htm", ".html", ".xhtml", ".xht", ".shtml", ".mht", ".mhtml", ".svg", ".svgz", ".xml", ".hta"}
    | {".url", ".webloc", ".desktop", ".lnk"}
)
"""Suffixes of files that a browser opens and whose scripts it runs, and of links to other places; sleap-nn makes
none."""
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


async def unpack_results(
    archive: Path, output: Path, max_bytes: int = RESULT_MAX, complete: Callable[[Path], object] | None = None
) -> tuple[Path, ...]:
    """Unpack a result archive so that `output` appears whole or not at all.

    Args:
        archive: the result.
        output: the folder that is made, or filled if it is there and empty.
        max_bytes: how many bytes its files may have together.
        complete: called in a thread with the folder that has all files, before it becomes `output`; it may change them.

    Returns:
        The folders of the models, relative to `output`.

    Raises:
        RtcError: BAD_PACKAGE, TOO_LARGE or DISK_FULL from unpacking; USAGE when `output` is not empty any more.
    """
    temporary = (
        _unpack_parent(output) / scratch_name()
    )  # not mkdtemp: its mode 0700 would let nobody else read the result
    try:
        await unpack(archive, temporary, UnpackLimit(max_bytes, "--max-result"))
        if complete is not None:
            await trio.to_thread.run_sync(complete, temporary)
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
        _rename_foreign_pages(temporary)
        if temporary.parent == output:
            _move_up(temporary, output)
        else:
            temporary.rename(output)
    except OSError:
        raise RtcError(
            FaultCode.USAGE, f"The output folder {output.name} could not be written. Name another."
        ) from None
    found = sorted(output.rglob("best.ckpt"))[:MODELS_MAX]  # a job has no more, and each is shown to the person
    return tuple(path.parent.relative_to(output) for path in found)


def _rename_foreign_pages(folder: Path) -> None:
    """Rename every page of a result, and whatever has the name of our page with the loss curves.

    Only a page that this program wrote may be opened: a worker's page could look like it, and run scripts.
    """
    for here, folders, files in os.walk(folder, topdown=False):
        used = UsedNames.of((*folders, *files))
        pages = [name for name in files if _is_page(name)]
        pages += [name for name in folders if collision_key(name) == collision_key(PAGE)]
        for name in pages:
            kept = name.encode()[: COMPONENT_MAX - len(FOREIGN_SUFFIX) - 4].decode(errors="ignore")  # 4: for `-123`
            Path(here, name).rename(Path(here, used.choose(kept + FOREIGN_SUFFIX)))


def _is_page(name: str) -> bool:
    """Return whether a file of this name could be taken for a page; also by a person who reads the name."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    return PurePosixPath("".join(letter for letter in letters if letter.isascii())).suffix in PAGE_SUFFIXES


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

    This call may block for a while. Logs that are too large are skipped (`find_training_logs`).
    """
    return tuple(_read_losses(path) for path in find_training_logs(output, MODELS_MAX))


def _read_losses(path: Path) -> ModelLosses:
    """Return the final losses in one training_log.csv."""
    log = read_training_log(path)
    train, val = (numbers[-1][1] if numbers else None for numbers in (log.train, log.val))
    return ModelLosses(path.parent.name, log.rows, train, val)

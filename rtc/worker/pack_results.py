"""Packs the results of a job into one zip archive; `rtc/client/unpack_results.py` unpacks it."""

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import trio

from rtc.common.errors import RtcError
from rtc.common.job_result import LOG_NAME
from rtc.packages.file_names import NAME_LENGTH, UsedNames, plain_file
from rtc.packages.plan import Plan
from rtc.packages.zip_reader import MEMBERS_MAX, check_member_name
from rtc.packages.zip_writer import add_file, open_zip_writer

log = logging.getLogger("rtc.results")

SKIPPED_FOLDER = "viz"
"""The folder of images drawn during training: large, and deleted by sleap-nn itself unless its configuration says
otherwise."""
DEPTH_MAX = 100
"""Levels of nested folders in a result at most. sleap-nn needs one or two; `os.walk` fails at about a thousand."""


async def pack_results(folder: Path, plan: Plan, archive: Path, prefix: str = "") -> None:
    """Pack every run folder of a job, its configurations by sleap-nn, its predictions and its log into a zip archive.

    This works for a failed job too; the archive then holds the log and the files that exist. Nothing is compressed,
    as checkpoints do not shrink. The archive appears under its name only when it is complete.

    Args:
        folder: the folder of the unpacked package.
        plan: contains the run folders and predictions of the job.
        archive: the path of the archive.
        prefix: a folder in the archive that contains everything else.

    Raises:
        OSError: the disk is full, or the files that the job left cannot be packed.
    """
    await trio.to_thread.run_sync(_pack, folder, plan, archive, prefix, trio.from_thread.check_cancelled)


def _pack(folder: Path, plan: Plan, archive: Path, prefix: str, check: Callable[[], None]) -> None:
    top = f"{prefix.strip('/')}/" if prefix else ""
    with open_zip_writer(archive) as target:
        for name, path in _with_valid_names([(top + name, path) for name, path in _list_files(folder, plan)]):
            add_file(target, name, path, check)


def _list_files(folder: Path, plan: Plan) -> Iterator[tuple[str, Path]]:
    """Yield the name in the archive and the path of each file of the result.

    Symbolic links are not followed, as they may lead anywhere on the machine.
    """
    if _is_regular_file(folder, LOG_NAME):
        yield LOG_NAME, folder / LOG_NAME
    base = folder / plan.root
    for step in plan.steps:
        run = base / step.run_path
        if run.is_symlink() or run.parent.is_symlink():
            continue
        for path in _files_below(run):
            yield path.relative_to(base).as_posix(), path
    for config in plan.written:
        if _is_regular_file(base, config):
            yield config, base / config
    for prediction in plan.predictions:
        if _is_regular_file(base, prediction.output):
            yield prediction.output, base / prediction.output


def _with_valid_names(found: list[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """Yield the same files, with new names where the client would reject the whole archive because of a name.

    A file whose name is still too long after that is left out, and so are those in the deepest folders if there are
    more than `MEMBERS_MAX`.
    """
    if len(found) > MEMBERS_MAX:
        log.warning("%d files are left out of a result, which has too many", len(found) - MEMBERS_MAX)
        found = sorted(found, key=lambda item: item[0].count("/"))[:MEMBERS_MAX]
    used = UsedNames()
    valid = {name: used.choose(name, PurePosixPath(name).suffix) for name, _ in found if _is_valid_name(name)}
    for name, path in found:
        chosen = valid[name] if name in valid else _make_valid(name, used)
        if _is_valid_name(chosen):
            yield chosen, path
        else:
            log.warning("a file is left out of a result, as its name is too long: %s", chosen[-NAME_LENGTH:])


def _is_valid_name(name: str) -> bool:
    """Return whether the client accepts a file of this name in an archive."""
    try:
        check_member_name(name)
    except RtcError:
        return False
    return True


def _make_valid(name: str, used: UsedNames) -> str:
    """Return the path with each invalid part replaced by a valid one, and numbered if that path is in `used`."""
    valid = "/".join(part if _is_valid_name(part) else _make_part_valid(part) for part in name.split("/"))
    return used.choose(valid, PurePosixPath(valid).suffix)


def _make_part_valid(part: str) -> str:
    valid = plain_file(os.fsencode(part).decode(errors="replace"), "file")
    return valid if _is_valid_name(valid) else f"_{valid}"


def _files_below(run: Path) -> Iterator[Path]:
    """Yield the regular files of a run folder and its subfolders, without those in `SKIPPED_FOLDER`.

    Raises:
        OSError: ENAMETOOLONG: folders are nested more than `DEPTH_MAX` deep.
    """
    for here, inner, files in os.walk(run):
        inner[:] = sorted(name for name in inner if name != SKIPPED_FOLDER)
        if len(Path(here).relative_to(run).parts) > DEPTH_MAX:
            raise OSError(errno.ENAMETOOLONG, "the job has made folders in folders without end", run.name)
        for name in sorted(files):
            path = Path(here, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def _is_regular_file(base: Path, name: str) -> bool:
    """Return whether `base / name` is an existing file, and neither it nor a folder on its path is a symbolic link."""
    path = base / name
    parts = [path, *(parent for parent in path.parents if parent.is_relative_to(base) and parent != base)]
    return not any(part.is_symlink() for part in parts) and path.is_file()

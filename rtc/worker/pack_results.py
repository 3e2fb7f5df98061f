"""What a job made, packed by the worker into one archive; `rtc/client/unpack_results.py` is the other end."""

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import trio

from rtc.common.errors import RtcError
from rtc.common.job_result import LOG_NAME
from rtc.packages.file_names import NAME_LENGTH, fresh, plain_file
from rtc.packages.plan import Plan
from rtc.packages.zip_reader import check_name
from rtc.packages.zip_writer import add_file, open_packing

log = logging.getLogger("rtc.results")

LEFT_OUT = "viz"
"""Pictures drawn during training: large, and deleted by sleap-nn itself unless asked to stay."""
DEPTH_MAX = 100
"""Folders in each other in what a job has made; sleap-nn needs one or two, and Python's walk ends at a thousand."""


async def pack_results(folder: Path, plan: Plan, archive: Path, prefix: str = "") -> None:
    """Pack every run folder of a job, its predictions and its log into a zip; `prefix` is a folder around all of it.

    Works for a failed job too: then there is the log and what there is. Nothing is compressed, checkpoints do not
    shrink. The archive appears under its name only when it is whole.

    Raises:
        OSError: the disk is full, or what the job left cannot be packed.
    """
    await trio.to_thread.run_sync(_pack, folder, plan, archive, prefix, trio.from_thread.check_cancelled)


def _pack(folder: Path, plan: Plan, archive: Path, prefix: str, check: Callable[[], None]) -> None:
    start = f"{prefix.strip('/')}/" if prefix else ""
    with open_packing(archive) as target:
        for name, path in _spelled([(start + name, path) for name, path in _made(folder, plan)]):
            add_file(target, name, path, check)


def _made(folder: Path, plan: Plan) -> Iterator[tuple[str, Path]]:
    """Every file to bring back, by its name in the archive. Links are not followed: they may lead anywhere."""
    if _is_plain(folder, LOG_NAME):
        yield LOG_NAME, folder / LOG_NAME
    base = folder / plan.root
    for step in plan.steps:
        run = base / step.run_path
        if run.is_symlink() or run.parent.is_symlink():
            continue
        for path in _below(run):
            yield path.relative_to(base).as_posix(), path
    for wish in plan.predictions:
        if _is_plain(base, wish.output):
            yield wish.output, base / wish.output


def _spelled(found: list[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """The same files, under plain names where they have such that the client would refuse the whole archive."""
    taken = {name for name, _ in found if _unpacks(name)}
    for name, path in found:
        spelled = name if name in taken else _plain(name, taken)
        if _unpacks(spelled):
            taken.add(spelled)
            yield spelled, path
        else:
            log.warning("a file is left out of a result, as its name is too long: %s", spelled[-NAME_LENGTH:])


def _unpacks(name: str) -> bool:
    """Whether the client would take a file of this name."""
    try:
        check_name(name)
    except RtcError:
        return False
    return True


def _plain(name: str, taken: set[str]) -> str:
    plain = "/".join(part if _unpacks(part) else _plain_part(part) for part in name.split("/"))
    return fresh(plain, taken, PurePosixPath(plain).suffix)


def _plain_part(part: str) -> str:
    plain = plain_file(os.fsencode(part).decode(errors="replace"), "file")
    return plain if _unpacks(plain) else f"_{plain}"


def _below(run: Path) -> Iterator[Path]:
    for here, inner, files in os.walk(run):
        inner[:] = sorted(name for name in inner if name != LEFT_OUT)
        if len(Path(here).relative_to(run).parts) > DEPTH_MAX:
            raise OSError(errno.ENAMETOOLONG, "the job has made folders in folders without end", run.name)
        for name in sorted(files):
            path = Path(here, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def _is_plain(base: Path, name: str) -> bool:
    """True for a file that is really there, with no link on the way to it."""
    path = base / name
    way = [path, *(parent for parent in path.parents if parent.is_relative_to(base) and parent != base)]
    return not any(step.is_symlink() for step in way) and path.is_file()

"""The one way our own archives are written: whole or not at all, nothing compressed, at constant memory."""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from rtc.packages.zip_reader import BLOCK


@contextmanager
def open_packing(
    target: Path, mode: int = 0o600, see: Callable[[Path], object] | None = None
) -> Iterator[zipfile.ZipFile]:
    """Write an archive that appears under its name only when the block ends well; `mode` says who may read it.

    `see` gets to see it whole, and may still refuse it by raising.

    Checkpoints, videos and embedded images do not shrink, so nothing is compressed.

    Raises:
        OSError: the disk is full, or worse.
    """
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            yield archive
        if see is not None:
            see(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def give_way() -> None:
    """Between blocks: in a thread of trio's, end when the task that waits for it was cancelled."""
    with suppress(RuntimeError):  # no thread of trio's
        trio.from_thread.check_cancelled()


def add_file(archive: zipfile.ZipFile, name: str, path: Path, check: Callable[[], None] = give_way) -> None:
    """Add a file, of any size; `check` is called between blocks and may raise to end it."""
    # not `from_file`: it refuses files dated before 1980, and the date matters to nobody
    with path.open("rb") as source, archive.open(_info(name), "w", force_zip64=True) as sink:
        while block := source.read(BLOCK):
            check()
            sink.write(block)


def add_text(archive: zipfile.ZipFile, name: str, text: str) -> None:
    """Add a small file."""
    archive.writestr(_info(name), text)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info

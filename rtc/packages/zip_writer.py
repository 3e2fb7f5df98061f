"""The only writer of our own zip archives: an archive appears complete or not at all, and is not compressed.

Files are copied in blocks, so memory use does not depend on their size.
"""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rtc.common.cancellable_process import check_cancelled
from rtc.packages.zip_reader import BLOCK


@contextmanager
def open_zip_writer(
    target: Path, mode: int = 0o600, check_archive: Callable[[Path], object] | None = None
) -> Iterator[zipfile.ZipFile]:
    """Open an archive for writing; it appears under its name only when the `with` block ends without an exception.

    Checkpoints, videos and embedded images do not shrink, so nothing is compressed.

    Args:
        target: the path of the archive.
        mode: its permission bits, before the umask.
        check_archive: called with the path of the complete archive before it appears; it may refuse it by raising.

    Raises:
        OSError: the archive cannot be written, for example because the disk is full.
    """
    partial = target.with_name(target.name + ".part")
    partial.unlink(missing_ok=True)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            yield archive
        if check_archive is not None:
            check_archive(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def add_file(archive: zipfile.ZipFile, name: str, path: Path, check: Callable[[], None] = check_cancelled) -> None:
    """Copy a file of any size into the archive; `check` is called before each block and may raise to stop the copy."""
    # not `ZipInfo.from_file`: it refuses files dated before 1980, and the date is not needed
    with path.open("rb") as source, archive.open(_file_info(name), "w", force_zip64=True) as sink:
        while block := source.read(BLOCK):
            check()
            sink.write(block)


def add_text(archive: zipfile.ZipFile, name: str, text: str) -> None:
    """Write a text into the archive as a file."""
    archive.writestr(_file_info(name), text)


def _file_info(name: str) -> zipfile.ZipInfo:
    """Return the header of a regular file with mode 0644; its date is 1980-01-01, the default of `ZipInfo`."""
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info

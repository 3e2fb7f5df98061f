"""A package's files, packed or unpacked, behind one small interface."""

import stat
import zipfile
from pathlib import Path
from typing import Protocol

from attrs import frozen

from rtc.packages.zip_reader import bad, members

TEXT_MAX = 2**20
"""Bytes of a configuration or script; real ones have 5 kB."""


class Source(Protocol):
    """A package's files."""

    def names(self) -> frozenset[str]:
        """Every file, relative and with slashes."""

    def read(self, name: str) -> bytes:
        """The first TEXT_MAX + 1 bytes of a file."""


@frozen
class ZipSource:
    """A package as it is sent."""

    archive: zipfile.ZipFile

    def names(self) -> frozenset[str]:
        """Every file, after the checks that need no unpacking."""
        return frozenset(info.filename for info in members(self.archive))

    def read(self, name: str) -> bytes:
        """The beginning of a file."""
        with self.archive.open(name) as file:
            return file.read(TEXT_MAX + 1)


@frozen
class FolderSource:
    """A package as it runs."""

    path: Path

    def names(self) -> frozenset[str]:
        """Every plain file; links are none."""
        files = (path for path in self.path.rglob("*") if stat.S_ISREG(path.lstat().st_mode))
        return frozenset(path.relative_to(self.path).as_posix() for path in files)

    def read(self, name: str) -> bytes:
        """The beginning of a file."""
        with (self.path / name).open("rb") as file:
            return file.read(TEXT_MAX + 1)


@frozen
class Inside:
    """The files below a package's root: what a package may name."""

    source: Source
    root: str
    files: frozenset[str]

    def text(self, name: str) -> str:
        """A file as text.

        Raises:
            RtcError: BAD_PACKAGE: it is too large, or no text.
        """
        data = self.source.read(self.root + name)
        if len(data) > TEXT_MAX:
            raise bad(f"{name} is too large to be a configuration or script.")
        return decode_text(name, data)


def decode_text(name: str, data: bytes) -> str:
    """Bytes from elsewhere as text; `name` is how people know them.

    Raises:
        RtcError: BAD_PACKAGE: they are none.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise bad(f"{name} is not plain text. Export the package again.") from None

"""Read access to the files of a package, in a zip or in a folder, through one interface."""

import stat
import zipfile
from pathlib import Path
from typing import Protocol

from attrs import define, frozen

from rtc.packages.foreign_errors import bad_package, foreign_errors
from rtc.packages.zip_reader import members

TEXT_MAX = 2**20
"""Maximum size of a configuration or script, in bytes; real ones have 5 kB."""
TEXTS_MAX = 4 * 2**20
"""Maximum size of all configurations and scripts of a package together, in bytes: PyYAML takes seconds for that."""


class Source(Protocol):
    """The files of a package, in a zip or in a folder."""

    def names(self) -> frozenset[str]:
        """Return the path of every file, relative and with forward slashes."""

    def read(self, name: str) -> bytes:
        """Return the first TEXT_MAX + 1 bytes of a file."""


@frozen
class ZipSource:
    """The files of a package in a zip."""

    archive: zipfile.ZipFile

    def names(self) -> frozenset[str]:
        """Return the path of every file, after all checks that need no unpacking.

        Raises:
            RtcError: BAD_PACKAGE: a file must not be unpacked.
        """
        return frozenset(info.filename for info in members(self.archive))

    def read(self, name: str) -> bytes:
        """Return the first TEXT_MAX + 1 bytes of a file."""
        with self.archive.open(name) as file:
            return file.read(TEXT_MAX + 1)


@frozen
class FolderSource:
    """The files of an unpacked package."""

    path: Path

    def names(self) -> frozenset[str]:
        """Return the path of every regular file; symbolic links are left out."""
        files = (path for path in self.path.rglob("*") if stat.S_ISREG(path.lstat().st_mode))
        return frozenset(path.relative_to(self.path).as_posix() for path in files)

    def read(self, name: str) -> bytes:
        """Return the first TEXT_MAX + 1 bytes of a file."""
        with (self.path / name).open("rb") as file:
            return file.read(TEXT_MAX + 1)


@define
class PackageFiles:
    """The files below a package's root, which are all that a package may refer to."""

    source: Source
    root: str
    """The folder in the package that contains all files, with a final slash, or empty."""
    files: frozenset[str]
    """Paths relative to `root`."""
    _bytes_read: int = 0

    def text(self, name: str) -> str:
        """Return the content of a file as text; `name` is its path relative to `root`.

        Raises:
            RtcError: BAD_PACKAGE: it is larger than TEXT_MAX bytes, or not UTF-8; or all texts together are larger than
                TEXTS_MAX.
        """
        with foreign_errors(f"{name} is damaged in the package. Export or send it again."):
            data = self.source.read(self.root + name)
        if len(data) > TEXT_MAX:
            raise bad_package(f"{name} is too large to be a configuration or script.")
        self._bytes_read += len(data)
        if self._bytes_read > TEXTS_MAX:
            raise bad_package("The configurations of the package are too large together.")
        return decode_text(name, data)


def decode_text(name: str, data: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark; `name` names the file in the error.

    Raises:
        RtcError: BAD_PACKAGE: the bytes are not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise bad_package(f"{name} is not plain text. Export the package again.") from None

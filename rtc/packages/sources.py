"""Read access to the files of a package, in a zip or in a folder, through one interface."""

import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from attrs import define, field, frozen

from rtc.packages.file_names import collision_key, posix_path
from rtc.packages.foreign_errors import bad_package, foreign_errors
from rtc.packages.member_names import is_ignored
from rtc.packages.text_encoding import decode_text
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


@define
class ZipSource:
    """The files of a package in a zip."""

    archive: zipfile.ZipFile
    _infos: dict[str, zipfile.ZipInfo] = field(factory=dict, init=False)

    def names(self) -> frozenset[str]:
        """Return the path of every file, after all checks that need no unpacking.

        Raises:
            RtcError: BAD_PACKAGE: a file must not be unpacked.
        """
        self._infos = {member.name: member.info for member in members(self.archive, portable=False)}
        return frozenset(self._infos)

    def read(self, name: str) -> bytes:
        """Return the first TEXT_MAX + 1 bytes of a file that `names` has returned."""
        with self.archive.open(self._infos[name]) as file:
            return file.read(TEXT_MAX + 1)


@frozen
class FolderSource:
    """The files of an unpacked package."""

    path: Path

    def names(self) -> frozenset[str]:
        """Return the path of every regular file but those that systems add; symbolic links are left out."""
        files = (path for path in self.path.rglob("*") if stat.S_ISREG(path.lstat().st_mode))
        names = (path.relative_to(self.path).as_posix() for path in files)
        return frozenset(name for name in names if not is_ignored(name))

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
    _bytes_read: int = field(default=0, init=False)
    _by_key: dict[str, str] = field(init=False)
    """The path of each file by its `collision_key`."""

    @_by_key.default
    def _index(self) -> dict[str, str]:
        return {collision_key(name): name for name in sorted(self.files, reverse=True)}

    def find(self, path: str) -> str | None:
        """Return the path of the file that is named so: exactly, or in another case or Unicode form, or None."""
        plain = posix_path(path)
        return plain if plain in self.files else self._by_key.get(collision_key(plain))

    def text(self, name: str) -> str:
        """Return the content of a file as text; `name` is its path relative to `root`.

        Raises:
            RtcError: BAD_PACKAGE: it is larger than TEXT_MAX bytes, or no text; or all texts together are larger than
                TEXTS_MAX.
        """
        with foreign_errors(f"{name} is damaged in the package. Export or send it again."):
            data = self.source.read(self.root + name)
        if len(data) > TEXT_MAX:
            raise bad_package(f"{name} is too large to be a configuration or script.")
        self._bytes_read += len(data)
        if self._bytes_read > TEXTS_MAX:
            raise bad_package("The configurations of the package are too large together.")
        return decode_text(name, data, self.base_names)

    def base_names(self) -> Iterator[str]:
        """Yield the name of every file and folder without what follows its first dot."""
        for name in self.files:
            yield from (part.partition(".")[0] for part in name.split("/") if not part.startswith("."))


def folder_files(folder: Path) -> PackageFiles:
    """Return the files of an unpacked package; `folder` is its root."""
    source = FolderSource(folder)
    return PackageFiles(source, "", source.names())

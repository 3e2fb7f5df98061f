"""The paths that a package's files had on the client's disk: written into the package, kept in the ticket, never sent.

Names in a package may be anything. sleap-nn writes them into its predictions; with these paths the client puts the
person's own back (`rtc.client.restore_videos`).
"""

import os
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from attrs import define, field, frozen

from protocol.converter import WireError, from_json, to_json
from rtc.common.file_edit import FileEdit
from rtc.packages.foreign_errors import foreign_errors
from rtc.packages.zip_reader import open_zip

MEMBER = ".sleap-rtc-videos.json"
"""The member of a package that has its original paths. It is left out when the package is sent."""
PATHS_MAX = 2**28
"""Bytes of the largest JSON text of original paths that is read: a million images with long paths, since labels may
list many more than are sent."""

_ENTRY = b"PK\1\2"
_ENTRY_SIZE = 46
_END = b"PK\5\6"
_END_64 = b"PK\6\6"
_LOCATOR_64 = b"PK\6\7"
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
"""Values of fields whose real values are in the ZIP64 end record."""


@frozen
class OriginalPath:
    """One file or folder of a package, and what it is on the client's disk."""

    name: str
    """Its name in the package."""
    path: str
    """Its path with forward slashes, as the person or the labels named it: absolute, or relative."""
    absolute: str = ""
    """Its absolute path, without links: of data and models, whose absolute paths sleap-nn writes; "" of others."""
    is_there: bool = True
    """It was there when the package was made; sleap-io writes less of a video that it cannot open."""


@frozen
class OriginalPaths:
    """The original paths of one package."""

    files: tuple[OriginalPath, ...] = ()
    provenance: str = ""
    """The JSON of the provenance of the labels to predict on, which names files of the client's disk; "" without one.
    """


@define
class PathRecord:
    """Collects the original paths of a package that is built."""

    _files: dict[str, OriginalPath] = field(factory=dict)
    _provenance: str = ""

    def add(self, name: str, path: str, *, in_provenance: bool = False, is_there: bool = True) -> None:
        """Record the original path of the file or folder `name`; of one that is recorded already nothing changes.

        Args:
            name: the name in the package.
            path: the path as the person or the labels named it, with forward slashes, or an address on the web.
            in_provenance: sleap-nn writes its absolute path: it is the data to predict on, or a model's folder.
            is_there: it is there.
        """
        if name not in self._files or in_provenance:
            absolute = Path(os.path.realpath(path)).as_posix() if in_provenance else ""
            self._files[name] = OriginalPath(name, path, absolute, is_there)

    def keep(self, sources: Iterable[OriginalPath], provenance: str) -> None:
        """Keep what labels have no more in the package: videos from which theirs were made, and their provenance."""
        self._files |= {one.name: one for one in sources}
        self._provenance = provenance

    def text(self) -> str:
        """Return the text of the package's member `MEMBER`."""
        return to_json(OriginalPaths(tuple(self._files.values()), self._provenance))


def read_original_paths(package: Path) -> OriginalPaths:
    """Return the original paths in a package; none if it was not made here.

    Raises:
        RtcError: USAGE: the package cannot be opened. BAD_PACKAGE: it is damaged.
    """
    with open_zip(package) as archive:
        for info in archive.infolist():
            if _is_member(info.filename) and info.file_size <= PATHS_MAX:
                with foreign_errors(f"{package.name} is damaged. Export or send it again."):
                    return paths_of_text(archive.read(info))
    return OriginalPaths()


def paths_of_text(text: bytes) -> OriginalPaths:
    """Return the original paths that a text of `PathRecord.text` has; none if it is damaged."""
    try:
        paths: OriginalPaths = from_json(text, OriginalPaths, limit=PATHS_MAX)
    except WireError:
        return OriginalPaths()
    return paths


def _is_member(name: str) -> bool:
    """Return whether a member of a zip has original paths; after a person has zipped it again, it may be in a
    folder."""
    return name.rpartition("/")[2] == MEMBER


def sent_size(package: Path) -> int:
    """Return the number of bytes of a package that are sent.

    Raises:
        OSError: it cannot be read.
        RtcError: BAD_PACKAGE: it is damaged.
    """
    with package.open("rb") as file:
        edit = edit_for_sending(file)
        return edit.size if edit is not None else os.fstat(file.fileno()).st_size


def edit_for_sending(file: BinaryIO) -> FileEdit | None:
    """Return how to read an open package without its original paths; None if it has none, or is no zip.

    The rest of the archive keeps its place, so that only the central directory is written again.

    Raises:
        RtcError: BAD_PACKAGE: the archive is damaged.
    """
    if not zipfile.is_zipfile(file):
        return None
    with foreign_errors("The package is damaged. Export or send it again."), zipfile.ZipFile(file) as archive:
        infos, start = archive.infolist(), archive.start_dir
    unsent = [info.header_offset for info in infos if _is_member(info.filename)]
    if not unsent:
        return None
    ends = sorted([*(info.header_offset for info in infos), start])
    zeros = tuple((offset, next(end for end in ends if end > offset)) for offset in unsent)
    file.seek(start)
    return FileEdit(zeros, start, _without_members(file.read()))


def _without_members(ending: bytes) -> bytes:
    """Return the end of a zip, from its central directory on, without the entries of members that are not sent.

    Source: APPNOTE.TXT, sections 4.3.12 (entries) and 4.3.14 to 4.3.16 (end records).
    """
    kept: list[bytes] = []
    removed: list[bytes] = []
    position = 0
    for entry, name in _entries(ending):
        position += len(entry)
        (removed if _is_member(name) else kept).append(entry)
    end = bytearray(ending[position:])
    size, count = sum(map(len, removed)), len(removed)
    if end.startswith(_END_64):
        _subtract(end, 24, "<QQQ", (count, count, size))
        locator = 12 + struct.unpack_from("<Q", end, 4)[0]
        if end[locator : locator + 4] == _LOCATOR_64:
            _subtract(end, locator + 8, "<Q", (size,))
    last = end.rfind(_END)
    for offset, kind, less, full in (
        (8, "<H", count, _FULL_16),
        (10, "<H", count, _FULL_16),
        (12, "<L", size, _FULL_32),
    ):
        if struct.unpack_from(kind, end, last + offset)[0] != full:
            _subtract(end, last + offset, kind, (less,))
    return b"".join(kept) + bytes(end)


def _entries(ending: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield each entry of a central directory at the beginning of `ending`, and the name in it."""
    position = 0
    while ending[position : position + 4] == _ENTRY:
        name, extra, comment = struct.unpack_from("<HHH", ending, position + 28)
        end = position + _ENTRY_SIZE + name + extra + comment
        yield (
            ending[position:end],
            ending[position + _ENTRY_SIZE : position + _ENTRY_SIZE + name].decode("utf-8", "replace"),
        )
        position = end


def _subtract(data: bytearray, offset: int, kind: str, less: tuple[int, ...]) -> None:
    """Subtract from each number at an offset of `data`."""
    numbers = struct.unpack_from(kind, data, offset)
    struct.pack_into(kind, data, offset, *(number - each for number, each in zip(numbers, less, strict=True)))

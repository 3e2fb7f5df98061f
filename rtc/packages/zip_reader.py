"""The only reader of zip archives that a peer sent: an archive with one bad member is refused before it is unpacked.

The worker unpacks packages with it, and the client unpacks results; neither trusts the other's archive. Files are
copied in blocks, so memory use does not depend on their size.
"""

import re
import secrets
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import trio
from attrs import frozen

from protocol.faults import FaultCode
from protocol.fields import is_printable
from rtc.common import sizes
from rtc.common.errors import RtcError
from rtc.common.full_disk import is_full_disk
from rtc.common.windows_names import is_reserved_on_windows
from rtc.packages.file_names import collision_key
from rtc.packages.foreign_errors import bad_package, foreign_errors
from rtc.packages.member_names import is_ignored, member_names

MEMBERS_MAX = 20_000
"""Maximum number of files and folders in an archive."""
TOTAL_MAX = 2**50
"""Total size of the unpacked files in bytes that no archive has; who unpacks one sets a limit of his own."""
RATIO_MAX = 200
"""Maximum ratio of unpacked to packed size; real labels and checkpoints stay far below."""
RATIO_FREE_BELOW = 10 * 2**20
"""Unpacked size in bytes up to which the ratio is not checked: a small file of zeros does no harm."""
RATIO_FREE_IN_ALL = 10**9
"""Unpacked size of all files in bytes up to which their ratio together is not checked."""
DIRECTORY_MAX = 16 * 2**20
"""Maximum size of the zip's central directory in bytes; `zipfile` reads all of it into memory."""
MEMBER_NAME_MAX = 1000
"""Maximum length of a path, in characters."""
FOLDERS_MAX = 120
"""Maximum number of parts of a path."""
COMPONENT_MAX = 255
"""Maximum length of one path component in bytes of UTF-8, as file systems have it (NAME_MAX of Linux)."""
DISK_SPARE = 1.2
"""Required free disk space, as a multiple of the unpacked size."""
BLOCK = 1024 * 1024
"""Maximum number of bytes that are copied at once."""

_ZIP64 = 0xFFFFFFFF
"""Value of a 32-bit field whose real value is in the ZIP64 end record (APPNOTE.TXT, section 4.4.1.4)."""
_DOS_FOLDER = 0x10
"""The attribute of MS-DOS that says that a member is a folder."""
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
"""Compression methods of other programs (APPNOTE.TXT, section 4.4.5)."""
_HARMLESS = re.compile(r"[\u200c\u200d\ue000-\uf8ff]")
"""Invisible characters that names of files have: joiners, which are part of emoji and of Persian and Indian words, and
private ones, which macOS writes for characters that a disk of Windows cannot have."""


@frozen
class UnpackLimit:
    """How large the files of an archive may be together."""

    max_bytes: int = TOTAL_MAX
    option: str = ""
    """The option that sets the limit, for the error text; empty when there is none."""


@frozen
class Member:
    """A file or folder in an archive."""

    name: str
    """Its path with forward slashes, in Unicode; that of a folder may end in a slash."""
    info: zipfile.ZipInfo

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder: most programs end its name in a slash, some only set its attributes."""
        mode, size = self.info.external_attr >> 16, self.info.file_size
        return self.name.endswith("/") or (
            not size and (stat.S_ISDIR(mode) or bool(self.info.external_attr & _DOS_FOLDER))
        )


def open_user_file(path: Path) -> BinaryIO:
    """Open a file that a person named, for reading.

    Raises:
        RtcError: USAGE: it is not a regular file (to open a pipe could block for ever), or it cannot be opened.
    """
    name = path.name or path  # `.` has no name
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
    except OSError as error:
        raise RtcError(FaultCode.USAGE, f"{name} cannot be opened: {error.strerror}.") from None
    what = "is a folder, not a file" if stat.S_ISDIR(mode) else "is no ordinary file"
    raise RtcError(FaultCode.USAGE, f"{name} {what}. Name the file.")


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file for reading. To read a member of it may raise `FOREIGN_ERRORS`.

    Raises:
        RtcError: USAGE: there is no such file. BAD_PACKAGE: it is not a zip, it is damaged, or it has too many files.
    """
    with open_user_file(path) as file:
        with foreign_errors(f"{path.name} is not a zip archive, or is damaged. Export or send it again."):
            if _directory_size(file) > DIRECTORY_MAX:
                raise bad_package(f"{path.name} holds too many files.")
            archive = zipfile.ZipFile(file)
        with archive:
            yield archive


def _directory_size(file: BinaryIO) -> int:
    """Return the size of the central directory in bytes, as the end record declares it.

    Source: APPNOTE.TXT, sections 4.3.14 (ZIP64 end record) and 4.3.16 (end record).

    Raises:
        zipfile.BadZipFile: there is no end record.
    """
    end = file.seek(0, 2)
    file.seek(max(0, end - 65_557))  # the end record (22 bytes), and the longest comment after it (65 535)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise zipfile.BadZipFile
    size = int(struct.unpack_from("<L", tail, at + 12)[0])
    locator = tail[at - 20 : at]
    if at < 20 or not locator.startswith(b"PK\6\7"):
        return size
    # `zipfile` looks for the record directly before the locator; where bytes precede the archive, as in one that
    # unpacks itself, the position in the locator is wrong
    place = max(0, end - 65_557) + at
    sizes_found = [size] if size != _ZIP64 else []
    for position in (place - 76, struct.unpack_from("<Q", locator, 8)[0]):
        if position >= 0:
            file.seek(position)
            record = file.read(56)
            if record.startswith(b"PK\6\6"):
                sizes_found.append(struct.unpack_from("<Q", record, 40)[0])
    return max(sizes_found, default=size)


def members(archive: zipfile.ZipFile, limit: UnpackLimit | None = None, *, portable: bool = True) -> tuple[Member, ...]:
    """Return the files of an archive, after every check that needs no unpacking.

    Folders are left out, and so are files that systems add (`is_ignored`): `__MACOSX/`, `.DS_Store`, `desktop.ini`.

    Args:
        archive: the archive.
        limit: how large its files may be together.
        portable: the names must be possible on Windows too.

    Raises:
        RtcError: BAD_PACKAGE: a member must not be unpacked, so the whole archive is refused. TOO_LARGE: the files
            have more bytes than the limit, unpacked.
    """
    infos = archive.infolist()
    found = map(Member, member_names(archive), infos)
    kept = tuple(member for member in found if not is_ignored(member.name))
    if len(kept) > MEMBERS_MAX:
        raise bad_package(f"The archive holds {len(kept)} files; more than {MEMBERS_MAX} are not taken.")
    for member in kept:
        check_member_name(member.name, portable=portable)
        _check_kind(member)
    files = tuple(member for member in kept if not member.is_folder)
    _check_clashes(files)
    _check_overlaps(infos)
    _check_total(files, limit or UnpackLimit())
    return files


def _check_total(files: tuple[Member, ...], limit: UnpackLimit) -> None:
    total, packed = (sum(getattr(member.info, size) for member in files) for size in ("file_size", "compress_size"))
    if total > limit.max_bytes:
        hint = f" ({limit.option})" if limit.option else ""
        raise RtcError(
            FaultCode.TOO_LARGE if limit.option else FaultCode.BAD_PACKAGE,
            f"The archive unpacks to {sizes.size(total)}; at most {sizes.size(limit.max_bytes)} are taken{hint}. "
            "Make it smaller, or have the limit raised.",
        )
    if total > RATIO_FREE_IN_ALL and total > RATIO_MAX * packed:
        raise bad_package("The archive unpacks to a suspiciously large size.")


def check_member_name(name: str, *, portable: bool = True) -> None:
    """Check that a member of an archive may have this name.

    Args:
        name: the name, with forward slashes.
        portable: it must be possible on Windows too, where a result may be unpacked; a package is unpacked on Linux.

    Raises:
        RtcError: BAD_PACKAGE: it may not; the sentence says why.
    """
    parts = name.removesuffix("/").split("/")
    if not is_printable(name if portable else _HARMLESS.sub("", name)):
        raise bad_package("The archive holds a file whose name has characters that cannot be shown.")
    if (
        len(name) > MEMBER_NAME_MAX
        or len(parts) > FOLDERS_MAX
        or any(len(part.encode()) > COMPONENT_MAX for part in parts)
    ):
        raise bad_package("The archive holds a file whose name is too long.")
    if _leads_out(name, parts, portable=portable):
        raise bad_package(
            f"The archive holds {name!r}, which could lead out of its folder. Pack it again with plain names."
        )
    if portable and any(is_reserved_on_windows(part) or part.endswith((" ", ".")) for part in parts):
        raise bad_package(
            f"The archive holds {name!r}, a name that Windows keeps for itself. Rename it and pack again."
        )


def _leads_out(name: str, parts: list[str], *, portable: bool) -> bool:
    """Return whether a name could be one of a place outside of the folder, on Linux, macOS or Windows."""
    if name.startswith("/") or "\\" in name or any(part in ("", ".", "..") for part in parts):
        return True
    return ":" in name if portable else any(part[1:2] == ":" for part in parts)


def _check_kind(member: Member) -> None:
    name, info = member.name, member.info
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise bad_package(f"The archive holds {name!r}, which is a link or a device. Only plain files are taken.")
    if info.flag_bits & 0x1:
        raise bad_package("The archive is encrypted. Pack it again without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = _METHODS.get(info.compress_type, f"method {info.compress_type}")
        raise bad_package(
            f"The archive is packed in an unusual way ({method}). Pack it again as an ordinary zip (Deflate), or "
            "without compression."
        )
    if info.file_size > RATIO_FREE_BELOW and info.file_size > RATIO_MAX * info.compress_size:
        raise bad_package(f"The archive holds {name!r}, which unpacks to a suspiciously large size.")


def _check_clashes(files: tuple[Member, ...]) -> None:
    """Check that names differ even on a disk that ignores case or Unicode form, and that no file is also a folder."""
    taken: set[str] = set()
    for member in files:
        key = collision_key(member.name)
        if key in taken:
            raise bad_package(
                f"The archive holds {member.name!r} twice, or names that differ only in upper and lower case."
            )
        taken.add(key)
    # not a set of all folders: 16 000 paths of 500 folders each would fill the memory
    if any(key[:end] in taken for key in taken for end in _folder_ends(key)):
        raise bad_package("The archive holds a file and a folder of the same name.")


def _folder_ends(path: str) -> Iterator[int]:
    """Yield the length of the path of each folder that a path leads through."""
    end = path.find("/")
    while end >= 0:
        yield end
        end = path.find("/", end + 1)


def _check_overlaps(infos: list[zipfile.ZipInfo]) -> None:
    """Check that no two members share bytes of the archive: with shared bytes a small zip unpacks to a huge tree."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise bad_package("The archive is damaged: its files overlap.")
        end = info.header_offset + 30 + info.compress_size  # 30: the fixed part of a local header


async def unpack(archive: Path, folder: Path, limit: UnpackLimit | None = None, *, portable: bool = True) -> None:
    """Unpack a zip into a folder, which is created if necessary and should be empty.

    After failure or cancellation the folder may contain some complete files, but no partial one; the caller removes it.

    Args:
        archive: the zip.
        folder: where its files are written.
        limit: how large its files may be together.
        portable: the names must be possible on Windows too.

    Raises:
        RtcError: USAGE: there is no such file. BAD_PACKAGE: the archive is refused or damaged. TOO_LARGE: it unpacks to
            more than the limit. DISK_FULL. Where possible, these are raised before anything is written.
    """
    check = trio.from_thread.check_cancelled
    await trio.to_thread.run_sync(lambda: _unpack(archive, folder, check, limit, portable=portable))


def _unpack(
    path: Path, folder: Path, check: Callable[[], None], limit: UnpackLimit | None = None, *, portable: bool = True
) -> None:
    """Do the work of `unpack`; `check` is called before each block and may raise to stop the work."""
    with open_zip(path) as archive:
        files = members(archive, limit, portable=portable)
        folder.mkdir(parents=True, exist_ok=True)
        total = sum(member.info.file_size for member in files)
        if shutil.disk_usage(folder).free < total * DISK_SPARE:
            raise _disk_full(total)
        try:
            for member in files:
                _write_member(archive, member, folder.joinpath(*member.name.split("/")), check)
        except OSError as error:
            if is_full_disk(error):
                raise _disk_full(total) from None
            raise


def _disk_full(total: int) -> RtcError:
    needed = sizes.size(int(total * DISK_SPARE))
    return RtcError(FaultCode.DISK_FULL, f"The disk is too full to unpack: {needed} must be free. Make room.")


def _write_member(archive: zipfile.ZipFile, member: Member, target: Path, check: Callable[[], None]) -> None:
    """Unpack one file, first under a temporary name; refuse it when its size is not the declared one."""
    part = target.with_name(f".{secrets.token_hex(8)}.part")  # a name that no other file of the archive has
    remaining = member.info.file_size
    try:
        with foreign_errors(f"The archive is damaged: {member.name!r} cannot be unpacked. Send it again."):
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member.info) as source, part.open("xb") as sink:
                while block := source.read(min(BLOCK, remaining + 1)):
                    check()
                    remaining -= len(block)
                    if remaining < 0:
                        break
                    sink.write(block)
        if remaining:
            raise bad_package(f"The archive is damaged: {member.name!r} has another size than it says.")
        part.replace(target)
    finally:
        with suppress(OSError):  # a name that no file can have, or that is a folder
            part.unlink(missing_ok=True)

"""The one way a zip from elsewhere becomes files: every member is checked first, and one bad member refuses the whole.

Used for packages on the worker and for results on the client; neither trusts the other's. Memory stays constant.
"""

import errno
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import trio

from protocol.faults import FaultCode
from protocol.fields import is_printable
from rtc.common.errors import RtcError
from rtc.common.windows_names import is_reserved_on_windows

MEMBERS_MAX = 20_000
TOTAL_MAX = 100 * 10**9
"""Bytes, unpacked."""
RATIO_MAX = 200
"""Unpacked over packed size; real labels and checkpoints stay far below."""
RATIO_FREE_BELOW = 10 * 2**20
"""Bytes up to which a member may be packed tighter: a small file of zeros harms nobody."""
DIRECTORY_MAX = 16 * 2**20
"""Bytes of the zip's own table of contents, which `zipfile` reads into memory as a whole."""
MEMBER_NAME_MAX = 1000
PART_MAX = 200
"""Characters of one path component; file systems end at 255 bytes."""
DISK_SPARE = 1.2
"""Free disk asked for, as a multiple of what will be unpacked."""
BLOCK = 1024 * 1024

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)
"""What `zipfile` raises on damaged, cut or foreign archives; the last two are offsets that no file can have."""
_ZIP64 = 0xFFFFFFFF


def bad(text: str) -> RtcError:
    """The refusal of an archive, with its sentence."""
    return RtcError(FaultCode.BAD_PACKAGE, text)


def open_file(path: Path) -> BinaryIO:
    """Open a person's file for reading.

    Raises:
        RtcError: USAGE: it is no ordinary file (a pipe would make us wait for ever), or cannot be read.
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
    """Open a zip file for reading; damage found while it is open is told in one sentence.

    Raises:
        RtcError: USAGE when there is no such file; BAD_PACKAGE when it is no zip, or a damaged one.
    """
    with open_file(path) as file:
        try:
            if _directory_size(file) > DIRECTORY_MAX:
                raise bad(f"{path.name} holds too many files.")
            with zipfile.ZipFile(file) as archive:
                yield archive
        except _DAMAGE:
            raise _damaged(path) from None
        except OSError as error:
            if error.errno == errno.EINVAL:  # the system's own word for an offset that no file can have
                raise _damaged(path) from None
            raise


def _damaged(path: Path) -> RtcError:
    return bad(f"{path.name} is not a zip archive, or is damaged. Export or send it again.")


def _directory_size(file: BinaryIO) -> int:
    """Bytes of the table of contents as the file's end declares it (APPNOTE.TXT 4.3.14 and 4.3.16)."""
    end = file.seek(0, 2)
    file.seek(max(0, end - 65_557))  # the end record, and the longest comment behind it
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise zipfile.BadZipFile
    size = int(struct.unpack_from("<L", tail, at + 12)[0])
    locator = tail[at - 20 : at]
    if at >= 20 and locator.startswith(b"PK\6\7"):
        file.seek(struct.unpack_from("<Q", locator, 8)[0])
        record = file.read(56)
        if record.startswith(b"PK\6\6"):
            size = max(size if size != _ZIP64 else 0, struct.unpack_from("<Q", record, 40)[0])
    return size


def members(archive: zipfile.ZipFile) -> tuple[zipfile.ZipInfo, ...]:
    """The files of an archive, without folders and macOS's hidden extras, after every check that needs no unpacking.

    Raises:
        RtcError: BAD_PACKAGE: one of them must not be unpacked, hence none is.
    """
    infos = archive.infolist()
    if len(infos) > MEMBERS_MAX:
        raise bad(f"The archive holds {len(infos)} files; more than {MEMBERS_MAX} are not taken.")
    for info in infos:
        check_name(info.orig_filename)
        _check_kind(info)
    files = tuple(info for info in infos if not info.is_dir() and not _is_junk(info.filename))
    _check_clashes(files)
    _check_overlaps(infos)
    if sum(info.file_size for info in files) > TOTAL_MAX:
        raise bad("The archive says it unpacks to more than 100 GB, which is not taken.")
    return files


def check_name(name: str) -> None:
    """Whether a member of an archive may have this name.

    Raises:
        RtcError: BAD_PACKAGE: it may not, and why.
    """
    parts = name.removesuffix("/").split("/")
    if not is_printable(name):
        raise bad("The archive holds a file whose name has characters that cannot be shown.")
    if len(name) > MEMBER_NAME_MAX or any(len(part.encode()) > PART_MAX for part in parts):
        raise bad("The archive holds a file whose name is too long.")
    if name.startswith("/") or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
        raise bad(f"The archive holds {name!r}, which could lead out of its folder. Pack it again with plain names.")
    if any(is_reserved_on_windows(part) or part.endswith((" ", ".")) for part in parts):
        raise bad(f"The archive holds {name!r}, a name that Windows keeps for itself. Rename it and pack again.")


def _check_kind(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise bad(f"The archive holds {info.filename!r}, which is a link or a device. Only plain files are taken.")
    if info.flag_bits & 0x1:
        raise bad("The archive is encrypted. Pack it again without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise bad("The archive is packed in an unusual way. Pack it again as an ordinary zip (deflate).")
    if info.file_size > RATIO_FREE_BELOW and info.file_size > RATIO_MAX * info.compress_size:
        raise bad(f"The archive holds {info.filename!r}, which unpacks to a suspiciously large size.")


def _check_clashes(files: tuple[zipfile.ZipInfo, ...]) -> None:
    """No two names may fall together on a disk that ignores case or Unicode form, nor a file be another's folder."""
    taken: set[str] = set()
    folders: set[str] = set()
    for info in files:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", info.filename).casefold())
        if key in taken:
            raise bad(f"The archive holds {info.filename!r} twice, or names that differ only in upper and lower case.")
        taken.add(key)
        parts = key.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    if taken & folders:
        raise bad("The archive holds a file and a folder of the same name.")


def _check_overlaps(infos: list[zipfile.ZipInfo]) -> None:
    """Members that share bytes are how a small zip unpacks to a huge tree."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise bad("The archive is damaged: its files overlap.")
        end = info.header_offset + 30 + info.compress_size  # 30: the fixed part of a local header


def _is_junk(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] == ".DS_Store"


async def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip into a folder, which is made if need be and should be empty.

    On failure or cancellation the folder may hold some whole files, never a half one; the caller removes it.

    Raises:
        RtcError: USAGE, BAD_PACKAGE or DISK_FULL, before anything is written where that can be known.
    """
    await trio.to_thread.run_sync(_unpack, archive, folder, trio.from_thread.check_cancelled)


def _unpack(path: Path, folder: Path, check: Callable[[], None]) -> None:
    with open_zip(path) as archive:
        files = members(archive)
        folder.mkdir(parents=True, exist_ok=True)
        total = sum(info.file_size for info in files)
        if shutil.disk_usage(folder).free < total * DISK_SPARE:
            raise _disk_full(total)
        try:
            for info in files:
                _write_member(archive, info, folder.joinpath(*info.filename.split("/")), check)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _disk_full(total) from None
            raise


def _disk_full(total: int) -> RtcError:
    needed = total * DISK_SPARE / 1e9
    return RtcError(FaultCode.DISK_FULL, f"The disk is too full to unpack: {needed:.1f} GB must be free. Make room.")


def _write_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, check: Callable[[], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    left = info.file_size
    try:
        with archive.open(info) as source, part.open("xb") as sink:
            while block := source.read(min(BLOCK, left + 1)):
                check()
                left -= len(block)
                if left < 0:
                    break
                sink.write(block)
        if left:
            raise bad(f"The archive is damaged: {info.filename!r} has another size than it says.")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)

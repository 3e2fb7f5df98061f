"""The names of the members of a zip archive, as people know them: in Unicode, with `/` between folders.

Programs for archives write names in three ways: in UTF-8 with the flag that says so, in UTF-8 without the flag
(Info-ZIP, the Finder of macOS), or in the code page of the console (older Windows). Source: APPNOTE.TXT, appendix D.
"""

import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress

from rtc.packages.foreign_errors import FOREIGN_ERRORS
from rtc.packages.text_encoding import CODE_PAGES, possible_texts

_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075
"""The extra field of Info-ZIP that holds the name in UTF-8 (APPNOTE.TXT, section 4.6.9)."""
_CONSOLE = "cp437"
"""What `zipfile` decodes names with that have no flag. Each byte is a character of it, so the bytes can be had back."""
_NAMING_FILES = ("jobs.yaml", "train-script.sh", "inference-script.sh")
"""Files of a package that name others; by them the code page of the names is chosen."""
_TEXT_MAX = 2**16
"""Maximum number of bytes that are read of each of them; real ones have 2 kB."""
_NAMES_MAX = 50
"""Maximum number of names that are looked for in them."""
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
"""Suffixes of the images that sleap-io 0.9 looks for in a folder (`ImageVideo.find_images`), in small letters only; it
sorts them by name, character by character, and does not look into folders of the folder."""
_IMAGES = tuple(ending.encode() for ending in IMAGE_ENDINGS)
"""Endings of files of which there may be thousands, and which no text names one by one."""
_SAME_FOLDER = "./"
_ESCAPES = re.compile(r"\\x([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})")
_FOLD = re.compile(r"\\\r?\n[ \t]*\\?")
"""Where PyYAML breaks a long text in quotes."""
_IGNORED_FOLDERS = frozenset(
    {"__macosx", ".spotlight-v100", ".trashes", ".fseventsd", ".temporaryitems", ".documentrevisions-v100"}
    | {".appledouble", "$recycle.bin", "system volume information", "@eadir", "#recycle", "lost+found"}
    | {".git", ".hg", ".svn", ".ipynb_checkpoints", "__pycache__"}
)
_IGNORED_FILES = frozenset(
    {".ds_store", ".localized", ".apdisk", ".volumeicon.icns", "icon\r", ".directory", ".dropbox", ".dropbox.attr"}
    | {"desktop.ini", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db"}
)


def member_names(archive: zipfile.ZipFile) -> tuple[str, ...]:
    """Return the name of each member, in the order of `infolist`. It is not checked yet.

    `\\` is read as `/`, which it stands for in archives of SLEAP and other programs on Windows. The `./` that
    the tar of Windows and macOS writes before each name of a folder is left out.
    """
    infos = archive.infolist()
    names = [_unicode_name(info) for info in infos]
    unknown = [_raw_name(info) for info, name in zip(infos, names, strict=True) if name is None]
    encoding = _choose_code_page(archive, unknown) if unknown else _CONSOLE
    decoded = (
        _raw_name(info).decode(encoding, errors="replace") if name is None else name
        for info, name in zip(infos, names, strict=True)
    )
    plain = (name.replace("\\", "/") for name in decoded)
    return tuple(name if name == _SAME_FOLDER else name.removeprefix(_SAME_FOLDER) for name in plain)


def is_ignored(name: str) -> bool:
    """Return whether a file is one that macOS, Windows, a disk or a version control system adds to folders.

    A name that could lead out of its folder is never ignored, so that it is refused.
    """
    *folders, base = (part.casefold() for part in name.split("/"))
    if name == _SAME_FOLDER:
        return True
    if not name or name.startswith("/") or ".." in folders or base == "..":
        return False
    return base.startswith("._") or base in _IGNORED_FILES or not _IGNORED_FOLDERS.isdisjoint(folders)


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode(_CONSOLE)


def _unicode_name(info: zipfile.ZipInfo) -> str | None:
    """Return the name of a member, or None if it is in a code page."""
    if info.flag_bits & _UTF8_FLAG or info.orig_filename.isascii():
        return info.orig_filename
    raw = _raw_name(info)
    with suppress(UnicodeDecodeError, struct.error):
        return _unicode_path(info.extra, raw) or raw.decode()
    return None


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """Return the name in the extra field `_UNICODE_PATH`; empty when there is none, or it belongs to another name.

    Raises:
        struct.error: the extra fields are damaged.
        UnicodeDecodeError: the name is not UTF-8.
    """
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_PATH:
            version, checksum = struct.unpack_from("<BL", extra, 4)
            return extra[9 : 4 + size].decode() if version == 1 and checksum == zlib.crc32(raw) else ""
        extra = extra[4 + size :]
    return ""


def _choose_code_page(archive: zipfile.ZipFile, raw_names: Sequence[bytes]) -> str:
    """Return the code page in which most names occur in the files of the package that name others."""
    texts = {_compared(text) for text in _naming_texts(archive)}
    sample = sorted(raw_names, key=lambda raw: raw.lower().endswith(_IMAGES))[:_NAMES_MAX]
    found = {encoding: _count_found(sample, encoding, texts) for encoding in (_CONSOLE, *CODE_PAGES)}
    return max(found, key=found.__getitem__)


def _count_found(raw_names: Sequence[bytes], encoding: str, texts: set[str]) -> int:
    try:
        names = {raw.decode(encoding).replace("\\", "/").rstrip("/").rpartition("/")[2] for raw in raw_names}
    except UnicodeDecodeError:
        return 0
    compared = {_compared(name.partition(".")[0]) for name in names}
    compared = {name for name in compared if not name.isascii()}
    return sum(any(name in text for text in texts) for name in compared)


def _naming_texts(archive: zipfile.ZipFile) -> list[str]:
    """Return what `_NAMING_FILES` may say, with the escapes of YAML replaced; nothing for one that cannot be read."""
    texts: list[str] = []
    for info in archive.infolist():
        if info.orig_filename.replace("\\", "/").rpartition("/")[2].casefold() in _NAMING_FILES:
            with suppress(*FOREIGN_ERRORS, OSError), archive.open(info) as file:
                texts += possible_texts(file.read(_TEXT_MAX))
        if len(texts) > len(_NAMING_FILES) * len(CODE_PAGES):
            break
    return [_ESCAPES.sub(lambda found: chr(int(found[1] or found[2], 16)), _FOLD.sub("", text)) for text in texts]


def _compared(text: str) -> str:
    return unicodedata.normalize("NFC", text)

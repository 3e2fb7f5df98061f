"""Names that any file system, shell and terminal shows as they are, and that never fall together."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

NAME_LENGTH = 100
"""Bytes of UTF-8 in a name of ours: file systems end at 255, and a hundred names must fit into one `JobStarted`."""


def plain_name(name: str, otherwise: str) -> str:
    """A file's or folder's name, made plain; `otherwise` when nothing is left of it."""
    plain = re.sub(r"[^\w.=+@ ()-]", "_", name).encode()[:NAME_LENGTH].decode(errors="ignore")
    return plain.strip(" .-") or otherwise


def plain_file(name: str, otherwise: str) -> str:
    """A file's name, made plain; however long it is, its ending stays."""
    suffix = PurePosixPath(name).suffix if len(name.encode()) > NAME_LENGTH else ""
    stem = name.removesuffix(suffix).encode()[: NAME_LENGTH - len(suffix.encode())].decode(errors="ignore")
    return plain_name(stem + suffix, otherwise)


def short_name(path: str) -> str:
    """The last part of a path of any system, for a sentence."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1][:NAME_LENGTH]


def fresh(path: str, taken: Iterable[str], ending: str = "") -> str:
    """This path, or with a number before its ending where one like it is taken."""
    used = {_key(name) for name in taken}
    base = path.removesuffix(ending)
    candidate, count = base + ending, 2
    while _key(candidate) in used:
        candidate, count = f"{base}-{count}{ending}", count + 1
    return candidate


def _key(path: str) -> str:
    """What a disk that ignores case and Unicode form sees (macOS, Windows)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def slashed(path: str) -> str:
    """A relative path written plainly; SLEAP on Windows writes backslashes."""
    return PurePosixPath(path.replace("\\", "/")).as_posix()

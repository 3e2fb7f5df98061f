"""File names that every file system, shell and terminal accepts unchanged, and that never collide with each other."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

NAME_LENGTH = 100
"""Maximum length of a name that we choose, in bytes of UTF-8.

File systems allow 255 bytes, but a hundred names must fit into one `JobStarted` message.
"""


def plain_name(name: str, default: str) -> str:
    """Return the name of a file or folder with unusual characters replaced by `_`, at most NAME_LENGTH bytes long.

    Return `default` when no character remains.
    """
    plain = re.sub(r"[^\w.=+@ ()-]", "_", name).encode()[:NAME_LENGTH].decode(errors="ignore")
    return plain.strip(" .-") or default


def plain_file(name: str, default: str) -> str:
    """Return a file's name made plain as `plain_name` does; a name that is too long keeps its suffix (`.mp4`)."""
    suffix = PurePosixPath(name).suffix if len(name.encode()) > NAME_LENGTH else ""
    stem = name.removesuffix(suffix).encode()[: NAME_LENGTH - len(suffix.encode())].decode(errors="ignore")
    return plain_name(stem + suffix, default)


def base_name(path: str) -> str:
    """Return the last component of a path, for an error text; both `/` and `\\` separate components."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1][:NAME_LENGTH]


def unused_path(path: str, taken: Iterable[str], ending: str = "") -> str:
    """Return `path` if it collides with no name in `taken`, otherwise `path` with `-2`, `-3`, … before its `ending`.

    Two names collide when a disk that ignores case or Unicode form would store them as one file.
    """
    used = {collision_key(name) for name in taken}
    base = path.removesuffix(ending)
    candidate, count = base + ending, 2
    while collision_key(candidate) in used:
        candidate, count = f"{base}-{count}{ending}", count + 1
    return candidate


def collision_key(path: str) -> str:
    """Return the form of a path in which a disk compares names if it ignores case and Unicode form (macOS, Windows)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def posix_path(path: str) -> str:
    """Return a relative path with forward slashes and without `./`; SLEAP on Windows writes backslashes."""
    return PurePosixPath(path.replace("\\", "/")).as_posix()

"""File names that every file system, shell and terminal accepts unchanged, and that never collide with each other."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from attrs import define, field

from rtc.common.windows_names import is_reserved_on_windows
from rtc.packages.member_names import is_ignored

NAME_LENGTH = 100
"""Maximum length of a name that we choose, in bytes of UTF-8.

File systems allow 255 bytes, but a hundred names must fit into one `JobStarted` message.
"""


def plain_name(name: str, default: str) -> str:
    """Return the name of a file or folder with unusual characters replaced by `_`, at most NAME_LENGTH bytes long.

    A name that Windows keeps for itself (`COM3.mp4`), or that is ignored in an archive (`__MACOSX`), gets a `_` before
    it. Return `default` when no character remains.
    """
    plain = _replace_unusual(name).strip(" .-")
    return _cut(f"_{plain}" if _is_kept_for_others(plain) else plain, NAME_LENGTH).rstrip(" .-") or default


def plain_file(name: str, default: str) -> str:
    """Return a file's name made plain as `plain_name` does; it always keeps its suffix (`.mp4`)."""
    given = PurePosixPath(name).suffix
    suffix = _cut(_replace_unusual(given), NAME_LENGTH // 2).rstrip(" .-")
    stem = plain_name(name.removesuffix(given), default)
    return _cut(stem, NAME_LENGTH - len(suffix.encode())).rstrip(" .-") + suffix


def _is_kept_for_others(name: str) -> bool:
    return is_reserved_on_windows(name) or is_ignored(name) or is_ignored(f"{name}/file")


def _replace_unusual(name: str) -> str:
    return re.sub(r"[^\w.=+@ ()-]", "_", unicodedata.normalize("NFC", name))


def _cut(text: str, size: int) -> str:
    """Return the beginning of a text that has at most so many bytes of UTF-8."""
    return text.encode()[:size].decode(errors="ignore")


def base_name(path: str) -> str:
    """Return the last component of a path, for an error text; both `/` and `\\` separate components."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1][:NAME_LENGTH]


@define
class UsedNames:
    """Names that are taken already. Two names collide when a disk that ignores case or Unicode form stores one file.

    A name takes the same time however many there are.
    """

    _keys: set[str] = field(factory=set)
    _numbers: dict[str, int] = field(factory=dict)
    """The next number to try, by the name that was wanted."""

    @classmethod
    def of(cls, names: Iterable[str]) -> "UsedNames":
        """Return an object that has these names."""
        return cls({collision_key(name) for name in names})

    def __contains__(self, name: str) -> bool:
        return collision_key(name) in self._keys

    def add(self, name: str) -> None:
        """Add a name, which may be there already."""
        self._keys.add(collision_key(name))

    def choose(self, path: str, ending: str = "") -> str:
        """Add and return `path` if it collides with no name, else `path` with `-2`, `-3`, … before its `ending`."""
        base = path.removesuffix(ending)
        chosen, wanted = base + ending, collision_key(base + ending)
        while chosen in self:
            number = self._numbers.get(wanted, 2)
            chosen, self._numbers[wanted] = f"{base}-{number}{ending}", number + 1
        self.add(chosen)
        return chosen


def unused_path(path: str, taken: Iterable[str], ending: str = "") -> str:
    """Return what `UsedNames.choose` does, for one name; for several names, a `UsedNames` is much faster."""
    return UsedNames.of(taken).choose(path, ending)


def collision_key(path: str) -> str:
    """Return the form of a path in which a disk compares names if it ignores case and Unicode form (macOS, Windows)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def posix_path(path: str) -> str:
    """Return a relative path with forward slashes and without `./`; SLEAP on Windows writes backslashes."""
    return PurePosixPath(path.replace("\\", "/")).as_posix()

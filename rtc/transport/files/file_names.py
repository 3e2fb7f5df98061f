"""File names received from another machine: made safe here, in one place, for every operating system we run on."""

import re

from protocol.fields import is_printable
from rtc.common.windows_names import is_reserved_on_windows

FILE_NAME_MAX = 150
"""Characters, and bytes of UTF-8, in a safe name; file systems take 255 bytes, and we add suffixes."""
_UNSAFE = frozenset('<>:"|?*')


def safe_name(name: str, fallback: str = "file") -> str:
    """Return the last path component of `name`, changed so that it can only name an ordinary file in its folder.

    Removed are folders, drive letters, characters that are not printable or that Windows forbids, and spaces and dots
    at the ends. Names that Windows reserves get a leading underscore. `fallback` is returned when nothing is left.
    """
    last = re.split(r"[/\\]", name.strip())[-1]
    last = re.sub(r"^[A-Za-z]:", "", last)
    kept = "".join(char for char in last if is_printable(char) and char not in _UNSAFE)
    kept = kept.strip(" .")
    if len(kept.encode()) > FILE_NAME_MAX:
        kept = _shorten(kept)
    if not kept:
        return fallback
    return f"_{kept}" if is_reserved_on_windows(kept) else kept


def _shorten(name: str) -> str:
    """Shorten `name` to `FILE_NAME_MAX` bytes; keep a suffix of at most 20 bytes, and split no UTF-8 character."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode()) > 20:
        stem, dot, suffix = name, "", ""
    max_stem_bytes = FILE_NAME_MAX - len((dot + suffix).encode())
    return (stem.encode()[:max_stem_bytes].decode(errors="ignore") + dot + suffix).strip(" .")

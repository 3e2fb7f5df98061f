"""Tries what the file system of a folder can do. Network drives, and disks formatted for Windows, often cannot all."""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows; its own locks work on every file system, and nothing here is needed there
    fcntl = None  # type: ignore[assignment]


class Feature(Enum):
    """Something that a file system may lack; the value is what people call it."""

    LOCKS = "locks"
    """Both kinds: those of flock(2), and those of fcntl(2), which SQLite uses."""
    FIFOS = "FIFOs"
    SYMBOLIC_LINKS = "symbolic links"


def find_missing(folder: Path, needed: Iterable[Feature]) -> Feature | None:
    """Return the first of these features that the file system of a folder lacks; None if it has all.

    Each is tried in a temporary folder inside, which is removed. May block as long as a network drive does.

    Raises:
        OSError: nothing can be written there.
    """
    if fcntl is None:
        return None
    with tempfile.TemporaryDirectory(dir=folder, prefix=".sleap-rtc-try-", ignore_cleanup_errors=True) as name:
        (trial := Path(name, "file")).touch()
        for feature in needed:
            try:
                _TRIALS[feature](trial)
            except OSError:
                return feature
    return None


def has_locks(folder: Path) -> bool:
    """Return whether files in a folder can be locked; also True where nothing can be written, for another reason."""
    with suppress(OSError):
        return find_missing(folder, (Feature.LOCKS,)) is None
    return True


def _try_locks(path: Path) -> None:
    for lock in (fcntl.flock, fcntl.lockf):  # not at once: some systems make them of the same locks
        with path.open("r+b") as file:
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _try_fifos(path: Path) -> None:
    os.mkfifo(path.with_name("fifo"))


def _try_symbolic_links(path: Path) -> None:
    path.with_name("link").symlink_to(path)


_TRIALS: Mapping[Feature, Callable[[Path], None]] = {
    Feature.LOCKS: _try_locks,
    Feature.FIFOS: _try_fifos,
    Feature.SYMBOLIC_LINKS: _try_symbolic_links,
}

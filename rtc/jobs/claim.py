"""Whose job folder this is: a locked file inside it, held by the worker and by every trainer that it starts.

A worker that is killed cannot clean up, and its trainer may live on. The lock is the system's (flock, POSIX): it goes
with the last process that holds it, so the next worker can tell what was left behind from what is still in use.
"""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from attrs import frozen

LOCK = ".in-use"
"""No name that a package could have: `safe_name` takes leading dots away."""
FOLDERS = "job-*"


@frozen
class Claim:
    """A folder of ours, from `claim_folder` until `give_up` or `keep`."""

    folder: Path
    descriptor: int | None
    """The locked file, for trainers to inherit; None where the file system knows no locks."""

    def give_up(self) -> None:
        """Remove the folder, then let go of it."""
        _clear(self.folder)
        self._let_go()

    def keep(self) -> None:
        """Leave the folder to people: without its lock file no worker will ever take it for a leftover."""
        with suppress(OSError):  # where nothing can be removed, that will not be either
            (self.folder / LOCK).unlink()
        self._let_go()

    def _let_go(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)


def claim_folder(folder: Path) -> Claim:
    """Make a job's folder, locked before anybody can see it under its name.

    Raises:
        OSError: it cannot be made.
    """
    hidden = folder.with_name(f".{folder.name}")
    hidden.mkdir(mode=0o700, parents=True)
    try:
        descriptor = _lock(hidden / LOCK, os.O_CREAT | os.O_EXCL)
        if descriptor is None:  # some clusters' file systems have no locks; such a folder is never swept
            (hidden / LOCK).unlink()
        hidden.rename(folder)
    except OSError:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    return Claim(folder, descriptor)


def sweep(work: Path) -> tuple[str, ...]:
    """Remove what workers that were killed have left here, but nothing that anybody still uses; the folders' names."""
    return tuple(folder.name for folder in sorted(work.glob(FOLDERS)) if _sweep_one(folder))


def _sweep_one(folder: Path) -> bool:
    try:
        descriptor = _lock(folder / LOCK, 0)
    except OSError:  # no lock file: kept for people, or not ours
        return False
    if descriptor is None:
        return False
    _clear(folder)
    os.close(descriptor)
    return True


def _lock(path: Path, flags: int) -> int | None:
    """The locked file's descriptor; None when it cannot be locked."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _clear(folder: Path) -> None:
    """Remove a folder, its lock file last: if this is cut short, the rest can still be told for a leftover."""
    try:
        inside = [path for path in folder.iterdir() if path.name != LOCK]
    except OSError:
        return  # it is gone already
    for path in inside:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
    shutil.rmtree(folder, ignore_errors=True)

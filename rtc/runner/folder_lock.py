"""Whose job folder this is, told by two locked files inside it.

One is held by the worker that owns the job, and by nobody else: of workers that share a work folder, a dead one's jobs
are taken over by one other. The second is held by everybody who uses the folder (the worker, the job's keeper, its
trainers, which inherit it), so that whatever a job has left running can be found. The locks are the system's (flock,
POSIX): they go with the last process that holds them.

A folder has its name only while it is a job's: until it is whole, and as soon as it is to go, it has another one, so
that a worker killed in the midst of making or removing one leaves nothing that could be taken for a job.
"""

import fcntl
import logging
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from attrs import frozen

log = logging.getLogger("rtc.lock")

USERS_LOCK, OWNER_LOCK = ".in-use", ".owner"
"""No names that a package could have: `safe_name` takes leading dots away."""
FOLDER_GLOB = "job-*"
REMOVED_PREFIX = ".gone-"
"""What the name of a folder that is being removed begins with."""
CREATE_TIME_MAX = 3600.0
"""Seconds after which a folder that is not whole will never be: it takes some milliseconds."""


@frozen
class FolderLock:
    """A folder of ours, from `lock_folder` or `own_folder` until `give_up`, `keep` or `release`."""

    folder: Path
    owner: int | None
    """The worker's own locked file; None where the file system knows no locks."""
    descriptor: int | None = None
    """The locked file for trainers to inherit; None where there are no locks, or it was taken over from a worker."""

    def give_up(self) -> None:
        """Remove the folder, and let go of it."""
        removed = self.folder.with_name(REMOVED_PREFIX + self.folder.name)
        try:
            self.folder.rename(removed)
            _remove(removed)
        except FileNotFoundError:
            pass  # by hand
        except OSError as error:
            log.warning("%s could not be removed from the work folder: %s", self.folder.name, error.strerror)
        self.release()

    def keep(self) -> None:
        """Leave the folder to people: without its lock files no worker will ever take it for a job."""
        for name in (OWNER_LOCK, USERS_LOCK):
            with suppress(OSError):  # where nothing can be removed, that will not be either
                (self.folder / name).unlink()
        self.release()

    def release(self) -> None:
        """Leave everything as it is, for the next worker to own."""
        for descriptor in (self.owner, self.descriptor):
            if descriptor is not None:
                os.close(descriptor)


def lock_folder(folder: Path) -> FolderLock:
    """Make a job's folder, locked before anybody can see it under its name.

    Raises:
        OSError: it cannot be made.
    """
    hidden = folder.with_name(f".{folder.name}")
    hidden.mkdir(mode=0o700, parents=True)
    descriptors: list[int | None] = []
    try:
        for name in (OWNER_LOCK, USERS_LOCK):
            descriptors.append(lock_file(hidden / name, os.O_CREAT | os.O_EXCL))
            if descriptors[-1] is None:  # some clusters' file systems have no locks; such a folder is never taken over
                (hidden / name).unlink()
        hidden.rename(folder)
    except OSError:
        shutil.rmtree(hidden, ignore_errors=True)
        for descriptor in descriptors:
            if descriptor is not None:
                os.close(descriptor)
        raise
    owner, descriptor = descriptors
    return FolderLock(folder, owner, descriptor)


def list_folders(work: Path) -> tuple[Path, ...]:
    """The folders of all jobs, whoever's they are."""
    return tuple(sorted(work.glob(FOLDER_GLOB)))


def sweep_leftovers(work: Path) -> None:
    """Remove what is no job's folder any more, or never came to be one: its worker was killed in the midst of it."""
    unfinished = [folder for folder in work.glob(f".{FOLDER_GLOB}") if _age(folder) > CREATE_TIME_MAX]
    for folder in (*work.glob(f"{REMOVED_PREFIX}{FOLDER_GLOB}"), *unfinished):
        _remove(folder)


def own_folder(folder: Path) -> FolderLock | None:
    """Take over what a dead worker left; None when its worker lives, it was left to people, or it is gone."""
    try:
        owner = lock_file(folder / OWNER_LOCK, 0)
    except OSError:
        return None
    if owner is None:
        return None
    try:
        same_file = os.path.samestat(os.fstat(owner), (folder / OWNER_LOCK).lstat())
    except OSError:
        same_file = False
    if not same_file:  # removed by the one who owned it, between our opening and our locking
        os.close(owner)
        return None
    return FolderLock(folder, owner)


def wait_unlocked(path: Path) -> None:
    """Block until whoever holds this file's lock has died.

    Raises:
        OSError: there is no such file.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody who lives holds this file's lock."""
    try:
        descriptor = lock_file(path, 0)
    except OSError:
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def lock_file(path: Path, flags: int = 0) -> int | None:
    """The locked file's descriptor; None when it cannot be locked.

    Raises:
        OSError: it cannot be opened or, with those flags, made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.lstat().st_mtime
    except OSError:
        return 0.0


def _remove(folder: Path) -> None:
    """Remove a folder, whatever a job has left in it; what cannot be removed now is for the next sweep.

    Not by `rmtree`, which cannot empty folders that must not be written, nor a thousand in each other. Here those
    inside are moved up before they are emptied, so that no path grows long.
    """
    _make_writable(folder)
    pending = [folder]
    while pending:
        current = pending.pop()
        for path in _list_entries(current):
            with suppress(OSError):  # it is told below
                if path.is_dir() and not path.is_symlink():
                    _make_writable(path)
                    pending.append(path if current == folder else path.rename(folder / secrets.token_hex(8)))
                else:
                    path.unlink()
        if current != folder:
            with suppress(OSError):
                current.rmdir()
    try:
        folder.rmdir()
    except FileNotFoundError:
        pass  # another worker has swept it
    except OSError as error:
        log.warning("%s could not be removed wholly from the work folder: %s", folder.name, error.strerror)


def _make_writable(folder: Path) -> None:
    with suppress(OSError):
        folder.chmod(0o700)


def _list_entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []

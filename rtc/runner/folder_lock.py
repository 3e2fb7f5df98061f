"""Create, take over and remove job folders. Two locked files in each folder say which processes own and use it.

- `OWNER_LOCK` is locked by the worker that owns the job, and by no other process. When several workers share a work
  folder and one of them dies, exactly one other worker gets this lock and takes over the job.
- `USERS_LOCK` is held open by every process that uses the folder: the worker, the job's supervisor, and the sleap-nn
  processes, which inherit the descriptor. It is used to find what a job has left running.

Both locks are `flock(2)` locks: the kernel releases them when the last process that holds the descriptor ends.

Rule: a folder is named `job-…` only while it is complete. While it is created, its name is `.job-…`; while it is
removed, `.gone-job-…`. So a worker that is killed during either leaves nothing that could be mistaken for a job.
"""

import fcntl
import logging
import os
import secrets
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path

from attrs import frozen

log = logging.getLogger("rtc.lock")

USERS_LOCK, OWNER_LOCK = ".in-use", ".owner"
"""File names that no package can use: `safe_name` removes leading dots."""
FOLDER_GLOB = "job-*"
REMOVED_PREFIX = ".gone-"
"""Prefix of the name of a folder that is being removed."""
CREATE_TIME_MAX = 3600.0
"""Seconds after which an incomplete folder counts as abandoned. Creating one takes some milliseconds."""


@frozen
class FolderLock:
    """The locks that this worker holds on one job folder.

    Made by `create_locked_folder` or `take_over_folder`; ended by exactly one of `remove`, `leave_to_people` and
    `release`.
    """

    folder: Path
    owner_descriptor: int | None
    """Descriptor of the locked `OWNER_LOCK`; None where the file system has no locks."""
    users_descriptor: int | None = None
    """Descriptor of the locked `USERS_LOCK`, which the job's processes inherit.

    None where the file system has no locks, and for a folder that was taken over from another worker.
    """

    def remove(self) -> None:
        """Remove the folder and release its locks. What cannot be removed is logged and left for `sweep_leftovers`."""
        removed = self.folder.with_name(REMOVED_PREFIX + self.folder.name)
        try:
            self.folder.rename(removed)
            _remove(removed)
        except FileNotFoundError:
            pass  # a person has removed it
        except OSError as error:
            log.warning("%s could not be removed from the work folder: %s", self.folder.name, error.strerror)
        self.release()

    def leave_to_people(self) -> None:
        """Release the locks and delete the lock files, so that no worker takes the folder over; people can read it."""
        for name in (OWNER_LOCK, USERS_LOCK):
            with suppress(OSError):  # where a lock file cannot be deleted, no worker can remove the folder either
                (self.folder / name).unlink()
        self.release()

    def release(self) -> None:
        """Release the locks and leave the files as they are, so that the next worker can take the job over."""
        for descriptor in (self.owner_descriptor, self.users_descriptor):
            if descriptor is not None:
                os.close(descriptor)


def create_locked_folder(folder: Path) -> FolderLock:
    """Create a job's folder with mode 0700 and return its locks. The folder gets its name only after it is locked.

    Raises:
        OSError: the folder or a lock file cannot be created. Nothing is left on the disk then.
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
    """Return the job folders of all workers of this user in this work folder, sorted by name."""
    return tuple(sorted(filter(_is_ours, work.glob(FOLDER_GLOB))))


def sweep_leftovers(work: Path) -> None:
    """Remove the folders whose worker was killed while it removed them, or while it created them.

    The second kind is removed only `CREATE_TIME_MAX` seconds later, since another worker may be creating it now.
    """
    unfinished = [folder for folder in work.glob(f".{FOLDER_GLOB}") if _age(folder) > CREATE_TIME_MAX]
    for folder in filter(_is_ours, (*work.glob(f"{REMOVED_PREFIX}{FOLDER_GLOB}"), *unfinished)):
        _remove(folder)


def take_over_folder(folder: Path) -> FolderLock | None:
    """Take over the folder of a dead worker and return its locks.

    None when its worker is alive, when the folder was left to people (`FolderLock.leave_to_people`), or when it was
    removed.
    """
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
    if not same_file:  # its owner has removed it between our open and our flock
        os.close(owner)
        return None
    return FolderLock(folder, owner)


def wait_unlocked(path: Path) -> None:
    """Block the calling thread until no process holds an exclusive lock on this file.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Return whether a living process holds a lock on this file; False when the file cannot be opened.

    Also True where the file system has no locks.
    """
    try:
        descriptor = lock_file(path, 0)
    except OSError:
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def lock_file(path: Path, flags: int = 0) -> int | None:
    """Open a file, lock it exclusively, and return its descriptor; None when it cannot be locked now.

    The descriptor is closed on exec. `flags` are added to those of `os.open`.

    Raises:
        OSError: the file cannot be opened or, with `O_CREAT`, created.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _is_ours(folder: Path) -> bool:
    """Return whether this is a folder that belongs to this user, and no symbolic link.

    Where others can write into the work folder too, they could put something there that has the name of a job.
    """
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _age(folder: Path) -> float:
    """Return the seconds since the folder was changed last; 0 when it does not exist any more."""
    try:
        return time.time() - folder.lstat().st_mtime
    except OSError:
        return 0.0


def _remove(folder: Path) -> None:
    """Remove a folder, whatever a job has left in it. What cannot be removed is logged and left for the next sweep.

    `shutil.rmtree` is not enough: it cannot empty read-only folders, nor a thousand folders inside each other. Here
    each subfolder is made writable and moved up to `folder` before it is emptied, so that no path grows long. If the
    job's code has put a link or a file in the place of its folder, only that is removed, and not what the link names.
    """
    if not _is_ours(folder):
        _remove_entry(folder)
        return
    _make_writable(folder)
    pending = [folder]
    while pending:
        current = pending.pop()
        for path in _list_entries(current):
            with suppress(OSError):  # the rmdir at the end fails then, which is logged
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
        pass  # another worker has removed it
    except OSError as error:
        log.warning("%s could not be removed wholly from the work folder: %s", folder.name, error.strerror)


def _remove_entry(path: Path) -> None:
    """Remove a link or a file; a folder of somebody else stays."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s could not be removed from the work folder: %s", path.name, error.strerror)


def _make_writable(folder: Path) -> None:
    with suppress(OSError):
        folder.chmod(0o700)


def _list_entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []

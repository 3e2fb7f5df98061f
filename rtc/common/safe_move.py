"""Moves files and folders without ever losing one: renamed where possible, otherwise copied, compared, and removed.

Rules: nothing that exists is overwritten. A symbolic link is moved itself; what it names is neither read nor removed.
An original is removed only when its copy is whole, on the disk, and the same.
"""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

COPY_PREFIX = ".sleap-rtc-copy-"
"""How the names of copies begin that are not whole yet."""
PIECE = 2**20
"""Bytes that are read at a time."""
_BINARY = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | _BINARY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY


def rename_new(source: Path, target: Path) -> None:
    """Rename a file, folder or link; `target` must not exist. Callers hold a lock: nobody else makes it meanwhile.

    Raises:
        FileExistsError: `target` exists.
        OSError: it cannot be renamed; `errno.EXDEV` if that is on another file system.
    """
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)


def move(source: Path, target: Path) -> None:
    """Move a file, folder or link to a path that must not exist.

    Raises:
        FileExistsError: `target` exists.
        OSError: it cannot be moved. `source` is whole; a copy, if there is one at `target`, is whole, too.
    """
    try:
        rename_new(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_copy(source, target)


def _move_copy(source: Path, target: Path) -> None:
    copy = new_copy_path(target.parent)
    try:
        copy_checked(source, copy)
        rename_new(copy, target)
    except BaseException:
        remove_tree(copy)
        raise
    remove_tree(source)


def new_copy_path(folder: Path) -> Path:
    """Return a new path in this folder for a copy that is not whole yet."""
    return folder / f"{COPY_PREFIX}{secrets.token_hex(8)}"


def remove_dead_copies(folder: Path) -> None:
    """Remove the copies in a folder that programs which were killed have left. Callers hold the lock of those moves."""
    for copy in folder.glob(f"{COPY_PREFIX}*"):
        remove_tree(copy)


def copy_checked(source: Path, target: Path) -> None:
    """Copy a file, folder or link with its modes and times, and compare the copy with the original.

    Raises:
        OSError: it cannot be copied, holds what cannot be (a device), or has changed meanwhile.
    """
    _copy(source, target)
    if not is_same(source, target):
        raise OSError(errno.EBUSY, "it changes while it is copied", str(source))


def _copy(source: Path, target: Path) -> None:
    pending = [(source, target)]
    folders: list[tuple[Path, os.stat_result]] = []
    while pending:
        old, new = pending.pop()
        found = old.lstat()
        if stat.S_ISDIR(found.st_mode):
            new.mkdir(mode=0o700)
            folders.append((new, found))
            pending += [(path, new / path.name) for path in old.iterdir()]
        else:
            _copy_entry(old, new, found)
    for new, found in reversed(folders):  # the inner ones first: filling a folder changes its time
        os.chmod(new, stat.S_IMODE(found.st_mode))
        os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))
        _sync_folder(new)


def _copy_entry(old: Path, new: Path, found: os.stat_result) -> None:
    """Copy what is no folder.

    Raises:
        OSError: it cannot be copied.
    """
    if stat.S_ISLNK(found.st_mode):
        new.symlink_to(old.readlink())
    elif stat.S_ISREG(found.st_mode):
        _copy_file(old, new)
    elif stat.S_ISFIFO(found.st_mode):
        os.mkfifo(new, stat.S_IMODE(found.st_mode))
    elif not stat.S_ISSOCK(found.st_mode):  # a socket is of no use without the program that had made it
        raise OSError(errno.EINVAL, "something else than a file is in the way", str(old))


def _copy_file(old: Path, new: Path) -> None:
    with open(os.open(old, _READ), "rb") as source, open(os.open(new, _WRITE, 0o600), "wb") as copy:
        shutil.copyfileobj(source, copy, PIECE)
        copy.flush()
        os.fsync(copy.fileno())
        found = os.fstat(source.fileno())
    os.chmod(new, stat.S_IMODE(found.st_mode))
    os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_same(one: Path, other: Path) -> bool:
    """Return whether two files, folders or links have the same content; sockets are left out.

    Raises:
        OSError: one of them cannot be read.
    """
    pending = [(one, other)]
    while pending:
        first, second = pending.pop()
        a, b = first.lstat().st_mode, second.lstat().st_mode
        if stat.S_IFMT(a) != stat.S_IFMT(b):
            return False
        if stat.S_ISDIR(a):
            names = _names(first)
            if names != _names(second):
                return False
            pending += [(first / name, second / name) for name in names]
        elif stat.S_ISLNK(a):
            if first.readlink() != second.readlink():
                return False
        elif stat.S_ISREG(a) and not _same_bytes(first, second):
            return False
    return True


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not stat.S_ISSOCK(path.lstat().st_mode))


def _same_bytes(one: Path, other: Path) -> bool:
    with open(os.open(one, _READ), "rb") as first, open(os.open(other, _READ), "rb") as second:
        while True:
            piece = first.read(PIECE)
            if piece != second.read(PIECE):
                return False
            if not piece:
                return True


def remove_tree(path: Path) -> None:
    """Remove a file, a link (not what it names) or a folder with what is in it; what cannot be removed stays."""
    with suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            _make_writable(path)
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _make_writable(folder: Path) -> None:
    """Let the folders inside a folder be emptied: jobs may leave some that are read-only."""
    _allow_all(folder)
    for parent, names, _ in os.walk(folder):  # does not follow links, and enters a folder after its parent
        for name in names:
            _allow_all(Path(parent, name))


def _allow_all(folder: Path) -> None:
    with suppress(OSError):  # it is somebody else's
        if not folder.is_symlink():
            folder.chmod(0o700)


def size_of(path: Path) -> int:
    """Return the bytes of all files in a folder, or of one file; what cannot be read counts as nothing."""
    return sum(_size(each) for each in _walk(path))


def _walk(path: Path) -> Iterator[Path]:
    yield path
    for folder, folders, files in os.walk(path):  # does not follow links
        yield from (Path(folder, name) for name in (*folders, *files))


def _size(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0

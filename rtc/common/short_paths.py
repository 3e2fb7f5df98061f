"""A short path for a job's temporary folder, wherever the job's own folder is.

Programs make Unix sockets in their temporary folder, whose whole path may have 107 bytes (unix(7)): Python's
multiprocessing `pymp-…/listener-…`, PyTorch's `torch-shm-dir-…/manager.sock`, others longer ones. Where it is too long,
some of them fail, and a trainer with loader processes waits for ever. So a job's TMPDIR is a link such as
`/tmp/srtc-1000/3fa9c1`, which leads to a folder on the job's own disk.

Other users of the machine can write into `/tmp`. So the link is in a folder of this user that nobody else can enter,
and if somebody has taken the name of that folder, another name is used.
"""

import logging
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import trio
from attrs import define

log = logging.getLogger("rtc.short_paths")

PLACES = ("/tmp", "/var/tmp", "/run/user/{uid}", "/dev/shm")  # noqa: S108 (see `_is_safe` and `_own_folder`)
"""Where the link may be; the first place that is there and safe."""
FOLDERS_MAX = 100
"""Folders with our name in one place that are looked at."""
TRIES = 5
"""Times that a link is tried to be made, while others remove the folder that it is in because it is empty."""
KEEP_PERIOD = 10.0
"""Seconds between two looks whether the link is still there."""
_OWNER = ".job"
"""In a folder that is no link: a link to the job's folder, which shows whether the job is still there."""
_NOBODY = 65534
"""The owner of what belongs to no user of a container (user_namespaces(7))."""


@define
class ShortPath:
    """A short path that leads to a job's temporary folder; made by `open_short_path_to`."""

    path: Path
    _folder: Path
    _descriptor: int | None = None
    """Where no place can be used: the folder, which the others find by `/proc`."""
    _lost: bool = False

    async def keep(self) -> None:
        """Make the link again when somebody has removed it, and keep it young, until cancelled.

        A cleaner of temporary folders (systemd-tmpfiles(8), tmpreaper(8)) removes what was not used for days, and a
        training may take longer. Programs look the path up whenever they make a file.
        """
        while self._descriptor is None and self.path != self._folder:
            await trio.sleep(KEEP_PERIOD)
            self.restore()

    def restore(self) -> None:
        """Make the link again if it is gone, and set its times to now. What cannot be done is logged once."""
        try:
            if not _is_own_private(self.path.parent):
                self.path.parent.mkdir(mode=0o700)
            if not os.path.lexists(self.path):
                log.info("%s had been removed, and is made again", self.path)
                _fill(self.path, self._folder)
            for path in (self.path, self.path.parent):
                os.utime(path, follow_symlinks=False)
        except OSError as error:
            if not self._lost:
                log.warning("%s, the job's temporary folder, cannot be kept: %s", self.path, error.strerror)
            self._lost = True

    def remove(self) -> None:
        """Remove the link, and the folder that it is in when nothing else is in it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        elif self.path != self._folder:
            with suppress(OSError):
                _remove(self.path)
            with suppress(OSError):
                self.path.parent.rmdir()


@contextmanager
def open_short_path_to(folder: Path) -> Iterator[ShortPath]:
    """Give a short path that leads to a folder, while the context lasts.

    Where no link can be made, it is a path below `/proc`, and where there is none, the folder itself. For a disk on
    which no sockets can be made (as with some shared folders of virtual machines), it is a new folder in `/tmp`.
    """
    remove_dead_links()
    short = _make(folder)
    try:
        yield short
    finally:
        short.remove()


def remove_dead_links() -> None:
    """Remove what programs that were killed have left, once the folders of their jobs are gone."""
    for place in _places():
        for own in _own_folders(place):
            with suppress(OSError):  # another program has just removed it
                for path in own.iterdir():
                    owner = path if path.is_symlink() else path / _OWNER
                    if owner.is_symlink() and not owner.exists():
                        _remove(path)
                own.rmdir()


def _make(folder: Path) -> ShortPath:
    for place in _places():
        for _ in range(TRIES):
            with suppress(OSError):
                path = _own_folder(place) / secrets.token_hex(3)
                _fill(path, folder)
                return ShortPath(path, folder)
    log.warning("no short link to a job's temporary folder could be made in %s", ", ".join(PLACES))
    return _by_descriptor(folder)


def _by_descriptor(folder: Path) -> ShortPath:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        if path.exists():
            return ShortPath(path, folder, descriptor)
        os.close(descriptor)
    return ShortPath(folder, folder)


def _fill(path: Path, folder: Path) -> None:
    """Make the link; or, where no socket can be made in the folder, a new folder in its place.

    Raises:
        OSError: neither can be made.
    """
    path.symlink_to(folder)
    if _takes_sockets(path):
        return
    path.unlink()
    path.mkdir(mode=0o700)
    (path / _OWNER).symlink_to(folder)


def _takes_sockets(folder: Path) -> bool:
    name = folder / f".{secrets.token_hex(4)}"
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(name))
        name.unlink()
    except OSError:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


# -------- places


def _places() -> Iterator[Path]:
    """Yield the places that are there, and in which nobody else can replace what is ours."""
    for name in PLACES:
        place = Path(name.format(uid=os.geteuid()))
        with suppress(OSError):
            if _is_safe(place.stat()):
                yield place


def _is_safe(place: os.stat_result) -> bool:
    """Return whether only we and the administrator can rename or remove what we make there."""
    alone = not place.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or bool(place.st_mode & stat.S_ISVTX)
    return stat.S_ISDIR(place.st_mode) and alone and place.st_uid in (0, os.geteuid(), _NOBODY)


def _own_folder(place: Path) -> Path:
    """Return the folder of this user in a place, which nobody else can enter; make it if necessary.

    Raises:
        OSError: it cannot be made.
    """
    first = place / _name()
    with suppress(FileExistsError):
        first.mkdir(mode=0o700)
    if (own := next(_own_folders(place), None)) is not None:
        return own
    another = place / f"{_name()}-{secrets.token_hex(2)}"
    another.mkdir(mode=0o700)
    return another


def _own_folders(place: Path) -> Iterator[Path]:
    """Yield the folders with our name in a place that are really ours."""
    with suppress(OSError):
        for path in (place / _name(), *islice(place.glob(f"{_name()}-*"), FOLDERS_MAX)):
            if _is_own_private(path):
                yield path


def _name() -> str:
    return f"srtc-{os.geteuid()}"


def _is_own_private(path: Path) -> bool:
    """Return whether this is a folder of ours; then nobody else can enter it any more."""
    try:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return False
        if stat.S_IMODE(found.st_mode) != stat.S_IRWXU:
            path.chmod(stat.S_IRWXU)
    except OSError:
        return False
    return True

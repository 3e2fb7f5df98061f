"""The private folder of one background worker, and the lock that says whether it runs.

Rule: no process id that was read from a file is used unless the lock is held. The kernel releases it when the worker
ends, however it ends, so an old file is never taken for a worker that runs.
"""

import errno
import fcntl
import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from protocol.converter import NotJson, WireError, from_json, to_json
from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.common.whole_file import read_small_file, write_whole_file
from rtc.worker.background.record import BackgroundRecord

RECORD_MAX = 256 * 1024
"""Bytes of a record that are read; one of eight workers has about 3000."""
NO_LOCKS = (
    "The folder {folder} is on a file system without locks, so a background worker cannot be told from another one. "
    "Put it on another disk with SLEAP_RTC_HOME."
)


@frozen
class BackgroundFolder:
    """The files of one background worker. Nothing in it needs to exist."""

    path: Path

    @property
    def lock(self) -> Path:
        """Locked by the worker as long as it lives."""
        return self.path / "lock"

    @property
    def starting(self) -> Path:
        """Locked by the command that starts the worker, until the worker has joined its room or has failed."""
        return self.path / "starting"

    @property
    def record_file(self) -> Path:
        """What the worker says of itself, as JSON."""
        return self.path / "worker.json"

    @property
    def banner(self) -> Path:
        """The newest banner: session string, room and token. For this user only."""
        return self.path / "banner.txt"

    @property
    def report(self) -> Path:
        """The FIFO through which the worker tells the starter what happens."""
        return self.path / "report"

    @property
    def hand_over(self) -> Path:
        """The FIFO through which the worker gets secrets of the command line; they are never in a file."""
        return self.path / "hand-over"

    @property
    def output(self) -> Path:
        """What Python and libraries print on their own. The log has the rest."""
        return self.path / "output.txt"

    def make(self) -> None:
        """Make the folder, which only this user can read.

        Raises:
            RtcError: USAGE: it cannot be made.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            text = (
                f"The folder {self.path} cannot be used ({error.strerror}). Choose another place with SLEAP_RTC_HOME."
            )
            raise RtcError(FaultCode.USAGE, text) from None

    def read(self) -> BackgroundRecord | None:
        """Return the newest record; None if there is none, or none that can be read."""
        try:
            text = read_small_file(self.record_file, RECORD_MAX + 1)
            record: BackgroundRecord = from_json(text, BackgroundRecord, limit=RECORD_MAX)
        except (OSError, NotJson, WireError):
            return None
        return record

    def write(self, record: BackgroundRecord) -> None:
        """Replace the record; a disk that is full leaves the older one."""
        with suppress(OSError):
            write_whole_file(self.record_file, to_json(record))

    def remove_banner(self) -> None:
        """Remove the newest banner, whose token nobody needs when the worker has ended."""
        with suppress(OSError):
            self.banner.unlink(missing_ok=True)

    def is_running(self) -> bool:
        """Return whether the worker lives.

        Raises:
            RtcError: USAGE: the file system has no locks.
        """
        try:
            descriptor = take_lock(self.lock, create=False)
        except FileNotFoundError:
            return False
        if descriptor is None:
            return True
        os.close(descriptor)
        return False


def take_lock(path: Path, *, create: bool = True) -> int | None:
    """Lock a file, and return its descriptor, which is closed on exec; None if another process has the lock.

    Raises:
        FileNotFoundError: there is no such file, and it is not to be made.
        RtcError: USAGE: the file cannot be opened, or its file system has no locks.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RtcError(FaultCode.USAGE, f"The file {path} cannot be used ({error.strerror}).") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise RtcError(FaultCode.USAGE, NO_LOCKS.format(folder=path.parent)) from None
    return descriptor


def wait_for_lock(path: Path) -> int:
    """Block the calling thread until the lock of this file is free; take it, and return the descriptor.

    Raises:
        OSError: the file cannot be opened or locked.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def file_name(name: str) -> str:
    """Return a name for files and units; two workers' names never have the same one.

    Letters, digits, `_`, `.` and `-` stay. If others are replaced, the beginning of the name's SHA-256 is added.
    """
    kept = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    if kept == name and not name.startswith((".", "-")):
        return name
    return f"{kept.lstrip('.-') or 'worker'}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"


def folder_of(state: Path, name: str) -> BackgroundFolder:
    """Return the folder of the background worker of this name, below the folder of our state."""
    return BackgroundFolder(state / "background" / file_name(name))


def all_folders(state: Path) -> list[BackgroundFolder]:
    """Return the folders of all background workers that were ever started here, sorted by name."""
    try:
        paths = sorted((state / "background").iterdir())
    except OSError:
        return []
    return [BackgroundFolder(path) for path in paths if path.is_dir() and not path.is_symlink()]

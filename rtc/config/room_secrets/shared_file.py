"""Changes a small private file that several programs use.

The file is replaced whole, never written in place, and its changes happen one after the other, under a lock.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rtc.common.file_system import has_locks
from rtc.common.private_folder import make_private_folder
from rtc.common.whole_file import write_whole_file
from rtc.config.room_secrets.files import unusable

LOCK_TIME = 10.0
"""Seconds to wait for another program that changes the file, which takes some milliseconds."""


TRIAL_BYTES = 64 * 1024
"""What is written to learn whether a disk has room for such a file, which has some hundred bytes for each room."""


def change_file(path: Path, place: str, make_text: Callable[[], str]) -> None:
    """Replace the text of a file, of mode 0600 from then on; nobody else changes it meanwhile.

    Args:
        path: the file, which may be missing, as may its folder. A symbolic link stays: what it leads to is replaced.
        place: what people call the file in texts.
        make_text: reads the file, and returns what it is to have. What it raises leaves the file as it is.

    Raises:
        RtcError: USAGE: the file is in use for too long, or cannot be written.
    """
    with locked(path, place):
        write_whole_file(Path(os.path.realpath(path)), make_text())


def check_changeable(path: Path, place: str) -> None:
    """Check that a file can be changed now, and its disk has room for it; the file stays as it is.

    Raises:
        RtcError: USAGE: as for `change_file`.
    """
    with locked(path, place), tempfile.TemporaryFile(dir=Path(os.path.realpath(path)).parent) as trial:
        trial.write(bytes(TRIAL_BYTES))
        trial.flush()


@contextmanager
def locked(path: Path, place: str) -> Iterator[None]:
    """Hold the lock of a file, whose folder is made if it is missing.

    Raises:
        RtcError: USAGE: another program has held the lock for `LOCK_TIME`; or the folder, or in the context the file,
            cannot be written.
    """
    from filelock import FileLock, SoftFileLock  # slow to import, and needed only by commands that change a file

    try:
        make_private_folder(path.parent)
        # where the file system has no locks: a file that is there as long as its maker lives, on this host at least
        kind, suffix = (FileLock, "lock") if has_locks(path.parent) else (SoftFileLock, "soft-lock")
        with kind(path.with_name(f"{path.name}.{suffix}"), timeout=LOCK_TIME, mode=0o600):
            yield
    except TimeoutError:
        raise unusable(place, "is in use by another program; try again") from None
    except OSError as error:
        raise unusable(place, f"cannot be written ({error.strerror or type(error).__name__})") from None

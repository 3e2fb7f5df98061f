"""Changes a small private file that several programs use.

The file is replaced whole, never written in place, and its changes happen one after the other, under a lock.
"""

import os
from collections.abc import Callable
from pathlib import Path

from rtc.common.whole_file import write_whole_file
from rtc.config.room_secrets.files import unusable

LOCK_TIME = 10.0
"""Seconds to wait for another program that changes the file, which takes some milliseconds."""


def change_file(path: Path, place: str, make_text: Callable[[], str]) -> None:
    """Replace the text of a file, of mode 0600 from then on; nobody else changes it meanwhile.

    Args:
        path: the file, which may be missing, as may its folder. A symbolic link stays: what it leads to is replaced.
        place: what people call the file in texts.
        make_text: reads the file, and returns what it is to have. What it raises leaves the file as it is.

    Raises:
        RtcError: USAGE: the file is in use for too long, cannot be locked, or cannot be written.
    """
    from filelock import FileLock  # slow to import, and needed only by commands that change a file

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=LOCK_TIME, mode=0o600):
            write_whole_file(Path(os.path.realpath(path)), make_text())
    except TimeoutError:
        raise unusable(place, "is in use by another program; try again") from None
    except NotImplementedError:
        raise unusable(place, "is on a file system without locks, so it cannot be changed") from None
    except OSError as error:
        raise unusable(place, f"cannot be written ({error.strerror or type(error).__name__})") from None

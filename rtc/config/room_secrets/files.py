"""Reads small files that people have made, and tells which other users of the machine can read."""

import os
import shlex
import stat
from pathlib import Path

from protocol.faults import FaultCode
from rtc.common.errors import RtcError

TEXT_MAX = 16 * 1024
"""Bytes that are read of a text; a secret has at most 1024 characters, and some white space around it."""
BYTE_ORDER_MARK = "\ufeff"
"""What some editors of Windows put before the text (Unicode 15, section 23.8)."""
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NOT_WAITING = getattr(os, "O_NONBLOCK", 0)
"""Without it, opening a FIFO waits until another program opens it for writing."""


def read_named_file(path: Path, place: str) -> str:
    """Return the text of a file that the person named; it may be a pipe, such as a shell's `<(…)`.

    Raises:
        RtcError: USAGE: it cannot be read, is too large, or is not UTF-8.
    """
    return _read(path, place, TEXT_MAX, regular=False)


def read_file(path: Path, place: str, limit: int = TEXT_MAX) -> str:
    """Return the text of an ordinary file.

    Raises:
        RtcError: USAGE: as for `read_named_file`, or it is something else than a file.
    """
    return _read(path, place, limit, regular=True)


def _read(path: Path, place: str, limit: int, *, regular: bool) -> str:
    try:
        # opened at once, and only then looked at: what is looked at is what is read
        descriptor = os.open(path, _OPEN_FLAGS | (_NOT_WAITING if regular else 0))
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode) or (regular and not stat.S_ISREG(mode)):
                raise unusable(place, "is a folder" if stat.S_ISDIR(mode) else "is no ordinary file")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(limit + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) else None
        raise unusable(place, f"cannot be read ({reason or 'no such file can exist'})") from None
    return decode(content, place, limit)


def decode(content: bytes, place: str, limit: int = TEXT_MAX) -> str:
    """Return bytes that were read as text, without a byte order mark.

    Raises:
        RtcError: USAGE: there are more than `limit` bytes, or they are not UTF-8.
    """
    if len(content) > limit:
        raise unusable(place, f"is too large: at most {limit} bytes are read")
    try:
        return content.decode().removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError:
        raise unusable(place, "is not UTF-8 text") from None


def unusable(place: str, problem: str) -> RtcError:
    """Return the error about a file, whose text begins with the file's name: `place`, then `problem`."""
    return RtcError(FaultCode.USAGE, f"{place} {problem}.")


OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""The permissions of the group and of all others."""


def loose_permissions(path: Path, place: str, permissions: int = OF_OTHERS) -> str | None:
    """Return a sentence if other users of this machine may read or change a file or folder; otherwise None.

    Windows has no such permissions; there, the folders of a user are private.

    Args:
        path: the file or folder.
        place: what people call it.
        permissions: those that it should not have.
    """
    if os.name == "nt":
        return None
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if not mode & permissions:
        return None
    wanted = "700" if stat.S_ISDIR(mode) else "600"
    quoted = place if place.startswith("~/") else shlex.quote(place)
    return f"Other users of this machine may look into {place}. Run: chmod {wanted} {quoted}"

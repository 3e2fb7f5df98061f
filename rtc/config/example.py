"""The commented example of a configuration file, and writing it to a place where it is read."""

import errno
import os
from pathlib import Path

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.common.whole_file import write_whole_file
from rtc.config.load import config_files

EXAMPLE_NAME = "config.example.toml"


def example_text() -> str:
    """Return the text of the example: in a wheel the file is inside `rtc/`, in a checkout at the root."""
    packaged = Path(__file__).parents[1] / EXAMPLE_NAME
    source = packaged if packaged.is_file() else Path(__file__).parents[2] / EXAMPLE_NAME
    return source.read_text(encoding="utf-8")


def write_example(*, cwd: Path, settings: Path, here: bool, force: bool) -> Path:
    """Write the example as a configuration file and return its path.

    The file has mode 0600, since it may later contain passwords of TURN servers.

    Args:
        cwd: the working folder.
        settings: the folder of this user's settings.
        here: write it to the working folder, and not to that folder.
        force: replace an existing file.

    Raises:
        RtcError: USAGE: the file exists and `force` is false, or it cannot be written.
    """
    path, name = config_files(cwd, settings)[0 if here else 1]
    try:
        _make_folder(path.parent)
        _write_whole(example_text(), path, replace=force)
    except FileExistsError:
        raise RtcError(
            FaultCode.USAGE, f"{name} exists already and was left as it is. To replace it, add --force."
        ) from None
    except OSError as error:
        raise RtcError(
            FaultCode.USAGE, f"{name} cannot be written ({error.strerror}). Check the folder it belongs in."
        ) from None
    return path


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:  # a file has the folder's name; the caller must not mistake this for an existing example
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def _write_whole(text: str, path: Path, *, replace: bool) -> None:
    """Write the file completely or not at all: it is renamed to `path` when all of it is on the disk."""
    if not replace:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # fails if the file exists
    try:
        write_whole_file(path, text)
    except OSError:
        if not replace:
            path.unlink(missing_ok=True)
        raise

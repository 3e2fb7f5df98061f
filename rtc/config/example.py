"""The commented example of a configuration file, and writing it where it will be read."""

import errno
import os
import tempfile
from pathlib import Path

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.config.load import file_places

NAME = "config.example.toml"


def example_text() -> str:
    """The example that ships: in the wheel it lies beside us, in a checkout at its root. There is one source of it."""
    beside = Path(__file__).parents[1] / NAME
    source = beside if beside.is_file() else Path(__file__).parents[2] / NAME
    return source.read_text(encoding="utf-8")


def write_example(*, cwd: Path, home: Path, here: bool, force: bool) -> Path:
    """Write the example to the home folder's place, or with `here` into the working folder; returns where.

    It is readable by its owner alone, since passwords of TURN servers may stand in it.

    Raises:
        RtcError: USAGE: there is one already and `force` is not given, or it cannot be written.
    """
    path, name = file_places(cwd, home)[0 if here else 1]
    try:
        _make_folder(path.parent)
        _place(example_text(), path, replace=force)
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
    except FileExistsError:  # so that it is not taken for the file's own
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def _place(text: str, path: Path, *, replace: bool) -> None:
    """Whole or not at all: the file appears, or is replaced, when all of it is on the disk."""
    if not replace:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # the name is ours from here on
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".sleap-rtc-", suffix=".toml")  # mode 0600
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        for ours in (temporary, "" if replace else path):
            if ours:
                Path(ours).unlink(missing_ok=True)
        raise

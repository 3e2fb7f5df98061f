"""The folders we write to: who may, who else may look, and how much room is left."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import trio
from attrs import frozen

from rtc.doctor.finding import Finding, fail, ok, warn

GB = 10**9


@frozen
class Need:
    """What one folder is for."""

    option: str
    """How to choose another, in words."""
    least: int
    """Bytes below which it cannot do its work."""
    good: int
    """Bytes below which larger jobs will not fit."""
    private: bool = True
    """Whether others on this machine should be kept out."""


WORK = Need("another with: sleap-rtc worker --work-dir FOLDER", 1 * GB, 20 * GB)
RESULTS = Need("another with: sleap-rtc worker --results-dir FOLDER", 1 * GB, 10 * GB)
LOGS = Need("a home folder with room (HOME)", 10**7, 10**8)
OUTPUT = Need("another with: sleap-rtc client-train --output FOLDER", 10**8, 5 * GB, private=False)


async def check_folder(folder: Path, need: Need) -> Finding:
    """Look at a folder that may not be there yet; in a thread, since a network drive may hang."""
    return await trio.to_thread.run_sync(look_at, folder, need, abandon_on_cancel=True)


def look_at(folder: Path, need: Need) -> Finding:
    """Whether `folder` is, or can be made, and holds what it has to."""
    shown = show_path(folder)
    try:
        there = folder.exists()
        real = folder if there else next(parent for parent in folder.absolute().parents if parent.exists())
        if not real.is_dir():
            return fail(f"{show_path(real)} is a file", f"Move it away, or choose {need.option}")
        _try_to_write(real, leave_no_trace=not there)
        free = shutil.disk_usage(real).free
        mode = real.stat().st_mode
    except OSError as error:
        return fail(f"{shown} cannot be used ({error.strerror})", f"Check its permissions, or choose {need.option}")
    told = f"{shown}, {free / GB:.1f} GB free{'' if there else ', to be made'}"
    if free < need.least:
        return fail(told, f"Make room there, or choose {need.option}")
    if there and need.private and stat.S_IMODE(mode) & 0o077:
        return warn(f"{told}, open to others on this machine", f"Close it: chmod 700 {shown}")
    if free < need.good:
        return warn(told, f"Large jobs may not fit. Make room there, or choose {need.option}")
    return ok(told)


def _try_to_write(folder: Path, *, leave_no_trace: bool) -> None:
    """Raises OSError. Permission bits do not tell of read-only disks and full quotas, so a file is really written;
    but not into a folder that is none of ours, above one that is to be made."""
    if leave_no_trace:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
        return
    with tempfile.TemporaryFile(dir=folder, prefix=".sleap-rtc-doctor-") as file:
        file.write(b"\0" * 4096)
        file.flush()
        os.fsync(file.fileno())


def show_path(path: Path) -> str:
    """A path as people say it: `~/…` below the home folder, and otherwise its last part alone."""
    home = Path.home()
    if path.is_relative_to(home):
        return str(Path("~") / path.relative_to(home))
    return path.name or "/"

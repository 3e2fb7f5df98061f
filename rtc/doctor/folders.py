"""Checks of the folders that sleap-rtc writes to: are they writable and private, and how much space is free."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import trio
from attrs import frozen

from rtc.config.folders import shown_path
from rtc.doctor.finding import Finding, fail, ok, warn

GB = 10**9


@frozen
class FolderPurpose:
    """What one folder must be able to store, and who may read it."""

    option: str
    """How a person chooses another folder; the end of a sentence that begins with "choose"."""
    min_bytes: int
    """Free bytes; with less, the folder cannot be used."""
    large_job_bytes: int
    """Free bytes; with less, large jobs may not fit."""
    private: bool = True
    """Whether other users of this machine should not be able to read it."""


WORK = FolderPurpose("another with: sleap-rtc worker --work-dir FOLDER", 1 * GB, 20 * GB)
RESULTS = FolderPurpose("another with: sleap-rtc worker --results-dir FOLDER", 1 * GB, 10 * GB)
LOGS = FolderPurpose("another with the variable SLEAP_RTC_HOME", 10**7, 10**8)
OUTPUT = FolderPurpose("another with: sleap-rtc client-train --output FOLDER", 10**8, 5 * GB, private=False)


async def check_folder(folder: Path, purpose: FolderPurpose) -> Finding:
    """Check a folder, which may not exist yet. Runs in a thread, since a network drive may hang."""
    return await trio.to_thread.run_sync(inspect_folder, folder, purpose, abandon_on_cancel=True)


def inspect_folder(folder: Path, purpose: FolderPurpose) -> Finding:
    """Return whether `folder` exists or can be created, can be written, and has enough free space."""
    name = short_path(folder)
    try:
        exists = folder.exists()
        existing = folder if exists else next(parent for parent in folder.absolute().parents if parent.exists())
        if not existing.is_dir():
            return fail(f"{short_path(existing)} is a file", f"Move it away, or choose {purpose.option}")
        _try_to_write(existing, leave_no_trace=not exists)
        free = shutil.disk_usage(existing).free
        mode = existing.stat().st_mode
    except OSError as error:
        return fail(f"{name} cannot be used ({error.strerror})", f"Check its permissions, or choose {purpose.option}")
    detail = f"{name}, {free / GB:.1f} GB free{'' if exists else ', to be made'}"
    if free < purpose.min_bytes:
        return fail(detail, f"Make room there, or choose {purpose.option}")
    if exists and purpose.private and stat.S_IMODE(mode) & 0o077:
        return warn(f"{detail}, open to others on this machine", f"Close it: chmod 700 {shown_path(folder)}")
    if free < purpose.large_job_bytes:
        return warn(detail, f"Large jobs may not fit. Make room there, or choose {purpose.option}")
    return ok(detail)


def _try_to_write(folder: Path, *, leave_no_trace: bool) -> None:
    """Check that `folder` can be written.

    Permission bits do not show read-only disks and full quotas, so a temporary file is really written.

    Args:
        leave_no_trace: check only the permission bits and write nothing, because `folder` is not a folder of sleap-rtc
            but the one in which such a folder would be created.

    Raises:
        OSError: it cannot be written.
    """
    if leave_no_trace:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
        return
    with tempfile.TemporaryFile(dir=folder, prefix=".sleap-rtc-doctor-") as file:
        file.write(b"\0" * 4096)
        file.flush()
        os.fsync(file.fileno())


def short_path(path: Path) -> str:
    """Return a path as a finding shows it, which people may publish: `~/…` inside the home folder, otherwise only its
    last part."""
    shown = shown_path(path)
    return shown if shown.startswith("~") else path.name or "/"

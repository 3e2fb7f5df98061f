"""Checks of the folders that sleap-rtc writes to: are they writable and private, and how much space is free."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import trio
from attrs import frozen

from rtc.common.file_system import Feature, find_missing, has_locks
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
    needed: tuple[Feature, ...] = ()
    """What its file system must be able to do; without it, the folder cannot be used."""
    locks_wanted: str | None = None
    """What does not work where the file system has no locks, while all the rest does; None if nothing."""


WORK = FolderPurpose(
    "another with: sleap-rtc worker --work-dir FOLDER",
    1 * GB,
    20 * GB,
    needed=(Feature.FIFOS, Feature.SYMBOLIC_LINKS),
    locks_wanted="the jobs of a worker that ends are not continued",
)
RESULTS = FolderPurpose("another with: sleap-rtc worker --results-dir FOLDER", 1 * GB, 10 * GB, needed=(Feature.LOCKS,))
LOGS = FolderPurpose(
    "another with the variable SLEAP_RTC_HOME",
    10**7,
    10**8,
    locks_wanted="neither rooms nor background workers can be kept beside it",
)
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
        missing = find_missing(existing, purpose.needed)
        lacks_locks = purpose.locks_wanted is not None and not has_locks(existing)
        free = shutil.disk_usage(existing).free
        mode = existing.stat().st_mode
    except OSError as error:
        return fail(f"{name} cannot be used ({error.strerror})", f"Check its permissions, or choose {purpose.option}")
    detail = f"{name}, {free / GB:.1f} GB free{'' if exists else ', to be made'}"
    if free < purpose.min_bytes:
        return fail(detail, f"Make room there, or choose {purpose.option}")
    if missing is not None:
        return fail(f"{name} is on a file system without {missing.value}", f"Choose {purpose.option}, on a local disk")
    if lacks_locks:
        detail = f"{name} is on a file system without locks: {purpose.locks_wanted}"
        return warn(detail, f"Choose {purpose.option}, on a local disk")
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

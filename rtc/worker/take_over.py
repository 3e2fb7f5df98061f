"""Takes over the work folder and the results folder of a worker of an earlier version, with its database of jobs.

While a worker or a job runs in the old folders, both stay in use. Otherwise everything in a folder is moved, or
nothing: what was moved before an error is moved back. The records of jobs follow last, row by row: so the next start
completes a move that was interrupted, and two databases become one.
"""

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from attrs import frozen

from rtc.common.errors import RtcError
from rtc.config.folders import Folders, shown_path
from rtc.config.move_entries import move_entries
from rtc.config.notices import Say
from rtc.config.take_over import CannotMoveError, OldFolder, TakeOver
from rtc.runner.folder_lock import OWNER_LOCK, USERS_LOCK, is_locked
from rtc.runner.job_files import SUPERVISOR_LOCK
from rtc.worker.job_database import DATABASE, connect_job_database
from rtc.worker.job_manager import RESULTS_LINK
from rtc.worker.membership_file import MEMBERSHIP_GLOB

JOB_GLOBS = ("job-*", ".job-*")
"""The folders of jobs: whole, and being made."""
WORKER_THERE = "A worker uses {old}, where earlier versions kept jobs."
JOB_THERE = "A job runs in {old}, where earlier versions kept jobs."
GOES_ON = "This worker goes on using that folder; the first one that starts when nothing runs there moves all to {new}."


@frozen
class WorkerFolders:
    """The two folders of a worker."""

    work: Path
    results: Path


def choose_worker_folders(folders: Folders, say: Say, work: Path | None, results: Path | None) -> WorkerFolders:
    """Return the folders of a worker, after taking over the old ones that it would use.

    Args:
        folders: the folders of this user.
        say: prints a sentence for the person.
        work: the folder that the person named; None for the usual one.
        results: the same for the results.
    """
    take_over = TakeOver(folders, say)
    old_results = take_over.place("Results of jobs", folders.results) if results is None else None
    old_work = take_over.place("Files of jobs", folders.work) if work is None else None
    found = tuple(place for place in (old_results, old_work) if place is not None)
    if (reason := _why_in_use(found)) is not None:
        text = f"{reason} {GOES_ON}".format(old=shown_path(found[0].old.parent), new=shown_path(folders.state))
        take_over.notices.once("worker", text)
        return WorkerFolders(
            work or (folders.work if old_work is None else old_work.old),
            results or (folders.results if old_results is None else old_results.old),
        )
    take_over.notices.over("worker")
    if old_results is not None:
        old_path = old_results.old.with_name(folders.work.name)
        take = partial(_take_results, say=say, old_work=old_path, new_work=folders.work, named_work=work)
        if not take_over.run(old_results, take):
            results = _of_two(old_results, lambda folder: (folder / DATABASE).exists())
    chosen_results = results or folders.results
    if old_work is not None and not take_over.run(old_work, partial(_take_work, say=say, results=chosen_results)):
        work = _of_two(old_work, lambda folder: any(_job_folders(folder)))
    return WorkerFolders(work or folders.work, chosen_results)


def _of_two(place: OldFolder, has_jobs: Callable[[Path], bool]) -> Path:
    """Return the folder to use when one could not be moved: the old one if all jobs are there."""
    return place.old if has_jobs(place.old) and not has_jobs(place.new) else place.new


def _why_in_use(places: Iterable[OldFolder]) -> str | None:
    """Return a sentence about what uses old folders of a worker, with `{old}`; None if nothing does."""
    for place in places:
        if any(map(is_locked, place.old.glob(MEMBERSHIP_GLOB))):
            return WORKER_THERE
        if any(map(_is_in_use, _job_folders(place.old))):
            return JOB_THERE
    return None


def _job_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders of jobs; a link is none, whatever it leads to."""
    for pattern in JOB_GLOBS:
        yield from (path for path in folder.glob(pattern) if not path.is_symlink())


def _is_in_use(job_folder: Path) -> bool:
    return any(is_locked(job_folder / name) for name in (SUPERVISOR_LOCK, OWNER_LOCK, USERS_LOCK))


def _check_unused(place: OldFolder) -> None:
    if _why_in_use((place,)) is not None:
        raise CannotMoveError("a worker or a job uses them")


# -------- what is in the folders


def _take_results(place: OldFolder, *, say: Say, old_work: Path, new_work: Path, named_work: Path | None) -> None:
    """Move the results, and then the records of jobs.

    Args:
        place: the results folder.
        say: prints a sentence for the person.
        old_work: the old work folder, whether it exists or not.
        new_work: the new one.
        named_work: the work folder that the person has named, if any.
    """
    _check_unused(place)
    _check_records(place.old)
    with move_entries(place, say, leave=(DATABASE, f"{DATABASE}-journal")) as moved, _saying_why():
        _move_records(place.old, place.new)
        if not old_work.exists():
            _change_work(place.new, old_work, new_work)
    for work in (old_work, new_work, named_work):
        if work is not None:
            _change_links(work, place.old.resolve(), place.new.resolve())
    moved.finish()


def _take_work(place: OldFolder, *, say: Say, results: Path) -> None:
    """Move the folders of jobs, and note in the records in `results` where they are now."""
    _check_unused(place)
    with move_entries(place, say) as moved, _saying_why():
        _change_work(results, place.old, place.new)
    moved.finish()


def _change_work(results: Path, old: Path, new: Path) -> None:
    """Note in the records of a results folder, if it has any, that jobs are in another work folder now."""
    if (results / DATABASE).exists():
        with closing(connect_job_database(results)) as database:
            database.execute("UPDATE jobs SET work = ? WHERE work = ?", (str(new.resolve()), str(old.resolve())))


def _change_links(work: Path, old_results: Path, new_results: Path) -> None:
    """Let the jobs in a work folder name the new results folder, if they name the old one."""
    for folder in _job_folders(work):
        link = folder / RESULTS_LINK
        with suppress(OSError):  # it has none: then it is taken for a job of this worker
            if link.readlink() == old_results:
                changed = folder / f"{RESULTS_LINK}-{secrets.token_hex(8)}"
                changed.symlink_to(new_results)
                os.replace(changed, link)


# -------- the records of jobs


@contextmanager
def _saying_why() -> Iterator[None]:
    """Turn the errors of a database into a `CannotMoveError`."""
    try:
        yield
    except sqlite3.Error:
        raise CannotMoveError("the database of jobs is in use, or cannot be written") from None
    except RtcError:
        raise CannotMoveError("the database of jobs was made by a newer version of sleap-rtc") from None


def _check_records(results: Path) -> None:
    """Check that the records in a folder can be moved; a damaged file of them is renamed, and moved as it is.

    Raises:
        CannotMoveError: they cannot.
        OSError: they cannot be read.
    """
    path = results / DATABASE
    if path.is_symlink():
        raise CannotMoveError("the database of jobs is a link")
    if path.exists():
        with _saying_why(), closing(connect_job_database(results)) as database:
            database.execute("BEGIN EXCLUSIVE")
            database.execute("ROLLBACK")


def _move_records(old: Path, new: Path) -> None:
    """Add the records of one database to another, which may not exist yet, and remove the first one.

    A record that is in both stays as the second one has it.

    Raises:
        sqlite3.Error, OSError, RtcError: one of them cannot be used; both are as they were.
    """
    if not (old / DATABASE).exists():
        return
    is_new = not (new / DATABASE).exists()
    try:
        _add_records(old, new)
    except BaseException:
        if is_new:
            (new / DATABASE).unlink(missing_ok=True)
        raise


def _add_records(old: Path, new: Path) -> None:
    with closing(connect_job_database(old)) as source, closing(connect_job_database(new)) as target:
        source.execute("BEGIN EXCLUSIVE")
        rows = [tuple(row) for row in source.execute("SELECT * FROM jobs")]
        columns = [column for _, column, *_ in source.execute("PRAGMA table_info(jobs)")]
        marks = ", ".join("?" * len(columns))
        target.execute("BEGIN IMMEDIATE")
        target.executemany(f"INSERT OR IGNORE INTO jobs ({', '.join(columns)}) VALUES ({marks})", rows)  # noqa: S608
        target.execute("COMMIT")
        (old / DATABASE).unlink()  # nobody can have opened it: it is locked until here
        source.execute("ROLLBACK")

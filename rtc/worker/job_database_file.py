"""Opens the file of job records: several workers may do so at once, and no state of it keeps a worker from starting."""

import logging
import os
import sqlite3
import time
from pathlib import Path

from rtc.common.sqlite import open_sqlite

log = logging.getLogger("rtc.job_database")

BUSY_TIME = 10.0
"""Seconds to wait while another worker writes."""
_MIGRATIONS = Path(__file__).parent / "migrations"
_NEWER = (
    "The records in the results folder were made by a newer sleap-rtc (format {version}, this one reads {known})."
    " Update sleap-rtc, or choose another --results-dir."
)


def open_database(path: Path, columns: set[str]) -> sqlite3.Connection:
    """Open the records, made if they are not there; a damaged file is put aside and new ones are begun.

    Args:
        path: of the file.
        columns: the names that the columns of the table `jobs` must have.

    Raises:
        OSError: the file cannot be made.
        sqlite3.OperationalError: it cannot be used now.
        RtcError: VERSION: it belongs to a newer version.
    """
    path.touch(mode=0o600)
    before = path.stat()
    try:
        return _open_sound(path, columns)
    except sqlite3.OperationalError:
        raise  # locked, full, not to be written: nothing is wrong with the file itself
    except sqlite3.DatabaseError:
        _put_aside(path, before)
    return open_database(path, columns)


def _open_sound(path: Path, columns: set[str]) -> sqlite3.Connection:
    database = open_sqlite(path, _MIGRATIONS, busy_time=BUSY_TIME, newer=_NEWER)
    database.row_factory = sqlite3.Row
    there = {row["name"] for row in database.execute("PRAGMA table_info(jobs)")}
    if there != columns:
        database.close()
        raise sqlite3.DatabaseError("not our table")
    return database


def _put_aside(path: Path, damaged: os.stat_result) -> None:
    """Keep a damaged file for people, unless another worker has just done so."""
    if path.exists() and os.path.samestat(path.stat(), damaged):
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%y%m%d-%H%M%S', time.gmtime())}")
        path.replace(aside)
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)  # it would be played back into the new file
        log.warning(
            "The records of jobs were damaged and are kept as %s; new ones are begun. Results that wait in the"
            " folder stay there, but nobody can fetch them over a link any more.",
            aside.name,
        )

"""Opens the SQLite file of job records.

Several workers may open it at the same time. A damaged file does not keep a worker from starting.
"""

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
    """Open the file of job records and return the connection; create the file if it does not exist.

    A damaged file is renamed, and a new one is created in its place.

    Args:
        path: the path of the file.
        columns: the names that the columns of the table `jobs` must have.

    Raises:
        OSError: the file cannot be created.
        sqlite3.OperationalError: the file cannot be used now: it is locked, the disk is full, or it is read-only.
        RtcError: VERSION: a newer version of sleap-rtc wrote the file.
    """
    path.touch(mode=0o600)
    before = path.stat()
    try:
        return _open_checked(path, columns)
    except sqlite3.OperationalError:
        raise  # locked, disk full, read-only: the file itself is not damaged
    except sqlite3.DatabaseError:
        _rename_damaged(path, before)
    return open_database(path, columns)


def _open_checked(path: Path, columns: set[str]) -> sqlite3.Connection:
    database = open_sqlite(path, _MIGRATIONS, busy_time=BUSY_TIME, newer=_NEWER)
    database.row_factory = sqlite3.Row
    found = {row["name"] for row in database.execute("PRAGMA table_info(jobs)")}
    if found != columns:
        database.close()
        raise sqlite3.DatabaseError("not our table")
    return database


def _rename_damaged(path: Path, damaged: os.stat_result) -> None:
    """Rename a damaged file, so that people can examine it, unless another worker has just done this."""
    if path.exists() and os.path.samestat(path.stat(), damaged):
        renamed = path.with_name(f"{path.name}.damaged-{time.strftime('%y%m%d-%H%M%S', time.gmtime())}")
        path.replace(renamed)
        # SQLite would apply the rollback journal of the damaged file to the new one
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
        log.warning(
            "The records of jobs were damaged and are kept as %s; new ones are begun. Results that wait in the"
            " folder stay there, but nobody can fetch them over a link any more.",
            renamed.name,
        )

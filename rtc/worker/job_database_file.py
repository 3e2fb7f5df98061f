"""Opening the file of records: several workers may do so at once, and no state of it keeps a worker from starting."""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocol.faults import FaultCode
from rtc.common.errors import RtcError

log = logging.getLogger("rtc.job_database")

BUSY_TIME = 10.0
"""Seconds to wait while another worker writes."""
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(path: Path, columns: set[str]) -> sqlite3.Connection:
    """The records, made if they are not there; a damaged file is put aside.

    Raises:
        OSError: the file cannot be made.
        sqlite3.OperationalError: it cannot be used now.
        RtcError: it belongs to a newer version.
    """
    # made here and not by SQLite, so that it and the files next to it are never readable for others
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    before = path.stat()
    try:
        return _open_sound(path, columns)
    except sqlite3.OperationalError:
        raise  # locked, full, not to be written: nothing is wrong with the file itself
    except sqlite3.DatabaseError:
        _put_aside(path, before)
    return open_database(path, columns)


def _open_sound(path: Path, columns: set[str]) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_TIME, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA synchronous = FULL")
        (health,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise sqlite3.DatabaseError(health)
        _migrate(database)
        database.row_factory = sqlite3.Row
        there = {row["name"] for row in database.execute("PRAGMA table_info(jobs)")}
        if there != columns:
            raise sqlite3.DatabaseError("not our table")
    except (sqlite3.Error, RtcError):
        database.close()
        raise
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


def _migrate(database: sqlite3.Connection) -> None:
    """Apply the numbered scripts that this file has not seen, in one transaction: another worker may be at it, too."""
    scripts = sorted(_MIGRATIONS.glob("[0-9]*.sql"))
    with _transaction(database):
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > len(scripts):
            raise RtcError(
                FaultCode.VERSION,
                f"The records in the results folder were made by a newer sleap-rtc (format {version}, this one reads"
                f" {len(scripts)}). Update sleap-rtc, or choose another --results-dir.",
            )
        for script in scripts[version:]:
            for statement in _statements(script.read_text(encoding="utf-8")):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(scripts)}")


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except (sqlite3.Error, RtcError):
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    # not `executescript`, which commits what is open
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

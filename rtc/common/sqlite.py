"""Opens an SQLite file: private, checked for damage, and brought to the newest format by numbered scripts."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocol.faults import FaultCode
from rtc.common.errors import RtcError


def open_sqlite(path: Path, migrations: Path, *, busy_time: float, newer: str, wal: bool = False) -> sqlite3.Connection:
    """Open a database; it may be used from any thread, by one at a time. A missing file is created with mode 0600.

    Args:
        path: the database file.
        migrations: the folder of the scripts `0001_….sql`, `0002_….sql` and so on. `PRAGMA user_version` in the file
            is the number of scripts that were applied to it.
        busy_time: seconds to wait for the lock while another program writes.
        newer: the error text for a file with a newer format, with `{version}` (the file's) and `{known}` (ours).
        wal: use a write-ahead log; it does not work on a network file system (sqlite.org/wal.html).

    Raises:
        OSError: the file cannot be created.
        sqlite3.OperationalError: it is locked, the disk is full, or it cannot be written; the file itself is intact.
        sqlite3.DatabaseError: it is damaged, or is not a database.
        RtcError: VERSION: it was written by a newer sleap-rtc.
    """
    # created here and not by SQLite, so that it and SQLite's files next to it are never readable by others
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    database = sqlite3.connect(path, timeout=busy_time, isolation_level=None, check_same_thread=False)
    try:
        if wal:
            database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        (health,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise sqlite3.DatabaseError(health)
        _migrate(database, sorted(migrations.glob("[0-9]*.sql")), newer)
    except (sqlite3.Error, RtcError):
        database.close()
        raise
    return database


def _migrate(database: sqlite3.Connection, scripts: list[Path], newer: str) -> None:
    """Apply the missing scripts in one transaction, since another program may do the same at this moment."""
    with _transaction(database):
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > len(scripts):
            raise RtcError(FaultCode.VERSION, newer.format(version=version, known=len(scripts)))
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
    # not `executescript`, which commits the open transaction
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

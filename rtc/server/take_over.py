"""Takes over the database of a server that an earlier version kept in `~/.sleap-rtc/server`.

Rule: it is moved only while no server has it open, whole or not at all.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from rtc.common.safe_move import new_copy_path, rename_new
from rtc.config.folders import Folders
from rtc.config.notices import Say
from rtc.config.take_over import CannotMoveError, OldFolder, TakeOver
from rtc.server.database import DATABASE


def take_over_server(folders: Folders, say: Say) -> Path:
    """Take over the server's database, and return the folder to use: the old one while its server runs."""
    take_over = TakeOver(folders, say)
    place = take_over.place("The rooms of the server", folders.server)
    if place is None or take_over.run(place, _take):
        return folders.server
    return folders.server if (folders.server / DATABASE).exists() else place.old


def _take(place: OldFolder) -> None:
    old, new = place.old / DATABASE, place.new / DATABASE
    if os.path.lexists(old):
        try:
            _move_database(old, new)
        except sqlite3.OperationalError:
            raise CannotMoveError("a server is running there, or they cannot be written") from None
        except sqlite3.DatabaseError:
            raise CannotMoveError("they are damaged") from None


def _move_database(old: Path, new: Path) -> None:
    """Copy a database with SQLite's own means, and remove the old one while nobody else can open it.

    Raises:
        CannotMoveError: there is another database already.
        sqlite3.Error: another program has it open, or it cannot be read.
        OSError: the copy cannot be written.
    """
    if old.is_symlink() or not old.is_file():
        raise CannotMoveError("something else than a file is there")
    with closing(sqlite3.connect(old, timeout=0, isolation_level=None)) as database:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")  # the lock is kept until the connection is closed
        # works only while no other connection is open, and takes the write-ahead log into the file
        (mode,) = database.execute("PRAGMA journal_mode = DELETE").fetchone()
        if mode != "delete":
            raise sqlite3.OperationalError(mode)
        database.execute("BEGIN EXCLUSIVE")
        database.execute("COMMIT")
        if os.path.lexists(new):
            if not _have_same_rows(database, new):
                raise CannotMoveError("the new place has a database, too")
        else:
            _copy_database(database, new)
        if os.name != "nt":  # Windows removes no open files
            old.unlink()
    if os.name == "nt":
        old.unlink()


def _copy_database(database: sqlite3.Connection, new: Path) -> None:
    copy = new_copy_path(new.parent)
    try:
        os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(copy)) as target:
            target.execute("PRAGMA synchronous = FULL")
            database.backup(target)
        rename_new(copy, new)
    except (OSError, sqlite3.Error):
        copy.unlink(missing_ok=True)
        raise


def _have_same_rows(database: sqlite3.Connection, new: Path) -> bool:
    """Return whether another database has the same content: an earlier move was interrupted before its last step."""
    with closing(sqlite3.connect(new, timeout=0)) as other:
        return list(database.iterdump()) == list(other.iterdump())

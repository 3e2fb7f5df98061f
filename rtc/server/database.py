"""The server's database: the rooms, the hashes of their tokens, and the server's own key, which survive a restart.

One SQLite file. Every call runs in a thread, one at a time. Tokens are never stored, only their SHA-256 hashes, from
which a random token cannot be computed. Which peers are present is not stored at all (`rtc/server/rooms.py`).
"""

import base64
import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import trio
from attrs import frozen

from protocol.faults import FaultCode
from protocol.ids import PeerId, RoomId
from rtc.common.errors import RtcError
from rtc.common.file_system import has_locks
from rtc.common.private_folder import make_private_folder
from rtc.common.sqlite import open_sqlite

T = TypeVar("T")

DATABASE = "server.sqlite3"
KEY_BYTES = 32
ROOM_BYTES = 16
"""128 random bits: a room id cannot be guessed, although it is not secret among the people who use the room."""
TOKEN_BYTES = 24
BUSY_TIME = 5.0
"""Seconds to wait while another program (a backup, for example) locks the file."""
_NO_HASH = bytes(hashlib.sha256().digest_size)
_MIGRATIONS = Path(__file__).parent / "migrations"
_NEWER = (
    "The server's database was made by a newer sleap-rtc (format {version}, this one reads {known})."
    " Update sleap-rtc, or choose another --data folder."
)


@frozen
class RoomInfo:
    """What the database contains about a room, without its token."""

    room: RoomId
    name: str
    created: str
    """ISO 8601, UTC."""


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class RoomDatabase:
    """The open database. Created by `open_room_database`."""

    def __init__(self, database: sqlite3.Connection, key: bytes) -> None:
        self._database = database
        self._key = key
        self._one_at_a_time = trio.CapacityLimiter(1)

    async def create_room(self, name: str) -> tuple[RoomId, str]:
        """Create a room; return its id and its token. The token is returned only here, since only its hash is stored.

        Raises:
            RtcError: the database cannot be written.
        """
        room = RoomId("room-" + base64.b32encode(secrets.token_bytes(ROOM_BYTES)).decode().rstrip("=").lower())
        token = secrets.token_urlsafe(TOKEN_BYTES)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        row = (room, name, created, _hash(token))
        await self._run_in_thread(
            lambda database: database.execute("INSERT INTO rooms VALUES (?, ?, ?, ?)", row).close()
        )
        return room, token

    async def is_token_of(self, room: RoomId, token: str) -> bool:
        """Return whether this is the token of this room.

        An unknown room takes as long as a wrong token, so that the time does not show whether a room exists.

        Raises:
            RtcError: the database cannot be read.
        """
        row = await self._run_in_thread(
            lambda database: _fetch_row(database, "SELECT token_hash FROM rooms WHERE id = ?", room)
        )
        known: bytes = _NO_HASH if row is None else row[0]
        return hmac.compare_digest(known, _hash(token))

    async def room_info(self, room: RoomId) -> RoomInfo | None:
        """Return the room, or None if there is none. The caller has to check the token first.

        Raises:
            RtcError: the database cannot be read.
        """
        row = await self._run_in_thread(
            lambda database: _fetch_row(database, "SELECT name, created FROM rooms WHERE id = ?", room)
        )
        return None if row is None else RoomInfo(room, row[0], row[1])

    def resume_proof(self, room: RoomId, peer: PeerId) -> str:
        """Return the proof with which a peer gets its id back, also after a restart of the server.

        It is an HMAC-SHA256 (RFC 2104) of room and peer under the server's own key. Ids never contain a `|`, so two
        different pairs are never the same text.
        """
        return hmac.new(self._key, f"{room}|{peer}".encode(), hashlib.sha256).hexdigest()

    async def _run_in_thread(self, query_function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await trio.to_thread.run_sync(query_function, self._database, limiter=self._one_at_a_time)
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
            raise  # a bug in our SQL; the other errors come from the file or the disk
        except sqlite3.DatabaseError:
            raise RtcError(
                FaultCode.SERVER_LOST, "The server cannot use its database now. Tell whoever runs it; is its disk full?"
            ) from None


def _fetch_row(database: sqlite3.Connection, query: str, *values: object) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = database.execute(query, values).fetchone()
    return row


def _get_or_create_key(database: sqlite3.Connection) -> bytes:
    """Return the server's random key, which is created on the first start."""
    database.execute("INSERT OR IGNORE INTO settings VALUES ('key', ?)", (secrets.token_bytes(KEY_BYTES),))
    (key,) = database.execute("SELECT value FROM settings WHERE name = 'key'").fetchone()
    return bytes(key)


def _open_folder(folder: Path) -> tuple[sqlite3.Connection, bytes]:
    """Open the database in a folder, creating both if necessary; return it with the server's own key."""
    make_private_folder(folder)
    database = open_sqlite(folder / DATABASE, _MIGRATIONS, busy_time=BUSY_TIME, newer=_NEWER, wal=True)
    try:
        return database, _get_or_create_key(database)
    except sqlite3.Error:
        database.close()
        raise


@asynccontextmanager
async def open_room_database(folder: Path) -> AsyncIterator[RoomDatabase]:
    """Open the database in this folder; create both if they do not exist.

    A folder that is created gets mode 0700; the mode of an existing one is not changed. The database file is always
    created with mode 0600.

    Raises:
        RtcError: the folder or the file cannot be used, is damaged, or was written by a newer version.
    """
    try:
        database, key = await trio.to_thread.run_sync(_open_folder, folder)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise RtcError(
            FaultCode.USAGE, f"The data folder {folder.name!r} cannot be used ({reason}). Choose another with --data."
        ) from None
    except sqlite3.OperationalError:
        if not await trio.to_thread.run_sync(has_locks, folder):
            text = f"The data folder {folder.name!r} is on a file system without locks. Choose one on a local disk"
            raise RtcError(FaultCode.USAGE, f"{text} with --data.") from None
        raise RtcError(
            FaultCode.USAGE,
            f"The database in the data folder {folder.name!r} cannot be opened or written."
            " Is the disk full, or is another program holding it?",
        ) from None
    except sqlite3.DatabaseError:
        raise RtcError(
            FaultCode.USAGE,
            f"The database in the data folder {folder.name!r} is damaged."
            f" Put back a copy of {DATABASE}, or choose another folder with --data.",
        ) from None
    with closing(database):
        yield RoomDatabase(database, key)

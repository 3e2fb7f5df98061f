"""Finds the secret of a room, and derives the room's keys from it."""

from collections.abc import Awaitable, Callable

import trio
from attrs import define, field

from protocol.ids import RoomId
from protocol.trust import RoomKeys, Secret, derive_keys

SecretFinder = Callable[[RoomId], Secret | None]
"""Returns the secret of a room, as this program was given it in some way; None when it was given none. It may read
files, and raises `RtcError` (USAGE) for a secret that cannot be read or used."""

KeyFinder = Callable[[RoomId], Awaitable[RoomKeys | None]]
"""Returns the keys of a room, as `find_keys` does with some `SecretFinder`."""


def no_secret(_room: RoomId) -> None:
    """Find no secret."""


async def find_keys(find_secret: SecretFinder, room: RoomId) -> RoomKeys | None:
    """Return the keys of a room; None when no secret is known for it.

    Raises:
        RtcError: USAGE: a secret cannot be read or used.
    """
    return await trio.to_thread.run_sync(_find_keys, find_secret, room)


def _find_keys(find_secret: SecretFinder, room: RoomId) -> RoomKeys | None:
    secret = find_secret(room)
    return None if secret is None else derive_keys(secret, room)


@define
class LastingSecret:
    """A finder that goes on using the secret that it has found first, for whatever room.

    A worker that was given a secret must not run without one when its room is gone from the server and it gets another.
    """

    find_secret: SecretFinder
    _found: Secret | None = field(default=None, init=False)

    def __call__(self, room: RoomId) -> Secret | None:
        """Return the secret of this room, or else the one that was found before."""
        self._found = self.find_secret(room) or self._found
        return self._found

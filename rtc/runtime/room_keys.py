"""Finds the secret of a room, and derives the room's keys from it."""

from collections.abc import Awaitable, Callable

import trio
from attrs import define, field

from protocol.faults import FaultCode
from protocol.ids import RoomId
from protocol.trust import RoomKeys, Secret, derive_keys
from rtc.common.errors import RtcError

SecretFinder = Callable[[RoomId | None], Secret | None]
"""Returns the secret of a room, as this program was given it in some way; None when it was given none. Without a room
it returns the secret for a room that is still to be made. It may read files, and raises `RtcError` (USAGE) for a secret
that cannot be read or used."""

KeyFinder = Callable[[RoomId], Awaitable[RoomKeys | None]]
"""Returns the keys of a room, as `find_keys` does with some `SecretFinder`."""


def no_secret(_room: RoomId | None) -> None:
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
    """A finder that goes on using the secret that it has found last, for rooms that have none of their own.

    A worker that was given a secret must not run without one when its room is gone from the server and it gets another.
    """

    find_secret: SecretFinder
    required: bool = False
    """Whether it is an error if there is no secret."""
    _found: Secret | None = field(default=None, init=False)

    def __call__(self, room: RoomId | None) -> Secret | None:
        """Return the secret of this room, or else the one that was found before.

        Raises:
            RtcError: USAGE: the secret cannot be read or used, or there is none and one is required.
        """
        self._found = self.find_secret(room) or self._found
        if self._found is None and self.required:
            raise RtcError(FaultCode.USAGE, _none_found(room))
        return self._found


def _none_found(room: RoomId | None) -> str:
    """Return the sentences for a worker that must have a secret and has none."""
    if room is None:
        return (
            "--require-secret: no room secret is given for the room that would be made. Add --room-secret-file FILE, "
            "or name a room that has a secret with --room-id and --token."
        )
    return (
        f"--require-secret: no room secret was found for {room}. Make one: sleap-rtc room create-secret --room {room}"
    )

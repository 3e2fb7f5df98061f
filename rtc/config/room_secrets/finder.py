"""Finds the secret of a room in all places of this user, in their order."""

from collections.abc import Callable

from attrs import define, field

from protocol.ids import RoomId
from protocol.trust import Secret
from rtc.common.errors import RtcError
from rtc.common.logs import hide_in_logs
from rtc.config.room_secrets.files import loose_permissions
from rtc.config.room_secrets.rules import check_secret
from rtc.config.room_secrets.sources import SecretPlaces, SecretSource
from rtc.config.room_secrets.variables import variable_of

SHOWN_MAX = 3
"""Places that one sentence lists."""


@define
class RoomSecrets:
    """Finds secrets. Each room is looked up once, so that a program uses one secret for it until it ends.

    What is found is hidden in the log of this process.
    """

    places: SecretPlaces
    warn: Callable[[str], None]
    """Prints a sentence about a source that is left out or that other users can read."""
    _found: dict[RoomId | None, Secret | None] = field(factory=dict, init=False, repr=False)
    _has_empty: bool = field(default=False, init=False)
    """Whether a source was left out because it is empty."""
    _warnings: set[str] = field(factory=set, init=False)
    """What was printed already."""

    def __call__(self, room: RoomId | None) -> Secret | None:
        """Return the secret of a room; None if there is none. Without a room: the one for a room that is to be made.

        Raises:
            RtcError: USAGE: the first source that is not empty cannot be read or used.
        """
        if room not in self._found:
            found = self.find(room)
            self._found[room] = None if found is None else found[0]
        return self._found[room]

    def find(self, room: RoomId | None) -> tuple[Secret, SecretSource] | None:
        """Look a room up, and return its secret and where it is; None if there is none.

        Raises:
            RtcError: USAGE: as for a call.
        """
        for source in self.places.of_room(room):
            text = source.read()
            if text is None:
                continue
            if text.strip():
                return self._use(source, text), source
            self._has_empty = True
            self._warn_once(f"The room secret of {source.place} is empty, so it is left out.")
        return None

    def _use(self, source: SecretSource, text: str) -> Secret:
        secret = check_secret(text, source.place)
        for form in (text, secret.text):
            hide_in_logs(form)
        for path, place in source.paths:
            if warning := loose_permissions(path, place, source.private):
                self._warn_once(warning)
        return secret

    def _warn_once(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.add(text)
            self.warn(text)

    def about_others(self, room: RoomId) -> str | None:
        """Return a sentence for a worker whose room has no secret, if somebody may think that it has one.

        That is so if an empty source was left out, or if there are secrets of other rooms; a source that cannot be read
        is left out. Otherwise None.
        """
        variables = [name for name in self.places.variables() if name != variable_of(room)]
        found = variables + [
            f"{self.places.folder_place}/{other}" for other in self._rooms_with_files() if other != room
        ]
        found += [f"{other} in the credentials file" for other in self._rooms_in_credentials() if other != room]
        if not found:
            return f"No room secret is here for {room}, so clients need none." if self._has_empty else None
        more = len(found) - SHOWN_MAX
        shown = ", ".join(found[:SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
        return (
            f"No room secret is here for {room}, so clients need none; there are secrets of other rooms only: {shown}."
        )

    def _rooms_with_files(self) -> list[RoomId]:
        try:
            return self.places.rooms_with_files()
        except RtcError:
            return []

    def _rooms_in_credentials(self) -> list[str]:
        file = self.places.credentials_file
        try:
            return [] if file is None else sorted(file.rooms())
        except RtcError:
            return []

"""The credentials file, `credentials.json` in the settings folder: JSON with the secrets of rooms under `room_secrets`.

Other programs, and other versions of this one, may keep more in it: what is not understood is kept as it is.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from protocol.converter import WireError, document_to_json, from_json
from protocol.ids import RoomId
from rtc.config.room_secrets.files import read_file, unusable
from rtc.config.room_secrets.shared_file import change_file

FILE_MAX = 1024 * 1024
"""Bytes that are read of the file: thousands of secrets."""
ROOM_SECRETS = "room_secrets"


@frozen
class CredentialsFile:
    """The credentials file at this path, which may be missing or a symbolic link."""

    path: Path
    place: str
    """What people call it in texts."""

    def read(self, room: RoomId) -> str | None:
        """Return the text that the file has for a room; None if it has none.

        Raises:
            RtcError: USAGE: the file cannot be read or is malformed.
        """
        rooms = self.rooms()
        if room not in rooms:
            return None
        text = rooms[room]
        if isinstance(text, str):
            return text
        raise unusable(self.place, f"should have a text as {ROOM_SECRETS}.{room}")

    def rooms(self) -> dict[str, Any]:
        """Return what the file has under `room_secrets`, by room.

        Raises:
            RtcError: USAGE: the file cannot be read or is malformed.
        """
        return self._rooms_of(self._load())

    def save(self, room: RoomId, secret: str) -> None:
        """Save the secret of a room, in place of an earlier one.

        Raises:
            RtcError: USAGE: the file is malformed, in use for too long, or cannot be written.
        """
        self._change(lambda rooms: rooms.update({room: secret}))

    def remove(self, room: RoomId) -> None:
        """Remove the secret of a room, if there is one.

        Raises:
            RtcError: USAGE: as for `save`.
        """
        self._change(lambda rooms: rooms.pop(room, None))

    def _load(self) -> dict[str, Any]:
        """Return the whole content; nothing if there is no file."""
        if not os.path.lexists(self.path):
            return {}
        text = read_file(self.path, self.place, FILE_MAX)
        if not text.strip():
            return {}
        try:
            content: dict[str, Any] = from_json(text, dict[str, Any], limit=FILE_MAX)
        except WireError:
            raise unusable(self.place, "is malformed: it should be a JSON object") from None
        return content

    def _rooms_of(self, content: dict[str, Any]) -> dict[str, Any]:
        rooms = content.setdefault(ROOM_SECRETS, {})
        if not isinstance(rooms, dict):
            raise unusable(self.place, f"is malformed: {ROOM_SECRETS} should be an object with a text for each room")
        return rooms

    def _change(self, change: Callable[[dict[str, Any]], object]) -> None:
        def changed_text() -> str:
            content = self._load()
            change(self._rooms_of(content))
            return self._text_of(content)

        change_file(self.path, self.place, changed_text)

    def _text_of(self, content: dict[str, Any]) -> str:
        try:
            return document_to_json(content, indent=2) + "\n"
        except (ValueError, RecursionError):  # such as NaN, which no standard JSON has
            raise unusable(self.place, "is malformed: it has values that no JSON can have") from None

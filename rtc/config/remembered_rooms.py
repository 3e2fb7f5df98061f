"""The rooms that this user has joined for good: server, room, token and room secret under a name, in one private file.

Fields that this version does not know are kept: a newer version may have written them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from protocol.converter import WireError, document_to_json, from_json, to_json
from protocol.faults import FaultCode
from protocol.fields import ID_PATTERN, Id, MaxItems, SingleLine
from protocol.ids import RoomId
from protocol.session_string import ADDRESS_MAX
from rtc.common.errors import RtcError
from rtc.common.logs import hide_in_logs
from rtc.config.folders import shown_path
from rtc.config.room_secrets.files import loose_permissions, read_file, unusable
from rtc.config.room_secrets.rules import SECRET_MAX
from rtc.config.room_secrets.shared_file import change_file, check_changeable

ROOMS_MAX = 1000
"""Rooms that are remembered at most."""
FILE_MAX = 4 * 1024 * 1024
"""Bytes that are read of the file; `ROOMS_MAX` rooms need less."""
FIRST_NAME = "lab"
"""The name of the first room that is remembered without one."""


@frozen
class RememberedRoom:
    """One room, as the file has it."""

    name: str = field(validator=Id())
    """What the person calls it; it looks like an id, and differs from all other names also when case is ignored."""
    server: str = field(validator=SingleLine(ADDRESS_MAX))
    """The signalling server's WebSocket address."""
    room: RoomId = field(validator=Id())
    token: str = field(validator=SingleLine(), repr=False)
    secret: str | None = field(default=None, validator=SingleLine(SECRET_MAX), repr=False)
    """The room secret that came with a short code; None if the room has none, or if it is elsewhere."""
    joined: int = 0
    """When it was joined: seconds since 1970 (POSIX time)."""

    @property
    def key(self) -> tuple[str, RoomId]:
        """What no two remembered rooms have in common: server and id."""
        return self.server, self.room


@frozen
class RememberedRoomsJson:
    """The content of the file."""

    rooms: tuple[RememberedRoom, ...] = field(default=(), validator=MaxItems(ROOMS_MAX))
    default: str | None = field(default=None, validator=Id())
    """The name of the room that is meant when none is named; None if the person has chosen none."""

    def find(self, name_or_id: str, rooms: Sequence[RememberedRoom] | None = None) -> RememberedRoom | None:
        """Return the room of this name, in any case, or else the one with this id; None if there is none.

        Of several rooms with one id, which are on different servers, the one that was joined last is returned.

        Args:
            name_or_id: as it was typed.
            rooms: look only among these.
        """
        among = self.rooms if rooms is None else rooms
        named = [room for room in among if room.name.casefold() == name_or_id.casefold()]
        found = named or [room for room in among if room.room == name_or_id]
        return found[-1] if found else None

    def free_name(self, name: str = FIRST_NAME) -> str:
        """Return `name`; if a room has it as its name or id, with the lowest number that is free: `lab-2`."""
        taken = {text.casefold() for room in self.rooms for text in (room.name, room.room)}
        candidates = (name, *(f"{name[:90]}-{number}" for number in range(2, 2 * ROOMS_MAX + 3)))
        return next(candidate for candidate in candidates if candidate.casefold() not in taken)

    def by_key(self, server: str, room: RoomId) -> RememberedRoom | None:
        """Return the room on this server with this id; None if it is not remembered."""
        return next((one for one in self.rooms if one.key == (server, room)), None)


@frozen
class RememberedRooms:
    """The file with the remembered rooms, which may be missing."""

    path: Path
    warn: Callable[[str], None] = field(default=lambda _text: None, repr=False, eq=False)
    """Prints a sentence if other users of this machine can read the file."""

    @property
    def place(self) -> str:
        """What people call the file in texts."""
        return f"The file with the remembered rooms, {shown_path(self.path)},"

    def _is_there(self) -> bool:
        """Return whether there is something of this name; if its folder cannot be looked into, reading says why."""
        try:
            self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def read(self) -> RememberedRoomsJson:
        """Return the content; nothing if there is no file. Tokens and secrets are hidden in the log from now on.

        Raises:
            RtcError: USAGE: the file cannot be read, or is damaged.
        """
        return self._load()[0]

    def _load(self) -> tuple[RememberedRoomsJson, dict[str, Any]]:
        """Return the content, and the same as JSON, with the fields that this version does not know."""
        if not self._is_there():
            return RememberedRoomsJson(), {}
        try:
            text = read_file(self.path, self.place, FILE_MAX)
        except RtcError as error:
            advice = "Make it a file that you can read; or move it away, and join your rooms again."
            raise RtcError(FaultCode.USAGE, f"{error.fault.text} {advice}") from None
        try:
            content: RememberedRoomsJson = from_json(text, RememberedRoomsJson, limit=FILE_MAX)
            document: dict[str, Any] = from_json(text, dict[str, Any], limit=FILE_MAX)
        except WireError:
            raise unusable(self.place, "is damaged. Move it away, and join your rooms again") from None
        for room in content.rooms:
            for secret in (room.token, room.secret):
                if secret:
                    hide_in_logs(secret)
        if warning := loose_permissions(self.path, str(self.path)):
            self.warn(warning)
        return content, document

    def read_or_warn(self) -> RememberedRoomsJson:
        """Return the content; nothing, and a warning, if the file cannot be read: most jobs are found without it."""
        try:
            return self.read()
        except RtcError as error:
            self.warn(error.fault.text)
            return RememberedRoomsJson()

    def find(self, name_or_id: str) -> RememberedRoom | None:
        """Return the room of this name, or else the one with this id; None if there is none.

        Raises:
            RtcError: USAGE: as for `read`.
        """
        return self.read().find(name_or_id)

    def remember(self, room: RememberedRoom) -> None:
        """Add a room; it replaces the one with the same name, and the one with the same server and id.

        It is the default if one of these was.

        Raises:
            RtcError: USAGE: the file is damaged, full, in use for too long, or cannot be written.
        """
        self.remember_chosen(lambda _content: room)

    def remember_chosen(self, choose: Callable[[RememberedRoomsJson], RememberedRoom]) -> None:
        """Add the room that `choose` makes for what is remembered, as `remember` does; nothing changes in between.

        Raises:
            RtcError: USAGE: as for `remember`, or as `choose` does.
        """

        def add(content: RememberedRoomsJson) -> RememberedRoomsJson:
            room = choose(content)
            others = tuple(
                other
                for other in content.rooms
                if other.name.casefold() != room.name.casefold() and other.key != room.key
            )
            if len(others) >= ROOMS_MAX:
                raise _full()
            was_default = any(one.name == content.default for one in content.rooms if one not in others)
            default = room.name if was_default else content.default
            return evolve(content, rooms=(*others, room), default=default)

        self._change(add)

    def forget(self, name: str) -> None:
        """Remove the room of this name, if there is one; the default, if it was this one, is then chosen no more.

        Raises:
            RtcError: USAGE: as for `remember`.
        """

        def remove(content: RememberedRoomsJson) -> RememberedRoomsJson:
            left = tuple(room for room in content.rooms if room.name.casefold() != name.casefold())
            return _with_valid_default(evolve(content, rooms=left))

        self._change(remove)

    def set_default(self, name: str | None) -> None:
        """Choose the room that is meant when none is named; None for none.

        Raises:
            RtcError: USAGE: as for `remember`, or no room has this name.
        """

        def choose(content: RememberedRoomsJson) -> RememberedRoomsJson:
            names = {room.name.casefold(): room.name for room in content.rooms}
            if name is not None and name.casefold() not in names:
                raise RtcError(FaultCode.USAGE, "No remembered room has this name. List them: sleap-rtc rooms")
            return evolve(content, default=None if name is None else names[name.casefold()])

        self._change(choose)

    def with_secret(self, room: RoomId) -> RememberedRoom | None:
        """Return the room with this id that was joined last and has a secret; None if there is none.

        Raises:
            RtcError: USAGE: as for `read`.
        """
        return next((one for one in reversed(self.read().rooms) if one.room == room and one.secret), None)

    def secret_of(self, room: RoomId) -> str | None:
        """Return the secret that is remembered with the room of this id; None if there is none.

        Raises:
            RtcError: USAGE: as for `read`.
        """
        found = self.with_secret(room)
        return None if found is None else found.secret

    def forget_secret(self, room: RoomId) -> None:
        """Remove the secret of the rooms with this id; everything else of them stays.

        Raises:
            RtcError: USAGE: as for `remember`.
        """

        def change(content: RememberedRoomsJson) -> RememberedRoomsJson:
            rooms = (evolve(one, secret=None) if one.room == room else one for one in content.rooms)
            return evolve(content, rooms=tuple(rooms))

        self._change(change)

    def check(self) -> None:
        """Check that the file can be read and changed, before something is used up whose result it is to keep.

        Raises:
            RtcError: USAGE: as for `remember`.
        """
        self._load()
        check_changeable(self.path, self.place)

    def _change(self, change: Callable[[RememberedRoomsJson], RememberedRoomsJson]) -> None:
        def changed_text() -> str:
            content, document = self._load()
            return _as_text(change(content), document)

        change_file(self.path, self.place, changed_text)


def _as_text(content: RememberedRoomsJson, before: dict[str, Any]) -> str:
    """Return the text of the file.

    Args:
        content: what it is to hold.
        before: what it holds now, as JSON: the fields that this version does not know are taken over.

    Raises:
        RtcError: USAGE: it would be too large to be read.
    """
    kept = {(room["server"], room["room"]): room for room in before.get("rooms", ())}
    document = from_json(to_json(content), dict[str, Any], limit=2 * FILE_MAX)
    rooms = [kept.get((room["server"], room["room"]), {}) | room for room in document["rooms"]]
    text = document_to_json(before | document | {"rooms": rooms}, indent=2) + "\n"
    if len(text.encode()) > FILE_MAX:
        raise _full()
    return text


def _full() -> RtcError:
    text = f"is full: at most {ROOMS_MAX} rooms are remembered; leave some of them: sleap-rtc rooms"
    return unusable("The list of remembered rooms", text)


def _with_valid_default(content: RememberedRoomsJson) -> RememberedRoomsJson:
    """Return the content without a default that is no room of it."""
    is_valid = any(room.name == content.default for room in content.rooms)
    return content if is_valid else evolve(content, default=None)


def is_same_name(one: str, other: str) -> bool:
    """Return whether two rooms cannot have these names: they are the same, or differ in case only."""
    return one.casefold() == other.casefold()


def check_room_name(name: str) -> str:
    """Return a typed name for a room if it can be one.

    Raises:
        RtcError: USAGE: it cannot.
    """
    if not ID_PATTERN.fullmatch(name):
        raise RtcError(
            FaultCode.USAGE,
            "A room's name is made of letters without accents, digits, '.', '-' and '_', and begins with a letter or "
            "digit: at most 100 characters.",
        )
    return name

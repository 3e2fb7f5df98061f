"""The five places in which a room's secret may be, in the order in which they are looked at."""

import os
import stat
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from pathlib import Path

from attrs import field, frozen

from protocol.fields import ID_PATTERN
from protocol.ids import RoomId
from rtc.config.room_secrets.credentials_file import CredentialsFile
from rtc.config.room_secrets.files import OF_OTHERS, read_file, unusable
from rtc.config.room_secrets.variables import is_secret_variable, variable_of

FOLDER_NAME, CREDENTIALS_NAME = "secrets", "credentials.json"


class SourceKind(Enum):
    """The kinds of places, in the order in which they are looked at."""

    OPTION = "option"
    ENVIRONMENT = "environment"
    FILE = "file"
    CREDENTIALS = "credentials"
    REMEMBERED = "remembered"


@frozen
class GivenSecret:
    """A room secret from the command line, for whatever room."""

    text: str = field(repr=False)
    place: str
    """The option, or the file or stream that the option names."""
    file: Path | None = None
    """The file, if it is one."""


@frozen
class SecretSource:
    """One place in which the secret of a room may be."""

    kind: SourceKind
    place: str
    """What people call it in texts."""
    read: Callable[[], str | None]
    """Returns the text that is there; None if there is none. Raises `RtcError` (USAGE) if it cannot be read."""
    paths: tuple[tuple[Path, str], ...] = ()
    """The file and its folder, if it is a file, and what people call them."""
    private: int = OF_OTHERS
    """The permissions that these paths should not have."""


@frozen
class SecretPlaces:
    """All places of this user: what the command line and the environment have, and the settings folder."""

    given: GivenSecret | None = None
    environ: Mapping[str, str] = field(factory=dict, repr=False)
    folder: Path | None = None
    """The settings folder; None: there are no files."""
    folder_name: str = "~/.sleap-rtc"
    """What people call that folder."""
    remembered_secret: Callable[[RoomId], str | None] | None = field(default=None, repr=False)
    """Returns the secret that is remembered with a room; None to leave it out."""

    @property
    def folder_place(self) -> str:
        """What people call the folder with a file for each room."""
        return f"{self.folder_name}/{FOLDER_NAME}"

    @property
    def credentials_place(self) -> str:
        """What people call the credentials file."""
        return f"{self.folder_name}/{CREDENTIALS_NAME}"

    @property
    def credentials_file(self) -> CredentialsFile | None:
        """The credentials file; None without a settings folder."""
        return None if self.folder is None else CredentialsFile(self.folder / CREDENTIALS_NAME, self.credentials_place)

    def of_room(self, room: RoomId | None) -> tuple[SecretSource, ...]:
        """Return the sources for a room, the first to be looked at first; None for a room that is still to be made."""
        found: list[SecretSource] = []
        if self.given is not None:
            given = self.given
            paths = () if given.file is None else ((given.file, str(given.file)),)
            # a group that may read a file which a person has named is meant; what a container is handed is often so
            found.append(SecretSource(SourceKind.OPTION, given.place, lambda: given.text, paths, stat.S_IRWXO))
        return tuple(found) if room is None else (*found, *self.remembered(room))

    def remembered(self, room: RoomId) -> tuple[SecretSource, ...]:
        """Return the sources for a room, without the command line."""
        variable = variable_of(room)
        found = [SecretSource(SourceKind.ENVIRONMENT, variable, lambda: self.environ.get(variable))]
        if self.folder is not None:
            found += [self.file_of(room), self._credentials_of(self.folder, room)]
        if self.remembered_secret is not None:
            read = partial(self.remembered_secret, room)
            found.append(SecretSource(SourceKind.REMEMBERED, f"the remembered room {room}", read))
        return tuple(found)

    def file_of(self, room: RoomId) -> SecretSource:
        """Return the source that is the file of a room; its first path is that file."""
        assert self.folder is not None, "without a settings folder there are no files"
        folder = self.folder / FOLDER_NAME
        place = f"{self.folder_place}/{room}"
        paths = ((folder / room, place), (folder, self.folder_place))
        return SecretSource(SourceKind.FILE, place, lambda: self._read_room_file(room, place), paths)

    def _credentials_of(self, folder: Path, room: RoomId) -> SecretSource:
        file = CredentialsFile(folder / CREDENTIALS_NAME, self.credentials_place)
        paths = ((file.path, file.place),)
        return SecretSource(SourceKind.CREDENTIALS, file.place, lambda: file.read(room), paths)

    def _read_room_file(self, room: RoomId, place: str) -> str | None:
        """Return the text of a room's file; None if there is none.

        The name must be in the folder exactly so: some file systems would open `Room-1` or a device for other names.
        """
        if self.folder is None or room not in self.rooms_with_files():
            return None
        return read_file(self.folder / FOLDER_NAME / room, place)

    def variables(self) -> list[str]:
        """Return the names of the variables that hold a secret, sorted; empty ones are left out."""
        return sorted(name for name, text in self.environ.items() if is_secret_variable(name) and text.strip())

    def rooms_with_files(self) -> list[RoomId]:
        """Return the rooms that have a file with a secret, sorted.

        Raises:
            RtcError: USAGE: the folder cannot be read.
        """
        return [] if self.folder is None else _rooms_in(self.folder / FOLDER_NAME, self.folder_place)


def _rooms_in(folder: Path, place: str) -> list[RoomId]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unusable(place, f"cannot be read ({error.strerror})") from None
    return sorted(RoomId(name) for name in names if ID_PATTERN.fullmatch(name))

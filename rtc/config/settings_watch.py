"""Notices when the folder with settings and secrets is gone: another program is known to move `~/.sleap-rtc` away.

What was in the folder is remembered in the state folder, without its content. Rules: nothing here ends a program or
needs the files; and what a person has removed from the folder is not missed, only what has vanished with the folder.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from attrs import evolve, field, frozen
from attrs.validators import deep_iterable

from protocol.converter import WireError, from_json, to_json
from protocol.fields import Id, MaxItems, SingleLine
from protocol.ids import RoomId
from rtc.common.birth_time import birth_time
from rtc.common.errors import RtcError
from rtc.common.private_folder import make_private_folder
from rtc.common.whole_file import read_small_file, write_whole_file
from rtc.config.folders import Folders, find_folders, shown_path
from rtc.config.load import HOME_FILE
from rtc.config.notices import Notices, Say
from rtc.config.room_secrets.sources import CREDENTIALS_NAME, FOLDER_NAME, SecretPlaces

FILE_MAX = 1024 * 1024
"""Bytes that are read of the file; ours have some hundred."""
ROOMS_MAX = 5000
ENTRIES_MAX = 5000
"""Entries of a folder that are looked at when the lost one is searched for."""
NAMES = (HOME_FILE, CREDENTIALS_NAME, FOLDER_NAME)
"""What people and our programs keep in the folder."""
SEARCHED = (
    ".",
    ".config",
    ".local/share",
    ".local/state",
    "Library/Application Support",
    "AppData/Local",
    "AppData/Roaming",
)
"""Where the lost folder is searched for: where programs keep their folders, relative to the home folder."""


@frozen
class SeenSettings:
    """What was in the folder of settings and secrets. Its fields are the keys of the file that remembers it."""

    inode: int
    """The folder's number in its file system, which it keeps when it is moved."""
    files: tuple[str, ...] = field(validator=[MaxItems(len(NAMES)), deep_iterable(SingleLine())])
    """Which of `NAMES` were there."""
    rooms: tuple[str, ...] = field(default=(), validator=[MaxItems(ROOMS_MAX), deep_iterable(Id())])
    """The rooms that had a secret there."""
    born: int | None = None
    """When the folder was made, in microseconds since 1970; None if that could not be told."""

    def is_same_folder(self, other: "SeenSettings") -> bool:
        """Return whether both were seen in one folder. A new folder may have the number of one that was removed."""
        return self.inode == other.inode and (None in (self.born, other.born) or self.born == other.born)


@frozen
class LostSettings:
    """What has vanished together with the folder."""

    files: tuple[str, ...]
    rooms: tuple[str, ...]
    found: Path | None
    """The folder that has it now, if it was found."""


@frozen
class SettingsWatch:
    """Compares what is in the folder of settings and secrets with what was in it."""

    folders: Folders

    def check(self, say: Say) -> None:
        """Tell once if the folder is gone; otherwise remember what is in it."""
        notices = Notices(self.folders.notices_file, say)
        lost = self.find_lost()
        if lost is not None:
            notices.once("settings", f"{self.describe(lost)} {self.advise(lost)}")
            return
        notices.over("settings")
        now = self._look()
        if now is not None and now != self._read():
            self._write(now)

    def find_lost(self) -> LostSettings | None:
        """Return what has vanished with the folder; None if all is well, or nothing was there. Changes nothing."""
        before, now = self._read(), self._look()
        if before is None or (now is not None and now.is_same_folder(before)):
            return None
        files = tuple(name for name in before.files if now is None or name not in now.files)
        rooms = tuple(room for room in before.rooms if now is None or room not in now.rooms)
        is_replaced = now is not None and bool(now.files)  # the person has new settings: only secrets are missed
        if not rooms and (is_replaced or not files):
            return None
        return LostSettings(files, rooms, self._search(before))

    def describe(self, lost: LostSettings) -> str:
        """Return a sentence that says what is missing."""
        what = [*(name for name in lost.files if name != FOLDER_NAME)]
        if lost.rooms:
            what.append(f"the secret of {lost.rooms[0]}" if len(lost.rooms) == 1 else f"{len(lost.rooms)} room secrets")
        listed = f"{', '.join(what[:-1])} and {what[-1]}" if len(what) > 1 else "".join(what) or FOLDER_NAME
        return f"The folder {self.folders.settings_name} was moved or removed, with {listed}."

    def advise(self, lost: LostSettings) -> str:
        """Return sentences about what is safe, and how to put back what is missing."""
        safe = f"Jobs, results and remembered rooms are safe in {shown_path(self.folders.state)}."
        name = self.folders.settings_name
        if lost.found is None:
            return f"{safe} If another program has moved the folder, copy what is missing back to {name}."
        found = shown_path(lost.found)
        return f"{safe} It is in {found} now, so another program has moved it: copy what is missing back to {name}."

    def about_lost_secret(self, room: RoomId) -> str | None:
        """Return sentences for a worker whose room had a secret in the folder that is gone; None if it had none."""
        lost = self.find_lost()
        if lost is None or room not in lost.rooms:
            return None
        return (
            f"{self.describe(lost)} {self.advise(lost)} Or give the secret of {room} with --room-secret-file FILE. "
            f"To serve the room without a secret: sleap-rtc secrets remove {room}"
        )

    def forget_room(self, room: RoomId) -> bool:
        """Do not miss the secret of a room any more; return whether it was missed."""
        lost, before = self.find_lost(), self._read()
        if lost is None or before is None or room not in lost.rooms:
            return False
        self._write(evolve(before, rooms=tuple(other for other in before.rooms if other != room)))
        return True

    # -------- what is there

    def _look(self) -> SeenSettings | None:
        """Return what is in the folder; None if there is no folder, or if everything is in one folder."""
        folder = self.folders.settings
        if folder == self.folders.state:  # then this memory would be gone as well
            return None
        try:
            inode = folder.stat().st_ino
        except OSError:
            return None
        files = tuple(name for name in NAMES if os.path.lexists(folder / name))
        return SeenSettings(inode, files, tuple(self._rooms()), birth_time(folder))

    def _rooms(self) -> list[str]:
        """Return the rooms with a secret in the folder; those that cannot be read are left out."""
        places = SecretPlaces(folder=self.folders.settings)
        rooms: set[str] = set()
        with suppress(RtcError):
            rooms |= set(places.rooms_with_files())
        with suppress(RtcError):
            rooms |= set(places.credentials_file.rooms() if places.credentials_file is not None else ())
        return sorted(rooms)[:ROOMS_MAX]

    # -------- what was there

    def _read(self) -> SeenSettings | None:
        """Return what is remembered; None if nothing is, or nothing was there."""
        with suppress(OSError, WireError):
            text = read_small_file(self.folders.remembered_settings_file, FILE_MAX + 1)
            seen: SeenSettings = from_json(text, SeenSettings, limit=FILE_MAX)
            return seen
        return None

    def _write(self, seen: SeenSettings) -> None:
        path = self.folders.remembered_settings_file
        with suppress(OSError, ValueError):  # without this memory, nothing is noticed
            make_private_folder(path.parent)
            write_whole_file(path, to_json(seen) + "\n")

    # -------- where it may be now

    def _search(self, before: SeenSettings) -> Path | None:
        """Return the folder that is the lost one under another name, or one of SLEAP's that has the same files."""
        home = self.folders.settings.parent
        near = [path for place in SEARCHED for path in _folders_in(home / place)]
        inside = [path for folder in near if "sleap" in folder.name.lower() for path in _folders_in(folder)]
        others = [path for path in (*near, *inside) if path not in (self.folders.settings, self.folders.state)]
        for path in others:
            with suppress(OSError):
                if path.lstat().st_ino == before.inode and _has_files(path, before):
                    return path
        sleap = (path for path in others if "sleap" in f"{path.parent.name}/{path.name}".lower())
        return next((path for path in sleap if before.files and _has_files(path, before)), None)


def _folders_in(folder: Path) -> Iterator[Path]:
    """Yield the folders in a folder, without links."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, ENTRIES_MAX):
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    yield folder / entry.name


def _has_files(folder: Path, before: SeenSettings) -> bool:
    return all(os.path.lexists(folder / name) for name in before.files)


def watch_settings(say: Say) -> Folders:
    """Return the folders of this user, after telling once if the one with settings and secrets is gone.

    Every program calls this first.

    Raises:
        RtcError: USAGE: as for `find_folders`.
    """
    folders = find_folders()
    SettingsWatch(folders).check(say)
    return folders

"""Takes over what earlier versions kept in `~/.sleap-rtc`: it is moved to where programs keep their state now.

One place after the other (tickets, logs, the server's database, a worker's folders), each when a program first uses
it. Rules: nothing is lost, so on any doubt a thing stays where it is, and one sentence says where it lies. Two programs
never move the same place at the same time. What cannot be moved now is tried again at each start.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path

from attrs import field, frozen

from rtc.common.private_folder import make_private_folder
from rtc.common.safe_move import is_same, move, remove_dead_copies
from rtc.config.folders import Folders, shown_path
from rtc.config.notices import Notices, Say

LOCK_PREFIX = ".taking-over-"
"""How the names of the lock files begin."""


OURS = {
    "jobs": ("job-*.json",),
    "work": ("*job-*",),
    "results": ("*job-*", ".place-*.json", "jobs.sqlite3*"),
    "server": ("server.sqlite3",),
    "logs": tuple(f"{program}.log*" for program in ("worker", "client", "server", "demo", "doctor")),
}
"""For each old folder, the names of what is ours in it: other programs use `~/.sleap-rtc`, too."""


class CannotMoveError(Exception):
    """A place cannot be taken over now. Its text says why; it follows "… because"."""


@frozen
class OldFolder:
    """One folder that is to be moved, and where to."""

    what: str
    """What is in it, as the begin of a sentence: "Results"."""
    old: Path
    new: Path

    @property
    def is_there(self) -> bool:
        """Whether the old folder has something of ours or is empty, and is not the new one under another name."""
        if not os.path.lexists(self.old):
            return False
        with suppress(OSError):
            if os.path.samefile(self.old, self.new):
                return False
        try:
            names = os.listdir(self.old)
        except NotADirectoryError:
            return False
        except OSError:
            return True  # why it cannot be read is told when that is tried
        return not names or any(map(self._is_ours, names))

    def _is_ours(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in OURS[self.new.name])

    @property
    def names(self) -> str:
        """Both folders, as people write them, for a sentence that says what is moved from where."""
        return f"{shown_path(self.old)} to {shown_path(self.new)}"

    def list_old(self) -> tuple[Path, ...]:
        """Return what is ours in the old folder, sorted by name.

        Raises:
            OSError: it cannot be read, or is no folder.
        """
        return tuple(sorted(path for path in self.old.iterdir() if self._is_ours(path.name)))

    def take_link(self) -> bool:
        """If the old folder is a symbolic link, make the new one a link to the same folder; return whether it was one.

        So a person who has put a place on another disk finds it there as before.

        Raises:
            CannotMoveError: the new folder has something in it, or the link leads nowhere.
            OSError: the link cannot be made.
        """
        if not self.old.is_symlink():
            return False
        if not self.old.is_dir():
            raise CannotMoveError("it is a link that leads nowhere")
        real = self.old.resolve()
        if os.path.lexists(self.new):
            try:
                self.new.rmdir()
            except OSError:
                raise CannotMoveError("it is a link to another folder, and the new place has something in it") from None
        self.new.symlink_to(real, target_is_directory=True)
        self.old.unlink()  # the link alone
        return True

    def remove_old(self) -> None:
        """Remove the old folder if nothing is left in it."""
        with suppress(OSError):
            self.old.rmdir()


@frozen
class TakeOver:
    """Takes over the places of one user."""

    folders: Folders
    say: Say
    notices: Notices = field(init=False)

    @notices.default
    def _make_notices(self) -> Notices:
        return Notices(self.folders.notices_file, self.say)

    def place(self, what: str, new: Path) -> OldFolder | None:
        """Return the place whose new folder is this one; None if there is nothing to take over."""
        old_state = self.folders.old_state
        if old_state is None:
            return None
        place = OldFolder(what, old_state / new.name, new)
        return place if place.is_there else None

    @contextmanager
    def locked(self, place: OldFolder) -> Iterator[None]:
        """Hold the lock of a place. If another program holds it, say so, and wait for its end.

        Raises:
            CannotMoveError: the new place cannot be written, or its file system has no locks.
        """
        from filelock import FileLock, Timeout  # needed only once

        try:
            make_private_folder(place.new.parent)
            lock = FileLock(place.new.parent / f"{LOCK_PREFIX}{place.new.name}.lock", mode=0o600)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self.say(f"Another sleap-rtc moves what lies in {place.names}; waiting for it.")
                lock.acquire()
        except OSError as error:
            raise CannotMoveError(f"{shown_path(place.new.parent)} cannot be written ({error.strerror})") from None
        except NotImplementedError:
            raise CannotMoveError(f"the file system of {shown_path(place.new.parent)} has no locks") from None
        try:
            yield
        finally:
            lock.release()

    def run(self, place: OldFolder, take: Callable[[OldFolder], None]) -> bool:
        """Take over one place, and return whether nothing is left in the old one that should be moved.

        Args:
            place: what to move.
            take: moves what is in it, once it is locked and known to be no link; it may raise `CannotMoveError` or
                `OSError`.
        """
        try:
            with self.locked(place):
                if place.is_there and not place.take_link():
                    place.new.mkdir(mode=0o700, exist_ok=True)
                    remove_dead_copies(place.new)
                    take(place)
                    place.remove_old()
        except CannotMoveError as error:
            self._stays(place, str(error))
            return False
        except OSError as error:
            self._stays(place, f"it cannot be moved ({error.strerror or type(error).__name__})")
            return False
        self.notices.over(place.what)
        return True

    def _stays(self, place: OldFolder, why: str) -> None:
        text = f"{place.what} of an earlier version stay in {shown_path(place.old)} for now, because {why}. Their new"
        self.notices.once(place.what, f"{text} folder is {shown_path(place.new)}; the next start tries again.")


def move_files(place: OldFolder, rename_taken: Callable[[Path], Path | None] = lambda _path: None) -> None:
    """Move each file of a place; folders and links stay, and so does a file whose name is taken by another one.

    Args:
        place: the place.
        rename_taken: returns another path for a file whose new path is taken, or None to leave the file.

    Raises:
        CannotMoveError: a file stays.
        OSError: a file cannot be moved.
    """
    left: list[str] = []
    for path in place.list_old():
        if not stat.S_ISREG(path.lstat().st_mode):
            continue
        target: Path | None = place.new / path.name
        if os.path.lexists(place.new / path.name):
            if is_same(path, place.new / path.name):
                path.unlink()
                continue
            target = rename_taken(place.new / path.name)
        if target is None:
            left.append(path.name)
        else:
            move(path, target)
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise CannotMoveError(f"the new place has another {left[0]}{more}")


def take_over_tickets(folders: Folders, say: Say) -> Path:
    """Take over the tickets of jobs, and return the folder to use: the old one if the new one cannot be written."""
    take_over = TakeOver(folders, say)
    place = take_over.place("Tickets of jobs", folders.tickets)
    if place is None or take_over.run(place, move_files):
        return folders.tickets
    use_old = not any(folders.tickets.glob("*.json")) and any(place.old.glob("*.json"))
    return place.old if use_old else folders.tickets


def take_over_logs(folders: Folders, say: Say) -> Path:
    """Take over the logs, and return their folder. An old log whose name is taken gets another one."""
    take_over = TakeOver(folders, say)
    place = take_over.place("Logs", folders.logs)
    if place is not None:
        take_over.run(place, lambda place: move_files(place, _free_log_name))
    return folders.logs


def _free_log_name(taken: Path) -> Path:
    names = (taken.with_name(f"{taken.name}.old-{number}") for number in count(1))
    return next(path for path in names if not os.path.lexists(path))


def folders_left(folders: Folders) -> list[str]:
    """Return the names of the old folders in which something of ours is left."""
    take_over = TakeOver(folders, lambda _text: None)
    new = (folders.tickets, folders.work, folders.results, folders.server, folders.logs)
    return [path.name for path in new if take_over.place("", path) is not None]

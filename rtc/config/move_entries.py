"""Moves everything that is in a folder, or nothing of it."""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from rtc.common.safe_move import copy_checked, is_same, new_copy_path, remove_tree, rename_new, size_of
from rtc.common.sizes import size as shown_size
from rtc.config.folders import shown_path
from rtc.config.notices import Say
from rtc.config.take_over import CannotMoveError, OldFolder

LARGE = 10**8
"""Bytes; copying less takes a moment, and nothing is said about it."""
FREE_SHARE = 1.1
"""How many times the size of what is copied to another file system must be free there."""


@frozen
class Moved:
    """What was moved from one folder."""

    folder: Path
    """The new folder."""
    renamed: tuple[Path, ...]
    """The old paths of what was renamed."""
    copied: tuple[Path, ...]
    """What was copied and is still in the old folder, too."""
    duplicates: tuple[Path, ...]
    """What both folders had already, with the same content."""
    left: tuple[str, ...]
    """The names of what stays, as the new folder has something else of that name."""

    def finish(self) -> None:
        """Remove what was copied.

        Raises:
            CannotMoveError: something stays.
        """
        for path in (*self.copied, *self.duplicates):
            remove_tree(path)
        if self.left:
            more = f" and {len(self.left) - 1} more" if len(self.left) > 1 else ""
            raise CannotMoveError(f"the new place has another {self.left[0]}{more}")

    def undo(self) -> None:
        """Let the old folder have everything, and the new one nothing of it."""
        _rename_back(self.renamed, self.folder)
        for path in self.copied:
            remove_tree(self.folder / path.name)


@contextmanager
def move_entries(place: OldFolder, say: Say, leave: Sequence[str] = ()) -> Iterator[Moved]:
    """Move everything in a folder, or nothing; on an error in the context, all of it is moved back.

    Args:
        place: the folder.
        say: prints a sentence when this takes long.
        leave: the names of what is not to be moved.

    Raises:
        CannotMoveError: it must be copied, and there is no room for that.
        OSError: it cannot be moved.
    """
    moved = _move_or_copy(place, say, leave)
    try:
        yield moved
    except BaseException:
        moved.undo()
        raise


def _move_or_copy(place: OldFolder, say: Say, leave: Sequence[str]) -> Moved:
    entries = [path for path in place.list_old() if path.name not in leave]
    taken = [path for path in entries if os.path.lexists(place.new / path.name)]
    duplicates = tuple(path for path in taken if is_same(path, place.new / path.name))
    left = tuple(path.name for path in taken if path not in duplicates)
    free = tuple(path for path in entries if path not in taken)
    try:
        _rename_all(free, place.new)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_all(free, place, say)
        return Moved(place.new, (), free, duplicates, left)
    return Moved(place.new, free, (), duplicates, left)


def _rename_all(paths: Sequence[Path], folder: Path) -> None:
    """Rename all of these into a folder; on an error, rename those back that were renamed.

    Raises:
        OSError: one of them cannot be renamed.
    """
    renamed: list[Path] = []
    try:
        for path in paths:
            rename_new(path, folder / path.name)
            renamed.append(path)
    except BaseException:
        _rename_back(renamed, folder)
        raise


def _rename_back(paths: Sequence[Path], folder: Path) -> None:
    """Rename to these paths what is in a folder now; what cannot be renamed is moved again by the next start."""
    for path in reversed(paths):
        with suppress(OSError):
            rename_new(folder / path.name, path)


def _copy_all(paths: Sequence[Path], place: OldFolder, say: Say) -> None:
    """Copy all of these into the new folder, where they appear when all of them are whole.

    Raises:
        CannotMoveError: there is not enough room.
        OSError: one of them cannot be copied.
    """
    size = sum(map(size_of, paths))
    if shutil.disk_usage(place.new).free < size * FREE_SHARE:
        new = shown_path(place.new)
        raise CannotMoveError(f"{new} is on another disk, which has no room for {shown_size(size)} more")
    if size >= LARGE:
        say(f"{place.what} are moved from {place.names}, once: {shown_size(size)} …")
    copies = new_copy_path(place.new)
    try:
        copies.mkdir(mode=0o700)
        for path in paths:
            copy_checked(path, copies / path.name)
        _rename_all([copies / path.name for path in paths], place.new)
    finally:
        remove_tree(copies)

"""Saves a worker's room membership on disk, so that a restarted worker rejoins its room under the same peer id.

Each worker of a machine has one small private file in the results folder. The file is locked while its worker runs, so
two workers never use the same membership.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import asdict, field, frozen

from protocol.fields import ID_PATTERN
from protocol.ids import PeerId, RoomId
from rtc.runner.folder_lock import lock_file

FILE_MAX = 16 * 1024
"""Maximum number of bytes read from the file; a file that we wrote has a few hundred."""


@frozen
class SavedMembership:
    """The room that a worker was in, and the credentials to rejoin it under the same peer id.

    Its fields are the keys of the JSON file.
    """

    server: str
    room: RoomId
    token: str = field(repr=False)
    peer: PeerId
    resume: str = field(repr=False)


@frozen
class MembershipFile:
    """One worker's membership file, locked while it is open."""

    descriptor: int | None
    """None when another worker of that name is running, or the file system has no locks: then nothing is saved."""

    def read(self) -> SavedMembership | None:
        """Return the saved membership, or None when there is none or it cannot be read."""
        if self.descriptor is None:
            return None
        with suppress(ValueError, TypeError, RecursionError):
            saved = SavedMembership(**json.loads(os.pread(self.descriptor, FILE_MAX, 0)))
            texts = asdict(saved).values()
            if all(isinstance(text, str) for text in texts) and _are_ids(saved.room, saved.peer):
                return saved
        return None

    def write(self, membership: SavedMembership) -> None:
        """Save this membership in place of the old one.

        Raises:
            OSError: the file cannot be written, for example because the disk is full.
        """
        if self.descriptor is not None:
            text = json.dumps(asdict(membership)).encode()
            os.pwrite(self.descriptor, text, 0)
            os.ftruncate(self.descriptor, len(text))


def _are_ids(*texts: str) -> bool:
    return all(ID_PATTERN.fullmatch(text) for text in texts)


@contextmanager
def open_membership_file(results: Path, name: str, gpu: str | None) -> Iterator[MembershipFile]:
    """Open and lock the membership file of the worker with this name and GPU, until the context ends.

    If the file cannot be opened, or another worker holds its lock, the returned object reads and saves nothing.
    """
    safe = re.sub(r"[^\w.-]", "_", f"{name}-{gpu or 'cpu'}")[:150]
    try:
        descriptor = lock_file(results / f".place-{safe}.json", os.O_CREAT)
    except OSError:
        descriptor = None
    try:
        yield MembershipFile(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)

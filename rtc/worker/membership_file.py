"""Saves a worker's room membership on disk, so that a restarted worker rejoins its room under the same peer id.

Each worker of a machine has one small private file in the results folder. The file is locked while its worker runs, so
two workers never use the same membership.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import field, frozen

from protocol.converter import WireError, from_json, to_json
from protocol.fields import Id, SingleLine
from protocol.ids import PeerId, RoomId
from protocol.session_string import ADDRESS_MAX
from rtc.runner.folder_lock import lock_file

MEMBERSHIP_GLOB = ".place-*.json"
"""The files of all workers that use a results folder."""
FILE_MAX = 16 * 1024
"""Maximum number of bytes read from the file; a file that we wrote has a few hundred."""


@frozen
class SavedMembership:
    """The room that a worker was in, and the credentials to rejoin it under the same peer id.

    Its fields are the keys of the JSON file.
    """

    server: str = field(validator=SingleLine(ADDRESS_MAX))
    room: RoomId = field(validator=Id())
    token: str = field(validator=SingleLine(), repr=False)
    peer: PeerId = field(validator=Id())
    resume: str = field(validator=SingleLine(), repr=False)
    has_secret: bool = False
    """Whether clients had to prove that they know the room secret, which itself is not saved."""


@frozen
class MembershipFile:
    """One worker's membership file, locked while it is open."""

    descriptor: int | None
    """None when another worker of that name is running, or the file system has no locks: then nothing is saved."""

    def read(self) -> SavedMembership | None:
        """Return the saved membership, or None when there is none or it cannot be read."""
        if self.descriptor is None:
            return None
        with suppress(WireError):
            saved: SavedMembership = from_json(
                os.pread(self.descriptor, FILE_MAX + 1, 0), SavedMembership, limit=FILE_MAX
            )
            return saved
        return None

    def write(self, membership: SavedMembership) -> None:
        """Save this membership in place of the old one.

        Raises:
            OSError: the file cannot be written, for example because the disk is full.
        """
        if self.descriptor is not None:
            text = to_json(membership).encode()
            os.pwrite(self.descriptor, text, 0)
            os.ftruncate(self.descriptor, len(text))


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

"""The place that a worker had in its room, kept so that one which was killed can be found again by who needs it.

One small private file for each worker of a machine, in the results folder, locked as long as its worker lives: two
workers never claim the same place.
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

PLACE_MAX = 16 * 1024
"""Bytes that are read; ours have a few hundred."""


@frozen
class SavedMembership:
    """Where a worker was, and what lets it in again under its old name."""

    server: str
    room: RoomId
    token: str = field(repr=False)
    peer: PeerId
    resume: str = field(repr=False)


@frozen
class RoomIdentity:
    """One worker's file, ours as long as it is open."""

    descriptor: int | None
    """None when another worker of that name lives, or the file system knows no locks: then nothing is kept."""

    def read(self) -> SavedMembership | None:
        """The place we had; None when we had none that can be read."""
        if self.descriptor is None:
            return None
        with suppress(ValueError, TypeError, RecursionError):
            place = SavedMembership(**json.loads(os.pread(self.descriptor, PLACE_MAX, 0)))
            texts = asdict(place).values()
            if all(isinstance(text, str) for text in texts) and _are_ids(place.room, place.peer):
                return place
        return None

    def write(self, place: SavedMembership) -> None:
        """Keep it.

        Raises:
            OSError: the disk is full, or worse.
        """
        if self.descriptor is not None:
            text = json.dumps(asdict(place)).encode()
            os.pwrite(self.descriptor, text, 0)
            os.ftruncate(self.descriptor, len(text))


def _are_ids(*texts: str) -> bool:
    return all(ID_PATTERN.fullmatch(text) for text in texts)


@contextmanager
def open_identity(results: Path, name: str, gpu: str | None) -> Iterator[RoomIdentity]:
    """The identity of the worker of this name and GPU, for as long as it lives."""
    plain = re.sub(r"[^\w.-]", "_", f"{name}-{gpu or 'cpu'}")[:150]
    try:
        descriptor = lock_file(results / f".place-{plain}.json", os.O_CREAT)
    except OSError:
        descriptor = None
    try:
        yield RoomIdentity(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)

"""The receiving side: check before the first byte, write under a temporary name, verify, then rename."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import trio
from attrs import define, field

from protocol.faults import FaultCode
from protocol.transfer import FileAccept, FileCredit, FileEnd, FileOffer, FileVerified
from protocol.wire import WireError, unpack_piece
from rtc.errors import RtcError
from rtc.transfer.lane import LOST, WINDOW, Progress, TransferLane, damaged, patience, race, telling
from rtc.transfer.names import safe_name

RESERVE = 200 * 1000 * 1000
"""Bytes of disk that stay free besides the file, so that the machine goes on working."""
SYNC_SIZE = 64 * 1024 * 1024
"""After so many bytes the disk must have them: the last fsync then stays short, and dirty pages few."""
CREDIT_STEP = WINDOW // 8
WRITE_SIZE = 1024 * 1024
"""Bytes gathered before each write."""
BATCH = 16
"""Most pieces written in one visit to a thread."""
REMOVE_TIME = 10.0
"""Seconds that removing a part of a file may hold up a cancellation."""


@define
class _Receiving:
    """One file on its way in."""

    lane: TransferLane
    transfer: int
    size: int
    part: BinaryIO
    progress: Progress
    done: int = 0
    credit: int = WINDOW
    synced: int = 0
    digest: "hashlib._Hash" = field(factory=hashlib.sha256)
    sha256: bytes | None = None
    ended: trio.Event = field(factory=trio.Event)

    async def listen(self) -> None:
        """Hear the sender; never returns by itself."""
        while True:
            word = await self.lane.next_word(self.transfer)
            if not isinstance(word, FileEnd) or self.sha256 is not None:
                raise damaged()
            self.sha256 = word.sha256
            self.ended.set()

    async def fill(self) -> None:
        """Write what comes; returns when all is here and the hash fits."""
        self.progress(0, self.size)
        self.lane.say(FileAccept(self.transfer, 0, self.credit))
        while self.done < self.size:
            payloads = self._checked(await self._some())
            await trio.to_thread.run_sync(self._write, payloads)
            self.progress(self.done, self.size)
            if self.done + WINDOW >= self.credit + CREDIT_STEP:
                self.credit = self.done + WINDOW
                self.lane.say(FileCredit(self.transfer, self.credit))
        with patience():
            await self.ended.wait()
        if self.digest.digest() != self.sha256:
            raise RtcError(FaultCode.DAMAGED, "The file arrived damaged (its SHA-256 differs). Try again.")

    async def _some(self) -> list[bytes]:
        """At least one frame, and whatever else is here."""
        try:
            with patience():
                frames = [await self.lane.pieces.receive()]
            while len(frames) < BATCH:
                frames.append(self.lane.pieces.receive_nowait())
        except trio.WouldBlock:
            pass
        except trio.EndOfChannel:
            raise RtcError(FaultCode.LINK_LOST, LOST) from None
        return frames

    def _checked(self, frames: list[bytes]) -> list[memoryview]:
        """The payloads, each just where the one before ended. Leftovers of an earlier transfer are dropped."""
        payloads = []
        for frame in frames:
            try:
                transfer, offset, payload = unpack_piece(frame)
            except WireError:
                raise damaged() from None
            if transfer < self.transfer:
                continue
            end = self.done + len(payload)
            if transfer > self.transfer or offset != self.done or end > self.size or end > self.credit:
                raise damaged()
            self.done = end
            payloads.append(payload)
        return payloads

    def _write(self, payloads: list[memoryview]) -> None:
        """In a thread."""
        for payload in payloads:
            self.part.write(payload)
            self.digest.update(payload)
        if self.done - self.synced >= SYNC_SIZE:
            self.part.flush()
            os.fsync(self.part.fileno())
            self.synced = self.done


async def receive_file(
    lane: TransferLane, folder: Path, *, max_size: int, progress: Progress, expect: int | None = None
) -> Path:
    """Receive the next file into `folder` and return its path, under a safe form of the name the sender gave.

    The file appears whole or not at all; it is readable by us alone, and never replaces another.
    `expect` is the size in bytes that was announced before, if any.

    Raises:
        RtcError: TOO_LARGE or DISK_FULL before the first byte; DAMAGED, STALLED, LINK_LOST; the other side's reason.
    """
    offer = await _offered(lane)
    with telling(lane, offer.transfer), _writing_may_fail():
        if expect is not None and offer.size != expect:
            raise damaged("The file is not as long as was announced.")
        await _check_room(folder, offer.size, max_size)
        part = folder / f"{secrets.token_hex(8)}.part"
        try:
            with await trio.to_thread.run_sync(_create, part) as handle:
                receiving = _Receiving(lane, offer.transfer, offer.size, handle, progress)
                await race(receiving.listen, receiving.fill)
                await trio.to_thread.run_sync(_sync, handle)
            path = await trio.to_thread.run_sync(_publish, part, folder, safe_name(offer.name))
        finally:
            with trio.move_on_after(REMOVE_TIME, shield=True):
                await trio.to_thread.run_sync(lambda: part.unlink(missing_ok=True), abandon_on_cancel=True)
        lane.say(FileVerified(offer.transfer))
        return path


async def _offered(lane: TransferLane) -> FileOffer:
    """The next offer; words of transfers that have ended are skipped."""
    while True:
        try:
            with patience():
                word = await lane.words.receive()
        except trio.EndOfChannel:
            raise RtcError(FaultCode.LINK_LOST, LOST) from None
        if word.transfer <= lane.latest:
            continue
        lane.latest = word.transfer
        if isinstance(word, FileOffer):
            return word


async def _check_room(folder: Path, size: int, max_size: int) -> None:
    if size > max_size:
        raise RtcError(
            FaultCode.TOO_LARGE,
            f"The file has {size / 1e9:.2f} GB; at most {max_size / 1e9:.2f} GB are accepted here. "
            "Make it smaller, or have the limit raised.",
        )
    free = (await trio.to_thread.run_sync(shutil.disk_usage, folder)).free
    if free < size + RESERVE:
        raise RtcError(
            FaultCode.DISK_FULL,
            f"The file needs {size / 1e9:.2f} GB, but the receiving disk has only {free / 1e9:.2f} GB free. "
            "Make room there, then try again.",
        )


@contextmanager
def _writing_may_fail() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RtcError(
                FaultCode.DISK_FULL, "The receiving disk is full. Make room there, then try again."
            ) from None
        raise RtcError(FaultCode.DAMAGED, f"The file could not be written: {error.strerror}.") from None


def _create(part: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(part, flags, 0o600), "wb", buffering=WRITE_SIZE)


def _sync(handle: BinaryIO) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _publish(part: Path, folder: Path, name: str) -> Path:
    """Give the whole file its name; with a number when that is taken. A hard link cannot replace, a rename would."""
    stem, suffix = Path(name).stem, Path(name).suffix
    for number in range(1, 1000):
        path = folder / (name if number == 1 else f"{stem} ({number}){suffix}")
        try:
            os.link(part, path)
        except FileExistsError:
            continue
        except OSError:  # a file system without hard links
            if path.exists():
                continue
            part.rename(path)
        _sync_folder(folder)
        return path
    raise RtcError(FaultCode.DAMAGED, "There are too many files of that name already.")


def _sync_folder(folder: Path) -> None:
    """Make the new name itself last; only POSIX can open a folder for that."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

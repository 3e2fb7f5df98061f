"""The receiving side: check before the first byte, write under a temporary name, verify, then rename.

What a lost link has brought is kept as long as somebody may bring the rest.
"""

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
from rtc.common.errors import RtcError
from rtc.transport.files.channel import (
    CREDIT_WINDOW,
    TRANSFER_LOST,
    FileChannel,
    ProgressCallback,
    abort_on_error,
    damaged,
    race,
    stall_timeout,
)
from rtc.transport.files.file_names import safe_name

RESERVE = 200 * 1000 * 1000
"""Bytes of disk that stay free besides the file, so that the machine goes on working."""
SYNC_SIZE = 64 * 1024 * 1024
"""After so many bytes the disk must have them: the last fsync then stays short, and dirty pages few."""
CREDIT_STEP = CREDIT_WINDOW // 8
WRITE_SIZE = 1024 * 1024
"""Bytes gathered before each write."""
BATCH = 16
"""Most pieces written in one visit to a thread."""
HASH_SPEED = 20e6
"""Bytes per second at which the slowest disk is read; a sender that goes on hashes what is over already once more."""
REMOVE_TIME = 10.0
"""Seconds that removing a part of a file may hold up a cancellation."""


@define
class _Part:
    """What is on disk of a file that is not whole yet."""

    path: Path
    size: int
    """Bytes of the whole file."""
    written: int = 0
    synced: int = 0
    digest: "hashlib._Hash" = field(factory=hashlib.sha256)
    """Of the bytes written."""
    _handle: BinaryIO | None = None

    def open(self) -> BinaryIO:
        """Go on where the last byte was written. Like the next two, in a thread."""
        flags = os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        new = 0 if self.path.exists() else os.O_CREAT | os.O_EXCL
        self._handle = os.fdopen(os.open(self.path, flags | new, 0o600), "wb", buffering=WRITE_SIZE)
        self._handle.truncate(self.written)
        self._handle.seek(self.written)
        return self._handle

    def write(self, payloads: list[memoryview]) -> None:
        """What comes next."""
        assert self._handle is not None, "it was opened"
        for payload in payloads:
            self._handle.write(payload)
            self.digest.update(payload)
            self.written += len(payload)
        if self.written - self.synced >= SYNC_SIZE:
            self.sync()

    def sync(self) -> None:
        """The disk has it."""
        assert self._handle is not None, "it was opened"
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self.synced = self.written


@define
class _Receiving:
    """The rest of a file on its way in over one link."""

    channel: FileChannel
    transfer: int
    part: _Part
    progress: ProgressCallback
    done: int
    """Bytes that have come, over this link or earlier ones."""
    credit: int
    sha256: bytes | None = None
    end_received: trio.Event = field(factory=trio.Event)

    async def listen(self) -> None:
        """Hear the sender; never returns by itself."""
        while True:
            message = await self.channel.next_message(self.transfer)
            if not isinstance(message, FileEnd) or self.sha256 is not None:
                raise damaged()
            self.sha256 = message.sha256
            self.end_received.set()

    async def write_pieces(self) -> None:
        """Write what comes; returns when all is here and the hash fits."""
        size = self.part.size
        self.progress(self.done, size)
        self.channel.send(FileAccept(self.transfer, self.done, self.credit))
        extra_time = self.done / HASH_SPEED  # the sender has yet to hash what is here already
        while self.done < size:
            payloads = self._check_frames(await self._next_frames(extra_time))
            await trio.to_thread.run_sync(self.part.write, payloads)
            self.progress(self.done, size)
            extra_time = 0.0
            if self.done + CREDIT_WINDOW >= self.credit + CREDIT_STEP:
                self.credit = self.done + CREDIT_WINDOW
                self.channel.send(FileCredit(self.transfer, self.credit))
        with stall_timeout(extra_time):
            await self.end_received.wait()
        if self.part.digest.digest() != self.sha256:
            raise RtcError(FaultCode.DAMAGED, "The file arrived damaged (its SHA-256 differs). Try again.")

    async def _next_frames(self, extra_time: float) -> list[bytes]:
        """At least one frame, and whatever else is here."""
        try:
            with stall_timeout(extra_time):
                frames = [await self.channel.pieces.receive()]
            while len(frames) < BATCH:
                frames.append(self.channel.pieces.receive_nowait())
        except trio.WouldBlock:
            pass
        except trio.EndOfChannel:
            raise RtcError(FaultCode.LINK_LOST, TRANSFER_LOST) from None
        return frames

    def _check_frames(self, frames: list[bytes]) -> list[memoryview]:
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
            if transfer > self.transfer or offset != self.done or end > self.part.size or end > self.credit:
                raise damaged()
            self.done = end
            payloads.append(payload)
        return payloads


@define
class Incoming:
    """One file on its way into `folder`, over as many links as it takes: a new one goes on where the last one broke.

    It appears whole or not at all, under a safe form of the name that the sender gave; it is readable by us alone, and
    never replaces another. `expect` is the size in bytes that was announced before, if any.
    """

    folder: Path
    max_size: int
    expect: int | None = None
    path: Path | None = None
    """Where it is, once it is whole."""
    _part: _Part | None = None

    @property
    def written(self) -> int:
        """Bytes of it that are here."""
        return self._part.written if self._part is not None else 0

    async def take(self, channel: FileChannel, progress: ProgressCallback) -> Path:
        """Receive it, or the rest of it, and return its path.

        After LINK_LOST this may be called again, with the lane of another link. A sender that was not told that all is
        here is told then.

        Raises:
            RtcError: TOO_LARGE or DISK_FULL before the first byte; DAMAGED, STALLED, LINK_LOST; the other side's
                reason.
        """
        offer = await _next_offer(channel)
        try:
            with abort_on_error(channel, offer.transfer), _translate_write_errors():
                path = await self._take(offer, channel, progress)
                channel.send(FileVerified(offer.transfer))
                return path
        except RtcError as error:
            if error.fault.code is not FaultCode.LINK_LOST and self.path is None:
                await self.discard()
            raise

    async def _take(self, offer: FileOffer, channel: FileChannel, progress: ProgressCallback) -> Path:
        part = await self._prepare_part(offer)
        receiving = _Receiving(channel, offer.transfer, part, progress, part.written, part.written + CREDIT_WINDOW)
        if self.path is not None:
            await race(receiving.listen, receiving.write_pieces)
            return self.path
        with await trio.to_thread.run_sync(part.open):
            await race(receiving.listen, receiving.write_pieces)
            await trio.to_thread.run_sync(part.sync)
        self.path = await trio.to_thread.run_sync(_move_to_final_name, part.path, self.folder, safe_name(offer.name))
        return self.path

    async def _prepare_part(self, offer: FileOffer) -> _Part:
        """What is here of it already."""
        if offer.size != (self._part.size if self._part is not None else self.expect or offer.size):
            raise damaged("The file is not as long as was announced.")
        if self._part is None:
            await _check_disk_space(self.folder, offer.size, self.max_size)
            self._part = _Part(self.folder / f"{secrets.token_hex(8)}.part", offer.size)
        return self._part

    async def discard(self) -> None:
        """Remove what is here of a file that is not whole, also while being cancelled."""
        part, self._part = self._part, None
        if part is not None:
            with trio.move_on_after(REMOVE_TIME, shield=True):
                await trio.to_thread.run_sync(lambda: part.path.unlink(missing_ok=True), abandon_on_cancel=True)


async def _next_offer(channel: FileChannel) -> FileOffer:
    """The next offer; words of transfers that have ended are skipped."""
    while True:
        try:
            with stall_timeout():
                message = await channel.messages.receive()
        except trio.EndOfChannel:
            raise RtcError(FaultCode.LINK_LOST, TRANSFER_LOST) from None
        if message.transfer <= channel.latest:
            continue
        channel.latest = message.transfer
        if isinstance(message, FileOffer):
            return message


async def _check_disk_space(folder: Path, size: int, max_size: int) -> None:
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
def _translate_write_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RtcError(
                FaultCode.DISK_FULL, "The receiving disk is full. Make room there, then try again."
            ) from None
        raise RtcError(FaultCode.DAMAGED, f"The file could not be written: {error.strerror}.") from None


def _move_to_final_name(part: Path, folder: Path, name: str) -> Path:
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
        else:
            part.unlink()
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

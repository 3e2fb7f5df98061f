"""The receiving side of a file transfer: check the offer, write under a temporary name, verify, then rename.

When a link is lost, the partial file is kept, so that the transfer can be resumed over another link.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import trio
from attrs import define, field

from protocol.converter import WireError
from protocol.faults import FaultCode
from protocol.transfer import FileAccept, FileCredit, FileEnd, FileOffer, FileVerified
from protocol.wire import unpack_piece
from rtc.common import sizes
from rtc.common.errors import RtcError
from rtc.common.full_disk import is_full_disk
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
"""Bytes of disk space that must stay free besides the file, so that the machine goes on working."""
SYNC_SIZE = 64 * 1024 * 1024
"""Bytes written between two calls of fsync: this keeps the last fsync short and the number of dirty pages small."""
CREDIT_STEP = CREDIT_WINDOW // 8
"""Minimum number of bytes by which a new FileCredit raises the credit, so that few are sent."""
WRITE_SIZE = 1024 * 1024
"""Bytes buffered before each write."""
BATCH = 16
"""Maximum number of pieces written in one call in a worker thread."""
HASH_SPEED = 20e6
"""Bytes per second that the slowest disk reads. A sender that resumes must first hash the bytes that the receiver has
already; the receiver waits that much longer for the first piece."""
REMOVE_TIME = 10.0
"""Seconds for which removing a partial file may delay a cancellation."""


@define
class _PartialFile:
    """A partial file on disk."""

    path: Path
    size: int
    """Bytes of the complete file."""
    written: int = 0
    """Bytes written so far."""
    synced: int = 0
    """Bytes that the last fsync covered."""
    digest: "hashlib._Hash" = field(factory=hashlib.sha256)
    """SHA-256 of the bytes written so far."""
    _handle: BinaryIO | None = None

    def open(self) -> BinaryIO:
        """Open the file, positioned after the last byte written; create it when it does not exist. Run in a thread."""
        flags = os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        new = 0 if self.path.exists() else os.O_CREAT | os.O_EXCL
        self._handle = os.fdopen(os.open(self.path, flags | new, 0o600), "wb", buffering=WRITE_SIZE)
        self._handle.truncate(self.written)
        self._handle.seek(self.written)
        return self._handle

    def write(self, payloads: list[memoryview]) -> None:
        """Append `payloads` and add them to the hash. Run in a thread."""
        assert self._handle is not None, "it was opened"
        for payload in payloads:
            self._handle.write(payload)
            self.digest.update(payload)
            self.written += len(payload)
        if self.written - self.synced >= SYNC_SIZE:
            self.sync()

    def sync(self) -> None:
        """Flush and fsync the file. Run in a thread."""
        assert self._handle is not None, "it was opened"
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self.synced = self.written


@define
class _Receiving:
    """The state of receiving a file, or the rest of a file, over one link."""

    channel: FileChannel
    transfer: int
    part: _PartialFile
    progress: ProgressCallback
    done: int
    """Bytes received over this link and earlier ones."""
    credit: int
    """Offset up to which the sender may send."""
    sha256: bytes | None = None
    """The SHA-256 that the sender announced in FileEnd; None until FileEnd is received."""
    end_received: trio.Event = field(factory=trio.Event)

    async def listen(self) -> None:
        """Receive the sender's messages; runs until cancelled.

        Raises:
            Aborted: the sender has aborted the transfer.
            RtcError: LINK_LOST; DAMAGED for a message that a sender may not send now.
        """
        while True:
            message = await self.channel.next_message(self.transfer)
            if not isinstance(message, FileEnd) or self.sha256 is not None:
                raise damaged()
            self.sha256 = message.sha256
            self.end_received.set()

    async def write_pieces(self) -> None:
        """Accept the offer and write the pieces; returns when the file is complete and its SHA-256 matches.

        Raises:
            RtcError: STALLED, LINK_LOST; DAMAGED for wrong offsets or a different hash.
        """
        size = self.part.size
        self.progress(self.done, size)
        self.channel.send(FileAccept(self.transfer, self.done, self.credit))
        extra_time = self.done / HASH_SPEED  # the sender must first hash the bytes that are here already
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
        """Wait for a frame; return it with up to `BATCH` - 1 more that have arrived already."""
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
        """Return the payloads; each must begin where the previous one ended. Frames of earlier transfers are dropped.

        Raises:
            RtcError: DAMAGED, for a frame that is malformed, at another offset, or beyond the credit or the file.
        """
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
    """One file to be received into `folder`, over one or more links: each new link resumes where the last one broke.

    The file appears in `folder` only when it is complete, under a safe form of the name that the sender gave. It has
    mode 0600 and never replaces another file.
    """

    folder: Path
    max_size: int
    """Bytes that are accepted at most."""
    expected_size: int | None = None
    """The size in bytes that was announced before the transfer (in `SubmitJob`), if any; an offer of another size is
    refused."""
    path: Path | None = None
    """The path of the complete file; None until then."""
    advice: str = field(default="Make it smaller, or have the limit raised.", kw_only=True)
    """The sentence that tells the person what to do about a file that is too large."""
    disk: str = field(default="receiving disk", kw_only=True)
    """What a sentence about a full disk calls it, so that the person knows which one is meant."""
    copies: int = field(default=1, kw_only=True)
    """How many times the file must fit on the disk: 2 if it is an archive that is unpacked there."""
    _part: _PartialFile | None = None

    @property
    def written(self) -> int:
        """Bytes of the file that are on disk."""
        return self._part.written if self._part is not None else 0

    async def receive(
        self,
        channel: FileChannel,
        progress: ProgressCallback,
        *,
        before_verified: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
    ) -> Path:
        """Receive the file, or the rest of it, and return its path.

        The sender hears that the file is here (FileVerified) only when `before_verified` has returned.

        After LINK_LOST this may be called again, with the file channel of another link. If the file is complete
        but the FileVerified message was lost with the link, the next call only compares the SHA-256 of the sender's
        file and sends FileVerified again.

        Raises:
            RtcError: TOO_LARGE or DISK_FULL before the first byte; DAMAGED, STALLED, LINK_LOST; or the reason with
                which the sender aborted the transfer.
        """
        offer = await _next_offer(channel)
        try:
            with abort_on_error(channel, offer.transfer), _translate_write_errors(self.disk):
                path = await self._receive(offer, channel, progress)
                await before_verified()
                channel.send(FileVerified(offer.transfer))
                return path
        except RtcError as error:
            if error.fault.code is not FaultCode.LINK_LOST and self.path is None:
                await self.discard()
            raise

    async def _receive(self, offer: FileOffer, channel: FileChannel, progress: ProgressCallback) -> Path:
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

    async def _prepare_part(self, offer: FileOffer) -> _PartialFile:
        """Return the partial file to continue; at the first offer check size and disk space, and begin a new one."""
        expected = self._part.size if self._part is not None else self.expected_size
        if expected is not None and offer.size != expected:
            raise damaged("The file is not as long as was announced.")
        if self._part is None:
            _check_size(offer.size, self.max_size, self.advice)
            await _check_disk_space(self.folder, offer.size, self.copies, self.disk)
            self._part = _PartialFile(self.folder / f"{secrets.token_hex(8)}.part", offer.size)
        return self._part

    async def discard(self) -> None:
        """Remove the partial file, if there is one; also works while the task is being cancelled."""
        part, self._part = self._part, None
        if part is not None:
            with trio.move_on_after(REMOVE_TIME, shield=True):
                await trio.to_thread.run_sync(lambda: part.path.unlink(missing_ok=True), abandon_on_cancel=True)


async def _next_offer(channel: FileChannel) -> FileOffer:
    """Return the next offer; messages of transfers that have ended are skipped.

    Raises:
        RtcError: LINK_LOST, STALLED.
    """
    while True:
        try:
            with stall_timeout():
                message = await channel.messages.receive()
        except trio.EndOfChannel:
            raise RtcError(FaultCode.LINK_LOST, TRANSFER_LOST) from None
        if message.transfer <= channel.last_transfer:
            continue
        channel.last_transfer = message.transfer
        if isinstance(message, FileOffer):
            return message


def _check_size(size: int, max_size: int, advice: str) -> None:
    """Check that a file of `size` bytes is accepted.

    Raises:
        RtcError: TOO_LARGE.
    """
    if size > max_size:
        raise RtcError(
            FaultCode.TOO_LARGE,
            f"The file has {sizes.size(size)}; at most {sizes.size(max_size)} are accepted here. {advice}",
        )


async def _check_disk_space(folder: Path, size: int, copies: int, disk: str) -> None:
    """Check that a file of `size` bytes fits on the disk as many times as it will be there.

    Raises:
        RtcError: DISK_FULL.
    """
    free = (await trio.to_thread.run_sync(shutil.disk_usage, folder)).free
    if free < copies * size + RESERVE:
        needed = sizes.size(copies * size) + ("" if copies == 1 else " until it is unpacked")
        raise RtcError(
            FaultCode.DISK_FULL,
            f"The file needs {needed}, and {sizes.size(RESERVE)} are to stay free, but the {disk} has only "
            f"{sizes.size(free)} free. Make room there, then try again.",
        )


@contextmanager
def _translate_write_errors(disk: str) -> Iterator[None]:
    """Turn an OSError of the body into an RtcError: DISK_FULL when there is no space, otherwise DAMAGED."""
    try:
        yield
    except OSError as error:
        if is_full_disk(error) or error.errno == errno.EFBIG:
            raise RtcError(FaultCode.DISK_FULL, f"The {disk} is full. Make room there, then try again.") from None
        raise RtcError(FaultCode.DAMAGED, f"The file could not be written: {error.strerror}.") from None


def _move_to_final_name(part: Path, folder: Path, name: str) -> Path:
    """Give the complete file its final name, and return the path; a number is added when the name is taken.

    A hard link fails when the name exists; a rename would replace the existing file.

    Raises:
        RtcError: DAMAGED, when 999 names are taken.
    """
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
    """Fsync the folder, so that the new name survives a power loss; only POSIX can open a folder for this."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

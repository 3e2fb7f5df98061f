"""The sending side of a file transfer: offer, send within the credit, send the SHA-256, wait for FileVerified."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import trio
from attrs import define, field

from protocol.faults import FaultCode
from protocol.transfer import (
    PIECE_MAX,
    PIECE_MIN,
    TRANSFER_MAX,
    FileAccept,
    FileCredit,
    FileEnd,
    FileOffer,
    FileVerified,
)
from protocol.wire import pack_piece
from rtc.common.errors import RtcError
from rtc.common.file_edit import FileEdit
from rtc.transport.files.channel import FileChannel, ProgressCallback, abort_on_error, damaged, race, stall_timeout
from rtc.transport.files.file_names import safe_name

CHUNK_SIZE = 65536
"""Default payload of one piece in bytes. Measured: every size from this one to 256 KiB is equally fast."""
READ_SIZE = 1024 * 1024
"""Bytes read and hashed in one call in a worker thread."""


@define
class _Sending:
    """The state of sending one file over one link."""

    channel: FileChannel
    transfer: int
    source: BinaryIO
    edit: FileEdit | None
    """What is sent in place of some bytes of the file."""
    stamp: tuple[int, int]
    """Size in bytes and modification time (nanoseconds) of the file when it was opened."""
    size: int
    """Number of bytes to send."""
    chunk_size: int
    progress: ProgressCallback
    credit: int | None = None
    """Offset up to which we may send; None until the receiver accepts."""
    resume_offset: int = 0
    """Offset at which sending begins: the bytes that the receiver has from an earlier link."""
    read_offset: int = 0
    """Offset of the next byte to read."""
    end_sent: bool = False
    """Whether FileEnd is sent; FileVerified is valid only after it."""
    credit_raised: trio.Event = field(factory=trio.Event)
    """Set, and replaced by a new event, each time the credit changes."""

    async def listen(self) -> None:
        """Receive the receiver's messages; returns when it has verified the file.

        Raises:
            Aborted: the receiver has aborted the transfer.
            RtcError: LINK_LOST; DAMAGED for a message that a receiver may not send now.
        """
        while True:
            message = await self.channel.next_message(self.transfer)
            if isinstance(message, FileVerified) and self.end_sent:
                return
            if isinstance(message, FileAccept):
                fits = self.credit is None and message.offset <= min(message.credit, self.size)
                self.resume_offset = message.offset
            else:
                fits = isinstance(message, FileCredit) and self.credit is not None and message.credit >= self.credit
            if not fits or not isinstance(message, FileAccept | FileCredit):
                raise damaged()
            self.credit = message.credit
            self.credit_raised.set()
            self.credit_raised = trio.Event()

    async def send_pieces(self) -> None:
        """Send the pieces and the SHA-256; then wait to be cancelled when `listen` returns.

        Raises:
            RtcError: STALLED, LINK_LOST; DAMAGED when the file has changed while it was sent.
        """
        digest = hashlib.sha256()
        await self._wait_for_credit(0)
        done = self.resume_offset
        await self._hash_skipped(digest)
        self.progress(done, self.size)
        while done < self.size:
            block = await self._read(digest, self.size - done)
            for start in range(0, len(block), self.chunk_size):
                piece = memoryview(block)[start : start + self.chunk_size]
                await self._wait_for_credit(done + len(piece))
                with stall_timeout():
                    await self.channel.send_piece(pack_piece(self.transfer, done, piece))
                done += len(piece)
                self.progress(done, self.size)
        if _size_and_mtime(self.source) != self.stamp:
            raise RtcError(FaultCode.DAMAGED, "The file changed while it was sent. Leave it alone, then try again.")
        self.end_sent = True
        self.channel.send(FileEnd(self.transfer, digest.digest()))
        with stall_timeout():
            await trio.sleep_forever()

    async def _hash_skipped(self, digest: "hashlib._Hash") -> None:
        """Read and hash the bytes that the receiver has already, without sending them."""
        remaining = self.resume_offset
        while remaining:
            remaining -= len(await self._read(digest, remaining))

    async def _read(self, digest: "hashlib._Hash", remaining: int) -> bytes:
        """Read and hash the next block of the file, of at most `READ_SIZE` and `remaining` bytes, and return it.

        Raises:
            RtcError: DAMAGED, when the file has become shorter.
        """
        block = await trio.to_thread.run_sync(self._read_sync, digest, min(READ_SIZE, remaining))
        if not block:
            raise RtcError(FaultCode.DAMAGED, "The file became shorter while it was sent. Leave it alone, try again.")
        return block

    def _read_sync(self, digest: "hashlib._Hash", max_bytes: int) -> bytes:
        if self.edit is None:
            block = self.source.read(max_bytes)
        else:
            block = self.edit.read(self.source, self.read_offset, max_bytes)
        self.read_offset += len(block)
        digest.update(block)
        return block

    async def _wait_for_credit(self, end_offset: int) -> None:
        """Wait until the receiver has accepted the offer and its credit reaches `end_offset`.

        Raises:
            RtcError: STALLED.
        """
        while self.credit is None or self.credit < end_offset:
            with stall_timeout():
                await self.credit_raised.wait()


async def send_file(
    channel: FileChannel,
    path: Path,
    *,
    name: str,
    progress: ProgressCallback,
    chunk_size: int = CHUNK_SIZE,
    edit: Callable[[BinaryIO], FileEdit | None] | None = None,
) -> None:
    """Send the file at `path` as `name`; returns when the receiver has verified it and given it its final
    name.

    Args:
        channel: the file channel of an authenticated link.
        path: an ordinary file.
        name: the file name to offer; it is made safe first.
        progress: called with the bytes done and the total bytes.
        chunk_size: payload of one piece in bytes.
        edit: called in a thread with the open file; returns what to send in place of some of its bytes, or None.

    Raises:
        RtcError: the receiver's reason for refusing or aborting; LINK_LOST, STALLED; DAMAGED when the file cannot be
            read or changes during the transfer; whatever `edit` raises.
        ValueError: a chunk size outside 1 KiB … `PIECE_MAX`.
    """
    if not PIECE_MIN <= chunk_size <= PIECE_MAX:
        raise ValueError(f"chunk_size must be between {PIECE_MIN} and {PIECE_MAX} bytes")
    with _translate_read_errors():
        source = await trio.to_thread.run_sync(_open, path)
    with source:
        stamp = _size_and_mtime(source)
        with _translate_read_errors():
            change = await trio.to_thread.run_sync(_edit_of, source, edit)
        size = stamp[0] if change is None else change.size
        if channel.last_transfer >= TRANSFER_MAX:  # the other side used up the numbers
            raise damaged()
        transfer = channel.last_transfer = channel.last_transfer + 1
        sending = _Sending(channel, transfer, source, change, stamp, size, chunk_size, progress)
        with abort_on_error(channel, transfer), _translate_read_errors():
            channel.send(FileOffer(transfer, safe_name(name), size))
            await race(sending.listen, sending.send_pieces)


@contextmanager
def _translate_read_errors() -> Iterator[None]:
    """Turn an OSError of the body into an RtcError with the code DAMAGED."""
    try:
        yield
    except OSError as error:
        raise RtcError(FaultCode.DAMAGED, f"The file could not be read: {error.strerror}.") from None


def _open(path: Path) -> BinaryIO:
    """Open an ordinary file for reading; O_NONBLOCK avoids waiting on a named pipe or a device.

    Raises:
        OSError: the file cannot be opened.
        RtcError: DAMAGED, for anything but an ordinary file.
    """
    source = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb", 0)
    if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        source.close()
        raise RtcError(FaultCode.DAMAGED, "Only ordinary files can be sent.")
    return source


def _size_and_mtime(source: BinaryIO) -> tuple[int, int]:
    status = os.fstat(source.fileno())
    return status.st_size, status.st_mtime_ns


def _edit_of(source: BinaryIO, edit: Callable[[BinaryIO], FileEdit | None] | None) -> FileEdit | None:
    """Return what is sent in place of some bytes of an open file, and go back to the file's beginning."""
    change = edit(source) if edit is not None else None
    source.seek(0)
    return change

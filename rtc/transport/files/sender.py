"""The sending side: offer, send as far as credit reaches, say the hash, wait until it is verified."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import trio
from attrs import define, field

from protocol.faults import FaultCode
from protocol.transfer import PIECE_MAX, FileAccept, FileCredit, FileEnd, FileOffer, FileVerified
from protocol.wire import pack_piece
from rtc.common.errors import RtcError
from rtc.transport.files.channel import FileChannel, ProgressCallback, abort_on_error, damaged, race, stall_timeout
from rtc.transport.files.file_names import safe_name

CHUNK_MIN = 1024
CHUNK_SIZE = 65536
"""Default payload of one piece; measured, anything from here to 256 KiB is as fast."""
READ_SIZE = 1024 * 1024
"""Bytes read and hashed in one visit to a thread."""


@define
class _Sending:
    """One file on its way out."""

    channel: FileChannel
    transfer: int
    source: BinaryIO
    size: int
    mtime_ns: int
    """Time of the last change when we opened it (ns)."""
    chunk_size: int
    progress: ProgressCallback
    credit: int | None = None
    """Bytes in all that may have been sent; None until the receiver accepts."""
    offset: int = 0
    """Bytes that the receiver has from an earlier link."""
    end_sent: bool = False
    credit_raised: trio.Event = field(factory=trio.Event)

    async def listen(self) -> None:
        """Hear the receiver; returns when it has verified the file."""
        while True:
            message = await self.channel.next_message(self.transfer)
            if isinstance(message, FileVerified) and self.end_sent:
                return
            if isinstance(message, FileAccept):
                fits = self.credit is None and message.offset <= min(message.credit, self.size)
                self.offset = message.offset
            else:
                fits = isinstance(message, FileCredit) and self.credit is not None and message.credit >= self.credit
            if not fits or not isinstance(message, FileAccept | FileCredit):
                raise damaged()
            self.credit = message.credit
            self.credit_raised.set()
            self.credit_raised = trio.Event()

    async def send_pieces(self) -> None:
        """Send everything and its hash; then wait for `listen` to end."""
        digest = hashlib.sha256()
        await self._wait_for_credit(0)
        done = self.offset
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
        if _size_and_mtime(self.source) != (self.size, self.mtime_ns):
            raise RtcError(FaultCode.DAMAGED, "The file changed while it was sent. Leave it alone, then try again.")
        self.end_sent = True
        self.channel.send(FileEnd(self.transfer, digest.digest()))
        with stall_timeout():
            await trio.sleep_forever()

    async def _hash_skipped(self, digest: "hashlib._Hash") -> None:
        """What the receiver has already need only be hashed."""
        remaining = self.offset
        while remaining:
            remaining -= len(await self._read(digest, remaining))

    async def _read(self, digest: "hashlib._Hash", remaining: int) -> bytes:
        block = await trio.to_thread.run_sync(_read, self.source, digest, min(READ_SIZE, remaining))
        if not block:
            raise RtcError(FaultCode.DAMAGED, "The file became shorter while it was sent. Leave it alone, try again.")
        return block

    async def _wait_for_credit(self, end_offset: int) -> None:
        while self.credit is None or self.credit < end_offset:
            with stall_timeout():
                await self.credit_raised.wait()


async def send_file(
    channel: FileChannel, path: Path, *, name: str, progress: ProgressCallback, chunk_size: int = CHUNK_SIZE
) -> None:
    """Send the file at `path` as `name`; returns when the other side has it whole under its final name.

    Raises:
        RtcError: the other side's reason for refusing or ending it; LINK_LOST, STALLED; DAMAGED when the file cannot
            be read or changes under way.
        ValueError: a chunk size outside 1 KiB … `PIECE_MAX`.
    """
    if not CHUNK_MIN <= chunk_size <= PIECE_MAX:
        raise ValueError(f"chunk_size must be between {CHUNK_MIN} and {PIECE_MAX} bytes")
    with _translate_read_errors():
        source = await trio.to_thread.run_sync(_open, path)
    with source:
        size, mtime_ns = _size_and_mtime(source)
        transfer = channel.latest = channel.latest + 1
        sending = _Sending(channel, transfer, source, size, mtime_ns, chunk_size, progress)
        with abort_on_error(channel, transfer), _translate_read_errors():
            channel.send(FileOffer(transfer, safe_name(name), size))
            await race(sending.listen, sending.send_pieces)


@contextmanager
def _translate_read_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RtcError(FaultCode.DAMAGED, f"The file could not be read: {error.strerror}.") from None


def _open(path: Path) -> BinaryIO:
    """Open an ordinary file; never wait at a pipe or a device."""
    source = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb", 0)
    if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        source.close()
        raise RtcError(FaultCode.DAMAGED, "Only ordinary files can be sent.")
    return source


def _size_and_mtime(source: BinaryIO) -> tuple[int, int]:
    status = os.fstat(source.fileno())
    return status.st_size, status.st_mtime_ns


def _read(source: BinaryIO, digest: "hashlib._Hash", max_bytes: int) -> bytes:
    block = source.read(max_bytes)
    digest.update(block)
    return block

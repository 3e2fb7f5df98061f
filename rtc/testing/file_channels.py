"""File channels over in-memory links, for tests."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from protocol.ids import LinkId
from protocol.transfer import PIECE_HEADER
from protocol.version import VERSIONS
from protocol.wire import TO_CLIENT, TO_WORKER, unpack_piece
from rtc.testing.memory_connection import LOST, MemoryConnection
from rtc.transport.files import FileChannel, Incoming
from rtc.transport.files.channel import ProgressCallback
from rtc.transport.links.link import Connection, Link, open_link


@asynccontextmanager
async def open_file_channels(
    one: Connection, two: Connection
) -> AsyncGenerator[tuple[FileChannel, FileChannel, Link, Link], None]:
    """Open a link on each end of a connection, both treated as authenticated; yield their file channels and links."""
    async with open_link(one, name=LinkId(1)) as ada, open_link(two, name=LinkId(2)) as bob:
        yield file_channel_over(ada, TO_CLIENT), file_channel_over(bob, TO_WORKER), ada, bob


def file_channel_over(link: Link, vocabulary: Any) -> FileChannel:
    """Treat `link` as authenticated and return its file channel."""
    channel = FileChannel.over(link)

    async def route(message: Any) -> None:
        channel.put_message(message)

    link.trust(vocabulary, VERSIONS.newest, route)
    return channel


async def receive_file(
    channel: FileChannel, folder: Path, *, max_size: int, progress: ProgressCallback, expected_size: int | None = None
) -> Path:
    """Receive the next file over one link, without resuming over another link.

    The worker's JobManager and the client's FileTransfers do resume, with the same `Incoming`.
    """
    incoming = Incoming(folder, max_size, expected_size)
    try:
        return await incoming.receive(channel, progress)
    finally:
        await incoming.discard()


class PieceCounter:
    """Count the file bytes that are sent over `connection`; break the connection when `until` bytes are sent.

    `seen` is the number of bytes, `first` the file offset of the first piece.
    """

    def __init__(self, connection: MemoryConnection, until: int | None = None) -> None:
        self.connection, self.until, self.seen = connection, until, 0
        self.first: int | None = None
        connection.tamper = self.inspect

    def inspect(self, item: str | bytes) -> str | bytes | None:
        """Count one item and return it unchanged."""
        if isinstance(item, bytes):
            self.first = unpack_piece(item)[1] if self.first is None else self.first
            self.seen += len(item) - PIECE_HEADER.size
            if self.until is not None and self.seen >= self.until:
                self.connection.fail(LOST)
                self.connection.other.fail(LOST)
        return item


def replace_receiving(monkeypatch: pytest.MonkeyPatch, receive: Callable[[Any, Path], Awaitable[Path]]) -> None:
    """Replace `Incoming.receive` by `receive`, which gets the file channel and the folder, and returns a path."""

    async def receive_instead(
        incoming: Incoming,
        channel: Any,
        _progress: object,
        *,
        before_verified: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
    ) -> Path:
        incoming.path = await receive(channel, incoming.folder)
        await before_verified()
        return incoming.path

    monkeypatch.setattr(Incoming, "receive", receive_instead)

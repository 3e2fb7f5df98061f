"""Lanes for files over links made of memory, for tests."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from protocol.ids import LinkId
from protocol.transfer import PIECE_HEADER
from protocol.wire import TO_CLIENT, TO_WORKER, unpack_piece
from rtc.testing.memory_connection import LOST, MemoryConnection
from rtc.transport.files import FileChannel, Incoming
from rtc.transport.files.channel import ProgressCallback
from rtc.transport.links.link import Connection, Link, open_link


@asynccontextmanager
async def open_file_channels(
    one: Connection, two: Connection
) -> AsyncGenerator[tuple[FileChannel, FileChannel, Link, Link], None]:
    """Two trusted links on one wire, and their transfer lanes."""
    async with open_link(one, name=LinkId(1)) as ada, open_link(two, name=LinkId(2)) as bob:
        yield file_channel_over(ada, TO_CLIENT), file_channel_over(bob, TO_WORKER), ada, bob


def file_channel_over(link: Link, vocabulary: Any) -> FileChannel:
    """A trusted link's."""
    channel = FileChannel.over(link)

    async def route(message: Any) -> None:
        channel.receive(message)

    link.trust(vocabulary, route)
    return channel


async def receive_file(
    channel: FileChannel, folder: Path, *, max_size: int, progress: ProgressCallback, expect: int | None = None
) -> Path:
    """Receive the next file over this link alone, as a job's desk and a client's courier do over several."""
    incoming = Incoming(folder, max_size, expect)
    try:
        return await incoming.take(channel, progress)
    finally:
        await incoming.discard()


class Pieces:
    """What crosses a wire of a file, in bytes; the wire breaks when that is `until`."""

    def __init__(self, connection: MemoryConnection, until: int | None = None) -> None:
        self.connection, self.until, self.seen = connection, until, 0
        self.first: int | None = None
        connection.tamper = self.inspect

    def inspect(self, item: str | bytes) -> str | bytes | None:
        """At one message, which is passed on as it is."""
        if isinstance(item, bytes):
            self.first = unpack_piece(item)[1] if self.first is None else self.first
            self.seen += len(item) - PIECE_HEADER.size
            if self.until is not None and self.seen >= self.until:
                self.connection.fail(LOST)
                self.connection.other.fail(LOST)
        return item


def packages_come(monkeypatch: pytest.MonkeyPatch, receive: Callable[[Any, Path], Awaitable[Path]]) -> None:
    """In a test of who takes files, they come like this: over the lane that is given, into the folder that is given."""

    async def take(incoming: Incoming, channel: Any, _progress: object) -> Path:
        incoming.path = await receive(channel, incoming.folder)
        return incoming.path

    monkeypatch.setattr(Incoming, "take", take)

"""A bounded queue with two ways to put items, so that other machines cannot make it overflow.

Our own program uses `put`, which never waits; an overflow is then a bug of ours and raises `QueueFull`. Messages from
other machines go through `admit`, which waits until fewer items than a threshold are queued. The space above the
threshold is for our own program, because one message from outside may cause several items inside. So another machine
can be slowed down, but cannot make the queue overflow.
"""

from typing import Generic, TypeVar

import trio

T = TypeVar("T")

CAPACITY = 64
"""Default capacity, in items."""
PROGRAM_CAPACITY = 4096
"""Capacity of the mailboxes through which all events of a program pass, in items. One offer causes about ten items, so
the messages that `PROGRAM_THRESHOLD` admits cannot fill them."""
PROGRAM_THRESHOLD = 32
"""The threshold of those mailboxes: messages from outside wait while this many items or more are queued."""


class QueueFull(Exception):
    """A bounded queue was full: a bug if our own program filled it; a reason to close a connection that filled it."""


class Mailbox(Generic[T]):
    """A trio memory channel with a threshold for items from outside (default: half of the capacity, at least 1)."""

    def __init__(self, capacity: int = CAPACITY, threshold: int | None = None) -> None:
        self._threshold = max(1, capacity // 2) if threshold is None else threshold
        self._send, self._receive = trio.open_memory_channel[T](capacity)
        self._waiters = trio.lowlevel.ParkingLot()

    def put(self, item: T) -> None:
        """Add an item from our own program, without waiting. After `finish` or `close` the item is dropped.

        Raises:
            QueueFull: the mailbox is full.
        """
        try:
            self._send.send_nowait(item)
        except trio.WouldBlock:
            raise QueueFull(f"a mailbox overflowed with {type(item).__name__}") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def wait_below_threshold(self) -> None:
        """Wait until fewer items than the threshold are queued. Call it before reading a message from outside."""
        await trio.lowlevel.checkpoint()
        while (
            self._send.statistics().current_buffer_used >= self._threshold
            and self._send.statistics().open_receive_channels
        ):
            await self._waiters.park()

    async def admit(self, item: T) -> None:
        """Add an item from outside: wait until fewer items than the threshold are queued, then put it."""
        await self.wait_below_threshold()
        self.put(item)

    async def take(self) -> T:
        """Wait for the next item and return it.

        Raises:
            trio.EndOfChannel: `finish` was called and all items are taken.
            trio.ClosedResourceError: `close` was called.
        """
        item = await self._receive.receive()
        self._wake()
        return item

    def take_nowait(self) -> T:
        """Return the next item, without waiting.

        Raises:
            trio.WouldBlock: the mailbox is empty.
            trio.EndOfChannel: `finish` was called and all items are taken.
            trio.ClosedResourceError: `close` was called.
        """
        item = self._receive.receive_nowait()
        self._wake()
        return item

    def finish(self) -> None:
        """Accept no more items; those that are queued can still be taken."""
        self._send.close()
        self._waiters.unpark_all()

    def close(self) -> None:
        """Accept no more items, and drop those that are queued."""
        self._send.close()
        self._receive.close()
        self._waiters.unpark_all()

    def _wake(self) -> None:
        if self._send.statistics().current_buffer_used < self._threshold:
            self._waiters.unpark_all()

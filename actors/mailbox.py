"""A bounded queue with two doors, so that nobody outside can make the house overflow.

The house puts without waiting, and an overflow is its own bug, loud. Outsiders' messages are admitted only while little
is used; the rest belongs to the house, since one message from outside may make several inside. So an outsider is
slowed, never able to break us.
"""

from typing import Generic, TypeVar

import trio

T = TypeVar("T")

CAPACITY = 64
PROGRAM_CAPACITY = 4096
"""Capacity where everything of a program passes. One offer makes about ten items on its way, so what
`PROGRAM_THRESHOLD` admits cannot fill it."""
PROGRAM_THRESHOLD = 32
"""Items up to which outsiders are admitted there."""


class QueueFull(Exception):
    """A mailbox was full: inside the house a bug, on a wire that cannot be slowed the end of that wire."""


class Mailbox(Generic[T]):
    """A trio memory channel with a threshold."""

    def __init__(self, capacity: int = CAPACITY, threshold: int | None = None) -> None:
        self._threshold = max(1, capacity // 2) if threshold is None else threshold
        self._send, self._receive = trio.open_memory_channel[T](capacity)
        self._waiters = trio.lowlevel.ParkingLot()

    def put(self, item: T) -> None:
        """From inside the house; never waits. After `close`, the item is dropped: nobody is there to care.

        Raises:
            Overrun: the mailbox is full.
        """
        try:
            self._send.send_nowait(item)
        except trio.WouldBlock:
            raise QueueFull(f"a mailbox overflowed with {type(item).__name__}") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def wait_below_threshold(self) -> None:
        """Wait until little is used (less than half, unless said otherwise); before each message read from outside."""
        await trio.lowlevel.checkpoint()
        while (
            self._send.statistics().current_buffer_used >= self._threshold
            and self._send.statistics().open_receive_channels
        ):
            await self._waiters.park()

    async def admit(self, item: T) -> None:
        """From outside the house: wait for room, then put."""
        await self.wait_below_threshold()
        self.put(item)

    async def take(self) -> T:
        """The next item.

        Raises:
            trio.EndOfChannel: closed, and nothing is left.
        """
        item = await self._receive.receive()
        self._wake()
        return item

    def take_nowait(self) -> T:
        """The next item if there is one.

        Raises:
            trio.WouldBlock: nothing is here now.
            trio.EndOfChannel: closed, and nothing is left.
        """
        item = self._receive.receive_nowait()
        self._wake()
        return item

    def finish(self) -> None:
        """No more is put; what is here may still be taken."""
        self._send.close()
        self._waiters.unpark_all()

    def close(self) -> None:
        """Drop what is here and all that comes."""
        self._send.close()
        self._receive.close()
        self._waiters.unpark_all()

    def _wake(self) -> None:
        if self._send.statistics().current_buffer_used < self._threshold:
            self._waiters.unpark_all()

"""A bounded queue with two doors, so that nobody outside can make the house overflow.

The house puts without waiting, and an overflow is its own bug, loud. Outsiders' messages are admitted only while less
than half is used; the other half belongs to the house. So an outsider is slowed, never able to break us.
"""

from typing import Generic, TypeVar

import trio

T = TypeVar("T")

CAPACITY = 64


class Overrun(Exception):
    """A mailbox was full: inside the house a bug, on a wire that cannot be slowed the end of that wire."""


class Mailbox(Generic[T]):
    """A trio memory channel with a threshold."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._half = max(1, capacity // 2)
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
            raise Overrun(f"a mailbox overflowed with {type(item).__name__}") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def until_roomy(self) -> None:
        """Wait until less than half is used. Adapters call it before they read their next outside message."""
        await trio.lowlevel.checkpoint()
        while (
            self._send.statistics().current_buffer_used >= self._half and self._send.statistics().open_receive_channels
        ):
            await self._waiters.park()

    async def admit(self, item: T) -> None:
        """From outside the house: wait for room, then put."""
        await self.until_roomy()
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
        if self._send.statistics().current_buffer_used < self._half:
            self._waiters.unpark_all()

"""The queue of received messages that are not read yet: bounded in bytes, and `put` never waits.

aiortc cannot slow down the peer. So `put` does not wait for space: it raises `QueueFull`, and the connection is ended.
"""

import math
from typing import Generic, TypeVar

import trio

from actors.mailbox import QueueFull

T = TypeVar("T", bound="str | bytes")

ITEM_COST = 512
"""Bytes counted for each item besides its length: the real cost of a small Python object and its entry in a queue, so
that many tiny items cannot fill the memory either."""


class ByteQueue(Generic[T]):
    """A FIFO queue bounded by bytes, for one producer (a callback that calls `put`) and one consumer (`take`)."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used = 0
        self._ended = False
        self._send, self._receive = trio.open_memory_channel[T](math.inf)
        self.last_received_at = -math.inf
        """Time of the last `put` (trio's clock), so that a slow reader does not make the peer look silent."""

    def put(self, item: T) -> None:
        """Append `item`; never waits. After `end`, the item is dropped.

        Raises:
            QueueFull: the queue would hold more than `max_bytes`.
        """
        if self._ended:
            return
        self.last_received_at = trio.current_time()
        cost = len(item) + ITEM_COST
        if self._used + cost > self._max_bytes:
            raise QueueFull("a receive queue is full")
        self._send.send_nowait(item)
        self._used += cost

    async def take(self) -> T:
        """Wait for the next item and return it.

        Raises:
            trio.EndOfChannel: `end` was called, and the queue is empty.
        """
        item = await self._receive.receive()
        self._used -= len(item) + ITEM_COST
        return item

    def end(self) -> None:
        """Accept no more items; the items in the queue can still be taken."""
        self._ended = True
        self._send.close()

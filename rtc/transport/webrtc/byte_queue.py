"""What has come over a wire and was not read yet: bounded, and never waited for by the one who puts.

aiortc cannot slow the other side, so a full intake is the end of that wire (`QueueFull`), not a reason to wait.
"""

import math
from typing import Generic, TypeVar

import trio

from actors.mailbox import QueueFull

T = TypeVar("T", bound="str | bytes")

ITEM_COST = 512
"""Bytes counted for each item besides its length: what a small Python object and its place in a queue really cost, so
that many tiny items cannot fill the memory either."""


class ByteQueue(Generic[T]):
    """A queue bounded by bytes. `put` belongs to one callback, `take` to one reader."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used = 0
        self._ended = False
        self._send, self._receive = trio.open_memory_channel[T](math.inf)
        self.last_received_at = -math.inf
        """When something last came (trio's clock); a slow reader does not make the other side look silent."""

    def put(self, item: T) -> None:
        """Keep `item`; never waits. After `end` it is dropped.

        Raises:
            Overrun: more is here than may be.
        """
        if self._ended:
            return
        self.last_received_at = trio.current_time()
        cost = len(item) + ITEM_COST
        if self._used + cost > self._max_bytes:
            raise QueueFull("more came over a wire than was read")
        self._send.send_nowait(item)
        self._used += cost

    async def take(self) -> T:
        """The next item.

        Raises:
            trio.EndOfChannel: the wire is over, and nothing is left.
        """
        item = await self._receive.receive()
        self._used -= len(item) + ITEM_COST
        return item

    def end(self) -> None:
        """Nothing more comes; what is here may still be taken."""
        self._ended = True
        self._send.close()

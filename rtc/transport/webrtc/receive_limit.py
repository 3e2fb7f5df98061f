"""A bound that aiortc lacks: how much of one side's unfinished messages it keeps in memory.

aiortc announces a window of 1 MiB and then never looks whether the other side keeps to it; a message that never ends
would fill the memory, before anybody has proved anything. The guard is put on one connection's own object, so aiortc
itself stays as it is. A test fails when the private names it leans on go away.
"""

from collections.abc import Callable
from typing import Any

UNFINISHED_MAX = 16 * 1024 * 1024
"""Bytes beyond the announced window. Honest senders need about one round trip's worth while a packet is missing."""
EXTRA_CHANNELS_MAX = 16
"""Data channels that the other side may open besides ours; they are ignored, but each costs memory."""


def limit_receive(pc: Any, cut: Callable[[], None]) -> None:
    """asyncio-flavoured: call `cut` once the other side of `pc` asks for more memory than it may have."""
    sctp = pc.sctp
    receive = sctp._receive_data_chunk
    extra_channels = 0

    async def receive_within_bounds(chunk: Any) -> None:
        if sctp._advertised_rwnd < -UNFINISHED_MAX:
            cut()
            return
        await receive(chunk)

    def count_channel(_channel: object) -> None:
        nonlocal extra_channels
        extra_channels += 1
        if extra_channels > EXTRA_CHANNELS_MAX:
            cut()

    sctp._receive_data_chunk = receive_within_bounds
    pc.on("datachannel", count_channel)

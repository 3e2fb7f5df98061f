"""A limit that aiortc lacks: how many bytes of unfinished messages from the peer it keeps in memory.

aiortc announces an SCTP receive window of 1 MiB, but never checks that the peer respects it; a message that never
ends would fill the memory, even before authentication. The limit is set on one connection's own object, so aiortc
itself is not changed. A test fails when the private names of aiortc that are used here disappear.
"""

from collections.abc import Callable
from typing import Any

UNFINISHED_MAX = 16 * 1024 * 1024
"""Bytes accepted beyond the announced window. Honest senders exceed it by about the data of one round trip while a
packet is missing."""
EXTRA_CHANNELS_MAX = 16
"""Data channels that the peer may open besides our two; they are ignored, but each costs memory."""


def limit_receive(pc: Any, cut: Callable[[], None]) -> None:
    """asyncio-flavoured: call `cut` when the peer of the RTCPeerConnection `pc` exceeds one of the two limits."""
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

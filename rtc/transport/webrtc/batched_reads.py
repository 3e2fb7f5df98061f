"""Read several datagrams in each turn of the asyncio loop: a cheap way to make aiortc faster, invisible to the peer.

Under trio-asyncio a turn of the loop costs far more than under asyncio, and asyncio reads one datagram per turn. Here
the other datagrams in the socket's buffer are read in the same turn; aiortc's own task then handles all of them at
once. Nothing changes in the packets sent. Measured with both ends in one process on two cores, 30 MB, three runs each:
5.2 MB/s and 192 CPU-seconds per GB before, 11.6 MB/s and 85 after.
"""

from typing import Any

BATCH = 16
"""Maximum number of datagrams read in one turn, so that the loop is never blocked for more than about 2 ms."""


def read_in_batches(protocol: Any) -> None:
    """asyncio-flavoured: let aioice's `protocol` of the nominated pair read up to `BATCH` datagrams in each turn.

    Does nothing for relayed pairs, whose packets come from aioice's TURN protocol, and for loops with other transports.
    """
    sock = getattr(protocol.transport, "_sock", None)
    if sock is None:
        return
    receive = protocol.datagram_received

    def receive_all(data: bytes, address: Any) -> None:
        receive(data, address)
        for _ in range(BATCH - 1):
            try:
                more, sender = sock.recvfrom(65536)
            except OSError:  # the buffer is empty (or asyncio will get the same error in its next turn)
                return
            receive(more, sender)

    protocol.datagram_received = receive_all

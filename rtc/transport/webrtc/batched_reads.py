"""More packets for each turn of the loop: the one cheap change to aiortc's speed that nobody else can notice.

Under trio-asyncio a turn of the loop costs far more than under asyncio, and asyncio reads one datagram per turn. Here
the rest of what the socket holds is read in the same turn; aiortc's own task then works through all of it at once.
Nothing on the wire changes. Measured with both ends in one process on two cores, 30 MB, three runs each:
5.2 MB/s and 192 CPU-seconds per GB before, 11.6 MB/s and 85 after.
"""

from typing import Any

BATCH = 16
"""Most datagrams read in one turn, so that the loop never stops for more than about 2 ms."""


def read_in_batches(protocol: Any) -> None:
    """asyncio-flavoured: let `protocol` (aioice's, of the nominated pair) drain its socket at each turn.

    Does nothing for relayed pairs, whose packets come out of another protocol, and for loops with other transports.
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
            except OSError:  # nothing more is here (or asyncio will meet the error itself in its next turn)
                return
            receive(more, sender)

    protocol.datagram_received = receive_all

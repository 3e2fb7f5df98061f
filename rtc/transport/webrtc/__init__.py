"""The asyncio room: the only place that knows asyncio, aiortc, aioice and trio-asyncio.

Rule of the room: everything it offers is trio-flavoured. No future, no `CancelledError` and no exception class of
asyncio or aiortc leaves it; what goes wrong leaves as `RtcError` or as the end of a peer's intakes.
"""

from rtc.transport.webrtc.asyncio_loop import AsyncioLoop, open_asyncio_loop
from rtc.transport.webrtc.peer_connection import PeerConnection, open_peer_connection

__all__ = ["AsyncioLoop", "PeerConnection", "open_asyncio_loop", "open_peer_connection"]

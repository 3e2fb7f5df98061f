"""WebRTC peer connections: the only package that uses asyncio, aiortc, aioice and trio-asyncio.

Rule: its interface is trio-flavoured. No future, no asyncio `CancelledError` and no exception class of asyncio or
aiortc leaves it; failures leave it as `RtcError`, or as the end of a connection's receive queues.
"""

from rtc.transport.webrtc.asyncio_loop import AsyncioLoop, open_asyncio_loop
from rtc.transport.webrtc.peer_connection import PeerConnection, open_peer_connection

__all__ = ["AsyncioLoop", "PeerConnection", "open_asyncio_loop", "open_peer_connection"]

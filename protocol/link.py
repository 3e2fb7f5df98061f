"""The messages that a link itself sends, before and after authentication: heartbeats and the goodbye."""

from attrs import frozen

from protocol.faults import Fault

HEARTBEAT_TIME = 3.0
"""Seconds without a message on the control channel after which a heartbeat is sent. aiortc never reports the state
"disconnected", so each peer must detect by itself that the other one is gone."""
LOST_TIME = 12.0
"""Seconds without any message or data from the other peer after which a link counts as lost."""


@frozen
class Heartbeat:
    """Either peer to the other: I am still here. Sent when the control channel was idle for `HEARTBEAT_TIME`."""


@frozen
class Goodbye:
    """Either peer to the other: I close this link now; no message follows."""

    fault: Fault | None = None
    """Why the link is closed; null when all its work is done."""


LinkMessage = Heartbeat | Goodbye

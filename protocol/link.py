"""The messages that a link itself sends, before and after authentication: heartbeats and the goodbye."""

from attrs import frozen

from protocol.faults import Fault

HEARTBEAT_TIME = 3.0
"""Seconds between heartbeats. aiortc never reports the state "disconnected", so each side must detect by itself that
the other is gone."""
LOST_TIME = 12.0
"""Seconds without any message or data from the other side after which a link counts as lost."""


@frozen
class Heartbeat:
    """Either side to the other: I am still here. Sent every `HEARTBEAT_TIME` seconds."""


@frozen
class Goodbye:
    """Either side to the other: I close this link now; no message follows."""

    fault: Fault | None = None
    """Why the link is closed; null when all its work is done."""


LinkMessage = Heartbeat | Goodbye

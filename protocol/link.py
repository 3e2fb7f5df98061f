"""The few words a link says for itself, below trust: signs of life and good-bye."""

from attrs import frozen

from protocol.faults import Fault

HEARTBEAT_TIME = 3.0
"""Seconds between signs of life. aiortc never says "disconnected", so each side must hear the other."""
LOST_TIME = 12.0
"""Seconds of silence after which a link counts as lost."""


@frozen
class Heartbeat:
    """Either side: I am here."""


@frozen
class Goodbye:
    """Either side: I close this link now; nothing follows."""

    fault: Fault | None = None
    """Why, when it is not simply done."""


LinkMessage = Heartbeat | Goodbye

"""The messages that open, keep and close a link, whether its peer is authenticated or not."""

from attrs import field, frozen

from protocol.faults import Fault
from protocol.fields import brief
from protocol.version import EXPLICIT, VERSIONS, VersionRange

HEARTBEAT_TIME = 3.0
"""Seconds without a message on the control channel after which a heartbeat is sent. aiortc never reports the state
"disconnected", so each peer must detect by itself that the other one is gone."""
LOST_TIME = 12.0
"""Seconds without any message or data from the other peer after which a link counts as lost."""


@frozen
class Hello:
    """Either peer to the other, first of all: these are the versions of the protocol that I speak.

    Only `Heartbeat` and `Goodbye` may be sent before the other peer's `Hello` has come. From then on both use the
    highest common version; without one, each closes the link with the code `version`.
    """

    versions: VersionRange = field(default=VERSIONS, metadata=EXPLICIT)


@frozen
class Heartbeat:
    """Either peer to the other: I am still here. Sent when the control channel was idle for `HEARTBEAT_TIME`."""


@frozen
class Goodbye:
    """Either peer to the other: I close this link now; no message follows."""

    fault: Fault | None = None
    """Why the link is closed; null when all its work is done."""


def goodbye(fault: Fault | None) -> Goodbye:
    """Return a `Goodbye` for this reason, whose text is made so short that it fits into a frame before authentication.

    Whether the other end has authenticated us by then cannot be known.
    """
    return Goodbye(Fault(fault.code, brief(fault.text)) if fault is not None else None)


LinkMessage = Heartbeat | Goodbye

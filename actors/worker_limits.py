"""What the Worker and its job sessions share: how long a client may take, and why they refuse a link or end it."""

from protocol.faults import Fault, FaultCode

LINK_TIME = 45.0
"""Seconds that a client has from its offer to the authenticated link; an honest one needs, or fails within, 20."""
REQUEST_TIME = 30.0
"""Seconds that an authenticated client has to submit its job, or to say all that it wants to know about its jobs. There
is no limit while it sends a package or follows a job."""

UNEXPECTED_MESSAGE_FAULT = Fault(
    FaultCode.BAD_MESSAGE, "The worker received a message that it did not expect, and closed the link."
)

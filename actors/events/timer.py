"""The time-outs that an actor sets, and what its loop tells it when one is over."""

import math
from typing import Any

from attrs import frozen

from protocol.faults import Fault


@frozen
class TimedOut:
    """The current phase has lasted as long as its `StateTimeout` allows."""

    fault: Fault | None = None
    """What did not happen in time, if that is to be reported."""


@frozen
class StateTimeout:
    """To the actor's own loop: send `event` in `after` seconds, unless the phase changes before.

    A second `StateTimeout` in the same phase replaces the first; `CANCEL_TIMEOUT` cancels it.
    """

    after: float
    """Seconds."""
    event: Any = TimedOut()


CANCEL_TIMEOUT = StateTimeout(math.inf)
"""Cancels the time-out of the current phase."""


@frozen
class Deadline:
    """To the actor's own loop: send `event` in `after` seconds, whatever the phase is then.

    It ends when the actor becomes available again. A second one of the same name replaces the first.
    """

    name: str
    after: float
    """Seconds; infinite to cancel the deadline."""
    event: Any = None


def cancel_deadline(name: str) -> Deadline:
    """Return the effect that cancels the deadline of this name."""
    return Deadline(name, math.inf)


@frozen
class WaitExpired:
    """The time that the person would wait in the room's queue is over (`--wait`)."""

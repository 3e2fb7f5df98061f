"""Phases: where an actor is on its way. Each phase has one of the three states available, reserved and busy."""

from enum import Enum

from protocol.status import Status

AVAILABLE, RESERVED, BUSY = Status.AVAILABLE, Status.RESERVED, Status.BUSY


class Phase(Enum):
    """Base of each actor's enumeration of phases; a member is written `NAME = "its name in diagrams", AVAILABLE`."""

    status: Status
    """What others hear about an actor in this phase."""

    def __new__(cls, text: str, status: Status) -> "Phase":
        phase = object.__new__(cls)
        phase._value_ = text
        phase.status = status
        return phase

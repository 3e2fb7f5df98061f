"""An actor as a value: for models that explore every state that a system of actors can reach.

`ActorState.turn` does what the loop of `actors/actor.py` does with one event, time-outs included, but returns a new
state instead of changing one. The model decides which events can happen.
"""

import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from attrs import evolve, frozen

from actors.events import Deadline, StateTimeout
from actors.phase import Phase
from actors.table import Row, Table
from protocol.status import Status

D = TypeVar("D")
Reached = Callable[[Phase, Row[Any]], None]
"""Called with each phase and row that has answered an event."""


@frozen(cache_hash=True)
class ActorState(Generic[D]):
    """One actor's phase, data and running time-outs."""

    phase: Phase
    data: D
    timeout: Any = None
    """The event of the phase's time-out; None when none runs."""
    deadlines: tuple[tuple[str, Any], ...] = ()
    """The name and the event of each deadline that runs."""

    @property
    def due(self) -> "tuple[tuple[ActorState[D], Any], ...]":
        """For each time-out that runs, this state without it, and its event: the turn that follows when it ends.

        A model without a clock may let any of them end at any time.
        """
        phase = () if self.timeout is None else ((evolve(self, timeout=None), self.timeout),)
        deadlines = (
            (evolve(self, deadlines=tuple(one for one in self.deadlines if one[0] != name)), event)
            for name, event in self.deadlines
        )
        return (*phase, *deadlines)

    def turn(self, table: Table[D], event: Any, reached: Reached) -> "tuple[ActorState[D], tuple[Any, ...]]":
        """Return the state after an event, and the effects for others. Checks the table's invariant.

        Raises:
            UnexpectedEvent: the event cannot happen in this phase.
        """
        if table.is_stale(self.data, event):
            return self, ()
        found, inner = table.find(self.phase, self.data, event)
        reached(self.phase, found)
        step = found.action(self.data, inner)
        phase = found.after(self.phase)
        timeout = self.timeout if phase is self.phase else None
        becomes_available = phase.status is Status.AVAILABLE and self.phase.status is not Status.AVAILABLE
        deadlines = {} if becomes_available else dict(self.deadlines)
        effects = []
        for effect in step.effects:
            if isinstance(effect, StateTimeout):
                timeout = None if math.isinf(effect.after) else effect.event
            elif not isinstance(effect, Deadline):
                effects.append(effect)
            elif math.isinf(effect.after):
                deadlines.pop(effect.name, None)
            else:
                deadlines[effect.name] = effect.event
        if table.invariant is not None:
            table.invariant(phase, step.data)
        return ActorState(phase, step.data, timeout, tuple(sorted(deadlines.items()))), tuple(effects)


def start_of(table: Table[D], data: D) -> ActorState[D]:
    """Return the state of a new actor."""
    return ActorState(table.start, data)

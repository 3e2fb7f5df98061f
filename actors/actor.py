"""The one run loop: hear an event, take one step of the table, say the effects."""

import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import trio
from attrs import define, field

from actors.events import StateTimeout, TimedOut
from actors.mailbox import PROGRAM_CAPACITY, PROGRAM_THRESHOLD, Mailbox
from actors.table import Table
from protocol.status import Status

D = TypeVar("D")


@define
class Actor(Generic[D]):
    """A table, its data, an inbox and an outbox. It awaits only its inbox."""

    table: Table[D]
    data: D
    outbox: Mailbox[Any]
    inbox: Mailbox[Any] = field(factory=lambda: Mailbox(PROGRAM_CAPACITY, PROGRAM_THRESHOLD))
    watch: Callable[[Status], None] | None = None
    """Told of each change of state; for logs and tests, never for decisions."""
    state: Status = field(init=False)
    _due: float = field(init=False, default=math.inf)
    _timeout_event: TimedOut = field(init=False, factory=TimedOut)

    def __attrs_post_init__(self) -> None:
        self.state = self.table.start

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Live until the inbox is finished."""
        task_status.started()
        while True:
            event: Any = self._timeout_event
            # A state time-out bounds the wait itself: a timer task could queue a stale one behind a change of state.
            with trio.move_on_at(self._due) as nap:
                try:
                    event = await self.inbox.take()
                except trio.EndOfChannel:
                    return
            if nap.cancelled_caught:
                self._due = math.inf
            self.turn(event)

    def turn(self, event: Any) -> None:
        """One whole step; sync, so that no cancellation can split it."""
        state, step = self.table.step(self.state, self.data, event)
        if state is not self.state:
            self._due = math.inf
            if self.watch is not None:
                self.watch(state)
        self.state, self.data = state, step.data
        for effect in step.effects:
            if isinstance(effect, StateTimeout):
                self._due, self._timeout_event = trio.current_time() + effect.after, effect.event
            else:
                self.outbox.put(effect)

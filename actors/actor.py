"""The loop of every actor: takes an event from the inbox, does one step of the table, fills the outbox with effects."""

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
    """A state table with its data, an inbox of events and an outbox of effects. It waits for its inbox only."""

    table: Table[D]
    data: D
    outbox: Mailbox[Any]
    inbox: Mailbox[Any] = field(factory=lambda: Mailbox(PROGRAM_CAPACITY, PROGRAM_THRESHOLD))
    watch: Callable[[Status], None] | None = None
    """Called with the new state at each change of state; for logs and tests, never for decisions."""
    state: Status = field(init=False)
    _due: float = field(init=False, default=math.inf)
    """When the state times out, by trio's clock, in seconds."""
    _timeout_event: TimedOut = field(init=False, factory=TimedOut)
    """The event that the table gets at that time."""

    def __attrs_post_init__(self) -> None:
        self.state = self.table.start

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Handle events until the inbox is finished and empty."""
        task_status.started()
        while True:
            event: Any = self._timeout_event
            # The state time-out limits the wait itself: a separate timer task could put an outdated time-out into the
            # inbox, behind an event that changes the state.
            with trio.move_on_at(self._due) as timeout:
                try:
                    event = await self.inbox.take()
                except trio.EndOfChannel:
                    return
            if timeout.cancelled_caught:
                self._due = math.inf
            self.handle(event)

    def handle(self, event: Any) -> None:
        """Handle one event completely: step, new state, effects. Synchronous, so no cancellation can interrupt it."""
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

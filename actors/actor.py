"""The loop of every actor: takes an event from the inbox, does one step of the table, fills the outbox with effects."""

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import trio
from attrs import define, field, frozen

from actors.events.timer import Deadline, StateTimeout, TimedOut
from actors.mailbox import PROGRAM_CAPACITY, PROGRAM_THRESHOLD, Mailbox
from actors.phase import Phase
from actors.table import Row, Table, UnexpectedEvent
from protocol.status import Status

D = TypeVar("D")

STORY_MAX = 500
"""Turns of an actor that its story keeps."""


@frozen
class Turn:
    """One turn of an actor: the event, and what followed from it."""

    time: float
    """By trio's clock, in seconds."""
    phase: Phase
    """The phase in which the event came."""
    event: Any
    """The event as the row's action took it: a message without its `PeerMessage`."""
    row: Row[Any] | None
    """The row that answered; None for an event that was dropped."""
    next: Phase
    effects: tuple[Any, ...] = ()
    """The announcement of the next phase, if that is news, and all effects of the row."""
    is_unexpected: bool = False
    """Whether the event cannot happen in this phase; a dropped event is stale otherwise."""


@define(eq=False)
class Actor(Generic[D]):
    """A state table with its data, an inbox of events and an outbox of effects. It waits for its inbox only."""

    table: Table[D]
    data: D
    outbox: Mailbox[Any]
    inbox: Mailbox[Any] = field(factory=lambda: Mailbox(PROGRAM_CAPACITY, PROGRAM_THRESHOLD))
    watch: Callable[[Turn], None] | None = None
    """Called with each turn, before its effects are sent; for what is shown, for logs and for tests."""
    on_unexpected: Callable[[UnexpectedEvent], None] | None = None
    """Called instead of raising `UnexpectedEvent`; the actor then drops the event. Without it the actor is strict: the
    table's invariant is checked after each turn, too."""
    phase: Phase = field(init=False)
    story: deque[Turn] = field(init=False, factory=lambda: deque(maxlen=STORY_MAX))
    """The newest turns, oldest first."""
    _due: float = field(init=False, default=math.inf)
    """When the phase times out, by trio's clock, in seconds."""
    _timeout_event: Any = field(init=False, factory=TimedOut)
    """The event that the table gets at that time."""
    _deadlines: dict[str, tuple[float, Any]] = field(init=False, factory=dict)
    """For the name of each deadline, when it ends, and the event that the table gets then."""
    _announced: Any = field(init=False, default=None)
    """The last announcement."""

    def __attrs_post_init__(self) -> None:
        self.phase = self.table.start
        if self.table.announce is not None:
            self._announced = self.table.announce(self.phase)

    @property
    def status(self) -> Status:
        """Whether the actor is available, reserved or busy."""
        return self.phase.status

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Handle events until the inbox is finished and empty.

        Raises:
            UnexpectedEvent: an event cannot happen in the present phase, and there is no `on_unexpected`.
        """
        task_status.started()
        while True:
            # The time-outs limit the wait itself: a separate timer task could put an outdated time-out into the inbox,
            # behind an event that changes the phase.
            event: Any = None
            with trio.move_on_at(self._next_due()) as timeout:
                try:
                    event = await self.inbox.take()
                except trio.EndOfChannel:
                    return
            self.handle(self._take_due() if timeout.cancelled_caught else event)

    def _next_due(self) -> float:
        return min([self._due, *(due for due, _ in self._deadlines.values())])

    def _take_due(self) -> Any:
        """Return the event of the time-out that ends first, and forget the time-out."""
        name = min(self._deadlines, key=lambda one: self._deadlines[one][0], default=None)
        if name is not None and self._deadlines[name][0] < self._due:
            return self._deadlines.pop(name)[1]
        self._due = math.inf
        return self._timeout_event

    def handle(self, event: Any) -> None:
        """Handle one event completely: step, new phase, effects. Synchronous, so no cancellation can interrupt it.

        Raises:
            UnexpectedEvent: as for `run`.
        """
        before, was_available = self.phase, self.status is Status.AVAILABLE
        if self.table.is_stale(self.data, event):
            self._remember(Turn(trio.current_time(), before, event, None, before))
            return
        found, inner = None, event
        try:
            found, inner = self.table.find(before, self.data, event)
            step = found.action(self.data, inner)
        except UnexpectedEvent as error:
            self._remember(Turn(trio.current_time(), before, error.event, None, before, is_unexpected=True))
            if self.on_unexpected is None:
                raise
            self.on_unexpected(error)
            return
        except Exception:  # of a guard or an action: the story shows at which event
            self._remember(Turn(trio.current_time(), before, inner, found, before))
            raise
        self.phase = found.after(before)
        self.data = step.data
        if self.phase is not before:
            self._due = math.inf
        if self.status is Status.AVAILABLE and not was_available:
            self._deadlines.clear()
        effects = (*self._announcement(before), *step.effects)
        self._remember(Turn(trio.current_time(), before, inner, found, self.phase, effects))
        for effect in effects:
            self._send(effect)
        if self.on_unexpected is None and self.table.invariant is not None:
            self.table.invariant(self.phase, self.data)

    def _announcement(self, before: Phase) -> tuple[Any, ...]:
        """Return the effect that announces the present phase, if that is news to others."""
        if self.table.announce is None or self.phase is before:
            return ()
        last, self._announced = self._announced, self.table.announce(self.phase)
        return (self._announced,) if self._announced != last else ()

    def _remember(self, turn: Turn) -> None:
        self.story.append(turn)
        if self.watch is not None:
            self.watch(turn)

    def _send(self, effect: Any) -> None:
        """Carry out the loop's own effects; put any other one into the outbox."""
        now = trio.current_time()
        if isinstance(effect, StateTimeout):
            self._due, self._timeout_event = now + effect.after, effect.event
        elif not isinstance(effect, Deadline):
            self.outbox.put(effect)
        elif effect.after == math.inf:
            self._deadlines.pop(effect.name, None)
        else:
            self._deadlines[effect.name] = (now + effect.after, effect.event)

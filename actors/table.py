"""State tables: for a phase and an event, the row that says what follows.

There are three answers. A row leads to the next phase, which stands in the row, and runs an action. `ignore` says that
the event can happen and means nothing there, and why. An event without either cannot happen: `UnexpectedEvent`.

Where the answer depends on more than the phase, several rows have the same phase and event, and all but the last have a
guard (`when`). The first row whose guard is true is the answer, as in the state machines of UML.
"""

from collections.abc import Callable, Collection, Iterator
from enum import Enum
from typing import Any, Generic, TypeVar, overload

from attrs import field, frozen

from actors.events.link import PeerMessage, UnexpectedMessage
from actors.phase import Phase

D = TypeVar("D")
E = TypeVar("E")


class Same(Enum):
    """The type of `SAME`."""

    SAME = "same"


SAME = Same.SAME
"""In a row: the actor stays in its phase, and the phase's time-out goes on."""


@frozen
class Step(Generic[D]):
    """The result of an action: the actor's new data, and the effects."""

    data: D
    effects: tuple[Any, ...] = ()
    """The effects, in the order in which they are to happen."""


Action = Callable[[D, E], Step[D]]
Guard = Callable[[D, E], bool]


def do_nothing(data: D, _event: object) -> Step[D]:
    """Return the data unchanged and no effects; the action of ignored events."""
    return Step(data)


@frozen
class Row(Generic[D]):
    """One row of a table: in one of `phases`, on `event`, if `when` is true, run `action` and go to `next`."""

    phases: tuple[Phase, ...]
    event: type
    next: Phase | Same
    action: Callable[[D, Any], Step[D]]
    when: Callable[[D, Any], bool] | None = None
    """The guard; None: the row answers whenever no guard before it was true."""
    because: str = ""
    """Why the event means nothing here; only in a row of `ignore`."""

    def after(self, phase: Phase) -> Phase:
        """Return the phase in which the actor is after this row, if it was in `phase` before."""
        return phase if isinstance(self.next, Same) else self.next

    def __str__(self) -> str:
        """Return the row as diagrams and traces write it: `Event [guard] / action`."""
        guard = f" [{self.when.__name__}]" if self.when is not None else ""
        return f"{self.event.__name__}{guard} / {self.action.__name__ if not self.because else 'ignored'}"


@overload
def row(
    phases: Phase | tuple[Phase, ...],
    event: type[E],
    next_phase: Phase | Same,
    action: Action[D, E],
    *,
    when: Guard[D, E] | None = None,
) -> tuple[Row[D], ...]: ...
@overload
def row(
    phases: Phase | tuple[Phase, ...],
    event: tuple[type, ...],
    next_phase: Phase | Same,
    action: Action[D, Any],
    *,
    when: Guard[D, Any] | None = None,
) -> tuple[Row[D], ...]: ...
def row(
    phases: Phase | tuple[Phase, ...],
    event: type | tuple[type, ...],
    next_phase: Phase | Same,
    action: Action[D, Any],
    *,
    when: Guard[D, Any] | None = None,
) -> tuple[Row[D], ...]:
    """Return one row for each event. The type checker verifies that action and guard take the row's event."""
    together = phases if isinstance(phases, tuple) else (phases,)
    return tuple(
        Row(together, kind, next_phase, action, when) for kind in (event if isinstance(event, tuple) else (event,))
    )


def ignore(
    phases: Phase | tuple[Phase, ...], *kinds: type, because: str, when: Guard[Any, Any] | None = None
) -> tuple[Row[Any], ...]:
    """Return rows for events that can happen in these phases and mean nothing there; `because` is the reason."""
    together = phases if isinstance(phases, tuple) else (phases,)
    return tuple(Row(together, event, SAME, do_nothing, when, because) for event in kinds)


class TableError(Exception):
    """A table contradicts itself: two rows are the answer to one pair of a phase and an event, or none can be."""


class UnexpectedEvent(Exception):
    """An event came in a phase in which it cannot happen: a bug in a table, or in how the program joins its parts."""

    def __init__(self, table: str, phase: Phase, event: object) -> None:
        name = type(event).__name__
        if isinstance(event, UnexpectedMessage):
            name += f" ({type(event.message).__name__})"
        super().__init__(f"{table}: {name} cannot happen in the phase {phase.value!r}")
        self.table, self.phase, self.event = table, phase, event


def _flat(rows: tuple[Any, ...]) -> tuple[Row[Any], ...]:
    """Return the rows in one flat tuple; an item of `rows` is one row, or a tuple of rows as `row` returns it."""
    return tuple(one for item in rows for one in (item if isinstance(item, tuple) else (item,)))


@frozen
class Table(Generic[D]):
    """A state table: a name, the first phase, and the rows.

    Raises:
        TableError: for a pair of phase and event, an unguarded row is followed by another one, or the last one is
            guarded; or two phases have the same name.
    """

    name: str
    start: Phase
    """The phase in which an actor begins."""
    rows: tuple[Row[D], ...] = field(converter=_flat)
    own: Callable[[D], Collection[Any]] | None = None
    """Returns the ids of the links and jobs that are the actor's. With it, an event whose `link` is not among them is
    stale and is dropped; so is an event without a link whose `job` is not among them."""
    from_outside: tuple[type, ...] = ()
    """Types of events that are messages of another machine, besides those in `PeerMessage`. Another machine may send
    any of them at any time, so one without a row becomes an `UnexpectedMessage`."""
    announce: Callable[[Any], Any] | None = None
    """Returns the effect that tells others of a phase; the actor's loop sends it when it differs from the last one."""
    invariant: Callable[[Any, D], None] | None = None
    """Raises AssertionError if an actor can never be in this phase with this data."""
    _by_pair: dict[tuple[Phase, type], tuple[Row[D], ...]] = field(init=False, repr=False, eq=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        same = [name for name, phase in type(self.start).__members__.items() if name != phase.name]
        if same:
            raise TableError(f"{self.name}: {', '.join(same)}: another phase has the same name in diagrams")
        for one in self.rows:
            for phase in one.phases:
                before = self._by_pair.get((phase, one.event), ())
                if before and before[-1].when is None:
                    raise TableError(f"{self.name}: {phase.value} × {one.event.__name__} is answered twice")
                self._by_pair[phase, one.event] = (*before, one)
        for (phase, event), rows in self._by_pair.items():
            if rows[-1].when is not None:
                raise TableError(f"{self.name}: {phase.value} × {event.__name__} needs a last row without a guard")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Every phase, in the order of the enumeration."""
        return tuple(type(self.start))

    @property
    def events(self) -> tuple[type, ...]:
        """Every type of event in the table, in the order of its rows."""
        return tuple(dict.fromkeys(one.event for one in self.rows))

    def answers(self) -> Iterator[tuple[Phase, Row[D]]]:
        """Return an iterator over each row together with each of its phases."""
        return ((phase, one) for one in self.rows for phase in one.phases)

    def is_stale(self, data: D, event: Any) -> bool:
        """Return whether the event is about a link or a job that is not, or no longer, the actor's."""
        if self.own is None:
            return False
        of = getattr(event, "link", None)
        of = getattr(event, "job", None) if of is None else of
        return of is not None and of not in self.own(data)

    def find(self, phase: Phase, data: D, event: Any) -> tuple[Row[D], Any]:
        """Return the row that answers an event, and the event as the row's action takes it.

        A `PeerMessage` is unwrapped, and a message without a row becomes an `UnexpectedMessage`.

        Raises:
            UnexpectedEvent: no row answers it.
        """
        is_message = isinstance(event, (PeerMessage, *self.from_outside))
        inner = event.message if isinstance(event, PeerMessage) else event
        rows = self._by_pair.get((phase, type(inner)), ())
        if not rows and is_message:
            inner = UnexpectedMessage(inner)
            rows = self._by_pair.get((phase, UnexpectedMessage), ())
        for one in rows:
            if one.when is None or one.when(data, inner):
                return one, inner
        raise UnexpectedEvent(self.name, phase, inner)

    def step(self, phase: Phase, data: D, event: Any) -> tuple[Phase, Step[D]]:
        """Return the next phase, and the result of the action, for one event that is not stale.

        Raises:
            UnexpectedEvent: the event cannot happen in this phase.
        """
        found, inner = self.find(phase, data, event)
        return found.after(phase), found.action(data, inner)

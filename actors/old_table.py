"""State tables: for each state and each event, one row with the next state and an action; a gap raises at import.

The next state is in the row, never inside an action, so the diagram always shows what runs. Where the reaction depends
on the actor's data, the table's `classify` first replaces the event by a narrower one.
"""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from protocol.status import Status

AVAILABLE, RESERVED, BUSY = Status.AVAILABLE, Status.RESERVED, Status.BUSY

D = TypeVar("D")
E = TypeVar("E")


@frozen
class Step(Generic[D]):
    """The result of an action: the actor's new data, and the effects."""

    data: D
    effects: tuple[Any, ...] = ()
    """The effects, in the order in which they are to happen."""


Action = Callable[[D, E], Step[D]]


@frozen
class Row(Generic[D]):
    """One row of a table: in `state`, on `event`, run `action` and go to `next`."""

    state: Status
    event: type
    next: Status
    action: Callable[[D, Any], Step[D]]


def row(state: Status, event: type[E], next_state: Status, action: Action[D, E]) -> Row[D]:
    """Return one row. The type checker verifies that the action takes the row's event."""
    return Row(state, event, next_state, action)


def do_nothing(data: D, _event: object) -> Step[D]:
    """Return the data unchanged and no effects; the action of ignored events."""
    return Step(data)


def ignore(event: type, *states: Status) -> tuple[Row[Any], ...]:
    """Return rows that ignore `event` in each of `states`: no effects, same state."""
    return tuple(Row(state, event, state, do_nothing) for state in states)


def unchanged(_data: D, event: Any) -> Any:
    """Return the event itself: the `classify` of a table that needs no narrower events."""
    return event


class TableError(Exception):
    """A table has no row, or more than one, for a pair of state and event; raised when the table is created."""


def _flat(rows: tuple[Any, ...]) -> tuple[Row[Any], ...]:
    """Return the rows in one flat tuple; an item of `rows` is one row, or a tuple of rows as `ignore` returns it."""
    return tuple(one for item in rows for one in (item if isinstance(item, tuple) else (item,)))


@frozen
class Table(Generic[D]):
    """A state table: a name, a first state, and one row for each pair of a state and an event.

    Raises:
        TableError: a pair has no row, or more than one.
    """

    name: str
    start: Status
    """The state in which an actor begins."""
    rows: tuple[Row[D], ...] = field(converter=_flat)
    classify: Callable[[D, Any], Any] = unchanged
    """A pure function from data and event to the event, or to a narrower event that has rows of its own."""
    _by_pair: dict[tuple[Status, type], Row[D]] = field(init=False, repr=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        for one in self.rows:
            if (one.state, one.event) in self._by_pair:
                raise TableError(f"{self.name}: {one.state.value} × {one.event.__name__} is answered twice")
            self._by_pair[one.state, one.event] = one
        for state, event in self.pairs():
            if (state, event) not in self._by_pair:
                raise TableError(f"{self.name}: {state.value} × {event.__name__} has no answer")

    announce = None
    invariant = None

    def is_stale(self, _data: D, _event: Any) -> bool:
        """Return False: `classify` looks for stale events."""
        return False

    def find(self, state: Status, data: D, event: Any) -> tuple[Row[D], Any]:
        """Return the row for an event, and the narrower event."""
        narrowed = self.classify(data, event)
        return self._by_pair[state, type(narrowed)], narrowed

    @property
    def events(self) -> tuple[type, ...]:
        """Every type of event in the table, in the order of its rows."""
        return tuple(dict.fromkeys(one.event for one in self.rows))

    def pairs(self) -> Iterator[tuple[Status, type]]:
        """Return an iterator over every pair of a state and a type of event."""
        return ((state, event) for state in Status for event in self.events)

    def step(self, state: Status, data: D, event: Any) -> tuple[Status, Step[D]]:
        """Return the next state, and the result of the action, for one event.

        Raises:
            KeyError: the table has no such event; a bug in how the program connects its parts.
        """
        narrowed = self.classify(data, event)
        match = self._by_pair[state, type(narrowed)]
        return match.next, match.action(data, narrowed)

    def mermaid(self) -> str:
        """Return the table as a Mermaid state diagram, without the rows that ignore an event."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.start.value}"]
        lines += [
            f"    {one.state.value} --> {one.next.value}: {one.event.__name__} / {one.action.__name__}"
            for one in self.rows
            if one.action is not do_nothing
        ]
        return "\n".join(lines)

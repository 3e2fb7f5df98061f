"""State tables: every state × every event is answered, and the table refuses to exist otherwise.

The next state stands in the row, never inside an action, so the drawing cannot lie. Where a choice needs memory, the
table's `classify` first names a narrower event.
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
    """What one event led to: what to remember, and what to do, in order."""

    data: D
    effects: tuple[Any, ...] = ()


Action = Callable[[D, E], Step[D]]


@frozen
class Row(Generic[D]):
    """In this state, on this event, go to that state and do this."""

    state: Status
    event: type
    next: Status
    action: Callable[[D, Any], Step[D]]


def row(state: Status, event: type[E], next_state: Status, action: Action[D, E]) -> Row[D]:
    """One row; its action must take the row's event, or the type checker objects."""
    return Row(state, event, next_state, action)


def do_nothing(data: D, _event: object) -> Step[D]:
    """Do nothing, on purpose."""
    return Step(data)


def ignore(event: type, *states: Status) -> tuple[Row[Any], ...]:
    """Rows in which this event means nothing: silence, written down."""
    return tuple(Row(state, event, state, do_nothing) for state in states)


def unchanged(_data: D, event: Any) -> Any:
    """The `classify` of a table whose events need no narrowing."""
    return event


class TableError(Exception):
    """A table has a gap or answers something twice; raised at import."""


def _flat(rows: tuple[Any, ...]) -> tuple[Row[Any], ...]:
    return tuple(one for item in rows for one in (item if isinstance(item, tuple) else (item,)))


@frozen
class Table(Generic[D]):
    """A name, a first state, and rows that answer everything."""

    name: str
    start: Status
    rows: tuple[Row[D], ...] = field(converter=_flat)
    classify: Callable[[D, Any], Any] = unchanged
    """Pure: names a narrower event where what is remembered decides."""
    _by_pair: dict[tuple[Status, type], Row[D]] = field(init=False, repr=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        for one in self.rows:
            if (one.state, one.event) in self._by_pair:
                raise TableError(f"{self.name}: {one.state.value} × {one.event.__name__} is answered twice")
            self._by_pair[one.state, one.event] = one
        for state, event in self.pairs():
            if (state, event) not in self._by_pair:
                raise TableError(f"{self.name}: {state.value} × {event.__name__} has no answer")

    @property
    def events(self) -> tuple[type, ...]:
        """Every event of the table, in the order of its rows."""
        return tuple(dict.fromkeys(one.event for one in self.rows))

    def pairs(self) -> Iterator[tuple[Status, type]]:
        """Every state with every event."""
        return ((state, event) for state in Status for event in self.events)

    def step(self, state: Status, data: D, event: Any) -> tuple[Status, Step[D]]:
        """One turn: the next state, and what the action says.

        Raises:
            KeyError: the event is none of this table's; a wiring bug.
        """
        narrow = self.classify(data, event)
        found = self._by_pair[state, type(narrow)]
        return found.next, found.action(data, narrow)

    def mermaid(self) -> str:
        """The table as a Mermaid state diagram; rows that only ignore are left out of the picture."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.start.value}"]
        lines += [
            f"    {one.state.value} --> {one.next.value}: {one.event.__name__} / {one.action.__name__}"
            for one in self.rows
            if one.action is not do_nothing
        ]
        return "\n".join(lines)

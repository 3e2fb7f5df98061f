"""State tables for `docs/states.md`: Mermaid state diagrams, and Markdown tables of the rows and of what is ignored.

The diagrams must be readable on one screen, so they join what belongs together (`HOW_TO_READ`). Whoever changes this
file looks at them again: a diagram that is correct but cannot be read is of no use.
"""

import inspect
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, field

from actors.phase import Phase
from actors.table import Row, Same, Table, do_nothing
from protocol.status import Status

HOW_TO_READ = """\
A frame is one of the three states, a box in it a phase. An arrow is labelled `Event [guard] / action`: when the event
comes and the guard is true, the action is run and the arrow followed; `LinkLost, Fault` are two events with the same
arrow. An arrow that starts from a frame starts from each phase in it. One that leads from each of them back to a phase
of the state available is written into the frame's title, without its action (`each → idle: Drain`). In the diagrams
with many arrows, the others that lead back are written into the box of the phase that they start from
(`→ idle: LinkLost`). A box outside of all frames belongs to the diagram before or after.

The diagrams leave out the rows that lead to no other phase. The tables below them have every row, and every event
that is ignored, with the reason. If several rows of one phase have the same event, the first one whose guard is true
answers. What stands in neither table cannot happen."""

MANY = 12
"""Arrows up to which a table is drawn with all of them."""
LABEL_WIDTH = 24
"""Characters of a line in a label; longer labels have several lines."""
SPACING = '%%{init: {"state": {"nodeSpacing": 30, "rankSpacing": 45}}}%%'
NEW_DIAGRAM_AT = {"client": ("ATTACHING", "RUNNING", "DOWNLOADING")}
"""For each table that does not fit on one screen, the phases with which a further diagram begins."""

Arrows = dict[tuple[Phase, Phase], list[Row[Any]]]


def diagrams(table: Table[Any]) -> list[str]:
    """Return a table as Mermaid state diagrams: one, or several if `NEW_DIAGRAM_AT` says so."""
    arrows: Arrows = {}
    for phase, row in table.answers():
        if not row.because and not isinstance(row.next, Same) and row.next is not phase:
            arrows.setdefault((phase, row.next), []).append(row)
    groups: list[list[Phase]] = [[]]
    begins = {type(table.start)[name] for name in NEW_DIAGRAM_AT.get(table.name, ())}
    for phase in table.phases:
        if phase in begins:
            groups.append([])
        groups[-1].append(phase)
    return [_Diagram(table, group, arrows).text() for group in groups]


@define
class _Diagram:
    """One diagram: the arrows that start from the phases of one group."""

    table: Table[Any]
    group: list[Phase]
    all_arrows: Arrows
    arrows: Arrows = field(init=False)
    """Arrows between two boxes."""
    of_each: dict[tuple[Status, Phase], list[Row[Any]]] = field(factory=dict, init=False)
    """Arrows that start from each phase in a frame."""

    def __attrs_post_init__(self) -> None:
        self.arrows = {ends: list(rows) for ends, rows in self.all_arrows.items() if ends[0] in self.group}
        for status in Status:
            phases = self._in_frame(status)
            for target in {target: None for _, target in self.arrows if target.status is not status}:
                if len(phases) > 1:
                    self._join(status, phases, target)
        self.arrows = {ends: rows for ends, rows in self.arrows.items() if rows}

    def _in_frame(self, status: Status) -> list[Phase]:
        return [phase for phase in self.group if phase.status is status]

    def _join(self, status: Status, phases: list[Phase], target: Phase) -> None:
        """Let those arrows start from the frame of which all phases have the same event; where they lead to a phase of
        the state available, their actions may differ."""
        rows_of = [self.arrows.get((phase, target), []) for phase in phases]
        for event in dict.fromkeys(row.event for row in rows_of[0]):
            rows = [[row for row in rows if row.event is event] for rows in rows_of]
            distinct = dict.fromkeys(row for some in rows for row in some)
            same = len({(row.when, row.action) for row in distinct}) == 1
            if all(rows) and (same or target.status is Status.AVAILABLE):
                self.of_each.setdefault((status, target), []).extend(distinct)
                for phase in phases:
                    self.arrows[phase, target] = [row for row in self.arrows[phase, target] if row.event is not event]

    def text(self) -> str:
        """Return the diagram in Mermaid's language."""
        returns: dict[Phase, dict[Phase, list[Row[Any]]]] = {}
        titles = {status: [status.value] for status in Status}
        of_each, arrows = dict(self.of_each), dict(self.arrows)
        if len(self.all_arrows) > MANY:
            for phase, target in self.arrows:
                if target.status is Status.AVAILABLE is not phase.status:
                    returns.setdefault(phase, {})[target] = arrows.pop((phase, target))
        for (status, target), rows in self.of_each.items():
            if target.status is Status.AVAILABLE:
                titles[status].append(" ".join(_label(rows, f"each → {target.value}: ", actions=False)))
                del of_each[status, target]
        lines = [SPACING, "stateDiagram-v2"]
        lines += [f"    [*] --> {self.table.start.name}"] if self.table.start in self.group else []
        for status in Status:
            boxes = [_box(phase, returns.get(phase, {})) for phase in self._in_frame(status)]
            if boxes:
                lines += [f'    state "{"; ".join(titles[status])}" as {status.value} {{', *boxes, "    }"]
        elsewhere = dict.fromkeys(target for _, target in (*arrows, *of_each) if target not in self.group)
        lines += [f'    state "{phase.value}<br/>({phase.status.value})" as {phase.name}' for phase in elsewhere]
        lines += [f"    {a.name} --> {b.name}: {'<br/>'.join(_label(rows))}" for (a, b), rows in arrows.items()]
        for (status, target), rows in of_each.items():
            lines.append(f"    {status.value} --> {target.name}: {'<br/>'.join(_label(rows))}")
        return "\n".join(lines)


def _box(phase: Phase, returns: Mapping[Phase, list[Row[Any]]]) -> str:
    """Return the box of a phase, with the arrows that are written into it."""
    lines = [phase.value]
    for target, rows in returns.items():
        lines += _label(rows, f"→ {target.value}: ", actions=False)
    return f'        state "{"<br/>".join(lines)}" as {phase.name}'


def _label(rows: Iterable[Row[Any]], start: str = "", *, actions: bool = True) -> list[str]:
    """Return the lines of a label that joins several rows: `Event, Event [guard or guard] / action`.

    Args:
        rows: the rows, which all lead to the same phase.
        start: text before them.
        actions: whether to name the actions.
    """
    by_action: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        action = f" /\xa0{row.action.__name__}" if actions and row.action is not do_nothing else ""
        by_action.setdefault(action, {}).setdefault(row.event.__name__, []).append(_name_of_guard(row))
    lines = []
    for action, guards_of in by_action.items():
        by_guard: dict[str, list[str]] = {}
        for event, guards in guards_of.items():
            # without any guard, a row answers whatever the guards before it said
            guard = "" if "" in guards else f" [{' or '.join(dict.fromkeys(guards))}]"
            by_guard.setdefault(guard, []).append(event)
        events = ", ".join(f"{', '.join(events)}{guard}" for guard, events in by_guard.items())
        lines += textwrap.wrap(f"{start}{events}{action}", LABEL_WIDTH, break_long_words=False, break_on_hyphens=False)
        start = ""
    return [line.replace("\xa0", " ") for line in lines]


def _name_of_guard(row: Row[Any]) -> str:
    return row.when.__name__ if row.when is not None else ""


def rows_table(table: Table[Any]) -> str:
    """Return the rows of a table that do something, in Markdown."""
    lines = ["| in | event | guard | next | action |", "|---|---|---|---|---|"]
    for row in table.rows:
        if not row.because:
            following = "*the same*" if isinstance(row.next, Same) else row.next.value
            action = "–" if row.action is do_nothing else f"{row.action.__name__}: {_first_line(row.action)}"
            lines.append(f"| {_names(row)} | {row.event.__name__} | {_name_of_guard(row)} | {following} | {action} |")
    return "\n".join(lines)


def ignored_table(table: Table[Any]) -> str:
    """Return what a table ignores, and why, in Markdown; empty if it ignores nothing."""
    events_of: dict[tuple[str, str, str], list[str]] = {}
    for row in table.rows:
        if row.because:
            events_of.setdefault((_names(row), _name_of_guard(row), row.because), []).append(row.event.__name__)
    if not events_of:
        return ""
    lines = ["| in | ignored | because |", "|---|---|---|"]
    for (phases, guard, because), events in events_of.items():
        lines.append(f"| {phases} | {', '.join(events)}{f' [{guard}]' if guard else ''} | {because} |")
    return "\n".join(lines)


def _names(row: Row[Any]) -> str:
    return ", ".join(phase.value for phase in row.phases)


def _first_line(action: object) -> str:
    return (inspect.getdoc(action) or "").partition("\n")[0]

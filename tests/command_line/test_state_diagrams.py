"""Tests of the page of the states: what a diagram shows, what it joins, and what stands in the tables below."""

import re
from typing import Any

import pytest
from attrs import frozen

from actors.phase import AVAILABLE, BUSY, RESERVED, Phase
from actors.table import SAME, Step, Table, do_nothing, ignore, row
from rtc.command_line import state_diagrams
from rtc.command_line.generated_docs import TABLES
from rtc.command_line.state_diagrams import SPACING, diagrams, ignored_table, rows_table
from rtc.common.turn_json import known_tables


class LampPhase(Phase):
    OFF = "off", AVAILABLE
    WARMING = "warming up", RESERVED
    COOLING = "cooling down", RESERVED
    ON = "on", BUSY


OFF, WARMING, COOLING, ON = LampPhase


@frozen
class Pressed:
    """Somebody has pressed the button."""


@frozen
class Broke:
    """The lamp broke."""


@frozen
class Cut:
    """The power was cut."""


@frozen
class Lit:
    """Somebody holds a match to it."""


def is_dark(_data: int, _event: object) -> bool:
    return True


def is_cold(_data: int, _event: object) -> bool:
    return True


def heat(data: int, _event: object) -> Step[int]:
    """Heat the wire.

    Slowly.
    """
    return Step(data)


def report(data: int, _event: object) -> Step[int]:
    """Report it."""
    return Step(data)


def stop(data: int, _event: object) -> Step[int]:
    """Stop at once."""
    return Step(data)


ROWS = (
    row(OFF,                Pressed, WARMING, heat, when=is_dark),
    row(OFF,                Pressed, WARMING, heat, when=is_cold),
    row(OFF,                Pressed, ON,      do_nothing),
    row(WARMING,            Pressed, ON,      heat),
    row(WARMING,            Broke,   OFF,     report, when=is_cold),
    row(WARMING,            Broke,   SAME,    report),
    row((WARMING, COOLING), Cut,     OFF,     stop),
    row((ON, COOLING),      Broke,   OFF,     report),
    row(ON,                 Pressed, COOLING, stop),
    ignore(COOLING, Pressed, because="it must be cold first"),
    ignore(OFF, Broke, Cut, because="an earlier one is meant"),
    ignore(ON, Cut, when=is_dark, because="it has a battery"),
    row(ON,                 Cut,     SAME,    report),
    row((WARMING, COOLING), Lit,     ON,      stop),
)  # fmt: skip
LAMP: Table[int] = Table("lamp", OFF, ROWS)


def test_a_small_table_is_drawn_with_all_its_arrows() -> None:
    assert diagrams(LAMP) == [
        f"""\
{SPACING}
stateDiagram-v2
    [*] --> OFF
    state "available" as available {{
        state "off" as OFF
    }}
    state "reserved; each → off: Broke, Cut" as reserved {{
        state "warming up" as WARMING
        state "cooling down" as COOLING
    }}
    state "busy" as busy {{
        state "on" as ON
    }}
    OFF --> WARMING: Pressed [is_dark or<br/>is_cold] / heat
    OFF --> ON: Pressed
    WARMING --> ON: Pressed / heat
    ON --> OFF: Broke / report
    ON --> COOLING: Pressed / stop
    reserved --> ON: Lit / stop"""
    ]


def test_in_one_with_many_arrows_those_that_lead_back_are_written_into_boxes_and_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state_diagrams, "MANY", 3)
    [text] = diagrams(LAMP)
    assert 'state "reserved; each → off: Broke, Cut" as reserved {' in text
    assert 'state "on<br/>→ off: Broke" as ON' in text
    assert "--> OFF" not in text.replace("[*] --> OFF", "")


def test_a_table_may_have_several_diagrams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_diagrams, "NEW_DIAGRAM_AT", {"lamp": ("COOLING",)})
    first, second = diagrams(LAMP)
    assert 'state "on<br/>(busy)" as ON' in first
    assert "COOLING" not in first
    assert "[*]" not in second
    assert "ON --> COOLING: Pressed / stop" in second
    assert "OFF --> " not in second


def test_every_row_stands_in_the_table() -> None:
    assert rows_table(LAMP).splitlines()[2:6] == [
        "| off | Pressed | is_dark | warming up | heat: Heat the wire. |",
        "| off | Pressed | is_cold | warming up | heat: Heat the wire. |",
        "| off | Pressed |  | on | – |",
        "| warming up | Pressed |  | on | heat: Heat the wire. |",
    ]
    assert "| warming up | Broke |  | *the same* | report: Report it. |" in rows_table(LAMP)
    assert len(rows_table(LAMP).splitlines()) == 2 + sum(not one.because for one in LAMP.rows)


def test_what_is_ignored_has_its_reason() -> None:
    assert ignored_table(LAMP).splitlines()[2:] == [
        "| cooling down | Pressed | it must be cold first |",
        "| off | Broke, Cut | an earlier one is meant |",
        "| on | Cut [is_dark] | it has a battery |",
    ]
    nothing: Table[Any] = Table("lamp", OFF, (row(OFF, Pressed, ON, heat),))
    assert ignored_table(nothing) == ""


# -------- the tables of the program


def test_the_page_has_every_table() -> None:
    assert {table.name: table for table in TABLES} == known_tables()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_arrow_of_a_table_is_in_one_of_its_diagrams(table: Table[Any]) -> None:
    text = "\n".join(diagrams(table)).replace("<br/>", " ")
    for phase, one in table.answers():
        if not one.because and one.next is not SAME and one.next is not phase:
            into = one.next.value
            drawn = (
                f"{phase.name} --> {one.next.name}: " in text or f"{phase.status.value} --> {one.next.name}: " in text
            )
            written = re.search(rf'"{phase.value}[^"]*→ {into}: [^"]*{one.event.__name__}', text)
            title = re.search(rf'"{phase.status.value};[^"]*each → {into}: [^"]*{one.event.__name__}', text)
            assert drawn or written or title, f"{phase.value}: {one}"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_what_changes_nothing_has_a_reason(table: Table[Any]) -> None:
    for one in table.rows:
        assert one.because or one.action is not do_nothing or one.next is not SAME, one

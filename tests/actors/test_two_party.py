"""The two-party model: what client and worker can do to each other, in every order, and what must never follow.

The rules are in `two_party/rules.py`, the settings in `two_party/settings.py`. Here each setting is explored; all rows
of the tables are shown to be of use; and tables with one row changed are shown to break a rule.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

import pytest
from attrs import evolve, frozen
from two_party.explore import Model, explore, find_home
from two_party.rules import Rules
from two_party.scenarios import SCENARIOS, Scenario, actors_of, tell
from two_party.settings import LONG, QUICK, SETTINGS, SLOW
from two_party.world import Budget, Setting, World, change

from actors import client_guards
from actors.client import CLIENT
from actors.job_query import JOB_QUERY
from actors.job_session import JOB_SESSION
from actors.phase import Phase
from actors.table import Row, Same, Table, TableError
from actors.worker import WORKER

LIMIT = 100_000
"""Worlds of one setting. More of them mean that something grows without end."""
TABLES = (CLIENT, WORKER, JOB_SESSION, JOB_QUERY)
MUTATED = (CLIENT, WORKER, JOB_SESSION)
Pair = tuple[str, Phase, Row[Any]]
"""A table's name, a phase, and a row that answers in this phase."""


@pytest.fixture(autouse=True)
def _few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client give up soon, so that there are fewer worlds."""
    monkeypatch.setattr(client_guards, "OFFERS_MAX", 2)
    monkeypatch.setattr(client_guards, "RECONNECTS_MAX", 2)
    monkeypatch.setattr(client_guards, "RESUBMITS_MAX", 1)


def _parameters() -> Iterator[Any]:
    for settings, marks in ((QUICK, ()), (SLOW, (pytest.mark.slow,)), (LONG, (pytest.mark.long,))):
        yield from (pytest.param(setting, id=setting.name, marks=marks) for setting in settings)


@pytest.mark.parametrize("setting", list(_parameters()))
def test_whatever_happens_client_and_worker_come_home_and_no_job_is_lost(setting: Setting) -> None:
    Rules(Model(setting)).explore(LIMIT)


@pytest.mark.long
def test_a_client_names_a_job_as_left_only_where_something_may_be_left() -> None:
    endings: dict[tuple[Phase, str], set[tuple[bool, bool]]] = defaultdict(set)
    for setting in SETTINGS:
        rules = Rules(Model(setting))
        explored = rules.explore(LIMIT)
        print(f"{setting.name:50} {len(explored.worlds):7} worlds {sum(map(len, explored.moves)):8} moves")
        for ending, seen in rules.endings.items():
            endings[ending] |= seen
    for (phase, row), seen in sorted(endings.items(), key=str):
        is_named, is_left = any(named for named, _ in seen), any(left for _, left in seen)
        assert is_left or not is_named, f"{phase.value}: {row} names a job as left, and never is anything left"


# -------- every row is of use


@cache
def first_worlds() -> tuple[dict[Setting, set[Pair]], dict[tuple[str, Phase], list[tuple[Setting, World]]]]:
    """Return which rows each setting uses in its first worlds, and some worlds for each phase of each table."""
    used: dict[Setting, set[Pair]] = {}
    worlds: dict[tuple[str, Phase], list[tuple[Setting, World]]] = defaultdict(list)
    for setting in SETTINGS:
        model, seen = Model(setting), set()
        for world in explore(model, setting.first_worlds, cut=True).worlds:
            for table, phase, data, _ in actors_of(model, world):
                if (table.name, phase, data) not in seen:
                    seen.add((table.name, phase, data))
                    worlds[table.name, phase].append((setting, world))
        used[setting] = model.used
    return used, worlds


def play(scenario: Scenario, phase: Phase) -> set[Pair]:
    """Let the event of a scenario come in many worlds; return the rows that answered. Some of the worlds come home."""
    used: set[Pair] = set()
    for setting, world in first_worlds()[1][scenario.table.name, phase][:400]:
        model = Model(setting)
        for table, now, data, link in actors_of(model, world):
            if table is not scenario.table or now is not phase:
                continue
            before = len(used)
            after = tell(model, world, table, link, scenario.make(data, link))
            used |= {pair for pair in model.used if pair[0] == table.name and pair[1] is phase}
            if len(used) > before:
                assert find_home(Model(setting), change(after, budget=Budget())) is not None
    return used


@pytest.mark.slow
def test_every_row_is_reached_by_the_model_or_by_a_scenario_that_says_who_does_that() -> None:
    reached = set().union(*first_worlds()[0].values())
    for scenario in SCENARIOS:
        new = set().union(*(play(scenario, phase) for phase in scenario.phases)) - reached
        assert new, f"the model reaches all that this scenario reaches: {scenario.who}"
        reached |= new
    rows = [(table.name, phase, row) for table in TABLES for phase, row in table.answers()]
    never = [f"{name}: {phase.value} × {row}" for name, phase, row in rows if (name, phase, row) not in reached]
    print(f"{len(rows)} pairs of a phase and a row")
    assert never == []


# -------- every row is missed


@frozen
class Mutant:
    """A table with one row changed."""

    table: Table[Any]
    number: int
    """Of the row in the table."""
    next: Phase | None
    """Where the row leads; None: the row is removed."""

    def __str__(self) -> str:
        row = self.table.rows[self.number]
        what = "removed" if self.next is None else f"leads to {self.next.value!r}"
        return f"{self.table.name}: {row.phases[0].value} × {row}: {what}"

    def make(self) -> Table[Any]:
        """Return the changed table."""
        rows = list(self.table.rows)
        if self.next is None:
            del rows[self.number]
        else:
            rows[self.number] = evolve(rows[self.number], next=self.next)
        return _with_rows(self.table, rows)


def _with_rows(table: Table[Any], rows: list[Row[Any]]) -> Table[Any]:
    return Table(
        table.name, table.start, tuple((row,) for row in rows), table.own, table.from_outside, table.announce,
        table.invariant,
    )  # fmt: skip


def mutants() -> Iterator[Mutant]:
    """Return all mutants: each row removed, led to the first phase, and led to the phase after its own."""
    for table in MUTATED:
        for number, row in enumerate(table.rows):
            yield Mutant(table, number, None)
            follows = row.phases[0] if isinstance(row.next, Same) else row.next
            after = table.phases[(table.phases.index(follows) + 1) % len(table.phases)]
            for phase in dict.fromkeys((table.start, after)):
                if phase is not row.next and row.phases != (phase,):
                    yield Mutant(table, number, phase)


@cache
def settings_of() -> dict[tuple[str, int], list[Setting]]:
    """Return for each row, by its table's name and its number, the settings that use it, the smallest first."""
    numbers = {(table.name, row): number for table in MUTATED for number, row in enumerate(table.rows)}
    order = {setting.name: place for place, setting in enumerate(SETTINGS)}
    found: dict[tuple[str, int], list[Setting]] = defaultdict(list)
    for setting, used in sorted(first_worlds()[0].items(), key=lambda one: order[one[0].name]):
        for name, number in {(name, numbers[name, row]) for name, _, row in used if (name, row) in numbers}:
            found[name, number].append(setting)
    return found


def notice(mutant: Mutant, settings: list[Setting]) -> str | None:
    """Explore settings with a changed table until a rule is broken; return the setting's name and the reason."""
    try:
        table = mutant.make()
    except TableError as error:
        return f"the table itself: {error}"
    for setting in settings:
        tables = {"worker": WORKER, "job session": JOB_SESSION, "client": setting.table} | {table.name: table}
        setting = evolve(setting, table=tables["client"])
        try:
            Rules(Model(setting, tables["worker"], tables["job session"])).explore(LIMIT)
        except AssertionError as error:
            return str(error).splitlines()[0]
    return None


LATER = "it ends in the same way, only later: after a time-out, or one more try"
SAME_END = "another way that is right as well, but not as good"
BEYOND = "what it does is beyond the model: an early stop, the size of the store, who is let in afterwards"
UNNOTICED = {
    "client: running × StopWanted [nothing_to_stop] / tell_nothing_to_stop: removed": BEYOND,
    "client: joining × WorkersChanged [names_worker] / connect_to_named: removed": SAME_END,
    "client: joining × WorkersChanged [only_one_fits] / connect_to_only: removed": SAME_END,
    "client: queued × WorkersChanged [all_are_leaving] / fail_no_worker: removed": SAME_END,
    "client: connecting × LinkLost [server_was_away] / wait_to_retry: removed": SAME_END,
    "client: attaching × JobState [job_is_unknown] / fail_job_gone: removed": LATER,
    "client: attaching × JobState [job_is_elsewhere] / fail_job_elsewhere: removed": LATER,
    "client: attaching × JobState [nothing_to_show] / finish_caught_up: removed": LATER,
    "client: returning to upload × LinkLost [worker_stopped] / fail_job: removed": LATER,
    "client: reconnecting × JobState [job_is_unknown] / fail_job_gone: removed": LATER,
    "client: reconnecting × LinkLost [job_is_unknown] / fail_job_gone: removed": LATER,
    "worker: running × SupplyPackage / follow_job: leads to 'running last'": BEYOND,
    "worker: running × JoinFailed / retry_join: leads to 'running last'": SAME_END,
    "job session: asking × JobLookedUp [may_stop] / stop_job: removed": BEYOND,
    "job session: delivered × JobLookedUp [has_taken_result] / release_delivered: removed": LATER,
    "job session: asking × JobLookedUp [has_taken_result] / release_result: removed": BEYOND,
    "job session: delivering × ResultSendEnded [was_not_sent] / close_link: removed": LATER,
    "job session: delivering × ResultSendEnded / await_receipt: leads to 'told'": LATER,
    "job session: receiving × EndSessions / ignored: leads to 'following'": SAME_END,
}
"""Mutants that break no rule of the model, and why; the tests of the single actors are about these rows."""


@pytest.mark.long
def test_a_changed_row_is_noticed_a_sample() -> None:
    sample = [one for one in islice(mutants(), 0, None, 61) if settings_of().get((one.table.name, one.number))]
    for mutant in sample:
        settings = settings_of()[mutant.table.name, mutant.number][:4]
        if all(one in QUICK for one in settings) and str(mutant) not in UNNOTICED:
            assert notice(mutant, settings) is not None, str(mutant)


@pytest.mark.long
def test_every_changed_row_is_noticed() -> None:
    survivors, caught, left_out = [], 0, 0
    for mutant in mutants():
        settings = settings_of().get((mutant.table.name, mutant.number), [])
        reason = notice(mutant, settings[:4]) if settings else ""
        print(f"{mutant}: {reason}")
        if not settings:
            left_out += 1
        elif reason is None:
            survivors.append(str(mutant))
        else:
            caught += 1
    print(f"{caught} mutants noticed, {len(survivors)} not, {left_out} of rows that only scenarios reach")
    assert sorted(survivors) == sorted(UNNOTICED)

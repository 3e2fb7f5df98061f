"""Tests of replaying a trace: what is printed, what is noticed, and which traces can be read."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve, field, frozen

from actors.events import CloseLink, LinkLost, PeerMessage, TellPeer, UnexpectedMessage
from actors.mailbox import Mailbox
from actors.phase import AVAILABLE, BUSY, Phase
from actors.table import SAME, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import CancelJob, JobAccepted
from protocol.trust import AuthResponse, Secret
from rtc.common.stories import Stories, make_actor
from rtc.common.turn_json import Reader, known_classes, known_tables
from rtc.testing import replay
from rtc.testing.replay import BadTrace, Player

LINK = LinkId(1)


class LockPhase(Phase):
    CLOSED = "closed", AVAILABLE
    OPEN = "open", BUSY


CLOSED, OPEN = LockPhase


@frozen
class LockData:
    secret: Secret
    opened: int = 0


@frozen
class Tried:
    proof: bytes = field(repr=False)
    by: str = "ada"


@frozen
class Slammed:
    pass


@frozen
class Announced:
    status: str


def proof_is_right(data: LockData, event: Tried) -> bool:
    return event.proof == data.secret.text.encode()


def is_thief(_data: LockData, event: Tried) -> bool:
    return event.by == "thief"


def let_in(data: LockData, event: Tried) -> Step[LockData]:
    return Step(evolve(data, opened=data.opened + 1), (TellPeer(LINK, AuthResponse(event.proof * 32)),))


def stay(data: LockData, _event: object) -> Step[LockData]:
    return Step(data)


def close(data: LockData, _event: object) -> Step[LockData]:
    return Step(data, (CloseLink(LINK),))


def announce(phase: Phase) -> Announced:
    return Announced(phase.status.value)


def opens_at_most_twice(_phase: Phase, data: LockData) -> None:
    if data.opened > 2:
        raise AssertionError("the hinge is worn out")


def lock(*more: Any, **options: Any) -> Table[LockData]:
    options = {"announce": announce, "own": lambda _data: {LINK}, "invariant": opens_at_most_twice} | options
    return Table("lock", CLOSED, (
        *more,
        row(CLOSED,  Tried,             CLOSED, close,  when=is_thief),
        row(CLOSED,  Tried,             OPEN,   let_in, when=proof_is_right),
        row(CLOSED,  Tried,             SAME,   stay),
        row(OPEN,    Slammed,           CLOSED, stay),
        row(OPEN,    LinkLost,          CLOSED, close),
        row(OPEN,    JobAccepted,       SAME,   stay),
        row(OPEN,    UnexpectedMessage, CLOSED, close),
        ignore(OPEN, Tried,             because="it is open"),
    ), **options)  # fmt: skip


RIGHT = Tried(b"s")
WALK = (
    Tried(b"wrong"),
    RIGHT,
    RIGHT,
    LinkLost(LinkId(7)),
    PeerMessage(LINK, JobAccepted(JobId("job-1"), "key")),
    PeerMessage(LINK, CancelJob(JobId("job-1"), "key")),
    RIGHT,
    LinkLost(LINK, Fault(FaultCode.LINK_LOST, "The link broke.")),
)


def record(path: Path, *events: Any, table: Table[LockData] | None = None) -> None:
    """Write the trace of an actor that is told these events."""
    with Stories(path).in_use():
        trio.run(tell, table or lock(), events)


async def tell(table: Table[LockData], events: Sequence[Any]) -> None:
    actor = make_actor(table, LockData(Secret("s")), Mailbox())
    for event in events:
        actor.handle(event)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """The trace of a walk through the whole table."""
    path = tmp_path / "walk.jsonl"
    record(path, *WALK)
    return path


def player(said: list[str], table: Table[LockData] | None = None) -> Player:
    reader = Reader(known_classes([LockData, Tried, Slammed, Announced]))
    return Player({"lock": table or lock()}, reader, said.append)


def play(path: Path, table: Table[LockData] | None = None) -> tuple[int, list[str]]:
    said: list[str] = []
    code = replay.replay(path.read_text(), player(said, table))
    return code, said


def changed(path: Path, number: int, **values: Any) -> None:
    """Change a line of a trace."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[number] |= values
    path.write_text("".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines))


def test_a_walk_is_printed_and_is_the_same_when_it_is_told_again(trace: Path) -> None:
    code, said = play(trace)
    assert code == 0
    assert [line[14:].partition("  ")[2] for line in said[1:]] == [
        "closed: Tried / stay",
        "closed -> open: Tried [proof_is_right] / let_in",
        "open: Tried / ignored",
        "open: LinkLost / stale",
        "open: JobAccepted / stay",
        "open -> closed: UnexpectedMessage / close",
        "closed -> open: Tried [proof_is_right] / let_in",
        "open -> closed: LinkLost / close",
    ]
    assert said[0].endswith("lock 1  begins (lock, sleap-rtc 0.1.0)")
    assert all(len(line) <= replay.WIDTH for text in said for line in text.splitlines())


def test_where_a_guard_needs_a_secret_the_recorded_row_is_taken(trace: Path) -> None:
    assert "cw==" not in trace.read_text()
    assert play(trace)[0] == 0


def test_a_guard_that_needs_no_secret_is_asked(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    record(trace, Tried(b"", "ada"))
    changed(trace, 1, row="Tried [is_thief] / close")
    code, said = play(trace)
    assert code == 1
    assert '*** row: here "Tried / stay", in the trace "Tried [is_thief] / close"' in " ".join("".join(said).split())


@pytest.mark.parametrize(
    ("number", "values", "text"),
    [
        (2, {"next": "closed"}, '*** next: here "open", in the trace "closed"'),
        (2, {"effects": []}, '*** effects: here [{"type": "Announced", "status": "busy"}'),
        (3, {"phase": "closed"}, '*** phase: here "open", in the trace "closed"'),
        (4, {"event": {"type": "LinkLost", "link": 1, "fault": None}}, "*** the event is not stale here"),
        (8, {"event": {"type": "LinkLost", "link": 9, "fault": None}}, "*** the event is stale here"),
        (8, {"row": "cannot happen", "next": "open", "effects": []}, '*** row: here "LinkLost / close"'),
    ],
)
def test_a_difference_is_noticed(trace: Path, number: int, values: dict[str, Any], text: str) -> None:
    changed(trace, number, **values)
    code, said = play(trace)
    assert code == 1
    assert text in " ".join("\n".join(said).split())
    assert all(len(line) <= replay.WIDTH for text in said for line in text.splitlines())


def test_after_a_difference_an_actors_turns_are_only_printed(trace: Path) -> None:
    changed(trace, 2, next="closed")
    changed(trace, 3, phase="closed")
    changed(trace, 4, phase="closed")
    said = play(trace)[1]
    assert sum("***" in line for line in said) == 1
    assert said[-1].endswith("open -> closed: LinkLost / close")


def test_a_table_of_another_version_is_noticed(trace: Path) -> None:
    code, said = play(trace, evolve(lock(), rows=lock().rows[:3]))
    assert code == 1
    assert any("cannot happen" in line and "***" in line for line in said)


def test_the_invariant_is_checked_after_each_step(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    record(trace, RIGHT, Slammed(), RIGHT, Slammed(), RIGHT, table=lock(invariant=None))
    code, said = play(trace)
    assert code == 1
    assert said[-1].endswith("*** the invariant is broken: the hinge is worn out")


def test_an_action_that_fails_fails_again(tmp_path: Path) -> None:
    def fail(_data: LockData, _event: Slammed) -> Step[LockData]:
        raise ZeroDivisionError("of course")

    trace, table = tmp_path / "trace", lock(row(CLOSED, Slammed, OPEN, fail))
    with pytest.raises(ZeroDivisionError):
        record(trace, Slammed(), table=table)
    code, said = play(trace, table)
    assert code == 1
    assert said[-1].endswith("*** ZeroDivisionError: of course")


@pytest.mark.parametrize("end", [3, 20, 60])
def test_a_last_line_that_is_cut_is_left_out_and_told(trace: Path, end: int) -> None:
    text = trace.read_text()
    trace.write_text(text + text.splitlines()[-1][:end])
    code, said = play(trace)
    assert code == 0
    assert said[0] == "The last line is cut, and is left out."


def test_a_damaged_line_before_the_last_is_an_error(trace: Path) -> None:
    lines = trace.read_text().splitlines()
    lines[3] = lines[3][:30]
    trace.write_text("\n".join(lines) + "\n")
    with pytest.raises(BadTrace, match="line 4 is damaged"):
        play(trace)


@pytest.mark.parametrize(
    ("number", "values", "text"),
    [
        (0, {"table": "no such table"}, "no table 'no such table'"),
        (2, {"event": {"type": "NoSuchEvent"}}, "no class 'NoSuchEvent'"),
        (2, {"event": {"type": "LinkLost"}}, "not as a trace has it"),
        (2, {"actor": "another 1"}, "not as a trace has it"),
    ],
)
def test_a_trace_of_another_version_is_an_error(trace: Path, number: int, values: dict[str, Any], text: str) -> None:
    changed(trace, number, **values)
    with pytest.raises(BadTrace, match=text):
        play(trace)


def test_a_file_without_a_story_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    assert replay.main(str(empty)) == 2
    assert replay.main(str(tmp_path / "none")) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{empty} cannot be replayed: no story is in it.",
        f"{tmp_path / 'none'} cannot be replayed: [Errno 2] No such file or directory: '{tmp_path / 'none'}'.",
    ]


def test_the_stories_in_a_log_can_be_replayed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stories = Stories()
    with stories.in_use():
        trio.run(tell, lock(), [*WALK, LinkLost(LINK), *[Tried(b"wrong")] * 500])
        stories.log()
    log = tmp_path / "client.log"
    records = "".join(f"2026-01-01T00:00:00.000Z 7 INFO rtc.story: {one.getMessage()}\n" for one in caplog.records)
    log.write_text(f"2026-01-01T00:00:00.000Z 7 INFO rtc.run: began\n{records}")
    code, said = play(log)
    assert code == 0
    assert "closed: LinkLost / cannot happen" in said[9]
    assert sum(line.endswith("begins (lock, sleap-rtc 0.1.0)") for line in said) == 2
    assert sum(line.endswith("so the others are only printed") for line in said) == 1


def test_every_table_and_class_can_be_found_by_its_name() -> None:
    assert {"LinkLost", "JobAccepted", "Secret", "AuthData"} <= set(known_classes())
    assert all(name == table.name for name, table in known_tables().items())

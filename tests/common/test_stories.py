"""Tests of stories: what of an actor comes into the log and into a trace, and what never does."""

import json
import logging
import typing
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
import trio
from attrs import field, frozen

from actors.actor import Actor
from actors.events import CloseLink, LinkLost, LinkOpened, PeerMessage, TellPeer
from actors.mailbox import Mailbox
from actors.phase import AVAILABLE, BUSY, Phase
from actors.table import SAME, Step, Table, UnexpectedEvent, row
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import AttachJob, CancelJob, JobAccepted
from protocol.trust import AuthResponse, Binding, Secret
from rtc.common.errors import ExitCode, RtcError
from rtc.common.stories import BUG_FAULT, PASSING_MAX, STORY_CHARS, Stories, make_actor
from rtc.common.turn_json import HIDDEN, Reader, hides, known_classes, to_json, to_line
from rtc.runtime.root import run_root
from rtc.testing.homes import STATE

LINK = LinkId(1)
KEY = "the key of the job"
LOST = Fault(FaultCode.LINK_LOST, "The link broke.")


class MeterPhase(Phase):
    IDLE = "idle", AVAILABLE
    COUNTING = "counting", BUSY


IDLE, COUNTING = MeterPhase


@frozen
class MeterData:
    secret: Secret | None = None
    count: int = 0
    limit: float = float("inf")
    seen: frozenset[str] = frozenset()


def is_first(data: MeterData, _event: JobAccepted) -> bool:
    return data.count == 0


def count(data: MeterData, event: JobAccepted) -> Step[MeterData]:
    return Step(attrs.evolve(data, count=data.count + 1), (TellPeer(LINK, CancelJob(event.job, event.key)),))


METER: Table[MeterData] = Table("meter", IDLE, (
    row(IDLE,     JobAccepted, COUNTING, count, when=is_first),
    row((IDLE, COUNTING), JobAccepted, SAME, count),
), own=lambda _data: {LINK})  # fmt: skip
ACCEPTED = PeerMessage(LINK, JobAccepted(JobId("job-1"), KEY))


async def meter(**options: Any) -> Actor[MeterData]:
    return make_actor(METER, MeterData(Secret("the secret of the room")), Mailbox(4096), **options)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# -------- no secrets

SECRET_WORDS = {"token", "key", "secret", "nonce", "proof", "sdp", "credential", "credentials", "resume", "password"}
TEXTS = (str, bytes)
CLASSES = sorted(known_classes().values(), key=lambda one: one.__name__)


def text_in(hint: Any) -> bool:
    """Whether a field of this type holds text or bytes, perhaps in a tuple."""
    hint = getattr(hint, "__supertype__", hint)
    return hint in TEXTS or any(text_in(one) for one in get_args(hint))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_field_that_is_named_like_a_secret_is_never_shown(kind: type) -> None:
    hints = typing.get_type_hints(kind)
    for one in attrs.fields(kind):
        if SECRET_WORDS & set(one.name.lower().split("_")) and text_in(hints[one.name]):
            assert hides(one), f"{kind.__name__}.{one.name} needs field(repr=False)"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_what_is_never_shown_can_be_replaced_by_a_placeholder(kind: type) -> None:
    hints = typing.get_type_hints(kind)
    for one in attrs.fields(kind):
        if hides(one) and one.init:
            kinds = [getattr(hint, "__supertype__", hint) for hint in get_args(hints[one.name]) or [hints[one.name]]]
            assert set(kinds) <= {*TEXTS, type(None)} or all(attrs.has(hint) for hint in kinds), one.name


def test_secrets_are_replaced_and_what_is_empty_stays() -> None:
    response = AuthResponse(b"n" * 32, b"p" * 32)
    text = to_line(to_json(response))
    assert text == '{"type":"AuthResponse","nonce":"aGlkZGVu","proof":"aGlkZGVu"}'
    again = READER.read(json.loads(text))
    assert (again.nonce, again.proof) == (HIDDEN.encode(), HIDDEN.encode())
    without = AuthResponse(b"n" * 32)
    assert READER.read(to_json(without)).proof is None
    assert READER.read(to_json(AttachJob(JobId("job-1"), ""))) == AttachJob(JobId("job-1"), "")


@frozen
class Several:
    """An event with what JSON has no words for."""

    number: float
    names: frozenset[str]
    link: LinkId | None
    message: Any
    code: FaultCode
    raw: bytes
    hidden: str = field(default="", repr=False)


def test_every_kind_of_value_is_read_again_as_it_was() -> None:
    message = PeerMessage(LINK, CancelJob(JobId("job-1"), ""))
    event = Several(float("inf"), frozenset({"b", "a"}), None, message, FaultCode.DAMAGED, b"\0\1")
    assert READER.read(json.loads(to_line(to_json(event)))) == event
    event = attrs.evolve(event, link=LinkId(3), message=(1, "text"), number=0.5)
    assert READER.read(json.loads(to_line(to_json(event)))) == attrs.evolve(event, message=[1, "text"])
    binding = Binding(RoomId("r"), PeerId("w"), PeerId("c"), b"1", b"2")
    opened = LinkOpened(LINK, PeerId("c"), binding, b"")
    assert READER.read(to_json(opened)) == opened


READER = Reader(known_classes([Several]))

# -------- the trace


async def test_a_trace_has_each_turn_of_each_actor_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    with Stories(path).in_use():
        actor, _other = await meter(), await meter()
        actor.handle(ACCEPTED)
        actor.handle(ACCEPTED)
        actor.handle(LinkLost(LinkId(7), LOST))
        with pytest.raises(UnexpectedEvent):
            actor.handle(LinkLost(LINK))
    first, other, *turns = lines_of(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert KEY not in path.read_text()
    assert "of the room" not in path.read_text()
    data = {
        "type": "MeterData",
        "secret": {"type": "Secret", "text": "hidden"},
        "count": 0,
        "limit": "inf",
        "seen": [],
    }
    assert (first["actor"], other["actor"], first["table"], first["data"]) == ("meter 1", "meter 2", "meter", data)
    assert [turn["row"] for turn in turns] == [
        "JobAccepted [is_first] / count",
        "JobAccepted / count",
        "stale",
        "cannot happen",
    ]
    cancel = {"type": "CancelJob", "job": "job-1", "key": HIDDEN}
    assert turns[0] == {
        "actor": "meter 1",
        "time": turns[0]["time"],
        "phase": "idle",
        "event": {"type": "JobAccepted", "job": "job-1", "key": HIDDEN},
        "row": "JobAccepted [is_first] / count",
        "next": "counting",
        "effects": [{"type": "TellPeer", "link": 1, "message": cancel}],
    }
    assert 0 <= turns[0]["time"] < 60


async def test_an_older_trace_is_replaced_and_made_private(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("an older one")
    path.chmod(0o644)
    with Stories(path).in_use():
        await meter()
    assert [line["actor"] for line in lines_of(path)] == ["meter 1"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_trace_that_cannot_be_written_is_told_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(RtcError, match="cannot be written"), Stories(tmp_path / "none" / "trace").in_use():
        pytest.fail("nothing begins")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
async def test_a_full_disk_ends_the_trace_and_not_the_program(caplog: pytest.LogCaptureFixture) -> None:
    with Stories(Path("/dev/full")).in_use():
        actor = await meter()
        actor.handle(ACCEPTED)
    assert actor.data.count == 1
    assert "the trace ends here" in caplog.text


# -------- the log


async def test_an_event_that_cannot_happen_is_dropped_and_the_story_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with Stories().in_use():
        actor = await meter()
        actor.handle(ACCEPTED)
        assert caplog.text == "", "nothing is made into text while all is well"
        for _ in range(3):
            actor.handle(LinkLost(LINK))
    error, first, *turns = [record.getMessage() for record in caplog.records]
    assert error == ("a bug in sleap-rtc: meter: LinkLost cannot happen in the phase 'counting'; its story follows")
    assert json.loads(first)["table"] == "meter"
    assert [json.loads(turn)["row"] for turn in turns] == ["JobAccepted [is_first] / count", "cannot happen"]
    assert KEY not in caplog.text
    actor.handle(ACCEPTED)
    assert (actor.phase, actor.data.count) == (COUNTING, 2)


async def test_the_link_that_is_concerned_ends_each_time(caplog: pytest.LogCaptureFixture) -> None:
    with Stories().in_use():
        actor = await meter(ends_with=CloseLink(LINK, BUG_FAULT))
        other = await meter(ends_with=CloseLink(LinkId(2), BUG_FAULT))
    for one in (actor, other):
        one.handle(LinkLost(LINK))
        assert one.outbox.take_nowait().fault == BUG_FAULT
    assert caplog.text.count("cannot happen in the phase") == 1


async def test_strict_stories_let_it_end_the_program() -> None:
    with Stories(strict=True).in_use():
        actor = await meter()
    with pytest.raises(UnexpectedEvent):
        actor.handle(LinkLost(LINK))


async def test_a_long_story_keeps_the_newest_turns_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stories = Stories()
    with stories.in_use():
        actor = await meter()
        for number in range(510):
            actor.handle(PeerMessage(LINK, JobAccepted(JobId(f"job-{number}"), KEY)))
        stories.log()
    first, *turns = [json.loads(record.getMessage()) for record in caplog.records]
    assert first["cut"]
    assert STORY_CHARS * 0.9 < sum(len(record.getMessage()) for record in caplog.records[1:]) <= STORY_CHARS
    assert turns[-1]["event"]["job"] == "job-509"


async def test_stories_of_many_links_do_not_push_out_those_of_the_program(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stories = Stories()
    with stories.in_use():
        await meter()
        for _ in range(2 * PASSING_MAX):
            await meter(ends_with=CloseLink(LINK))
        stories.log()
    assert len(caplog.records) == 1 + PASSING_MAX
    assert json.loads(caplog.records[0].getMessage())["actor"] == "meter 1"


def test_an_exception_that_ends_a_program_brings_the_stories_of_its_actors_into_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    async def main() -> int:
        actor = await meter()
        actor.handle(ACCEPTED)
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    assert run_root("client", main) == ExitCode.BUG
    text = (tmp_path / STATE / "logs" / "client.log").read_text()
    assert text.index("ZeroDivisionError") < text.index('"JobAccepted [is_first] / count"')
    assert KEY not in text
    assert "This is a bug" in capsys.readouterr().err


def test_a_program_with_a_trace_writes_it_and_is_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    async def main() -> int:
        actor = await meter()
        await trio.lowlevel.checkpoint()
        actor.handle(LinkLost(LINK))
        return ExitCode.DONE

    assert run_root("client", main) == ExitCode.DONE
    assert run_root("client", main, trace=tmp_path / "trace") == ExitCode.BUG
    assert [line.get("row") for line in lines_of(tmp_path / "trace")] == [None, "cannot happen"]

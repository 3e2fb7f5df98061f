"""What a worker's person sees of its short codes, and what whoever types one gets."""

from typing import Any

import pytest
import trio

from actors.events import InvitationEnded, InvitationUsed
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.invitations import InvitationKind
from protocol.session_string import SessionString
from protocol.status import Status, WorkerFacts
from rtc.common.errors import RtcError
from rtc.config.load import DEFAULT_SERVERS
from rtc.invitations.redeem import redeem
from rtc.invitations.short_code import read_code
from rtc.testing.lab import Lab
from rtc.testing.limits import HANG_TIME
from rtc.worker.banner import fleet_banner, worker_banner
from rtc.worker.code_report import BANNER_TIME, WorkerCodeReport
from rtc.worker.fleet import _show_ready
from rtc.worker.room_membership import WorkerReady

CODE = read_code("7-tulip-otter-radio")
FACTS = WorkerFacts(Status.AVAILABLE, "lab", "host", "CPU", 0, "0.3.5", "none", "0.1")
ROOM, SERVER = RoomId("room-1"), "ws://lab:8080"
SECRET = "a secret of this room"


def ended(code: FaultCode) -> InvitationEnded:
    return InvitationEnded(InvitationKind.CODE, Fault(code, "Nobody has used it in time."))


# -------- the banner


@pytest.mark.parametrize("has_secret", [False, True])
def test_the_banner_ends_with_the_code_and_how_it_is_used_and_says_how_to_get_a_new_one(has_secret: bool) -> None:
    lines = worker_banner(FACTS, ROOM, "token", "eyJ", SERVER, has_secret=has_secret, code=CODE).splitlines()
    assert lines[-5:] == [
        "  sleap-rtc join 7-tulip-otter-radio --server ws://lab:8080",
        "  sleap-rtc train package.zip",
        "",
        "Short code, for ten minutes and one use: 7-tulip-otter-radio",
        "Press Ctrl-C to stop.",
    ]
    secret = " --room-secret-file FILE" if has_secret else ""
    assert f"  sleap-rtc room invite --room-id room-1 --token token --server ws://lab:8080{secret}" in lines


def test_with_the_default_server_the_command_is_the_code_alone() -> None:
    server = DEFAULT_SERVERS["production"][0]
    lines = worker_banner(FACTS, ROOM, "token", "eyJ", server, has_secret=False, code=CODE).splitlines()
    assert "  sleap-rtc join 7-tulip-otter-radio" in lines


def test_without_a_code_the_banner_says_nothing_of_codes() -> None:
    assert "sleap-rtc join" not in worker_banner(FACTS, ROOM, "token", "eyJ", SERVER, has_secret=False)


def test_a_fleet_has_one_code() -> None:
    text = fleet_banner([(FACTS, "eyJ"), (FACTS, "eyK")], ROOM, "token", SERVER, has_secret=False, code=CODE)
    assert [line for line in text.splitlines() if "7-tulip-otter-radio" in line] == [
        "  sleap-rtc join 7-tulip-otter-radio --server ws://lab:8080",
        "Short code, for ten minutes and one use: 7-tulip-otter-radio",
    ]


@pytest.mark.parametrize("has_secret", [False, True])
def test_only_lines_to_be_copied_are_wider_than_a_terminal_of_80_columns(has_secret: bool) -> None:
    one = worker_banner(FACTS, ROOM, "t" * 43, "eyJ" * 60, SERVER, has_secret=has_secret, code=CODE)
    several = fleet_banner([(FACTS, "eyJ" * 60)] * 2, ROOM, "t" * 43, SERVER, has_secret=has_secret, code=CODE)
    wide = [line for line in (*one.splitlines(), *several.splitlines()) if len(line) > 80]
    assert wide
    assert all(line.startswith(("  sleap-rtc ", "eyJ")) for line in wide)


async def test_of_a_fleet_only_the_first_worker_makes_a_code() -> None:
    made: list[int] = []

    def ready(number: int) -> WorkerReady:
        async def make_code() -> Any:
            made.append(number)
            await trio.lowlevel.checkpoint()
            return CODE

        session = SessionString(ROOM, "token", PeerId(f"worker-{number}"), SERVER)
        return WorkerReady(ROOM, "token", session, FACTS, make_code=make_code)

    class Lines:
        def say(self, text: str) -> None:
            assert str(CODE) in text

    class Options:
        def about_other_secrets(self, _room: RoomId) -> None:
            return None

    await _show_ready(Lines(), Options(), (ready(1), ready(2)))  # type: ignore[arg-type]
    assert made == [1]


# -------- the report


async def test_the_banner_waits_a_moment_for_the_code_and_a_late_one_is_a_line(autojump_clock: Any) -> None:
    said: list[str] = []
    report = WorkerCodeReport(said.append, "[lab-0] ")
    assert await report.first_code(lambda: report.code_opened(CODE, 600)) == CODE
    assert said == []
    report = WorkerCodeReport(said.append)
    start = trio.current_time()
    assert await report.first_code(lambda: None) is None
    assert trio.current_time() - start == BANNER_TIME
    report.code_opened(CODE, 600)
    assert said == ["Short code, for ten minutes and one use: 7-tulip-otter-radio"]


async def test_a_server_without_codes_holds_nothing_up_and_is_not_talked_about(autojump_clock: Any) -> None:
    said: list[str] = []
    report = WorkerCodeReport(said.append)
    start = trio.current_time()
    assert await report.first_code(lambda: report.code_ended(ended(FaultCode.ROOM_DENIED))) is None
    assert (trio.current_time(), said) == (start, [])


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (InvitationUsed(InvitationKind.CODE, "laptop"), "The short code was used: 'laptop' has this room now."),
        (
            InvitationUsed(InvitationKind.CODE, "laptop", Fault(FaultCode.AUTH_INVALID, "No.")),
            "Somebody typed a wrong code, at a computer called 'laptop', so the code is void.",
        ),
        (
            InvitationUsed(InvitationKind.CODE, "laptop", Fault(FaultCode.CANCELLED, "Run this: …")),
            "The short code was tried, at a computer called 'laptop', and is void: the other computer has gone, or this"
            " program ends.",
        ),
        (ended(FaultCode.STALLED), "The short code is void: Nobody has used it in time."),
    ],
)
def test_what_becomes_of_a_code_is_one_line_that_says_how_to_get_a_new_one(event: Any, words: str) -> None:
    said: list[str] = []
    report = WorkerCodeReport(said.append, "[lab-0] ", lambda: "sleap-rtc room invite --room-id R")
    report.code_opened(CODE, 600)
    said.clear()
    report.code_used(event) if isinstance(event, InvitationUsed) else report.code_ended(event)
    assert said == [f"[lab-0] {words} A new one: sleap-rtc room invite --room-id R"]
    assert not any(word in said[0] for word in CODE.words)


def test_at_the_end_of_the_worker_nothing_is_said_of_its_code() -> None:
    said: list[str] = []
    report = WorkerCodeReport(said.append)
    report.code_opened(CODE, 600)
    said.clear()
    report.code_ended(ended(FaultCode.CANCELLED))
    assert said == []


# -------- a worker and a joiner, over a real server


@pytest.mark.slow
@pytest.mark.parametrize("secret", [None, SECRET])
async def test_the_code_of_a_worker_brings_its_room_and_the_secret_if_it_has_one(lab: Lab, secret: str | None) -> None:
    with trio.fail_after(HANG_TIME):
        worker = await lab.start_worker(secret=secret)
        code = await worker.ready.make_code()
        assert code is not None
        room = await redeem(code, lab.config, name="laptop")
        assert (room.room, room.token, room.secret) == (worker.ready.room, worker.ready.token, secret)
        await worker.log.until("'laptop' has this room now")
        await worker.log.until(f"A new one: sleap-rtc room invite --room-id {room.room} --token {room.token}")
        with pytest.raises(RtcError):
            await redeem(code, lab.config, name="laptop")

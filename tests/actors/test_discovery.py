"""Discovery, in its own words."""

import pytest
from attrs import evolve
from trio.testing import MockClock

from actors.discovery import KNOCK_TIME, Seat
from actors.events import (
    Answered,
    AnswerReady,
    Drain,
    Enter,
    Entered,
    EnterFailed,
    LineDown,
    LineUp,
    MemoryIs,
    Offered,
    OfferReady,
    Refused,
    RoomPass,
    RosterIs,
    Say,
    StatusIs,
    TurnAway,
)
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId, RoomId
from protocol.signaling import (
    Announce,
    Answer,
    CreateRoom,
    Join,
    Joined,
    Leave,
    Offer,
    Refuse,
    RoomCreated,
    WorkerGone,
    WorkerShown,
)
from protocol.status import Role, Status, WorkerFacts
from rtc.testing.embedding import Embedded

Discovery = Embedded[Seat]

pytestmark = pytest.mark.usefixtures("autojump_clock")

ROOM = RoomId("room-1")
FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab", "GPU", 24000, "0.3.5", "12.4", "0.1")
CLIENT_PASS = RoomPass(Role.CLIENT, ROOM, "token")
WORKER_PASS = RoomPass(Role.WORKER, ROOM, "token", FACTS)
ME, ADA = PeerId("peer-me"), PeerId("client-ada")
JOINED = Joined(ROOM, ME, "resume")
BIG, SMALL = WorkerShown(PeerId("worker-a"), FACTS), WorkerShown(PeerId("worker-b"), evolve(FACTS, memory_mb=8000))
FAULT = Fault(FaultCode.ROOM_DENIED, "No.")


async def inside(discovery: Discovery, room_pass: RoomPass = CLIENT_PASS) -> None:
    await discovery.after(Enter(room_pass, 30), LineUp(), JOINED)
    assert discovery.state is Status.BUSY


async def test_it_knocks_when_the_line_is_up(discovery: Discovery) -> None:
    assert await discovery.after(Enter(CLIENT_PASS, 30)) == []
    assert await discovery.after(LineUp()) == [Say(Join(ROOM, "token", Role.CLIENT))]


async def test_it_knocks_at_once_when_the_line_was_up_already(discovery: Discovery) -> None:
    await discovery.after(LineUp())
    assert await discovery.after(Enter(WORKER_PASS, 30)) == [Say(Join(ROOM, "token", Role.WORKER, FACTS))]


async def test_without_a_room_it_has_one_made_first(discovery: Discovery) -> None:
    await discovery.after(Enter(RoomPass(Role.WORKER, facts=FACTS), 30))
    assert await discovery.after(LineUp()) == [Say(CreateRoom())]
    assert await discovery.after(RoomCreated(ROOM, "new")) == [Say(Join(ROOM, "new", Role.WORKER, FACTS))]
    assert (await discovery.after(JOINED))[0] == Entered(ROOM, "new", ME)


async def test_inside_it_tells_who_is_there_most_memory_first(discovery: Discovery) -> None:
    await discovery.after(Enter(CLIENT_PASS, 30), LineUp())
    joined = evolve(JOINED, workers=(SMALL, BIG))
    assert await discovery.after(joined) == [Entered(ROOM, "token", ME), RosterIs((BIG, SMALL))]


async def test_the_list_follows_who_comes_changes_and_goes(discovery: Discovery) -> None:
    await inside(discovery)
    busy = evolve(BIG, facts=evolve(FACTS, status=Status.BUSY))
    said = await discovery.after(SMALL, BIG, busy, WorkerGone(SMALL.peer))
    assert said == [RosterIs((SMALL,)), RosterIs((BIG, SMALL)), RosterIs((busy, SMALL)), RosterIs((busy,))]


async def test_a_wrong_token_is_told_and_not_tried_again(discovery: Discovery) -> None:
    await discovery.after(Enter(CLIENT_PASS, 30), LineUp())
    assert await discovery.after(FAULT) == [EnterFailed(FAULT)]
    assert await discovery.after(LineDown("gone"), LineUp()) == []


async def test_a_server_that_cannot_be_reached_is_told_soon_with_the_lines_own_words(
    discovery: Discovery, autojump_clock: MockClock
) -> None:
    await discovery.after(Enter(CLIENT_PASS, 30), LineDown("connection refused"))
    autojump_clock.jump(KNOCK_TIME - 0.1)
    assert await discovery.after(LineDown("connection refused")) == []
    autojump_clock.jump(0.2)
    assert await discovery.after() == [EnterFailed(Fault(FaultCode.SERVER_LOST, "connection refused"))]


async def test_a_server_that_starts_a_moment_later_is_found(discovery: Discovery, autojump_clock: MockClock) -> None:
    await discovery.after(Enter(CLIENT_PASS, 30), LineDown("connection refused"))
    autojump_clock.jump(KNOCK_TIME - 1)
    assert await discovery.after(LineUp(), JOINED) != []
    assert discovery.state is Status.BUSY


async def test_a_server_that_says_nothing_is_given_up(discovery: Discovery, autojump_clock: MockClock) -> None:
    await discovery.after(Enter(CLIENT_PASS, 30), LineUp())
    autojump_clock.jump(31)
    [said] = await discovery.after()
    assert isinstance(said, EnterFailed)
    assert said.fault.code is FaultCode.SERVER_LOST


async def test_after_a_lost_line_it_returns_by_the_same_name_with_the_newest_status(discovery: Discovery) -> None:
    await inside(discovery, WORKER_PASS)
    await discovery.after(LineDown("gone"), StatusIs(Status.BUSY))
    [said] = await discovery.after(LineUp())
    assert said == Say(Join(ROOM, "token", Role.WORKER, evolve(FACTS, status=Status.BUSY), peer=ME, resume="resume"))


async def test_a_lost_line_is_waited_for_however_long_it_takes(discovery: Discovery, autojump_clock: MockClock) -> None:
    await inside(discovery)
    await discovery.after(LineDown("gone"))
    autojump_clock.jump(24 * 3600)
    assert await discovery.after() == []
    assert discovery.state is Status.RESERVED


async def test_a_server_that_is_unwell_when_we_return_is_knocked_at_again(discovery: Discovery) -> None:
    await inside(discovery, WORKER_PASS)
    await discovery.after(LineDown("gone"), LineUp())
    assert await discovery.after(Fault(FaultCode.SERVER_LOST, "The database is ill.")) == []
    assert discovery.state is Status.RESERVED
    await discovery.after(LineDown("closed"), LineUp(), JOINED)
    assert discovery.state is Status.BUSY


async def test_a_status_is_told_to_the_room(discovery: Discovery) -> None:
    await inside(discovery, WORKER_PASS)
    said = await discovery.after(StatusIs(Status.RESERVED))
    assert said == [Say(Announce(evolve(FACTS, status=Status.RESERVED)))]


async def test_news_between_knock_and_welcome_are_told_after_it(discovery: Discovery) -> None:
    await discovery.after(Enter(WORKER_PASS, 30), LineUp(), StatusIs(Status.RESERVED))
    assert (await discovery.after(JOINED))[-1] == Say(Announce(evolve(FACTS, status=Status.RESERVED)))


async def test_free_memory_is_told_with_everything_else(discovery: Discovery) -> None:
    await inside(discovery, WORKER_PASS)
    said = await discovery.after(MemoryIs(23000), StatusIs(Status.BUSY))
    first = evolve(FACTS, free_mb=23000)
    assert said == [Say(Announce(first)), Say(Announce(evolve(first, status=Status.BUSY)))]


async def test_offers_answers_and_refusals_pass_through_both_ways(discovery: Discovery) -> None:
    await inside(discovery)
    heard = await discovery.after(Offer(ADA, "sdp", JobId("job-1")), Answer(ADA, "sdp"), Refuse(ADA, FAULT))
    assert heard == [
        Offered(ADA, "sdp", JobId("job-1"), PROTOCOL_VERSION),
        Answered(ADA, "sdp"),
        Refused(ADA, FAULT),
    ]
    said = await discovery.after(OfferReady(ADA, "sdp"), AnswerReady(ADA, "sdp"), TurnAway(ADA, FAULT))
    assert said == [Say(Offer(ADA, "sdp")), Say(Answer(ADA, "sdp")), Say(Refuse(ADA, FAULT))]


async def test_an_offer_while_the_line_is_down_is_refused_at_once(discovery: Discovery) -> None:
    await inside(discovery)
    await discovery.after(LineDown("gone"))
    [said] = await discovery.after(OfferReady(BIG.peer, "sdp"))
    assert isinstance(said, Refused)


async def test_it_says_good_bye(discovery: Discovery) -> None:
    await inside(discovery)
    assert await discovery.after(Drain()) == [Say(Leave())]

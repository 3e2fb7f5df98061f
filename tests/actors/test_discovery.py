"""Tests of Discovery, by events and effects."""

from typing import Any

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.discovery import DISCOVERY, RETRY_TIME
from actors.discovery_data import DiscoveryData, DiscoveryPhase
from actors.events import (
    AnswerReady,
    FreeMemoryChanged,
    JoinDelayed,
    JoinedRoom,
    JoinFailed,
    JoinRoom,
    LinkAnswered,
    LinkRefused,
    LinkRequested,
    OfferReady,
    OfferWithdrawn,
    RejectLink,
    RoomCredentials,
    RoomMade,
    SendToServer,
    ServerConnected,
    ServerDisconnected,
    SessionRequested,
    StatusChanged,
    WithdrawOffer,
    WorkersChanged,
)
from actors.offer_tags import OfferNonces
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.signaling import (
    Announce,
    Answer,
    CreateRoom,
    IceServers,
    Join,
    Joined,
    Leave,
    Offer,
    QueuePosition,
    Refuse,
    RoomCreated,
    Withdraw,
    WorkerAssigned,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role, Status, WorkerFacts
from protocol.trust import RoomKeys
from rtc.testing.embedding import Embedded, embed
from rtc.testing.state_space import start_of

Discovery = Embedded[DiscoveryData]
Phase = DiscoveryPhase

pytestmark = pytest.mark.usefixtures("autojump_clock")

ROOM = RoomId("room-1")
FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab", "GPU", 24000, "0.3.5", "12.4", "0.1")
KEYS = RoomKeys(b"p" * 32, b"t" * 32)
CLIENT_PASS = RoomCredentials(Role.CLIENT, ROOM, "token")
WORKER_PASS = RoomCredentials(Role.WORKER, ROOM, "token")
ME, ADA = PeerId("peer-me"), PeerId("client-ada")
JOINED = Joined(ROOM, ME, "resume")
BIG, SMALL = WorkerPresent(PeerId("worker-a"), FACTS), WorkerPresent(PeerId("worker-b"), evolve(FACTS, memory_mb=8000))
FAULT = Fault(FaultCode.ROOM_DENIED, "No.")


@pytest.fixture
async def workers_discovery(nursery: trio.Nursery) -> Discovery:
    """The Discovery of a worker, in no room."""
    return await embed(nursery, DISCOVERY, DiscoveryData(FACTS))


async def inside(discovery: Discovery) -> None:
    credentials = CLIENT_PASS if discovery.data.facts is None else WORKER_PASS
    await discovery.after(JoinRoom(credentials, 30), ServerConnected(), JOINED)
    assert discovery.phase is Phase.IN_ROOM


async def test_it_joins_when_the_connection_opens(discovery: Discovery) -> None:
    assert await discovery.after(JoinRoom(CLIENT_PASS, 30)) == []
    assert await discovery.after(ServerConnected()) == [SendToServer(Join(ROOM, "token", Role.CLIENT))]


async def test_it_joins_at_once_when_the_connection_was_open_already(workers_discovery: Discovery) -> None:
    await workers_discovery.after(ServerConnected())
    effects = await workers_discovery.after(JoinRoom(WORKER_PASS, 30))
    assert effects == [SendToServer(Join(ROOM, "token", Role.WORKER, FACTS))]


async def test_without_a_room_it_has_one_created_first(workers_discovery: Discovery) -> None:
    discovery = workers_discovery
    await discovery.after(JoinRoom(RoomCredentials(Role.WORKER), 30))
    assert await discovery.after(ServerConnected()) == [SendToServer(CreateRoom())]
    assert await discovery.after(RoomCreated(ROOM, "new")) == [RoomMade(ROOM, "new")]
    made = RoomCredentials(Role.WORKER, ROOM, "new", keys=KEYS)
    facts = evolve(FACTS, offer_nonce=OfferNonces().present)
    assert await discovery.after(JoinRoom(made, 30)) == [SendToServer(Join(ROOM, "new", Role.WORKER, facts))]
    assert (await discovery.after(JOINED))[0] == JoinedRoom(ROOM, "new", ME, KEYS)


async def test_after_the_join_it_reports_the_workers_with_most_memory_first(discovery: Discovery) -> None:
    await discovery.after(JoinRoom(CLIENT_PASS, 30), ServerConnected())
    joined = evolve(JOINED, workers=(SMALL, BIG))
    assert await discovery.after(joined) == [JoinedRoom(ROOM, "token", ME), WorkersChanged((BIG, SMALL))]


async def test_the_list_follows_workers_that_join_change_and_leave(discovery: Discovery) -> None:
    await inside(discovery)
    busy = evolve(BIG, facts=evolve(FACTS, status=Status.BUSY))
    effects = await discovery.after(SMALL, BIG, busy, WorkerLeft(SMALL.peer))
    assert effects == [
        WorkersChanged((SMALL,)),
        WorkersChanged((BIG, SMALL)),
        WorkersChanged((busy, SMALL)),
        WorkersChanged((busy,)),
    ]


async def test_a_wrong_token_is_reported_and_not_tried_again(discovery: Discovery) -> None:
    await discovery.after(JoinRoom(CLIENT_PASS, 30), ServerConnected())
    assert await discovery.after(FAULT) == [JoinFailed(FAULT)]
    assert await discovery.after(ServerDisconnected("gone"), ServerConnected()) == []


async def test_a_server_that_cannot_be_reached_is_reported_soon_with_the_connections_reason(
    discovery: Discovery, autojump_clock: MockClock
) -> None:
    await discovery.after(JoinRoom(CLIENT_PASS, 30), ServerDisconnected("connection refused"))
    autojump_clock.jump(RETRY_TIME - 0.1)
    assert await discovery.after(ServerDisconnected("connection refused")) == []
    autojump_clock.jump(0.2)
    assert await discovery.after() == [JoinFailed(Fault(FaultCode.SERVER_LOST, "connection refused"))]


async def test_a_server_that_starts_a_moment_later_is_found(discovery: Discovery, autojump_clock: MockClock) -> None:
    await discovery.after(JoinRoom(CLIENT_PASS, 30), ServerDisconnected("connection refused"))
    autojump_clock.jump(RETRY_TIME - 1)
    assert await discovery.after(ServerConnected(), JOINED) != []
    assert discovery.phase is Phase.IN_ROOM


async def test_after_a_lost_connection_it_joins_with_the_same_peer_id_and_the_newest_status(
    workers_discovery: Discovery,
) -> None:
    await inside(workers_discovery)
    await workers_discovery.after(ServerDisconnected("gone"), StatusChanged(Status.BUSY))
    [effect] = await workers_discovery.after(ServerConnected())
    assert effect == SendToServer(
        Join(ROOM, "token", Role.WORKER, evolve(FACTS, status=Status.BUSY), peer=ME, resume="resume")
    )


async def test_a_lost_connection_is_awaited_without_a_limit(discovery: Discovery, autojump_clock: MockClock) -> None:
    await inside(discovery)
    await discovery.after(ServerDisconnected("gone"))
    autojump_clock.jump(24 * 3600)
    assert await discovery.after() == []
    assert discovery.phase is Phase.REJOIN_WAIT


async def test_a_server_that_fails_at_our_return_is_asked_again_after_the_next_connection(
    workers_discovery: Discovery,
) -> None:
    await inside(workers_discovery)
    await workers_discovery.after(ServerDisconnected("gone"), ServerConnected())
    assert await workers_discovery.after(Fault(FaultCode.SERVER_LOST, "The database is ill.")) == []
    assert workers_discovery.phase is Phase.REJOINING
    await workers_discovery.after(ServerDisconnected("closed"), ServerConnected(), JOINED)
    assert workers_discovery.phase is Phase.IN_ROOM


async def test_a_status_is_announced_to_the_room(workers_discovery: Discovery) -> None:
    await inside(workers_discovery)
    effects = await workers_discovery.after(StatusChanged(Status.RESERVED))
    assert effects == [SendToServer(Announce(evolve(FACTS, status=Status.RESERVED)))]


async def test_a_worker_that_leaves_says_so_beside_its_status(workers_discovery: Discovery) -> None:
    await inside(workers_discovery)
    effects = await workers_discovery.after(StatusChanged(Status.AVAILABLE, leaving=True), StatusChanged(Status.BUSY))
    leaving, busy = evolve(FACTS, leaving=True), evolve(FACTS, status=Status.BUSY)
    assert effects == [SendToServer(Announce(leaving)), SendToServer(Announce(busy))]


async def test_a_status_that_changes_during_the_join_is_announced_after_it(workers_discovery: Discovery) -> None:
    await workers_discovery.after(JoinRoom(WORKER_PASS, 30), ServerConnected(), StatusChanged(Status.RESERVED))
    assert (await workers_discovery.after(JOINED))[-1] == SendToServer(Announce(evolve(FACTS, status=Status.RESERVED)))


async def test_free_memory_is_announced_with_all_other_facts(workers_discovery: Discovery) -> None:
    await inside(workers_discovery)
    effects = await workers_discovery.after(FreeMemoryChanged(23000), StatusChanged(Status.BUSY))
    first = evolve(FACTS, free_mb=23000)
    assert effects == [SendToServer(Announce(first)), SendToServer(Announce(evolve(first, status=Status.BUSY)))]


async def test_offers_answers_and_refusals_pass_through_both_ways(discovery: Discovery) -> None:
    await inside(discovery)
    received = await discovery.after(Answer(ADA, "sdp"), Refuse(ADA, FAULT))
    assert received == [LinkAnswered(ADA, "sdp", number=0), LinkRefused(ADA, FAULT, number=0)]
    effects = await discovery.after(
        OfferReady(ADA, "sdp", number=0), AnswerReady(ADA, "sdp", number=0), RejectLink(ADA, FAULT, number=0)
    )
    assert effects == [
        SendToServer(Offer(ADA, "sdp")),
        SendToServer(Answer(ADA, "sdp")),
        SendToServer(Refuse(ADA, FAULT)),
    ]


async def test_each_offer_gets_a_link_id_of_its_own_also_after_a_reconnection(workers_discovery: Discovery) -> None:
    await inside(workers_discovery)
    first = await workers_discovery.after(Offer(ADA, "sdp"), Offer(ADA, "sdp", JobId("job-1")))
    assert first == [
        LinkRequested(LinkId(1), ADA, "sdp", number=0),
        SessionRequested(LinkId(2), ADA, "sdp", JobId("job-1"), number=0),
    ]
    await workers_discovery.after(ServerDisconnected("gone"), ServerConnected(), FAULT)
    await workers_discovery.after(JoinRoom(WORKER_PASS, 30), JOINED)
    [offer] = await workers_discovery.after(Offer(ADA, "sdp"))
    assert offer == LinkRequested(LinkId(3), ADA, "sdp", number=0)


async def test_all_that_is_said_about_an_offer_has_its_number(
    workers_discovery: Discovery, discovery: Discovery
) -> None:
    await inside(workers_discovery)
    job, busy = JobId("job-1"), Fault(FaultCode.WORKER_BUSY, "Busy.")
    offers = Offer(ADA, "sdp", number=3), Offer(ADA, "sdp", job, 4), Withdraw(ADA, 4)
    assert await workers_discovery.after(*offers) == [
        LinkRequested(LinkId(1), ADA, "sdp", number=3),
        SessionRequested(LinkId(2), ADA, "sdp", job, number=4),
        OfferWithdrawn(ADA, number=4),
    ]
    assert await workers_discovery.after(AnswerReady(ADA, "sdp", number=3), RejectLink(ADA, busy, number=4)) == [
        SendToServer(Answer(ADA, "sdp", 3)),
        SendToServer(Refuse(ADA, busy, 4)),
    ]
    await inside(discovery)
    assert await discovery.after(OfferReady(BIG.peer, "sdp", None, number=5), WithdrawOffer(BIG.peer, number=5)) == [
        SendToServer(Offer(BIG.peer, "sdp", None, 5)),
        SendToServer(Withdraw(BIG.peer, 5)),
    ]
    assert await discovery.after(Answer(BIG.peer, "sdp", 5), Refuse(BIG.peer, busy, 6)) == [
        LinkAnswered(BIG.peer, "sdp", number=5),
        LinkRefused(BIG.peer, busy, number=6),
    ]


async def test_an_offer_is_taken_back_only_where_it_can_be(discovery: Discovery) -> None:
    await inside(discovery)
    assert await discovery.after(WithdrawOffer(BIG.peer, number=0)) == [SendToServer(Withdraw(BIG.peer))]
    assert await discovery.after(ServerDisconnected("gone"), WithdrawOffer(BIG.peer, number=0)) == []


async def test_an_offer_without_a_connection_is_refused_at_once(discovery: Discovery) -> None:
    await inside(discovery)
    await discovery.after(ServerDisconnected("gone"))
    [effect] = await discovery.after(OfferReady(BIG.peer, "sdp", number=0))
    assert isinstance(effect, LinkRefused)


# -------- a server that is slow, or cannot let us in at this moment


@pytest.fixture
async def patient(nursery: trio.Nursery) -> Discovery:
    """The Discovery of a worker that goes on trying, which waits for its first connection."""
    discovery = await embed(nursery, DISCOVERY, DiscoveryData(FACTS))
    await discovery.after(JoinRoom(WORKER_PASS, 30, patient=True))
    return discovery


DATABASE = Fault(FaultCode.SERVER_LOST, "The server cannot use its database now.")
FULL = Fault(FaultCode.ROOM_FULL, "The room is full.")


async def test_the_whole_first_join_has_one_time_limit(discovery: Discovery, autojump_clock: MockClock) -> None:
    await discovery.after(JoinRoom(CLIENT_PASS, 30))
    for _ in range(7):  # a server that accepts the connection, and closes it before it answers
        autojump_clock.jump(4)
        assert isinstance((await discovery.after(ServerConnected()))[0], SendToServer)
        assert await discovery.after(ServerDisconnected("closed")) == []
    autojump_clock.jump(2.1)
    assert await discovery.after() == [JoinFailed(Fault(FaultCode.SERVER_LOST, "closed"))]


async def test_a_silent_server_is_told_that_we_leave_so_that_it_does_not_keep_us_in_the_room(
    discovery: Discovery, autojump_clock: MockClock
) -> None:
    await discovery.after(JoinRoom(CLIENT_PASS, 30), ServerConnected())
    autojump_clock.jump(31)
    leave, failed = await discovery.after()
    assert leave == SendToServer(Leave())
    assert "within 30 seconds: it was asked to let this program into the room" in failed.fault.text
    assert await discovery.after(JOINED, FAULT) == [], "its answer comes too late"


async def test_a_reason_that_may_pass_is_no_reason_to_give_up(discovery: Discovery, autojump_clock: MockClock) -> None:
    await discovery.after(JoinRoom(CLIENT_PASS, 30), ServerConnected())
    assert await discovery.after(DATABASE, ServerDisconnected("closed")) == []
    assert await discovery.after(ServerConnected()) == [SendToServer(Join(ROOM, "token", Role.CLIENT))]
    await discovery.after(DATABASE, ServerDisconnected("closed"))
    autojump_clock.jump(RETRY_TIME + 0.1)
    assert await discovery.after() == [JoinFailed(DATABASE)], "the reason is the server's, not the closed connection"


async def test_a_client_does_not_wait_for_a_place_in_a_full_room(discovery: Discovery) -> None:
    await discovery.after(JoinRoom(CLIENT_PASS, 30), ServerConnected())
    assert await discovery.after(FULL) == [JoinFailed(FULL)]


async def test_who_is_patient_reports_a_delay_and_joins_when_the_server_is_there(
    patient: Discovery, autojump_clock: MockClock
) -> None:
    await patient.after(ServerDisconnected("connection refused"))
    autojump_clock.jump(RETRY_TIME + 0.1)
    assert await patient.after() == [JoinDelayed(Fault(FaultCode.SERVER_LOST, "connection refused"))]
    autojump_clock.jump(24 * 3600)
    await patient.after(ServerDisconnected("connection refused"))
    for code in (FaultCode.SERVER_LOST, FaultCode.STALLED, FaultCode.ROOM_FULL):
        await patient.after(ServerConnected(), Fault(code, "Not now."), ServerDisconnected("closed"))
        assert patient.phase is Phase.RETRYING
    await patient.after(ServerConnected(), JOINED)
    assert patient.phase is Phase.IN_ROOM


async def test_who_is_patient_gives_up_when_the_token_is_wrong(patient: Discovery) -> None:
    assert await patient.after(ServerConnected(), FAULT) == [
        SendToServer(Join(ROOM, "token", Role.WORKER, FACTS)),
        JoinFailed(FAULT),
    ]


# -------- random walks: a server may say anything at any time


MESSAGES = [RoomCreated(ROOM, "new"), JOINED, evolve(JOINED, workers=(SMALL,)), BIG, SMALL, WorkerLeft(BIG.peer)]
MESSAGES += [Offer(ADA, "sdp"), Offer(ADA, "sdp", JobId("job-1")), Answer(ADA, "sdp"), Refuse(ADA, FAULT)]
MESSAGES += [IceServers(()), QueuePosition(1, 2), WorkerAssigned(BIG.peer), FAULT, DATABASE, FULL]
OF_WORKER = [AnswerReady(ADA, "sdp", number=0), RejectLink(ADA, FAULT, number=0), FreeMemoryChanged(5)]
OF_WORKER += [StatusChanged(Status.BUSY), StatusChanged(Status.AVAILABLE, leaving=True)]
OF_CLIENT = [OfferReady(BIG.peer, "sdp", number=0)]


@given(st.data())
def test_whatever_the_server_says_discovery_keeps_its_invariants_and_announces_each_change(data: st.DataObject) -> None:
    worker = data.draw(st.booleans())
    role = Role.WORKER if worker else Role.CLIENT
    joins = [
        JoinRoom(RoomCredentials(role, room, None if room is None else "token"), 30, patient)
        for room in ((None, ROOM) if worker else (ROOM,))
        for patient in (False, True)
    ]
    discovery, online, announced = start_of(DISCOVERY, DiscoveryData(FACTS if worker else None)), False, None
    for number in data.draw(st.lists(st.integers(0, 2**16), min_size=10, max_size=40)):
        changes: list[Any] = [ServerDisconnected("gone"), *([] if online else [ServerConnected()])] * 6
        wanted = joins * 3 if not worker or discovery.phase.status is Status.AVAILABLE else []
        possible = [*changes, *wanted, *(OF_WORKER if worker else OF_CLIENT), *(MESSAGES if online else [])]
        turns = [*((discovery, event) for event in possible), *discovery.due]
        before, event = turns[number % len(turns)]
        online = (online or isinstance(event, ServerConnected)) and not isinstance(event, ServerDisconnected)
        discovery, effects = before.turn(DISCOVERY, event, lambda _phase, _found: None)
        for effect in effects:
            match effect:
                case SendToServer(message=Announce(facts) | Join(facts=facts)):
                    announced = facts
                case SendToServer(message=message):
                    assert online, f"{message} cannot be sent"
        if discovery.phase is Phase.IN_ROOM:
            assert online
            assert announced == discovery.data.facts


def test_from_every_phase_some_rows_lead_home() -> None:
    returning = {Phase.OFFLINE, Phase.ONLINE}
    for _ in Phase:
        returning |= {phase for phase, found in DISCOVERY.answers() if found.next in returning}
    assert returning == set(Phase)

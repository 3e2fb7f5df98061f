"""Tests of Discovery, by events and effects."""

import pytest
from attrs import evolve
from trio.testing import MockClock

from actors.discovery import RETRY_TIME, DiscoveryData
from actors.events import (
    AnswerReady,
    Drain,
    FreeMemoryChanged,
    JoinedRoom,
    JoinFailed,
    JoinRoom,
    LinkAnswered,
    LinkRefused,
    LinkRequested,
    OfferReady,
    RejectLink,
    RoomCredentials,
    SendToServer,
    ServerConnected,
    ServerDisconnected,
    StatusChanged,
    WorkersChanged,
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
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role, Status, WorkerFacts
from rtc.testing.embedding import Embedded

Discovery = Embedded[DiscoveryData]

pytestmark = pytest.mark.usefixtures("autojump_clock")

ROOM = RoomId("room-1")
FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab", "GPU", 24000, "0.3.5", "12.4", "0.1")
CLIENT_PASS = RoomCredentials(Role.CLIENT, ROOM, "token")
WORKER_PASS = RoomCredentials(Role.WORKER, ROOM, "token", FACTS)
ME, ADA = PeerId("peer-me"), PeerId("client-ada")
JOINED = Joined(ROOM, ME, "resume")
BIG, SMALL = WorkerPresent(PeerId("worker-a"), FACTS), WorkerPresent(PeerId("worker-b"), evolve(FACTS, memory_mb=8000))
FAULT = Fault(FaultCode.ROOM_DENIED, "No.")


async def inside(discovery: Discovery, room_credentials: RoomCredentials = CLIENT_PASS) -> None:
    await discovery.after(JoinRoom(room_credentials, 30), ServerConnected(), JOINED)
    assert discovery.state is Status.BUSY


async def test_it_joins_when_the_connection_opens(discovery: Discovery) -> None:
    assert await discovery.after(JoinRoom(CLIENT_PASS, 30)) == []
    assert await discovery.after(ServerConnected()) == [SendToServer(Join(ROOM, "token", Role.CLIENT))]


async def test_it_joins_at_once_when_the_connection_was_open_already(discovery: Discovery) -> None:
    await discovery.after(ServerConnected())
    assert await discovery.after(JoinRoom(WORKER_PASS, 30)) == [SendToServer(Join(ROOM, "token", Role.WORKER, FACTS))]


async def test_without_a_room_it_has_one_created_first(discovery: Discovery) -> None:
    await discovery.after(JoinRoom(RoomCredentials(Role.WORKER, facts=FACTS), 30))
    assert await discovery.after(ServerConnected()) == [SendToServer(CreateRoom())]
    assert await discovery.after(RoomCreated(ROOM, "new")) == [SendToServer(Join(ROOM, "new", Role.WORKER, FACTS))]
    assert (await discovery.after(JOINED))[0] == JoinedRoom(ROOM, "new", ME)


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
    assert discovery.state is Status.BUSY


async def test_a_server_that_does_not_answer_is_given_up(discovery: Discovery, autojump_clock: MockClock) -> None:
    await discovery.after(JoinRoom(CLIENT_PASS, 30), ServerConnected())
    autojump_clock.jump(31)
    [effect] = await discovery.after()
    assert isinstance(effect, JoinFailed)
    assert effect.fault.code is FaultCode.SERVER_LOST


async def test_after_a_lost_connection_it_joins_with_the_same_peer_id_and_the_newest_status(
    discovery: Discovery,
) -> None:
    await inside(discovery, WORKER_PASS)
    await discovery.after(ServerDisconnected("gone"), StatusChanged(Status.BUSY))
    [effect] = await discovery.after(ServerConnected())
    assert effect == SendToServer(
        Join(ROOM, "token", Role.WORKER, evolve(FACTS, status=Status.BUSY), peer=ME, resume="resume")
    )


async def test_a_lost_connection_is_awaited_without_a_limit(discovery: Discovery, autojump_clock: MockClock) -> None:
    await inside(discovery)
    await discovery.after(ServerDisconnected("gone"))
    autojump_clock.jump(24 * 3600)
    assert await discovery.after() == []
    assert discovery.state is Status.RESERVED


async def test_a_server_that_fails_at_our_return_is_asked_again_after_the_next_connection(discovery: Discovery) -> None:
    await inside(discovery, WORKER_PASS)
    await discovery.after(ServerDisconnected("gone"), ServerConnected())
    assert await discovery.after(Fault(FaultCode.SERVER_LOST, "The database is ill.")) == []
    assert discovery.state is Status.RESERVED
    await discovery.after(ServerDisconnected("closed"), ServerConnected(), JOINED)
    assert discovery.state is Status.BUSY


async def test_a_status_is_announced_to_the_room(discovery: Discovery) -> None:
    await inside(discovery, WORKER_PASS)
    effects = await discovery.after(StatusChanged(Status.RESERVED))
    assert effects == [SendToServer(Announce(evolve(FACTS, status=Status.RESERVED)))]


async def test_a_worker_that_leaves_says_so_beside_its_status(discovery: Discovery) -> None:
    await inside(discovery, WORKER_PASS)
    effects = await discovery.after(StatusChanged(Status.AVAILABLE, leaving=True), StatusChanged(Status.BUSY))
    leaving, busy = evolve(FACTS, leaving=True), evolve(FACTS, status=Status.BUSY)
    assert effects == [SendToServer(Announce(leaving)), SendToServer(Announce(busy))]


async def test_a_status_that_changes_during_the_join_is_announced_after_it(discovery: Discovery) -> None:
    await discovery.after(JoinRoom(WORKER_PASS, 30), ServerConnected(), StatusChanged(Status.RESERVED))
    assert (await discovery.after(JOINED))[-1] == SendToServer(Announce(evolve(FACTS, status=Status.RESERVED)))


async def test_free_memory_is_announced_with_all_other_facts(discovery: Discovery) -> None:
    await inside(discovery, WORKER_PASS)
    effects = await discovery.after(FreeMemoryChanged(23000), StatusChanged(Status.BUSY))
    first = evolve(FACTS, free_mb=23000)
    assert effects == [SendToServer(Announce(first)), SendToServer(Announce(evolve(first, status=Status.BUSY)))]


async def test_offers_answers_and_refusals_pass_through_both_ways(discovery: Discovery) -> None:
    await inside(discovery)
    received = await discovery.after(Offer(ADA, "sdp", JobId("job-1")), Answer(ADA, "sdp"), Refuse(ADA, FAULT))
    assert received == [
        LinkRequested(ADA, "sdp", JobId("job-1"), PROTOCOL_VERSION),
        LinkAnswered(ADA, "sdp"),
        LinkRefused(ADA, FAULT),
    ]
    effects = await discovery.after(OfferReady(ADA, "sdp"), AnswerReady(ADA, "sdp"), RejectLink(ADA, FAULT))
    assert effects == [
        SendToServer(Offer(ADA, "sdp")),
        SendToServer(Answer(ADA, "sdp")),
        SendToServer(Refuse(ADA, FAULT)),
    ]


async def test_an_offer_without_a_connection_is_refused_at_once(discovery: Discovery) -> None:
    await inside(discovery)
    await discovery.after(ServerDisconnected("gone"))
    [effect] = await discovery.after(OfferReady(BIG.peer, "sdp"))
    assert isinstance(effect, LinkRefused)


async def test_it_leaves_the_room_when_it_is_drained(discovery: Discovery) -> None:
    await inside(discovery)
    assert await discovery.after(Drain()) == [SendToServer(Leave())]

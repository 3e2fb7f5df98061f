"""The doorman: which room a worker knocks at, again and again, and who is told which one it got into."""

from types import SimpleNamespace

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import MockClock

from actors.events import JoinedRoom, JoinRoom, RetryJoin, RoomCredentials, StatusChanged
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.signaling import Joined
from protocol.status import Role, Status, WorkerFacts
from rtc.config.load import load_config
from rtc.worker.room_identity import SavedMembership
from rtc.worker.room_membership import RETRY_PAUSE, RETRY_PAUSE_MAX, RoomMembership, WorkerReady

OLD, NEW = RoomId("room-old"), RoomId("room-new")
ME = PeerId("worker-me")
FACTS = WorkerFacts(Status.BUSY, "lab", "host", "CPU", 0, "0.3.5", None, "0.1")
PLACE = SavedMembership("ws://server", OLD, "token-old", ME, "resume-old")
GONE = Fault(FaultCode.ROOM_DENIED, "No such room.")
AWAY = Fault(FaultCode.SERVER_LOST, "No server.")


@define
class Hall:
    """A doorman, and what it does."""

    membership: RoomMembership
    posted: list[JoinRoom] = field(factory=list)
    kept: list[SavedMembership] = field(factory=list)
    ready: list[WorkerReady] = field(factory=list)
    said: list[str] = field(factory=list)

    def hear(self, *events: object) -> None:
        for event in events:
            for take in self.membership.routes()[type(event)]:
                take(event)

    async def knocks(self) -> RoomCredentials:
        """How it knocks next."""
        before = len(self.posted)
        await trio.sleep(RETRY_PAUSE_MAX + 1)
        [enter] = self.posted[before:]
        return enter.room_credentials


@pytest.fixture
async def hall(nursery: trio.Nursery, tmp_path: object) -> Hall:
    config = load_config(server="ws://server", environ={}, cwd=tmp_path, home=tmp_path)
    hall = Hall(membership=None)
    hall.membership = RoomMembership(
        config=config,
        address="ws://server",
        room=None,
        token=None,
        facts=FACTS,
        identity=SimpleNamespace(write=hall.kept.append),
        saved=PLACE,
        runtime=SimpleNamespace(post=hall.posted.append, actors=nursery),
        started=hall.ready.append,
        say=hall.said.append,
    )
    return hall


def entered(room: RoomId) -> tuple[Joined, JoinedRoom]:
    joined = Joined(room=room, peer=ME, resume=f"resume-{room}", workers=())
    return joined, JoinedRoom(room, f"token-{room}", ME)


async def test_a_worker_goes_back_to_its_place_while_the_server_is_away(hall: Hall, autojump_clock: MockClock) -> None:
    back = RoomCredentials(Role.WORKER, OLD, "token-old", FACTS, ME, "resume-old")
    hall.membership.join()
    assert [enter.room_credentials for enter in hall.posted] == [back]
    for _ in range(3):
        hall.hear(RetryJoin(AWAY))
        assert await hall.knocks() == back


async def test_it_knocks_less_and_less_often_until_it_was_in(hall: Hall, autojump_clock: MockClock) -> None:
    async def pause() -> float:
        hall.hear(RetryJoin(AWAY))
        start, before = trio.current_time(), len(hall.posted)
        while len(hall.posted) == before:  # noqa: ASYNC110 (a list has no event)
            await trio.sleep(1)
        return trio.current_time() - start

    pauses = [await pause() for _ in range(7)]
    assert pauses == pytest.approx([10, 20, 40, 80, 160, 300, 300], abs=1)
    hall.hear(*entered(OLD))
    assert await pause() == pytest.approx(RETRY_PAUSE, abs=1)


async def test_a_room_that_is_gone_is_not_asked_for_again(hall: Hall, autojump_clock: MockClock) -> None:
    hall.hear(RetryJoin(GONE))
    assert await hall.knocks() == RoomCredentials(Role.WORKER, None, None, FACTS)


async def test_a_room_that_was_asked_for_by_name_is(hall: Hall, autojump_clock: MockClock) -> None:
    hall.membership.room, hall.membership.token, hall.membership.saved = OLD, "token-old", None
    hall.hear(RetryJoin(GONE))
    assert await hall.knocks() == RoomCredentials(Role.WORKER, OLD, "token-old", FACTS)


async def test_it_knocks_as_what_the_worker_is_by_then(hall: Hall, autojump_clock: MockClock) -> None:
    hall.hear(RetryJoin(AWAY), StatusChanged(Status.AVAILABLE))
    assert (await hall.knocks()).facts == evolve(FACTS, status=Status.AVAILABLE)


async def test_the_first_room_is_told_to_the_program_and_another_one_to_the_person(hall: Hall) -> None:
    hall.hear(*entered(OLD), *entered(OLD))
    assert [ready.room for ready in hall.ready] == [OLD]
    assert hall.said == []
    hall.hear(*entered(NEW))
    [text] = hall.said
    assert "another one now" in text
    assert "token-room-new" in text
    assert len(hall.ready) == 1
    assert hall.kept[-1] == SavedMembership("ws://server", NEW, "token-room-new", ME, "resume-room-new")

"""Room membership: which room a worker joins and how often it tries, and who is notified of the room it joined."""

from types import SimpleNamespace

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from actors.events import JoinedRoom, JoinRoom, RetryJoin, RoomCredentials
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.signaling import Joined
from protocol.status import Role, Status, WorkerFacts
from rtc.config.load import load_config
from rtc.worker.membership_file import SavedMembership
from rtc.worker.room_membership import RETRY_PAUSE, RETRY_PAUSE_MAX, RoomMembership, WorkerReady

OLD, NEW = RoomId("room-old"), RoomId("room-new")
ME = PeerId("worker-me")
FACTS = WorkerFacts(Status.BUSY, "lab", "host", "CPU", 0, "0.3.5", "none", "0.1")
SAVED = SavedMembership("ws://server", OLD, "token-old", ME, "resume-old")
GONE = Fault(FaultCode.ROOM_DENIED, "No such room.")
AWAY = Fault(FaultCode.SERVER_LOST, "No server.")


@define
class Harness:
    """A room membership, and what it posts, saves, reports and prints."""

    membership: RoomMembership
    posted: list[JoinRoom] = field(factory=list)
    saved: list[SavedMembership] = field(factory=list)
    ready: list[WorkerReady] = field(factory=list)
    said: list[str] = field(factory=list)

    def receive(self, *events: object) -> None:
        for event in events:
            for handle in self.membership.routes()[type(event)]:
                handle(event)

    async def next_credentials(self) -> RoomCredentials:
        """Wait for the next attempt to join, and return its credentials."""
        before = len(self.posted)
        await trio.sleep(RETRY_PAUSE_MAX + 1)
        [join_room] = self.posted[before:]
        return join_room.room_credentials


@pytest.fixture
async def hall(nursery: trio.Nursery, tmp_path: object) -> Harness:
    config = load_config(server="ws://server", environ={}, cwd=tmp_path, home=tmp_path)
    hall = Harness(membership=None)
    hall.membership = RoomMembership(
        config=config,
        address="ws://server",
        room=None,
        token=None,
        membership_file=SimpleNamespace(write=hall.saved.append),
        saved=SAVED,
        runtime=SimpleNamespace(post=hall.posted.append, actors=nursery, facts=FACTS),
        on_ready=hall.ready.append,
        say=hall.said.append,
    )
    return hall


def joined_events(room: RoomId) -> tuple[Joined, JoinedRoom]:
    joined = Joined(room=room, peer=ME, resume=f"resume-{room}", workers=())
    return joined, JoinedRoom(room, f"token-{room}", ME)


async def test_a_worker_tries_to_rejoin_its_room_while_the_server_is_away(
    hall: Harness, autojump_clock: MockClock
) -> None:
    back = RoomCredentials(Role.WORKER, OLD, "token-old", ME, "resume-old")
    hall.membership.join()
    assert [join_room.room_credentials for join_room in hall.posted] == [back]
    for _ in range(3):
        hall.receive(RetryJoin(AWAY))
        assert await hall.next_credentials() == back


async def test_it_retries_less_and_less_often_until_it_has_joined(hall: Harness, autojump_clock: MockClock) -> None:
    async def pause() -> float:
        hall.receive(RetryJoin(AWAY))
        start, before = trio.current_time(), len(hall.posted)
        while len(hall.posted) == before:  # noqa: ASYNC110 (a list has no event)
            await trio.sleep(1)
        return trio.current_time() - start

    pauses = [await pause() for _ in range(7)]
    assert pauses == pytest.approx([10, 20, 40, 80, 160, 300, 300], abs=1)
    hall.receive(*joined_events(OLD))
    assert await pause() == pytest.approx(RETRY_PAUSE, abs=1)


async def test_a_room_that_is_gone_is_not_requested_again(hall: Harness, autojump_clock: MockClock) -> None:
    hall.receive(RetryJoin(GONE))
    assert await hall.next_credentials() == RoomCredentials(Role.WORKER)


async def test_a_room_that_is_gone_is_requested_again_if_the_person_named_it(
    hall: Harness, autojump_clock: MockClock
) -> None:
    hall.membership.room, hall.membership.token, hall.membership.saved = OLD, "token-old", None
    hall.receive(RetryJoin(GONE))
    assert await hall.next_credentials() == RoomCredentials(Role.WORKER, OLD, "token-old")


async def test_a_worker_is_patient_when_others_may_look_for_it_in_a_room(hall: Harness) -> None:
    membership = hall.membership
    membership.saved = None
    membership.join()
    membership.room, membership.token = OLD, "token-old"
    membership.join()
    membership.room, membership.token, membership.saved = None, None, SAVED
    membership.join()
    hall.receive(*joined_events(OLD))
    membership.saved = None  # the room is gone
    membership.join()
    assert [join_room.patient for join_room in hall.posted] == [False, True, True, True]


async def test_the_first_room_is_reported_to_the_program_and_another_one_to_the_person(hall: Harness) -> None:
    hall.receive(*joined_events(OLD), *joined_events(OLD))
    assert [ready.room for ready in hall.ready] == [OLD]
    assert hall.said == []
    hall.receive(*joined_events(NEW))
    [text] = hall.said
    assert "another one now" in text
    assert "token-room-new" in text
    assert len(hall.ready) == 1
    assert hall.saved[-1] == SavedMembership("ws://server", NEW, "token-room-new", ME, "resume-room-new")

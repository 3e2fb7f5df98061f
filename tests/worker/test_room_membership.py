"""Room membership: which room a worker joins and how often it tries, and who is notified of the room it joined."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, evolve, field
from trio.testing import MockClock

from actors.events import JoinedRoom, JoinFailed, RetryJoin, RoomCredentials, RoomMade
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.signaling import Joined
from protocol.status import Role, Status, WorkerFacts
from protocol.trust import RoomKeys
from rtc.common.errors import RtcError
from rtc.config.load import load_config
from rtc.worker.membership_file import SavedMembership
from rtc.worker.room_membership import RETRY_PAUSE, RETRY_PAUSE_MAX, RoomMembership, WorkerReady

OLD, NEW = RoomId("room-old"), RoomId("room-new")
ME = PeerId("worker-me")
FACTS = WorkerFacts(Status.BUSY, "lab", "host", "CPU", 0, "0.3.5", "none", "0.1")
SAVED = SavedMembership("ws://server", OLD, "token-old", ME, "resume-old")
GONE = Fault(FaultCode.ROOM_DENIED, "No such room.")


def keys_of(room: RoomId) -> RoomKeys:
    return RoomKeys(room.encode(), b"tag")


AWAY = Fault(FaultCode.SERVER_LOST, "No server.")


@define
class Harness:
    """A room membership, and what it posts, saves, reports and prints."""

    membership: RoomMembership
    posted: list[Any] = field(factory=list)
    saved: list[SavedMembership] = field(factory=list)
    ready: list[WorkerReady] = field(factory=list)
    said: list[str] = field(factory=list)
    unusable: Fault | None = None
    """Why the room's secret cannot be used."""

    async def find_keys(self, room: RoomId) -> RoomKeys:
        await trio.lowlevel.checkpoint()
        if self.unusable is not None:
            raise RtcError.of(self.unusable)
        return keys_of(room)

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
    config = load_config(server="ws://server", environ={}, cwd=tmp_path, settings=tmp_path)
    hall = Harness(membership=None)
    hall.membership = RoomMembership(
        config=config,
        address="ws://server",
        room=None,
        token=None,
        find_keys=hall.find_keys,
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
    back = RoomCredentials(Role.WORKER, OLD, "token-old", ME, "resume-old", keys_of(OLD))
    hall.membership.join()
    await trio.testing.wait_all_tasks_blocked()
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
    assert await hall.next_credentials() == RoomCredentials(Role.WORKER, OLD, "token-old", keys=keys_of(OLD))


async def test_a_room_that_was_made_for_the_worker_is_joined_with_its_keys_in_the_same_time(
    hall: Harness, mock_clock: MockClock
) -> None:
    hall.membership.saved = None
    hall.membership.join()
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(10)
    hall.receive(RoomMade(NEW, "token-new"))
    await trio.testing.wait_all_tasks_blocked()
    create, join = hall.posted
    assert create.room_credentials == RoomCredentials(Role.WORKER)
    assert join.room_credentials == RoomCredentials(Role.WORKER, NEW, "token-new", keys=keys_of(NEW))
    assert (create.step_timeout, join.step_timeout, join.patient) == (30, 20, False)


async def test_a_worker_does_not_join_with_a_secret_that_cannot_be_used(hall: Harness) -> None:
    hall.unusable = Fault(FaultCode.USAGE, "The file is not yours.")
    hall.membership.join()
    await trio.testing.wait_all_tasks_blocked()
    assert hall.posted == [JoinFailed(hall.unusable)]


async def test_a_worker_is_patient_when_others_may_look_for_it_in_a_room(hall: Harness) -> None:
    membership = hall.membership
    membership.saved = None
    membership.join()
    await trio.testing.wait_all_tasks_blocked()
    membership.room, membership.token = OLD, "token-old"
    membership.join()
    await trio.testing.wait_all_tasks_blocked()
    membership.room, membership.token, membership.saved = None, None, SAVED
    membership.join()
    hall.receive(*joined_events(OLD))
    await trio.testing.wait_all_tasks_blocked()
    membership.saved = None  # the room is gone
    membership.join()
    await trio.testing.wait_all_tasks_blocked()
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


@pytest.mark.parametrize("keys", [None, keys_of(NEW)])
async def test_the_banner_of_another_room_says_whether_a_secret_is_needed_there(
    hall: Harness, keys: RoomKeys | None
) -> None:
    hall.receive(*joined_events(OLD))
    joined, joined_room = joined_events(NEW)
    hall.receive(joined, evolve(joined_room, keys=keys))
    [text] = hall.said
    assert ("--room-secret-file FILE" in text, "the room secret may send jobs" in text) == ((keys is not None,) * 2)

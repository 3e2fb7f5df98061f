"""What a peer says right after it is authenticated, in the same breath, is read as the word of a trusted peer."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.events import Authenticated, AuthenticationFailed, CloseLink, JoinedRoom, LinkLost, TellPeer
from actors.router import Router
from protocol.faults import FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import AskJob, JobStage, JobState
from protocol.link import Hello
from protocol.status import Role
from protocol.trust import AuthSuccess, Binding, RoomKeys
from protocol.wire import encode
from rtc.testing.memory_connection import memory_connection_pair
from rtc.transport.links.link import open_link
from rtc.transport.links.manager import LinkManager, _LinkTask

NAME, JOB = LinkId(1), JobId("j1")
CLIENT, WORKER = PeerId("client-ada"), PeerId("worker-bob")
BINDING = Binding(RoomId("room-1"), WORKER, CLIENT, bytes(32), bytes(32))
REQUEST = AskJob(JOB, "key")
LONG_REPLY = JobState(JOB, JobStage.RUNNING, "x" * 1500)
"""Longer than any message of a peer that is not authenticated."""
TRIES = 20
"""The order in which trio runs tasks is random."""
NO_LOOP: Any = None
"""No connection is opened."""


async def heard_after(role: Role, *said: Any, keys: RoomKeys | None = None) -> tuple[list[Any], FaultCode | None]:
    """Let the other end say these messages in one breath; return what reached the program, and why the link ended."""
    received: list[Any] = []

    async def receive(_link: LinkId, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        received.append(message)

    async with trio.open_nursery() as nursery:
        router = Router({})
        links = LinkManager(NO_LOOP, router, role, receive)
        links.set_room(JoinedRoom(BINDING.room, "token", BINDING.worker, keys))
        router.routes = {
            LinkLost: (),
            TellPeer: (links.send,),
            CloseLink: (links.close_link,),
            Authenticated: (links.handle_authenticated,),
            AuthenticationFailed: (links.handle_authentication_failed,),
        }
        await nursery.start(router.run)
        ours, theirs = memory_connection_pair()
        task = links._tasks[NAME] = _LinkTask(NAME, WORKER if role is Role.CLIENT else CLIENT, 1)
        async with open_link(ours, name=NAME) as task.link:
            with task.scope:
                nursery.start_soon(links._serve, task, task.link, BINDING)
                for message in said:
                    await theirs.send_control(message if isinstance(message, str) else encode(message))
                await trio.sleep(1)
            fault = task.link.fault or task.closing_fault
        nursery.cancel_scope.cancel()
    return received, None if fault is None else fault.code


@pytest.mark.parametrize("_try", range(TRIES))
async def test_a_worker_may_go_on_right_after_its_verdict(autojump_clock: MockClock, _try: int) -> None:
    assert await heard_after(Role.CLIENT, Hello(), AuthSuccess(), LONG_REPLY) == ([LONG_REPLY], None)


@pytest.mark.parametrize("_try", range(TRIES))
async def test_a_message_of_the_future_after_the_verdict_ends_nothing(autojump_clock: MockClock, _try: int) -> None:
    future = '{"type":"FUTURE_WORDS"}'
    said = (Hello(), AuthSuccess(), future, LONG_REPLY)
    assert await heard_after(Role.CLIENT, *said) == ([LONG_REPLY], None)


@pytest.mark.parametrize("_try", range(TRIES))
async def test_a_client_of_a_worker_without_a_secret_may_go_on_after_hello(
    autojump_clock: MockClock, _try: int
) -> None:
    assert await heard_after(Role.WORKER, Hello(), REQUEST) == ([REQUEST], None)


@pytest.mark.parametrize("_try", range(TRIES))
async def test_what_follows_a_failed_proof_does_not_change_its_reason(autojump_clock: MockClock, _try: int) -> None:
    keys = RoomKeys(b"p" * 32, b"t" * 32)
    received, code = await heard_after(Role.CLIENT, Hello(), AuthSuccess(), LONG_REPLY, keys=keys)
    assert (received, code) == ([], FaultCode.AUTH_UNPROVEN_WORKER)


async def test_what_is_said_too_early_is_ignored_and_the_next_is_read(autojump_clock: MockClock) -> None:
    said = (AuthSuccess(), Hello(), Hello(), AuthSuccess(), LONG_REPLY)
    assert await heard_after(Role.CLIENT, *said) == ([LONG_REPLY], None)

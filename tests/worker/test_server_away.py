"""A worker whose server is not there, or does not answer, when the worker starts."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import define, evolve, field

from actors.events import JoinedRoom, ServerDisconnected
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from rtc.common.errors import RtcError
from rtc.config.load import load_config
from rtc.server import Server, open_server
from rtc.testing.lab import RecordedLog
from rtc.testing.limits import HANG_TIME
from rtc.testing.ports import open_port
from rtc.testing.stand_in import install_stand_in
from rtc.transport.webrtc import AsyncioLoop
from rtc.worker.event_log import EventLog
from rtc.worker.program import WorkerOptions, run_worker
from rtc.worker.room_membership import WorkerReady

pytestmark = pytest.mark.slow


@define
class Site:
    """A server's address, which may have no server, and a worker that uses it."""

    folder: Path
    port: int
    options: WorkerOptions
    asyncio_loop: AsyncioLoop
    log: RecordedLog = field(factory=RecordedLog)
    drain: trio.Event = field(factory=trio.Event)
    fault: Fault | None = None

    @asynccontextmanager
    async def server(self) -> AsyncGenerator[Server, None]:
        data = self.folder / "server"
        async with open_server(host="127.0.0.1", ws_port=self.port, http_port=0, data=data) as server:
            yield server

    async def work(
        self,
        room: tuple[RoomId, str] | None = None,
        *,
        task_status: trio.TaskStatus[WorkerReady] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run the worker to its end, and save its fault."""
        options = self.options if room is None else evolve(self.options, room=room[0], token=room[1])
        try:
            await run_worker(
                options,
                asyncio_loop=self.asyncio_loop,
                drain=self.drain,
                say=self.log.add,
                joined=task_status.started,
            )
        except RtcError as error:
            self.fault = error.fault

    async def make_room(self) -> tuple[RoomId, str]:
        """Return id and token of a room in which a worker has been."""
        async with self.server(), trio.open_nursery() as nursery:
            ready: WorkerReady = await nursery.start(self.work)
            nursery.cancel_scope.cancel()
        return ready.room, ready.token


@pytest.fixture
async def site(
    asyncio_loop: AsyncioLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Site, None]:
    """A site without a server. Everybody is less patient than usual."""
    monkeypatch.setattr("actors.discovery.RETRY_TIME", 0.3)
    monkeypatch.setattr("rtc.transport.signaling.connection.UPGRADE_TIME", 0.3)
    config = load_config(server=None, environ={"SLEAP_RTC_ENV": "development"}, cwd=tmp_path, settings=tmp_path)
    with open_port() as port:
        config = evolve(config, signaling_websocket=f"ws://127.0.0.1:{port}")
        options = WorkerOptions(
            config,
            name="bench",
            work=tmp_path / "work",
            results=tmp_path / "results",
            sleap_nn=str(install_stand_in(tmp_path / "bin")),
        )
        yield Site(tmp_path, port, options, asyncio_loop)


async def test_a_worker_that_knows_its_room_waits_until_the_server_is_there(site: Site) -> None:
    with trio.fail_after(HANG_TIME):
        room = await site.make_room()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.work, room)
            await site.log.until("cannot be reached (connection refused)")
            await site.log.until("goes on trying")
            async with site.server():
                await site.log.until(f"In room {room[0]}", times=2)
                nursery.cancel_scope.cancel()
    assert site.fault is None


async def test_a_worker_that_knows_its_room_waits_for_a_server_that_accepts_and_does_not_answer(site: Site) -> None:
    with trio.fail_after(HANG_TIME):
        room = await site.make_room()
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(site.port, host="127.0.0.1")
            nursery.start_soon(site.work, room)
            await site.log.until("opened no WebSocket connection")
            await site.log.until("goes on trying")
            for listener in listeners:
                await listener.aclose()
            async with site.server():
                await site.log.until(f"In room {room[0]}", times=2)
                nursery.cancel_scope.cancel()
    assert site.fault is None


async def test_a_worker_that_waits_for_the_server_can_be_stopped(site: Site) -> None:
    with trio.fail_after(HANG_TIME):
        room = await site.make_room()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.work, room)
            await site.log.until("goes on trying")
            site.drain.set()
    assert site.fault is None


def test_the_same_outage_is_said_once() -> None:
    log = RecordedLog()
    tap = EventLog(log.add).tap
    for event in (
        ServerDisconnected("refused"),
        ServerDisconnected("refused"),
        ServerDisconnected("name unknown"),
        JoinedRoom(RoomId("room-1"), "token", PeerId("worker-1")),
        ServerDisconnected("refused"),
        ServerDisconnected("refused"),
    ):
        tap(event)
    assert log.lines == ["refused", "name unknown", "In room room-1 as worker-1.", "refused"]


async def test_a_worker_without_a_room_says_at_once_what_is_wrong_and_ends(site: Site) -> None:
    with trio.fail_after(HANG_TIME):
        await site.work()
    assert site.fault is not None
    assert site.fault.code is FaultCode.SERVER_LOST
    assert "cannot be reached (connection refused)" in site.fault.text
    assert "cannot be reached (connection refused)" in site.log.lines[0]


async def test_a_wrong_token_ends_a_worker_at_once(site: Site) -> None:
    with trio.fail_after(HANG_TIME):
        room, _ = await site.make_room()
        async with site.server():
            await site.work((room, "wrong"))
    assert site.fault is not None
    assert site.fault.code is FaultCode.ROOM_DENIED

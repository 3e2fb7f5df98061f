"""Connections through a real TURN server on loopback (coturn), with credentials from our own signalling server."""

import gc
import logging
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve, frozen

from protocol.faults import FaultCode
from protocol.ids import LinkId, PeerId
from protocol.link import LOST_TIME
from rtc.common.errors import ExitCode, RtcError
from rtc.config.ice_servers import IcePlan, usable_servers
from rtc.server.turn_credentials import TurnCredentials
from rtc.testing.lab import open_lab
from rtc.transport.links.link import open_link
from rtc.transport.webrtc import AsyncioLoop, PeerConnection, open_asyncio_loop, open_peer_connection
from rtc.worker.program import WorkerOptions, run_worker

pytestmark = pytest.mark.skipif(
    shutil.which("turnserver") is None, reason="needs coturn's `turnserver` (on Debian: apt-get install coturn)"
)

SECRET = b"only for this test, and long"
CONFIG = """
listening-ip=127.0.0.1
relay-ip=127.0.0.1
listening-port={port}
min-port=49160
max-port=49460
realm=test
use-auth-secret
static-auth-secret={secret}
allow-loopback-peers
denied-peer-ip=0.0.0.0-126.255.255.255
denied-peer-ip=128.0.0.0-255.255.255.255
fingerprint
no-tls
no-dtls
no-cli
no-multicast-peers
log-file=stdout
simple-log
db={folder}/turn.db
pidfile={folder}/turn.pid
"""


@frozen
class Turn:
    """A running TURN server."""

    port: int
    process: trio.Process

    def turn_credentials(self, *transports: str, clock: Callable[[], float] | None = None) -> TurnCredentials:
        """Return the TURN credentials that a signalling server gives to peers for this server."""
        urls = tuple(f"turn:127.0.0.1:{self.port}?transport={transport}" for transport in transports)
        turn_credentials = TurnCredentials(turn=urls, secret=SECRET)
        return evolve(turn_credentials, clock=clock) if clock else turn_credentials

    def plan(self, *transports: str, relay_only: bool = True) -> IcePlan:
        """Return the ICE plan of a peer with these credentials."""
        return IcePlan(usable_servers(self.turn_credentials(*transports).for_peer(PeerId("peer-1"))), relay_only)


def free_port() -> int:
    """Return a port that is free for TCP and UDP now."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port: int = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
    return port


@pytest.fixture
async def turn(tmp_path: Path) -> AsyncGenerator[Turn, None]:
    """Run coturn as an ordinary user; it accepts connections when this yields."""
    port = free_port()
    folder = tmp_path / "turn"
    folder.mkdir()
    config = folder / "turn.conf"
    config.write_text(CONFIG.format(port=port, secret=SECRET.decode(), folder=folder))
    ignore = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = partial(trio.run_process, ["turnserver", "-c", str(config)], check=False, **ignore)
    async with trio.open_nursery() as nursery:
        process = await nursery.start(start)
        with trio.fail_after(10):
            await until_answered(port)
        yield Turn(port, process)
        nursery.cancel_scope.cancel()


async def until_answered(port: int) -> None:
    """Poll until the port accepts TCP connections; coturn does not report when it is ready."""
    while True:
        try:
            await trio.aclose_forcefully(await trio.open_tcp_stream("127.0.0.1", port))
        except OSError:
            await trio.sleep(0.05)
        else:
            return


@pytest.fixture
async def asyncio_loop(caplog: pytest.LogCaptureFixture) -> AsyncGenerator[AsyncioLoop, None]:
    """An asyncio loop that must close in time and log no warning."""
    async with open_asyncio_loop() as asyncio_loop:
        yield asyncio_loop
        before = trio.current_time()
    assert trio.current_time() - before < 5
    gc.collect()
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


@asynccontextmanager
async def joined(
    asyncio_loop: AsyncioLoop, one: IcePlan, two: IcePlan
) -> AsyncGenerator[tuple[PeerConnection, PeerConnection], None]:
    """Two open peer connections, connected to each other."""
    async with open_peer_connection(asyncio_loop, one) as ada, open_peer_connection(asyncio_loop, two) as bob:
        with trio.fail_after(15):
            await ada.accept_answer(await bob.answer(await ada.offer()))
            await ada.wait_open(10)
            await bob.wait_open(10)
        yield ada, bob


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_whole_job_goes_through_the_relay_with_credentials_from_our_server(
    asyncio_loop: AsyncioLoop, turn: Turn, tmp_path: Path, package: Callable[..., Path], transport: str
) -> None:
    async with open_lab(
        asyncio_loop, tmp_path, turn_credentials=turn.turn_credentials(transport), relay_only=True
    ) as lab:
        worker = await lab.start_worker(secret="a secret of sixteen or more")
        with trio.fail_after(40):
            run = await lab.run_client(worker, package(), secret="a secret of sixteen or more")
        assert run.fault is None
        assert run.output is not None
        assert list(run.output.rglob("best.ckpt"))
        assert [line for line in run.view.texts if "(relayed, room secret proven on both sides)" in line]


async def test_expired_credentials_give_no_relay_and_the_person_reads_why(
    asyncio_loop: AsyncioLoop, turn: Turn, tmp_path: Path, package: Callable[..., Path]
) -> None:
    expired = turn.turn_credentials("udp", "tcp", clock=lambda: 1_000_000_000)
    async with open_lab(asyncio_loop, tmp_path, turn_credentials=expired, relay_only=True) as lab:
        worker = await lab.start_worker()
        with trio.fail_after(10):
            run = await lab.run_client(worker, package())
        assert run.fault is not None
        assert run.fault.code is FaultCode.LINK_FAILED
        assert "refused the credentials: they are wrong or have expired" in run.fault.text
        assert SECRET.decode() not in run.fault.text


async def test_a_worker_without_a_relay_sends_the_client_the_reason(
    asyncio_loop: AsyncioLoop, turn: Turn, tmp_path: Path, package: Callable[..., Path]
) -> None:
    async with open_lab(asyncio_loop, tmp_path, turn_credentials=turn.turn_credentials("udp")) as lab:
        stale = TurnCredentials(turn=turn.turn_credentials("udp").turn, secret=SECRET, clock=lambda: 0.0).for_peer(
            PeerId("worker-x")
        )
        own = evolve(lab.config, relay_only=True, ice_servers=usable_servers(stale))
        worker = await lab.start_worker(config=own)
        turn.process.send_signal(signal.SIGSTOP)  # now the valid credentials do not help either
        with trio.fail_after(10):
            run = await lab.run_client(worker, package())
        turn.process.send_signal(signal.SIGCONT)
        assert run.fault is not None
        assert run.fault.code is FaultCode.LINK_FAILED
        assert run.fault.text.startswith("The worker could not link: Only relayed paths may be used")
        await worker.log.until("Status: available")


async def test_relay_only_without_any_turn_server_is_a_usage_error(
    asyncio_loop: AsyncioLoop, tmp_path: Path, package: Callable[..., Path]
) -> None:
    async with open_lab(asyncio_loop, tmp_path) as lab:
        worker = await lab.start_worker()
        options = WorkerOptions(
            evolve(lab.config, relay_only=True),
            sleap_nn=worker.options.sleap_nn,
            work=tmp_path / "w",
            results=tmp_path / "r",
        )
        with pytest.raises(RtcError, match="needs a TURN server, and none is known") as caught, trio.fail_after(5):
            await run_worker(options, asyncio_loop=asyncio_loop, drain=trio.Event(), say=lambda _: None)
        assert caught.value.exit_code is ExitCode.USAGE
        with trio.fail_after(5):
            run = await lab.run_client(worker, package(), config=options.config)
        assert run.fault == caught.value.fault


async def test_a_direct_path_is_taken_whenever_there_is_one(asyncio_loop: AsyncioLoop, turn: Turn) -> None:
    plan = turn.plan("udp", "tcp", relay_only=False)
    for _ in range(5):
        before = trio.current_time()
        async with joined(asyncio_loop, plan, plan) as (ada, bob):
            assert trio.current_time() - before < 2
            assert (ada.path_kind, bob.path_kind) == ("direct", "direct")


def block_direct(peer: PeerConnection) -> None:
    """Drop all packets on the peer's own sockets, as a firewall does, except those to and from the TURN server."""
    for protocol in peer._dtls().transport._connection._protocols:
        if protocol.local_candidate.type != "relay":
            protocol.send_stun = protocol.datagram_received = drop


def drop(*_packet: object) -> None:
    """Drop a packet."""


@pytest.mark.parametrize(("transports", "soonest"), [(("udp",), 2.0), (("tcp",), 3.5), (("udp", "tcp"), 2.0)])
async def test_a_relay_is_taken_when_nothing_direct_works(
    asyncio_loop: AsyncioLoop, turn: Turn, transports: tuple[str, ...], soonest: float
) -> None:
    plan = turn.plan(*transports, relay_only=False)
    async with open_peer_connection(asyncio_loop, plan) as ada, open_peer_connection(asyncio_loop, plan) as bob:
        offer = await ada.offer()
        block_direct(ada)
        answer = await bob.answer(offer)
        block_direct(bob)
        before = trio.current_time()
        await ada.accept_answer(answer)
        await ada.wait_open(10)
        await bob.wait_open(10)
        assert soonest - 0.1 < trio.current_time() - before < soonest + 1
        assert (ada.path_kind, bob.path_kind) == ("relayed", "relayed")
        local = ada._dtls().transport._connection._nominated[1].local_candidate
        assert ((local.priority >> 8 & 0xFFFF) > 32767) is (transports[0] == "udp")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_much_goes_through_a_relay_whole_and_in_order(
    asyncio_loop: AsyncioLoop, turn: Turn, transport: str
) -> None:
    plan = turn.plan(transport)
    frames = [bytes([number]) * 60_000 for number in range(100)]
    async with joined(asyncio_loop, plan, plan) as (ada, bob), trio.open_nursery() as nursery:

        async def send() -> None:
            for frame in frames:
                await ada.send_bulk(frame)

        nursery.start_soon(send)
        with trio.fail_after(20):
            assert [await bob.bulk.take() for _ in frames] == frames


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_when_the_turn_server_dies_both_ends_notice_and_close_in_time(
    asyncio_loop: AsyncioLoop, turn: Turn, transport: str
) -> None:
    async def route(_message: Any) -> None:
        return

    plan = turn.plan(transport)
    async with joined(asyncio_loop, plan, plan) as (ada, bob):
        async with (
            open_link(ada, name=LinkId(1), route=route) as one,
            open_link(bob, name=LinkId(2), route=route) as two,
        ):
            turn.process.kill()
            with trio.fail_after(LOST_TIME + 1):
                await one.lost.wait()
                await two.lost.wait()
            assert one.fault is not None
            assert one.fault.code is FaultCode.LINK_LOST
            before = trio.current_time()
            await one.aclose()
            await two.aclose()
            assert trio.current_time() - before < 3
        before = trio.current_time()
    assert trio.current_time() - before < 3

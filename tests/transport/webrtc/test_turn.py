"""Connections through a real TURN server on loopback (coturn), with credentials from our own signalling server."""

import gc
import logging
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from aioice.ice import CandidatePair
from attrs import evolve, frozen

from protocol.faults import FaultCode
from protocol.ids import LinkId, PeerId
from rtc.common.errors import ExitCode, RtcError
from rtc.config.ice_servers import IcePlan, usable_servers
from rtc.server.turn_credentials import TurnCredentials
from rtc.testing.coturn import needs_coturn, open_coturn
from rtc.testing.lab import open_lab
from rtc.testing.limits import HANG_TIME
from rtc.transport.links.link import open_link
from rtc.transport.webrtc import AsyncioLoop, PeerConnection, open_asyncio_loop, open_peer_connection
from rtc.transport.webrtc.ice_checks import PairTier, tier_of
from rtc.worker.program import WorkerOptions, run_worker

pytestmark = [needs_coturn, pytest.mark.slow]

SECRET = b"only for this test, and long"
OPTIONS = (
    "use-auth-secret",
    f"static-auth-secret={SECRET.decode()}",
    "denied-peer-ip=0.0.0.0-126.255.255.255",
    "denied-peer-ip=128.0.0.0-255.255.255.255",
    "fingerprint",
    "no-tls",
    "no-multicast-peers",
)


@frozen
class Turn:
    """A running TURN server."""

    port: int
    process: "subprocess.Popen[bytes]"

    def turn_credentials(self, *transports: str, clock: Callable[[], float] | None = None) -> TurnCredentials:
        """Return the TURN credentials that a signalling server gives to peers for this server."""
        urls = tuple(f"turn:127.0.0.1:{self.port}?transport={transport}" for transport in transports)
        turn_credentials = TurnCredentials(turn=urls, secret=SECRET)
        return evolve(turn_credentials, clock=clock) if clock else turn_credentials

    def plan(self, *transports: str, relay_only: bool = True) -> IcePlan:
        """Return the ICE plan of a peer with these credentials."""
        return IcePlan(usable_servers(self.turn_credentials(*transports).for_peer(PeerId("peer-1"))), relay_only)


@contextmanager
def open_turn(folder: Path) -> Iterator[Turn]:
    with open_coturn(folder, *OPTIONS) as coturn:
        yield Turn(coturn.port, coturn.process)


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Turn]:
    """A TURN server for all tests that only use it."""
    with open_turn(tmp_path_factory.mktemp("turn")) as turn:
        yield turn


@pytest.fixture
def own_turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Turn]:
    """A TURN server that the test may stop."""
    with open_turn(tmp_path_factory.mktemp("turn")) as turn:
        yield turn


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a TURN server as long as it takes on a busy machine; one that runs answers."""
    for limit in ("ice_gathering.SILENT_TIME", "ice_gathering.SLOW_TIME", "peer_connection.GATHER_TIME"):
        monkeypatch.setattr(f"rtc.transport.webrtc.{limit}", HANG_TIME)


@pytest.fixture
async def asyncio_loop(caplog: pytest.LogCaptureFixture) -> AsyncGenerator[AsyncioLoop, None]:
    """An asyncio loop that must log no warning."""
    async with open_asyncio_loop() as asyncio_loop:
        yield asyncio_loop
    gc.collect()
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


@asynccontextmanager
async def joined(
    asyncio_loop: AsyncioLoop, one: IcePlan, two: IcePlan
) -> AsyncGenerator[tuple[PeerConnection, PeerConnection], None]:
    """Two open peer connections, connected to each other."""
    async with open_peer_connection(asyncio_loop, one) as ada, open_peer_connection(asyncio_loop, two) as bob:
        with trio.fail_after(HANG_TIME):
            await ada.accept_answer(await bob.answer(await ada.offer()))
            await ada.wait_open(HANG_TIME)
            await bob.wait_open(HANG_TIME)
        yield ada, bob


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_whole_job_goes_through_the_relay_with_credentials_from_our_server(
    asyncio_loop: AsyncioLoop, turn: Turn, tmp_path: Path, package: Callable[..., Path], transport: str
) -> None:
    async with open_lab(
        asyncio_loop, tmp_path, turn_credentials=turn.turn_credentials(transport), relay_only=True
    ) as lab:
        worker = await lab.start_worker(secret="a secret of sixteen or more")
        with trio.fail_after(HANG_TIME):
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
        with trio.fail_after(HANG_TIME):
            run = await lab.run_client(worker, package())
        assert run.fault is not None
        assert run.fault.code is FaultCode.LINK_FAILED
        assert "refused the credentials: they are wrong or have expired" in run.fault.text
        assert SECRET.decode() not in run.fault.text


async def test_a_worker_without_a_relay_sends_the_client_the_reason(
    asyncio_loop: AsyncioLoop,
    own_turn: Turn,
    tmp_path: Path,
    package: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_lab(asyncio_loop, tmp_path, turn_credentials=own_turn.turn_credentials("udp")) as lab:
        stale = TurnCredentials(turn=own_turn.turn_credentials("udp").turn, secret=SECRET, clock=lambda: 0.0).for_peer(
            PeerId("worker-x")
        )
        own = evolve(lab.config, relay_only=True, ice_servers=usable_servers(stale))
        worker = await lab.start_worker(config=own)
        monkeypatch.setattr("rtc.transport.webrtc.ice_gathering.SILENT_TIME", 0.3)
        own_turn.process.send_signal(signal.SIGSTOP)  # now the valid credentials do not help either
        with trio.fail_after(HANG_TIME):
            run = await lab.run_client(worker, package())
        own_turn.process.send_signal(signal.SIGCONT)
        assert run.fault is not None
        assert run.fault.code is FaultCode.LINK_FAILED
        assert run.fault.text.startswith("The worker could not open the link. It says: Only relayed paths may be used")
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
        with (
            pytest.raises(RtcError, match="needs a TURN server, and none is known") as caught,
            trio.fail_after(HANG_TIME),
        ):
            await run_worker(options, asyncio_loop=asyncio_loop, drain=trio.Event(), say=lambda _: None)
        assert caught.value.exit_code is ExitCode.USAGE
        with trio.fail_after(HANG_TIME):
            run = await lab.run_client(worker, package(), config=options.config)
        assert run.fault == caught.value.fault


async def test_a_direct_path_is_taken_whenever_there_is_one(
    asyncio_loop: AsyncioLoop, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.ice_checks.DIRECT_TIME", 10 * HANG_TIME)
    plan = turn.plan("udp", "tcp", relay_only=False)
    for _ in range(3):
        async with joined(asyncio_loop, plan, plan) as (ada, bob):
            assert (ada.path_kind, bob.path_kind) == ("direct", "direct")


def block_direct(peer: PeerConnection) -> None:
    """Drop all packets on the peer's own sockets, as a firewall does, except those to and from the TURN server."""
    for protocol in peer._dtls().transport._connection._protocols:
        if protocol.local_candidate.type != "relay":
            protocol.send_stun = protocol.datagram_received = drop


def drop(*_packet: object) -> None:
    """Drop a packet."""


@pytest.mark.parametrize(("transports", "soonest"), [(("udp",), 0.6), (("tcp",), 1.0), (("udp", "tcp"), 0.6)])
async def test_a_relay_is_taken_when_nothing_direct_works(
    asyncio_loop: AsyncioLoop,
    turn: Turn,
    transports: tuple[str, ...],
    soonest: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.ice_checks.DIRECT_TIME", 0.6)
    # where there is a relay over UDP, those over TCP are never tried
    monkeypatch.setattr("rtc.transport.webrtc.ice_checks.UDP_TIME", 10 * HANG_TIME if "udp" in transports else 0.4)
    plan = turn.plan(*transports, relay_only=False)
    async with open_peer_connection(asyncio_loop, plan) as ada, open_peer_connection(asyncio_loop, plan) as bob:
        with trio.fail_after(HANG_TIME):
            offer = await ada.offer()
            block_direct(ada)
            answer = await bob.answer(offer)
            block_direct(bob)
            before = trio.current_time()
            await ada.accept_answer(answer)
            await ada.wait_open(HANG_TIME)
            await bob.wait_open(HANG_TIME)
        assert trio.current_time() - before > soonest - 0.1
        assert (ada.path_kind, bob.path_kind) == ("relayed", "relayed")
        connection = ada._dtls().transport._connection
        direct = [pair.state for pair in connection._check_list if tier_of_pair(pair) is PairTier.DIRECT]
        assert direct
        assert CandidatePair.State.FAILED not in direct, "the relay was taken before aioice gave the direct path up"
        local = connection._nominated[1].local_candidate
        assert ((local.priority >> 8 & 0xFFFF) > 32767) is (transports[0] == "udp")


def tier_of_pair(pair: CandidatePair) -> PairTier:
    return max(tier_of(pair.local_candidate), tier_of(pair.remote_candidate))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_much_goes_through_a_relay_whole_and_in_order(
    asyncio_loop: AsyncioLoop, turn: Turn, transport: str
) -> None:
    plan = turn.plan(transport)
    frames = [bytes([number]) * 60_000 for number in range(40)]
    async with joined(asyncio_loop, plan, plan) as (ada, bob), trio.open_nursery() as nursery:

        async def send() -> None:
            for frame in frames:
                await ada.send_bulk(frame)

        nursery.start_soon(send)
        with trio.fail_after(HANG_TIME):
            assert [await bob.bulk.take() for _ in frames] == frames


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_when_the_turn_server_dies_both_ends_notice_and_do_not_wait_for_it_when_they_close(
    asyncio_loop: AsyncioLoop, own_turn: Turn, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def route(_message: Any) -> None:
        return

    monkeypatch.setattr("rtc.transport.webrtc.peer_connection.CLOSE_TIME", 0.3)
    plan = own_turn.plan(transport)
    async with joined(asyncio_loop, plan, plan) as (ada, bob):
        monkeypatch.setattr("aioice.stun.RETRY_RTO", 2 * HANG_TIME)  # aioice alone would wait so long for the server
        monkeypatch.setattr("aioice.stun.RETRY_MAX", 0)
        with trio.fail_after(HANG_TIME):
            async with (
                open_link(ada, name=LinkId(1), route=route, heartbeat_time=0.2, lost_time=1.0) as one,
                open_link(bob, name=LinkId(2), route=route, heartbeat_time=0.2, lost_time=1.0) as two,
            ):
                own_turn.process.kill()
                await one.lost.wait()
                await two.lost.wait()
                assert one.fault is not None
                assert one.fault.code is FaultCode.LINK_LOST
                await one.aclose()
                await two.aclose()
            await ada.aclose()
            await bob.aclose()

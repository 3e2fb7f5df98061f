"""The order of the ICE checks, the delay that silent servers may cause, and the sentences when no path is found."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import aioice.ice
import pytest
import trio
from aioice.candidate import Candidate, candidate_priority
from aioice.ice import CandidatePair, Connection, StunProtocol
from aioice.stun import Class, Message, Method

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.config.ice_servers import IcePlan, IceServer
from rtc.testing.limits import HANG_TIME
from rtc.transport.webrtc import AsyncioLoop, open_peer_connection
from rtc.transport.webrtc.failure_reasons import IceDiagnostics, why_no_candidates, why_no_path
from rtc.transport.webrtc.ice_checks import DIRECT_TIME, UDP_TIME, PairTier, order_checks, tier_of
from rtc.transport.webrtc.ice_gathering import (
    SILENT_TIME,
    TCP_PREFERENCE,
    GatheredCandidates,
    stun_servers,
    turn_servers,
)
from rtc.transport.webrtc.turn_allocate import IceServerOutcome, IceServerRequest

STUN = IceServer("stun:127.0.0.1")
UDP = IceServer("turn:a", "name", "word")
TCP = IceServer("turn:b?transport=tcp", "name", "word")
TLS = IceServer("turns:c", "name", "word")


def candidate(kind: str, port: int, preference: int = 65535) -> Candidate:
    """Make an ICE candidate."""
    priority = candidate_priority(1, kind, preference)
    return Candidate(f"{kind}{port}", 1, "udp", priority, "192.0.2.1", port, kind)


HOST, SRFLX = candidate("host", 1), candidate("srflx", 2)
RELAY_UDP, RELAY_TCP = candidate("relay", 3), candidate("relay", 4, TCP_PREFERENCE)


class Race:
    """An aioice connection whose next check is requested by the test; a check is only recorded, not sent."""

    def __init__(self) -> None:
        self.now = 0.0
        self.started: list[tuple[str, str]] = []
        self.connection = Connection(ice_controlling=True)
        self.connection.check_start_task = self._start  # type: ignore[method-assign]
        self.connection._remote_candidates_end = True
        self.checks = order_checks(self.connection, lambda: self.now)

    def _start(self, pair: CandidatePair) -> None:
        pair.state = CandidatePair.State.IN_PROGRESS
        self.started.append((pair.local_candidate.type, pair.remote_candidate.type))

    def add(self, local: Candidate, remote: Candidate) -> CandidatePair:
        """Add a candidate pair to the check list."""
        protocol = StunProtocol(self.connection)
        protocol.local_candidate = local
        pair = CandidatePair(protocol, remote)
        self.connection._check_list.append(pair)
        self.connection.sort_check_list()
        return pair

    def run(self, *, until: float) -> list[tuple[str, str]]:
        """Advance the time to `until`; return the checks started meanwhile."""
        self.started.clear()
        while self.now < until:
            self.connection._check_periodic()
            self.now += 0.02
        return list(self.started)


def test_the_tier_of_a_candidate_follows_from_its_type_and_preference() -> None:
    assert [tier_of(end) for end in (HOST, SRFLX, RELAY_UDP, RELAY_TCP)] == [
        PairTier.DIRECT,
        PairTier.DIRECT,
        PairTier.RELAY_UDP,
        PairTier.RELAY_TCP,
    ]


def test_each_tier_has_its_time_before_the_next_is_tried() -> None:
    race = Race()
    for local in (RELAY_TCP, RELAY_UDP, HOST):
        for remote in (RELAY_TCP, RELAY_UDP, SRFLX):
            race.add(local, remote)
    assert race.run(until=DIRECT_TIME - 0.1) == [("host", "srflx")]
    assert len(race.run(until=DIRECT_TIME + UDP_TIME - 0.1)) == 3
    assert len(race.run(until=DIRECT_TIME + UDP_TIME + 1)) == 5
    assert race.connection._check_periodic() is False


def test_a_tier_starts_at_once_when_there_is_no_lower_tier() -> None:
    race = Race()
    race.add(RELAY_TCP, RELAY_UDP)
    assert race.run(until=0.1) == [("relay", "relay")]


def test_a_tier_whose_pairs_have_all_failed_is_left_at_once() -> None:
    race = Race()
    direct = race.add(HOST, SRFLX)
    race.add(RELAY_UDP, SRFLX)
    assert race.run(until=0.1) == [("host", "srflx")]
    direct.state = CandidatePair.State.FAILED
    assert race.run(until=0.2) == [("relay", "srflx")]


def test_a_waiting_relay_does_not_hold_up_a_frozen_direct_path() -> None:
    race = Race()
    race.add(RELAY_UDP, SRFLX).state = CandidatePair.State.WAITING
    race.add(HOST, SRFLX).state = CandidatePair.State.FROZEN
    assert race.run(until=0.1) == [("host", "srflx")]


def test_the_other_sides_check_of_a_relayed_path_does_not_start_ours_early() -> None:
    race = Race()
    race.add(HOST, SRFLX)
    pair = race.add(HOST, RELAY_UDP)
    race.run(until=0.1)
    race.connection.check_start_task(pair)
    assert race.started == [("host", "srflx")]
    race.now = DIRECT_TIME + 0.1
    race.connection.check_start_task(pair)
    assert race.started[1:] == [("host", "relay")]


def test_the_controlled_side_checks_everything_at_once() -> None:
    race = Race()
    race.connection.ice_controlling = False
    for local in (RELAY_TCP, RELAY_UDP, HOST):
        race.add(local, SRFLX)
    assert len(race.run(until=0.1)) == 3


def test_a_check_in_progress_restarts_when_the_other_sides_arrives_but_only_once() -> None:
    class Task:
        cancelled = 0

        def cancel(self) -> None:
            self.cancelled += 1

    race, task = Race(), Task()
    race.connection._early_checks_done = True
    pair = race.add(HOST, SRFLX)
    SRFLX._network_host = SRFLX.host
    race.connection._remote_candidates.append(SRFLX)
    race.run(until=0.1)
    message = Message(Method.BINDING, Class.REQUEST, attributes={"PRIORITY": HOST.priority})
    for _ in range(3):
        pair.task = task  # type: ignore[assignment]
        race.connection.check_incoming(message, pair.remote_addr, pair.protocol)
        assert task.cancelled == 1
    assert race.started == [("host", "srflx")] * 2
    assert race.checks.check_received


def test_the_private_names_of_aioice_that_we_use_exist() -> None:
    connection = Connection(ice_controlling=True)
    for name in ("check_start_task", "check_incoming", "check_state", "get_component_candidates", "sort_check_list"):
        assert callable(getattr(connection, name))
    for name in ("_check_periodic", "_check_list", "_check_list_done", "_remote_candidates_expected", "_protocols"):
        assert hasattr(connection, name)
    for name in ("_transport_policy", "_remote_candidates_end"):
        assert hasattr(connection, name)
    assert callable(aioice.turn.TurnTransport._connect)


def test_servers_are_used_in_the_order_of_the_tiers() -> None:
    plan = IcePlan((TLS, TCP, STUN, UDP))
    assert stun_servers(plan) == [STUN]
    assert turn_servers(plan) == [UDP, TLS, TCP]
    assert stun_servers(IcePlan((TLS, UDP))) == [UDP]
    assert stun_servers(IcePlan((TLS, TCP))) == []


# -------- gathering


@pytest.fixture
def only_our_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without our own limits in ice_gathering, a server that does not answer would now be waited for without an end."""
    monkeypatch.setattr("aioice.stun.RETRY_RTO", 10 * HANG_TIME)
    monkeypatch.setattr("rtc.transport.webrtc.peer_connection.GATHER_TIME", 10 * HANG_TIME)


@contextmanager
def silent_ports() -> Iterator[tuple[int, int]]:
    """Open a UDP and a TCP port that never answer."""
    with ExitStack() as stack:
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        tcp = stack.enter_context(socket.socket())
        for each in (udp, tcp):
            each.bind(("127.0.0.1", 0))
        tcp.listen()
        yield udp.getsockname()[1], tcp.getsockname()[1]


@pytest.mark.slow
@pytest.mark.usefixtures("only_our_limits")
async def test_silent_servers_cost_no_more_than_their_time_and_not_the_direct_path(
    asyncio_loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.ice_gathering.SLOW_TIME", 10 * HANG_TIME)  # none of them is only slow
    with silent_ports() as (udp, _):
        servers = (
            IceServer(f"stun:127.0.0.1:{udp}"),
            IceServer(f"turn:127.0.0.1:{udp}", "name", "word"),
            IceServer("turn:127.0.0.1:1?transport=tcp", "name", "word"),
            IceServer("turn:no-such-name.invalid", "name", "word"),
        )
        async with (
            open_peer_connection(asyncio_loop, IcePlan(servers)) as ada,
            open_peer_connection(asyncio_loop) as bob,
        ):
            with trio.fail_after(HANG_TIME):
                offer = await ada.offer()
                monkeypatch.undo()  # the checks of the direct path may be repeated
                await ada.accept_answer(await bob.answer(offer))
                await ada.wait_open(HANG_TIME)
            assert ada.path_kind == "direct"
            seen = {
                allocation.server.urls: allocation.outcome for allocation in (*ada._gathered.stun, *ada._gathered.turn)
            }
            assert seen[servers[0].urls] is IceServerOutcome.SILENT
            assert seen[servers[1].urls] is IceServerOutcome.SILENT
            assert seen[servers[2].urls] is IceServerOutcome.UNREACHED


@pytest.mark.slow
@pytest.mark.usefixtures("only_our_limits")
async def test_a_server_that_only_accepts_tcp_is_waited_for_longer_but_not_for_ever(
    asyncio_loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_time = SILENT_TIME + 0.3
    monkeypatch.setattr("rtc.transport.webrtc.ice_gathering.SLOW_TIME", slow_time)
    with silent_ports() as (_, tcp):
        plan = IcePlan((IceServer(f"turn:127.0.0.1:{tcp}?transport=tcp", "name", "word"),), relay_only=True)
        async with open_peer_connection(asyncio_loop, plan) as peer:
            before = trio.current_time()
            with trio.fail_after(HANG_TIME), pytest.raises(RtcError, match="The TURN server did not answer") as caught:
                await peer.offer()
            assert trio.current_time() - before > slow_time - 0.1
            assert caught.value.fault.code is FaultCode.LINK_FAILED


@pytest.mark.usefixtures("only_our_limits")
async def test_relay_only_without_a_server_fails_at_once(asyncio_loop: AsyncioLoop) -> None:
    async with open_peer_connection(asyncio_loop, IcePlan(relay_only=True)) as peer:
        with trio.fail_after(HANG_TIME), pytest.raises(RtcError, match="--relay-only"):
            await peer.offer()


async def test_two_peers_without_a_common_route_get_that_reason(asyncio_loop: AsyncioLoop) -> None:
    async with open_peer_connection(asyncio_loop) as ada, open_peer_connection(asyncio_loop) as bob:
        offer = await ada.offer()
        answer = await bob.answer(offer)
        for peer in (ada, bob):
            for protocol in peer._dtls().transport._connection._protocols:
                protocol.send_stun = lambda *_: None
        await ada.accept_answer(answer)
        with trio.fail_after(HANG_TIME), pytest.raises(RtcError, match=r"no common route to it.*Gave up after .*TURN"):
            await ada.wait_open(0.2)


# -------- reasons


def seen(*, hosts: str = "192.0.2.1", stun: str = "", turn: str = "") -> GatheredCandidates:
    """Make the results of gathering from the values of `IceServerOutcome`, separated by spaces."""

    def allocation(names: str) -> list[IceServerRequest]:
        return [IceServerRequest(UDP, IceServerOutcome(name)) for name in names.split()]

    return GatheredCandidates(tuple(hosts.split()), allocation(stun), allocation(turn))


@pytest.mark.parametrize(
    ("diagnostics", "says"),
    [
        (IceDiagnostics(seen(), remote_candidates=0), "The other side told no address"),
        (IceDiagnostics(seen(hosts="127.0.0.1"), remote_candidates=1), "no network but its own loopback"),
        (
            IceDiagnostics(seen(), remote_candidates=1),
            "no common route to it, or UDP is blocked on the way. Gave up after 0",
        ),
        (IceDiagnostics(seen(), remote_candidates=1), "Configure a TURN server on both sides"),
        (IceDiagnostics(seen(stun="silent"), remote_candidates=1), "UDP is probably blocked here"),
        (IceDiagnostics(seen(stun="found silent"), remote_candidates=1), "though UDP leaves this network"),
        (IceDiagnostics(seen(turn="found"), remote_candidates=1), "neither directly nor through the relay"),
        (
            IceDiagnostics(seen(turn="refused"), remote_candidates=1),
            "refused the credentials: they are wrong or have expired",
        ),
        (IceDiagnostics(seen(turn="unhelpful"), remote_candidates=1), "answered but gave no relay"),
        (IceDiagnostics(seen(turn="silent"), remote_candidates=1), "did not answer. Check its address"),
        (IceDiagnostics(seen(turn="unreached"), remote_candidates=1), "its name, port or certificate"),
        (IceDiagnostics(seen(), remote_candidates=1, check_received=True), "in one direction only"),
        (
            IceDiagnostics(seen(), remote_candidates=1, check_received=True, nominated=True, seconds=13.2),
            "secure handshake on it did not complete",
        ),
        (IceDiagnostics(seen(), remote_candidates=1, seconds=13.2), "Gave up after 13 seconds"),
    ],
)
def test_a_failure_is_explained_by_what_ice_observed(diagnostics: IceDiagnostics, says: str) -> None:
    assert says in why_no_path(diagnostics)


def test_a_description_without_candidates_is_reported_at_once() -> None:
    assert why_no_candidates(IceDiagnostics(seen(), local_candidates=1)) is None
    assert "no network address" in (why_no_candidates(IceDiagnostics(seen(hosts=""))) or "")
    relay_only_text = why_no_candidates(IceDiagnostics(seen(hosts="", turn="refused silent"), relay_only=True)) or ""
    assert "--relay-only" in relay_only_text
    assert "refused the credentials" in relay_only_text

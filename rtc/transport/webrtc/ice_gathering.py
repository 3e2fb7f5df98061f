"""Gather the local ICE candidates of one connection: host, server-reflexive (STUN) and relayed (TURN) ones.

This replaces aioice's own gathering, which uses one STUN and one TURN server, waits five seconds for a silent one, and
does not report what went wrong. Here a server that does not answer costs one second. Everything here is
asyncio-flavoured; a test checks that the private names of aioice that are used here exist.
"""

import asyncio
import ipaddress
import socket
from functools import partial
from typing import Any

from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import StunProtocol, TransportPolicy, server_reflexive_candidate
from aioice.stun import TransactionError
from aioice.turn import UDP_SOCKET_BUFFER_SIZE
from attrs import define, field

from rtc.config.ice_servers import IcePlan, IceServer, read_ice_url
from rtc.transport.webrtc.turn_allocate import IceServerOutcome, IceServerRequest, allocate, resolve

SILENT_TIME = 1.0
"""Seconds for a server's first answer; over UDP this covers the request and one retransmission."""
SLOW_TIME = 2.5
"""Seconds in total for a server that has answered: five round trips over TLS to the other side of the earth."""
STOP_TIME = 0.2
"""Seconds for cancelled requests to end; a request that does not end is closed with its connection."""
STUN_MAX, TURN_MAX = 2, 4
"""Maximum number of servers used; more only cost sockets."""
TCP_PREFERENCE = 32767
"""Highest local preference (RFC 8445, 5.1.2.1) of relays over TCP or TLS; relays over UDP have higher ones. The peer
distinguishes them by this."""


@define
class GatheredCandidates:
    """The results of gathering for one connection, failures included."""

    hosts: tuple[str, ...] = ()
    """Addresses of the host candidates."""
    stun: list[IceServerRequest] = field(factory=list)
    """The requests to the STUN servers, with their outcomes."""
    turn: list[IceServerRequest] = field(factory=list)
    """The requests to the TURN servers, with their outcomes."""


def stun_servers(plan: IcePlan) -> list[IceServer]:
    """Return the STUN servers to use; when none is configured, the TURN servers over UDP.

    A TURN server over UDP is a STUN server as well (RFC 8656, 3).
    """
    named = [server for server in plan.servers if server.urls.startswith("stun:")]
    turn_over_udp = [server for server in plan.servers if server.relays and _is_udp(server)]
    return (named or turn_over_udp)[:STUN_MAX]


def turn_servers(plan: IcePlan) -> list[IceServer]:
    """Return the TURN servers to use: those over UDP first, otherwise in the order given."""
    relays = [server for server in plan.servers if server.relays]
    return sorted(relays, key=lambda server: not _is_udp(server))[:TURN_MAX]


def _is_udp(server: IceServer) -> bool:
    return read_ice_url(server.urls).transport == "udp"


def gather_candidates(connection: Any, plan: IcePlan) -> GatheredCandidates:
    """Make aioice's `connection` gather with the servers of `plan`; the returned object is filled while it gathers."""
    gathered = GatheredCandidates()
    connection.get_component_candidates = partial(_gather, connection, plan, gathered)
    return gathered


async def _gather(
    connection: Any, plan: IcePlan, gathered: GatheredCandidates, component: int, addresses: list[str]
) -> Any:
    candidates: list[Candidate] = []
    hosts = [await _open_host_socket(connection, component, address) for address in addresses]
    opened = [protocol for protocol in hosts if protocol is not None]
    candidates += [protocol.local_candidate for protocol in opened]
    gathered.hosts = tuple(candidate.host for candidate in candidates)
    ipv4 = [protocol for protocol in opened if ipaddress.ip_address(protocol.local_candidate.host).version == 4]
    gathered.stun = [IceServerRequest(server) for server in stun_servers(plan)] if ipv4 else []
    gathered.turn = [IceServerRequest(server) for server in turn_servers(plan)]
    tasks = {
        asyncio.create_task(_add_reflexive(protocol, request, candidates)): request
        for request in gathered.stun
        for protocol in ipv4
    } | {
        asyncio.create_task(_add_relayed(connection, component, request, rank, candidates)): request
        for rank, request in enumerate(gathered.turn)
    }
    await _wait_bounded(tasks)
    return candidates


async def _wait_bounded(tasks: dict["asyncio.Task[None]", IceServerRequest]) -> None:
    """Wait `SILENT_TIME` for all servers and `SLOW_TIME` for those that have answered; then cancel the rest."""
    if not tasks:
        return
    try:
        await asyncio.wait(tasks, timeout=SILENT_TIME)
        slow = [task for task, request in tasks.items() if not task.done() and request.has_answered]
        if slow:
            await asyncio.wait(slow, timeout=SLOW_TIME - SILENT_TIME)
    finally:
        for task in tasks:
            task.cancel()
    ended, _ = await asyncio.wait(tasks, timeout=STOP_TIME)
    for task in ended:
        if not task.cancelled():
            task.result()  # raises an unexpected error: a bug of ours must not be ignored


async def _open_host_socket(connection: Any, component: int, address: str) -> StunProtocol | None:
    loop = asyncio.get_running_loop()
    try:
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: StunProtocol(connection), local_addr=(address, 0)
        )
    except OSError:  # an address that is being removed, or not usable yet (IPv6 duplicate address detection)
        return None
    connection._protocols.append(protocol)
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_SOCKET_BUFFER_SIZE)
    host, port = transport.get_extra_info("sockname")[:2]
    protocol.local_candidate = _candidate(component, "host", (host, port), candidate_priority(component, "host"))
    return protocol


async def _add_reflexive(protocol: StunProtocol, request: IceServerRequest, candidates: list[Candidate]) -> None:
    address = read_ice_url(request.server.urls)
    try:
        server_address = await resolve(address.host, address.port, socket.SOCK_DGRAM, socket.AF_INET)
        candidate, _ = await server_reflexive_candidate(protocol, server_address)
    except OSError:
        request.outcome = IceServerOutcome.UNREACHED
        return
    except (TransactionError, KeyError):  # no answer, or one without an address
        return
    request.outcome = IceServerOutcome.FOUND
    if all((candidate.host, candidate.port) != (other.host, other.port) for other in candidates):
        candidates.append(candidate)  # without a NAT it equals the host candidate


async def _add_relayed(
    connection: Any, component: int, request: IceServerRequest, rank: int, candidates: list[Candidate]
) -> None:
    protocol = await allocate(request, lambda: StunProtocol(connection))
    if protocol is None:
        return
    connection._protocols.append(protocol)
    address = protocol.transport.get_extra_info("sockname")
    related = protocol.transport.get_extra_info("related_address")
    if connection._transport_policy is TransportPolicy.RELAY:
        related = ("0.0.0.0", 9)  # noqa: S104 (RFC 9429, 3.5.3: hide our own address, as RFC 8839, 5.1 writes it)
    preference = (65535 if _is_udp(request.server) else TCP_PREFERENCE) - rank
    priority = candidate_priority(component, "relay", preference)
    protocol.local_candidate = _candidate(component, "relay", address, priority, related)
    candidates.append(protocol.local_candidate)


def _candidate(
    component: int, kind: str, address: tuple[str, int], priority: int, related: tuple[str, int] | None = None
) -> Candidate:
    return Candidate(
        foundation=candidate_foundation(kind, "udp", address[0]),
        component=component,
        transport="udp",
        priority=priority,
        host=address[0],
        port=address[1],
        type=kind,
        related_address=related[0] if related else None,
        related_port=related[1] if related else None,
    )

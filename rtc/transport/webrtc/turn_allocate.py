"""One allocation on one TURN server, with what came of it: aioice alone fails in silence.

All of it is asyncio-flavoured.
"""

import asyncio
import socket
import ssl
from enum import Enum
from typing import Any

import aioice.turn
import trio
import trio_asyncio
from aioice.stun import TransactionError
from attrs import define

from rtc.config.ice_servers import IceAddress, IceServer, read_ice_url

REFRESH_TIME = 500
"""Seconds after which a channel is bound anew; it lives 600 (RFC 8656, 12)."""
LIFETIME = 600
"""Seconds that an allocation lives unless refreshed, which aioice does."""
UNAUTHORIZED = (401, 403, 438, 441)
"""Error codes (RFC 8656, 19) that mean: not with these credentials."""
ALLOCATION_MISMATCH = 437
"""The port we come from was another client's a moment ago; another one will do (RFC 8656, 7.4)."""


class TurnOutcome(Enum):
    """What came of asking one server."""

    SILENT = "silent"
    """Nothing came back in time."""
    UNREACHED = "unreached"
    """It cannot be spoken to: its name is not known, its port is shut, or its certificate is not trusted."""
    REFUSED = "refused"
    """It does not know the credentials, or they have expired."""
    UNHELPFUL = "unhelpful"
    """It answered, and would not do it."""
    FOUND = "found"


@define
class TurnAllocation:
    """One server that was asked."""

    server: IceServer
    outcome: TurnOutcome = TurnOutcome.SILENT
    _client: Any = None

    @property
    def has_answered(self) -> bool:
        """It has answered something, so it may have a little longer: over TCP by being there, over UDP by its nonce."""
        client = self._client
        return client is not None and (
            isinstance(client, aioice.turn.TurnClientTcpProtocol) or client.nonce is not None
        )


async def resolve(host: str, port: int, kind: socket.SocketKind, family: int = socket.AF_UNSPEC) -> tuple[str, int]:
    """The address of a name. Through trio, whose look-ups may be abandoned: a silent name server must not hold us up.

    Raises:
        OSError: there is none.
    """
    look_up = trio_asyncio.trio_as_aio(trio.socket.getaddrinfo)
    try:
        found = await look_up(host, port, family=family, type=kind)
    except UnicodeError:
        raise OSError("not a name") from None
    return str(found[0][4][0]), port


async def allocate(allocation: TurnAllocation, make_protocol: Any) -> Any:
    """Allocate on the server; return the protocol from `make_protocol`, or None.

    Its end is aioice's to see to, once the protocol is one of a connection's.
    """
    try:
        protocol, code = await _allocate(allocation, make_protocol)
        if code == ALLOCATION_MISMATCH:
            protocol, _ = await _allocate(allocation, make_protocol)
    except (OSError, ssl.SSLError):
        allocation.outcome = TurnOutcome.UNREACHED
        return None
    return protocol


async def _connect_to_server(server: IceServer, address: IceAddress) -> Any:
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_DGRAM if address.transport == "udp" else socket.SOCK_STREAM
    server_address = await resolve(address.host, address.port, kind)
    arguments = (server_address, server.username, server.credential, LIFETIME, REFRESH_TIME)
    if address.transport == "udp":
        _, client = await loop.create_datagram_endpoint(
            lambda: aioice.turn.TurnClientUdpProtocol(*arguments), remote_addr=server_address
        )
        return client
    secure = ssl.create_default_context() if address.scheme == "turns" else None
    _, tcp_client = await loop.create_connection(
        lambda: aioice.turn.TurnClientTcpProtocol(*arguments),
        *server_address,
        ssl=secure,
        server_hostname=address.host if secure else None,
    )
    return tcp_client


async def _allocate(allocation: TurnAllocation, make_protocol: Any) -> tuple[Any, int | None]:
    """One try: the protocol, or else the error code if there is one."""
    client = allocation._client = await _connect_to_server(allocation.server, read_ice_url(allocation.server.urls))
    protocol, code = make_protocol(), None
    try:
        await aioice.turn.TurnTransport(client)._connect(protocol)
        allocation.outcome = TurnOutcome.FOUND
    except TransactionError as error:
        code = error.response.error_code if error.response is not None else None
        allocation.outcome = _outcome_of(code)
    except ConnectionError:  # an answer that lacks what it must say
        allocation.outcome = TurnOutcome.UNHELPFUL
    finally:
        if allocation.outcome is not TurnOutcome.FOUND:
            client.transport.close()
    return (protocol if allocation.outcome is TurnOutcome.FOUND else None), code


def _outcome_of(code: int | None) -> TurnOutcome:
    if code is None:
        return TurnOutcome.SILENT
    return TurnOutcome.REFUSED if code in UNAUTHORIZED else TurnOutcome.UNHELPFUL

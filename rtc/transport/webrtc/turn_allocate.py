"""Make an allocation on one TURN server and record its outcome; aioice alone does not report why it fails.

Everything here is asyncio-flavoured.
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
"""Seconds after which a TURN channel binding is refreshed; it expires after 600 (RFC 8656, 12)."""
LIFETIME = 600
"""Requested lifetime of an allocation in seconds; aioice refreshes it."""
UNAUTHORIZED = (401, 403, 438, 441)
"""Error codes (RFC 8656, 19) that mean that these credentials are not accepted."""
ALLOCATION_MISMATCH = 437
"""Error code: our source port was used by another client a moment ago; a new socket helps (RFC 8656, 7.4)."""
ALLOCATION_TRIES = 3
"""Sockets to try at most; the system may choose a port again that was used a moment ago."""


class IceServerOutcome(Enum):
    """The outcome of the request to one STUN or TURN server."""

    SILENT = "silent"
    """No answer came in time."""
    UNREACHED = "unreached"
    """No connection: the name is unknown, the port is closed, or the certificate is not trusted."""
    REFUSED = "refused"
    """The server does not accept the credentials, or they have expired."""
    UNHELPFUL = "unhelpful"
    """The server answered with another error, or with an incomplete answer."""
    FOUND = "found"
    """The server returned an address: server-reflexive from STUN, relayed from TURN."""


@define
class IceServerRequest:
    """The request to one STUN or TURN server, and its outcome."""

    server: IceServer
    outcome: IceServerOutcome = IceServerOutcome.SILENT
    _client: Any = None
    """aioice's protocol for the connection to a TURN server."""

    @property
    def has_answered(self) -> bool:
        """Whether the server has answered at all, so that it is worth waiting longer.

        Over TCP, the open connection shows it; over UDP, the nonce from its first answer.
        """
        client = self._client
        return client is not None and (
            isinstance(client, aioice.turn.TurnClientTcpProtocol) or client.nonce is not None
        )


async def resolve(host: str, port: int, kind: socket.SocketKind, family: int = socket.AF_UNSPEC) -> tuple[str, int]:
    """Return the IP address of a host name, with `port`.

    Uses trio's look-up, which can be abandoned when it is cancelled, so that a silent name server does not block us.

    Raises:
        OSError: the name has no address.
    """
    look_up = trio_asyncio.trio_as_aio(trio.socket.getaddrinfo)
    try:
        found = await look_up(host, port, family=family, type=kind)
    except UnicodeError:
        raise OSError("not a name") from None
    return str(found[0][4][0]), port


async def allocate(request: IceServerRequest, make_protocol: Any) -> Any:
    """Allocate a relayed address and return the protocol made by `make_protocol` that uses it; None on failure.

    The outcome is saved in `request`. aioice releases the TURN allocation when it closes the protocol, once the
    protocol is in the list of an aioice connection.
    """
    try:
        for _ in range(ALLOCATION_TRIES):
            protocol, code = await _allocate(request, make_protocol)
            if code != ALLOCATION_MISMATCH:
                break
    except (OSError, ssl.SSLError):
        request.outcome = IceServerOutcome.UNREACHED
        return None
    return protocol


async def _connect_to_server(server: IceServer, address: IceAddress) -> Any:
    """Open a socket to the TURN server and return aioice's client protocol for it.

    Raises:
        OSError: the name is unknown, the server cannot be reached, or its certificate is not trusted.
    """
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


async def _allocate(request: IceServerRequest, make_protocol: Any) -> tuple[Any, int | None]:
    """Send one Allocate request; return the protocol or None, and the server's error code or None."""
    client = request._client = await _connect_to_server(request.server, read_ice_url(request.server.urls))
    protocol, code = make_protocol(), None
    try:
        await aioice.turn.TurnTransport(client)._connect(protocol)
        request.outcome = IceServerOutcome.FOUND
    except TransactionError as error:
        code = error.response.error_code if error.response is not None else None
        request.outcome = _outcome_of(code)
    except ConnectionError:  # an answer without a required attribute
        request.outcome = IceServerOutcome.UNHELPFUL
    finally:
        if request.outcome is not IceServerOutcome.FOUND:
            client.transport.close()
    return (protocol if request.outcome is IceServerOutcome.FOUND else None), code


def _outcome_of(code: int | None) -> IceServerOutcome:
    if code is None:
        return IceServerOutcome.SILENT
    return IceServerOutcome.REFUSED if code in UNAUTHORIZED else IceServerOutcome.UNHELPFUL

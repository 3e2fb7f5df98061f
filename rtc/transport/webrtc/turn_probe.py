"""Test a TURN server: make one allocation (RFC 8656) with the real credentials, and release it at once."""

import asyncio
import ssl
from enum import Enum

from aioice.stun import TransactionError
from aioice.turn import create_turn_endpoint
from attrs import frozen

from rtc.common.errors import RtcError
from rtc.config.ice_servers import IceAddress, IceServer
from rtc.transport.webrtc.asyncio_loop import AsyncioLoop
from rtc.transport.webrtc.turn_allocate import ALLOCATION_MISMATCH, ALLOCATION_TRIES

PROBE_TIME = 5.0
"""Seconds for an allocation; without a firewall in between it takes a tenth of a second."""
RELEASE_TIME = 1.0
"""Seconds for the release of the allocation; without a release it expires after some minutes."""
LIFETIME = 60
"""Requested lifetime of the allocation in seconds; servers may grant more."""
WRONG_CREDENTIALS = (401, 438, 441)
"""Error codes (RFC 8656, 19; RFC 8489, 14.8): unauthenticated, stale nonce, or credentials of another user."""
CODES = {  # other error codes (RFC 8656, 19) as the end of a sentence about the server
    300: "it sends us to another server",
    400: "it does not understand the request",
    403: "it forbids it",
    ALLOCATION_MISMATCH: "it mixes us up with somebody else",
    442: "it does not relay UDP",
    486: "too many allocations of this user are open",
    508: "it is full",
}


class ProbeAnswer(Enum):
    """How a TURN server answered the request for an allocation."""

    GRANTED = "granted"
    SILENT = "silent"
    """No answer came in time."""
    UNREACHED = "unreached"
    """The connection could not be made, or it broke."""
    BAD_CERTIFICATE = "bad_certificate"
    NO_TLS = "no_tls"
    WRONG_CREDENTIALS = "wrong_credentials"
    REFUSED = "refused"
    """The server answered with another error code."""


@frozen
class ProbeResult:
    """The result of a probe; `detail` is the relayed address if one was granted, otherwise a text for people."""

    answer: ProbeAnswer
    detail: str


class _ProbeOwner:
    """The `LoopOwner` of a probe's tasks."""

    def __init__(self) -> None:
        self.over = False

    def fail(self) -> None:
        """Handle the failure of a task of aioice; the probe reports its outcome itself."""
        self.over = True

    async def aclose(self) -> None:
        """Mark the probe as ended; nothing needs closing after `probe_turn` has returned."""
        self.over = True


class _Receiver(asyncio.DatagramProtocol):
    """The receiver of relayed datagrams; it gets none, and only records when the allocation is released."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed.set()


async def probe_turn(asyncio_loop: AsyncioLoop, server: IceServer, address: IceAddress, host: str) -> ProbeResult:
    """Make and release an allocation with the real credentials; takes at most `PROBE_TIME` + `RELEASE_TIME` seconds.

    Args:
        asyncio_loop: the loop that aioice runs on.
        server: its user name and password are used.
        address: the parsed address of the server.
        host: the server's IP address, so that the name is not looked up again; TLS uses the name in `address`.
    """
    context = asyncio_loop.register(_ProbeOwner())
    limit = PROBE_TIME + RELEASE_TIME
    try:
        return await asyncio_loop.run(
            context, _probe, server, address, host, timeout=limit, error_text="No answer came."
        )
    except RtcError:
        return ProbeResult(ProbeAnswer.SILENT, f"no answer within {PROBE_TIME:g} seconds")
    finally:
        asyncio_loop.unregister(context)


async def _probe(server: IceServer, address: IceAddress, host: str) -> ProbeResult:
    """asyncio-flavoured: allocate, and turn each exception into a result.

    The order of the handlers matters: SSLCertVerificationError is an SSLError, and SSLError is an OSError.
    """
    try:
        async with asyncio.timeout(PROBE_TIME):
            return await _allocate_from_a_new_port(server, address, host)
    except TransactionError as error:
        return _refusal(error)
    except ssl.SSLCertVerificationError as error:
        return ProbeResult(
            ProbeAnswer.BAD_CERTIFICATE, f"its certificate is not trusted ({error.verify_message.lower()})"
        )
    except ssl.SSLError:
        return ProbeResult(ProbeAnswer.NO_TLS, "it does not speak TLS there")
    except TimeoutError:
        return ProbeResult(ProbeAnswer.SILENT, f"no answer within {PROBE_TIME:g} seconds")
    except OSError as error:
        return ProbeResult(
            ProbeAnswer.UNREACHED, f"the line to it broke ({(error.strerror or 'unknown reason').lower()})"
        )


async def _allocate_from_a_new_port(server: IceServer, address: IceAddress, host: str) -> ProbeResult:
    """Allocate; if the server says that our port was used a moment ago, try again with another socket."""
    for _ in range(ALLOCATION_TRIES - 1):
        try:
            return await _allocate(server, address, host)
        except TransactionError as error:
            if _error_code(error) != ALLOCATION_MISMATCH:
                raise
    return await _allocate(server, address, host)


async def _allocate(server: IceServer, address: IceAddress, host: str) -> ProbeResult:
    tls = address.scheme == "turns"
    transport, receiver = await create_turn_endpoint(
        _Receiver,
        (address.host if tls else host, address.port),
        server.username,
        server.credential,
        lifetime=LIFETIME,
        ssl=tls or None,
        transport=address.transport,
    )
    relayed = transport.get_extra_info("sockname")[0]
    transport.close()
    try:
        async with asyncio.timeout(RELEASE_TIME):
            await receiver.closed.wait()
    except TimeoutError:
        pass  # it expires after its lifetime
    return ProbeResult(ProbeAnswer.GRANTED, str(relayed))


def _error_code(error: TransactionError) -> int | None:
    """Return the error code of the server's answer, or None if no answer came."""
    return error.response.error_code if error.response is not None else None


def _refusal(error: TransactionError) -> ProbeResult:
    """Return the result for a request that failed with an error code, or without an answer."""
    code = _error_code(error)
    if code is None:
        return ProbeResult(ProbeAnswer.SILENT, f"no answer within {PROBE_TIME:g} seconds")
    if code in WRONG_CREDENTIALS:
        return ProbeResult(ProbeAnswer.WRONG_CREDENTIALS, "it does not accept this user name and password")
    return ProbeResult(ProbeAnswer.REFUSED, f"it refuses ({CODES.get(code, f'code {code}')})")

"""One TURN allocation (RFC 8656), made to see whether it can be, and given back at once."""

import asyncio
import ssl
from enum import Enum

from aioice.stun import TransactionError
from aioice.turn import create_turn_endpoint
from attrs import frozen

from rtc.common.errors import RtcError
from rtc.config.ice_servers import IceAddress, IceServer
from rtc.transport.webrtc.asyncio_loop import AsyncioLoop

PROBE_TIME = 5.0
"""Seconds for an allocation; an open way takes a tenth of one."""
RELEASE_TIME = 1.0
"""Seconds for the server to take it back; otherwise it forgets it after some minutes."""
LIFETIME = 60
"""Seconds the allocation is asked for; servers may give more."""
WRONG_CREDENTIALS = (401, 438, 441)
"""RFC 8656, 19 and RFC 8489, 14.8: not known, out of date, or those of another user."""
CODES = {
    300: "it sends us to another server",
    400: "it does not understand the request",
    403: "it forbids it",
    437: "it mixes us up with somebody else",
    442: "it does not relay UDP",
    486: "too many allocations of this user are open",
    508: "it is full",
}


class ProbeAnswer(Enum):
    """What a TURN server made of it."""

    GRANTED = "granted"
    SILENT = "silent"
    UNREACHED = "unreached"
    BAD_CERTIFICATE = "bad_certificate"
    NO_TLS = "no_tls"
    WRONG_CREDENTIALS = "wrong_credentials"
    REFUSED = "refused"


@frozen
class ProbeResult:
    """The answer; `detail` is the relay's address when it was granted, and else what happened, in words."""

    answer: ProbeAnswer
    detail: str


class _ProbeOwner:
    """What the bridge needs to know about somebody whose tasks run on its loop."""

    def __init__(self) -> None:
        self.over = False

    def fail(self) -> None:
        """A task of aioice has failed; the probe itself says how it went."""
        self.over = True

    async def aclose(self) -> None:
        """Nothing is left once `probe_turn` has returned."""
        self.over = True


class _Receiver(asyncio.DatagramProtocol):
    """Nothing is ever relayed to it; it learns when the allocation is gone."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed.set()


async def probe_turn(asyncio_loop: AsyncioLoop, server: IceServer, address: IceAddress, host: str) -> ProbeResult:
    """Allocate with the real credentials; takes at most `PROBE_TIME` and `RELEASE_TIME`.

    Args:
        bridge: the asyncio room.
        server: whose name and password are used.
        address: its address, taken apart.
        host: the same host as a number, so that no name is looked up again; TLS needs the name.
    """
    context = asyncio_loop.adopt(_ProbeOwner())
    limit = PROBE_TIME + RELEASE_TIME
    try:
        return await asyncio_loop.run(context, _probe, server, address, host, timeout=limit, sentence="No answer came.")
    except RtcError:
        return ProbeResult(ProbeAnswer.SILENT, f"no answer within {PROBE_TIME:g} seconds")
    finally:
        asyncio_loop.release(context)


async def _probe(server: IceServer, address: IceAddress, host: str) -> ProbeResult:
    """asyncio-flavoured. The order matters: a certificate's error is an SSLError, which is an OSError."""
    try:
        async with asyncio.timeout(PROBE_TIME):
            return await _allocate(server, address, host)
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
        pass  # its lifetime ends it
    return ProbeResult(ProbeAnswer.GRANTED, str(relayed))


def _refusal(error: TransactionError) -> ProbeResult:
    code = error.response.error_code if error.response is not None else None
    if code is None:
        return ProbeResult(ProbeAnswer.SILENT, f"no answer within {PROBE_TIME:g} seconds")
    if code in WRONG_CREDENTIALS:
        return ProbeResult(ProbeAnswer.WRONG_CREDENTIALS, "it does not accept this user name and password")
    return ProbeResult(ProbeAnswer.REFUSED, f"it refuses ({CODES.get(code, f'code {code}')})")

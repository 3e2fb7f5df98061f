"""Whether each configured TURN server really relays for us: mistakes there are silent otherwise."""

import trio

from rtc.common.nurseries import first_error
from rtc.config.ice_servers import IceAddress, IceServer, read_ice_url
from rtc.doctor.finding import Finding, fail, ok
from rtc.doctor.udp import ADDRESS_WRONG, ask_stun, resolve, why
from rtc.transport.webrtc.asyncio_loop import AsyncioLoop
from rtc.transport.webrtc.turn_probe import ProbeAnswer, probe_turn

CONNECT_TIME = 3.0
"""Seconds to reach the port, or to learn that it is closed."""
ADVICE = {
    ProbeAnswer.SILENT: "Check host and port, and that no firewall is between; where UDP is blocked, "
    "try ?transport=tcp.",
    ProbeAnswer.UNREACHED: "Check host, port and transport, and that the TURN server runs.",
    ProbeAnswer.BAD_CERTIFICATE: "Renew the certificate, use the name it is made for, or set SSL_CERT_FILE to your "
    "authority's certificate.",
    ProbeAnswer.NO_TLS: "Is it the TLS port? Without TLS, write turn: instead of turns:.",
    ProbeAnswer.WRONG_CREDENTIALS: "Check username and credential in ice_servers. Short-lived ones may have expired.",
    ProbeAnswer.REFUSED: "Ask whoever runs the TURN server: it is full, or does not relay for you.",
}


async def check_turn(server: IceServer, asyncio_loop: AsyncioLoop) -> Finding:
    """A real allocation with the real credentials, given back at once."""
    try:
        address = read_ice_url(server.urls)
    except ValueError:
        return fail("its address cannot be used", ADDRESS_WRONG)
    try:
        where = await _connect(address)
    except ConnectionRefusedError:
        return fail("the port is closed", ADVICE[ProbeAnswer.UNREACHED])
    except trio.TooSlowError:
        return fail(f"no answer within {CONNECT_TIME:g} seconds", ADVICE[ProbeAnswer.SILENT])
    except OSError as error:
        return fail(f"it cannot be reached ({why(error)})", ADVICE[ProbeAnswer.UNREACHED])
    probed = await probe_turn(asyncio_loop, server, address, where)
    if probed.answer is ProbeAnswer.GRANTED:
        return ok(f"relays from {probed.detail}")
    if probed.answer is ProbeAnswer.SILENT and address.transport == "tcp":  # but the port was open a moment ago
        wrong_port = ADVICE[ProbeAnswer.NO_TLS] if address.scheme == "turns" else "Is it a TURN server? Check the port."
        return fail(f"the port is open, but {probed.detail}", wrong_port)
    return fail(probed.detail, ADVICE[probed.answer])


async def _connect(address: IceAddress) -> str:
    """See whether anybody is there, and return the numeric address.

    Raises:
        trio.TooSlowError: nobody answers over TCP. Over UDP that says nothing: a TURN server need not answer STUN.
        OSError: the name is unknown, or the port is closed (`ConnectionRefusedError`).
    """
    _, (host, port) = await resolve(address.host, address.port)
    if address.transport == "tcp":
        with trio.fail_after(CONNECT_TIME):
            try:
                stream = await trio.open_tcp_stream(host, port)
            except OSError as error:
                raise _innermost(error) from None
        await stream.aclose()
        return host
    with trio.move_on_after(CONNECT_TIME / 2):
        await ask_stun(host, port)
    return host


def _innermost(error: BaseException) -> OSError:
    """trio wraps the system's error, which knows best."""
    while True:
        error = first_error(error)
        inner = error.__cause__
        if inner is None:
            return error if isinstance(error, OSError) else OSError(str(error))
        error = inner

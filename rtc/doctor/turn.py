"""Check that a configured TURN server really relays. Without this check, a wrong configuration gives no error."""

import trio

from rtc.common.nurseries import first_error
from rtc.config.ice_servers import IceAddress, IceServer, read_ice_url
from rtc.doctor.finding import Finding, fail, ok
from rtc.doctor.udp import ADDRESS_WRONG, ask_stun, error_text, resolve
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
    """Check a TURN server: make an allocation (RFC 8656) with the configured credentials, and release it at once."""
    try:
        address = read_ice_url(server.urls)
    except ValueError:
        return fail("its address cannot be used", ADDRESS_WRONG)
    try:
        host = await _connect(address)
    except ConnectionRefusedError:
        return fail("the port is closed", ADVICE[ProbeAnswer.UNREACHED])
    except trio.TooSlowError:
        return fail(f"no answer within {CONNECT_TIME:g} seconds", ADVICE[ProbeAnswer.SILENT])
    except OSError as error:
        return fail(f"it cannot be reached ({error_text(error)})", ADVICE[ProbeAnswer.UNREACHED])
    probed = await probe_turn(asyncio_loop, server, address, host)
    if probed.answer is ProbeAnswer.GRANTED:
        return ok(f"relays from {probed.detail}")
    if probed.answer is ProbeAnswer.SILENT and address.transport == "tcp":  # and yet the port has accepted a connection
        wrong_port = ADVICE[ProbeAnswer.NO_TLS] if address.scheme == "turns" else "Is it a TURN server? Check the port."
        return fail(f"the port is open, but {probed.detail}", wrong_port)
    return fail(probed.detail, ADVICE[probed.answer])


async def _connect(address: IceAddress) -> str:
    """Try to reach the server, and return its numeric address.

    Raises:
        trio.TooSlowError: TCP does not connect. Over UDP no answer is no error: a TURN server need not answer STUN.
        OSError: the name is unknown, or the port is closed (`ConnectionRefusedError`).
    """
    _, (host, port) = await resolve(address.host, address.port)
    if address.transport == "tcp":
        with trio.fail_after(CONNECT_TIME):
            try:
                stream = await trio.open_tcp_stream(host, port)
            except OSError as error:
                raise _innermost_cause(error) from None
        await stream.aclose()
        return host
    with trio.move_on_after(CONNECT_TIME / 2):
        await ask_stun(host, port)
    return host


def _innermost_cause(error: BaseException) -> OSError:
    """Return the system's own error, which trio has wrapped; its text is the most precise."""
    while True:
        error = first_error(error)
        inner = error.__cause__
        if inner is None:
            return error if isinstance(error, OSError) else OSError(str(error))
        error = inner

"""Checks of UDP: do datagrams from this machine to itself arrive, and do the configured STUN servers answer."""

import ipaddress
import secrets
import socket

import trio

from rtc.config.ice_servers import IceServer, read_ice_url
from rtc.config.settings import SETTINGS
from rtc.doctor.finding import Finding, fail, ok, warn
from rtc.doctor.stun import TRANSACTION_BYTES, StunAnswer, binding_request, read_answer

RETRY_TIMES = (0.5, 1.0, 2.0, 2.0)
"""Seconds to wait for an answer before the request is sent again (RFC 8489, 6.2.1), and after the last one."""
ROUND_TRIP_TIME = 2.0
"""Seconds for two datagrams from this machine to itself."""
LOOKUP_TIME = 2.0
"""Seconds to resolve one host and find the route to it; a name server that does not answer takes longer."""
LOOPBACK = "127.0.0.1"
DOCUMENTATION_ADDRESSES = ("192.0.2.1", "2001:db8::1")
"""Addresses that belong to nobody (RFC 5737, RFC 3849); their route is the default route, as for the internet."""
ADDRESS_WRONG = f"Write it as ice_servers wants it: {SETTINGS['ice_servers'].expected}"


async def check_udp(destination: str) -> Finding:
    """Check that datagrams from one of this machine's addresses to itself arrive.

    Args:
        destination: a host; the address is checked from which this machine would send to it.
    """
    host = await source_address(destination)
    try:
        await _round_trip(host)
    except (OSError, trio.TooSlowError):
        return fail(
            f"a datagram from {host} to itself does not arrive",
            "A firewall on this machine blocks UDP. Allow it for Python: all links between workers and clients use it.",
        )
    if host == LOOPBACK:
        return warn("datagrams pass, but only within this machine", "No network is up: connect it if it is to be used.")
    return ok(f"datagrams pass, from and to {host}")


async def source_address(destination: str) -> str:
    """Return the address of this machine from which it would send to `destination`.

    Without a route there, the address from which it would send to the internet; loopback if there is no route at all.
    """
    for host in (destination, *DOCUMENTATION_ADDRESSES):
        with trio.move_on_after(LOOKUP_TIME):
            source = await _source_address_for(host)
            if source is not None and not ipaddress.ip_address(source.partition("%")[0]).is_loopback:
                return source
    return LOOPBACK


async def _source_address_for(host: str) -> str | None:
    try:
        family, address = await resolve(host, 9)
        with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
            await sock.connect(address)  # sends nothing: it only looks up the route
            return str(sock.getsockname()[0])
    except OSError:
        return None


async def _round_trip(host: str) -> None:
    """Send a datagram between two sockets at this address of the machine, in both directions.

    Raises:
        OSError: one cannot be sent.
        trio.TooSlowError: one does not arrive within ROUND_TRIP_TIME.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with trio.socket.socket(family, socket.SOCK_DGRAM) as here, trio.socket.socket(family, socket.SOCK_DGRAM) as there:
        await here.bind((host, 0))
        await there.bind((host, 0))
        with trio.fail_after(ROUND_TRIP_TIME):
            await _send_and_receive(here, there)
            await _send_and_receive(there, here)


async def _send_and_receive(sender: trio.socket.SocketType, receiver: trio.socket.SocketType) -> None:
    payload = secrets.token_bytes(16)
    await sender.sendto(payload, receiver.getsockname())
    while (await receiver.recvfrom(64))[0] != payload:
        pass  # a datagram from another program


async def check_stun(server: IceServer) -> Finding:
    """Send a binding request to a configured STUN server, and report the answer."""
    try:
        address = read_ice_url(server.urls)
    except ValueError:
        return fail("its address cannot be used", ADDRESS_WRONG)
    try:
        answer = await ask_stun(address.host, address.port)
    except trio.TooSlowError:
        return fail(
            f"no answer within {sum(RETRY_TIMES):g} seconds",
            "A firewall drops UDP on the way, or nothing runs there. Without it, links only work within one network.",
        )
    except ConnectionRefusedError:
        return fail("the port is closed", "Check the port, and that the STUN server runs.")
    except OSError as error:
        return fail(f"it cannot be reached ({error_text(error)})", "Check its name, and this machine's network.")
    if answer.address is None:
        return fail("its answer holds no address", "Is it a STUN server? Check host and port.")
    return ok(f"sees this machine as {answer.address}")


async def ask_stun(host: str, port: int) -> StunAnswer:
    """Send a STUN binding request, several times if needed, and return the answer.

    Raises:
        trio.TooSlowError: no answer came.
        OSError: the name is unknown, the port is closed (`ConnectionRefusedError`) or there is no route.
    """
    transaction = secrets.token_bytes(TRANSACTION_BYTES)
    family, address = await resolve(host, port)
    with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
        await sock.connect(address)  # so that a closed port raises ConnectionRefusedError
        for retry_time in RETRY_TIMES:
            await sock.send(binding_request(transaction))
            with trio.move_on_after(retry_time):
                while True:
                    if (answer := read_answer(await sock.recv(2048), transaction)) is not None:
                        return answer
    raise trio.TooSlowError


async def resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    """Return address family and address of a host; IPv4 if it has both, as most STUN and TURN servers have only that.

    Raises:
        OSError: the name is unknown.
    """
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except UnicodeError:
        raise OSError("it is no name") from None
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, (str(address[0]), port)


def error_text(error: OSError) -> str:
    """Return the system's text of an error, in lower case."""
    return (error.strerror or str(error) or type(error).__name__).lower()

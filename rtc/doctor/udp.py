"""Whether datagrams come and go: on this machine, and to the STUN servers that are configured."""

import ipaddress
import secrets
import socket

import trio

from rtc.config.ice_servers import IceServer, read_ice_url
from rtc.config.settings import SETTINGS
from rtc.doctor.finding import Finding, fail, ok, warn
from rtc.doctor.stun import TRANSACTION_BYTES, StunAnswer, binding_request, read_answer

PAUSES = (0.5, 1.0, 2.0, 2.0)
"""Seconds to wait for an answer before asking again (RFC 8489, 6.2.1), and after the last time."""
ROUND_TRIP = 2.0
"""Seconds for a datagram from this machine to itself."""
LOOK_UP = 2.0
"""Seconds to find the way to one host; a silent name server takes longer."""
LOOPBACK = "127.0.0.1"
ELSEWHERE = ("192.0.2.1", "2001:db8::1")
"""Nobody's addresses (RFC 5737, RFC 3849), which are routed like the rest of the world's."""
ADDRESS_WRONG = f"Write it as ice_servers wants it: {SETTINGS['ice_servers'].expected}"


async def check_udp(towards: str) -> Finding:
    """A datagram from this machine's own address to itself and back.

    Args:
        towards: a host; the address from which this machine would talk to it is the one that is looked at.
    """
    host = await own_address(towards)
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


async def own_address(towards: str) -> str:
    """The address of this machine on its way to a host, or else into the world; loopback when there is no way."""
    for host in (towards, *ELSEWHERE):
        with trio.move_on_after(LOOK_UP):
            found = await _address_towards(host)
            if found is not None and not ipaddress.ip_address(found.partition("%")[0]).is_loopback:
                return found
    return LOOPBACK


async def _address_towards(host: str) -> str | None:
    try:
        family, where = await resolve(host, 9)
        with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
            await sock.connect(where)  # sends nothing: it only asks the routing table
            return str(sock.getsockname()[0])
    except OSError:
        return None


async def _round_trip(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with trio.socket.socket(family, socket.SOCK_DGRAM) as here, trio.socket.socket(family, socket.SOCK_DGRAM) as there:
        await here.bind((host, 0))
        await there.bind((host, 0))
        with trio.fail_after(ROUND_TRIP):
            await _carry(here, there)
            await _carry(there, here)


async def _carry(sender: trio.socket.SocketType, receiver: trio.socket.SocketType) -> None:
    word = secrets.token_bytes(16)
    await sender.sendto(word, receiver.getsockname())
    while (await receiver.recvfrom(64))[0] != word:
        pass  # somebody else's


async def check_stun(server: IceServer) -> Finding:
    """A real question to a configured STUN server."""
    try:
        address = read_ice_url(server.urls)
    except ValueError:
        return fail("its address cannot be used", ADDRESS_WRONG)
    try:
        answer = await ask_stun(address.host, address.port)
    except trio.TooSlowError:
        return fail(
            f"no answer within {sum(PAUSES):g} seconds",
            "A firewall drops UDP on the way, or nothing runs there. Without it, links only work within one network.",
        )
    except ConnectionRefusedError:
        return fail("the port is closed", "Check the port, and that the STUN server runs.")
    except OSError as error:
        return fail(f"it cannot be reached ({why(error)})", "Check its name, and this machine's network.")
    if answer.address is None:
        return fail("its answer holds no address", "Is it a STUN server? Check host and port.")
    return ok(f"sees this machine as {answer.address}")


async def ask_stun(host: str, port: int) -> StunAnswer:
    """Ask where we are seen, some times over.

    Raises:
        trio.TooSlowError: no answer came.
        OSError: the name is unknown, the port is closed (`ConnectionRefusedError`) or there is no way there.
    """
    transaction = secrets.token_bytes(TRANSACTION_BYTES)
    family, where = await resolve(host, port)
    with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
        await sock.connect(where)  # so that a closed port is told to us
        for pause in PAUSES:
            await sock.send(binding_request(transaction))
            with trio.move_on_after(pause):
                while True:
                    if (answer := read_answer(await sock.recv(2048), transaction)) is not None:
                        return answer
    raise trio.TooSlowError


async def resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    """Address family and address; IPv4 where there is one, as most STUN and TURN servers have only that.

    Raises:
        OSError: the name is not known.
    """
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except UnicodeError:
        raise OSError("it is no name") from None
    family, _, _, _, where = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, (str(where[0]), port)


def why(error: OSError) -> str:
    """The system's own words."""
    return (error.strerror or str(error) or type(error).__name__).lower()

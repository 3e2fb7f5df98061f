"""What a person, or our server, may tell us about reaching peers through NATs: STUN and TURN servers."""

import re

from attrs import field, frozen

from protocol.signaling import IceServerEntry

_URL = re.compile(
    r"(?P<scheme>stun|turns?):(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>\d{1,5}))?"
    r"(\?transport=(?P<transport>udp|tcp))?"
)
"""RFC 7064 and RFC 7065, as far as we can use them: TLS runs over TCP, and nobody offers STUN over anything but UDP."""
PORT, TLS_PORT = 3478, 5349
"""Where STUN and TURN servers listen unless their address says otherwise (RFC 8656, 19)."""


@frozen
class IceAddress:
    """An ICE server's address, taken apart."""

    scheme: str
    """`stun`, `turn` or `turns`."""
    host: str
    port: int
    transport: str
    """`udp` or `tcp`: how we talk to the server; what it relays is UDP in any case."""


def read_ice_url(url: str) -> IceAddress:
    """Take an address such as `turn:host:3478?transport=tcp` apart.

    Raises:
        ValueError: it is none, or of a kind that nothing here can use.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("not an address of a STUN or TURN server")
    scheme, transport = found["scheme"], found["transport"]
    if (scheme == "stun" and transport) or (scheme == "turns" and transport == "udp"):
        raise ValueError("not an address of a STUN or TURN server")
    port = int(found["port"]) if found["port"] else TLS_PORT if scheme == "turns" else PORT
    if not 0 < port < 65536:
        raise ValueError("not an address of a STUN or TURN server")
    return IceAddress(scheme, found["host"].strip("[]"), port, transport or ("tcp" if scheme == "turns" else "udp"))


@frozen
class IceServer:
    """A server that helps two peers to meet (RFC 8489 STUN, RFC 8656 TURN). None is used unless somebody names it."""

    urls: str
    """One address, such as `stun:host:3478` or `turn:host:3478?transport=tcp`."""
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

    @property
    def relays(self) -> bool:
        """Whether it is a TURN server."""
        return self.urls.startswith("turn")


@frozen
class IcePlan:
    """How to look for a path to another peer."""

    servers: tuple[IceServer, ...] = ()
    """The first ones are preferred."""
    relay_only: bool = False
    """Use no path but one through a TURN server (`--relay-only`)."""

    @property
    def can_relay(self) -> bool:
        """Whether any TURN server is known."""
        return any(server.relays for server in self.servers)


def usable_servers(given: tuple[IceServerEntry, ...]) -> tuple[IceServer, ...]:
    """The servers that our server handed out, without those that are not to be used from here."""
    servers = []
    for one in given:
        server = IceServer(one.urls, one.username, one.credential)
        try:
            read_ice_url(server.urls)
        except ValueError:
            continue  # a newer server may know kinds that we do not
        if not server.relays or (server.username and server.credential):
            servers.append(server)
    return tuple(servers)

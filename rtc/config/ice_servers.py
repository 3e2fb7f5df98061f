"""STUN and TURN servers: as a person configures them, or as our signalling server sends them."""

import re

from attrs import field, frozen

from protocol.signaling import IceServerEntry

_URL = re.compile(
    r"(?P<scheme>stun|turns?):(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>\d{1,5}))?"
    r"(\?transport=(?P<transport>udp|tcp))?"
)
"""The addresses of RFC 7064 and RFC 7065 that we can use: TLS only over TCP, and STUN only over UDP."""
PORT, TLS_PORT = 3478, 5349
"""Default ports of STUN and TURN servers, without and with TLS (RFC 7065, 3.2)."""


@frozen
class IceAddress:
    """The parts of an ICE server's address."""

    scheme: str
    """`stun`, `turn` or `turns`."""
    host: str
    port: int
    transport: str
    """`udp` or `tcp`: the transport between us and the server; what it relays to the peer is UDP in any case."""


def read_ice_url(url: str) -> IceAddress:
    """Parse an address such as `turn:host:3478?transport=tcp`.

    Raises:
        ValueError: it is not such an address, or of a kind that we do not support.
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
    """A STUN (RFC 8489) or TURN (RFC 8656) server. There is no default one: only configured servers are used."""

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
    """How a path to another peer is looked for: through which ICE servers, and whether only through TURN servers."""

    servers: tuple[IceServer, ...] = ()
    """In order of preference."""
    relay_only: bool = False
    """Use only paths through a TURN server (`--relay-only`)."""

    @property
    def can_relay(self) -> bool:
        """Whether `servers` contains a TURN server."""
        return any(server.relays for server in self.servers)


def usable_servers(entries: tuple[IceServerEntry, ...]) -> tuple[IceServer, ...]:
    """Return the ICE servers from the signalling server that can be used.

    Left out are addresses of an unknown kind, and TURN servers without credentials.
    """
    servers = []
    for entry in entries:
        server = IceServer(entry.urls, entry.username or None, entry.credential or None)
        try:
            read_ice_url(server.urls)
        except ValueError:
            continue  # a newer signalling server may send kinds that we do not know
        if not server.relays or (server.username and server.credential):
            servers.append(server)
    return tuple(servers)

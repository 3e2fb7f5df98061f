"""The limits that the person who runs the server may set; each is an option of `sleap-rtc server`.

Limits that follow from the protocol, or that nobody would set, are constants beside the code that keeps them.
"""

from ipaddress import IPv4Network, IPv6Network

from attrs import frozen

Network = IPv4Network | IPv6Network


@frozen
class ServerLimits:
    """What the server takes from all together and from one address (an IPv4 address, or an IPv6 /64)."""

    max_connections: int = 1000
    """Places: peers that are in a room, of all rooms together."""
    max_unjoined: int = 200
    """Signalling connections that are in no room yet, handshakes included."""
    max_unjoined_per_address: int = 50
    crowded_percent: int = 90
    """From here on, the places (of the server, or of one room) are shared: see `max_share_percent`."""
    max_share_percent: int = 10
    """Where places are shared, an address that has more of them than this gets no new one."""
    max_http: int = 200
    """Connections to the HTTP port."""
    max_http_per_address: int = 50
    max_rooms_per_hour: int = 20
    """Rooms that one address may make."""
    max_wrong_tokens: int = 10
    """Wrong tokens a minute from one address; the answers to more of them are delayed."""
    max_invitations: int = 64
    """Invitations (short codes, and workers that may be found nearby) that are open in one room; 0 for none at all."""
    max_invitations_per_hour: int = 300
    """Invitations that are made in one room."""
    max_asks: int = 30
    """Invitations that are asked for in a minute from one address, rightly or wrongly; the rest is refused."""
    max_waiting_mb: int = 64
    """MB (2**20 bytes) of messages that wait for peers to read them."""
    rooms_are_open: bool = True
    """Whether everybody may make rooms; otherwise only the administrator."""
    trusted_proxies: tuple[Network, ...] = ()
    """The proxies whose `X-Forwarded-For` is believed."""


DEFAULT_LIMITS = ServerLimits()

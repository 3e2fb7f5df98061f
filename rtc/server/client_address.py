"""Whose request it is: the address that connects, or the one that a trusted proxy names in `X-Forwarded-For`.

Source: https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For. Each proxy appends the address
that connected to it, so only what trusted proxies have appended is believed: the list is read from its right end.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from rtc.server.limits import Network

FORWARDED_FOR = "x-forwarded-for"


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the rightmost address that is no trusted proxy's, or `peer` where that cannot be told.

    Args:
        peer: the address that connected.
        forwarded: the values of all `X-Forwarded-For` headers, in their order.
        trusted: the proxies whose header is believed.
    """
    if not is_trusted(peer, trusted):
        return peer
    for entry in reversed(",".join(forwarded).split(",")):
        address = read_address(entry.strip())
        if address is None:
            return peer
        if not _is_in(address, trusted):
            return str(address)
    return peer


def is_trusted(peer: str, trusted: Sequence[Network]) -> bool:
    """Return whether this is the address of a trusted proxy."""
    address = read_address(peer)
    return address is not None and _is_in(address, trusted)


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an IP address without its zone, an IPv4-mapped one as IPv4 (RFC 4291, 2.5.5.2); None for other texts."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _is_in(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)

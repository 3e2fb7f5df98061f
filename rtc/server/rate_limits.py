"""How much one address or one socket may ask of the server: leaky buckets, with the time handed in.

Each bucket keeps one number per key: the time at which its debt would be paid (the generic cell rate algorithm of
ATM, ITU-T I.371). What nobody has used lately is forgotten, so strangers cannot make it grow.
"""

from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SOCKETS_MAX = 1000
"""Open connections in all."""
WAITING_MAX = 50
"""Connections of one address that are in no room yet."""
JOIN_TIME = 10.0
"""Seconds until a new connection, or one that just made a room, has said what it wants."""
MESSAGE_BURST, MESSAGE_RATE = 100, 20.0
"""Messages of one socket: at once, and per second after that. The reader slows down; nothing is dropped."""
ROOMS_PER_MINUTE = 30
"""Rooms that one address may make."""
GUESSES_PER_MINUTE = 10
"""Wrong tokens from one address; after that, none is looked at until the minute's share is back."""
GUESS_DELAY = 1.0
"""Seconds before an address with no guesses left is told so."""
KEYS_MAX = 10_000
"""Addresses remembered by one bucket."""


class TokenBucket(Generic[K]):
    """`burst` at once for each key, `rate` a second after that."""

    def __init__(self, burst: int, rate: float) -> None:
        self._step = 1 / rate
        self._slack = (burst - 1) * self._step
        self._paid: dict[K, float] = {}

    def wait(self, key: K, now: float) -> float:
        """Seconds until one more would be allowed; 0 when it is. Takes nothing."""
        return max(0.0, self._paid.get(key, now) - self._slack - now)

    def take(self, key: K, now: float) -> None:
        """Count one, allowed or not."""
        paid = max(self._paid.pop(key, now), now) + self._step
        if len(self._paid) >= KEYS_MAX:
            self._forget(now)
        self._paid[key] = paid

    def _forget(self, now: float) -> None:
        """Down to half, so that a crowd of strangers does not make this a job of every call."""
        self._paid = {key: paid for key, paid in self._paid.items() if paid > now}
        for key in list(self._paid)[: len(self._paid) - KEYS_MAX // 2]:  # all in use: those that asked longest ago
            del self._paid[key]


def origin(address: str) -> str:
    """Whom to count: an IPv4 address, or the /64 of an IPv6 address, since one host owns that many."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    return str(ip.ipv4_mapped or IPv6Address(int(ip) >> 64 << 64))


class RateLimits:
    """The server's buckets, shared by its WebSocket and HTTP sides so that nobody has two shares."""

    def __init__(self) -> None:
        self.rooms: TokenBucket[str] = TokenBucket(ROOMS_PER_MINUTE, ROOMS_PER_MINUTE / 60)
        self.guesses: TokenBucket[str] = TokenBucket(GUESSES_PER_MINUTE, GUESSES_PER_MINUTE / 60)
        self.messages: TokenBucket[int] = TokenBucket(MESSAGE_BURST, MESSAGE_RATE)

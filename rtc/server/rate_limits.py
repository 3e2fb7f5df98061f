"""Limits on what one address or one WebSocket may request from the server: token buckets; callers pass in the time.

Each `TokenBucket` stores one number per key: the theoretical arrival time of the generic cell rate algorithm (ATM,
ITU-T I.371). Keys that were not used recently are discarded, so requests from many addresses cannot fill the memory.
"""

import math
from collections.abc import Hashable
from ipaddress import IPv6Address
from typing import Generic, TypeVar

from rtc.server.client_address import read_address
from rtc.server.limits import DEFAULT_LIMITS, ServerLimits

K = TypeVar("K", bound=Hashable)

JOIN_TIME = 10.0
"""Seconds in which a new connection, or one that just created a room, has to send its next request."""
MESSAGE_BURST, MESSAGE_RATE = 100, 20.0
"""Messages of one WebSocket: at once, and per second after that. The server reads more slowly; nothing is dropped."""
OTHERS_COST = 0.1
"""What a message to another peer costs the peer that causes it, in messages of its own; the first one is free. A worker
may announce itself about once a second to a room of 200 clients, after four announcements at once."""
JOIN_BURST, JOIN_RATE = 3000, 20.0
"""Joins of new peers from one address, at once, and per second after that; for a worker, what its coming and leaving
say to others is counted too (`OTHERS_COST`). The server answers more slowly; none is refused. All peers of a full room
cost 2 800: 200 clients, and then 64 workers of which each client hears."""
JOIN_DELAY_MAX = 5.0
"""Seconds that a join is delayed at most: many peers may be behind one address, and one of them must not keep the
others out. As an address has few connections that have not joined yet, the rate of its joins is bounded all the
same."""
REJOIN_BURST, REJOIN_RATE = 100, 1.0
"""The same for one peer that joins again under its own id, whatever others at its address do."""
GUESS_DELAY = 1.0
"""Seconds before an address that has sent too many wrong tokens gets its refusal. Right ones are never delayed."""
GUESSES_FORGOTTEN = 60.0
"""Seconds without wrong tokens after which an address is answered at once again, however many it has sent before."""
TOO_MANY_GUESSES = (
    "The server knows no room of this id that this token opens, and too many wrong tokens came from your address. Check"
    " room id and token, and wait a minute."
)
TOO_MANY_ROOMS = "Too many rooms were made from your address. Use one of them, or try again in an hour."
ROOMS_CLOSED = (
    "On this server only the administrator makes rooms, with `sleap-rtc server admin create-room`. Ask for a room id"
    " and its token, and give both (--room-id, --token)."
)
KEYS_MAX = 10_000
"""Keys (addresses, WebSockets) that one `TokenBucket` stores."""


class TokenBucket(Generic[K]):
    """A rate limit: for each key `burst` requests at once, and `rate` per second after that.

    Args:
        longest: the longest delay in seconds, however many requests were counted.
    """

    def __init__(self, burst: int, rate: float, longest: float = math.inf) -> None:
        self._interval = 1 / rate
        self._tolerance = (burst - 1) * self._interval
        self._longest = longest
        self._arrival_times: dict[K, float] = {}

    def delay(self, key: K, now: float) -> float:
        """Return the seconds until one more request of `key` is allowed, 0 if it is allowed now. Counts nothing."""
        return max(0.0, self._arrival_times.get(key, now) - self._tolerance - now)

    def count(self, key: K, now: float, cost: float = 1.0) -> None:
        """Count one request of `key`, whether it is allowed or not; it may be worth more or less than one.

        With a cost of -1, a request that was counted before and came to nothing is taken back.
        """
        arrival_time = max(self._arrival_times.pop(key, now), now) + cost * self._interval
        arrival_time = min(arrival_time, now + self._tolerance + self._longest)
        if len(self._arrival_times) >= KEYS_MAX:
            self._discard_old(now)
        self._arrival_times[key] = arrival_time

    def _discard_old(self, now: float) -> None:
        """Discard keys until half of `KEYS_MAX` is left, so that with many addresses not every call has to do this."""
        self._arrival_times = {key: time for key, time in self._arrival_times.items() if time > now}
        # if all keys are in use: those whose last request is the oldest
        for key in list(self._arrival_times)[: len(self._arrival_times) - KEYS_MAX // 2]:
            del self._arrival_times[key]


def source_network(address: str) -> str:
    """Return the key under which requests from `address` are counted.

    This is an IPv4 address, or the /64 network of an IPv6 address, since a single host has a whole /64. Text that is
    no IP address is returned as it is.
    """
    ip = read_address(address)
    if ip is None:
        return address
    return str(IPv6Address(int(ip) >> 64 << 64) if isinstance(ip, IPv6Address) else ip)


class RateLimits:
    """The server's rate limits. The WebSocket and the HTTP side share them, so that an address does not get each limit
    twice."""

    def __init__(self, limits: ServerLimits = DEFAULT_LIMITS) -> None:
        self.rooms: TokenBucket[str] = TokenBucket(limits.max_rooms_per_hour, limits.max_rooms_per_hour / 3600)
        self.guesses: TokenBucket[str] = TokenBucket(
            limits.max_wrong_tokens, limits.max_wrong_tokens / 60, GUESSES_FORGOTTEN
        )
        made = limits.max_invitations_per_hour
        self.invitations: TokenBucket[str] = TokenBucket(made, made / 3600)
        self.asks: TokenBucket[str] = TokenBucket(limits.max_asks, limits.max_asks / 60, GUESSES_FORGOTTEN)
        self.messages: TokenBucket[int] = TokenBucket(MESSAGE_BURST, MESSAGE_RATE)
        self.joins: TokenBucket[str] = TokenBucket(JOIN_BURST, JOIN_RATE, JOIN_DELAY_MAX)
        self.rejoins: TokenBucket[str] = TokenBucket(REJOIN_BURST, REJOIN_RATE)

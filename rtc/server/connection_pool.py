"""A bounded number of connections of one kind, of which no address holds more than its part.

A pool is for connections that are in it for a short time, and that may be ended: those that have not joined a room yet,
and those of the HTTP port. When a pool is full, a newcomer displaces the oldest idle connection of the address that has
most, if that has more than the newcomer's. So many addresses that only hold connections keep nobody out.
"""

from typing import Protocol

from attrs import define, field

DISPLACED_MAX = 32
"""Connections of one pool that are being displaced at a time: each needs a descriptor until it is closed."""


class Pooled(Protocol):
    """A connection that may be in a pool."""

    @property
    def is_idle(self) -> bool:
        """Whether it may be displaced now."""
        ...

    def displace(self) -> None:
        """End the connection; does not wait for it."""
        ...


@define(eq=False)
class ConnectionPool:
    """The connections of one kind."""

    size: int
    per_address: int
    _addresses: dict[Pooled, str | None] = field(factory=dict, init=False)
    """The address of each connection, oldest first; None for one that comes from a trusted proxy."""
    _displaced: set[Pooled] = field(factory=set, init=False)

    def __len__(self) -> int:
        return len(self._addresses)

    def admit(self, connection: Pooled, address: str | None) -> bool:
        """Take a connection into the pool, and return whether there was a place for it.

        Args:
            address: whose connection it is; None for a trusted proxy's, which brings those of many.
        """
        if address is not None and self._count(address) >= self.per_address:
            return False
        if len(self) - len(self._displaced) >= self.size and not self._displace_for(address):
            return False
        self._addresses[connection] = address
        return True

    def assign(self, connection: Pooled, address: str) -> bool:
        """Note whose connection it is that a trusted proxy has brought; return False if that address has enough.

        Nothing changes for a connection that is not in the pool.
        """
        if connection not in self._addresses:
            return True
        if self._count(address) >= self.per_address:
            return False
        self._addresses[connection] = address
        return True

    def remove(self, connection: Pooled) -> None:
        """Take a connection out of the pool, if it is in it."""
        self._addresses.pop(connection, None)
        self._displaced.discard(connection)

    def _count(self, address: str) -> int:
        return sum(one == address for one in self._addresses.values())

    def _displace_for(self, address: str | None) -> bool:
        """End one connection of the address that has most, if it has more than this one; return whether it was done."""
        if len(self._displaced) >= DISPLACED_MAX:
            return False
        counts: dict[str, int] = {}
        oldest: dict[str, Pooled] = {}
        for connection, other in self._addresses.items():
            if other is None or connection in self._displaced:
                continue
            counts[other] = counts.get(other, 0) + 1
            if connection.is_idle:
                oldest.setdefault(other, connection)
        own = 0 if address is None else counts.get(address, 0)
        found = max(oldest, key=lambda one: counts[one], default=None)
        if found is None or counts[found] <= own:
            return False
        self._displaced.add(oldest[found])
        oldest[found].displace()
        return True

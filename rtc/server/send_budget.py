"""The memory for messages that wait to be sent: a number of bytes for all outboxes of the server together.

When it is used up, the outbox of a peer that reads slowly is given up: the one whose bytes, times how long the oldest
of them has waited, are the most. "How long" is counted in messages that the server has put since, without a clock.
"""

import sys
from typing import Any, Protocol

import attrs
from attrs import define, field

OBJECT_BYTES = 64
"""A rough size of what Python needs for one object beside its text."""


class Outbox(Protocol):
    """The part of a `PeerOutbox` that a budget uses."""

    @property
    def waiting_bytes(self) -> int:
        """The size of what waits."""
        ...

    @property
    def oldest_number(self) -> int:
        """The number of the message that waits for the longest time."""
        ...

    def give_up(self) -> None:
        """Drop what waits, and end the connection."""
        ...


def size_of(value: Any) -> int:
    """Return how many bytes of memory a message takes, roughly."""
    if isinstance(value, str | bytes):
        return sys.getsizeof(value)
    if isinstance(value, tuple):
        return OBJECT_BYTES + sum(map(size_of, value))
    if attrs.has(type(value)):
        return OBJECT_BYTES + sum(size_of(getattr(value, one.name)) for one in attrs.fields(type(value)))
    return OBJECT_BYTES // 2


@define(eq=False)
class SendBudget:
    """The bytes that wait in the outboxes that share this budget."""

    limit: int
    """Bytes."""
    total: int = field(default=0, init=False)
    _outboxes: set[Outbox] = field(factory=set, init=False)
    """Those in which something waits."""
    _number: int = field(default=0, init=False)
    _last: tuple[Any, int] = field(default=(None, 0), init=False)
    """The message that was measured last, and its size: one message often goes to many."""

    def measure(self, message: object) -> int:
        """Return the size of a message."""
        if self._last[0] is not message:
            self._last = message, size_of(message)
        return self._last[1]

    def next_number(self) -> int:
        """Return the number of a message that is being put."""
        self._number += 1
        return self._number

    def note(self, outbox: Outbox, change: int) -> None:
        """Note that so many bytes more, or fewer, wait in this outbox; give up outboxes until the limit is kept."""
        self.total += change
        if outbox.waiting_bytes:
            self._outboxes.add(outbox)
        else:
            self._outboxes.discard(outbox)
        while self.total > self.limit and self._outboxes:
            max(self._outboxes, key=self._burden).give_up()

    def _burden(self, outbox: Outbox) -> int:
        return outbox.waiting_bytes * (1 + self._number - outbox.oldest_number)

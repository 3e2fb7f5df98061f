"""A room's line of waiting clients: first come, first served. Pure, like the room book that keeps it.

A free worker is promised to the first in line whom it fits, and to nobody else until that client has taken it, says
that nothing came of it (`JoinQueue` again, which keeps its place), or is gone.
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from attrs import define, evolve, field, frozen

from protocol.ids import PeerId
from protocol.signaling import JoinQueue, QueuePosition, WorkerAssigned, WorkerPresent
from protocol.status import Status

S = TypeVar("S")
"""How the keeper of the line names its clients."""


@frozen
class Waiter(Generic[S]):
    """One client in line."""

    who: S
    wish: JoinQueue
    assigned: PeerId | None = None
    told: int = 0
    """The place it was last told."""

    def fits(self, shown: WorkerPresent) -> bool:
        """Whether this worker would do, were it free."""
        named = self.wish.worker is None or self.wish.worker == shown.peer
        return named and shown.facts.memory_mb >= self.wish.min_memory_mb


@define
class WaitQueue(Generic[S]):
    """Who waits, in order, and what is promised to whom."""

    _waiters: list[Waiter[S]] = field(factory=list)
    _unconfirmed: set[PeerId] = field(factory=set)
    """Workers whose promise came to nothing though they called themselves free; believed again at their next word."""

    def __len__(self) -> int:
        return len(self._waiters)

    def join(self, who: S, wish: JoinQueue) -> None:
        """Stand at the end; or, if in line already, keep the place: the promise, if any, came to nothing."""
        for index, waiter in enumerate(self._waiters):
            if waiter.who == who:
                if waiter.assigned is not None:
                    self._unconfirmed.add(waiter.assigned)
                self._waiters[index] = evolve(waiter, wish=wish, assigned=None)
                return
        self._waiters.append(Waiter(who, wish))

    def leave(self, who: S) -> None:
        """Served, or gone."""
        self._waiters = [waiter for waiter in self._waiters if waiter.who != who]

    def rename(self, old: S, new: S) -> None:
        """The same client over another line keeps its place."""
        self._waiters = [evolve(one, who=new, told=0) if one.who == old else one for one in self._waiters]

    def heard(self, worker: PeerId) -> None:
        """The worker has spoken; what it says of itself is believed again."""
        self._unconfirmed.discard(worker)

    def withholds_from(self, who: S, worker: PeerId) -> bool:
        """Whether this worker is promised to somebody else."""
        return any(waiter.assigned == worker and waiter.who != who for waiter in self._waiters)

    def serve(
        self, workers: Iterable[WorkerPresent], tell: Callable[[S, WorkerAssigned | QueuePosition], None]
    ) -> None:
        """Promise what is free, in order; then tell everyone whose place has changed."""
        taken = self._unconfirmed | {waiter.assigned for waiter in self._waiters}
        free = [shown for shown in workers if shown.facts.status is Status.AVAILABLE and shown.peer not in taken]
        free.sort(key=lambda shown: (-shown.facts.memory_mb, shown.peer))
        for index, waiter in enumerate(self._waiters):
            found = next((shown for shown in free if waiter.assigned is None and waiter.fits(shown)), None)
            if found is not None:
                free.remove(found)
                self._waiters[index] = evolve(waiter, assigned=found.peer)
                tell(waiter.who, WorkerAssigned(found.peer))
        for index, waiter in enumerate(self._waiters):
            if waiter.assigned is None and waiter.told != index + 1:
                self._waiters[index] = evolve(waiter, told=index + 1)
                tell(waiter.who, QueuePosition(index + 1, len(self._waiters)))

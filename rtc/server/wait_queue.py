"""The queue of a room's waiting clients: first come, first served. Pure, like the registry in `rooms.py` that uses it.

A free worker is assigned to the first client in the queue whose request it fits, and is withheld from all others. The
client then connects to the worker, submits its job and leaves the queue. An assignment may come to nothing:

- The worker is not reserved within `RESERVATION_TIME`: the client goes to the end of the queue.
- The worker becomes available again, is leaving or is gone, although the client has not left the queue: the client
  keeps its position.
- The client asks again (`JoinQueue`), because it could not connect to the worker or get its job accepted: it keeps its
  position.

In each case the worker goes to the next client at once. A client that has not asked again is assigned no other worker:
it is either still trying to connect, or it is gone.

A worker with a room secret decides itself who may hold it, and the server cannot know who of those in the queue knows
the secret. So that nobody without it can keep such a worker from the others, it is withheld from nobody: it is assigned
to the next client *too* when it is still available after `SHARE_TIME`, and who asks again without having reserved it
goes to the end of the queue.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from attrs import define, evolve, field, frozen

from protocol.ids import PeerId
from protocol.preference import by_preference, takes_jobs
from protocol.signaling import JoinQueue, QueuePosition, WorkerAssigned, WorkerPresent
from protocol.status import Status, WorkerFacts

C = TypeVar("C")
"""The type that identifies a client in the queue; the room registry uses `WebSocketId`."""

RESERVATION_TIME = 45.0
"""Seconds in which an assigned worker must become reserved; otherwise the assignment lapses. A worker is reserved as
soon as it gets the client's offer, normally within 2 seconds. There is time for two offers of a slow client, since the
first may be lost with a connection to the server: each takes up to 8 seconds to prepare and 10 to be given up."""
SHARE_TIME = 2.0
"""Seconds after which a worker with a room secret that is still available is assigned to one more client."""
RETRY_PAUSE = 5.0
"""Seconds in which a worker that is available again goes only to others than the client that could not connect to it.
So a worker that one client can never reach does not stay with that client, and both do not try again without end."""


@frozen
class Waiting:
    """The client waits for a worker."""


@frozen
class Assigned:
    """The client was told its worker, and the worker is still available."""

    worker: PeerId
    lapses: float
    """When the assignment lapses."""
    heard: bool = True
    """False when the client has reconnected since, and so may not have received `WorkerAssigned`."""
    shared_at: float = math.inf
    """When the worker may be assigned to another client too; infinity for a worker without a secret."""
    is_shared: bool = False
    """Whether that time has come."""


@frozen
class Connecting:
    """The client's worker is reserved or busy: most probably for this client, which connects or submits its job."""

    worker: PeerId


@frozen
class Silent:
    """The client's assignment has come to nothing, and the client has not asked again."""


ClientState = Waiting | Assigned | Connecting | Silent


@frozen
class WaitingClient(Generic[C]):
    """One client in the queue."""

    client: C
    request: JoinQueue
    state: ClientState = Waiting()
    reported_position: int = 0
    """The position that was last sent to it, from 1; 0 if it must be told its position in any case."""
    pauses: Mapping[PeerId, float] = field(factory=dict)
    """Workers to which it could not connect, and until when they are not assigned to it again; infinity for a worker
    that has not become available again since."""

    @property
    def worker(self) -> PeerId | None:
        """The worker that is assigned to this client."""
        return self.state.worker if isinstance(self.state, Assigned | Connecting) else None

    @property
    def keeps_worker(self) -> bool:
        """Return whether the worker that is assigned to this client is assigned to no other one meanwhile."""
        return self.worker is not None and not (isinstance(self.state, Assigned) and self.state.is_shared)

    @property
    def loses_position(self) -> bool:
        """Return whether the client, if it asks again now, has not shown that it can reserve a worker with a secret."""
        return isinstance(self.state, Assigned) and self.state.shared_at < math.inf

    def accepts(self, worker: WorkerPresent) -> bool:
        """Return whether this worker fits the client's request; its status does not matter here."""
        named = self.request.worker is None or self.request.worker == worker.peer
        has_gpus = worker.facts.gpus >= self.request.min_gpus
        return named and has_gpus and worker.facts.memory_mb >= self.request.min_memory_mb

    def with_failure(self, worker: PeerId) -> "WaitingClient[C]":
        """Return this client, to which the worker is not assigned again at once."""
        return evolve(self, pauses={**self.pauses, worker: math.inf})

    def asks_again(self, request: JoinQueue) -> "WaitingClient[C]":
        """Return this client after it has sent `JoinQueue` again; it is told its position or its worker in any case."""
        reconnected = isinstance(self.state, Assigned) and not self.state.heard
        failed = self if self.worker is None or reconnected else self.with_failure(self.worker)
        return evolve(failed, request=request, state=Waiting(), reported_position=0)

    def reconnects(self, client: C) -> "WaitingClient[C]":
        """Return this client under its new identity, as far as it knows without a position and a worker."""
        state = evolve(self.state, heard=False) if isinstance(self.state, Assigned) else self.state
        return evolve(self, client=client, state=state, reported_position=0)

    def sees(self, workers: Mapping[PeerId, WorkerFacts], now: float) -> "WaitingClient[C]":
        """Return this client after the worker that is assigned to it, or a worker that it could not reach, has changed.

        A lapsed assignment is not treated here.

        Args:
            workers: the facts of all workers of the room.
            now: the time.
        """
        client = self
        if self.worker is not None:
            facts = workers.get(self.worker)
            if facts is not None and facts.status is not Status.AVAILABLE:
                client = evolve(self, state=Connecting(self.worker))
            elif facts is None or facts.leaving or isinstance(self.state, Connecting):
                client = evolve(self.with_failure(self.worker), state=Silent())
        return evolve(client, pauses=_pauses(client.pauses, workers, now)) if client.pauses else client

    def shares(self, now: float) -> "WaitingClient[C]":
        """Return this client after its worker may be assigned to another client too, if the time for that has come."""
        if isinstance(self.state, Assigned) and self.state.shared_at <= now:
            return evolve(self, state=evolve(self.state, is_shared=True))
        return self

    def has_lapsed(self, now: float) -> bool:
        """Return whether the client has not reserved its worker in time."""
        return isinstance(self.state, Assigned) and self.state.lapses <= now

    def deadline(self) -> float:
        """Return when time alone changes something for this client; infinity for never."""
        match self.state:
            case Assigned(is_shared=False):
                return min(self.state.lapses, self.state.shared_at)
            case Assigned():
                return self.state.lapses
            case Waiting():
                return min(self.pauses.values(), default=math.inf)
            case _:
                return math.inf


def _pauses(
    pauses: Mapping[PeerId, float], workers: Mapping[PeerId, WorkerFacts], now: float
) -> Mapping[PeerId, float]:
    """Return the pauses that go on. The pause after a failure begins when the worker is available again.

    A worker that is gone, or has begun a job since, gets no pause any more: the failure may have been its status alone.
    """
    kept: dict[PeerId, float] = {}
    for worker, until in pauses.items():
        facts = workers.get(worker)
        if facts is None or facts.status is Status.BUSY or until <= now:
            continue
        begins = until == math.inf and facts.status is Status.AVAILABLE
        kept[worker] = now + RETRY_PAUSE if begins else until
    return kept


@define
class WaitQueue(Generic[C]):
    """The waiting clients of one room, in order, and the worker that is assigned to each.

    Every other method is to be followed by `update`, which draws the conclusions and returns what the clients hear.
    """

    _waiting: list[WaitingClient[C]] = field(factory=list)

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, client: C, request: JoinQueue) -> None:
        """Add a client at the end of the queue, or replace the request of one that is in it already.

        A client that sends `JoinQueue` again keeps its position, unless the worker that is assigned to it has a secret
        and is not reserved. If a worker is assigned to it, that assignment has failed, and it is withdrawn.
        """
        for index, waiting in enumerate(self._waiting):
            if waiting.client == client:
                self._put(index, waiting.asks_again(request), at_end=waiting.loses_position)
                return
        self._waiting.append(WaitingClient(client, request))

    def _put(self, index: int, waiting: WaitingClient[C], *, at_end: bool) -> None:
        if at_end:
            del self._waiting[index]
            self._waiting.append(waiting)
        else:
            self._waiting[index] = waiting

    def leave(self, client: C) -> None:
        """Remove a client: a worker has accepted its job, or it waits no longer, or it is gone."""
        self._waiting = [waiting for waiting in self._waiting if waiting.client != client]

    def rename(self, old: C, new: C) -> None:
        """Let a client that has reconnected keep its position and its worker."""
        self._waiting = [waiting.reconnects(new) if waiting.client == old else waiting for waiting in self._waiting]

    def is_assigned_to_another(self, client: C, worker: PeerId) -> bool:
        """Return whether this worker is assigned to a client other than `client`."""
        return any(waiting.worker == worker and waiting.client != client for waiting in self._waiting)

    def next_deadline(self) -> float:
        """Return when `update` must be called although nothing has happened; infinity for never."""
        return min((waiting.deadline() for waiting in self._waiting), default=math.inf)

    def update(
        self, workers: Iterable[WorkerPresent], now: float
    ) -> tuple[tuple[C, WorkerAssigned | QueuePosition], ...]:
        """End the assignments that came to nothing, assign the available workers, and report changed positions.

        Args:
            workers: all workers of the room.
            now: the time, in seconds of any one clock.

        Returns:
            The messages to send, each with its client.
        """
        workers = tuple(workers)
        facts = {worker.peer: worker.facts for worker in workers}
        seen = [waiting.sees(facts, now) for waiting in self._waiting]
        lapsed = [evolve(one, state=Silent(), reported_position=0) for one in seen if one.has_lapsed(now)]
        self._waiting = [*(one.shares(now) for one in seen if not one.has_lapsed(now)), *lapsed]
        return (*self._assign(workers, now), *self._report_positions())

    def _assign(self, workers: Iterable[WorkerPresent], now: float) -> list[tuple[C, WorkerAssigned | QueuePosition]]:
        """Assign the available workers to waiting clients in the order of the queue; return the messages about it."""
        taken = {waiting.worker for waiting in self._waiting if waiting.keeps_worker}
        free = [worker for worker in by_preference(workers) if takes_jobs(worker.facts) and worker.peer not in taken]
        sent: list[tuple[C, WorkerAssigned | QueuePosition]] = []
        for index, waiting in enumerate(self._waiting):
            if not isinstance(waiting.state, Waiting):
                continue
            fits = (worker for worker in free if waiting.accepts(worker) and worker.peer not in waiting.pauses)
            found = next(fits, None)
            if found is not None:
                free.remove(found)
                shared_at = math.inf if found.facts.offer_nonce is None else now + SHARE_TIME
                assigned = Assigned(found.peer, now + RESERVATION_TIME, shared_at=shared_at)
                self._waiting[index] = evolve(waiting, state=assigned)
                sent.append((waiting.client, WorkerAssigned(found.peer)))
        return sent

    def _report_positions(self) -> list[tuple[C, WorkerAssigned | QueuePosition]]:
        """Return the new positions of the clients without a worker whose position has changed."""
        sent: list[tuple[C, WorkerAssigned | QueuePosition]] = []
        for position, waiting in enumerate(self._waiting, 1):
            if waiting.worker is None and waiting.reported_position != position:
                self._waiting[position - 1] = evolve(waiting, reported_position=position)
                sent.append((waiting.client, QueuePosition(position, len(self._waiting))))
        return sent

"""The queue of a room's waiting clients: first come, first served. Pure, like the registry in `rooms.py` that uses it.

A free worker is assigned to the first client in the queue whose request it fits. Until that client has connected to
the worker, reports that the assignment failed (it sends `JoinQueue` again and keeps its position), or is gone, the
worker is assigned to no other client.
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from attrs import define, evolve, field, frozen

from protocol.ids import PeerId
from protocol.signaling import JoinQueue, QueuePosition, WorkerAssigned, WorkerPresent
from protocol.status import Status

C = TypeVar("C")
"""The type that identifies a client in the queue; the room registry uses `WebSocketId`."""


@frozen
class WaitingClient(Generic[C]):
    """One client in the queue."""

    client: C
    request: JoinQueue
    assigned: PeerId | None = None
    reported_position: int = 0
    """The position that was last sent to it, from 1; 0 if none was sent yet."""

    def accepts(self, worker: WorkerPresent) -> bool:
        """Return whether this worker fits the client's request; its status does not matter here."""
        named = self.request.worker is None or self.request.worker == worker.peer
        return named and worker.facts.memory_mb >= self.request.min_memory_mb


@define
class WaitQueue(Generic[C]):
    """The waiting clients of one room, in order, and the worker that is assigned to each."""

    _waiting: list[WaitingClient[C]] = field(factory=list)
    _unconfirmed: set[PeerId] = field(factory=set)
    """Workers whose assignment failed although their status was available. They are not assigned again until they
    announce themselves."""

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, client: C, request: JoinQueue) -> None:
        """Add a client at the end of the queue, or replace the request of one that is in it already.

        A client that sends `JoinQueue` again keeps its position. If a worker was assigned to it, that assignment has
        failed, and it is withdrawn.
        """
        for index, waiting in enumerate(self._waiting):
            if waiting.client == client:
                if waiting.assigned is not None:
                    self._unconfirmed.add(waiting.assigned)
                self._waiting[index] = evolve(waiting, request=request, assigned=None)
                return
        self._waiting.append(WaitingClient(client, request))

    def leave(self, client: C) -> None:
        """Remove a client: it is connected to a worker, or it is gone."""
        self._waiting = [waiting for waiting in self._waiting if waiting.client != client]

    def rename(self, old: C, new: C) -> None:
        """Let a client that has reconnected keep its position; it gets its position reported again."""
        self._waiting = [
            evolve(waiting, client=new, reported_position=0) if waiting.client == old else waiting
            for waiting in self._waiting
        ]

    def confirm(self, worker: PeerId) -> None:
        """Note that the worker has announced itself, so that its status is trusted again."""
        self._unconfirmed.discard(worker)

    def is_assigned_to_another(self, client: C, worker: PeerId) -> bool:
        """Return whether this worker is assigned to a client other than `client`."""
        return any(waiting.assigned == worker and waiting.client != client for waiting in self._waiting)

    def assign(
        self, workers: Iterable[WorkerPresent], send: Callable[[C, WorkerAssigned | QueuePosition], None]
    ) -> None:
        """Assign the available workers to clients in the order of the queue, then report changed positions.

        Args:
            workers: all workers of the room.
            send: sends one message to one client.
        """
        taken = self._unconfirmed | {waiting.assigned for waiting in self._waiting}
        free = [worker for worker in workers if worker.facts.status is Status.AVAILABLE and worker.peer not in taken]
        free.sort(key=lambda worker: (-worker.facts.memory_mb, worker.peer))
        for index, waiting in enumerate(self._waiting):
            found = next((worker for worker in free if waiting.assigned is None and waiting.accepts(worker)), None)
            if found is not None:
                free.remove(found)
                self._waiting[index] = evolve(waiting, assigned=found.peer)
                send(waiting.client, WorkerAssigned(found.peer))
        for index, waiting in enumerate(self._waiting):
            if waiting.assigned is None and waiting.reported_position != index + 1:
                self._waiting[index] = evolve(waiting, reported_position=index + 1)
                send(waiting.client, QueuePosition(index + 1, len(self._waiting)))

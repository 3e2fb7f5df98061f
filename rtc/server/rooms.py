"""The server's room registry: which peers are present in which room, and which messages the server sends about it.

Pure: no sockets, no clock, no random numbers; the caller passes in the time (`now`, in seconds of any one clock). Each
method changes the registry and returns the effects that the caller has to carry out. A `WebSocketId` stands for one
peer's WebSocket. The sender of a message is always the member that joined over this WebSocket, and is never read from
the message itself.
"""

import math
from typing import NewType

from attrs import define, evolve, field, frozen

from protocol.faults import Fault, FaultCode
from protocol.fields import SECONDS_MAX
from protocol.ids import PeerId, RoomId
from protocol.signaling import (
    WORKERS_MAX,
    Answer,
    FromServer,
    Joined,
    JoinQueue,
    Offer,
    Refuse,
    Withdraw,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role, WorkerFacts
from protocol.wire import FRAME_MAX, encode
from rtc.server.wait_queue import WaitQueue

WebSocketId = NewType("WebSocketId", int)
"""One WebSocket that a peer opened to the server; an id is never used twice while the server runs."""
CLIENTS_MAX = 200
"""Maximum number of clients in one room."""
LIST_MAX = FRAME_MAX - 4096
"""Maximum number of bytes of all workers in one `Joined` message; the rest of the frame is for its other fields."""


@frozen
class SendMessage:
    """Effect: send this message over this WebSocket."""

    websocket: WebSocketId
    message: FromServer


@frozen
class CloseSocket:
    """Effect: close this WebSocket, after the messages that were queued for it have been sent."""

    websocket: WebSocketId


RoomEffect = SendMessage | CloseSocket
RoomEffects = tuple[RoomEffect, ...]


@frozen
class RoomMember:
    """A peer that is present in a room, and the WebSocket over which it joined."""

    websocket: WebSocketId
    room: RoomId
    peer: PeerId
    role: Role
    facts: WorkerFacts | None = None
    """The facts that a worker announced last; None for a client."""
    status_since: float = 0.0
    """When a worker entered its present status, by the clock of `now`."""
    unanswered: frozenset[tuple[PeerId, int]] = frozenset()
    """The workers that have neither answered nor refused the offer that this client made to them last, and its
    number."""

    def with_facts(self, facts: WorkerFacts, now: float) -> "RoomMember":
        """Return this worker with new facts; `status_since` becomes `now` only if the status has changed."""
        same = self.facts is not None and self.facts.status is facts.status
        return evolve(self, facts=facts, status_since=self.status_since if same else now)

    def as_present(self, now: float) -> WorkerPresent:
        """Return the message that describes this worker to clients. The member must be a worker."""
        assert self.facts is not None, "only workers are shown"
        return WorkerPresent(self.peer, self.facts, min(max(0, int(now - self.status_since)), SECONDS_MAX))


def reject(websocket: WebSocketId, code: FaultCode, text: str) -> RoomEffects:
    """Return the effects that send a fault over the WebSocket and then close it."""
    return (SendMessage(websocket, Fault(code, text)), CloseSocket(websocket))


def _joined(member: RoomMember, resume: str, workers: tuple[WorkerPresent, ...]) -> RoomEffects:
    """Return the effects that send `Joined`, with the room's workers, to a peer.

    Workers that would make the frame of `Joined` too long follow in a message each. Facts may contain any characters,
    and JSON writes some of them as six bytes or more, so without this a hostile worker with long facts could keep
    clients from joining.
    """
    size, fit = 0, 0
    for worker in workers:
        size += len(encode(worker))
        if size > LIST_MAX:
            break
        fit += 1
    joined = SendMessage(member.websocket, Joined(member.room, member.peer, resume, workers[:fit]))
    return (joined, *(SendMessage(member.websocket, worker) for worker in workers[fit:]))


@define
class RoomRegistry:
    """The members and wait queues of all rooms. A room has an entry only while a peer is in it."""

    _members: dict[WebSocketId, RoomMember] = field(factory=dict)
    _rooms: dict[RoomId, dict[PeerId, RoomMember]] = field(factory=dict)
    _queues: dict[RoomId, WaitQueue[WebSocketId]] = field(factory=dict)

    def member_of(self, websocket: WebSocketId) -> RoomMember | None:
        """Return the member that joined over this WebSocket, or None if none did."""
        return self._members.get(websocket)

    def has_peer(self, room: RoomId, peer: PeerId) -> bool:
        """Return whether a peer with this id is in the room now."""
        return peer in self._rooms.get(room, {})

    def websocket_in(self, room: RoomId, peer: PeerId) -> WebSocketId | None:
        """Return the WebSocket of this peer in this room; None if it is not there."""
        found = self._rooms.get(room, {}).get(peer)
        return found.websocket if found is not None else None

    def workers(self, room: RoomId, now: float) -> tuple[WorkerPresent, ...]:
        """Return the workers of a room with the facts they announced last, sorted by peer id."""
        members = sorted(self._rooms.get(room, {}).values(), key=lambda member: member.peer)
        return tuple(member.as_present(now) for member in members if member.facts is not None)

    def join(
        self,
        websocket: WebSocketId,
        room: RoomId,
        peer: PeerId,
        role: Role,
        facts: WorkerFacts | None,
        resume: str,
        now: float,
    ) -> RoomEffects:
        """Add a peer to a room, and return the effects: `Joined` for it, and for clients the new worker.

        The caller has checked the room's token. `peer` is either a new id or one that the peer has proven to be its
        own. If that id still has a WebSocket, the old one is dead or a duplicate: it gets a fault and is closed, and
        the other peers of the room do not notice.

        Args:
            resume: the proof with which the peer can get the same id back later.
        """
        if websocket in self._members:
            return reject(
                websocket, FaultCode.BAD_MESSAGE, "You are in a room already; open another connection to join."
            )
        if role is Role.WORKER and facts is None:
            return reject(websocket, FaultCode.BAD_MESSAGE, "A worker joins with its facts, and none came.")
        old = self._rooms.get(room, {}).get(peer)
        if old is None and self._is_full(room, role):
            kind = "workers" if role is Role.WORKER else "clients"
            return reject(websocket, FaultCode.ROOM_FULL, f"The room has as many {kind} as it can take. Try later.")
        member = evolve(old or RoomMember(websocket, room, peer, role), websocket=websocket)
        if role is Role.WORKER and facts is not None:
            member = member.with_facts(facts, now)
        effects = self._replace_connection(old) if old is not None else ()
        self._store(member)
        if old is not None and room in self._queues:
            self._queues[room].rename(old.websocket, websocket)
        workers = self.workers(room, now) if role is Role.CLIENT else ()
        joined = (*_joined(member, resume, workers), *self._broadcast(member, now))
        return (*effects, *joined, *self._update_queue(room, now))

    def announce(self, websocket: WebSocketId, facts: WorkerFacts, now: float) -> RoomEffects:
        """Save a worker's new facts, and send them to the clients of its room.

        Facts that are equal to the last ones have no effect.
        """
        member = self._members.get(websocket)
        if member is None:
            return ()
        if member.role is not Role.WORKER:
            return reject(websocket, FaultCode.BAD_MESSAGE, "Only a worker can announce itself.")
        if member.facts == facts:
            return ()
        member = member.with_facts(facts, now)
        self._store(member)
        return (*self._broadcast(member, now), *self._update_queue(member.room, now))

    def join_queue(self, websocket: WebSocketId, request: JoinQueue, now: float) -> RoomEffects:
        """Add a client to its room's queue; if it is in the queue already, its last assignment has failed."""
        member = self._members.get(websocket)
        if member is None:
            return ()
        if member.role is not Role.CLIENT:
            return reject(websocket, FaultCode.BAD_MESSAGE, "Only a client can wait for a worker.")
        self._queues.setdefault(member.room, WaitQueue()).join(websocket, request)
        return self._update_queue(member.room, now)

    def leave_queue(self, websocket: WebSocketId, now: float) -> RoomEffects:
        """Remove a client from its room's queue, because a worker has accepted its job or it no longer waits."""
        member = self._members.get(websocket)
        return self._leave_queue(member, now) if member is not None else ()

    def next_deadline(self) -> float:
        """Return when `lapse` must be called; infinity for never. Any other method may bring it forward."""
        return min((queue.next_deadline() for queue in self._queues.values()), default=math.inf)

    def lapse(self, now: float) -> RoomEffects:
        """Withdraw the assignments that have lapsed, and assign those workers to the next clients of their queues."""
        rooms = [room for room, queue in self._queues.items() if queue.next_deadline() <= now]
        return tuple(effect for room in rooms for effect in self._update_queue(room, now))

    def relay(self, websocket: WebSocketId, message: Offer | Answer | Refuse | Withdraw) -> RoomEffects:
        """Return the effect that sends a message on to the peer it names; its `peer` becomes the sender.

        Offers and their withdrawals go from clients to workers, answers and refusals from workers to clients. If the
        worker of an offer is absent or assigned to another client, the sender gets a `Refuse`. An assignment does not
        hold back an offer that names a job: a worker serves the owners of its jobs in any state, and such an offer does
        not reserve it. Nor does it hold back an offer to a worker with a room secret, which decides itself who may hold
        it. An answer, a refusal or a withdrawal whose addressee is gone is dropped, since nobody waits for
        it.
        """
        member = self._members.get(websocket)
        if member is None:
            return ()
        is_offer = isinstance(message, Offer)
        if isinstance(message, Offer | Withdraw) is (member.role is Role.WORKER):
            return reject(websocket, FaultCode.BAD_MESSAGE, "Clients make offers, and workers answer them.")
        target = self._rooms[member.room].get(message.peer)
        if target is None or target.role is member.role:
            gone = Fault(FaultCode.NO_WORKER, "No such worker is in the room now. Look at the room's list again.")
            return (SendMessage(websocket, Refuse(message.peer, gone, message.number)),) if is_offer else ()
        if isinstance(message, Offer) and self._is_withheld(member, target, message):
            taken = Fault(FaultCode.WORKER_BUSY, "The worker is promised to somebody who waited for it. Try --wait.")
            return (SendMessage(websocket, Refuse(message.peer, taken, message.number)),)
        relayed = evolve(message, peer=member.peer)
        if isinstance(message, Offer):
            others = {offer for offer in member.unanswered if offer[0] != target.peer}
            self._store(evolve(member, unanswered=frozenset({*others, (target.peer, message.number)})))
        elif isinstance(message, Withdraw):
            self._forget_offers(member, target.peer, message.number)
        else:
            self._forget_offers(target, member.peer, message.number)
        return (SendMessage(target.websocket, relayed),)

    def _is_withheld(self, client: RoomMember, worker: RoomMember, offer: Offer) -> bool:
        """Return whether the worker of this offer is assigned to another client, and kept for that one."""
        queue = self._queues.get(client.room)
        has_secret = worker.facts is not None and worker.facts.offer_nonce is not None
        if queue is None or offer.job is not None or has_secret:
            return False
        return queue.is_assigned_to_another(client.websocket, worker.peer)

    def websocket_of(self, websocket: WebSocketId, peer: PeerId) -> WebSocketId | None:
        """Return the WebSocket of this peer in the room of the member that joined over `websocket`; None for nobody."""
        member = self._members.get(websocket)
        found = self._rooms[member.room].get(peer) if member is not None else None
        return found.websocket if found is not None else None

    def leave(self, websocket: WebSocketId, now: float) -> RoomEffects:
        """Remove the member of a closed WebSocket.

        The effects send `WorkerLeft` to the clients if it was a worker, and if it was a client `Withdraw` to the
        workers that have not answered its offers, so that none is kept by a client that is gone.
        """
        member = self._members.pop(websocket, None)
        if member is None:
            return ()
        peers = self._rooms[member.room]
        del peers[member.peer]
        if not peers:
            del self._rooms[member.room]
        if member.role is not Role.WORKER:
            offers = ((peers[worker], number) for worker, number in sorted(member.unanswered) if worker in peers)
            withdrawals = (SendMessage(worker.websocket, Withdraw(member.peer, number)) for worker, number in offers)
            return (*withdrawals, *self._leave_queue(member, now))
        for client in tuple(peers.values()):
            self._forget_offers(client, member.peer, math.inf)
        left = (SendMessage(client, WorkerLeft(member.peer)) for client in self._clients(member.room))
        return (*left, *self._update_queue(member.room, now))

    def _store(self, member: RoomMember) -> None:
        """Add a member, or replace what was stored about it."""
        self._members[member.websocket] = member
        self._rooms.setdefault(member.room, {})[member.peer] = member

    def _forget_offers(self, client: RoomMember, worker: PeerId, number: float) -> None:
        """Note that the client awaits no answer of this worker to its offers up to this number."""
        left = frozenset(offer for offer in client.unanswered if offer[0] != worker or offer[1] > number)
        if left != client.unanswered:
            self._store(evolve(client, unanswered=left))

    def _leave_queue(self, member: RoomMember, now: float) -> RoomEffects:
        if member.room not in self._queues:
            return ()
        self._queues[member.room].leave(member.websocket)
        effects = self._update_queue(member.room, now)
        if not self._queues[member.room]:
            del self._queues[member.room]
        return effects

    def _update_queue(self, room: RoomId, now: float) -> RoomEffects:
        """Assign free workers to the clients in the room's queue; return the messages about it and about positions."""
        if room not in self._queues:
            return ()
        return tuple(SendMessage(*sent) for sent in self._queues[room].update(self.workers(room, now), now))

    def _replace_connection(self, member: RoomMember) -> RoomEffects:
        """Remove the entry of a member's old WebSocket, and return the effects that close it."""
        del self._members[member.websocket]
        text = "The same peer has joined again over another connection."
        return reject(member.websocket, FaultCode.SERVER_LOST, text)

    def _is_full(self, room: RoomId, role: Role) -> bool:
        limit = WORKERS_MAX if role is Role.WORKER else CLIENTS_MAX
        return sum(member.role is role for member in self._rooms.get(room, {}).values()) >= limit

    def _clients(self, room: RoomId) -> tuple[WebSocketId, ...]:
        return tuple(member.websocket for member in self._rooms.get(room, {}).values() if member.role is Role.CLIENT)

    def _broadcast(self, member: RoomMember, now: float) -> RoomEffects:
        """Return the messages that describe a worker to all clients of its room; none if the member is a client."""
        if member.facts is None:
            return ()
        worker = member.as_present(now)
        return tuple(SendMessage(client, worker) for client in self._clients(member.room))

"""The server's room book: who is present, and which words that makes the server say.

Pure: no sockets, no clock, no chance; whoever asks says what time it is (`now`, in seconds of any one clock). Each
method changes the book and returns the orders that follow. A socket stands for one connection; the name of a sender is
always taken from the socket's own seat, never from a message.
"""

from typing import NewType

from attrs import define, evolve, field, frozen

from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.signaling import (
    WORKERS_MAX,
    Answer,
    FromServer,
    Joined,
    JoinQueue,
    Offer,
    Refuse,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role, WorkerFacts
from protocol.wire import FRAME_MAX, encode
from rtc.server.wait_queue import WaitQueue

SocketId = NewType("SocketId", int)
"""One connection to the server; never used twice in the life of a server."""
CLIENTS_MAX = 200
"""Clients in one room."""
LIST_MAX = FRAME_MAX - 4096
"""Bytes of workers in one `Joined`; the rest of the frame is for everything around them."""


@frozen
class SendMessage:
    """Send this message on this socket."""

    socket: SocketId
    message: FromServer


@frozen
class CloseSocket:
    """Close this socket, after what was posted to it has left."""

    socket: SocketId


RoomEffect = SendMessage | CloseSocket
RoomEffects = tuple[RoomEffect, ...]


@frozen
class RoomMember:
    """One present peer."""

    socket: SocketId
    room: RoomId
    peer: PeerId
    role: Role
    facts: WorkerFacts | None = None
    since: float = 0.0
    """When a worker took its present status."""

    def with_facts(self, facts: WorkerFacts, now: float) -> "RoomMember":
        """The same worker with news; only another status starts its time anew."""
        same = self.facts is not None and self.facts.status is facts.status
        return evolve(self, facts=facts, since=self.since if same else now)

    def shown(self, now: float) -> WorkerPresent:
        """What clients are told of the worker who sits here."""
        assert self.facts is not None, "only workers are shown"
        return WorkerPresent(self.peer, self.facts, max(0, int(now - self.since)))


def reject(socket: SocketId, code: FaultCode, text: str) -> RoomEffects:
    """Say why, then close."""
    return (SendMessage(socket, Fault(code, text)), CloseSocket(socket))


def _joined(member: RoomMember, resume: str, workers: tuple[WorkerPresent, ...]) -> RoomEffects:
    """The welcome. Workers that would make its frame too long follow one by one: facts may hold any script, and a
    hostile worker must not be able to shut the door on clients."""
    size, fit = 0, 0
    for shown in workers:
        size += len(encode(shown))
        if size > LIST_MAX:
            break
        fit += 1
    welcome = SendMessage(member.socket, Joined(member.room, member.peer, resume, workers[:fit]))
    return (welcome, *(SendMessage(member.socket, shown) for shown in workers[fit:]))


@define
class RoomRegistry:
    """Presence in all rooms. A room exists here only while somebody is in it."""

    _members: dict[SocketId, RoomMember] = field(factory=dict)
    _rooms: dict[RoomId, dict[PeerId, RoomMember]] = field(factory=dict)
    _queues: dict[RoomId, WaitQueue[SocketId]] = field(factory=dict)

    def member_of(self, socket: SocketId) -> RoomMember | None:
        """Where this socket sits, if it does."""
        return self._members.get(socket)

    def is_here(self, room: RoomId, peer: PeerId) -> bool:
        """Whether this name is taken in this room now."""
        return peer in self._rooms.get(room, {})

    def workers(self, room: RoomId, now: float) -> tuple[WorkerPresent, ...]:
        """The workers of a room as they last described themselves, by name."""
        seats = sorted(self._rooms.get(room, {}).values(), key=lambda member: member.peer)
        return tuple(member.shown(now) for member in seats if member.facts is not None)

    def enter(
        self,
        socket: SocketId,
        room: RoomId,
        peer: PeerId,
        role: Role,
        facts: WorkerFacts | None,
        resume: str,
        now: float,
    ) -> RoomEffects:
        """Seat a peer whose token opened the room, under a name that is new or that it has proven to own.

        If that name still has a socket, its line is dead or doubled: the old socket is told so and closed, and the
        room sees no gap.
        """
        if socket in self._members:
            return reject(socket, FaultCode.BAD_MESSAGE, "You are in a room already; open another line to join.")
        if role is Role.WORKER and facts is None:
            return reject(socket, FaultCode.BAD_MESSAGE, "A worker joins with its facts, and none came.")
        old = self._rooms.get(room, {}).get(peer)
        if old is None and self._is_full(room, role):
            kind = "workers" if role is Role.WORKER else "clients"
            return reject(socket, FaultCode.ROOM_FULL, f"The room has as many {kind} as it can take. Try later.")
        member = RoomMember(socket, room, peer, role)
        if role is Role.WORKER and facts is not None:
            member = evolve(old or member, socket=socket).with_facts(facts, now)
        effects = self._remove(old) if old is not None else ()
        self._members[socket] = member
        self._rooms.setdefault(room, {})[peer] = member
        if old is not None and room in self._queues:
            self._queues[room].rename(old.socket, socket)
        known = self.workers(room, now) if role is Role.CLIENT else ()
        return (*effects, *_joined(member, resume, known), *self._show(member, now), *self._serve(room))

    def announce(self, socket: SocketId, facts: WorkerFacts, now: float) -> RoomEffects:
        """A worker has news about itself; the clients of its room hear it. The same words twice are no news."""
        member = self._members.get(socket)
        if member is None:
            return ()
        if member.role is not Role.WORKER:
            return reject(socket, FaultCode.BAD_MESSAGE, "Only a worker can announce itself.")
        if member.facts == facts:
            return ()
        member = member.with_facts(facts, now)
        self._members[socket] = self._rooms[member.room][member.peer] = member
        if member.room in self._queues:
            self._queues[member.room].heard(member.peer)
        return (*self._show(member, now), *self._serve(member.room))

    def join_queue(self, socket: SocketId, wish: JoinQueue) -> RoomEffects:
        """A client stands in its room's line, or says that a promise came to nothing."""
        member = self._members.get(socket)
        if member is None:
            return ()
        if member.role is not Role.CLIENT:
            return reject(socket, FaultCode.BAD_MESSAGE, "Only a client can wait for a worker.")
        self._queues.setdefault(member.room, WaitQueue()).join(socket, wish)
        return self._serve(member.room)

    def leave_queue(self, socket: SocketId) -> RoomEffects:
        """A client has what it waited for."""
        member = self._members.get(socket)
        return self._leave_queue(member) if member is not None else ()

    def relay(self, socket: SocketId, message: Offer | Answer | Refuse) -> RoomEffects:
        """Carry a word to the peer it names, with the sender's name in its place.

        Offers go from clients to workers, the others back. An offer that reaches nobody is answered; an answer that
        reaches nobody has lost its asker, so there is nobody to tell.
        """
        member = self._members.get(socket)
        if member is None:
            return ()
        asks = isinstance(message, Offer)
        if asks is (member.role is Role.WORKER):
            return reject(socket, FaultCode.BAD_MESSAGE, "Clients make offers, and workers answer them.")
        target = self._rooms[member.room].get(message.peer)
        if target is None or target.role is member.role:
            gone = Fault(FaultCode.NO_WORKER, "No such worker is in the room now. Look at the room's list again.")
            return (SendMessage(socket, Refuse(message.peer, gone)),) if asks else ()
        if asks and member.room in self._queues and self._queues[member.room].withholds_from(socket, message.peer):
            taken = Fault(FaultCode.WORKER_BUSY, "The worker is promised to somebody who waited for it. Try --wait.")
            return (SendMessage(socket, Refuse(message.peer, taken)),)
        carried = evolve(message, peer=member.peer)
        if len(encode(carried)) > FRAME_MAX:  # raw UTF-8 grows when it is written as ASCII again
            return reject(socket, FaultCode.BAD_MESSAGE, "The message is too long to be passed on.")
        return (SendMessage(target.socket, carried),)

    def leave(self, socket: SocketId) -> RoomEffects:
        """The socket is gone; if a worker sat there, the clients of its room hear it."""
        member = self._members.pop(socket, None)
        if member is None:
            return ()
        peers = self._rooms[member.room]
        del peers[member.peer]
        if not peers:
            del self._rooms[member.room]
        if member.role is not Role.WORKER:
            return self._leave_queue(member)
        return tuple(SendMessage(client, WorkerLeft(member.peer)) for client in self._clients(member.room))

    def _leave_queue(self, member: RoomMember) -> RoomEffects:
        if member.room not in self._queues:
            return ()
        self._queues[member.room].leave(member.socket)
        effects = self._serve(member.room)
        if not self._queues[member.room]:
            del self._queues[member.room]
        return effects

    def _serve(self, room: RoomId) -> RoomEffects:
        """Promise what is free to those who wait, and tell them where they stand."""
        effects: list[RoomEffect] = []
        if room in self._queues:
            seats = self._rooms.get(room, {}).values()
            workers = [member.shown(member.since) for member in seats if member.facts is not None]
            self._queues[room].serve(workers, lambda who, news: effects.append(SendMessage(who, news)))
        return tuple(effects)

    def _remove(self, member: RoomMember) -> RoomEffects:
        del self._members[member.socket]
        return reject(member.socket, FaultCode.SERVER_LOST, "The same peer has joined again over another line.")

    def _is_full(self, room: RoomId, role: Role) -> bool:
        most = WORKERS_MAX if role is Role.WORKER else CLIENTS_MAX
        return sum(member.role is role for member in self._rooms.get(room, {}).values()) >= most

    def _clients(self, room: RoomId) -> tuple[SocketId, ...]:
        return tuple(member.socket for member in self._rooms.get(room, {}).values() if member.role is Role.CLIENT)

    def _show(self, member: RoomMember, now: float) -> RoomEffects:
        if member.facts is None:
            return ()
        news = member.shown(now)
        return tuple(SendMessage(client, news) for client in self._clients(member.room))

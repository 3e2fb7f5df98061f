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
    Offer,
    Refuse,
    Wait,
    WorkerGone,
    WorkerShown,
)
from protocol.status import Role, WorkerFacts
from protocol.wire import FRAME_MAX, encode
from rtc.server.wait_queue import WaitingLine

SocketId = NewType("SocketId", int)
"""One connection to the server; never used twice in the life of a server."""
CLIENTS_MAX = 200
"""Clients in one room."""
LIST_MAX = FRAME_MAX - 4096
"""Bytes of workers in one `Joined`; the rest of the frame is for everything around them."""


@frozen
class Post:
    """Send this message on this socket."""

    socket: SocketId
    message: FromServer


@frozen
class Close:
    """Close this socket, after what was posted to it has left."""

    socket: SocketId


Order = Post | Close
Orders = tuple[Order, ...]


@frozen
class Seat:
    """One present peer."""

    socket: SocketId
    room: RoomId
    peer: PeerId
    role: Role
    facts: WorkerFacts | None = None
    since: float = 0.0
    """When a worker took its present status."""

    def with_facts(self, facts: WorkerFacts, now: float) -> "Seat":
        """The same worker with news; only another status starts its time anew."""
        same = self.facts is not None and self.facts.status is facts.status
        return evolve(self, facts=facts, since=self.since if same else now)

    def shown(self, now: float) -> WorkerShown:
        """What clients are told of the worker who sits here."""
        assert self.facts is not None, "only workers are shown"
        return WorkerShown(self.peer, self.facts, max(0, int(now - self.since)))


def turn_away(socket: SocketId, code: FaultCode, text: str) -> Orders:
    """Say why, then close."""
    return (Post(socket, Fault(code, text)), Close(socket))


def _joined(seat: Seat, resume: str, workers: tuple[WorkerShown, ...]) -> Orders:
    """The welcome. Workers that would make its frame too long follow one by one: facts may hold any script, and a
    hostile worker must not be able to shut the door on clients."""
    size, fit = 0, 0
    for shown in workers:
        size += len(encode(shown))
        if size > LIST_MAX:
            break
        fit += 1
    welcome = Post(seat.socket, Joined(seat.room, seat.peer, resume, workers[:fit]))
    return (welcome, *(Post(seat.socket, shown) for shown in workers[fit:]))


@define
class RoomBook:
    """Presence in all rooms. A room exists here only while somebody is in it."""

    _seats: dict[SocketId, Seat] = field(factory=dict)
    _rooms: dict[RoomId, dict[PeerId, Seat]] = field(factory=dict)
    _lines: dict[RoomId, WaitingLine[SocketId]] = field(factory=dict)

    def seat_of(self, socket: SocketId) -> Seat | None:
        """Where this socket sits, if it does."""
        return self._seats.get(socket)

    def is_here(self, room: RoomId, peer: PeerId) -> bool:
        """Whether this name is taken in this room now."""
        return peer in self._rooms.get(room, {})

    def workers(self, room: RoomId, now: float) -> tuple[WorkerShown, ...]:
        """The workers of a room as they last described themselves, by name."""
        seats = sorted(self._rooms.get(room, {}).values(), key=lambda seat: seat.peer)
        return tuple(seat.shown(now) for seat in seats if seat.facts is not None)

    def enter(
        self,
        socket: SocketId,
        room: RoomId,
        peer: PeerId,
        role: Role,
        facts: WorkerFacts | None,
        resume: str,
        now: float,
    ) -> Orders:
        """Seat a peer whose token opened the room, under a name that is new or that it has proven to own.

        If that name still has a socket, its line is dead or doubled: the old socket is told so and closed, and the
        room sees no gap.
        """
        if socket in self._seats:
            return turn_away(socket, FaultCode.BAD_MESSAGE, "You are in a room already; open another line to join.")
        if role is Role.WORKER and facts is None:
            return turn_away(socket, FaultCode.BAD_MESSAGE, "A worker joins with its facts, and none came.")
        old = self._rooms.get(room, {}).get(peer)
        if old is None and self._is_full(room, role):
            kind = "workers" if role is Role.WORKER else "clients"
            return turn_away(socket, FaultCode.ROOM_FULL, f"The room has as many {kind} as it can take. Try later.")
        seat = Seat(socket, room, peer, role)
        if role is Role.WORKER and facts is not None:
            seat = evolve(old or seat, socket=socket).with_facts(facts, now)
        orders = self._unseat(old) if old is not None else ()
        self._seats[socket] = seat
        self._rooms.setdefault(room, {})[peer] = seat
        if old is not None and room in self._lines:
            self._lines[room].rename(old.socket, socket)
        known = self.workers(room, now) if role is Role.CLIENT else ()
        return (*orders, *_joined(seat, resume, known), *self._show(seat, now), *self._serve(room))

    def announce(self, socket: SocketId, facts: WorkerFacts, now: float) -> Orders:
        """A worker has news about itself; the clients of its room hear it. The same words twice are no news."""
        seat = self._seats.get(socket)
        if seat is None:
            return ()
        if seat.role is not Role.WORKER:
            return turn_away(socket, FaultCode.BAD_MESSAGE, "Only a worker can announce itself.")
        if seat.facts == facts:
            return ()
        seat = seat.with_facts(facts, now)
        self._seats[socket] = self._rooms[seat.room][seat.peer] = seat
        if seat.room in self._lines:
            self._lines[seat.room].heard(seat.peer)
        return (*self._show(seat, now), *self._serve(seat.room))

    def wait(self, socket: SocketId, wish: Wait) -> Orders:
        """A client stands in its room's line, or says that a promise came to nothing."""
        seat = self._seats.get(socket)
        if seat is None:
            return ()
        if seat.role is not Role.CLIENT:
            return turn_away(socket, FaultCode.BAD_MESSAGE, "Only a client can wait for a worker.")
        self._lines.setdefault(seat.room, WaitingLine()).join(socket, wish)
        return self._serve(seat.room)

    def stand_down(self, socket: SocketId) -> Orders:
        """A client has what it waited for."""
        seat = self._seats.get(socket)
        return self._out_of_line(seat) if seat is not None else ()

    def relay(self, socket: SocketId, message: Offer | Answer | Refuse) -> Orders:
        """Carry a word to the peer it names, with the sender's name in its place.

        Offers go from clients to workers, the others back. An offer that reaches nobody is answered; an answer that
        reaches nobody has lost its asker, so there is nobody to tell.
        """
        seat = self._seats.get(socket)
        if seat is None:
            return ()
        asks = isinstance(message, Offer)
        if asks is (seat.role is Role.WORKER):
            return turn_away(socket, FaultCode.BAD_MESSAGE, "Clients make offers, and workers answer them.")
        target = self._rooms[seat.room].get(message.peer)
        if target is None or target.role is seat.role:
            gone = Fault(FaultCode.NO_WORKER, "No such worker is in the room now. Look at the room's list again.")
            return (Post(socket, Refuse(message.peer, gone)),) if asks else ()
        if asks and seat.room in self._lines and self._lines[seat.room].keeps_from(socket, message.peer):
            taken = Fault(FaultCode.WORKER_BUSY, "The worker is promised to somebody who waited for it. Try --wait.")
            return (Post(socket, Refuse(message.peer, taken)),)
        carried = evolve(message, peer=seat.peer)
        if len(encode(carried)) > FRAME_MAX:  # raw UTF-8 grows when it is written as ASCII again
            return turn_away(socket, FaultCode.BAD_MESSAGE, "The message is too long to be passed on.")
        return (Post(target.socket, carried),)

    def leave(self, socket: SocketId) -> Orders:
        """The socket is gone; if a worker sat there, the clients of its room hear it."""
        seat = self._seats.pop(socket, None)
        if seat is None:
            return ()
        peers = self._rooms[seat.room]
        del peers[seat.peer]
        if not peers:
            del self._rooms[seat.room]
        if seat.role is not Role.WORKER:
            return self._out_of_line(seat)
        return tuple(Post(client, WorkerGone(seat.peer)) for client in self._clients(seat.room))

    def _out_of_line(self, seat: Seat) -> Orders:
        if seat.room not in self._lines:
            return ()
        self._lines[seat.room].leave(seat.socket)
        orders = self._serve(seat.room)
        if not self._lines[seat.room]:
            del self._lines[seat.room]
        return orders

    def _serve(self, room: RoomId) -> Orders:
        """Promise what is free to those who wait, and tell them where they stand."""
        orders: list[Order] = []
        if room in self._lines:
            seats = self._rooms.get(room, {}).values()
            workers = [seat.shown(seat.since) for seat in seats if seat.facts is not None]
            self._lines[room].serve(workers, lambda who, news: orders.append(Post(who, news)))
        return tuple(orders)

    def _unseat(self, seat: Seat) -> Orders:
        del self._seats[seat.socket]
        return turn_away(seat.socket, FaultCode.SERVER_LOST, "The same peer has joined again over another line.")

    def _is_full(self, room: RoomId, role: Role) -> bool:
        most = WORKERS_MAX if role is Role.WORKER else CLIENTS_MAX
        return sum(seat.role is role for seat in self._rooms.get(room, {}).values()) >= most

    def _clients(self, room: RoomId) -> tuple[SocketId, ...]:
        return tuple(seat.socket for seat in self._rooms.get(room, {}).values() if seat.role is Role.CLIENT)

    def _show(self, seat: Seat, now: float) -> Orders:
        if seat.facts is None:
            return ()
        news = seat.shown(now)
        return tuple(Post(client, news) for client in self._clients(seat.room))

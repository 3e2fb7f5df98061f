"""The open invitations of all rooms: who may say what about which of them, and to whom the server passes it on.

Pure, like `RoomRegistry`: no sockets, no clock, no random numbers; each method returns the effects to carry out. A
joiner is bound to its one exchange by its WebSocket, and an inviter to its invitations by the place in its room, so
nobody can say anything in the exchange of others. The server passes each message on once and in its order, and reads
none: it has no part in what makes the exchange safe.

An invitation is used up by the first joiner that asks for it. Its number is not given again for `REST_TIME`, so that a
person who types an old code does not use up the code of somebody else.
"""

import math
from collections.abc import Iterator
from enum import Enum, auto
from itertools import count

from attrs import define, evolve, field

from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.invitations import (
    AnswerInvitation,
    AskInvitation,
    GiveInvitation,
    InvitationDenied,
    InvitationKind,
    InvitationOpened,
    OpenInvitation,
    ProveInvitation,
    RefuseInvitation,
)
from protocol.version import VERSIONS
from rtc.server.rooms import CloseSocket, RoomEffects, RoomMember, SendMessage, WebSocketId, reject

OPEN_TIME = 600.0
"""Seconds for which a code is open, from its opening; its inviter's losses of connection do not make it longer."""
AWAY_TIME = 60.0
"""Seconds for which an invitation whose inviter has lost its connection is kept for it."""
AWAY_MAX = 500
"""Such invitations that are kept; of more, the oldest are forgotten."""
EXCHANGE_TIMES = {InvitationKind.CODE: 45.0, InvitationKind.NEARBY: 150.0}
"""Seconds for a whole exchange: two programs, or a person who has to agree. The joiner has no place meanwhile, so this
is all the time that a connection may stay without joining a room."""
REST_TIME = OPEN_TIME
"""Seconds for which a number is not given again."""
RESTING_MAX = 5000
"""Numbers that are held back for that; of more, the oldest may be given again."""
NEARBY_NUMBERS = range(10**6, 10**9)
"""Numbers of nearby invitations, chosen at random: only who hears the announcement in the local network knows one."""

UNKNOWN = Fault(
    FaultCode.ROOM_DENIED,
    "No invitation of this number is open: it was used, has expired, or the machine that shows it is not connected now."
    " Check the number, and whether it is this server's (--server); or ask for a new code (sleap-rtc room invite).",
)
"""For a number that was never given, one that is used up, and one whose inviter is away: nobody can tell which."""
NOT_KEPT = Fault(FaultCode.LINK_LOST, "The server has not kept it while the connection was lost.")
NONE_ALLOWED = Fault(FaultCode.ROOM_DENIED, "This server lets nobody invite with a code. Use the session string.")
TOO_MANY_OPEN = Fault(
    FaultCode.ROOM_FULL, "The room has as many open invitations as the server allows. Use one, or wait ten minutes."
)
INVITER_GONE = Fault(
    FaultCode.NO_WORKER, "The machine that invites has gone, or has closed the invitation. Ask for a new one."
)
JOINER_GONE = Fault(FaultCode.CANCELLED, "The other program has gone in the middle of the exchange.")
TOO_SLOW = Fault(FaultCode.STALLED, "The exchange took too long. Ask for a new invitation, and try again.")


class _Step(Enum):
    """What an invitation waits for."""

    ASK = auto()
    RETURN = auto()
    """Its inviter, which has lost its connection."""
    ANSWER = auto()
    PROOF = auto()
    ROOM = auto()


@define(eq=False)
class _Invitation:
    kind: InvitationKind
    number: int
    room: RoomId
    inviter: PeerId
    websocket: WebSocketId
    """The inviter's connection; the last one, while it is away."""
    expires: float
    """When it closes if nobody asks."""
    step: _Step = _Step.ASK
    step_ends: float = math.inf
    joiner: WebSocketId | None = None

    @property
    def deadline(self) -> float:
        return self.step_ends if self.joiner is not None else min(self.expires, self.step_ends)


@define(eq=False)
class InvitationRegistry:
    """The invitations of one server."""

    max_open: int
    """Invitations that one room may have open at a time."""
    _by_number: dict[int, _Invitation] = field(factory=dict, init=False)
    _by_joiner: dict[WebSocketId, _Invitation] = field(factory=dict, init=False)
    _by_inviter: dict[WebSocketId, list[_Invitation]] = field(factory=dict, init=False)
    _resting: dict[int, float] = field(factory=dict, init=False)
    """When each number that has been used may be given again, oldest first."""
    _deadline: float = field(default=math.inf, init=False)

    def __len__(self) -> int:
        return len(self._by_number)

    def is_joiner(self, websocket: WebSocketId) -> bool:
        """Return whether an exchange of this connection runs."""
        return websocket in self._by_joiner

    def next_deadline(self) -> float:
        """Return when `lapse` must be called; infinity for never."""
        return self._deadline

    def open(self, member: RoomMember, message: OpenInvitation, now: float, draw: int) -> RoomEffects:
        """Open an invitation of a member, or go on with the one that it had before its connection was lost.

        Args:
            draw: a random number from `NEARBY_NUMBERS`.
        """
        old = self._of_peer(member, message.kind)
        if message.number is not None:
            if old is None or old.number != message.number or old.joiner is not None:
                return (SendMessage(member.websocket, InvitationDenied(message.kind, NOT_KEPT)),)
            self._move(old, member.websocket)
            return self._opened(old, now)
        closed = () if old is None else self._end(old, now, to_joiner=INVITER_GONE)
        if self._count(member.room) >= self.max_open:
            fault = TOO_MANY_OPEN if self.max_open else NONE_ALLOWED
            return (*closed, SendMessage(member.websocket, InvitationDenied(message.kind, fault)))
        is_code = message.kind is InvitationKind.CODE
        number = self._free_number(now) if is_code else next(one for one in count(draw) if one not in self._by_number)
        expires = now + OPEN_TIME if is_code else math.inf
        new = _Invitation(message.kind, number, member.room, member.peer, member.websocket, expires)
        self._by_number[number] = new
        self._by_inviter.setdefault(member.websocket, []).append(new)
        return (*closed, *self._opened(new, now))

    def close(self, websocket: WebSocketId, number: int, now: float) -> RoomEffects:
        """Close an invitation of the inviter with this connection."""
        found = self._of_inviter(websocket, number)
        return () if found is None else self._end(found, now, to_joiner=INVITER_GONE)

    def ask(self, websocket: WebSocketId, message: AskInvitation, now: float) -> RoomEffects:
        """Pass a joiner's request on to the inviter; the invitation is used up by it."""
        found = self._by_number.get(message.number)
        if found is None or found.step is not _Step.ASK or found.expires <= now:
            return refuse_joiner(websocket, message.number, UNKNOWN)
        found.joiner, found.step, found.step_ends = websocket, _Step.ANSWER, now + EXCHANGE_TIMES[found.kind]
        self._by_joiner[websocket] = found
        self._note_deadline()
        return (SendMessage(found.websocket, message),)

    def answer(
        self, websocket: WebSocketId, message: AnswerInvitation | GiveInvitation | RefuseInvitation, now: float
    ) -> RoomEffects:
        """Pass an inviter's message on to the joiner, if it is its turn. What comes too late is dropped."""
        found = self._of_inviter(websocket, message.number)
        if found is None or found.joiner is None:
            return ()
        match message:
            case AnswerInvitation() if found.step is _Step.ANSWER:
                found.step = _Step.PROOF
                return (SendMessage(found.joiner, evolve(message, versions=VERSIONS)),)
            case GiveInvitation() if found.step is _Step.ROOM:
                joiner = found.joiner
                self._forget(found, now)
                return (SendMessage(joiner, message), CloseSocket(joiner))
            case RefuseInvitation():
                return self._end(found, now, to_joiner=message.fault)
            case _:
                return self._end(found, now, to_joiner=INVITER_GONE, to_inviter=TOO_SLOW)

    def prove(self, websocket: WebSocketId, message: ProveInvitation | RefuseInvitation, now: float) -> RoomEffects:
        """Pass a joiner's message on to its inviter. The number in it does not matter.

        A proof out of turn ends the exchange: a joiner has one proof, and none before the inviter's half.
        """
        found = self._by_joiner.get(websocket)
        if found is None:
            return reject(websocket, FaultCode.BAD_MESSAGE, "You have asked for no invitation.")
        if isinstance(message, RefuseInvitation):
            return (*self._end(found, now, to_inviter=message.fault), CloseSocket(websocket))
        if found.step is not _Step.PROOF:
            ended = self._end(found, now, to_inviter=JOINER_GONE)
            return (*ended, *reject(websocket, FaultCode.BAD_MESSAGE, "It is not your turn to prove anything."))
        found.step = _Step.ROOM
        return (SendMessage(found.websocket, evolve(message, number=found.number)),)

    def leave(self, websocket: WebSocketId, now: float, *, for_good: bool) -> RoomEffects:
        """Note that a connection has ended: that of a joiner, or of an inviter, whose exchanges end.

        Args:
            for_good: whether the peer has left the room. Otherwise its invitations that nobody has asked for are kept
                for it for `AWAY_TIME`.
        """
        joined = self._by_joiner.get(websocket)
        effects = () if joined is None else self._end(joined, now, to_inviter=JOINER_GONE)
        for one in tuple(self._by_inviter.get(websocket, ())):
            if for_good or one.joiner is not None:
                effects = (*effects, *self._end(one, now, to_joiner=INVITER_GONE))
            else:
                one.step, one.step_ends = _Step.RETURN, now + AWAY_TIME
        self._forget_away(now)
        self._note_deadline()
        return effects

    def lapse(self, now: float) -> RoomEffects:
        """End what has lasted too long."""
        late = [one for one in self._by_number.values() if one.deadline <= now]
        ended = (self._end(one, now, to_joiner=TOO_SLOW, to_inviter=TOO_SLOW) for one in late)
        return tuple(effect for effects in ended for effect in effects)

    # -------- inside

    def _opened(self, one: _Invitation, now: float) -> RoomEffects:
        self._note_deadline()
        seconds = None if one.expires == math.inf else max(0, int(one.expires - now))
        return (SendMessage(one.websocket, InvitationOpened(one.kind, one.number, seconds)),)

    def _end(
        self, one: _Invitation, now: float, *, to_joiner: Fault | None = None, to_inviter: Fault | None = None
    ) -> RoomEffects:
        """Forget an invitation; tell those of its exchange why, if one runs."""
        joiner = one.joiner
        self._forget(one, now)
        if joiner is None:
            return ()
        told = () if to_joiner is None else refuse_joiner(joiner, one.number, to_joiner)
        if to_inviter is None:
            return told
        return (*told, SendMessage(one.websocket, RefuseInvitation(one.number, to_inviter)))

    def _forget(self, one: _Invitation, now: float) -> None:
        del self._by_number[one.number]
        self._by_inviter[one.websocket].remove(one)
        if not self._by_inviter[one.websocket]:
            del self._by_inviter[one.websocket]
        if one.joiner is not None:
            del self._by_joiner[one.joiner]
        self._resting.pop(one.number, None)
        if one.kind is InvitationKind.CODE:
            self._resting[one.number] = now + REST_TIME
        self._note_deadline()

    def _move(self, one: _Invitation, websocket: WebSocketId) -> None:
        """Give an invitation back to its inviter, which has a new connection."""
        kept = [other for other in self._by_inviter.pop(one.websocket) if other is not one]
        if kept:
            self._by_inviter[one.websocket] = kept
        one.websocket, one.step, one.step_ends = websocket, _Step.ASK, math.inf
        self._by_inviter.setdefault(websocket, []).append(one)

    def _of_peer(self, member: RoomMember, kind: InvitationKind) -> _Invitation | None:
        of_peer = (one for one in self._in_room(member.room) if one.inviter == member.peer and one.kind is kind)
        return next(of_peer, None)

    def _of_inviter(self, websocket: WebSocketId, number: int) -> _Invitation | None:
        found = self._by_number.get(number)
        return found if found is not None and found.websocket == websocket else None

    def _in_room(self, room: RoomId) -> Iterator[_Invitation]:
        return (one for one in self._by_number.values() if one.room == room)

    def _count(self, room: RoomId) -> int:
        return sum(1 for _ in self._in_room(room))

    def _free_number(self, now: float) -> int:
        """Return the lowest number that no invitation has, or had a short time ago."""
        for number, until in tuple(self._resting.items()):
            if until > now and len(self._resting) <= RESTING_MAX:
                break
            del self._resting[number]
        return next(number for number in count(1) if number not in self._by_number and number not in self._resting)

    def _forget_away(self, now: float) -> None:
        away = [one for one in self._by_number.values() if one.step is _Step.RETURN]
        for one in sorted(away, key=lambda one: one.step_ends)[: max(0, len(away) - AWAY_MAX)]:
            self._forget(one, now)

    def _note_deadline(self) -> None:
        self._deadline = min((one.deadline for one in self._by_number.values()), default=math.inf)


def refuse_joiner(websocket: WebSocketId, number: int, fault: Fault) -> RoomEffects:
    """Return the effects that refuse a joiner and close its connection."""
    return (SendMessage(websocket, RefuseInvitation(number, fault)), CloseSocket(websocket))

"""The messages that wait to be sent to one peer. However slowly the peer reads, only a bounded number of them waits.

Their bytes are bounded too: relays to one peer by `RELAY_BYTES`, and what waits for all peers by a `SendBudget`. When
that is used up, the peer that reads most slowly loses what waits for it, hears why, and is disconnected.

What waits is sent in order. There are four kinds:

- *State* is coalesced: only the newest of it waits. Newer facts of a worker take the place of those that wait, and so
  do a newer position in the queue and newer ICE servers. A worker that comes and leaves before the peer was told of it
  leaves no trace; nor do older facts of one that leaves. What the peer hears of the workers is therefore what happened,
  in order, with less in between: it never hears of more workers than a room takes, never that a worker left of which
  it was not told, and of a worker that left and came back it hears both. `Joined` is sent as it was put; what has
  changed since follows it.
- *Relays* come from other peers, or stand for one (`Refuse` by the server, `Withdraw` for a client that is gone). Each
  speaker has a place of its own for `SPEAKER_MAX` of them, so that a flood from one costs the others nothing. An offer
  waits outside until there is a place (`wait_for_place`), which slows the client that makes it. A worker is never made
  to wait for a client, since that would cost its other clients time: of its answers the oldest is dropped. A
  `Withdraw` takes the place of all that its client said of that offer and of earlier ones.
- *What joiners say* about the peer's invitations. An invitation is used up by one joiner, which says three things at
  most, and who does not read is given no more invitations.
- *Replies* answer the peer's own requests. It is not heard again while many of them wait (`wait_for_replies`).

`WorkerAssigned` is state, but a position never takes its place, because only a client that has heard of its worker asks
again when the assignment comes to nothing; without that it would wait for ever. It is sent behind the `WorkerPresent`
of its worker, and may name a worker that has left since.
"""

import sys
from collections import Counter, OrderedDict
from functools import partial
from itertools import count, islice

import trio
from attrs import define, field, frozen

from actors.mailbox import QueueFull
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId
from protocol.invitations import AskInvitation, ProveInvitation, RefuseInvitation
from protocol.signaling import (
    WORKERS_MAX,
    Answer,
    FromServer,
    IceServers,
    Joined,
    Offer,
    QueuePosition,
    Refuse,
    Withdraw,
    WorkerAssigned,
    WorkerLeft,
    WorkerPresent,
)
from rtc.server.rooms import CLIENTS_MAX
from rtc.server.send_budget import SendBudget

SPEAKER_MAX = 2
"""Relays of one speaker that wait for one peer: a withdrawal, and the offer after it."""
RELAYS_MAX = SPEAKER_MAX * CLIENTS_MAX
"""Relays that wait for one peer. The members of a room cannot fill it; those of peers that have left since may."""
REPLIES_MAX = 8
"""While so many replies wait, no further message of this peer is read."""
RELAY_BYTES = 1024 * 1024
"""Bytes of relays that wait for one peer; an offer waits outside then, and of answers the oldest are dropped."""
WITHDRAWALS_MAX = CLIENTS_MAX
"""Withdrawals that may come on top of `RELAYS_MAX`, one for each client of a room that leaves at once."""
STATE_MAX = 2 * WORKERS_MAX + 3
"""Waiting state: for each worker that the peer knows that it left, for each other one in the room its facts; an
assignment, a position, and the ICE servers."""
NOT_READ = Fault(
    FaultCode.STALLED,
    "Your program did not read what the server sent, and the server has no memory left for it. Let it connect again.",
)
INVITED_MAX = 3 * (REPLIES_MAX + 3)
"""What joiners say about the peer's invitations: a request, a proof, and that the joiner is gone. The peer has opened
those invitations, and so many of its requests are answered without its reading."""
OUTBOX_MAX = RELAYS_MAX + WITHDRAWALS_MAX + REPLIES_MAX + 1 + STATE_MAX + INVITED_MAX
"""More messages never wait; a larger number is a bug."""


@frozen
class _Facts:
    """The key of a waiting `WorkerPresent`."""

    worker: PeerId


@frozen
class _Left:
    """The key of a waiting `WorkerLeft`."""

    worker: PeerId


@frozen
class _Relay:
    """The key of a waiting relay."""

    speaker: PeerId
    number: int


@frozen
class _Invited:
    """The key of a waiting message about an invitation of this peer."""

    number: int
    kind: type


@frozen
class _Reply:
    """The key of a waiting reply."""

    number: int


_Key = _Facts | _Left | _Relay | _Invited | _Reply | type


@frozen
class _Entry:
    """A waiting message."""

    message: FromServer
    size: int
    """Bytes."""
    number: int
    """Its number among all messages of the server; of state that was replaced, the number of the first."""


@define(eq=False)
class PeerOutbox:
    """What waits for one peer; see the module's docstring."""

    _budget: SendBudget = field(factory=partial(SendBudget, sys.maxsize))
    _waiting: OrderedDict[_Key, _Entry] = field(factory=OrderedDict, init=False)
    waiting_bytes: int = field(default=0, init=False)
    """The size of all waiting messages."""
    _known: set[PeerId] = field(factory=set, init=False)
    """The workers that are in the room as far as the peer was told, or is about to be told by `Joined`."""
    _relays: Counter[PeerId] = field(factory=Counter, init=False)
    """The number of waiting relays of each speaker; speakers without any have no entry."""
    _relays_total: int = field(default=0, init=False)
    _relay_bytes: int = field(default=0, init=False)
    _replies: int = field(default=0, init=False)
    _numbers: "count[int]" = field(factory=count, init=False)
    _own_tasks: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)
    """The peer's writer while nothing waits, and its reader while many replies wait."""
    _speakers: dict[PeerId, trio.Event] = field(factory=dict, init=False)
    """The speakers that wait for a place; the event is set when there may be one."""
    is_finished: bool = field(default=False, init=False)
    """Whether `finish` or `close` was called, or the peer was given up."""
    given_up: trio.Event = field(factory=trio.Event, init=False)
    """Set when the peer is to be disconnected because it did not read."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def oldest_number(self) -> int:
        """The number of the message that waits for the longest time; something must wait."""
        return next(iter(self._waiting.values())).number

    def put(self, message: FromServer) -> None:
        """Add a message, without waiting. After `finish` or `close` it is dropped.

        Raises:
            QueueFull: more messages wait than ever may, which is a bug.
        """
        if self.is_finished:
            return
        match message:
            case WorkerPresent(peer=worker):
                self._add(_Facts(worker), message)
            case WorkerLeft(peer=worker):
                self._remove(_Facts(worker))
                if worker in self._known and _Left(worker) not in self._waiting:
                    self._add(_Left(worker), message)
            case WorkerAssigned():
                self._remove(WorkerAssigned)
                self._remove(QueuePosition)
                self._add(WorkerAssigned, message)
            case QueuePosition() | IceServers():
                self._add(type(message), message)
            case Offer() | Answer() | Refuse() | Withdraw():
                self._put_relay(message)
            case AskInvitation() | ProveInvitation() | RefuseInvitation():
                self._add(_Invited(message.number, type(message)), message)
            case _:
                self._put_reply(message)
        if len(self._waiting) > OUTBOX_MAX:
            raise QueueFull(f"an outbox overflowed with {type(message).__name__}")
        self._own_tasks.unpark_all()

    def _add(self, key: _Key, message: FromServer) -> None:
        """Add a waiting message, or put it in the place of the one that waits under this key."""
        size, old = self._budget.measure(message), self._waiting.get(key)
        self._waiting[key] = _Entry(message, size, self._budget.next_number() if old is None else old.number)
        change = size - (old.size if old is not None else 0)
        if isinstance(key, _Relay):
            self._relay_bytes += change
        self.waiting_bytes += change
        self._budget.note(self, change)

    def _remove(self, key: _Key) -> None:
        """Remove a waiting message, if there is one under this key."""
        entry = self._waiting.pop(key, None)
        if entry is None:
            return
        if isinstance(key, _Relay):
            self._relay_bytes -= entry.size
        self.waiting_bytes -= entry.size
        self._budget.note(self, -entry.size)

    def _put_relay(self, message: Offer | Answer | Refuse | Withdraw) -> None:
        if isinstance(message, Withdraw):
            self._drop(self._replaced_by(message.peer, message))
        elif not isinstance(message, Offer):
            self._drop(self._oldest(message.peer, 1 + self._relays[message.peer] - SPEAKER_MAX))
            self._drop(self._oldest(None, 1 + self._relays_total - RELAYS_MAX))
            while self._relays_total and self._relay_bytes + self._budget.measure(message) > RELAY_BYTES:
                self._drop(self._oldest(None, 1))
        self._relays[message.peer] += 1
        self._relays_total += 1
        self._add(_Relay(message.peer, next(self._numbers)), message)

    def _replaced_by(self, client: PeerId, withdrawal: Withdraw) -> tuple[_Relay, ...]:
        """Return the waiting relays of a client that its withdrawal makes worthless."""
        return tuple(
            key
            for key, entry in self._waiting.items()
            if isinstance(key, _Relay)
            and key.speaker == client
            and isinstance(entry.message, Offer | Withdraw)
            and entry.message.number <= withdrawal.number
        )

    def _oldest(self, speaker: PeerId | None, number: int) -> tuple[_Relay, ...]:
        """Return so many of the oldest waiting relays of a speaker, or of all of them."""
        relays = (key for key in self._waiting if isinstance(key, _Relay) and speaker in (None, key.speaker))
        return tuple(islice(relays, max(0, number)))

    def _drop(self, relays: tuple[_Relay, ...]) -> None:
        for key in relays:
            self._remove(key)
            self._note_gone(key)

    def _put_reply(self, message: FromServer) -> None:
        if isinstance(message, Joined):
            self._known.update(worker.peer for worker in message.workers)
        self._replies += 1
        self._add(_Reply(next(self._numbers)), message)

    def _note_gone(self, key: _Key) -> None:
        """Draw the conclusions from a message that no longer waits."""
        match key:
            case _Facts(worker):
                self._known.add(worker)
            case _Left(worker):
                self._known.discard(worker)
            case _Relay(speaker):
                self._relays[speaker] -= 1
                if not self._relays[speaker]:
                    del self._relays[speaker]
                self._relays_total -= 1
                is_scarce = self._relays_total >= RELAYS_MAX - 1 or self._relay_bytes > RELAY_BYTES // 2
                self._wake_speakers(tuple(self._speakers) if is_scarce else (speaker,))
            case _Reply():
                self._replies -= 1

    async def take(self) -> FromServer:
        """Wait for the next message and return it.

        Raises:
            trio.EndOfChannel: `finish` was called and all messages are taken, or `close` was called.
        """
        await trio.lowlevel.checkpoint()
        while not self._waiting and not self.is_finished:
            await self._own_tasks.park()
        return self.take_nowait()

    def take_nowait(self) -> FromServer:
        """Return the next message, without waiting.

        Raises:
            trio.WouldBlock: no message waits.
            trio.EndOfChannel: as in `take`.
        """
        if not self._waiting:
            raise trio.EndOfChannel if self.is_finished else trio.WouldBlock
        key, entry = next(iter(self._waiting.items()))
        self._remove(key)
        self._note_gone(key)
        self._own_tasks.unpark_all()
        return entry.message

    def has_place(self, speaker: PeerId, message: Offer | Withdraw) -> bool:
        """Return whether this message of another peer may be put now; one that will be dropped always may."""
        freed = len(self._replaced_by(speaker, message)) if isinstance(message, Withdraw) else 0
        is_within = self._relays[speaker] - freed < SPEAKER_MAX
        if isinstance(message, Offer) and self._relays_total:
            is_within = is_within and self._relay_bytes + self._budget.measure(message) <= RELAY_BYTES
        return self.is_finished or (is_within and self._relays_total - freed < RELAYS_MAX)

    async def wait_for_place(self, speaker: PeerId, message: Offer | Withdraw) -> None:
        """Wait until `has_place`. A speaker waits for one message at a time."""
        await trio.lowlevel.checkpoint()
        while not self.has_place(speaker, message):
            await self._speakers.setdefault(speaker, trio.Event()).wait()

    async def wait_for_replies(self) -> None:
        """Wait until few replies to the peer's own requests wait. Call it before reading its next message."""
        await trio.lowlevel.checkpoint()
        while self._replies >= REPLIES_MAX and not self.is_finished:
            await self._own_tasks.park()

    def finish(self) -> None:
        """Accept no more messages; those that wait can still be taken."""
        self.is_finished = True
        self._own_tasks.unpark_all()
        self._wake_speakers(tuple(self._speakers))

    def close(self) -> None:
        """Accept no more messages, and drop those that wait."""
        self._waiting.clear()
        freed, self.waiting_bytes, self._relay_bytes = self.waiting_bytes, 0, 0
        self._budget.note(self, -freed)
        self.finish()

    def give_up(self) -> None:
        """Accept no more messages, and replace those that wait by the reason."""
        self.close()
        self.given_up.set()
        self._waiting[_Reply(next(self._numbers))] = _Entry(NOT_READ, 0, 0)

    def _wake_speakers(self, speakers: tuple[PeerId, ...]) -> None:
        for speaker in speakers:
            if speaker in self._speakers:
                self._speakers.pop(speaker).set()

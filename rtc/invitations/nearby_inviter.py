"""Lets programs nearby ask for the room of a program, whose person decides: the Inviter's adapter.

There is one invitation at a time, hence one asker; after each exchange a new one is opened, with another number. Rule:
exchanges are counted from their beginning, whatever comes of them, so that nobody can make the console scroll, nor try
again and again until the words to compare are the same by chance.
"""

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio
from attrs import define, field

from actors import events
from actors.actor import Actor
from actors.inviter import INVITER, PERSON_TIME, InviterData
from actors.router import Route, Router
from protocol.faults import Fault, FaultCode
from protocol.invitations import InvitationKind
from rtc.common.errors import RtcError
from rtc.common.stories import make_actor
from rtc.invitations.code_inviter import FOR_INVITER, RoomSource
from rtc.invitations.derived_keys import BadShare
from rtc.invitations.nearby_exchange import NearbyInviterExchange, NearbyKeys
from rtc.invitations.sealed_room import seal_room

__all__ = ["PERSON_TIME", "NearbyConsole", "NearbyInviter", "explain_nearby"]

log = logging.getLogger("rtc.nearby")

NEARBY = InvitationKind.NEARBY
ASKS_MAX, ASKS_TIME = 6, 600.0
"""At most so many exchanges begin in so many seconds. With 10**9 possible words, chance needs thousands of years."""
REOPEN_PAUSE, REOPEN_PAUSE_MAX = 10.0, 600.0
"""Seconds before an invitation is opened again that the server has refused or closed; doubled each time."""
NOT_KEPT = Fault(FaultCode.BAD_MESSAGE, "The key is not the one that was announced. Try again.")
SAID_NO = Fault(FaultCode.ROOM_DENIED, "The person at the worker said no.")
NOBODY_THERE = Fault(
    FaultCode.ROOM_DENIED, "Nobody can answer at the worker now: it has no terminal in the foreground."
)


class NearbyConsole(Protocol):
    """The person of the program that invites."""

    async def number_changed(self, number: int | None) -> None:
        """Announce the number by which others ask; None: nobody can ask now."""

    async def confirm(self, name: str, words: tuple[str, ...]) -> bool | None:
        """Show who asks and the words to compare; return whether the person agrees, or None if nobody can answer.

        Args:
            name: what the joiner says that it is called.
            words: the words that the joiner's console shows, too.
        """

    def print(self, text: str) -> None:
        """Print one line."""


@define(eq=False)
class NearbyInviter:
    """The nearby invitations of one program, one after the other."""

    router: Router
    room: RoomSource
    console: NearbyConsole
    actor: Actor[InviterData] = field(init=False)
    _exchange: NearbyInviterExchange | None = field(default=None, init=False, repr=False)
    _asking: trio.CancelScope | None = field(default=None, init=False)
    """Around the question to the person; cancelled when the exchange has ended."""
    _began: deque[float] = field(factory=lambda: deque(maxlen=ASKS_MAX), init=False)
    """When the latest exchanges began, by trio's clock."""
    _refusals: int = field(default=0, init=False)
    """Invitations that the server has refused or closed since the last exchange."""
    _said: str = field(default="", init=False)
    """What was last said about a server that opens no invitation."""
    _active: bool = field(default=False, init=False)
    """Whether there is an invitation, or one is asked for."""
    _not_before: float = field(default=-math.inf, init=False)
    """When the next invitation may be opened, by trio's clock."""
    _draining: bool = field(default=False, init=False)
    _news: "trio.MemorySendChannel[int | None]" = field(init=False)
    _numbers: "trio.MemoryReceiveChannel[int | None]" = field(init=False)
    """Numbers to announce, few at a time: each follows an order of ours."""
    _nursery: trio.Nursery | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.actor = make_actor(INVITER, InviterData(NEARBY), self.router.outbox)
        self._news, self._numbers = trio.open_memory_channel(math.inf)

    def routes(self) -> dict[type, tuple[Route, ...]]:
        """Return the methods to call for each event, and the inbox of the actor."""
        to_actor: dict[type, tuple[Route, ...]] = dict.fromkeys(FOR_INVITER, (self.actor.inbox.put,))
        ours: dict[type, tuple[Route, ...]] = {
            events.InvitationReady: (self._announce,),
            events.MakeShare: (self._make_share,),
            events.CheckProof: (self._check_proof,),
            events.InvitationUsed: (self._used,),
            events.InvitationEnded: (self._ended,),
            events.JoinedRoom: (*to_actor[events.JoinedRoom], self._joined),
            events.Drain: (*to_actor[events.Drain], self._drain),
        }
        return to_actor | ours

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the actor, and what it orders, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._tell_numbers)
            await nursery.start(self.actor.run)
            task_status.started()

    async def _tell_numbers(self) -> None:
        """Announce one number after the other; of several that wait, only the last."""
        async for number in self._numbers:
            if not self._numbers.statistics().current_buffer_used:
                await self.console.number_changed(number)

    # -------- opening

    def _joined(self, _event: events.JoinedRoom) -> None:
        self._start(self._open_in_time)

    def _drain(self, _event: events.Drain) -> None:
        self._draining = True

    async def _open_in_time(self) -> None:
        """Open an invitation as soon as it may be, if there is none then."""
        await trio.sleep_until(max(self._not_before, trio.current_time()))
        if not self._draining and not self._active:
            self._active = True
            self.router.outbox.put(events.InviteWanted(NEARBY))

    def _announce(self, event: events.InvitationReady) -> None:
        if event.kind is NEARBY:
            self._said = ""
            self._news.send_nowait(event.number)

    def _used(self, event: events.InvitationUsed) -> None:
        """Say what came of an exchange, and let the next one come."""
        if event.kind is NEARBY:
            self._forget()
            self._refusals = 0
            self.console.print(explain_nearby(event))
            pause = self._pause()
            if pause or self._draining:
                self._news.send_nowait(None)
            self._open_after(pause)

    def _ended(self, event: events.InvitationEnded) -> None:
        """Try again after a while to open an invitation that the server has refused or closed."""
        if event.kind is NEARBY:
            self._forget()
            self._news.send_nowait(None)
            if event.fault.code is not FaultCode.CANCELLED and event.fault.text != self._said:
                self._said = event.fault.text
                self.console.print(f"Nobody nearby can ask to join now: {event.fault.text}")
            pause = min(REOPEN_PAUSE * 2**self._refusals, REOPEN_PAUSE_MAX)
            self._refusals += 1
            self._open_after(pause)

    def _forget(self) -> None:
        self._active, self._exchange = False, None
        if self._asking is not None:
            self._asking.cancel()

    def _pause(self) -> float:
        """Return the seconds until the next exchange may begin."""
        if len(self._began) < ASKS_MAX:
            return 0
        pause = max(0.0, self._began[0] + ASKS_TIME - trio.current_time())
        if pause:
            minutes = max(1, round(pause / 60))
            self.console.print(
                f"There were {ASKS_MAX} requests to join from nearby; the next may come in {minutes} min."
            )
        return pause

    def _open_after(self, pause: float) -> None:
        self._not_before = trio.current_time() + pause
        self._start(self._open_in_time)

    # -------- the exchange

    def _start(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        assert self._nursery is not None, "events come only while it runs"
        self._nursery.start_soon(work, *arguments)

    def _make_share(self, event: events.MakeShare) -> None:
        if event.kind is NEARBY:
            self._began.append(trio.current_time())
            self._exchange = NearbyInviterExchange(event.number, event.name, event.share)
            self.router.outbox.put(events.ShareReady(event.number, self._exchange.share))

    def _check_proof(self, event: events.CheckProof) -> None:
        if event.kind is not NEARBY:
            return
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return  # the exchange has ended, and the Inviter knows it
        try:
            keys = exchange.finish(event.proof)
        except BadShare:
            self.router.outbox.put(events.ExchangeFailed(event.number, NOT_KEPT))
            return
        self._start(self._ask_person, event.number, exchange.name, keys)

    async def _ask_person(self, number: int, name: str, keys: NearbyKeys) -> None:
        """Ask the person; give the room if they agree. Ends early, without an answer, when the exchange has ended."""
        with trio.CancelScope() as self._asking:
            agreed = await self.console.confirm(name, keys.words)
            answer: Any
            if agreed:
                try:
                    answer = events.ProofAccepted(number, seal_room(await self.room(), keys.room, keys.transcript))
                except RtcError as error:
                    answer = events.ExchangeFailed(number, error.fault)
            else:
                answer = events.ExchangeFailed(number, NOBODY_THERE if agreed is None else SAID_NO)
            self.router.outbox.put(answer)


def explain_nearby(event: events.InvitationUsed) -> str:
    """Return the sentence about an exchange that has ended, for the person of the program that invites."""
    asker = f"The program that calls itself {event.name!r}"
    if event.fault is None:
        return f"{asker} has this room now."
    return f"{asker} has not joined: {event.fault.text}"

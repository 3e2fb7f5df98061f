"""Gets the room of a worker nearby: the joiner's side, in which two people compare the words on both screens.

Rule: a room that comes is used only if the person here has said that the words are the same. Whoever sits between the
two programs, or pretends to be the worker, could give a room of its own, and would be sent the jobs.
"""

import socket
from collections.abc import Awaitable, Callable

import trio
from attrs import define, evolve, field

from actors import events
from actors.inviter import PERSON_TIME
from protocol.faults import Fault, FaultCode
from protocol.fields import word
from protocol.invitations import InvitedRoom
from rtc.common.errors import RtcError
from rtc.config.load import Config
from rtc.invitations.nearby_exchange import NearbyJoinerExchange, NearbyKeys
from rtc.invitations.redeem import BAD_SHARE, Redeeming, run_exchange
from rtc.invitations.sealed_room import NOT_FROM_INVITER, open_room

LATE_TIME = 60.0
"""Seconds in which the person here has to answer, once the worker's has agreed."""
NOT_OPEN = (
    "That worker lets nobody ask at this moment: somebody else may just be asking, or it has ended. Try again in a"
    " minute: sleap-rtc join --nearby"
)
NOT_THE_SAME = (
    "You said that the screens do not show the same words, so nothing was joined. Somebody may be between the two"
    " computers: use the worker's short code, which needs no comparison."
)

Compare = Callable[[tuple[str, ...]], Awaitable[bool]]
"""Shows the words, and returns whether the person says that the worker's screen shows the same."""


@define(eq=False)
class _Asking:
    """One exchange, and the question to the person here."""

    exchange: NearbyJoinerExchange
    compare: Compare
    words: tuple[str, ...] = field(default=(), init=False)
    known: trio.Event = field(factory=trio.Event, init=False)
    """Set when the words are known."""
    agreed: bool | None = field(default=None, init=False)
    """What the person here has said; None before."""

    def prove(self, inviter_share: bytes) -> tuple[NearbyKeys, bytes]:
        """Finish the exchange, in a thread."""
        keys = self.exchange.finish(inviter_share)
        trio.from_thread.run_sync(self._show, keys.words)
        return keys, self.exchange.proof

    def _show(self, words: tuple[str, ...]) -> None:
        self.words = words
        self.known.set()

    async def ask_person(self, scope: trio.CancelScope) -> None:
        """Ask as soon as the words are known; cancel everything if they are not the same."""
        await self.known.wait()
        self.agreed = await self.compare(self.words)
        if not self.agreed:
            scope.cancel()


async def ask_nearby(number: int, config: Config, *, compare: Compare, name: str | None = None) -> InvitedRoom:
    """Ask for the room of a nearby invitation, and return it when the people at both ends have agreed.

    Args:
        number: the number of the invitation.
        config: the server's address, and the time-out for reaching it.
        compare: asks the person here.
        name: what the worker's person is told who asks; by default the name of this computer.

    Raises:
        RtcError: ROOM_DENIED: nobody can ask now, or the worker's person said no. AUTH_INVALID: the words are not the
            same. SERVER_LOST, STALLED: somebody does not answer. VERSION.
    """
    name = word(socket.gethostname() if name is None else name)
    asking = _Asking(NearbyJoinerExchange(number, name), compare)
    share, seconds = asking.exchange.share, config.connection_timeout
    wanted = events.AskWanted(number, name, share, seconds, person_seconds=2 * PERSON_TIME)
    redeeming: Redeeming | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asking.ask_person, nursery.cancel_scope)
        redeeming = await run_exchange(asking.prove, config, wanted)
        nursery.cancel_scope.deadline = trio.current_time() + LATE_TIME
        if redeeming.fault is not None:
            nursery.cancel_scope.cancel()
    if asking.agreed is False:
        raise RtcError(FaultCode.AUTH_INVALID, NOT_THE_SAME)
    assert redeeming is not None, "only the person's no ends it before"
    if redeeming.fault is not None:
        raise RtcError.of(_for_person(redeeming.fault, asking))
    if asking.agreed is None:
        raise RtcError(FaultCode.STALLED, "Nobody has said here whether the words are the same, so nothing was joined.")
    assert redeeming.keys is not None, "there is a room only after a proof"
    room = open_room(redeeming.sealed, redeeming.keys.room, redeeming.keys.transcript)
    return evolve(room, server=config.signaling_websocket)


def _for_person(fault: Fault, asking: _Asking) -> Fault:
    """Return the fault as the person hears it who has asked; the server's own words are about codes."""
    if fault.code is FaultCode.ROOM_DENIED and not asking.known.is_set():
        return Fault(fault.code, NOT_OPEN)
    return NOT_FROM_INVITER if fault == BAD_SHARE else fault

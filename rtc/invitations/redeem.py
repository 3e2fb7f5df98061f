"""Gets the room of a short code: the joiner's side, over a connection of its own to the server.

`run_exchange` serves a worker nearby as well (`ask_nearby`). It needs signalling only, and no links, hence nothing of
WebRTC.
"""

import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, get_args

import trio
from attrs import define, evolve, field

from actors import events
from actors.actor import Actor
from actors.invitee import INVITEE, InviteeData
from actors.mailbox import PROGRAM_CAPACITY, PROGRAM_THRESHOLD, Mailbox
from actors.router import Route, Router
from protocol.faults import Fault, FaultCode
from protocol.fields import word
from protocol.invitations import InvitedRoom
from protocol.signaling import FromServer, ToServer
from rtc.common.errors import RtcError
from rtc.common.stories import BUG_FAULT, make_actor
from rtc.config.load import Config
from rtc.invitations.code_exchange import ExchangeKeys, JoinerExchange, make_proof
from rtc.invitations.derived_keys import BadShare
from rtc.invitations.sealed_room import NOT_FROM_INVITER, open_room
from rtc.invitations.short_code import ShortCode
from rtc.transport.signaling.connection import run_signaling

FLUSH_TIME = 1.0
"""Seconds for the last message to the server, which tells it that the exchange has ended."""
WRONG_CODE = (
    "The code was not accepted: it has a typo, or somebody else has used it. It is void now. Ask for a new one"
    " (sleap-rtc room invite, on a computer that is in the room)."
)
NO_CODES = (
    "The server does not understand short codes: it is older than this sleap-rtc. Join with the worker's session string"
    " (sleap-rtc join 'eyJ…'), or ask for the server to be updated."
)
BAD_SHARE = Fault(FaultCode.BAD_MESSAGE, "Your half of the exchange is not one of an inviter.")


class JoinerKeys(Protocol):
    """What both kinds of exchanges give, as far as it is needed to read the room."""

    @property
    def room(self) -> bytes:
        """The key under which the room is encrypted."""

    @property
    def transcript(self) -> bytes:
        """What was said in the exchange."""


Prove = Callable[[bytes], tuple[JoinerKeys, bytes]]
"""Returns the keys of an exchange and the joiner's proof, from the inviter's half. It is called once, in a thread, and
raises `BadShare`."""


@define(eq=False)
class Redeeming:
    """One exchange of a joiner, and its routes."""

    prove: Prove
    router: Router
    nursery: trio.Nursery
    actor: Actor[InviteeData] = field(init=False)
    outgoing: Mailbox[ToServer] = field(factory=lambda: Mailbox(PROGRAM_CAPACITY, PROGRAM_THRESHOLD), init=False)
    keys: JoinerKeys | None = field(default=None, init=False, repr=False)
    sealed: bytes = field(default=b"", init=False, repr=False)
    fault: Fault | None = field(default=None, init=False)
    done: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.actor = make_actor(INVITEE, InviteeData(), self.router.outbox, ends_with=events.AskFailed(BUG_FAULT))

    def routes(self) -> dict[type, tuple[Route, ...]]:
        """Return the methods to call for each event, and the inbox of the actor."""
        to_actor = (
            *(events.AskWanted, events.ServerConnected, events.ServerDisconnected, *get_args(FromServer)),
            *(events.ProofReady, events.ExchangeFailed),
        )
        return dict.fromkeys(to_actor, (self.actor.inbox.put,)) | {
            events.SendToServer: (lambda effect: self.outgoing.put(effect.message),),
            events.FinishExchange: (lambda effect: self.nursery.start_soon(self._finish, effect),),
            events.RoomGiven: (self._succeed,),
            events.AskFailed: (self._fail,),
        }

    async def _finish(self, effect: events.FinishExchange) -> None:
        """Make the proof, in a thread."""
        answer: Any
        try:
            self.keys, proof = await trio.to_thread.run_sync(self.prove, effect.share)
            answer = events.ProofReady(effect.number, proof)
        except BadShare:
            answer = events.ExchangeFailed(effect.number, BAD_SHARE)
        self.router.outbox.put(answer)

    def _succeed(self, effect: events.RoomGiven) -> None:
        self.sealed = effect.sealed
        self.done.set()

    def _fail(self, effect: events.AskFailed) -> None:
        if not self.done.is_set():
            self.fault = effect.fault
            self.done.set()


async def redeem(code: ShortCode, config: Config, *, name: str | None = None) -> InvitedRoom:
    """Return the room that a short code gives; all of it takes at most `connection_timeout`.

    The server's address in the result is the one that this program has reached it by, since that works from here.

    Args:
        code: the code that the person has typed.
        config: the server's address, and the time-out.
        name: what the person of the inviter is told who has used the code; by default the name of this computer.

    Raises:
        RtcError: ROOM_DENIED: the code was used, has expired, or never was. AUTH_INVALID: its words are wrong, or the
            server pretends to be the inviter. SERVER_LOST, STALLED: the server or the inviter does not answer. VERSION.
    """
    name = word(socket.gethostname() if name is None else name)
    with trio.move_on_after(config.connection_timeout) as time_limit:
        exchange = await trio.to_thread.run_sync(JoinerExchange, code, name)
        left = time_limit.deadline - trio.current_time()
        seconds = max(left - 2 * FLUSH_TIME, left / 2)
        wanted = events.AskWanted(code.number, name, exchange.share, seconds)
        redeeming = await run_exchange(partial(_prove, exchange), config, wanted)
        if redeeming.fault is not None:
            raise RtcError.of(_for_person(redeeming.fault))
        assert redeeming.keys is not None, "there is a room only after a proof"
        room = open_room(redeeming.sealed, redeeming.keys.room, redeeming.keys.transcript)
        return evolve(room, server=config.signaling_websocket)
    raise RtcError(FaultCode.STALLED, "The code could not be used in time. Ask for a new one, and try again.")


def _prove(exchange: JoinerExchange, inviter_share: bytes) -> tuple[ExchangeKeys, bytes]:
    keys = exchange.finish(inviter_share)
    return keys, make_proof(keys)


async def run_exchange(prove: Prove, config: Config, wanted: events.AskWanted) -> Redeeming:
    """Ask for the room of an invitation of either kind, and return what came of it.

    Args:
        prove: finishes the exchange.
        config: the server's address, and the time-out.
        wanted: what to ask.
    """
    router = Router({})
    async with trio.open_nursery() as nursery:
        redeeming = Redeeming(prove, router, nursery)
        router.routes = redeeming.routes()
        await nursery.start(router.run)
        await nursery.start(redeeming.actor.run)
        router.outbox.put(wanted)
        async with trio.open_nursery() as connection:
            connection.start_soon(partial(_run_connection, redeeming, config))
            await redeeming.done.wait()
            redeeming.outgoing.finish()
            connection.cancel_scope.deadline = trio.current_time() + FLUSH_TIME
        nursery.cancel_scope.cancel()
    return redeeming


async def _run_connection(redeeming: Redeeming, config: Config) -> None:
    await run_signaling(
        config.signaling_websocket,
        on_event=redeeming.router.outbox.admit,
        outgoing=redeeming.outgoing,
        timeout=config.connection_timeout,
    )


def _for_person(fault: Fault) -> Fault:
    """Return the fault as the person hears it who has typed the code."""
    if fault == BAD_SHARE:
        return NOT_FROM_INVITER
    if fault.code is FaultCode.BAD_MESSAGE:
        return Fault(FaultCode.VERSION, NO_CODES)
    return Fault(FaultCode.AUTH_INVALID, WRONG_CODE) if fault.code is FaultCode.AUTH_INVALID else fault

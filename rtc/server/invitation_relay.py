"""What peers say about invitations, within the limits of rooms and addresses, and passed on by the registry."""

import random

import trio

from protocol.faults import Fault, FaultCode
from protocol.invitations import (
    AskInvitation,
    CloseInvitation,
    InvitationDenied,
    InvitationRequest,
    OpenInvitation,
    ProveInvitation,
    RefuseInvitation,
)
from rtc.common.errors import RtcError
from rtc.server.invitations import NEARBY_NUMBERS, InvitationRegistry, refuse_joiner
from rtc.server.limits import ServerLimits
from rtc.server.rate_limits import GUESS_DELAY, RateLimits
from rtc.server.rooms import RoomEffects, RoomMember, SendMessage
from rtc.server.websocket_connection import PeerWebSocket

TOO_MANY_MADE = Fault(
    FaultCode.ROOM_FULL, "Too many invitations were made in this room. Try again later, or use the session string."
)
TOO_MANY_ASKS = Fault(
    FaultCode.ROOM_DENIED, "Too many codes were tried from your address. Wait a minute, and check the code."
)


class InvitationRelay:
    """The invitations of a signalling server, with the limits on them."""

    def __init__(self, limits: ServerLimits, rates: RateLimits) -> None:
        self.registry = InvitationRegistry(limits.max_invitations)
        self._rates = rates
        self._random = random.SystemRandom()

    async def handle(
        self, websocket: PeerWebSocket, member: RoomMember | None, message: InvitationRequest
    ) -> RoomEffects:
        """Return the effects of a message about an invitation; waits when too many were asked for from an address.

        Args:
            websocket: the connection that it came over.
            member: the member that has joined over it; None for a joiner.
            message: the message.

        Raises:
            RtcError: BAD_MESSAGE: it may not be sent now.
        """
        now, is_joiner = trio.current_time(), self.registry.is_joiner(websocket.id)
        match message:
            case AskInvitation() if member is None and not is_joiner:
                return await self._ask(websocket, message)
            case ProveInvitation() | RefuseInvitation() if is_joiner:
                return self.registry.prove(websocket.id, message, now)
            case OpenInvitation() if member is not None:
                return self._open(member, message, now)
            case CloseInvitation() if member is not None:
                return self.registry.close(websocket.id, message.number, now)
            case AskInvitation() | ProveInvitation() | OpenInvitation() | CloseInvitation():
                raise RtcError(FaultCode.BAD_MESSAGE, "This cannot be said about an invitation now.")
            case _ if member is not None:
                return self.registry.answer(websocket.id, message, now)
            case _:
                raise RtcError(FaultCode.BAD_MESSAGE, "This cannot be said about an invitation now.")

    def _open(self, member: RoomMember, message: OpenInvitation, now: float) -> RoomEffects:
        made = self._rates.invitations
        if message.number is None:
            if made.delay(member.room, now) > 0:
                return (SendMessage(member.websocket, InvitationDenied(message.kind, TOO_MANY_MADE)),)
            made.count(member.room, now)
        return self.registry.open(member, message, now, self._random.choice(NEARBY_NUMBERS))

    async def _ask(self, websocket: PeerWebSocket, message: AskInvitation) -> RoomEffects:
        """Pass on a joiner's request, or refuse it when there were too many from its address, as with wrong tokens.

        The server cannot know which are guesses, so all of them count.
        """
        network, asks = websocket.source_network, self._rates.asks
        delay = asks.delay(network, trio.current_time())
        asks.count(network, trio.current_time())
        if delay > 0:
            await trio.sleep(GUESS_DELAY)
            return refuse_joiner(websocket.id, message.number, TOO_MANY_ASKS)
        return self.registry.ask(websocket.id, message, trio.current_time())

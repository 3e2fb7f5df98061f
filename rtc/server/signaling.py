"""The server's signalling side: the reader, writer and heartbeat of each WebSocket, around one room registry.

The sender of a message is known from the WebSocket alone, never from the message. A WebSocket that sends invalid
messages gets a fault and is closed. One that sends many messages, or few that cause many, is read more slowly. One that
does not read at all is closed. None of this affects other WebSockets; what waits for one that reads slowly is bounded
(`outbox.py`).
"""

import hmac
import itertools
import logging
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import trio
from attrs import evolve
from trio_websocket import WebSocketConnection

from protocol.converter import UnknownMessage
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.invitations import AskInvitation, InvitationRequest, ProveInvitation
from protocol.signaling import (
    Announce,
    Answer,
    CreateRoom,
    IceServers,
    Join,
    Joined,
    JoinQueue,
    Leave,
    LeaveQueue,
    Offer,
    Refuse,
    RoomCreated,
    Withdraw,
)
from rtc.common.errors import RtcError
from rtc.server.admission import Admission
from rtc.server.frames import common_version, read_frame
from rtc.server.incidents import error_places, report_incident
from rtc.server.invitation_relay import InvitationRelay
from rtc.server.limits import DEFAULT_LIMITS, ServerLimits
from rtc.server.outbox import PeerOutbox
from rtc.server.overload import BUSY_REASON, Refusals
from rtc.server.problems import raw_problem
from rtc.server.rate_limits import (
    GUESS_DELAY,
    JOIN_TIME,
    OTHERS_COST,
    ROOMS_CLOSED,
    TOO_MANY_GUESSES,
    TOO_MANY_ROOMS,
    RateLimits,
)
from rtc.server.request_head import BadHead
from rtc.server.rooms import RoomEffect, RoomEffects, RoomRegistry, SendMessage, WebSocketId, reject
from rtc.server.send_budget import SendBudget
from rtc.server.turn_credentials import LIFE_TIME, NO_TURN, TurnCredentials
from rtc.server.upgrade import upgrade
from rtc.server.websocket_connection import PeerWebSocket
from rtc.transport.signaling.websocket import CONNECTION_ERRORS, GOING_AWAY, NORMAL, UNKNOWN_MAX, KeepAlive, close

log = logging.getLogger(__name__)

STOP_TIME = 4.0
"""Seconds for the closing handshakes of all WebSockets when the server stops."""
RELAY_TIME = 12.0
"""Seconds for which an offer waits because the worker has not read the client's last ones. More than `SEND_TIME`, so
that a worker that reads nothing is gone first; less than `SILENCE_TIME`, since no pong of the client is read meanwhile.
"""
GIVEN_UP_TIME = 2.0
"""Seconds in which a peer that has read too slowly may still read why it is disconnected."""
TRY_AGAIN_LATER = 1013
"""The close code for such a peer (IANA's WebSocket Close Code Number Registry)."""
PEER_ID_BYTES = 5
"""Random bytes in a peer id, written as hexadecimal digits."""


class RoomStore(Protocol):
    """The part of the room database that signalling uses; `RoomDatabase` explains the methods."""

    async def create_room(self, name: str) -> tuple[RoomId, str]: ...
    async def is_token_of(self, room: RoomId, token: str) -> bool: ...
    def resume_proof(self, room: RoomId, peer: PeerId) -> str: ...


class SignalingServer:
    """The signalling server: all its WebSockets and their rooms."""

    def __init__(
        self,
        room_store: RoomStore,
        rates: RateLimits,
        turn_credentials: TurnCredentials = NO_TURN,
        *,
        limits: ServerLimits = DEFAULT_LIMITS,
        refusals: Refusals | None = None,
    ) -> None:
        self.registry = RoomRegistry()
        self._room_store = room_store
        self._rates = rates
        self._turn_credentials = turn_credentials
        self._limits = limits
        self._refusals = refusals or Refusals()
        self._admission = Admission(limits)
        self._invitations = InvitationRelay(limits, rates)
        self._budget = SendBudget(limits.max_waiting_mb * 2**20)
        self._websockets: dict[WebSocketId, PeerWebSocket] = {}
        self._ids = map(WebSocketId, itertools.count(1))
        self._stopping = trio.Event()
        self._until_lapse = trio.CancelScope()
        """Ends at the next deadline of the two registries; `_apply` moves it."""

    def stop(self) -> None:
        """Accept no new connection, and close every WebSocket with code 1001; `run` returns when that is done."""
        self._stopping.set()

    async def run(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept connections on `listeners` and serve them until `stop` is called."""
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                serve = partial(trio.serve_listeners, self._accept, list(listeners), handler_nursery=connections)
                await accepting.start(serve)
                accepting.start_soon(self._renew_credentials)
                accepting.start_soon(self._lapse_assignments)
                task_status.started()
                await self._stopping.wait()
                accepting.cancel_scope.cancel()
            connections.cancel_scope.deadline = trio.current_time() + STOP_TIME
            for websocket in self._websockets.values():
                websocket.finish()

    async def _accept(self, stream: trio.SocketStream) -> None:
        try:
            address = str(stream.socket.getpeername()[0])
        except OSError:  # the peer has already closed the connection
            await trio.aclose_forcefully(stream)
            return
        await self.serve(stream, address)

    async def serve(self, stream: trio.abc.Stream, address: str) -> None:
        """Serve one connection until it ends. An error of the peer or the network ends this connection; none is raised.

        Args:
            address: the peer's IP address, for the rate limits.
        """
        websocket = PeerWebSocket(next(self._ids), address, outbox=PeerOutbox(self._budget))
        if self._stopping.is_set():
            await trio.aclose_forcefully(stream)
            return
        self._websockets[websocket.id] = websocket
        try:
            if not self._admission.connect(websocket):
                log.info("a connection of %s was refused: %s", websocket.source_network, BUSY_REASON)
                await self._refusals.refuse(stream)
                return
            async with trio.open_nursery() as library_tasks:
                await self._run_connection(library_tasks, stream, websocket)
                library_tasks.cancel_scope.cancel()
        except* CONNECTION_ERRORS as group:
            log.debug("WebSocket %d ended: %s", websocket.id, error_places(group))
        except* Exception as group:  # noqa: BLE001 - hostile frames may come in here; Cancelled passes through
            report_incident("a connection failed", group)
        finally:
            await trio.aclose_forcefully(stream)
            del self._websockets[websocket.id]
            self._admission.leave(websocket, trio.current_time())

    async def _renew_credentials(self) -> None:
        """Send each joined peer new TURN credentials before the old ones expire; the first ones are in `Joined`."""
        while self._turn_credentials.turn:
            await trio.sleep(LIFE_TIME / 2)
            for websocket in tuple(self._websockets.values()):
                member = self.registry.member_of(websocket.id)
                if member is not None:
                    self._apply((SendMessage(websocket.id, IceServers(self._turn_credentials.for_peer(member.peer))),))

    async def _lapse_assignments(self) -> None:
        """Let each assignment of a waiting client, and each invitation, lapse in time."""
        while True:
            with self._until_lapse:
                await trio.sleep_forever()
            self._until_lapse = trio.CancelScope()
            now = trio.current_time()
            self._apply((*self.registry.lapse(now), *self._invitations.registry.lapse(now)))

    def _with_credentials(self, effect: RoomEffect) -> RoomEffect:
        """Return `effect`; if it sends `Joined`, with the STUN and TURN servers and the peer's credentials in it."""
        if isinstance(effect, SendMessage) and isinstance(effect.message, Joined):
            return evolve(
                effect, message=evolve(effect.message, ice=self._turn_credentials.for_peer(effect.message.peer))
            )
        return effect

    async def _run_connection(
        self, library_tasks: trio.Nursery, stream: trio.abc.Stream, websocket: PeerWebSocket
    ) -> None:
        """Do the WebSocket handshake, serve the peer, and close the WebSocket with the right code.

        Args:
            library_tasks: the nursery for trio-websocket's own reader task.
        """
        ws: WebSocketConnection | None = None
        code = GOING_AWAY
        try:
            websocket.scope.deadline = trio.current_time() + JOIN_TIME
            with websocket.scope:
                ws = await upgrade(library_tasks, stream, websocket, self._admission.identify)
            if ws is not None and not self._stopping.is_set():
                await self._exchange_messages(websocket, ws)
                if not self._stopping.is_set():
                    code = TRY_AGAIN_LATER if websocket.outbox.given_up.is_set() else NORMAL
        except BadHead as error:
            await self._refusals.refuse(stream, raw_problem(error.status))
        finally:
            await close(None if websocket.is_displaced else ws, stream, code)

    async def _exchange_messages(self, websocket: PeerWebSocket, ws: WebSocketConnection) -> None:
        """Run the reader, the writer and the heartbeat until the writer has sent everything or one of them fails."""
        keep_alive = KeepAlive()
        websocket.scope = keep_alive.scope
        websocket.is_open = True
        try:
            with keep_alive.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(keep_alive.ping, ws)
                    nursery.start_soon(self._read_messages, websocket, ws, keep_alive)
                    nursery.start_soon(self._disconnect_given_up, websocket)
                    await websocket.write(ws, keep_alive)
                    nursery.cancel_scope.cancel()
        finally:
            websocket.outbox.close()  # wakes tasks that wait to relay a message to this peer

    async def _disconnect_given_up(self, websocket: PeerWebSocket) -> None:
        """When the peer has not read what was sent, take it from its room, and disconnect it after `GIVEN_UP_TIME`."""
        await websocket.outbox.given_up.wait()
        log.info("WebSocket %d is given up: it does not read", websocket.id)
        self._apply(self._leave(websocket))
        await trio.sleep(GIVEN_UP_TIME)
        websocket.displace()

    async def _read_messages(self, websocket: PeerWebSocket, ws: WebSocketConnection, keep_alive: KeepAlive) -> None:
        """Read and handle the peer's messages, one after the other.

        An `RtcError` is caught only here: its fault is sent to the peer, and the WebSocket is closed.
        """
        try:
            while not websocket.outbox.is_finished:
                await websocket.outbox.wait_for_replies()
                frame = await self._next_frame(websocket, ws)
                keep_alive.note_received()
                await self._handle(websocket, frame)
        except RtcError as error:
            log.info("WebSocket %d of %s is rejected: %s", websocket.id, websocket.source_network, error)
            self._apply(reject(websocket.id, error.fault.code, error.fault.text))
        finally:
            self._apply(self._leave(websocket))

    async def _next_frame(self, websocket: PeerWebSocket, ws: WebSocketConnection) -> str | bytes:
        """Wait for the next message, at the rate that one WebSocket may send.

        A worker's answers to offers do not count, since others cause them: a flood of offers, each of which it refuses,
        would delay its answer to an honest one. The offers count, for their clients.

        Raises:
            RtcError: the peer has not joined a room within `JOIN_TIME`.
        """
        with trio.move_on_after(JOIN_TIME) as time_limit:
            is_joiner = self._invitations.registry.is_joiner(websocket.id)  # then the exchange has a time of its own
            if is_joiner or self.registry.member_of(websocket.id) is not None:
                time_limit.deadline = float("inf")
            frame: str | bytes = await ws.get_message()
        if time_limit.cancelled_caught:
            text = f"Your program sent no request to join a room within {JOIN_TIME:.0f} seconds. Let it connect again."
            raise RtcError(FaultCode.STALLED, text)  # a busy machine is slow; that is no other version of the protocol
        if websocket.answers_due:
            websocket.answers_due -= 1
            return frame
        limit = self._rates.messages
        await trio.sleep(limit.delay(websocket.id, trio.current_time()))
        limit.count(websocket.id, trio.current_time())
        return frame

    async def _handle(self, websocket: PeerWebSocket, frame: str | bytes) -> None:
        """Decode one message and act on it. A member's message of an unknown name is ignored.

        Raises:
            RtcError: the message is invalid, or it may not be sent now.
        """
        if not isinstance(frame, str):
            raise RtcError(FaultCode.BAD_MESSAGE, "Only text is read here, and bytes came.")
        member = self.registry.member_of(websocket.id)
        has_joined, is_joiner = member is not None, self._invitations.registry.is_joiner(websocket.id)
        if not has_joined and not is_joiner:
            websocket.version = common_version(frame)
        try:
            message = read_frame(frame, websocket.version)
        except UnknownMessage as error:
            if not has_joined:
                raise RtcError(FaultCode.BAD_MESSAGE, f"The server does not understand: {error}.") from None
            websocket.unknown_count += 1
            if websocket.unknown_count <= UNKNOWN_MAX:
                log.info("WebSocket %d: %s; it is ignored", websocket.id, error)
            return
        if isinstance(message, InvitationRequest):
            self._apply_at_cost(await self._invitations.handle(websocket, member, message), websocket)
            return
        if is_joiner or isinstance(message, CreateRoom | Join) == has_joined:
            text = "Join a room first." if not has_joined and not is_joiner else "You are in a room already."
            raise RtcError(FaultCode.BAD_MESSAGE, text)
        match message:
            case CreateRoom():
                await self._create_room(websocket, message)
            case Join():
                await self._join(websocket, message)
            case Offer() | Withdraw():
                await self._relay_to_worker(websocket, message)
            case _:
                if isinstance(message, Leave):
                    websocket.finish()
                self._apply_at_cost(self._change_room(websocket, message), websocket)

    def _change_room(
        self, websocket: PeerWebSocket, message: Announce | JoinQueue | LeaveQueue | Leave | Answer | Refuse
    ) -> RoomEffects:
        now = trio.current_time()
        match message:
            case Leave():
                return self._leave(websocket, for_good=True)
            case Announce():
                return self.registry.announce(websocket.id, message.facts, now)
            case JoinQueue():
                return self.registry.join_queue(websocket.id, message, now)
            case LeaveQueue():
                return self.registry.leave_queue(websocket.id, now)
            case _:
                return self.registry.relay(websocket.id, message)

    def _leave(self, websocket: PeerWebSocket, *, for_good: bool = False) -> RoomEffects:
        """Take a peer from its room, and end its exchanges; its invitations too, if it leaves for good."""
        now = trio.current_time()
        left = self.registry.leave(websocket.id, now)
        return (*left, *self._invitations.registry.leave(websocket.id, now, for_good=for_good))

    async def _relay_to_worker(self, websocket: PeerWebSocket, message: Offer | Withdraw) -> None:
        """Pass on a client's message when there is a place for it in the worker's outbox.

        Each client has places of its own there, so that one that sends very many messages slows down only itself. An
        offer for which there is none in time is refused.
        """
        with trio.move_on_after(RELAY_TIME):
            while True:
                member, addressee = self.registry.member_of(websocket.id), self._addressee(websocket, message.peer)
                if member is None or addressee is None or addressee.outbox.has_place(member.peer, message):
                    self._apply_at_cost(self.registry.relay(websocket.id, message), websocket)
                    return
                await addressee.outbox.wait_for_place(member.peer, message)
        if isinstance(message, Offer):
            fault = Fault(FaultCode.WORKER_BUSY, "The worker does not read what is sent to it. Try another, or --wait.")
            self._apply((SendMessage(websocket.id, Refuse(message.peer, fault, message.number)),))

    def _addressee(self, websocket: PeerWebSocket, peer: PeerId) -> PeerWebSocket | None:
        """Return the connection of a peer in the room that this WebSocket has joined, if it is there."""
        found = self.registry.websocket_of(websocket.id, peer)
        return self._websockets.get(found) if found is not None else None

    async def _create_room(self, websocket: PeerWebSocket, message: CreateRoom) -> None:
        now, rooms = trio.current_time(), self._rates.rooms
        if not self._limits.rooms_are_open:
            raise RtcError(FaultCode.ROOM_DENIED, ROOMS_CLOSED)
        if rooms.delay(websocket.source_network, now) > 0:
            raise RtcError(FaultCode.ROOM_DENIED, TOO_MANY_ROOMS)
        rooms.count(websocket.source_network, now)
        try:
            room, token = await self._room_store.create_room(message.name)
        except RtcError:
            rooms.count(websocket.source_network, now, cost=-1)
            raise
        self._apply((SendMessage(websocket.id, RoomCreated(room, token)),))

    async def _join(self, websocket: PeerWebSocket, message: Join) -> None:
        if not await self._room_store.is_token_of(message.room, message.token):
            await self._refuse_guess(websocket)
        owns_peer_id = self._owns_peer_id(message)
        rate = self._rates.rejoins if owns_peer_id else self._rates.joins
        key = f"{message.room}/{message.peer}" if owns_peer_id else websocket.source_network
        delay = rate.delay(key, trio.current_time())
        rate.count(key, trio.current_time())
        await trio.sleep(delay)
        peer = message.peer if owns_peer_id and message.peer is not None else self._new_peer_id(message)
        resume = self._room_store.resume_proof(message.room, peer)
        now = trio.current_time()
        old = self._websockets.get(self.registry.websocket_in(message.room, peer) or WebSocketId(0))
        if old is not None:
            self._admission.take_over(websocket, old)
        else:
            self._admission.join(websocket, message.room, message.role, now, returns=owns_peer_id)
        effects = self.registry.join(websocket.id, message.room, peer, message.role, message.facts, resume, now)
        rate.count(key, now, 2 * others_cost(effects, websocket.id))  # as much is said when it leaves
        self._apply(tuple(map(self._with_credentials, effects)))
        log.info("WebSocket %d joins %s as %s", websocket.id, message.room, peer)

    async def _refuse_guess(self, websocket: PeerWebSocket) -> None:
        """Count a wrong token, and refuse the peer; when there were too many from its address, after a while.

        Raises:
            RtcError: ROOM_DENIED, always.
        """
        network, guesses = websocket.source_network, self._rates.guesses
        delay = guesses.delay(network, trio.current_time())
        guesses.count(network, trio.current_time())
        if delay > 0:
            await trio.sleep(GUESS_DELAY)
            raise RtcError(FaultCode.ROOM_DENIED, TOO_MANY_GUESSES)
        raise RtcError(
            FaultCode.ROOM_DENIED,
            "The server knows no room of this id that this token opens. Check both; tokens and ids are shown in the"
            " worker's banner.",
        )

    def _owns_peer_id(self, message: Join) -> bool:
        """Return whether the peer requests an earlier id of its own, and proves with `resume` that it is its own."""
        if message.peer is None or message.resume is None or not message.peer.startswith(f"{message.role.value}-"):
            return False
        proof = self._room_store.resume_proof(message.room, message.peer)
        return hmac.compare_digest(proof.encode(), message.resume.encode("utf-8", "surrogatepass"))

    def _new_peer_id(self, message: Join) -> PeerId:
        while True:
            peer = PeerId(f"{message.role.value}-{secrets.token_hex(PEER_ID_BYTES)}")
            if not self.registry.has_peer(message.room, peer):
                return peer

    def _apply(self, effects: RoomEffects) -> None:
        """Carry out the effects of a change of the registry, and note its next deadline; never waits."""
        self._until_lapse.deadline = min(self.registry.next_deadline(), self._invitations.registry.next_deadline())
        for effect in effects:
            websocket = self._websockets.get(effect.websocket)
            if websocket is None:
                continue
            if isinstance(effect, SendMessage):
                websocket.outbox.put(effect.message)
                websocket.answers_due += isinstance(effect.message, Offer | AskInvitation | ProveInvitation)
            else:
                websocket.finish()

    def _apply_at_cost(self, effects: RoomEffects, speaker: PeerWebSocket) -> None:
        """Carry out the effects of a peer's message; the messages to others count as messages of this peer."""
        self._apply(effects)
        self._rates.messages.count(speaker.id, trio.current_time(), others_cost(effects, speaker.id))


def others_cost(effects: RoomEffects, speaker: WebSocketId) -> float:
    """Return how many messages of the speaker those are worth that one message of it causes to others."""
    return OTHERS_COST * max(0, sum(effect.websocket != speaker for effect in effects) - 1)

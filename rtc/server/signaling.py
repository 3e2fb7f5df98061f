"""The server's WebSocket side: every socket's reader, writer and heartbeat around one room book.

Who speaks is known from the socket and from nothing else. A socket that talks nonsense is told so and closed; one that
talks much is read slowly; one that does not listen is closed; and none of them can touch another.
"""

import hmac
import itertools
import json
import logging
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import trio
from attrs import evolve
from trio_websocket import WebSocketConnection, wrap_server_stream

from actors.mailbox import QueueFull
from protocol import PROTOCOL_VERSION
from protocol.faults import FaultCode
from protocol.ids import PeerId, RoomId
from protocol.signaling import (
    Announce,
    CreateRoom,
    IceServers,
    Join,
    Joined,
    JoinQueue,
    Leave,
    LeaveQueue,
    RoomCreated,
    ToServer,
)
from protocol.wire import FRAME_MAX, TO_SERVER, WireError, decode
from rtc.common.errors import RtcError
from rtc.server.rate_limits import GUESS_DELAY, JOIN_TIME, SOCKETS_MAX, WAITING_MAX, RateLimits, origin
from rtc.server.rooms import RoomEffect, RoomEffects, RoomRegistry, SendMessage, SocketId, reject
from rtc.server.turn_credentials import LIFE_TIME, NO_TURN, TurnCredentials
from rtc.server.websocket_connection import PeerSocket
from rtc.transport.signaling.websocket import ENDINGS, GOING_AWAY, NORMAL, KeepAlive, close

log = logging.getLogger(__name__)

STOP_TIME = 4.0
"""Seconds for all sockets to be closed politely when the server stops."""
NAME_BYTES = 5
VERSIONS_MAX = 10_000
"""A number beyond this is no version, and not worth repeating in a sentence."""


class RoomStore(Protocol):
    """What signalling needs of the store."""

    async def create_room(self, name: str) -> tuple[RoomId, str]: ...
    async def opens(self, room: RoomId, token: str) -> bool: ...
    def resume(self, room: RoomId, peer: PeerId) -> str: ...


class SignalingServer:
    """All sockets of one server."""

    def __init__(self, room_store: RoomStore, limits: RateLimits, turn_credentials: TurnCredentials = NO_TURN) -> None:
        self.book = RoomRegistry()
        self._room_store = room_store
        self._limits = limits
        self._turn_credentials = turn_credentials
        self._sockets: dict[SocketId, PeerSocket] = {}
        self._numbers = map(SocketId, itertools.count(1))
        self._stopping = trio.Event()

    def stop(self) -> None:
        """Take nobody new, and close every socket with code 1001; `run` returns when that is done."""
        self._stopping.set()

    async def run(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop`."""
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                serve = partial(trio.serve_listeners, self._accept, list(listeners), handler_nursery=connections)
                await accepting.start(serve)
                accepting.start_soon(self._renew_credentials)
                task_status.started()
                await self._stopping.wait()
                accepting.cancel_scope.cancel()
            connections.cancel_scope.deadline = trio.current_time() + STOP_TIME
            for socket in self._sockets.values():
                socket.finish()

    async def _accept(self, stream: trio.SocketStream) -> None:
        try:
            address = str(stream.socket.getpeername()[0])
        except OSError:  # gone before we looked
            await trio.aclose_forcefully(stream)
            return
        await self.serve(stream, address)

    async def serve(self, stream: trio.abc.Stream, address: str) -> None:
        """One connection, until it ends; nothing it does raises anything here."""
        socket = PeerSocket(next(self._numbers), origin(address))
        full = len(self._sockets) >= SOCKETS_MAX or self._waiting(socket.origin) >= WAITING_MAX
        if full or self._stopping.is_set():
            await trio.aclose_forcefully(stream)
            return
        self._sockets[socket.id] = socket
        try:
            async with trio.open_nursery() as library:
                await self._meet(library, stream, socket)
                library.cancel_scope.cancel()
        except* ENDINGS as endings:
            log.debug("socket %d ended: %r", socket.id, endings.exceptions)
        finally:
            socket.outbox.close()  # whoever waits to put something in there goes on
            del self._sockets[socket.id]

    async def _renew_credentials(self) -> None:
        """Nobody's TURN credentials get old, however long the line holds; the first come with the welcome."""
        while self._turn_credentials.turn:
            await trio.sleep(LIFE_TIME / 2)
            for socket in tuple(self._sockets.values()):
                member = self.book.member_of(socket.id)
                if member is not None:
                    self._obey((SendMessage(socket.id, IceServers(self._turn_credentials.for_peer(member.peer))),))

    def _with_credentials(self, effect: RoomEffect) -> RoomEffect:
        """The welcome, with the servers that help its peer to reach others."""
        if isinstance(effect, SendMessage) and isinstance(effect.message, Joined):
            return evolve(
                effect, message=evolve(effect.message, ice=self._turn_credentials.for_peer(effect.message.peer))
            )
        return effect

    def _waiting(self, who: str) -> int:
        return sum(s.origin == who and self.book.member_of(s.id) is None for s in self._sockets.values())

    async def _meet(self, library: trio.Nursery, stream: trio.abc.Stream, socket: PeerSocket) -> None:
        ws: WebSocketConnection | None = None
        code = GOING_AWAY
        try:
            socket.scope.deadline = trio.current_time() + JOIN_TIME
            with socket.scope:
                request = await wrap_server_stream(library, stream, max_message_size=FRAME_MAX)
                ws = await request.accept()
            if ws is not None and not self._stopping.is_set():
                await self._converse(socket, ws)
                code = GOING_AWAY if self._stopping.is_set() else NORMAL
        finally:
            await close(ws, stream, code)

    async def _converse(self, socket: PeerSocket, ws: WebSocketConnection) -> None:
        keep_alive = KeepAlive()
        socket.scope = keep_alive.scope
        socket.open = True
        with keep_alive.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_alive.ping, ws)
                nursery.start_soon(self._listen, socket, ws, keep_alive)
                await socket.write(ws)
                nursery.cancel_scope.cancel()

    async def _listen(self, socket: PeerSocket, ws: WebSocketConnection, keep_alive: KeepAlive) -> None:
        """Hear one message after the other; the one place where a socket's failures are told to it."""
        try:
            while True:
                await socket.outbox.wait_below_threshold()
                frame = await self._next_frame(socket, ws)
                keep_alive.note_received()
                await self._hear(socket, frame)
        except RtcError as error:
            log.info("socket %d is turned away: %s", socket.id, error)
            self._obey(reject(socket.id, error.fault.code, error.fault.text))
        finally:
            self._obey(self.book.leave(socket.id))

    async def _next_frame(self, socket: PeerSocket, ws: WebSocketConnection) -> str | bytes:
        with trio.move_on_after(JOIN_TIME) as patience:
            if self.book.member_of(socket.id) is not None:
                patience.deadline = float("inf")
            frame: str | bytes = await ws.get_message()
        if patience.cancelled_caught:
            raise RtcError(FaultCode.BAD_MESSAGE, f"No request to join came within {JOIN_TIME:.0f} seconds.")
        pace = self._limits.messages
        await trio.sleep(pace.wait(socket.id, trio.current_time()))
        pace.take(socket.id, trio.current_time())
        return frame

    async def _hear(self, socket: PeerSocket, frame: str | bytes) -> None:
        message = _read(frame)
        seated = self.book.member_of(socket.id) is not None
        if isinstance(message, CreateRoom | Join) == seated:
            text = "You are in a room already." if seated else "Join a room first."
            raise RtcError(FaultCode.BAD_MESSAGE, text)
        match message:
            case CreateRoom():
                await self._create(socket, message)
            case Join():
                await self._join(socket, message)
            case Leave():
                socket.finish()
                self._obey(self.book.leave(socket.id))
            case Announce():
                self._obey(self.book.announce(socket.id, message.facts, trio.current_time()))
            case JoinQueue():
                self._obey(self.book.join_queue(socket.id, message))
            case LeaveQueue():
                self._obey(self.book.leave_queue(socket.id))
            case _:
                for effect in self.book.relay(socket.id, message):
                    await self._carry(effect, socket)

    async def _create(self, socket: PeerSocket, message: CreateRoom) -> None:
        now = trio.current_time()
        if self._limits.rooms.wait(socket.origin, now) > 0:
            raise RtcError(FaultCode.ROOM_DENIED, "Too many rooms were made from your address. Try again in a minute.")
        self._limits.rooms.take(socket.origin, now)
        room, token = await self._room_store.create_room(message.name)
        self._obey((SendMessage(socket.id, RoomCreated(room, token)),))

    async def _join(self, socket: PeerSocket, message: Join) -> None:
        known = self._is_known(message)
        # Who proves to have been here before is no guesser, however many of them share its address
        if not known and self._limits.guesses.wait(socket.origin, trio.current_time()) > 0:
            await trio.sleep(GUESS_DELAY)
            raise RtcError(FaultCode.ROOM_DENIED, "Too many wrong tokens came from your address. Wait a minute.")
        if not await self._room_store.opens(message.room, message.token):
            self._limits.guesses.take(socket.origin, trio.current_time())
            raise RtcError(
                FaultCode.ROOM_DENIED,
                "The server knows no room of this id that this token opens. Check both; tokens and ids are told in the"
                " worker's banner.",
            )
        peer = message.peer if known and message.peer is not None else self._new_name(message)
        resume = self._room_store.resume(message.room, peer)
        now = trio.current_time()
        effects = self.book.enter(socket.id, message.room, peer, message.role, message.facts, resume, now)
        self._obey(tuple(map(self._with_credentials, effects)))
        log.info("socket %d joins %s as %s", socket.id, message.room, peer)

    def _is_known(self, message: Join) -> bool:
        """Whether the peer proves that the name it wants back is its own."""
        if message.peer is None or message.resume is None or not message.peer.startswith(f"{message.role.value}-"):
            return False
        proof = self._room_store.resume(message.room, message.peer)
        return hmac.compare_digest(proof.encode(), message.resume.encode("utf-8", "surrogatepass"))

    def _new_name(self, message: Join) -> PeerId:
        while True:
            peer = PeerId(f"{message.role.value}-{secrets.token_hex(NAME_BYTES)}")
            if not self.book.is_here(message.room, peer):
                return peer

    def _obey(self, effects: RoomEffects) -> None:
        for effect in effects:
            socket = self._sockets.get(effect.socket)
            if socket is None:
                continue
            if not isinstance(effect, SendMessage):
                socket.finish()
                continue
            try:
                socket.outbox.put(effect.message)
            except QueueFull:
                log.info("socket %d does not take its messages and is cut", socket.id)
                socket.scope.cancel()

    async def _carry(self, effect: RoomEffect, speaker: PeerSocket) -> None:
        """Put a word into another's outbox when there is room, so that a flood holds up nobody but its speaker."""
        target = self._sockets.get(effect.socket)
        if isinstance(effect, SendMessage) and target is not None and target is not speaker:
            await target.outbox.admit(effect.message)
        else:
            self._obey((effect,))


def _read(frame: str | bytes) -> ToServer:
    """The message in a frame.

    Raises:
        RtcError: it is none, or one of another version.
    """
    if not isinstance(frame, str):
        raise RtcError(FaultCode.BAD_MESSAGE, "Only text is read here, and bytes came.")
    try:
        message = decode(frame, TO_SERVER)
    except WireError as error:
        _check_version(_version_in(frame))  # a stranger's fields are best explained by its version
        raise RtcError(FaultCode.BAD_MESSAGE, f"The server does not understand: {error}.") from None
    if isinstance(message, CreateRoom | Join):
        _check_version(min(message.version, VERSIONS_MAX))
    return message


def _version_in(frame: str) -> int:
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError):
        return PROTOCOL_VERSION
    version = value.get("version") if isinstance(value, dict) else None
    return version if type(version) is int and 0 <= version < VERSIONS_MAX else PROTOCOL_VERSION


def _check_version(version: int) -> None:
    if version != PROTOCOL_VERSION:
        raise RtcError(
            FaultCode.VERSION,
            f"Your sleap-rtc speaks version {version} of the protocol and this server version {PROTOCOL_VERSION}."
            " Update the older of the two.",
        )

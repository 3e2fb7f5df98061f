"""How one worker gets into a room, and into one again: which, under which name, and who is told of it."""

import logging
from collections.abc import Callable

import trio
from attrs import define, evolve, field, frozen

from actors.events import JoinedRoom, JoinRoom, RetryJoin, RoomCredentials, StatusChanged
from protocol.faults import FaultCode
from protocol.ids import RoomId
from protocol.session_string import SessionString
from protocol.signaling import Joined
from protocol.status import Role, WorkerFacts
from rtc.config.load import Config
from rtc.runtime.peer_runtime import PeerRuntime, Routes
from rtc.worker.banner import worker_banner
from rtc.worker.room_identity import RoomIdentity, SavedMembership

log = logging.getLogger("rtc.worker")

RETRY_PAUSE, RETRY_PAUSE_MAX = 10.0, 300.0
"""Seconds before a door that stayed shut is tried again, and twice as many each time up to a most; one try takes up to
`connection_timeout`."""


@frozen
class WorkerReady:
    """The worker is in its room."""

    room: RoomId
    token: str = field(repr=False)
    session: SessionString
    facts: WorkerFacts


@define
class RoomMembership:
    """Its sync methods are the router's doors."""

    config: Config
    address: str
    """The server's, for others."""
    room: RoomId | None
    """The one that was asked for; None to have one made."""
    token: str | None = field(repr=False)
    facts: WorkerFacts
    identity: RoomIdentity
    saved: SavedMembership | None
    """Where we were last, in this life or an earlier one."""
    runtime: PeerRuntime
    started: Callable[[WorkerReady], None]
    """Told of the first room."""
    say: Callable[[str], None]
    """Told of any other."""
    _resume: str = ""
    _joined_room: RoomId | None = None
    _attempts: int = 0
    """In vain, since we were last in."""

    def routes(self) -> Routes:
        """What it hears."""
        return {
            Joined: (self._joined,),
            JoinedRoom: (self._enter,),
            RetryJoin: (self._retry_join,),
            StatusChanged: (self._keep_status,),
        }

    def join(self) -> None:
        """Go for the room."""
        self.runtime.post(JoinRoom(self._pass(), self.config.connection_timeout))

    def _pass(self) -> RoomCredentials:
        saved = self.saved
        if saved is None:
            return RoomCredentials(Role.WORKER, self.room, self.token, self.facts)
        return RoomCredentials(Role.WORKER, saved.room, self.token or saved.token, self.facts, saved.peer, saved.resume)

    def _keep_status(self, event: StatusChanged) -> None:
        self.facts = evolve(self.facts, status=event.status)

    def _joined(self, event: Joined) -> None:
        self._resume = event.resume  # this gives our name back

    def _enter(self, event: JoinedRoom) -> None:
        """Later returns to the same room are the line's own affair."""
        self.saved = SavedMembership(self.config.signaling_websocket, event.room, event.token, event.peer, self._resume)
        try:
            self.identity.write(self.saved)
        except OSError as error:
            log.warning("the place in the room cannot be kept: %s", error.strerror)
        before, self._joined_room = self._joined_room, event.room
        self._attempts = 0
        session = SessionString(event.room, event.token, event.peer, self.address)
        if before is None:
            self.started(WorkerReady(event.room, event.token, session, self.facts))
        elif before != event.room:
            banner = worker_banner(self.facts, event.room, event.token, session.write(), self.address)
            self.say(f"The room is gone from the server, so this worker is in another one now.\n\n{banner}\n")

    def _retry_join(self, effect: RetryJoin) -> None:
        if effect.fault.code is FaultCode.ROOM_DENIED and self.room is None:
            self.saved = None  # it is gone from the server; who needs us must be told the new one
        pause = min(RETRY_PAUSE * 2**self._attempts, RETRY_PAUSE_MAX)
        self._attempts += 1
        self.runtime.actors.start_soon(self._join_later, pause)

    async def _join_later(self, pause: float) -> None:
        await trio.sleep(pause)
        self.join()

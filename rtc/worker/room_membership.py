"""Joins a room for the worker, rejoins it when the membership was lost, and reports which room the worker is in."""

import logging
import math
from collections.abc import Awaitable, Callable

import trio
from attrs import define, evolve, field, frozen

from actors.events import JoinedRoom, JoinFailed, JoinRoom, RetryJoin, RoomCredentials, RoomMade
from protocol.faults import FaultCode
from protocol.ids import RoomId
from protocol.session_string import SessionString
from protocol.signaling import Joined
from protocol.status import Role, WorkerFacts
from rtc.common.errors import RtcError
from rtc.config.load import Config
from rtc.invitations.short_code import ShortCode
from rtc.runtime.peer_runtime import PeerRuntime, Routes
from rtc.runtime.room_keys import KeyFinder
from rtc.worker.banner import worker_banner
from rtc.worker.membership_file import MembershipFile, SavedMembership

log = logging.getLogger("rtc.worker")

RETRY_PAUSE, RETRY_PAUSE_MAX = 10.0, 300.0
"""Seconds before the first retry of a failed join, and their maximum: they double with each failure. A try
takes up to `connection_timeout`."""


CodeMaker = Callable[[], Awaitable[ShortCode | None]]
"""Returns a short code; None if the server gives none."""


async def no_code() -> None:
    """Make no short code."""


@frozen
class WorkerReady:
    """The worker has joined its first room: how others reach it there."""

    room: RoomId
    token: str = field(repr=False)
    session: SessionString
    facts: WorkerFacts
    has_secret: bool = False
    """Whether clients must prove that they know the room secret."""
    make_code: CodeMaker = field(default=no_code, eq=False)
    """Has a short code for the room made, once."""


@define
class RoomMembership:
    """One worker's membership of a room. The router calls its sync methods."""

    config: Config
    address: str
    """The server's WebSocket address for other machines."""
    room: RoomId | None
    """The room that the person named; None to create one."""
    token: str | None = field(repr=False)
    find_keys: KeyFinder
    membership_file: MembershipFile
    """Saves the membership on disk."""
    saved: SavedMembership | None
    """The newest membership, of this program or of an earlier one; None to join without one."""
    runtime: PeerRuntime
    on_ready: Callable[[WorkerReady], None]
    """Called once, when the worker has joined its first room."""
    say: Callable[[str], None]
    """Prints a text for the person at the terminal, when the worker is in another room than before."""
    make_code: CodeMaker = no_code
    """Has a short code made, for the banner."""
    _resume_token: str = ""
    _join_deadline: float = math.inf
    """When the present try to join ends, by trio's clock. Its time is also for creating a room and finding its keys."""
    _joined_room: RoomId | None = None
    _failed_attempts: int = 0
    """Failed joins since the last successful one."""

    def routes(self) -> Routes:
        """Return the methods to call for each event."""
        return {
            Joined: (self._save_resume_token,),
            RoomMade: (self._join_made_room,),
            JoinedRoom: (self._handle_joined_room,),
            RetryJoin: (self._retry_join,),
        }

    def join(self) -> None:
        """Ask Discovery to join the room.

        A worker that others may be looking for in its room goes on trying for as long as the server is away; one that
        has no room yet ends, and says why.
        """
        self._join_deadline = trio.current_time() + self.config.connection_timeout
        self.runtime.actors.start_soon(self._join, self._credentials())

    def _join_made_room(self, event: RoomMade) -> None:
        self.runtime.actors.start_soon(self._join, RoomCredentials(Role.WORKER, event.room, event.token))

    async def _join(self, credentials: RoomCredentials) -> None:
        """Find the room's keys, and ask Discovery to join it; or to have one created, if there is none."""
        if credentials.room is not None:
            try:
                credentials = evolve(credentials, keys=await self.find_keys(credentials.room))
            except RtcError as error:
                self.runtime.post(JoinFailed(error.fault))
                return
        patient = self.room is not None or self.saved is not None or self._joined_room is not None
        self.runtime.post(JoinRoom(credentials, max(0, self._join_deadline - trio.current_time()), patient))

    def _credentials(self) -> RoomCredentials:
        saved = self.saved
        if saved is None:
            return RoomCredentials(Role.WORKER, self.room, self.token)
        token = self.token or saved.token
        return RoomCredentials(Role.WORKER, saved.room, token, peer=saved.peer, resume=saved.resume)

    def _save_resume_token(self, event: Joined) -> None:
        self._resume_token = event.resume  # with it the server gives us the same peer id again

    def _handle_joined_room(self, event: JoinedRoom) -> None:
        """Save the membership, and report a room that is the first one or a new one.

        Nothing is reported when the signalling connection was lost and the worker rejoined the same room.
        """
        has_secret = event.keys is not None
        self.saved = SavedMembership(
            self.config.signaling_websocket, event.room, event.token, event.peer, self._resume_token, has_secret
        )
        try:
            self.membership_file.write(self.saved)
        except OSError as error:
            log.warning("the membership of the room cannot be saved: %s", error.strerror)
        previous_room, self._joined_room = self._joined_room, event.room
        self._failed_attempts = 0
        session = SessionString(event.room, event.token, event.peer, self.address)
        if previous_room is None:
            self.on_ready(WorkerReady(event.room, event.token, session, self.runtime.facts, has_secret, self.make_code))
        elif previous_room != event.room:
            facts, text = self.runtime.facts, session.write()
            banner = worker_banner(facts, event.room, event.token, text, self.address, has_secret=has_secret)
            self.say(f"The room is gone from the server, so this worker is in another one now.\n\n{banner}\n")

    def _retry_join(self, effect: RetryJoin) -> None:
        """Join again after a pause; in a new room if the old one is gone and the person did not name it."""
        if effect.fault.code is FaultCode.ROOM_DENIED and self.room is None:
            self.saved = None  # the room is gone from the server; job owners must be given the new one
        pause = min(RETRY_PAUSE * 2**self._failed_attempts, RETRY_PAUSE_MAX)
        self._failed_attempts += 1
        self.runtime.actors.start_soon(self._join_later, pause)

    async def _join_later(self, pause: float) -> None:
        await trio.sleep(pause)
        self.join()

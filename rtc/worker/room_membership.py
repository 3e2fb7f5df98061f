"""How one worker gets into a room, and into one again: which, under which name, and who is told of it."""

import logging
from collections.abc import Callable

import trio
from attrs import define, evolve, field, frozen

from actors.events import Enter, Entered, KnockAgain, RoomPass, StatusIs
from protocol.faults import FaultCode
from protocol.ids import RoomId
from protocol.session_string import SessionString
from protocol.signaling import Joined
from protocol.status import Role, WorkerFacts
from rtc.config.load import Config
from rtc.runtime.peer_runtime import House, Routes
from rtc.worker.banner import worker_banner
from rtc.worker.room_identity import Identity, Place

log = logging.getLogger("rtc.worker")

KNOCK_PAUSE, KNOCK_PAUSE_MAX = 10.0, 300.0
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
class Doorman:
    """Its sync methods are the router's doors."""

    config: Config
    address: str
    """The server's, for others."""
    room: RoomId | None
    """The one that was asked for; None to have one made."""
    token: str | None = field(repr=False)
    facts: WorkerFacts
    identity: Identity
    place: Place | None
    """Where we were last, in this life or an earlier one."""
    house: House
    started: Callable[[WorkerReady], None]
    """Told of the first room."""
    say: Callable[[str], None]
    """Told of any other."""
    _resume: str = ""
    _entered: RoomId | None = None
    _knocks: int = 0
    """In vain, since we were last in."""

    def routes(self) -> Routes:
        """What it hears."""
        return {
            Joined: (self._joined,),
            Entered: (self._enter,),
            KnockAgain: (self._knock_again,),
            StatusIs: (self._note,),
        }

    def knock(self) -> None:
        """Go for the room."""
        self.house.post(Enter(self._pass(), self.config.connection_timeout))

    def _pass(self) -> RoomPass:
        place = self.place
        if place is None:
            return RoomPass(Role.WORKER, self.room, self.token, self.facts)
        return RoomPass(Role.WORKER, place.room, self.token or place.token, self.facts, place.peer, place.resume)

    def _note(self, event: StatusIs) -> None:
        self.facts = evolve(self.facts, status=event.status)

    def _joined(self, event: Joined) -> None:
        self._resume = event.resume  # this gives our name back

    def _enter(self, event: Entered) -> None:
        """Later returns to the same room are the line's own affair."""
        self.place = Place(self.config.signaling_websocket, event.room, event.token, event.peer, self._resume)
        try:
            self.identity.write(self.place)
        except OSError as error:
            log.warning("the place in the room cannot be kept: %s", error.strerror)
        before, self._entered = self._entered, event.room
        self._knocks = 0
        session = SessionString(event.room, event.token, event.peer, self.address)
        if before is None:
            self.started(WorkerReady(event.room, event.token, session, self.facts))
        elif before != event.room:
            banner = worker_banner(self.facts, event.room, event.token, session.write(), self.address)
            self.say(f"The room is gone from the server, so this worker is in another one now.\n\n{banner}\n")

    def _knock_again(self, effect: KnockAgain) -> None:
        if effect.fault.code is FaultCode.ROOM_DENIED and self.room is None:
            self.place = None  # it is gone from the server; who needs us must be told the new one
        pause = min(KNOCK_PAUSE * 2**self._knocks, KNOCK_PAUSE_MAX)
        self._knocks += 1
        self.house.actors.start_soon(self._knock_later, pause)

    async def _knock_later(self, pause: float) -> None:
        await trio.sleep(pause)
        self.knock()

"""The door to a room: Discovery, and the line to the server that it speaks over. Enough for a program that looks in.

Rule of the file: no links, hence no asyncio room, which is slow to import.
"""

from collections.abc import Mapping
from functools import partial

import trio
from attrs import define, field

from actors.actor import Actor
from actors.discovery import DISCOVERY, Seat
from actors.events import AnswerReady, Enter, LineDown, LineUp, MemoryIs, OfferReady, Say, StatusIs, TurnAway
from actors.mailbox import HOUSE, ROOMY, Mailbox
from actors.router import Route, Router
from protocol.faults import Fault
from protocol.signaling import (
    Answer,
    Granted,
    IceGiven,
    InLine,
    Joined,
    Offer,
    Refuse,
    RoomCreated,
    ToServer,
    WorkerGone,
    WorkerShown,
)
from rtc.config.load import Config
from rtc.transport.signaling.connection import run_line

Routes = Mapping[type, tuple[Route, ...]]

FOR_DISCOVERY = (
    *(Enter, LineUp, LineDown, Joined, RoomCreated, WorkerShown, WorkerGone, Offer, Answer, Refuse, Fault),
    *(OfferReady, AnswerReady, TurnAway, StatusIs, MemoryIs),
)


@define
class Door:
    """Its two tasks end with the nurseries that they are started in."""

    config: Config
    router: Router
    outgoing: Mailbox[ToServer] = field(factory=lambda: Mailbox(HOUSE, ROOMY), init=False)
    discovery: Actor[Seat] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.discovery = Actor(DISCOVERY, Seat(), self.router.outbox)

    def routes(self) -> dict[type, tuple[Route, ...]]:
        """Who takes what is said at the door."""
        routes: dict[type, tuple[Route, ...]] = dict.fromkeys(FOR_DISCOVERY, (self.discovery.inbox.put,))
        # who opens links, or waits in line, takes these; from a hostile server they may come to anybody
        elsewhere: dict[type, tuple[Route, ...]] = dict.fromkeys((IceGiven, InLine, Granted), ())
        return routes | elsewhere | {Say: (self.say,)}

    def say(self, effect: Say) -> None:
        """Tell the server."""
        self.outgoing.put(effect.message)

    async def open(self, actors: trio.Nursery, adapters: trio.Nursery) -> None:
        """Start Discovery, then the line."""
        await actors.start(self.discovery.run)
        line = partial(
            run_line,
            self.config.signaling_websocket,
            heard=self.router.outbox.admit,
            outgoing=self.outgoing,
            timeout=self.config.connection_timeout,
        )
        adapters.start_soon(line)

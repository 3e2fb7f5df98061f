"""The door to a room: Discovery, and the line to the server that it speaks over. Enough for a program that looks in.

Rule of the file: no links, hence no asyncio room, which is slow to import.
"""

from collections.abc import Mapping
from functools import partial

import trio
from attrs import define, field

from actors.actor import Actor
from actors.discovery import DISCOVERY, DiscoveryData
from actors.events import (
    AnswerReady,
    FreeMemoryChanged,
    JoinRoom,
    OfferReady,
    RejectLink,
    SendToServer,
    ServerConnected,
    ServerDisconnected,
    StatusChanged,
)
from actors.mailbox import PROGRAM_CAPACITY, PROGRAM_THRESHOLD, Mailbox
from actors.router import Route, Router
from protocol.faults import Fault
from protocol.signaling import (
    Answer,
    IceServers,
    Joined,
    Offer,
    QueuePosition,
    Refuse,
    RoomCreated,
    ToServer,
    WorkerAssigned,
    WorkerLeft,
    WorkerPresent,
)
from rtc.config.load import Config
from rtc.transport.signaling.connection import run_signaling

Routes = Mapping[type, tuple[Route, ...]]

FOR_DISCOVERY = (
    *(
        JoinRoom,
        ServerConnected,
        ServerDisconnected,
        Joined,
        RoomCreated,
        WorkerPresent,
        WorkerLeft,
        Offer,
        Answer,
        Refuse,
        Fault,
    ),
    *(OfferReady, AnswerReady, RejectLink, StatusChanged, FreeMemoryChanged),
)


@define
class SignalingRuntime:
    """Its two tasks end with the nurseries that they are started in."""

    config: Config
    router: Router
    outgoing: Mailbox[ToServer] = field(factory=lambda: Mailbox(PROGRAM_CAPACITY, PROGRAM_THRESHOLD), init=False)
    discovery: Actor[DiscoveryData] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.discovery = Actor(DISCOVERY, DiscoveryData(), self.router.outbox)

    def routes(self) -> dict[type, tuple[Route, ...]]:
        """Who takes what is said at the door."""
        routes: dict[type, tuple[Route, ...]] = dict.fromkeys(FOR_DISCOVERY, (self.discovery.inbox.put,))
        # who opens links, or waits in line, takes these; from a hostile server they may come to anybody
        elsewhere: dict[type, tuple[Route, ...]] = dict.fromkeys((IceServers, QueuePosition, WorkerAssigned), ())
        return routes | elsewhere | {SendToServer: (self.say,)}

    def say(self, effect: SendToServer) -> None:
        """Tell the server."""
        self.outgoing.put(effect.message)

    async def open(self, actors: trio.Nursery, adapters: trio.Nursery) -> None:
        """Start Discovery, then the line."""
        await actors.start(self.discovery.run)
        line = partial(
            run_signaling,
            self.config.signaling_websocket,
            on_event=self.router.outbox.admit,
            outgoing=self.outgoing,
            timeout=self.config.connection_timeout,
        )
        adapters.start_soon(line)

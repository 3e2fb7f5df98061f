"""The signalling part of a program: the Discovery actor, and the connection to the server that it uses.

A program that only reads a room's list of workers needs nothing more. Rule: no links, and hence no import of
`rtc/transport/webrtc`, which is slow.
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
    Withdraw,
    WorkerAssigned,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import WorkerFacts
from rtc.common.stories import make_actor
from rtc.config.load import Config
from rtc.transport.signaling.connection import run_signaling

Routes = Mapping[type, tuple[Route, ...]]
"""For each type of event or effect, what is called with it."""

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
"""The types of events for the Discovery actor: from the program and the server; in the second group, from the links and
the Worker."""


@define
class SignalingRuntime:
    """The Discovery actor and the connection to the signalling server; they end with the nurseries that they run in."""

    config: Config
    router: Router
    facts: WorkerFacts | None = None
    """A worker's description of itself, which Discovery keeps up to date; None for a client."""
    outgoing: Mailbox[ToServer] = field(factory=lambda: Mailbox(PROGRAM_CAPACITY, PROGRAM_THRESHOLD), init=False)
    discovery: Actor[DiscoveryData] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.discovery = make_actor(DISCOVERY, DiscoveryData(self.facts), self.router.outbox)

    def routes(self) -> dict[type, tuple[Route, ...]]:
        """Return the routes for everything that comes from the server, or goes to Discovery or to the server."""
        routes: dict[type, tuple[Route, ...]] = dict.fromkeys(FOR_DISCOVERY, (self.discovery.inbox.put,))
        # a program with links, or in the queue, routes these itself; a hostile server may send them to any program
        ignored: dict[type, tuple[Route, ...]] = dict.fromkeys(
            (IceServers, QueuePosition, WorkerAssigned, Withdraw), ()
        )
        return routes | ignored | {SendToServer: (self.send,)}

    def send(self, effect: SendToServer) -> None:
        """Queue a message to the server."""
        self.outgoing.put(effect.message)

    async def open(self, actors: trio.Nursery, adapters: trio.Nursery) -> None:
        """Start Discovery in the nursery `actors`, then the connection to the server in the nursery `adapters`."""
        await actors.start(self.discovery.run)
        connection = partial(
            run_signaling,
            self.config.signaling_websocket,
            on_event=self.router.outbox.admit,
            outgoing=self.outgoing,
            timeout=self.config.connection_timeout,
        )
        adapters.start_soon(connection)

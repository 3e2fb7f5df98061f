"""The signalling part of a program: the Discovery actor, and the connection to the server that it uses.

A program that only reads a room's list of workers needs nothing more. Rule: no links, and hence no import of
`rtc/transport/webrtc`, which is slow.
"""

import secrets
from collections.abc import Mapping
from typing import get_args

import trio
from attrs import define, field, frozen

from actors.actor import Actor
from actors.discovery import DISCOVERY
from actors.discovery_data import DiscoveryData
from actors.events import (
    AnswerReady,
    FreeMemoryChanged,
    JoinRoom,
    LinkAnswered,
    LinkRefused,
    LinkRequested,
    OfferReady,
    OfferWithdrawn,
    RejectLink,
    SendToServer,
    ServerConnected,
    ServerDisconnected,
    SessionRequested,
    StatusChanged,
    TagDenied,
    WithdrawOffer,
)
from actors.mailbox import PROGRAM_CAPACITY, PROGRAM_THRESHOLD, Mailbox
from actors.offer_tags import OfferNonces
from actors.router import Route, Router
from protocol.faults import Fault
from protocol.invitations import InvitationNews
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
from protocol.trust import NONCE_BYTES
from rtc.common.stories import make_actor
from rtc.config.load import Config
from rtc.transport.signaling.connection import run_signaling

Routes = Mapping[type, tuple[Route, ...]]
"""For each type of event or effect, what is called with it."""

LINK_EVENTS = (LinkRequested, SessionRequested, LinkAnswered, LinkRefused, OfferWithdrawn, TagDenied)
"""The types of events about links, of which a program without links may hear only from a hostile server."""
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
        Withdraw,
        Fault,
    ),
    *(OfferReady, WithdrawOffer, AnswerReady, RejectLink, StatusChanged, FreeMemoryChanged),
)
"""The types of events for the Discovery actor: from the program and the server; in the second group, from the links and
the Worker."""


@frozen
class _Passed:
    """Follows the events that were put into the router's outbox before it, and so tells when they have all passed."""

    passed: trio.Event


@define
class SignalingRuntime:
    """The Discovery actor and the connection to the signalling server; they end with the nurseries that they run in."""

    config: Config
    router: Router
    facts: WorkerFacts | None = None
    """A worker's description of itself, which Discovery keeps up to date; None for a client."""
    outgoing: Mailbox[ToServer] = field(factory=lambda: Mailbox(PROGRAM_CAPACITY, PROGRAM_THRESHOLD), init=False)
    discovery: Actor[DiscoveryData] = field(init=False)
    _discovery_ended: trio.Event = field(factory=trio.Event, init=False)
    _connection_ended: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        data = DiscoveryData(self.facts, nonces=OfferNonces(secrets.token_bytes(NONCE_BYTES)))
        self.discovery = make_actor(DISCOVERY, data, self.router.outbox)

    def routes(self) -> dict[type, tuple[Route, ...]]:
        """Return the routes for everything that comes from the server, or goes to Discovery or to the server."""
        routes: dict[type, tuple[Route, ...]] = dict.fromkeys(FOR_DISCOVERY, (self.discovery.inbox.put,))
        # who has links, waits in the queue or invites routes these itself; a hostile server may send them to anybody
        ignored: dict[type, tuple[Route, ...]] = dict.fromkeys(
            (IceServers, QueuePosition, WorkerAssigned, *LINK_EVENTS, *get_args(InvitationNews)), ()
        )
        return routes | ignored | {SendToServer: (self.send,), _Passed: (lambda marker: marker.passed.set(),)}

    def send(self, effect: SendToServer) -> None:
        """Queue a message to the server."""
        self.outgoing.put(effect.message)

    async def open(self, actors: trio.Nursery, adapters: trio.Nursery) -> None:
        """Start Discovery in the nursery `actors`, then the connection to the server in the nursery `adapters`."""
        await actors.start(self._run_discovery)
        adapters.start_soon(self._run_connection)

    async def finish(self) -> None:
        """Let Discovery handle all that is in the router's outbox, send its messages, and close the connection.

        Return when that is done, which takes as long as the server does not read.
        """
        await self._pass_router()
        self.discovery.inbox.finish()
        await self._discovery_ended.wait()
        await self._pass_router()
        self.outgoing.finish()
        await self._connection_ended.wait()

    async def _pass_router(self) -> None:
        """Wait until the router has carried what is in its outbox now."""
        marker = _Passed(trio.Event())
        self.router.outbox.put(marker)
        await marker.passed.wait()

    async def _run_discovery(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self.discovery.run(task_status=task_status)
        self._discovery_ended.set()

    async def _run_connection(self) -> None:
        await run_signaling(
            self.config.signaling_websocket,
            on_event=self.router.outbox.admit,
            outgoing=self.outgoing,
            timeout=self.config.connection_timeout,
        )
        self._connection_ended.set()

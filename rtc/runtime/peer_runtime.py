"""The runtime that worker and client share: a router, Discovery, the signalling connection, and links.

Its nurseries, from the outermost to the innermost:

adapters                the signalling connection, the links, and what the program adds; cancelled last; each link
                        then sends a goodbye to its peer
  actors                the router and the actors
    body                waits for `Finished`
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from attrs import define, field

from actors.events import (
    AcceptLink,
    Authenticated,
    AuthenticationFailed,
    CloseLink,
    Drain,
    Finished,
    JoinDelayed,
    JoinedRoom,
    JoinFailed,
    LinkAnswered,
    LinkLost,
    LinkRefused,
    OfferWithdrawn,
    OpenLink,
    RoomMade,
    TagDenied,
    TellPeer,
    WorkersChanged,
)
from actors.router import Route, Router
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.signaling import IceServers, Joined
from protocol.status import Role, WorkerFacts
from rtc.config.ice_servers import IcePlan
from rtc.config.load import Config
from rtc.runtime.denied_tags import log_denied_answer
from rtc.runtime.signaling_runtime import Routes, SignalingRuntime
from rtc.transport.links.manager import LinkManager
from rtc.transport.webrtc import AsyncioLoop

__all__ = ["PeerRuntime", "Routes", "open_peer_runtime"]

NO_RELAY = (
    "--relay-only needs a TURN server, and none is known: neither ice_servers in the configuration nor the signalling "
    "server (sleap-rtc server --turn-url …) names one. Add one, or leave --relay-only out."
)
WITHDRAW_TIME = 1.0
"""Seconds that a program which ends may take to tell a worker that it has given up its link."""


@define
class PeerRuntime:
    """The parts of one running program that talks to peers."""

    router: Router
    signaling: SignalingRuntime
    links: LinkManager
    adapters: trio.Nursery
    actors: trio.Nursery
    finished: trio.Event = field(factory=trio.Event)
    """Set by the first `Finished`."""
    outcome: Finished = field(factory=Finished)
    """The first `Finished`: how the main actor ended."""
    was_in_room: bool = False
    """Whether the program has joined its room at least once."""

    @property
    def facts(self) -> WorkerFacts:
        """What this worker has last announced about itself, or will announce when it is in the room."""
        facts = self.signaling.discovery.data.facts
        assert facts is not None, "a worker's runtime is opened with them"
        return facts

    def post(self, event: Any) -> None:
        """Put an event into the router's outbox, from the program around the actors."""
        self.router.outbox.put(event)

    def add_routes(self, more: Routes) -> None:
        """Add routes; for an event that has routes already, the new ones are called after those."""
        routes = dict(self.router.routes)
        for kind, added in more.items():
            routes[kind] = (*routes.get(kind, ()), *added)
        self.router.routes = routes

    async def drain_when(self, asked: trio.Event) -> None:
        """Post `Drain` when `asked` is set."""
        await asked.wait()
        self.post(Drain())

    def check_relay(self) -> None:
        """End the program when `--relay-only` is set and no TURN server is known; call this after joining the room.

        At that time every TURN server is known: those of the configuration, and those of the signalling server. Only
        the first join is checked: a signalling server that lost its TURN servers later must not end a running job.
        """
        if self.links.plan.relay_only and not self.was_in_room and not self.links.current_ice_plan().can_relay:
            self.finish(Finished(Fault(FaultCode.USAGE, NO_RELAY)))
        self.was_in_room = True

    async def withdraw_offers(self) -> None:
        """Let the workers whose links are not open yet know that nobody comes; takes at most `WITHDRAW_TIME`.

        The connection to the server is closed then, after everything that Discovery still had to say.
        """
        if self.links.give_up_unopened():
            with trio.move_on_after(WITHDRAW_TIME):
                await self.signaling.finish()

    def finish(self, finished: Finished) -> None:
        """End the program; only the first call counts."""
        if not self.finished.is_set():
            self.outcome = finished
            self.finished.set()


@asynccontextmanager
async def open_peer_runtime(
    *,
    asyncio_loop: AsyncioLoop,
    config: Config,
    role: Role,
    on_message: Callable[[PeerRuntime, LinkId, Any], Awaitable[None]],
    facts: WorkerFacts | None = None,
    goodbye_fault: Fault | None = None,
    tap: Callable[[Any], None] | None = None,
) -> AsyncGenerator[PeerRuntime, None]:
    """Open a runtime whose tasks all end with this context. The connection to the server may not be open yet.

    Args:
        asyncio_loop: runs the WebRTC connections.
        config: the server's address, the ICE servers, and the time-outs.
        role: worker or client.
        on_message: gets each message of an authenticated peer, with the runtime and the link; the next message of that
            link waits until it returns.
        facts: a worker's description of itself; Discovery keeps it up to date.
        goodbye_fault: the fault that is sent to every peer when the program is cancelled.
        tap: sees every event and effect before its routes do.
    """
    router = Router({}, tap=tap)
    signaling = SignalingRuntime(config, router, facts)
    plan = IcePlan(config.ice_servers, config.relay_only)
    links = LinkManager(asyncio_loop, router, role, _not_ready, plan, goodbye_fault=goodbye_fault)
    async with trio.open_nursery() as adapters, trio.open_nursery() as actors:
        runtime = PeerRuntime(router, signaling, links, adapters, actors)
        links.on_message = partial(on_message, runtime)
        router.routes = _routes(runtime, signaling)
        await adapters.start(links.run)
        await actors.start(router.run)
        await signaling.open(actors, adapters)
        yield runtime
        await runtime.withdraw_offers()
        adapters.cancel_scope.cancel()


async def _not_ready(_link: LinkId, _message: Any) -> None:
    """Stand in for the links' `on_message` until the runtime, which it needs, exists."""
    raise AssertionError("no link can have a message before the runtime is complete")


def _routes(runtime: PeerRuntime, signaling: SignalingRuntime) -> dict[type, tuple[Route, ...]]:
    links = runtime.links

    def joined(event: Joined) -> None:
        links.update_ice_servers(event)
        runtime.check_relay()

    signaling_routes = signaling.routes()
    return signaling_routes | {
        Joined: (joined, *signaling_routes[Joined]),
        IceServers: (links.update_ice_servers,),
        RoomMade: (),
        JoinedRoom: (links.set_room,),
        JoinDelayed: (),
        JoinFailed: (),
        WorkersChanged: (),
        LinkAnswered: (links.handle_answer,),
        LinkRefused: (links.handle_refusal,),
        OfferWithdrawn: (links.handle_withdrawal,),
        TagDenied: (log_denied_answer,) if links.role is Role.CLIENT else (),
        OpenLink: (links.request_link,),
        AcceptLink: (links.accept_link,),
        TellPeer: (links.send,),
        CloseLink: (links.close_link,),
        Authenticated: (links.handle_authenticated,),
        AuthenticationFailed: (links.handle_authentication_failed,),
        LinkLost: (),
        Drain: (links.drain,),
        Finished: (runtime.finish,),
    }

"""What worker and client have in common: a router, Discovery, the line to the server, and links.

adapters                the line, the links, and what the program adds; closed last, links with a good-bye
  actors                router and actors
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
    JoinedRoom,
    JoinFailed,
    LinkAnswered,
    LinkLost,
    LinkRefused,
    LinkRequested,
    OpenLink,
    TellPeer,
    WorkersChanged,
)
from actors.router import Route, Router
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.signaling import IceServers, Joined
from protocol.status import Role
from protocol.trust import Secret
from rtc.config.ice_servers import IcePlan
from rtc.config.load import Config
from rtc.runtime.signaling_runtime import Routes, SignalingRuntime
from rtc.transport.links.manager import LinkManager
from rtc.transport.webrtc import AsyncioLoop

__all__ = ["PeerRuntime", "Routes", "open_peer_runtime"]

NO_RELAY = (
    "--relay-only needs a TURN server, and none is known: neither ice_servers in the configuration nor the signalling "
    "server (sleap-rtc server --turn-url …) names one. Add one, or leave --relay-only out."
)


@define
class PeerRuntime:
    """One program's inside."""

    router: Router
    links: LinkManager
    adapters: trio.Nursery
    actors: trio.Nursery
    finished: trio.Event = field(factory=trio.Event)
    last: Finished = field(factory=Finished)
    entered: bool = False
    """Whether the server has ever let us in."""

    def post(self, event: Any) -> None:
        """Say something inside the house, as the program around it."""
        self.router.outbox.put(event)

    def route(self, more: Routes) -> None:
        """Add takers; those of the house come first."""
        routes = dict(self.router.routes)
        for kind, takers in more.items():
            routes[kind] = (*routes.get(kind, ()), *takers)
        self.router.routes = routes

    async def drain_when(self, asked: trio.Event) -> None:
        """Turn the wish to stop into an event like any other."""
        await asked.wait()
        self.post(Drain())

    def check_relay(self) -> None:
        """We are in, and know every TURN server there is: without one, `--relay-only` could never come to anything.

        Said only before the first return: a server that has lost its TURN servers must not end a running job.
        """
        if self.links.plan.relay_only and not self.entered and not self.links.route_plan().can_relay:
            self.finish(Finished(Fault(FaultCode.USAGE, NO_RELAY)))
        self.entered = True

    def finish(self, finished: Finished) -> None:
        """The main actor has nothing left to do; its first word counts."""
        if not self.finished.is_set():
            self.last = finished
            self.finished.set()


@asynccontextmanager
async def open_peer_runtime(
    *,
    asyncio_loop: AsyncioLoop,
    config: Config,
    role: Role,
    secret: Secret | None,
    on_message: Callable[[PeerRuntime, LinkId, Any], Awaitable[None]],
    stopping: Fault | None = None,
    tap: Callable[[Any], None] | None = None,
) -> AsyncGenerator[PeerRuntime, None]:
    """A house with the line up (or trying) and Discovery at the door; everything ends with this context."""
    router = Router({}, tap=tap)
    signaling = SignalingRuntime(config, router)
    plan = IcePlan(config.ice_servers, config.relay_only)
    links = LinkManager(asyncio_loop, router, role, secret, _unheard, plan, stopping=stopping)
    async with trio.open_nursery() as adapters, trio.open_nursery() as actors:
        runtime = PeerRuntime(router, links, adapters, actors)
        links.on_message = partial(on_message, runtime)
        router.routes = _routes(runtime, signaling)
        await adapters.start(links.run)
        await actors.start(router.run)
        await signaling.open(actors, adapters)
        yield runtime
        adapters.cancel_scope.cancel()


async def _unheard(_link: LinkId, _message: Any) -> None:
    raise AssertionError("links are heard only once the house stands")


def _routes(runtime: PeerRuntime, signaling: SignalingRuntime) -> dict[type, tuple[Route, ...]]:
    links = runtime.links

    def joined(event: Joined) -> None:
        links.given(event)
        runtime.check_relay()

    at_the_door = signaling.routes()
    return at_the_door | {
        Joined: (joined, *at_the_door[Joined]),
        IceServers: (links.given,),
        JoinedRoom: (links.entered,),
        JoinFailed: (),
        WorkersChanged: (),
        LinkRequested: (),
        LinkAnswered: (links.answered,),
        LinkRefused: (links.refused,),
        OpenLink: (links.ask,),
        AcceptLink: (links.accept,),
        TellPeer: (links.tell,),
        CloseLink: (links.close,),
        Authenticated: (links.trusted,),
        AuthenticationFailed: (links.distrusted,),
        LinkLost: (),
        Drain: (links.drain,),
        Finished: (runtime.finish,),
    }

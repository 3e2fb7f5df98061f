"""What worker and client have in common: a router, Discovery, the line to the server, and links.

adapters                the line, the links, and what the program adds; closed last, links with a good-bye
  actors                router and actors
    body                waits for `Finished`
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from attrs import define, field

from actors.actor import Actor
from actors.discovery import DISCOVERY, Seat
from actors.events import (
    AcceptLink,
    Answered,
    AnswerReady,
    CloseLink,
    Distrusted,
    Drain,
    Enter,
    Entered,
    EnterFailed,
    Finished,
    LineDown,
    LineUp,
    LinkLost,
    Offered,
    OfferReady,
    OpenLink,
    Refused,
    RosterIs,
    Say,
    StatusIs,
    TellLink,
    Trusted,
    TurnAway,
)
from actors.mailbox import Mailbox
from actors.router import Route, Router
from protocol.faults import Fault
from protocol.ids import LinkId
from protocol.signaling import Answer, Joined, Offer, Refuse, RoomCreated, ToServer, WorkerGone, WorkerShown
from protocol.status import Role
from protocol.trust import Secret
from rtc.bridge import Bridge
from rtc.config import Config
from rtc.links import Links
from rtc.signaling import run_line

Routes = Mapping[type, tuple[Route, ...]]
Task = Callable[..., Awaitable[None]]
"""An adapter's or actor's `run`, started with `nursery.start`."""

FOR_DISCOVERY = (
    *(Enter, LineUp, LineDown, Joined, RoomCreated, WorkerShown, WorkerGone, Offer, Answer, Refuse, Fault),
    *(OfferReady, AnswerReady, TurnAway, StatusIs),
)


@define
class House:
    """One program's inside."""

    router: Router
    links: Links
    adapters: trio.Nursery
    actors: trio.Nursery
    finished: trio.Event = field(factory=trio.Event)
    last: Finished = field(factory=Finished)

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

    def finish(self, finished: Finished) -> None:
        """The main actor has nothing left to do; its first word counts."""
        if not self.finished.is_set():
            self.last = finished
            self.finished.set()


@asynccontextmanager
async def open_house(
    *,
    bridge: Bridge,
    config: Config,
    role: Role,
    secret: Secret | None,
    heard: Callable[[House, LinkId, Any], Awaitable[None]],
    stopping: Fault | None = None,
    tap: Callable[[Any], None] | None = None,
) -> AsyncGenerator[House, None]:
    """A house with the line up (or trying) and Discovery at the door; everything ends with this context."""
    router = Router({}, tap=tap)
    discovery = Actor(DISCOVERY, Seat(), router.outbox)
    outgoing: Mailbox[ToServer] = Mailbox()
    links = Links(bridge, router, role, secret, _unheard, config.ice_servers, stopping=stopping)
    async with trio.open_nursery() as adapters, trio.open_nursery() as actors:
        house = House(router, links, adapters, actors)
        links.heard = partial(heard, house)
        router.routes = _routes(house, discovery, outgoing)
        await adapters.start(links.run)
        await actors.start(router.run)
        await actors.start(discovery.run)
        line = partial(
            run_line,
            config.signaling_websocket,
            heard=router.outbox.admit,
            outgoing=outgoing,
            timeout=config.connection_timeout,
        )
        adapters.start_soon(line)
        yield house
        adapters.cancel_scope.cancel()


async def _unheard(_link: LinkId, _message: Any) -> None:
    raise AssertionError("links are heard only once the house stands")


def _routes(house: House, discovery: Actor[Seat], outgoing: Mailbox[ToServer]) -> dict[type, tuple[Route, ...]]:
    links = house.links
    routes: dict[type, tuple[Route, ...]] = dict.fromkeys(FOR_DISCOVERY, (discovery.inbox.put,))
    return routes | {
        Say: (lambda effect: outgoing.put(effect.message),),
        Entered: (links.entered,),
        EnterFailed: (),
        RosterIs: (),
        Offered: (),
        Answered: (links.answered,),
        Refused: (links.refused,),
        OpenLink: (links.ask,),
        AcceptLink: (links.accept,),
        TellLink: (links.tell,),
        CloseLink: (links.close,),
        Trusted: (links.trusted,),
        Distrusted: (links.distrusted,),
        LinkLost: (),
        Drain: (links.drain,),
        Finished: (house.finish,),
    }

"""All links of one program: asks for them, answers for them, sets an Auth before each, and routes what is heard.

Its one rule: an unproven link knows only its Auth. `Authenticated` alone opens the way to anything else, for text and
binary messages alike.
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from attrs import define, evolve, field

from actors.actor import Actor
from actors.auth import CLIENT_AUTH, WORKER_AUTH, AuthData
from actors.events import (
    AcceptLink,
    AnswerReady,
    Authenticated,
    AuthenticationFailed,
    CloseLink,
    Drain,
    JoinedRoom,
    LinkAnswered,
    LinkLost,
    LinkOpened,
    LinkRefused,
    OfferReady,
    OpenLink,
    RejectLink,
    TellPeer,
)
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.signaling import IceGiven, Joined
from protocol.status import Role
from protocol.transfer import FileMessage
from protocol.trust import NONCE_BYTES, Binding, Secret
from protocol.wire import TO_CLIENT, TO_WORKER, Vocabulary
from rtc.common.errors import RtcError
from rtc.config.ice_servers import IcePlan, IceServer, adopt
from rtc.transport.files import FileChannel
from rtc.transport.links.link import Link, open_link
from rtc.transport.webrtc import AsyncioLoop, PeerConnection, open_peer_connection

CONNECT_TIME = 13.0
"""Seconds from answer to open link: twice what the slowest rung of the ladder takes to begin and to be answered. aiortc
alone would try for more than a minute before it says there is no way."""
ANSWER_TIME = 10.0
"""Seconds for the other side's half, which takes 3 to prepare at most."""


@define
class _Held:
    """One link, from the wish for it to its end."""

    name: LinkId
    peer: PeerId
    job: JobId | None = None
    """The job that is returned to."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    answer: Any = field(factory=lambda: trio.open_memory_channel[str](1))
    auth: Actor[AuthData] | None = None
    link: Link | None = None
    path: str = "none"
    file_channel: FileChannel | None = None
    closing: bool = False
    closing_fault: Fault | None = None
    """Why, once it is parted; a plain good-bye has no reason."""


@define
class Links:
    """Sync methods are the router's doors; everything that waits runs in the nursery of `run`."""

    bridge: AsyncioLoop
    router: Router
    role: Role
    secret: Secret | None
    on_message: Callable[[LinkId, Any], Awaitable[None]]
    """Takes what a trusted peer said; file words excepted, which go to the link's transfer lane."""
    plan: IcePlan = field(factory=IcePlan)
    """Our own STUN and TURN servers, and how they are to be used."""
    patience: float = CONNECT_TIME
    stopping: Fault | None = None
    """What peers are told when the whole program is cancelled."""
    _given: tuple[IceServer, ...] = ()
    """Those that the server hands out; they are asked after our own."""
    _room: RoomId | None = None
    _name: PeerId | None = None
    _held: dict[LinkId, _Held] = field(factory=dict)
    _nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold links until cancelled; then say good-bye on each, which is bounded."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def file_channel(self, name: LinkId) -> FileChannel | None:
        """Where files go over a trusted link; None when it is gone."""
        held = self._held.get(name)
        return held.file_channel if held is not None else None

    def link(self, name: LinkId) -> Link | None:
        """An open link; None when it is gone or not there yet."""
        held = self._held.get(name)
        return held.link if held is not None else None

    def peer(self, name: LinkId) -> PeerId | None:
        """Who is at the other end."""
        held = self._held.get(name)
        return held.peer if held is not None else None

    def path(self, name: LinkId) -> str:
        """Which way an open link's packets go: "direct" or "relayed"."""
        held = self._held.get(name)
        return held.path if held is not None else "none"

    # -------- the router's doors

    def given(self, event: Joined | IceGiven) -> None:
        """STUN and TURN servers of the lab, with credentials that will expire: the newest replace those before."""
        self._given = adopt(event.ice)

    def route_plan(self) -> IcePlan:
        """How the next link looks for its path."""
        return evolve(self.plan, servers=(*self.plan.servers, *self._given))

    def entered(self, event: JoinedRoom) -> None:
        """Our own name is part of every proof."""
        self._room, self._name = event.room, event.peer

    def ask(self, effect: OpenLink) -> None:
        """Ask a worker for a link."""
        self._start(_Held(effect.link, effect.peer, effect.job), None)

    def accept(self, effect: AcceptLink) -> None:
        """Answer a client's offer."""
        self._start(_Held(effect.link, effect.peer), effect.sdp)

    def answered(self, event: LinkAnswered) -> None:
        """The worker's half came; a second one is nobody's."""
        for held in self._held.values():
            if held.peer == event.peer and held.link is None:
                try:
                    held.answer[0].send_nowait(event.sdp)
                except trio.WouldBlock:
                    return

    def refused(self, event: LinkRefused) -> None:
        """No link will come of this; one that is open already is not touched by a late refusal."""
        for held in self._held.values():
            if held.peer == event.peer and held.link is None:
                self._close(held, event.fault)

    def trusted(self, event: Authenticated) -> None:
        """The one place where a link's way into the program opens."""
        held = self._held.get(event.link)
        if held is None or held.link is None:
            return
        link = held.link
        held.file_channel = file_channel = FileChannel.over(link)
        vocabulary: Vocabulary[Any] = TO_WORKER if self.role is Role.WORKER else TO_CLIENT

        async def route(message: Any) -> None:
            if isinstance(message, FileMessage):
                file_channel.hear(message)
                await trio.lowlevel.checkpoint()
            else:
                await self.on_message(event.link, message)

        link.trust(vocabulary, route)

    def distrusted(self, effect: AuthenticationFailed) -> None:
        """End it."""
        self.close(CloseLink(effect.link, effect.fault))

    def tell(self, effect: TellPeer) -> None:
        """Say this to the peer, if the link is still there."""
        link = self.link(effect.link)
        if link is not None:
            link.say(effect.message)

    def close(self, effect: CloseLink) -> None:
        """End it, after what was said has left."""
        held = self._held.get(effect.link)
        if held is not None:
            self._close(held, effect.fault)

    def drain(self, event: Drain) -> None:
        """Each Auth hears of it; trusted links are the actors' own to end."""
        for held in self._held.values():
            if held.auth is not None:
                held.auth.inbox.put(event)

    # -------- one link's life

    def _start(self, held: _Held, offer: str | None) -> None:
        assert self._nursery is not None, "links are asked for while they run"
        self._held[held.name] = held
        self._nursery.start_soon(self._live, held, offer)

    def _close(self, held: _Held, fault: Fault | None) -> None:
        held.closing, held.closing_fault = True, fault
        held.scope.cancel()

    async def _live(self, held: _Held, offer: str | None) -> None:
        """From the wish to `LinkLost`, which is said exactly once, whatever happens in between."""
        fault: Fault | None = self.stopping
        try:
            with held.scope:
                async with open_peer_connection(self.bridge, self.route_plan()) as connection:
                    fault = await self._connect_and_serve(held, connection, offer)
            if held.scope.cancelled_caught:
                fault = held.closing_fault
        except RtcError as error:
            fault = error.fault
        finally:
            del self._held[held.name]
            self.router.outbox.put(LinkLost(held.name, fault))

    async def _connect_and_serve(self, held: _Held, connection: PeerConnection, offer: str | None) -> Fault | None:
        if offer is None:
            self.router.outbox.put(OfferReady(held.peer, await connection.offer(), held.job))
            await connection.accept(await self._other_half(held))
        else:
            self.router.outbox.put(AnswerReady(held.peer, await self._answer(held, connection, offer)))
        await connection.wait_open(self.patience)
        held.path = connection.path_kind
        binding = self._bind(held, connection)
        async with open_link(connection, name=held.name) as link:
            held.link = link
            try:
                await self._serve(held, link, binding)
            finally:
                # harmless when the link has ended; bounded when not
                await link.aclose(held.closing_fault if held.closing else self.stopping)
        return link.fault

    async def _other_half(self, held: _Held) -> str:
        with trio.move_on_after(ANSWER_TIME):
            sdp: str = await held.answer[1].receive()
            return sdp
        raise RtcError(
            FaultCode.STALLED,
            f"The worker's half of the link did not come within {ANSWER_TIME:.0f} seconds; it may be gone. Try again.",
        )

    async def _answer(self, held: _Held, connection: PeerConnection, offer: str) -> str:
        """Our half; when there is none, the other side is told, for it waits."""
        try:
            return await connection.answer(offer)
        except RtcError as error:
            fault = Fault(error.fault.code, f"The worker could not link: {error.fault.text}")
            self.router.outbox.put(RejectLink(held.peer, fault))
            raise

    async def _serve(self, held: _Held, link: Link, binding: Binding) -> None:
        """Auth hears the link until it trusts; then the link's own route carries on until the link ends."""
        table = WORKER_AUTH if self.role is Role.WORKER else CLIENT_AUTH
        held.auth = auth = Actor(table, AuthData(self.secret), self.router.outbox)
        async with trio.open_nursery() as nursery:
            await nursery.start(auth.run)
            auth.inbox.put(LinkOpened(held.name, held.peer, binding, secrets.token_bytes(NONCE_BYTES)))
            link.route = auth.inbox.admit
            await link.lost.wait()
            auth.inbox.put(LinkLost(held.name, link.fault))
            auth.inbox.finish()

    def _bind(self, held: _Held, connection: PeerConnection) -> Binding:
        """What both ends must see alike: who they are, and the certificates DTLS really verified."""
        if self._room is None or self._name is None:
            raise RtcError(FaultCode.LINK_FAILED, "The link came before the room. Try again.")
        ours, theirs = connection.local_print, connection.remote_print
        if self.role is Role.WORKER:
            return Binding(self._room, self._name, held.peer, ours, theirs)
        return Binding(self._room, held.peer, self._name, theirs, ours)

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
from protocol.signaling import IceServers, Joined
from protocol.status import Role
from protocol.transfer import FileMessage
from protocol.trust import NONCE_BYTES, Binding, Secret
from protocol.wire import TO_CLIENT, TO_WORKER, Vocabulary
from rtc.common.errors import RtcError
from rtc.config.ice_servers import IcePlan, IceServer, usable_servers
from rtc.transport.files import FileChannel
from rtc.transport.links.link import Link, open_link
from rtc.transport.webrtc import AsyncioLoop, PeerConnection, open_peer_connection

CONNECT_TIME = 13.0
"""Seconds from answer to open link: twice what the slowest rung of the ladder takes to begin and to be answered. aiortc
alone would try for more than a minute before it says there is no way."""
ANSWER_TIME = 10.0
"""Seconds for the other side's half, which takes 3 to prepare at most."""


@define
class _LinkTask:
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
class LinkManager:
    """Sync methods are the router's doors; everything that waits runs in the nursery of `run`."""

    asyncio_loop: AsyncioLoop
    router: Router
    role: Role
    secret: Secret | None
    on_message: Callable[[LinkId, Any], Awaitable[None]]
    """Takes what a trusted peer said; file words excepted, which go to the link's transfer lane."""
    plan: IcePlan = field(factory=IcePlan)
    """Our own STUN and TURN servers, and how they are to be used."""
    connect_timeout: float = CONNECT_TIME
    stopping: Fault | None = None
    """What peers are told when the whole program is cancelled."""
    _server_ice_servers: tuple[IceServer, ...] = ()
    """Those that the server hands out; they are asked after our own."""
    _room: RoomId | None = None
    _name: PeerId | None = None
    _tasks: dict[LinkId, _LinkTask] = field(factory=dict)
    _nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold links until cancelled; then say good-bye on each, which is bounded."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def file_channel(self, name: LinkId) -> FileChannel | None:
        """Where files go over a trusted link; None when it is gone."""
        task = self._tasks.get(name)
        return task.file_channel if task is not None else None

    def link(self, name: LinkId) -> Link | None:
        """An open link; None when it is gone or not there yet."""
        task = self._tasks.get(name)
        return task.link if task is not None else None

    def peer(self, name: LinkId) -> PeerId | None:
        """Who is at the other end."""
        task = self._tasks.get(name)
        return task.peer if task is not None else None

    def path(self, name: LinkId) -> str:
        """Which way an open link's packets go: "direct" or "relayed"."""
        task = self._tasks.get(name)
        return task.path if task is not None else "none"

    # -------- the router's doors

    def given(self, event: Joined | IceServers) -> None:
        """STUN and TURN servers of the lab, with credentials that will expire: the newest replace those before."""
        self._server_ice_servers = usable_servers(event.ice)

    def route_plan(self) -> IcePlan:
        """How the next link looks for its path."""
        return evolve(self.plan, servers=(*self.plan.servers, *self._server_ice_servers))

    def entered(self, event: JoinedRoom) -> None:
        """Our own name is part of every proof."""
        self._room, self._name = event.room, event.peer

    def ask(self, effect: OpenLink) -> None:
        """Ask a worker for a link."""
        self._start(_LinkTask(effect.link, effect.peer, effect.job), None)

    def accept(self, effect: AcceptLink) -> None:
        """Answer a client's offer."""
        self._start(_LinkTask(effect.link, effect.peer), effect.sdp)

    def answered(self, event: LinkAnswered) -> None:
        """The worker's half came; a second one is nobody's."""
        for task in self._tasks.values():
            if task.peer == event.peer and task.link is None:
                try:
                    task.answer[0].send_nowait(event.sdp)
                except trio.WouldBlock:
                    return

    def refused(self, event: LinkRefused) -> None:
        """No link will come of this; one that is open already is not touched by a late refusal."""
        for task in self._tasks.values():
            if task.peer == event.peer and task.link is None:
                self._close(task, event.fault)

    def trusted(self, event: Authenticated) -> None:
        """The one place where a link's way into the program opens."""
        task = self._tasks.get(event.link)
        if task is None or task.link is None:
            return
        link = task.link
        task.file_channel = file_channel = FileChannel.over(link)
        vocabulary: Vocabulary[Any] = TO_WORKER if self.role is Role.WORKER else TO_CLIENT

        async def route(message: Any) -> None:
            if isinstance(message, FileMessage):
                file_channel.receive(message)
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
            link.send(effect.message)

    def close(self, effect: CloseLink) -> None:
        """End it, after what was said has left."""
        task = self._tasks.get(effect.link)
        if task is not None:
            self._close(task, effect.fault)

    def drain(self, event: Drain) -> None:
        """Each Auth hears of it; trusted links are the actors' own to end."""
        for task in self._tasks.values():
            if task.auth is not None:
                task.auth.inbox.put(event)

    # -------- one link's life

    def _start(self, task: _LinkTask, offer: str | None) -> None:
        assert self._nursery is not None, "links are asked for while they run"
        self._tasks[task.name] = task
        self._nursery.start_soon(self._run_link, task, offer)

    def _close(self, task: _LinkTask, fault: Fault | None) -> None:
        task.closing, task.closing_fault = True, fault
        task.scope.cancel()

    async def _run_link(self, task: _LinkTask, offer: str | None) -> None:
        """From the wish to `LinkLost`, which is said exactly once, whatever happens in between."""
        fault: Fault | None = self.stopping
        try:
            with task.scope:
                async with open_peer_connection(self.asyncio_loop, self.route_plan()) as connection:
                    fault = await self._connect_and_serve(task, connection, offer)
            if task.scope.cancelled_caught:
                fault = task.closing_fault
        except RtcError as error:
            fault = error.fault
        finally:
            del self._tasks[task.name]
            self.router.outbox.put(LinkLost(task.name, fault))

    async def _connect_and_serve(self, task: _LinkTask, connection: PeerConnection, offer: str | None) -> Fault | None:
        if offer is None:
            self.router.outbox.put(OfferReady(task.peer, await connection.offer(), task.job))
            await connection.accept(await self._wait_for_answer(task))
        else:
            self.router.outbox.put(AnswerReady(task.peer, await self._answer(task, connection, offer)))
        await connection.wait_open(self.connect_timeout)
        task.path = connection.path_kind
        binding = self._make_binding(task, connection)
        async with open_link(connection, name=task.name) as link:
            task.link = link
            try:
                await self._serve(task, link, binding)
            finally:
                # harmless when the link has ended; bounded when not
                await link.aclose(task.closing_fault if task.closing else self.stopping)
        return link.fault

    async def _wait_for_answer(self, task: _LinkTask) -> str:
        with trio.move_on_after(ANSWER_TIME):
            sdp: str = await task.answer[1].receive()
            return sdp
        raise RtcError(
            FaultCode.STALLED,
            f"The worker's half of the link did not come within {ANSWER_TIME:.0f} seconds; it may be gone. Try again.",
        )

    async def _answer(self, task: _LinkTask, connection: PeerConnection, offer: str) -> str:
        """Our half; when there is none, the other side is told, for it waits."""
        try:
            return await connection.answer(offer)
        except RtcError as error:
            fault = Fault(error.fault.code, f"The worker could not link: {error.fault.text}")
            self.router.outbox.put(RejectLink(task.peer, fault))
            raise

    async def _serve(self, task: _LinkTask, link: Link, binding: Binding) -> None:
        """Auth hears the link until it trusts; then the link's own route carries on until the link ends."""
        table = WORKER_AUTH if self.role is Role.WORKER else CLIENT_AUTH
        task.auth = auth = Actor(table, AuthData(self.secret), self.router.outbox)
        async with trio.open_nursery() as nursery:
            await nursery.start(auth.run)
            auth.inbox.put(LinkOpened(task.name, task.peer, binding, secrets.token_bytes(NONCE_BYTES)))
            link.route = auth.inbox.admit
            await link.lost.wait()
            auth.inbox.put(LinkLost(task.name, link.fault))
            auth.inbox.finish()

    def _make_binding(self, task: _LinkTask, connection: PeerConnection) -> Binding:
        """What both ends must see alike: who they are, and the certificates DTLS really verified."""
        if self._room is None or self._name is None:
            raise RtcError(FaultCode.LINK_FAILED, "The link came before the room. Try again.")
        ours, theirs = connection.local_fingerprint, connection.remote_fingerprint
        if self.role is Role.WORKER:
            return Binding(self._room, self._name, task.peer, ours, theirs)
        return Binding(self._room, task.peer, self._name, theirs, ours)

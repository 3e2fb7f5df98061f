"""All links of one program: makes offers and answers, runs an Auth actor on each link, and routes received messages.

Rule: a link that is not authenticated can reach only its Auth actor. Only the event `Authenticated` changes this, for
text and binary messages alike.
"""

import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio
from attrs import define, evolve, field

from actors.actor import Actor, Turn
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
    OfferWithdrawn,
    OpenLink,
    RejectLink,
    TellPeer,
    UnexpectedMessage,
    WithdrawOffer,
)
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.link import Hello
from protocol.signaling import IceServers, Joined
from protocol.status import Role
from protocol.transfer import FileMessage
from protocol.trust import NONCE_BYTES, AuthMessage, Binding, RoomKeys
from protocol.wire import TO_CLIENT, TO_WORKER, Vocabulary
from rtc.common.errors import RtcError
from rtc.common.stories import BUG_FAULT, make_actor
from rtc.config.ice_servers import IcePlan, IceServer, usable_servers
from rtc.transport.files import FileChannel
from rtc.transport.links.link import Link, Route, open_link
from rtc.transport.webrtc import AsyncioLoop, PeerConnection, open_peer_connection

CONNECT_TIME = 13.0
"""Seconds from the answer to an open link: twice the time that the slowest tier of candidate pairs needs to be started
and answered. aiortc alone would try for more than a minute before it reports a failure."""
ANSWER_TIME = 10.0
"""Seconds to wait for the worker's SDP answer. The worker needs at most 3 seconds to prepare it."""
WITHDRAWN_MAX = 64
"""How many withdrawals a worker remembers; it decides about an offer at once, so only the newest can matter."""
WITHDRAWN = Fault(FaultCode.LINK_LOST, "The client gave up before the connection was open.")


@define
class _LinkTask:
    """The state of one link, from the request for it to its end."""

    name: LinkId
    peer: PeerId
    number: int
    """The client's number of the offer."""
    job: JobId | None = None
    """The job that the client reconnects to, if any; sent with the offer."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    answer: Any = field(factory=lambda: trio.open_memory_channel[str](1))
    """Send and receive end of a channel for the SDP answer."""
    auth: Actor[AuthData] | None = None
    is_heard: trio.Event = field(factory=trio.Event)
    """Set when the newest message of a peer that is not authenticated has had all its effects on this link."""
    link: Link | None = None
    is_asked_for: bool = False
    """Whether the worker has our offer, or will get it, and has not refused it."""
    path: str = "none"
    """Kind of path: "direct", "relayed", or "none" before the connection is open."""
    file_channel: FileChannel | None = None
    closing: bool = False
    """Whether we are closing the link ourselves."""
    closing_fault: Fault | None = None
    """The reason for closing; None sends a Goodbye without a fault."""


@define
class LinkManager:
    """The links of one worker or client.

    The synchronous methods handle events and effects for the router and never wait; everything that waits runs in the
    nursery of `run`.
    """

    asyncio_loop: AsyncioLoop
    router: Router
    role: Role
    on_message: Callable[[LinkId, Any], Awaitable[None]]
    """Handles the messages of authenticated peers, except file messages, which go to the link's file channel, and those
    of links with a receiver of their own."""
    plan: IcePlan = field(factory=IcePlan)
    """The STUN and TURN servers of our own configuration, and whether only relayed paths may be used."""
    connect_timeout: float = CONNECT_TIME
    """Seconds that a connection may take to open after the answer."""
    goodbye_fault: Fault | None = None
    """The reason sent to peers when the whole program is cancelled."""
    _server_ice_servers: tuple[IceServer, ...] = ()
    """STUN and TURN servers from the signalling server; they are used after our own."""
    _room: RoomId | None = None
    _name: PeerId | None = None
    _keys: RoomKeys | None = None
    _tasks: dict[LinkId, _LinkTask] = field(factory=dict)
    _receivers: dict[LinkId, Route] = field(factory=dict)
    _has_withdrawn: bool = False
    """Whether this client has ever taken back an offer."""
    _withdrawn: deque[OfferWithdrawn] = field(factory=lambda: deque(maxlen=WITHDRAWN_MAX))
    _nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the links until cancelled; then send a Goodbye on each link, which takes bounded time."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def file_channel(self, name: LinkId) -> FileChannel | None:
        """Return the file channel of an authenticated link; None when the link has ended or is not authenticated."""
        task = self._tasks.get(name)
        return task.file_channel if task is not None else None

    def link(self, name: LinkId) -> Link | None:
        """Return an open link; None when it has ended or is not open yet."""
        task = self._tasks.get(name)
        return task.link if task is not None else None

    def peer(self, name: LinkId) -> PeerId | None:
        """Return the peer at the other end of a link; None when the link has ended."""
        task = self._tasks.get(name)
        return task.peer if task is not None else None

    def path(self, name: LinkId) -> str:
        """Return the kind of path of a link: "direct", "relayed", or "none" before it is open and after its end."""
        task = self._tasks.get(name)
        return task.path if task is not None else "none"

    def set_receiver(self, name: LinkId, receive: Route) -> None:
        """From now on, pass the messages of this link's authenticated peer to `receive` instead of `on_message`.

        The link may be one that is about to be accepted.
        """
        self._receivers[name] = receive

    # -------- handlers of events and effects, called by the router

    def update_ice_servers(self, event: Joined | IceServers) -> None:
        """Replace the STUN and TURN servers from the signalling server; their credentials expire, so use the newest."""
        self._server_ice_servers = usable_servers(event.ice)

    def current_ice_plan(self) -> IcePlan:
        """Return the ICE plan of the next link: our own servers first, then those from the signalling server."""
        return evolve(self.plan, servers=(*self.plan.servers, *self._server_ice_servers))

    def set_room(self, event: JoinedRoom) -> None:
        """Save the room, its keys and our own peer name, which are part of every authentication (see `Binding`)."""
        self._room, self._name, self._keys = event.room, event.peer, event.keys

    def request_link(self, effect: OpenLink) -> None:
        """Start a link to a worker: make an SDP offer."""
        self._start(_LinkTask(effect.link, effect.peer, effect.link, effect.job), None)

    def accept_link(self, effect: AcceptLink) -> None:
        """Start a link from a client: answer its SDP offer, unless the client has taken it back meanwhile."""
        if any(one.peer == effect.peer and effect.number <= one.number for one in self._withdrawn):
            self._receivers.pop(effect.link, None)
            self.router.outbox.put(LinkLost(effect.link, WITHDRAWN))
            return
        self._start(_LinkTask(effect.link, effect.peer, effect.number), effect.sdp)

    def handle_answer(self, event: LinkAnswered) -> None:
        """Pass the worker's SDP answer to the link that waits for it; a second answer is dropped."""
        task = self._unopened(event.peer, event.number)
        if task is not None:
            with suppress(trio.WouldBlock):
                task.answer[0].send_nowait(event.sdp)

    def handle_refusal(self, event: LinkRefused) -> None:
        """End the link that was refused, if it is not open yet; a late refusal does not end an open link."""
        task = self._unopened(event.peer, event.number)
        if task is not None:
            task.is_asked_for = False
            self._close(task, event.fault)

    def _unopened(self, peer: PeerId, number: int) -> _LinkTask | None:
        """Return the link of our offer with this number to this worker; None when it has ended or is open."""
        found = (one for one in self._tasks.values() if (one.peer, one.number) == (peer, number) and one.link is None)
        return next(found, None)

    def handle_withdrawal(self, event: OfferWithdrawn) -> None:
        """End the links to this client that are not open yet, and one that the worker is just about to accept."""
        self._withdrawn.append(event)
        for task in self._tasks.values():
            if task.peer == event.peer and task.number <= event.number and task.link is None:
                self._close(task, WITHDRAWN)

    def give_up_unopened(self) -> bool:
        """Close the links that are not open yet; return whether a worker is still to hear of such an end, or may be."""
        for task in self._tasks.values():
            if task.link is None:
                self._close(task, self.goodbye_fault)
        return self._has_withdrawn

    def handle_authenticated(self, event: Authenticated) -> None:
        """Let an authenticated link reach the rest of the program; this is the only place that does so."""
        task = self._tasks.get(event.link)
        if task is None or task.link is None:
            return
        link = task.link
        task.file_channel = file_channel = FileChannel.over(link)
        vocabulary: Vocabulary[Any] = TO_WORKER if self.role is Role.WORKER else TO_CLIENT

        async def route(message: Any) -> None:
            if isinstance(message, FileMessage):
                file_channel.put_message(message)
                await trio.lowlevel.checkpoint()
            elif event.link in self._receivers:
                await self._receivers[event.link](message)
            else:
                await self.on_message(event.link, message)

        link.trust(vocabulary, event.version, route)
        task.is_heard.set()

    def handle_authentication_failed(self, effect: AuthenticationFailed) -> None:
        """End a link whose authentication failed."""
        self.close_link(CloseLink(effect.link, effect.fault))

    def send(self, effect: TellPeer) -> None:
        """Send a message to the peer, if the link is still open."""
        link = self.link(effect.link)
        if link is not None:
            link.send(effect.message)

    def close_link(self, effect: CloseLink) -> None:
        """End a link, after its queued messages are sent."""
        task = self._tasks.get(effect.link)
        if task is not None:
            self._close(task, effect.fault)

    def drain(self, event: Drain) -> None:
        """Pass the event to the Auth actor of each link; the other actors end their authenticated links themselves."""
        for task in self._tasks.values():
            if task.auth is not None:
                task.auth.inbox.put(event)

    # -------- the task of one link

    def _start(self, task: _LinkTask, offer: str | None) -> None:
        assert self._nursery is not None, "links are requested while `run` is running"
        self._tasks[task.name] = task
        self._nursery.start_soon(self._run_link, task, offer)

    def _close(self, task: _LinkTask, fault: Fault | None) -> None:
        """Close a link; only the first call and its reason count."""
        if not task.closing:
            task.closing, task.closing_fault = True, fault
            self._withdraw(task)
            task.scope.cancel()

    def _withdraw(self, task: _LinkTask) -> None:
        """Tell the worker, which waits for us, that we have given up this link, unless it is open.

        The end of an open link is noticed at its other end.
        """
        if task.is_asked_for and task.link is None:
            task.is_asked_for = False
            self._has_withdrawn = True
            self.router.outbox.put(WithdrawOffer(task.peer, number=task.number))

    async def _run_link(self, task: _LinkTask, offer: str | None) -> None:
        """Connect, authenticate and serve one link; sends `LinkLost` exactly once, however the link ends."""
        fault: Fault | None = self.goodbye_fault
        try:
            with task.scope:
                async with open_peer_connection(self.asyncio_loop, self.current_ice_plan()) as connection:
                    try:
                        fault = await self._connect_and_serve(task, connection, offer)
                    finally:
                        self._withdraw(task)  # at once: closing the connection takes time
            if task.scope.cancelled_caught:
                fault = task.closing_fault
        except RtcError as error:
            fault = error.fault
        finally:
            del self._tasks[task.name]
            self._receivers.pop(task.name, None)
            self.router.outbox.put(LinkLost(task.name, fault))

    async def _connect_and_serve(self, task: _LinkTask, connection: PeerConnection, offer: str | None) -> Fault | None:
        """Exchange offer and answer, then serve the link until it ends; return the reason of its end.

        Args:
            offer: the client's SDP offer; None when we make the offer.

        Raises:
            RtcError: the connection did not open.
        """
        if offer is None:
            sdp = await connection.offer()
            task.is_asked_for = True
            self.router.outbox.put(OfferReady(task.peer, sdp, task.job, number=task.number))
            await connection.accept_answer(await self._wait_for_answer(task))
        else:
            self.router.outbox.put(
                AnswerReady(task.peer, await self._answer(task, connection, offer), number=task.number)
            )
        await connection.wait_open(self.connect_timeout)
        task.path = connection.path_kind
        binding = self._make_binding(task, connection)
        async with open_link(connection, name=task.name) as link:
            task.link = link
            try:
                await self._serve(task, link, binding)
            finally:
                # does nothing when the link has ended; takes bounded time when not
                await link.aclose(task.closing_fault if task.closing else self.goodbye_fault)
        return link.fault

    async def _wait_for_answer(self, task: _LinkTask) -> str:
        """Return the worker's SDP answer.

        Raises:
            RtcError: STALLED, when it does not come within `ANSWER_TIME`.
        """
        with trio.move_on_after(ANSWER_TIME):
            sdp: str = await task.answer[1].receive()
            return sdp
        raise RtcError(
            FaultCode.STALLED,
            f"The worker did not answer the offer of a link within {ANSWER_TIME:.0f} seconds; it may be gone.",
        )

    async def _answer(self, task: _LinkTask, connection: PeerConnection, offer: str) -> str:
        """Return our SDP answer; on failure also reject the link, because the client waits for an answer."""
        try:
            return await connection.answer(offer)
        except RtcError as error:
            fault = Fault(error.fault.code, f"The worker could not open the link. It says: {error.fault.text}")
            self.router.outbox.put(RejectLink(task.peer, fault, number=task.number))
            raise

    async def _serve(self, task: _LinkTask, link: Link, binding: Binding) -> None:
        """Route messages to a new Auth actor until `handle_authenticated` sets another route.

        Each one is awaited: the peer may say something else as soon as it has been told, or has said, that it is
        authenticated, and by then this link must understand the messages of authenticated peers.

        Return when the link has ended.
        """

        def note(turn: Turn) -> None:
            is_verdict = any(isinstance(one, Authenticated | AuthenticationFailed) for one in turn.effects)
            if isinstance(turn.event, Hello | AuthMessage | UnexpectedMessage) and not is_verdict:
                task.is_heard.set()

        async def authenticate(message: Any) -> None:
            task.is_heard = trio.Event()
            await auth.inbox.admit(message)
            await task.is_heard.wait()

        table = WORKER_AUTH if self.role is Role.WORKER else CLIENT_AUTH
        ends_with = CloseLink(task.name, BUG_FAULT)
        task.auth = auth = make_actor(table, AuthData(self._keys), self.router.outbox, ends_with=ends_with, watch=note)
        async with trio.open_nursery() as nursery:
            await nursery.start(auth.run)
            auth.inbox.put(LinkOpened(task.name, task.peer, binding, secrets.token_bytes(NONCE_BYTES)))
            link.route = authenticate
            await link.lost.wait()
            auth.inbox.put(LinkLost(task.name, link.fault))
            auth.inbox.finish()

    def _make_binding(self, task: _LinkTask, connection: PeerConnection) -> Binding:
        """Return what both ends must agree on: room, peer ids, and the certificates that DTLS verified.

        Raises:
            RtcError: LINK_FAILED, when we have joined no room yet.
        """
        if self._room is None or self._name is None:
            raise RtcError(FaultCode.LINK_FAILED, "The link was requested before the room was joined. Try again.")
        ours, theirs = connection.local_fingerprint, connection.remote_fingerprint
        if self.role is Role.WORKER:
            return Binding(self._room, self._name, task.peer, ours, theirs)
        return Binding(self._room, task.peer, self._name, theirs, ours)

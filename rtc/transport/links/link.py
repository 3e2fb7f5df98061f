"""One link to one peer: messages on the control channel, frames on the bulk channel, heartbeats, and an orderly end.

Rule: a link routes messages and does not authenticate. Until `trust` is called, it decodes only the vocabulary of
unauthenticated peers and has one route; a bulk frame, or a message of another vocabulary, ends the link. From an
authenticated peer, a message of an unknown name is answered with a fault and otherwise ignored.
"""

import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import trio

from actors.mailbox import Mailbox, QueueFull
from protocol.converter import UnknownMessage, WireError
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.link import HEARTBEAT_TIME, LOST_TIME, Goodbye, Heartbeat, Hello, goodbye
from protocol.version import VERSIONS
from protocol.wire import UNPROVEN, Vocabulary, decode, encode, is_known
from rtc.common.errors import RtcError
from rtc.common.nurseries import ungrouped
from rtc.transport.webrtc.byte_queue import ByteQueue

log = logging.getLogger(__name__)

FLUSH_TIME = 2.0
"""Seconds that the queued messages may take to be sent when the link ends."""
CLOSE_TIME = 3.0
"""Seconds that the connection may take to close after the queued messages are sent."""
PIECES_MAX = 16
"""Frames of the bulk channel that are taken from the connection before anybody reads them; the connection's own queue
holds the rest of a credit window."""
UNKNOWN_MAX = 10
"""Unknown messages in one minute that are logged, and answered with a fault; further ones are ignored without a word.
Of such faults of the peer, as many are logged."""

LINK_LOST = Fault(FaultCode.LINK_LOST, "The connection to the other side was lost. Try again.")
PEER_STALLED = Fault(FaultCode.STALLED, "The other side does not take what is sent to it, so the connection was cut.")
SENT_BEFORE_PROOF = Fault(
    FaultCode.BAD_MESSAGE, "The other side sent data before it was trusted, so the connection was cut."
)

Route = Callable[[Any], Awaitable[None]]
"""Handles one message; the link reads the next message only when this has returned."""


class Connection(Protocol):
    """The connection below a link: `rtc.transport.webrtc.PeerConnection`, or in tests a `MemoryConnection`."""

    @property
    def control(self) -> ByteQueue[str]:
        """Received texts, in order; the queue ends when the connection ends."""

    @property
    def bulk(self) -> ByteQueue[bytes]:
        """Received frames, in order; the queue ends when the connection ends."""

    @property
    def last_received_at(self) -> float:
        """Time of the last message on either channel (trio's clock)."""

    @property
    def fault(self) -> Fault | None:
        """The reason why the connection has ended, if it is known."""

    @property
    def ended(self) -> trio.Event:
        """Set when the connection has ended."""

    async def send_control(self, text: str) -> None:
        """Send on the control channel; wait while the send buffer is above its high mark.

        Raises:
            RtcError: the connection has ended.
        """

    async def send_bulk(self, frame: bytes) -> None:
        """Send on the bulk channel; wait while the send buffer is above its high mark.

        Raises:
            RtcError: the connection has ended.
        """

    async def finish(self) -> None:
        """Close both channels; return when the peer has received everything, or the connection has ended."""

    async def aclose(self) -> None:
        """Close the connection; takes bounded time and may be called again."""


class _FewPerMinute:
    """Allows something `UNKNOWN_MAX` times in any minute of trio's clock."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=UNKNOWN_MAX)

    def allows(self) -> bool:
        """Return whether it may be done now; if so, count it as done."""
        now = trio.current_time()
        if len(self._times) == UNKNOWN_MAX and self._times[0] > now - 60:
            return False
        self._times.append(now)
        return True


class Link:
    """A link over one connection, made by `open_link`.

    `lost` is set when the link has ended; then `fault` is the reason, or None after a Goodbye without a fault.
    """

    def __init__(self, connection: Connection, name: LinkId, heartbeat_time: float, lost_time: float) -> None:
        self.name = name
        self.vocabulary: Vocabulary[Any] = UNPROVEN
        self.version = VERSIONS.newest
        """The version of the protocol that this link uses; the newest until the peer has said what it speaks."""
        self.lost = trio.Event()
        self.fault: Fault | None = None
        self._connection = connection
        self._heartbeat_time = heartbeat_time
        self._lost_time = lost_time
        self._route: Route | None = None
        self._route_set = trio.Event()
        self._trusted = False
        self._answers = _FewPerMinute()
        """To messages of the peer that are not known here."""
        self._complaints = _FewPerMinute()
        """Of the peer, about messages of ours that are not known there."""
        self._outbox: Mailbox[str] = Mailbox()
        self._goodbye: Goodbye | None = None
        self._on_lost: list[Callable[[], None]] = []
        self._pieces_sender, self.pieces = trio.open_memory_channel[bytes](PIECES_MAX)
        self._closed = trio.Event()

    # -------- called by the owner

    @property
    def route(self) -> Route | None:
        """The handler of received messages. No message is read before a route is set."""
        return self._route

    @route.setter
    def route(self, route: Route) -> None:
        self._route = route
        self._route_set.set()

    def trust(self, vocabulary: Vocabulary[Any], version: int, route: Route) -> None:
        """Treat the peer as authenticated: from the next message on, use this vocabulary, version and route.

        Frames of the bulk channel are accepted from then on.
        """
        self.vocabulary = vocabulary
        self.version = version
        self.route = route
        self._trusted = True

    def send(self, message: Any) -> None:
        """Queue a message for the control channel. Never waits; when the queue is full, the link is cut (STALLED).

        A message that the version of this link does not have is left out.
        """
        if not is_known(message, self.version):
            return
        try:
            self._outbox.put(encode(message, self.version))
        except QueueFull:
            self.cut(PEER_STALLED)

    async def wait_below_threshold(self) -> None:
        """Wait until the queue of `send` is below its threshold, or the link has ended.

        Call this before each message when there may be many, so that the queue does not overflow.
        """
        await self._outbox.wait_below_threshold()

    async def send_piece(self, frame: bytes) -> None:
        """Send a frame on the bulk channel; wait while the send buffer is above its high mark.

        Raises:
            RtcError: the link has ended; with the link's fault, or LINK_LOST when it has none.
        """
        if self.lost.is_set():
            raise RtcError.of(self.fault or LINK_LOST)
        await self._connection.send_bulk(frame)

    def when_lost(self, on_lost: Callable[[], None]) -> None:
        """Call `on_lost` when the link ends, or at once if it has ended already; `on_lost` must not wait or raise."""
        if self.lost.is_set():
            on_lost()
        else:
            self._on_lost.append(on_lost)

    def cut(self, fault: Fault) -> None:
        """End the link, and send `fault` to the peer as the reason. Never waits."""
        self._end(fault, goodbye(fault))

    async def aclose(self, fault: Fault | None = None) -> None:
        """Send the queued messages and a Goodbye, then close; takes at most `FLUSH_TIME + CLOSE_TIME` seconds.

        May be called again.
        """
        self._end(fault, goodbye(fault))
        with trio.CancelScope(shield=True):
            await self._closed.wait()

    # -------- tasks of the link

    def _end(self, fault: Fault | None, goodbye: Goodbye | None) -> None:
        """End the link; only the first call counts. With a `goodbye`, the queued messages are sent before it."""
        if self.lost.is_set():
            return
        self.fault, self._goodbye = fault, goodbye
        self.lost.set()
        self._outbox.finish()
        self._pieces_sender.close()
        for on_lost in self._on_lost:
            on_lost()

    async def run(self) -> None:
        """Run the tasks of the link until it ends, then close the connection.

        Shielded from cancellation, so that a Goodbye can be sent; `open_link` always ends the link.
        """
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    receive_scope = await nursery.start(self._receive)
                    nursery.start_soon(self._send_control)
                    await self.lost.wait()
                    receive_scope.cancel()
                    nursery.cancel_scope.deadline = trio.current_time() + (FLUSH_TIME if self._goodbye else 0)
        finally:
            self._outbox.close()  # wakes tasks in `wait_below_threshold`, since the link has ended
            with trio.move_on_after(CLOSE_TIME, shield=True):
                await self._connection.aclose()
            self._end(LINK_LOST, None)
            self._closed.set()

    async def _receive(self, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive_control)
            nursery.start_soon(self._receive_bulk)
            nursery.start_soon(self._time_out_silence)
            nursery.start_soon(self._end_after_connection)
            task_status.started(nursery.cancel_scope)

    async def _receive_control(self) -> None:
        """Decode the messages of the control channel and pass them to the route.

        The next message is read only when the route has handled this one and our send queue is below its threshold.
        """
        await self._route_set.wait()
        while True:
            try:
                text = await self._connection.control.take()
            except trio.EndOfChannel:
                self._end(self._connection.fault or LINK_LOST, None)
                return
            try:
                message = decode(text, self.vocabulary, self.version)
            except UnknownMessage as error:
                self._answer_unknown(error)
                continue
            except WireError as error:
                self.cut(Fault(FaultCode.BAD_MESSAGE, f"The other side was not understood: {error}."))
                return
            if isinstance(message, Goodbye):
                self._end(message.fault, None)
                return
            if isinstance(message, Fault) and message.code is FaultCode.UNKNOWN_MESSAGE:
                if self._complaints.allows():
                    log.warning("Link %d: a message was not understood: %s", self.name, message.text)
                continue
            if isinstance(message, Heartbeat) or self._route is None:
                continue
            if isinstance(message, Hello):  # the authentication that follows is in the common version already
                self.version = VERSIONS.common(message.versions) or self.version
            await self._route(message)
            await self._outbox.wait_below_threshold()

    def _answer_unknown(self, error: UnknownMessage) -> None:
        """Tell an authenticated peer, a few times a minute, that its message is not known; the link goes on.

        From a peer that is not authenticated, nothing is accepted but its authentication: the link is cut.
        """
        if not self._trusted:
            self.cut(Fault(FaultCode.BAD_MESSAGE, f"The other side was not understood: {error}."))
            return
        if self._answers.allows():
            log.warning("Link %d: %s; it is ignored", self.name, error)
            self.send(Fault(FaultCode.UNKNOWN_MESSAGE, f"The message was ignored: {error}."))

    async def _receive_bulk(self) -> None:
        """Pass the frames of the bulk channel to `pieces`; a frame of an unauthenticated peer ends the link."""
        while True:
            try:
                frame = await self._connection.bulk.take()
            except trio.EndOfChannel:
                return
            if not self._trusted:
                self.cut(SENT_BEFORE_PROOF)
                return
            try:
                await self._pieces_sender.send(frame)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the reader has closed `pieces`, or the link has just ended

    async def _time_out_silence(self) -> None:
        """End the link when nothing is received for `lost_time` seconds; unread messages count as received."""
        start = trio.current_time()
        while True:
            due = max(start, self._connection.last_received_at) + self._lost_time
            if trio.current_time() >= due:
                text = f"The other side was silent for {self._lost_time:g} seconds; the connection was given up."
                self._end(Fault(FaultCode.LINK_LOST, text), None)
                return
            await trio.sleep_until(due)

    async def _end_after_connection(self) -> None:
        """End the link `FLUSH_TIME` after the connection has ended.

        The control queue may still hold a Goodbye, which `_receive_control` reads first; but its route may block.
        """
        await self._connection.ended.wait()
        await trio.sleep(FLUSH_TIME)
        self._end(self._connection.fault or LINK_LOST, None)

    async def _send_control(self) -> None:
        """Send the queued messages on the control channel; a Heartbeat when idle for `heartbeat_time`; then Goodbye."""
        try:
            while True:
                text = encode(Heartbeat())
                with trio.move_on_after(self._heartbeat_time):
                    text = await self._outbox.take()
                await self._connection.send_control(text)
        except trio.EndOfChannel:
            await self._send_goodbye()
        except RtcError:
            self._end(self._connection.fault or LINK_LOST, None)

    async def _send_goodbye(self) -> None:
        """Send the Goodbye, if there is one, and wait until the peer has received everything or the connection ends."""
        if self._goodbye is None:
            return
        try:
            await self._connection.send_control(encode(self._goodbye, self.version))
        except RtcError:
            return  # the connection has ended already, and the peer notices that
        await self._connection.finish()


@asynccontextmanager
async def open_link(
    connection: Connection,
    *,
    name: LinkId,
    route: Route | None = None,
    heartbeat_time: float = HEARTBEAT_TIME,
    lost_time: float = LOST_TIME,
) -> AsyncGenerator[Link, None]:
    """Run a link over an open connection; both are closed at the end of this context.

    Args:
        connection: an open connection, used by nothing else.
        name: the link's identifier within this program.
        route: handles received messages; may be set later as `Link.route`.
        heartbeat_time: seconds without a message to send, after which a Heartbeat is sent.
        lost_time: seconds without any received message, after which the link ends with LINK_LOST.
    """
    link = Link(connection, name, heartbeat_time, lost_time)
    if route is not None:
        link.route = route
    with ungrouped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            try:
                yield link
            finally:
                await link.aclose()

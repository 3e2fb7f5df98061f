"""One link to one peer: words on a control lane, frames on a bulk lane, signs of life, and one end that both sides see.

Rule of the room: a link routes and knows nothing of trust. Until somebody calls `trust`, it has the vocabulary of the
unproven and one route; a bulk frame, or a word of any other vocabulary, ends it.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import trio

from actors.mailbox import Mailbox, QueueFull
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.link import HEARTBEAT_TIME, LOST_TIME, Goodbye, Heartbeat
from protocol.wire import UNPROVEN, Vocabulary, WireError, decode, encode
from rtc.common.errors import RtcError
from rtc.common.nurseries import ungrouped
from rtc.transport.webrtc.byte_queue import ByteQueue

FLUSH_TIME = 2.0
"""Seconds that what was said last may take to leave."""
CLOSE_TIME = 3.0
"""Seconds the wire may take to close after that."""
PIECES_MAX = 16
"""Frames taken from the wire ahead of their reader; the wire's own intake holds the rest of a credit window."""

LINK_LOST = Fault(FaultCode.LINK_LOST, "The connection to the other side was lost. Try again.")
PEER_SILENT = Fault(
    FaultCode.LINK_LOST, "Nothing was heard from the other side for a while; the connection was given up."
)
PEER_STALLED = Fault(FaultCode.STALLED, "The other side does not take what is sent to it, so the connection was cut.")
SENT_BEFORE_PROOF = Fault(
    FaultCode.BAD_MESSAGE, "The other side sent data before it was trusted, so the connection was cut."
)

Route = Callable[[Any], Awaitable[None]]
"""Where a message goes; when it returns, the link may read the next one."""


class Connection(Protocol):
    """What a link needs from below; `rtc.transport.webrtc.PeerConnection` is one, and tests have one made of memory."""

    @property
    def control(self) -> ByteQueue[str]:
        """Texts that came, in order; ends when the wire is over."""

    @property
    def bulk(self) -> ByteQueue[bytes]:
        """Frames that came, in order; ends when the wire is over."""

    @property
    def last_received_at(self) -> float:
        """When anything last came (trio's clock)."""

    @property
    def fault(self) -> Fault | None:
        """Why the wire is over."""

    @property
    def ended(self) -> trio.Event:
        """Set when the wire is over."""

    async def send_control(self, text: str) -> None:
        """Waits while much is unsent; raises RtcError when the wire is over."""

    async def send_bulk(self, frame: bytes) -> None:
        """Likewise."""

    async def finish(self) -> None:
        """Nothing more will be sent; returns when the other side has it all or the wire is over."""

    async def aclose(self) -> None:
        """End it; bounded, harmless when repeated."""


class Link:
    """Made by `open_link`. `lost` is set when it has ended, `fault` then says why (None: a plain good-bye)."""

    def __init__(self, connection: Connection, name: LinkId, heartbeat_time: float, lost_time: float) -> None:
        self.name = name
        self.vocabulary: Vocabulary[Any] = UNPROVEN
        self.lost = trio.Event()
        self.fault: Fault | None = None
        self._connection = connection
        self._heartbeat_time = heartbeat_time
        self._lost_time = lost_time
        self._route: Route | None = None
        self._route_set = trio.Event()
        self._trusted = False
        self._outbox: Mailbox[str] = Mailbox()
        self._goodbye: Goodbye | None = None
        self._on_lost: list[Callable[[], None]] = []
        self._pieces, self.pieces = trio.open_memory_channel[bytes](PIECES_MAX)
        self._closed = trio.Event()

    # what the owner does

    @property
    def route(self) -> Route | None:
        """Where messages go. Nothing is read before there is a route."""
        return self._route

    @route.setter
    def route(self, route: Route) -> None:
        self._route = route
        self._route_set.set()

    def trust(self, vocabulary: Vocabulary[Any], route: Route) -> None:
        """From the next message on: this vocabulary, this route, and bulk."""
        self.vocabulary = vocabulary
        self.route = route
        self._trusted = True

    def send(self, message: Any) -> None:
        """Queue a message for the control lane. Never waits; a link that does not get rid of its words is cut."""
        try:
            self._outbox.put(encode(message))
        except QueueFull:
            self.cut(PEER_STALLED)

    async def wait_below_threshold(self) -> None:
        """Wait until most of what was said has left, or the link has ended: for news that may come in floods."""
        await self._outbox.wait_below_threshold()

    async def send_piece(self, frame: bytes) -> None:
        """Send a bulk frame; waits while much is unsent.

        Raises:
            RtcError: the link's own fault, or LINK_LOST.
        """
        if self.lost.is_set():
            raise RtcError.of(self.fault or LINK_LOST)
        await self._connection.send_bulk(frame)

    def when_lost(self, on_lost: Callable[[], None]) -> None:
        """Call this when the link ends (at once if it has); it must not wait or raise."""
        if self.lost.is_set():
            on_lost()
        else:
            self._on_lost.append(on_lost)

    def cut(self, fault: Fault) -> None:
        """End the link for this reason, which the other side is told. Never waits."""
        self._end(fault, Goodbye(fault))

    async def aclose(self, fault: Fault | None = None) -> None:
        """Flush what was said, say good-bye, close; at most `FLUSH_TIME + CLOSE_TIME`. Harmless when repeated."""
        self._end(fault, Goodbye(fault))
        with trio.CancelScope(shield=True):
            await self._closed.wait()

    # how it lives

    def _end(self, fault: Fault | None, goodbye: Goodbye | None) -> None:
        """The one end; the first reason counts. With a `goodbye` the words still queued leave before it."""
        if self.lost.is_set():
            return
        self.fault, self._goodbye = fault, goodbye
        self.lost.set()
        self._outbox.finish()
        self._pieces.close()
        for on_lost in self._on_lost:
            on_lost()

    async def run(self) -> None:
        """Live until the end, then close the wire. Shielded: `open_link` sees to it that the end comes."""
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    receive_scope = await nursery.start(self._receive)
                    nursery.start_soon(self._send_control)
                    await self.lost.wait()
                    receive_scope.cancel()
                    nursery.cancel_scope.deadline = trio.current_time() + (FLUSH_TIME if self._goodbye else 0)
        finally:
            self._outbox.close()  # whoever waits for room must not wait for a link that is over
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
        """Control lane in. The next message is read only when this one was taken and our answers are nearly written."""
        await self._route_set.wait()
        while True:
            try:
                text = await self._connection.control.take()
            except trio.EndOfChannel:
                self._end(self._connection.fault or LINK_LOST, None)
                return
            try:
                message = decode(text, self.vocabulary)
            except WireError as error:
                self.cut(Fault(FaultCode.BAD_MESSAGE, f"The other side was not understood: {error}."))
                return
            if isinstance(message, Goodbye):
                self._end(message.fault, None)
                return
            if isinstance(message, Heartbeat) or self._route is None:
                continue
            await self._route(message)
            await self._outbox.wait_below_threshold()

    async def _receive_bulk(self) -> None:
        """Bulk lane in."""
        while True:
            try:
                frame = await self._connection.bulk.take()
            except trio.EndOfChannel:
                return
            if not self._trusted:
                self.cut(SENT_BEFORE_PROOF)
                return
            try:
                await self._pieces.send(frame)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # nobody reads pieces any more, or the link has just ended

    async def _time_out_silence(self) -> None:
        """End the link after a silence; anything that came counts, read or not."""
        start = trio.current_time()
        while True:
            due = max(start, self._connection.last_received_at) + self._lost_time
            if trio.current_time() >= due:
                self._end(PEER_SILENT, None)
                return
            await trio.sleep_until(due)

    async def _end_after_connection(self) -> None:
        """When the wire is over, the reader may still find a good-bye; but it may be held up by its route."""
        await self._connection.ended.wait()
        await trio.sleep(FLUSH_TIME)
        self._end(self._connection.fault or LINK_LOST, None)

    async def _send_control(self) -> None:
        """Control lane out; a sign of life whenever there was nothing to say for a while; at the end the good-bye."""
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
        if self._goodbye is None:
            return
        try:
            await self._connection.send_control(encode(self._goodbye))
        except RtcError:
            return  # it is over already; the good-bye was a courtesy
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
    """A living link over an open connection; both are closed at the end of this context."""
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

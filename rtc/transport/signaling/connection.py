"""The peer's line to the server: one WebSocket that mends itself for ever, and says when it is up and when it is down.

It knows no rooms: who rejoins under which name is Discovery's. What is put into `outgoing` while the line is down is
dropped, because Discovery says again what matters when the line is up.
"""

import random
import ssl
from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import urlsplit

import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream

from actors.events import ServerConnected, ServerDisconnected
from actors.mailbox import Mailbox
from protocol.signaling import FromServer, ToServer
from protocol.wire import FRAME_MAX, FROM_SERVER, WireError, decode, encode
from rtc.common.nurseries import first_error
from rtc.config.server_url import PORTS
from rtc.transport.signaling.websocket import ENDINGS, NORMAL, KeepAlive, close

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between tries: doubled each time, and shortened by up to half by chance, so that the peers of a server that
restarts do not all come at once."""
UPGRADE_TIME = 5.0
"""Seconds for the server to answer once it is reached; trio-websocket does not notice a line that closes before."""

SignalingEvent = ServerConnected | ServerDisconnected | FromServer
OnEvent = Callable[[SignalingEvent], Awaitable[None]]
Dial = Callable[[str, int], Awaitable[trio.abc.Stream]]


class SignalingLost(Exception):
    """The line is gone or never came to be; the text is one sentence for people."""


async def run_signaling(
    url: str,
    *,
    on_event: OnEvent,
    outgoing: Mailbox[ToServer],
    timeout: float,
    jitter: Callable[[], float] = random.random,
    dial: Dial = trio.open_tcp_stream,
) -> None:
    """Keep a line to `url` until `outgoing` is finished and what it held is sent.

    Args:
        url: as `server_url` gives it.
        on_event: gets `ServerConnected`, `ServerDisconnected` and every message; while it waits, the server waits.
        outgoing: what to send. No message of the server is read while it is half full.
        timeout: seconds for one try to connect.
        chance: gives numbers from 0 to 1, for the pauses.
        dial: how a stream to a host and port is opened.
    """
    connection = _SignalingConnection(url, on_event, outgoing, timeout, dial)
    pause = FIRST_PAUSE
    while not connection.done:
        try:
            await connection.connect_once()
        except SignalingLost as error:
            await on_event(ServerDisconnected(str(error)))
            if connection.message_received:
                pause = FIRST_PAUSE
            with trio.move_on_after(pause * (1 - jitter() / 2)):
                await connection.discard_outgoing()
            pause = min(pause * 2, LONGEST_PAUSE)


class _SignalingConnection:
    """One line over all its connections."""

    def __init__(self, url: str, on_event: OnEvent, outgoing: Mailbox[ToServer], timeout: float, dial: Dial) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or PORTS[parts.scheme]
        self._path = parts.path or "/"
        self._tls = parts.scheme == "wss"
        netloc = f"[{self._host}]" if ":" in self._host else self._host
        self._netloc = f"{netloc}:{self._port}"
        self._url = f"{parts.scheme}://{self._netloc}"
        self._on_event = on_event
        self._outgoing = outgoing
        self._timeout = timeout
        self._dial = dial
        self.done = False
        """Whether `outgoing` is finished and empty."""
        self.message_received = False
        """Whether the server said anything over the latest connection; only then is the next try a first one."""

    async def discard_outgoing(self) -> None:
        """Take and forget what is put while the line is down; returns when there will never be more."""
        try:
            while True:
                await self._outgoing.take()
        except trio.EndOfChannel:
            self.done = True

    async def connect_once(self) -> None:
        """One connection, from dialling to its end.

        Raises:
            SignalingLost: it could not be made, or it ended though we did not want it to.
        """
        self.message_received = False
        text = ""
        try:
            async with trio.open_nursery() as websocket_nursery:
                await self._run_connection(websocket_nursery)
                websocket_nursery.cancel_scope.cancel()
        except* ConnectionRejected as group:
            status = getattr(first_error(group), "status_code", 0)
            text = f"{self._url} is answered with HTTP status {status}. Is it the server's WebSocket address?"
        except* ENDINGS:
            text = f"The line to the server at {self._url} was lost."
        except* SignalingLost as group:  # comes last, since it knows best
            text = str(first_error(group))
        if text:
            raise SignalingLost(text)

    async def _run_connection(self, websocket_nursery: trio.Nursery) -> None:
        stream: trio.abc.Stream | None = None
        ws: WebSocketConnection | None = None
        try:
            async with trio.open_nursery() as discarding:
                discarding.start_soon(self._discard_then_cancel, discarding.cancel_scope)
                stream = await self._open_stream()
                ws = await self._upgrade(websocket_nursery, stream)
                discarding.cancel_scope.cancel()
            if ws is not None and not self._discard_stale():
                await self._on_event(ServerConnected())
                await self._exchange_messages(ws)
        finally:
            if stream is not None:
                await close(ws, stream, NORMAL)

    async def _discard_then_cancel(self, connecting: trio.CancelScope) -> None:
        await self.discard_outgoing()
        connecting.cancel()

    def _discard_stale(self) -> bool:
        """Drop what is stale; true when nothing will ever be said again."""
        try:
            while not self.done:
                self._outgoing.take_nowait()
        except trio.WouldBlock:
            pass
        except trio.EndOfChannel:
            self.done = True
        return self.done

    async def _open_stream(self) -> trio.abc.Stream:
        try:
            with trio.fail_after(self._timeout):
                tcp = await self._dial(self._host, self._port)
                return await self._start_tls(tcp) if self._tls else tcp
        except trio.TooSlowError:
            raise SignalingLost(
                f"The server at {self._url} did not answer within {self._timeout:g} seconds. Check that no firewall"
                " is between; point elsewhere with --server or SLEAP_RTC_SIGNALING_WS; or start one of your own:"
                " sleap-rtc server"
            ) from None
        except OSError as error:
            raise SignalingLost(
                f"The server at {self._url} cannot be reached ({_reason(error)}). Check that it runs; point elsewhere"
                " with --server or SLEAP_RTC_SIGNALING_WS; or start one of your own: sleap-rtc server"
            ) from None

    async def _start_tls(self, tcp: trio.abc.Stream) -> trio.abc.Stream:
        context = ssl.create_default_context()
        stream = trio.SSLStream(tcp, context, server_hostname=self._host, https_compatible=True)
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(stream)
            raise SignalingLost(
                f"No secure line to {self._url} could be made ({_reason(error)})."
                " Check its certificate, and whether it is a wss:// server at all."
            ) from None
        except trio.Cancelled:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    async def _upgrade(self, websocket_nursery: trio.Nursery, stream: trio.abc.Stream) -> WebSocketConnection:
        with trio.move_on_after(min(self._timeout, UPGRADE_TIME)):
            socket = cast("trio.SocketStream", stream)  # it takes any stream, and its types say less
            return await wrap_client_stream(
                websocket_nursery, socket, self._netloc, self._path, max_message_size=FRAME_MAX
            )
        raise SignalingLost(
            f"What answers at {self._url} opens no line. Is it the server's WebSocket address, and is it up to date?"
        )

    async def _exchange_messages(self, ws: WebSocketConnection) -> None:
        keep_alive = KeepAlive()
        with keep_alive.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_alive.ping, ws)
                nursery.start_soon(self._listen, ws, keep_alive)
                await self._write(ws)
                self.done = True
                nursery.cancel_scope.cancel()
        if not self.done:
            raise SignalingLost(f"The server at {self._url} gives no sign of life any more.")

    async def _write(self, ws: WebSocketConnection) -> None:
        while True:
            try:
                message = await self._outgoing.take()
            except trio.EndOfChannel:
                return
            await ws.send_message(encode(message))

    async def _listen(self, ws: WebSocketConnection, keep_alive: KeepAlive) -> None:
        while True:
            await self._outgoing.wait_below_threshold()
            frame = await ws.get_message()
            keep_alive.note_received()
            try:
                message = decode(frame, FROM_SERVER)
            except WireError as error:
                raise SignalingLost(
                    f"The server at {self._url} says what this sleap-rtc does not understand ({error})."
                    " Update the older of the two."
                ) from None
            self.message_received = True
            await self._on_event(message)


def _reason(error: Exception) -> str:
    """Why, in the system's own words: the innermost cause knows best."""
    inner: BaseException = error
    while inner.__cause__ is not None:
        inner = first_error(inner.__cause__)
    text = str(getattr(inner, "verify_message", "") or getattr(inner, "strerror", "") or "unknown reason")
    text = text.rpartition("): ")[2]  # trio says "error connecting to (host, port): " before the system's own words
    return text[:1].lower() + text[1:]

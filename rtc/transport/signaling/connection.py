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
    chance: Callable[[], float] = random.random,
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
    line = _SignalingConnection(url, on_event, outgoing, timeout, dial)
    pause = FIRST_PAUSE
    while not line.done:
        try:
            await line.once()
        except SignalingLost as error:
            await on_event(ServerDisconnected(str(error)))
            if line.was_heard:
                pause = FIRST_PAUSE
            with trio.move_on_after(pause * (1 - chance() / 2)):
                await line.drop_all()
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
        self._shown = f"{parts.scheme}://{self._netloc}"
        self._heard = on_event
        self._outgoing = outgoing
        self._timeout = timeout
        self._dial = dial
        self.done = False
        """Whether `outgoing` is finished and empty."""
        self.was_heard = False
        """Whether the server said anything over the latest connection; only then is the next try a first one."""

    async def drop_all(self) -> None:
        """Take and forget what is put while the line is down; returns when there will never be more."""
        try:
            while True:
                await self._outgoing.take()
        except trio.EndOfChannel:
            self.done = True

    async def once(self) -> None:
        """One connection, from dialling to its end.

        Raises:
            SignalingLost: it could not be made, or it ended though we did not want it to.
        """
        self.was_heard = False
        text = ""
        try:
            async with trio.open_nursery() as library:
                await self._live(library)
                library.cancel_scope.cancel()
        except* ConnectionRejected as group:
            status = getattr(first_error(group), "status_code", 0)
            text = f"{self._shown} is answered with HTTP status {status}. Is it the server's WebSocket address?"
        except* ENDINGS:
            text = f"The line to the server at {self._shown} was lost."
        except* SignalingLost as group:  # comes last, since it knows best
            text = str(first_error(group))
        if text:
            raise SignalingLost(text)

    async def _live(self, library: trio.Nursery) -> None:
        stream: trio.abc.Stream | None = None
        ws: WebSocketConnection | None = None
        try:
            async with trio.open_nursery() as dropping:
                dropping.start_soon(self._drop_and_hang_up, dropping.cancel_scope)
                stream = await self._reach()
                ws = await self._upgrade(library, stream)
                dropping.cancel_scope.cancel()
            if ws is not None and not self._is_over():
                await self._heard(ServerConnected())
                await self._talk(ws)
        finally:
            if stream is not None:
                await close(ws, stream, NORMAL)

    async def _drop_and_hang_up(self, dialling: trio.CancelScope) -> None:
        await self.drop_all()
        dialling.cancel()

    def _is_over(self) -> bool:
        """Drop what is stale; true when nothing will ever be said again."""
        try:
            while not self.done:
                self._outgoing.take_nowait()
        except trio.WouldBlock:
            pass
        except trio.EndOfChannel:
            self.done = True
        return self.done

    async def _reach(self) -> trio.abc.Stream:
        try:
            with trio.fail_after(self._timeout):
                tcp = await self._dial(self._host, self._port)
                return await self._secure(tcp) if self._tls else tcp
        except trio.TooSlowError:
            raise SignalingLost(
                f"The server at {self._shown} did not answer within {self._timeout:g} seconds. Check that no firewall"
                " is between; point elsewhere with --server or SLEAP_RTC_SIGNALING_WS; or start one of your own:"
                " sleap-rtc server"
            ) from None
        except OSError as error:
            raise SignalingLost(
                f"The server at {self._shown} cannot be reached ({_reason(error)}). Check that it runs; point elsewhere"
                " with --server or SLEAP_RTC_SIGNALING_WS; or start one of your own: sleap-rtc server"
            ) from None

    async def _secure(self, tcp: trio.abc.Stream) -> trio.abc.Stream:
        context = ssl.create_default_context()
        stream = trio.SSLStream(tcp, context, server_hostname=self._host, https_compatible=True)
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(stream)
            raise SignalingLost(
                f"No secure line to {self._shown} could be made ({_reason(error)})."
                " Check its certificate, and whether it is a wss:// server at all."
            ) from None
        except trio.Cancelled:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    async def _upgrade(self, library: trio.Nursery, stream: trio.abc.Stream) -> WebSocketConnection:
        with trio.move_on_after(min(self._timeout, UPGRADE_TIME)):
            socket = cast("trio.SocketStream", stream)  # it takes any stream, and its types say less
            return await wrap_client_stream(library, socket, self._netloc, self._path, max_message_size=FRAME_MAX)
        raise SignalingLost(
            f"What answers at {self._shown} opens no line. Is it the server's WebSocket address, and is it up to date?"
        )

    async def _talk(self, ws: WebSocketConnection) -> None:
        keep_alive = KeepAlive()
        with keep_alive.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_alive.ping, ws)
                nursery.start_soon(self._listen, ws, keep_alive)
                await self._write(ws)
                self.done = True
                nursery.cancel_scope.cancel()
        if not self.done:
            raise SignalingLost(f"The server at {self._shown} gives no sign of life any more.")

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
                    f"The server at {self._shown} says what this sleap-rtc does not understand ({error})."
                    " Update the older of the two."
                ) from None
            self.was_heard = True
            await self._heard(message)


def _reason(error: Exception) -> str:
    """Why, in the system's own words: the innermost cause knows best."""
    inner: BaseException = error
    while inner.__cause__ is not None:
        inner = first_error(inner.__cause__)
    text = str(getattr(inner, "verify_message", "") or getattr(inner, "strerror", "") or "unknown reason")
    text = text.rpartition("): ")[2]  # trio says "error connecting to (host, port): " before the system's own words
    return text[:1].lower() + text[1:]

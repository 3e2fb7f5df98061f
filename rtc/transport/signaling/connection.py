"""The peer's signalling connection: it reconnects its WebSocket for ever, and reports each time it is up or down.

It knows nothing about rooms: the Discovery actor rejoins the room. Messages put into `outgoing` while the connection
is down are dropped, because Discovery sends everything important again when the connection is up.
"""

import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import cast
from urllib.parse import urlsplit

import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream

from actors.events import ServerConnected, ServerDisconnected
from actors.mailbox import Mailbox
from protocol.converter import UnknownMessage, WireError
from protocol.faults import Fault, FaultCode
from protocol.invitations import AnswerInvitation
from protocol.signaling import FromServer, Joined, RoomCreated, ToServer
from protocol.version import VERSIONS, VersionRange, no_common_version
from protocol.wire import FRAME_MAX, FROM_SERVER, decode, encode, encode_first, is_known
from rtc.common.nurseries import first_error
from rtc.config.server_url import PORTS
from rtc.transport.signaling.websocket import CONNECTION_ERRORS, NORMAL, SILENCE_TIME, UNKNOWN_MAX, KeepAlive, close

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between attempts to connect: doubled each time, and shortened by a random part of up to half, so that the
peers do not all connect at the same moment after a restart of the server."""
UPGRADE_TIME = 5.0
"""Seconds for the WebSocket handshake once the server is reached; trio-websocket does not notice when the connection
closes during the handshake."""

SignalingEvent = ServerConnected | ServerDisconnected | FromServer
OnEvent = Callable[[SignalingEvent], Awaitable[None]]
"""Receives each change of the connection's state and each message of the server."""
Dial = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a byte stream to a host and port, as `trio.open_tcp_stream` does."""


class SignalingLost(Exception):
    """The connection was lost or could not be made; the text is one sentence for people."""


async def run_signaling(
    url: str,
    *,
    on_event: OnEvent,
    outgoing: Mailbox[ToServer],
    timeout: float,
    jitter: Callable[[], float] = random.random,
    dial: Dial = trio.open_tcp_stream,
) -> None:
    """Keep a connection to `url` until `outgoing` is finished and its messages are sent.

    Args:
        url: the server's WebSocket address, as `server_url` returns it.
        on_event: receives `ServerConnected`, `ServerDisconnected` and every message; while it waits, no further
            message is read.
        outgoing: the messages to send. While it is half full, no message of the server is read.
        timeout: seconds for one attempt to connect.
        jitter: returns random numbers from 0 to 1, which shorten the pauses between attempts.
        dial: opens a stream to a host and port.
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
    """The signalling connection over time: it uses one WebSocket after another."""

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
        self._version: int | None = None
        """The version of the protocol that the WebSocket uses; None until the server has said what it speaks."""
        self.message_received = False
        """Whether the latest WebSocket has received a message; only then do the pauses begin again at FIRST_PAUSE."""

    async def discard_outgoing(self) -> None:
        """Drop the messages put into `outgoing` while the connection is down; returns when `outgoing` is finished."""
        try:
            while True:
                await self._outgoing.take()
        except trio.EndOfChannel:
            self.done = True

    async def connect_once(self) -> None:
        """Open one WebSocket and use it until it ends.

        Raises:
            SignalingLost: it could not be opened, or it ended before `outgoing` was finished.
        """
        self._version, self.message_received = None, False
        text = ""
        try:
            async with trio.open_nursery() as websocket_nursery:
                await self._run_connection(websocket_nursery)
                websocket_nursery.cancel_scope.cancel()
        except* ConnectionRejected as group:
            text = self._explain_status(getattr(first_error(group), "status_code", 0))
        except* CONNECTION_ERRORS:
            text = f"The line to the server at {self._url} was lost."
        except* SignalingLost as group:  # comes last, since its text is the most exact
            text = str(first_error(group))
        if text:
            raise SignalingLost(text)

    def _explain_status(self, status: int) -> str:
        """Return the sentence for a server that has opened no WebSocket, and has answered with this HTTP status."""
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            return f"The server at {self._url} is busy: it has no place for one more connection now. Try again later."
        return f"{self._url} is answered with HTTP status {status}. Is it the server's WebSocket address?"

    async def _run_connection(self, websocket_nursery: trio.Nursery) -> None:
        """Open a WebSocket, dropping the messages that are put into `outgoing` meanwhile, and use it until it ends.

        Args:
            websocket_nursery: the nursery for trio-websocket's own reader task.
        """
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
        """Drop messages while connecting; when `outgoing` is finished, no connection is needed: cancel `connecting`."""
        await self.discard_outgoing()
        connecting.cancel()

    def _discard_stale(self) -> bool:
        """Drop the messages put before the connection was up; return true when `outgoing` is finished."""
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
        within = min(self._timeout, UPGRADE_TIME)
        with trio.move_on_after(within):
            socket = cast("trio.SocketStream", stream)  # the function takes any stream, its type annotation is narrower
            return await wrap_client_stream(
                websocket_nursery, socket, self._netloc, self._path, max_message_size=FRAME_MAX
            )
        raise SignalingLost(
            f"What answers at {self._url} opened no WebSocket connection within {within:g} seconds."
            " Is it the server's WebSocket address, and is the server up to date and not too busy?"
        )

    async def _exchange_messages(self, ws: WebSocketConnection) -> None:
        keep_alive = KeepAlive()
        with keep_alive.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_alive.ping, ws)
                nursery.start_soon(self._receive_messages, ws, keep_alive)
                await self._send_messages(ws)
                self.done = True
                nursery.cancel_scope.cancel()
        if not self.done:
            raise SignalingLost(f"The server at {self._url} was silent for {SILENCE_TIME:g} seconds.")

    async def _send_messages(self, ws: WebSocketConnection) -> None:
        while True:
            try:
                message = await self._outgoing.take()
            except trio.EndOfChannel:
                return
            if self._version is None:
                await ws.send_message(encode_first(message))
            elif is_known(message, self._version):
                await ws.send_message(encode(message, self._version))

    async def _receive_messages(self, ws: WebSocketConnection, keep_alive: KeepAlive) -> None:
        unknown_count = 0
        while True:
            await self._outgoing.wait_below_threshold()
            frame = await ws.get_message()
            keep_alive.note_received()
            try:
                message = decode(frame, FROM_SERVER, VERSIONS.newest if self._version is None else self._version)
            except UnknownMessage as error:
                unknown_count += 1
                if unknown_count <= UNKNOWN_MAX:
                    log.warning("%s; it is from the server, and is ignored", error)
                continue
            except WireError as error:
                raise SignalingLost(
                    f"The server at {self._url} says what this sleap-rtc does not understand ({error})."
                    " Update the older of the two."
                ) from None
            self.message_received = True
            if isinstance(message, RoomCreated | Joined | AnswerInvitation):
                await self._agree(message.versions)
            await self._on_event(message)

    async def _agree(self, versions: VersionRange) -> None:
        """Use the highest version that both this program and the server speak.

        Raises:
            SignalingLost: there is none, although the server has accepted us. The fault that it should have sent is
                reported first, since it is no use to connect again.
        """
        common = VERSIONS.common(versions)
        if common is None:
            place = f"the server at {self._url}"
            text = no_common_version(versions, VERSIONS, us=place, our_place="on the server")
            await self._on_event(Fault(FaultCode.VERSION, text))
            raise SignalingLost(text)
        self._version = common


def _reason(error: Exception) -> str:
    """Return the operating system's text of an error, in lower case at the start; the innermost cause is most exact."""
    inner: BaseException = error
    while inner.__cause__ is not None:
        inner = first_error(inner.__cause__)
    text = str(getattr(inner, "verify_message", "") or getattr(inner, "strerror", "") or "unknown reason")
    text = text.rpartition("): ")[2]  # trio puts "error connecting to (host, port): " before the system's text
    return text[:1].lower() + text[1:]

"""A ZeroMQ socket connected to a port of this machine. LossViewer may listen there, another program, or no program yet.

ZeroMQ connects in the background as soon as a program listens on the port, and does not report it. That is right for
LossViewer. With another program, ZeroMQ tries again ten times a second; or never again, if that program has a ZeroMQ
socket of an incompatible type. So we watch the socket's monitor, and replace a socket whose handshake failed by a new
one after a pause.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio
import zmq
from attrs import define
from zmq.utils.monitor import parse_monitor_message

from rtc.common.nurseries import open_background_nursery

POLL_TIME = 1.0
"""Seconds after which a socket is read although its descriptor reported nothing."""
HANDSHAKE_TIME = 5.0
"""Seconds for the handshake; the I/O thread of a ZeroMQ program answers at once, however busy the program is."""
FAILURES_TO_WARN = 2
"""Failed handshakes in a row that show another program; a single one may be a viewer that was just closed."""
FIRST_PAUSE, LATER_PAUSE = 1.0, 10.0
"""Seconds until the next try: the first until FAILURES_TO_WARN handshakes have failed, the second from then on."""
_EVENTS = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED

Socket = zmq.Socket[bytes]


@define
class ViewerPort:
    """One port of the viewer, and the socket that is connected to it while `run` runs."""

    port: int
    make_socket: Callable[[], Socket]
    """Returns a new socket that is not connected."""
    on_message: Callable[[bytes], None]
    """Called with the first frame of each message."""
    on_other_program: Callable[[], None]
    """Called once, when another program than LossViewer listens on the port."""
    linger: int = 0
    """Milliseconds for sending the last messages when a connected socket is closed."""
    _socket: Socket | None = None
    _failures: int = 0
    """Failed handshakes in a row; no longer reset to 0 once FAILURES_TO_WARN is reached."""
    _connected: bool = False
    """Whether the handshake of the current socket succeeded."""

    def send(self, raw: bytes) -> None:
        """Send a message if there is a socket; never waits. ZeroMQ drops it when no program listens."""
        if self._socket is not None:
            self._socket.send(raw, zmq.NOBLOCK)

    async def run(self) -> None:
        """Connect, and call `on_message` for each message, until cancelled; reconnects after failed handshakes."""
        while True:
            with self._open_socket() as (socket, monitor):
                async with open_background_nursery() as background:
                    background.start_soon(self._receive_messages, socket)
                    await self._wait_handshake_failed(monitor)
            self._failures += 1
            if self._failures == FAILURES_TO_WARN:
                self.on_other_program()
            await trio.sleep(FIRST_PAUSE if self._failures < FAILURES_TO_WARN else LATER_PAUSE)

    @contextmanager
    def _open_socket(self) -> Iterator[tuple[Socket, Socket]]:
        """Connect a new socket to the port while this context lasts; yield the socket and its monitor."""
        socket = self.make_socket()
        monitor = socket.get_monitor_socket(_EVENTS)
        try:
            socket.connect(f"tcp://127.0.0.1:{self.port}")
            self._socket, self._connected = socket, False
            yield socket, monitor
        finally:
            self._socket = None
            socket.disable_monitor()
            monitor.close(0)
            socket.close(self.linger if self._connected else 0)

    async def _receive_messages(self, socket: Socket) -> None:
        """Call `on_message` for each message, until cancelled."""
        while True:
            self.on_message((await _receive(socket))[0])

    async def _wait_handshake_failed(self, monitor: Socket) -> None:
        """Return after a connection whose handshake failed or took too long.

        A socket has one connection at a time here, so each event of the monitor belongs to the current one.
        """
        while True:
            if await _next_event(monitor) != zmq.EVENT_CONNECTED:
                continue  # a viewer disconnected; ZeroMQ waits for the next one in the background
            event = None
            with trio.move_on_after(HANDSHAKE_TIME):
                event = await _next_event(monitor)
            if event != zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return
            self._connected = True
            self._failures = 0 if self._failures < FAILURES_TO_WARN else self._failures


async def _next_event(monitor: Socket) -> int:
    """Wait for the next event of a socket's monitor, and return it (one of `_EVENTS`)."""
    return int(parse_monitor_message(await _receive(monitor))["event"])


async def _receive(socket: Socket) -> list[bytes]:
    """Wait for the next message of a socket, and return its frames.

    The descriptor (ZMQ_FD) reports only changes, and a send may consume such a report. So a read is tried first, and
    again every POLL_TIME.
    """
    descriptor = socket.getsockopt(zmq.FD)
    assert isinstance(descriptor, int)
    await trio.lowlevel.checkpoint()
    while True:
        try:
            return socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            with trio.move_on_after(POLL_TIME):
                await trio.lowlevel.wait_readable(descriptor)

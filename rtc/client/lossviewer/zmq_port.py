"""A ZeroMQ socket connected to a port of this machine. LossViewer may listen there, another program, or no program yet.

ZeroMQ connects in the background as soon as a program listens on the port, and does not report it. Another program may
listen there, or another user's, who would get the job's progress and could stop the job. So each socket makes one
connection (ZMQ_RECONNECT_IVL is -1), and we watch its monitor: no message is read or sent until the handshake has
succeeded and the other end is known to be ours. After the connection, or after one that failed, there is a new socket.
"""

import enum
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import trio
import zmq
from attrs import define
from zmq.utils.monitor import parse_monitor_message

from rtc.common.nurseries import open_background_nursery
from rtc.common.socket_owner import PeerOwner, find_peer_owner

POLL_TIME = 1.0
"""Seconds after which a socket is read although its descriptor reported nothing."""
RETRY_TIME = 0.5
"""Seconds until the next try while no program listens on the port, and after a connection that has ended."""
CONNECT_TIME = 10.0
"""Seconds after which a connection of which ZeroMQ reported nothing is tried again: it had no descriptor left, or the
other program accepts no connection."""
HANDSHAKE_TIME = 5.0
"""Seconds for the handshake; the I/O thread of a ZeroMQ program answers at once, however busy the program is."""
FAILURES_TO_WARN = 2
"""Failed handshakes in a row that show another program; a single one may be a viewer that was just closed."""
FIRST_PAUSE, LATER_PAUSE = 1.0, 10.0
"""Seconds until the next try: the first until FAILURES_TO_WARN handshakes have failed, the second from then on, and
when the port is another user's."""
_CONNECTED = zmq.EVENT_CONNECTED
_EVENTS = _CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED

Socket = zmq.Socket[bytes]


class Listener(enum.Enum):
    """Who listens on the port, as far as one try to connect has shown."""

    NOBODY = "no program listens there"
    VIEWER = "a viewer of ours was connected, and has ended"
    OTHER_PROGRAM = "a program that is no viewer"
    OTHER_USER = "a program of another user"


@define
class ViewerPort:
    """One port of the viewer, and the socket that is connected to it while `run` runs."""

    port: int
    make_socket: Callable[[], Socket]
    """Returns a new socket that is not connected."""
    on_message: Callable[[bytes], None]
    """Called with the first frame of each message."""
    on_taken: Callable[[Listener], None]
    """Called once, when OTHER_PROGRAM or OTHER_USER listens on the port."""
    linger: int = 0
    """Milliseconds for sending the last messages when a connected socket is closed."""
    _socket: Socket | None = None
    """The socket that is connected to a viewer of ours, if any."""
    _failures: int = 0
    """Failed handshakes in a row; no longer reset to 0 once FAILURES_TO_WARN is reached."""
    _warned: bool = False

    def send(self, raw: bytes) -> None:
        """Send a message if a viewer is connected; never waits."""
        if self._socket is not None:
            self._socket.send(raw, zmq.NOBLOCK)

    async def run(self) -> None:
        """Connect, and call `on_message` for each message, until cancelled; connect again whenever that has ended."""
        while True:
            listener = await self._connect_once()
            if listener is Listener.OTHER_PROGRAM:
                self._failures += 1
            if listener is Listener.OTHER_USER or self._failures == FAILURES_TO_WARN:
                self._warn(listener)
            await trio.sleep(self._pause(listener))

    def _warn(self, listener: Listener) -> None:
        if not self._warned:
            self._warned = True
            self.on_taken(listener)

    def _pause(self, listener: Listener) -> float:
        """Return the seconds until the next try."""
        match listener:
            case Listener.OTHER_PROGRAM if self._failures < FAILURES_TO_WARN:
                return FIRST_PAUSE
            case Listener.OTHER_PROGRAM | Listener.OTHER_USER:
                return LATER_PAUSE
        return RETRY_TIME

    async def _connect_once(self) -> Listener:
        """Connect a new socket to the port, serve the connection until it ends, and return who listened there."""
        with self._open_socket() as (socket, monitor):
            listener = await self._check_listener(monitor)
            if listener is Listener.VIEWER:
                self._failures = 0 if self._failures < FAILURES_TO_WARN else self._failures
                self._socket = socket
                async with open_background_nursery() as background:
                    background.start_soon(self._receive_messages, socket)
                    while (await _next_event(monitor))[0] != zmq.EVENT_DISCONNECTED:
                        pass
                self._socket = None  # nothing more can be sent, so closing does not wait for it
                self._receive_rest(socket)
            return listener

    @contextmanager
    def _open_socket(self) -> Iterator[tuple[Socket, Socket]]:
        """Connect a new socket to the port while this context lasts; yield the socket and its monitor."""
        socket = self.make_socket()
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        monitor = socket.get_monitor_socket(_EVENTS)
        try:
            socket.connect(f"tcp://127.0.0.1:{self.port}")
            yield socket, monitor
        finally:
            connected, self._socket = self._socket is not None, None
            socket.disable_monitor()
            monitor.close(0)
            socket.close(self.linger if connected else 0)

    async def _check_listener(self, monitor: Socket) -> Listener:
        """Wait until the socket's one connection is made or has failed, and return who listens; VIEWER if it is ours.

        The owner is looked at after the handshake. Before it, the other end may not have accepted the connection yet,
        and then has no owner.
        """
        event, descriptor = 0, -1
        with trio.move_on_after(CONNECT_TIME):
            event, descriptor = await _next_event(monitor)
        if event != _CONNECTED:
            return Listener.NOBODY
        with _keep_open(descriptor) as connection:
            event = 0
            with trio.move_on_after(HANDSHAKE_TIME):
                event, _ = await _next_event(monitor)
            if event != zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return Listener.OTHER_PROGRAM
            owner = find_peer_owner(connection)
        if owner is PeerOwner.ANOTHER:
            return Listener.OTHER_USER
        # an owner that is not found once may be a viewer that was just closed; always, it is not on this machine
        return Listener.VIEWER if owner.may_talk else Listener.OTHER_PROGRAM

    async def _receive_messages(self, socket: Socket) -> None:
        """Call `on_message` for each message, until cancelled."""
        while True:
            self.on_message((await _receive(socket))[0])

    def _receive_rest(self, socket: Socket) -> None:
        """Call `on_message` for each message that has arrived on a connection that has ended."""
        with suppress(zmq.Again):
            while True:
                self.on_message(socket.recv_multipart(zmq.NOBLOCK)[0])


@contextmanager
def _keep_open(descriptor: int) -> Iterator[int]:
    """Yield a duplicate of ZeroMQ's descriptor, which ZeroMQ may close at any time; -1 if it has done so.

    Only Linux can tell the owner of a connection, and only there it is duplicated.
    """
    copy = -1
    if sys.platform == "linux":
        with suppress(OSError):
            copy = os.dup(descriptor)
    try:
        yield copy
    finally:
        if copy != -1:
            os.close(copy)


async def _next_event(monitor: Socket) -> tuple[int, int]:
    """Wait for the next event of a socket's monitor; return it (one of `_EVENTS`) and its value."""
    event = parse_monitor_message(await _receive(monitor))
    return int(event["event"]), int(event["value"])


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

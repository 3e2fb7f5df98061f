"""A ZeroMQ socket connected to a port of this machine, where nobody may be yet, or somebody else.

ZeroMQ connects by itself whenever somebody comes and says nothing of it. That is right while nobody is there, and wrong
when another program holds the port: then it tries ten times a second, or, after meeting a socket of an unfit type,
never again. So its monitor is watched, and a socket that has met a stranger is replaced by a fresh one, after a while.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio
import zmq
from attrs import define
from zmq.utils.monitor import parse_monitor_message

from rtc.common.nurseries import open_background_nursery

LOOK_AGAIN = 1.0
"""Seconds after which a socket is read even if nothing was told of it."""
SHAKE_TIME = 5.0
"""Seconds for the other side to show that it speaks ZeroMQ; its I/O thread answers at once, however busy the rest."""
SURE = 2
"""Failed handshakes in a row that make a stranger: one may be a viewer that was closed at that moment."""
SOON, LATER = 1.0, 10.0
"""Seconds until the next try, before we are sure and afterwards."""
_EVENTS = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED

Socket = zmq.Socket[bytes]


@define
class ViewerPort:
    """One port; `run` keeps to it."""

    port: int
    make: Callable[[], Socket]
    """A fresh socket, not yet connected."""
    heard: Callable[[bytes], None]
    strange: Callable[[], None]
    """Called once, when another program than the one looked for holds the port."""
    linger: int = 0
    """Milliseconds that the last messages have to leave, when there is somebody to take them."""
    _socket: Socket | None = None
    _failed: int = 0
    _met: bool = False

    def send(self, raw: bytes) -> None:
        """Send if somebody listens; never waits."""
        if self._socket is not None:
            self._socket.send(raw, zmq.NOBLOCK)

    async def run(self) -> None:
        """Hear what comes, from whoever comes, until cancelled."""
        while True:
            with self._connected() as (socket, monitor):
                async with open_background_nursery() as background:
                    background.start_soon(self._listen, socket)
                    await self._meet_stranger(monitor)
            self._failed += 1
            if self._failed == SURE:
                self.strange()
            await trio.sleep(SOON if self._failed < SURE else LATER)

    @contextmanager
    def _connected(self) -> Iterator[tuple[Socket, Socket]]:
        socket = self.make()
        monitor = socket.get_monitor_socket(_EVENTS)
        try:
            socket.connect(f"tcp://127.0.0.1:{self.port}")
            self._socket, self._met = socket, False
            yield socket, monitor
        finally:
            self._socket = None
            socket.disable_monitor()
            monitor.close(0)
            socket.close(self.linger if self._met else 0)

    async def _listen(self, socket: Socket) -> None:
        while True:
            self.heard((await _receive(socket))[0])

    async def _meet_stranger(self, monitor: Socket) -> None:
        """Wait for a connection that comes to nothing. There is one at a time, so events need not be told apart."""
        while True:
            if await _event(monitor) != zmq.EVENT_CONNECTED:
                continue  # a viewer left; ZeroMQ waits for the next by itself
            met = None
            with trio.move_on_after(SHAKE_TIME):
                met = await _event(monitor)
            if met != zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return
            self._met = True
            self._failed = 0 if self._failed < SURE else self._failed


async def _event(monitor: Socket) -> int:
    return int(parse_monitor_message(await _receive(monitor))["event"])


async def _receive(socket: Socket) -> list[bytes]:
    """The descriptor tells of change only, and a send may eat one: so a read is tried first, and now and then."""
    descriptor = socket.getsockopt(zmq.FD)
    assert isinstance(descriptor, int)
    await trio.lowlevel.checkpoint()
    while True:
        try:
            return socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            with trio.move_on_after(LOOK_AGAIN):
                await trio.lowlevel.wait_readable(descriptor)

"""One connection to the HTTP port: its bytes, its times, and the protocol of anycorn between it and the application.

Every wait has its end. A head has to be there `HEAD_TIME` after its first byte (or after the connection was made), body
and answer `EXCHANGE_TIME` after that, the next request `KEEP_ALIVE_TIME` after the answer.
"""

from typing import Any

import trio
from anycorn.config import Config
from anycorn.events import Closed, Event, RawData, Updated
from anycorn.task_group import TaskGroup
from anycorn.typing import AppWrapper, ConnectionState
from anycorn.worker_context import WorkerContext
from attrs import define, field

from rtc.server.anycorn_patches import Http11
from rtc.server.overload import LINGER_TIME, drop_rest
from rtc.server.problems import raw_problem
from rtc.server.request_head import BadHead, HeadReader

HEAD_TIME = 10.0
"""Seconds for the first line and the headers of a request."""
EXCHANGE_TIME = 20.0
"""Seconds for the body of a request, and for the answer to be made and to be read."""
KEEP_ALIVE_TIME = 5.0
"""Seconds between an answer and the next request on the same connection."""
_CHUNK = 4096
_LOST = (trio.BrokenResourceError, trio.ClosedResourceError)


@define(eq=False)
class HttpConnection:
    """A connection to the HTTP port."""

    _stream: trio.SocketStream
    _app: AppWrapper
    _config: Config
    _context: WorkerContext
    _protocol: Http11 | None = field(default=None, init=False)
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _reading: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    """Ends when no more is to be read: the answer was the last."""
    _head: HeadReader = field(factory=HeadReader, init=False)
    _sending: trio.Lock = field(factory=trio.Lock, init=False)

    @property
    def is_idle(self) -> bool:
        """Whether no request has come as a whole that is not answered yet."""
        return self._protocol is None or self._protocol.awaits_more

    def displace(self) -> None:
        """End the connection at once."""
        self._scope.cancel()

    async def run(self) -> None:
        """Answer requests until the connection ends."""
        with self._scope:
            self._allow(HEAD_TIME)
            async with TaskGroup() as tasks:
                self._protocol = protocol = self._make_protocol(tasks)
                with self._reading:
                    await self._read(protocol)
                await protocol.handle(Closed())
            if self._reading.cancel_called:  # we close first
                with trio.move_on_after(LINGER_TIME):
                    await drop_rest(self._stream)

    def _make_protocol(self, tasks: TaskGroup) -> Http11:
        client, server = (
            _address(name()) for name in (self._stream.socket.getpeername, self._stream.socket.getsockname)
        )
        state = ConnectionState({})
        return Http11(self._app, self._config, self._context, tasks, state, client, server, self._handle, None)

    def _allow(self, seconds: float) -> None:
        self._scope.deadline = trio.current_time() + seconds

    async def _read(self, protocol: Http11) -> None:
        """Pass on what comes, each head as a whole and checked; returns when nothing more comes."""
        while data := await self._stream.receive_some(_CHUNK):
            try:
                await self._pass_on(bytes(data), protocol)
            except BadHead as error:
                await self._send(raw_problem(error.status, is_head=error.is_head))
                self._reading.cancel()

    async def _pass_on(self, data: bytes, protocol: Http11) -> None:
        """Give the protocol what has come, each request when the one before is answered.

        Raises:
            BadHead: a head is refused.
        """
        while data:
            await protocol.wait_may_continue()
            if not protocol.awaits_head:
                await protocol.handle(RawData(data))
                return
            if self._head.is_empty:
                self._allow(HEAD_TIME)
            found = self._head.add(data)
            if found is None:
                return
            head, data = found
            await protocol.handle(RawData(head))

    async def _handle(self, event: Event) -> None:
        """Carry out what the protocol wants."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Closed):
            self._reading.cancel()
        elif isinstance(event, Updated):
            self._allow(KEEP_ALIVE_TIME if event.idle else EXCHANGE_TIME)

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            try:
                await self._stream.send_all(data)
            except _LOST:
                self._scope.cancel()


def _address(name: Any) -> tuple[str, int]:
    """Return host and port of a socket's address, which has more parts with IPv6."""
    return str(name[0]), int(name[1])

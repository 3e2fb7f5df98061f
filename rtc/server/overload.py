"""How a connection is refused: with an answer, and in a way in which the answer arrives.

A connection that is closed while bytes of its request are unread is reset, and a reset may destroy the answer before it
is read (RFC 9112, 9.6). So what still comes is read and dropped for a moment. Only a few connections may wait for that
at a time, and the oldest is closed for the next one, so that refusing never needs many descriptors.
"""

import trio
from attrs import define, field

from rtc.server.problems import raw_problem

LINGERING_MAX = 32
"""Refused connections that are open at a time."""
LINGER_TIME = 1.0
"""Seconds for a refused connection to read its answer."""
LINGER_BYTES = 64 * 1024
"""Bytes of a refused connection that are read and dropped."""
BUSY = raw_problem(503)
BUSY_REASON = "there are too many, in all or from this address"
"""What the log says of a connection that is answered with `BUSY`."""
_CHUNK = 4096


@define(eq=False)
class Refusals:
    """The connections that are being refused."""

    _lingering: list[trio.CancelScope] = field(factory=list, init=False)
    """The scope of each, oldest first."""

    async def refuse(self, stream: trio.abc.Stream, answer: bytes = BUSY) -> None:
        """Send an answer and close the connection; takes `LINGER_TIME` at most, and raises nothing but `Cancelled`."""
        scope = trio.CancelScope(deadline=trio.current_time() + LINGER_TIME)
        if len(self._lingering) >= LINGERING_MAX:
            self._lingering.pop(0).cancel()
        self._lingering.append(scope)
        try:
            with scope:
                await stream.send_all(answer)
                await drop_rest(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass
        finally:
            if scope in self._lingering:
                self._lingering.remove(scope)
            await trio.aclose_forcefully(stream)


async def drop_rest(stream: trio.abc.Stream) -> None:
    """Say that nothing more is sent, then read and drop what comes, until the other end closes too."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
    dropped = 0
    while dropped < LINGER_BYTES:
        data = await stream.receive_some(_CHUNK)
        if not data:
            return
        dropped += len(data)

"""Announcing this worker in the local network and finding others, through a process of its own (`service_process`)."""

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field

import rtc
from protocol.converter import WireError, from_json, to_json
from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.nearby.announcement import LINE_BYTES, Announcement, NearbyWorker, ServiceLine, without_copies

START_TIME = 20.0
"""Seconds for the process to start and to open its sockets; half a second where nothing else runs."""
ANNOUNCE_TIME = 10.0
"""Seconds for one announcement; to make sure that a name is free takes about two."""
CLOSE_TIME = 2.0
"""Seconds for the process to tell the network that it is gone."""
BROWSE_TIME = 4.0
"""Seconds to wait for answers. A query is repeated after one second and after three (RFC 6762, section 5.2)."""
READ_MAX = 65536
"""Bytes read at once."""

Addresses = tuple[str, ...]
"""IP addresses."""


@define(eq=False)
class _ServiceProcess:
    """The running process."""

    _process: trio.Process
    _unread: bytes = field(default=b"", init=False)

    async def write(self, text: str) -> None:
        """Send one line."""
        assert self._process.stdin is not None, "it was started with one"
        try:
            await self._process.stdin.send_all(text.encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise _no_multicast("its process has ended") from None

    async def read(self) -> ServiceLine:
        """Return the next line.

        Raises:
            RtcError: it says that something does not work, or it has ended.
        """
        assert self._process.stdout is not None, "it was started with one"
        while b"\n" not in self._unread:
            more = await self._process.stdout.receive_some(READ_MAX)
            if not more:
                raise _no_multicast("its process has ended")
            self._unread += more
        text, _, self._unread = self._unread.partition(b"\n")
        try:
            found: ServiceLine = from_json(text, ServiceLine, limit=LINE_BYTES)
        except WireError:
            raise _no_multicast("its process says what is not understood") from None
        if found.problem is not None:
            raise _no_multicast(found.problem)
        return found


@define(eq=False)
class Announcer:
    """What this program announces: nothing, or one worker."""

    _process: _ServiceProcess

    async def announce(self, announcement: Announcement | None) -> str:
        """Announce a worker, what has changed about it, or nothing; return the name under which it is announced.

        If its name is taken, a number is appended to it.

        Raises:
            RtcError: the network does not let us, or the server's address is too long.
        """
        if announcement is not None:
            announcement.txt()  # raises here what is wrong with it
        with trio.move_on_after(ANNOUNCE_TIME):
            await self._process.write("" if announcement is None else to_json(announcement))
            return (await self._process.read()).name
        raise _no_multicast("it does not answer")


@asynccontextmanager
async def open_announcer(addresses: Addresses, interfaces: Addresses = ()) -> AsyncGenerator[Announcer, None]:
    """Open an announcer; what it announces is withdrawn when the context ends, or this program.

    Args:
        addresses: IP addresses of this machine, which programs that list services may show.
        interfaces: the addresses of the network interfaces to use; none for all.

    Raises:
        RtcError: multicast cannot be used here.
    """
    async with _open_process("announce", ",".join(addresses), ",".join(interfaces)) as process:
        yield Announcer(process)


async def browse(
    interfaces: Addresses = (), *, seconds: float = BROWSE_TIME, enough: Callable[[NearbyWorker], bool] | None = None
) -> tuple[NearbyWorker, ...]:
    """Return the workers that announce themselves, after some seconds of listening.

    Args:
        interfaces: the addresses of the network interfaces to use; none for all.
        seconds: how long to listen.
        enough: is called with each worker that is found; true ends the search.

    Raises:
        RtcError: multicast cannot be used here.
    """
    found: dict[str, NearbyWorker] = {}
    async with _open_process("browse", ",".join(interfaces)) as process:
        with trio.move_on_after(seconds):
            while True:
                heard = await process.read()
                found.pop(heard.name, None)
                if heard.worker is not None:
                    found[heard.name] = heard.worker
                    if enough is not None and enough(heard.worker):
                        break
    return without_copies(found.values())


@asynccontextmanager
async def _open_process(*arguments: str) -> AsyncGenerator[_ServiceProcess, None]:
    """Start the process, and end it with this context: it closes by itself, or else it is killed."""
    command = [sys.executable, "-P", "-m", "rtc.nearby.service_process", *arguments]
    try:
        started = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is not for it
        )
    except OSError as error:
        raise _no_multicast(error.strerror or "no process can be started") from None
    try:
        process = _ServiceProcess(started)
        with trio.move_on_after(START_TIME) as time_limit:
            await process.read()
        if time_limit.cancelled_caught:
            raise _no_multicast("its process does not start")
        yield process
    finally:
        await _end(started)


async def _end(process: trio.Process) -> None:
    assert process.stdin is not None, "it was started with one"
    with trio.move_on_after(CLOSE_TIME, shield=True):
        await process.stdin.aclose()
        await process.wait()
    process.kill()  # changes nothing if it has ended
    with trio.CancelScope(shield=True):
        await process.wait()
        if process.stdout is not None:
            await process.stdout.aclose()


def _environment() -> dict[str, str]:
    """Return the variables for the process: without those of our programs, in which secrets may be."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLEAP_RTC_")}
    root = str(Path(rtc.__file__).parents[1])  # `-P` leaves the working folder out
    return environment | {"PYTHONPATH": os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))}


def _no_multicast(reason: str) -> RtcError:
    return RtcError(
        FaultCode.OTHER,
        f"Multicast DNS (UDP port 5353) cannot be used in the local network ({reason}). Use a short code instead.",
    )

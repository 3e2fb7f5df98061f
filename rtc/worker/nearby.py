"""A worker that announces itself in the local network (`--nearby`), and asks its person who may join its room."""

from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

import trio
from attrs import define, field

from protocol.status import WorkerFacts
from rtc.common.errors import RtcError
from rtc.invitations.code_inviter import RoomSource
from rtc.invitations.nearby_inviter import PERSON_TIME, NearbyInviter
from rtc.nearby import multicast
from rtc.nearby.announcement import Announcement
from rtc.runtime.peer_runtime import PeerRuntime
from rtc.terminal.keyboard import Keyboard
from rtc.terminal.yes_or_no import press_y_or_n
from rtc.worker.embedded_server import lan_address

LOOPBACK = "127.0.0.1"
STDIN = 0
"""The descriptor of standard input."""


def is_loopback(url: str) -> bool:
    """Return whether an address of a server is one that only this machine can reach."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@define(eq=False)
class WorkerConsole:
    """The console of a worker, and what the worker announces."""

    facts: WorkerFacts
    server: str
    """The server's WebSocket address for other machines."""
    say: Callable[[str], None]
    """Prints one or several lines for the person at the terminal."""
    keyboard: Keyboard
    prefix: str = ""
    """Written before each text; the name of the worker when several share a terminal."""
    _announcer: multicast.Announcer | None = field(default=None, init=False)
    _is_said: bool = field(default=False, init=False)
    """Whether it was said how others find this worker."""
    _settled: trio.Event = field(factory=trio.Event, init=False)
    """Set when it is known whether anything can be announced."""

    async def run(self) -> None:
        """Be able to announce the worker until cancelled; if that does not work here, say so, once."""
        try:
            async with multicast.open_announcer((lan_address() or LOOPBACK,)) as self._announcer:
                self._settled.set()
                await trio.sleep_forever()
        except RtcError as error:
            self._announcer = None
            self._settled.set()
            self._say_not_announced(error)

    async def number_changed(self, number: int | None) -> None:
        """Announce the worker with the number by which others ask; or nothing, while nobody can ask."""
        await self._settled.wait()
        if self._announcer is None:
            return
        facts = self.facts
        announcement = None if number is None else Announcement(facts.name, facts.gpu, self.server, number)
        try:
            name = await self._announcer.announce(announcement)
        except RtcError as error:
            self._announcer = None
            self._say_not_announced(error)
            return
        if name and not self._is_said:
            self._is_said = True
            self.print(f"Computers of this network find this worker as {name!r}: sleap-rtc join --nearby")
            if is_loopback(self.server):
                self.print(
                    f"But only this computer can reach the server at {self.server}. Start the worker with --serve."
                )

    def _say_not_announced(self, error: RtcError) -> None:
        self.print(f"This worker cannot be found nearby: {error.fault.text}")

    async def confirm(self, name: str, words: tuple[str, ...]) -> bool | None:
        """Show who asks and the words to compare; return whether the person pressed y. None: nobody can press a key."""
        self.print(
            f"A computer nearby asks to join this room. It says that it is called {name!r},\n"
            "which anybody can say.\n\n"
            f"    {' '.join(words)}\n\n"
            f"Are these the words on its screen? Press y to let it in, n to refuse ({PERSON_TIME:.0f} s)."
        )
        return await press_y_or_n(self.keyboard)

    def print(self, text: str) -> None:
        """Print one or several lines."""
        self.say(f"{self.prefix}{text}")


async def start_nearby(
    runtime: PeerRuntime, room: RoomSource, server: str, say: Callable[[str], None], prefix: str = ""
) -> None:
    """Let programs nearby find this worker and ask for its room, until the runtime ends.

    Args:
        runtime: the worker's runtime, before it has joined its room.
        room: returns the room.
        server: the server's WebSocket address for other machines.
        say: prints for the person at the terminal.
        prefix: written before each text.
    """
    console = WorkerConsole(runtime.facts, server, say, Keyboard(STDIN), prefix)
    inviter = NearbyInviter(runtime.router, room, console)
    runtime.add_routes(inviter.routes())
    await runtime.adapters.start(inviter.run)
    runtime.adapters.start_soon(console.run)

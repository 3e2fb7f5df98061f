"""Joins the room of a worker nearby: lists what announces itself, lets the person choose, asks, and compares words."""

import os
import sys
from collections.abc import Callable, Iterable

import trio
from attrs import field, frozen

from protocol.faults import FaultCode
from rtc.client.join_room import FoundRoom
from rtc.common.errors import RtcError
from rtc.common.line_writer import LineWriter
from rtc.common.text import clean
from rtc.config.load import Config
from rtc.config.room_secrets.rules import check_secret
from rtc.invitations.ask_nearby import ask_nearby
from rtc.nearby.announcement import NearbyWorker, titles
from rtc.nearby.multicast import Addresses, browse
from rtc.terminal.worker_prompt import LineReader
from rtc.terminal.worker_table import columns

NONE_FOUND = (
    "No worker of this network was found. It must run with --nearby, and the network must let multicast through (UDP "
    "port 5353). Its short code works without: sleap-rtc join CODE"
)
NO_TERMINAL = (
    "sleap-rtc join --nearby needs a terminal: you compare words with the worker's screen. Use its short code instead: "
    "sleap-rtc join CODE"
)
NUMBER_PROMPT = "Number, or q to leave: "
COMPARE_PROMPT = "Are these the words on the worker's screen?\nPress y there; then type y here, or n if they differ: "
WIDTH = 78
"""Cells of the list."""
NARROW = {"server": 24, "GPU": 12, "worker": 20}
"""The columns that may be cut, and the cells that each keeps."""


@frozen
class NearbyOptions:
    """What `sleap-rtc join --nearby` was given, and where it asks."""

    config_for: Callable[[str | None], Config]
    """Returns the configuration for a server's address."""
    worker: str | None = None
    """The worker's name; None to choose."""
    server: str | None = None
    """The address by which to reach the worker's server; None for the announced one."""
    interfaces: Addresses = ()
    """The addresses of the network interfaces to use; none for all."""
    out: LineWriter = field(factory=lambda: LineWriter(sys.stdout))
    stdin: int = 0
    """The descriptor on which the person types."""


async def find_nearby(options: NearbyOptions) -> FoundRoom:
    """Find a worker nearby, ask for its room, and return it when the people at both ends have agreed.

    Raises:
        RtcError: USAGE: there is no terminal, or no worker has this name. NO_WORKER: none was found. CANCELLED: the
            person chose none. Others: as for `browse` and `ask_nearby`.
    """
    if not os.isatty(options.stdin):
        raise RtcError(FaultCode.USAGE, NO_TERMINAL)
    reader = LineReader(options.stdin)
    options.out.write("Looking for workers of this network …\n")
    found = titles(await browse(options.interfaces, enough=_is_named(options.worker)))
    title, worker = await _choose(found, options, reader)
    announcement = worker.announcement
    config = options.config_for(options.server or announcement.server)
    options.out.write(f"Asking {title} ({announcement.gpu}) for its room, through {config.signaling_websocket} …\n")

    async def compare(words: tuple[str, ...]) -> bool:
        return await _compare(words, options, reader)

    invited = await ask_nearby(announcement.number, config, compare=compare)
    secret = None if invited.secret is None else check_secret(invited.secret, "the worker").text
    return FoundRoom(config.signaling_websocket, invited.room, invited.token, secret, invited.name)


# -------- choosing


def _is_named(name: str | None) -> Callable[[NearbyWorker], bool] | None:
    """Return a function that is true for a worker with this name; None if any worker will do."""
    if name is None:
        return None
    wanted = name.casefold()
    return lambda found: wanted in (found.label.casefold(), found.announcement.name.casefold())


async def _choose(
    found: dict[str, NearbyWorker], options: NearbyOptions, reader: LineReader
) -> tuple[str, NearbyWorker]:
    """Return the worker to ask, with its title: the one that was named, the only one, or the one that is chosen.

    Raises:
        RtcError: NO_WORKER: there is none. USAGE: there is none with this name. CANCELLED: the person chose none.
    """
    is_named = _is_named(options.worker)
    fitting = {title: worker for title, worker in found.items() if is_named is None or is_named(worker)}
    if not found:
        raise RtcError(FaultCode.NO_WORKER, NONE_FOUND)
    if not fitting:
        raise RtcError(
            FaultCode.NO_WORKER,
            f"No worker of this network is called {clean(options.worker or '')!r}. There are: {', '.join(found)}",
        )
    if len(fitting) == 1:
        return next(iter(fitting.items()))
    numbered = dict(enumerate(fitting.items(), 1))
    options.out.write(f"\n{_listing(fitting.items())}\n{NUMBER_PROMPT}")
    while (answer := await reader.read_line()) is not None and answer.lower() not in ("q", "quit"):
        if answer.isascii() and answer.isdecimal() and len(answer) < 5 and int(answer) in numbered:
            return numbered[int(answer)]
        options.out.write(f"Please type a number of the list, or q.\n{NUMBER_PROMPT}")
    raise RtcError(FaultCode.CANCELLED, "No worker was chosen, so nothing was joined.")


def _listing(workers: Iterable[tuple[str, NearbyWorker]]) -> str:
    """Return the numbered list, one worker per line."""
    rows = [
        (str(number), title, worker.announcement.gpu, clean(worker.announcement.server))
        for number, (title, worker) in enumerate(workers, 1)
    ]
    return "".join(f"  {line}\n" for line in columns([("", "worker", "GPU", "server"), *rows], WIDTH, NARROW))


# -------- comparing


async def _compare(words: tuple[str, ...], options: NearbyOptions, reader: LineReader) -> bool:
    """Show the words, and return whether the person says that the worker's screen shows the same.

    What was typed before the words were there does not count.
    """
    reader.discard_typed()
    options.out.write(f"\n    {' '.join(words)}\n\n{COMPARE_PROMPT}")
    try:
        while (answer := await reader.read_line()) is not None:
            if answer.lower() in ("y", "yes"):
                options.out.write("Waiting for the worker …\n")
                return True
            if answer.lower() in ("n", "no", "q"):
                return False
            options.out.write(COMPARE_PROMPT)
    except trio.Cancelled:
        options.out.write("\n")  # what is said next begins on a line of its own
        raise
    return False

"""The remembered rooms as `sleap-rtc rooms` lists them: each is joined, so that one sees which can be used now.

No token and no secret is shown.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial

import trio
from attrs import evolve, frozen

from protocol.converter import to_json
from protocol.faults import Fault, FaultCode
from protocol.preference import takes_jobs
from protocol.signaling import WorkerPresent
from rtc.client.list_workers import list_workers
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.common.text import clean
from rtc.config.load import Config
from rtc.config.remembered_rooms import RememberedRoom, RememberedRoomsJson
from rtc.config.room_renewal import explain_for_room
from rtc.runtime.root import run_root, run_until_signal
from rtc.terminal.worker_table import columns, table_width

ROOM_TIME = 5.0
"""Seconds to join one room, and again for its list. A server that is there answers in much less."""
ROOMS_AT_ONCE = 32
"""Rooms that are asked at the same time. A server takes 50 connections of one address that are in no room yet."""
NO_ROOMS = "No room is remembered here. Join one: sleap-rtc join\n"
HEADINGS = ("", "name", "reachable", "workers", "secret", "server", "room")
MIN_WIDTHS = {"room": 8, "server": 16, "name": 12}
"""Columns that are cut in a narrow terminal, in this order, and the cells that they keep."""
DEFAULT_MARK = "*"
ABOUT_WORKERS = "Workers: how many take a job now / how many are there."


@frozen
class RoomRow:
    """One room, and what was found in it."""

    room: RememberedRoom
    is_default: bool
    """Whether it is meant when no room is named."""
    workers: tuple[WorkerPresent, ...] = ()
    fault: Fault | None = None
    """Why it cannot be joined; None if it can."""

    @property
    def available(self) -> int:
        """The number of workers that take a job now."""
        return sum(takes_jobs(worker.facts) for worker in self.workers)


def run_list_rooms(content: RememberedRoomsJson, config_for: Callable[[str], Config], *, as_json: bool) -> int:
    """Print the remembered rooms, after asking each for its workers; return the exit code.

    Args:
        content: the rooms.
        config_for: returns the configuration for a server's address.
        as_json: print one JSON array.

    Raises:
        RtcError: USAGE: a setting is wrong.
    """
    if content.rooms:
        config_for("localhost")  # a setting that is wrong is one error, and not a problem of each room
    return run_root("client", partial(run_until_signal, partial(_ask_and_print, content, config_for, as_json=as_json)))


async def _ask_and_print(content: RememberedRoomsJson, config_for: Callable[[str], Config], *, as_json: bool) -> int:
    rows = await ask_rooms(content, config_for)
    LineWriter(sys.stdout).write(rooms_json(rows) if as_json else rooms_table(rows, table_width(sys.stdout)))
    return ExitCode.DONE


async def ask_rooms(content: RememberedRoomsJson, config_for: Callable[[str], Config]) -> list[RoomRow]:
    """Join all rooms, several at the same time, and return a row for each, in the same order.

    A server that cannot be reached is asked about its further rooms only if they were being asked already.
    """
    limit = trio.CapacityLimiter(ROOMS_AT_ONCE)
    rows: dict[str, RoomRow] = {}
    away: dict[str, Fault] = {}
    default = default_of(content)

    async def ask(room: RememberedRoom) -> None:
        row = RoomRow(room, is_default=room is default)
        async with limit:
            try:
                if room.server in away:
                    raise RtcError.of(away[room.server])
                config = evolve(config_for(room.server), connection_timeout=ROOM_TIME)
                rows[room.name] = evolve(row, workers=await list_workers(config, room.room, room.token))
            except RtcError as error:
                if error.fault.code is FaultCode.SERVER_LOST:
                    away[room.server] = error.fault
                rows[room.name] = evolve(row, fault=explain_for_room(error, room.name).fault)

    async with trio.open_nursery() as nursery:
        for room in content.rooms:
            nursery.start_soon(ask, room)
    return [rows[room.name] for room in content.rooms]


def default_of(content: RememberedRoomsJson) -> RememberedRoom | None:
    """Return the room that is meant when none is named: the default, or the only one; None if none is."""
    default = next((room for room in content.rooms if room.name == content.default), None)
    return content.rooms[0] if default is None and len(content.rooms) == 1 else default


def rooms_table(rows: Sequence[RoomRow], width: int | None) -> str:
    """Return a table with one line for each room, and below it why rooms cannot be joined.

    Args:
        rows: the rooms.
        width: cells of the terminal, which the lines of the table fit into where possible; None for no limit.
    """
    if not rows:
        return NO_ROOMS
    lines = columns([HEADINGS, *map(_cells, rows)], width, MIN_WIDTHS)
    problems = [f"{row.room.name}: {clean(row.fault.text)}" for row in rows if row.fault is not None]
    return "".join(f"{line}\n" for line in (*lines, *(("", *problems) if problems else ()), "", _last_lines(rows)))


def _cells(row: RoomRow) -> tuple[str, ...]:
    mark = DEFAULT_MARK if row.is_default else ""
    workers = "-" if row.fault is not None else f"{row.available}/{len(row.workers)}"
    secret = "yes" if row.room.secret else "no"
    return mark, row.room.name, _state(row.fault), workers, secret, clean(row.room.server), row.room.room


def _state(fault: Fault | None) -> str:
    """Return whether the room can be joined, in one word."""
    if fault is None:
        return "yes"
    return "denied" if fault.code is FaultCode.ROOM_DENIED else "no"


def _last_lines(rows: Sequence[RoomRow]) -> str:
    if any(row.is_default for row in rows):
        return f"{DEFAULT_MARK} is meant when no room is named.\n{ABOUT_WORKERS}"
    return f"{ABOUT_WORKERS}\nChoose a room for good: sleap-rtc rooms default NAME"


@frozen
class RoomJson:
    """One room as `sleap-rtc rooms --json` shows it. Scripts read it, so the names of its fields must not change."""

    name: str
    server: str
    room: str
    default: bool
    reachable: bool
    problem: str | None
    """Why it is not reachable; None if it is."""
    workers: int | None
    """None if it is not reachable."""
    available: int | None
    """Those that take a job now; None if it is not reachable."""
    secret: bool
    """Whether a room secret is remembered with it."""


def rooms_json(rows: Sequence[RoomRow]) -> str:
    """Return a JSON array with a `RoomJson` for each room."""
    return to_json(tuple(map(_room_json, rows)), indent=2) + "\n"


def _room_json(row: RoomRow) -> RoomJson:
    reachable = row.fault is None
    return RoomJson(
        name=row.room.name,
        server=clean(row.room.server),
        room=row.room.room,
        default=row.is_default,
        reachable=reachable,
        problem=None if row.fault is None else clean(row.fault.text),
        workers=len(row.workers) if reachable else None,
        available=row.available if reachable else None,
        secret=row.room.secret is not None,
    )

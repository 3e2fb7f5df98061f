"""Lists the workers of a room once: joins the room as a client, reads the list, and leaves."""

import sys
from functools import partial
from typing import Any

import trio
from attrs import define, field, frozen

from actors.events import (
    JoinedRoom,
    JoinFailed,
    JoinRoom,
    RoomCredentials,
    SendToServer,
    ServerDisconnected,
    WorkersChanged,
)
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import RoomId
from protocol.signaling import Leave, WorkerPresent
from protocol.status import Role
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.config.load import Config
from rtc.config.room_renewal import explain_for_room
from rtc.runtime.root import run_root, run_until_signal
from rtc.runtime.signaling_runtime import SignalingRuntime
from rtc.terminal.worker_table import as_table, json_text, table_width

TOO_FEW_GPUS = "No worker of this room gives a job so many GPUs (--gpus)."


@frozen
class ListOptions:
    """The options of `sleap-rtc workers`."""

    config: Config
    room: RoomId
    token: str = field(repr=False)
    json: bool = False
    min_gpus: int = 0
    """Print only workers that give a job so many GPUs."""
    remembered_as: str | None = None
    """The name of the remembered room that this is; None if it is none."""


def run_list_workers(options: ListOptions, *, secrets: tuple[str | None, ...] = ()) -> int:
    """Print the room's workers, and return the exit code.

    Args:
        options: the room, and how to print.
        secrets: further texts that must never appear in the log.
    """
    return run_root(
        "client", partial(run_until_signal, partial(_list_and_print, options)), secrets=(options.token, *secrets)
    )


async def _list_and_print(options: ListOptions) -> int:
    """List the workers and print them; return the exit code."""
    try:
        workers = await list_workers(options.config, options.room, options.token)
    except RtcError as error:
        raise explain_for_room(error, options.remembered_as) from None
    found = tuple(worker for worker in workers if worker.facts.gpus >= options.min_gpus)
    if workers and not found and not options.json:
        LineWriter(sys.stdout).say(TOO_FEW_GPUS)
        return ExitCode.DONE
    print_workers(found, as_json=options.json)
    return ExitCode.DONE


def print_workers(workers: tuple[WorkerPresent, ...], *, as_json: bool) -> None:
    """Print the workers to standard output, as a table or as JSON."""
    LineWriter(sys.stdout).write(json_text(workers) if as_json else as_table(workers, table_width(sys.stdout)))


@define
class _Listing:
    """The state of one listing, and its routes."""

    signaling: SignalingRuntime
    workers: tuple[WorkerPresent, ...] = ()
    fault: Fault | None = None
    in_room: bool = False
    done: trio.Event = field(factory=trio.Event)

    def leave(self, _event: JoinedRoom) -> None:
        """Ask the server to remove us from the room, as soon as we are in it.

        A long list comes in several messages; the server sends all of them before it closes the connection.
        """
        self.in_room = True
        self.signaling.send(SendToServer(Leave()))

    def fail(self, event: JoinFailed) -> None:
        """End the listing with a fault, because the room cannot be joined."""
        self.fault = event.fault
        self.done.set()

    def update(self, event: WorkersChanged) -> None:
        """Save the workers known so far; the list grows with each message."""
        self.workers = event.workers

    def finish(self, _event: ServerDisconnected) -> None:
        """End the listing once the server has sent the whole list and closed the connection.

        A connection that is lost before we are in the room changes nothing: Discovery decides how long to try again.
        """
        if self.in_room:
            self.done.set()


async def list_workers(config: Config, room: RoomId, token: str) -> tuple[WorkerPresent, ...]:
    """Return the workers of a room, most GPU memory first.

    Raises:
        RtcError: ROOM_DENIED, ROOM_FULL, VERSION or SERVER_LOST.
    """
    router = Router({})
    listing = _Listing(SignalingRuntime(config, router))
    async with trio.open_nursery() as nursery:
        router.routes = _routes(listing)
        await nursery.start(router.run)
        await listing.signaling.open(nursery, nursery)
        router.outbox.put(JoinRoom(RoomCredentials(Role.CLIENT, room, token), config.connection_timeout))
        with trio.move_on_after(2 * config.connection_timeout):  # to join the room, and to receive the whole list
            await listing.done.wait()
        nursery.cancel_scope.cancel()
    if listing.fault is not None:
        raise RtcError.of(listing.fault)
    if not listing.done.is_set():
        raise RtcError(
            FaultCode.SERVER_LOST, "The server did not send the whole list of the room's workers. Try again."
        )
    return listing.workers


def _routes(listing: _Listing) -> dict[type, Any]:
    """Return the routes of a listing."""
    routes = listing.signaling.routes()
    routes[ServerDisconnected] = (*routes[ServerDisconnected], listing.finish)
    return routes | {JoinedRoom: (listing.leave,), JoinFailed: (listing.fail,), WorkersChanged: (listing.update,)}

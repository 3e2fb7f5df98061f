"""Looks once who works in a room, as a client would, and leaves."""

import sys
from functools import partial
from typing import Any

import trio
from attrs import define, field, frozen

from actors.events import (
    JoinedRoom,
    JoinFailed,
    JoinRoom,
    LinkAnswered,
    LinkRefused,
    LinkRequested,
    RoomCredentials,
    SendToServer,
    ServerDisconnected,
    WorkersChanged,
)
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import RoomId
from protocol.signaling import IceServers, Leave, QueuePosition, WorkerAssigned, WorkerPresent
from protocol.status import Role
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.common.nurseries import open_background_nursery
from rtc.config.load import Config
from rtc.runtime.root import handle_signals, run_root, stop_when
from rtc.runtime.signaling_runtime import SignalingRuntime
from rtc.terminal.worker_table import as_table, json_text, table_width


@frozen
class ListOptions:
    """What somebody who looks into a room may say."""

    config: Config
    room: RoomId
    token: str = field(repr=False)
    json: bool = False


def look(options: ListOptions, *, secrets: tuple[str | None, ...] = ()) -> int:
    """Print the room's workers; returns the exit code."""
    return run_root("client", partial(_supervise, options), secrets=(options.token, *secrets))


async def _supervise(options: ListOptions) -> int:
    """The program, and signals beside it: any one ends it."""
    interrupted = trio.Event()
    code = ExitCode.INTERRUPTED
    scope = trio.CancelScope()
    async with open_background_nursery() as background:
        await background.start(handle_signals, interrupted, scope)
        background.start_soon(stop_when, interrupted, scope)
        with scope:
            workers = await list_workers(options.config, options.room, options.token)
            _show(workers, as_json=options.json)
            code = ExitCode.DONE
    return code


def _show(workers: tuple[WorkerPresent, ...], *, as_json: bool) -> None:
    LineWriter(sys.stdout).write(json_text(workers) if as_json else as_table(workers, table_width(sys.stdout)))


@define
class _Look:
    """What was seen so far."""

    signaling: SignalingRuntime
    workers: tuple[WorkerPresent, ...] = ()
    fault: Fault | None = None
    inside: bool = False
    done: trio.Event = field(factory=trio.Event)

    def entered(self, _event: JoinedRoom) -> None:
        """Ask to leave at once: a long list comes in parts, and the server closes the line after the last of them."""
        self.inside = True
        self.signaling.say(SendToServer(Leave()))

    def shut_out(self, event: JoinFailed) -> None:
        """The room stays shut."""
        self.fault = event.fault
        self.done.set()

    def roster(self, event: WorkersChanged) -> None:
        """More of the list."""
        self.workers = event.workers

    def line_down(self, _event: ServerDisconnected) -> None:
        """All has been said; before we were in, it is Discovery that decides how long to try."""
        if self.inside:
            self.done.set()


async def list_workers(config: Config, room: RoomId, token: str) -> tuple[WorkerPresent, ...]:
    """The workers of a room, most GPU memory first.

    Raises:
        RtcError: ROOM_DENIED, ROOM_FULL, VERSION or SERVER_LOST.
    """
    router = Router({})
    seen = _Look(SignalingRuntime(config, router))
    async with trio.open_nursery() as nursery:
        router.routes = _routes(seen)
        await nursery.start(router.run)
        await seen.signaling.open(nursery, nursery)
        router.outbox.put(JoinRoom(RoomCredentials(Role.CLIENT, room, token), config.connection_timeout))
        with trio.move_on_after(2 * config.connection_timeout):  # to get in, and to hear the list to its end
            await seen.done.wait()
        nursery.cancel_scope.cancel()
    if seen.fault is not None:
        raise RtcError.of(seen.fault)
    if not seen.done.is_set():
        raise RtcError(FaultCode.SERVER_LOST, "The server did not tell the room's list to its end. Try again.")
    return seen.workers


def _routes(seen: _Look) -> dict[type, Any]:
    """Nothing that comes from outside may find no taker, whatever we asked for."""
    unasked: tuple[type, ...] = (LinkRequested, LinkAnswered, LinkRefused, WorkerAssigned, QueuePosition, IceServers)
    routes = dict.fromkeys(unasked, ()) | seen.signaling.routes()
    routes[ServerDisconnected] = (*routes[ServerDisconnected], seen.line_down)
    return routes | {JoinedRoom: (seen.entered,), JoinFailed: (seen.shut_out,), WorkersChanged: (seen.roster,)}

"""Runs the workers of one process in a terminal: a single one or one per GPU, and the embedded server of `--serve`."""

import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import trio
from attrs import define, evolve, field

from protocol.faults import Fault
from protocol.fields import one_line
from rtc.common.errors import RtcError
from rtc.common.gpu import GpuFacts
from rtc.common.job_variables import describe_passed
from rtc.common.line_writer import LineWriter
from rtc.config.credentials import WORKER_NAME_MAX
from rtc.runtime.room_keys import LastingSecret
from rtc.runtime.root import print_error
from rtc.transport.webrtc import AsyncioLoop
from rtc.worker.banner import fleet_banner, worker_banner
from rtc.worker.embedded_server import EmbeddedServer, ServerOptions, open_embedded_server
from rtc.worker.program import WorkerOptions, run_worker
from rtc.worker.room_membership import WorkerReady

FleetReady = tuple[WorkerReady, ...]
"""All workers of the fleet, after each of them has joined the room."""
BASE_NAME_MAX = WORKER_NAME_MAX - len("-99")
"""Maximum number of characters of the common name, so that the numbered names fit into `WorkerFacts.name` (64)."""


async def serve(
    options: WorkerOptions,
    asyncio_loop: AsyncioLoop,
    drain: trio.Event,
    *,
    gpus: Sequence[GpuFacts] | None = None,
    server: ServerOptions | None = None,
    joined: Callable[[FleetReady], None] = lambda _ready: None,
) -> None:
    """Run workers in a terminal: print a banner once they have joined the room, then a line for each event.

    Args:
        options: the options of each worker.
        asyncio_loop: the loop that runs aiortc.
        drain: setting it asks the workers to end when they are free.
        gpus: run one worker for each of these, or one for the CPU if it is empty. None: run one worker.
        server: run an embedded server with these options, and use it.
        joined: called after the banner was printed.

    Raises:
        RtcError: a worker or the server could not start, or a worker lost its membership of the room.
    """
    lines = LineWriter(sys.stdout)
    if gpus is not None and not gpus:
        lines.say("No GPU was found here, so one worker offers the CPU.")
    for text in describe_passed(options.all_passed, os.environ):
        lines.say(text)
    async with AsyncExitStack() as stack:
        if server is not None:
            embedded = await stack.enter_async_context(open_embedded_server(server, options.config))
            _say_server_started(lines, embedded)
            options = evolve(options, config=embedded.config, address=embedded.address)

        async def show_ready(ready: FleetReady) -> None:
            await _show_ready(lines, options, ready)
            joined(ready)

        fleet_options = (options,) if gpus is None else options_per_gpu(options, gpus)
        await run_fleet(
            fleet_options,
            asyncio_loop=asyncio_loop,
            drain=drain,
            say=partial(_say_with_time, lines),
            joined=show_ready,
        )


def options_per_gpu(options: WorkerOptions, gpus: Sequence[GpuFacts]) -> tuple[WorkerOptions, ...]:
    """Return the options of one worker per GPU, with numbered names; without any GPU those of one CPU worker.

    All of them use one finder of secrets: the second worker joins the room of the first one, which may have been given
    its secret for a room that is gone.
    """
    options = evolve(options, find_secret=LastingSecret(options.find_secret))
    if len(gpus) < 2:
        return (evolve(options, gpus=tuple(gpus)),)
    name = one_line(options.name or socket.gethostname(), BASE_NAME_MAX)
    named = ((f"{name}-{number}", gpu) for number, gpu in enumerate(gpus))
    workers = [evolve(options, gpus=(gpu,), name=each, prefix=f"[{each}] ") for each, gpu in named]
    return (workers[0], *(evolve(worker, nearby=False) for worker in workers[1:]))  # they have one room


@define
class _Member:
    """One worker of the fleet."""

    options: WorkerOptions
    ready: WorkerReady | None = None
    fault: Fault | None = None
    """Why it failed."""
    settled: trio.Event = field(factory=trio.Event)
    """Set when it has joined the room, or has ended."""

    def joined(self, ready: WorkerReady) -> None:
        self.ready = ready
        self.settled.set()


async def run_fleet(
    fleet_options: Sequence[WorkerOptions],
    *,
    asyncio_loop: AsyncioLoop,
    drain: trio.Event,
    say: Callable[[str], None],
    joined: Callable[[FleetReady], Awaitable[None]],
) -> None:
    """Run all of these workers in one room until each is drained.

    The first worker creates the room if its options name none, and the others join it. `joined` is called once all have
    joined. A worker that loses its membership later ends, and the others go on. On cancellation, running jobs are
    treated as in `run_worker`.

    Raises:
        RtcError: one of them could not start, or it lost its membership of the room and could not join again.
    """
    members: list[_Member] = []
    async with trio.open_nursery() as nursery:
        for options in fleet_options:
            member = _Member(_with_first_room(options, members))
            members.append(member)
            nursery.start_soon(_run_member, member, asyncio_loop, drain, say)
            await member.settled.wait()
            if member.ready is None:  # drained before it had joined, or it could not join
                if member.fault is not None:
                    nursery.cancel_scope.cancel()
                break
        else:
            await joined(tuple(member.ready for member in members if member.ready is not None))
    for member in members:
        if member.fault is not None:
            raise RtcError.of(member.fault)


def _with_first_room(options: WorkerOptions, members: Sequence[_Member]) -> WorkerOptions:
    """Return these options with the room of the first worker, if that one has joined."""
    if not members or members[0].ready is None:
        return options
    return evolve(options, room=members[0].ready.room, token=members[0].ready.token)


async def _run_member(
    member: _Member, asyncio_loop: AsyncioLoop, drain: trio.Event, say: Callable[[str], None]
) -> None:
    """Run one worker, and save its fault if it fails."""
    try:
        await run_worker(member.options, asyncio_loop=asyncio_loop, drain=drain, say=say, joined=member.joined)
    except RtcError as error:
        member.fault = error.fault
    finally:
        member.settled.set()


# -------- in a terminal


def _say_with_time(lines: LineWriter, text: str) -> None:
    lines.say(f"{time.strftime('%H:%M:%S')}  {text}")


def _say_server_started(lines: LineWriter, embedded: EmbeddedServer) -> None:
    lines.say(f"Server started. Others reach it at {embedded.address} (HTTP: {embedded.http_address}).")
    if embedded.loopback_only:
        print_error(
            "Only this machine can reach that address, so clients elsewhere cannot find this worker. "
            "Connect the machine to a network, or name an address of it with --serve-host."
        )


async def _show_ready(lines: LineWriter, options: WorkerOptions, ready: FleetReady) -> None:
    """Print the banner, with a short code; before it, what a person may mean who has secrets of other rooms here."""
    first = ready[0]
    about_others = None if first.has_secret else options.about_other_secrets(first.room)
    if about_others is not None:
        print_error(about_others)
    server, has_secret, code = first.session.server or "", first.has_secret, await first.make_code()
    if len(ready) == 1:
        session = first.session.write()
        text = worker_banner(first.facts, first.room, first.token, session, server, has_secret=has_secret, code=code)
    else:
        workers = [(each.facts, each.session.write()) for each in ready]
        text = fleet_banner(workers, first.room, first.token, server, has_secret=has_secret, code=code)
    lines.say(text)

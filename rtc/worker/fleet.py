"""The worker program: one worker, or one for each GPU; perhaps with a server of its own beside them."""

import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import trio
from attrs import define, evolve, field

from protocol.faults import Fault
from rtc.common.errors import RtcError
from rtc.common.gpu import NO_GPU, GpuFacts
from rtc.common.line_writer import LineWriter
from rtc.runtime.root import complain
from rtc.transport.webrtc import AsyncioLoop
from rtc.worker.banner import fleet_banner, worker_banner
from rtc.worker.embedded_server import Embedded, ServerOptions, open_embedded
from rtc.worker.program import WorkerOptions, run_worker
from rtc.worker.room_membership import WorkerReady

Ready = tuple[WorkerReady, ...]
WORKER_NAME_MAX = 64 - len("-99")
"""Characters of a fleet's name, so that its workers' names fit into `WorkerFacts.name`."""


async def serve(
    options: WorkerOptions,
    asyncio_loop: AsyncioLoop,
    drain: trio.Event,
    *,
    gpus: Sequence[GpuFacts] | None = None,
    server: ServerOptions | None = None,
) -> None:
    """Run workers in a terminal: a banner once they are in the room, and what happens, line by line.

    Args:
        order: what holds for each of them.
        bridge: the asyncio room.
        drain: asks them to end when they are free.
        gpus: one worker for each of these, or one for the CPU when there is none. Without it, one worker.
        server: run this server as well, and use it.
    """
    lines = LineWriter(sys.stdout)
    if gpus is not None and not gpus:
        lines.say("No GPU was found here, so one worker offers the CPU.")
    async with AsyncExitStack() as stack:
        if server is not None:
            embedded = await stack.enter_async_context(open_embedded(server, options.config))
            _introduce(lines, embedded)
            options = evolve(options, config=embedded.config, address=embedded.address)
        fleet_options = (options,) if gpus is None else one_for_each(options, gpus)
        await run_fleet(
            fleet_options,
            asyncio_loop=asyncio_loop,
            drain=drain,
            say=partial(_stamped, lines),
            joined=partial(_banner, lines),
        )


def one_for_each(options: WorkerOptions, gpus: Sequence[GpuFacts]) -> tuple[WorkerOptions, ...]:
    """The same order for each of these GPUs, under numbered names; no GPU means one worker without."""
    if len(gpus) < 2:
        return (evolve(options, gpu=gpus[0] if gpus else NO_GPU),)
    name = (options.name or socket.gethostname())[:WORKER_NAME_MAX]
    named = ((f"{name}-{number}", gpu) for number, gpu in enumerate(gpus))
    return tuple(evolve(options, gpu=gpu, name=each, prefix=f"[{each}] ") for each, gpu in named)


@define
class _Member:
    """One worker of the fleet."""

    options: WorkerOptions
    ready: WorkerReady | None = None
    fault: Fault | None = None
    settled: trio.Event = field(factory=trio.Event)
    """It is in the room, or it has ended."""

    def joined(self, ready: WorkerReady) -> None:
        self.ready = ready
        self.settled.set()


async def run_fleet(
    fleet_options: Sequence[WorkerOptions],
    *,
    asyncio_loop: AsyncioLoop,
    drain: trio.Event,
    say: Callable[[str], None],
    joined: Callable[[Ready], None],
) -> None:
    """Serve one room with all of these workers until each is drained. Cancelling ends running jobs as well.

    The first makes the room if its order names none; the others join it. `joined` is told once all are in. A worker
    whose place is lost later ends; the others go on.

    Raises:
        RtcError: one of them could not begin, or its room was taken from it.
    """
    members: list[_Member] = []
    async with trio.open_nursery() as nursery:
        for options in fleet_options:
            member = _Member(_beside(options, members))
            members.append(member)
            nursery.start_soon(_work, member, asyncio_loop, drain, say)
            await member.settled.wait()
            if member.ready is None:  # drained before it was in, or not let in
                if member.fault is not None:
                    nursery.cancel_scope.cancel()
                break
        else:
            joined(tuple(member.ready for member in members if member.ready is not None))
    for member in members:
        if member.fault is not None:
            raise RtcError.of(member.fault)


def _beside(options: WorkerOptions, members: Sequence[_Member]) -> WorkerOptions:
    """The order, for the room that the first of us is in."""
    if not members or members[0].ready is None:
        return options
    return evolve(options, room=members[0].ready.room, token=members[0].ready.token)


async def _work(member: _Member, asyncio_loop: AsyncioLoop, drain: trio.Event, say: Callable[[str], None]) -> None:
    try:
        await run_worker(member.options, asyncio_loop=asyncio_loop, drain=drain, say=say, joined=member.joined)
    except RtcError as error:
        member.fault = error.fault
    finally:
        member.settled.set()


# -------- in a terminal


def _stamped(lines: LineWriter, text: str) -> None:
    lines.say(f"{time.strftime('%H:%M:%S')}  {text}")


def _introduce(lines: LineWriter, embedded: Embedded) -> None:
    lines.say(f"Server started. Others reach it at {embedded.address} (HTTP: {embedded.http_address}).")
    if embedded.only_here:
        complain(
            "Only this machine can reach that address, so clients elsewhere cannot find this worker. "
            "Connect the machine to a network, or name an address of it with --serve-host."
        )


def _banner(lines: LineWriter, ready: Ready) -> None:
    first = ready[0]
    server = first.session.server or ""
    if len(ready) == 1:
        text = worker_banner(first.facts, first.room, first.token, first.session.write(), server)
    else:
        workers = [(each.facts, each.session.write()) for each in ready]
        text = fleet_banner(workers, first.room, first.token, server)
    lines.say(text)

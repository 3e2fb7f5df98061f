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
from rtc.common.line_writer import Lines
from rtc.runtime.root import complain
from rtc.transport.webrtc import Bridge
from rtc.worker.banner import fleet_banner, worker_banner
from rtc.worker.embedded_server import Embedded, ServerOrder, open_embedded
from rtc.worker.program import WorkerOrder, run_worker
from rtc.worker.room_membership import WorkerReady

Ready = tuple[WorkerReady, ...]
NAME_MAX = 64 - len("-99")
"""Characters of a fleet's name, so that its workers' names fit into `WorkerFacts.name`."""


async def serve(
    order: WorkerOrder,
    bridge: Bridge,
    drain: trio.Event,
    *,
    gpus: Sequence[GpuFacts] | None = None,
    server: ServerOrder | None = None,
) -> None:
    """Run workers in a terminal: a banner once they are in the room, and what happens, line by line.

    Args:
        order: what holds for each of them.
        bridge: the asyncio room.
        drain: asks them to end when they are free.
        gpus: one worker for each of these, or one for the CPU when there is none. Without it, one worker.
        server: run this server as well, and use it.
    """
    lines = Lines(sys.stdout)
    if gpus is not None and not gpus:
        lines.say("No GPU was found here, so one worker offers the CPU.")
    async with AsyncExitStack() as stack:
        if server is not None:
            embedded = await stack.enter_async_context(open_embedded(server, order.config))
            _introduce(lines, embedded)
            order = evolve(order, config=embedded.config, address=embedded.address)
        orders = (order,) if gpus is None else one_for_each(order, gpus)
        await run_fleet(
            orders, bridge=bridge, drain=drain, say=partial(_stamped, lines), entered=partial(_banner, lines)
        )


def one_for_each(order: WorkerOrder, gpus: Sequence[GpuFacts]) -> tuple[WorkerOrder, ...]:
    """The same order for each of these GPUs, under numbered names; no GPU means one worker without."""
    if len(gpus) < 2:
        return (evolve(order, gpu=gpus[0] if gpus else NO_GPU),)
    name = (order.name or socket.gethostname())[:NAME_MAX]
    named = ((f"{name}-{number}", gpu) for number, gpu in enumerate(gpus))
    return tuple(evolve(order, gpu=gpu, name=each, prefix=f"[{each}] ") for each, gpu in named)


@define
class _Member:
    """One worker of the fleet."""

    order: WorkerOrder
    ready: WorkerReady | None = None
    fault: Fault | None = None
    settled: trio.Event = field(factory=trio.Event)
    """It is in the room, or it has ended."""

    def entered(self, ready: WorkerReady) -> None:
        self.ready = ready
        self.settled.set()


async def run_fleet(
    orders: Sequence[WorkerOrder],
    *,
    bridge: Bridge,
    drain: trio.Event,
    say: Callable[[str], None],
    entered: Callable[[Ready], None],
) -> None:
    """Serve one room with all of these workers until each is drained. Cancelling ends running jobs as well.

    The first makes the room if its order names none; the others join it. `entered` is told once all are in. A worker
    whose place is lost later ends; the others go on.

    Raises:
        RtcError: one of them could not begin, or its room was taken from it.
    """
    members: list[_Member] = []
    async with trio.open_nursery() as nursery:
        for order in orders:
            member = _Member(_beside(order, members))
            members.append(member)
            nursery.start_soon(_work, member, bridge, drain, say)
            await member.settled.wait()
            if member.ready is None:  # drained before it was in, or not let in
                if member.fault is not None:
                    nursery.cancel_scope.cancel()
                break
        else:
            entered(tuple(member.ready for member in members if member.ready is not None))
    for member in members:
        if member.fault is not None:
            raise RtcError.of(member.fault)


def _beside(order: WorkerOrder, members: Sequence[_Member]) -> WorkerOrder:
    """The order, for the room that the first of us is in."""
    if not members or members[0].ready is None:
        return order
    return evolve(order, room=members[0].ready.room, token=members[0].ready.token)


async def _work(member: _Member, bridge: Bridge, drain: trio.Event, say: Callable[[str], None]) -> None:
    try:
        await run_worker(member.order, bridge=bridge, drain=drain, say=say, entered=member.entered)
    except RtcError as error:
        member.fault = error.fault
    finally:
        member.settled.set()


# -------- in a terminal


def _stamped(lines: Lines, text: str) -> None:
    lines.say(f"{time.strftime('%H:%M:%S')}  {text}")


def _introduce(lines: Lines, embedded: Embedded) -> None:
    lines.say(f"Server started. Others reach it at {embedded.address} (HTTP: {embedded.http_address}).")
    if embedded.only_here:
        complain(
            "Only this machine can reach that address, so clients elsewhere cannot find this worker. "
            "Connect the machine to a network, or name an address of it with --serve-host."
        )


def _banner(lines: Lines, ready: Ready) -> None:
    first = ready[0]
    server = first.session.server or ""
    if len(ready) == 1:
        text = worker_banner(first.facts, first.room, first.token, first.session.write(), server)
    else:
        workers = [(each.facts, each.session.write()) for each in ready]
        text = fleet_banner(workers, first.room, first.token, server)
    lines.say(text)

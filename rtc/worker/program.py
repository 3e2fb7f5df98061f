"""The worker program: one GPU, offered to a room."""

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import field, frozen

from actors.actor import Actor
from actors.events import (
    AtWindow,
    Cancel,
    Deliver,
    Drain,
    EnterFailed,
    Follow,
    FollowEnded,
    Forget,
    Heard,
    JobOver,
    JobsKnown,
    JobTakenUp,
    LinkLost,
    LookUp,
    Offered,
    PackageFailed,
    PackageReceived,
    Prepare,
    Receive,
    RecordFound,
    ResultGone,
    StartJob,
    StatusIs,
    StopEarly,
    Submitted,
    Supply,
    Taken,
    Ticket,
    Trusted,
)
from actors.router import Route
from actors.worker import WORKER
from actors.worker_events import Hold
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, RoomId
from protocol.jobs import SubmitJob
from protocol.status import Role, Status, WorkerFacts
from protocol.trust import Secret
from rtc.common.errors import RtcError
from rtc.common.gpu import GpuFacts, read_gpu
from rtc.common.version import VERSION
from rtc.config.load import Config
from rtc.runtime.peer_runtime import House, Routes, open_house
from rtc.sleap_nn.commands import Accelerator, find_sleap_nn, sleap_nn_version
from rtc.transport.webrtc import Bridge
from rtc.worker.event_log import Narrator
from rtc.worker.gpu_monitor import Gauge
from rtc.worker.job import Bench
from rtc.worker.job_database import Records, open_records
from rtc.worker.job_manager import Desk
from rtc.worker.job_sessions import Window
from rtc.worker.room_identity import Identity, Place, open_identity
from rtc.worker.room_membership import Doorman, WorkerReady

log = logging.getLogger("rtc.worker")

PACKAGE_MAX = 100 * 10**9
"""Bytes of the largest package taken; the same bound as for what it unpacks to."""
DAY = 86400.0
KEY_BYTES = 24
"""Of a job's key: 192 random bits."""
STOPPED = Fault(FaultCode.CANCELLED, "The worker was stopped, and the job with it; what it had made is kept there.")


@frozen
class WorkerOrder:
    """What somebody who starts a worker may say."""

    config: Config
    room: RoomId | None = None
    token: str | None = field(default=None, repr=False)
    secret: Secret | None = None
    name: str | None = None
    work: Path = field(factory=lambda: Path.home() / ".sleap-rtc" / "work")
    results: Path = field(factory=lambda: Path.home() / ".sleap-rtc" / "results")
    sleap_nn: str | None = None
    package_max: int = PACKAGE_MAX
    gpu: GpuFacts | None = None
    """The one that jobs get to see; without it, the one that CUDA would use."""
    address: str | None = None
    """The server's WebSocket address for others, where it is not the one that we use ourselves."""
    jobs_end_too: bool = False
    """Jobs never outlive this worker; otherwise only somebody's wish that it stops ends them."""
    prefix: str = ""
    """Put before all that this worker says, where several speak in one terminal."""

    @property
    def shown_address(self) -> str:
        """Where others find the server."""
        return self.address or self.config.signaling_websocket


async def run_worker(
    order: WorkerOrder,
    *,
    bridge: Bridge,
    drain: trio.Event,
    say: Callable[[str], None],
    entered: Callable[[WorkerReady], None] | None = None,
    task_status: trio.TaskStatus[WorkerReady] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a room until drained. Cancelling ends a running job as well.

    `entered`, or else `task_status`, is told once the worker is in its room.

    Raises:
        RtcError: the worker could not begin, or its room was taken from it.
    """
    sleap_nn = find_sleap_nn(order.sleap_nn)
    for folder in (order.work, order.results):
        _make_private(folder)
    gpu = order.gpu or read_gpu()
    bench = _bench(order, gpu, sleap_nn)
    async with open_records(order.results) as records:
        with open_identity(order.results, bench.name, bench.gpu) as identity:
            start = partial(_serve, order, gpu, bench, records, identity, bridge=bridge, drain=drain, say=say)
            started = entered or task_status.started
            place = await _old_place(order, records, identity)
            if identity.descriptor is None and await records.awaited():
                say("Another worker of this name is still here, so this one gets a name of its own in the room.")
            try:
                await start(place, started)
            except RtcError as error:
                if place is None or error.fault.code is not FaultCode.ROOM_DENIED:
                    raise
                say("The room that this worker had is gone from the server; jobs' owners must be told the new one.")
                await start(None, started)


async def _old_place(order: WorkerOrder, records: Records, identity: Identity) -> Place | None:
    """The place that an earlier worker of ours had, when there is somebody who may look for us there."""
    place = identity.read()
    if place is None or place.server != order.config.signaling_websocket or order.room not in (None, place.room):
        return None
    return place if order.room is not None or await records.awaited() else None


async def _serve(
    order: WorkerOrder,
    gpu: GpuFacts,
    bench: Bench,
    records: Records,
    identity: Identity,
    place: Place | None,
    started: Callable[[WorkerReady], None],
    *,
    bridge: Bridge,
    drain: trio.Event,
    say: Callable[[str], None],
) -> None:
    """One stay in a room, from the jobs that earlier workers have left to the last good-bye."""
    desk: Desk | None = None
    window: Window | None = None

    async def heard(house: House, link: LinkId, message: Any) -> None:
        at_window = window is not None and window.has(link)
        await house.router.outbox.admit(Heard(link, message) if at_window else _as_wish(link, message))

    async with open_house(
        bridge=bridge,
        config=order.config,
        role=Role.WORKER,
        secret=order.secret,
        heard=heard,
        stopping=STOPPED,
        tap=Narrator(say, order.prefix).tap,
    ) as house:
        worker = Actor(WORKER, Hold(), house.router.outbox)
        desk = Desk(bench, house.links, house.router, records, lambda: order.jobs_end_too or drain.is_set())
        window = Window(desk, house.links, house.router, records, order.config.chunk_size)
        house.route(_routes(worker.inbox.put, desk, window))
        await house.adapters.start(desk.run)
        await house.adapters.start(window.run)
        await house.actors.start(worker.run)
        status = Status.BUSY if await desk.take_up() else Status.AVAILABLE
        facts = _facts(order, gpu, status)
        config, address = order.config, order.shown_address
        doorman = Doorman(config, address, order.room, order.token, facts, identity, place, house, started, say)
        house.route(doorman.routes())
        if gpu.uuid is not None:
            await _watch_memory(house, gpu, gpu.uuid)
        house.actors.start_soon(house.drain_when, drain)
        doorman.knock()
        await house.finished.wait()
        fault = house.last.fault
    if fault is not None:
        raise RtcError.of(fault)


def _routes(worker: Route, desk: Desk, window: Window) -> Routes:
    def heard(event: Heard) -> None:
        take = window.hear if window.has(event.link) else worker
        take(event)

    to_worker = (Offered, Submitted, PackageReceived, PackageFailed, JobOver, JobTakenUp, JobsKnown, EnterFailed)
    to_visit = (RecordFound, FollowEnded, ResultGone)
    return (
        dict.fromkeys(to_worker, (worker,))
        | dict.fromkeys(to_visit, (window.hear,))
        | {
            Heard: (heard,),
            AtWindow: (window.passed_on,),
            Trusted: (worker, window.hear),
            LinkLost: (worker, window.lost),
            Drain: (worker, window.drain),
            Prepare: (desk.prepare,),
            StartJob: (desk.start,),
            Supply: (worker, desk.supply),
            StopEarly: (desk.stop_early,),
            Cancel: (desk.cancel,),
            Forget: (desk.forget,),
            Taken: (desk.taken,),
            Receive: (window.receive,),
            LookUp: (window.look_up,),
            Follow: (window.follow,),
            Deliver: (window.deliver,),
        }
    )


def _as_wish(link: LinkId, message: Any) -> Submitted | Heard:
    """A wish for a job gets a fresh ticket, to be used if it is granted."""
    if not isinstance(message, SubmitJob):
        return Heard(link, message)
    stamp = time.strftime("%y%m%d-%H%M%S", time.gmtime())
    ticket = Ticket(JobId(f"job-{stamp}-{secrets.token_hex(4)}"), secrets.token_urlsafe(KEY_BYTES))
    return Submitted(link, message, ticket)


def _facts(order: WorkerOrder, gpu: GpuFacts, status: Status) -> WorkerFacts:
    hostname = socket.gethostname()
    return WorkerFacts(
        status=status,
        name=order.name or hostname[:64],
        hostname=hostname,
        gpu=gpu.name,
        memory_mb=gpu.memory_mb,
        sleap_nn=sleap_nn_version() or "unknown",
        cuda=gpu.cuda,
        version=VERSION,
        free_mb=gpu.free_mb,
    )


def _bench(order: WorkerOrder, gpu: GpuFacts, sleap_nn: Path) -> Bench:
    accelerator: Accelerator = "auto" if gpu.memory_mb else "cpu"
    chunk = order.config.chunk_size
    return Bench(
        order.work,
        order.results,
        sleap_nn,
        accelerator,
        gpu.uuid,
        chunk,
        order.package_max,
        name=order.name or socket.gethostname()[:64],
        keep_time=order.config.keep_days * DAY,
        keep_bytes=int(order.config.keep_gigabytes * 10**9),
    )


async def _watch_memory(house: House, gpu: GpuFacts, uuid: str) -> None:
    gauge = Gauge(lambda: read_gpu(uuid).free_mb, house.post, gpu.free_mb)
    house.route({StatusIs: (gauge.look,)})
    await house.adapters.start(gauge.run)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        hint = "Choose another with --work-dir or --results-dir."
        raise RtcError(
            FaultCode.USAGE, f"The folder {folder.name!r} cannot be used ({error.strerror}). {hint}"
        ) from None

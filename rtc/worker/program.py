"""Runs one worker, which offers one GPU, or several together, to the clients of a room."""

import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import evolve, field, frozen

from actors.events import (
    Authenticated,
    Drain,
    JobAdopted,
    JobCredential,
    JobFinished,
    JobSubmitted,
    JoinFailed,
    LinkLost,
    LinkRequested,
    PackageFailed,
    PackageReceived,
    PeerMessage,
    SessionsEnded,
    StatusChanged,
    SupplyPackage,
)
from actors.worker import WORKER, WorkerData
from protocol.faults import Fault, FaultCode
from protocol.fields import word
from protocol.ids import JobId, LinkId, RoomId
from protocol.invitations import InvitedRoom
from protocol.jobs import SubmitJob
from protocol.status import Role, Status, WorkerFacts
from rtc.common.errors import RtcError
from rtc.common.file_system import Feature, find_missing, has_locks
from rtc.common.full_disk import is_full_disk
from rtc.common.gpu import NO_GPU, GpuFacts, combine, read_gpu, read_gpus
from rtc.common.private_folder import make_private_folder
from rtc.common.size_limits import PACKAGE_MAX
from rtc.common.stories import make_actor
from rtc.common.version import VERSION
from rtc.config.folders import find_folders, shown_path
from rtc.config.load import Config
from rtc.invitations.code_inviter import CodeInviter
from rtc.runtime.peer_runtime import PeerRuntime, open_peer_runtime
from rtc.runtime.room_keys import LastingSecret, SecretFinder, find_keys, no_secret
from rtc.sleap_nn.commands import Accelerator, find_sleap_nn, version_of
from rtc.sleap_nn.torch_build import find_torch_build, why_unusable
from rtc.transport.webrtc import AsyncioLoop
from rtc.worker.banner import invite_command
from rtc.worker.code_report import WorkerCodeReport
from rtc.worker.event_log import EventLog
from rtc.worker.gpu_monitor import GpuMonitor
from rtc.worker.job import RunnerConfig
from rtc.worker.job_database import DAY, JobDatabase, open_job_database
from rtc.worker.job_manager import JobManager
from rtc.worker.job_sessions import JobSessions
from rtc.worker.membership_file import MembershipFile, SavedMembership, open_membership_file
from rtc.worker.nearby import start_nearby
from rtc.worker.room_membership import RoomMembership, WorkerReady

log = logging.getLogger("rtc.worker")

KEY_BYTES = 24
"""Random bytes in a job's key: 192 bits."""
FOR_WORKER = (
    *(LinkRequested, Authenticated, JobSubmitted, PeerMessage, LinkLost),
    *(SupplyPackage, PackageReceived, PackageFailed, JobAdopted, JobFinished, SessionsEnded),
    *(JoinFailed, Drain),
)
"""The types of events for the Worker actor: about links, about jobs and sessions, and from the room and the person."""
PROOF_GONE = (
    "This worker asked for the room secret of {room} when it last ran, and none is here now. Give it with "
    "--room-secret-file FILE; or name the room, with --room or with --room-id and --token, to serve it without a "
    "secret."
)
NO_GPU_OFFERED = "{problem} Until then this worker offers no GPU, and jobs run on its CPU, slowly."
JOBS_ARE_NOT_ADOPTED = (
    "The work folder {folder} is on a file system without locks: if this worker ends, no other can go on with its "
    "jobs. Choose one on a local disk with --work-dir."
)
STOPPED = Fault(FaultCode.CANCELLED, "The worker was stopped, and the job with it; what it had made is kept there.")


@frozen
class WorkerOptions:
    """The options of one worker."""

    config: Config
    room: RoomId | None = None
    """The room to join; None to rejoin the earlier one if its jobs need that, or to create one."""
    token: str | None = field(default=None, repr=False)
    find_secret: SecretFinder = no_secret
    """Finds the room secret that clients must prove; without one, clients are accepted without a proof."""
    require_secret: bool = False
    """Do not start without a room secret."""
    about_other_secrets: Callable[[RoomId], str | None] = lambda _room: None
    """Returns a sentence about secrets of other rooms that are here, for a worker whose room has none."""
    about_lost_secret: Callable[[RoomId], str | None] = lambda _room: None
    """Returns sentences for a room whose secret has vanished, so that it is not served without one."""
    name: str | None = None
    """The worker's name in the room; by default the hostname."""
    work: Path = field(factory=lambda: find_folders().work)
    results: Path = field(factory=lambda: find_folders().results)
    sleap_nn: str | None = None
    """The sleap-nn program that the person named; None to search for it."""
    package_max: int = PACKAGE_MAX
    """Bytes of the largest package that is accepted; its unpacked files have the same limit."""
    pass_env: tuple[str, ...] = ()
    """Names of further environment variables that jobs get, besides those of the configuration."""
    gpus: tuple[GpuFacts, ...] | None = None
    """The GPUs that each job gets; none for the CPU, None for the one that CUDA would use."""
    address: str | None = None
    """The server's WebSocket address for other machines, if it differs from the one that this worker uses."""
    nearby: bool = False
    """Announce the worker in the local network, and ask the person at the terminal who may join its room."""
    stop_jobs_on_exit: bool = False
    """End running jobs whenever this worker ends. Otherwise they are ended only if it was asked to drain
    before."""
    watch: Callable[[str, Any], None] = lambda _name, _effect: None
    """Called with the worker's name and each of its events and effects."""
    prefix: str = ""
    """Written before each line that this worker prints, when several workers share a terminal."""

    @property
    def public_address(self) -> str:
        """The server's WebSocket address for other machines."""
        return self.address or self.config.signaling_websocket

    @property
    def all_passed(self) -> tuple[str, ...]:
        """The names of all environment variables that jobs get on request, each once."""
        return tuple(dict.fromkeys((*self.config.pass_env, *self.pass_env)))


async def run_worker(
    options: WorkerOptions,
    *,
    asyncio_loop: AsyncioLoop,
    drain: trio.Event,
    say: Callable[[str], None],
    joined: Callable[[WorkerReady], None] | None = None,
    task_status: trio.TaskStatus[WorkerReady] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a worker until it is drained.

    If it is cancelled, a running job goes on without it, unless `options.stop_jobs_on_exit` is true or `drain` is set.

    Args:
        options: the options of the worker.
        asyncio_loop: the loop that runs aiortc.
        drain: setting it asks the worker to end when it is free.
        say: prints a line for the person at the terminal.
        joined: called once the worker has joined its room; without it `task_status` is used.

    Raises:
        RtcError: the worker could not start, or it lost its membership of the room and could not join again.
    """
    sleap_nn = find_sleap_nn(options.sleap_nn)
    for folder, option, needed in (
        (options.work, "--work-dir", (Feature.FIFOS, Feature.SYMBOLIC_LINKS)),
        (options.results, "--results-dir", (Feature.LOCKS,)),
    ):
        await trio.to_thread.run_sync(_prepare_folder, folder, option, needed)
    if not await trio.to_thread.run_sync(has_locks, options.work):
        say(JOBS_ARE_NOT_ADOPTED.format(folder=shown_path(options.work)))
    gpus = _own_gpu() if options.gpus is None else options.gpus
    build = await trio.to_thread.run_sync(find_torch_build, sleap_nn)
    if problem := next((why for gpu in gpus if (why := why_unusable(gpu, build))), None):
        say(NO_GPU_OFFERED.format(problem=problem))
        gpus = ()
    runner_config = _runner_config(options, gpus, sleap_nn)
    find_secret = LastingSecret(options.find_secret, options.require_secret)
    async with open_job_database(options.results) as job_database:
        with open_membership_file(options.results, runner_config.name, runner_config.gpu_text) as membership_file:
            start = partial(
                _serve,
                find_secret,
                options,
                gpus,
                runner_config,
                job_database,
                membership_file,
                asyncio_loop=asyncio_loop,
                drain=drain,
                say=say,
            )
            on_ready = joined or task_status.started
            saved = await _saved_membership(options, job_database, membership_file)
            await _check_secret(find_secret, options, saved)
            if membership_file.descriptor is None and await job_database.has_open_jobs():
                say("Another worker of this name is still here, so this one gets a name of its own in the room.")
            try:
                await start(saved, on_ready)
            except RtcError as error:
                if saved is None or error.fault.code is not FaultCode.ROOM_DENIED:
                    raise
                say("The room that this worker had is gone from the server; jobs' owners must be told the new one.")
                await start(None, on_ready)


async def _saved_membership(
    options: WorkerOptions, job_database: JobDatabase, membership_file: MembershipFile
) -> SavedMembership | None:
    """Return the membership of the earlier worker of this name, if this worker should rejoin its room; otherwise None.

    It rejoins if the server is the same, and the person named that room, or named none while the owners of earlier jobs
    may still ask for them. A server that has moved is the same if the person named that room with its token.
    """
    saved = membership_file.read()
    if saved is None or options.room not in (None, saved.room):
        return None
    if saved.server != options.config.signaling_websocket:
        if (options.room, options.token) != (saved.room, saved.token):
            return None
        saved = evolve(saved, server=options.config.signaling_websocket)
    return saved if options.room is not None or await job_database.has_open_jobs() else None


async def _check_secret(find_secret: SecretFinder, options: WorkerOptions, saved: SavedMembership | None) -> None:
    """Check the room secret before the room is made or joined, so that a worker that may not start leaves no room.

    A worker that returns to its room by itself, and asked for a secret there, does not return without one: whoever
    starts it again may have forgotten an option. Nor does a worker serve a room whose secret has vanished.

    Raises:
        RtcError: USAGE: the secret cannot be read or used, or there must be one and there is none.
    """
    room = options.room if saved is None else saved.room
    found = await trio.to_thread.run_sync(find_secret, room)
    if found is None and saved is not None and saved.has_secret and options.room is None:
        raise RtcError(FaultCode.USAGE, PROOF_GONE.format(room=saved.room))
    if found is None and room is not None:
        lost = await trio.to_thread.run_sync(options.about_lost_secret, room)
        if lost is not None:
            raise RtcError(FaultCode.USAGE, lost)


async def _serve(
    find_secret: SecretFinder,
    options: WorkerOptions,
    gpus: tuple[GpuFacts, ...],
    runner_config: RunnerConfig,
    job_database: JobDatabase,
    membership_file: MembershipFile,
    saved: SavedMembership | None,
    on_ready: Callable[[WorkerReady], None],
    *,
    asyncio_loop: AsyncioLoop,
    drain: trio.Event,
    say: Callable[[str], None],
) -> None:
    """Run the worker's actors and adapters: adopt earlier jobs, join the room, and serve it until drained.

    Raises:
        RtcError: the fault with which the Worker finished.
    """
    async with open_peer_runtime(
        asyncio_loop=asyncio_loop,
        config=options.config,
        role=Role.WORKER,
        on_message=_receive,
        facts=_facts(options, gpus, runner_config.sleap_nn),
        goodbye_fault=STOPPED,
        tap=_tap_of(options, EventLog(say, options.prefix)),
    ) as runtime:
        links, router, config = runtime.links, runtime.router, options.config
        worker = make_actor(WORKER, WorkerData(), router.outbox)
        job_manager = JobManager(
            runner_config, links, router, job_database, lambda: options.stop_jobs_on_exit or drain.is_set(), say
        )
        job_sessions = JobSessions(job_manager, links, router, job_database, config.chunk_size)
        membership = RoomMembership(
            config,
            options.public_address,
            options.room,
            options.token,
            partial(find_keys, find_secret),
            membership_file,
            saved,
            runtime,
            on_ready,
            say,
        )
        code_report = WorkerCodeReport(say, options.prefix, partial(_invite_command, options, membership))
        invited_room = partial(_invited_room, options, find_secret, membership)
        code_inviter = CodeInviter(router, invited_room, code_report)
        membership.make_code = partial(code_report.first_code, code_inviter.invite)
        runtime.add_routes(dict.fromkeys(FOR_WORKER, (worker.inbox.put,)))
        for adapter in (job_manager, job_sessions, membership, code_inviter):
            runtime.add_routes(adapter.routes())
        await runtime.adapters.start(job_manager.run)
        await runtime.adapters.start(job_sessions.run)
        await runtime.adapters.start(code_inviter.run)
        if options.nearby:
            await start_nearby(runtime, invited_room, options.public_address, say, options.prefix)
        await runtime.actors.start(worker.run)
        await job_manager.adopt()
        if runner_config.gpus:
            await _watch_memory(runtime, runner_config.gpus)
        runtime.actors.start_soon(runtime.drain_when, drain)
        membership.join()
        await runtime.finished.wait()
        fault = runtime.outcome.fault
    if fault is not None:
        raise RtcError.of(fault)


def _tap_of(options: WorkerOptions, event_log: EventLog) -> Callable[[Any], None]:
    """Return the function that hears every event and effect of the worker."""
    name = options.name or socket.gethostname()

    def tap(effect: Any) -> None:
        event_log.tap(effect)
        options.watch(name, effect)

    return tap


async def _receive(runtime: PeerRuntime, link: LinkId, message: Any) -> None:
    """Pass on a message that came over a link which is not about a job yet."""
    await runtime.router.outbox.admit(_as_request(link, message))


def _as_request(link: LinkId, message: Any) -> JobSubmitted | PeerMessage:
    """Return the event for a peer's message; a submitted job gets a new id and key, which count if it is accepted."""
    if not isinstance(message, SubmitJob):
        return PeerMessage(link, message)
    stamp = time.strftime("%y%m%d-%H%M%S", time.gmtime())
    credential = JobCredential(JobId(f"job-{stamp}-{secrets.token_hex(4)}"), secrets.token_urlsafe(KEY_BYTES))
    return JobSubmitted(link, message, credential)


async def _invited_room(options: WorkerOptions, find_secret: SecretFinder, membership: RoomMembership) -> InvitedRoom:
    """Return the room that the worker is in, for somebody who has typed its code: with the secret, if it has one.

    Raises:
        RtcError: the secret cannot be read any more, or the worker is in no room now.
    """
    saved = membership.saved
    if saved is None:
        raise RtcError(FaultCode.ROOM_DENIED, "The worker is in no room now. Ask for a new code.")
    secret = await trio.to_thread.run_sync(find_secret, saved.room)
    text = None if secret is None else secret.text
    name = options.name or socket.gethostname()
    return InvitedRoom(options.public_address, saved.room, saved.token, text, name)


def _invite_command(options: WorkerOptions, membership: RoomMembership) -> str:
    """Return the command that makes a new code for the room that the worker is in, or was in last."""
    saved = membership.saved
    if saved is None:
        return "sleap-rtc room invite"
    return invite_command(saved.room, saved.token, options.public_address, has_secret=saved.has_secret)


def _own_gpu() -> tuple[GpuFacts, ...]:
    """Return the GPU that CUDA would use, if there is one."""
    found = read_gpu()
    return () if found == NO_GPU else (found,)


def _facts(options: WorkerOptions, gpus: tuple[GpuFacts, ...], sleap_nn: Path) -> WorkerFacts:
    """Return the worker's description of itself, before it has adopted any job."""
    gpu = combine(gpus)
    return WorkerFacts(
        status=Status.AVAILABLE,
        name=options.name or socket.gethostname(),
        hostname=socket.gethostname(),
        gpu=gpu.name,
        memory_mb=gpu.memory_mb,
        sleap_nn=version_of(sleap_nn) or "unknown",
        cuda=gpu.cuda,
        version=VERSION,
        free_mb=gpu.free_mb,
        gpus=len(gpus) if gpu.memory_mb else 0,
    )


def _runner_config(options: WorkerOptions, gpus: tuple[GpuFacts, ...], sleap_nn: Path) -> RunnerConfig:
    accelerator: Accelerator = "auto" if combine(gpus).memory_mb else "cpu"
    uuids = tuple(gpu.uuid for gpu in gpus if gpu.uuid is not None)
    chunk = options.config.chunk_size
    return RunnerConfig(
        options.work,
        options.results,
        sleap_nn,
        accelerator,
        uuids if len(uuids) == len(gpus) else None,
        chunk,
        options.package_max,
        name=word(options.name or socket.gethostname()),
        keep_time=options.config.keep_days * DAY,
        keep_bytes=int(options.config.keep_gigabytes * 10**9),
        pass_env=options.all_passed,
    )


async def _watch_memory(runtime: PeerRuntime, uuids: tuple[str, ...]) -> None:
    """Start a `GpuMonitor` for these GPUs, which also checks the memory at each change of the worker's status."""
    monitor = GpuMonitor(lambda: combine(read_gpus(uuids)).free_mb, runtime.post, lambda: runtime.facts)
    runtime.add_routes({StatusChanged: (monitor.check_now,)})
    await runtime.adapters.start(monitor.run)


def _prepare_folder(folder: Path, option: str, needed: Iterable[Feature]) -> None:
    """Create a folder that only this user can read, if it does not exist, and check that jobs can use it.

    Args:
        folder: the folder.
        option: the option with which a person chooses another.
        needed: what its file system must be able to do.

    Raises:
        RtcError: USAGE: it cannot be created or written, or its file system lacks something.
    """
    shown = shown_path(folder)
    try:
        make_private_folder(folder)
        missing = find_missing(folder, needed)
    except OSError as error:
        advice = f"{'Make room there, or choose' if is_full_disk(error) else 'Choose'} another with {option}."
        raise RtcError(FaultCode.USAGE, f"The folder {shown} cannot be used ({error.strerror}). {advice}") from None
    if missing is not None:
        text = (
            f"The folder {shown} is on a file system without {missing.value}. Choose one on a local disk with {option}."
        )
        raise RtcError(FaultCode.USAGE, text)

"""The client program: has one package run by a worker, or attaches to an earlier job, and fetches the result."""

import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio
from attrs import define, evolve

from actors.actor import Actor
from actors.client import CLIENT
from actors.client_events import ClientData
from actors.events import (
    Authenticated,
    CancelWanted,
    DownloadFailed,
    Drain,
    FetchResult,
    Finished,
    JobWanted,
    JoinedRoom,
    JoinFailed,
    LinkLost,
    LinkRefused,
    PackageSent,
    PeerMessage,
    ResultDownloaded,
    ResultUnpacked,
    RoomCredentials,
    SendJobKey,
    SendPackage,
    ShowWorkers,
    StopWanted,
    UploadFailed,
    WaitExpired,
    WorkerPicked,
    WorkersChanged,
)
from actors.router import Route
from protocol.faults import FaultCode
from protocol.jobs import JobKind, SubmitJob
from protocol.signaling import QueuePosition, WorkerAssigned
from protocol.status import Role
from rtc.client.file_transfers import FileTransfers
from rtc.client.options import ClientOptions, explain_for_job
from rtc.client.presenter import CANCELLED_BEFORE_JOB, Presenter
from rtc.client.result_folder import ResultFolder, choose_result_folder
from rtc.common.errors import EXIT_CODES, ExitCode, RtcError
from rtc.common.nurseries import is_cancellation
from rtc.packages.plan import inspect_package
from rtc.runtime.peer_runtime import PeerRuntime, Routes, open_peer_runtime
from rtc.runtime.root import print_error
from rtc.terminal import open_view
from rtc.terminal.interface import ClientView, Mode
from rtc.transport.files.file_names import safe_name
from rtc.transport.webrtc import AsyncioLoop

__all__ = ["ClientOptions", "ClientProgram", "run_client"]


@define
class ClientProgram:
    """One client with a view on standard output, which is a terminal or a pipe."""

    options: ClientOptions
    mode: Mode = Mode.NORMAL
    _presenter: Presenter | None = None

    async def run(self, asyncio_loop: AsyncioLoop, drain: trio.Event) -> None:
        """Run the client, and show what happens. When `drain` is set, the client leaves its job and ends.

        Raises:
            RtcError: as for `run_client`.
        """
        asks = self.options.on_interrupt is None
        with trio.CancelScope() as outcome_scope:
            async with open_view(terminal=sys.stdout.isatty(), mode=self.mode, out=sys.stdout, asks=asks) as view:
                self._presenter = Presenter(view, self.options, outcome_scope)
                await run_client(
                    self.options, asyncio_loop=asyncio_loop, view=view, drain=drain, presenter=self._presenter
                )

    def handle_signal(self, number: int) -> bool:
        """Handle a signal while a job runs: ask the person what it means, or do what `--on-interrupt` says.

        After SIGTERM the person is not asked: the client leaves, unless `--on-interrupt` says otherwise. A closed
        terminal (SIGHUP) makes the client leave, too.

        Args:
            number: the signal.

        Returns:
            Whether the signal was handled. False means that the client should leave.
        """
        handles = number == signal.SIGINT or (number == signal.SIGTERM and self.options.on_interrupt is not None)
        return handles and self._presenter is not None and self._presenter.handle_interrupt()

    def cancelled_exit_code(self) -> ExitCode:
        """Print whether a job stays on a worker after the client was cancelled, and return the exit code."""
        fault = CANCELLED_BEFORE_JOB if self._presenter is None else self._presenter.cancelled_fault
        print_error(fault.text)
        return EXIT_CODES[fault.code]


async def run_client(
    options: ClientOptions,
    *,
    asyncio_loop: AsyncioLoop,
    view: ClientView,
    drain: trio.Event,
    presenter: Presenter | None = None,
) -> Path:
    """Have a package run by a worker, or attach to an earlier job; return the path of the result.

    The view has shown the outcome when this returns or raises.

    Raises:
        RtcError: in every case except a finished job whose result is here; its exit code tells the cases apart.
    """
    presenter = presenter or Presenter(view, options)
    try:
        with _cancellation_shown(presenter):
            return await _run(options, asyncio_loop, view, drain, presenter)
    except RtcError as error:
        presenter.outcome_scope.shield = True
        reported = error if options.credential is None else explain_for_job(error)
        view.failed(reported.fault, presenter.partial_result)
        raise reported from None


@contextmanager
def _cancellation_shown(presenter: Presenter) -> Iterator[None]:
    """Show the outcome of a client that is cancelled inside this context.

    A task that is cancelled while a nursery starts it raises the cancellation in a group.
    """
    try:
        yield
    except (trio.Cancelled, BaseExceptionGroup) as error:
        if is_cancellation(error):
            presenter.show_cancelled()
        raise


async def _run(
    options: ClientOptions, asyncio_loop: AsyncioLoop, view: ClientView, drain: trio.Event, presenter: Presenter
) -> Path:
    result_folder = await trio.to_thread.run_sync(choose_result_folder, options)
    submit = await _prepare_submit(options, view) if options.credential is None else None
    async with open_peer_runtime(
        asyncio_loop=asyncio_loop,
        config=options.config,
        role=Role.CLIENT,
        secret=options.secret,
        on_message=presenter.receive,
        tap=presenter.show_step,
    ) as runtime:
        presenter.runtime = runtime
        file_transfers = FileTransfers(
            options.package, result_folder, options.config.chunk_size, runtime.links, runtime.router, view
        )
        with _cancellation_shown(presenter):  # here too, because closing the links takes a moment
            finished = await _run_job(runtime, file_transfers, presenter, _job_wanted(options, submit), drain)
        presenter.outcome_scope.shield = True
    presenter.settle_ticket(finished, unpacked=result_folder.unpacked)
    return await _conclude(finished, result_folder, presenter)


async def _run_job(
    runtime: PeerRuntime, file_transfers: FileTransfers, presenter: Presenter, wanted: JobWanted, drain: trio.Event
) -> Finished:
    """Start the Client actor, post `wanted` to it, and wait until it ends; return its `Finished`.

    Args:
        wanted: the job to run or to attach to.
        drain: when it is set, the Client leaves its job and ends.
    """
    runtime.adapters.start_soon(presenter.run_lossviewer, presenter.options.viewer_ports)
    client = Actor(CLIENT, ClientData(), runtime.router.outbox)
    runtime.add_routes(_routes(client.inbox.put, file_transfers, presenter))
    await runtime.adapters.start(file_transfers.run)
    await runtime.actors.start(client.run)
    runtime.actors.start_soon(runtime.drain_when, drain)
    runtime.post(wanted)
    runtime.actors.start_soon(_expire_wait, runtime, presenter.options.wait)
    await runtime.finished.wait()
    return runtime.outcome


async def _conclude(finished: Finished, result_folder: ResultFolder, presenter: Presenter) -> Path:
    """Summarize and show the outcome of an ended client, and return the path of the result.

    Raises:
        RtcError: the job failed, or its result is not here.
    """
    options, view = presenter.options, presenter.view
    text = finished.ended.text if finished.ended is not None else "Done."
    summary = await trio.to_thread.run_sync(result_folder.summarize, text, options.package.name)
    if result_folder.warning:
        view.warn(result_folder.warning)
    # a client that only watches has done its task when the job ends, also when the job failed
    watched_to_end = not options.fetch and finished.ended is not None
    if finished.fault is not None and not watched_to_end:
        presenter.partial_result = evolve(summary, folder=result_folder.path) if result_folder.unpacked else None
        raise RtcError.of(finished.fault)
    view.finished(summary)
    return result_folder.path


async def _prepare_submit(options: ClientOptions, view: ClientView) -> SubmitJob:
    """Inspect the package before anything is sent, and return the message that submits it.

    Raises:
        RtcError: USAGE or BAD_PACKAGE: the package cannot be run with these options.
    """
    inspect = partial(inspect_package, overrides=options.overrides)
    plan = await trio.to_thread.run_sync(inspect, options.package)
    if plan.kind is not options.kind:
        does, command = ("trains", "train") if plan.kind is JobKind.TRAIN else ("predicts", "track")
        name = options.package.name
        raise RtcError(FaultCode.USAGE, f"{name} is a package that {does}. Use: sleap-rtc client {command}")
    for note in plan.warnings:
        view.warn(note)
    size = (await trio.Path(options.package).stat()).st_size
    return SubmitJob(options.kind, safe_name(options.package.name), size, options.overrides)


def _job_wanted(options: ClientOptions, submit: SubmitJob | None) -> JobWanted:
    return JobWanted(
        RoomCredentials(Role.CLIENT, options.room, options.token),
        options.choice,
        submit,
        credential=options.credential,
        fetch=options.fetch,
        min_memory_mb=options.min_memory_mb,
        step_timeout=options.config.connection_timeout,
        wait=options.wait is not None,
    )


async def _expire_wait(runtime: PeerRuntime, wait: float | None) -> None:
    """Post `WaitExpired` after `wait` seconds, the longest time in the queue (`--wait`); None posts nothing."""
    await trio.sleep(math.inf if wait is None else wait)
    runtime.post(WaitExpired())


def _routes(client: Route, file_transfers: FileTransfers, presenter: Presenter) -> Routes:
    from_program = (JobWanted, WorkerPicked, WaitExpired, StopWanted, CancelWanted, Drain)
    from_links = (
        WorkersChanged,
        WorkerAssigned,
        LinkRefused,
        LinkLost,
        Authenticated,
        PeerMessage,
        JoinedRoom,
        JoinFailed,
    )
    from_transfers = (UploadFailed, PackageSent, ResultDownloaded, ResultUnpacked, DownloadFailed)
    return dict.fromkeys((*from_program, *from_links, *from_transfers), (client,)) | {
        QueuePosition: (),
        SendJobKey: (presenter.send_key,),
        SendPackage: (file_transfers.send,),
        FetchResult: (file_transfers.fetch,),
        ShowWorkers: (presenter.show_workers,),
    }

"""The client program: one wish, carried to one worker and back."""

import math
import signal
import sys
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
    SendPackage,
    ShowJobKey,
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
from rtc.client.options import ClientOptions, of_a_job
from rtc.client.presenter import UNBEGUN, Presenter
from rtc.client.result_folder import ResultFolder, choose_result_folder
from rtc.common.errors import EXIT_CODES, ExitCode, RtcError
from rtc.packages.plan import inspect_package
from rtc.runtime.peer_runtime import PeerRuntime, Routes, open_peer_runtime
from rtc.runtime.root import complain
from rtc.terminal import open_view
from rtc.terminal.interface import ClientView, Mode
from rtc.transport.files.file_names import safe_name
from rtc.transport.webrtc import AsyncioLoop

__all__ = ["ClientOptions", "ClientProgram", "run_client"]


@define
class ClientProgram:
    """A client in a terminal, or on a pipe."""

    options: ClientOptions
    mode: Mode = Mode.NORMAL
    _presenter: Presenter | None = None

    async def run(self, asyncio_loop: AsyncioLoop, drain: trio.Event) -> None:
        """Have the package run, and show what happens."""
        asks = self.options.on_interrupt is None
        with trio.CancelScope() as decided:
            async with open_view(terminal=sys.stdout.isatty(), mode=self.mode, out=sys.stdout, asks=asks) as view:
                self._presenter = Presenter(view, self.options, decided)
                await run_client(
                    self.options, asyncio_loop=asyncio_loop, view=view, drain=drain, presenter=self._presenter
                )

    def handle(self, number: int) -> bool:
        """Whether this signal is no wish to leave, but the beginning of a question or an order to the worker.

        SIGTERM asks nobody: it leaves, unless `--on-interrupt` says otherwise. So does a closed terminal.
        """
        asks = number == signal.SIGINT or (number == signal.SIGTERM and self.options.on_interrupt is not None)
        return asks and self._presenter is not None and self._presenter.interrupted()

    def stopped(self) -> ExitCode:
        """What leaving at once means: whether a job is left behind that runs on."""
        fault = UNBEGUN if self._presenter is None else self._presenter.left
        complain(fault.text)
        return EXIT_CODES[fault.code]


async def run_client(
    options: ClientOptions,
    *,
    asyncio_loop: AsyncioLoop,
    view: ClientView,
    drain: trio.Event,
    presenter: Presenter | None = None,
) -> Path:
    """Have a package run by a worker, or come back to a job; returns where what it made lies.

    Raises:
        RtcError: anything but a finished job with its result here; its exit code tells which.
    """
    presenter = presenter or Presenter(view, options)
    try:
        return await _run(options, asyncio_loop, view, drain, presenter)
    except RtcError as error:
        presenter.decided.shield = True
        told = error if options.credential is None else of_a_job(error)
        view.failed(told.fault, presenter.made)
        raise told from None


async def _run(
    options: ClientOptions, asyncio_loop: AsyncioLoop, view: ClientView, drain: trio.Event, presenter: Presenter
) -> Path:
    result_folder = await trio.to_thread.run_sync(choose_result_folder, options)
    submit = await _submission(options, view) if options.credential is None else None
    async with open_peer_runtime(
        asyncio_loop=asyncio_loop,
        config=options.config,
        role=Role.CLIENT,
        secret=options.secret,
        on_message=presenter.receive,
        tap=presenter.tap,
    ) as runtime:
        presenter.runtime = runtime
        try:
            file_transfers = FileTransfers(
                options.package, result_folder, options.config.chunk_size, runtime.links, runtime.router, view
            )
            last = await _follow(runtime, file_transfers, presenter, _job_wanted(options, submit), drain)
        except trio.Cancelled:
            presenter.leave()
            raise
        presenter.decided.shield = True
    presenter.settle(last, unpacked=result_folder.filled)
    return await _conclude(last, result_folder, presenter)


async def _follow(
    runtime: PeerRuntime, file_transfers: FileTransfers, presenter: Presenter, wanted: JobWanted, drain: trio.Event
) -> Finished:
    """From the wish to its end."""
    runtime.adapters.start_soon(presenter.feed_viewer, presenter.options.viewer_ports)
    client = Actor(CLIENT, ClientData(), runtime.router.outbox)
    runtime.route(_routes(client.inbox.put, file_transfers, presenter))
    await runtime.adapters.start(file_transfers.run)
    await runtime.actors.start(client.run)
    runtime.actors.start_soon(runtime.drain_when, drain)
    runtime.post(wanted)
    runtime.actors.start_soon(_expire_wait, runtime, presenter.options.wait)
    await runtime.finished.wait()
    return runtime.last


async def _conclude(last: Finished, result_folder: ResultFolder, presenter: Presenter) -> Path:
    """The last words: what is here, and why there is no more."""
    options, view = presenter.options, presenter.view
    text = last.ended.text if last.ended is not None else "Done."
    ending = await trio.to_thread.run_sync(result_folder.ending, text, options.package.name)
    if result_folder.trouble:
        view.warn(result_folder.trouble)
    seen = not options.fetch and last.ended is not None  # however it ended, it was watched to its end
    if last.fault is not None and not seen:
        presenter.made = evolve(ending, folder=result_folder.place) if result_folder.filled else None
        raise RtcError.of(last.fault)
    view.finished(ending)
    return result_folder.place


async def _submission(options: ClientOptions, view: ClientView) -> SubmitJob:
    """What is to be run, looked at before anything is sent.

    Raises:
        RtcError: USAGE or BAD_PACKAGE: it cannot be run so.
    """
    look = partial(inspect_package, overrides=options.overrides)
    plan = await trio.to_thread.run_sync(look, options.package)
    if plan.kind is not options.kind:
        does, command = ("trains", "train") if plan.kind is JobKind.TRAIN else ("predicts", "track")
        name = options.package.name
        raise RtcError(FaultCode.USAGE, f"{name} is a package that {does}. Use: sleap-rtc client {command}")
    for note in plan.notes:
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
        patience=options.config.connection_timeout,
        wait=options.wait is not None,
    )


async def _expire_wait(runtime: PeerRuntime, wait: float | None) -> None:
    """Tell the Client when the person has waited in line long enough."""
    await trio.sleep(math.inf if wait is None else wait)
    runtime.post(WaitExpired())


def _routes(client: Route, file_transfers: FileTransfers, presenter: Presenter) -> Routes:
    said = (JobWanted, WorkerPicked, WaitExpired, StopWanted, CancelWanted, Drain)
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
    from_courier = (UploadFailed, PackageSent, ResultDownloaded, ResultUnpacked, DownloadFailed)
    return dict.fromkeys((*said, *from_links, *from_courier), (client,)) | {
        QueuePosition: (),
        ShowJobKey: (presenter.show_key,),
        SendPackage: (file_transfers.send,),
        FetchResult: (file_transfers.fetch,),
        ShowWorkers: (presenter.show_workers,),
    }

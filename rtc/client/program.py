"""The client program: has one package run by a worker, or attaches to an earlier job, and fetches the result."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio
from attrs import evolve

from actors import events
from actors.client import CLIENT
from actors.client_data import ClientData
from actors.router import Route
from protocol.faults import FaultCode
from protocol.jobs import JobKind, SubmitJob
from protocol.signaling import QueuePosition, WorkerAssigned
from protocol.status import Role
from protocol.transfer import FILE_MAX
from protocol.trust import RoomKeys
from protocol.wire import FRAME_MAX, encode
from rtc.client.file_transfers import FileTransfers
from rtc.client.list_workers import list_workers
from rtc.client.options import ClientOptions, explain_for_job, explain_without_secret
from rtc.client.presenter import Presenter, left_text
from rtc.client.restore_videos import NOT_HERE, can_restore
from rtc.client.result_folder import ResultFolder, choose_result_folder
from rtc.client.ticket_folder import TicketFolder
from rtc.client.tickets import read_paths
from rtc.common.errors import RtcError
from rtc.common.nurseries import is_cancellation
from rtc.common.stories import make_actor
from rtc.config.room_renewal import explain_for_job_in, explain_for_room
from rtc.packages.hydra_overrides import split_secrets
from rtc.packages.original_paths import OriginalPaths, read_original_paths, sent_size
from rtc.packages.plan import inspect_package
from rtc.packages.setting_checks import check_refused
from rtc.runtime.peer_runtime import PeerRuntime, Routes, open_peer_runtime
from rtc.runtime.room_keys import find_keys
from rtc.terminal.interface import ClientView, JobSummary
from rtc.transport.files.file_names import safe_name
from rtc.transport.webrtc import AsyncioLoop

LIST_TIME = 10.0
"""Seconds to wait for the room's list of workers, when a setting of the package is doubtful."""


async def run_client(
    options: ClientOptions,
    *,
    asyncio_loop: AsyncioLoop,
    view: ClientView,
    drain: trio.Event,
    presenter: Presenter | None = None,
) -> Path:
    """Have a package run by a worker, or attach to an earlier job; return the path of the result.

    With `options.detach` it returns when the job runs. Nothing is at that path then.

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
        if options.credential is None:
            reported = explain_for_room(error, options.remembered_as)
        else:
            reported = explain_for_job_in(explain_for_job(error), options.remembered_as)
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
    result_folder.paths = await trio.to_thread.run_sync(original_paths, options)
    keys = await find_keys(options.find_secret, options.room)
    async with open_peer_runtime(
        asyncio_loop=asyncio_loop,
        config=options.config,
        role=Role.CLIENT,
        on_message=presenter.receive,
    ) as runtime:
        file_transfers = FileTransfers(
            options.package,
            result_folder,
            options.config.chunk_size,
            runtime.links,
            runtime.router,
            view,
            result_max=options.result_max,
        )
        with _cancellation_shown(presenter):  # here too, because closing the links takes a moment
            wanted = _job_wanted(options, submit, keys)
            finished = await _run_job(runtime, file_transfers, presenter, wanted, drain, result_folder.paths)
        presenter.outcome_scope.shield = True
    return await _conclude(finished, result_folder, presenter, keys)


async def _run_job(
    runtime: PeerRuntime,
    file_transfers: FileTransfers,
    presenter: Presenter,
    wanted: events.JobWanted,
    drain: trio.Event,
    paths: OriginalPaths,
) -> events.Finished:
    """Start the Client actor, post `wanted` to it, and wait until it ends; return its `Finished`.

    Args:
        wanted: the job to run or to attach to.
        drain: when it is set, the Client leaves its job and ends. It is set here when the Client has ended, or is
            about to: whoever interrupts the program then does not want to wait for its links.
        paths: the original paths of the job's package, for its ticket.
    """
    runtime.adapters.start_soon(presenter.run_lossviewer, presenter.options.viewer_ports)
    client = make_actor(CLIENT, ClientData(), runtime.router.outbox, watch=presenter.watch)
    tickets = TicketFolder(presenter.options, presenter.view, runtime.post, paths)
    runtime.add_routes(_routes(client.inbox.put, file_transfers, presenter, tickets))
    runtime.add_routes({events.LetNextSignalCancel: (lambda _: drain.set(),)})
    await runtime.adapters.start(file_transfers.run)
    await runtime.actors.start(client.run)
    runtime.actors.start_soon(runtime.drain_when, drain)
    runtime.post(wanted)
    presenter.runtime = runtime
    await runtime.finished.wait()
    drain.set()
    return runtime.outcome


async def _conclude(
    finished: events.Finished, result_folder: ResultFolder, presenter: Presenter, keys: RoomKeys | None
) -> Path:
    """Summarize and show the outcome of an ended client, and return the path of the result.

    Raises:
        RtcError: the job failed, or its result is not here.
    """
    options, view = presenter.options, presenter.view
    if finished.fault is None and finished.left is not None:
        view.finished(JobSummary(left_text(finished, options), is_left=True))
        return result_folder.path
    text = finished.ended.text if finished.ended is not None else "Done."
    summary = await trio.to_thread.run_sync(result_folder.summarize, text, options.package.name)
    if result_folder.warning:
        view.warn(result_folder.warning)
    # a client that only watches has done its task when the job ends, also when the job failed
    watched_to_end = not options.fetch and finished.ended is not None
    if finished.fault is not None and not watched_to_end:
        presenter.partial_result = evolve(summary, folder=result_folder.path) if result_folder.unpacked else None
        raise explain_without_secret(RtcError.of(finished.fault), options.room, keys)
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
    doubts = check_refused(plan.refused_by, await _versions_in_room(options)) if plan.refused_by else ()
    for note in (*plan.warnings, *doubts):
        view.warn(note)
    if plan.predictions and not await trio.to_thread.run_sync(can_restore):
        view.warn(NOT_HERE)
    size = await trio.to_thread.run_sync(sent_size, options.package)
    if size > FILE_MAX:
        raise RtcError(FaultCode.TOO_LARGE, f"{options.package.name} is too large: at most {FILE_MAX} bytes are sent.")
    overrides, secrets = split_secrets(options.overrides)
    for key in secrets:
        view.warn(f"{key} is not sent: a job uploads nothing, so the worker needs no key or password.")
    submit = SubmitJob(options.kind, safe_name(options.package.name), size, overrides, options.give_up_after)
    if len(encode(submit)) > FRAME_MAX:
        raise RtcError(FaultCode.USAGE, "The overrides are too long together. Put them into the package.")
    return submit


def original_paths(options: ClientOptions) -> OriginalPaths:
    """Return the original paths of the job's package: from the package itself, or from those beside its ticket.

    Raises:
        RtcError: USAGE or BAD_PACKAGE: the package cannot be read.
    """
    if options.credential is None:
        return read_original_paths(options.package)
    if options.tickets_folder is None:
        return OriginalPaths()
    return read_paths(options.tickets_folder, options.credential.job)


async def _versions_in_room(options: ClientOptions) -> frozenset[str]:
    """Return the versions of sleap-nn on the workers that may get the job; empty if that is not to be known soon.

    It is asked only for a package that a known version refuses, because a newer one may take it.
    """
    try:
        with trio.move_on_after(LIST_TIME):
            workers = await list_workers(options.config, options.room, options.token)
            match options.choice:
                case events.NamedWorker(peer=called) | events.WorkerCalled(name=called):
                    named = [present for present in workers if called in (present.peer, present.facts.name)]
                case _:
                    named = []
            return frozenset(present.facts.sleap_nn for present in named or workers)
    except RtcError:
        pass  # the server is away, or the room is another: that is said when the package is right
    return frozenset()


def _job_wanted(options: ClientOptions, submit: SubmitJob | None, keys: RoomKeys | None) -> events.JobWanted:
    return events.JobWanted(
        events.RoomCredentials(Role.CLIENT, options.room, options.token, keys=keys),
        options.choice,
        submit,
        min_memory_mb=options.min_memory_mb,
        min_gpus=options.min_gpus,
        step_timeout=options.config.connection_timeout,
        wait=options.wait,
        credential=options.credential,
        kind=options.kind,
        fetch=options.fetch,
        follow=options.follow,
        worker_named=options.worker_named,
        on_interrupt=options.on_interrupt,
        stop=options.stop,
        detach=options.detach,
    )


def _routes(client: Route, file_transfers: FileTransfers, presenter: Presenter, tickets: TicketFolder) -> Routes:
    from_person = (
        events.JobWanted,
        events.WorkerPicked,
        events.ChoiceFailed,
        events.StopWanted,
        events.CancelWanted,
        events.Interrupted,
        events.Drain,
        events.TicketNotSaved,
    )
    from_room = (events.JoinedRoom, events.JoinFailed, events.WorkersChanged, WorkerAssigned)
    from_links = (events.Authenticated, events.PeerMessage, events.LinkLost)
    from_transfers = (
        events.PackageSent,
        events.UploadFailed,
        events.ResultDownloaded,
        events.ResultUnpacked,
        events.DownloadFailed,
    )
    return dict.fromkeys((*from_person, *from_room, *from_links, *from_transfers), (client,)) | {
        QueuePosition: (presenter.show_position,),
        events.SendPackage: (file_transfers.send,),
        events.FetchResult: (file_transfers.fetch,),
        events.SaveTicket: (tickets.save,),
        events.RemoveTicket: (tickets.remove,),
        events.ShowWorkers: (presenter.show_workers,),
        events.AskInterrupt: (presenter.ask_interrupt,),
    }

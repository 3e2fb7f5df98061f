"""Job sessions: a client with a job's key can follow, stop and cancel the job, whatever else the worker does."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from attrs import evolve

from actors.events import JobCredential
from actors.mailbox import Mailbox
from actors.worker import RETURN_TIME
from protocol.faults import FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import (
    AskJob,
    CancelJob,
    JobNote,
    JobRequest,
    JobStage,
    JobState,
    LogLines,
    Outcome,
    Progress,
    ResultTaken,
    StopJob,
    StopScope,
)
from protocol.status import Status
from rtc.client import tickets
from rtc.client.job_query import WorkerAddress, run_job_query
from rtc.client.tickets import JobTicket
from rtc.common.errors import RtcError
from rtc.runner.supervisor_handle import SupervisorHandle
from rtc.testing.file_channels import replace_receiving
from rtc.testing.lab import ClientRun, Lab, LabWorker, RecordingView
from rtc.testing.limits import HANG_TIME
from rtc.worker import result_store, room_membership
from rtc.worker.event_log import EventLog
from rtc.worker.job_database import JobDatabase
from rtc.worker.job_sessions import JobSessions

MakePackage = Callable[..., Path]
pytestmark = pytest.mark.slow
LONG = {"epochs": 5000, "seconds": 0.05}
"""A model that trains longer than any test waits: a test that ends has stopped it."""


async def start_job(lab: Lab, worker: LabWorker, package: Path, view: RecordingView, **options: object) -> JobTicket:
    """Start a client that runs the package and reports to `view`; return the job's ticket once it trains."""
    lab.nursery.start_soon(
        lambda: lab.run_client(worker, package, view=view, tickets_folder=lab.folder / "tickets", **options)
    )
    await view.training.wait()
    return tickets.find(lab.folder / "tickets", None)


async def leave_job(lab: Lab, worker: LabWorker, package: MakePackage) -> JobTicket:
    """Start a client that leaves its job as soon as it trains; return the ticket once the job has ended without it."""
    view, drain, go_on, left = RecordingView(), trio.Event(), lab.folder / "go on", trio.Event()
    tickets_folder = lab.folder / "tickets"

    async def run() -> None:
        await lab.run_client(
            worker, package(wait_for=str(go_on)), view=view, drain=drain, tickets_folder=tickets_folder
        )
        left.set()

    lab.nursery.start_soon(run)
    await view.training.wait()
    drain.set()
    await left.wait()
    go_on.touch()
    await worker.log.until("Status: available.")
    return tickets.find(tickets_folder, None)


async def query(lab: Lab, worker: LabWorker, *requests: JobRequest) -> dict[JobId, JobState]:
    address = WorkerAddress(lab.config, worker.ready.room, worker.ready.token, worker.peer)
    with trio.fail_after(HANG_TIME):
        return await run_job_query(address, requests, lab.asyncio_loop)


async def reconnect(lab: Lab, worker: LabWorker, ticket: JobTicket, **options: object) -> ClientRun:
    with trio.fail_after(HANG_TIME):
        return await lab.run_client(
            worker, Path(ticket.package), credential=JobCredential(ticket.job, ticket.key), **options
        )


async def test_who_waits_for_a_result_hears_that_the_worker_has_no_room_for_it(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, has_room, real = RecordingView(), trio.Event(), result_store.pack_results

    async def pack_or_fail(*arguments: object) -> None:
        if not has_room.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        await real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(result_store, "pack_results", pack_or_fail)
    monkeypatch.setattr(result_store, "ROOM_PERIOD", 0.2)
    worker = await lab.start_worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: lab.run_client(worker, package(), view=view))
        await view.wait_for_event(JobNote, 1)
        has_room.set()
        await view.until("Trained 1 model")


async def test_two_watch_one_job_and_both_get_its_result(lab: Lab, package: MakePackage) -> None:
    worker, first = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(**LONG), first)
    second = RecordingView()
    runs: list[ClientRun] = []

    async def watch() -> None:
        runs.append(await reconnect(lab, worker, ticket, view=second))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await second.wait_for_event(Progress, 3)
        await query(lab, worker, StopJob(ticket.job, ticket.key, StopScope.THIS))
    assert runs[0].output is not None
    assert list(runs[0].output.rglob("best.ckpt"))
    await first.until("Trained 1 model")
    epochs = [
        [news for news in view.job_events if isinstance(news, Progress) and news.batch is None]
        for view in (first, second)
    ]
    assert [news.epoch for news in epochs[0]] == list(range(len(epochs[0])))
    assert epochs[0] == epochs[1]


async def test_a_job_is_stopped_by_another_client_and_the_one_that_follows_it_gets_the_model(
    lab: Lab, package: MakePackage
) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(models=("a", "b"), **LONG), view)
    await view.wait_for_event(Progress)
    state = (await query(lab, worker, StopJob(ticket.job, ticket.key, StopScope.ALL)))[ticket.job]
    assert state.stage is JobStage.RUNNING
    assert state.text.startswith("Model 1 of 2 (a)")
    await view.until("Stopped early: trained 1 of 2 models")


async def test_a_cancellation_passes_the_router_at_most_twice(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[object] = []
    needed: list[int] = []
    tap, receive, cancel = EventLog.tap, JobSessions._receive, SupervisorHandle.cancel

    def count(log: EventLog, effect: object) -> None:
        passes.append(effect)
        tap(log, effect)

    async def begin(sessions: JobSessions, link: LinkId, inbox: Mailbox[object], message: object) -> None:
        passes.clear()
        await receive(sessions, link, inbox, message)

    def end(supervisor: SupervisorHandle) -> None:
        needed.append(len(passes))
        cancel(supervisor)

    monkeypatch.setattr(EventLog, "tap", count)
    monkeypatch.setattr(JobSessions, "_receive", begin)
    monkeypatch.setattr(SupervisorHandle, "cancel", end)
    worker, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(**LONG), view)
    await query(lab, worker, CancelJob(ticket.job, ticket.key))
    assert needed
    assert needed[0] <= 2
    await view.until("The job was cancelled")


async def test_a_client_that_gives_up_during_its_upload_frees_the_worker_at_once(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploading, drain = trio.Event(), trio.Event()

    async def receive(_channel: object, _folder: Path) -> None:
        uploading.set()
        await trio.sleep_forever()

    replace_receiving(monkeypatch, receive)
    worker = await lab.start_worker()
    lab.nursery.start_soon(lambda: lab.run_client(worker, package(), drain=drain))
    await uploading.wait()
    drain.set()
    with trio.fail_after(RETURN_TIME / 2):  # its link ends, but nobody waits for it to come back
        await worker.log.until("Status: available.")


async def test_a_worker_that_is_stopped_says_that_it_leaves(lab: Lab, package: MakePackage) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(**LONG), view)
    worker.drain.set()
    await worker.log.until("Status: busy; it leaves when its jobs have ended.")
    await query(lab, worker, CancelJob(ticket.job, ticket.key))
    await worker.log.until("Status: leaving; no new job.")
    await worker.ended.wait()


async def test_another_worker_of_that_machine_says_that_it_does_not_have_the_job_and_the_ticket_is_kept(
    lab: Lab, package: MakePackage
) -> None:
    one, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, one, package(**LONG), view)
    two = await lab.start_worker(like=one, work=one.options.work, results=one.options.results)
    state = (await query(lab, two, AskJob(ticket.job, ticket.key)))[ticket.job]
    assert state.stage is JobStage.ELSEWHERE
    run = await reconnect(lab, two, ticket, tickets_folder=lab.folder / "tickets")
    assert run.fault is not None
    assert run.fault.code is FaultCode.NO_WORKER
    assert tickets.find(lab.folder / "tickets", None) == ticket
    await query(lab, one, CancelJob(ticket.job, ticket.key))
    await view.until("The job was cancelled")


async def test_a_database_that_cannot_be_read_ends_no_worker(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreadable(*_arguments: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RtcError(FaultCode.DISK_FULL, "The records cannot be read now.")

    worker = await lab.start_worker()
    ticket = await leave_job(lab, worker, package)
    with monkeypatch.context() as patch:
        patch.setattr(JobDatabase, "get", unreadable)
        lab.nursery.start_soon(lambda: reconnect(lab, worker, ticket))
        await worker.log.until("The records cannot be read now.")
    back = await reconnect(lab, worker, ticket)
    assert back.output is not None


async def test_a_worker_whose_room_is_gone_gets_another_one_while_its_job_runs(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_membership, "RETRY_PAUSE", 0.1)
    first, view = await lab.start_worker(stop_jobs_on_exit=False), RecordingView()
    ticket = await start_job(lab, first, package(**LONG), view)
    first.scope.cancel()
    await first.ended.wait()
    [saved_file] = first.options.results.glob(".place-*")
    saved_file.write_text(saved_file.read_text().replace(first.ready.room, "room-gone"))
    again = await lab.start_worker(name=first.options.name, work=first.options.work, results=first.options.results)
    assert again.ready.facts.status is Status.BUSY
    state = (await query(lab, again, CancelJob(ticket.job, ticket.key)))[ticket.job]
    assert state.stage is JobStage.RUNNING


async def test_a_job_is_cancelled_by_another_client_and_the_worker_is_available(lab: Lab, package: MakePackage) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(**LONG, grandchild=True), view)
    await query(lab, worker, CancelJob(ticket.job, ticket.key))
    await view.until("The job was cancelled")
    await worker.log.until("Status: available.")
    state = (await query(lab, worker, CancelJob(ticket.job, ticket.key)))[ticket.job]
    assert (state.stage, state.outcome) == (JobStage.ENDED, Outcome.CANCELLED)


async def test_without_the_key_there_is_no_such_job(lab: Lab, package: MakePackage) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(**LONG), view)
    for request in (AskJob(ticket.job, "wrong"), CancelJob(ticket.job, "wrong"), ResultTaken(ticket.job, "wrong")):
        assert (await query(lab, worker, request))[ticket.job].stage is JobStage.UNKNOWN
    run = await lab.run_client(worker, Path("x"), credential=JobCredential(ticket.job, "wrong"))
    assert run.fault is not None
    assert run.fault.code is FaultCode.NO_SUCH_JOB
    await query(lab, worker, StopJob(ticket.job, ticket.key, StopScope.THIS))
    await view.until("Trained 1 model")


async def test_an_unknown_job_is_refused_before_any_link(lab: Lab) -> None:
    worker = await lab.start_worker()
    with pytest.raises(RtcError) as caught:
        await query(lab, worker, AskJob(JobId("job-none"), "key"))
    assert caught.value.fault.code is FaultCode.NO_SUCH_JOB
    assert not any("reserved" in line for line in worker.log.lines)


async def test_a_result_is_fetched_while_the_worker_is_busy_with_another_job(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    ticket = await leave_job(lab, worker, package)
    other = RecordingView()
    lab.nursery.start_soon(lambda: lab.run_client(worker, package("other.zip", **LONG), view=other))
    await other.training.wait()
    back = await reconnect(lab, worker, ticket)
    assert back.output is not None
    assert list(back.output.rglob("best.ckpt"))
    state = (await query(lab, worker, AskJob(ticket.job, ticket.key)))[ticket.job]
    assert not state.result


async def test_a_draining_worker_sends_the_result_before_it_ends(lab: Lab, package: MakePackage) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    go_on = lab.folder / "go on"
    await start_job(lab, worker, package(epochs=1, wait_for=str(go_on), megabytes=1), view)
    worker.drain.set()
    go_on.touch()
    with trio.fail_after(HANG_TIME):
        await worker.ended.wait()
    await view.until("Trained 1 model")
    assert list(worker.options.results.glob("*.zip")) == []


async def test_the_log_of_a_running_job_is_read_without_fetching_anything(lab: Lab, package: MakePackage) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(**LONG, say=["a first line"]), view)
    await view.wait_for_event(LogLines, 2)
    seen = await reconnect(lab, worker, ticket, fetch=False, follow=False)
    assert seen.fault is None
    assert any("a first line" in news.lines for news in seen.view.job_events if isinstance(news, LogLines))
    assert not seen.view.downloaded


async def test_a_result_that_expired_is_reported_as_removed(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    ticket = await leave_job(lab, worker, package)
    worker.drain.set()
    await worker.ended.wait()
    folders = {"work": worker.options.work, "results": worker.options.results}
    again = await lab.start_worker(like=worker, config=evolve(lab.config, keep_days=0.0), **folders)
    with trio.fail_after(HANG_TIME):
        while list(again.options.results.glob("*.zip")):  # noqa: ASYNC110 (files have no events)
            await trio.sleep(0.01)
    state = (await query(lab, again, AskJob(ticket.job, ticket.key)))[ticket.job]
    assert not state.result
    assert "nobody fetched it" in state.text


@pytest.mark.parametrize("worker_named", [False, True])
async def test_the_ticket_of_a_job_that_its_own_worker_does_not_know_is_removed(lab: Lab, worker_named: bool) -> None:
    worker, folder = await lab.start_worker(), lab.folder / "tickets"
    there = worker.ready
    ticket = JobTicket("job-old", "key", worker.peer, there.room, there.token, lab.server.ws_url, "toy.zip")
    tickets.save(folder, ticket)
    run = await reconnect(lab, worker, ticket, tickets_folder=folder, worker_named=worker_named)
    assert run.fault is not None
    assert run.fault.code is FaultCode.NO_SUCH_JOB
    assert tickets.jobs_with_tickets(folder) == (["job-old"] if worker_named else [])

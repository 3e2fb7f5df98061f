"""The worker's window: who shows a job's key hears of it and may end it, whatever the worker does meanwhile."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from attrs import evolve

from actors.events import JobCredential
from protocol.faults import FaultCode
from protocol.ids import JobId
from protocol.jobs import (
    AskJob,
    CancelJob,
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
from rtc.client.job_query import Address, run_job_query
from rtc.client.tickets import JobTicket
from rtc.common.errors import RtcError
from rtc.testing.lab import ClientRun, Lab, LabWorker, RecordingView
from rtc.worker import room_membership
from rtc.worker.job_database import JobDatabase
from rtc.worker.job_sessions import JobSessions

MakePackage = Callable[..., Path]
PATIENCE = 60.0


async def start_job(lab: Lab, worker: LabWorker, package: Path, view: RecordingView, **options: object) -> JobTicket:
    """Have a job run, watched by `view`; its ticket."""
    lab.nursery.start_soon(
        lambda: lab.run_client(worker, package, view=view, tickets=lab.folder / "tickets", **options)
    )
    await view.training.wait()
    return tickets.find(lab.folder / "tickets", None)


async def ask(lab: Lab, worker: LabWorker, *wishes: JobRequest) -> dict[JobId, JobState]:
    where = Address(lab.config, worker.ready.room, worker.ready.token, worker.peer)
    with trio.fail_after(PATIENCE):
        return await run_job_query(where, wishes, lab.asyncio_loop)


async def come_back(lab: Lab, worker: LabWorker, ticket: JobTicket, **options: object) -> ClientRun:
    with trio.fail_after(PATIENCE):
        return await lab.run_client(
            worker, Path(ticket.package), credential=JobCredential(ticket.job, ticket.key), **options
        )


async def test_two_watch_one_job_and_both_get_its_result(lab: Lab, package: MakePackage) -> None:
    worker, first = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(epochs=30, seconds=0.1), first)
    second = await come_back(lab, worker, ticket)
    assert second.output is not None
    assert list(second.output.rglob("best.ckpt"))
    await first.until("Trained 1 model")
    heard = [
        [news for news in view.news_heard if isinstance(news, Progress) and news.batch is None]
        for view in (first, second.view)
    ]
    assert len(heard[0]) == 30
    assert heard[0] == heard[1]


async def test_a_job_is_stopped_from_elsewhere_and_its_watcher_gets_the_model(lab: Lab, package: MakePackage) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(models=("a", "b"), epochs=500, seconds=0.1), view)
    await view.heard(Progress)
    state = (await ask(lab, worker, StopJob(ticket.job, ticket.key, StopScope.ALL)))[ticket.job]
    assert state.stage is JobStage.RUNNING
    assert state.text.startswith("Model 1 of 2 (a)")
    await view.until("Stopped early: trained 1 of 2 models")


class HastyView(RecordingView):
    """Wants every model to stop as soon as it has begun to learn."""

    async def listen(self, stop: Callable[[], None]) -> None:
        await self.heard(Progress)
        stop()


async def test_a_wish_that_comes_before_the_window_has_its_speaker_is_passed_on(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        JobSessions, "has", lambda _window, _link: False
    )  # as in the turn in which the package was here
    worker = await lab.start_worker()
    with trio.fail_after(PATIENCE):
        run = await lab.run_client(worker, package(epochs=500, seconds=0.1), view=HastyView())
    assert run.view.told[-1] == "Trained 1 model: centroid."
    assert sum(isinstance(news, Progress) for news in run.view.news_heard) < 400


async def test_another_worker_of_that_machine_says_that_it_does_not_have_the_job_and_the_ticket_is_kept(
    lab: Lab, package: MakePackage
) -> None:
    one, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, one, package(epochs=500, seconds=0.1), view)
    two = await lab.start_worker(like=one, work=one.options.work, results=one.options.results)
    state = (await ask(lab, two, AskJob(ticket.job, ticket.key)))[ticket.job]
    assert state.stage is JobStage.ELSEWHERE
    run = await come_back(lab, two, ticket, tickets=lab.folder / "tickets")
    assert run.fault is not None
    assert run.fault.code is FaultCode.NO_WORKER
    assert tickets.find(lab.folder / "tickets", None) == ticket
    await ask(lab, one, CancelJob(ticket.job, ticket.key))
    await view.until("The job was cancelled")


async def test_records_that_cannot_be_read_end_no_worker(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreadable(*_arguments: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RtcError(FaultCode.DISK_FULL, "The records cannot be read now.")

    worker, view, drain = await lab.start_worker(), RecordingView(), trio.Event()
    ticket = await start_job(lab, worker, package(epochs=5, seconds=0.1), view, drain=drain)
    drain.set()
    await worker.said.until("Status: available.")
    with monkeypatch.context() as patch:
        patch.setattr(JobDatabase, "get", unreadable)
        lab.nursery.start_soon(lambda: come_back(lab, worker, ticket))
        await worker.said.until("The records cannot be read now.")
    back = await come_back(lab, worker, ticket)
    assert back.output is not None


async def test_a_worker_whose_room_is_gone_gets_another_one_while_its_job_runs(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_membership, "RETRY_PAUSE", 0.1)
    first, view = await lab.start_worker(jobs_end_too=False), RecordingView()
    ticket = await start_job(lab, first, package(epochs=500, seconds=0.1), view)
    first.scope.cancel()
    await first.ended.wait()
    [place] = first.options.results.glob(".place-*")
    place.write_text(place.read_text().replace(first.ready.room, "room-gone"))
    again = await lab.start_worker(name=first.options.name, work=first.options.work, results=first.options.results)
    assert again.ready.facts.status is Status.BUSY
    state = (await ask(lab, again, CancelJob(ticket.job, ticket.key)))[ticket.job]
    assert state.stage is JobStage.RUNNING


async def test_a_job_is_cancelled_from_elsewhere_and_the_worker_is_free(lab: Lab, package: MakePackage) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(epochs=500, seconds=0.1, grandchild=True), view)
    await ask(lab, worker, CancelJob(ticket.job, ticket.key))
    await view.until("The job was cancelled")
    await worker.said.until("Status: available.")
    state = (await ask(lab, worker, CancelJob(ticket.job, ticket.key)))[ticket.job]
    assert (state.stage, state.outcome) == (JobStage.ENDED, Outcome.CANCELLED)


async def test_without_the_key_there_is_no_such_job(lab: Lab, package: MakePackage) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(epochs=20, seconds=0.1), view)
    for wish in (AskJob(ticket.job, "wrong"), CancelJob(ticket.job, "wrong"), ResultTaken(ticket.job, "wrong")):
        assert (await ask(lab, worker, wish))[ticket.job].stage is JobStage.UNKNOWN
    run = await lab.run_client(worker, Path("x"), credential=JobCredential(ticket.job, "wrong"))
    assert run.fault is not None
    assert run.fault.code is FaultCode.NO_SUCH_JOB
    await view.until("Trained 1 model")


async def test_a_job_that_nobody_knows_is_refused_before_any_link(lab: Lab) -> None:
    worker = await lab.start_worker()
    with pytest.raises(RtcError) as caught:
        await ask(lab, worker, AskJob(JobId("job-none"), "key"))
    assert caught.value.fault.code is FaultCode.NO_SUCH_JOB
    assert not any("reserved" in line for line in worker.said.lines)


async def test_a_result_is_fetched_while_the_worker_is_busy_with_another_job(lab: Lab, package: MakePackage) -> None:
    worker, view, drain = await lab.start_worker(), RecordingView(), trio.Event()
    ticket = await start_job(lab, worker, package(epochs=5, seconds=0.1), view, drain=drain)
    drain.set()
    await worker.said.until("Status: available.")
    other = RecordingView()
    lab.nursery.start_soon(lambda: lab.run_client(worker, package("other.zip", epochs=500, seconds=0.1), view=other))
    await other.training.wait()
    back = await come_back(lab, worker, ticket)
    assert back.output is not None
    assert list(back.output.rglob("best.ckpt"))
    state = (await ask(lab, worker, AskJob(ticket.job, ticket.key)))[ticket.job]
    assert not state.result


async def test_a_draining_worker_hands_over_the_result_before_it_ends(lab: Lab, package: MakePackage) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    await start_job(lab, worker, package(epochs=10, seconds=0.1, megabytes=20), view)
    worker.drain.set()
    with trio.fail_after(PATIENCE):
        await worker.ended.wait()
    await view.until("Trained 1 model")
    assert list(worker.options.results.glob("*.zip")) == []


async def test_the_log_of_a_running_job_is_read_without_fetching_anything(lab: Lab, package: MakePackage) -> None:
    worker, view = await lab.start_worker(), RecordingView()
    ticket = await start_job(lab, worker, package(epochs=500, seconds=0.1, say=["a first line"]), view)
    await view.heard(LogLines, 2)
    seen = await come_back(lab, worker, ticket, fetch=False, follow=False)
    assert seen.fault is None
    assert any("a first line" in news.lines for news in seen.view.news_heard if isinstance(news, LogLines))
    assert not seen.view.downloaded


async def test_a_result_that_was_kept_long_enough_is_said_to_be_gone(lab: Lab, package: MakePackage) -> None:
    worker, view, drain = await lab.start_worker(), RecordingView(), trio.Event()
    ticket = await start_job(lab, worker, package(), view, drain=drain)
    drain.set()
    await worker.said.until("Status: available.")
    worker.drain.set()
    await worker.ended.wait()
    folders = {"work": worker.options.work, "results": worker.options.results}
    again = await lab.start_worker(like=worker, config=evolve(lab.config, keep_days=0.0), **folders)
    with trio.fail_after(PATIENCE):
        while list(again.options.results.glob("*.zip")):  # noqa: ASYNC110 (files have no events)
            await trio.sleep(0.01)
    state = (await ask(lab, again, AskJob(ticket.job, ticket.key)))[ticket.job]
    assert not state.result
    assert "nobody fetched it" in state.text


@pytest.mark.parametrize("moved", [False, True])
async def test_the_ticket_of_a_job_that_its_own_worker_does_not_know_is_removed(lab: Lab, moved: bool) -> None:
    worker, folder = await lab.start_worker(), lab.folder / "tickets"
    there = worker.ready
    ticket = JobTicket("job-old", "key", worker.peer, there.room, there.token, lab.server.ws_url, "toy.zip")
    tickets.keep(folder, ticket)
    run = await come_back(lab, worker, ticket, tickets=folder, moved=moved)
    assert run.fault is not None
    assert run.fault.code is FaultCode.NO_SUCH_JOB
    assert tickets.known_jobs(folder) == (["job-old"] if moved else [])

"""The job manager leaves no files behind, loses no result, touches no folder of others, and adopts unfinished jobs."""

import errno
import os
import shutil
import time
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from attrs import evolve

from actors.events import (
    Cancel,
    CloseLink,
    DiscardJob,
    JobAdopted,
    JobCredential,
    JobFinished,
    PackageFailed,
    PackageReceived,
    ReceivePackage,
    ReleaseResult,
    StartJob,
    StopEarly,
    SupplyPackage,
)
from actors.router import Router
from protocol.faults import FaultCode
from protocol.jobs import JobKind, JobNote, JobStage, ModelStarted, NoteKind, Outcome, StopScope, SubmitJob
from rtc.common.errors import RtcError
from rtc.runner.folder_lock import FolderLock, create_locked_folder, wait_unlocked
from rtc.runner.job_files import SUPERVISOR_LOCK
from rtc.testing.file_channels import replace_receiving
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import install_stand_in, make_package
from rtc.transport.files import Incoming
from rtc.worker import job_manager as job_manager_module
from rtc.worker import result_store
from rtc.worker.job import RunnerConfig
from rtc.worker.job_database import JobDatabase, open_job_database
from rtc.worker.job_manager import NOT_AWAITED, JobManager
from rtc.worker.result_store import ResultStore

CREDENTIAL = JobCredential("job-1", "key")
LONG = {"epochs": 5000, "seconds": 0.05}
"""A model that trains longer than any test waits: a test that ends has stopped it."""


class NoLinks:
    """A stand-in for the link manager: its file channels are only the numbers of the links."""

    def file_channel(self, link):
        return link


@pytest.fixture
def runner_config(tmp_path):
    for name in ("work", "results"):
        (tmp_path / name).mkdir()
    return RunnerConfig(
        tmp_path / "work", tmp_path / "results", install_stand_in(tmp_path / "bin"), "cpu", None, 1000, 10**6
    )


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """The package that a client sends; tests may write another one to this path."""
    package = make_package(tmp_path / "p.zip")

    async def receive(_channel, folder):
        await trio.lowlevel.checkpoint()
        return shutil.copy(package, folder / "p.zip")

    replace_receiving(monkeypatch, receive)
    return package


@pytest.fixture
def on_the_way(monkeypatch):
    """A package that never becomes complete; the event is set when its reception begins."""
    there = trio.Event()

    async def receive(_channel, _folder):
        there.set()
        await trio.sleep_forever()

    replace_receiving(monkeypatch, receive)
    return there


@asynccontextmanager
async def open_job_manager(runner_config, *, stop_jobs_on_exit=True):
    """Run a job manager with its database until the context ends; with `stop_jobs_on_exit`, its jobs end too."""
    async with open_job_database(runner_config.results) as job_database, trio.open_nursery() as nursery:
        job_manager = JobManager(runner_config, NoLinks(), Router({}), job_database, lambda: stop_jobs_on_exit)
        await nursery.start(job_manager.run)
        yield job_manager
        nursery.cancel_scope.cancel()


def package_effect(size=1):
    return ReceivePackage(1, CREDENTIAL, SubmitJob(JobKind.TRAIN, "p.zip", size))


async def next_event(job_manager):
    with trio.fail_after(HANG_TIME):
        return await job_manager.router.outbox.take()


async def adopts(job_manager):
    """Let the job manager adopt what earlier workers left; return whether a job of them still runs."""
    await job_manager.adopt()
    return any(job.supervisor is not None for job in job_manager.jobs.values())


async def next_of(job_manager, kind):
    """Return the next event of this type, and discard those before it: each check reports all jobs that are known."""
    while not isinstance(event := await next_event(job_manager), kind):
        pass
    return event


async def start_job(job_manager):
    """Receive the package, and start the job."""
    job_manager.receive_package(package_effect())
    assert await next_event(job_manager) == PackageReceived("job-1")
    job_manager.start(StartJob("job-1"))


async def wait_training(job_manager):
    with trio.fail_after(HANG_TIME):
        async for event in job_manager.jobs["job-1"].watcher.follow():
            if isinstance(event.news, ModelStarted):
                return


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".sqlite3")


async def test_a_sender_hears_that_its_package_is_here_only_when_its_job_has_begun(runner_config, sent, monkeypatch):
    heard = trio.Event()
    receive = Incoming.receive

    async def receive_and_tell(incoming, *arguments, **options):
        path = await receive(incoming, *arguments, **options)
        heard.set()  # `receive` has sent FileVerified
        return path

    monkeypatch.setattr(Incoming, "receive", receive_and_tell)
    async with open_job_manager(runner_config) as job_manager:
        job_manager.receive_package(package_effect())
        assert await next_event(job_manager) == PackageReceived("job-1")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not heard.is_set()
        job_manager.start(StartJob("job-1"))
        with trio.fail_after(HANG_TIME):
            await heard.wait()


async def test_a_sender_whose_job_is_given_up_at_the_last_byte_hears_of_no_success(runner_config, sent, monkeypatch):
    heard = []
    receive = Incoming.receive

    async def receive_and_tell(incoming, *arguments, **options):
        heard.append(await receive(incoming, *arguments, **options))
        return heard[-1]

    monkeypatch.setattr(Incoming, "receive", receive_and_tell)
    async with open_job_manager(runner_config) as job_manager:
        job_manager.receive_package(package_effect())
        assert await next_event(job_manager) == PackageReceived("job-1")
        over = job_manager.jobs["job-1"].over
        job_manager.discard_job(DiscardJob("job-1"))
        with trio.fail_after(HANG_TIME):
            await over.wait()
    assert heard == []


@pytest.mark.slow
async def test_a_job_is_run_packed_recorded_and_its_folder_removed(runner_config, sent):
    async with open_job_manager(runner_config) as job_manager:
        await start_job(job_manager)
        assert await next_event(job_manager) == JobFinished(
            "job-1", Outcome.DONE, "Trained 1 model: centroid.", result=True
        )
        assert names(runner_config.work) == []
        assert names(runner_config.results) == ["job-1.events.jsonl", "job-1.zip"]
        record = await job_manager.job_database.find("job-1", "key")
        assert (record.stage, record.outcome, record.is_fetchable) == (JobStage.ENDED, Outcome.DONE, True)


@pytest.mark.slow
async def test_a_result_that_its_owner_has_is_removed(runner_config, sent):
    async with open_job_manager(runner_config) as job_manager:
        await start_job(job_manager)
        await next_event(job_manager)
        job_manager.release_result(ReleaseResult("job-1"))
        with trio.fail_after(HANG_TIME):
            while (await job_manager.job_database.get("job-1")).is_fetchable:  # noqa: ASYNC110 (files have no events)
                await trio.sleep(0.01)
        assert names(runner_config.results) == ["job-1.events.jsonl"]


async def test_a_job_discarded_while_its_package_is_received_leaves_nothing(runner_config, on_the_way):
    async with open_job_manager(runner_config) as job_manager:
        job_manager.receive_package(package_effect())
        await on_the_way.wait()
        assert names(runner_config.work) == ["job-1"]
        job_manager.discard_job(DiscardJob("job-1"))
        with trio.fail_after(HANG_TIME):
            while names(runner_config.work):  # noqa: ASYNC110 (files have no events)
                await trio.sleep(0.01)
        assert await job_manager.job_database.all_ids() == frozenset()
        assert job_manager.known_jobs == set()
        assert await next_event(job_manager) == CloseLink(1, NOT_AWAITED), "its sender may have just returned"
        with pytest.raises(trio.WouldBlock):
            job_manager.router.outbox.take_nowait()


async def test_a_job_cancelled_while_its_package_is_received_is_reported_as_cancelled(runner_config, on_the_way):
    async with open_job_manager(runner_config) as job_manager:
        job_manager.receive_package(package_effect())
        await on_the_way.wait()
        job_manager.cancel(Cancel("job-1"))
        failed = await next_event(job_manager)
        assert isinstance(failed, PackageFailed)
        assert failed.fault.code is FaultCode.CANCELLED
        assert job_manager.known_jobs == {"job-1"}, "its sender may ask for it"
        record = await job_manager.job_database.find("job-1", CREDENTIAL.key)
        assert (record.stage, record.outcome, record.is_fetchable) == (JobStage.ENDED, Outcome.CANCELLED, False)
        assert names(runner_config.work) == []


async def test_a_job_that_is_being_prepared_when_the_program_ends_leaves_no_folder(runner_config, on_the_way):
    async with open_job_manager(runner_config) as job_manager:
        job_manager.receive_package(package_effect())
        await on_the_way.wait()
    assert names(runner_config.work) == []


@pytest.fixture
def in_two_parts(tmp_path, monkeypatch):
    """A package whose link 1 breaks, and which becomes complete over any other; returns the used links in order."""
    package = make_package(tmp_path / "p.zip")
    links = []

    async def receive(file_channel, folder):
        links.append(file_channel)
        await trio.lowlevel.checkpoint()
        if file_channel == 1:
            raise RtcError(FaultCode.LINK_LOST, "The link broke.")
        return shutil.copy(package, folder / "p.zip")

    replace_receiving(monkeypatch, receive)
    return links


async def test_a_package_whose_link_breaks_goes_on_over_the_next_one(runner_config, in_two_parts):
    async with open_job_manager(runner_config) as job_manager:
        job_manager.receive_package(package_effect())
        while not in_two_parts:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert (await job_manager.job_database.find("job-1", "key")).stage is JobStage.PREPARING
        job_manager.resume_package(SupplyPackage(2, "job-1"))
        assert await next_event(job_manager) == PackageReceived("job-1")
        assert in_two_parts == [1, 2]


@pytest.mark.slow
async def test_a_sender_that_returns_with_a_package_that_is_complete_is_notified(runner_config, in_two_parts):
    async with open_job_manager(runner_config) as job_manager:
        job_manager.receive_package(package_effect())
        job_manager.resume_package(SupplyPackage(2, "job-1"))
        assert await next_event(job_manager) == PackageReceived("job-1")
        job_manager.start(StartJob("job-1"))
        job_manager.resume_package(SupplyPackage(3, "job-1"))
        assert (await next_event(job_manager)).outcome is Outcome.DONE
        assert in_two_parts[-1] == 3
        job_manager.resume_package(SupplyPackage(4, "job-1"))
        assert await next_event(job_manager) == CloseLink(4, NOT_AWAITED), "the job has ended"


async def test_a_package_that_is_given_up_leaves_nothing(runner_config, in_two_parts):
    async with open_job_manager(runner_config) as job_manager:
        job_manager.receive_package(package_effect())
        while not in_two_parts:
            await trio.lowlevel.checkpoint()
        job_manager.discard_job(DiscardJob("job-1"))
        with trio.fail_after(HANG_TIME):
            while any(runner_config.work.iterdir()):  # noqa: ASYNC110 (a disk has no event)
                await trio.sleep(0.01)
        assert await job_manager.job_database.find("job-1", "key") is None


async def test_a_full_disk_refuses_the_package_and_leaves_nothing(runner_config, sent, monkeypatch):
    async def full(_channel, folder):
        (folder / "half").write_text("")
        await trio.lowlevel.checkpoint()
        raise OSError(errno.ENOSPC, "No space left on device")

    replace_receiving(monkeypatch, full)
    async with open_job_manager(runner_config) as job_manager:
        job_manager.receive_package(package_effect())
        assert isinstance(await next_event(job_manager), PackageFailed)
        assert names(runner_config.work) == []


@pytest.mark.slow
async def test_a_package_that_cannot_be_understood_is_a_job_that_failed(runner_config, sent):
    sent.write_bytes(b"no zip at all")
    async with open_job_manager(runner_config) as job_manager:
        await start_job(job_manager)
        finished = await next_event(job_manager)
        assert finished.outcome is Outcome.FAILED
        assert "is not a zip archive" in finished.text
        assert names(runner_config.work) == []


@pytest.mark.slow
async def test_a_stop_requested_before_there_is_a_supervisor_is_not_lost(runner_config, sent):
    make_package(sent, **LONG)
    async with open_job_manager(runner_config) as job_manager:
        await start_job(job_manager)
        job_manager.stop_early(StopEarly("job-1", StopScope.THIS))
        assert (await next_event(job_manager)).outcome is Outcome.DONE


@pytest.mark.slow
async def test_a_cancelled_job_ends_and_its_results_are_kept(runner_config, sent):
    make_package(sent, **LONG)
    async with open_job_manager(runner_config) as job_manager:
        await start_job(job_manager)
        await wait_training(job_manager)
        job_manager.cancel(Cancel("job-1"))
        finished = await next_event(job_manager)
        assert (finished.outcome, finished.result) == (Outcome.CANCELLED, True)
        assert names(runner_config.work) == []


@pytest.mark.slow
async def test_jobs_end_with_the_job_manager_when_that_is_requested(runner_config, sent):
    make_package(sent, **LONG)
    async with open_job_manager(runner_config) as job_manager:
        await start_job(job_manager)
        await wait_training(job_manager)
    assert names(runner_config.work) == []
    async with open_job_database(runner_config.results) as job_database:
        assert (await job_database.get("job-1")).outcome is Outcome.CANCELLED


@pytest.mark.slow
async def test_jobs_go_on_without_the_job_manager_and_the_next_one_adopts_them(runner_config, sent, recwarn):
    make_package(sent, **LONG)
    async with open_job_manager(runner_config, stop_jobs_on_exit=False) as job_manager:
        await start_job(job_manager)
        await wait_training(job_manager)
    assert names(runner_config.work) == ["job-1"]
    async with open_job_manager(runner_config) as job_manager:
        await job_manager.adopt()
        assert await next_event(job_manager) == JobAdopted("job-1")
        assert job_manager.known_jobs == {"job-1"}
        job_manager.stop_early(StopEarly("job-1", StopScope.THIS))
        assert (await next_event(job_manager)).text == "Trained 1 model: centroid."
    assert names(runner_config.work) == []


OTHER = "GPU-other"


@pytest.mark.parametrize(
    ("own", "of_job", "is_ours"),
    [
        (None, None, True),
        ((), None, True),
        (None, "A", False),
        (("A",), None, False),
        (("A",), "A", True),
        (("A", "B"), "A,B", True),
        (("A",), "A,B", True),
        (("B",), "A,B", False),
        (("A", "B"), "B", True),
    ],
)
def test_a_running_job_belongs_to_the_worker_that_has_its_first_gpu(runner_config, own, of_job, is_ours):
    assert evolve(runner_config, gpus=own).has_gpu_of(of_job) is is_ours
    assert evolve(runner_config, gpus=("A", "B")).gpu_text == "A,B"
    assert evolve(runner_config, gpus=()).gpu_text is None


@pytest.mark.slow
async def test_a_job_of_another_gpu_is_left_to_its_worker(runner_config, sent):
    make_package(sent, **LONG)
    async with open_job_manager(runner_config, stop_jobs_on_exit=False) as job_manager:
        await start_job(job_manager)
        await wait_training(job_manager)
        await job_manager.job_database._change("UPDATE jobs SET gpu = ?", OTHER)
    async with open_job_manager(runner_config) as job_manager:
        assert not await adopts(job_manager)
        assert job_manager.jobs == {}
        await job_manager.job_database._change("UPDATE jobs SET gpu = NULL")
    async with open_job_manager(runner_config) as job_manager:
        assert await adopts(job_manager)


async def test_a_folder_without_a_complete_package_is_removed_and_one_with_a_living_worker_is_not(runner_config, sent):
    async with open_job_manager(runner_config) as first:
        first.receive_package(package_effect())
        assert await next_event(first) == PackageReceived("job-1")
        create_locked_folder(runner_config.work / "job-0").release()
        async with open_job_manager(runner_config) as second:
            assert not await adopts(second)
            assert names(runner_config.work) == ["job-1"]


@pytest.mark.slow
@pytest.mark.parametrize("results_gone", [False, True])
async def test_a_result_that_cannot_be_packed_is_kept_where_the_final_sentence_says(
    results_gone, runner_config, sent, monkeypatch
):
    async def broken(*_arguments):
        await trio.lowlevel.checkpoint()
        if results_gone:
            monkeypatch.setattr(ResultStore, "keep_files", _keep_nowhere(ResultStore.keep_files))
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(result_store, "pack_results", broken)
    async with open_job_manager(runner_config) as job_manager:
        await start_job(job_manager)
        finished = await next_event(job_manager)
    assert (finished.outcome, finished.result) == (Outcome.FAILED, False)
    kept_folder, expected_text = (
        ("work/job-1", "job-1 of its work") if results_gone else ("results/job-1.kept", "job-1.kept of its")
    )
    assert expected_text in finished.text
    assert str(runner_config.work.parent) not in finished.text
    assert len(list((runner_config.work.parent / kept_folder).rglob("best.ckpt"))) == 1
    async with open_job_manager(runner_config) as job_manager:
        assert not await adopts(job_manager)
    assert os.listdir(runner_config.work.parent / kept_folder)


def _keep_nowhere(real):
    async def keep_files(on, job):
        return await real(
            evolve(on, runner_config=evolve(on.runner_config, results=on.runner_config.results / "gone")), job
        )

    return keep_files


# -------- what an earlier worker left unfinished


async def leave_unfinished(runner_config, monkeypatch, remove):
    """Leave a finished job whose worker died while it removed the job's folder; `remove` does as much as was done."""
    with monkeypatch.context() as patch:
        patch.setattr(FolderLock, "remove", remove)
        async with open_job_manager(runner_config) as job_manager:
            await start_job(job_manager)
            await next_event(job_manager)
    assert names(runner_config.work) == ["job-1"]


@pytest.mark.slow
@pytest.mark.parametrize("gone", [".supervisor", "package"])
async def test_a_worker_killed_while_it_cleans_up_loses_no_result(gone, runner_config, sent, monkeypatch):
    def remove(lock):
        path = lock.folder / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        lock.release()

    await leave_unfinished(runner_config, monkeypatch, remove)
    size = (runner_config.results / "job-1.zip").stat().st_size
    async with open_job_manager(runner_config) as job_manager:
        assert not await adopts(job_manager)
        record = await job_manager.job_database.find("job-1", "key")
        assert (record.outcome, record.is_fetchable) == (Outcome.DONE, True)
    assert (runner_config.results / "job-1.zip").stat().st_size == size
    assert names(runner_config.work) == []


@pytest.mark.slow
async def test_an_end_that_cannot_be_recorded_is_recorded_at_the_next_check(runner_config, sent, monkeypatch):
    async def full(*_arguments):
        await trio.lowlevel.checkpoint()
        raise RtcError(FaultCode.DISK_FULL, "The records cannot be written.")

    monkeypatch.setattr(job_manager_module, "CLEANUP_PERIOD", 0.05)
    with monkeypatch.context() as patch, trio.fail_after(HANG_TIME):
        patch.setattr(JobDatabase, "mark_ended", full)
        async with open_job_manager(runner_config) as job_manager:
            job_manager.receive_package(package_effect())
            await next_of(job_manager, PackageReceived)
            job_manager.start(StartJob("job-1"))
            assert (await next_of(job_manager, JobFinished)).result
            assert (await job_manager.job_database.get("job-1")).stage is JobStage.RUNNING
            patch.undo()
            while names(runner_config.work):  # noqa: ASYNC110 (a disk has no event)
                await trio.sleep(0.01)
            assert (await job_manager.job_database.get("job-1")).is_fetchable


@pytest.mark.long
async def test_while_the_disk_is_full_a_result_waits_for_room_and_its_owner_is_told(runner_config, sent, monkeypatch):
    real, tried, said = result_store.pack_results, [], []

    async def full_once(*arguments):
        tried.append(arguments)
        if len(tried) == 1:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        await real(*arguments)

    monkeypatch.setattr(result_store, "pack_results", full_once)
    monkeypatch.setattr(result_store, "ROOM_PERIOD", 0.2)
    async with open_job_manager(runner_config) as job_manager:
        job_manager.result_store.say = said.append
        await start_job(job_manager)
        job = job_manager.jobs["job-1"]
        await job.noticed.wait()
        assert job.notice == JobNote("job-1", result_store.NO_ROOM, NoteKind.WARNING)
        assert job.status_line.text == result_store.NO_ROOM
        finished = await next_event(job_manager)
        assert (await job_manager.job_database.get("job-1")).is_fetchable
    assert (finished.outcome, finished.result) == (Outcome.DONE, True)
    assert len(said) == 1
    assert "Make room there" in said[0]


@pytest.mark.slow
async def test_files_that_were_kept_are_not_reported_as_lost(runner_config, sent, monkeypatch):
    async def broken(*_arguments):
        await trio.lowlevel.checkpoint()
        raise OSError(errno.EIO, "Input/output error")

    async def killed(*_arguments):
        await trio.sleep_forever()

    with monkeypatch.context() as patch:
        patch.setattr(result_store, "pack_results", broken)
        patch.setattr(ResultStore, "keep_files", killed)
        async with open_job_manager(runner_config, stop_jobs_on_exit=False) as job_manager:
            await start_job(job_manager)
            while (await job_manager.job_database.get("job-1")).stage is not JobStage.ENDED:  # noqa: ASYNC110 (a database has no events)
                await trio.sleep(0.01)
    async with open_job_manager(runner_config) as job_manager:
        assert not await adopts(job_manager)
        assert "its files are kept on the worker" in (await job_manager.job_database.get("job-1")).text
    assert list((runner_config.results / "job-1.kept").rglob("best.ckpt"))


@pytest.mark.slow
async def test_a_job_of_another_work_folder_is_not_given_up(runner_config, sent, tmp_path):
    make_package(sent, **LONG)
    other = evolve(runner_config, work=tmp_path / "work-2")
    other.work.mkdir()
    async with open_job_manager(runner_config) as job_manager:
        await start_job(job_manager)
        await wait_training(job_manager)
        async with open_job_manager(other) as second:
            assert not await adopts(second)
            assert (await second.job_database.get("job-1")).stage is JobStage.RUNNING
        job_manager.cancel(Cancel("job-1"))
        await next_event(job_manager)


@pytest.mark.slow
async def test_a_job_whose_result_is_for_another_folder_is_left_alone(runner_config, sent, tmp_path):
    make_package(sent, **LONG)
    other = evolve(runner_config, results=tmp_path / "results-2")
    other.results.mkdir()
    async with open_job_manager(runner_config, stop_jobs_on_exit=False) as job_manager:
        await start_job(job_manager)
        await wait_training(job_manager)
    async with open_job_manager(other) as second:
        assert not await adopts(second)
        assert second.jobs == {}
    async with open_job_manager(runner_config) as job_manager:
        assert await adopts(job_manager)


@pytest.mark.slow
async def test_workers_of_two_gpus_that_start_together_do_not_hide_a_job_from_each_other(runner_config, sent):
    make_package(sent, **LONG)
    async with open_job_manager(runner_config, stop_jobs_on_exit=False) as job_manager:
        await start_job(job_manager)
        await wait_training(job_manager)
    adopted = []

    async def adopt(job_manager):
        adopted.append((job_manager.runner_config.gpus, await adopts(job_manager)))

    async with open_job_manager(evolve(runner_config, gpus=(OTHER,))) as one, open_job_manager(runner_config) as two:
        async with trio.open_nursery() as nursery:
            for job_manager in (one, two, one):
                nursery.start_soon(adopt, job_manager)
        assert sorted(adopted, key=str) == [((OTHER,), False), ((OTHER,), False), (None, True)]


@pytest.mark.slow
async def test_a_job_that_ended_without_a_worker_is_reported_so(runner_config, sent, monkeypatch, tmp_path):
    make_package(sent, wait_for=str(tmp_path / "go on"))
    async with open_job_manager(runner_config, stop_jobs_on_exit=False) as job_manager:
        await start_job(job_manager)
        await wait_training(job_manager)
    (tmp_path / "go on").touch()
    await trio.to_thread.run_sync(wait_unlocked, runner_config.work / "job-1" / SUPERVISOR_LOCK)

    async def slow(*_arguments):
        await trio.sleep_forever()

    monkeypatch.setattr(ResultStore, "store", slow)
    async with open_job_manager(runner_config, stop_jobs_on_exit=False) as job_manager:
        assert not await adopts(job_manager)
        assert "ended while no worker was there" in job_manager.jobs["job-1"].status_line.text


@pytest.mark.slow
async def test_a_corrected_clock_removes_no_new_result(runner_config, sent, monkeypatch):
    async with open_job_manager(runner_config) as job_manager:
        await start_job(job_manager)
        await next_event(job_manager)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 100 * runner_config.keep_time)
        await job_manager.result_store.expire()
        assert (await job_manager.job_database.get("job-1")).is_fetchable
    async with open_job_manager(runner_config) as later:
        await later.result_store.expire()
        assert not (await later.job_database.get("job-1")).is_fetchable

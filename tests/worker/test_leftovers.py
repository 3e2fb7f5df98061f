"""What no client needs any more is removed, and clients that still wait for it are notified."""

import os
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import trio

from actors.events import (
    DiscardJob,
    JobCredential,
    JobFinished,
    PackageFailed,
    PackageReceived,
    ReceivePackage,
    StartJob,
    StopEarly,
)
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.jobs import JobEnded, JobKind, Outcome, Progress, StopScope, SubmitJob
from rtc.common import short_paths
from rtc.common.errors import RtcError
from rtc.common.scratch_dirs import scratch_name, sweep
from rtc.runner.folder_lock import create_locked_folder
from rtc.runner.job_files import PACKAGE, RESULT_PATHS
from rtc.testing.file_channels import replace_receiving
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import install_stand_in, make_package
from rtc.worker.job import Job, RunnerConfig
from rtc.worker.job_database import open_job_database
from rtc.worker.job_manager import PACKAGE_INCOMPLETE, JobManager

CREDENTIAL = JobCredential("job-1", "key")
SPOILT = Fault(FaultCode.DAMAGED, "The package arrived damaged.")


class NoLinks:
    """A link manager without links."""

    def file_channel(self, _link):
        return object()


@asynccontextmanager
async def open_job_manager(folder):
    for name in ("work", "results"):
        (folder / name).mkdir()
    sleap_nn = install_stand_in(folder / "bin")
    runner_config = RunnerConfig(folder / "work", folder / "results", sleap_nn, "cpu", None, 1000, 10**6)
    async with open_job_database(runner_config.results) as job_database, trio.open_nursery() as nursery:
        job_manager = JobManager(runner_config, NoLinks(), Router({}), job_database, lambda: True)
        await nursery.start(job_manager.run)
        yield job_manager
        nursery.cancel_scope.cancel()


async def next_event(job_manager):
    with trio.fail_after(HANG_TIME):
        return await job_manager.router.outbox.take()


async def empty(folder):
    with trio.fail_after(HANG_TIME):
        while any(folder.iterdir()):  # noqa: ASYNC110 (a disk has no event)
            await trio.sleep(0.01)


async def test_a_client_that_follows_a_job_whose_package_never_becomes_complete_is_notified(tmp_path, monkeypatch):
    lost = trio.Event()

    async def receive(_channel, _folder):
        await lost.wait()
        raise RtcError.of(SPOILT)

    replace_receiving(monkeypatch, receive)
    async with open_job_manager(tmp_path) as job_manager:
        job_manager.receive_package(ReceivePackage(1, CREDENTIAL, SubmitJob(JobKind.TRAIN, "p.zip", 1)))
        job = job_manager.jobs["job-1"]
        lost.set()
        with trio.fail_after(HANG_TIME):
            assert [event async for event in job.watcher.follow()] == []
            await job.over.wait()
        assert job.ended == JobEnded("job-1", Outcome.FAILED, PACKAGE_INCOMPLETE, result=False)
        assert await next_event(job_manager) == PackageFailed("job-1", SPOILT)
        await empty(job_manager.runner_config.work)


async def test_a_package_that_becomes_complete_just_as_its_job_is_discarded_is_removed(tmp_path, monkeypatch):
    package = make_package(tmp_path / "p.zip")

    async def receive(_channel, folder):
        await trio.lowlevel.checkpoint()
        return shutil.copy(package, folder / "p.zip")

    replace_receiving(monkeypatch, receive)
    async with open_job_manager(tmp_path) as job_manager:
        job_manager.receive_package(ReceivePackage(1, CREDENTIAL, SubmitJob(JobKind.TRAIN, "p.zip", 1)))
        assert await next_event(job_manager) == PackageReceived("job-1")
        job_manager.discard_job(DiscardJob("job-1"))
        await empty(job_manager.runner_config.work)
        assert await job_manager.job_database.find("job-1", "key") is None
        assert job_manager.jobs == {}


@asynccontextmanager
async def training(folder, monkeypatch):
    """Open a job manager with a job that trains; yield it and the job's folder."""
    package = make_package(folder / "p.zip", epochs=5000, seconds=0.05)

    async def receive(_channel, folder):
        await trio.lowlevel.checkpoint()
        return shutil.copy(package, folder / "p.zip")

    replace_receiving(monkeypatch, receive)
    async with open_job_manager(folder) as job_manager:
        job_manager.receive_package(ReceivePackage(1, CREDENTIAL, SubmitJob(JobKind.TRAIN, "p.zip", 1)))
        assert await next_event(job_manager) == PackageReceived("job-1")
        job_manager.start(StartJob("job-1"))
        with trio.fail_after(HANG_TIME):
            async for event in job_manager.jobs["job-1"].watcher.follow():
                if isinstance(event.news, Progress):
                    break
        yield job_manager, job_manager.jobs["job-1"].folder


def spoil_list(folder):
    (folder / RESULT_PATHS).unlink()
    os.mkfifo(folder / RESULT_PATHS)


def spoil_folders(folder):
    (run,) = (folder / PACKAGE / "models").iterdir()
    (run / "/".join("d" * 150)).mkdir(parents=True)


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [spoil_list, spoil_folders])
async def test_a_result_that_its_job_has_spoilt_is_kept_for_people_and_the_worker_goes_on(tmp_path, monkeypatch, spoil):
    async with training(tmp_path, monkeypatch) as (job_manager, folder):
        spoil(folder)
        job_manager.stop_early(StopEarly("job-1", StopScope.THIS))
        finished = await next_event(job_manager)
        assert isinstance(finished, JobFinished)
        assert (finished.outcome, finished.result) == (Outcome.FAILED, False)
        assert "could not be packed" in finished.text
        assert (tmp_path / "results" / "job-1.kept" / PACKAGE / "job.log").is_file()
        await empty(job_manager.runner_config.work)


@pytest.mark.slow
async def test_a_file_whose_name_is_no_text_ends_no_worker(tmp_path, monkeypatch):
    async with training(tmp_path, monkeypatch) as (job_manager, folder):
        (run,) = (folder / PACKAGE / "models").iterdir()
        (run / os.fsdecode(b"caf\xe9.png")).touch()
        job_manager.stop_early(StopEarly("job-1", StopScope.THIS))
        assert (await next_event(job_manager)).outcome is Outcome.DONE
        await empty(job_manager.runner_config.work)


@pytest.fixture
def dead():
    """The process id of a program that has ended."""
    program = subprocess.Popen([sys.executable, "-c", ""])
    program.wait()
    return str(program.pid)


def test_only_what_dead_programs_of_this_machine_have_left_is_removed(tmp_path, dead):
    mine = scratch_name()
    stale = mine.replace(f"-{os.getpid()}-", f"-{dead}-")
    foreign = f".sleap-rtc-othermachine-{dead}-abcd"
    for name in (mine, stale, foreign, ".sleap-rtc-abcd", "models"):
        (tmp_path / name / "inside").mkdir(parents=True)
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((mine, foreign, ".sleap-rtc-abcd", "models"))


async def test_the_short_path_of_a_killed_supervisor_is_removed_with_the_folder_of_its_job(tmp_path, monkeypatch):
    place = tmp_path / "t"
    own = place / f"srtc-{os.geteuid()}"
    own.mkdir(mode=0o700, parents=True)
    monkeypatch.setattr(short_paths, "PLACES", (str(place),))
    job = Job("job-1", tmp_path / "job-1", create_locked_folder(tmp_path / "job-1"))
    (job.folder / "tmp").mkdir()
    (own / "abcdef").symlink_to(job.folder / "tmp")
    await job.discard()
    assert list(place.iterdir()) == []

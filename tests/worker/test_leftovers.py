"""What nobody waits for any more is removed, and whoever still waits for it is told."""

import os
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import trio

from actors.events import Forget, JobOver, PackageFailed, PackageReceived, Prepare, StartJob, Ticket
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.jobs import JobEnded, JobKind, Outcome, Progress, SubmitJob
from rtc.common.errors import RtcError
from rtc.common.scratch_dirs import aside_name, sweep
from rtc.runner.job_files import MADE, PACKAGE
from rtc.testing.lanes import packages_come
from rtc.testing.stand_in import install_stand_in, make_package
from rtc.worker.job import Bench
from rtc.worker.job_database import open_records
from rtc.worker.job_manager import NEVER_CAME, Desk

TICKET = Ticket("job-1", "key")
SPOILT = Fault(FaultCode.DAMAGED, "The package arrived damaged.")


class NoLinks:
    """Links to nobody."""

    def lane(self, _link):
        return object()


@asynccontextmanager
async def open_desk(folder):
    for name in ("work", "results"):
        (folder / name).mkdir()
    sleap_nn = install_stand_in(folder / "bin")
    bench = Bench(folder / "work", folder / "results", sleap_nn, "cpu", None, 1000, 10**6)
    async with open_records(bench.results) as records, trio.open_nursery() as nursery:
        desk = Desk(bench, NoLinks(), Router({}), records, lambda: True)
        await nursery.start(desk.run)
        yield desk
        nursery.cancel_scope.cancel()


async def said(desk):
    with trio.fail_after(10):
        return await desk.router.outbox.take()


async def empty(folder):
    with trio.fail_after(10):
        while any(folder.iterdir()):  # noqa: ASYNC110 (a disk has no event)
            await trio.sleep(0.01)


async def test_who_follows_a_job_whose_package_then_never_comes_is_told(tmp_path, monkeypatch):
    lost = trio.Event()

    async def receive(_lane, _folder):
        await lost.wait()
        raise RtcError.of(SPOILT)

    packages_come(monkeypatch, receive)
    async with open_desk(tmp_path) as desk:
        desk.prepare(Prepare(1, TICKET, SubmitJob(JobKind.TRAIN, "p.zip", 1)))
        job = desk.jobs["job-1"]
        lost.set()
        with trio.fail_after(10):
            assert [event async for event in job.feed.follow()] == []
            await job.over.wait()
        assert job.ended == JobEnded("job-1", Outcome.FAILED, NEVER_CAME, result=False)
        assert await said(desk) == PackageFailed("job-1", SPOILT)
        await empty(desk.bench.work)


async def test_a_package_that_comes_just_when_nobody_wants_it_any_more_is_removed(tmp_path, monkeypatch):
    package = make_package(tmp_path / "p.zip")

    async def receive(_lane, folder):
        await trio.lowlevel.checkpoint()
        return shutil.copy(package, folder / "p.zip")

    packages_come(monkeypatch, receive)
    async with open_desk(tmp_path) as desk:
        desk.prepare(Prepare(1, TICKET, SubmitJob(JobKind.TRAIN, "p.zip", 1)))
        assert await said(desk) == PackageReceived(TICKET)
        desk.forget(Forget("job-1"))
        await empty(desk.bench.work)
        assert await desk.records.find("job-1", "key") is None
        assert desk.jobs == {}


@asynccontextmanager
async def training(folder, monkeypatch):
    """A desk, and the folder of a job that trains."""
    package = make_package(folder / "p.zip", epochs=10, seconds=0.1)

    async def receive(_lane, folder):
        await trio.lowlevel.checkpoint()
        return shutil.copy(package, folder / "p.zip")

    packages_come(monkeypatch, receive)
    async with open_desk(folder) as desk:
        desk.prepare(Prepare(1, TICKET, SubmitJob(JobKind.TRAIN, "p.zip", 1)))
        assert await said(desk) == PackageReceived(TICKET)
        desk.start(StartJob("job-1"))
        with trio.fail_after(10):
            async for event in desk.jobs["job-1"].feed.follow():
                if isinstance(event.news, Progress):
                    break
        yield desk, desk.jobs["job-1"].folder


def spoil_list(folder):
    (folder / MADE).unlink()
    os.mkfifo(folder / MADE)


def spoil_folders(folder):
    (run,) = (folder / PACKAGE / "models").iterdir()
    (run / "/".join("d" * 150)).mkdir(parents=True)


@pytest.mark.parametrize("spoil", [spoil_list, spoil_folders])
async def test_a_result_that_its_job_has_spoilt_is_kept_for_people_and_the_worker_goes_on(tmp_path, monkeypatch, spoil):
    async with training(tmp_path, monkeypatch) as (desk, folder):
        spoil(folder)
        over = await said(desk)
        assert isinstance(over, JobOver)
        assert (over.outcome, over.result) == (Outcome.FAILED, False)
        assert "could not be packed" in over.text
        assert (tmp_path / "results" / "job-1.kept" / PACKAGE / "job.log").is_file()
        await empty(desk.bench.work)


async def test_a_file_whose_name_is_no_text_ends_no_worker(tmp_path, monkeypatch):
    async with training(tmp_path, monkeypatch) as (desk, folder):
        (run,) = (folder / PACKAGE / "models").iterdir()
        (run / os.fsdecode(b"caf\xe9.png")).touch()
        assert (await said(desk)).outcome is Outcome.DONE
        await empty(desk.bench.work)


@pytest.fixture
def dead():
    """The id of a program that lives no more."""
    program = subprocess.Popen([sys.executable, "-c", ""])
    program.wait()
    return str(program.pid)


def test_only_what_dead_programs_of_this_machine_have_left_is_swept_away(tmp_path, dead):
    mine = aside_name()
    stale = mine.replace(f"-{os.getpid()}-", f"-{dead}-")
    foreign = f".sleap-rtc-othermachine-{dead}-abcd"
    for name in (mine, stale, foreign, ".sleap-rtc-abcd", "models"):
        (tmp_path / name / "inside").mkdir(parents=True)
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((mine, foreign, ".sleap-rtc-abcd", "models"))

"""What nobody waits for any more is removed, and whoever still waits for it is told."""

import os
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import trio

from actors.events import Forget, PackageFailed, PackageReceived, Prepare, Ticket
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.jobs import JobEnded, JobKind, Outcome, SubmitJob
from rtc.aside import aside_name, sweep
from rtc.desk import NEVER_CAME, Desk
from rtc.errors import RtcError
from rtc.job import Bench
from rtc.jobs.records import open_records
from rtc.testing.lanes import packages_come
from rtc.testing.stand_in import install_stand_in, make_package

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

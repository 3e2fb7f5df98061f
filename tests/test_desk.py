"""The job desk leaves nothing behind, loses no result, and touches nobody else's folders."""

import errno
import os
import shutil

import pytest
import trio

from actors.events import Forget, JobOver, PackageArrived, PackageFailed, Prepare, StartJob, Ticket
from actors.router import Router
from protocol.jobs import JobKind, Outcome, SubmitJob
from rtc import desk as desk_room
from rtc.desk import Bench, Desk
from rtc.jobs.claim import LOCK, claim_folder
from rtc.jobs.launcher import JobResult
from rtc.testing.stand_in import install_stand_in, make_package


class NoLinks:
    """Links to nobody: the package is here already, and nobody hears the news."""

    def lane(self, _link):
        return object()

    def link(self, _link):
        return None


@pytest.fixture
def new_desk(tmp_path, monkeypatch):
    """Desks that share their folders, and get their packages from this disk."""
    package = make_package(tmp_path / "p.zip")
    for name in ("work", "results"):
        (tmp_path / name).mkdir()
    bench = Bench(tmp_path / "work", tmp_path / "results", install_stand_in(tmp_path / "bin"), "cpu", None, 1000, 10**6)

    async def receive(_lane, folder, **_options):
        await trio.lowlevel.checkpoint()
        return shutil.copy(package, folder / "p.zip")

    monkeypatch.setattr(desk_room, "receive_file", receive)
    return lambda: Desk(bench, NoLinks(), Router({}))


def prepare(job="job-1"):
    return Prepare(1, Ticket(job, "key"), SubmitJob(JobKind.TRAIN, "p.zip", 1))


async def said(desk):
    with trio.fail_after(20):
        return await desk.router.outbox.take()


def told_when_done(monkeypatch, name):
    """An event for the end of one of the desk's own errands."""
    done, real = trio.Event(), getattr(desk_room, name)

    async def errand(*arguments):
        await real(*arguments)
        done.set()

    monkeypatch.setattr(desk_room, name, errand)
    return done


@pytest.fixture
def discarded(monkeypatch):
    return told_when_done(monkeypatch, "_discard")


@pytest.fixture
def swept(monkeypatch):
    return told_when_done(monkeypatch, "_sweep")


async def soon(event):
    with trio.fail_after(20):
        await event.wait()


async def test_a_job_forgotten_just_as_its_package_arrives_leaves_no_folder(new_desk, tmp_path, nursery, discarded):
    desk = new_desk()
    await nursery.start(desk.run)
    desk.prepare(prepare())
    assert await said(desk) == PackageArrived("job-1")
    assert os.listdir(tmp_path / "work") == ["job-1"]
    desk.forget(Forget("job-1"))
    await soon(discarded)
    assert os.listdir(tmp_path / "work") == []


async def test_a_job_forgotten_while_a_thread_reads_it_is_never_said_to_be_here(
    new_desk, tmp_path, nursery, monkeypatch, discarded
):
    desk = new_desk()
    real = desk_room.read_plan

    def read_slowly(folder):
        trio.from_thread.run_sync(desk.forget, Forget("job-1"))
        return real(folder)

    monkeypatch.setattr(desk_room, "read_plan", read_slowly)
    await nursery.start(desk.run)
    desk.prepare(prepare())
    await soon(discarded)
    assert os.listdir(tmp_path / "work") == []
    with pytest.raises(trio.WouldBlock):
        desk.router.outbox.take_nowait()


async def test_a_job_that_is_prepared_when_the_program_ends_leaves_no_folder(new_desk, tmp_path):
    desk = new_desk()
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.run)
        desk.prepare(prepare())
        assert await said(desk) == PackageArrived("job-1")
        nursery.cancel_scope.cancel()
    assert os.listdir(tmp_path / "work") == []


async def test_a_worker_removes_what_a_killed_one_left_and_nothing_that_lives(
    new_desk, tmp_path, nursery, monkeypatch, swept
):
    first, second = new_desk(), new_desk()
    await nursery.start(first.run)
    await soon(swept)
    first.prepare(prepare())
    assert await said(first) == PackageArrived("job-1")
    killed = claim_folder(tmp_path / "work" / "job-0")
    os.close(killed.descriptor)
    again = told_when_done(monkeypatch, "_sweep")
    await nursery.start(second.run)
    await soon(again)
    assert os.listdir(tmp_path / "work") == ["job-1"]
    first.start(StartJob("job-1"))
    assert (await said(first)).outcome is Outcome.DONE
    assert os.listdir(tmp_path / "work") == []
    assert sorted(os.listdir(tmp_path / "results")) == ["job-1.json", "job-1.zip"]


async def test_a_trainer_holds_its_folder_itself(new_desk, tmp_path, nursery, monkeypatch):
    async def look(*_arguments, inherit, **_options):
        (descriptor,) = inherit
        assert os.path.samestat(os.fstat(descriptor), os.stat(tmp_path / "work" / "job-1" / LOCK))
        await trio.lowlevel.checkpoint()
        return JobResult(Outcome.DONE, "Looked.")

    monkeypatch.setattr(desk_room, "run_job", look)
    desk = new_desk()
    await nursery.start(desk.run)
    desk.prepare(prepare())
    await said(desk)
    desk.start(StartJob("job-1"))
    assert await said(desk) == JobOver("job-1", Outcome.DONE, "Looked.", result=True)


async def test_a_full_disk_refuses_the_package_and_leaves_nothing(new_desk, tmp_path, nursery, monkeypatch, discarded):
    async def full(_lane, folder, **_options):
        (folder / "half").write_text("")
        await trio.lowlevel.checkpoint()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(desk_room, "receive_file", full)
    desk = new_desk()
    await nursery.start(desk.run)
    desk.prepare(prepare())
    assert isinstance(await said(desk), PackageFailed)
    await soon(discarded)
    assert os.listdir(tmp_path / "work") == []


@pytest.mark.parametrize("results_gone", [False, True])
async def test_a_result_that_cannot_be_packed_is_kept_where_the_last_word_says(
    results_gone, new_desk, tmp_path, nursery, monkeypatch
):
    async def full(*_arguments):
        await trio.lowlevel.checkpoint()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(desk_room, "pack_results", full)
    if results_gone:
        (tmp_path / "results").rmdir()
    desk = new_desk()
    await nursery.start(desk.run)
    desk.prepare(prepare())
    await said(desk)
    desk.start(StartJob("job-1"))
    over = await said(desk)
    assert (over.outcome, over.result) == (Outcome.FAILED, False)
    where, words = ("work/job-1", "job-1 of its work") if results_gone else ("results/job-1.kept", "job-1.kept of its")
    assert words in over.text
    assert str(tmp_path) not in over.text
    assert len(list((tmp_path / where).rglob("best.ckpt"))) == 1
    assert desk_room.sweep(tmp_path / "work") == ()

"""The job desk leaves nothing behind, loses no result, touches nobody else's folders, and takes up what was left."""

import errno
import os
import shutil
import time
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import evolve

from actors.events import (
    Cancel,
    Forget,
    JobOver,
    JobsKnown,
    JobTakenUp,
    PackageFailed,
    PackageReceived,
    Prepare,
    StartJob,
    StopEarly,
    Supply,
    Taken,
    Ticket,
)
from actors.router import Router
from protocol.faults import FaultCode
from protocol.jobs import JobKind, JobStage, Outcome, StopScope, SubmitJob
from rtc.common.errors import RtcError
from rtc.runner.folder_lock import Claim, claim_folder, wait_unlocked
from rtc.runner.job_files import LIFE
from rtc.testing.lanes import packages_come
from rtc.testing.stand_in import install_stand_in, make_package
from rtc.worker import job_manager as desk_room
from rtc.worker import result_store as shelf_room
from rtc.worker.job import Bench
from rtc.worker.job_database import Records, open_records
from rtc.worker.job_manager import Desk
from rtc.worker.result_store import Shelf

TICKET = Ticket("job-1", "key")
PATIENCE = 30.0


class NoLinks:
    """Links to nobody: the package is on this disk already. What stands for a lane is the link's number."""

    def lane(self, link):
        return link


@pytest.fixture
def bench(tmp_path):
    for name in ("work", "results"):
        (tmp_path / name).mkdir()
    return Bench(tmp_path / "work", tmp_path / "results", install_stand_in(tmp_path / "bin"), "cpu", None, 1000, 10**6)


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """What a client sends; tests may put another package there."""
    package = make_package(tmp_path / "p.zip")

    async def receive(_lane, folder):
        await trio.lowlevel.checkpoint()
        return shutil.copy(package, folder / "p.zip")

    packages_come(monkeypatch, receive)
    return package


@pytest.fixture
def on_the_way(monkeypatch):
    """A package that begins to come, which is told, and never comes whole."""
    there = trio.Event()

    async def receive(_lane, _folder):
        there.set()
        await trio.sleep_forever()

    packages_come(monkeypatch, receive)
    return there


@asynccontextmanager
async def open_desk(bench, *, stopping=True):
    """A desk with its records; it ends, and its jobs with it, unless they are to go on."""
    async with open_records(bench.results) as records, trio.open_nursery() as nursery:
        desk = Desk(bench, NoLinks(), Router({}), records, lambda: stopping)
        await nursery.start(desk.run)
        yield desk
        nursery.cancel_scope.cancel()


def prepare(size=1):
    return Prepare(1, TICKET, SubmitJob(JobKind.TRAIN, "p.zip", size))


async def said(desk):
    with trio.fail_after(PATIENCE):
        return await desk.router.outbox.take()


async def begin(desk):
    """From the wish for a job to its keeper."""
    desk.prepare(prepare())
    assert await said(desk) == PackageReceived(TICKET)
    desk.start(StartJob("job-1"))


async def until_it_trains(desk):
    with trio.fail_after(PATIENCE):
        while desk.jobs["job-1"].feed is None:
            await trio.lowlevel.checkpoint()
        async for event in desk.jobs["job-1"].feed.follow():
            if type(event.news).__name__ == "ModelStarted":
                return


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".sqlite3")


async def test_a_job_is_run_packed_recorded_and_its_folder_removed(bench, sent):
    async with open_desk(bench) as desk:
        await begin(desk)
        assert await said(desk) == JobOver("job-1", Outcome.DONE, "Trained 1 model: centroid.", result=True)
        assert names(bench.work) == []
        assert names(bench.results) == ["job-1.events.jsonl", "job-1.zip"]
        record = await desk.records.find("job-1", "key")
        assert (record.stage, record.outcome, record.waits) == (JobStage.ENDED, Outcome.DONE, True)


async def test_what_its_owner_has_is_not_kept(bench, sent):
    async with open_desk(bench) as desk:
        await begin(desk)
        await said(desk)
        desk.taken(Taken("job-1"))
        with trio.fail_after(PATIENCE):
            while (await desk.records.get("job-1")).waits:  # noqa: ASYNC110 (files have no events)
                await trio.sleep(0.01)
        assert names(bench.results) == ["job-1.events.jsonl"]


async def test_a_job_forgotten_when_its_package_is_on_the_way_leaves_nothing(bench, on_the_way):
    async with open_desk(bench) as desk:
        desk.prepare(prepare())
        await on_the_way.wait()
        assert names(bench.work) == ["job-1"]
        desk.forget(Forget("job-1"))
        with trio.fail_after(PATIENCE):
            while names(bench.work):  # noqa: ASYNC110 (files have no events)
                await trio.sleep(0.01)
        assert await desk.records.all_ids() == frozenset()
        with pytest.raises(trio.WouldBlock):
            desk.router.outbox.take_nowait()


async def test_a_job_cancelled_when_its_package_is_on_the_way_is_said_to_be(bench, on_the_way):
    async with open_desk(bench) as desk:
        desk.prepare(prepare())
        await on_the_way.wait()
        desk.cancel(Cancel("job-1"))
        failed = await said(desk)
        assert isinstance(failed, PackageFailed)
        assert failed.fault.code is FaultCode.CANCELLED


async def test_a_job_that_is_prepared_when_the_program_ends_leaves_no_folder(bench, on_the_way):
    async with open_desk(bench) as desk:
        desk.prepare(prepare())
        await on_the_way.wait()
    assert names(bench.work) == []


@pytest.fixture
def in_two_parts(tmp_path, monkeypatch):
    """A package whose link 1 breaks; over any other it comes whole. The links that were turned to, in order."""
    package = make_package(tmp_path / "p.zip")
    links = []

    async def receive(lane, folder):
        links.append(lane)
        await trio.lowlevel.checkpoint()
        if lane == 1:
            raise RtcError(FaultCode.LINK_LOST, "The link broke.")
        return shutil.copy(package, folder / "p.zip")

    packages_come(monkeypatch, receive)
    return links


async def test_a_package_whose_link_breaks_goes_on_over_the_next_one(bench, in_two_parts):
    async with open_desk(bench) as desk:
        desk.prepare(prepare())
        with trio.move_on_after(0.3):
            pytest.fail(f"said of a broken link: {await desk.router.outbox.take()}")
        assert (await desk.records.find("job-1", "key")).stage is JobStage.PREPARING
        desk.supply(Supply(2, "job-1"))
        assert await said(desk) == PackageReceived(TICKET)
        assert in_two_parts == [1, 2]


async def test_who_comes_back_with_a_package_that_is_here_is_told_so(bench, in_two_parts):
    async with open_desk(bench) as desk:
        desk.prepare(prepare())
        desk.supply(Supply(2, "job-1"))
        assert await said(desk) == PackageReceived(TICKET)
        desk.start(StartJob("job-1"))
        desk.supply(Supply(3, "job-1"))
        assert (await said(desk)).outcome is Outcome.DONE
        assert in_two_parts[-1] == 3
        desk.supply(Supply(4, "job-1"))  # it is over, and its Visit says so


async def test_a_package_that_nobody_brings_any_more_leaves_nothing(bench, in_two_parts):
    async with open_desk(bench) as desk:
        desk.prepare(prepare())
        while not in_two_parts:
            await trio.lowlevel.checkpoint()
        desk.forget(Forget("job-1"))
        with trio.fail_after(PATIENCE):
            while any(bench.work.iterdir()):  # noqa: ASYNC110 (a disk has no event)
                await trio.sleep(0.01)
        assert await desk.records.find("job-1", "key") is None


async def test_a_full_disk_refuses_the_package_and_leaves_nothing(bench, sent, monkeypatch):
    async def full(_lane, folder):
        (folder / "half").write_text("")
        await trio.lowlevel.checkpoint()
        raise OSError(errno.ENOSPC, "No space left on device")

    packages_come(monkeypatch, full)
    async with open_desk(bench) as desk:
        desk.prepare(prepare())
        assert isinstance(await said(desk), PackageFailed)
        assert names(bench.work) == []


async def test_a_package_that_cannot_be_understood_is_a_job_that_failed(bench, sent):
    sent.write_bytes(b"no zip at all")
    async with open_desk(bench) as desk:
        await begin(desk)
        over = await said(desk)
        assert over.outcome is Outcome.FAILED
        assert "is not a zip archive" in over.text
        assert names(bench.work) == []


async def test_a_stop_asked_before_there_is_a_keeper_is_not_lost(bench, sent):
    make_package(sent, epochs=500, seconds=0.05)
    async with open_desk(bench) as desk:
        await begin(desk)
        desk.stop_early(StopEarly("job-1", StopScope.THIS))
        assert (await said(desk)).outcome is Outcome.DONE


async def test_a_cancelled_job_ends_and_what_it_made_is_kept(bench, sent):
    make_package(sent, epochs=500, seconds=0.05)
    async with open_desk(bench) as desk:
        await begin(desk)
        await until_it_trains(desk)
        desk.cancel(Cancel("job-1"))
        over = await said(desk)
        assert (over.outcome, over.result) == (Outcome.CANCELLED, True)
        assert names(bench.work) == []


async def test_jobs_end_with_the_desk_when_that_is_wanted(bench, sent):
    make_package(sent, epochs=500, seconds=0.05)
    async with open_desk(bench) as desk:
        await begin(desk)
        await until_it_trains(desk)
    assert names(bench.work) == []
    async with open_records(bench.results) as records:
        assert (await records.get("job-1")).outcome is Outcome.CANCELLED


async def test_jobs_go_on_without_the_desk_and_the_next_one_takes_them_up(bench, sent, recwarn):
    make_package(sent, epochs=60, seconds=0.05)
    async with open_desk(bench, stopping=False) as desk:
        await begin(desk)
        await until_it_trains(desk)
    assert names(bench.work) == ["job-1"]
    async with open_desk(bench) as desk:
        assert await desk.take_up()
        assert await said(desk) == JobTakenUp("job-1")
        assert await said(desk) == JobsKnown(frozenset({"job-1"}))
        assert (await said(desk)).text == "Trained 1 model: centroid."
    assert names(bench.work) == []


async def test_another_gpus_job_is_left_to_its_worker(bench, sent):
    make_package(sent, epochs=500, seconds=0.05)
    async with open_desk(bench, stopping=False) as desk:
        await begin(desk)
        await until_it_trains(desk)
        await desk.records._change("UPDATE jobs SET gpu = ?", "GPU-other")
    async with open_desk(bench) as desk:
        assert not await desk.take_up()
        assert desk.jobs == {}
        await desk.records._change("UPDATE jobs SET gpu = NULL")
    async with open_desk(bench) as desk:
        assert await desk.take_up()


async def test_a_folder_without_a_whole_package_is_removed_and_one_that_lives_is_not(bench, sent):
    async with open_desk(bench) as first:
        first.prepare(prepare())
        assert await said(first) == PackageReceived(TICKET)
        claim_folder(bench.work / "job-0").let_go()
        async with open_desk(bench) as second:
            assert not await second.take_up()
            assert names(bench.work) == ["job-1"]


@pytest.mark.parametrize("results_gone", [False, True])
async def test_a_result_that_cannot_be_packed_is_kept_where_the_last_word_says(results_gone, bench, sent, monkeypatch):
    async def full(*_arguments):
        await trio.lowlevel.checkpoint()
        if results_gone:
            monkeypatch.setattr(Shelf, "keep", _keep_nowhere(Shelf.keep))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shelf_room, "pack_results", full)
    async with open_desk(bench) as desk:
        await begin(desk)
        over = await said(desk)
    assert (over.outcome, over.result) == (Outcome.FAILED, False)
    where, words = ("work/job-1", "job-1 of its work") if results_gone else ("results/job-1.kept", "job-1.kept of its")
    assert words in over.text
    assert str(bench.work.parent) not in over.text
    assert len(list((bench.work.parent / where).rglob("best.ckpt"))) == 1
    async with open_desk(bench) as desk:
        assert not await desk.take_up()
    assert os.listdir(bench.work.parent / where)


def _keep_nowhere(real):
    async def keep(on, job):
        return await real(evolve(on, bench=evolve(on.bench, results=on.bench.results / "gone")), job)

    return keep


# -------- what an earlier worker left half done


async def left(bench, monkeypatch, give_up):
    """A finished job whose worker died when it had removed this much of the job's folder."""
    with monkeypatch.context() as patch:
        patch.setattr(Claim, "give_up", give_up)
        async with open_desk(bench) as desk:
            await begin(desk)
            await said(desk)
    assert names(bench.work) == ["job-1"]


@pytest.mark.parametrize("gone", [".keeper", "package"])
async def test_a_worker_killed_while_it_cleans_up_loses_no_result(gone, bench, sent, monkeypatch):
    def give_up(claim):
        path = claim.folder / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        claim.let_go()

    await left(bench, monkeypatch, give_up)
    size = (bench.results / "job-1.zip").stat().st_size
    async with open_desk(bench) as desk:
        assert not await desk.take_up()
        record = await desk.records.find("job-1", "key")
        assert (record.outcome, record.waits) == (Outcome.DONE, True)
    assert (bench.results / "job-1.zip").stat().st_size == size
    assert names(bench.work) == []


async def test_an_end_that_cannot_be_recorded_is_seen_to_at_the_next_look(bench, sent, monkeypatch):
    async def full(*_arguments):
        await trio.lowlevel.checkpoint()
        raise RtcError(FaultCode.DISK_FULL, "The records cannot be written.")

    monkeypatch.setattr(desk_room, "TIDY_PERIOD", 0.05)
    with monkeypatch.context() as patch, trio.fail_after(PATIENCE):
        patch.setattr(Records, "ended", full)
        async with open_desk(bench) as desk:
            await begin(desk)
            while not isinstance(over := await said(desk), JobOver):
                pass
            assert over.result
            assert (await desk.records.get("job-1")).stage is JobStage.RUNNING
            patch.undo()
            while names(bench.work):  # noqa: ASYNC110 (a disk has no event)
                await trio.sleep(0.01)
            assert (await desk.records.get("job-1")).waits


async def test_files_that_were_kept_are_not_said_to_be_gone(bench, sent, monkeypatch):
    async def full(*_arguments):
        await trio.lowlevel.checkpoint()
        raise OSError(errno.ENOSPC, "No space left on device")

    async def killed(*_arguments):
        await trio.sleep_forever()

    with monkeypatch.context() as patch:
        patch.setattr(shelf_room, "pack_results", full)
        patch.setattr(Shelf, "keep", killed)
        async with open_desk(bench, stopping=False) as desk:
            await begin(desk)
            while (await desk.records.get("job-1")).stage is not JobStage.ENDED:  # noqa: ASYNC110 (nor a database)
                await trio.sleep(0.01)
    async with open_desk(bench) as desk:
        assert not await desk.take_up()
        assert "its files are kept on the worker" in (await desk.records.get("job-1")).text
    assert list((bench.results / "job-1.kept").rglob("best.ckpt"))


async def test_a_job_of_another_work_folder_is_not_given_up(bench, sent, tmp_path):
    make_package(sent, epochs=60, seconds=0.05)
    other = evolve(bench, work=tmp_path / "work-2")
    other.work.mkdir()
    async with open_desk(bench) as desk:
        await begin(desk)
        await until_it_trains(desk)
        async with open_desk(other) as second:
            assert not await second.take_up()
            assert (await second.records.get("job-1")).stage is JobStage.RUNNING
        desk.cancel(Cancel("job-1"))
        await said(desk)


async def test_a_job_whose_result_is_for_another_folder_is_left_alone(bench, sent, tmp_path):
    make_package(sent, epochs=500, seconds=0.05)
    other = evolve(bench, results=tmp_path / "results-2")
    other.results.mkdir()
    async with open_desk(bench, stopping=False) as desk:
        await begin(desk)
        await until_it_trains(desk)
    async with open_desk(other) as second:
        assert not await second.take_up()
        assert second.jobs == {}
    async with open_desk(bench) as desk:
        assert await desk.take_up()


async def test_workers_of_two_gpus_that_start_together_do_not_hide_a_job_from_each_other(bench, sent):
    make_package(sent, epochs=500, seconds=0.05)
    async with open_desk(bench, stopping=False) as desk:
        await begin(desk)
        await until_it_trains(desk)
    took = []

    async def take_up(desk):
        took.append((desk.bench.gpu, await desk.take_up()))

    async with open_desk(evolve(bench, gpu="GPU-other")) as one, open_desk(bench) as two:
        async with trio.open_nursery() as nursery:
            for desk in (one, two, one):
                nursery.start_soon(take_up, desk)
        assert sorted(took, key=str) == [("GPU-other", False), ("GPU-other", False), (None, True)]


async def test_a_job_that_ended_alone_is_said_to_have(bench, sent, monkeypatch):
    make_package(sent, epochs=3, seconds=0.2)
    async with open_desk(bench, stopping=False) as desk:
        await begin(desk)
        await until_it_trains(desk)
    await trio.to_thread.run_sync(wait_unlocked, bench.work / "job-1" / LIFE)

    async def slow(*_arguments):
        await trio.sleep_forever()

    monkeypatch.setattr(Shelf, "put", slow)
    async with open_desk(bench, stopping=False) as desk:
        assert not await desk.take_up()
        assert "ended while no worker was there" in desk.jobs["job-1"].standing.text


async def test_a_clock_that_is_put_right_removes_no_fresh_result(bench, sent, monkeypatch):
    async with open_desk(bench) as desk:
        await begin(desk)
        await said(desk)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 100 * bench.keep_time)
        await desk.shelf.expire()
        assert (await desk.records.get("job-1")).waits
    async with open_desk(bench) as later:
        await later.shelf.expire()
        assert not (await later.records.get("job-1")).waits

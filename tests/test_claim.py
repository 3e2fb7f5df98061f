"""Of job folders, the living workers' are told from the dead ones', and what is still used from what is not."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from rtc.jobs import claim as claim_room
from rtc.jobs.claim import LOCK, OWNER, claim_folder, is_locked, list_folders, lock_file, own_folder, wait_unlocked
from rtc.jobs.process import run_group


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def left_behind(work, name="job-old"):
    """A folder as a killed worker leaves it: there, and held by nobody."""
    claim = claim_folder(work / name)
    (claim.folder / "package" / "deep").mkdir(parents=True)
    (claim.folder / "package.zip").write_text("")
    claim.let_go()
    return claim.folder


def test_what_a_dead_worker_left_is_taken_over_once(work):
    held = claim_folder(work / "job-new")
    folder = left_behind(work)
    (work / "other").mkdir()
    assert list_folders(work) == (work / "job-new", folder)
    assert own_folder(held.folder) is None
    claim = own_folder(folder)
    assert own_folder(folder) is None
    claim.give_up()
    held.give_up()
    assert os.listdir(work) == ["other"]
    held.folder.mkdir()  # by somebody else, without a lock
    assert own_folder(held.folder) is None


def test_a_folder_that_was_taken_over_and_let_go_is_for_the_next(work):
    folder = left_behind(work)
    own_folder(folder).let_go()
    claim = own_folder(folder)
    assert claim.folder == folder
    claim.let_go()


def test_what_is_kept_for_people_is_never_taken_over(work):
    claim = claim_folder(work / "job-1")
    (claim.folder / "model").write_text("")
    claim.keep()
    assert own_folder(claim.folder) is None
    assert os.listdir(claim.folder) == ["model"]


def test_no_leftovers_and_no_folder_are_nothing_to_do(work):
    assert list_folders(work) == ()
    assert list_folders(work / "nowhere") == ()
    assert own_folder(work / "nowhere") is None


def test_a_folder_that_goes_while_we_take_it_over_is_not_ours(work, monkeypatch):
    folder = left_behind(work)
    real = claim_room.fcntl.flock

    def too_late(descriptor, how):
        (folder / OWNER).unlink()
        real(descriptor, how)

    monkeypatch.setattr(claim_room.fcntl, "flock", too_late)
    before = len(os.listdir("/proc/self/fd"))
    assert own_folder(folder) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_lock_goes_with_its_process(work):
    lock = work / "lock"
    program = (
        "import os, sys, pathlib; from rtc.jobs.claim import lock_file;"
        "lock_file(pathlib.Path(sys.argv[1]), os.O_CREAT); print(flush=True); input()"
    )
    command = [sys.executable, "-c", program, lock]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"\n"
        assert is_locked(lock)
        process.kill()
        wait_unlocked(lock)
    assert not is_locked(lock)
    assert not is_locked(work / "nothing")


async def test_a_folder_is_in_use_as_long_as_its_trainer_lives(work):
    claim = claim_folder(work / "job-1")
    reading = trio.Event()

    async def read(output):
        assert await output.receive_some() == b"here\n"
        reading.set()
        with suppress(trio.BrokenResourceError):
            await output.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: run_group(
                ["/bin/sh", "-c", "echo here; exec sleep 60"],
                folder=work,
                environment=os.environ,
                read=read,
                inherit=(claim.descriptor,),
            )
        )
        with trio.fail_after(10):
            await reading.wait()
        claim.let_go()  # as when the worker is killed
        assert is_locked(claim.folder / LOCK)
        taken = own_folder(claim.folder)
        nursery.cancel_scope.cancel()
    assert not is_locked(claim.folder / LOCK)
    taken.give_up()
    assert os.listdir(work) == []


def test_where_there_are_no_locks_a_job_runs_and_nothing_is_taken_over(work, monkeypatch):
    def no_locks(_descriptor, _how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(claim_room.fcntl, "flock", no_locks)
    claim = claim_folder(work / "job-1")
    assert claim.owner is claim.descriptor is None
    assert own_folder(claim.folder) is None
    claim.give_up()
    assert os.listdir(work) == []


@pytest.mark.parametrize("good", [0, 1])
def test_a_folder_that_cannot_be_locked_leaves_nothing(work, monkeypatch, good):
    left = [lock_file] * good

    def full_disk(*arguments):
        if left:
            return left.pop()(*arguments)
        raise OSError(28, "No space left on device")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(claim_room, "lock_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        claim_folder(work / "job-1")
    assert os.listdir(work) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_removal_that_was_cut_short_is_taken_up_again(work, monkeypatch):
    folder = left_behind(work)
    with monkeypatch.context() as cut:
        cut.setattr(claim_room.shutil, "rmtree", lambda *_arguments, **_options: None)
        own_folder(folder).give_up()
    assert (folder / OWNER).is_file()
    own_folder(folder).give_up()
    assert os.listdir(work) == []

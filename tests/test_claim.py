"""What a killed worker left behind is told from what is still in use."""

import os
from contextlib import suppress

import pytest
import trio

from rtc.jobs import claim as claim_room
from rtc.jobs.claim import LOCK, claim_folder, sweep
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
    os.close(claim.descriptor)
    return claim.folder


def test_what_is_held_stays_and_what_was_left_goes(work):
    held = claim_folder(work / "job-new")
    left_behind(work)
    (work / "other").mkdir()
    assert sweep(work) == ("job-old",)
    assert sorted(os.listdir(work)) == ["job-new", "other"]
    held.give_up()
    assert os.listdir(work) == ["other"]
    held.folder.mkdir()  # by somebody else, without a lock
    assert sweep(work) == ()


def test_what_is_kept_for_people_is_never_swept(work):
    claim = claim_folder(work / "job-1")
    (claim.folder / "model").write_text("")
    claim.keep()
    assert sweep(work) == ()
    assert os.listdir(claim.folder) == ["model"]


def test_no_leftovers_and_no_folder_are_nothing_to_do(work):
    assert sweep(work) == ()
    assert sweep(work / "nowhere") == ()


async def test_a_folder_stays_as_long_as_its_trainer_lives(work):
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
        os.close(claim.descriptor)  # as when the worker is killed
        assert sweep(work) == ()
        nursery.cancel_scope.cancel()
    assert sweep(work) == ("job-1",)


def test_where_there_are_no_locks_a_job_runs_and_nothing_is_swept(work, monkeypatch):
    def no_locks(_descriptor, _how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(claim_room.fcntl, "flock", no_locks)
    claim = claim_folder(work / "job-1")
    assert claim.descriptor is None
    assert sweep(work) == ()
    claim.give_up()
    assert os.listdir(work) == []


def test_a_folder_that_cannot_be_locked_leaves_nothing(work, monkeypatch):
    monkeypatch.setattr(claim_room, "_lock", full_disk)
    with pytest.raises(OSError, match="No space"):
        claim_folder(work / "job-1")
    assert os.listdir(work) == []


def full_disk(*_arguments):
    raise OSError(28, "No space left on device")


def test_a_sweep_that_was_cut_short_is_taken_up_again(work, monkeypatch):
    folder = left_behind(work)
    with monkeypatch.context() as cut:
        cut.setattr(claim_room.shutil, "rmtree", lambda *_arguments, **_options: None)
        sweep(work)
    assert (folder / LOCK).is_file()
    assert sweep(work) == ("job-old",)
    assert os.listdir(work) == []

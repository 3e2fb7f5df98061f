"""Job folders of living workers are distinguished from those of dead ones, and used folders from unused ones."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from rtc.common.process_group import run_group
from rtc.runner import folder_lock
from rtc.runner.folder_lock import (
    OWNER_LOCK,
    USERS_LOCK,
    create_locked_folder,
    is_locked,
    list_folders,
    lock_file,
    sweep_leftovers,
    take_over_folder,
    wait_unlocked,
)
from rtc.testing.limits import HANG_TIME


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def opened_in(folder):
    """Return the files of this folder that this process has open, also those that were deleted meanwhile."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # another thread has closed it
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [link for link in links if link.startswith(str(folder))]


def left_behind(work, name="job-old"):
    """Return a job folder as a killed worker leaves it: it exists, and no process holds its locks."""
    lock = create_locked_folder(work / name)
    (lock.folder / "package" / "deep").mkdir(parents=True)
    (lock.folder / "package.zip").write_text("")
    lock.release()
    return lock.folder


def test_what_a_dead_worker_left_is_taken_over_once(work):
    other = create_locked_folder(work / "job-new")
    folder = left_behind(work)
    (work / "other").mkdir()
    assert list_folders(work) == (work / "job-new", folder)
    assert take_over_folder(other.folder) is None
    lock = take_over_folder(folder)
    assert take_over_folder(folder) is None
    lock.remove()
    other.remove()
    assert os.listdir(work) == ["other"]
    other.folder.mkdir()  # by somebody else, without a lock
    assert take_over_folder(other.folder) is None


def test_a_folder_that_was_taken_over_and_released_is_for_the_next(work):
    folder = left_behind(work)
    take_over_folder(folder).release()
    lock = take_over_folder(folder)
    assert lock.folder == folder
    lock.release()


def test_what_is_kept_for_people_is_never_taken_over(work):
    lock = create_locked_folder(work / "job-1")
    (lock.folder / "model").write_text("")
    lock.leave_to_people()
    assert take_over_folder(lock.folder) is None
    assert os.listdir(lock.folder) == ["model"]


def test_no_leftovers_and_no_folder_are_nothing_to_do(work):
    assert list_folders(work) == ()
    assert list_folders(work / "nowhere") == ()
    assert take_over_folder(work / "nowhere") is None


def test_a_folder_that_goes_while_we_take_it_over_is_not_ours(work, monkeypatch):
    folder = left_behind(work)
    real = folder_lock.fcntl.flock

    def too_late(descriptor, how):
        (folder / OWNER_LOCK).unlink()
        real(descriptor, how)

    monkeypatch.setattr(folder_lock.fcntl, "flock", too_late)
    assert take_over_folder(folder) is None
    assert opened_in(work) == []


@pytest.mark.slow
def test_a_lock_goes_with_its_process(work):
    lock = work / "lock"
    program = (
        "import os, sys, pathlib; from rtc.runner.folder_lock import lock_file;"
        "lock_file(pathlib.Path(sys.argv[1]), os.O_CREAT); print(flush=True); input()"
    )
    command = [sys.executable, "-c", program, lock]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"\n"
        assert is_locked(lock)
        process.kill()
        wait_unlocked(lock)
    assert not is_locked(lock)
    assert not is_locked(work / "nothing")


@pytest.mark.slow
async def test_a_folder_is_in_use_as_long_as_its_trainer_lives(work):
    lock = create_locked_folder(work / "job-1")
    reading = trio.Event()

    async def read(output):
        assert await output.receive_some() == b"here\n"
        reading.set()
        with suppress(trio.BrokenResourceError):
            await output.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: run_group(
                ["/bin/sh", "-c", "echo here; exec sleep 600"],
                folder=work,
                environment=os.environ,
                read=read,
                inherit=(lock.users_descriptor,),
            )
        )
        with trio.fail_after(HANG_TIME):
            await reading.wait()
        lock.release()  # as when the worker is killed
        assert is_locked(lock.folder / USERS_LOCK)
        taken = take_over_folder(lock.folder)
        nursery.cancel_scope.cancel()
    assert not is_locked(lock.folder / USERS_LOCK)
    taken.remove()
    assert os.listdir(work) == []


def test_where_there_are_no_locks_a_job_runs_and_nothing_is_taken_over(work, monkeypatch):
    def no_locks(_descriptor, _how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(folder_lock.fcntl, "flock", no_locks)
    lock = create_locked_folder(work / "job-1")
    assert lock.owner_descriptor is lock.users_descriptor is None
    assert take_over_folder(lock.folder) is None
    lock.remove()
    assert os.listdir(work) == []


@pytest.mark.parametrize("good", [0, 1])
def test_a_folder_that_cannot_be_locked_leaves_nothing(work, monkeypatch, good):
    left = [lock_file] * good

    def full_disk(*arguments):
        if left:
            return left.pop()(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_lock, "lock_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        create_locked_folder(work / "job-1")
    assert os.listdir(work) == []
    assert opened_in(work) == []


class Killed(BaseException):
    """Raised where the worker is killed."""


@pytest.mark.parametrize("steps", range(8))
def test_a_folder_whose_removal_was_cut_short_is_no_job_and_goes_with_the_next_sweep(work, monkeypatch, steps):
    folder = left_behind(work)
    lock = take_over_folder(folder)
    left = iter(range(steps))

    def until_killed(real):
        def act(*arguments):
            if next(left, None) is None:
                raise Killed
            return real(*arguments)

        return act

    with monkeypatch.context() as cut:
        for name in ("rename", "unlink", "rmdir"):
            cut.setattr(Path, name, until_killed(getattr(Path, name)))
        with pytest.raises(Killed):
            lock.remove()
    lock.release()
    assert list_folders(work) == (() if steps else (folder,))
    sweep_leftovers(work)
    assert os.listdir(work) == ([] if steps else ["job-old"])


def test_what_another_user_has_put_into_the_work_folder_is_neither_adopted_nor_removed(work, tmp_path, monkeypatch):
    """A link to a folder of ours would have that emptied."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").touch()
    for name in ("job-1", ".gone-job-1"):
        (work / name).symlink_to(precious)
    assert list_folders(work) == ()
    sweep_leftovers(work)
    assert (precious / "thesis.txt").exists()
    for name in ("job-2", ".gone-job-2"):
        (work / name).mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: (work / "job-2").stat().st_uid + 1)
    assert list_folders(work) == ()
    sweep_leftovers(work)
    assert {"job-1", ".gone-job-1", "job-2", ".gone-job-2"} <= set(os.listdir(work))


def test_a_folder_whose_making_was_cut_short_is_swept_when_it_can_no_longer_be_one_that_is_just_made(work):
    for name in (".job-just", ".job-old", ".place", "job-1"):
        (work / name).mkdir()
        (work / name / OWNER_LOCK).touch()
    long_ago = time.time() - 2 * folder_lock.CREATE_TIME_MAX
    for name in (".job-old", ".place", "job-1"):
        os.utime(work / name, (long_ago, long_ago))
    sweep_leftovers(work)
    assert sorted(os.listdir(work)) == [".job-just", ".place", "job-1"]


@pytest.fixture
def common_user(monkeypatch):
    """Give the tests the rights of an ordinary user: they may run as root, who may write everywhere."""

    def with_leave(real):
        def act(path, *arguments):
            if not path.parent.lstat().st_mode & stat.S_IWUSR:
                raise PermissionError(errno.EACCES, "Permission denied")
            return real(path, *arguments)

        return act

    for name in ("rename", "unlink", "rmdir"):
        monkeypatch.setattr(Path, name, with_leave(getattr(Path, name)))


def test_a_folder_is_removed_though_the_job_made_some_of_it_read_only(work, common_user):
    folder = left_behind(work)
    (folder / "package/deep/file").touch()
    for path in ("package/deep", "package", "."):
        (folder / path).chmod(0o500)
    take_over_folder(folder).remove()
    assert os.listdir(work) == []


@pytest.mark.slow
def test_a_folder_is_removed_however_deep_it_is(work):
    folder = left_behind(work)
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1100):  # Python's limit of recursion is 1000, and a path of the system has at most 4096 bytes
        os.mkdir("d" * 10, dir_fd=here)
        inner = os.open("d" * 10, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_CREAT, dir_fd=here))
    os.close(here)
    take_over_folder(folder).remove()
    assert os.listdir(work) == []


def test_links_in_a_folder_are_removed_and_not_what_they_lead_to(work, tmp_path):
    folder = left_behind(work)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (folder / "package" / "link").symlink_to(tmp_path / "mine")
    (folder / "link").symlink_to(tmp_path / "mine")
    take_over_folder(folder).remove()
    assert os.listdir(work) == []
    assert os.listdir(tmp_path / "mine") == ["file"]


@pytest.mark.parametrize(
    "put", [lambda path, precious: path.symlink_to(precious), lambda path, _: path.write_text("x")]
)
def test_what_a_jobs_code_has_put_in_the_place_of_its_folder_is_removed_and_not_what_it_leads_to(work, tmp_path, put):
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o755)
    (precious / "thesis.txt").touch()
    lock = take_over_folder(left_behind(work))
    lock.folder.rename(work / "moved")
    put(lock.folder, precious)
    lock.remove()
    assert os.listdir(precious) == ["thesis.txt"]
    assert stat.S_IMODE(precious.stat().st_mode) == 0o755
    assert os.listdir(work) == ["moved"]


def test_what_cannot_be_removed_now_is_logged_and_removed_by_the_next_sweep(work, monkeypatch, caplog):
    folder = left_behind(work)
    (folder / "package" / "stuck").touch()
    real = Path.unlink

    def unlink(path):
        if path.name == "stuck":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(path)

    with monkeypatch.context() as cut:
        cut.setattr(Path, "unlink", unlink)
        take_over_folder(folder).remove()
    assert list_folders(work) == ()
    assert [path.name for path in work.rglob("*") if path.is_file()] == ["stuck"]
    assert "could not be removed wholly" in caplog.text
    sweep_leftovers(work)
    assert os.listdir(work) == []


def test_a_folder_that_cannot_even_be_renamed_stays_whole_for_the_next_worker(work, common_user, caplog):
    folder = left_behind(work)
    work.chmod(0o500)
    take_over_folder(folder).remove()
    assert "could not be removed" in caplog.text
    assert (folder / "package.zip").is_file()
    take_over_folder(folder).release()
    work.chmod(0o700)


def test_a_folder_that_was_removed_by_somebody_else_is_not_logged(work, caplog):
    lock = create_locked_folder(work / "job-1")
    shutil.rmtree(lock.folder)
    lock.remove()
    assert caplog.text == ""

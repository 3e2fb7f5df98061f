"""A worker takes over the folders of an earlier version, with its database of jobs, when nothing runs in them."""

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from attrs import define, field

from protocol.ids import JobId
from protocol.jobs import JobKind, Outcome, SubmitJob
from rtc.common.job_result import JobResult
from rtc.config import move_entries
from rtc.config.folders import Folders
from rtc.runner.folder_lock import OWNER_LOCK, USERS_LOCK
from rtc.runner.job_files import SUPERVISOR_LOCK
from rtc.worker import take_over
from rtc.worker.job_database import DATABASE, JobRecord, open_job_database
from rtc.worker.job_manager import RESULTS_LINK
from rtc.worker.membership_file import open_membership_file
from rtc.worker.take_over import WorkerFolders, choose_worker_folders

SUBMIT = SubmitJob(JobKind.TRAIN, "bugs.zip", 1)


@define
class Home:
    """A home folder in which a worker of an earlier version has run, and what its person was told."""

    folders: Folders
    told: list[str] = field(factory=list)

    @property
    def old(self) -> WorkerFolders:
        return WorkerFolders(self.folders.settings / "work", self.folders.settings / "results")

    @property
    def new(self) -> WorkerFolders:
        return WorkerFolders(self.folders.work, self.folders.results)

    def choose(self, work: Path | None = None, results: Path | None = None) -> WorkerFolders:
        return choose_worker_folders(self.folders, self.told.append, work, results)

    def run_job(self, at: WorkerFolders, job: str) -> None:
        """Leave what a job leaves that has ended, and whose result nobody has fetched."""
        self.accept_job(at, job)
        trio.run(self._end_job, at, job)
        (at.results / f"{job}.zip").write_text(f"result of {job}")
        (at.results / f"{job}.events.jsonl").write_text("{}\n")
        shutil.rmtree(at.work / job)

    def accept_job(self, at: WorkerFolders, job: str) -> Path:
        """Make the folder and the record of a job; return the folder."""
        trio.run(self._accept_job, at, job)
        folder = at.work / job
        folder.mkdir(parents=True)
        for name in (OWNER_LOCK, USERS_LOCK, SUPERVISOR_LOCK):
            (folder / name).touch(0o600)
        (folder / RESULTS_LINK).symlink_to(at.results.resolve())
        return folder

    async def _accept_job(self, at: WorkerFolders, job: str) -> None:
        at.results.mkdir(parents=True, exist_ok=True)
        at.work.mkdir(parents=True, exist_ok=True)
        async with open_job_database(at.results) as database:
            await database.add(JobId(job), f"key of {job}", SUBMIT, "lab", at.work.resolve(), None)

    async def _end_job(self, at: WorkerFolders, job: str) -> None:
        async with open_job_database(at.results) as database:
            await database.mark_ended(JobId(job), JobResult(Outcome.DONE, "It ended."), 100)

    def record(self, at: WorkerFolders, job: str) -> JobRecord | None:
        async def find() -> JobRecord | None:
            async with open_job_database(at.results) as database:
                return await database.find(JobId(job), f"key of {job}")

        return trio.run(find)

    def check_all_is_at(self, at: WorkerFolders, *jobs: str) -> None:
        for job in jobs:
            record = self.record(at, job)
            assert record is not None, job
            assert record.is_fetchable
            assert (at.results / f"{job}.zip").read_text() == f"result of {job}"
            assert (at.results / f"{job}.events.jsonl").exists()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(Folders(tmp_path / ".sleap-rtc", tmp_path / "state" / "sleap-rtc"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, as another process would."""
    path.touch()
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def other_disk(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the new folders on another file system."""
    rename = os.rename

    def rename_on_one_disk(source: Path, target: Path) -> None:
        if Path(source).is_relative_to(home.folders.state) != Path(target).is_relative_to(home.folders.state):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_on_one_disk)


def test_where_no_worker_has_run_nothing_is_made(home: Home, tmp_path: Path) -> None:
    assert (home.choose(), list(tmp_path.iterdir())) == (home.new, [])


def test_results_records_and_the_place_in_the_room_are_taken_over(home: Home) -> None:
    home.run_job(home.old, "job-1")
    with open_membership_file(home.old.results, "lab", None) as membership:
        assert membership.descriptor is not None
        os.pwrite(membership.descriptor, b"the room", 0)
    (home.old.results / "job-0.kept").mkdir()
    assert home.choose() == home.new
    home.check_all_is_at(home.new, "job-1")
    assert (home.new.results / ".place-lab-cpu.json").read_text() == "the room"
    assert (home.new.results / "job-0.kept").is_dir()
    assert (list(home.folders.settings.iterdir()), home.told) == ([], [])


def test_a_job_that_ended_while_no_worker_ran_is_found_in_the_new_folder(home: Home) -> None:
    home.accept_job(home.old, "job-1")
    assert home.choose() == home.new
    record = home.record(home.new, "job-1")
    assert record is not None
    assert record.work == str(home.new.work.resolve())
    assert (home.new.work / "job-1" / RESULTS_LINK).readlink() == home.new.results.resolve()


def test_an_unfinished_job_whose_work_folder_is_gone_is_known_as_one_of_the_new_folder(home: Home) -> None:
    shutil.rmtree(home.accept_job(home.old, "job-1").parent)
    home.choose()
    record = home.record(home.new, "job-1")
    assert record is not None
    assert record.work == str(home.new.work.resolve())


@pytest.mark.parametrize("lock", [SUPERVISOR_LOCK, OWNER_LOCK, USERS_LOCK])
def test_while_a_job_runs_both_folders_stay_in_use_and_that_is_told_once(lock: str, home: Home) -> None:
    folder = home.accept_job(home.old, "job-1")
    home.run_job(home.old, "job-2")
    with locked(folder / lock):
        for _ in range(2):
            assert home.choose() == home.old
        home.check_all_is_at(home.old, "job-2")
    [text] = home.told
    assert "A job runs in" in text
    assert home.choose() == home.new
    home.check_all_is_at(home.new, "job-2")
    assert len(home.told) == 1


def test_while_another_worker_runs_both_folders_stay_in_use(home: Home) -> None:
    home.run_job(home.old, "job-1")
    with open_membership_file(home.old.results, "lab", None):
        assert home.choose() == home.old
    assert "A worker uses" in home.told[0]
    assert home.choose() == home.new


def test_a_database_that_another_program_writes_stays(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.run_job(home.old, "job-1")
    monkeypatch.setattr("rtc.worker.job_database_file.BUSY_TIME", 0)
    with sqlite3.connect(home.old.results / DATABASE, isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert home.choose().results == home.old.results
        database.execute("ROLLBACK")
    home.check_all_is_at(home.old, "job-1")
    assert "the database of jobs is in use" in home.told[0]


def test_jobs_of_both_places_become_one_set(home: Home) -> None:
    home.run_job(home.old, "job-1")
    home.run_job(home.new, "job-2")
    assert home.choose() == home.new
    home.check_all_is_at(home.new, "job-1", "job-2")
    assert not home.old.results.exists()


def test_a_place_in_a_room_that_the_new_folder_has_too_stays_and_that_is_told_once(home: Home) -> None:
    home.run_job(home.old, "job-1")
    for at, text in ((home.old, "old"), (home.new, "new")):
        at.results.mkdir(parents=True, exist_ok=True)
        (at.results / ".place-lab-cpu.json").write_text(text)
    for _ in range(2):
        assert home.choose() == home.new
    home.check_all_is_at(home.new, "job-1")
    assert [path.read_text() for path in home.old.results.iterdir()] == ["old"]
    assert len(home.told) == 1


@pytest.mark.usefixtures("other_disk")
@pytest.mark.parametrize("large", [True, False])
def test_on_another_disk_everything_is_copied_and_then_removed(
    large: bool, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_entries, "LARGE", 0 if large else 10**8)
    home.run_job(home.old, "job-1")
    home.accept_job(home.old, "job-2")
    assert home.choose() == home.new
    home.check_all_is_at(home.new, "job-1")
    assert (home.new.work / "job-2" / SUPERVISOR_LOCK).exists()
    assert list(home.folders.settings.iterdir()) == []
    assert ["moved from" in text for text in home.told] == [True, True] * large


@pytest.mark.usefixtures("other_disk")
def test_without_room_on_the_other_disk_nothing_is_copied(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.run_job(home.old, "job-1")
    monkeypatch.setattr(move_entries, "FREE_SHARE", 1e18)
    assert home.choose().results == home.old.results
    home.check_all_is_at(home.old, "job-1")
    assert list(home.new.results.iterdir()) == []
    assert "has no room" in home.told[0]


def fail_records(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_old: Path, new: Path) -> None:
        (new / DATABASE).touch()
        raise error

    monkeypatch.setattr(take_over, "_add_records", fail)


@pytest.mark.parametrize("disk", ["one disk", "another disk"])
def test_when_the_records_cannot_be_written_everything_is_moved_back(
    disk: str, home: Home, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if disk == "another disk":
        request.getfixturevalue("other_disk")
    home.run_job(home.old, "job-1")
    with monkeypatch.context() as patched:
        fail_records(patched, sqlite3.OperationalError("database or disk is full"))
        assert home.choose().results == home.old.results
    home.check_all_is_at(home.old, "job-1")
    assert list(home.new.results.iterdir()) == []
    assert home.choose() == home.new
    home.check_all_is_at(home.new, "job-1")


def test_an_interrupted_move_is_undone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.run_job(home.old, "job-1")
    with monkeypatch.context() as patched:
        fail_records(patched, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            home.choose()
    home.check_all_is_at(home.old, "job-1")


@pytest.mark.parametrize("moved", ["nothing", "archive", "all but the records", "records too"])
def test_a_move_that_was_killed_is_completed_by_the_next_start(moved: str, home: Home) -> None:
    home.run_job(home.old, "job-1")
    home.new.results.mkdir(parents=True)
    names = {"nothing": (), "archive": ("job-1.zip",)}.get(moved, ("job-1.zip", "job-1.events.jsonl"))
    for name in names:
        (home.old.results / name).rename(home.new.results / name)
    if moved == "records too":
        shutil.copy2(home.old.results / DATABASE, home.new.results / DATABASE)
    assert home.choose() == home.new
    home.check_all_is_at(home.new, "job-1")
    assert (home.old.results.exists(), home.told) == (False, [])


def test_a_copy_that_was_killed_before_the_originals_were_removed_is_completed(home: Home, other_disk: None) -> None:
    home.run_job(home.old, "job-1")
    shutil.copytree(home.old.results, home.new.results)
    (home.new.results / ".sleap-rtc-copy-0").mkdir()
    assert home.choose() == home.new
    home.check_all_is_at(home.new, "job-1")
    assert (home.old.results.exists(), (home.new.results / ".sleap-rtc-copy-0").exists()) == (False, False)


def test_damaged_records_are_moved_as_they_are_kept(home: Home) -> None:
    home.run_job(home.old, "job-1")
    (home.old.results / DATABASE).write_text("no database at all, but long enough to be one" * 100)
    assert home.choose() == home.new
    assert (home.new.results / "job-1.zip").exists()
    assert len(list(home.new.results.glob(f"{DATABASE}.damaged-*"))) == 1


def test_records_of_a_newer_version_stay(home: Home) -> None:
    home.run_job(home.old, "job-1")
    with sqlite3.connect(home.old.results / DATABASE) as database:
        database.execute("PRAGMA user_version = 99")
    assert home.choose().results == home.old.results
    assert "newer version" in home.told[0]


def test_a_results_folder_that_is_a_link_to_a_large_disk_stays_on_that_disk(home: Home, tmp_path: Path) -> None:
    large = WorkerFolders(home.old.work, tmp_path / "large disk")
    home.run_job(large, "job-1")
    home.folders.settings.mkdir(exist_ok=True)
    home.old.results.symlink_to(tmp_path / "large disk")
    assert home.choose() == home.new
    assert home.new.results.resolve() == tmp_path / "large disk"
    home.check_all_is_at(home.new, "job-1")


def test_what_a_link_in_the_results_names_is_left_alone(home: Home, tmp_path: Path, other_disk: None) -> None:
    home.run_job(home.old, "job-1")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data").write_text("mine")
    (home.old.results / "job-9.kept").symlink_to(tmp_path / "mine")
    home.choose()
    assert (home.new.results / "job-9.kept").is_symlink()
    assert (tmp_path / "mine" / "data").read_text() == "mine"


def test_a_link_in_the_work_folder_is_no_job_and_what_it_names_is_not_changed(home: Home, tmp_path: Path) -> None:
    home.accept_job(home.old, "job-1")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / RESULTS_LINK).symlink_to(home.old.results)
    (home.old.work / "job-2").symlink_to(mine)
    with locked(mine / SUPERVISOR_LOCK):
        assert home.choose() == home.new
    assert (mine / RESULTS_LINK).readlink() == home.old.results
    assert (home.new.work / "job-2").readlink() == mine


def test_folders_that_the_person_names_are_used_and_the_old_ones_of_that_kind_left_alone(
    home: Home, tmp_path: Path
) -> None:
    home.run_job(home.old, "job-1")
    named = WorkerFolders(tmp_path / "w", tmp_path / "r")
    assert home.choose(named.work, named.results) == named
    home.check_all_is_at(home.old, "job-1")
    home.accept_job(WorkerFolders(named.work, home.old.results), "job-2")
    assert home.choose(work=named.work) == WorkerFolders(named.work, home.new.results)
    home.check_all_is_at(home.new, "job-1")
    assert (named.work / "job-2" / RESULTS_LINK).readlink() == home.new.results.resolve()


def test_a_file_system_without_locks_counts_as_in_use(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.accept_job(home.old, "job-1")

    def no_locks(_file: object, _flags: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert home.choose() == home.old

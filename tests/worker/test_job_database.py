"""The job database: jobs are found with their keys only, and results are stored for as long as was promised."""

import os
import sqlite3
import stat
import sys
from pathlib import Path

import pytest
import trio

from protocol.faults import FaultCode
from protocol.jobs import JobKind, JobStage, Outcome, SubmitJob
from rtc.common.errors import RtcError
from rtc.common.job_result import JobResult
from rtc.testing.limits import HANG_TIME
from rtc.worker.job_database import DATABASE, DAY, open_job_database

WORK = Path("/work")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 90_000)
DONE = JobResult(Outcome.DONE, "Trained 1 model: centroid.")
ROOT = Path(__file__).parents[2]


class Clock:
    """A clock that tests set, in seconds since 1970."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def job_database(tmp_path, clock):
    async with open_job_database(tmp_path, clock) as job_database:
        yield job_database


async def end_one(job_database, clock, job, at, size=100, result=DONE):
    """Add a job that ended at the time `at`, and its files."""
    clock.now = at
    await job_database.add(job, f"key of {job}", SUBMIT, "lab-1", WORK, None)
    await job_database.mark_running(job)
    await job_database.mark_ended(job, result, size)
    job_database.journal_path(job).write_text("{}\n")
    if size is not None:
        job_database.archive_path(job).write_bytes(b"x" * size)


def files(tmp_path):
    return sorted(name for name in os.listdir(tmp_path) if not name.startswith(DATABASE))


async def test_a_job_is_recorded_from_its_acceptance_to_its_result(job_database, clock):
    await job_database.add("job-1", "key", SUBMIT, "lab-1", WORK, "GPU-1")
    added = await job_database.get("job-1")
    assert (added.package, added.kind, added.worker, added.gpu) == ("flies.zip", JobKind.TRAIN, "lab-1", "GPU-1")
    assert (added.stage, added.outcome, added.created, added.started) == (JobStage.PREPARING, None, 1000.0, None)
    clock.now = 1010.0
    await job_database.mark_running("job-1")
    assert (await job_database.unfinished())[0].stage is JobStage.RUNNING
    clock.now = 1020.0
    await job_database.mark_ended("job-1", DONE, 5)
    ended = await job_database.find("job-1", "key")
    assert (ended.stage, ended.outcome, ended.text) == (JobStage.ENDED, Outcome.DONE, DONE.text)
    assert (ended.started, ended.ended, ended.result_bytes, ended.is_fetchable) == (1010.0, 1020.0, 5, True)
    assert await job_database.unfinished() == ()
    assert await job_database.all_ids() == {"job-1"}


async def test_a_job_is_found_with_its_own_key_and_no_other(job_database):
    await job_database.add("job-1", "key 1", SUBMIT, "lab-1", WORK, None)
    await job_database.add("job-2", "key 2", SUBMIT, "lab-1", WORK, None)
    assert (await job_database.find("job-1", "key 1")).job == "job-1"
    for job, key in (("job-1", "key 2"), ("job-1", ""), ("job-1", "\ud800"), ("job-3", "key 1"), ("job-3", "")):
        assert await job_database.find(job, key) is None
    assert await job_database.get("job-3") is None


async def test_a_job_that_never_started_is_deleted(job_database):
    await job_database.add("job-1", "key", SUBMIT, "lab-1", WORK, None)
    await job_database.delete("job-1")
    assert await job_database.all_ids() == frozenset()


async def test_a_fetched_result_is_removed_and_its_journal_stays_for_a_while(job_database, clock, tmp_path):
    await end_one(job_database, clock, "job-1", 1000)
    await job_database.mark_fetched("job-1")
    await job_database.mark_fetched("job-1")
    found = await job_database.find("job-1", "key of job-1")
    assert (found.is_fetchable, found.fetched) == (False, 1000.0)
    assert files(tmp_path) == ["job-1.events.jsonl"]
    assert await job_database.expire(1000 + 8 * DAY, 7 * DAY, 10**9) == ()
    assert files(tmp_path) == []
    assert await job_database.all_ids() == {"job-1"}


async def test_results_that_nobody_fetches_are_removed_after_their_time(job_database, clock, tmp_path):
    await end_one(job_database, clock, "job-old", 1000)
    await end_one(job_database, clock, "job-new", 1000 + 3 * DAY)
    assert await job_database.expire(1000 + 8 * DAY, 7 * DAY, 10**9) == ("job-old",)
    assert files(tmp_path) == ["job-new.events.jsonl", "job-new.zip"]
    removed = await job_database.find("job-old", "key of job-old")
    assert (removed.is_fetchable, removed.removed, removed.why) == (
        False,
        1000 + 8 * DAY,
        "The result was removed, as nobody fetched it within 7 days.",
    )
    assert await job_database.expire(1000 + 8 * DAY, 7 * DAY, 10**9) == ()


async def test_a_result_that_is_spared_is_not_too_late_whatever_the_clock_says(job_database, clock, tmp_path):
    await end_one(job_database, clock, "job-1", 1000)
    await end_one(job_database, clock, "job-2", 2000)
    assert await job_database.expire(1000 + 80 * DAY, 7 * DAY, 10**9, {"job-1"}) == ("job-2",)
    assert files(tmp_path) == ["job-1.events.jsonl", "job-1.zip"]


async def test_the_oldest_results_are_removed_for_space_and_the_newest_always_stays(job_database, clock, tmp_path):
    for number in range(4):
        await end_one(job_database, clock, f"job-{number}", 1000 + number, size=100)
    assert await job_database.expire(2000, DAY, 250) == ("job-0", "job-1")
    assert (await job_database.get("job-0")).why == "The result was removed, as newer ones needed the room."
    assert await job_database.expire(2000, DAY, 1) == ("job-2",)
    assert files(tmp_path) == ["job-3.events.jsonl", "job-3.zip"]


async def test_old_rows_are_deleted_but_never_a_running_job_or_a_result_that_is_not_fetched(job_database, clock):
    await job_database.add("job-runs", "key", SUBMIT, "lab-1", WORK, None)
    await end_one(job_database, clock, "job-stored", 1000)
    await end_one(job_database, clock, "job-failed", 1000, size=None)
    await end_one(job_database, clock, "job-fetched", 1000)
    clock.now += 90 * DAY
    await job_database.mark_fetched("job-fetched")
    await job_database.expire(1000 + 181 * DAY, 1000 * DAY, 10**9)
    assert await job_database.all_ids() == {"job-runs", "job-stored", "job-fetched"}
    await job_database.expire(1000 + 271 * DAY, 1000 * DAY, 10**9)
    assert await job_database.all_ids() == {"job-runs", "job-stored"}


async def test_no_key_is_in_the_file_and_only_its_user_can_read_it(job_database, tmp_path):
    await job_database.add("job-1", "a very secret key", SUBMIT, "lab-1", WORK, None)
    assert b"very secret" not in (tmp_path / DATABASE).read_bytes()
    assert stat.S_IMODE((tmp_path / DATABASE).stat().st_mode) == 0o600


async def test_a_sentence_may_contain_any_characters(job_database, clock):
    await end_one(job_database, clock, "job-1", 1000, result=JobResult(Outcome.FAILED, "é \ud800 \x00 '"))
    assert (await job_database.get("job-1")).text == "é ? \x00 '"


WRITER = """
import sys
from pathlib import Path
import trio
from protocol.jobs import JobKind, SubmitJob
from rtc.worker.job_database import open_job_database

async def main(folder, name):
    submit = SubmitJob(JobKind.TRAIN, "p.zip", 1)
    async with open_job_database(folder) as job_database:
        for number in range(10):
            await job_database.add(f"job-{name}-{number}", "key", submit, name, folder, None)
            await job_database.mark_running(f"job-{name}-{number}")

trio.run(main, Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
async def test_workers_of_several_processes_share_the_database_from_its_creation(tmp_path):
    async def work(name):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        await trio.run_process([sys.executable, "-c", WRITER, str(tmp_path), name], env=environment)

    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as nursery:
            for name in ("a", "b", "c"):
                nursery.start_soon(work, name)
    async with open_job_database(tmp_path) as job_database:
        assert len(await job_database.unfinished()) == 30


@pytest.mark.parametrize("content", [b"this is no database at all, but a letter" * 100, b"\xff" * 5000])
async def test_a_damaged_file_is_renamed_and_the_worker_starts(tmp_path, content, caplog):
    (tmp_path / DATABASE).write_bytes(content)
    (tmp_path / "job-1.zip").write_text("a result")
    async with open_job_database(tmp_path) as job_database:
        await job_database.add("job-2", "key", SUBMIT, "lab-1", WORK, None)
    (renamed,) = tmp_path.glob(f"{DATABASE}.damaged-*")
    assert renamed.read_bytes() == content
    assert "damaged" in caplog.text
    assert (tmp_path / "job-1.zip").exists()
    assert stat.S_IMODE((tmp_path / DATABASE).stat().st_mode) == 0o600
    async with open_job_database(tmp_path) as job_database:
        assert await job_database.all_ids() == {"job-2"}


async def test_a_torn_page_and_a_foreign_table_count_as_damage(tmp_path, clock):
    async with open_job_database(tmp_path, clock) as job_database:
        for number in range(20):
            await job_database.add(f"job-{number}", "key", SUBMIT, "x" * 3000, WORK, None)
    content = bytearray((tmp_path / DATABASE).read_bytes())
    content[4096 : 4096 * 5] = b"\x55" * 4096 * 4
    (tmp_path / DATABASE).write_bytes(content)
    async with open_job_database(tmp_path) as job_database:
        assert await job_database.all_ids() == frozenset()
    with sqlite3.connect(tmp_path / DATABASE) as database:
        database.execute("ALTER TABLE jobs DROP COLUMN why")
    database.close()
    async with open_job_database(tmp_path) as job_database:
        await job_database.add("job-1", "key", SUBMIT, "lab-1", WORK, None)


async def test_records_of_a_newer_version_are_left_alone(tmp_path):
    async with open_job_database(tmp_path):
        pass
    database = sqlite3.connect(tmp_path / DATABASE)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(RtcError, match="99") as caught:
        async with open_job_database(tmp_path):
            pass
    assert caught.value.fault.code is FaultCode.VERSION


async def test_a_folder_that_does_not_exist_is_one_sentence(tmp_path):
    with pytest.raises(RtcError, match="--results-dir") as caught:
        async with open_job_database(tmp_path / "nowhere"):
            pass
    assert str(tmp_path) not in str(caught.value)


async def test_a_database_that_fails_later_is_an_expected_error(job_database, tmp_path):
    database = sqlite3.connect(tmp_path / DATABASE)
    database.execute("DROP TABLE jobs")
    database.close()
    with pytest.raises(RtcError, match="records"):
        await job_database.get("job-1")

"""What a results folder remembers of its jobs: one row for each in SQLite, and beside it archives and journals.

Several workers may share the folder, so no row is kept in memory and every change is one transaction. No key is ever
stored. The journal mode is SQLite's oldest, since the folder may lie on a network's disk, where WAL does not work.
"""

import hashlib
import hmac
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar

import trio
from attrs import frozen

from protocol.faults import FaultCode
from protocol.ids import JobId
from protocol.jobs import JobKind, JobStage, Outcome, SubmitJob
from rtc.common.errors import RtcError
from rtc.common.job_result import JobResult
from rtc.worker.job_database_file import open_database

log = logging.getLogger("rtc.job_database")
T = TypeVar("T")

DATABASE = "jobs.sqlite3"
DAY = 86_400.0
ROW_DAYS = 180
"""Days that a job is remembered after its result has gone."""
_NO_KEY = bytes(hashlib.sha256().digest_size)


@frozen
class JobRecord:
    """One job, as remembered. Times are seconds since 1970."""

    job: JobId
    package: str
    kind: JobKind
    worker: str
    work: str
    """The folder in which the job's folder is until it has ended."""
    gpu: str | None
    stage: JobStage
    outcome: Outcome | None
    text: str
    created: float
    started: float | None
    ended: float | None
    result_bytes: int | None
    fetched: float | None
    removed: float | None
    why: str | None
    """Why the result was removed, in a sentence."""

    @property
    def waits(self) -> bool:
        """Whether its result is here, and wanted."""
        return self.result_bytes is not None and self.fetched is None and self.removed is None


_COLUMNS = tuple(JobRecord.__annotations__)


def _record(row: sqlite3.Row) -> JobRecord:
    fields = {name: row[name] for name in _COLUMNS}
    outcome = fields.pop("outcome")
    kind, stage = JobKind(fields.pop("kind")), JobStage(fields.pop("stage"))
    return JobRecord(**fields, kind=kind, stage=stage, outcome=None if outcome is None else Outcome(outcome))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class JobDatabase:
    """The open records. Made by `open_job_database`.

    Every method that waits raises `RtcError` when the database cannot be used now.
    """

    def __init__(self, results: Path, database: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._results = results
        self._database = database
        self._clock = clock
        self._one_at_a_time = trio.CapacityLimiter(1)

    def archive_of(self, job: JobId) -> Path:
        """Where a job's result lies."""
        return self._results / f"{job}.zip"

    def journal_of(self, job: JobId) -> Path:
        """Where the events of a job that is over lie."""
        return self._results / f"{job}.events.jsonl"

    async def add(self, job: JobId, key: str, submit: SubmitJob, worker: str, work: Path, gpu: str | None) -> None:
        """A job was taken."""
        row = (job, _digest(key), submit.name, submit.kind.value, worker, str(work), gpu, JobStage.PREPARING.value)
        await self._change(
            "INSERT INTO jobs (job, key_sha256, package, kind, worker, work, gpu, stage, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *row,
            self._clock(),
        )

    async def drop(self, job: JobId) -> None:
        """It never began."""
        await self._change("DELETE FROM jobs WHERE job = ?", job)

    async def started(self, job: JobId) -> None:
        """It runs."""
        await self._change(
            "UPDATE jobs SET stage = ?, started = ? WHERE job = ?", JobStage.RUNNING.value, self._clock(), job
        )

    async def ended(self, job: JobId, result: JobResult, size: int | None) -> None:
        """It is over; `size` is its archive's in bytes, None when there is none."""
        row = (JobStage.ENDED.value, result.outcome.value, _storable(result.text), self._clock(), size, job)
        await self._change(
            "UPDATE jobs SET stage = ?, outcome = ?, text = ?, ended = ?, result_bytes = ? WHERE job = ?", *row
        )

    async def taken(self, job: JobId) -> None:
        """Its owner has the result. The journal stays for a while."""

        def work(database: sqlite3.Connection) -> None:
            self.archive_of(job).unlink(missing_ok=True)
            database.execute("UPDATE jobs SET fetched = ? WHERE job = ?", (self._clock(), job))

        await self._run(work)

    async def find(self, job: JobId, key: str) -> JobRecord | None:
        """The job, for its owner. An unknown job costs the same work as a wrong key."""

        row = await self._row(job)
        known: bytes = _NO_KEY if row is None else row["key_sha256"]
        ours = hmac.compare_digest(known, _digest(key))
        return _record(row) if ours and row is not None else None

    async def get(self, job: JobId) -> JobRecord | None:
        """The job, for ourselves."""
        row = await self._row(job)
        return None if row is None else _record(row)

    async def unfinished(self) -> tuple[JobRecord, ...]:
        """Jobs that have not ended, whichever worker's they are; oldest first."""
        return tuple(record for record in await self._run(_all) if record.stage is not JobStage.ENDED)

    async def awaited(self) -> bool:
        """Whether anybody may still come for a job."""
        job_database = await self._run(_all)
        return any(record.waits or record.stage is not JobStage.ENDED for record in job_database)

    async def all_ids(self) -> frozenset[JobId]:
        """Every job remembered."""
        return frozenset(record.job for record in await self._run(_all))

    async def expire(
        self, now: float, keep_seconds: float, keep_bytes: int, spared: Collection[JobId] = ()
    ) -> tuple[JobId, ...]:
        """Remove results that nobody fetched in time, then the oldest until the others fit; the jobs' names.

        The newest result stays whatever its size: its owner may be on the way. Those of `spared` are not too late,
        whatever the clock says. Journals go with their time, and the rows of jobs whose result went long ago with
        theirs.
        """
        old = now - keep_seconds

        def work(database: sqlite3.Connection) -> tuple[JobId, ...]:
            ended = sorted((record for record in _all(database) if record.ended is not None), key=_end)
            late, too_many = _outdated([record for record in ended if record.waits], old, keep_bytes, spared)
            self._remove(
                database, late, now, f"The result was removed, as nobody fetched it within {_days(keep_seconds)}."
            )
            self._remove(database, too_many, now, "The result was removed, as newer ones needed the room.")
            for record in ended:
                if _end(record) < old and record.job not in spared:
                    self.journal_of(record.job).unlink(missing_ok=True)
            database.execute(
                "DELETE FROM jobs WHERE stage = ? AND max(ended, ifnull(fetched, 0), ifnull(removed, 0)) < ?"
                " AND (fetched IS NOT NULL OR removed IS NOT NULL OR result_bytes IS NULL)",
                (JobStage.ENDED.value, now - ROW_DAYS * DAY),
            )
            return tuple(record.job for record in (*late, *too_many))

        return await self._run(work)

    def _remove(self, database: sqlite3.Connection, job_database: list[JobRecord], now: float, why: str) -> None:
        for record in job_database:
            self.archive_of(record.job).unlink(missing_ok=True)
            self.journal_of(record.job).unlink(missing_ok=True)
            database.execute("UPDATE jobs SET removed = ?, why = ? WHERE job = ?", (now, why, record.job))

    async def _row(self, job: JobId) -> sqlite3.Row | None:
        def work(database: sqlite3.Connection) -> sqlite3.Row | None:
            row: sqlite3.Row | None = database.execute("SELECT * FROM jobs WHERE job = ?", (job,)).fetchone()
            return row

        return await self._run(work)

    async def _change(self, statement: str, *values: object) -> None:
        await self._run(lambda database: database.execute(statement, values).close())

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await trio.to_thread.run_sync(work, self._database, limiter=self._one_at_a_time)
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
            raise  # ours to mend; the others are the disk's
        except (sqlite3.DatabaseError, OSError):
            raise RtcError(
                FaultCode.DISK_FULL, "The worker cannot use its records of jobs now. Tell its owner: is its disk full?"
            ) from None


def _all(database: sqlite3.Connection) -> list[JobRecord]:
    """Every row, oldest first; half a year's are few enough to look at each."""
    return [_record(row) for row in database.execute("SELECT * FROM jobs ORDER BY created, job").fetchall()]


def _end(record: JobRecord) -> float:
    return record.ended or 0.0


def _outdated(
    waiting: list[JobRecord], old: float, keep_bytes: int, spared: Collection[JobId]
) -> tuple[list[JobRecord], list[JobRecord]]:
    """Of those that wait: the ones too late, and the ones too many."""
    late = [record for record in waiting if _end(record) < old and record.job not in spared]
    rest, too_many = [record for record in waiting if record not in late], []
    while len(rest) > 1 and sum(record.result_bytes or 0 for record in rest) > keep_bytes:
        too_many.append(rest.pop(0))
    return late, too_many


def _days(seconds: float) -> str:
    days = round(seconds / DAY)
    return f"{days} days" if days > 1 else f"{round(seconds / 3600)} hours"


def _storable(text: str) -> str:
    """SQLite takes no half surrogate pairs."""
    return text.encode("utf-8", "replace").decode()


@asynccontextmanager
async def open_job_database(results: Path, clock: Callable[[], float] = time.time) -> AsyncIterator[JobDatabase]:
    """The records in a results folder, made if they are not there.

    Raises:
        RtcError: the folder cannot be used, or belongs to a newer version.
    """
    try:
        database = await trio.to_thread.run_sync(open_database, results / DATABASE, {*_COLUMNS, "key_sha256"})
    except (OSError, sqlite3.OperationalError):
        raise RtcError(
            FaultCode.USAGE,
            f"The records of jobs in the folder {results.name!r} cannot be opened or written. Is the disk full, or"
            " another program holding them? Or choose another folder with --results-dir.",
        ) from None
    with closing(database):
        yield JobDatabase(results, database, clock)


async def attempt(work: Callable[..., Awaitable[None]], *args: object) -> bool:
    """What can be done without: records that cannot be written now. False when it was not done."""
    try:
        await work(*args)
    except RtcError as error:
        log.warning("%s", error.fault.text)
        return False
    return True

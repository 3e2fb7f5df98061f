"""The job database of a results folder: one row per job in SQLite, next to the archives and event journals.

Several workers may share the folder, so no row is cached in memory and every change is one transaction. Of a job's key
only the SHA-256 is stored. SQLite runs in its default (rollback) journal mode, since the folder may be on a network
disk, where WAL does not work.
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
"""Seconds of a day."""
ROW_DAYS = 180
"""Days after which the row of an ended job is deleted. They count from when its result was fetched or removed, or, if
there was none, from the job's end."""
_NO_KEY = bytes(hashlib.sha256().digest_size)


@frozen
class JobRecord:
    """The record of one job. Its fields are the columns of the table `jobs`. Times are seconds since 1970."""

    job: JobId
    package: str
    """The package's file name, for people."""
    kind: JobKind
    worker: str
    """The name of the worker that accepted the job."""
    work: str
    """The work folder, which contains the job's folder until the job has ended."""
    gpu: str | None
    """UUID of the GPU of that worker; several have commas between them."""
    stage: JobStage
    outcome: Outcome | None
    text: str
    """How the job ended, in one sentence; empty before."""
    created: float
    started: float | None
    ended: float | None
    result_bytes: int | None
    """Bytes of the result's archive; None when there never was one."""
    fetched: float | None
    """When the owner confirmed that it has the result."""
    removed: float | None
    """When the result was removed without being fetched."""
    why: str | None
    """Why the result was removed, in a sentence."""

    @property
    def is_fetchable(self) -> bool:
        """Whether the result is stored, and its owner has not fetched it yet."""
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
    """The open database, made by `open_job_database`.

    Every async method raises `RtcError` (DISK_FULL) when the database cannot be used now.
    """

    def __init__(self, results: Path, database: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._results = results
        self._database = database
        self._clock = clock
        self._limiter = trio.CapacityLimiter(1)

    def archive_path(self, job: JobId) -> Path:
        """Return the path of the archive with a job's result."""
        return self._results / f"{job}.zip"

    def journal_path(self, job: JobId) -> Path:
        """Return the path of the stored journal of a job that has ended."""
        return self._results / f"{job}.events.jsonl"

    async def add(self, job: JobId, key: str, submit: SubmitJob, worker: str, work: Path, gpu: str | None) -> None:
        """Add a job that was accepted; its stage is PREPARING."""
        row = (job, _digest(key), submit.name, submit.kind.value, worker, str(work), gpu, JobStage.PREPARING.value)
        await self._change(
            "INSERT INTO jobs (job, key_sha256, package, kind, worker, work, gpu, stage, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *row,
            self._clock(),
        )

    async def delete(self, job: JobId) -> None:
        """Delete the row of a job that never started."""
        await self._change("DELETE FROM jobs WHERE job = ?", job)

    async def mark_running(self, job: JobId) -> None:
        """Record that the job runs, and since when."""
        await self._change(
            "UPDATE jobs SET stage = ?, started = ? WHERE job = ?", JobStage.RUNNING.value, self._clock(), job
        )

    async def mark_ended(self, job: JobId, result: JobResult, size: int | None) -> None:
        """Record how the job ended. `size` is the size of its archive in bytes, or None when there is none."""
        row = (JobStage.ENDED.value, result.outcome.value, _storable(result.text), self._clock(), size, job)
        await self._change(
            "UPDATE jobs SET stage = ?, outcome = ?, text = ?, ended = ?, result_bytes = ? WHERE job = ?", *row
        )

    async def mark_fetched(self, job: JobId) -> None:
        """Remove the archive and record that the owner has the result. The journal stays until it expires."""

        def query(database: sqlite3.Connection) -> None:
            self.archive_path(job).unlink(missing_ok=True)
            database.execute("UPDATE jobs SET fetched = ? WHERE job = ?", (self._clock(), job))

        await self._run_in_thread(query)

    async def find(self, job: JobId, key: str) -> JobRecord | None:
        """Return the job if this is its key, otherwise None. An unknown job takes as much work as a wrong key."""
        row = await self._row(job)
        known: bytes = _NO_KEY if row is None else row["key_sha256"]
        is_owner = hmac.compare_digest(known, _digest(key))
        return _record(row) if is_owner and row is not None else None

    async def get(self, job: JobId) -> JobRecord | None:
        """Return the job, or None if it is unknown. For the worker itself: requests of peers need a key (`find`)."""
        row = await self._row(job)
        return None if row is None else _record(row)

    async def unfinished(self) -> tuple[JobRecord, ...]:
        """Return the jobs of all workers that have not ended, oldest first."""
        return tuple(record for record in await self._run_in_thread(_all_records) if record.stage is not JobStage.ENDED)

    async def has_open_jobs(self) -> bool:
        """Return whether an owner may still ask for a job: one that has not ended, or whose result is not fetched."""
        records = await self._run_in_thread(_all_records)
        return any(record.is_fetchable or record.stage is not JobStage.ENDED for record in records)

    async def all_ids(self) -> frozenset[JobId]:
        """Return the ids of all jobs in the database."""
        return frozenset(record.job for record in await self._run_in_thread(_all_records))

    async def expire(
        self, now: float, keep_seconds: float, keep_bytes: int, spared: Collection[JobId] = ()
    ) -> tuple[JobId, ...]:
        """Remove expired results, journals and rows, and return the jobs whose results were removed.

        A result is removed when it is older than `keep_seconds`, and then the oldest ones until the others have at
        most `keep_bytes`. The newest result always stays, whatever its size, as its owner may be about to fetch it.

        A journal is removed when its job ended more than `keep_seconds` ago, and the row of a job without a stored
        result after `ROW_DAYS`.

        Args:
            now: the current time, in seconds since 1970.
            keep_seconds: the age up to which results are stored.
            keep_bytes: the maximum size of all stored results together.
            spared: jobs whose results are not too old, whatever the clock says; they still count for `keep_bytes`.
        """
        cutoff = now - keep_seconds

        def query(database: sqlite3.Connection) -> tuple[JobId, ...]:
            ended = sorted((record for record in _all_records(database) if record.ended is not None), key=_ended_at)
            late, too_many = _select_expired(
                [record for record in ended if record.is_fetchable], cutoff, keep_bytes, spared
            )
            self._remove(
                database, late, now, f"The result was removed, as nobody fetched it within {_days(keep_seconds)}."
            )
            self._remove(database, too_many, now, "The result was removed, as newer ones needed the room.")
            for record in ended:
                if _ended_at(record) < cutoff and record.job not in spared:
                    self.journal_path(record.job).unlink(missing_ok=True)
            database.execute(
                "DELETE FROM jobs WHERE stage = ? AND max(ended, ifnull(fetched, 0), ifnull(removed, 0)) < ?"
                " AND (fetched IS NOT NULL OR removed IS NOT NULL OR result_bytes IS NULL)",
                (JobStage.ENDED.value, now - ROW_DAYS * DAY),
            )
            return tuple(record.job for record in (*late, *too_many))

        return await self._run_in_thread(query)

    def _remove(self, database: sqlite3.Connection, records: list[JobRecord], now: float, why: str) -> None:
        """Remove the archives and journals of these jobs, and record when and why."""
        for record in records:
            self.archive_path(record.job).unlink(missing_ok=True)
            self.journal_path(record.job).unlink(missing_ok=True)
            database.execute("UPDATE jobs SET removed = ?, why = ? WHERE job = ?", (now, why, record.job))

    async def _row(self, job: JobId) -> sqlite3.Row | None:
        def query(database: sqlite3.Connection) -> sqlite3.Row | None:
            row: sqlite3.Row | None = database.execute("SELECT * FROM jobs WHERE job = ?", (job,)).fetchone()
            return row

        return await self._run_in_thread(query)

    async def _change(self, statement: str, *values: object) -> None:
        await self._run_in_thread(lambda database: database.execute(statement, values).close())

    async def _run_in_thread(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Call `query` with the connection in a thread, one call at a time, and return its result.

        Raises:
            RtcError: DISK_FULL: the database cannot be used now.
        """
        try:
            return await trio.to_thread.run_sync(query, self._database, limiter=self._limiter)
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
            raise  # a bug of this program; the errors below come from the disk
        except (sqlite3.DatabaseError, OSError):
            raise RtcError(
                FaultCode.DISK_FULL, "The worker cannot use its records of jobs now. Tell its owner: is its disk full?"
            ) from None


def _all_records(database: sqlite3.Connection) -> list[JobRecord]:
    """Return all records, oldest first. Half a year of jobs are few enough to read them all each time."""
    return [_record(row) for row in database.execute("SELECT * FROM jobs ORDER BY created, job").fetchall()]


def _ended_at(record: JobRecord) -> float:
    return record.ended or 0.0


def _select_expired(
    waiting: list[JobRecord], cutoff: float, keep_bytes: int, spared: Collection[JobId]
) -> tuple[list[JobRecord], list[JobRecord]]:
    """Return the stored results that are too old, and, of the others, the oldest ones beyond `keep_bytes`."""
    late = [record for record in waiting if _ended_at(record) < cutoff and record.job not in spared]
    rest, too_many = [record for record in waiting if record not in late], []
    while len(rest) > 1 and sum(record.result_bytes or 0 for record in rest) > keep_bytes:
        too_many.append(rest.pop(0))
    return late, too_many


def _days(seconds: float) -> str:
    days = round(seconds / DAY)
    return f"{days} days" if days > 1 else f"{round(seconds / 3600)} hours"


def _storable(text: str) -> str:
    """Replace lone surrogates, which SQLite cannot store."""
    return text.encode("utf-8", "replace").decode()


def connect_job_database(results: Path) -> sqlite3.Connection:
    """Open the SQLite file of a results folder; create it if it does not exist.

    Raises:
        OSError, sqlite3.OperationalError, RtcError: as for `open_database`.
    """
    return open_database(results / DATABASE, {*_COLUMNS, "key_sha256"})


@asynccontextmanager
async def open_job_database(results: Path, clock: Callable[[], float] = time.time) -> AsyncIterator[JobDatabase]:
    """Open the job database of a results folder; create it if it does not exist.

    Raises:
        RtcError: USAGE: the database cannot be opened or written. VERSION: a newer version of sleap-rtc wrote it.
    """
    try:
        database = await trio.to_thread.run_sync(connect_job_database, results)
    except PermissionError:
        text = f"The records of jobs in the folder {results.name!r} belong to another user, or may not be written."
        raise RtcError(FaultCode.USAGE, f"{text} Choose a folder of your own with --results-dir.") from None
    except (OSError, sqlite3.OperationalError):
        raise RtcError(
            FaultCode.USAGE,
            f"The records of jobs in the folder {results.name!r} cannot be opened or written. Is the disk full, or"
            " another program holding them? Or choose another folder with --results-dir.",
        ) from None
    with closing(database):
        yield JobDatabase(results, database, clock)


async def try_or_log(function: Callable[..., Awaitable[None]], *args: object) -> bool:
    """Call `function(*args)` and return whether it succeeded; its RtcError is logged instead of raised.

    For changes of the database without which the worker can go on.
    """
    try:
        await function(*args)
    except RtcError as error:
        log.warning("%s", error.fault.text)
        return False
    return True

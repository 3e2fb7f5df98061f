"""The worker's shelf: what jobs have made is packed, recorded, and kept for their owners, though not for ever."""

import logging
import time
from contextlib import suppress

import trio
from attrs import frozen

from actors.events import JobOver
from protocol.jobs import Outcome
from rtc.job import Bench, Job
from rtc.jobs.launcher import JobResult
from rtc.jobs.notes import PACKAGE, read_made
from rtc.jobs.records import Records, attempt
from rtc.jobs.results import pack_results

log = logging.getLogger("rtc.shelf")

TIDY_PERIOD = 3600.0
"""Seconds from one look for results that were kept long enough to the next."""


@frozen
class Shelf:
    """A results folder, and its records."""

    bench: Bench
    records: Records

    async def put(self, job: Job, result: JobResult) -> JobOver:
        """Pack what it made, and record how it ended; what cannot be packed is kept as it is."""
        name, archive = job.name, self.records.archive_of(job.name)
        try:
            if job.feed is not None:
                await job.feed.move_to(self.records.journal_of(name))
            await pack_results(job.folder / PACKAGE, read_made(job.folder), archive)
            size = (await trio.Path(archive).stat()).st_size
            await self._record(job, result, size)
        except OSError as error:
            log.warning("the result of %s could not be packed: %s", name, error.strerror)
            with suppress(OSError):
                await trio.Path(archive).unlink(missing_ok=True)
            where = await self._keep(job)
            text = f"The result could not be packed ({error.strerror}); its files are kept on the worker, {where}."
            bad = JobResult(Outcome.FAILED, f"{text} {result.text}"[:2000])
            await self._record(job, bad, None)
            return JobOver(name, bad.outcome, bad.text, result=False)
        return JobOver(name, result.outcome, result.text, result=True)

    async def _record(self, job: Job, result: JobResult, size: int | None) -> None:
        """Where that cannot be written now the job's folder is left as it is, for the next worker to do it again."""
        if not await attempt(self.records.ended, job.name, result, size):
            await job.let_go()

    async def _keep(self, job: Job) -> str:
        """Put the job's files where people will look for them; if even that fails, leave them. Says where they are."""
        claim, job.claim = job.claim, None
        if claim is not None:
            await trio.to_thread.run_sync(claim.keep)
        name = f"{job.name}.kept"
        try:
            await trio.Path(job.folder).rename(self.bench.results / name)
        except OSError as error:  # no such folder, another disk, …
            log.warning("the files of %s stay in the work folder: %s", job.name, error.strerror)
            return f"in {job.folder.name} of its work folder"
        return f"in {name} of its results folder"

    async def tidy(self) -> None:
        """Look for results that were kept long enough, now and then, until cancelled."""
        while True:
            await attempt(self.expire)
            await trio.sleep(TIDY_PERIOD)

    async def expire(self) -> None:
        """Remove results that were kept long enough, and the oldest where there are too many."""
        gone = await self.records.expire(time.time(), self.bench.keep_time, self.bench.keep_bytes)
        for job in gone:
            log.info("removed the result of %s, which was kept long enough", job)

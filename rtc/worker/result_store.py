"""The worker's shelf: what jobs have made is packed, recorded, and kept for their owners, though not for ever."""

import logging
import time
from contextlib import suppress
from pathlib import Path

import trio
from attrs import define, field

from actors.events import JobOver
from protocol.ids import JobId
from protocol.jobs import Outcome
from rtc.common.job_result import JobResult
from rtc.runner.job_files import PACKAGE, read_made
from rtc.worker.job import Bench, Job
from rtc.worker.job_database import Record, Records, attempt
from rtc.worker.pack_results import pack_results

log = logging.getLogger("rtc.worker.result_store")


@define
class Shelf:
    """A results folder, and its records."""

    bench: Bench
    records: Records
    _put_at: dict[JobId, float] = field(factory=dict)
    """When, by a clock that nobody sets; the one on the wall may have been wrong, and be put right."""

    async def put(self, job: Job, result: JobResult) -> JobOver:
        """Pack what it made, and record how it ended; what cannot be packed is kept as it is."""
        name, archive = job.name, self.records.archive_of(job.name)
        try:
            if job.feed is not None:
                await job.feed.move_to(self.records.journal_of(name))
            await pack_results(job.folder / PACKAGE, read_made(job.folder), archive)
            size = (await trio.Path(archive).stat()).st_size
        except OSError as error:
            log.warning("the result of %s could not be packed: %s", name, error.strerror)
            return await self._put_unpacked(job, result, archive, error)
        await self._record(job, result, size)
        self._put_at[name] = trio.current_time()
        return JobOver(name, result.outcome, result.text, result=True)

    async def _put_unpacked(self, job: Job, result: JobResult, archive: Path, error: OSError) -> JobOver:
        """First it is recorded that there is no result, then its files are given to people; not the other way round."""
        with suppress(OSError):
            await trio.Path(archive).unlink(missing_ok=True)
        over = _unpacked(job, result, error, "")
        if await self._record(job, JobResult(over.outcome, over.text), None):
            over = _unpacked(job, result, error, f", {await self.keep(job)}")
            await attempt(self.records.ended, job.name, JobResult(over.outcome, over.text), None)
        return over

    async def _record(self, job: Job, result: JobResult, size: int | None) -> bool:
        """Where that cannot be written now the job's folder is left as it is, for a later look to do it again."""
        done = await attempt(self.records.ended, job.name, result, size)
        if not done:
            await job.let_go()
        return done

    async def keep(self, job: Job) -> str:
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

    async def finish(self, job: Job, record: Record) -> None:
        """Do what was left of a job whose end is recorded: its files are of no more use, or people's."""
        if record.result_bytes is None:
            await self.keep(job)
        else:
            await job.discard()

    async def expire(self) -> None:
        """Remove results that were kept long enough, and the oldest where there are too many."""
        bench, old = self.bench, trio.current_time() - self.bench.keep_time
        self._put_at = {job: put for job, put in self._put_at.items() if put > old}
        gone = await self.records.expire(time.time(), bench.keep_time, bench.keep_bytes, self._put_at.keys())
        for job in gone:
            log.info("removed the result of %s, which was kept long enough", job)


def _unpacked(job: Job, result: JobResult, error: OSError, where: str) -> JobOver:
    text = f"The result could not be packed ({error.strerror}); its files are kept on the worker{where}. {result.text}"
    return JobOver(job.name, Outcome.FAILED, text[:2000], result=False)

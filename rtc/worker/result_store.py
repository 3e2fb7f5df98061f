"""The worker's shelf: what jobs have made is packed, recorded, and kept for their owners, though not for ever."""

import logging
import time
from contextlib import suppress
from pathlib import Path

import trio
from attrs import define, field

from actors.events import JobFinished
from protocol.ids import JobId
from protocol.jobs import Outcome
from rtc.common.job_result import JobResult
from rtc.runner.job_files import PACKAGE, read_made
from rtc.worker.job import Job, RunnerConfig
from rtc.worker.job_database import JobDatabase, JobRecord, attempt
from rtc.worker.pack_results import pack_results

log = logging.getLogger("rtc.worker.result_store")


@define
class ResultStore:
    """A results folder, and its records."""

    runner_config: RunnerConfig
    job_database: JobDatabase
    _put_at: dict[JobId, float] = field(factory=dict)
    """When, by a clock that nobody sets; the one on the wall may have been wrong, and be put right."""

    async def put(self, job: Job, result: JobResult) -> JobFinished:
        """Pack what it made, and record how it ended; what cannot be packed is kept as it is."""
        name, archive = job.name, self.job_database.archive_of(job.name)
        try:
            if job.watcher is not None:
                await job.watcher.move_to(self.job_database.journal_of(name))
            await pack_results(job.folder / PACKAGE, read_made(job.folder), archive)
            size = (await trio.Path(archive).stat()).st_size
        except OSError as error:
            log.warning("the result of %s could not be packed: %s", name, error.strerror)
            return await self._put_unpacked(job, result, archive, error)
        await self._record(job, result, size)
        self._put_at[name] = trio.current_time()
        return JobFinished(name, result.outcome, result.text, result=True)

    async def _put_unpacked(self, job: Job, result: JobResult, archive: Path, error: OSError) -> JobFinished:
        """First it is recorded that there is no result, then its files are given to people; not the other way round."""
        with suppress(OSError):
            await trio.Path(archive).unlink(missing_ok=True)
        over = _unpacked(job, result, error, "")
        if await self._record(job, JobResult(over.outcome, over.text), None):
            over = _unpacked(job, result, error, f", {await self.keep(job)}")
            await attempt(self.job_database.ended, job.name, JobResult(over.outcome, over.text), None)
        return over

    async def _record(self, job: Job, result: JobResult, size: int | None) -> bool:
        """Where that cannot be written now the job's folder is left as it is, for a later look to do it again."""
        done = await attempt(self.job_database.ended, job.name, result, size)
        if not done:
            await job.release()
        return done

    async def keep(self, job: Job) -> str:
        """Put the job's files where people will look for them; if even that fails, leave them. Says where they are."""
        lock, job.lock = job.lock, None
        if lock is not None:
            await trio.to_thread.run_sync(lock.keep)
        name = f"{job.name}.kept"
        try:
            await trio.Path(job.folder).rename(self.runner_config.results / name)
        except OSError as error:  # no such folder, another disk, …
            log.warning("the files of %s stay in the work folder: %s", job.name, error.strerror)
            return f"in {job.folder.name} of its work folder"
        return f"in {name} of its results folder"

    async def finish(self, job: Job, record: JobRecord) -> None:
        """Do what was left of a job whose end is recorded: its files are of no more use, or people's."""
        if record.result_bytes is None:
            await self.keep(job)
        else:
            await job.discard()

    async def expire(self) -> None:
        """Remove results that were kept long enough, and the oldest where there are too many."""
        runner_config, old = self.runner_config, trio.current_time() - self.runner_config.keep_time
        self._put_at = {job: put for job, put in self._put_at.items() if put > old}
        gone = await self.job_database.expire(
            time.time(), runner_config.keep_time, runner_config.keep_bytes, self._put_at.keys()
        )
        for job in gone:
            log.info("removed the result of %s, which was kept long enough", job)


def _unpacked(job: Job, result: JobResult, error: OSError, where: str) -> JobFinished:
    text = f"The result could not be packed ({error.strerror}); its files are kept on the worker{where}. {result.text}"
    return JobFinished(job.name, Outcome.FAILED, text[:2000], result=False)

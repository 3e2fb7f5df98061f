"""Packs and records the results of jobs, stores them for their owners, and removes them after a time."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio
from attrs import define, field

from actors.events import JobFinished
from protocol.ids import JobId
from protocol.jobs import JobNote, NoteKind, Outcome
from rtc.common.full_disk import is_full_disk
from rtc.common.job_result import JobResult
from rtc.config.folders import shown_path
from rtc.runner.job_files import PACKAGE, read_result_paths
from rtc.worker.job import Job, RunnerConfig
from rtc.worker.job_database import JobDatabase, JobRecord, try_or_log
from rtc.worker.job_status import JobStatus
from rtc.worker.pack_results import pack_results

log = logging.getLogger("rtc.worker.result_store")

ROOM_PERIOD = 30.0
"""Seconds between two attempts to pack a result while the disk is full."""
NO_ROOM = (
    "The worker's disk is full, so the result cannot be packed yet. Tell the worker's owner to make room. Nothing is "
    "lost: wait here, or leave and fetch it later."
)


@define
class ResultStore:
    """The results folder of a worker, together with its job database."""

    runner_config: RunnerConfig
    job_database: JobDatabase
    say: Callable[[str], None] = log.warning
    """Prints a line for the person who runs the worker."""
    _stored_at: dict[JobId, float] = field(factory=dict)
    """When each result was stored, by trio's clock, which nobody can set. The wall clock may have been wrong and
    corrected since, so a result that is too old by the wall clock alone is not removed because of its age."""

    async def store(self, job: Job, result: JobResult) -> JobFinished:
        """Pack the job's results, record how the job ended, and return the event for the Worker.

        While the disk is full, this waits for room. Files that cannot be packed for another reason are kept unpacked,
        and the job counts as failed.
        """
        name, archive = job.name, self.job_database.archive_path(job.name)
        try:
            size = await self._pack_when_there_is_room(job, archive)
        except OSError as error:
            log.warning("the result of %s could not be packed: %s", name, error.strerror)
            return await self._store_unpacked(job, result, archive, error)
        await self._record(job, result, size)
        self._stored_at[name] = trio.current_time()
        return JobFinished(name, result.outcome, result.text, result=True)

    async def _pack_when_there_is_room(self, job: Job, archive: Path) -> int:
        """Pack the job's results and its journal; return the bytes of the archive.

        While the disk is full, this tries again every `ROOM_PERIOD`: the owner of the job goes on waiting, or comes
        back later, and a worker that is started meanwhile goes on with it.

        Raises:
            OSError: they cannot be packed, for another reason than a full disk.
        """
        is_told = False
        while True:
            try:
                if job.watcher is not None:
                    await job.watcher.move_to(self.job_database.journal_path(job.name))
                await pack_results(job.folder / PACKAGE, read_result_paths(job.folder), archive)
                return (await trio.Path(archive).stat()).st_size
            except OSError as error:
                if not is_full_disk(error):
                    raise
            if not is_told:
                is_told = True
                self._tell_that_the_disk_is_full(job)
            await trio.sleep(ROOM_PERIOD)

    def _tell_that_the_disk_is_full(self, job: Job) -> None:
        """Tell the owner of the job and the person who runs the worker that the result waits for room."""
        self.say(
            f"The result of {job.name} cannot be packed: the disk of {shown_path(self.runner_config.results)} is "
            f"full. Make room there; it is tried again every {ROOM_PERIOD:.0f} seconds."
        )
        job.status_line = JobStatus(text=NO_ROOM)
        job.tell(JobNote(job.name, NO_ROOM, NoteKind.WARNING))

    async def _store_unpacked(self, job: Job, result: JobResult, archive: Path, error: OSError) -> JobFinished:
        """Record that there is no result, then move the job's files to the results folder; return the event.

        The record comes first: if the worker is killed between the two steps, the next worker finishes the second
        step (`clean_up`).
        """
        with suppress(OSError):
            await trio.Path(archive).unlink(missing_ok=True)
        event = _unpacked(job, result, error, "")
        if await self._record(job, JobResult(event.outcome, event.text), None):
            event = _unpacked(job, result, error, f", {await self.keep_files(job)}")
            await try_or_log(self.job_database.mark_ended, job.name, JobResult(event.outcome, event.text), None)
        return event

    async def _record(self, job: Job, result: JobResult, size: int | None) -> bool:
        """Record the end of the job; return whether that succeeded.

        If it failed, the job's folder is released unchanged, and the next check of the work folder records it.
        """
        done = await try_or_log(self.job_database.mark_ended, job.name, result, size)
        if not done:
            await job.release()
        return done

    async def keep_files(self, job: Job) -> str:
        """Move the job's folder to the results folder, for people to read, and return its location for a sentence.

        If it cannot be moved, it stays in the work folder, without lock files, so that no worker takes it for a job.
        """
        lock, job.lock = job.lock, None
        if lock is not None:
            await trio.to_thread.run_sync(lock.leave_to_people)
        name = f"{job.name}.kept"
        try:
            await trio.Path(job.folder).rename(self.runner_config.results / name)
        except OSError as error:  # no such folder, another disk, …
            log.warning("the files of %s stay in the work folder: %s", job.name, error.strerror)
            return f"in {job.folder.name} of its work folder"
        return f"in {name} of its results folder"

    async def clean_up(self, job: Job, record: JobRecord) -> None:
        """Remove the folder of a job whose end is already recorded, or keep its files if there is no packed result."""
        if record.result_bytes is None:
            await self.keep_files(job)
        else:
            await job.discard()

    async def expire(self) -> None:
        """Remove results that are older than `keep_time`, and the oldest ones beyond `keep_bytes`."""
        runner_config, cutoff = self.runner_config, trio.current_time() - self.runner_config.keep_time
        self._stored_at = {job: stored for job, stored in self._stored_at.items() if stored > cutoff}
        gone = await self.job_database.expire(
            time.time(), runner_config.keep_time, runner_config.keep_bytes, self._stored_at.keys()
        )
        for job in gone:
            log.info("removed the result of %s, which was kept long enough", job)


def _unpacked(job: Job, result: JobResult, error: OSError, where: str) -> JobFinished:
    """Return the event of a job whose result could not be packed; `where` is the location of its files, or empty."""
    text = f"The result could not be packed ({error.strerror}); its files are kept on the worker{where}. {result.text}"
    return JobFinished(job.name, Outcome.FAILED, text[:2000], result=False)

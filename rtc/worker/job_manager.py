"""Manages the jobs of a worker: receives a package, starts a supervisor process for it, and stores the results.

Once the whole package was received, its job needs neither the client nor this program: the supervisor process runs it,
and the next worker that uses this work folder adopts it. A job's folder is removed when the job has ended. Its result
stays in the result store, from which `rtc.worker.job_sessions` sends it to the owner.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio
from attrs import define, field

from actors.events import (
    Cancel,
    CloseLink,
    DiscardJob,
    JobAdopted,
    JobCredential,
    PackageFailed,
    PackageReceived,
    ReceivePackage,
    ReleaseResult,
    StartJob,
    StopEarly,
    SupplyPackage,
)
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import JobEnded, JobStage, Outcome
from rtc.common.errors import RtcError
from rtc.common.job_result import JobResult
from rtc.runner.folder_lock import create_locked_folder, list_folders, sweep_leftovers, take_over_folder
from rtc.runner.job_files import ARRIVED, Spec
from rtc.runner.journal import JournalWatcher
from rtc.runner.supervisor_handle import adopt_supervisor, collect_result, start_supervisor, was_started
from rtc.runtime.peer_runtime import Routes
from rtc.transport.files import Incoming
from rtc.transport.links.manager import LinkManager
from rtc.worker.gpu_monitor import read_job_gpus
from rtc.worker.job import CLEAN_TIME, Job, RunnerConfig
from rtc.worker.job_database import JobDatabase, JobRecord, try_or_log
from rtc.worker.job_status import JobStatus
from rtc.worker.result_store import ResultStore

log = logging.getLogger("rtc.worker.job_manager")

RESULTS_LINK = ".home"
"""Name of a symbolic link in a job's folder; it leads to the results folder in which its result is to be stored."""
CLEANUP_PERIOD = 600.0
"""Seconds between two checks of the results and of the work folder."""
FINISH_TIME = 60.0
"""Seconds for ending a job and packing its results when the worker stops; if this is too short, the next worker packs
the results."""
FILES_REMOVED = JobResult(
    Outcome.FAILED, "The job's files were removed from the worker while no worker ran; nothing is left."
)
PACKAGE_INCOMPLETE = "The job's package never came whole, so nothing was run. Send it again."
PACKAGE_TOO_LARGE = "Make it smaller, or ask the worker's owner for a larger --max-package."
CANCELLED = Fault(FaultCode.CANCELLED, "The job was cancelled before it began.")
NOT_AWAITED = Fault(FaultCode.LINK_LOST, "The worker does not wait for this package any more.")


@define
class JobManager:
    """The jobs of a worker. The router calls the sync methods; they start their work in the nursery of `run`."""

    runner_config: RunnerConfig
    links: LinkManager
    router: Router
    job_database: JobDatabase
    stop_jobs_on_exit: Callable[[], bool]
    """Returns whether running jobs are ended when `run` is cancelled; otherwise they go on without this worker."""
    say: Callable[[str], None] = log.warning
    """Prints a line for the person who runs the worker."""
    jobs: dict[JobId, Job] = field(factory=dict)
    """The jobs that have not ended and belong to this worker."""
    known_jobs: set[JobId] = field(factory=set)
    """All jobs that have or had a record, also those of other workers; their owners may ask this worker about them."""
    result_store: ResultStore = field(init=False)
    _nursery: trio.Nursery | None = None

    @result_store.default
    def _make_result_store(self) -> ResultStore:
        return ResultStore(self.runner_config, self.job_database, self.say)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the tasks of the jobs until cancelled.

        Jobs that have not started by then are removed. Started jobs go on, or are ended (`stop_jobs_on_exit`).
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._clean_up_periodically)
                task_status.started()
                await trio.sleep_forever()
        finally:
            for job in tuple(self.jobs.values()):
                if not job.started:
                    await self._remove_job(job)

    async def adopt(self) -> None:
        """Adopt the jobs that earlier workers left in the work folder, and report those that still run."""
        await trio.to_thread.run_sync(sweep_leftovers, self.runner_config.work)
        for folder in await trio.to_thread.run_sync(list_folders, self.runner_config.work):
            record = await self.job_database.get(JobId(folder.name))
            if record is None or self.runner_config.has_gpu_of(record.gpu):
                await self._adopt_folder(folder, record)
        await self._fail_lost_jobs()
        self.known_jobs |= await self.job_database.all_ids()

    async def _fail_lost_jobs(self) -> None:
        """Record the end of unfinished jobs whose folders were removed from the work folder by hand."""
        work = str(self.runner_config.work.resolve())
        for record in await self.job_database.unfinished():
            exists = await trio.Path(self.runner_config.work / record.job).exists()
            if record.work == work and record.job not in self.jobs and not exists:
                await self.job_database.mark_ended(record.job, FILES_REMOVED, None)

    async def _clean_up_periodically(self) -> None:
        """Every `CLEANUP_PERIOD`, remove expired results and finish jobs whose end could not be recorded before."""
        while True:
            await try_or_log(self.result_store.expire)
            await trio.sleep(CLEANUP_PERIOD)
            await try_or_log(self._finish_orphaned_jobs)

    async def _finish_orphaned_jobs(self) -> None:
        """Finish the ended jobs whose workers no longer run, whatever their GPU; running jobs are left as they are."""
        for folder in await trio.to_thread.run_sync(list_folders, self.runner_config.work):
            await self._adopt_folder(folder, await self.job_database.get(JobId(folder.name)), adopt_running=False)
        self.known_jobs |= await self.job_database.all_ids()

    # -------- called by the router

    def routes(self) -> Routes:
        """Return the methods to call for each effect."""
        return {
            ReceivePackage: (self.receive_package,),
            StartJob: (self.start,),
            SupplyPackage: (self.resume_package,),
            StopEarly: (self.stop_early,),
            Cancel: (self.cancel,),
            DiscardJob: (self.discard_job,),
            ReleaseResult: (self.release_result,),
        }

    def receive_package(self, effect: ReceivePackage) -> None:
        """Receive the package of a new job."""
        job = Job(effect.credential.job, self.runner_config.work / effect.credential.job, submit=effect.submit)
        # made already here: the owner may ask for the events over another link while the package is being received
        job.watcher = JournalWatcher.of(job.name, job.folder)
        self.jobs[job.name] = job
        self.known_jobs.add(job.name)
        job.set_package_link(effect.link)
        self._start_task(self._receive_and_report, job, effect.credential)

    def resume_package(self, effect: SupplyPackage) -> None:
        """Receive the rest of a package over a new link; if it is complete already, only confirm that to the sender.

        If it is not wanted any more, close the link; the owner connects again, and then hears why.
        """
        job = self.jobs.get(effect.job)
        if job is None or job.scope.cancel_called:
            self.router.outbox.put(CloseLink(effect.new_link, NOT_AWAITED))
        elif job.package_complete:
            self._start_task(self._confirm_package, job, effect.new_link)
        else:
            job.set_package_link(effect.new_link)

    def start(self, effect: StartJob) -> None:
        """Start the job."""
        job = self.jobs.get(effect.job)
        if job is not None:
            job.started = True
            job.begun.set()
            self._start_task(self._run, job)

    def stop_early(self, effect: StopEarly) -> None:
        """Stop the job early, and keep what it has trained."""
        job = self.jobs.get(effect.job)
        if job is not None:
            job.stop(effect.scope)

    def cancel(self, effect: Cancel) -> None:
        """End the job now; a job whose package is not complete fails with `CANCELLED`."""
        job = self.jobs.get(effect.job)
        if job is not None:
            job.cancel()
            if not job.package_complete:
                job.scope.cancel()

    def discard_job(self, effect: DiscardJob) -> None:
        """Remove a job that was not started, whether its package is complete or not. A started job is left as it is."""
        job = self.jobs.get(effect.job)
        if job is None or job.started:
            return
        del self.jobs[job.name]
        self.known_jobs.discard(job.name)
        if job.package_link is not None:  # its sender may have returned just when the Worker gave it up
            self.router.outbox.put(CloseLink(job.package_link, NOT_AWAITED))
        job.scope.cancel()

    def release_result(self, effect: ReleaseResult) -> None:
        """Remove a result that its owner has received."""
        self._start_task(try_or_log, self.job_database.mark_fetched, effect.job)

    # -------- receiving a package

    def _start_task(self, work: object, *args: object) -> None:
        assert self._nursery is not None, "the router calls this only while `run` runs"
        self._nursery.start_soon(work, *args)  # type: ignore[arg-type]

    async def _receive_and_report(self, job: Job, credential: JobCredential) -> None:
        """Receive the package from its first byte to its last, and report the outcome to the Worker."""
        fault: Fault | None = None
        try:
            with job.scope:
                await self._receive_package(job, credential)
        except RtcError as error:
            fault = error.fault
        except OSError as error:
            text = f"The worker could not keep the package ({error.strerror}). Tell its owner."
            fault = Fault(FaultCode.DISK_FULL, text)
        finally:
            if not job.started:
                await self._remove_job(job)
        if job.started:
            if job.has_new_link:
                await self._confirm_package(job, await job.next_link())
        elif job.cancelled:
            self.router.outbox.put(PackageFailed(job.name, CANCELLED))
        elif fault is not None:
            self.router.outbox.put(PackageFailed(job.name, fault))

    async def _receive_package(self, job: Job, credential: JobCredential) -> None:
        """Create the job's folder and record, and receive its package over as many links as necessary.

        This waits for the next link without a time limit: the Worker ends the wait with `DiscardJob`.
        """
        assert job.submit is not None, "a job whose package is received was submitted"
        job.lock = await trio.to_thread.run_sync(create_locked_folder, job.folder)
        runner_config = self.runner_config
        await trio.Path(job.folder / RESULTS_LINK).symlink_to(runner_config.results.resolve())
        await self.job_database.add(
            job.name,
            credential.key,
            job.submit,
            runner_config.name,
            runner_config.work.resolve(),
            runner_config.gpu_text,
        )
        job.recorded.set()
        arrived = job.folder / ARRIVED  # a folder of its own, so that the package's name can clash with no other file
        await trio.Path(arrived).mkdir(mode=0o700)
        job.incoming = Incoming(
            arrived,
            runner_config.package_max,
            expected_size=job.submit.size,
            advice=PACKAGE_TOO_LARGE,
            disk="worker's disk",
            copies=2,
        )
        while job.incoming.path is None:
            await self._receive_over_link(job, job.incoming, await job.next_link())

    async def _await_start(self, job: Job) -> None:
        """Report a package that is complete, and wait until its job has begun.

        Its sender hears only then that the package is here. So a worker that gives the job up at this moment, because
        it leaves, drops no job whose client believes that it runs.
        """
        if not job.package_complete:
            job.package_complete = True
            self.router.outbox.put(PackageReceived(job.name))
        await job.begun.wait()

    async def _receive_over_link(self, job: Job, incoming: Incoming, link: LinkId) -> None:
        """Receive as much of the package as arrives over this link; LINK_LOST is only logged."""
        file_channel = self.links.file_channel(link)
        if file_channel is None:
            return
        try:
            await incoming.receive(file_channel, ignore_progress, before_verified=partial(self._await_start, job))
        except RtcError as error:
            if error.fault.code is not FaultCode.LINK_LOST:
                raise
            log.info("the package was received up to byte %d; the rest may come over another link", incoming.written)

    async def _confirm_package(self, job: Job, link: LinkId) -> None:
        """Confirm to a sender, which reconnected to send the rest, that its package is already complete."""
        assert job.incoming is not None, "its package was received"
        try:
            await self._receive_over_link(job, job.incoming, link)
        except RtcError as error:
            log.warning(
                "the sender could not be notified that the package of %s is complete: %s", job.name, error.fault.text
            )

    async def _remove_job(self, job: Job) -> None:
        """Remove a job that never ran: its folder, its record (a cancelled job keeps it), and itself from `jobs`."""
        end = JobResult(Outcome.FAILED, PACKAGE_INCOMPLETE)
        with trio.move_on_after(CLEAN_TIME, shield=True):
            if job.cancelled:
                end = JobResult(Outcome.CANCELLED, CANCELLED.text)
                await try_or_log(self.job_database.mark_ended, job.name, end, None)
                self.known_jobs.add(job.name)  # its sender may be away, and must not send it again
            else:
                self.known_jobs.discard(job.name)
                await try_or_log(self.job_database.delete, job.name)
        self.jobs.pop(job.name, None)
        job.end(JobEnded(job.name, end.outcome, end.text, result=False))
        await job.discard()

    # -------- a running job

    async def _run(self, job: Job) -> None:
        """Start the job's supervisor process, and watch the job to its end."""
        assert job.submit is not None, "a job that is started was submitted"
        runner_config = self.runner_config
        on_cpu = runner_config.accelerator == "cpu"
        spec = Spec(
            job.name,
            runner_config.sleap_nn,
            runner_config.accelerator,
            runner_config.gpus,
            job.submit.overrides,
            package_max=runner_config.package_max,
            gpu_facts=() if on_cpu else await read_job_gpus(runner_config.gpus),
            pass_env=runner_config.pass_env,
            give_up_after=job.submit.give_up_after,
        )
        lock_descriptor = job.lock.users_descriptor if job.lock is not None else None
        try:
            with trio.CancelScope(shield=True):  # a supervisor without a handle could neither be watched nor ended
                job.set_supervisor(await start_supervisor(job.folder, spec, lock_descriptor))
                await try_or_log(self.job_database.mark_running, job.name)
        except OSError as error:
            text = f"The worker could not start the job ({error.strerror}). Tell its owner: is its disk full?"
            await self._finish(job, JobResult(Outcome.FAILED, text))
            return
        await self._watch_job(job)

    async def _adopt_folder(self, folder: Path, record: JobRecord | None, *, adopt_running: bool = True) -> None:
        """Adopt the job in a folder of an earlier worker, and report it to the Worker if it runs.

        A job that has ended is finished instead, and one without a complete package is removed. A job without a record
        (the database was damaged) is adopted too, but its owner cannot prove to be the owner any more; people find its
        result in the results folder.

        Args:
            folder: the job's folder.
            record: the job's record, if there is one.
            adopt_running: whether to adopt a job that still runs; otherwise it is left as it is.
        """
        if record is None and not await trio.to_thread.run_sync(self._has_our_results_folder, folder):
            return
        lock = await trio.to_thread.run_sync(take_over_folder, folder)
        if lock is None:
            return
        job = Job(JobId(folder.name), folder, lock, package_complete=True, started=True)
        job.recorded.set()
        if record is not None and record.stage is JobStage.ENDED:
            await self.result_store.clean_up(job, record)
            return
        if not await trio.to_thread.run_sync(was_started, folder):
            log.info("removed %s, whose package was not complete when its worker ended", folder.name)
            await self._remove_job(job)
            return
        job.watcher = JournalWatcher.of(job.name, folder)
        supervisor = await trio.to_thread.run_sync(adopt_supervisor, folder)
        if supervisor is not None and not adopt_running:
            supervisor.close()
            await job.release()
            return
        self.jobs[job.name] = job
        if supervisor is None:
            self._start_task(self._finish_ended_job, job)
            return
        log.info("adopted %s, which is running", folder.name)
        job.set_supervisor(supervisor)
        self.router.outbox.put(JobAdopted(job.name))
        self._start_task(self._watch_job, job)

    def _has_our_results_folder(self, folder: Path) -> bool:
        """Return whether the job's result is to be stored in this worker's results folder.

        Workers that share a work folder may have different results folders.
        """
        try:
            return (folder / RESULTS_LINK).readlink() == self.runner_config.results.resolve()
        except OSError:
            return True

    async def _finish_ended_job(self, job: Job) -> None:
        """Store the result of a job that ended while no worker was running."""
        assert job.watcher is not None, "every started job has one"
        job.status_line = JobStatus(text="It ended while no worker was there; what it made is being packed.")
        job.watcher.end()
        await self._finish(job, await collect_result(job.folder))

    async def _watch_job(self, job: Job) -> None:
        """Watch a running job until it ends, or until this worker does."""
        assert job.supervisor is not None, "only a job with a supervisor is watched"
        assert job.watcher is not None, "every started job has one"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_update_status, job)
                await job.supervisor.wake_readers_until_exit(job.watcher)
            await self._finish(job, await job.supervisor.wait_result())
        finally:
            with trio.move_on_after(FINISH_TIME, shield=True):
                await self._leave_job(job)
            job.supervisor.close()

    async def _leave_job(self, job: Job) -> None:
        """Leave a job that has not ended to the next worker; or end it and store its result
        (`stop_jobs_on_exit`).
        """
        assert job.supervisor is not None, "only a job with a supervisor is watched"
        if job.over.is_set():
            return
        if self.stop_jobs_on_exit():
            await job.supervisor.end()
            await self._finish(job, await job.supervisor.wait_result())
        else:
            log.info("%s goes on; the next worker adopts it", job.name)
            await job.release()

    async def _finish(self, job: Job, result: JobResult) -> None:
        """Pack the results, record how the job ended, and report that to the Worker and to the sessions."""
        finished = await self.result_store.store(job, result)
        await job.discard()
        self.router.outbox.put(finished)
        job.end(JobEnded(job.name, finished.outcome, finished.text, finished.result))
        self.jobs.pop(job.name, None)
        await try_or_log(self.result_store.expire)


def ignore_progress(_done: int, _total: int) -> None:
    """Ignore the progress of a transfer, as the worker does not show it."""


async def _update_status(job: Job) -> None:
    """Update the job's status sentence with each of its events."""
    assert job.watcher is not None, "every started job has one"
    async for event in job.watcher.follow():
        job.status_line.update(event.news)

"""The worker's job desk: takes a package, has a keeper run it, and puts what it made on the shelf for the owner.

Once a package is here whole, its job needs neither the client nor this program: the keeper runs it, and whichever
worker next opens this desk takes it up where it stands. Every folder it makes is gone when the job is; results wait
on the shelf, which `rtc.worker.job_sessions` hands them out of.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import define, field

from actors.events import (
    Cancel,
    DiscardJob,
    EarlierJobsFound,
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
from rtc.runner.folder_lock import list_folders, lock_folder, own_folder, sweep_leftovers
from rtc.runner.job_files import ARRIVED, Spec
from rtc.runner.journal import JournalWatcher
from rtc.runner.supervisor_handle import adopt_supervisor, conclude_job, start_supervisor, was_started
from rtc.transport.files import Incoming
from rtc.transport.links.manager import LinkManager
from rtc.worker.job import CLEAN_TIME, Job, RunnerConfig
from rtc.worker.job_database import JobDatabase, JobRecord, attempt
from rtc.worker.job_status import JobStatus
from rtc.worker.result_store import ResultStore

log = logging.getLogger("rtc.worker.job_manager")

HOME = ".home"
"""In a job's folder: a link to the results folder that its result is for."""
TIDY_PERIOD = 600.0
"""Seconds from one look around to the next."""
FINISH_TIME = 60.0
"""Seconds that packing what a stopped job has made may take; the next worker goes on with it otherwise."""
LOST_TEXT = JobResult(
    Outcome.FAILED, "The job's files were removed from the worker while no worker ran; nothing is left."
)
NEVER_CAME = "The job's package never came whole, so nothing was run. Send it again."
CANCELLED = Fault(FaultCode.CANCELLED, "The job was cancelled before it began.")


@define
class JobManager:
    """Sync methods are the router's doors; the work is done in the nursery of `run`."""

    runner_config: RunnerConfig
    links: LinkManager
    router: Router
    job_database: JobDatabase
    stopping: Callable[[], bool]
    """Whether our end is somebody's wish: only then do jobs end with us."""
    jobs: dict[JobId, Job] = field(factory=dict)
    result_store: ResultStore = field(init=False)
    _nursery: trio.Nursery | None = None

    @result_store.default
    def _its_result_store(self) -> ResultStore:
        return ResultStore(self.runner_config, self.job_database)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled. What is prepared then is removed; what runs goes on, unless it is to be stopped too."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._tidy)
                task_status.started()
                await trio.sleep_forever()
        finally:
            for job in tuple(self.jobs.values()):
                if not job.started:
                    await self._drop(job)

    async def adopt(self) -> bool:
        """Take up what earlier workers have left; whether any of it runs, so that we are busy from the beginning."""
        runs = False
        await trio.to_thread.run_sync(sweep_leftovers, self.runner_config.work)
        for folder in await trio.to_thread.run_sync(list_folders, self.runner_config.work):
            record = await self.job_database.get(JobId(folder.name))
            if record is None or record.gpu == self.runner_config.gpu:  # others are for the worker of that GPU, for now
                runs = await self._adopt_one(folder, record) or runs
        await self._give_up_lost()
        await self._tell_known()
        return runs

    async def _tell_known(self) -> None:
        self.router.outbox.put(EarlierJobsFound(await self.job_database.all_ids()))

    async def _give_up_lost(self) -> None:
        """Jobs whose folders somebody has removed from our work folder."""
        work = str(self.runner_config.work.resolve())
        for record in await self.job_database.unfinished():
            there = await trio.Path(self.runner_config.work / record.job).exists()
            if record.work == work and record.job not in self.jobs and not there:
                await self.job_database.ended(record.job, LOST_TEXT, None)

    async def _tidy(self) -> None:
        """Look now and then for what was kept long enough, and for jobs whose end nobody could see to."""
        while True:
            await attempt(self.result_store.expire)
            await trio.sleep(TIDY_PERIOD)
            await attempt(self._look_again)

    async def _look_again(self) -> None:
        for folder in await trio.to_thread.run_sync(list_folders, self.runner_config.work):
            await self._adopt_one(folder, await self.job_database.get(JobId(folder.name)), running=False)
        await self._tell_known()

    # -------- the router's doors

    def prepare(self, effect: ReceivePackage) -> None:
        """Take this package."""
        job = Job(effect.credential.job, self.runner_config.work / effect.credential.job, submit=effect.submit)
        job.watcher = JournalWatcher.of(
            job.name, job.folder
        )  # its owner may ask from another window while it is on its way
        self.jobs[job.name] = job
        job.come_over(effect.link)
        self._begin(self._prepare, job, effect.credential)

    def supply(self, effect: SupplyPackage) -> None:
        """Go on with it."""
        job = self.jobs.get(effect.job)
        if job is not None:
            if job.begun:
                self._begin(self._confirm, job, effect.link)
            else:
                job.come_over(effect.link)

    def start(self, effect: StartJob) -> None:
        """Run it."""
        job = self.jobs.get(effect.job)
        if job is not None:
            job.started = True
            self._begin(self._run, job)

    def stop_early(self, effect: StopEarly) -> None:
        """Let it stop, and keep what it has learned."""
        job = self.jobs.get(effect.job)
        if job is not None:
            job.stop(effect.scope)

    def cancel(self, effect: Cancel) -> None:
        """End it; a job that has not begun never will."""
        job = self.jobs.get(effect.job)
        if job is None:
            return
        if job.begun:
            job.cancel()
        else:
            self.router.outbox.put(PackageFailed(job.name, CANCELLED))
            self.forget(DiscardJob(job.name))

    def forget(self, effect: DiscardJob) -> None:
        """It will not be. Its package may be on the way, or have come just when nobody wanted it any more."""
        job = self.jobs.get(effect.job)
        if job is None or job.started:
            return
        del self.jobs[job.name]
        if job.begun:
            self._begin(self._drop, job)
        else:
            job.scope.cancel()

    def taken(self, effect: ReleaseResult) -> None:
        """Its owner has the result."""
        self._begin(attempt, self.job_database.taken, effect.job)

    # -------- a package on its way

    def _begin(self, work: object, *args: object) -> None:
        assert self._nursery is not None, "the desk is asked while it runs"
        self._nursery.start_soon(work, *args)  # type: ignore[arg-type]

    async def _prepare(self, job: Job, credential: JobCredential) -> None:
        """From the first byte to the last."""
        fault: Fault | None = None
        try:
            with job.scope:
                await self._take_package(job, credential)
                job.begun = not job.scope.cancel_called  # what runs in a thread does not notice that nobody waits
        except RtcError as error:
            fault = error.fault
        except OSError as error:
            text = f"The worker could not keep the package ({error.strerror}). Tell its owner."
            fault = Fault(FaultCode.DISK_FULL, text)
        finally:
            if not job.begun:
                await self._drop(job)
        if job.begun:
            self.router.outbox.put(PackageReceived(credential))
            if job.expected:
                await self._confirm(job, await job.next_link())
        elif fault is not None:
            self.router.outbox.put(PackageFailed(job.name, fault))

    async def _take_package(self, job: Job, credential: JobCredential) -> None:
        """Over as many links as it takes; that nobody brings one any more is for the Worker to say (`DiscardJob`)."""
        assert job.submit is not None, "what is taken was submitted"
        job.lock = await trio.to_thread.run_sync(lock_folder, job.folder)
        runner_config = self.runner_config
        await trio.Path(job.folder / HOME).symlink_to(runner_config.results.resolve())
        await self.job_database.add(
            job.name, credential.key, job.submit, runner_config.name, runner_config.work.resolve(), runner_config.gpu
        )
        arrived = job.folder / ARRIVED  # apart, so that a package's own name can clash with nothing
        await trio.Path(arrived).mkdir(mode=0o700)
        job.incoming = Incoming(arrived, runner_config.package_max, expect=job.submit.size)
        while job.incoming.path is None:
            await self._take_more(job.incoming, await job.next_link())

    async def _take_more(self, incoming: Incoming, link: LinkId) -> None:
        """As much as comes over this link."""
        file_channel = self.links.file_channel(link)
        if file_channel is None:
            return
        try:
            await incoming.take(file_channel, unwatched)
        except RtcError as error:
            if error.fault.code is not FaultCode.LINK_LOST:
                raise
            log.info("the package came as far as byte %d; the rest may come over another link", incoming.written)

    async def _confirm(self, job: Job, link: LinkId) -> None:
        """All was here when somebody came back to send the rest: tell them."""
        assert job.incoming is not None, "its package came"
        try:
            await self._take_more(job.incoming, link)
        except RtcError as error:
            log.warning("nobody could be told that the package of %s is here: %s", job.name, error.fault.text)

    async def _drop(self, job: Job) -> None:
        self.jobs.pop(job.name, None)
        job.end(JobEnded(job.name, Outcome.FAILED, NEVER_CAME, result=False))
        with trio.move_on_after(CLEAN_TIME, shield=True):
            await attempt(self.job_database.drop, job.name)
        await job.discard()

    # -------- a running job

    async def _run(self, job: Job) -> None:
        assert job.submit is not None, "what is started was submitted"
        runner_config = self.runner_config
        spec = Spec(
            job.name, runner_config.sleap_nn, runner_config.accelerator, runner_config.gpu, job.submit.overrides
        )
        task = job.lock.descriptor if job.lock is not None else None
        try:
            with trio.CancelScope(shield=True):  # a keeper that nobody knows of could neither be followed nor ended
                job.set_supervisor(await start_supervisor(job.folder, spec, task))
                await attempt(self.job_database.started, job.name)
        except OSError as error:
            text = f"The worker could not start the job ({error.strerror}). Tell its owner: is its disk full?"
            await self._finish(job, JobResult(Outcome.FAILED, text))
            return
        await self._follow(job)

    async def _adopt_one(self, folder: Path, record: JobRecord | None, *, running: bool = True) -> bool:
        """One folder of an earlier worker; whether its job runs, and is ours now.

        Without a record (their file was damaged) nobody can claim it any more; its result is for people to find.
        """
        if record is None and not await trio.to_thread.run_sync(self._is_home, folder):
            return False
        lock = await trio.to_thread.run_sync(own_folder, folder)
        if lock is None:
            return False
        job = Job(JobId(folder.name), folder, lock, begun=True, started=True)
        if record is not None and record.stage is JobStage.ENDED:
            await self.result_store.finish(job, record)
            return False
        if not await trio.to_thread.run_sync(was_started, folder):
            log.info("removed %s, whose package an earlier worker did not get whole", folder.name)
            await self._drop(job)
            return False
        job.watcher = JournalWatcher.of(job.name, folder)
        supervisor = await trio.to_thread.run_sync(adopt_supervisor, folder)
        if supervisor is not None and not running:
            supervisor.close()
            await job.release()
            return False
        self.jobs[job.name] = job
        if supervisor is None:
            self._begin(self._finish_late, job)
            return False
        log.info("took up %s, which runs", folder.name)
        job.set_supervisor(supervisor)
        self.router.outbox.put(JobAdopted(job.name))
        self._begin(self._follow, job)
        return True

    def _is_home(self, folder: Path) -> bool:
        """Whether its result belongs into our results folder: another worker's may be another one."""
        try:
            return (folder / HOME).readlink() == self.runner_config.results.resolve()
        except OSError:
            return True

    async def _finish_late(self, job: Job) -> None:
        """It ended while no worker was there."""
        assert job.watcher is not None, "every job has one"
        job.status_line = JobStatus(text="It ended while no worker was there; what it made is being packed.")
        job.watcher.end()
        await self._finish(job, await conclude_job(job.folder))

    async def _follow(self, job: Job) -> None:
        """To the job's end, or to ours."""
        assert job.supervisor is not None, "only a job with a keeper is followed"
        assert job.watcher is not None, "every job has one"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_announce_status, job)
                await job.supervisor.attend(job.watcher)
            await self._finish(job, await job.supervisor.conclude())
        finally:
            with trio.move_on_after(FINISH_TIME, shield=True):
                await self._part(job)
            job.supervisor.close()

    async def _part(self, job: Job) -> None:
        """Should we end before the job, it goes on without us, or ends too if that is wanted."""
        assert job.supervisor is not None, "only a job with a keeper is followed"
        if job.over.is_set():
            return
        if self.stopping():
            await job.supervisor.end()
            await self._finish(job, await job.supervisor.conclude())
        else:
            log.info("%s goes on; the next worker takes it up", job.name)
            await job.release()

    async def _finish(self, job: Job, result: JobResult) -> None:
        """Pack what it made, record how it ended, and say so."""
        over = await self.result_store.put(job, result)
        await job.discard()
        self.router.outbox.put(over)
        job.end(JobEnded(job.name, over.outcome, over.text, over.result))
        self.jobs.pop(job.name, None)
        await attempt(self.result_store.expire)


def unwatched(_done: int, _total: int) -> None:
    """The worker has nobody who watches bytes go by."""


async def _announce_status(job: Job) -> None:
    assert job.watcher is not None, "every job has one"
    async for event in job.watcher.follow():
        job.status_line.hear(event.news)

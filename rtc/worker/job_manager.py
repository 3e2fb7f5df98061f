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
    Forget,
    JobsKnown,
    JobTakenUp,
    PackageFailed,
    PackageReceived,
    Prepare,
    StartJob,
    StopEarly,
    Supply,
    Taken,
    Ticket,
)
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import JobEnded, JobStage, Outcome
from rtc.common.errors import RtcError
from rtc.common.job_result import JobResult
from rtc.runner.folder_lock import claim_folder, list_folders, own_folder, sweep_leftovers
from rtc.runner.job_files import ARRIVED, Spec
from rtc.runner.journal import Feed
from rtc.runner.supervisor_handle import adopt_keeper, conclude_job, start_keeper, was_started
from rtc.transport.files import Incoming
from rtc.transport.links.manager import Links
from rtc.worker.job import CLEAN_TIME, Bench, Job
from rtc.worker.job_database import Record, Records, attempt
from rtc.worker.job_status import Standing
from rtc.worker.result_store import Shelf

log = logging.getLogger("rtc.worker.job_manager")

HOME = ".home"
"""In a job's folder: a link to the results folder that its result is for."""
TIDY_PERIOD = 600.0
"""Seconds from one look around to the next."""
FINISH_TIME = 60.0
"""Seconds that packing what a stopped job has made may take; the next worker goes on with it otherwise."""
LOST = JobResult(Outcome.FAILED, "The job's files were removed from the worker while no worker ran; nothing is left.")
NEVER_CAME = "The job's package never came whole, so nothing was run. Send it again."
CANCELLED = Fault(FaultCode.CANCELLED, "The job was cancelled before it began.")


@define
class Desk:
    """Sync methods are the router's doors; the work is done in the nursery of `run`."""

    bench: Bench
    links: Links
    router: Router
    records: Records
    stopping: Callable[[], bool]
    """Whether our end is somebody's wish: only then do jobs end with us."""
    jobs: dict[JobId, Job] = field(factory=dict)
    shelf: Shelf = field(init=False)
    _nursery: trio.Nursery | None = None

    @shelf.default
    def _its_shelf(self) -> Shelf:
        return Shelf(self.bench, self.records)

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

    async def take_up(self) -> bool:
        """Take up what earlier workers have left; whether any of it runs, so that we are busy from the beginning."""
        runs = False
        await trio.to_thread.run_sync(sweep_leftovers, self.bench.work)
        for folder in await trio.to_thread.run_sync(list_folders, self.bench.work):
            record = await self.records.get(JobId(folder.name))
            if record is None or record.gpu == self.bench.gpu:  # others are for the worker of that GPU, for now
                runs = await self._take_up_one(folder, record) or runs
        await self._give_up_lost()
        await self._tell_known()
        return runs

    async def _tell_known(self) -> None:
        self.router.outbox.put(JobsKnown(await self.records.all_ids()))

    async def _give_up_lost(self) -> None:
        """Jobs whose folders somebody has removed from our work folder."""
        work = str(self.bench.work.resolve())
        for record in await self.records.unfinished():
            there = await trio.Path(self.bench.work / record.job).exists()
            if record.work == work and record.job not in self.jobs and not there:
                await self.records.ended(record.job, LOST, None)

    async def _tidy(self) -> None:
        """Look now and then for what was kept long enough, and for jobs whose end nobody could see to."""
        while True:
            await attempt(self.shelf.expire)
            await trio.sleep(TIDY_PERIOD)
            await attempt(self._look_again)

    async def _look_again(self) -> None:
        for folder in await trio.to_thread.run_sync(list_folders, self.bench.work):
            await self._take_up_one(folder, await self.records.get(JobId(folder.name)), running=False)
        await self._tell_known()

    # -------- the router's doors

    def prepare(self, effect: Prepare) -> None:
        """Take this package."""
        job = Job(effect.ticket.job, self.bench.work / effect.ticket.job, submit=effect.submit)
        job.feed = Feed.of(job.name, job.folder)  # its owner may ask from another window while it is on its way
        self.jobs[job.name] = job
        job.come_over(effect.link)
        self._begin(self._prepare, job, effect.ticket)

    def supply(self, effect: Supply) -> None:
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
            self.forget(Forget(job.name))

    def forget(self, effect: Forget) -> None:
        """It will not be. Its package may be on the way, or have come just when nobody wanted it any more."""
        job = self.jobs.get(effect.job)
        if job is None or job.started:
            return
        del self.jobs[job.name]
        if job.begun:
            self._begin(self._drop, job)
        else:
            job.scope.cancel()

    def taken(self, effect: Taken) -> None:
        """Its owner has the result."""
        self._begin(attempt, self.records.taken, effect.job)

    # -------- a package on its way

    def _begin(self, work: object, *args: object) -> None:
        assert self._nursery is not None, "the desk is asked while it runs"
        self._nursery.start_soon(work, *args)  # type: ignore[arg-type]

    async def _prepare(self, job: Job, ticket: Ticket) -> None:
        """From the first byte to the last."""
        fault: Fault | None = None
        try:
            with job.scope:
                await self._take_package(job, ticket)
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
            self.router.outbox.put(PackageReceived(ticket))
            if job.expected:
                await self._confirm(job, await job.next_link())
        elif fault is not None:
            self.router.outbox.put(PackageFailed(job.name, fault))

    async def _take_package(self, job: Job, ticket: Ticket) -> None:
        """Over as many links as it takes; that nobody brings one any more is for the Worker to say (`Forget`)."""
        assert job.submit is not None, "what is taken was submitted"
        job.claim = await trio.to_thread.run_sync(claim_folder, job.folder)
        bench = self.bench
        await trio.Path(job.folder / HOME).symlink_to(bench.results.resolve())
        await self.records.add(job.name, ticket.key, job.submit, bench.name, bench.work.resolve(), bench.gpu)
        arrived = job.folder / ARRIVED  # apart, so that a package's own name can clash with nothing
        await trio.Path(arrived).mkdir(mode=0o700)
        job.incoming = Incoming(arrived, bench.package_max, expect=job.submit.size)
        while job.incoming.path is None:
            await self._take_more(job.incoming, await job.next_link())

    async def _take_more(self, incoming: Incoming, link: LinkId) -> None:
        """As much as comes over this link."""
        lane = self.links.lane(link)
        if lane is None:
            return
        try:
            await incoming.take(lane, unwatched)
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
            await attempt(self.records.drop, job.name)
        await job.discard()

    # -------- a running job

    async def _run(self, job: Job) -> None:
        assert job.submit is not None, "what is started was submitted"
        bench = self.bench
        spec = Spec(job.name, bench.sleap_nn, bench.accelerator, bench.gpu, job.submit.overrides)
        held = job.claim.descriptor if job.claim is not None else None
        try:
            with trio.CancelScope(shield=True):  # a keeper that nobody knows of could neither be followed nor ended
                job.keep_with(await start_keeper(job.folder, spec, held))
                await attempt(self.records.started, job.name)
        except OSError as error:
            text = f"The worker could not start the job ({error.strerror}). Tell its owner: is its disk full?"
            await self._finish(job, JobResult(Outcome.FAILED, text))
            return
        await self._follow(job)

    async def _take_up_one(self, folder: Path, record: Record | None, *, running: bool = True) -> bool:
        """One folder of an earlier worker; whether its job runs, and is ours now.

        Without a record (their file was damaged) nobody can claim it any more; its result is for people to find.
        """
        if record is None and not await trio.to_thread.run_sync(self._is_home, folder):
            return False
        claim = await trio.to_thread.run_sync(own_folder, folder)
        if claim is None:
            return False
        job = Job(JobId(folder.name), folder, claim, begun=True, started=True)
        if record is not None and record.stage is JobStage.ENDED:
            await self.shelf.finish(job, record)
            return False
        if not await trio.to_thread.run_sync(was_started, folder):
            log.info("removed %s, whose package an earlier worker did not get whole", folder.name)
            await self._drop(job)
            return False
        job.feed = Feed.of(job.name, folder)
        keeping = await trio.to_thread.run_sync(adopt_keeper, folder)
        if keeping is not None and not running:
            keeping.close()
            await job.let_go()
            return False
        self.jobs[job.name] = job
        if keeping is None:
            self._begin(self._finish_late, job)
            return False
        log.info("took up %s, which runs", folder.name)
        job.keep_with(keeping)
        self.router.outbox.put(JobTakenUp(job.name))
        self._begin(self._follow, job)
        return True

    def _is_home(self, folder: Path) -> bool:
        """Whether its result belongs into our results folder: another worker's may be another one."""
        try:
            return (folder / HOME).readlink() == self.bench.results.resolve()
        except OSError:
            return True

    async def _finish_late(self, job: Job) -> None:
        """It ended while no worker was there."""
        assert job.feed is not None, "every job has one"
        job.standing = Standing(text="It ended while no worker was there; what it made is being packed.")
        job.feed.end()
        await self._finish(job, await conclude_job(job.folder))

    async def _follow(self, job: Job) -> None:
        """To the job's end, or to ours."""
        assert job.keeping is not None, "only a job with a keeper is followed"
        assert job.feed is not None, "every job has one"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_note_standing, job)
                await job.keeping.attend(job.feed)
            await self._finish(job, await job.keeping.conclude())
        finally:
            with trio.move_on_after(FINISH_TIME, shield=True):
                await self._part(job)
            job.keeping.close()

    async def _part(self, job: Job) -> None:
        """Should we end before the job, it goes on without us, or ends too if that is wanted."""
        assert job.keeping is not None, "only a job with a keeper is followed"
        if job.over.is_set():
            return
        if self.stopping():
            await job.keeping.end()
            await self._finish(job, await job.keeping.conclude())
        else:
            log.info("%s goes on; the next worker takes it up", job.name)
            await job.let_go()

    async def _finish(self, job: Job, result: JobResult) -> None:
        """Pack what it made, record how it ended, and say so."""
        over = await self.shelf.put(job, result)
        await job.discard()
        self.router.outbox.put(over)
        job.end(JobEnded(job.name, over.outcome, over.text, over.result))
        self.jobs.pop(job.name, None)
        await attempt(self.shelf.expire)


def unwatched(_done: int, _total: int) -> None:
    """The worker has nobody who watches bytes go by."""


async def _note_standing(job: Job) -> None:
    assert job.feed is not None, "every job has one"
    async for event in job.feed.follow():
        job.standing.hear(event.news)

"""The worker's job desk: takes a package, runs it, packs what it made, and hands that over.

One job at a time, as the Worker's table promises. Every folder it makes is gone when the job is, but for the results
that nobody has fetched yet: those wait in the results folder.
"""

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio
from attrs import define, field, frozen

from actors.events import (
    Deliver,
    Forget,
    JobOver,
    Listen,
    LookUp,
    PackageArrived,
    PackageFailed,
    Prepare,
    ResultFound,
    ResultGone,
    ResultMissing,
    StartJob,
    StopEarly,
    Ticket,
)
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import Outcome
from rtc.errors import RtcError
from rtc.jobs import kept
from rtc.jobs.archive import unpack
from rtc.jobs.claim import Claim, claim_folder, sweep
from rtc.jobs.launcher import JobResult, StopSwitch, run_job
from rtc.jobs.newsreel import Newsreel
from rtc.jobs.package import Plan, read_plan
from rtc.jobs.results import pack_results
from rtc.jobs.sleap_nn import Accelerator
from rtc.links import Links
from rtc.transfer import receive_file, send_file

log = logging.getLogger("rtc.desk")

CATCH_UP_TIME = 5.0
"""Seconds that the last news may take before the end of the job is told."""
CLEAN_TIME = 30.0
"""Seconds that removing a job's folder may take when the program is being stopped."""
GONE = Fault(FaultCode.LINK_LOST, "The link was gone before the result could be sent; it is kept on the worker.")


@frozen
class Bench:
    """Where and with what jobs are run."""

    work: Path
    """A job's folder lives here while it runs."""
    results: Path
    """Results wait here until they are fetched."""
    sleap_nn: Path
    accelerator: Accelerator
    gpu: str | None
    chunk_size: int
    package_max: int
    """Bytes of the largest package that is taken."""


@define
class _Job:
    ticket: Ticket
    size: int
    folder: Path
    listener: LinkId
    claim: Claim | None = None
    """Held as long as the folder is there and ours."""
    begun: bool = False
    """It runs, or has run; from then on its own task cleans up."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    switch: StopSwitch = field(factory=StopSwitch)
    plan: Plan | None = None
    reel: Newsreel | None = None


@define
class Desk:
    """Sync methods are the router's doors; the work is done in the nursery of `run`."""

    bench: Bench
    links: Links
    router: Router
    _job: _Job | None = None
    _nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled; a running job's processes end, and its folder goes, before this returns."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(_sweep, self.bench.work)
                task_status.started()
                await trio.sleep_forever()
        finally:
            if self._job is not None and not self._job.begun:
                await _discard(self._job)

    # -------- the router's doors

    def prepare(self, effect: Prepare) -> None:
        """Take this package."""
        job = effect.ticket.job
        self._job = _Job(effect.ticket, effect.submit.size, self.bench.work / job, effect.link)
        self._begin(self._prepare, self._job)

    def start(self, effect: StartJob) -> None:
        """Run it."""
        job = self._named(effect.job)
        if job is not None:
            job.begun = True
            self._begin(self._run, job)

    def listen(self, effect: Listen) -> None:
        """Its owner is back, on this link."""
        job = self._named(effect.job)
        if job is not None:
            job.listener = effect.link
            if job.reel is not None:
                job.reel.again()

    def stop_early(self, effect: StopEarly) -> None:
        """Let the model that trains now stop."""
        job = self._named(effect.job)
        if job is not None:
            job.switch.ask()

    def look_up(self, effect: LookUp) -> None:
        """See whether this result waits here, for whoever has its key."""
        self._begin(self._look_up, effect)

    def deliver(self, effect: Deliver) -> None:
        """Send its result."""
        self._begin(self._deliver, effect)

    def forget(self, effect: Forget) -> None:
        """It will not be. Its package may be on the way, or here already while the news of that has not been heard."""
        job = self._named(effect.job)
        if job is not None and not job.begun:
            self._job = None
            job.scope.cancel()
            if job.plan is not None:
                self._begin(_discard, job)

    # -------- the work

    def _named(self, job: JobId) -> _Job | None:
        return self._job if self._job is not None and self._job.ticket.job == job else None

    def _begin(self, work: object, *args: object) -> None:
        assert self._nursery is not None, "the desk is asked while it runs"
        self._nursery.start_soon(work, *args)  # type: ignore[arg-type]

    async def _prepare(self, job: _Job) -> None:
        """From the first byte to an unpacked package whose plan is understood."""
        try:
            with job.scope:
                plan = await self._take_package(job)
                if not job.scope.cancel_called:  # what runs in a thread does not notice that nobody waits any more
                    job.plan = plan
            if job.plan is not None:
                self.router.outbox.put(PackageArrived(job.ticket.job))
        except RtcError as error:
            self.router.outbox.put(PackageFailed(job.ticket.job, error.fault))
        except OSError as error:
            fault = Fault(
                FaultCode.DISK_FULL, f"The worker could not keep the package ({error.strerror}). Tell its owner."
            )
            self.router.outbox.put(PackageFailed(job.ticket.job, fault))
        finally:
            if job.plan is None:
                await _discard(job)

    async def _take_package(self, job: _Job) -> Plan:
        lane = self.links.lane(job.listener)
        if lane is None:
            raise RtcError.of(GONE)
        job.claim = await trio.to_thread.run_sync(claim_folder, job.folder)
        arrived = job.folder / "arrived"  # apart, so that a package's own name can clash with nothing
        await trio.Path(arrived).mkdir(mode=0o700)
        archive = await receive_file(
            lane, arrived, max_size=self.bench.package_max, expect=job.size, progress=_unwatched
        )
        folder = job.folder / "package"
        await unpack(archive, folder)
        await trio.Path(archive).unlink()
        return await trio.to_thread.run_sync(read_plan, folder)

    async def _run(self, job: _Job) -> None:
        """Train, pack, say how it went. Cancelled only with the whole program."""
        try:
            result = await self._train(job)
            over = await self._pack(job, result)
        finally:
            await _discard(job)
        self.router.outbox.put(over)

    async def _train(self, job: _Job) -> JobResult:
        assert job.plan is not None, "only what was unpacked is run"
        held = job.claim.descriptor if job.claim is not None else None
        job.reel = Newsreel(job.ticket.job, partial(self._tell, job))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(job.reel.run)
            result = await run_job(
                job.ticket.job,
                job.plan,
                job.folder / "package",
                sleap_nn=self.bench.sleap_nn,
                accelerator=self.bench.accelerator,
                gpu=self.bench.gpu,
                emit=job.reel.push,
                switch=job.switch,
                inherit=() if held is None else (held,),
            )
            with trio.move_on_after(CATCH_UP_TIME):
                await job.reel.caught_up()
            nursery.cancel_scope.cancel()
        return result

    async def _tell(self, job: _Job, news: object) -> None:
        link = self.links.link(job.listener)
        if link is None:
            await trio.lowlevel.checkpoint()
            return
        await link.until_roomy()
        link.say(news)

    async def _pack(self, job: _Job, result: JobResult) -> JobOver:
        assert job.plan is not None, "only what was unpacked is run"
        name = job.ticket.job
        archive = kept.archive_of(self.bench.results, name)
        try:
            await pack_results(job.folder / "package", job.plan, archive)
            note = kept.Kept(result.outcome, result.text)
            await trio.to_thread.run_sync(kept.keep, self.bench.results, name, job.ticket.key, note)
        except OSError as error:
            log.warning("the result of %s could not be packed: %s", name, error.strerror)
            with suppress(OSError):
                await trio.to_thread.run_sync(kept.forget, self.bench.results, name)
            where = await self._keep(job)
            text = f"The result could not be packed ({error.strerror}); its files are kept on the worker, {where}."
            text += f" {result.text}"
            return JobOver(name, Outcome.FAILED, text[:2000], result=False)
        return JobOver(name, result.outcome, result.text, result=True)

    async def _keep(self, job: _Job) -> str:
        """Put the job's files where people will look for them; if even that fails, leave them. Says where they are."""
        claim, job.claim = job.claim, None
        if claim is not None:
            await trio.to_thread.run_sync(claim.keep)
        name = f"{job.ticket.job}.kept"
        try:
            await trio.Path(job.folder).rename(self.bench.results / name)
        except OSError as error:  # no such folder, another disk, …
            log.warning("the files of %s stay in the work folder: %s", job.ticket.job, error.strerror)
            return f"in {job.folder.name} of its work folder"
        return f"in {name} of its results folder"

    async def _look_up(self, effect: LookUp) -> None:
        job, key = effect.ticket.job, effect.ticket.key
        found = await trio.to_thread.run_sync(kept.find, self.bench.results, job, key)
        if found is None:
            self.router.outbox.put(ResultMissing(effect.link))
        else:
            self.router.outbox.put(ResultFound(effect.link, effect.ticket, found.outcome, found.text))

    async def _deliver(self, effect: Deliver) -> None:
        """Send the result; it is deleted only when the other side has it, whole and verified."""
        lane = self.links.lane(effect.link)
        archive = kept.archive_of(self.bench.results, effect.job)
        fault: Fault | None = None
        try:
            if lane is None:
                raise RtcError.of(GONE)
            if await trio.Path(archive).exists():
                await send_file(
                    lane, archive, name=f"{effect.job}.zip", progress=_unwatched, chunk_size=self.bench.chunk_size
                )
                await trio.to_thread.run_sync(kept.forget, self.bench.results, effect.job)
        except RtcError as error:
            fault = error.fault
            log.warning("the result of %s was not taken (%s); it is kept", effect.job, fault.code.value)
        self.router.outbox.put(ResultGone(effect.job, effect.link, fault))


def _unwatched(_done: int, _total: int) -> None:
    """The worker has nobody who watches bytes go by."""


async def _discard(job: _Job) -> None:
    """Remove a job's folder, if it is still ours, also while being cancelled."""
    claim, job.claim = job.claim, None
    if claim is not None:
        with trio.move_on_after(CLEAN_TIME, shield=True):
            await trio.to_thread.run_sync(claim.give_up, abandon_on_cancel=True)


async def _sweep(work: Path) -> None:
    """Remove what a worker that was killed has left; when we stop meanwhile, the next one goes on with it."""
    for name in await trio.to_thread.run_sync(sweep, work, abandon_on_cancel=True):
        log.info("removed %s, left by a worker that was killed", name)

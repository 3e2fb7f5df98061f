"""The jobs of a world's worker: their packages, their runs, the requests about them, and their results."""

from collections.abc import Iterator
from typing import Any

from attrs import evolve

from actors import events
from actors.job_session import UNKNOWN_FAULT, JobSessionData, refusal
from protocol.ids import JobId, LinkId
from protocol.jobs import JobEnded, JobEvent, JobStage, JobState, Outcome
from rtc.testing.state_space import start_of

from .links import Links, Move, call
from .world import ME, NEWS, NO_SPACE, WAS_CANCELLED, JobModel, World, change, spend


class Jobs(Links):
    """What happens in the worker's program, its actors apart."""

    def job(self, world: World, name: JobId) -> JobModel:
        """Return a job of the worker; one that is gone if there is none."""
        return next((one for one in world.jobs if one.job == name), JobModel(name, "", "gone"))

    def set_job(self, world: World, job: JobModel) -> World:
        """Put a job in the place of the one of that name."""
        jobs = {one.job: one for one in world.jobs} | {job.job: job}
        return change(world, jobs=tuple(jobs[name] for name in sorted(jobs)))

    def state_of(self, world: World, request: Any) -> JobState:
        """Return what a look-up finds."""
        job = self.job(world, request.job)
        if job.key != request.key:
            return JobState(job.job, JobStage.UNKNOWN, "No such job of yours.")
        match job.stage:
            case "elsewhere":
                return JobState(job.job, JobStage.ELSEWHERE, "Another worker has it.")
            case "receiving" | "complete":
                return JobState(job.job, JobStage.PREPARING, "On its way.")
            case "running":
                return JobState(job.job, JobStage.RUNNING, "It runs.", job.news)
            case "ended":
                return JobState(job.job, JobStage.ENDED, "Over.", job.news, job.outcome, job.result)
        return JobState(job.job, JobStage.UNKNOWN, "No such job.")

    def supply(self, world: World, effect: events.SupplyPackage) -> World:
        """Let the rest of a package come over a new link; if it is complete, only confirm that."""
        world = self.tell_worker(world, effect)
        job = self.job(world, effect.job)
        if job.stage in ("receiving", "complete"):
            return self.set_job(world, evolve(job, link=effect.new_link))
        if job.stage in ("gone", "ended"):
            return self.close(world, "worker", effect.new_link, UNKNOWN_FAULT)
        return self.send(world, "worker", effect.new_link, "package is here")

    def cancel(self, world: World, name: JobId) -> World:
        """Cancel a job: one that is being received ends at once."""
        job = self.job(world, name)
        if job.stage == "receiving":
            ended = evolve(job, stage="ended", outcome=Outcome.CANCELLED, cancelled=True, link=None)
            failed = events.PackageFailed(name, WAS_CANCELLED)
            return change(self.set_job(world, ended), received=(*world.received, failed))
        return self.set_job(world, evolve(job, cancelled=True)) if job.stage in ("complete", "running") else world

    def open_session(self, world: World, link: LinkId, job: JobId, event: Any) -> World:
        """Open a session on a link, and tell it why."""
        if any(one == link for one, _ in world.sessions):
            return world
        if isinstance(event, events.OpenSession) and not self.end_is_alive(world, link):
            return world
        state = start_of(self.session_table, JobSessionData(link, job))
        sessions = tuple(sorted((*world.sessions, (link, state)), key=lambda one: one[0]))
        return self.tell_session(change(world, sessions=sessions), link, event)

    def end_worker(self, world: World) -> World:
        """End the worker's program: it leaves the room, and says goodbye on the links that it still has."""
        for pair in world.links:
            if pair.worker is not None and pair.worker.alive:
                world = self.close(world, "worker", pair.worker.link, None)
        return change(world, worker_gone=True, look_ups=(), streams=(), sends=(), received=())

    def moves_of_worker(self, world: World) -> Iterator[Move]:
        """Return the moves of the worker's program."""
        if world.offers:
            yield "the worker gets an offer", False, call(self.get_offer, world)
        if world.look_ups:
            name = "a look-up finds the job" if world.look_ups[0][2] is None else "a look-up ends"
            yield name, False, call(self.go_on_with_look_up, world)
        if world.received:
            event, *rest = world.received
            yield (
                f"the worker hears {type(event).__name__}",
                False,
                call(self.tell_worker, change(world, received=tuple(rest)), event),
            )
        for stream in world.streams:
            job = self.job(world, stream[1])
            if stream[2] < job.news:
                yield "news are sent", False, call(self.send_news, world, stream)
            elif job.stage in ("ended", "gone"):
                yield "a stream ends", False, call(self.end_stream, world, stream)
        for job in world.jobs:
            yield from self.moves_of_job(world, job)

    def moves_of_job(self, world: World, job: JobModel) -> Iterator[Move]:
        """Return the moves of one job. It takes longer than the sending of its news."""
        if job.stage == "receiving" and job.link is not None and self.is_uploading(world, job):
            yield "the package is complete", False, call(self.complete, world, job)
            if world.budget.mishaps:
                yield "the package cannot be written", True, call(self.fail_package, world, job)
        if job.stage == "running":
            if job.news < len(NEWS) and not job.cancelled:
                yield "something happens in the job", False, call(self.set_job, world, evolve(job, news=job.news + 1))
            elif job.cancelled:
                yield "the job is cancelled", False, call(self.end_job, world, job, Outcome.CANCELLED, result=False)
            elif not any(stream[1] == job.job and stream[2] < job.news for stream in world.streams):
                yield "the job ends", False, call(self.end_job, world, job, Outcome.DONE, result=True)
                if world.budget.mishaps:
                    yield (
                        "the job fails",
                        True,
                        call(self.end_job, spend(world, "mishaps"), job, Outcome.FAILED, result=False),
                    )

    def is_uploading(self, world: World, job: JobModel) -> bool:
        """Return whether the rest of a package can arrive: its client sends it, or had sent it when the link broke."""
        return any(
            pair.worker is not None and pair.worker.link == job.link and pair.worker.alive and pair.is_sending
            for pair in world.links
        )

    def complete(self, world: World, job: JobModel) -> World:
        """Let the last byte of a package arrive; its sender hears of that when the job has begun."""
        world = self.set_job(world, evolve(job, stage="complete"))
        return change(world, received=(*world.received, events.PackageReceived(job.job)))

    def fail_package(self, world: World, job: JobModel) -> World:
        """Let the worker be unable to write a package."""
        assert job.link is not None, "it comes over a link"
        world = self.send(spend(world, "mishaps"), "worker", job.link, "package refused")
        world = self.set_job(world, evolve(job, stage="gone", link=None))
        return change(world, received=(*world.received, events.PackageFailed(job.job, NO_SPACE)))

    def end_job(self, world: World, job: JobModel, outcome: Outcome, *, result: bool) -> World:
        """Let a job end."""
        world = self.set_job(world, evolve(job, stage="ended", outcome=outcome, result=result))
        return self.tell_worker(world, events.JobFinished(job.job, outcome, "Over.", result))

    def get_offer(self, world: World) -> World:
        """Let the worker get the oldest offer."""
        (link, job), *rest = world.offers
        new = LinkId(world.next_link)
        world = change(world, offers=tuple(rest), next_link=world.next_link + 1)
        if job is None:
            return self.tell_worker(world, events.LinkRequested(new, ME, str(link), number=0))
        offer = events.SessionRequested(new, ME, str(link), job, number=0)
        known = self.job(world, job).stage != "gone"
        fault = refusal(known=known, sessions=len(world.sessions), leaving=world.ending_sessions)
        if fault is not None:
            return change(world, answers=(*world.answers, fault))
        return self.open_session(world, new, job, offer)

    def go_on_with_look_up(self, world: World) -> World:
        """Find the job of the oldest request; or if that is done, tell its session what was found."""
        (link, request, found), *rest = world.look_ups
        if found is None:
            return change(world, look_ups=((link, request, self.state_of(world, request)), *rest))
        looked_up = events.JobLookedUp(link, request, found)
        return self.tell_session(change(world, look_ups=tuple(rest)), link, looked_up)

    def send_news(self, world: World, stream: tuple[LinkId, JobId, int]) -> World:
        """Send the next of a job's events to one client."""
        link, job, seen = stream
        streams = tuple((link, job, seen + 1) if one == stream else one for one in world.streams)
        event = JobEvent(NEWS[seen], at=0.0, seq=seen + 1)
        return self.send(change(world, streams=streams), "worker", link, event)

    def end_stream(self, world: World, stream: tuple[LinkId, JobId, int]) -> World:
        """Tell a session that all events of its job are sent."""
        link, name, _ = stream
        job = self.job(world, name)
        outcome = job.outcome if job.stage == "ended" else Outcome.FAILED
        ended = JobEnded(name, outcome, "Over.", job.stage == "ended" and job.result)
        world = change(world, streams=tuple(one for one in world.streams if one != stream))
        return self.tell_session(world, link, events.StreamEnded(link, ended))

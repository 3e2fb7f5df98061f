"""What the outside may do to a world a limited number of times: break links, want, drain, fail, kill, ask as well."""

from collections.abc import Iterator

from attrs import evolve

from actors import events
from actors.worker import WorkerData
from protocol.faults import Fault
from protocol.ids import LinkId
from protocol.jobs import Outcome
from rtc.testing.state_space import start_of

from .links import Move, call
from .room import Room
from .world import (
    BROKEN,
    NO_ENTRY,
    NO_ROUTE,
    NO_SPACE,
    OUTSIDE,
    STOPPED,
    STRANGER,
    LinkPair,
    World,
    change,
    spend,
)


class Outside(Room):
    """The moves that use up a world's budget."""

    def moves_of_outside(self, world: World) -> Iterator[Move]:
        """Return the moves that use up the budget."""
        budget = world.budget
        if budget.breaks:
            for pair in world.links:
                if pair.is_open and pair.client.alive and pair.worker is not None and pair.worker.alive:
                    yield "the link breaks", True, call(self.break_link, world, pair)
        if budget.wishes and world.finished is None:
            spent = spend(world, "wishes")
            for wish in self.setting.wishes:
                yield f"the person wants {wish}", True, call(self.tell_client, spent, wish)
        if budget.drains and not world.worker_gone:
            yield "the worker drains", True, call(self.tell_worker, spend(world, "drains"), events.Drain())
        if budget.mishaps:
            yield from self.mishaps(world)
        if budget.restarts and not world.worker_gone:
            spent = spend(world, "restarts")
            yield "the worker starts again", True, call(self.restart, spent, elsewhere=False)
            yield "another worker has its jobs", True, call(self.restart, spent, elsewhere=True)
            yield "the worker is stopped with its job", True, call(self.stop_worker, spent)
        if (budget.strangers or world.rivals) and not world.worker_gone:
            yield from self.moves_of_stranger(world)

    def break_link(self, world: World, pair: LinkPair) -> World:
        """Break a link; what is under way is lost. Each end notices it in its own time."""
        assert pair.worker is not None, "it is open"
        world = spend(world, "breaks")
        ends = {
            "client": evolve(pair.client, closing=True, fault=BROKEN),
            "worker": evolve(pair.worker, closing=True, fault=BROKEN),
        }
        return self.replace(world, pair, evolve(pair, to_client=(), to_worker=(), **ends))

    def restart(self, world: World, *, elsewhere: bool) -> World:
        """Kill the worker and start it again: its links break, running jobs go on, packages that came are lost."""
        world = self.forget_worker(world, BROKEN)
        for job in world.jobs:
            if job.stage in ("receiving", "complete"):
                world = self.set_job(world, evolve(job, stage="gone", link=None))
            elif job.stage in ("running", "ended") and elsewhere:
                world = self.set_job(world, evolve(job, stage="elsewhere"))
        world = change(world, worker=start_of(self.worker_table, WorkerData()))
        for job in world.jobs:
            if job.stage == "running":
                world = self.tell_worker(world, events.JobAdopted(job.job))
        return world

    def stop_worker(self, world: World) -> World:
        """Stop the worker together with its job; on each link its client is told so."""
        for pair in world.links:
            if pair.worker is not None:
                world = self.close(world, "worker", pair.worker.link, STOPPED)
        world = self.forget_worker(world, STOPPED, silently=False)
        for job in world.jobs:
            if job.stage in ("receiving", "complete"):
                world = self.set_job(world, evolve(job, stage="gone", link=None))
            elif job.stage == "running":
                world = self.set_job(world, evolve(job, stage="ended", outcome=Outcome.CANCELLED))
        return change(world, worker_gone=True)

    def forget_worker(self, world: World, fault: Fault, *, silently: bool = True) -> World:
        """Let everything in the worker's program be gone; the clients' ends of its links end with `fault`.

        Args:
            world: the world.
            fault: why.
            silently: the worker has not said goodbye.
        """
        links = []
        for pair in world.links:
            client = pair.client
            ends = client.alive and not client.closing and pair.worker is not None
            if ends and (silently or not pair.is_open):
                client = evolve(client, closing=True, fault=fault)
            worker = None if pair.worker is None else evolve(pair.worker, alive=False)
            if client.alive:
                kept = () if silently else pair.to_client
                links.append(evolve(pair, client=client, worker=worker, to_client=kept, to_worker=()))
        return change(
            world, links=tuple(links), sessions=(), look_ups=(), streams=(), sends=(), received=(), rivals=(),
            ending_sessions=False, offers=(),
        )  # fmt: skip

    def mishaps(self, world: World) -> Iterator[Move]:
        """Return what may go wrong once."""
        spent = spend(world, "mishaps")
        if world.in_room == "joining":
            failed = change(spent, in_room="out")
            yield "the client cannot join", True, call(self.tell_client, failed, events.JoinFailed(NO_ENTRY))
        if world.in_room == "in" and world.finished is None:
            lost = change(spent, in_room="out", queue="out")
            yield "the room is gone", True, call(self.tell_client, lost, events.JoinFailed(NO_ENTRY))
            yield "the client joins again", True, call(self.join, spent)
        if world.saving:
            unsaved = change(spent, unsaved=True, saving=False)
            yield "the ticket cannot be saved", True, call(self.tell_client, unsaved, events.TicketNotSaved())
        if world.question == "list":
            failed = change(spent, question="none")
            yield "nobody can be asked", True, call(self.tell_client, failed, events.ChoiceFailed(NO_ENTRY))
        if world.offers:
            yield "an offer is lost", True, lambda: change(spent, offers=world.offers[1:])
            away = change(spent, offers=world.offers[1:], answers=(*world.answers, OUTSIDE))
            yield "the line to the server is lost", True, lambda: away
        if world.upload is not None and any(job.stage == "receiving" for job in world.jobs):
            unread = (evolve(p, is_sending=False) if p.client.link == world.upload else p for p in world.links)
            failed = change(spent, upload=None, links=tuple(unread))
            yield (
                "the package cannot be read",
                True,
                call(self.tell_client, failed, events.UploadFailed(world.upload, NO_SPACE)),
            )
        for link, job in world.sends:
            left = change(spent, sends=tuple(one for one in world.sends if one[0] != link))
            yield (
                "the result cannot be sent",
                True,
                call(self.tell_session, left, link, events.ResultSendEnded(job, link, NO_SPACE)),
            )
        for pair in world.links:
            if (
                not pair.is_open
                and pair.worker is not None
                and pair.worker.alive
                and pair.client.alive
                and not pair.client.closing
                and not pair.worker.closing
            ):
                yield "there is no route", True, call(self.fail_to_open, spent, pair)
        for job in world.jobs:
            if job.stage == "ended" and any(job.job == one.job for one in self.setting.jobs):
                expired = self.set_job(spent, evolve(job, stage="gone", result=False))
                yield "the result expires", True, call(lambda world: world, expired)
        if not world.worker_gone:
            yield "the worker cannot join", True, call(self.tell_worker, spent, events.JoinFailed(NO_ENTRY))

    def fail_to_open(self, world: World, pair: LinkPair) -> World:
        """Let a link fail to open; each end notices it in its own time."""
        assert pair.worker is not None, "its offer is accepted"
        ends = {
            "client": evolve(pair.client, closing=True, fault=NO_ROUTE),
            "worker": evolve(pair.worker, closing=True, fault=NO_ROUTE),
        }
        return self.replace(world, pair, evolve(pair, **ends))

    def moves_of_stranger(self, world: World) -> Iterator[Move]:
        """Return the moves of another client, which asks the worker, may prove itself, and goes away."""
        new = LinkId(world.next_link)
        if world.budget.strangers:
            spent = change(spend(world, "strangers"), next_link=world.next_link + 1)
            offer = events.LinkRequested(new, STRANGER, "sdp", number=0)
            yield "a stranger asks", True, call(self.tell_worker, spent, offer)
        for link in world.rivals:
            proven = events.Authenticated(link, STRANGER, proven=True, version=3)
            left = change(world, rivals=tuple(one for one in world.rivals if one != link))
            yield "the stranger goes away", False, call(self.tell_worker, left, events.LinkLost(link))
            if world.worker.phase.value == "linking" and world.worker.data.link == link:
                yield "the stranger is proven", False, call(self.tell_worker, world, proven)

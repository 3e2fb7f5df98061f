"""The links of a world: two first-in-first-out channels between two ends, which may be lost at any point."""

from collections.abc import Callable, Iterator
from typing import Any

from attrs import evolve

from actors import events
from protocol.faults import Fault
from protocol.ids import JobId, LinkId
from protocol.jobs import JobRequest, SubmitJob
from protocol.link import Goodbye

from .turns import Turns
from .world import BROKEN, HERE, ME, NO_SPACE, STRANGER, WITHDRAWN, End, LinkPair, World, change

Move = tuple[str, bool, Callable[[], World]]
"""What can happen next: its name, whether it uses up the budget, and the function that does it."""


def call(do: Callable[..., World], *arguments: Any, **named: Any) -> Callable[[], World]:
    """Return a function that does one move."""
    return lambda: do(*arguments, **named)


class Links(Turns):
    """What happens on links."""

    def send(self, world: World, end: str, link: LinkId, message: Any) -> World:
        """Put a message on its way, if the link is open and this end is alive."""
        for pair in world.links:
            mine = pair.client if end == "client" else pair.worker
            if mine is not None and mine.link == link and pair.is_open and mine.alive and not mine.closing:
                name = "to_worker" if end == "client" else "to_client"
                return self.replace(world, pair, evolve(pair, **{name: (*getattr(pair, name), message)}))
        return world

    def close(self, world: World, end: str, link: LinkId, fault: Fault | None) -> World:
        """Close one end: a Goodbye follows what was sent.

        Its own program forgets the link at once, so that the report of its loss is stale; only a session hears it.
        """
        if end == "worker" and link in world.rivals:
            return change(world, rivals=tuple(one for one in world.rivals if one != link))
        for pair in world.links:
            mine = pair.client if end == "client" else pair.worker
            if mine is not None and mine.link == link and mine.alive and not mine.closing:
                world = self.send(world, end, link, Goodbye(fault))
                now = next(one for one in world.links if getattr(one, end) == mine)
                heard = end == "worker" and any(one == link for one, _ in world.sessions)
                after = evolve(mine, alive=heard, closing=True, fault=fault)
                return self.replace(world, now, evolve(now, **{end: after}))
        return world

    def replace(self, world: World, pair: LinkPair, after: LinkPair) -> World:
        """Put `after` into the place of `pair`, or nothing if both its ends are gone."""
        dead = not after.client.alive and (after.worker is None or not after.worker.alive)
        links = tuple(after if one is pair else one for one in world.links if one is not pair or not dead)
        return change(world, links=links)

    def lose(self, world: World, end: str, link: LinkId, fault: Fault | None) -> World:
        """Report the loss of one end to its program; what was under way to it is lost."""
        for pair in world.links:
            mine = pair.client if end == "client" else pair.worker
            if mine is None or mine.link != link or not mine.alive:
                continue
            inward, outward = ("to_client", "to_worker") if end == "client" else ("to_worker", "to_client")
            kept = getattr(pair, outward) if mine.closing else ()
            after = evolve(pair, **{end: evolve(mine, alive=False), inward: (), outward: kept})
            world = self.replace(world, pair, after)
            lost = events.LinkLost(link, fault)
            if end == "client":
                if world.upload == link:
                    world = change(world, upload=None)
                if isinstance(world.sent, events.UploadFailed):
                    world = change(world, sent=None)
                if world.download == ("waiting", link):
                    world = change(world, download=("none", None))
                return self.tell_client(world, lost)
            return self.worker_lost(world, link, lost)
        return world

    def worker_lost(self, world: World, link: LinkId, lost: events.LinkLost) -> World:
        """Report the loss of the worker's end to the Worker and to the session, whose work ends."""
        jobs = tuple(evolve(one, link=None) if one.link == link else one for one in world.jobs)
        world = self.tell_worker(change(world, jobs=jobs), lost)
        world = self.tell_session(world, link, lost)
        had_session = any(one == link for one, _ in world.sessions)
        world = change(
            world,
            sessions=tuple(one for one in world.sessions if one[0] != link),
            look_ups=tuple(one for one in world.look_ups if one[0] != link),
            streams=tuple(one for one in world.streams if one[0] != link),
            sends=tuple(one for one in world.sends if one[0] != link),
        )
        if had_session and world.ending_sessions and not world.sessions:
            return self.tell_worker(world, events.SessionsEnded())
        return world

    def accept(self, world: World, effect: events.AcceptLink) -> World:
        """Give the link of an offer its worker's end; its client's end may be gone already."""
        if effect.peer == STRANGER:
            return change(world, rivals=(*world.rivals, effect.link))
        mine = LinkId(int(effect.sdp))
        for pair in world.links:
            if pair.client.link == mine and pair.client.alive and not pair.client.closing:
                return self.replace(world, pair, evolve(pair, worker=End(effect.link)))
        dead = LinkPair(End(LinkId(-int(mine)), alive=False), End(effect.link))
        return change(world, links=(*world.links, dead))

    def moves_of_links(self, world: World) -> Iterator[Move]:
        """Return the moves of links: deliver, open, prove, report a loss."""
        yield from self.links_without_client(world)
        for pair in world.links:
            client, worker = pair.client, pair.worker
            for end, mine in (("client", client), ("worker", worker)):
                if mine is None or not mine.alive:
                    continue
                if mine.closing:
                    yield f"{end} reports the close", False, call(self.lose, world, end, mine.link, mine.fault)
                    continue
                inward = pair.to_client if end == "client" else pair.to_worker
                if inward and (mine.trusted or isinstance(inward[0], Goodbye)):
                    yield f"{end} gets {inward[0]}", False, call(self.deliver, world, pair, end)
                other = worker if end == "client" else client
                if pair.is_open and other is not None and not other.alive and not inward:
                    yield f"{end} notices the loss", False, call(self.lose, world, end, mine.link, BROKEN)
            if worker is None or not client.alive or client.closing or not worker.alive or worker.closing:
                continue
            if not pair.is_open:
                yield "the link opens", False, call(self.replace, world, pair, evolve(pair, is_open=True))
            elif not worker.trusted:
                yield "the worker trusts the client", False, call(self.trust, world, pair, "worker")
            elif not client.trusted:
                yield "the client trusts the worker", False, call(self.trust, world, pair, "client")

    def links_without_client(self, world: World) -> Iterator[Move]:
        """Return the moves in which the worker hears that its client has given up a link before it was open."""
        for pair in world.links:
            mine, client_is_there = pair.worker, pair.client.alive and not pair.client.closing
            is_alone = not pair.is_open and not client_is_there
            if is_alone and mine is not None and mine.alive and not mine.closing:
                yield "the client has given up", False, call(self.lose, world, "worker", mine.link, WITHDRAWN)

    def trust(self, world: World, pair: LinkPair, end: str) -> World:
        """Let one end authenticate the other."""
        mine = getattr(pair, end)
        world = self.replace(world, pair, evolve(pair, **{end: evolve(mine, trusted=True)}))
        proven = events.Authenticated(mine.link, HERE if end == "client" else ME, proven=True, version=3)
        if end == "client":
            return self.tell_client(world, proven)
        return self.tell_session(self.tell_worker(world, proven), mine.link, proven)

    def deliver(self, world: World, pair: LinkPair, end: str) -> World:
        """Deliver the oldest message that is under way to one end."""
        name = "to_client" if end == "client" else "to_worker"
        message, *rest = getattr(pair, name)
        mine = getattr(pair, end)
        world = self.replace(world, pair, evolve(pair, **{name: tuple(rest)}))
        if isinstance(message, Goodbye):
            return self.lose(world, end, mine.link, message.fault)
        return (
            self.client_hears(world, mine.link, message)
            if end == "client"
            else self.worker_hears(world, mine.link, message)
        )

    def client_hears(self, world: World, link: LinkId, message: Any) -> World:
        """Pass a message on: words about files to the transfers, all others to the Client."""
        match message:
            case "package is here" | "package refused":
                if world.upload != link:
                    return world
                is_here = message == "package is here"
                sent = events.PackageSent(link) if is_here else events.UploadFailed(link, NO_SPACE)
                return change(world, upload=None, sent=sent)
        return self.tell_client(world, events.PeerMessage(link, message))

    def worker_hears(self, world: World, link: LinkId, message: Any) -> World:
        """Pass a message on: to the session of the link, or else to the Worker."""
        if message == "result is here":
            job = next((job for one, job in world.sends if one == link), None)
            world = change(world, sends=tuple(one for one in world.sends if one[0] != link))
            return world if job is None else self.tell_session(world, link, events.ResultSendEnded(job, link))
        if any(one == link for one, _ in world.sessions):
            if isinstance(message, JobRequest):
                return change(world, look_ups=(*world.look_ups, (link, message, None)))
            return self.tell_session(world, link, events.PeerMessage(link, message))
        if isinstance(message, SubmitJob):
            name = JobId(f"job-{sum(one.job.startswith('job-') for one in world.jobs) + 1}")
            return self.tell_worker(
                world, events.JobSubmitted(link, message, events.JobCredential(name, f"key of {name}"))
            )
        return self.tell_worker(world, events.PeerMessage(link, message))

    def end_is_alive(self, world: World, link: LinkId) -> bool:
        """Return whether the worker's end of a link is alive."""
        return any(p.worker is not None and p.worker.link == link and p.worker.alive for p in world.links)

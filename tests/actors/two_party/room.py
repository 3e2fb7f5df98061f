"""The client's surroundings in a world: the room with its list and queue, the person, and the file transfers."""

from collections.abc import Iterator

from actors import events
from protocol.signaling import WorkerAssigned, WorkerPresent
from protocol.status import Status, WorkerFacts

from .jobs import Jobs
from .links import Move, call
from .world import BUSY, HERE, NO_SPACE, OTHER, ROOM, UNANSWERED, World, change, spend


def facts(status: Status, *, leaving: bool = False) -> WorkerFacts:
    return WorkerFacts(status, "bench", "lab", "GPU", 24000, "0.3.5", "12.4", "0.1", leaving=leaving)


class Room(Jobs):
    """What happens around the client."""

    def moves_of_client(self, world: World) -> Iterator[Move]:
        """Return the moves of the client's program."""
        if world.sent is not None:
            yield (
                f"the upload reports {world.sent}",
                False,
                call(self.tell_client, change(world, sent=None), world.sent),
            )
        if world.in_room == "joining":
            yield "the client joins", False, call(self.join, world)
        elif world.in_room == "in" and world.listed != self.list_of(world):
            yield "the list changes", False, call(self.change_list, world)
        if world.answers:
            yield "the client gets a refusal", False, call(self.get_refusal, world)
        if world.queue == "waiting" and self.one_is_free(world):
            yield "a worker is assigned", False, lambda: change(world, queue="assigned", assigned=world.assigned + 1)
        if world.queue == "assigned" and world.budget.hurries:
            yield "the promise lapses", True, lambda: change(spend(world, "hurries"), queue="waiting")
        if world.assigned:
            less = change(world, assigned=world.assigned - 1)
            yield "the client hears of its worker", False, call(self.tell_client, less, WorkerAssigned(HERE))
        if world.question == "list":
            for picked in (*world.shown, None):
                chosen = change(world, question="none", shown=())
                yield f"the person picks {picked}", False, call(self.tell_client, chosen, events.WorkerPicked(picked))
        if world.question == "interrupt":
            for wish in (events.StopWanted(), events.CancelWanted(), events.Drain()):
                yield f"the person answers {wish}", False, call(self.tell_client, change(world, question="none"), wish)
        kind, link = world.download
        if kind == "waiting" and self.is_downloading(world):
            yield "the result is over", False, call(self.finish_download, world)
            if world.budget.mishaps:
                failed = change(spend(world, "mishaps"), download=("none", None))
                yield (
                    "the result cannot be written",
                    True,
                    call(self.tell_client, failed, events.DownloadFailed(NO_SPACE)),
                )
        if kind == "hashing":
            here = change(world, download=("here", None))
            yield (
                "the result is checked",
                False,
                call(self.tell_client, self.send(here, "client", link, "result is here"), events.ResultDownloaded()),
            )  # type: ignore[arg-type]
        if kind == "here":
            done = change(world, download=("none", None), unpacked=world.unpacked + 1)
            yield "the result is unpacked", False, call(self.tell_client, done, events.ResultUnpacked())
            if world.budget.mishaps:
                failed = change(spend(world, "mishaps"), download=("none", None))
                yield (
                    "the result cannot be unpacked",
                    True,
                    call(self.tell_client, failed, events.DownloadFailed(NO_SPACE)),
                )
        for pair in world.links:
            is_asked = pair.worker is None and pair.client.alive and not pair.client.closing
            if is_asked and all(one != pair.client.link for one, _ in world.offers) and not world.answers:
                fault = BUSY if self.setting.two_workers else UNANSWERED
                yield "nobody answers the offer", False, call(self.lose, world, "client", pair.client.link, fault)

    def one_is_free(self, world: World) -> bool:
        """Return whether the server may assign the worker."""
        here = next((one for one in self.list_of(world) if one.peer == HERE), None)
        return here is not None and here.facts.status is Status.AVAILABLE and not here.facts.leaving

    def is_downloading(self, world: World) -> bool:
        """Return whether the worker sends a result over the link over which the client waits for it."""
        return any(
            pair.client.link == world.download[1]
            and pair.worker is not None
            and pair.worker.link == link
            and pair.worker.alive
            and not pair.worker.closing
            for pair in world.links
            for link, _ in world.sends
        )

    def finish_download(self, world: World) -> World:
        """Let the last byte of the result arrive; the client still has to check it."""
        return change(world, download=("hashing", world.download[1]))

    def list_of(self, world: World) -> tuple[WorkerPresent, ...]:
        """Return the workers of the room as they have announced themselves."""
        if world.worker_gone:
            return ()
        status = world.worker.phase.status
        leaving = (
            self.worker_table.announce(world.worker.phase).leaving if self.worker_table.announce is not None else False
        )
        here = WorkerPresent(HERE, facts(status, leaving=leaving))
        return (here, WorkerPresent(OTHER, facts(Status.AVAILABLE))) if self.setting.two_workers else (here,)

    def join(self, world: World) -> World:
        """Let the client be in the room, with the list of its workers."""
        world = self.tell_client(change(world, in_room="in"), ROOM)
        return self.change_list(world)

    def change_list(self, world: World) -> World:
        """Tell the client of the room's workers."""
        listed = self.list_of(world)
        world = change(world, listed=listed)
        return self.tell_client(world, events.WorkersChanged(listed)) if self.setting.table.name == "client" else world

    def get_refusal(self, world: World) -> World:
        """Let the client's links that are not open end with the oldest refusal."""
        fault, *rest = world.answers
        world = change(world, answers=tuple(rest))
        for pair in world.links:
            if not pair.is_open and pair.client.alive and not pair.client.closing:
                world = self.lose(world, "client", pair.client.link, fault)
        return world

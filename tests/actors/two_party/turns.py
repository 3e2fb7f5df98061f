"""The turns of the actors, and what their effects do to a world."""

from typing import Any

from attrs import evolve

from actors import events
from actors.job_session import JOB_SESSION
from actors.phase import Phase
from actors.table import Row, Table
from actors.worker import WORKER, WorkerData
from protocol.ids import LinkId
from protocol.signaling import JoinQueue, LeaveQueue
from rtc.testing.state_space import ActorState, start_of

from .world import OTHER, STRANGER, End, JobModel, LinkPair, ModelError, Setting, World, change

FASTER_THAN_A_TICKET = (events.LinkLost, events.Interrupted, events.Drain)
"""What may be in the Client's inbox already when its ticket cannot be saved."""


class Turns:
    """Lets one of the actors handle an event, and carries out its effects.

    What the effects do to links, jobs and the room is in the classes that are joined with this one in `Model`.
    """

    def __init__(self, setting: Setting, worker: Table[Any] = WORKER, session: Table[Any] = JOB_SESSION) -> None:
        self.setting, self.worker_table, self.session_table = setting, worker, session
        self.used: set[tuple[str, Phase, Row[Any]]] = set()
        """Each table's name, phase and row that has answered an event."""
        self.told_unexpected: list[tuple[str, Phase, Any]] = []
        self._known: dict[Any, Any] = {}

    def first(self) -> World:
        """Return the world in which the client has just got its wish."""
        setting = self.setting
        client = start_of(setting.table, setting.data)
        world = World(client, start_of(self.worker_table, WorkerData()), setting.budget, jobs=setting.jobs)
        for job in setting.jobs:
            if job.stage == "running":
                world = self.tell_worker(world, events.JobAdopted(job.job))
        return self.tell_client(world, setting.wanted)

    def turn(self, table: Table[Any], state: ActorState[Any], event: Any) -> tuple[ActorState[Any], tuple[Any, ...]]:
        """Let one actor handle one event; return its state, and its effects without time-outs."""
        self.last: Row[Any] | None = None

        def note(phase: Phase, found: Row[Any]) -> None:
            self.used.add((table.name, phase, found))
            self.last = found
            if found.event is events.UnexpectedMessage:
                self.told_unexpected.append((table.name, phase, event))

        after, effects = state.turn(table, event, note)
        return self._same(after), effects

    def _same(self, part: Any) -> Any:
        """Return the equal part that was seen first, so that equal worlds share their parts."""
        return self._known.setdefault(part, part)

    def tell_client(self, world: World, event: Any) -> World:
        """Let the Client handle an event, and carry out its effects."""
        phase = world.client.phase
        state, effects = self.turn(self.setting.table, world.client, event)
        world = change(world, client=state, saving=world.saving and isinstance(event, FASTER_THAN_A_TICKET))
        if any(isinstance(effect, events.Finished) for effect in effects):
            world = change(world, ending=(phase, str(self.last)))
        for effect in effects:
            world = self.carry_client(world, effect)
        return world

    def tell_worker(self, world: World, event: Any) -> World:
        """Let the Worker handle an event, and carry out its effects."""
        if world.worker_gone:
            return world
        state, effects = self.turn(self.worker_table, world.worker, event)
        world = change(world, worker=state)
        for effect in effects:
            world = self.carry_worker(world, effect)
        return world

    def tell_session(self, world: World, link: LinkId, event: Any) -> World:
        """Let the session of a link handle an event, if there is one, and carry out its effects."""
        sessions = dict(world.sessions)
        if link not in sessions:
            return world
        sessions[link], effects = self.turn(self.session_table, sessions[link], event)
        world = change(world, sessions=tuple(sorted(sessions.items(), key=lambda one: one[0])))
        for effect in effects:
            world = self.carry_worker(world, effect)
        return world

    def carry_client(self, world: World, effect: Any) -> World:
        """Carry out one effect of the Client."""
        match effect:
            case events.JoinRoom():
                return change(world, in_room="joining") if world.in_room == "out" else world
            case events.SendToServer(message=JoinQueue()):
                return change(world, queue="waiting")
            case events.SendToServer(message=LeaveQueue()):
                return change(world, queue="out")
            case events.OpenLink():
                world = change(world, links=(*world.links, LinkPair(End(effect.link))))
                if effect.peer == OTHER:
                    return world
                return change(world, offers=(*world.offers, (effect.link, effect.job)))
            case events.CloseLink():
                return self.close(world, "client", effect.link, effect.fault)
            case events.TellPeer():
                return self.send(world, "client", effect.link, effect.message)
            case events.SendPackage():
                sending = (evolve(p, is_sending=True) if p.client.link == effect.link else p for p in world.links)
                return change(world, upload=effect.link, sent=None, links=tuple(sending))
            case events.FetchResult():
                return change(world, download=("waiting", effect.link)) if world.download[0] != "hashing" else world
            case events.ShowWorkers():
                return change(world, question="list", shown=tuple(one.peer for one in effect.workers))
            case events.AskInterrupt():
                if self.setting.wanted.on_interrupt is not None:
                    raise ModelError("the person is asked what an interrupt means, and has said it before")
                return change(world, question="interrupt")
            case events.StopWanted() | events.CancelWanted():
                return self.tell_client(world, effect)
            case events.SaveTicket():
                saved = (*world.saved, effect.credential.job)
                return change(world, saved=saved, saving=getattr(self.setting.wanted, "detach", False))
            case events.RemoveTicket():
                return change(world, removed=(*world.removed, effect.job))
            case events.Finished():
                if world.finished is not None:
                    raise ModelError("a wish has ended twice")
                return change(world, finished=effect, question="none", upload=None, download=("none", None))
            case events.JobStateReported():
                return change(world, reported=world.reported + 1)
            case events.LetNextSignalCancel():
                return world
        raise ModelError(f"the model does not know the Client's effect {effect}")

    def carry_worker(self, world: World, effect: Any) -> World:
        """Carry out one effect of the Worker or of a session."""
        match effect:
            case events.StatusChanged() | events.RetryJoin() | events.StopEarly():
                return world
            case events.AcceptLink():
                return self.accept(world, effect)
            case events.RejectLink():
                return world if effect.peer == STRANGER else change(world, answers=(*world.answers, effect.fault))
            case events.TellPeer():
                return self.send(world, "worker", effect.link, effect.message)
            case events.CloseLink():
                return self.close(world, "worker", effect.link, effect.fault)
            case events.ReceivePackage():
                return self.set_job(world, JobModel(effect.credential.job, effect.credential.key, link=effect.link))
            case events.OpenSession():
                return self.open_session(world, effect.link, effect.job, effect)
            case events.FollowJob():
                return self.tell_session(world, effect.link, effect)
            case events.StartJob():
                job = self.job(world, effect.job)
                if job.link is not None:
                    world = self.send(world, "worker", job.link, "package is here")
                return self.set_job(world, evolve(job, stage="running", started=job.started + 1, link=None))
            case events.DiscardJob():
                return self.set_job(world, evolve(self.job(world, effect.job), stage="gone", link=None))
            case events.EndSessions():
                world = change(world, ending_sessions=True)
                for link, _ in world.sessions:
                    world = self.tell_session(world, link, effect)
                return self.tell_worker(world, events.SessionsEnded()) if not world.sessions else world
            case events.SupplyPackage():
                return self.supply(world, effect)
            case events.StreamEvents():
                return change(world, streams=(*world.streams, (effect.link, effect.job, effect.seen)))
            case events.SendResult():
                return change(world, sends=(*world.sends, (effect.link, effect.job)))
            case events.Cancel():
                return self.cancel(world, effect.job)
            case events.ReleaseResult():
                return self.set_job(world, evolve(self.job(world, effect.job), result=False))
            case events.Finished():
                return self.end_worker(world)
        raise ModelError(f"the model does not know the worker's effect {effect}")

"""Every state that Worker, JobSession and JobQuery can reach, each among simulated neighbours, explored breadth-first.

The neighbours do only what can happen: links are lost once, a package arrives only if one was sent, and a time-out
comes only if one is set. So a row that is never reached, or an event that has no row, fails the test.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

from attrs import evolve, frozen

from actors.events import (
    AcceptLink,
    Authenticated,
    Cancel,
    CloseLink,
    DiscardJob,
    Drain,
    EndSessions,
    Finished,
    FollowJob,
    JobAdopted,
    JobCredential,
    JobFinished,
    JobLookedUp,
    JobStateReported,
    JobSubmitted,
    JoinedRoom,
    JoinFailed,
    LinkLost,
    LinkRequested,
    OpenLink,
    OpenSession,
    PackageFailed,
    PackageReceived,
    PeerMessage,
    QueryWanted,
    ReceivePackage,
    RejectLink,
    ReleaseResult,
    ResultSendEnded,
    RetryJoin,
    RoomCredentials,
    SendResult,
    SessionRequested,
    SessionsEnded,
    StartJob,
    StopEarly,
    StreamEnded,
    StreamEvents,
    SupplyPackage,
    TellPeer,
)
from actors.job_query import JOB_QUERY, QueryData, QueryPhase
from actors.job_session import JOB_SESSION, UNKNOWN_FAULT, JobSessionData, JobSessionPhase
from actors.phase import AVAILABLE, RESERVED
from actors.table import Table
from actors.worker import WORKER, WorkerData, WorkerPhase
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import (
    AskJob,
    AttachJob,
    CancelJob,
    JobEnded,
    JobKind,
    JobStage,
    JobState,
    Outcome,
    ResultTaken,
    StopJob,
    SubmitJob,
)
from protocol.status import Role
from rtc.testing.state_space import ActorState, Reached, start_of

ADA, BOB, DESK = PeerId("client-ada"), PeerId("client-bob"), PeerId("worker-1")
JOB, OTHER, KEY = JobId("job-1"), JobId("job-2"), "key-1"
ONE = LinkId(1)
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
BROKEN = Fault(FaultCode.LINK_LOST, "The link broke.")

W = TypeVar("W", bound="World")


@frozen
class World:
    """An actor and its neighbours."""

    actor: ActorState[Any]

    def moves(self) -> "Iterator[tuple[World, Any]]":
        """Yield each event that can happen next, with the world in which a neighbour has sent it."""
        raise NotImplementedError

    def after(self, before: "World", event: Any, effects: tuple[Any, ...]) -> "World":
        """Return the world in which the neighbours have carried out these effects; check what must hold then."""
        raise NotImplementedError


def explore(table: Table[Any], start: W) -> set[W]:
    """Return all worlds that can be reached from `start`; fail if a row of the table cannot."""
    reached: set[Any] = set()
    seen, todo = {start}, [start]
    while todo:
        after = set(next_worlds(table, todo.pop(), lambda phase, row: reached.add((phase, row)))) - seen
        seen |= after
        todo += after
    assert [f"{phase.value} × {row}" for phase, row in table.answers() if (phase, row) not in reached] == []
    return seen


def next_worlds(table: Table[Any], world: Any, reached: Reached) -> Iterator[Any]:
    timeouts = ((evolve(world, actor=actor), event) for actor, event in world.actor.due)
    for before, event in (*world.moves(), *timeouts):
        actor, effects = before.actor.turn(table, event, reached)
        yield evolve(before, actor=actor).after(before, event, effects)


# -------- the Worker

LINKS_MAX, JOBS_MAX = 4, 2


@frozen
class WorkerWorld(World):
    """A Worker with link manager, job manager, job sessions, Discovery and a person."""

    links: frozenset[LinkId] = frozenset()
    """Links that are not lost yet; the Worker may have closed them."""
    trusted: frozenset[LinkId] = frozenset()
    offers: int = 0
    """The number of links so far, and the id of the newest one."""
    jobs: int = 0
    preparing: frozenset[JobId] = frozenset()
    given_up: frozenset[JobId] = frozenset()
    """Jobs whose packages may have become complete just when the Worker gave them up."""
    running: frozenset[JobId] = frozenset()
    in_room: bool = True
    drained: bool = False
    sessions_end: bool = False
    finished: bool = False

    def moves(self) -> Iterator[tuple[World, Any]]:
        link, job = LinkId(self.offers + 1), JobId(f"job-{self.jobs + 1}")
        if self.finished:
            return
        if self.offers < LINKS_MAX:
            for peer in (ADA, BOB):
                yield evolve(self, offers=self.offers + 1), LinkRequested(link, peer, "sdp", number=0)
            opened = evolve(self, offers=link, links=self.links | {link}, trusted=self.trusted | {link})
            for known in (*self.preparing, *self.running):
                yield opened, SupplyPackage(link, known)
        for one in self.links:
            yield evolve(self, links=self.links - {one}, trusted=self.trusted - {one}), LinkLost(one)
            if one not in self.trusted:
                yield evolve(self, trusted=self.trusted | {one}), Authenticated(one, ADA, proven=True, version=3)
        for one in self.trusted:
            yield self, PeerMessage(one, AskJob(JOB, KEY))
            if self.jobs < JOBS_MAX:
                yield evolve(self, jobs=self.jobs + 1), JobSubmitted(one, SUBMIT, JobCredential(job, KEY))
        for one in (*self.preparing, *self.given_up):
            over = evolve(self, preparing=self.preparing - {one}, given_up=self.given_up - {one})
            yield over, PackageReceived(one)
            yield over, PackageFailed(one, BROKEN)
        for one in self.running:
            ended = JobFinished(one, Outcome.DONE, "Trained.", result=True)
            yield evolve(self, running=self.running - {one}), ended
        if not self.offers and not self.drained and self.in_room and self.jobs < JOBS_MAX:
            yield evolve(self, jobs=self.jobs + 1, running=self.running | {job}), JobAdopted(job)
        if not self.drained:
            yield evolve(self, drained=True), Drain()
        if self.in_room:
            yield evolve(self, in_room=False), JoinFailed(BROKEN)
        if self.sessions_end:
            yield evolve(self, sessions_end=False), SessionsEnded()

    def after(self, before: World, event: Any, effects: tuple[Any, ...]) -> World:
        world, kinds = self, [type(effect) for effect in effects]
        for effect in effects:
            match effect:
                case AcceptLink():
                    world = evolve(world, links=world.links | {effect.link})
                case ReceivePackage():
                    world = evolve(world, preparing=world.preparing | {effect.credential.job})
                case DiscardJob():
                    jobs = {effect.job}
                    world = evolve(world, preparing=world.preparing - jobs, given_up=world.given_up | jobs)
                case StartJob():
                    assert not world.running, "one job at a time"
                    world = evolve(world, running=world.running | {effect.job})
                case RetryJoin():
                    world = evolve(world, in_room=True)
                case EndSessions():
                    world = evolve(world, sessions_end=True)
                case Finished():
                    world = evolve(world, finished=True)
        assert kinds.count(AcceptLink) + kinds.count(RejectLink) == isinstance(event, LinkRequested)
        assert world.running == self.actor.data.running, "the Worker knows what runs"
        assert self.actor.phase.status is not RESERVED or self.actor.timeout or world.preparing, (
            "it waits for something"
        )
        assert not world.finished or not world.running
        return world

    def settle(self) -> WorkerPhase:
        """Return the phase when every link is lost, every job has ended and every time-out is over."""
        actor = self.actor
        events: list[Any] = [LinkLost(link) for link in self.links]
        events += [PackageFailed(job, BROKEN) for job in self.preparing]
        events += [JobFinished(job, Outcome.DONE, "Trained.", result=True) for job in self.running]
        for event in events:
            actor = actor.turn(WORKER, event, lambda _phase, _row: None)[0]
        while actor.due:
            [(before, event)] = actor.due
            actor = before.turn(WORKER, event, lambda _phase, _row: None)[0]
        return actor.phase  # type: ignore[return-value]


def test_a_worker_answers_everything_that_can_happen_and_comes_home() -> None:
    for world in explore(WORKER, WorkerWorld(start_of(WORKER, WorkerData()))):
        leaves = world.drained or not world.in_room
        assert world.settle() is (WorkerPhase.LEAVING if leaves else WorkerPhase.FREE)


# -------- the JobSession

STATES = [JobState(JOB, stage, "So it stands.") for stage in JobStage]
REQUESTS = [AttachJob(JOB, KEY), AttachJob(JOB, KEY, 3, result=False), AttachJob(JOB, KEY, supply=True)]
REQUESTS += [AskJob(JOB, KEY), StopJob(JOB, KEY), CancelJob(JOB, KEY), ResultTaken(JOB, KEY)]
ENDINGS = [JobEnded(JOB, outcome, "Over.", result) for outcome in Outcome for result in (True, False)]


@frozen
class SessionWorld(World):
    """A JobSession with its link, the Worker, and the work that is done for it."""

    begun: bool = False
    open: bool = True
    trusted: bool = False
    receiving: bool = False
    """The client's package is expected over this link."""
    streaming: bool = False
    streamed: bool = False
    sending: bool = False
    leaving: bool = False

    def moves(self) -> Iterator[tuple[World, Any]]:
        if not self.begun:
            yield evolve(self, begun=True), SessionRequested(ONE, ADA, "sdp", JOB, number=0)
            yield evolve(self, begun=True, trusted=True, receiving=True), OpenSession(ONE, JOB)
        if not self.begun or not self.open:
            return
        yield evolve(self, open=False), LinkLost(ONE)
        if not self.leaving:
            yield evolve(self, leaving=True), EndSessions()
        if not self.trusted:
            yield evolve(self, trusted=True), Authenticated(ONE, ADA, proven=True, version=3)
            return
        yield self, PeerMessage(ONE, SUBMIT)
        for request in REQUESTS:
            for state in STATES:
                yield self, JobLookedUp(ONE, request, state)
        if self.receiving:
            yield evolve(self, receiving=False), FollowJob(ONE, JOB)
        if self.streaming:
            for ended in ENDINGS:
                yield evolve(self, streaming=False), StreamEnded(ONE, ended)
        if self.sending:
            for fault in (None, BROKEN):
                yield evolve(self, sending=False), ResultSendEnded(JOB, ONE, fault)

    def after(self, before: World, event: Any, effects: tuple[Any, ...]) -> World:
        world = self
        closed = before.actor.phase is JobSessionPhase.CLOSED
        found = isinstance(event, JobLookedUp) and event.state.stage not in (JobStage.UNKNOWN, JobStage.ELSEWHERE)
        assert not (closed and effects), "a session that has ended does nothing more"
        for effect in effects:
            match effect:
                case SupplyPackage():
                    assert found
                    world = evolve(world, receiving=True)
                case StreamEvents():
                    assert found or isinstance(event, FollowJob)
                    assert not world.streamed, "the events of a job are streamed once"
                    world = evolve(world, streaming=True, streamed=True)
                case StopEarly() | Cancel() | ReleaseResult():
                    assert found, "without the key no request is carried out"
                case SendResult():
                    assert isinstance(event, StreamEnded)
                    assert event.ended.result
                    world = evolve(world, sending=True)
        waits = self.actor.timeout or world.receiving or world.streaming or world.sending
        assert waits or self.actor.phase is JobSessionPhase.CLOSED, "the client is not awaited for ever"
        return world


def test_a_client_gets_its_own_job_once_and_nothing_before_its_key_was_right() -> None:
    worlds = explore(JOB_SESSION, SessionWorld(start_of(JOB_SESSION, JobSessionData(ONE, JOB))))
    assert {world.actor.phase for world in worlds if not world.open} == {JobSessionPhase.CLOSED}


# -------- the JobQuery

CREDENTIALS = RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
WANTED = QueryWanted(CREDENTIALS, DESK, (AskJob(JOB, KEY), StopJob(OTHER, KEY)))
ANSWERS = [evolve(state, job=job) for state in STATES for job in (JOB, OTHER)]


@frozen
class QueryWorld(World):
    """A JobQuery with its link, Discovery and the worker."""

    begun: bool = False
    in_room: bool = True
    link: LinkId | None = None
    trusted: bool = False
    reported: frozenset[JobId] = frozenset()
    finished: Finished | None = None

    def moves(self) -> Iterator[tuple[World, Any]]:
        if not self.begun:
            yield evolve(self, begun=True), WANTED
            return
        if self.in_room:
            yield self, JoinedRoom(RoomId("room-1"), "token", ADA)
            yield evolve(self, in_room=False), JoinFailed(BROKEN)
        if self.link is not None:
            for fault in (None, BROKEN, *([] if self.trusted else [UNKNOWN_FAULT])):
                yield evolve(self, link=None, trusted=False), LinkLost(self.link, fault)
            if not self.trusted:
                yield evolve(self, trusted=True), Authenticated(self.link, DESK, proven=True, version=3)
            else:
                for message in (*ANSWERS, BROKEN, SUBMIT):
                    yield self, PeerMessage(self.link, message)

    def after(self, before: World, event: Any, effects: tuple[Any, ...]) -> World:
        world = self
        for effect in effects:
            match effect:
                case OpenLink():
                    assert world.link is None, "one link at a time"
                    world = evolve(world, link=effect.link)
                case CloseLink():
                    assert world.link == effect.link
                case TellPeer():
                    assert effect.link == world.link
                    assert effect.message.job not in world.reported
                case JobStateReported():
                    assert effect.state.job not in world.reported, "each request has one answer"
                    world = evolve(world, reported=world.reported | {effect.state.job})
                case Finished():
                    assert world.finished is None
                    assert effect.fault is not None or world.reported == {JOB, OTHER}
                    world = evolve(world, finished=effect)
        assert (self.actor.phase is QueryPhase.IDLE) == (world.finished is not None)
        waits_for_room = self.actor.phase is QueryPhase.JOINING
        assert world.finished or self.actor.timeout or waits_for_room, "the worker is not awaited for ever"
        return world


def test_a_query_ends_once_and_reports_each_answer_once() -> None:
    worlds = explore(JOB_QUERY, QueryWorld(start_of(JOB_QUERY, QueryData())))
    assert all(world.actor.phase.status is AVAILABLE for world in worlds if world.finished)

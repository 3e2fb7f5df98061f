"""Simulations of the actors that deal with jobs: random sequences of events, but only of events that can happen.

Links are lost once, a package arrives only if one was sent, and a time-out comes only if one is set. The walks of
`test_tables.py` give any event at any time, so they seldom get far. These reach all parts of the tables, and
they detect an actor that waits for an event that cannot come.
"""

from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from actors.client import CLIENT
from actors.client_events import ClientData
from actors.events import (
    AcceptLink,
    AskPerson,
    Authenticated,
    BestWorker,
    Cancel,
    CancelWanted,
    CloseLink,
    DiscardJob,
    DownloadFailed,
    Drain,
    EarlierJobsFound,
    FetchResult,
    Finished,
    JobAdopted,
    JobCredential,
    JobFinished,
    JobLookedUp,
    JobStateReported,
    JobSubmitted,
    JobWanted,
    JoinedRoom,
    JoinFailed,
    LinkLost,
    LinkRefused,
    LinkRequested,
    LookUpJob,
    NamedWorker,
    OpenLink,
    OpenSession,
    PackageFailed,
    PackageReceived,
    PackageSent,
    PeerMessage,
    QueryWanted,
    ReceivePackage,
    RejectLink,
    ReleaseResult,
    ResultDownloaded,
    ResultSendEnded,
    ResultUnpacked,
    RoomCredentials,
    SendJobKey,
    SendPackage,
    SendResult,
    SendToServer,
    SessionRequested,
    StartJob,
    StateTimeout,
    StatusChanged,
    StopEarly,
    StopWanted,
    StreamEnded,
    StreamEvents,
    SupplyPackage,
    TellPeer,
    TimedOut,
    UploadFailed,
    WaitExpired,
    WorkerPicked,
    WorkersChanged,
)
from actors.job_query import JOB_QUERY, QueryData
from actors.job_session import JOB_SESSION, JobSessionData
from actors.old_table import AVAILABLE, BUSY, RESERVED, Table
from actors.worker import BUSY_FAULT, UNKNOWN_FAULT, WORKER
from actors.worker_events import SESSIONS_MAX, WorkerData
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import (
    AskJob,
    AttachJob,
    CancelJob,
    JobAccepted,
    JobEnded,
    JobKind,
    JobRequest,
    JobStage,
    JobState,
    Outcome,
    ResultTaken,
    StopJob,
    SubmitJob,
)
from protocol.signaling import WorkerAssigned, WorkerPresent
from protocol.status import Role, Status, WorkerFacts

STEPS = 40
LIKELY = 4
"""How many times more often an event is drawn from the likely ones than from all possible ones."""
lengths, is_likely = st.integers(1, STEPS), st.sampled_from([True] * LIKELY + [False])
ADA, BOB = PeerId("client-ada"), PeerId("client-bob")
FIRST, SECOND = PeerId("worker-1"), PeerId("worker-2")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
JOB, OTHER, KEY = JobId("job-1"), JobId("job-2"), "key-1"
ONE = LinkId(1)
BROKEN = Fault(FaultCode.LINK_LOST, "The link broke.")
NO_ROOM = Fault(FaultCode.DISK_FULL, "No room.")
STALLED = Fault(FaultCode.STALLED, "The worker's half did not come.")
STOPPED = Fault(FaultCode.CANCELLED, "The worker was stopped.")
NO_WORKER = Fault(FaultCode.NO_WORKER, "No such worker.")
CREDENTIALS = RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")


@define
class SimulatedActor:
    """One actor, and the state of its links and its time-out, which its effects change."""

    table: Table[Any]
    data: Any
    state: Status = AVAILABLE
    due: TimedOut | None = None
    """The event of the running time-out, if one is running."""
    links: set[LinkId] = field(factory=set)
    """Links that are not lost yet; the actor may have closed them."""
    closed: set[LinkId] = field(factory=set)
    """Links that the actor has closed."""
    trusted: set[LinkId] = field(factory=set)
    ended: list[Finished] = field(factory=list)

    def step(self, event: Any) -> list[Any]:
        """Let the actor handle one event; return its effects without time-outs."""
        if isinstance(event, TimedOut):
            self.due = None
        if isinstance(event, LinkLost):
            self.links.discard(event.link)
        if isinstance(event, Authenticated):
            self.trusted.add(event.link)
        before = self.state
        self.state, step = self.table.step(before, self.data, event)
        self.data = step.data
        if self.state is not before:
            self.due = None
        for effect in step.effects:
            if isinstance(effect, StateTimeout):
                self.due = None if effect.after == float("inf") else effect.event
            if isinstance(effect, CloseLink):
                self.closed.add(effect.link)
            if isinstance(effect, Finished):
                self.ended.append(effect)
        return [effect for effect in step.effects if not isinstance(effect, StateTimeout)]

    @property
    def open(self) -> set[LinkId]:
        """Links that are neither lost nor closed."""
        return self.links - self.closed

    def common(self) -> list[Any]:
        """Return the events that every actor may get: time-outs, lost links and authenticated links."""
        lost = [LinkLost(link, fault) for link in sorted(self.links) for fault in (None, BROKEN)]
        proofs = [Authenticated(link, ADA, proven=True) for link in sorted(self.open - self.trusted)]
        return [*([] if self.due is None else [self.due]), *lost, *proofs]

    @property
    def usable(self) -> list[LinkId]:
        """Links over which messages may come."""
        return sorted(self.links & self.trusted)


def simulate(
    data: st.DataObject,
    events: Callable[[], tuple[list[Any], list[Any]]],
    turn: Callable[[Any], None],
    over: Callable[[], bool],
) -> None:
    """Draw up to `STEPS` events, most of them from the likely ones, and let `turn` handle each."""
    for _ in range(data.draw(lengths)):
        likely, possible = events()
        if over() or not possible:
            return
        turn(data.draw(st.sampled_from(likely if likely and data.draw(is_likely) else possible)))


# -------- the Worker


@define
class WorkerWorld:
    """A simulation of the link manager, the job manager and the job sessions around a Worker."""

    actor: SimulatedActor = field(factory=lambda: SimulatedActor(WORKER, WorkerData()))
    preparing: dict[JobId, JobCredential] = field(factory=dict)
    running: set[JobId] = field(factory=set)
    sessions: set[LinkId] = field(factory=set)
    served: list[LinkId] = field(factory=list)
    suppliers: set[LinkId] = field(factory=set)
    """Links of sessions over which the rest of a package came."""
    leaving: bool = False
    submitted: int = 0

    def events(self) -> tuple[list[Any], list[Any]]:
        actor = self.actor
        fresh = JobCredential(JobId(f"job-{self.submitted + 1}"), KEY)
        unsubmitted = [link for link in actor.usable if link not in self.sessions]
        offers = [LinkRequested(ONE, ADA, "sdp", PROTOCOL_VERSION)]
        offers += [
            SessionRequested(ONE, BOB, "sdp", job, PROTOCOL_VERSION) for job in sorted(actor.data.known_jobs)[:2]
        ]
        likely: list[Any] = [*offers, *(JobSubmitted(link, SUBMIT, fresh) for link in unsubmitted)]
        likely += [Authenticated(link, ADA, proven=True) for link in sorted(actor.open - actor.trusted)]
        likely += [PackageReceived(credential) for credential in self.preparing.values()] * 3
        likely += [SupplyPackage(link, job) for link in sorted(self.sessions & actor.trusted) for job in self.preparing]
        over = [JobFinished(job, Outcome.DONE, "Trained.", result=True) for job in sorted(self.running)]
        possible = [*likely, *over, *actor.common(), Drain(), JoinFailed(BROKEN), EarlierJobsFound(frozenset({OTHER}))]
        possible += [LinkRequested(ONE, BOB, "sdp", PROTOCOL_VERSION), LinkRequested(ONE, BOB, "sdp", 0)]
        possible += [SessionRequested(ONE, BOB, "sdp", JobId("job-of-no-one"), PROTOCOL_VERSION)]
        possible += [PackageFailed(job, NO_ROOM) for job in self.preparing]
        possible += [PeerMessage(link, AskJob(JOB, KEY)) for link in actor.usable]
        return likely, possible

    def turn(self, event: Any) -> None:
        actor, before = self.actor, self.actor.state
        if isinstance(event, PackageReceived | PackageFailed):
            del self.preparing[event.credential.job if isinstance(event, PackageReceived) else event.job]
        if isinstance(event, JobFinished):
            self.running.discard(event.job)
        if isinstance(event, JobAdopted):
            self.running.add(event.job)
        if isinstance(event, LinkLost):
            self.sessions.discard(event.link)
        if isinstance(event, Drain) or (isinstance(event, JoinFailed) and not self.running):
            self.leaving = True
        if isinstance(event, SupplyPackage):
            self.suppliers.add(event.link)
        self.submitted += isinstance(event, JobSubmitted)
        effects = actor.step(event)
        for effect in effects:
            self.handle_effect(effect)
        self.check(event, before, effects)

    def handle_effect(self, effect: Any) -> None:
        match effect:
            case AcceptLink():
                assert not self.leaving or self.running, "a worker that only waits to end accepts no new client"
                self.actor.links.add(effect.link)
            case ReceivePackage():
                self.preparing[effect.credential.job] = effect.credential
            case DiscardJob():
                self.preparing.pop(effect.job, None)
            case StartJob():
                assert effect.job not in self.running
                self.running.add(effect.job)
            case OpenSession():
                assert effect.link in self.actor.open
                self.sessions.add(effect.link)
                self.served.append(effect.link)
            case CloseLink():
                assert effect.link not in self.sessions - self.suppliers, "sessions close their own links"

    def check(self, event: Any, before: Status, effects: list[Any]) -> None:
        data, state = self.actor.data, self.actor.state
        kinds = [type(effect) for effect in effects]
        without_session = self.actor.open - self.sessions
        reserving = {data.link} - self.sessions - {None} if state is RESERVED else set()
        assert without_session == reserving, "one link reserves the worker, and only while it is reserved"
        assert data.link is None or state is RESERVED
        assert state is not RESERVED or data.link is not None or self.actor.due, (
            "a client that is away is not awaited for ever"
        )
        assert bool(self.running) == (state is BUSY), "the GPU is busy while something runs"
        assert data.sessions == self.sessions
        assert len(self.served) == len(set(self.served)), "each link gets one session"
        if AcceptLink in kinds:
            assert (OpenSession in kinds) != (StatusChanged(RESERVED) in effects), (
                "a link is for the reservation or for a session"
            )
        if isinstance(event, LinkRequested | SessionRequested):
            assert kinds.count(AcceptLink) + kinds.count(RejectLink) == 1
            assert OpenSession not in kinds or len(self.sessions) <= SESSIONS_MAX
        announced = [effect.status for effect in effects if isinstance(effect, StatusChanged)]
        assert announced[-1:] == [state] or (state is before and not announced) or self.leaving
        assert AVAILABLE not in announced or not (self.running or self.leaving)
        assert state is not RESERVED or self.actor.due or self.preparing, "a reservation does not last for ever"
        if Finished in kinds:
            assert self.leaving
            assert not self.running
            assert not self.sessions


@given(st.data(), st.integers(0, 2))
def test_a_worker_keeps_its_invariants_and_ends_once(data: st.DataObject, left: int) -> None:
    world = WorkerWorld()
    for job in (JOB, OTHER)[:left]:
        world.submitted += 1
        world.turn(JobAdopted(job))
    simulate(data, world.events, world.turn, lambda: bool(world.actor.ended))
    if not world.actor.ended:
        world.turn(Drain())
    for job in sorted(world.running):
        world.turn(JobFinished(job, Outcome.DONE, "Trained.", result=True))
    for link in sorted(world.actor.links):
        world.turn(LinkLost(link))
    assert len(world.actor.ended) == 1


# -------- the JobSession

REQUESTS = [AttachJob(JOB, KEY), AttachJob(JOB, KEY, 3, result=False), AskJob(JOB, KEY), StopJob(JOB, KEY)]
REQUESTS += [CancelJob(JOB, KEY), ResultTaken(JOB, KEY), AttachJob(JOB, KEY, supply=True)]
STATES = [JobState(JOB, stage, "So it stands.") for stage in JobStage]
ENDINGS = [JobEnded(JOB, outcome, "Over.", result) for outcome in Outcome for result in (True, False)]


@define
class SessionWorld:
    """A simulation of the job sessions around one JobSession."""

    actor: SimulatedActor = field(factory=lambda: SimulatedActor(JOB_SESSION, JobSessionData(ONE)))
    key_shown: bool = False
    looking_up: list[JobRequest] = field(factory=list)
    streaming_events: bool = False
    sending_result: bool = False
    streams: int = 0
    results: int = 0

    def events(self) -> tuple[list[Any], list[Any]]:
        likely: list[Any] = [JobLookedUp(ONE, request, state) for request in self.looking_up for state in STATES]
        likely += [StreamEnded(ONE, ended) for ended in ENDINGS if self.streaming_events]
        likely += [ResultSendEnded(JOB, ONE, fault) for fault in (None, BROKEN) if self.sending_result]
        likely += [Authenticated(link, ADA, proven=True) for link in sorted(self.actor.open - self.actor.trusted)]
        requests = [PeerMessage(ONE, request) for request in REQUESTS if self.actor.usable]
        possible = [*likely, *self.actor.common(), Drain(), *(PeerMessage(ONE, SUBMIT) for _ in self.actor.usable)]
        return likely + requests, possible

    def turn(self, event: Any) -> None:
        if isinstance(event, JobLookedUp):
            self.looking_up.remove(event.request)
            self.key_shown = self.key_shown or event.state.stage is not JobStage.UNKNOWN
        if isinstance(event, StreamEnded):
            self.streaming_events = False
        if isinstance(event, ResultSendEnded):
            self.sending_result = False
        lost = not self.actor.links
        for effect in self.actor.step(event):
            assert not lost
            self.handle_effect(event, effect)
        closed = ONE not in self.actor.open
        assert closed or self.actor.due or self.streaming_events or self.sending_result, (
            "the client is not awaited for ever"
        )

    def handle_effect(self, event: Any, effect: Any) -> None:
        found = isinstance(event, JobLookedUp) and event.state.stage is not JobStage.UNKNOWN
        match effect:
            case LookUpJob():
                self.looking_up.append(effect.request)
            case StreamEvents():
                assert found
                self.streaming_events = True
                self.streams += 1
                assert self.streams == 1, "the events of a job are streamed once"
            case StopEarly() | Cancel() | ReleaseResult():
                assert found, "without the key no request is carried out"
                assert effect.job == event.state.job
            case SendResult():
                assert isinstance(event, StreamEnded)
                assert event.ended.result
                self.sending_result = True
                self.results += 1
                assert self.results == 1
            case TellPeer(message=JobState() as sent):
                assert isinstance(event, JobLookedUp)
                assert self.key_shown or sent.stage is JobStage.UNKNOWN
            case TellPeer(message=JobEnded()):
                assert self.key_shown
                assert isinstance(event, StreamEnded)


@given(st.data(), st.booleans())
def test_a_client_gets_its_own_job_once_and_nothing_before_its_key_was_right(data: st.DataObject, sender: bool) -> None:
    world = SessionWorld()
    world.actor.links.add(ONE)
    if sender:
        world.actor.trusted.add(ONE)
        assert world.actor.step(OpenSession(ONE, JobCredential(JOB, KEY))) == [StreamEvents(ONE, JOB)]
        world.streaming_events = world.key_shown = True
        world.streams = 1
    else:
        world.turn(OpenSession(ONE))
    simulate(data, world.events, world.turn, lambda: not world.actor.links)


# -------- the Client


def present(peer: PeerId, status: Status) -> WorkerPresent:
    return WorkerPresent(peer, WorkerFacts(status, "bench", "lab", "GPU", 8000, "0.3.5", "12.4", "0.1"))


FREE, TAKEN = (present(FIRST, AVAILABLE), present(SECOND, AVAILABLE)), (present(FIRST, BUSY),)
WANTED = [
    JobWanted(CREDENTIALS, choice, SUBMIT, wait=wait)  # each way to choose a worker
    for choice in (NamedWorker(FIRST), BestWorker(), AskPerson())
    for wait in (False, True)
]
WANTED += [
    JobWanted(CREDENTIALS, NamedWorker(FIRST), credential=JobCredential(JOB, KEY), fetch=fetch)
    for fetch in (True, False)
]


@define
class ClientWorld:
    """A simulation of the link manager, the file transfers and the person around a Client."""

    actor: SimulatedActor = field(factory=lambda: SimulatedActor(CLIENT, ClientData()))
    waiting: bool = False
    """The Client waits for the room, the person or the queue, none of which has a time limit here."""
    sending: bool = False
    downloading: LinkId | None = None
    """The link over which the result is being downloaded."""
    unpacking: bool = False
    sent: list[LinkId] = field(factory=list)
    interrupted: bool = False
    unpacked: bool = False
    streaming: set[LinkId] = field(factory=set)
    """Links over which the job's events come."""
    ended_over: set[LinkId] = field(factory=set)
    """Links over which the job's end has come."""

    def events(self) -> tuple[list[Any], list[Any]]:
        actor, data = self.actor, self.actor.data
        messages = STATES[:3] if data.job else [JobAccepted(JOB, KEY)]
        streaming_links = sorted(actor.links & self.streaming - self.ended_over) if actor.state is BUSY else []
        likely: list[Any] = [PeerMessage(link, message) for link in actor.usable for message in messages]
        likely += [PeerMessage(link, JobEnded(JOB, Outcome.DONE, "Trained.", result=True)) for link in streaming_links]
        likely += (
            [WorkersChanged(FREE), WorkersChanged(TAKEN), WorkerAssigned(FIRST), WorkerPicked(FIRST)]
            if self.waiting
            else []
        )
        likely += [actor.due] if actor.due and actor.state is BUSY else []
        likely += [Authenticated(link, FIRST, proven=True) for link in sorted(actor.open - actor.trusted)]
        likely += [PackageSent()] if self.sending else []
        likely += [ResultDownloaded()] if self.downloading in actor.links else []
        likely += [ResultUnpacked()] if self.unpacking else []
        likely += [LinkLost(link) for link in sorted(actor.links) if actor.state is BUSY or self.sending]
        possible = [
            *likely,
            *actor.common(),
            Drain(),
            StopWanted(),
            CancelWanted(),
            WaitExpired(),
            WorkersChanged(TAKEN),
        ]
        possible += [WorkersChanged(()), JoinedRoom(RoomId("room-1"), "token", ADA)]
        possible += [JoinFailed(BROKEN), WorkerPicked(None)] if self.waiting else []
        possible += [LinkLost(link, fault) for link in sorted(actor.links) for fault in (STALLED, STOPPED, NO_WORKER)]
        possible += [UploadFailed(fault) for fault in (BROKEN, NO_ROOM) if self.sending]
        possible += [DownloadFailed(NO_ROOM)] if self.downloading or self.unpacking else []
        possible += [DownloadFailed(BROKEN)] if self.downloading else []
        possible += [PeerMessage(link, message) for link in actor.usable for message in (NO_ROOM, STATES[3])]
        possible += [PeerMessage(link, ended) for link in streaming_links for ended in ENDINGS]
        unlinked = sorted(actor.open - actor.trusted)
        possible += [LinkRefused(FIRST, fault) for fault in (BUSY_FAULT, UNKNOWN_FAULT, NO_ROOM) if unlinked]
        return likely, possible

    def turn(self, event: Any) -> None:
        self.handle_event(event)
        link, before = self.actor.data.link, self.actor.state
        closed = set(self.actor.closed)
        effects = self.actor.step(event)
        for effect in effects:
            if isinstance(effect, TellPeer | SendJobKey):
                assert effect.link == link
                assert effect.link not in closed, "nothing is sent over a closed link"
            self.handle_effect(event, effect)
        self.check(before, effects)

    def handle_event(self, event: Any) -> None:
        """Update the simulation when this event has happened."""
        self.interrupted = self.interrupted or isinstance(event, Drain | CancelWanted)
        match event:
            case PackageSent() | UploadFailed():
                self.sending = False
            case ResultDownloaded():
                self.downloading, self.unpacking = None, True
            case ResultUnpacked():
                self.unpacking, self.unpacked = False, True
            case DownloadFailed():
                self.downloading, self.unpacking = None, False
            case PeerMessage(message=JobAccepted() | JobState()):
                self.streaming.add(event.link)
            case PeerMessage(message=JobEnded()):
                self.ended_over.add(event.link)

    def handle_effect(self, event: Any, effect: Any) -> None:
        match effect:
            case OpenLink():
                self.actor.links.add(effect.link)
                self.waiting = False
            case SendPackage():
                self.sending = True
                assert effect.link in self.actor.open
                assert not self.actor.data.delivered, "a delivered package is not sent again"
                self.sent.append(effect.link)
            case FetchResult():
                assert not self.unpacking, "a downloaded result is not fetched again"
                assert not self.unpacked
                self.downloading = effect.link
            case TellPeer(message=ResultTaken()):
                assert isinstance(event, ResultUnpacked)
            case TellPeer(message=CancelJob()):
                assert self.interrupted, "no job is cancelled without a request"
            case Finished() if self.unpacked:
                assert effect.ended is not None
                assert (effect.fault is None) == (effect.ended.outcome is Outcome.DONE), "the outcome decides"

    def check(self, before: Status, effects: list[Any]) -> None:
        actor = self.actor
        self.waiting = self.waiting or before is AVAILABLE or any(not isinstance(one, OpenLink) for one in effects[-1:])
        self.waiting = self.waiting and actor.state is RESERVED and not actor.data.peer
        assert len(actor.ended) == (actor.state is AVAILABLE), "one Finished for one JobWanted"
        assert actor.open <= {actor.data.link}, "one link at a time"
        assert len(self.sent) == len(set(self.sent)), "over one link a package is sent once"
        waits_for_something = actor.due or actor.open or self.waiting or self.unpacking
        assert waits_for_something or actor.state is AVAILABLE, "the Client never waits for nothing"
        sends_to_server = any(isinstance(one, SendToServer) for one in effects)
        assert not sends_to_server or actor.state is RESERVED


@given(st.data())
def test_a_wanted_job_ends_exactly_once_and_its_client_never_waits_for_nothing(data: st.DataObject) -> None:
    world = ClientWorld()
    world.actor.step(data.draw(st.sampled_from(WANTED)))
    world.waiting = True
    simulate(data, world.events, world.turn, lambda: bool(world.actor.ended))


# -------- the JobQuery

ASKED = (AskJob(JOB, KEY), StopJob(OTHER, KEY))


@define
class QueryWorld:
    """A simulation of the link manager around a JobQuery."""

    actor: SimulatedActor = field(factory=lambda: SimulatedActor(JOB_QUERY, QueryData()))
    reported: list[JobId] = field(factory=list)

    def events(self) -> tuple[list[Any], list[Any]]:
        actor = self.actor
        states = [evolve(state, job=job) for state in STATES for job in (JOB, OTHER)]
        likely: list[Any] = [
            WorkersChanged(FREE),
            *(PeerMessage(link, state) for link in actor.usable for state in states),
        ]
        likely += [Authenticated(link, FIRST, proven=True) for link in sorted(actor.open - actor.trusted)]
        possible = [*likely, *actor.common(), Drain(), JoinFailed(BROKEN)]
        possible += [PeerMessage(link, message) for link in actor.usable for message in (NO_ROOM, STATES[0])]
        refused = actor.open - actor.trusted
        faults = (UNKNOWN_FAULT, UNKNOWN_FAULT, BUSY_FAULT)
        possible += [LinkRefused(peer, fault) for peer in (FIRST, SECOND) for fault in faults if refused]
        return likely, possible

    def turn(self, event: Any) -> None:
        actor = self.actor
        if isinstance(event, LinkRefused) and event.peer == FIRST:
            actor.closed |= actor.open - actor.trusted  # a refusal is that link's end
        for effect in actor.step(event):
            match effect:
                case OpenLink():
                    actor.links.add(effect.link)
                case TellPeer():
                    assert effect.link in actor.open
                    assert effect.message in ASKED
                    assert effect.message.job not in self.reported
                case JobStateReported():
                    self.reported.append(effect.state.job)
        assert len(self.reported) == len(set(self.reported)), "each request has one answer"
        assert len(actor.ended) == (actor.state is AVAILABLE)
        assert actor.due or actor.state is AVAILABLE or not actor.data.last_link, "the worker is not awaited for ever"
        if actor.ended and actor.ended[0].fault is None:
            assert set(self.reported) == {JOB, OTHER}
        assert not actor.ended or not actor.open


@given(st.data())
def test_a_query_ends_once_and_reports_each_answer_once(data: st.DataObject) -> None:
    world = QueryWorld()
    world.actor.step(QueryWanted(CREDENTIALS, FIRST, ASKED))
    simulate(data, world.events, world.turn, lambda: bool(world.actor.ended))

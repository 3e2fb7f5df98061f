"""Whole lives of the actors that deal with jobs: random, but nothing happens in them that could not happen.

Links are lost once, packages arrive only where one was sent, a time-out comes only where one is set. The walks of
`test_tables.py` hear anything at any time, and so seldom get far; these get everywhere, and know when somebody waits
for nothing.
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
    JobReported,
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
    SendPackage,
    SendResult,
    SendToServer,
    ShowJobKey,
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
from actors.table import AVAILABLE, BUSY, RESERVED, Table
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
ONWARD = 4
"""How much more often something happens that leads on than anything else."""
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
PASS = RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")


@define
class Life:
    """One actor, and the part of the world that its orders change."""

    table: Table[Any]
    data: Any
    state: Status = AVAILABLE
    due: TimedOut | None = None
    """What it will hear if nothing else happens."""
    links: set[LinkId] = field(factory=set)
    """Not lost yet, though perhaps told to close."""
    closed: set[LinkId] = field(factory=set)
    """Told to close."""
    trusted: set[LinkId] = field(factory=set)
    ended: list[Finished] = field(factory=list)

    def hear(self, event: Any) -> list[Any]:
        """One turn; what was said in it."""
        if isinstance(event, TimedOut):
            self.due = None
        if isinstance(event, LinkLost):
            self.links.discard(event.link)
        if isinstance(event, Authenticated):
            self.trusted.add(event.link)
        was = self.state
        self.state, step = self.table.step(was, self.data, event)
        self.data = step.data
        if self.state is not was:
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
        """Links that will still say how they end, and are not ours to forget."""
        return self.links - self.closed

    def common(self) -> list[Any]:
        """What may happen to anybody: time passes, links break and are trusted."""
        lost = [LinkLost(link, fault) for link in sorted(self.links) for fault in (None, BROKEN)]
        proofs = [Authenticated(link, ADA, proven=True) for link in sorted(self.open - self.trusted)]
        return [*([] if self.due is None else [self.due]), *lost, *proofs]

    @property
    def heard_over(self) -> list[LinkId]:
        """Links that what is said comes over."""
        return sorted(self.links & self.trusted)


def live(
    data: st.DataObject,
    events: Callable[[], tuple[list[Any], list[Any]]],
    turn: Callable[[Any], None],
    over: Callable[[], bool],
) -> None:
    """Let things happen, most of them such as lead on."""
    for _ in range(data.draw(st.integers(1, STEPS))):
        onward, anything = events()
        lots = [st.sampled_from(one) for one in (*[onward] * ONWARD, anything) if one]
        if over() or not lots:
            return
        turn(data.draw(st.one_of(lots)))


# -------- the Worker


@define
class WorkersLife:
    """What the links, the desk and the window make of a worker's orders."""

    life: Life = field(factory=lambda: Life(WORKER, WorkerData()))
    preparing: dict[JobId, JobCredential] = field(factory=dict)
    running: set[JobId] = field(factory=set)
    sessions: set[LinkId] = field(factory=set)
    received: list[LinkId] = field(factory=list)
    suppliers: set[LinkId] = field(factory=set)
    """Links at the window that brought the rest of a package."""
    leaving: bool = False
    submitted: int = 0

    def events(self) -> tuple[list[Any], list[Any]]:
        life = self.life
        fresh = JobCredential(JobId(f"job-{self.submitted + 1}"), KEY)
        task = [link for link in life.heard_over if link not in self.sessions]
        offers = [LinkRequested(ADA, "sdp", None, PROTOCOL_VERSION)]
        offers += [LinkRequested(BOB, "sdp", job, PROTOCOL_VERSION) for job in sorted(life.data.known_jobs)[:2]]
        onward: list[Any] = [*offers, *(JobSubmitted(link, SUBMIT, fresh) for link in task)]
        onward += [Authenticated(link, ADA, proven=True) for link in sorted(life.open - life.trusted)]
        onward += [PackageReceived(credential) for credential in self.preparing.values()] * 3
        onward += [SupplyPackage(link, job) for link in sorted(self.sessions & life.trusted) for job in self.preparing]
        over = [JobFinished(job, Outcome.DONE, "Trained.", result=True) for job in sorted(self.running)]
        anything = [*onward, *over, *life.common(), Drain(), JoinFailed(BROKEN), EarlierJobsFound(frozenset({OTHER}))]
        anything += [LinkRequested(BOB, "sdp", None, PROTOCOL_VERSION), LinkRequested(BOB, "sdp", None, 0)]
        anything += [LinkRequested(BOB, "sdp", JobId("job-of-no-one"), PROTOCOL_VERSION)]
        anything += [PackageFailed(job, NO_ROOM) for job in self.preparing]
        anything += [PeerMessage(link, AskJob(JOB, KEY)) for link in life.heard_over]
        return onward, anything

    def turn(self, event: Any) -> None:
        life, was = self.life, self.life.state
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
        said = life.hear(event)
        for effect in said:
            self.happens(effect)
        self.check(event, was, said)

    def happens(self, effect: Any) -> None:
        match effect:
            case AcceptLink():
                assert not self.leaving or self.running, "nobody new is let in by a worker that only waits to end"
                self.life.links.add(effect.link)
            case ReceivePackage():
                self.preparing[effect.credential.job] = effect.credential
            case DiscardJob():
                self.preparing.pop(effect.job, None)
            case StartJob():
                assert effect.job not in self.running
                self.running.add(effect.job)
            case OpenSession():
                assert effect.link in self.life.open
                self.sessions.add(effect.link)
                self.received.append(effect.link)
            case CloseLink():
                assert effect.link not in self.sessions - self.suppliers, "the window closes its own links"

    def check(self, event: Any, was: Status, said: list[Any]) -> None:
        data, state = self.life.data, self.life.state
        kinds = [type(effect) for effect in said]
        promised = self.life.open - self.sessions
        holding = {data.link} - self.sessions - {None} if state is RESERVED else set()
        assert promised == holding, "one link holds us, and only while reserved"
        assert data.link is None or state is RESERVED
        assert state is not RESERVED or data.link is not None or self.life.due, "who is away is not waited for for ever"
        assert bool(self.running) == (state is BUSY), "the GPU is busy while something runs"
        assert data.sessions == self.sessions
        assert len(self.received) == len(set(self.received)), "each visitor is received once"
        if AcceptLink in kinds:
            assert (OpenSession in kinds) != (StatusChanged(RESERVED) in said), "to the promise, or to the window"
        if isinstance(event, LinkRequested):
            assert kinds.count(AcceptLink) + kinds.count(RejectLink) == 1
            assert OpenSession not in kinds or len(self.sessions) <= SESSIONS_MAX
        announced = [effect.status for effect in said if isinstance(effect, StatusChanged)]
        assert announced[-1:] == [state] or (state is was and not announced) or self.leaving
        assert AVAILABLE not in announced or not (self.running or self.leaving)
        assert state is not RESERVED or self.life.due or self.preparing, "a promise does not last for ever"
        if Finished in kinds:
            assert self.leaving
            assert not self.running
            assert not self.sessions


@given(st.data(), st.integers(0, 2))
def test_a_worker_lives_as_it_should_and_ends_once(data: st.DataObject, left: int) -> None:
    world = WorkersLife()
    for job in (JOB, OTHER)[:left]:
        world.submitted += 1
        world.turn(JobAdopted(job))
    live(data, world.events, world.turn, lambda: bool(world.life.ended))
    if not world.life.ended:
        world.turn(Drain())
    for job in sorted(world.running):
        world.turn(JobFinished(job, Outcome.DONE, "Trained.", result=True))
    for link in sorted(world.life.links):
        world.turn(LinkLost(link))
    assert len(world.life.ended) == 1


# -------- a Visit

WISHES = [AttachJob(JOB, KEY), AttachJob(JOB, KEY, 3, result=False), AskJob(JOB, KEY), StopJob(JOB, KEY)]
WISHES += [CancelJob(JOB, KEY), ResultTaken(JOB, KEY), AttachJob(JOB, KEY, supply=True)]
STATES = [JobState(JOB, stage, "So it stands.") for stage in JobStage]
ENDINGS = [JobEnded(JOB, outcome, "Over.", result) for outcome in Outcome for result in (True, False)]


@define
class VisitsLife:
    """What the window makes of a Visit's orders."""

    life: Life = field(factory=lambda: Life(JOB_SESSION, JobSessionData(ONE)))
    fits: bool = False
    asked: list[JobRequest] = field(factory=list)
    following: bool = False
    delivering: bool = False
    follows: int = 0
    delivers: int = 0

    def events(self) -> tuple[list[Any], list[Any]]:
        onward: list[Any] = [JobLookedUp(ONE, request, state) for request in self.asked for state in STATES]
        onward += [StreamEnded(ONE, ended) for ended in ENDINGS if self.following]
        onward += [ResultSendEnded(JOB, ONE, fault) for fault in (None, BROKEN) if self.delivering]
        onward += [Authenticated(link, ADA, proven=True) for link in sorted(self.life.open - self.life.trusted)]
        wishes = [PeerMessage(ONE, request) for request in WISHES if self.life.heard_over]
        anything = [*onward, *self.life.common(), Drain(), *(PeerMessage(ONE, SUBMIT) for _ in self.life.heard_over)]
        return onward + wishes, anything

    def turn(self, event: Any) -> None:
        if isinstance(event, JobLookedUp):
            self.asked.remove(event.request)
            self.fits = self.fits or event.state.stage is not JobStage.UNKNOWN
        if isinstance(event, StreamEnded):
            self.following = False
        if isinstance(event, ResultSendEnded):
            self.delivering = False
        gone = not self.life.links
        for effect in self.life.hear(event):
            assert not gone
            self.happens(event, effect)
        away = ONE not in self.life.open
        assert away or self.life.due or self.following or self.delivering, "nobody is waited for without end"

    def happens(self, event: Any, effect: Any) -> None:
        found = isinstance(event, JobLookedUp) and event.state.stage is not JobStage.UNKNOWN
        match effect:
            case LookUpJob():
                self.asked.append(effect.request)
            case StreamEvents():
                assert found
                self.following = True
                self.follows += 1
                assert self.follows == 1, "a job is told once"
            case StopEarly() | Cancel() | ReleaseResult():
                assert found, "who does not show the key has nothing done"
                assert effect.job == event.state.job
            case SendResult():
                assert isinstance(event, StreamEnded)
                assert event.ended.result
                self.delivering = True
                self.delivers += 1
                assert self.delivers == 1
            case TellPeer(message=JobState() as told):
                assert isinstance(event, JobLookedUp)
                assert self.fits or told.stage is JobStage.UNKNOWN
            case TellPeer(message=JobEnded()):
                assert self.fits
                assert isinstance(event, StreamEnded)


@given(st.data(), st.booleans())
def test_a_visitor_gets_what_is_its_own_once_and_nothing_before_its_key_has_fitted(
    data: st.DataObject, sender: bool
) -> None:
    world = VisitsLife()
    world.life.links.add(ONE)
    if sender:
        world.life.trusted.add(ONE)
        assert world.life.hear(OpenSession(ONE, JobCredential(JOB, KEY))) == [StreamEvents(ONE, JOB)]
        world.following = world.fits = True
        world.follows = 1
    else:
        world.turn(OpenSession(ONE))
    live(data, world.events, world.turn, lambda: not world.life.links)


# -------- the Client


def shown(peer: PeerId, status: Status) -> WorkerPresent:
    return WorkerPresent(peer, WorkerFacts(status, "bench", "lab", "GPU", 8000, "0.3.5", "12.4", "0.1"))


FREE, TAKEN = (shown(FIRST, AVAILABLE), shown(SECOND, AVAILABLE)), (shown(FIRST, BUSY),)
WANTED = [
    JobWanted(PASS, choice, SUBMIT, wait=wait)  # each way to a worker
    for choice in (NamedWorker(FIRST), BestWorker(), AskPerson())
    for wait in (False, True)
]
WANTED += [
    JobWanted(PASS, NamedWorker(FIRST), credential=JobCredential(JOB, KEY), fetch=fetch) for fetch in (True, False)
]


@define
class ClientsLife:
    """What the links, the courier and the person make of a client's orders."""

    life: Life = field(factory=lambda: Life(CLIENT, ClientData()))
    waiting: bool = False
    """For the room, the person, or in line: things that keep their own time."""
    sending: bool = False
    coming: LinkId | None = None
    """The link that a result comes over."""
    unpacking: bool = False
    sent: list[LinkId] = field(factory=list)
    urged: bool = False
    home: bool = False
    telling: set[LinkId] = field(factory=set)
    """Links over which the job is told."""
    told: set[LinkId] = field(factory=set)
    """Links that have told its end, once and for all."""

    def events(self) -> tuple[list[Any], list[Any]]:
        life, data = self.life, self.life.data
        words = STATES[:3] if data.job else [JobAccepted(JOB, KEY)]
        tellers = sorted(life.links & self.telling - self.told) if life.state is BUSY else []
        onward: list[Any] = [PeerMessage(link, word) for link in life.heard_over for word in words]
        onward += [PeerMessage(link, JobEnded(JOB, Outcome.DONE, "Trained.", result=True)) for link in tellers]
        onward += (
            [WorkersChanged(FREE), WorkersChanged(TAKEN), WorkerAssigned(FIRST), WorkerPicked(FIRST)]
            if self.waiting
            else []
        )
        onward += [life.due] if life.due and life.state is BUSY else []
        onward += [Authenticated(link, FIRST, proven=True) for link in sorted(life.open - life.trusted)]
        onward += [PackageSent()] if self.sending else []
        onward += [ResultDownloaded()] if self.coming in life.links else []
        onward += [ResultUnpacked()] if self.unpacking else []
        onward += [LinkLost(link) for link in sorted(life.links) if life.state is BUSY or self.sending]
        anything = [
            *onward,
            *life.common(),
            Drain(),
            StopWanted(),
            CancelWanted(),
            WaitExpired(),
            WorkersChanged(TAKEN),
        ]
        anything += [WorkersChanged(()), JoinedRoom(RoomId("room-1"), "token", ADA)]
        anything += [JoinFailed(BROKEN), WorkerPicked(None)] if self.waiting else []
        anything += [LinkLost(link, fault) for link in sorted(life.links) for fault in (STALLED, STOPPED, NO_WORKER)]
        anything += [UploadFailed(fault) for fault in (BROKEN, NO_ROOM) if self.sending]
        anything += [DownloadFailed(NO_ROOM)] if self.coming or self.unpacking else []
        anything += [DownloadFailed(BROKEN)] if self.coming else []
        anything += [PeerMessage(link, word) for link in life.heard_over for word in (NO_ROOM, STATES[3])]
        anything += [PeerMessage(link, ended) for link in tellers for ended in ENDINGS]
        unlinked = sorted(life.open - life.trusted)
        anything += [LinkRefused(FIRST, fault) for fault in (BUSY_FAULT, UNKNOWN_FAULT, NO_ROOM) if unlinked]
        return onward, anything

    def turn(self, event: Any) -> None:
        self.comes(event)
        task, was = self.life.data.link, self.life.state
        gone = set(self.life.closed)
        said = self.life.hear(event)
        for effect in said:
            if isinstance(effect, TellPeer | ShowJobKey):
                assert effect.link == task
                assert effect.link not in gone, "nothing is told over a link that was dropped"
            self.happens(event, effect)
        self.check(was, said)

    def comes(self, event: Any) -> None:
        """What the world is like when this has happened."""
        self.urged = self.urged or isinstance(event, Drain | CancelWanted)
        match event:
            case PackageSent() | UploadFailed():
                self.sending = False
            case ResultDownloaded():
                self.coming, self.unpacking = None, True
            case ResultUnpacked():
                self.unpacking, self.home = False, True
            case DownloadFailed():
                self.coming, self.unpacking = None, False
            case PeerMessage(message=JobAccepted() | JobState()):
                self.telling.add(event.link)
            case PeerMessage(message=JobEnded()):
                self.told.add(event.link)

    def happens(self, event: Any, effect: Any) -> None:
        match effect:
            case OpenLink():
                self.life.links.add(effect.link)
                self.waiting = False
            case SendPackage():
                self.sending = True
                assert effect.link in self.life.open
                assert not self.life.data.delivered, "what is there is not sent again"
                self.sent.append(effect.link)
            case FetchResult():
                assert not self.unpacking, "what is here is not fetched again"
                assert not self.home
                self.coming = effect.link
            case TellPeer(message=ResultTaken()):
                assert isinstance(event, ResultUnpacked)
            case TellPeer(message=CancelJob()):
                assert self.urged, "nobody's job is cancelled unasked"
            case Finished() if self.home:
                assert effect.ended is not None
                assert (effect.fault is None) == (effect.ended.outcome is Outcome.DONE), "what is home is not spoilt"

    def check(self, was: Status, said: list[Any]) -> None:
        life = self.life
        self.waiting = self.waiting or was is AVAILABLE or any(not isinstance(one, OpenLink) for one in said[-1:])
        self.waiting = self.waiting and life.state is RESERVED and not life.data.peer
        assert len(life.ended) == (life.state is AVAILABLE), "one wish, one verdict"
        assert life.open <= {life.data.link}, "one link at a time"
        assert len(self.sent) == len(set(self.sent)), "over one link a package is sent once"
        some = life.due or life.open or self.waiting or self.unpacking
        assert some or life.state is AVAILABLE, "nobody waits for nothing"
        asks = any(isinstance(one, SendToServer) for one in said)
        assert not asks or life.state is RESERVED


@given(st.data())
def test_a_wish_comes_to_exactly_one_end_and_its_client_never_waits_for_nothing(data: st.DataObject) -> None:
    world = ClientsLife()
    world.life.hear(data.draw(st.sampled_from(WANTED)))
    world.waiting = True
    live(data, world.events, world.turn, lambda: bool(world.life.ended))


# -------- an Errand

ASKED = (AskJob(JOB, KEY), StopJob(OTHER, KEY))


@define
class ErrandsLife:
    """What the links make of an Errand's orders."""

    life: Life = field(factory=lambda: Life(JOB_QUERY, QueryData()))
    reported: list[JobId] = field(factory=list)

    def events(self) -> tuple[list[Any], list[Any]]:
        life = self.life
        states = [evolve(state, job=job) for state in STATES for job in (JOB, OTHER)]
        onward: list[Any] = [
            WorkersChanged(FREE),
            *(PeerMessage(link, state) for link in life.heard_over for state in states),
        ]
        onward += [Authenticated(link, FIRST, proven=True) for link in sorted(life.open - life.trusted)]
        anything = [*onward, *life.common(), Drain(), JoinFailed(BROKEN)]
        anything += [PeerMessage(link, word) for link in life.heard_over for word in (NO_ROOM, STATES[0])]
        refused = life.open - life.trusted
        faults = (UNKNOWN_FAULT, UNKNOWN_FAULT, BUSY_FAULT)
        anything += [LinkRefused(peer, fault) for peer in (FIRST, SECOND) for fault in faults if refused]
        return onward, anything

    def turn(self, event: Any) -> None:
        life = self.life
        if isinstance(event, LinkRefused) and event.peer == FIRST:
            life.closed |= life.open - life.trusted  # a refusal is that link's end
        for effect in life.hear(event):
            match effect:
                case OpenLink():
                    life.links.add(effect.link)
                case TellPeer():
                    assert effect.link in life.open
                    assert effect.message in ASKED
                    assert effect.message.job not in self.reported
                case JobReported():
                    self.reported.append(effect.state.job)
        assert len(self.reported) == len(set(self.reported)), "each wish has one answer"
        assert len(life.ended) == (life.state is AVAILABLE)
        assert life.due or life.state is AVAILABLE or not life.data.links, "the worker is not waited for without end"
        if life.ended and life.ended[0].fault is None:
            assert set(self.reported) == {JOB, OTHER}
        assert not life.ended or not life.open


@given(st.data())
def test_an_errand_comes_to_one_end_and_brings_each_answer_once(data: st.DataObject) -> None:
    world = ErrandsLife()
    world.life.hear(QueryWanted(PASS, FIRST, ASKED))
    live(data, world.events, world.turn, lambda: bool(world.life.ended))

"""Simulations of the Client: random sequences of only those events that can happen.

Around the Client are a room with a line, links that break at any moment, a worker that keeps to the protocol, the file
transfers, and a person. An event that no row answers, data that do not fit the phase, or a lost job fail.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from actors import events
from actors.client import CLIENT, can_be
from actors.client_data import ClientData, ClientPhase
from actors.events import Deadline, LinkLost, PeerMessage, StateTimeout
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import (
    AttachJob,
    CancelJob,
    JobAccepted,
    JobEnded,
    JobEvent,
    JobKind,
    JobStage,
    JobState,
    LogLines,
    ModelStarted,
    ModelTrained,
    Outcome,
    ResultTaken,
    StopJob,
    StopScope,
    SubmitJob,
)
from protocol.signaling import JoinQueue, LeaveQueue, WorkerAssigned, WorkerPresent
from protocol.status import Role, Status, WorkerFacts

P = ClientPhase
STEPS = 60
LIKELY = 4
"""How many times more often an event is drawn from those that lead on than from all possible ones."""
is_leading = st.sampled_from([True] * LIKELY + [False])
KEY = "key"
EARLIER = JobId("job-0")
FIRST, SECOND = PeerId("worker-1"), PeerId("worker-2")
CREDENTIALS = events.RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
JOINED = events.JoinedRoom(RoomId("room-1"), "token", PeerId("client-1"))
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
WAIT = 60.0


def fault(code: FaultCode) -> Fault:
    return Fault(code, f"{code.value}.")


BROKEN, STOPPED, UNKNOWN = fault(FaultCode.LINK_LOST), fault(FaultCode.CANCELLED), fault(FaultCode.NO_SUCH_JOB)
REFUSALS = [
    *map(fault, (FaultCode.WORKER_BUSY, FaultCode.WORKER_LEAVING, FaultCode.NO_WORKER)),
    *map(fault, (FaultCode.SERVER_LOST, FaultCode.STALLED, FaultCode.LINK_FAILED, FaultCode.AUTH_TIMEOUT)),
    *(fault(FaultCode.AUTH_INVALID), BROKEN, STOPPED),
]


def present(peer: PeerId, status: Status, *, leaving: bool = False) -> WorkerPresent:
    return WorkerPresent(peer, WorkerFacts(status, "b", "lab", "GPU", 8000, "0.3", "12.4", "0.1", leaving=leaving))


LISTS = [
    events.WorkersChanged((present(FIRST, Status.AVAILABLE), present(SECOND, Status.AVAILABLE))),
    events.WorkersChanged((present(FIRST, Status.BUSY),)),
    events.WorkersChanged((present(FIRST, Status.BUSY, leaving=True),)),
    events.WorkersChanged(()),
]
WANTED = [
    events.JobWanted(CREDENTIALS, choice, SUBMIT, wait=wait, on_interrupt=policy)
    for choice in (
        *(events.NamedWorker(FIRST), events.WorkerCalled(SECOND), events.WorkerCalled("b"), events.BestWorker()),
        *(events.AskPerson(), events.AskPerson(take_only=True)),
    )
    for wait in (None, WAIT)
    for policy in (None, *events.Interrupt)
] + [
    events.JobWanted(CREDENTIALS, events.NamedWorker(FIRST), credential=events.JobCredential(EARLIER, KEY), **options)
    for options in ({}, {"fetch": False}, {"fetch": False, "follow": False}, {"follow": False, "worker_named": True})
]
WANTED += [events.JobWanted(CREDENTIALS, events.BestWorker(), SUBMIT, wait=wait, detach=True) for wait in (None, WAIT)]


@define
class Job:
    """A job as its worker knows it."""

    job: JobId
    complete: bool = False
    """The whole package is on the worker, so the job runs."""
    seq: int = 0
    ended: JobEnded | None = None
    unknown: bool = False
    """The worker has forgotten it, as its package did not come, or because it has removed everything."""
    given_up: bool = False
    elsewhere: bool = False
    """Another worker of that machine has it now."""

    @property
    def stage(self) -> JobStage:
        if self.unknown:
            return JobStage.UNKNOWN
        if self.elsewhere:
            return JobStage.ELSEWHERE
        if self.ended is not None:
            return JobStage.ENDED
        return JobStage.RUNNING if self.complete else JobStage.PREPARING

    @property
    def is_worth_coming_back(self) -> bool:
        """Whether it runs, or has a result, and its person has not given it up in mid upload."""
        is_there = self.complete and not self.unknown and not self.given_up
        return is_there and (self.ended is None or self.ended.result)


@define
class SimulatedLink:
    """A link between its first and its last event, with what the worker is to say over it."""

    about_job: bool
    proven: bool = False
    closed: bool = False
    """By the Client, so that only its end is still to come."""
    seen: int | None = None
    """The number of the last event of the job that went over this link; None when the worker sends none here."""
    ended_told: bool = False
    replies: list[list[Any]] = field(factory=list)
    """What the worker says next, as alternatives, and after that."""


@frozen
class Move:
    """Something that happens without the Client hearing of it."""

    make: Callable[[], None]


@define
class World:
    """A simulation of everything around one Client."""

    phase: ClientPhase = P.IDLE
    data: ClientData = field(factory=ClientData)
    due: Any = None
    """The event of the running time-out, if one is running."""
    deadlines: dict[str, Any] = field(factory=dict)
    pending: list[Any] = field(factory=list)
    """Events that are on their way to the Client, oldest first."""
    can_join: bool = False
    """The room is being joined, or joined again."""
    in_room: bool = False
    assignments: int = 0
    """Messages of the server that assign a worker and may still come."""
    list_shown: bool = False
    links: dict[LinkId, SimulatedLink] = field(factory=dict)
    jobs: list[Job] = field(factory=list)
    tickets: set[JobId] = field(factory=set)
    uploading: set[LinkId] = field(factory=set)
    uploaded: set[LinkId] = field(factory=set)
    """Links over which the last byte went, without a report of it."""
    sent_over: list[LinkId] = field(factory=list)
    downloading: LinkId | None = None
    downloaded: bool = False
    unpacking: bool = False
    unpacked: bool = False
    cancel_wanted: bool = False
    ended: list[events.Finished] = field(factory=list)
    met: set[tuple[ClientPhase, str]] = field(factory=set)
    """The rows that were the answer, for a look at how far the walks come."""

    # -------- what can happen now

    def possible(self) -> tuple[list[Any], list[Any]]:
        """Return the events that lead on, and those that may come at any time."""
        if self.pending:
            return [Move(self.deliver)], self.from_links()
        leading: list[Any] = [*self.room_leads_on(), *self.transfers_lead_on(), *self.person_answers()]
        for name, link in self.links.items():
            leading += self.worker_leads_on(name, link)
        leading += [self.due] if self.phase in (P.RETRY_WAIT, P.UPLOAD_AWAY, P.RECONNECT_WAIT) else []
        due = [*([] if self.due is None else [self.due]), *self.deadlines.values()]
        return leading, [*due, *self.from_room(), *self.from_links(), *self.from_transfers(), *self.from_person()]

    def deliver(self) -> None:
        self.handle(self.pending.pop(0))

    def room_leads_on(self) -> list[Any]:
        joins = [Move(partial(self.join, shown)) for shown in LISTS] if self.can_join else []
        return [*joins, *([WorkerAssigned(FIRST)] if self.assignments and self.in_room else [])]

    def from_room(self) -> list[Any]:
        failed = [events.JoinFailed(BROKEN)] if self.can_join else []
        return [*failed, *([*LISTS, Move(self.lose_line)] if self.in_room else [])]

    def join(self, shown: events.WorkersChanged) -> None:
        self.can_join, self.in_room = False, True
        self.pending += [JOINED, shown]

    def lose_line(self) -> None:
        self.can_join, self.in_room = True, False

    def person_answers(self) -> list[Any]:
        return [events.WorkerPicked(FIRST)] if self.list_shown and self.phase is P.CHOOSING else []

    def from_person(self) -> list[Any]:
        left = [events.WorkerPicked(None), events.ChoiceFailed(BROKEN)] if self.list_shown else []
        leaving = [events.Interrupted(), events.Drain(), events.CancelWanted()]
        return [*left, *leaving, *map(events.StopWanted, StopScope)]

    def from_links(self) -> list[Any]:
        found: list[Any] = []
        for name, link in self.links.items():
            if link.closed or link.proven:
                found += [LinkLost(name, why) for why in (None, BROKEN)]
                all_told = not self.jobs or self.jobs[-1].ended is None or link.ended_told
                found += [LinkLost(name, STOPPED)] if all_told else []  # a goodbye comes after all other messages
            else:
                found += [LinkLost(name, why) for why in REFUSALS]
            if link.proven and not link.closed and self.phase is P.RUNNING:
                found += [PeerMessage(name, fault(FaultCode.BAD_MESSAGE))]
        return found

    def worker_leads_on(self, name: LinkId, link: SimulatedLink) -> list[Any]:
        if link.closed:
            return []
        if not link.proven:
            refused = [LinkLost(name, UNKNOWN)] if link.about_job and self.jobs[-1].unknown else []
            return [*refused, events.Authenticated(name, FIRST, proven=True, version=3)]
        if link.replies:
            return [PeerMessage(name, message) for message in link.replies[0]]
        if link.seen is None or link.ended_told:
            return []
        job = self.jobs[-1]
        if link.seen < job.seq:
            return [PeerMessage(name, JobEvent(LogLines(job.job, ("a line",)), 1.0, link.seen + 1))]
        if job.ended is not None:
            return [PeerMessage(name, job.ended)]
        news = [LogLines(job.job, ("a line",)), ModelStarted(job.job, 0), ModelTrained(job.job, 0)]
        happened = [JobEvent(one, 1.0, link.seen + 1) for one in news]
        extra = [JobEvent(news[0], 1.0), *([JobEvent(news[0], 1.0, 1)] if job.seq else [])]
        return [PeerMessage(name, one) for one in (*happened, *extra)] if job.complete else []

    def transfers_lead_on(self) -> list[Any]:
        found: list[Any] = [Move(partial(self.complete, link)) for link in sorted(self.uploading)]
        found += [events.PackageSent(link) for link in sorted(self.uploaded)]
        found += [events.ResultDownloaded()] if self.downloading is not None else []
        found += [events.ResultUnpacked()] if self.unpacking else []
        if self.jobs and self.jobs[-1].complete and self.jobs[-1].ended is None:
            job = self.jobs[-1]
            over = [JobEnded(job.job, one, "Over.", result) for one in Outcome for result in (True, False)]
            found += [Move(partial(self.end_job, job, one)) for one in over]
        return found

    def from_transfers(self) -> list[Any]:
        no_room = fault(FaultCode.DISK_FULL)
        found: list[Any] = [events.UploadFailed(link, no_room) for link in sorted(self.uploading)]
        if self.downloading is not None:
            has_link = self.downloading in self.links
            found += [events.DownloadFailed(no_room) if has_link else Move(self.lose_download)]
        found += [events.DownloadFailed(no_room)] if self.unpacking else []
        served = any(link.proven and link.seen is not None for link in self.links.values())
        if self.jobs and not served:
            found += [Move(partial(self.lose_job, self.jobs[-1]))]
        return found

    def lose_job(self, job: Job) -> None:
        """Let the worker drop a job whose package did not come, or an old one, or another worker take it over."""
        job.unknown = not job.complete or job.ended is not None
        job.elsewhere = not job.unknown

    def complete(self, link: LinkId) -> None:
        self.uploading.discard(link)
        self.uploaded.add(link)
        self.jobs[-1].complete = True

    def lose_download(self) -> None:
        self.downloading = None

    def end_job(self, job: Job, ended: JobEnded) -> None:
        job.ended = job.ended or ended

    # -------- a turn of the Client

    def take(self, happens: Any) -> None:
        if isinstance(happens, Move):
            happens.make()
        else:
            self.handle(happens)

    def handle(self, event: Any) -> None:
        before = self.data.link
        self.note_event(event)
        if CLIENT.is_stale(self.data, event):
            return
        found, inner = CLIENT.find(self.phase, self.data, event)
        self.met.add((self.phase, str(found)))
        after = found.after(self.phase)
        step = found.action(self.data, inner)
        if after is not self.phase:
            self.due = None
        was_idle, self.phase, self.data = self.phase is P.IDLE, after, step.data  # type: ignore[assignment]
        if self.phase is P.IDLE:
            self.deadlines.clear()
        if was_idle and not isinstance(event, events.JobWanted):
            assert step.effects == (), "who has ended says nothing"
        for effect in step.effects:
            self.note_effect(effect, before, event)
        self.check()

    def note_event(self, event: Any) -> None:
        timed_out = event is self.due
        if timed_out:
            self.due = None
        self.deadlines = {name: one for name, one in self.deadlines.items() if one is not event}
        match event:
            case events.CancelWanted():
                self.cancel_wanted = True
            case events.JoinFailed():
                self.can_join = self.in_room = False
            case WorkerAssigned():
                self.assignments -= 1
            case events.WorkerPicked() | events.ChoiceFailed():
                self.list_shown = False
            case events.Authenticated():
                self.links[event.link].proven = True
            case LinkLost() if not timed_out:  # (a time-out is no link's end: it comes later, or the link opens)
                self.lose_link(event)
            case events.PackageSent():
                self.uploaded.discard(event.link)
            case events.UploadFailed():
                self.uploading.discard(event.link)
            case events.ResultDownloaded():
                self.downloading, self.downloaded, self.unpacking = None, True, True
            case events.ResultUnpacked():
                self.unpacking, self.unpacked = False, True
            case events.DownloadFailed():
                self.downloading, self.unpacking = None, False
            case PeerMessage():
                self.note_message(self.links[event.link], event.message)

    def lose_link(self, event: LinkLost) -> None:
        link = self.links.pop(event.link)
        self.uploading.discard(event.link)
        if link.proven and event.fault is STOPPED and self.jobs:
            self.stop_worker(self.jobs[-1])

    def stop_worker(self, job: Job) -> None:
        if job.complete:
            self.end_job(job, JobEnded(job.job, Outcome.CANCELLED, "Stopped.", result=job.seq > 0))
        else:
            job.unknown = True

    def note_message(self, link: SimulatedLink, message: Any) -> None:
        if link.replies and message in link.replies[0]:
            link.replies.pop(0)
        match message:
            case JobAccepted():
                self.jobs.append(Job(message.job))
                link.seen = 0
            case JobEvent() if message.seq is not None and link.seen is not None:
                link.seen = max(link.seen, message.seq)
                self.jobs[-1].seq = max(self.jobs[-1].seq, message.seq)
            case JobEnded():
                link.ended_told = True

    def note_effect(self, effect: Any, before: LinkId | None, event: Any) -> None:
        match effect:
            case StateTimeout():
                self.due = None if effect.after == float("inf") else effect.event
            case Deadline():
                self.deadlines.pop(effect.name, None)
                if effect.after != float("inf"):
                    self.deadlines[effect.name] = effect.event
            case events.StopWanted() | events.CancelWanted():
                self.pending.append(effect)
            case events.ShowWorkers():
                self.list_shown = True
            case events.JoinRoom():
                self.can_join = self.can_join or not self.in_room
            case events.SendToServer():
                assert isinstance(effect.message, JoinQueue | LeaveQueue)
                self.assignments += isinstance(effect.message, JoinQueue) and self.assignments < 2
            case events.OpenLink():
                assert effect.link not in self.links
                self.links[effect.link] = SimulatedLink(effect.job is not None)
                self.list_shown = False
            case events.CloseLink():
                assert effect.link == before, "it closes its own link"
                if effect.link in self.links:
                    self.links[effect.link].closed = True
            case events.TellPeer():
                self.note_told(effect, before)
            case events.SendPackage():
                self.note_upload(effect, before)
            case events.FetchResult():
                assert effect.link == before
                assert not self.unpacked
                if not self.downloaded:
                    self.downloading = effect.link
            case events.SaveTicket():
                self.tickets.add(effect.credential.job)
            case events.RemoveTicket():
                self.note_ticket_removed(effect.job)
            case events.Finished():
                self.note_finished(effect)

    def note_told(self, effect: events.TellPeer, before: LinkId | None) -> None:
        assert effect.link == before, "nothing is said over a link that is not ours"
        link = self.links[effect.link]
        assert link.proven, "nothing is said to anyone who has proven nothing"
        assert not link.closed
        match effect.message:
            case SubmitJob():
                credential = JobId(f"job-{len(self.jobs) + 1}")
                refused = [fault(code) for code in (FaultCode.WORKER_BUSY, FaultCode.TOO_LARGE)]
                link.replies.append([JobAccepted(credential, KEY), *refused])
            case AttachJob() as attach:
                job = self.jobs[-1]
                assert attach.job == job.job
                assert not (attach.supply and self.cancel_wanted), "a cancelled job gets no package"
                link.replies.append([JobState(job.job, job.stage, "So it stands.", job.seq)])
                link.seen = None if job.unknown or job.elsewhere else attach.seen
            case ResultTaken():
                assert self.unpacked, "it thanks for what it has"
                link.replies.append([JobState(self.jobs[-1].job, JobStage.ENDED, "Taken.")])
            case CancelJob():
                assert self.cancel_wanted or self.phase is P.IDLE, "no job is cancelled without a wish"
                self.cancel_job(self.jobs[-1], link)
            case StopJob():
                link.replies.append([JobState(self.jobs[-1].job, self.jobs[-1].stage, "It stops.")])

    def cancel_job(self, job: Job, link: SimulatedLink) -> None:
        job.given_up = self.phase is P.IDLE
        link.replies.append([JobState(job.job, job.stage, "It is cancelled.")])
        self.end_job(job, JobEnded(job.job, Outcome.CANCELLED, "Cancelled.", result=False))

    def note_upload(self, effect: events.SendPackage, before: LinkId | None) -> None:
        job = self.jobs[-1]
        assert effect.link == before
        assert effect.link not in self.sent_over, "over one link a package is sent once"
        assert not job.complete, "a package that has arrived is not sent again"
        self.sent_over.append(effect.link)
        self.uploading.add(effect.link)

    def note_ticket_removed(self, name: JobId) -> None:
        self.tickets.discard(name)
        job = next(one for one in self.jobs if one.job == name)
        assert self.unpacked or not job.is_worth_coming_back, "a job that one could come back to keeps its ticket"

    def note_finished(self, effect: events.Finished) -> None:
        self.ended.append(effect)
        if effect.left is not None:
            assert effect.left in self.tickets, "the advice to attach is of use"
        if self.unpacked:
            assert effect.ended is not None
            assert (effect.fault is None) == (effect.ended.outcome is Outcome.DONE), "the outcome decides"

    # -------- what is always true

    def check(self) -> None:
        can_be(self.phase, self.data)
        assert len(self.ended) == (self.phase is P.IDLE), "one Finished for one JobWanted"
        unclosed = {name for name, link in self.links.items() if not link.closed}
        assert unclosed <= {self.data.link}, "one link at a time"
        waits = self.due is not None or self.pending or unclosed or self.unpacking or self.phase is P.IDLE
        waits = waits or self.phase in (P.JOINING, P.CHOOSING, P.QUEUED)
        assert waits, "the Client never waits for nothing"
        assert self.list_shown == (self.phase is P.CHOOSING) or self.phase is P.IDLE, "it asks the person or does not"


def begin(wanted: events.JobWanted) -> World:
    world = World()
    if wanted.credential is not None:
        world.jobs.append(Job(EARLIER, complete=True, seq=0 if wanted.worker_named else 2))
        world.tickets.add(EARLIER)
    world.handle(wanted)
    return world


def walk(draw: Callable[[list[Any], list[Any]], Any], wanted: events.JobWanted, steps: int) -> World:
    """Let up to `steps` events happen, each drawn by `draw` from those that lead on and the others."""
    world = begin(wanted)
    for _ in range(steps):
        leading, others = world.possible()
        world.take(draw(leading, others))
    return world


def come_home(world: World) -> None:
    """Let the person leave; where only a moment is missing, it passes."""
    while world.pending:
        world.deliver()
    world.handle(events.Drain())
    if world.phase in (P.UNPACKING, P.UNPACKING_OFFLINE):
        world.handle(events.ResultUnpacked())
        if world.phase is P.CONFIRMING:
            world.handle(world.due)
    assert world.phase is P.IDLE
    assert len(world.ended) == 1


@given(st.data(), st.sampled_from(WANTED), st.integers(1, STEPS))
def test_a_wanted_job_ends_exactly_once_and_from_everywhere_a_way_leads_home(
    data: st.DataObject, wanted: events.JobWanted, steps: int
) -> None:
    def draw(leading: list[Any], others: list[Any]) -> Any:
        is_likely = bool(leading) and (not others or data.draw(is_leading))
        return data.draw(st.sampled_from(leading if is_likely else [*leading, *others]))

    come_home(walk(draw, wanted, steps))

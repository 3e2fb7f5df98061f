"""What the two-party model is made of: one world, and the setting in which it begins."""

from operator import attrgetter
from typing import Any

from attrs import evolve, field, fields, frozen

from actors import events
from actors.client import CLIENT
from actors.client_data import ClientData
from actors.phase import Phase
from actors.table import Table
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import JobStarted, JobState, ModelStarted, Outcome
from protocol.signaling import WorkerPresent
from rtc.testing.state_space import ActorState

from .ends import ENDS

ME, STRANGER = PeerId("client-me"), PeerId("client-stranger")
HERE, OTHER = PeerId("worker-here"), PeerId("worker-other")
ROOM = events.JoinedRoom(RoomId("room-1"), "token", ME)
WITHDRAWN = Fault(FaultCode.LINK_LOST, "The client gave up.")
BROKEN = Fault(FaultCode.LINK_LOST, "The link broke.")
UNANSWERED = Fault(FaultCode.STALLED, "The offer was not answered.")
NO_ROUTE = Fault(FaultCode.LINK_FAILED, "No common route.")
NO_SPACE = Fault(FaultCode.DISK_FULL, "No space.")
GONE = Fault(FaultCode.NO_WORKER, "No such worker is in the room.")
OUTSIDE = Fault(FaultCode.SERVER_LOST, "The line to the server is lost.")
BUSY = Fault(FaultCode.WORKER_BUSY, "The other worker is busy.")
NO_ENTRY = Fault(FaultCode.ROOM_DENIED, "No such room.")
STOPPED = Fault(FaultCode.CANCELLED, "The worker was stopped, and the job with it.")
WAS_CANCELLED = Fault(FaultCode.CANCELLED, "The job was cancelled before it began.")
NEWS = (JobStarted(JobId("job"), ("centroid",)), ModelStarted(JobId("job"), 0))
"""What happens in every job."""


class ModelError(AssertionError):
    """A table got an event that cannot happen, or a rule of the model is broken."""


@frozen(cache_hash=True)
class End:
    """One end of a link."""

    link: LinkId
    alive: bool = True
    """It takes messages, and has not reported its loss."""
    trusted: bool = False
    closing: bool = False
    """Its own program has closed it; the report of its loss is on its way."""
    fault: Fault | None = None
    """With which its loss is reported."""


@frozen(cache_hash=True)
class LinkPair:
    """One link: the client's end, the worker's end once the offer is accepted, and what is under way between them."""

    client: End
    worker: End | None = None
    is_open: bool = False
    is_sending: bool = False
    """The client sends its package over it, or has sent all of it."""
    to_worker: tuple[Any, ...] = ()
    to_client: tuple[Any, ...] = ()


@frozen(cache_hash=True)
class JobModel:
    """One job on the worker."""

    job: JobId
    key: str
    stage: str = "receiving"
    """receiving, complete, running, ended, gone, or elsewhere (with another worker of that machine)."""
    link: LinkId | None = None
    """The worker's end of the link over which its package comes."""
    news: int = 0
    """How many of `NEWS` have happened."""
    outcome: Outcome = Outcome.DONE
    result: bool = False
    cancelled: bool = False
    started: int = 0


@frozen(cache_hash=True)
class Budget:
    """How often the outside may still do something."""

    breaks: int = 0
    """Break a link, at any point."""
    wishes: int = 0
    """Interrupt, stop, cancel or leave, by the person at the client."""
    drains: int = 0
    """Drain the worker."""
    mishaps: int = 0
    """Lose an offer, find no route, fail to write a file, lose the room."""
    strangers: int = 0
    """Let another client ask the worker."""
    restarts: int = 0
    """Kill the worker and start it again, or stop it together with its job."""
    hurries: int = 0
    """Let a time-out end although something else was about to happen. All others end when nothing else can happen."""


@frozen(eq=False)
class World:
    """Everything at one moment."""

    client: ActorState[Any]
    worker: ActorState[Any]
    budget: Budget
    sessions: tuple[tuple[LinkId, ActorState[Any]], ...] = ()
    links: tuple[LinkPair, ...] = ()
    offers: tuple[tuple[LinkId, JobId | None], ...] = ()
    """Offers on their way to the worker: the client's link, and the job that it is about."""
    answers: tuple[Fault, ...] = ()
    """Refusals on their way to the client."""
    jobs: tuple[JobModel, ...] = ()
    look_ups: tuple[tuple[LinkId, Any, JobState | None], ...] = ()
    """For each request, in order: its link, the request, and what was found once that is known."""
    streams: tuple[tuple[LinkId, JobId, int], ...] = ()
    sends: tuple[tuple[LinkId, JobId], ...] = ()
    received: tuple[Any, ...] = ()
    """Events of the job manager that are on their way to the Worker."""
    upload: LinkId | None = None
    """The client's link over which the package is sent."""
    sent: Any = None
    """What the upload is about to report to the Client."""
    download: tuple[str, LinkId | None] = ("none", None)
    """none, waiting, hashing, or here; and the client's link over which it comes."""
    in_room: str = "out"
    """out, joining or in: the client's membership."""
    listed: tuple[WorkerPresent, ...] = ()
    """The list that the client has."""
    queue: str = "out"
    """out, waiting or assigned: the client in the room's queue."""
    assigned: int = 0
    """Assignments that are on their way to the client."""
    question: str = "none"
    """none, list or interrupt: what the person is asked."""
    shown: tuple[PeerId, ...] = ()
    """The workers in the list that the person sees."""
    rivals: tuple[LinkId, ...] = ()
    """The worker's ends of links to a stranger."""
    ending_sessions: bool = False
    next_link: int = 1
    worker_gone: bool = False
    finished: events.Finished | None = None
    ending: tuple[Phase, str] | None = None
    """The phase and the row with which the client has finished."""
    unpacked: int = 0
    reported: int = 0
    """Answers about jobs that a JobQuery has reported."""
    removed: tuple[JobId, ...] = ()
    """Jobs whose tickets were removed."""
    saved: tuple[JobId, ...] = ()
    saving: bool = False
    """The ticket of a client that is to leave is being saved. The Client hears at once if it cannot be; only what was
    in its inbox before comes earlier."""
    unsaved: bool = False
    """The ticket could not be saved."""


parts = attrgetter(*(one.name for one in fields(World)))
"""Returns all fields of a world. Equal worlds have equal parts, most of them the same; comparing those is fast."""
_NAMES = tuple(one.name for one in fields(World))


def change(world: World, **changes: Any) -> World:
    """Return the world with other fields, like `attrs.evolve`, which takes twice as long."""
    return World(**(dict(zip(_NAMES, parts(world), strict=True)) | changes))


@frozen
class Setting:
    """What one exploration is about."""

    name: str
    wanted: events.JobWanted
    budget: Budget
    jobs: tuple[JobModel, ...] = ()
    """Jobs that are on the worker at the beginning."""
    two_workers: bool = False
    begin: Phase | None = None
    """The client's phase from which on the budget is spent; what comes before is quiet, and one way to get there."""
    succeeds: bool = True
    """Whether a client that nobody disturbs succeeds."""
    first_worlds: int = 300
    """So many worlds, of those that are found first, have reached all rows that the setting is there for."""
    wishes: tuple[Any, ...] = (events.Interrupted(), events.StopWanted(), events.CancelWanted(), events.Drain())
    """What the person may want."""
    table: Table[Any] = CLIENT
    data: Any = field(factory=ClientData)

    @property
    def ends(self) -> tuple[str, ...]:
        """Return all ways in which the wish may end (`rules.end_of`)."""
        return ENDS.get(self.name, ())


def spend(world: World, what: str) -> World:
    """Return the world with one less of a budget."""
    return change(world, budget=evolve(world.budget, **{what: getattr(world.budget, what) - 1}))

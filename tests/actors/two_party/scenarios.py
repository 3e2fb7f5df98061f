"""What a well-behaved client and worker of this version never do to each other, and what tables answer all the same.

A scenario lets one event come in certain phases, in worlds that the model has reached, and says who would do that.
"""

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from actors import events
from actors.client import AWAY, CLIENT, ON_LINK, WITH_RESULT
from actors.client_data import ClientPhase
from actors.job_query import JOB_QUERY, QueryPhase
from actors.job_session import JOB_SESSION, SERVED, JobSessionPhase
from actors.offer_tags import SECRET_WRONG
from actors.phase import Phase
from actors.table import Table
from actors.worker import WORKER, WorkerPhase
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import (
    AskJob,
    JobEnded,
    JobEvent,
    JobKind,
    JobStage,
    JobState,
    Outcome,
    ResultTaken,
    StopJob,
    SubmitJob,
)
from protocol.signaling import WorkerAssigned

from .explore import Model
from .world import HERE, NEWS, NO_ENTRY, NO_SPACE, ROOM, World

C, W, S, Q = ClientPhase, WorkerPhase, JobSessionPhase, QueryPhase
JOB, KEY = JobId("earlier"), "key of earlier"
OTHER_JOB = JobId("other")
BUSY = Fault(FaultCode.WORKER_BUSY, "Another one was faster.")
DENIED = Fault(FaultCode.DISK_FULL, "No space for it.")


@frozen
class Scenario:
    """One event that comes in some phases."""

    who: str
    """Who does this in the real world."""
    table: Table[Any]
    phases: tuple[Phase, ...]
    make: Callable[[Any, LinkId | None], Any]
    """Returns the event, for an actor's data and its link."""


def said(message: Any) -> Callable[[Any, LinkId | None], Any]:
    """Return a function that makes the event in which this message comes over the actor's link."""
    return lambda _data, link: events.PeerMessage(link, message)  # type: ignore[arg-type]


def came(event: Any) -> Callable[[Any, LinkId | None], Any]:
    """Return a function that returns this event."""
    return lambda _data, _link: event


def looked_up(request: Any, stage: JobStage) -> Callable[[Any, LinkId | None], Any]:
    """Return a function that makes the event in which a request of the session's client was looked up."""
    return lambda _data, link: events.JobLookedUp(link, request, JobState(request.job, stage, "It is so."))  # type: ignore[arg-type]


def to_client(who: str, phases: Iterable[Phase], *events_of_it: Callable[[Any, LinkId | None], Any]) -> list[Scenario]:
    """Return scenarios for the Client."""
    return [Scenario(who, CLIENT, tuple(phases), make) for make in events_of_it]


def to_session(who: str, phases: Iterable[Phase], *events_of_it: Callable[[Any, LinkId | None], Any]) -> list[Scenario]:
    """Return scenarios for a session."""
    return [Scenario(who, JOB_SESSION, tuple(phases), make) for make in events_of_it]


SCENARIOS: list[Scenario] = [
    *to_client(
        "A worker of another make answers SubmitJob with a Fault instead of closing the link.",
        (C.SUBMITTING,), said(BUSY),
    ),
    *to_client("A worker of another make answers AttachJob with a Fault.", (C.ATTACHING,), said(DENIED)),
    *to_client(
        "A worker of another make sends an event again that has come over an earlier link.",
        (C.RUNNING,), said(JobEvent(NEWS[0], at=0.0, seq=1)),
    ),
    *to_client(
        "A worker of another make has a job that ends without one event.", (C.UPLOADING,),
        *(said(JobEnded(OTHER_JOB, outcome, "Over.", result)) for outcome, result in (
            (Outcome.DONE, True), (Outcome.DONE, False), (Outcome.FAILED, False),
        )),
    ),
    *to_client("A worker of another make answers a stop with a Fault.", (C.RUNNING,), said(DENIED)),
    *to_client(
        "The worker drops a package, whose client was away, between the client's offer and its key.",
        (C.UPLOAD_RETURN,), said(JobState(OTHER_JOB, JobStage.UNKNOWN, "No such job.")),
    ),
    *to_client(
        "The worker was started again with another room secret, or in another version, while its job ran.",
        (C.RECONNECTING, C.UPLOAD_RETURN), lambda _data, link: events.LinkLost(link, SECRET_WRONG),  # type: ignore[arg-type]
    ),
    *to_client(
        "A worker is hostile, or newer, and says what nobody asked for.", ON_LINK,
        said(SubmitJob(JobKind.TRAIN, "flies.zip", 10)),
    ),
    *to_client(
        "The server assigns again in the moment in which a client leaves the line.",
        (C.RETRY_WAIT, *AWAY, *WITH_RESULT, C.IDLE), came(WorkerAssigned(HERE)),
    ),
    *to_client(
        "The server is mistaken, or hostile, and assigns a worker to who is not in the line.",
        (C.JOINING, C.CHOOSING, C.ATTACHING), came(WorkerAssigned(HERE)),
    ),
    *to_client(
        "The person, the room or a transfer is heard of in the moment in which the client has ended.", (C.IDLE,),
        *map(came, (
            events.Interrupted(), events.Drain(), events.CancelWanted(), events.StopWanted(),
            events.WorkerPicked(HERE), events.ChoiceFailed(NO_ENTRY), events.WorkersChanged(()), ROOM,
            events.JoinFailed(NO_ENTRY), events.ResultDownloaded(), events.ResultUnpacked(),
            events.DownloadFailed(NO_SPACE), events.TicketNotSaved(),
        )),
    ),
    Scenario(
        "A client is hostile, or newer, and says something else instead of submitting a job.",
        WORKER, (W.ASKING,), said(BUSY),
    ),
    Scenario(
        "A hostile client says more at once than one job, before its link is about that job.",
        WORKER, (W.UPLOADING,), said(BUSY),
    ),
    Scenario(
        "A hostile client submits two jobs at once; the second is on its way to the Worker when the first is accepted.",
        WORKER, (W.UPLOADING,),
        lambda _data, link: events.JobSubmitted(
            link, SubmitJob(JobKind.TRAIN, "flies.zip", 10), events.JobCredential(OTHER_JOB, "its key")  # type: ignore[arg-type]
        ),
    ),
    Scenario(
        "The worker is drained while the session of a returning client orders the rest of a package that is over.",
        WORKER, (W.RUNNING_LAST,),
        lambda data, _link: events.SupplyPackage(LinkId(99), min(data.running)),
    ),
    *to_session(
        "A hostile client asks about other jobs of its own while it sends a package.", (S.RECEIVING,),
        looked_up(StopJob(JOB, KEY), JobStage.RUNNING), looked_up(ResultTaken(JOB, KEY), JobStage.ENDED),
        looked_up(AskJob(JOB, KEY), JobStage.UNKNOWN),
    ),
    *to_session(
        "A hostile client says twice that it has the result.", (S.TOLD,),
        looked_up(ResultTaken(JOB, KEY), JobStage.ENDED),
    ),
    *to_session("A client is hostile, or newer, and says what is no request.", SERVED, said(BUSY)),
    Scenario(
        "A worker is hostile, or newer, and says more than it was asked.", JOB_QUERY, (Q.ASKING,),
        said(JobState(OTHER_JOB, JobStage.RUNNING, "It runs.")),
    ),
    Scenario("A worker is hostile, or newer.", JOB_QUERY, (Q.ASKING,), said(SubmitJob(JobKind.TRAIN, "a.zip", 1))),
    Scenario("A worker of another make refuses a request with a Fault.", JOB_QUERY, (Q.ASKING,), said(DENIED)),
    *(
        Scenario("The room is heard of in the moment in which the query has ended.", JOB_QUERY, (Q.IDLE,), came(event))
        for event in (ROOM, events.JoinFailed(NO_ENTRY))
    ),
]  # fmt: skip


def actors_of(model: Model, world: World) -> list[tuple[Table[Any], Phase, Any, LinkId | None]]:
    """Return the table, phase, data and link of each actor in a world."""
    client, worker = world.client, world.worker
    found = [(model.setting.table, client.phase, client.data, client.data.link)]
    if not world.worker_gone:
        found.append((model.worker_table, worker.phase, worker.data, worker.data.link))
    sessions = ((model.session_table, one.phase, one.data, link) for link, one in world.sessions)
    return [*found, *sessions]


def tell(model: Model, world: World, table: Table[Any], link: LinkId | None, event: Any) -> World:
    """Let one actor of a world handle an event."""
    if table is model.setting.table:
        return model.tell_client(world, event)
    if table is model.worker_table:
        return model.tell_worker(world, event)
    assert link is not None, "each session has a link"
    return model.tell_session(world, link, event)

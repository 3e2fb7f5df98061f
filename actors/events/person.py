"""What the person, or the program around the actors, wants; and what is shown or reported to them."""

from attrs import frozen

from actors.events.job import JobCredential
from actors.events.room import RoomCredentials
from protocol.faults import Fault
from protocol.ids import PeerId
from protocol.jobs import JobEnded, JobRequest, JobState, StopScope, SubmitJob
from protocol.signaling import WorkerPresent


@frozen
class NamedWorker:
    """Choose this worker and no other (session string, `--worker-id`)."""

    peer: PeerId


@frozen
class BestWorker:
    """Choose the available worker with most GPU memory (`--auto-select`)."""


@frozen
class AskPerson:
    """Let the person choose a worker from the list of available ones."""


@frozen
class JobWanted:
    """To the Client: run a new job, or attach to an existing one, on a worker of this room."""

    room_credentials: RoomCredentials
    choice: NamedWorker | BestWorker | AskPerson
    """How the worker is chosen."""
    job: SubmitJob | None = None
    """The new job; None to attach to the job of `credential`."""
    min_memory_mb: int = 0
    """Least total GPU memory of the worker, in MB (2**20 bytes)."""
    step_timeout: float = 30.0
    """Seconds for each step until the job is accepted or attached to (`connection_timeout`)."""
    wait: bool = False
    """Join the room's queue when every fitting worker is reserved or busy."""
    credential: JobCredential | None = None
    """The existing job and its key; None for a new job."""
    fetch: bool = True
    """Download the result; False to receive only the job's events."""


@frozen
class WorkerPicked:
    """To the Client: the person chose this worker from the list, or left the list without choosing (None)."""

    peer: PeerId | None


@frozen
class QueryWanted:
    """To the JobQuery: send this worker these requests about jobs of ours."""

    room_credentials: RoomCredentials
    peer: PeerId
    """The worker."""
    requests: tuple[JobRequest, ...]
    """At least one."""
    step_timeout: float = 30.0
    """Seconds to join the room, and seconds for each link to open and authenticate (`connection_timeout`)."""


@frozen
class StopWanted:
    """To the Client: the person wants training to stop early and the models to be kept."""

    scope: StopScope = StopScope.THIS


@frozen
class CancelWanted:
    """To the Client: the person wants the job to be cancelled now."""


@frozen
class WaitExpired:
    """To the Client: the time for waiting in the queue, given with `--wait`, is over."""


@frozen
class Drain:
    """To every actor: accept nothing new, finish what is accepted, then end (first SIGINT or SIGTERM)."""


@frozen
class ShowWorkers:
    """To the presenter: let the person choose one of these workers."""

    workers: tuple[WorkerPresent, ...]


@frozen
class JobStateReported:
    """To the program: the worker's answer about one of our jobs."""

    state: JobState


@frozen
class Finished:
    """To the program: the actor has nothing left to do."""

    fault: Fault | None = None
    """Why it did not succeed; None when it did."""
    ended: JobEnded | None = None
    """The end of the job, as the worker reported it; None when no end was reported."""

"""What the person, or the program around the actors, wants; and what is shown or reported to them."""

from enum import Enum

from attrs import frozen

from actors.events.job import JobCredential
from actors.events.room import RoomCredentials
from protocol.faults import Fault
from protocol.ids import JobId, PeerId
from protocol.jobs import JobEnded, JobKind, JobRequest, JobState, StopScope, SubmitJob
from protocol.signaling import WorkerPresent


@frozen
class NamedWorker:
    """Choose this worker and no other (session string)."""

    peer: PeerId


@frozen
class WorkerCalled:
    """Choose the worker with this id, or else the only one with this name (`--worker-id`)."""

    name: str


@frozen
class BestWorker:
    """Choose the available worker with most GPU memory (`--auto-select`)."""


@frozen
class AskPerson:
    """Let the person choose a worker from the list of available ones."""

    take_only: bool = False
    """Take the worker without a question if it is the only one that is available and fits."""


WorkerChoice = NamedWorker | WorkerCalled | BestWorker | AskPerson
"""How a worker is chosen."""


class Interrupt(Enum):
    """What happens to a running job when its client is interrupted; the values are those of `--on-interrupt`."""

    STOP = "stop"
    """The job stops early and keeps its trained model; the client waits for the result."""
    CANCEL = "cancel"
    """The job is ended at once."""
    DETACH = "detach"
    """The job keeps running on the worker, and the client exits."""


@frozen
class JobWanted:
    """To the Client: run a new job, or attach to an existing one, on a worker of this room."""

    room_credentials: RoomCredentials
    choice: WorkerChoice
    """How the worker is chosen."""
    submit: SubmitJob | None = None
    """What submits the new job; None to attach to the job of `credential`."""
    min_memory_mb: int = 0
    """Least total GPU memory of the worker, in MB (2**20 bytes)."""
    step_timeout: float = 30.0
    """Seconds for each step until the job is accepted or attached to (`connection_timeout`)."""
    wait: float | None = None
    """Seconds to wait in the room's queue when every fitting worker is reserved or busy; None: do not wait."""
    credential: JobCredential | None = None
    """The existing job and its key; None for a new job."""
    kind: JobKind = JobKind.TRAIN
    """Whether the job trains, or only predicts."""
    fetch: bool = True
    """Download the result; False to receive only the job's events."""
    follow: bool = True
    """Follow the job to its end; False to end when all events are here that the job has when it is attached to."""
    worker_named: bool = False
    """The person named the worker of the existing job, which may be the wrong one."""
    on_interrupt: Interrupt | None = None
    """What an interrupt does to a running job; None: ask the person."""
    stop: StopScope = StopScope.THIS
    """What an interrupt with `Interrupt.STOP` ends early."""
    detach: bool = False
    """Leave the new job as soon as it runs."""
    min_gpus: int = 0
    """Least number of GPUs that the worker gives to one job."""


@frozen
class WorkerPicked:
    """To the Client: the person chose this worker from the list, or left the list without choosing (None)."""

    peer: PeerId | None


@frozen
class ChoiceFailed:
    """To the Client: the person cannot be asked to choose a worker, for this reason."""

    fault: Fault


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
class Interrupted:
    """To the Client: the person has interrupted it (Ctrl-C); what follows depends on the phase and on the person."""


@frozen
class Drain:
    """To every actor but Discovery: accept nothing new, finish what is accepted, then end (first SIGINT or SIGTERM).

    A peer stays in its room until it has ended: the owners of a stopping worker's jobs find it there.
    """


@frozen
class AskInterrupt:
    """To the presenter: ask the person what the interrupt means for the job."""

    stoppable: bool
    """Whether there is something that an early stop would end."""


@frozen
class LetNextSignalCancel:
    """To the program: the Client will end in a moment by itself; whoever interrupts it again does not want to wait."""


@frozen
class SaveTicket:
    """To the presenter: save what a later client needs to come back to this job."""

    credential: JobCredential
    worker: PeerId


@frozen
class TicketNotSaved:
    """To the Client: the ticket of its job could not be saved, so that no later client finds the job."""


@frozen
class RemoveTicket:
    """To the presenter: nothing is left of this job that a later client could fetch, so its ticket is of no use."""

    job: JobId


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
    left: JobId | None = None
    """The job that the Client has left on its worker, running or with a result to fetch."""

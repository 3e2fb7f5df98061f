"""Where a Client is on its way, and what it remembers."""

from attrs import field, frozen

from actors import events
from actors.phase import AVAILABLE, BUSY, RESERVED, Phase
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import CancelJob, JobEnded, StopJob
from protocol.signaling import WorkerPresent


class ClientPhase(Phase):
    """Where one client is on its way."""

    IDLE = "idle", AVAILABLE
    """No job is wanted."""

    JOINING = "joining", RESERVED
    """It joins the room, and waits for the list of workers."""
    CHOOSING = "choosing", RESERVED
    """The person chooses a worker from the list."""
    QUEUED = "queued", RESERVED
    """It waits in the room's queue for a worker."""
    CONNECTING = "connecting", RESERVED
    """A link to the chosen worker opens, and both ends prove the room secret."""
    RETRY_WAIT = "waiting to retry", RESERVED
    """The worker could not be reached; after a pause it is asked again."""
    SUBMITTING = "submitting", RESERVED
    """The job is submitted, and the worker has not accepted it yet."""
    ATTACHING = "attaching", RESERVED
    """The key of an existing job is sent, and the worker has not answered yet."""
    UPLOADING = "uploading", RESERVED
    """The package is on its way to the worker."""
    UPLOAD_AWAY = "upload interrupted", RESERVED
    """The link broke during the upload; after a pause the client opens another one."""
    UPLOAD_RETURN = "returning to upload", RESERVED
    """A new link opens, over which the worker says what it has of the package."""

    RUNNING = "running", BUSY
    """The worker has the package, and the client receives the events of the job."""
    RECONNECT_WAIT = "waiting to reconnect", BUSY
    """The link broke while the job runs; after a pause the client opens another one."""
    RECONNECTING = "reconnecting", BUSY
    """A new link opens, over which the worker says how far the job is."""
    DOWNLOADING = "downloading", BUSY
    """The job has ended, and its result is on its way to the client."""
    UNPACKING = "unpacking", BUSY
    """The result is here, and is being unpacked."""
    UNPACKING_OFFLINE = "unpacking offline", BUSY
    """The same, without a link over which the worker could be told of it."""
    CONFIRMING = "confirming", BUSY
    """The result is unpacked, the worker was told, and its answer is awaited."""


@frozen
class ClientData:
    """The Client's data: the job that is wanted, and what has been done for it so far."""

    wanted: events.JobWanted | None = None
    """What the person wants; None in the phase IDLE."""
    workers: tuple[WorkerPresent, ...] = ()
    """The workers of the room, in Discovery's order."""
    refused: frozenset[PeerId] = frozenset()
    """Workers that have refused the job or could not be reached, so that others are asked instead."""
    peer: PeerId | None = None
    """The worker that was chosen."""
    link: LinkId | None = None
    """The newest link to that worker, open or not; None once we have closed it."""
    offers: int = 0
    """Failed tries to reach this worker. An offer that the worker has probably received counts as two."""
    last_link: int = 0
    """The id of the newest link; ids count up from 1."""
    job: JobId | None = None
    """The job, once a worker has accepted it, or the existing job."""
    key: str = field(default="", repr=False)
    """The job's key: sent on a new link, it proves that we own the job."""
    reconnects: int = 0
    """Tries to reconnect since the job's link broke; a try while the worker is not in the room counts as two."""
    resubmits: int = 0
    """How often the package was sent again from its beginning."""
    request: StopJob | CancelJob | None = None
    """What the person requested of the running job; sent again after each reconnection."""
    seen: int = 0
    """The newest `JobEvent.seq` that has come; 0 before the first one."""
    last_wanted: int | None = None
    """The newest `JobEvent.seq` to wait for; None to follow the job to its end."""
    model: int | None = None
    """Index of the model that trains now, or is the first to train; None while none does."""
    ended: JobEnded | None = None
    """How the job ended, once its result is being downloaded."""


def want(data: ClientData) -> events.JobWanted:
    """Return what the person wants; there is a wish in every phase but IDLE."""
    assert data.wanted is not None, "in every phase but IDLE a job is wanted"
    return data.wanted

"""What a client and a worker say about a job, over a trusted link's control lane."""

from enum import Enum

from attrs import field, frozen

from protocol.fields import Few, Id, Line, Text, Whole
from protocol.ids import JobId

MODELS_MAX = 100
"""Models in one package."""
LOG_LINE_MAX = 2000
LOG_LINES_MAX = 20
"""Log lines in one message; fewer when they are long, so that the frame limit holds."""


class JobKind(Enum):
    """What sleap-nn is asked to do."""

    TRAIN = "train"
    TRACK = "track"


class Outcome(Enum):
    """How a job ended; every job ends in exactly one of these."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@frozen
class SubmitJob:
    """Client to worker: run this package, which I will send next."""

    kind: JobKind
    name: str = field(validator=Line())
    """The package's name without folders, for people."""
    size: int = field(validator=Whole())
    """Bytes of the package."""


@frozen
class AttachJob:
    """Client to worker: I own this job and am back; tell me about it again."""

    job: JobId = field(validator=Id())
    key: str = field(validator=Line(), repr=False)


@frozen
class StopModel:
    """Client to worker: let the model that trains now stop early and keep what it has learned."""

    job: JobId = field(validator=Id())


@frozen
class JobAccepted:
    """Worker to client: the job is yours under this id; whoever shows the key later owns it."""

    job: JobId = field(validator=Id())
    key: str = field(validator=Line(), repr=False)


@frozen
class JobStarted:
    """Worker to client: the package is here, whole and unpacked; sleap-nn starts."""

    job: JobId = field(validator=Id())
    models: tuple[str, ...] = field(validator=Few(MODELS_MAX))
    """Names of the models that will be trained, in order."""


@frozen
class ModelStarted:
    """Worker to client: training of one model of the sequence begins."""

    job: JobId = field(validator=Id())
    model: int = field(validator=Whole(0, MODELS_MAX))
    """Index into `JobStarted.models`."""
    epochs: int | None = field(default=None, validator=Whole())
    """The most epochs this model may take, when the package says so."""


@frozen
class Progress:
    """Worker to client: where training stands. Losses that are not numbers (Infinity, NaN) are null."""

    job: JobId = field(validator=Id())
    model: int = field(validator=Whole(0, MODELS_MAX))
    epoch: int = field(validator=Whole())
    """Counted from 0, as sleap-nn does."""
    batch: int | None = field(default=None, validator=Whole())
    """Batches done in this epoch; null when the epoch has ended."""
    loss: float | None = None
    """Loss of the newest batch."""
    train_loss: float | None = None
    """Newest epoch-wide training loss sleap-nn has told; it is always that of the epoch before."""
    val_loss: float | None = None


@frozen
class LogLines:
    """Worker to client: what sleap-nn printed, as it came."""

    job: JobId = field(validator=Id())
    lines: tuple[str, ...] = field(validator=Few(LOG_LINES_MAX))


@frozen
class JobEnded:
    """Worker to client: the job is over. When `result` is true, its archive follows at once."""

    job: JobId = field(validator=Id())
    outcome: Outcome
    text: str = field(validator=Text(2000))
    """One sentence for people: what was made, or what went wrong."""
    result: bool


JobWords = JobAccepted | JobStarted | ModelStarted | Progress | LogLines | JobEnded
"""What a worker says about a job."""

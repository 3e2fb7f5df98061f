"""What a client and a worker say about a job, over a trusted link's control lane."""

from enum import Enum

from attrs import field, frozen

from protocol.fields import FreeText, Id, Integer, MaxItems, SingleLine
from protocol.ids import JobId

MODELS_MAX = 100
"""Models in one package, and likewise predictions."""
OVERRIDES_MAX = 100
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


class JobStage(Enum):
    """How far a job has come."""

    PREPARING = "preparing"
    """Its package is on the way, or being unpacked."""
    RUNNING = "running"
    ENDED = "ended"
    ELSEWHERE = "elsewhere"
    """The worker knows it, but cannot say or do anything about it: another worker of that machine may have it."""
    UNKNOWN = "unknown"
    """The worker has no such job, or not under this key."""


class StopScope(Enum):
    """What a stop ends, early and well."""

    THIS = "this"
    """The model that trains now; the next of the sequence begins."""
    ALL = "all"
    """The whole job, after the model that trains now; what was trained is kept."""


# -------- said by the client


@frozen
class SubmitJob:
    """Client to worker: run this package, which I will send next."""

    kind: JobKind
    name: str = field(validator=SingleLine())
    """The package's name without folders, for people."""
    size: int = field(validator=Integer())
    """Bytes of the package."""
    overrides: tuple[str, ...] = field(default=(), validator=MaxItems(OVERRIDES_MAX))
    """Settings changed for this run, in Hydra's writing (`trainer_config.max_epochs=5`); for every model of it."""


@frozen
class AttachJob:
    """Client to worker: I own this job; tell me what happens and has happened. Answered by `JobState`."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)
    seen: int = field(default=0, validator=Integer())
    """The newest `JobEvent.seq` that I have; those after it follow."""
    result: bool = True
    """Send what it made, too, once it has ended."""
    supply: bool = False
    """I have its package: should it not be there whole, I send the rest over this link, if you say PREPARING."""


@frozen
class AskJob:
    """Client to worker: I own this job; where does it stand? Answered by `JobState`."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)


@frozen
class StopJob:
    """Client to worker: I own this job; let it stop early and keep what it has learned. Answered by `JobState`."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)
    scope: StopScope = StopScope.THIS


@frozen
class CancelJob:
    """Client to worker: I own this job; end it now. Answered by `JobState`."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)


@frozen
class ResultTaken:
    """Client to worker: the result is here, whole and in its place; you need not keep it. Answered by `JobState`."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)


JobRequest = AttachJob | AskJob | StopJob | CancelJob | ResultTaken
"""What the owner of a job may want; each shows the job's key."""


# -------- what happens in a job


@frozen
class JobStarted:
    """Worker to client: the package is here, whole and unpacked; sleap-nn starts."""

    job: JobId = field(validator=Id())
    models: tuple[str, ...] = field(validator=MaxItems(MODELS_MAX))
    """Names of the models that will be trained, in order."""
    predictions: tuple[str, ...] = field(default=(), validator=MaxItems(MODELS_MAX))
    """Names of the files that will be predicted on, after that, in order."""


@frozen
class ModelStarted:
    """Worker to client: training of one model of the sequence begins."""

    job: JobId = field(validator=Id())
    model: int = field(validator=Integer(0, MODELS_MAX))
    """Index into `JobStarted.models`."""
    epochs: int | None = field(default=None, validator=Integer())
    """The most epochs this model may take, when the package says so."""


@frozen
class Progress:
    """Worker to client: where training stands. Losses that are not numbers (Infinity, NaN) are null."""

    job: JobId = field(validator=Id())
    model: int = field(validator=Integer(0, MODELS_MAX))
    epoch: int = field(validator=Integer())
    """Counted from 0, as sleap-nn does."""
    batch: int | None = field(default=None, validator=Integer())
    """Batches done in this epoch; null when the epoch has ended."""
    loss: float | None = None
    """Loss of the newest batch."""
    train_loss: float | None = None
    """Newest epoch-wide training loss sleap-nn has told; it is always that of the epoch before."""
    val_loss: float | None = None


@frozen
class ModelTrained:
    """Worker to client: the model's last epoch is over; sleap-nn evaluates it, which may take a while."""

    job: JobId = field(validator=Id())
    model: int = field(validator=Integer(0, MODELS_MAX))


@frozen
class PredictionStarted:
    """Worker to client: sleap-nn begins to predict on one file of the sequence."""

    job: JobId = field(validator=Id())
    prediction: int = field(validator=Integer(0, MODELS_MAX))
    """Index into `JobStarted.predictions`."""
    tracking: bool = False
    """The frames are gone through twice: once to predict, once to track."""


@frozen
class FramesDone:
    """Worker to client: where a prediction stands, as sleap-nn tells it."""

    job: JobId = field(validator=Id())
    prediction: int = field(validator=Integer(0, MODELS_MAX))
    done: int = field(validator=Integer())
    """Frames of this pass."""
    total: int | None = field(default=None, validator=Integer())
    rate: float | None = None
    """Frames per second."""
    left: float | None = None
    """Seconds that this pass will still take."""
    pass_index: int = field(default=0, validator=Integer(0, 9))
    """0 while predicting, 1 while tracking."""


@frozen
class GpuUse:
    """Worker to client: what the job's GPU does now."""

    job: JobId = field(validator=Id())
    used_mb: int = field(validator=Integer(0, 10**9))
    """Memory in MB (2**20 bytes) in use, by whomever."""
    total_mb: int = field(validator=Integer(0, 10**9))
    percent: int | None = field(default=None, validator=Integer(0, 100))
    """Share of the last moments in which the GPU computed (NVML's utilization)."""


@frozen
class LogLines:
    """Worker to client: what sleap-nn printed, as it came."""

    job: JobId = field(validator=Id())
    lines: tuple[str, ...] = field(validator=MaxItems(LOG_LINES_MAX))


JobNews = JobStarted | ModelStarted | Progress | ModelTrained | PredictionStarted | FramesDone | GpuUse | LogLines
"""What can happen in a job, until it ends."""


@frozen
class JobEvent:
    """Worker to client: this happened in your job."""

    news: JobNews
    at: float
    """When, by the worker's clock: seconds since 1970 (POSIX)."""
    seq: int | None = field(default=None, validator=Integer(1))
    """Its number in the job, without gaps from 1 on; null for what is of the moment only and is not told again."""


# -------- said by the worker of a job as a whole


@frozen
class JobAccepted:
    """Worker to client: the job is yours under this id; whoever shows the key later owns it."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)


@frozen
class JobState:
    """Worker to client: this is where your job stands."""

    job: JobId = field(validator=Id())
    stage: JobStage
    text: str = field(validator=FreeText(2000))
    """One sentence for people; how it ended, once it has."""
    events: int = field(default=0, validator=Integer())
    """The newest `JobEvent.seq` there is."""
    outcome: Outcome | None = None
    result: bool = False
    """What it made waits on the worker."""


@frozen
class JobEnded:
    """Worker to client: the job is over. When `result` is true, its archive follows at once."""

    job: JobId = field(validator=Id())
    outcome: Outcome
    text: str = field(validator=FreeText(2000))
    """One sentence for people: what was made, or what went wrong."""
    result: bool


JobReply = JobAccepted | JobState | JobEvent | JobEnded
"""What a worker says about a job."""

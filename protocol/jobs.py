"""The messages about jobs between a client and a worker, on the control channel of an authenticated link.

The *owner* of a job is a client that sends the job's key with a request. The worker gives the key to the client whose
job it accepts (`JobAccepted`).
"""

from collections.abc import Sequence
from enum import Enum

from attrs import field, frozen

from protocol.fields import (
    COUNT_MAX,
    SECONDS_MAX,
    SENTENCES_MAX,
    Id,
    Integer,
    MaxItems,
    Number,
    SingleLine,
    line,
    lines,
    printable,
    sentences,
)
from protocol.ids import JobId
from protocol.status import MEMORY_MAX
from protocol.transfer import FILE_MAX

MODELS_MAX = 100
"""Largest number of models in one package, and of predictions in one package."""
OVERRIDES_MAX = 100
"""Largest number of Hydra overrides for one job."""
OVERRIDE_MAX = 4000
"""Characters of one override; all together must fit into one frame."""
LOG_LINE_MAX = 2000
"""Characters of one log line; longer lines are cut."""
LOG_LINES_MAX = 20
"""Log lines in one message. Fewer are sent when they are long, so that the message stays within the frame limit."""
LOSS = Number(-1e38, 1e38)
"""The losses that are sent: nearly all numbers of 32 bits, which sleap-nn computes with."""
RATE = Number(1e-6, 1e9)
"""The frames per second that are sent: a slower prediction would take years."""
SPAN = Number(0, SECONDS_MAX)
"""The time spans that are sent, in seconds."""
TIME = Number(0, 253_402_300_799)
"""The times that are sent, in seconds since 1970-01-01 UTC: until the end of the year 9999, the last one that programs
for dates know."""


class JobKind(Enum):
    """What a job runs with sleap-nn."""

    TRAIN = "train"
    """Trains models, and then predicts if the package says so."""
    TRACK = "track"
    """Predicts with trained models, with or without tracking."""


class Outcome(Enum):
    """How a job ended. Every job that ends has exactly one outcome."""

    DONE = "done"
    """All steps succeeded, or a model was stopped early and kept."""
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobStage(Enum):
    """How far a job has come, as a worker reports it."""

    PREPARING = "preparing"
    """The job's package is not complete on the worker yet."""
    RUNNING = "running"
    """The worker has the whole package; it unpacks the package and runs the job's steps."""
    ENDED = "ended"
    """The job has an outcome, and its result is packed if there is one."""
    ELSEWHERE = "elsewhere"
    """The worker knows the job but can neither report on it nor control it; another worker of the same machine may run
    it."""
    UNKNOWN = "unknown"
    """The worker has no such job, or the key does not belong to the job."""


class StopScope(Enum):
    """What `StopJob` ends early. The model that trains now stops after its current batch, and then sleap-nn validates
    and evaluates it; it is kept."""

    THIS = "this"
    """The model that trains now; the next model of the sequence begins."""
    ALL = "all"
    """The model that trains now and the whole job after it; all models trained so far are kept."""


# -------- sent by the client


@frozen
class SubmitJob:
    """Client to worker: run this package, which I send next, as a new job. Answered by `JobAccepted` or a `Fault`."""

    kind: JobKind
    name: str = field(converter=line, validator=SingleLine())
    """The package's file name without folders, for people."""
    size: int = field(validator=Integer(0, FILE_MAX))
    """Bytes of the package."""
    overrides: tuple[str, ...] = field(default=(), validator=MaxItems(OVERRIDES_MAX, SingleLine(OVERRIDE_MAX)))
    """Settings changed for this job, in Hydra's syntax (`trainer_config.max_epochs=5`), for every model of it."""
    give_up_after: float | None = field(default=None, validator=Number(1, SECONDS_MAX))
    """Seconds after which a step of sleap-nn is ended that says nothing and uses neither processor nor GPU; null:
    never."""


@frozen
class AttachJob:
    """Client to worker: I own this job; send me its past and future events. Answered by `JobState`, then events."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)
    """The job's key, from `JobAccepted`."""
    seen: int = field(default=0, validator=Integer(0, COUNT_MAX))
    """The highest `JobEvent.seq` that the client has; the worker sends the events after it. 0: send all."""
    result: bool = True
    """Send the result, too, once the job has ended."""
    supply: bool = False
    """The client has the job's package. If the answer says PREPARING, the client sends the rest over this link."""


@frozen
class AskJob:
    """Client to worker: I own this job; send me its state. Answered by `JobState`."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)
    """The job's key, from `JobAccepted`."""


@frozen
class StopJob:
    """Client to worker: I own this job; stop training early and keep the models. Answered by `JobState`."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)
    """The job's key, from `JobAccepted`."""
    scope: StopScope = StopScope.THIS


@frozen
class CancelJob:
    """Client to worker: I own this job; cancel it now. Answered by `JobState`."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)
    """The job's key, from `JobAccepted`."""


@frozen
class ResultTaken:
    """Client to worker: I have the whole result, unpacked in its folder; you may delete it. Answered by `JobState`."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)
    """The job's key, from `JobAccepted`."""


JobRequest = AttachJob | AskJob | StopJob | CancelJob | ResultTaken
"""What the owner of a job may request; each request carries the job's key."""


# -------- the events of a job


@frozen
class ConfigurationStarted:
    """Worker to client: sleap-nn begins to write the training configurations that the package leaves to it. Which
    models the job trains is known after that, and then `JobStarted` says it."""

    job: JobId = field(validator=Id())


@frozen
class JobStarted:
    """Worker to client: the package is complete and unpacked, and the first step of the job starts."""

    job: JobId = field(validator=Id())
    models: tuple[str, ...] = field(converter=lines, validator=MaxItems(MODELS_MAX, SingleLine()))
    """Names of the models that the job trains, in this order."""
    predictions: tuple[str, ...] = field(default=(), converter=lines, validator=MaxItems(MODELS_MAX, SingleLine()))
    """Names of the files that the job predicts on after the training, in this order."""


@frozen
class ModelStarted:
    """Worker to client: the training of one model begins."""

    job: JobId = field(validator=Id())
    model: int = field(validator=Integer(0, MODELS_MAX))
    """Index into `JobStarted.models`."""
    epochs: int | None = field(default=None, validator=Integer(0, COUNT_MAX))
    """Maximum number of epochs of this model; null when the package does not set it."""


@frozen
class Progress:
    """Worker to client: the progress of training one model. Losses that are Infinity, NaN or
    beyond the limits are sent as null."""

    job: JobId = field(validator=Id())
    model: int = field(validator=Integer(0, MODELS_MAX))
    """Index into `JobStarted.models`."""
    epoch: int = field(validator=Integer(0, COUNT_MAX))
    """Counted from 0, as sleap-nn does."""
    batch: int | None = field(default=None, validator=Integer(0, COUNT_MAX))
    """Batches done in this epoch; null when the epoch has ended."""
    loss: float | None = field(default=None, validator=LOSS)
    """Loss of the newest batch."""
    train_loss: float | None = field(default=None, validator=LOSS)
    """Newest epoch-wide training loss that sleap-nn has reported; it is always that of the epoch before."""
    val_loss: float | None = field(default=None, validator=LOSS)
    """Newest epoch-wide validation loss that sleap-nn has reported."""


@frozen
class ModelTrained:
    """Worker to client: the last epoch of one model has ended; sleap-nn now evaluates it, which may take a while."""

    job: JobId = field(validator=Id())
    model: int = field(validator=Integer(0, MODELS_MAX))
    """Index into `JobStarted.models`."""


@frozen
class PredictionStarted:
    """Worker to client: sleap-nn begins to predict on one file."""

    job: JobId = field(validator=Id())
    prediction: int = field(validator=Integer(0, MODELS_MAX))
    """Index into `JobStarted.predictions`."""
    tracking: bool = False
    """Whether sleap-nn goes through the frames twice: once to predict, once to track."""


@frozen
class FramesDone:
    """Worker to client: the progress of one prediction, as sleap-nn reports it."""

    job: JobId = field(validator=Id())
    prediction: int = field(validator=Integer(0, MODELS_MAX))
    """Index into `JobStarted.predictions`."""
    done: int = field(validator=Integer(0, COUNT_MAX))
    """Frames done in this pass."""
    total: int | None = field(default=None, validator=Integer(0, COUNT_MAX))
    """All frames of this pass; null when sleap-nn has not reported it."""
    rate: float | None = field(default=None, validator=RATE)
    """Frames per second; null when it is not known, or 0."""
    left: float | None = field(default=None, validator=SPAN)
    """Seconds until the end of this pass, as sleap-nn estimates."""
    pass_index: int = field(default=0, validator=Integer(0, 9))
    """0 while predicting, 1 while tracking."""


@frozen
class GpuUse:
    """Worker to client: the current use of the job's GPU."""

    job: JobId = field(validator=Id())
    used_mb: int = field(validator=Integer(0, MEMORY_MAX))
    """GPU memory in MB (2**20 bytes) in use by all programs together."""
    total_mb: int = field(validator=Integer(0, MEMORY_MAX))
    """Total GPU memory in MB (2**20 bytes)."""
    percent: int | None = field(default=None, validator=Integer(0, 100))
    """Share of NVML's last sample period in which the GPU computed (NVML's utilization); null when NVML does not report
    it, as for a MIG slice."""


def _log_lines(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(printable(text)[:LOG_LINE_MAX] for text in texts)


@frozen
class LogLines:
    """Worker to client: lines that sleap-nn printed, in their order."""

    job: JobId = field(validator=Id())
    lines: tuple[str, ...] = field(converter=_log_lines, validator=MaxItems(LOG_LINES_MAX, SingleLine(LOG_LINE_MAX)))
    """Without line breaks and terminal escapes."""


class NoteKind(Enum):
    """How much a note matters to the person."""

    INFO = "info"
    """Something worth knowing, such as the device that the job runs on."""
    WARNING = "warning"
    """Something that the person may have to act on, such as a part of the package that is left out."""


@frozen
class JobNote:
    """Worker to client: a sentence about the job that the person should see."""

    job: JobId = field(validator=Id())
    text: str = field(converter=sentences, validator=SingleLine(SENTENCES_MAX))
    kind: NoteKind = NoteKind.INFO


JobNews = (
    ConfigurationStarted
    | JobStarted
    | ModelStarted
    | Progress
    | ModelTrained
    | PredictionStarted
    | FramesDone
    | GpuUse
    | LogLines
    | JobNote
)
"""What can happen in a job before it ends."""


@frozen
class JobEvent:
    """Worker to client: this happened in your job."""

    news: JobNews
    """What happened."""
    at: float = field(validator=TIME)
    """When it happened, by the worker's clock: seconds since 1970-01-01 UTC (POSIX time)."""
    seq: int | None = field(default=None, validator=Integer(1, COUNT_MAX))
    """The event's number in the job, counted from 1 without gaps; null for an event that matters only at its moment and
    is not sent again to a client that attaches later."""


# -------- sent by the worker, about a whole job


@frozen
class JobAccepted:
    """Worker to client: your job is accepted under this id; send its package. Later requests about it need the key."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)
    """A random text. A client that has it is an owner of the job."""


@frozen
class JobState:
    """Worker to client: the state of your job."""

    job: JobId = field(validator=Id())
    stage: JobStage
    text: str = field(converter=sentences, validator=SingleLine(SENTENCES_MAX))
    """One sentence for people: what the job does now, or how it ended."""
    events: int = field(default=0, validator=Integer(0, COUNT_MAX))
    """The highest `JobEvent.seq` of the job so far; 0 when there is none."""
    outcome: Outcome | None = None
    """How the job ended; null unless `stage` is ENDED."""
    result: bool = False
    """Whether the worker keeps a result of the job."""


@frozen
class JobEnded:
    """Worker to client: the job has ended. If `result` is true and the client wants it, a `FileOffer` of it follows."""

    job: JobId = field(validator=Id())
    outcome: Outcome
    text: str = field(converter=sentences, validator=SingleLine(SENTENCES_MAX))
    """One sentence for people: what the job produced, or what went wrong."""
    result: bool
    """Whether the worker keeps a result of the job."""


JobReply = JobAccepted | JobState | JobEvent | JobEnded
"""What a worker sends about a job."""

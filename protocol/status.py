"""The three states of every actor, the roles of peers, and a worker's description of itself."""

from enum import Enum

from attrs import field, frozen

from protocol.fields import WORD_MAX, ExactBytes, Integer, SingleLine, line, word
from protocol.trust import NONCE_BYTES

MEMORY_MAX = 10**9
"""MB (2**20 bytes) of the largest memory of a GPU that is reported."""
GPUS_MAX = 64
"""Largest number of GPUs of one worker; the largest machines of today have 16."""


class Status(Enum):
    """The three states of every actor; of a worker, also what it says to clients with a new job."""

    AVAILABLE = "available"
    """A worker in this state accepts the next client."""
    RESERVED = "reserved"
    """A worker in this state serves one client whose job has not begun yet, and refuses other clients' new jobs."""
    BUSY = "busy"
    """A worker in this state runs a job, and refuses new jobs until the job has ended."""


class Role(Enum):
    """What a peer is in its room. The server reports workers to clients, and clients to nobody."""

    WORKER = "worker"
    CLIENT = "client"


@frozen
class WorkerFacts:
    """A worker's description of itself. Everything that is shown about a worker comes from the newest one it sent."""

    status: Status
    name: str = field(converter=word, validator=SingleLine(WORD_MAX))
    """The name that its operator gave it; by default the host name."""
    hostname: str = field(converter=line, validator=SingleLine())
    gpu: str = field(converter=line, validator=SingleLine())
    """GPU model as NVML names it, or "CPU" without a GPU; with several, as in "2 × NVIDIA A40"."""
    memory_mb: int = field(validator=Integer(0, MEMORY_MAX))
    """Total GPU memory in MB (2**20 bytes), 0 without a GPU; with several GPUs, that of the one that has least: each
    holds the whole model."""
    sleap_nn: str = field(converter=word, validator=SingleLine(WORD_MAX))
    """Version of sleap-nn on the worker, or "unknown"."""
    cuda: str = field(converter=word, validator=SingleLine(WORD_MAX))
    """Newest CUDA version that the driver supports, such as "12.4", or "none"."""
    version: str = field(converter=word, validator=SingleLine(WORD_MAX))
    """Version of sleap-rtc on the worker."""
    free_mb: int = field(default=0, validator=Integer(0, MEMORY_MAX))
    """GPU memory in MB (2**20 bytes) that no program used when the worker sent this; 0 without a GPU, the least of
    several."""
    offer_nonce: bytes | None = field(default=None, validator=ExactBytes(NONCE_BYTES), repr=False)
    """Random bytes that are part of the tag of each offer to this worker, and change now and then; null when it takes
    offers without a tag, since it has no room secret."""
    leaving: bool = False
    """Whether the worker is stopping: it accepts no new job, and ends when its present jobs and sessions have ended."""
    gpus: int = field(default=0, validator=Integer(0, GPUS_MAX))
    """Number of GPUs that a job gets, all at once; 0 without a GPU."""

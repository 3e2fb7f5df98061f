"""The three words every actor uses, and what a worker tells about itself."""

from enum import Enum

from attrs import field, frozen

from protocol.fields import Integer, SingleLine


class Status(Enum):
    """A promise about the next stranger: taken at once, not now, or not until the job has ended."""

    AVAILABLE = "available"
    RESERVED = "reserved"
    BUSY = "busy"


class Role(Enum):
    """What a peer is in its room. Clients see workers; nobody sees clients."""

    WORKER = "worker"
    CLIENT = "client"


@frozen
class WorkerFacts:
    """What a worker last said about itself; the only source of anything shown about it."""

    status: Status
    name: str = field(validator=SingleLine(64))
    hostname: str = field(validator=SingleLine())
    gpu: str = field(validator=SingleLine())
    """GPU model as NVML names it, or "CPU"."""
    memory_mb: int = field(validator=Integer(0, 10**9))
    """Total GPU memory in MB (2**20 bytes), 0 without a GPU."""
    sleap_nn: str = field(validator=SingleLine(64))
    """Version of sleap-nn on the worker, or "none"."""
    cuda: str = field(validator=SingleLine(64))
    """CUDA version of the driver, or "none"."""
    version: str = field(validator=SingleLine(64))
    """Version of sleap-rtc on the worker."""
    free_mb: int = field(default=0, validator=Integer(0, 10**9))
    """GPU memory in MB (2**20 bytes) that nobody used when the worker said this; 0 without a GPU."""

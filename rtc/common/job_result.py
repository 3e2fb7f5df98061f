"""How a job ended; what the runner writes, the worker packs and the client reads."""

from attrs import frozen

from protocol.jobs import Outcome

LOG_NAME = "job.log"
"""What sleap-nn printed while the job ran, in the job's folder and in its result."""


@frozen
class JobResult:
    """How a job ended, and one sentence about it."""

    outcome: Outcome
    text: str

"""The result of a job: the runner writes it, the worker packs it and the client reads it."""

from attrs import frozen

from protocol.jobs import Outcome

LOG_NAME = "job.log"
"""The file with what sleap-nn printed while the job ran, in the job's folder and in its result."""


@frozen
class JobResult:
    """How a job ended, and one sentence about it."""

    outcome: Outcome
    text: str

"""What is known of a job that was started from here, without following it."""

from attrs import frozen

from protocol.jobs import JobKind, JobStage, Outcome


@frozen
class JobInfo:
    """One job that was started by this user, from a program or from the command line, and not fetched yet."""

    id: str
    worker: str
    """The id of the worker that has it."""
    package: str
    """The name of its package."""
    kind: JobKind
    stage: JobStage | None
    """How far it is; None if the worker cannot be asked."""
    outcome: Outcome | None
    """How it has ended; None if it has not, or if that is not known."""
    text: str
    """What it does now, how it ended, or why the worker cannot be asked: one sentence."""
    has_result: bool
    """Whether the worker keeps a result, which `attach` fetches."""

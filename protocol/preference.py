"""Which workers can get a job, and in which order: for lists, `--auto-select` and the server's queue alike."""

from collections.abc import Iterable

from protocol.signaling import WorkerPresent
from protocol.status import Status, WorkerFacts


def by_preference(workers: Iterable[WorkerPresent]) -> tuple[WorkerPresent, ...]:
    """Return the workers with most GPU memory first, then by peer id, so that everybody sees the same order.

    Of those with equal GPUs, a worker of several comes last: others may ask for as many.
    """
    return tuple(sorted(workers, key=lambda worker: (-worker.facts.memory_mb, worker.facts.gpus, worker.peer)))


def takes_jobs(facts: WorkerFacts) -> bool:
    """Return whether the worker accepts a new job now, as far as it has announced."""
    return facts.status is Status.AVAILABLE and not facts.leaving

"""The order in which workers are preferred: the one order that lists, `--auto-select` and the server's queue use."""

from collections.abc import Iterable

from protocol.signaling import WorkerPresent


def by_preference(workers: Iterable[WorkerPresent]) -> tuple[WorkerPresent, ...]:
    """Return the workers with most GPU memory first, then by peer id, so that everybody sees the same order."""
    return tuple(sorted(workers, key=lambda worker: (-worker.facts.memory_mb, worker.peer)))

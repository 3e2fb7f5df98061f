"""Workers as rows of a table, for the prompt that asks for one and for `sleap-rtc workers`; and as JSON for scripts."""

import os
from collections.abc import Mapping, Sequence
from typing import TextIO

from attrs import frozen
from rich.cells import cell_len

from protocol.converter import to_json
from protocol.signaling import WorkerPresent
from protocol.status import Status, WorkerFacts
from rtc.common.sizes import count
from rtc.common.text import clean, fit

NO_WORKERS = "No worker is in this room now. Start one: sleap-rtc worker --room-id … --token …\n"
HEADER = ("status", "for", "GPU", "memory", "free", "hostname", "name", "sleap-nn", "CUDA", "sleap-rtc", "worker")
NARROW = {"hostname": 6, "name": 6, "GPU": 18}
"""Columns that are cut in a narrow terminal, in this order, and the cells that each keeps."""
OPTIONAL_COLUMNS = ("sleap-rtc", "CUDA", "sleap-nn", "name", "hostname", "free")
"""Columns that are left out, in this order, where cutting is not enough."""
LEAVING = "leaving"
"""How a worker is shown that is stopping: it takes no new job, and ends after its present ones."""
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
"""Units of time and their seconds, the largest first."""


@frozen
class WorkerJson:
    """One worker as `sleap-rtc workers --json` shows it (docs/deployment.md).

    Scripts read it, so the names of its fields must not change.
    """

    worker_id: str
    name: str
    hostname: str
    status: Status
    leaving: bool
    status_seconds: int
    gpu: str
    memory_mb: int
    free_mb: int
    sleap_nn: str
    cuda: str
    sleap_rtc: str
    gpus: int


def table_width(out: TextIO) -> int | None:
    """Return the cells in a line of the terminal behind `out`; None when it is no terminal, so that nothing is cut."""
    if not out.isatty():
        return None
    try:
        return os.get_terminal_size(out.fileno()).columns or None
    except OSError:  # a terminal without a known size
        return None


def as_table(workers: Sequence[WorkerPresent], width: int | None) -> str:
    """Return the table, one worker per line, in `width` cells where possible; worker ids are never cut."""
    if not workers:
        return NO_WORKERS
    rows: list[Sequence[str]] = [HEADER, *(_row(worker) for worker in workers)]
    lines = columns(rows, width, NARROW)
    for name in OPTIONAL_COLUMNS:
        if width is None or max(map(cell_len, lines)) <= width:
            break
        column = rows[0].index(name)
        rows = [(*row[:column], *row[column + 1 :]) for row in rows]
        lines = columns(rows, width, NARROW)
    hint = () if len(rows[0]) == len(HEADER) else ("A wider terminal, or --json, shows more.",)
    return "".join(f"{line}\n" for line in (*lines, "", _status_counts(workers), *hint))


def json_text(workers: Sequence[WorkerPresent]) -> str:
    """Return a JSON array with a `WorkerJson` for each worker."""
    return to_json(tuple(map(_worker_json, workers)), indent=2) + "\n"


def columns(rows: Sequence[Sequence[str]], width: int | None, narrow: Mapping[str, int]) -> list[str]:
    """Return the rows as lines with aligned columns.

    Args:
        rows: the texts of the cells, already safe to show; the first row is the header.
        width: cells of the terminal; None for lines of any length.
        narrow: the columns that may be cut, by their name in the header, in this order, and the cells that each keeps.
    """
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    excess = sum(widths) + 2 * (len(widths) - 1) - width if width is not None else 0
    for column, minimum in ((rows[0].index(name), cells) for name, cells in narrow.items() if name in rows[0]):
        cut = min(max(0, excess), max(0, widths[column] - minimum))
        widths[column] -= cut
        excess -= cut
    lines = ("  ".join(fit(cell, cells) for cell, cells in zip(row, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in lines]


def memory(facts: WorkerFacts) -> str:
    """Return the total memory of the worker's GPU: `24564 MB`; of several: `24564 MB each`."""
    return f"{facts.memory_mb} MB each" if facts.gpus > 1 else f"{facts.memory_mb} MB"


def status_text(facts: WorkerFacts) -> str:
    """Return the status of the worker, and beside it whether the worker is leaving: `busy, leaving`."""
    return f"{facts.status.value}, {LEAVING}" if facts.leaving else facts.status.value


def age(seconds: int) -> str:
    """Return a time span in its largest whole unit: `45 s`, `12 min`, `3 h`, `2 d`."""
    name, unit = next(((name, unit) for name, unit in UNITS if seconds >= unit), UNITS[-1])
    return f"{seconds // unit} {name}"


def _row(worker: WorkerPresent) -> tuple[str, ...]:
    facts = worker.facts
    free = f"{facts.free_mb} MB"
    return (
        *(status_text(facts), age(worker.seconds), clean(facts.gpu), memory(facts), free),
        *(clean(facts.hostname), clean(facts.name)),
        *(clean(facts.sleap_nn), clean(facts.cuda), clean(facts.version), clean(worker.peer)),
    )


def _worker_json(worker: WorkerPresent) -> WorkerJson:
    facts = worker.facts
    return WorkerJson(
        worker_id=worker.peer,
        name=clean(facts.name),
        hostname=clean(facts.hostname),
        status=facts.status,
        leaving=facts.leaving,
        status_seconds=worker.seconds,
        gpu=clean(facts.gpu),
        memory_mb=facts.memory_mb,
        free_mb=facts.free_mb,
        sleap_nn=clean(facts.sleap_nn),
        cuda=clean(facts.cuda),
        sleap_rtc=clean(facts.version),
        gpus=facts.gpus,
    )


def _status_counts(workers: Sequence[WorkerPresent]) -> str:
    """Return the last line of the table: `3 workers: 1 available, 2 busy`.

    A leaving worker counts as leaving only, whatever its status is: no new job can have it.
    """
    statuses = [LEAVING if worker.facts.leaving else worker.facts.status.value for worker in workers]
    parts = (f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses)))
    return f"{count(len(workers), 'worker')}: {', '.join(parts)}"

"""Workers as rows of a table, for the list to choose from and for `sleap-rtc workers`; and as JSON for scripts."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich.cells import cell_len

from protocol.signaling import WorkerPresent
from protocol.status import WorkerFacts
from rtc.common.text import clean, count, fit

NO_WORKERS = "No worker is in this room now. Start one: sleap-rtc worker --room-id … --token …\n"
HEAD = ("status", "for", "GPU", "memory", "free", "hostname", "name", "sleap-nn", "CUDA", "sleap-rtc", "worker")
NARROW = {"hostname": 6, "name": 6, "GPU": 18}
"""Columns that are cut in a narrow terminal, in this order, and the cells that they keep."""
LEFT_OUT = ("sleap-rtc", "CUDA", "sleap-nn", "name", "hostname")
"""Columns that are left out where even that is not enough, in this order."""
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def table_width(out: TextIO) -> int | None:
    """Cells of the terminal behind `out`; None where there is none, so that nothing is cut."""
    if not out.isatty():
        return None
    try:
        return os.get_terminal_size(out.fileno()).columns or None
    except OSError:  # a terminal that does not know its size
        return None


def as_table(workers: Sequence[WorkerPresent], width: int | None) -> str:
    """One worker a line, in `width` cells where that is possible. Worker ids are never cut."""
    if not workers:
        return NO_WORKERS
    rows: list[Sequence[str]] = [HEAD, *(_row(worker) for worker in workers)]
    lines = columns(rows, width, NARROW)
    for name in LEFT_OUT:
        if width is None or max(map(cell_len, lines)) <= width:
            break
        column = rows[0].index(name)
        rows = [(*row[:column], *row[column + 1 :]) for row in rows]
        lines = columns(rows, width, NARROW)
    hint = () if len(rows[0]) == len(HEAD) else ("A wider terminal, or --json, shows more.",)
    return "".join(f"{line}\n" for line in (*lines, "", _sum(workers), *hint))


def json_text(workers: Sequence[WorkerPresent]) -> str:
    """One array, one object for each worker; the names of its fields are documented and stay."""
    return json.dumps([_fields(worker) for worker in workers], indent=2) + "\n"


def columns(rows: Sequence[Sequence[str]], width: int | None, narrow: Mapping[str, int]) -> list[str]:
    """The rows as lines, their cells under each other; the first row is the head.

    Args:
        rows: texts that are fit to be shown.
        width: cells of the terminal; None for as many as it takes.
        narrow: the columns that may be cut, in this order, and the cells that each keeps.
    """
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    excess = sum(widths) + 2 * (len(widths) - 1) - width if width is not None else 0
    for column, least in ((rows[0].index(name), least) for name, least in narrow.items() if name in rows[0]):
        cut = min(max(0, excess), max(0, widths[column] - least))
        widths[column] -= cut
        excess -= cut
    lines = ("  ".join(fit(cell, cells) for cell, cells in zip(row, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in lines]


def memory(facts: WorkerFacts) -> str:
    """Of the whole GPU."""
    return f"{facts.memory_mb} MB"


def age(seconds: int) -> str:
    """`45 s`, `12 min`, `3 h`: as exact as anybody needs it."""
    name, unit = next(((name, unit) for name, unit in UNITS if seconds >= unit), UNITS[-1])
    return f"{seconds // unit} {name}"


def _row(worker: WorkerPresent) -> tuple[str, ...]:
    facts = worker.facts
    free = f"{facts.free_mb} MB"
    return (
        *(facts.status.value, age(worker.seconds), clean(facts.gpu), memory(facts), free),
        *(clean(facts.hostname), clean(facts.name)),
        *(clean(facts.sleap_nn), clean(facts.cuda), clean(facts.version), clean(worker.peer)),
    )


def _fields(worker: WorkerPresent) -> dict[str, Any]:
    facts = worker.facts
    return {
        "worker_id": worker.peer,
        "name": clean(facts.name),
        "hostname": clean(facts.hostname),
        "status": facts.status.value,
        "status_seconds": worker.seconds,
        "gpu": clean(facts.gpu),
        "memory_mb": facts.memory_mb,
        "free_mb": facts.free_mb,
        "sleap_nn": clean(facts.sleap_nn),
        "cuda": clean(facts.cuda),
        "sleap_rtc": clean(facts.version),
    }


def _sum(workers: Sequence[WorkerPresent]) -> str:
    """`3 workers: 1 available, 2 busy`"""
    each = [worker.facts.status.value for worker in workers]
    parts = (f"{each.count(status)} {status}" for status in dict.fromkeys(sorted(each)))
    return f"{count(len(workers), 'worker')}: {', '.join(parts)}"

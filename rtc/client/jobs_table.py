"""Jobs that were started from here, as rows of a table, and as JSON for scripts."""

import json
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from protocol.jobs import JobStage, JobState
from rtc.client.tickets import JobTicket
from rtc.common.text import clean
from rtc.terminal.worker_table import columns

NO_JOBS = "No job that was started from here is running or waits to be fetched.\n"
HEAD = ("job", "package", "state", "what is known of it")
NARROW = {"what is known of it": 20, "package": 12}
HINT = "Come back to one: sleap-rtc attach JOB. End one: sleap-rtc jobs stop JOB, sleap-rtc jobs cancel JOB."


@frozen
class JobRow:
    """One job: its ticket, and what its worker says, or why that cannot be asked."""

    ticket: JobTicket
    state: JobState | None = None
    trouble: str = ""

    @property
    def word(self) -> str:
        """Its state in one word; how it ended, once it has."""
        if self.state is None:
            return "unreachable"
        if self.state.stage is JobStage.ENDED and self.state.outcome is not None:
            return self.state.outcome.value
        return self.state.stage.value

    @property
    def text(self) -> str:
        """One sentence."""
        if self.state is None:
            return self.trouble
        waits = " Its result waits to be fetched." if self.state.result else ""
        return self.state.text + waits


def as_table(rows: Sequence[JobRow], width: int | None) -> str:
    """One job a line, in `width` cells where that is possible. Job ids are never cut."""
    if not rows:
        return NO_JOBS
    cells = [(row.ticket.job, clean(row.ticket.package), row.word, clean(row.text)) for row in rows]
    lines = columns([HEAD, *cells], width, NARROW)
    return "".join(f"{line}\n" for line in (*lines, "", HINT))


def as_json(rows: Sequence[JobRow]) -> str:
    """One array, one object for each job; the names of its fields are documented and stay."""
    return json.dumps([_fields(row) for row in rows], indent=2) + "\n"


def _fields(row: JobRow) -> dict[str, Any]:
    state = row.state
    return {
        "job": row.ticket.job,
        "package": clean(row.ticket.package),
        "kind": row.ticket.kind,
        "worker": row.ticket.worker,
        "state": row.word,
        "text": clean(row.text),
        "result": state is not None and state.result,
    }

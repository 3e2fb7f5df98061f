"""Shows jobs that were started from here as a table, and as JSON for scripts."""

from collections.abc import Sequence

from attrs import frozen

from protocol.converter import to_json
from protocol.faults import Fault, FaultCode
from protocol.jobs import JobKind, JobStage, JobState
from rtc.client.tickets import JobTicket
from rtc.common.text import clean
from rtc.terminal.worker_table import columns

NO_JOBS = "No job that was started from here is running or waits to be fetched.\n"
HEADINGS = ("job", "package", "state", "what is known of it")
MIN_WIDTHS = {"what is known of it": 20, "package": 12}
"""Columns that are cut in a narrow terminal, in this order, and the cells that they keep."""
UNREACHABLE = "unreachable"
UNKNOWN_STATES = {FaultCode.AUTH_MISSING: "secret-missing", FaultCode.AUTH_INVALID: "secret-wrong"}
"""What is shown as the state of a job whose worker did not tell it for this reason; for all others, `UNREACHABLE`."""
WITH_ADVICE = (FaultCode.ROOM_DENIED, FaultCode.SERVER_LOST)
"""Faults whose text says how to find the job's room again."""
HINT = "Come back to one: sleap-rtc attach JOB. End one: sleap-rtc jobs stop JOB, sleap-rtc jobs cancel JOB."


@frozen
class JobRow:
    """One job: its ticket, and the state that its worker reported, or why the worker cannot be asked."""

    ticket: JobTicket
    state: JobState | None = None
    fault: Fault | None = None
    """Why there is no state."""

    @property
    def state_name(self) -> str:
        """The state in one word: a stage, or an outcome once the job has ended; where it is not known, `unreachable`,
        or `secret-missing` or `secret-wrong` if the job's worker asks for a room secret that is not here, or another
        than the one that is."""
        if self.state is None:
            return UNKNOWN_STATES.get(self.fault.code, UNREACHABLE) if self.fault is not None else UNREACHABLE
        if self.state.stage is JobStage.ENDED and self.state.outcome is not None:
            return self.state.outcome.value
        return self.state.stage.value

    @property
    def text(self) -> str:
        """The state in a sentence or two."""
        if self.state is None:
            return "" if self.fault is None else self.fault.text
        waiting = " Its result waits to be fetched." if self.state.result else ""
        return self.state.text + waiting


def as_table(rows: Sequence[JobRow], width: int | None) -> str:
    """Return a table with one line for each job. Job ids are never cut.

    Args:
        rows: the jobs.
        width: cells of the terminal, which the lines fit into where possible; None for no limit.
    """
    if not rows:
        return NO_JOBS
    cells = [(row.ticket.job, clean(row.ticket.package), row.state_name, clean(row.text)) for row in rows]
    lines = columns([HEADINGS, *cells], width, MIN_WIDTHS)
    return "".join(f"{line}\n" for line in (*lines, "", *_advice(rows), HINT))


def _advice(rows: Sequence[JobRow]) -> list[str]:
    """Return, once each, the texts about rooms and servers that cannot be reached: the table cuts what they advise."""
    texts = [clean(row.text) for row in rows if row.fault is not None and row.fault.code in WITH_ADVICE]
    return [line for text in dict.fromkeys(texts) if text.strip() for line in (text, "")]


@frozen
class JobJson:
    """One job as `sleap-rtc jobs --json` shows it. Scripts read it, so the names of its fields must not change."""

    job: str
    package: str
    kind: JobKind
    worker: str
    state: str
    text: str
    result: bool


def as_json(rows: Sequence[JobRow]) -> str:
    """Return a JSON array with a `JobJson` for each job."""
    return to_json(tuple(map(_job_json, rows)), indent=2) + "\n"


def _job_json(row: JobRow) -> JobJson:
    ticket, state = row.ticket, row.state
    return JobJson(
        job=ticket.job,
        package=clean(ticket.package),
        kind=ticket.kind,
        worker=ticket.worker,
        state=row.state_name,
        text=clean(row.text),
        result=state is not None and state.result,
    )

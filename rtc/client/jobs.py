"""The commands about earlier jobs that have a ticket here: list, stop, cancel, fetch, and their logs.

Each command opens its own link to the job's worker, so it does not disturb a client that watches the job in another
terminal.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio
from attrs import field, frozen

from actors.events import JobCredential, NamedWorker, WorkerCalled, WorkerChoice
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId, RoomId
from protocol.jobs import AskJob, CancelJob, JobRequest, JobStage, JobState, StopJob, StopScope
from rtc.client import tickets
from rtc.client.job_query import WorkerAddress, run_job_query
from rtc.client.jobs_table import JobRow, as_json, as_table
from rtc.client.options import ClientOptions
from rtc.client.program import run_client
from rtc.client.target import Target
from rtc.client.tickets import JobTicket
from rtc.common.errors import RtcError
from rtc.common.line_writer import LineWriter
from rtc.common.nurseries import open_background_nursery
from rtc.config.load import Config
from rtc.config.remembered_rooms import RememberedRoomsJson
from rtc.runtime.room_keys import SecretFinder, no_secret
from rtc.runtime.root import cancel_when
from rtc.terminal.log_view import LogView
from rtc.terminal.worker_table import table_width
from rtc.transport.webrtc import AsyncioLoop

QUERIES_MAX = 4
"""Maximum number of workers that are asked at the same time."""
INTERRUPTED = Fault(FaultCode.INTERRUPTED, "Stopped before the worker had answered.")


@frozen
class JobsOptions:
    """The folder with the tickets, and how the workers of the jobs are reached."""

    config_for: Callable[[str | None], Config]
    """Returns the configuration for a signalling server's address; for the configured server if the address is None."""
    tickets_folder: Path
    find_secret: SecretFinder = no_secret
    target: Target | None = field(default=None, repr=False)
    """The job's worker and its room, if the person named them; None: those in the ticket."""
    rooms: RememberedRoomsJson = field(factory=RememberedRoomsJson, repr=False)
    """The remembered rooms: what is newer there than in a ticket is used in its place."""

    def ticket(self, job: str | None) -> JobTicket:
        """Return the ticket of one job.

        Args:
            job: its id, or a part of it; None for the newest.

        Raises:
            RtcError: USAGE: no ticket fits, or several do.
        """
        return self._renewed(tickets.find(self.tickets_folder, job))

    def read_tickets(self) -> tuple[list[JobTicket], list[str]]:
        """Return all tickets, oldest first, and one sentence for each ticket that cannot be read."""
        found: list[JobTicket] = []
        errors: list[str] = []
        for name in tickets.jobs_with_tickets(self.tickets_folder):
            try:
                found.append(self._renewed(tickets.read(self.tickets_folder, name)))
            except RtcError as error:
                errors.append(error.fault.text)
        return found, errors

    def address(self, ticket: JobTicket) -> WorkerAddress:
        """Return how to reach the job's worker: configuration, room, token, worker, and how the secret is found."""
        return WorkerAddress(
            self.config_for(ticket.server),
            ticket.room,
            ticket.token,
            ticket.worker,
            self.find_secret,
            self.remembered_as(ticket),
            self._called,
        )

    def choice(self, ticket: JobTicket) -> WorkerChoice:
        """Return how the job's worker is chosen."""
        return NamedWorker(PeerId(ticket.worker)) if self._called is None else WorkerCalled(self._called)

    @property
    def _called(self) -> str | None:
        """The worker's id or name that the person has given; None: it is the one of the ticket."""
        choice = None if self.target is None else self.target.choice
        return choice.name if isinstance(choice, WorkerCalled) else None

    def remembered_as(self, ticket: JobTicket) -> str | None:
        """Return the name of the remembered room that the job is in; None if it is in none."""
        room = self.rooms.by_key(ticket.server, ticket.room)
        return None if room is None else room.name

    def _renewed(self, ticket: JobTicket) -> JobTicket:
        """Return the ticket with the room where it is now: as the person said, or as is remembered."""
        if self.target is not None:
            return with_target(ticket, self.target)
        return with_remembered(ticket, tickets.saved_at(self.tickets_folder, ticket.job), self.rooms)


def with_target(ticket: JobTicket, target: Target | None) -> JobTicket:
    """Return a copy of the ticket that names the target's room, and its worker if that is known by its id."""
    if target is None:
        return ticket
    worker = target.choice.peer if isinstance(target.choice, NamedWorker) else ticket.worker
    return tickets.with_worker(ticket, worker=worker, room=target.room, token=target.token, server=target.server)


def with_remembered(ticket: JobTicket, saved_at: int, rooms: RememberedRoomsJson) -> JobTicket:
    """Return a copy of the ticket with the server and the token of its room as they were remembered after it was saved.

    The room is the one with the same id: on the same server if it is remembered there, or else on the server to which
    it has moved.

    Args:
        ticket: the ticket of a job.
        saved_at: when it was saved: seconds since 1970.
        rooms: the remembered rooms.
    """
    on_server = rooms.by_key(ticket.server, ticket.room)
    now = on_server or next((room for room in reversed(rooms.rooms) if room.room == ticket.room), None)
    if now is None or now.joined < saved_at:
        return ticket
    return tickets.with_worker(ticket, worker=ticket.worker, room=now.room, token=now.token, server=now.server)


def client_options_to_attach(options: JobsOptions, ticket: JobTicket, **more: Any) -> ClientOptions:
    """Return the options of a client that attaches to the ticket's job; `more` are further fields of the options."""
    output = more.pop("output", None) or (Path(ticket.output) if ticket.output else None)
    return ClientOptions(
        config=options.config_for(ticket.server),
        package=Path(ticket.package),
        room=RoomId(ticket.room),
        token=ticket.token,
        choice=options.choice(ticket),
        find_secret=options.find_secret,
        kind=ticket.kind,
        credential=JobCredential(JobId(ticket.job), ticket.key),
        tickets_folder=options.tickets_folder,
        output=output,
        worker_named=options.target is not None,
        remembered_as=options.remembered_as(ticket),
        **more,
    )


async def _run_until(drain: trio.Event, work: Callable[[], Any]) -> Any:
    """Await `work()` and return its result; cancel it when `drain` is set.

    Raises:
        RtcError: INTERRUPTED: `drain` was set first.
    """
    scope = trio.CancelScope()
    async with open_background_nursery() as background:
        background.start_soon(cancel_when, drain, scope)
        with scope:
            return await work()
    raise RtcError.of(INTERRUPTED)


# -------- all jobs


async def list_jobs(
    options: JobsOptions,
    job_tickets: Sequence[JobTicket],
    asyncio_loop: AsyncioLoop,
    drain: trio.Event,
    *,
    json_wanted: bool,
) -> None:
    """Print the state of each job as its worker reports it, or why the worker cannot be asked.

    Raises:
        RtcError: INTERRUPTED: `drain` was set first.
    """
    rows = await _run_until(drain, lambda: query_all(options, job_tickets, asyncio_loop))
    LineWriter(sys.stdout).write(as_json(rows) if json_wanted else as_table(rows, table_width(sys.stdout)))


async def query_all(options: JobsOptions, job_tickets: Sequence[JobTicket], asyncio_loop: AsyncioLoop) -> list[JobRow]:
    """Ask each worker once about all its jobs; return a row for each ticket, in the same order."""
    limit = trio.CapacityLimiter(QUERIES_MAX)
    found: dict[str, JobRow] = {}
    groups: dict[tuple[str, str, str], list[JobTicket]] = {}
    for ticket in job_tickets:
        groups.setdefault((ticket.server, ticket.room, ticket.worker), []).append(ticket)

    async def ask(group: list[JobTicket]) -> None:
        async with limit:
            requests = tuple(AskJob(JobId(ticket.job), ticket.key) for ticket in group)
            try:
                states = await run_job_query(options.address(group[0]), requests, asyncio_loop)
                found.update({ticket.job: JobRow(ticket, states[JobId(ticket.job)]) for ticket in group})
            except RtcError as error:
                found.update({ticket.job: JobRow(ticket, fault=error.fault) for ticket in group})

    async with trio.open_nursery() as nursery:
        for group in groups.values():
            nursery.start_soon(ask, group)
    return [found[ticket.job] for ticket in job_tickets]


# -------- one job


def _print(text: str) -> None:
    LineWriter(sys.stdout).say(text)


async def _query(options: JobsOptions, request: JobRequest, ticket: JobTicket, asyncio_loop: AsyncioLoop) -> JobState:
    """Send one request to the job's worker, and return the state that it answers.

    Raises:
        RtcError: NO_SUCH_JOB or NO_WORKER: the worker does not have the job; others: it cannot be reached.
    """
    states: dict[JobId, JobState] = await run_job_query(options.address(ticket), (request,), asyncio_loop)
    state = states[JobId(ticket.job)]
    if state.stage is JobStage.UNKNOWN:
        raise RtcError(FaultCode.NO_SUCH_JOB, state.text)
    if state.stage is JobStage.ELSEWHERE:
        raise RtcError(FaultCode.NO_WORKER, state.text)
    return state


async def stop_job(
    options: JobsOptions, ticket: JobTicket, scope: StopScope, asyncio_loop: AsyncioLoop, drain: trio.Event
) -> None:
    """Ask the worker to stop the job early and keep what was learned; print the answer.

    Raises:
        RtcError: WORKER_BUSY: the job has not begun; others: as for `_query`.
    """
    request = StopJob(JobId(ticket.job), ticket.key, scope)
    state = await _run_until(drain, lambda: _query(options, request, ticket, asyncio_loop))
    match state.stage:
        case JobStage.RUNNING:
            _print(f"{ticket.job}: {state.text}")
            _print("It is asked to stop early: what a model has learned is kept, a prediction that runs is finished.")
            _print(f"Come back to it: sleap-rtc attach {ticket.job}")
        case JobStage.PREPARING:
            raise RtcError(FaultCode.WORKER_BUSY, f"{ticket.job} has not begun, so there is nothing to stop yet.")
        case _:
            _print(f"{ticket.job} has ended already: {state.text}")


async def cancel_job(options: JobsOptions, ticket: JobTicket, asyncio_loop: AsyncioLoop, drain: trio.Event) -> None:
    """Ask the worker to end the job now; print the answer.

    Raises:
        RtcError: as for `_query`.
    """
    request = CancelJob(JobId(ticket.job), ticket.key)
    state = await _run_until(drain, lambda: _query(options, request, ticket, asyncio_loop))
    if state.stage is JobStage.ENDED:
        _print(f"{ticket.job} has ended already: {state.text}")
    else:
        _print(f"{ticket.job} is being cancelled.")


async def check_fetchable(
    options: JobsOptions, ticket: JobTicket, asyncio_loop: AsyncioLoop, drain: trio.Event
) -> None:
    """Check that the job has ended and that its worker has a result to fetch.

    Raises:
        RtcError: WORKER_BUSY: the job has not ended; NO_SUCH_JOB: there is no result; others: as for `_query`.
    """
    request = AskJob(JobId(ticket.job), ticket.key)
    state = await _run_until(drain, lambda: _query(options, request, ticket, asyncio_loop))
    if state.stage is not JobStage.ENDED:
        text = f"{ticket.job} has not ended: {state.text} Wait for it with: sleap-rtc attach {ticket.job}"
        raise RtcError(FaultCode.WORKER_BUSY, text)
    if not state.result:
        raise RtcError(FaultCode.NO_SUCH_JOB, f"{ticket.job} has nothing to fetch: {state.text}")


async def show_logs(
    options: JobsOptions, ticket: JobTicket, asyncio_loop: AsyncioLoop, drain: trio.Event, *, follow: bool
) -> None:
    """Print what sleap-nn has printed so far; with `follow` go on until the job ends.

    Raises:
        RtcError: as for `run_client`.
    """
    client_options = client_options_to_attach(options, ticket, fetch=False, follow=follow)
    await run_client(client_options, asyncio_loop=asyncio_loop, view=LogView(sys.stdout), drain=drain)

"""The commands about jobs that were started from here: where they stand, and what else is wanted of them.

Each opens a link of its own to the job's worker, so it disturbs nobody who watches the job in another window.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio
from attrs import field, frozen

from actors.events import JobCredential, NamedWorker
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId, RoomId
from protocol.jobs import AskJob, CancelJob, JobKind, JobRequest, JobStage, JobState, StopJob, StopScope
from protocol.trust import Secret
from rtc.client import tickets
from rtc.client.job_query import Address, run_job_query
from rtc.client.jobs_table import JobRow, as_json, as_table
from rtc.client.options import ClientOptions
from rtc.client.program import run_client
from rtc.client.target import Target
from rtc.client.tickets import JobTicket
from rtc.common.errors import RtcError
from rtc.common.line_writer import LineWriter
from rtc.common.nurseries import open_background_nursery
from rtc.config.load import Config
from rtc.runtime.root import stop_when
from rtc.terminal.log_view import LogView
from rtc.terminal.worker_table import table_width
from rtc.transport.webrtc import AsyncioLoop

AT_ONCE = 4
"""Workers asked at a time."""
INTERRUPTED = Fault(FaultCode.INTERRUPTED, "Stopped before the worker had answered.")


@frozen
class JobsOptions:
    """Whose jobs, and how their workers are reached."""

    config: Callable[[str | None], Config]
    """The configuration for a server's address."""
    tickets: Path
    secret: Secret | None = None
    target: Target | None = field(default=None, repr=False)
    """Where the worker is now, should it have moved since."""

    def ticket(self, job: str | None) -> JobTicket:
        """A job that was started from here.

        Raises:
            RtcError: USAGE: there is none of that name.
        """
        return moved(tickets.find(self.tickets, job), self.target)

    def job_tickets(self) -> tuple[list[JobTicket], list[str]]:
        """All jobs that were started from here and are not home; and what is wrong with tickets that cannot be read."""
        found: list[JobTicket] = []
        troubles: list[str] = []
        for name in tickets.known_jobs(self.tickets):
            try:
                found.append(moved(tickets.read(self.tickets, name), self.target))
            except RtcError as error:
                troubles.append(error.fault.text)
        return found, troubles

    def address(self, ticket: JobTicket) -> Address:
        """Its worker's."""
        return Address(self.config(ticket.server), ticket.room, ticket.token, ticket.worker, self.secret)


def moved(ticket: JobTicket, target: Target | None) -> JobTicket:
    """The same job, where its worker is now.

    Raises:
        RtcError: USAGE: no single worker is named.
    """
    if target is None:
        return ticket
    if not isinstance(target.choice, NamedWorker):
        raise RtcError(FaultCode.USAGE, "Name the worker: --session-string S, or --room-id, --token and --worker-id.")
    return tickets.at(ticket, worker=target.choice.peer, room=target.room, token=target.token, server=target.server)


def coming_back(options: JobsOptions, ticket: JobTicket, **more: Any) -> ClientOptions:
    """The order of a client that comes back to a job."""
    output = more.pop("output", None) or (Path(ticket.output) if ticket.output else None)
    return ClientOptions(
        config=options.config(ticket.server),
        package=Path(ticket.package),
        room=RoomId(ticket.room),
        token=ticket.token,
        choice=NamedWorker(PeerId(ticket.worker)),
        secret=options.secret,
        kind=JobKind(ticket.kind),
        credential=JobCredential(JobId(ticket.job), ticket.key),
        tickets=options.tickets,
        output=output,
        moved=options.target is not None,
        **more,
    )


async def _unless(drain: trio.Event, work: Callable[[], Any]) -> Any:
    """Do it, unless asked to stop."""
    scope = trio.CancelScope()
    async with open_background_nursery() as background:
        background.start_soon(stop_when, drain, scope)
        with scope:
            return await work()
    raise RtcError.of(INTERRUPTED)


# -------- all of them


async def list_jobs(
    options: JobsOptions,
    job_tickets: Sequence[JobTicket],
    asyncio_loop: AsyncioLoop,
    drain: trio.Event,
    *,
    json_wanted: bool,
) -> None:
    """Print where each of these jobs stands, as its worker says; of one that cannot be asked, why."""
    rows = await _unless(drain, lambda: _ask_all(options, job_tickets, asyncio_loop))
    LineWriter(sys.stdout).write(as_json(rows) if json_wanted else as_table(rows, table_width(sys.stdout)))


async def _ask_all(options: JobsOptions, job_tickets: Sequence[JobTicket], asyncio_loop: AsyncioLoop) -> list[JobRow]:
    limit = trio.CapacityLimiter(AT_ONCE)
    found: dict[str, JobRow] = {}
    groups: dict[tuple[str, str, str], list[JobTicket]] = {}
    for ticket in job_tickets:
        groups.setdefault((ticket.server, ticket.room, ticket.worker), []).append(ticket)

    async def ask(group: list[JobTicket]) -> None:
        async with limit:
            wishes = tuple(AskJob(JobId(ticket.job), ticket.key) for ticket in group)
            try:
                states = await run_job_query(options.address(group[0]), wishes, asyncio_loop)
                found.update({ticket.job: JobRow(ticket, states[JobId(ticket.job)]) for ticket in group})
            except RtcError as error:
                found.update({ticket.job: JobRow(ticket, trouble=error.fault.text) for ticket in group})

    async with trio.open_nursery() as nursery:
        for group in groups.values():
            nursery.start_soon(ask, group)
    return [found[ticket.job] for ticket in job_tickets]


# -------- one of them


def _say(text: str) -> None:
    LineWriter(sys.stdout).say(text)


async def _ask(options: JobsOptions, wish: JobRequest, ticket: JobTicket, asyncio_loop: AsyncioLoop) -> JobState:
    states: dict[JobId, JobState] = await run_job_query(options.address(ticket), (wish,), asyncio_loop)
    state = states[JobId(ticket.job)]
    if state.stage is JobStage.UNKNOWN:
        raise RtcError(FaultCode.NO_SUCH_JOB, state.text)
    if state.stage is JobStage.ELSEWHERE:
        raise RtcError(FaultCode.NO_WORKER, state.text)
    return state


async def stop_job(
    options: JobsOptions, ticket: JobTicket, scope: StopScope, asyncio_loop: AsyncioLoop, drain: trio.Event
) -> None:
    """Let it stop early, and keep what it has learned."""
    wish = StopJob(JobId(ticket.job), ticket.key, scope)
    state = await _unless(drain, lambda: _ask(options, wish, ticket, asyncio_loop))
    match state.stage:
        case JobStage.RUNNING:
            _say(f"{ticket.job}: {state.text}")
            _say("It is asked to stop early: what a model has learned is kept, a prediction that runs is finished.")
            _say(f"Come back to it: sleap-rtc attach {ticket.job}")
        case JobStage.PREPARING:
            raise RtcError(FaultCode.WORKER_BUSY, f"{ticket.job} has not begun, so there is nothing to stop yet.")
        case _:
            _say(f"{ticket.job} has ended already: {state.text}")


async def cancel_job(options: JobsOptions, ticket: JobTicket, asyncio_loop: AsyncioLoop, drain: trio.Event) -> None:
    """End it now."""
    wish = CancelJob(JobId(ticket.job), ticket.key)
    state = await _unless(drain, lambda: _ask(options, wish, ticket, asyncio_loop))
    if state.stage is JobStage.ENDED:
        _say(f"{ticket.job} has ended already: {state.text}")
    else:
        _say(f"{ticket.job} is being cancelled.")


async def check_fetchable(
    options: JobsOptions, ticket: JobTicket, asyncio_loop: AsyncioLoop, drain: trio.Event
) -> None:
    """See whether the job has ended and left something to bring home.

    Raises:
        RtcError: WORKER_BUSY or NO_SUCH_JOB: it has not.
    """
    wish = AskJob(JobId(ticket.job), ticket.key)
    state = await _unless(drain, lambda: _ask(options, wish, ticket, asyncio_loop))
    if state.stage is not JobStage.ENDED:
        text = f"{ticket.job} has not ended: {state.text} Wait for it with: sleap-rtc attach {ticket.job}"
        raise RtcError(FaultCode.WORKER_BUSY, text)
    if not state.result:
        raise RtcError(FaultCode.NO_SUCH_JOB, f"{ticket.job} has nothing to fetch: {state.text}")


async def show_logs(
    options: JobsOptions, ticket: JobTicket, asyncio_loop: AsyncioLoop, drain: trio.Event, *, follow: bool
) -> None:
    """Print what sleap-nn has printed so far, or until the job ends."""
    wish = coming_back(options, ticket, fetch=False, follow=follow)
    await run_client(wish, asyncio_loop=asyncio_loop, view=LogView(sys.stdout), drain=drain)

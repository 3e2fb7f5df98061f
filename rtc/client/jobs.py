"""The commands about jobs that were started from here: where they stand, and what else is wanted of them.

Each opens a link of its own to the job's worker, so it disturbs nobody who watches the job in another window.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio
from attrs import field, frozen

from actors.events import Direct, Ticket
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId, RoomId
from protocol.jobs import AskJob, CancelJob, JobKind, JobStage, JobState, JobWishes, StopJob, StopScope
from protocol.trust import Secret
from rtc.client import tickets
from rtc.client.job_query import Address, run_errand
from rtc.client.jobs_table import JobRow, as_json, as_table
from rtc.client.options import ClientOrder
from rtc.client.program import run_client
from rtc.client.target import Way
from rtc.client.tickets import Stub
from rtc.common.errors import RtcError
from rtc.common.line_writer import Lines
from rtc.common.nurseries import open_beside
from rtc.config.load import Config
from rtc.runtime.root import stop_when
from rtc.terminal.log_view import LogView
from rtc.terminal.worker_table import table_width
from rtc.transport.webrtc import Bridge

AT_ONCE = 4
"""Workers asked at a time."""
INTERRUPTED = Fault(FaultCode.INTERRUPTED, "Stopped before the worker had answered.")


@frozen
class JobsOrder:
    """Whose jobs, and how their workers are reached."""

    config: Callable[[str | None], Config]
    """The configuration for a server's address."""
    tickets: Path
    secret: Secret | None = None
    way: Way | None = field(default=None, repr=False)
    """Where the worker is now, should it have moved since."""

    def stub(self, job: str | None) -> Stub:
        """A job that was started from here.

        Raises:
            RtcError: USAGE: there is none of that name.
        """
        return moved(tickets.find(self.tickets, job), self.way)

    def stubs(self) -> tuple[list[Stub], list[str]]:
        """All jobs that were started from here and are not home; and what is wrong with tickets that cannot be read."""
        found: list[Stub] = []
        troubles: list[str] = []
        for name in tickets.known_jobs(self.tickets):
            try:
                found.append(moved(tickets.read(self.tickets, name), self.way))
            except RtcError as error:
                troubles.append(error.fault.text)
        return found, troubles

    def address(self, stub: Stub) -> Address:
        """Its worker's."""
        return Address(self.config(stub.server), stub.room, stub.token, stub.worker, self.secret)


def moved(stub: Stub, way: Way | None) -> Stub:
    """The same job, where its worker is now.

    Raises:
        RtcError: USAGE: no single worker is named.
    """
    if way is None:
        return stub
    if not isinstance(way.choice, Direct):
        raise RtcError(FaultCode.USAGE, "Name the worker: --session-string S, or --room-id, --token and --worker-id.")
    return tickets.at(stub, worker=way.choice.peer, room=way.room, token=way.token, server=way.server)


def coming_back(order: JobsOrder, stub: Stub, **more: Any) -> ClientOrder:
    """The order of a client that comes back to a job."""
    output = more.pop("output", None) or (Path(stub.output) if stub.output else None)
    return ClientOrder(
        config=order.config(stub.server),
        package=Path(stub.package),
        room=RoomId(stub.room),
        token=stub.token,
        choice=Direct(PeerId(stub.worker)),
        secret=order.secret,
        kind=JobKind(stub.kind),
        ticket=Ticket(JobId(stub.job), stub.key),
        tickets=order.tickets,
        output=output,
        moved=order.way is not None,
        **more,
    )


async def _unless(drain: trio.Event, work: Callable[[], Any]) -> Any:
    """Do it, unless asked to stop."""
    scope = trio.CancelScope()
    async with open_beside() as beside:
        beside.start_soon(stop_when, drain, scope)
        with scope:
            return await work()
    raise RtcError.of(INTERRUPTED)


# -------- all of them


async def list_jobs(
    order: JobsOrder, stubs: Sequence[Stub], bridge: Bridge, drain: trio.Event, *, json_wanted: bool
) -> None:
    """Print where each of these jobs stands, as its worker says; of one that cannot be asked, why."""
    rows = await _unless(drain, lambda: _ask_all(order, stubs, bridge))
    Lines(sys.stdout).write(as_json(rows) if json_wanted else as_table(rows, table_width(sys.stdout)))


async def _ask_all(order: JobsOrder, stubs: Sequence[Stub], bridge: Bridge) -> list[JobRow]:
    limit = trio.CapacityLimiter(AT_ONCE)
    found: dict[str, JobRow] = {}
    groups: dict[tuple[str, str, str], list[Stub]] = {}
    for stub in stubs:
        groups.setdefault((stub.server, stub.room, stub.worker), []).append(stub)

    async def ask(group: list[Stub]) -> None:
        async with limit:
            wishes = tuple(AskJob(JobId(stub.job), stub.key) for stub in group)
            try:
                states = await run_errand(order.address(group[0]), wishes, bridge)
                found.update({stub.job: JobRow(stub, states[JobId(stub.job)]) for stub in group})
            except RtcError as error:
                found.update({stub.job: JobRow(stub, trouble=error.fault.text) for stub in group})

    async with trio.open_nursery() as nursery:
        for group in groups.values():
            nursery.start_soon(ask, group)
    return [found[stub.job] for stub in stubs]


# -------- one of them


def _say(text: str) -> None:
    Lines(sys.stdout).say(text)


async def _ask(order: JobsOrder, wish: JobWishes, stub: Stub, bridge: Bridge) -> JobState:
    states: dict[JobId, JobState] = await run_errand(order.address(stub), (wish,), bridge)
    state = states[JobId(stub.job)]
    if state.stage is JobStage.UNKNOWN:
        raise RtcError(FaultCode.NO_SUCH_JOB, state.text)
    if state.stage is JobStage.ELSEWHERE:
        raise RtcError(FaultCode.NO_WORKER, state.text)
    return state


async def stop_job(order: JobsOrder, stub: Stub, scope: StopScope, bridge: Bridge, drain: trio.Event) -> None:
    """Let it stop early, and keep what it has learned."""
    wish = StopJob(JobId(stub.job), stub.key, scope)
    state = await _unless(drain, lambda: _ask(order, wish, stub, bridge))
    match state.stage:
        case JobStage.RUNNING:
            _say(f"{stub.job}: {state.text}")
            _say("It is asked to stop early: what a model has learned is kept, a prediction that runs is finished.")
            _say(f"Come back to it: sleap-rtc attach {stub.job}")
        case JobStage.PREPARING:
            raise RtcError(FaultCode.WORKER_BUSY, f"{stub.job} has not begun, so there is nothing to stop yet.")
        case _:
            _say(f"{stub.job} has ended already: {state.text}")


async def cancel_job(order: JobsOrder, stub: Stub, bridge: Bridge, drain: trio.Event) -> None:
    """End it now."""
    wish = CancelJob(JobId(stub.job), stub.key)
    state = await _unless(drain, lambda: _ask(order, wish, stub, bridge))
    if state.stage is JobStage.ENDED:
        _say(f"{stub.job} has ended already: {state.text}")
    else:
        _say(f"{stub.job} is being cancelled.")


async def check_fetchable(order: JobsOrder, stub: Stub, bridge: Bridge, drain: trio.Event) -> None:
    """See whether the job has ended and left something to bring home.

    Raises:
        RtcError: WORKER_BUSY or NO_SUCH_JOB: it has not.
    """
    wish = AskJob(JobId(stub.job), stub.key)
    state = await _unless(drain, lambda: _ask(order, wish, stub, bridge))
    if state.stage is not JobStage.ENDED:
        text = f"{stub.job} has not ended: {state.text} Wait for it with: sleap-rtc attach {stub.job}"
        raise RtcError(FaultCode.WORKER_BUSY, text)
    if not state.result:
        raise RtcError(FaultCode.NO_SUCH_JOB, f"{stub.job} has nothing to fetch: {state.text}")


async def show_logs(order: JobsOrder, stub: Stub, bridge: Bridge, drain: trio.Event, *, follow: bool) -> None:
    """Print what sleap-nn has printed so far, or until the job ends."""
    wish = coming_back(order, stub, fetch=False, follow=follow)
    await run_client(wish, bridge=bridge, view=LogView(sys.stdout), drain=drain)

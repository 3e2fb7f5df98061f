"""One client that runs: the engine beneath `Job` and beneath the client's commands of the command line."""

from collections.abc import Callable
from typing import Any

import trio
from attrs import define, field

from actors.client import WITH_RESULT
from actors.client_data import ClientPhase
from actors.events import Interrupt
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId
from protocol.jobs import JobNews, Outcome, StopScope
from protocol.status import Status
from rtc.api.event_history import EventHistory
from rtc.api.result import Result, result_of
from rtc.client.options import ClientOptions
from rtc.client.presenter import Presenter
from rtc.client.program import run_client
from rtc.common.errors import RtcError
from rtc.terminal.event_view import EventView
from rtc.terminal.interface import Changed, ClientView, JobSummary, Workers
from rtc.terminal.json_events import JsonEvent
from rtc.transport.webrtc import AsyncioLoop

OUTCOMES = {FaultCode.JOB_FAILED: Outcome.FAILED, FaultCode.CANCELLED: Outcome.CANCELLED}
"""The outcome of a job whose client ends with this fault; with any other fault, how the job ended is not known."""
SEVERAL_FIT = (
    "{count} workers could take the job: {workers}. Name one with worker=…, or take the one with most GPU memory with "
    "auto_select=True."
)
NONE_FITS = "No worker of this room can take the job now. Try again later, or wait in the room's queue with wait=…."


@define(eq=False)
class JobRun:
    """One client from its start to its end, and what is known of its job."""

    options: ClientOptions
    shown_by: ClientView | None = None
    """Shows the job to a person as well, and asks that person; None: nobody is asked."""
    outcome_scope: trio.CancelScope = field(factory=trio.CancelScope)
    """As in `Presenter`."""
    history: EventHistory = field(factory=EventHistory, init=False)
    job: JobId | None = field(default=None, init=False)
    """The job's id, once a worker has it."""
    worker: PeerId | None = field(default=None, init=False)
    """The worker that has the job."""
    result: Result | None = field(default=None, init=False)
    """The job's result, once it has ended and the result is here."""
    error: RtcError | None = field(default=None, init=False)
    """Why there is no result, once the client has ended without one."""
    accepted: trio.Event = field(factory=trio.Event, init=False)
    """Set when a worker has the job, or when the client has ended."""
    ended: trio.Event = field(factory=trio.Event, init=False)
    """Set when the client has ended."""
    drain: trio.Event = field(factory=trio.Event, init=False)
    """Set to leave the job, or to give it up while it is not on a worker."""
    view: "JobView" = field(init=False)
    presenter: Presenter = field(init=False)
    _cancel_wanted: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        if self.options.credential is not None:
            self.job = self.options.credential.job
        self.view = JobView(self, self.shown_by)
        self.presenter = Presenter(self.view, self.options, self.outcome_scope)

    async def run(self, asyncio_loop: AsyncioLoop, drain: trio.Event | None = None) -> None:
        """Run the client until it ends.

        Args:
            asyncio_loop: runs the WebRTC connections.
            drain: takes the place of the attribute.

        Raises:
            RtcError: as for `run_client`.
        """
        self.drain = self.drain if drain is None else drain
        try:
            await run_client(
                self.options, asyncio_loop=asyncio_loop, view=self.view, drain=self.drain, presenter=self.presenter
            )
        except RtcError as error:
            if self.result is None:
                self.error = error
            raise
        finally:
            self.end()

    def end(self) -> None:
        """Tell everyone who waits that the client has ended."""
        if self.result is None and self.error is None:
            self.error = RtcError.of(self.presenter.cancelled_fault)
        self.history.close()
        self.accepted.set()
        self.ended.set()
        self.presenter.wake()

    # -------- called by the view

    def note_accepted(self, job: JobId, worker: PeerId) -> None:
        """Remember the job's id and its worker; after a lost upload the job may be submitted again, with another id."""
        self.job, self.worker = job, worker
        self.accepted.set()

    def note_end(self, outcome: Outcome, text: str, summary: JobSummary | None) -> None:
        """Remember how the job has ended."""
        self.result = result_of(self.job or "", outcome, text, summary)

    def note_failure(self, fault: Fault, partial: JobSummary | None) -> None:
        """Remember the end of the job, if the fault tells it.

        A job that is cancelled while its package is on its way is given up: nobody had to cancel anything.
        """
        outcome = OUTCOMES.get(fault.code)
        if fault.code is FaultCode.INTERRUPTED and self._cancel_wanted:
            outcome = Outcome.CANCELLED
        if outcome is not None:
            self.note_end(outcome, fault.text, partial)

    # -------- what the program wants

    async def stop(self, scope: StopScope) -> None:
        """Ask for an early stop as soon as the job is on its worker; change nothing if the client has ended."""
        await self.wait_on_worker()
        if not self.ended.is_set():
            self.presenter.request_stop(scope)

    def cancel(self) -> None:
        """Ask for the end of the job; change nothing if the job, or the client, has ended."""
        if not self.ended.is_set() and self.presenter.phase not in WITH_RESULT:
            self._cancel_wanted = True
            self.presenter.request_cancel()

    async def leave(self) -> None:
        """Leave the job when its package is whole on the worker, and wait for the end of the client."""
        await self.wait_on_worker()
        self.drain.set()
        await self.ended.wait()

    async def wait_on_worker(self) -> None:
        """Wait until the worker has the whole package, or the client has ended."""
        await self.presenter.wait_for(self._is_on_worker)

    def _is_on_worker(self, phase: ClientPhase) -> bool:
        return self.ended.is_set() or phase.status is Status.BUSY


@define(eq=False)
class JobView(EventView):
    """Adds what happens to the history of a run, and passes it on to the view of a person, if there is one."""

    _run: JobRun
    _person: ClientView | None

    def emit(self, event: JsonEvent) -> None:
        self._run.history.add(event)

    def step(self, text: str) -> None:
        self._pass_on("step", text)
        super().step(text)

    def warn(self, text: str) -> None:
        self._pass_on("warn", text)
        super().warn(text)

    def upload(self, done: int, total: int) -> None:
        self._pass_on("upload", done, total)
        super().upload(done, total)

    def download(self, done: int, total: int) -> None:
        self._pass_on("download", done, total)
        super().download(done, total)

    def accepted(self, job: JobId, worker: PeerId) -> None:
        self._pass_on("accepted", job, worker)
        super().accepted(job, worker)
        self._run.note_accepted(job, worker)

    def news(self, news: JobNews, at: float) -> None:
        self._pass_on("news", news, at)
        super().news(news, at)

    def finished(self, summary: JobSummary) -> None:
        self._pass_on("finished", summary)
        self._run.note_end(Outcome.DONE, summary.text, summary)
        super().finished(summary)

    def failed(self, fault: Fault, partial: JobSummary | None) -> None:
        self._pass_on("failed", fault, partial)
        self._run.note_failure(fault, partial)
        super().failed(fault, partial)

    def _pass_on(self, name: str, *arguments: Any) -> None:
        if self._person is not None:
            getattr(self._person, name)(*arguments)

    async def read_keys(self, stop: Callable[[], None]) -> None:
        await (self._person.read_keys(stop) if self._person is not None else super().read_keys(stop))

    async def ask_interrupt(self, *, stoppable: bool) -> Interrupt:
        if self._person is not None:
            return await self._person.ask_interrupt(stoppable=stoppable)
        return await super().ask_interrupt(stoppable=stoppable)

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        if self._person is not None:
            return await self._person.choose(workers, changed)
        await trio.lowlevel.checkpoint()
        fitting = workers()
        if len(fitting) == 1:
            return fitting[0].peer
        if not fitting:
            raise RtcError(FaultCode.NO_WORKER, NONE_FITS)
        names = ", ".join(f"{each.peer} ({each.facts.gpu})" for each in fitting[:5])
        raise RtcError(FaultCode.USAGE, SEVERAL_FIT.format(count=len(fitting), workers=names))

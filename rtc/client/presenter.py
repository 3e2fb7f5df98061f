"""Turns the Client's turns into words, and the person's keys into events for the Client.

Rule: it decides nothing. What is shown follows from one turn of the Client; what is remembered is only what is drawn.
"""

from collections.abc import Callable
from typing import Any

import trio
from attrs import define, field

from actors.actor import Turn
from actors.client_actions import (
    connect_to_only,
    fail_job_gone,
    finish_caught_up,
    note_attached,
    tell_nothing_to_stop,
)
from actors.client_data import ClientPhase
from actors.events import (
    AskInterrupt,
    Authenticated,
    CancelWanted,
    ChoiceFailed,
    Drain,
    Finished,
    Interrupt,
    Interrupted,
    JoinedRoom,
    LinkLost,
    OpenLink,
    PeerMessage,
    RemoveTicket,
    SaveTicket,
    ShowWorkers,
    StopWanted,
    WorkerPicked,
    WorkersChanged,
)
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import JobEnded, JobEvent, JobState, StopScope
from protocol.signaling import QueuePosition, WorkerPresent
from protocol.status import Status
from rtc.client.lossviewer.bridge import LossViewer, open_lossviewer
from rtc.client.options import ClientOptions
from rtc.common.errors import RtcError
from rtc.common.text import clean
from rtc.runtime.peer_runtime import PeerRuntime
from rtc.terminal.interface import ClientView, JobSummary
from rtc.terminal.worker_table import memory

STOP_ASKED = "The worker is asked to stop early; what has been learned is kept"
CANCEL_ASKED = "The worker is asked to cancel the job"
NOTHING_TO_STOP = "No model trains now, so there is nothing to stop early"
CANCEL_HINT = "; Ctrl-C offers to cancel"
ATTACH_HINT = "To come back to it: sleap-rtc attach {}"
RUNS_ON = "The job {} runs on the worker."
ENDED_THERE = "The job {} has ended already, and its result is kept on the worker."
COME_BACK = " To see how it goes and to fetch its result: sleap-rtc attach {}"
NOTHING_LEFT = "Nothing of the job is left, so its ticket is removed"
TAKEN_ALONE = "{name} ({gpu}, {memory}) is the only worker that can take the job now"
NONE_TO_CHOOSE = (
    "No worker of the room can take the job now.{} To wait for one: --auto-select --wait. To look at them: {}"
)
CANCELLED_WITH_JOB = Fault(FaultCode.DETACHED, "Left at once: the job, or its result, stays on the worker.")
CANCELLED_BEFORE_JOB = Fault(FaultCode.INTERRUPTED, "Stopped at once, before the job began.")

P = ClientPhase
STEPS = {
    (P.SUBMITTING, P.UPLOADING): "The worker takes the job, as {job}",
    (P.UPLOAD_RETURN, P.UPLOADING): "Back at the worker; sending the rest of the package",
    (P.UPLOAD_RETURN, P.CONNECTING): "The worker has not kept the beginning of the package; all of it is sent again",
}
"""What is shown when the Client goes from one phase to another."""
WARNINGS = {
    (P.UPLOADING, P.UPLOAD_AWAY): "The link to the worker is lost in mid upload. Trying to get back, to send the rest.",
    (P.RUNNING, P.RECONNECT_WAIT): "The link to the worker is lost; its job goes on. Trying to get back to it.",
    (P.DOWNLOADING, P.RECONNECT_WAIT): (
        "The link to the worker is lost; the result is kept there. Trying to get back to it."
    ),
}
"""The same, for what the person should know about."""
BEFORE = (P.CHOOSING, P.QUEUED, P.CONNECTING, P.RETRY_WAIT, P.SUBMITTING, P.ATTACHING)
"""Phases before a worker has the job; between two of them the Client goes when a worker has refused or was lost."""


def left_text(finished: Finished, options: ClientOptions) -> str:
    """Return the last sentences of a client that has left its job well (`ClientOptions.detach`)."""
    text = (RUNS_ON if finished.ended is None else ENDED_THERE).format(finished.left)
    return text if options.tickets_folder is None else text + COME_BACK.format(finished.left)


def none_to_choose(options: ClientOptions) -> Fault:
    """Return why no list is shown to choose a worker from: what it would hold is empty."""
    memory = options.min_memory_mb
    wanted = f" It must have {memory} MB of GPU memory (--min-gpu-memory)." if memory else ""
    wanted += f" It must have as many GPUs as --gpus {options.min_gpus} asks for." if options.min_gpus else ""
    room = f" --room {options.remembered_as}" if options.remembered_as else ""
    return Fault(FaultCode.WORKER_BUSY, NONE_TO_CHOOSE.format(wanted, f"sleap-rtc workers{room}"))


@define
class Presenter:
    """Connects one running client with its view. `runtime` is set by the program when the Client has its wish."""

    view: ClientView
    options: ClientOptions
    outcome_scope: trio.CancelScope = field(factory=trio.CancelScope)
    """The cancel scope around the whole client. It is shielded once the outcome is decided: a person who presses
    Ctrl-C again after that still sees this outcome."""
    runtime: PeerRuntime | None = None
    lossviewer: LossViewer | None = None
    job: JobId | None = None
    """The job that was shown last."""
    phase: ClientPhase = P.IDLE
    """The Client's phase; when it has ended, its last one before that."""
    partial_result: JobSummary | None = None
    """The summary of what was unpacked here of a job that failed or was cancelled."""
    _woken: trio.Event = field(factory=trio.Event)
    """Set, and replaced by a new event, when `phase` changes."""
    _peer: PeerId | None = None
    """The worker that was asked last."""
    _question_open: bool = False
    """The question after a Ctrl-C is shown, or will be in a moment."""
    _keys_read: bool = False
    _list_shown: bool = False
    _cancellation_shown: bool = False
    _workers: tuple[WorkerPresent, ...] = ()
    """The workers of the list."""
    _workers_changed: trio.Event = field(factory=trio.Event)
    """Set, and replaced by a new event, when `_workers` changes."""

    async def receive(self, runtime: PeerRuntime, link: LinkId, message: Any) -> None:
        """Pass a message of the worker on to the Client."""
        await runtime.router.outbox.admit(PeerMessage(link, message))

    async def wait_for(self, is_reached: Callable[[ClientPhase], bool]) -> None:
        """Wait until `is_reached` returns True for the phase; it is asked at each change, and after `wake`."""
        while not is_reached(self.phase):
            await self._woken.wait()

    def wake(self) -> None:
        """Let `wait_for` ask again."""
        self._woken.set()
        self._woken = trio.Event()

    # -------- what is shown

    def watch(self, turn: Turn) -> None:
        """Show what one turn of the Client means to the person."""
        if turn.row is None or turn.phase is turn.next is P.IDLE:
            return
        if isinstance(turn.event, JoinedRoom):  # the Client need not decide anything about most of them
            self.view.step(f"In room {turn.event.room} as {turn.event.peer}")
        if turn.row.because:
            return
        assert isinstance(turn.phase, ClientPhase), "it watches the Client"
        assert isinstance(turn.next, ClientPhase), "it watches the Client"
        if turn.next is not P.IDLE:
            self.phase = turn.next
            self.wake()
        if turn.phase is not P.CHOOSING:
            self._list_shown = False  # the next list is a new one
        self._show_event(turn, turn.row.action)
        for effect in turn.effects:
            self._show_effect(effect, turn.row.action)
        self._show_way(turn.phase, turn.next)

    def _show_event(self, turn: Turn, action: Any) -> None:
        match turn.event:
            case JobEvent():
                self._show_job_event(turn.event)
            case JobState() if action in (note_attached, finish_caught_up):
                self._show_accepted(turn.event.job)
            case JobEnded() if self.lossviewer is not None:
                self.lossviewer.handle(turn.event)
            case Authenticated():
                self._show_link(turn.event)
            case WorkersChanged() if action is connect_to_only:
                self._show_taken(turn)
            case LinkLost(fault=Fault() as fault) | (Fault() as fault) if turn.phase in BEFORE and turn.next in BEFORE:
                self.view.warn(f"{self._peer}: {fault.text}")
            case StopWanted() if action is tell_nothing_to_stop:
                self.view.step(NOTHING_TO_STOP + (CANCEL_HINT if self.options.on_interrupt is None else ""))
            case StopWanted():
                self.view.step(STOP_ASKED)
            case CancelWanted() if turn.next is not P.IDLE:
                self.view.step(CANCEL_ASKED)

    def _show_effect(self, effect: Any, action: Any) -> None:
        match effect:
            case OpenLink():
                self._peer = effect.peer
                self.view.step(f"Asking {effect.peer} for a link")
            case SaveTicket():
                self._show_accepted(effect.credential.job)
            case RemoveTicket() if action is fail_job_gone and self.options.tickets_folder is not None:
                self.view.step(NOTHING_LEFT)
            case Finished(left=str(), fault=Fault()) if self._has_tickets:
                self.view.step(ATTACH_HINT.format(effect.left))

    def _show_way(self, before: ClientPhase, after: ClientPhase) -> None:
        if (before, after) in STEPS:
            self.view.step(STEPS[before, after].format(job=self.job))
        if (before, after) in WARNINGS:
            self.view.warn(WARNINGS[before, after])

    @property
    def _has_tickets(self) -> bool:
        """Whether a later client finds the job by its ticket, and this one is to fetch its result."""
        return self.options.tickets_folder is not None and self.options.fetch

    def _show_accepted(self, job: JobId) -> None:
        self.job = job
        if self._peer is not None:
            self.view.accepted(job, self._peer)

    def _show_taken(self, turn: Turn) -> None:
        """Show which worker is taken without a question."""
        peers = [effect.peer for effect in turn.effects if isinstance(effect, OpenLink)]
        for worker in turn.event.workers:
            if worker.peer in peers:
                facts = worker.facts
                self.view.step(TAKEN_ALONE.format(name=clean(facts.name), gpu=clean(facts.gpu), memory=memory(facts)))

    def _show_link(self, event: Authenticated) -> None:
        path = self.runtime.links.path(event.link) if self.runtime is not None else "none"
        proof = "room secret proven on both sides" if event.proven else "no room secret asked for"
        self.view.step(f"Linked to {event.peer} ({path}, {proof})")

    def _show_job_event(self, event: JobEvent) -> None:
        if self.lossviewer is not None:
            self.lossviewer.handle(event.news)
        if not self._keys_read and self.runtime is not None:
            self._keys_read = True
            self.runtime.actors.start_soon(self.view.read_keys, self.request_stop)
        self.view.news(event.news, event.at)

    def show_position(self, message: QueuePosition) -> None:
        """Show the client's place in the queue."""
        self.view.step(f"In line for a worker: place {message.place} of {message.of}")

    # -------- what the person wants

    def interrupt(self) -> bool:
        """Tell the Client of a Ctrl-C; one while the question about an earlier one is open means to leave.

        Returns:
            Whether the Client can be told. False means that the program should end by itself.
        """
        if self.runtime is None or self.runtime.finished.is_set():
            return False
        self._post(Drain() if self._question_open else Interrupted())
        self._question_open = self.options.on_interrupt is None
        return True

    def request_stop(self, scope: StopScope | None = None) -> None:
        """Tell the Client of the wish to stop early; the stop key and SLEAP's LossViewer call it without `scope`.

        Args:
            scope: what is to stop; None: what the options say.
        """
        if self.runtime is not None:
            self._post(StopWanted(scope or self.options.stop))

    def request_cancel(self) -> None:
        """Tell the Client of the wish to cancel the job."""
        if self.runtime is not None:
            self._post(CancelWanted())

    def _post(self, event: Any) -> None:
        assert self.runtime is not None, "events are posted only while a runtime is open"
        self.runtime.post(event)

    def ask_interrupt(self, effect: AskInterrupt) -> None:
        """Ask the person what a Ctrl-C means for the job."""
        assert self.runtime is not None, "the question comes from an open runtime"
        self.runtime.actors.start_soon(self._ask_interrupt, effect.stoppable)

    async def _ask_interrupt(self, stoppable: bool) -> None:
        answer = await self.view.ask_interrupt(stoppable=stoppable)
        self._question_open = False
        wishes = {Interrupt.STOP: StopWanted(self.options.stop), Interrupt.CANCEL: CancelWanted()}
        self._post(wishes.get(answer, Drain()))

    def show_workers(self, effect: ShowWorkers) -> None:
        """Show the list from which the person chooses a worker, or update the list if it is shown already."""
        assert self.runtime is not None, "the list of workers comes from an open runtime"
        self._workers = effect.workers
        self._workers_changed.set()
        self._workers_changed = trio.Event()
        if not self._list_shown:
            self._list_shown = True
            self.runtime.actors.start_soon(self._choose_worker)

    async def _choose_worker(self) -> None:
        """Let the person choose from the list, and tell the Client of the choice, or why there can be none."""
        try:
            picked: WorkerPicked | ChoiceFailed = WorkerPicked(
                await self.view.choose(lambda: self._workers, self._wait_workers_changed)
            )
        except RtcError as error:  # nobody can be asked
            picked = ChoiceFailed(error.fault if self._workers else none_to_choose(self.options))
        self._post(picked)

    async def _wait_workers_changed(self) -> None:
        await self._workers_changed.wait()

    async def run_lossviewer(self, ports: tuple[int, int] | None) -> None:
        """Serve SLEAP's LossViewer until cancelled; its Stop button calls `request_stop`.

        Args:
            ports: LossViewer's ports on this machine (controller, publish); None for no LossViewer.
        """
        if ports is None:
            return
        async with open_lossviewer(
            controller=ports[0], publish=ports[1], stop=self.request_stop, warn=self.view.warn
        ) as self.lossviewer:
            await trio.sleep_forever()

    # -------- a client that is cancelled

    @property
    def cancelled_fault(self) -> Fault:
        """The fault to report if the client is cancelled now; it says whether a job or its result stays on a worker."""
        on_worker = self.phase.status is Status.BUSY or self.options.credential is not None
        return CANCELLED_WITH_JOB if on_worker else CANCELLED_BEFORE_JOB

    def show_cancelled(self) -> None:
        """Show, once, the outcome of a client that is cancelled, and how to attach to its job if it has one."""
        if self._cancellation_shown:
            return
        self._cancellation_shown = True
        job = self.job if self.options.credential is None else self.options.credential.job
        left_job = self.cancelled_fault is CANCELLED_WITH_JOB
        if left_job and self._has_tickets:
            self.view.step(ATTACH_HINT.format(job))
        self.view.failed(self.cancelled_fault, None)

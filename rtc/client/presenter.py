"""Shows a client's job to the person, and turns what the person wants into events for the client's actors.

Events and messages of the running client become calls of the view. Ctrl-C, the stop key and LossViewer's Stop button
become `StopWanted`, `CancelWanted` and `Drain`.
"""

from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from actors.events import (
    AskPerson,
    Authenticated,
    CancelWanted,
    Drain,
    Finished,
    JoinedRoom,
    LinkLost,
    LinkRefused,
    OpenLink,
    PackageSent,
    PeerMessage,
    ResultDownloaded,
    SendJobKey,
    SendPackage,
    ShowWorkers,
    StopWanted,
    TellPeer,
    WorkerPicked,
)
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import (
    AttachJob,
    JobAccepted,
    JobEnded,
    JobEvent,
    JobKind,
    JobStage,
    JobStarted,
    JobState,
    ModelStarted,
    ModelTrained,
    PredictionStarted,
    StopScope,
)
from protocol.signaling import QueuePosition, WorkerPresent
from rtc.client import tickets
from rtc.client.lossviewer.bridge import LossViewer, open_lossviewer
from rtc.client.options import ClientOptions
from rtc.client.tickets import JobTicket
from rtc.common.errors import RtcError
from rtc.runtime.peer_runtime import PeerRuntime
from rtc.terminal.interface import ClientView, Interrupt, JobSummary

STOP_ASKED = "The worker is asked to stop early; what has been learned is kept"
NOTHING_TO_STOP = "No model trains now, so there is nothing to stop early"
CANCEL_HINT = "; Ctrl-C offers to cancel"
ATTACH_HINT = "To come back to it: sleap-rtc attach {}"
CANCELLED_WITH_JOB = Fault(FaultCode.DETACHED, "Left at once: the job, or its result, stays on the worker.")
CANCELLED_BEFORE_JOB = Fault(FaultCode.INTERRUPTED, "Stopped at once, before the job began.")
NO_RESULT_FAULTS = (FaultCode.NO_SUCH_JOB, FaultCode.INTERRUPTED)
"""A client that ended with one of these left no result anywhere."""
UNCERTAIN_FAULTS = (FaultCode.LINK_LOST, FaultCode.DETACHED)
"""A client that ended with one of these while it uploaded does not know whether the job runs: the last bytes of the
package may have arrived."""


@define
class Presenter:
    """Connects one running client with its view; holds what has been shown and what the person has requested so far.

    `runtime` is set by the program once the client's runtime is open.
    """

    view: ClientView
    options: ClientOptions
    outcome_scope: trio.CancelScope = field(factory=trio.CancelScope)
    """The cancel scope around the whole client. It is shielded once the outcome is decided: a person who presses
    Ctrl-C again after that still sees this outcome."""
    runtime: PeerRuntime | None = None
    lossviewer: LossViewer | None = None
    job: JobId | None = None
    job_on_worker: bool = False
    """The worker has the whole package and we do not have the result yet, so leaving now means to detach."""
    partial_result: JobSummary | None = None
    """The summary of what was unpacked here of a job that failed or was cancelled."""
    _last_shown_seq: int = 0
    """The newest `JobEvent.seq` that was shown; 0 before the first one."""
    _last_wanted_seq: int | None = None
    """The newest `JobEvent.seq` to show before the client ends; None to follow the job to its end."""
    _package_sent: bool = False
    """The worker has the whole package, as far as we know."""
    _upload_unconfirmed: bool = False
    """The upload has begun, and the worker has not confirmed yet that the package is complete."""
    _job_unknown: bool = False
    """The worker has reported that it has no such job."""
    _stoppable: bool = field(init=False)
    """A stop would end a model's training: one trains now, or the first one has not begun yet."""
    _stop_when_started: bool = False
    """Send the stop as soon as the job starts: before that the worker has nothing to stop."""
    _job_ended: bool = False
    _asking_interrupt: bool = False
    """The question after a Ctrl-C waits for its answer."""
    _interrupt_applied: bool = False
    """A first Ctrl-C was already turned into a stop, a cancel or a detach."""
    _keyboard_started: bool = False
    _cancellation_shown: bool = False
    _choosing_worker: bool = False
    """The list of workers is shown and waits for a choice."""
    _workers: tuple[WorkerPresent, ...] = ()
    _workers_changed: trio.Event = field(factory=trio.Event)
    """Set, and replaced by a new event, when `_workers` changes."""

    @_stoppable.default
    def _stoppable_at_start(self) -> bool:
        return self.options.kind is JobKind.TRAIN

    # -------- messages from the worker

    async def receive(self, runtime: PeerRuntime, link: LinkId, message: Any) -> None:
        """Show a message from the worker, and pass it on to the Client actor.

        A `JobEvent` is only shown: the Client has nothing to decide about it.
        """
        if isinstance(message, JobEvent):
            self._handle_job_event(message)
            await trio.lowlevel.checkpoint()
            return
        if isinstance(message, JobAccepted):
            self._handle_accepted(link, message)
        if isinstance(message, JobState) and message.stage is JobStage.UNKNOWN:
            self._job_unknown = True
        elif isinstance(message, JobState) and message.stage is not JobStage.ELSEWHERE:
            self._handle_job_state(link, message)
        if isinstance(message, JobEnded):
            self._job_ended = True
            if self.lossviewer is not None:
                self.lossviewer.handle(message)
        await runtime.router.outbox.admit(PeerMessage(link, message))

    def _handle_job_event(self, event: JobEvent) -> None:
        """Show a job event. An event with a number is shown once, although a worker repeats events on a new link."""
        if event.seq is not None:
            if event.seq <= self._last_shown_seq:
                return
            self._last_shown_seq = event.seq
        news = event.news
        if isinstance(news, JobStarted) and self._stop_when_started:
            self._post(StopWanted(self.options.stop))
        elif isinstance(news, ModelStarted):
            self._stoppable = True
        elif isinstance(news, ModelTrained | PredictionStarted):
            self._stoppable = False
        if self.lossviewer is not None:
            self.lossviewer.handle(news)
        self._start_keyboard()
        self.view.news(news, event.at)
        self._finish_when_caught_up()

    def _finish_when_caught_up(self) -> None:
        """End a client that is not to follow the job, once all events are shown that the job had when it attached."""
        if (
            self._last_wanted_seq is not None
            and self._last_shown_seq >= self._last_wanted_seq
            and self.runtime is not None
        ):
            self.runtime.finish(Finished())

    def _handle_job_state(self, link: LinkId, state: JobState) -> None:
        """Record that the worker knows the job. It sends the state in answer to `AttachJob`, or to a stop or cancel."""
        peer = self.runtime.links.peer(link) if self.runtime is not None else None
        if self._upload_unconfirmed and state.stage is JobStage.RUNNING:
            self._note_package_complete()  # the last byte had arrived when the link broke
        if self.job is None and peer is not None:
            self.job = state.job
            self._note_package_complete()
            self.view.accepted(state.job, peer)
            self._last_wanted_seq = None if self.options.follow else state.events
            self._finish_when_caught_up()

    def _note_package_complete(self) -> None:
        """Record that the worker has the whole package, so the job no longer needs this client."""
        self.job_on_worker = self._package_sent = True
        self._upload_unconfirmed = False

    def _handle_accepted(self, link: LinkId, message: JobAccepted) -> None:
        """Show that the worker accepted the job, and save its ticket, so that a later client can attach to the job."""
        if self.job is not None:
            self._note_resubmitted(self.job)
        self.job = message.job
        worker = self.runtime.links.peer(link) if self.runtime is not None else None
        if worker is None:
            return
        self.view.accepted(message.job, worker)
        if self.options.tickets_folder is None:
            return
        options = self.options
        ticket = JobTicket(
            job=message.job,
            key=message.key,
            worker=worker,
            room=options.room,
            token=options.token,
            server=options.config.signaling_websocket,
            package=options.package.name,
            kind=options.kind.value,
            output="" if options.output is None else str(options.output.absolute()),
        )
        try:
            tickets.save(self.options.tickets_folder, ticket)
        except OSError as error:
            text = (
                f"The job's ticket cannot be saved ({error.strerror}): sleap-rtc attach will not find this job later."
            )
            self.view.warn(text)

    def _note_resubmitted(self, job: JobId) -> None:
        """Show that the whole package is sent again, as a new job, because the worker had deleted the part that it had.

        Args:
            job: the earlier job, whose ticket is deleted.
        """
        self.view.step("The worker has not kept the beginning of the package; all of it is sent again")
        self._upload_unconfirmed = self._job_unknown = False
        if self.options.tickets_folder is not None:
            self._delete_ticket(self.options.tickets_folder, job)

    # -------- the steps towards the job

    def show_step(self, effect: Any) -> None:
        """Show what one event or effect means to the person. This is the router's tap: it gets all in order."""
        match effect:
            case JoinedRoom():
                self.view.step(f"In room {effect.room} as {effect.peer}")
            case QueuePosition():
                self.view.step(f"In line for a worker: place {effect.place} of {effect.of}")
            case OpenLink():
                self.view.step(f"Asking {effect.peer} for a link")
            case PackageSent():
                self._note_package_complete()
            case LinkLost(fault=Fault(code=FaultCode.CANCELLED)):
                pass  # the job ends with the link, and its end is shown next
            case LinkLost() if self._upload_unconfirmed:
                self.view.warn("The link to the worker is lost in mid upload. Trying to get back, to send the rest.")
            case LinkLost() if self.job_on_worker and not self._job_ended:
                self.view.warn("The link to the worker is lost; its job goes on. Trying to get back to it.")
            case LinkLost() if self._job_ended:
                self.view.warn("The link to the worker is lost; the result is kept there. Trying to get back to it.")
            case ResultDownloaded() | Finished():
                self.job_on_worker, self._job_ended = False, False
            case LinkRefused() if effect.fault.code is FaultCode.NO_SUCH_JOB:
                self._job_unknown = True
            case LinkRefused() if isinstance(self.options.choice, AskPerson):
                self._choosing_worker = False  # the person may choose again
                self.view.warn(f"{effect.peer}: {effect.fault.text}")
            case Authenticated() if self.runtime is not None:
                path = self.runtime.links.path(effect.link)
                proof = "room secret proven on both sides" if effect.proven else "no room secret asked for"
                self.view.step(f"Linked to {effect.peer} ({path}, {proof})")
            case SendPackage() if self._upload_unconfirmed:
                self.view.step("Back at the worker; sending the rest of the package")
            case SendPackage():
                self._upload_unconfirmed = True
                self.view.step(f"The worker takes the job, as {effect.job}")
            case _:
                return

    def send_key(self, effect: SendJobKey) -> None:
        """Send the worker the job's key and the number of the newest event shown; it sends the later events."""
        credential = effect.credential
        attach = AttachJob(credential.job, credential.key, self._last_shown_seq, effect.fetch, effect.supply)
        self._post(TellPeer(effect.link, attach))

    def _post(self, event: Any) -> None:
        assert self.runtime is not None, "events are posted only while a runtime is open"
        self.runtime.post(event)

    # -------- requests of the person

    def handle_interrupt(self) -> bool:
        """Handle a Ctrl-C: ask the person what to do with the job, or do what `--on-interrupt` says.

        Returns:
            Whether it was handled. False means that the client should leave: there is no running job, the question is
            already open, this is the second Ctrl-C, or `--on-interrupt` says to detach.
        """
        policy = self.options.on_interrupt
        if not self.job_on_worker or self._job_ended or self._asking_interrupt or policy is Interrupt.DETACH:
            return False
        assert self.runtime is not None, "a running job implies an open runtime"
        if policy is None:
            self._asking_interrupt = True
            self.runtime.actors.start_soon(self._ask_interrupt)
            return True
        if self._interrupt_applied:  # the second Ctrl-C leaves
            return False
        self._apply_interrupt(policy)
        return True

    async def _ask_interrupt(self) -> None:
        """Ask the person what a Ctrl-C means for the job, and do that."""
        answer = await self.view.ask_interrupt(stoppable=self._stoppable)
        self._asking_interrupt = False
        self._apply_interrupt(answer)

    def _apply_interrupt(self, choice: Interrupt) -> None:
        """Stop the job early, cancel it, or leave it, as chosen."""
        self._interrupt_applied = True
        match choice:
            case Interrupt.STOP:
                self.request_stop()
            case Interrupt.CANCEL:
                self.view.step("The worker is asked to cancel the job")
                self._post(CancelWanted())
            case Interrupt.DETACH:
                self._post(Drain())

    def request_stop(self) -> None:
        """Ask the worker to stop early and keep what was learned; called by Ctrl-C, the stop key or SLEAP's LossViewer.

        Does nothing without a running job. A stop before the first job event is sent when the job starts.
        """
        if not self.job_on_worker or self._job_ended:
            return
        scope = self.options.stop
        if not self._stoppable and scope is StopScope.THIS:
            self.view.step(NOTHING_TO_STOP + (CANCEL_HINT if self.options.on_interrupt is None else ""))
            return
        self.view.step(STOP_ASKED)
        if self._last_shown_seq:
            self._post(StopWanted(scope))
        else:
            self._stop_when_started = True

    def _start_keyboard(self) -> None:
        """Start to read the person's keys, once, with the first job event."""
        if not self._keyboard_started and self.runtime is not None:
            self._keyboard_started = True
            self.runtime.actors.start_soon(self.view.read_keys, self.request_stop)

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

    def show_workers(self, effect: ShowWorkers) -> None:
        """Show the list from which the person chooses a worker, or update the list if it is shown already."""
        assert self.runtime is not None, "the list of workers comes from an open runtime"
        self._workers = effect.workers
        self._workers_changed.set()
        self._workers_changed = trio.Event()
        if not self._choosing_worker:
            self._choosing_worker = True
            self.runtime.actors.start_soon(self._choose_worker)

    async def _choose_worker(self) -> None:
        """Let the person choose from the list, and post the choice; end the client if there can be no choice."""
        assert self.runtime is not None, "the choice runs inside an open runtime"
        try:
            peer = await self.view.choose(lambda: self._workers, self._wait_workers_changed)
        except RtcError as error:
            self.runtime.finish(Finished(error.fault))
            return
        self.runtime.post(WorkerPicked(peer))

    async def _wait_workers_changed(self) -> None:
        await self._workers_changed.wait()

    # -------- the end

    def settle_ticket(self, finished: Finished, *, unpacked: bool) -> None:
        """Delete the job's ticket if no result is left to fetch with it; otherwise show how to attach to the job.

        Args:
            finished: how the client ended.
            unpacked: whether the result was unpacked here.
        """
        folder, job = self.options.tickets_folder, self.job
        if self._is_unknown_to_its_worker(finished):
            assert self.options.credential is not None, "only a client with a credential attaches to an earlier job"
            job = self.options.credential.job
            self.view.step("Nothing of the job is left, so its ticket is removed")
        if job is None or folder is None or not self.options.fetch:
            return
        if unpacked or self._no_result_left(finished) or (finished.ended is not None and not finished.ended.result):
            self._delete_ticket(folder, job)
        else:
            self.view.step(ATTACH_HINT.format(job))

    def _is_unknown_to_its_worker(self, finished: Finished) -> bool:
        """Return whether we attached to an earlier job and its worker has no such job.

        A worker that the person named (`ClientOptions.worker_named`) does not count: it may just be the wrong one.
        """
        unknown = finished.fault is not None and finished.fault.code is FaultCode.NO_SUCH_JOB
        return unknown and self.options.credential is not None and not self.options.worker_named

    def _no_result_left(self, finished: Finished) -> bool:
        """Return whether there is no result of the job on any worker, and never will be."""
        if finished.fault is None:
            return False
        never_started = not self._package_sent and finished.fault.code not in UNCERTAIN_FAULTS
        return never_started or self._job_unknown or finished.fault.code in NO_RESULT_FAULTS

    def _delete_ticket(self, folder: Path, job: JobId) -> None:
        try:
            tickets.delete(folder, job)
        except OSError as error:
            self.view.warn(
                f"The job's ticket cannot be removed ({error.strerror}): sleap-rtc jobs goes on listing the job."
            )

    @property
    def cancelled_fault(self) -> Fault:
        """The fault to report if the client is cancelled now; it says whether a job or its result stays on a worker."""
        on_worker = self._package_sent or self.options.credential is not None
        return CANCELLED_WITH_JOB if on_worker else CANCELLED_BEFORE_JOB

    def show_cancelled(self) -> None:
        """Show, once, the outcome of a client that is cancelled, and how to attach to its job if it has one."""
        if self._cancellation_shown:
            return
        self._cancellation_shown = True
        job = self.job if self.options.credential is None else self.options.credential.job
        left_job = self.cancelled_fault is CANCELLED_WITH_JOB
        if left_job and self.options.tickets_folder is not None and self.options.fetch:
            self.view.step(ATTACH_HINT.format(job))
        self.view.failed(self.cancelled_fault, None)

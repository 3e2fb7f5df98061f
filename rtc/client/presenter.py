"""Between the client's house and the person: what happens becomes lines of the view, and the person's wishes events."""

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
    SendPackage,
    ShowJobKey,
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
OFFER = "; Ctrl-C offers to cancel"
LEFT = Fault(FaultCode.DETACHED, "Left at once: the job, or its result, stays on the worker.")
UNBEGUN = Fault(FaultCode.INTERRUPTED, "Stopped at once, before the job began.")


@define
class Presenter:
    """One client's face. `runtime` is set once there is one."""

    view: ClientView
    options: ClientOptions
    decided: trio.CancelScope = field(factory=trio.CancelScope)
    """Shielded as soon as it is decided how all ends: whoever is in a hurry then is told that, and nothing else."""
    runtime: PeerRuntime | None = None
    viewer: LossViewer | None = None
    job: JobId | None = None
    begun: bool = False
    """The job is the worker's now: from here on leaving means to detach."""
    made: JobSummary | None = None
    """What is here of a job that has come to no good end."""
    _seen: int = 0
    """The newest event of the job that was shown."""
    _until: int | None = None
    """The newest event that is wanted."""
    _sent: bool = False
    """The worker has the package, as far as we know."""
    _sending: bool = False
    """Some of the package may be over; whether all of it is, we have not heard."""
    _none_there: bool = False
    """The worker says that it has no such job."""
    _stoppable: bool = field(init=False)
    """A model trains, or the first one is still to come."""
    _stop_early: bool = False
    """To be said as soon as the job starts: before that the worker has nothing to stop."""
    _over: bool = False
    _asking: bool = False
    """A question after Ctrl-C is open."""
    _urged: bool = False
    _listening: bool = False
    _choosing: bool = False
    _workers: tuple[WorkerPresent, ...] = ()
    _changed: trio.Event = field(factory=trio.Event)

    @_stoppable.default
    def _trains(self) -> bool:
        return self.options.kind is JobKind.TRAIN

    # -------- what the worker says

    async def receive(self, runtime: PeerRuntime, link: LinkId, message: Any) -> None:
        """What happens in the job goes straight to the view; the rest is for the Client to decide on."""
        if isinstance(message, JobEvent):
            self._happened(message)
            await trio.lowlevel.checkpoint()
            return
        if isinstance(message, JobAccepted):
            self._keep_ticket(link, message)
        if isinstance(message, JobState) and message.stage is JobStage.UNKNOWN:
            self._none_there = True
        elif isinstance(message, JobState) and message.stage is not JobStage.ELSEWHERE:
            self._known(link, message)
        if isinstance(message, JobEnded):
            self._over = True
            if self.viewer is not None:
                self.viewer.hear(message)
        await runtime.router.outbox.admit(PeerMessage(link, message))

    def _happened(self, event: JobEvent) -> None:
        """Each numbered event is shown once, however often links break and are made again."""
        if event.seq is not None:
            if event.seq <= self._seen:
                return
            self._seen = event.seq
        news = event.news
        if isinstance(news, JobStarted) and self._stop_early:
            self._post(StopWanted(self.options.stop))
        elif isinstance(news, ModelStarted):
            self._stoppable = True
        elif isinstance(news, ModelTrained | PredictionStarted):
            self._stoppable = False
        if self.viewer is not None:
            self.viewer.hear(news)
        self._listen()
        self.view.news(news, event.at)
        self._end_when_caught_up()

    def _end_when_caught_up(self) -> None:
        """Who does not want to follow has seen all there was."""
        if self._until is not None and self._seen >= self._until and self.runtime is not None:
            self.runtime.finish(Finished())

    def _known(self, link: LinkId, state: JobState) -> None:
        """We have come back to a job, or it answers a wish of ours."""
        peer = self.runtime.links.peer(link) if self.runtime is not None else None
        if self._sending and state.stage is JobStage.RUNNING:  # the last byte was over when the link broke
            self._begins()
        if self.job is None and peer is not None:
            self.job = state.job
            self._begins()
            self.view.accepted(state.job, peer)
            self._until = None if self.options.follow else state.events
            self._end_when_caught_up()

    def _begins(self) -> None:
        """The worker has all it needs."""
        self.begun = self._sent = True
        self._sending = False

    def _keep_ticket(self, link: LinkId, message: JobAccepted) -> None:
        """From now on the job can be come back to, whatever happens to this program."""
        if self.job is not None:
            self._start_over(self.job)
        self.job = message.job
        worker = self.runtime.links.peer(link) if self.runtime is not None else None
        if worker is None:
            return
        self.view.accepted(message.job, worker)
        if self.options.tickets is None:
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
            tickets.keep(self.options.tickets, ticket)
        except OSError as error:
            self.view.warn(f"The job's ticket cannot be kept ({error.strerror}): it cannot be come back to later.")

    def _start_over(self, job: JobId) -> None:
        """The worker did not keep what had come of the package."""
        self.view.step("The worker has not kept the beginning of the package; all of it is sent again")
        self._sending = self._none_there = False
        if self.options.tickets is not None:
            self._forget(self.options.tickets, job)

    # -------- the steps on the way

    def tap(self, effect: Any) -> None:
        """Tell them."""
        match effect:
            case JoinedRoom():
                self.view.step(f"In room {effect.room} as {effect.peer}")
            case QueuePosition():
                self.view.step(f"In line for a worker: place {effect.place} of {effect.of}")
            case OpenLink():
                self.view.step(f"Asking {effect.peer} for a link")
            case PackageSent():
                self._begins()
            case LinkLost() if self._sending:
                self.view.warn("The link to the worker is lost in mid upload. Trying to get back, to send the rest.")
            case LinkLost() if self.begun and not self._over:
                self.view.warn("The link to the worker is lost; its job goes on. Trying to get back to it.")
            case LinkLost() if self._over:
                self.view.warn("The link to the worker is lost; the result is kept there. Trying to get back to it.")
            case ResultDownloaded() | Finished():
                self.begun, self._over = False, False
            case LinkRefused() if effect.fault.code is FaultCode.NO_SUCH_JOB:
                self._none_there = True
            case LinkRefused() if isinstance(self.options.choice, AskPerson):
                self._choosing = False  # the person may choose again
                self.view.warn(f"{effect.peer}: {effect.fault.text}")
            case Authenticated() if self.runtime is not None:
                path = self.runtime.links.path(effect.link)
                proof = "room secret proven on both sides" if effect.proven else "no room secret asked for"
                self.view.step(f"Linked to {effect.peer} ({path}, {proof})")
            case SendPackage() if self._sending:
                self.view.step("Back at the worker; sending the rest of the package")
            case SendPackage():
                self._sending = True
                self.view.step(f"The worker takes the job, as {effect.job}")
            case _:
                return

    def show_key(self, effect: ShowJobKey) -> None:
        """Show the job's key, and say how much of its story we know."""
        credential = effect.credential
        self._post(
            TellPeer(effect.link, AttachJob(credential.job, credential.key, self._seen, effect.fetch, effect.supply))
        )

    def _post(self, event: Any) -> None:
        assert self.runtime is not None, "only a house is told anything"
        self.runtime.post(event)

    # -------- what the person wants

    def interrupted(self) -> bool:
        """Somebody pressed Ctrl-C. True when that is taken care of; otherwise it is a wish to leave."""
        policy = self.options.on_interrupt
        if not self.begun or self._over or self._asking or policy is Interrupt.DETACH:
            return False
        assert self.runtime is not None, "a job runs, so there is a house"
        if policy is None:
            self._asking = True
            self.runtime.actors.start_soon(self._ask_interrupt)
            return True
        if self._urged:  # the second one leaves
            return False
        self._urge(policy)
        return True

    async def _ask_interrupt(self) -> None:
        answer = await self.view.ask_interrupt(stoppable=self._stoppable)
        self._asking = False
        self._urge(answer)

    def _urge(self, wish: Interrupt) -> None:
        self._urged = True
        match wish:
            case Interrupt.STOP:
                self.stop()
            case Interrupt.CANCEL:
                self.view.step("The worker is asked to cancel the job")
                self._post(CancelWanted())
            case Interrupt.DETACH:
                self._post(Drain())

    def stop(self) -> None:
        """The person, or SLEAP's LossViewer, has seen enough of this model."""
        if not self.begun or self._over:
            return
        scope = self.options.stop
        if not self._stoppable and scope is StopScope.THIS:
            self.view.step(NOTHING_TO_STOP + (OFFER if self.options.on_interrupt is None else ""))
            return
        self.view.step(STOP_ASKED)
        if self._seen:
            self._post(StopWanted(scope))
        else:
            self._stop_early = True

    def _listen(self) -> None:
        """Heed the keys from when the job runs."""
        if not self._listening and self.runtime is not None:
            self._listening = True
            self.runtime.actors.start_soon(self.view.listen, self.stop)

    async def feed_viewer(self, ports: tuple[int, int] | None) -> None:
        """Keep a bridge to SLEAP's LossViewer, whose Stop is heard like any other wish."""
        if ports is None:
            return
        async with open_lossviewer(
            controller=ports[0], publish=ports[1], stop=self.stop, warn=self.view.warn
        ) as self.viewer:
            await trio.sleep_forever()

    def show_workers(self, effect: ShowWorkers) -> None:
        """Let the person choose; a list that changes meanwhile is shown as it is now."""
        assert self.runtime is not None, "the roster comes from a house"
        self._workers = effect.workers
        self._changed.set()
        self._changed = trio.Event()
        if not self._choosing:
            self._choosing = True
            self.runtime.actors.start_soon(self._choose)

    async def _choose(self) -> None:
        assert self.runtime is not None, "asked from within a house"
        try:
            peer = await self.view.choose(lambda: self._workers, self._news)
        except RtcError as error:
            self.runtime.finish(Finished(error.fault))
            return
        self.runtime.post(WorkerPicked(peer))

    async def _news(self) -> None:
        await self._changed.wait()

    # -------- the end

    def settle(self, last: Finished, *, unpacked: bool) -> None:
        """The ticket of a job whose result is here is of no use; any other is said how to use."""
        folder, job = self.options.tickets, self.job
        if self._was_long_ago(last):
            assert self.options.credential is not None, "that is what makes it long ago"
            job = self.options.credential.job
            self.view.step("Nothing of the job is left, so its ticket is removed")
        if job is None or folder is None or not self.options.fetch:
            return
        if unpacked or self._is_gone(last) or (last.ended is not None and not last.ended.result):
            self._forget(folder, job)
        else:
            self.view.step(WAY_BACK.format(job))

    def _was_long_ago(self, last: Finished) -> bool:
        """The job's own worker knows nothing of it; one that somebody else names may just be the wrong one."""
        unknown = last.fault is not None and last.fault.code is FaultCode.NO_SUCH_JOB
        return unknown and self.options.credential is not None and not self.options.moved

    def _is_gone(self, last: Finished) -> bool:
        """No result is left anywhere, nor will there be one."""
        if last.fault is None:
            return False
        never = not self._sent and last.fault.code not in IN_DOUBT
        return never or self._none_there or last.fault.code in NOTHING_WAITS

    def _forget(self, folder: Path, job: JobId) -> None:
        try:
            tickets.forget(folder, job)
        except OSError as error:
            self.view.warn(
                f"The job's ticket cannot be removed ({error.strerror}): sleap-rtc jobs goes on listing the job."
            )

    @property
    def left(self) -> Fault:
        """What it means to be torn away now: whether a job of ours is the worker's."""
        return LEFT if self._sent or self.options.credential is not None else UNBEGUN

    def leave(self) -> None:
        """The last words of who is torn away."""
        job = self.job if self.options.credential is None else self.options.credential.job
        if self.left is LEFT and self.options.tickets is not None and self.options.fetch:
            self.view.step(WAY_BACK.format(job))
        self.view.failed(self.left, None)


WAY_BACK = "To come back to it: sleap-rtc attach {}"
NOTHING_WAITS = (FaultCode.NO_SUCH_JOB, FaultCode.INTERRUPTED)
"""Ends after which no result is left anywhere."""
IN_DOUBT = (FaultCode.LINK_LOST, FaultCode.DETACHED)
"""Ends that leave open whether a package whose last byte was on its way has come to run."""

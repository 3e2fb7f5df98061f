"""The actions of the Client's table: what it does and remembers at one event. Each is pure."""

import math
from typing import Any

from attrs import evolve

from actors import events
from actors.client_data import ClientData, want
from actors.client_guards import (
    fault_of,
    fitting_workers,
    no_worker_fault,
    not_called_fault,
    too_few_gpus_fault,
    without_peer,
    worker_called,
)
from actors.events.timer import CANCEL_TIMEOUT, Deadline, StateTimeout, cancel_deadline
from actors.table import Step
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId, PeerId
from protocol.jobs import (
    AttachJob,
    CancelJob,
    JobAccepted,
    JobEnded,
    JobEvent,
    JobKind,
    JobState,
    ModelStarted,
    ModelTrained,
    Outcome,
    PredictionStarted,
    ResultTaken,
    StopJob,
)
from protocol.signaling import JoinQueue, LeaveQueue, WorkerAssigned

FIRST_PAUSE = 1.0
"""Seconds before the first try to reconnect to a job, and before the second offer to a worker."""
RECONNECT_PAUSE = 5.0
"""Seconds before each further try to reconnect; a try itself takes up to 33."""
RECEIPT_TIME = 5.0
"""Seconds to wait for the answer to `ResultTaken`. If the worker has not received it, the worker keeps the result for
some time, which does no harm."""
PATIENCE = "patience"
"""Name of the deadline of `--wait`."""


# -------- the room


def join_room(data: ClientData, wanted: events.JobWanted) -> Step[ClientData]:
    """Join the room of the wanted job; for an existing job, store its id and key."""
    data = evolve(data, wanted=wanted, model=0 if wanted.kind is JobKind.TRAIN else None)
    if wanted.credential is not None:
        data = evolve(data, job=wanted.credential.job, key=wanted.credential.key)
    return Step(data, (events.JoinRoom(wanted.room_credentials, wanted.step_timeout), _patience(wanted)))


def _patience(wanted: events.JobWanted) -> Deadline:
    """Return the deadline of `--wait`; without a wait, or after it, there is none."""
    return Deadline(PATIENCE, wanted.wait or math.inf, events.WaitExpired())


def update_workers(data: ClientData, event: events.WorkersChanged) -> Step[ClientData]:
    """Store the new list of workers, from which another one is chosen if this one refuses."""
    return Step(evolve(data, workers=event.workers))


def show_choice(data: ClientData, event: events.WorkersChanged) -> Step[ClientData]:
    """Show the available workers to the person, without a time limit.

    A new list is newer than every refusal: a worker that has refused or was lost may take the job again.
    """
    data = evolve(data, workers=event.workers, refused=frozenset())
    return Step(data, (events.ShowWorkers(fitting_workers(data, data.workers)),))


def show_other_choices(data: ClientData, _event: events.LinkLost | Fault) -> Step[ClientData]:
    """Show the available workers again, without the one that refused or was lost."""
    closed = _close_link(without_peer(data))
    return Step(closed.data, (*closed.effects, events.ShowWorkers(fitting_workers(closed.data, data.workers))))


def fail_no_worker(data: ClientData, event: events.WorkersChanged) -> Step[ClientData]:
    """Fail because no worker of the room can take the job; say whether none is there, fits, is free or stays."""
    return _end(data, no_worker_fault(data, event.workers))


def join_queue(data: ClientData, event: events.WorkersChanged) -> Step[ClientData]:
    """Join the room's queue, because each worker that fits is reserved or busy."""
    return _join_queue(evolve(data, workers=event.workers))


def return_to_queue(data: ClientData, _event: events.LinkLost | Fault) -> Step[ClientData]:
    """Join the queue because this worker refused or was lost; a client that is in it already keeps its position."""
    closed = _close_link(evolve(data, peer=None, offers=0))
    return _join_queue(closed.data, *closed.effects)


def rejoin_queue(data: ClientData, _event: events.JoinedRoom) -> Step[ClientData]:
    """Join the queue again after a lost line to the server, which may have removed this client from it."""
    return _join_queue(data)


def _join_queue(data: ClientData, *before: Any) -> Step[ClientData]:
    choice = want(data).choice
    peer = choice.peer if isinstance(choice, events.NamedWorker) else None
    request = JoinQueue(want(data).min_memory_mb, peer, want(data).min_gpus)
    return Step(data, (*before, events.SendToServer(request)))


def leave_queue(data: ClientData, _event: WorkerAssigned) -> Step[ClientData]:
    """Leave the queue once more: the job has its worker, and the first `LeaveQueue` was too late, or got lost."""
    return Step(data, (events.SendToServer(LeaveQueue()),))


def fail_wait_expired(data: ClientData, _event: events.WaitExpired) -> Step[ClientData]:
    """Fail because no worker came free within the time given with `--wait`."""
    return _end(data, Fault(FaultCode.WORKER_BUSY, "No worker came free within the time given with --wait."))


def end_patience(data: ClientData, _event: events.WaitExpired) -> Step[ClientData]:
    """Remember not to wait any more; the worker that is asked now may still take the job."""
    return Step(evolve(data, wanted=evolve(want(data), wait=0.0)))


# -------- the link


def _open_link(data: ClientData, peer: PeerId, *before: Any) -> Step[ClientData]:
    """Open a new link to a worker. It counts as lost when it is not open and proven within `connection_timeout`."""
    link = LinkId(data.last_link + 1)
    seconds = want(data).step_timeout
    text = f"The worker {peer} was silent for {seconds:.0f} seconds while a link to it was to open. Try again."
    effects = (*before, events.OpenLink(link, peer, data.job), _link_timeout(link, seconds, text))
    return Step(evolve(data, peer=peer, link=link, last_link=link), effects)


def _link_timeout(link: LinkId, seconds: float, text: str) -> StateTimeout:
    """Return the time-out of a step over a link: when it is over, the link counts as lost."""
    return StateTimeout(seconds, events.LinkLost(link, Fault(FaultCode.STALLED, text)))


def _close_link(data: ClientData) -> Step[ClientData]:
    """Close the present link, if there is one; whatever comes over it from now on is stale."""
    return Step(evolve(data, link=None), () if data.link is None else (events.CloseLink(data.link),))


def connect_to_named(data: ClientData, event: events.WorkersChanged) -> Step[ClientData]:
    """Open a link to the worker that the person named, whether or not the list contains it."""
    choice = want(data).choice
    assert isinstance(choice, events.NamedWorker), "the row's guard says so"
    return _open_link(evolve(data, workers=event.workers), choice.peer)


def connect_to_called(data: ClientData, event: events.WorkersChanged) -> Step[ClientData]:
    """Open a link to the worker that the person has called by its id or its name; from now on it is meant by its id."""
    choice = want(data).choice
    assert isinstance(choice, events.WorkerCalled), "the row's guard says so"
    peer = worker_called(choice.name, event.workers)
    assert peer is not None, "the row's guard says so"
    named = evolve(want(data), choice=events.NamedWorker(peer))
    return _open_link(evolve(data, workers=event.workers, wanted=named), peer)


def fail_not_called(data: ClientData, event: events.WorkersChanged) -> Step[ClientData]:
    """Fail because no worker, or more than one, has the name that the person has given."""
    choice = want(data).choice
    assert isinstance(choice, events.WorkerCalled), "the row's guard says so"
    return _end(data, not_called_fault(choice.name, event.workers))


def fail_too_few_gpus(data: ClientData, event: events.WorkersChanged) -> Step[ClientData]:
    """Fail because the worker that the person has named gives a job fewer GPUs than the person asks for."""
    return _end(data, too_few_gpus_fault(data, event))


def connect_to_only(data: ClientData, event: events.WorkersChanged) -> Step[ClientData]:
    """Open a link to the one worker that can take the job now, without a question."""
    return connect_to_best(data, event)


def connect_to_best(data: ClientData, event: events.WorkersChanged) -> Step[ClientData]:
    """Open a link to the best worker that can take the job."""
    return _open_link(evolve(data, workers=event.workers), fitting_workers(data, event.workers)[0].peer)


def connect_to_picked(data: ClientData, event: events.WorkerPicked) -> Step[ClientData]:
    """Open a link to the worker that the person chose."""
    assert event.peer is not None, "the row before took the case that nobody was picked"
    return _open_link(data, event.peer)


def connect_to_assigned(data: ClientData, event: WorkerAssigned) -> Step[ClientData]:
    """Open a link to the worker that the server has assigned to this client."""
    return _open_link(data, event.peer)


def connect_to_next(data: ClientData, _event: events.LinkLost | Fault) -> Step[ClientData]:
    """Open a link to the next best worker, because this one refused or was lost."""
    closed = _close_link(without_peer(data))
    return _open_link(closed.data, fitting_workers(closed.data, data.workers)[0].peer, *closed.effects)


def wait_to_retry(data: ClientData, event: events.LinkLost) -> Step[ClientData]:
    """Wait before the same worker is tried again, longer each time."""
    fault = fault_of(event)
    was_asked = fault is None or fault.code is not FaultCode.SERVER_LOST
    closed = _close_link(evolve(data, offers=data.offers + (2 if was_asked else 1)))
    return Step(closed.data, (*closed.effects, StateTimeout(FIRST_PAUSE * 2**data.offers)))


def retry(data: ClientData, _event: events.TimedOut) -> Step[ClientData]:
    """Try the same worker again."""
    return _open_link(data, _peer(data))


def _peer(data: ClientData) -> PeerId:
    assert data.peer is not None, "from CONNECTING on there is a worker"
    return data.peer


def submit_job(data: ClientData, event: events.Authenticated) -> Step[ClientData]:
    """Submit the job over the proven link."""
    submit = want(data).submit
    assert submit is not None, "a client without an existing job has a job to submit"
    asked = _answer_timeout(data, event.link, "whether it takes the job")
    return Step(data, (events.TellPeer(event.link, submit), asked))


def request_attach(data: ClientData, event: events.Authenticated) -> Step[ClientData]:
    """Send the key of the existing job over the proven link."""
    return Step(data, (_attach(data, event.link), _answer_timeout(data, event.link, "whether it knows the job")))


def _answer_timeout(data: ClientData, link: LinkId, what: str) -> StateTimeout:
    seconds = want(data).step_timeout
    text = f"The worker {data.peer} did not say {what} within {seconds:.0f} seconds. Try again."
    return _link_timeout(link, seconds, text)


def _attach(data: ClientData, link: LinkId, *, supply: bool = False) -> events.TellPeer:
    """Return the message that attaches to the job, for its events after the newest that has come."""
    assert data.job is not None, "a client that attaches has a job"
    return events.TellPeer(link, AttachJob(data.job, data.key, data.seen, want(data).fetch, supply))


# -------- the job


def send_package(data: ClientData, event: JobAccepted) -> Step[ClientData]:
    """Leave the queue, keep what is needed to come back, and send the package; the transfer has its own time-outs."""
    assert data.link is not None, "the message came over our link"
    leave_queue = () if want(data).wait is None else (events.SendToServer(LeaveQueue()),)
    effects = (
        CANCEL_TIMEOUT,
        cancel_deadline(PATIENCE),
        *leave_queue,
        events.SaveTicket(events.JobCredential(event.job, event.key), _peer(data)),
        events.SendPackage(data.link, event.job),
    )
    return Step(evolve(data, job=event.job, key=event.key, offers=0), effects)


def note_package_sent(data: ClientData, _event: events.PackageSent) -> Step[ClientData]:
    """Go on without an action of its own: the worker has the whole package, so the job needs this client no more."""
    return Step(data)


def note_package_arrived(data: ClientData, _event: events.PackageSent) -> Step[ClientData]:
    """Wait to reconnect: the package was over before the link broke, so the job runs."""
    closed = _close_link(data)
    return Step(closed.data, (*closed.effects, StateTimeout(FIRST_PAUSE)))


def resume_upload(data: ClientData, state: JobState) -> Step[ClientData]:
    """Send the rest of the package over the new link; the worker has kept the first part."""
    assert data.link is not None, "the message came over our link"
    return Step(evolve(data, reconnects=0), (CANCEL_TIMEOUT, events.SendPackage(data.link, state.job)))


def resubmit(data: ClientData, _event: JobState | events.LinkLost) -> Step[ClientData]:
    """Open a link to the same worker, to submit the job again as a new one: the beginning of the package is gone."""
    assert data.job is not None, "a client whose upload broke has a job"
    closed = _close_link(data)
    wanted = want(data)
    again = ClientData(wanted, data.workers, last_link=data.last_link, resubmits=data.resubmits + 1, model=data.model)
    before = (*closed.effects, events.RemoveTicket(data.job), _patience(wanted))
    return _open_link(again, _peer(data), *before)


def note_attached(data: ClientData, state: JobState) -> Step[ClientData]:
    """Go on with the existing job like with one of our own: the worker knows it and has accepted the key."""
    last_wanted = None if want(data).follow else state.events
    return Step(evolve(data, offers=0, last_wanted=last_wanted), (CANCEL_TIMEOUT,))


def note_event(data: ClientData, event: JobEvent) -> Step[ClientData]:
    """Remember how far the job is; a stop that the person wanted before its first event is sent with that event."""
    is_first = data.seen == 0 and event.seq is not None
    model = data.model
    if isinstance(event.news, ModelStarted):
        model = event.news.model
    elif isinstance(event.news, ModelTrained | PredictionStarted):
        model = None
    data = evolve(data, seen=event.seq or data.seen, model=model)
    return Step(data, _saved_request(data) if is_first and isinstance(data.request, StopJob) else ())


def _saved_request(data: ClientData) -> tuple[events.TellPeer, ...]:
    """Return the effect that sends the person's request, if there is one and a link."""
    return () if data.request is None or data.link is None else (events.TellPeer(data.link, data.request),)


def fetch_result(data: ClientData, ended: JobEnded) -> Step[ClientData]:
    """Download the result of the ended job."""
    assert data.link is not None, "the message came over our link"
    return Step(evolve(data, ended=ended), (events.FetchResult(data.link),))


# -------- what the person wants of a job


def request_stop(data: ClientData, event: events.StopWanted) -> Step[ClientData]:
    """Request an early stop: now if the job has begun, else with its first event. It never replaces a cancel."""
    data = _with_stop(data, event)
    return Step(data, _saved_request(data) if data.seen else ())


def save_stop(data: ClientData, event: events.StopWanted) -> Step[ClientData]:
    """Keep the early stop until the client is connected again."""
    return Step(_with_stop(data, event))


def _with_stop(data: ClientData, event: events.StopWanted) -> ClientData:
    assert data.job is not None, "a job runs"
    return (
        data if isinstance(data.request, CancelJob) else evolve(data, request=StopJob(data.job, data.key, event.scope))
    )


def tell_nothing_to_stop(data: ClientData, _event: events.StopWanted) -> Step[ClientData]:
    """Do nothing but say so: no model trains that a stop would end."""
    return Step(data)


def request_cancel(data: ClientData, event: events.CancelWanted) -> Step[ClientData]:
    """Request the cancellation of the job; its end is then reported like any other end."""
    step = save_cancel(data, event)
    return Step(step.data, _saved_request(step.data))


def save_cancel(data: ClientData, _event: events.CancelWanted) -> Step[ClientData]:
    """Keep the cancellation until the client is connected again."""
    assert data.job is not None, "a job runs"
    return Step(evolve(data, request=CancelJob(data.job, data.key)))


def ask_person(data: ClientData, _event: events.Interrupted) -> Step[ClientData]:
    """Ask the person what the interrupt means for the job."""
    return Step(data, (events.AskInterrupt(stoppable=data.model is not None),))


def stop_once(data: ClientData, _event: events.Interrupted) -> Step[ClientData]:
    """Stop the job early; a second interrupt leaves it."""
    return Step(_leave_next_time(data), (events.StopWanted(want(data).stop),))


def cancel_once(data: ClientData, _event: events.Interrupted) -> Step[ClientData]:
    """Cancel the job; a second interrupt leaves it."""
    return Step(_leave_next_time(data), (events.CancelWanted(),))


def _leave_next_time(data: ClientData) -> ClientData:
    return evolve(data, wanted=evolve(want(data), on_interrupt=events.Interrupt.DETACH))


def let_next_signal_cancel(data: ClientData, _event: events.Interrupted | events.Drain) -> Step[ClientData]:
    """Go on, as only a moment is missing; but whoever interrupts again does not want to wait for it."""
    return Step(data, (events.LetNextSignalCancel(),))


# -------- a lost link, while the job continues


def keep_link(data: ClientData, event: events.LinkLost) -> Step[ClientData]:
    """Wait before the next try to reconnect; the link stays ours, as `PackageSent` about it may still come."""
    return _pause(data, event)


def wait_to_return(data: ClientData, event: events.LinkLost) -> Step[ClientData]:
    """Wait before the next try to reconnect, and close the link: if it was only silent, it may otherwise still open."""
    closed = _close_link(data)
    paused = _pause(closed.data, event)
    return Step(paused.data, (*closed.effects, *paused.effects))


def _pause(data: ClientData, event: events.LinkLost) -> Step[ClientData]:
    """Wait before the next try to reconnect: `FIRST_PAUSE` before the first, `RECONNECT_PAUSE` before each other."""
    fault = fault_of(event)
    worker_left = fault is not None and fault.code is FaultCode.NO_WORKER
    pause = StateTimeout(RECONNECT_PAUSE if data.reconnects else FIRST_PAUSE)
    return Step(evolve(data, reconnects=data.reconnects + (2 if worker_left else 1)), (pause,))


def reconnect(data: ClientData, _event: events.TimedOut) -> Step[ClientData]:
    """Open a new link to the worker, about the job; join the room again if the client has been put out of it."""
    closed = _close_link(data)
    rejoin = events.JoinRoom(want(data).room_credentials, want(data).step_timeout)
    return _open_link(closed.data, _peer(data), *closed.effects, rejoin)


def request_reattach(data: ClientData, event: events.Authenticated) -> Step[ClientData]:
    """Send the job's key over the new link."""
    return Step(data, (_attach(data, event.link), _answer_timeout(data, event.link, "how far the job is")))


def request_return(data: ClientData, event: events.Authenticated) -> Step[ClientData]:
    """Send the job's key over the new link, and offer the rest of the package unless the job is to be cancelled."""
    supply = not isinstance(data.request, CancelJob)
    attach = _attach(data, event.link, supply=supply)
    return Step(data, (attach, _answer_timeout(data, event.link, "what it has of the package")))


def resume_job(data: ClientData, _state: JobState) -> Step[ClientData]:
    """Go on with the job after the reconnection, and send the person's request again."""
    ready = data.seen > 0 or isinstance(data.request, CancelJob)
    return Step(evolve(data, reconnects=0), (CANCEL_TIMEOUT, *(_saved_request(data) if ready else ())))


# -------- the result


def note_downloaded(data: ClientData, _event: events.ResultDownloaded) -> Step[ClientData]:
    """Go on without an action of its own: the result is here, and the transfers unpack it."""
    return Step(data, (CANCEL_TIMEOUT,))


def unpack_offline(data: ClientData, _event: events.ResultDownloaded | events.LinkLost) -> Step[ClientData]:
    """Do without a link, as the result is here; the worker keeps its copy for some time."""
    return _close_link(data)


def confirm_receipt(data: ClientData, _event: events.ResultUnpacked) -> Step[ClientData]:
    """Notify the worker that the result is unpacked, and wait for its answer for at most `RECEIPT_TIME`."""
    assert data.link is not None, "in UNPACKING there is a link"
    assert data.job is not None, "a result belongs to a job"
    receipt = events.TellPeer(data.link, ResultTaken(data.job, data.key))
    return Step(data, (receipt, StateTimeout(RECEIPT_TIME)))


# -------- ends


def _end(data: ClientData, fault: Fault | None, *before: Any, keep: bool = False) -> Step[ClientData]:
    """Send the effects `before`, close the link and send `Finished`; the actor is then as at its start.

    Args:
        keep: whether something of the job is left on the worker that a later client may want.
    """
    close = _close_link(data).effects
    left = data.job if keep and want(data).fetch else None
    return Step(ClientData(last_link=data.last_link), (*before, *close, events.Finished(fault, data.ended, left)))


def _drop_ticket(data: ClientData) -> tuple[events.RemoveTicket, ...]:
    """Return the effect that removes the job's ticket, as nothing of the job is left."""
    return () if data.job is None else (events.RemoveTicket(data.job),)


def _fault_of_job(ended: JobEnded | None) -> Fault | None:
    """Return the fault of a job that failed or was cancelled; None for a job that succeeded."""
    if ended is None or ended.outcome is Outcome.DONE:
        return None
    code = FaultCode.CANCELLED if ended.outcome is Outcome.CANCELLED else FaultCode.JOB_FAILED
    return Fault(code, ended.text)


def fail(data: ClientData, event: Any) -> Step[ClientData]:
    """Fail with the event's reason, before a job was accepted."""
    return _end(data, fault_of(event))


def fail_link_lost(data: ClientData, event: events.LinkLost) -> Step[ClientData]:
    """Fail because the worker could not be reached, or was lost before it took the job or said what it knows of it."""
    text = "The link to the worker broke before the job began. Try again."
    if want(data).credential is not None:
        text = "The link to the worker broke before it said how far the job is. Try again."
    return _end(data, event.fault or Fault(FaultCode.LINK_LOST, text))


def fail_upload(data: ClientData, event: Any) -> Step[ClientData]:
    """Fail with the event's reason; the worker has dropped the package, so nothing of the job is left."""
    return _end(data, fault_of(event), *_drop_ticket(data))


def fail_not_started(data: ClientData, _event: JobState | events.LinkLost) -> Step[ClientData]:
    """Fail because the worker never received the whole package, so the job does not run."""
    text = "The link to the worker broke before the whole package was over; nothing runs there. Try again."
    return _end(data, Fault(FaultCode.LINK_LOST, text), *_drop_ticket(data))


def fail_job_gone(data: ClientData, event: JobState | JobEnded | events.LinkLost) -> Step[ClientData]:
    """Fail because the worker does not have the job or its result any more.

    The ticket is of no use then, unless the person named the worker, which may just be the wrong one.
    """
    fault = event.fault if isinstance(event, events.LinkLost) else Fault(FaultCode.NO_SUCH_JOB, event.text)
    return _end(data, fault, *(() if want(data).worker_named else _drop_ticket(data)))


def fail_job_elsewhere(data: ClientData, state: JobState) -> Step[ClientData]:
    """Fail because another worker of that machine has the job."""
    return _end(data, Fault(FaultCode.NO_WORKER, state.text), keep=True)


def fail_job(data: ClientData, event: Any) -> Step[ClientData]:
    """Fail with the event's reason; the job, or what it has made, is left on the worker."""
    return _end(data, fault_of(event), keep=True)


def fail_reconnects(data: ClientData, event: events.LinkLost) -> Step[ClientData]:
    """Fail because the client could not come back to the job, which needs neither the link nor the client."""
    text = "The link to the worker is gone. The job needs neither it nor us; its result is kept on the worker."
    return _end(data, _with_reason(event, text), keep=True)


def fail_refused(data: ClientData, event: events.LinkLost) -> Step[ClientData]:
    """Fail because the worker does not take the client back to its job; the ticket stays."""
    fault = fault_of(event)
    assert fault is not None, "the guard has looked at its code"
    text = "What is there of the job stays on its worker: sleap-rtc attach finds it when that is mended."
    return _end(data, Fault(fault.code, f"{fault.text} {text}"), keep=True)


def fail_returns(data: ClientData, event: events.LinkLost) -> Step[ClientData]:
    """Fail because the client could not come back to the upload; the last bytes of the package may have arrived."""
    text = "The link to the worker is gone. Whether the job began, only the worker knows."
    return _end(data, _with_reason(event, text), keep=True)


def _with_reason(event: events.LinkLost, text: str) -> Fault:
    return Fault(FaultCode.LINK_LOST, f"{event.fault.text} {text}" if event.fault else text)


def give_up(data: ClientData, event: Any) -> Step[ClientData]:
    """Finish because the person stopped the client before the job began; nothing is left on the worker."""
    if want(data).credential is not None:
        return leave_unattached(data, event)
    return _end(data, Fault(FaultCode.INTERRUPTED, "Stopped before the job began; nothing was left on the worker."))


def give_up_upload(data: ClientData, _event: Any) -> Step[ClientData]:
    """Finish because the person stopped the client during the upload.

    If the last byte of the package has arrived just now, the job has begun; so it is cancelled. Nobody waits for the
    answer: should that order be lost with the link, at that very moment, the job runs in vain.
    """
    assert data.link is not None, "in UPLOADING there is a link"
    assert data.job is not None, "in UPLOADING there is a job"
    cancel = events.TellPeer(data.link, CancelJob(data.job, data.key))
    fault = Fault(FaultCode.INTERRUPTED, "Stopped during the upload; the worker was told to drop the job.")
    return _end(data, fault, cancel, *_drop_ticket(data))


def leave_unattached(data: ClientData, _event: Any) -> Step[ClientData]:
    """Finish because the person stopped the client before it reached the existing job."""
    return _end(data, Fault(FaultCode.DETACHED, "Stopped before the job was reached; nothing has changed for it."))


def leave_unsure(data: ClientData, _event: Any) -> Step[ClientData]:
    """Finish because the person stopped the client while its upload was interrupted; the job may have begun."""
    text = "Left while the link was gone; whether the job runs, only the worker knows."
    return _end(data, Fault(FaultCode.DETACHED, text), keep=True)


def detach(data: ClientData, event: Any) -> Step[ClientData]:
    """Finish because the person leaves the job, which continues on the worker unless its end was heard already."""
    if data.ended is not None:
        return leave_result(data, event)
    text = "Detached: the job runs on, and its result is kept on the worker."
    return _end(data, Fault(FaultCode.DETACHED, text), keep=True)


def stay(data: ClientData, _event: events.TicketNotSaved) -> Step[ClientData]:
    """Do not leave the job when it runs, although the person wanted that: without a ticket nobody comes back to it."""
    return Step(evolve(data, wanted=evolve(want(data), detach=False)))


def leave_begun(data: ClientData, _event: Any) -> Step[ClientData]:
    """Finish well, because the job runs and the person wanted no more than that."""
    return _end(data, None, keep=True)


def leave_ended(data: ClientData, event: JobEnded | JobState) -> Step[ClientData]:
    """Finish with the outcome of the job, which has ended already; what it has made is kept on the worker."""
    if isinstance(event, JobState):
        event = JobEnded(event.job, event.outcome or Outcome.FAILED, event.text, event.result)
    return _end(evolve(data, ended=event), _fault_of_job(event), keep=True)


def leave_result(data: ClientData, _event: Any) -> Step[ClientData]:
    """Finish because the person leaves the download; the job has ended, and its result is kept on the worker."""
    text = "Detached: the job has ended, and its result is kept on the worker."
    return _end(data, Fault(FaultCode.DETACHED, text), keep=True)


def finish(data: ClientData, _event: Any) -> Step[ClientData]:
    """Finish with the outcome of the job, whose result is unpacked."""
    return _end(data, _fault_of_job(data.ended), *_drop_ticket(data))


def finish_without_result(data: ClientData, ended: JobEnded) -> Step[ClientData]:
    """Finish with the outcome of the job; there is no result, or it is not wanted."""
    drop = _drop_ticket(data) if want(data).fetch else ()
    return _end(evolve(data, ended=ended), _fault_of_job(ended), *drop)


def finish_caught_up(data: ClientData, _event: JobEvent | JobState) -> Step[ClientData]:
    """Finish because all events have come that were asked for; the job goes on without us."""
    return _end(data, None)

"""The guards of the Client's table: questions about what it remembers, and about one event."""

from typing import Any

from attrs import evolve

from actors import events
from actors.client_data import ClientData, want
from protocol.faults import Fault, FaultCode
from protocol.fields import ID_PATTERN
from protocol.ids import PeerId
from protocol.jobs import CancelJob, JobEnded, JobEvent, JobStage, JobState, Outcome, StopScope
from protocol.preference import takes_jobs
from protocol.signaling import WorkerPresent

REFUSALS = (FaultCode.WORKER_BUSY, FaultCode.WORKER_LEAVING, FaultCode.NO_WORKER)
"""Why a worker does not take a job now, although another worker of the room may, or this one later."""
UNREACHABLE = (FaultCode.LINK_FAILED, FaultCode.VERSION)
"""The client can never use this worker: no way leads to it, or there is no common version of the protocol."""
NOT_PROVEN = (FaultCode.AUTH_INVALID, FaultCode.AUTH_MISSING, FaultCode.AUTH_UNPROVEN_WORKER)
"""Why client and worker do not trust each other."""
NEVER_CHOSEN_AGAIN = (*UNREACHABLE, *NOT_PROVEN)
"""Why a client that chooses by itself takes another worker for good. Whoever has the token alone may join the room as a
worker and give a wrong proof, or say that the client's is wrong; that must not keep clients from the other workers."""
LOSSES = (FaultCode.STALLED, FaultCode.SERVER_LOST, FaultCode.LINK_LOST, FaultCode.AUTH_TIMEOUT, FaultCode.CANCELLED)
"""How a worker is lost before it has accepted the job: it was silent, or its link broke, or it was stopped."""
FOR_GOOD = (*NOT_PROVEN, FaultCode.VERSION)
"""Why a worker that was started again does not take back the client of its job, however often it tries: the worker has
another room secret now, or no common version of the protocol."""
OFFERS_MAX = 5
"""Limit of `ClientData.offers`, after which the client gives up on a worker that it cannot reach."""
RECONNECTS_MAX = 24
"""Limit of `ClientData.reconnects`. While the worker is not in the room each try counts as two, so the worker has a
little more than a minute to return to it."""
SHOWN_MAX = 5
"""Ids of workers that one sentence lists."""
RESUBMITS_MAX = 3
"""How often a package is sent again from its beginning, because the worker has not kept the part that was sent."""


def fault_of(event: Any) -> Fault | None:
    """Return the fault that an event brings, or is."""
    fault: Fault | None = event if isinstance(event, Fault) else event.fault
    return fault


def _has_code(event: Any, codes: tuple[FaultCode, ...]) -> bool:
    fault = fault_of(event)
    return fault is not None and fault.code in codes


# -------- which worker


def large_enough(data: ClientData, workers: tuple[WorkerPresent, ...]) -> tuple[WorkerPresent, ...]:
    """Return the workers that could run the job at some time: the named one, or all with enough memory."""
    choice = want(data).choice
    if isinstance(choice, events.NamedWorker):
        return tuple(worker for worker in workers if worker.peer == choice.peer)
    return tuple(worker for worker in with_gpus(data, workers) if worker.facts.memory_mb >= want(data).min_memory_mb)


def with_gpus(data: ClientData, workers: tuple[WorkerPresent, ...]) -> tuple[WorkerPresent, ...]:
    """Return the workers that give a job as many GPUs as the person asks for."""
    return tuple(worker for worker in workers if worker.facts.gpus >= want(data).min_gpus)


def _named_without_gpus(data: ClientData, event: events.WorkersChanged) -> tuple[WorkerPresent, ...]:
    """Return the worker that the person has named, if it is in the list and has too few GPUs."""
    choice = want(data).choice
    peer = choice.peer if isinstance(choice, events.NamedWorker) else None
    if isinstance(choice, events.WorkerCalled):
        peer = worker_called(choice.name, event.workers)
    named = tuple(worker for worker in event.workers if worker.peer == peer)
    return () if with_gpus(data, named) else named


def has_too_few_gpus(data: ClientData, event: events.WorkersChanged) -> bool:
    """Whether the worker that the person has named gives a job fewer GPUs than the person asks for."""
    return bool(_named_without_gpus(data, event))


def too_few_gpus_fault(data: ClientData, event: events.WorkersChanged) -> Fault:
    """Return why the named worker cannot be taken."""
    (worker,) = _named_without_gpus(data, event)
    wanted = want(data).min_gpus
    text = (
        f"The worker {worker.facts.name} gives a job {_gpus(worker.facts.gpus)}, and --gpus asks for {wanted}. Leave "
        f"--gpus out, or name another worker: sleap-rtc workers --gpus {wanted}"
    )
    return Fault(FaultCode.NO_WORKER, text)


def _gpus(number: int) -> str:
    return ("no GPU", "1 GPU")[number] if number < 2 else f"{number} GPUs"


def fitting_workers(data: ClientData, workers: tuple[WorkerPresent, ...]) -> tuple[WorkerPresent, ...]:
    """Return the workers that can take the job now and have not refused it, best first (Discovery's order)."""
    return tuple(
        worker for worker in large_enough(data, workers) if takes_jobs(worker.facts) and worker.peer not in data.refused
    )


def workers_called(name: str, workers: tuple[WorkerPresent, ...]) -> tuple[WorkerPresent, ...]:
    """Return the worker with this id, or else all with this name, in any case."""
    with_id = tuple(worker for worker in workers if worker.peer == name)
    return with_id or tuple(worker for worker in workers if worker.facts.name.casefold() == name.casefold())


def worker_called(name: str, workers: tuple[WorkerPresent, ...]) -> PeerId | None:
    """Return the worker that is meant; None if it is not clear, or none is.

    A text that can be an id is one if no worker has that name: a worker may be back before the list shows it.
    """
    found = workers_called(name, workers)
    if found:
        return found[0].peer if len(found) == 1 else None
    return PeerId(name) if ID_PATTERN.fullmatch(name) else None


def not_called_fault(name: str, workers: tuple[WorkerPresent, ...]) -> Fault:
    """Return why no worker is meant by this text: several have this name, or none."""
    found = workers_called(name, workers)
    if found:
        ids = ", ".join(worker.peer for worker in found[:SHOWN_MAX])
        text = f"{len(found)} workers of this room have this name. Say which by its id, with --worker-id: {ids}"
        return Fault(FaultCode.NO_WORKER, text)
    return Fault(FaultCode.NO_WORKER, "No worker of this room has this id or name. List them: sleap-rtc workers")


def no_worker_fault(data: ClientData, workers: tuple[WorkerPresent, ...]) -> Fault:
    """Return why no worker can be chosen: the room has none, none has GPUs or memory enough, or all are taken."""
    if not workers:
        text = "No worker is in this room. Start one there: sleap-rtc worker --room-id … --token …"
        return Fault(FaultCode.NO_WORKER, text)
    fitting = large_enough(data, workers)
    if not fitting and not with_gpus(data, workers):
        most = max(worker.facts.gpus for worker in workers)
        text = f"No worker of this room gives a job {_gpus(want(data).min_gpus)}; the most is {_gpus(most)} (--gpus)."
        return Fault(FaultCode.NO_WORKER, text)
    if not fitting:
        max_memory_mb = max(worker.facts.memory_mb for worker in with_gpus(data, workers))
        text = f"No worker of this room has GPU memory enough; the largest has {max_memory_mb} MB (--min-gpu-memory)."
        return Fault(FaultCode.NO_WORKER, text)
    if _all_leave(fitting):
        which = "The only worker that fits is" if len(fitting) == 1 else f"All {len(fitting)} workers that fit are"
        text = f"{which} stopping, so no worker is left. Start another one, or try again when one is there."
        return Fault(FaultCode.NO_WORKER, text)
    which = (
        "The only worker that fits is taken" if len(fitting) == 1 else f"All {len(fitting)} workers that fit are taken"
    )
    return Fault(FaultCode.WORKER_BUSY, f"{which}. Try again later, or stand in line with --wait.")


def names_worker(data: ClientData, _event: Any) -> bool:
    """Whether the person has named one worker."""
    return isinstance(want(data).choice, events.NamedWorker)


def calls_worker(data: ClientData, _event: Any) -> bool:
    """Whether the person has named a worker by what may be its id or its name."""
    return isinstance(want(data).choice, events.WorkerCalled)


def one_is_called_so(data: ClientData, event: events.WorkersChanged) -> bool:
    """Whether it is clear which worker the person has called by its id or its name."""
    choice = want(data).choice
    return isinstance(choice, events.WorkerCalled) and worker_called(choice.name, event.workers) is not None


def person_chooses(data: ClientData, _event: Any) -> bool:
    """Whether the person chooses from the list."""
    return isinstance(want(data).choice, events.AskPerson)


def only_one_fits(data: ClientData, event: events.WorkersChanged) -> bool:
    """Whether the person wants no question where there is no choice, and one worker alone can take the job now."""
    return _takes_only(data) and len(fitting_workers(data, event.workers)) == 1


def _takes_only(data: ClientData) -> bool:
    choice = want(data).choice
    return isinstance(choice, events.AskPerson) and choice.take_only


def one_fits(data: ClientData, event: events.WorkersChanged) -> bool:
    """Whether a worker can take the job now."""
    return bool(fitting_workers(data, event.workers))


def one_may_come_free(data: ClientData, event: events.WorkersChanged) -> bool:
    """Whether the person waits, and a worker that is taken now could run the job later."""
    return waits(data) and no_worker_fault(data, event.workers).code is FaultCode.WORKER_BUSY


def waits(data: ClientData) -> bool:
    """Return whether the person would stand in line for a worker, and the time for that is not over."""
    return bool(want(data).wait)


def all_are_leaving(data: ClientData, event: events.WorkersChanged) -> bool:
    """Whether every worker of the room that could run the job is stopping. One that is only away may come back."""
    return _all_leave(large_enough(data, event.workers))


def _all_leave(workers: tuple[WorkerPresent, ...]) -> bool:
    return bool(workers) and all(worker.facts.leaving for worker in workers)


def nobody_picked(_data: ClientData, event: events.WorkerPicked) -> bool:
    """Whether the person has left the list without choosing."""
    return event.peer is None


# -------- a worker that refuses, or cannot be reached


def server_was_away(data: ClientData, event: Any) -> bool:
    """Whether the offer did not get to the worker, and may be sent to it once more."""
    return _has_code(event, (FaultCode.SERVER_LOST,)) and data.offers < OFFERS_MAX


def may_try_again(data: ClientData, event: Any) -> bool:
    """Whether the worker was lost, and may be tried once more."""
    return _has_code(event, LOSSES) and data.offers < OFFERS_MAX


def others_fit(data: ClientData, event: Any) -> bool:
    """Whether the client chooses by itself, and another worker can take the job now.

    A client that waits lets the queue choose, which may choose the same worker again; so it does not where that worker
    can never be used.
    """
    codes = (*REFUSALS, *LOSSES, *NEVER_CHOSEN_AGAIN) if not waits(data) else NEVER_CHOSEN_AGAIN
    may_choose = isinstance(want(data).choice, events.BestWorker) and _has_code(event, codes)
    return may_choose and bool(fitting_workers(without_peer(data), data.workers))


def may_queue(data: ClientData, event: Any) -> bool:
    """Whether the person waits, and the worker, or another one, may come free."""
    if not waits(data) or person_chooses(data, event) or _all_leave(large_enough(data, data.workers)):
        return False
    passing = (*LOSSES, FaultCode.WORKER_BUSY) if names_worker(data, event) else (*LOSSES, *REFUSALS)
    return _has_code(event, passing)


def may_choose_again(data: ClientData, event: Any) -> bool:
    """Whether the person chooses from the list, and another choice can help.

    A worker that was taken as the only one is tried again first: the list would be empty.
    """
    if _takes_only(data) and may_try_again(data, event) and not fitting_workers(without_peer(data), data.workers):
        return False
    return person_chooses(data, event) and _has_code(event, (*REFUSALS, *LOSSES, *UNREACHABLE))


def without_peer(data: ClientData) -> ClientData:
    """Return the data with the present worker among those that refused."""
    refused = data.refused if data.peer is None else data.refused | {data.peer}
    return evolve(data, refused=refused, peer=None, offers=0)


# -------- the job on its worker


def job_exists(data: ClientData, _event: Any) -> bool:
    """Whether the person wants to attach to an existing job."""
    return want(data).credential is not None


def job_is_unknown(_data: ClientData, event: JobState | events.LinkLost) -> bool:
    """Whether the worker says that it has no such job."""
    if isinstance(event, JobState):
        return event.stage is JobStage.UNKNOWN
    return _has_code(event, (FaultCode.NO_SUCH_JOB,))


def job_is_elsewhere(_data: ClientData, state: JobState) -> bool:
    """Whether another worker has the job."""
    return state.stage is JobStage.ELSEWHERE


def may_resubmit(data: ClientData, event: JobState | events.LinkLost) -> bool:
    """Whether the worker has not kept the beginning of the package, and all of it may be sent again."""
    wanted = not isinstance(data.request, CancelJob) and data.resubmits < RESUBMITS_MAX
    return job_is_unknown(data, event) and wanted


def package_is_wanted(data: ClientData, state: JobState) -> bool:
    """Whether the worker waits for the rest of the package, and the job was not cancelled meanwhile."""
    return state.stage is JobStage.PREPARING and not isinstance(data.request, CancelJob)


def package_is_dropped(_data: ClientData, event: events.LinkLost) -> bool:
    """Whether the worker does not want the package any more: it is stopped, or leaves.

    A worker that leaves does so even if the package has just become complete; it closes no link of a job that runs.
    """
    return _has_code(event, (FaultCode.CANCELLED, FaultCode.WORKER_LEAVING))


def worker_stopped(_data: ClientData, event: events.LinkLost) -> bool:
    """Whether the worker was stopped, and the job with it."""
    return _has_code(event, (FaultCode.CANCELLED,))


def is_refused_for_good(_data: ClientData, event: events.LinkLost) -> bool:
    """Whether the worker refuses this client for a reason that trying again does not change."""
    return _has_code(event, FOR_GOOD)


def tries_are_over(data: ClientData, _event: events.LinkLost) -> bool:
    """Whether the client has tried to reconnect often enough."""
    return data.reconnects >= RECONNECTS_MAX


def nothing_to_show(data: ClientData, state: JobState) -> bool:
    """Whether the client is not to follow the job, and the job has no events yet."""
    return not want(data).follow and state.events == 0


def all_is_shown(data: ClientData, event: JobEvent) -> bool:
    """Whether this is the last event for a client that is not to follow the job."""
    return data.last_wanted is not None and event.seq is not None and event.seq >= data.last_wanted


def is_repeated(data: ClientData, event: JobEvent) -> bool:
    """Whether the event has come already, over an earlier link."""
    return event.seq is not None and event.seq <= data.seen


def leaves_begun_job(data: ClientData, event: Any) -> bool:
    """Whether the job has begun and the person wants to leave it then, and has not cancelled it meanwhile.

    The worker says that the job has begun with the receipt for its package, with the job's first event, or with its
    state after a reconnection.
    """
    has_begun = not isinstance(event, JobState) or event.stage is JobStage.RUNNING
    return has_begun and _leaves(data)


def leaves_result(data: ClientData, event: JobEnded | JobState) -> bool:
    """Whether the job has ended before the client could leave it, and the person wants to fetch its result later."""
    has_ended = not isinstance(event, JobState) or event.stage is JobStage.ENDED
    return has_ended and event.result and _leaves(data)


def _leaves(data: ClientData) -> bool:
    return want(data).detach and not isinstance(data.request, CancelJob)


def result_is_gone(data: ClientData, ended: JobEnded) -> bool:
    """Whether the job succeeded and its result is wanted, and the worker does not have it any more."""
    return want(data).fetch and ended.outcome is Outcome.DONE and not ended.result


def result_is_wanted(data: ClientData, ended: JobEnded) -> bool:
    """Whether there is a result, and it is wanted."""
    return want(data).fetch and ended.result


# -------- what the person wants


def nothing_to_stop(data: ClientData, event: events.StopWanted) -> bool:
    """Whether no model trains that the stop would end."""
    return event.scope is StopScope.THIS and data.model is None


def stops_on_interrupt(data: ClientData, _event: events.Interrupted) -> bool:
    """Whether an interrupt is to stop the job early."""
    return want(data).on_interrupt is events.Interrupt.STOP


def cancels_on_interrupt(data: ClientData, _event: events.Interrupted) -> bool:
    """Whether an interrupt is to cancel the job."""
    return want(data).on_interrupt is events.Interrupt.CANCEL


def leaves_on_interrupt(data: ClientData, _event: events.Interrupted) -> bool:
    """Whether an interrupt is to leave the job, which runs on."""
    return want(data).on_interrupt is events.Interrupt.DETACH

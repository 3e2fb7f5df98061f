"""The Client: gets one job run by a worker and its result downloaded, or attaches to an existing job.

- available: no job is wanted.
- reserved: the client joins the room, chooses a worker or waits in the queue for one, opens a link, submits its job and
  uploads the package; or it attaches to an existing job.
- busy: the worker has the package, or may have it. The job runs; the client receives its events, reconnects when the
  link breaks, and downloads the result.

Each `JobWanted` ends with exactly one `Finished`.
"""

from attrs import evolve

from actors.client_events import (
    AuthenticatedForJob,
    ChoiceCancelled,
    ChoiceNeeded,
    ClientData,
    EndedWithoutResult,
    JobAttached,
    JobGone,
    JobNotStarted,
    JobReattached,
    LinkClosedAfterDownload,
    NoWorkerFits,
    OfferTimedOut,
    QueueNeeded,
    ReceiptAcknowledged,
    ReconnectsExhausted,
    RejoinedWhileQueued,
    ResubmitJob,
    ResultWithoutLink,
    ResumeUpload,
    TooLateToStop,
    UploadUncertain,
    WorkerChosen,
    WorkersUpdated,
    classify,
)
from actors.events import (
    CANCEL_TIMEOUT,
    Authenticated,
    CancelWanted,
    CloseLink,
    DownloadFailed,
    Drain,
    FetchResult,
    Finished,
    JobCredential,
    JobWanted,
    JoinFailed,
    JoinRoom,
    LinkLost,
    LinkRefused,
    NamedWorker,
    OpenLink,
    PackageSent,
    PeerFault,
    ResultDownloaded,
    ResultUnpacked,
    SendJobKey,
    SendPackage,
    SendToServer,
    ShowWorkers,
    Stale,
    StateTimeout,
    StopWanted,
    TellPeer,
    TimedOut,
    UploadFailed,
    WaitExpired,
)
from actors.old_table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.jobs import CancelJob, JobAccepted, JobEnded, Outcome, ResultTaken, StopJob
from protocol.signaling import JoinQueue, LeaveQueue

FIRST_PAUSE = 1.0
"""Seconds before the first try to reconnect to a job, and before the second offer to a worker."""
RECONNECT_PAUSE = 5.0
"""Seconds before each further try to reconnect; a try itself takes up to 23."""
RECEIPT_TIME = 5.0
"""Seconds to wait for the answer to `ResultTaken`. If the worker has not received it, the worker keeps the result for
some time, which does no harm."""


# -------- the worker


def _timeout(data: ClientData, text: str) -> StateTimeout:
    """Return the time-out of the next step, after `connection_timeout`, with this sentence for people."""
    step_timeout = data.wanted.step_timeout if data.wanted else 0.0
    return StateTimeout(step_timeout, TimedOut(Fault(FaultCode.LINK_FAILED, text)))


def join_room(_data: ClientData, wanted: JobWanted) -> Step[ClientData]:
    """Join the room of the wanted job; for an existing job, store its id and key."""
    data = ClientData(wanted)
    if wanted.credential is not None:
        data = evolve(data, attaching=True, job=wanted.credential.job, key=wanted.credential.key, delivered=True)
    return Step(data, (JoinRoom(wanted.room_credentials, wanted.step_timeout),))


def show_choice(_data: ClientData, event: ChoiceNeeded) -> Step[ClientData]:
    """Show the available workers to the person, without a time limit."""
    return Step(
        evolve(event.data, link=None), (CANCEL_TIMEOUT, *_close_link(event.data), ShowWorkers(event.fitting_workers))
    )


def join_queue(_data: ClientData, event: QueueNeeded) -> Step[ClientData]:
    """Join the room's queue; a client that is already in it keeps its position but not the assigned worker."""
    data = event.data
    effects = (CANCEL_TIMEOUT, *_close_link(data), SendToServer(_queue_request(data)))
    return Step(evolve(data, link=None, queued=True, refused=frozenset()), effects)


def rejoin_queue(data: ClientData, _event: RejoinedWhileQueued) -> Step[ClientData]:
    """Join the queue again after a reconnection, because the server may have removed this client from it."""
    return Step(data, (SendToServer(_queue_request(data)),))


def _queue_request(data: ClientData) -> JoinQueue:
    assert data.wanted is not None, "in the state reserved a job is wanted"
    choice = data.wanted.choice
    return JoinQueue(data.wanted.min_memory_mb, choice.peer if isinstance(choice, NamedWorker) else None)


def fail_wait_expired(data: ClientData, _event: WaitExpired) -> Step[ClientData]:
    """Fail because no worker was assigned within the time given with `--wait`."""
    return _end(data, Fault(FaultCode.WORKER_BUSY, "No worker came free within the time given with --wait."))


def update_workers(data: ClientData, event: WorkersUpdated) -> Step[ClientData]:
    """Store the new list of workers, from which the next one is chosen if this worker refuses."""
    return Step(evolve(data, workers=event.workers))


def _close_link(data: ClientData) -> tuple[CloseLink, ...]:
    return () if data.link is None else (CloseLink(data.link),)


def request_link(_data: ClientData, event: WorkerChosen) -> Step[ClientData]:
    """Open a link to the chosen worker."""
    link = LinkId(event.data.last_link + 1)
    data = evolve(event.data, peer=event.peer, link=link, last_link=link)
    timeout = _timeout(data, "The worker did not answer in time. Try again.")
    return Step(data, (*_close_link(event.data), OpenLink(link, event.peer, data.job), timeout))


def retry_offer(data: ClientData, event: OfferTimedOut) -> Step[ClientData]:
    """Wait before the next offer to the same worker, longer each time; a server that restarts loses offers."""
    offers = data.offers + (2 if event.silent else 1)
    return Step(evolve(data, offers=offers), (StateTimeout(FIRST_PAUSE * 2**data.offers),))


def submit_job(data: ClientData, event: Authenticated) -> Step[ClientData]:
    """Submit the job over the authenticated link, and leave the queue."""
    assert data.wanted is not None, "in the state reserved a job is wanted"
    assert data.wanted.job is not None, "a client that does not attach has a job to submit"
    timeout = _timeout(data, "The worker did not say whether it takes the job. Try again.")
    leave_queue = (SendToServer(LeaveQueue()),) if data.queued else ()
    return Step(evolve(data, queued=False), (*leave_queue, TellPeer(event.link, data.wanted.job), timeout))


def request_attach(data: ClientData, event: AuthenticatedForJob) -> Step[ClientData]:
    """Send the key of the existing job over the authenticated link."""
    timeout = _timeout(data, "The worker did not say whether it knows the job. Try again.")
    return Step(data, (_send_key(data, event.link), timeout))


def _send_key(data: ClientData, link: LinkId) -> SendJobKey:
    assert data.job is not None, "a client that attaches or reconnects has a job"
    fetch = data.wanted is None or data.wanted.fetch
    return SendJobKey(link, JobCredential(data.job, data.key), fetch, supply=not data.delivered)


def note_attached(data: ClientData, _event: JobAttached) -> Step[ClientData]:
    """Record that the worker has accepted the key; from here on the existing job is treated like a new one."""
    return Step(evolve(data, attaching=False), (CANCEL_TIMEOUT,))


def send_package(data: ClientData, event: JobAccepted) -> Step[ClientData]:
    """Send the package of the accepted job; the transfer has time-outs of its own."""
    assert data.link is not None, "the message came over our link"
    return Step(evolve(data, job=event.job, key=event.key), (CANCEL_TIMEOUT, SendPackage(data.link, event.job)))


def note_package_sent(data: ClientData, _event: PackageSent) -> Step[ClientData]:
    """Record that the worker has the whole package; the presenter, not this actor, gets the job's events."""
    return Step(evolve(data, delivered=True))


def resume_upload(data: ClientData, _event: ResumeUpload) -> Step[ClientData]:
    """Send the rest of the package over the new link; the worker has kept the first part."""
    assert data.link is not None, "the message came over our link"
    assert data.job is not None, "a client that reconnects has a job"
    return Step(evolve(data, reconnects=0), (CANCEL_TIMEOUT, SendPackage(data.link, data.job)))


def resubmit(data: ClientData, _event: ResubmitJob) -> Step[ClientData]:
    """Open a link to the same worker, to submit the job again as a new job."""
    assert data.peer is not None, "a client that reconnects has a worker"
    restarted = ClientData(
        data.wanted, data.workers, link=data.link, last_link=data.last_link, resubmits=data.resubmits + 1
    )
    return request_link(data, WorkerChosen(data.peer, restarted))


def request_stop(data: ClientData, event: StopWanted) -> Step[ClientData]:
    """Request an early stop of the training; the worker keeps the models."""
    assert data.job is not None, "in the state busy there is a job"
    return _send_request(data, StopJob(data.job, data.key, event.scope))


def request_cancel(data: ClientData, _event: CancelWanted) -> Step[ClientData]:
    """Request the cancellation of the job; its end is then reported like any other end."""
    assert data.job is not None, "in the state busy there is a job"
    return _send_request(data, CancelJob(data.job, data.key))


def _send_request(data: ClientData, request: StopJob | CancelJob) -> Step[ClientData]:
    """Save a request, and send it at once if the client is connected; `resume_job` sends it after each reconnection.

    A saved stop never replaces a saved cancel."""
    saved = data.request if isinstance(data.request, CancelJob) else request
    effects = (TellPeer(data.link, request),) if data.link is not None and not data.reconnects else ()
    return Step(evolve(data, request=saved), effects)


def fetch_result(data: ClientData, event: JobEnded) -> Step[ClientData]:
    """Download the result of the ended job."""
    assert data.link is not None, "the message came over our link"
    return Step(evolve(data, ended=event), (FetchResult(data.link),))


# -------- a lost link, while the job continues


def wait_to_reconnect(data: ClientData, event: LinkLost) -> Step[ClientData]:
    """Wait before the next try to reconnect: `FIRST_PAUSE` before the first, `RECONNECT_PAUSE` before each other."""
    worker_left = event.fault is not None and event.fault.code is FaultCode.NO_WORKER
    pause = StateTimeout(RECONNECT_PAUSE if data.reconnects else FIRST_PAUSE)
    return Step(evolve(data, reconnects=data.reconnects + (2 if worker_left else 1)), (pause,))


def reconnect_to_check_upload(data: ClientData, event: UploadUncertain) -> Step[ClientData]:
    """Wait to reconnect, as after any lost link; then the worker reports whether it has the whole package."""
    return wait_to_reconnect(data, event.lost)


def reconnect(data: ClientData, _event: TimedOut) -> Step[ClientData]:
    """Open a new link to the worker, about the job."""
    assert data.peer is not None, "in the state busy there is a worker"
    link = LinkId(data.last_link + 1)
    effects = (*_close_link(data), OpenLink(link, data.peer, data.job))
    return Step(evolve(data, link=link, last_link=link), effects)


def request_reattach(data: ClientData, event: Authenticated) -> Step[ClientData]:
    """Send the job's key over the new link, after it is authenticated."""
    return Step(data, (_send_key(data, event.link),))


def resume_job(data: ClientData, _event: JobReattached) -> Step[ClientData]:
    """Continue with the job after the reconnection, and send the person's last request again."""
    request = () if data.request is None or data.link is None else (TellPeer(data.link, data.request),)
    return Step(evolve(data, reconnects=0, delivered=True), (CANCEL_TIMEOUT, *request))


def note_downloaded(data: ClientData, _event: ResultDownloaded) -> Step[ClientData]:
    """Record that the result is downloaded; if the link breaks from here on, the client does not reconnect."""
    return Step(evolve(data, downloaded=True), (CANCEL_TIMEOUT,))


# -------- ends


def _end(data: ClientData, fault: Fault | None, ended: JobEnded | None = None) -> Step[ClientData]:
    """Close the link and send `Finished`; the actor is then as at its start, but link ids count on."""
    return Step(ClientData(last_link=data.last_link), (*_close_link(data), Finished(fault, ended)))


def _fault_of(ended: JobEnded | None) -> Fault | None:
    """Return the fault of a job that failed or was cancelled; None for a job that succeeded."""
    if ended is None or ended.outcome is Outcome.DONE:
        return None
    code = FaultCode.CANCELLED if ended.outcome is Outcome.CANCELLED else FaultCode.JOB_FAILED
    return Fault(code, ended.text)


def confirm_receipt(data: ClientData, _event: ResultUnpacked) -> Step[ClientData]:
    """Notify the worker that the result is unpacked, and wait for its answer for at most `RECEIPT_TIME`."""
    assert data.link is not None, "without a link, classify returns ResultWithoutLink"
    assert data.job is not None, "a result belongs to a job"
    receipt = TellPeer(data.link, ResultTaken(data.job, data.key))
    return Step(evolve(data, unpacked=True), (receipt, StateTimeout(RECEIPT_TIME)))


def note_link_closed(data: ClientData, _event: LinkClosedAfterDownload) -> Step[ClientData]:
    """Record that the link has ended; the result is already downloaded, so the client does not reconnect."""
    return Step(evolve(data, link=None))


def finish(data: ClientData, _event: ReceiptAcknowledged | ResultWithoutLink) -> Step[ClientData]:
    """Finish with the outcome of the job, whose result is unpacked."""
    return _end(data, _fault_of(data.ended), data.ended)


def finish_without_result(data: ClientData, event: EndedWithoutResult) -> Step[ClientData]:
    """Finish with the outcome of the job, without a result."""
    return _end(data, _fault_of(event.ended), event.ended)


def fail(
    data: ClientData, event: JoinFailed | PeerFault | UploadFailed | DownloadFailed | LinkRefused
) -> Step[ClientData]:
    """Fail with the reason that the worker, the server or this client's file transfer gives."""
    return _end(data, event.fault)


def fail_no_worker(_data: ClientData, event: NoWorkerFits) -> Step[ClientData]:
    """Fail because no worker fits, or because each that fits has refused."""
    return _end(event.data, event.fault)


def fail_timeout(data: ClientData, event: TimedOut) -> Step[ClientData]:
    """Fail because the current step took too long."""
    return _end(data, event.fault or Fault(FaultCode.LINK_FAILED, "The worker did not answer in time."))


def fail_link_lost(data: ClientData, event: LinkLost) -> Step[ClientData]:
    """Fail because the link ended before the worker accepted the new job, or the key of an existing one."""
    text = "The link to the worker broke before the job began. Try again."
    return _end(data, event.fault or Fault(FaultCode.LINK_LOST, text))


def fail_not_started(data: ClientData, _event: JobNotStarted) -> Step[ClientData]:
    """Fail because the worker never received the whole package, so the job does not run."""
    text = "The link to the worker broke before the whole package was over; nothing runs there. Try again."
    return _end(data, Fault(FaultCode.LINK_LOST, text))


def fail_job_gone(data: ClientData, event: JobGone) -> Step[ClientData]:
    """Fail because the worker does not have the job any more, with the worker's reason."""
    return _end(data, event.fault)


def fail_reconnects(data: ClientData, event: ReconnectsExhausted) -> Step[ClientData]:
    """Fail because the client could not reconnect to the job; report what is known about the job."""
    reason = event.fault.text + " " if event.fault else ""
    text = "The link to the worker is gone. The job needs neither it nor us; its result is kept on the worker."
    if not data.delivered:
        text = "The link to the worker is gone; whether the job began, only the worker knows."
    return _end(data, Fault(FaultCode.LINK_LOST, reason + text))


def give_up(data: ClientData, _event: Drain | ChoiceCancelled | CancelWanted) -> Step[ClientData]:
    """Finish because the person stopped the client before the job began; leave nothing on the worker."""
    if data.attaching:
        return _end(data, Fault(FaultCode.DETACHED, "Stopped before the job was reached; nothing has changed for it."))
    fault = Fault(FaultCode.INTERRUPTED, "Stopped before the job began; nothing was left on the worker.")
    step = _end(data, fault)
    if data.link is None or data.job is None:
        return step
    # if the last byte of the package has arrived just now, the job has begun and must be cancelled
    return Step(step.data, (TellPeer(data.link, CancelJob(data.job, data.key)), *step.effects))


def detach(data: ClientData, _event: Drain) -> Step[ClientData]:
    """Finish because the person stopped the client; the job continues on the worker."""
    text = "Detached: the job runs on, and its result is kept on the worker."
    if not data.delivered:
        text = "Left while the link was gone; whether the job runs, only the worker knows."
    elif data.ended is not None:
        text = "Detached: the job has ended, and its result is kept on the worker."
    return _end(data, Fault(FaultCode.DETACHED, text))


CLIENT: Table[ClientData] = Table("client", AVAILABLE, (
    #   in         event                    next       action
    row(AVAILABLE, JobWanted,               RESERVED,  join_room),
    ignore(JobWanted, RESERVED, BUSY),

    # the room
    row(RESERVED,  JoinFailed,              AVAILABLE, fail),
    ignore(JoinFailed, AVAILABLE, BUSY),
    row(RESERVED,  ChoiceNeeded,            RESERVED,  show_choice),
    ignore(ChoiceNeeded, AVAILABLE, BUSY),
    row(RESERVED,  WorkersUpdated,          RESERVED,  update_workers),
    ignore(WorkersUpdated, AVAILABLE, BUSY),
    row(RESERVED,  WorkerChosen,            RESERVED,  request_link),
    ignore(WorkerChosen, AVAILABLE, BUSY),
    row(RESERVED,  OfferTimedOut,           RESERVED,  retry_offer),
    ignore(OfferTimedOut, AVAILABLE, BUSY),
    row(RESERVED,  NoWorkerFits,            AVAILABLE, fail_no_worker),
    ignore(NoWorkerFits, AVAILABLE, BUSY),
    row(RESERVED,  QueueNeeded,             RESERVED,  join_queue),
    ignore(QueueNeeded, AVAILABLE, BUSY),
    row(RESERVED,  RejoinedWhileQueued,     RESERVED,  rejoin_queue),
    ignore(RejoinedWhileQueued, AVAILABLE, BUSY),
    row(RESERVED,  WaitExpired,             AVAILABLE, fail_wait_expired),
    ignore(WaitExpired, AVAILABLE, BUSY),
    row(RESERVED,  ChoiceCancelled,         AVAILABLE, give_up),
    ignore(ChoiceCancelled, AVAILABLE, BUSY),

    # the worker
    row(RESERVED,  LinkRefused,             AVAILABLE, fail),
    ignore(LinkRefused, AVAILABLE, BUSY),
    row(RESERVED,  Authenticated,           RESERVED,  submit_job),
    row(BUSY,      Authenticated,           BUSY,      request_reattach),
    ignore(Authenticated, AVAILABLE),
    row(RESERVED,  AuthenticatedForJob,     RESERVED,  request_attach),
    ignore(AuthenticatedForJob, AVAILABLE, BUSY),
    row(RESERVED,  JobAttached,             BUSY,      note_attached),
    ignore(JobAttached, AVAILABLE, BUSY),
    row(RESERVED,  JobAccepted,             RESERVED,  send_package),
    ignore(JobAccepted, AVAILABLE, BUSY),
    row(BUSY,      JobReattached,           BUSY,      resume_job),
    ignore(JobReattached, AVAILABLE, RESERVED),
    row(BUSY,      ResubmitJob,             RESERVED,  resubmit),
    ignore(ResubmitJob, AVAILABLE, RESERVED),
    row(BUSY,      ResumeUpload,            RESERVED,  resume_upload),
    ignore(ResumeUpload, AVAILABLE, RESERVED),
    row(RESERVED,  UploadFailed,            AVAILABLE, fail),
    ignore(UploadFailed, AVAILABLE, BUSY),
    row(RESERVED,  TimedOut,                AVAILABLE, fail_timeout),
    row(BUSY,      TimedOut,                BUSY,      reconnect),
    ignore(TimedOut, AVAILABLE),

    # the job
    row(RESERVED,  PackageSent,             BUSY,      note_package_sent),
    row(BUSY,      PackageSent,             BUSY,      note_package_sent),
    ignore(PackageSent, AVAILABLE),
    row(BUSY,      StopWanted,              BUSY,      request_stop),
    ignore(StopWanted, AVAILABLE, RESERVED),
    row(RESERVED,  CancelWanted,            AVAILABLE, give_up),
    row(BUSY,      CancelWanted,            BUSY,      request_cancel),
    ignore(CancelWanted, AVAILABLE),
    row(BUSY,      JobEnded,                BUSY,      fetch_result),
    ignore(JobEnded, AVAILABLE, RESERVED),
    row(RESERVED,  EndedWithoutResult,      AVAILABLE, finish_without_result),
    row(BUSY,      EndedWithoutResult,      AVAILABLE, finish_without_result),
    ignore(EndedWithoutResult, AVAILABLE),
    row(BUSY,      ResultDownloaded,        BUSY,      note_downloaded),
    ignore(ResultDownloaded, AVAILABLE, RESERVED),
    row(BUSY,      ResultUnpacked,          BUSY,      confirm_receipt),
    ignore(ResultUnpacked, AVAILABLE, RESERVED),
    row(BUSY,      LinkClosedAfterDownload, BUSY,      note_link_closed),
    ignore(LinkClosedAfterDownload, AVAILABLE, RESERVED),
    row(BUSY,      ResultWithoutLink,       AVAILABLE, finish),
    ignore(ResultWithoutLink, AVAILABLE, RESERVED),
    row(BUSY,      ReceiptAcknowledged,     AVAILABLE, finish),
    ignore(ReceiptAcknowledged, AVAILABLE, RESERVED),
    row(BUSY,      DownloadFailed,          AVAILABLE, fail),
    ignore(DownloadFailed, AVAILABLE, RESERVED),

    # events that may come at any time
    row(RESERVED,  PeerFault,               AVAILABLE, fail),
    row(BUSY,      PeerFault,               AVAILABLE, fail),
    ignore(PeerFault, AVAILABLE),
    row(RESERVED,  LinkLost,                AVAILABLE, fail_link_lost),
    row(BUSY,      LinkLost,                BUSY,      wait_to_reconnect),
    ignore(LinkLost, AVAILABLE),
    row(RESERVED,  UploadUncertain,         BUSY,      reconnect_to_check_upload),
    row(BUSY,      UploadUncertain,         BUSY,      reconnect_to_check_upload),
    ignore(UploadUncertain, AVAILABLE),
    row(RESERVED,  JobNotStarted,           AVAILABLE, fail_not_started),
    row(BUSY,      JobNotStarted,           AVAILABLE, fail_not_started),
    ignore(JobNotStarted, AVAILABLE),
    row(RESERVED,  JobGone,                 AVAILABLE, fail_job_gone),
    row(BUSY,      JobGone,                 AVAILABLE, fail_job_gone),
    ignore(JobGone, AVAILABLE),
    row(BUSY,      ReconnectsExhausted,     AVAILABLE, fail_reconnects),
    ignore(ReconnectsExhausted, AVAILABLE, RESERVED),
    row(RESERVED,  Drain,                   AVAILABLE, give_up),
    row(BUSY,      Drain,                   AVAILABLE, detach),
    ignore(Drain, AVAILABLE),
    ignore(TooLateToStop, AVAILABLE, RESERVED, BUSY),
    ignore(Stale, AVAILABLE, RESERVED, BUSY),
), classify)  # fmt: skip

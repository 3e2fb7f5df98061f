"""The Client: one person's wish, from "a worker, please" to "here is your model".

available: nothing wanted · reserved: a worker is asked for, promised, being linked to, and sent the package · busy: the
package is there, so the job runs far away, and its result is awaited. It ends in exactly one `Finished`.
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
    WorkersNoted,
    classify,
)
from actors.events import (
    NO_TIMEOUT,
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
    SendPackage,
    SendToServer,
    ShowJobKey,
    ShowWorkers,
    Stale,
    StateTimeout,
    StopWanted,
    TellPeer,
    TimedOut,
    UploadFailed,
    WaitExpired,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.jobs import CancelJob, JobAccepted, JobEnded, Outcome, ResultTaken, StopJob
from protocol.signaling import JoinQueue, LeaveQueue

# -------- on the way to a worker


FIRST_PAUSE = 1.0
"""Seconds before the first try to get back to a job."""
RECEIPT_TIME = 5.0
"""Seconds to hear that the worker knows the result to be home; it is kept for a while otherwise, and no harm done."""
RECONNECT_PAUSE = 5.0
"""Seconds before each further one; a try itself takes up to 23."""


def _late(data: ClientData, text: str) -> StateTimeout:
    patience = data.wanted.patience if data.wanted else 0.0
    return StateTimeout(patience, TimedOut(Fault(FaultCode.LINK_FAILED, text)))


def join_room(_data: ClientData, wanted: JobWanted) -> Step[ClientData]:
    """First the room, then a worker."""
    data = ClientData(wanted)
    if wanted.credential is not None:
        data = evolve(data, attaching=True, job=wanted.credential.job, key=wanted.credential.key, delivered=True)
    return Step(data, (JoinRoom(wanted.room_credentials, wanted.patience),))


def show_choice(_data: ClientData, event: ChoiceNeeded) -> Step[ClientData]:
    """Show who is there now; the person takes what time they need."""
    return Step(evolve(event.data, link=None), (NO_TIMEOUT, *_drop_link(event.data), ShowWorkers(event.fitting)))


def join_queue(_data: ClientData, event: QueueNeeded) -> Step[ClientData]:
    """First come, first served; said again after a promise that came to nothing, it keeps our place."""
    data = event.data
    effects = (NO_TIMEOUT, *_drop_link(data), SendToServer(_wait(data)))
    return Step(evolve(data, link=None, queued=True, refused=frozenset()), effects)


def rejoin_queue(data: ClientData, _event: RejoinedWhileQueued) -> Step[ClientData]:
    """The server may have forgotten us."""
    return Step(data, (SendToServer(_wait(data)),))


def _wait(data: ClientData) -> JoinQueue:
    assert data.wanted is not None, "only a wish waits"
    choice = data.wanted.choice
    return JoinQueue(data.wanted.min_memory_mb, choice.peer if isinstance(choice, NamedWorker) else None)


def stop_waiting(data: ClientData, _event: WaitExpired) -> Step[ClientData]:
    """The person's patience with the line is over."""
    return _end(data, Fault(FaultCode.WORKER_BUSY, "No worker came free within the time given with --wait."))


def note_workers(data: ClientData, event: WorkersNoted) -> Step[ClientData]:
    """Keep the list fresh, should the worker refuse."""
    return Step(evolve(data, workers=event.workers))


def _drop_link(data: ClientData) -> tuple[CloseLink, ...]:
    return () if data.link is None else (CloseLink(data.link),)


def ask_worker(_data: ClientData, event: WorkerChosen) -> Step[ClientData]:
    """Ask this one for a link."""
    link = LinkId(event.data.last_link + 1)
    data = evolve(event.data, peer=event.peer, link=link, last_link=link)
    late = _late(data, "The worker did not answer in time. Try again.")
    return Step(data, (*_drop_link(event.data), OpenLink(link, event.peer, data.job), late))


def ask_again(data: ClientData, event: OfferTimedOut) -> Step[ClientData]:
    """A server that restarts loses what it carried; ask the same worker again, each time a little later."""
    offers = data.offers + (2 if event.silent else 1)
    return Step(evolve(data, offers=offers), (StateTimeout(FIRST_PAUSE * 2**data.offers),))


def submit(data: ClientData, event: Authenticated) -> Step[ClientData]:
    """Both ends know each other: say what is wanted."""
    assert data.wanted is not None, "only a wish opens links"
    assert data.wanted.job is not None, "who does not attach has something to be run"
    late = _late(data, "The worker did not say whether it takes the job. Try again.")
    served = (SendToServer(LeaveQueue()),) if data.queued else ()
    return Step(evolve(data, queued=False), (*served, TellPeer(event.link, data.wanted.job), late))


def attach_to_job(data: ClientData, event: AuthenticatedForJob) -> Step[ClientData]:
    """Come back to a job: show that it is ours."""
    late = _late(data, "The worker did not say whether it knows the job. Try again.")
    return Step(data, (_show_key(data, event.link), late))


def _show_key(data: ClientData, link: LinkId) -> ShowJobKey:
    assert data.job is not None, "who comes back names a job"
    fetch = data.wanted is None or data.wanted.fetch
    return ShowJobKey(link, JobCredential(data.job, data.key), fetch, supply=not data.delivered)


def attach(data: ClientData, _event: JobAttached) -> Step[ClientData]:
    """It is ours, and runs or is over; what there is to hear follows. From here on it is a job like any other."""
    return Step(evolve(data, attaching=False), (NO_TIMEOUT,))


def send(data: ClientData, event: JobAccepted) -> Step[ClientData]:
    """Send the package; the transfer keeps its own time."""
    assert data.link is not None, "it was heard over a link"
    return Step(evolve(data, job=event.job, key=event.key), (NO_TIMEOUT, SendPackage(data.link, event.job)))


def note_package_sent(data: ClientData, _event: PackageSent) -> Step[ClientData]:
    """The worker has all it needs; what it says of the job goes straight to the view."""
    return Step(evolve(data, delivered=True))


def resume_upload(data: ClientData, _event: ResumeUpload) -> Step[ClientData]:
    """The worker has kept what had come of it."""
    assert data.link is not None, "it was heard over a link"
    assert data.job is not None, "who comes back names a job"
    return Step(evolve(data, reconnects=0), (NO_TIMEOUT, SendPackage(data.link, data.job)))


def resubmit(data: ClientData, _event: ResubmitJob) -> Step[ClientData]:
    """As if we had never been there."""
    assert data.peer is not None, "who comes back has a worker"
    fresh = ClientData(
        data.wanted, data.workers, link=data.link, last_link=data.last_link, resubmits=data.resubmits + 1
    )
    return ask_worker(data, WorkerChosen(data.peer, fresh))


def ask_stop(data: ClientData, event: StopWanted) -> Step[ClientData]:
    """The person has seen enough; the worker keeps what was learned."""
    assert data.job is not None, "a running job has a name"
    return _request(data, StopJob(data.job, data.key, event.scope))


def ask_cancel(data: ClientData, _event: CancelWanted) -> Step[ClientData]:
    """The person wants no more of it; how it ended is told like any other end."""
    assert data.job is not None, "a running job has a name"
    return _request(data, CancelJob(data.job, data.key))


def _request(data: ClientData, wish: StopJob | CancelJob) -> Step[ClientData]:
    """While we are away from the worker it is kept until we are back. A stop takes back no cancel."""
    request = data.request if isinstance(data.request, CancelJob) else wish
    here = data.link is not None and not data.reconnects
    return Step(evolve(data, request=request), (TellPeer(data.link, wish),) if here and data.link is not None else ())


def fetch(data: ClientData, event: JobEnded) -> Step[ClientData]:
    """It is over; take what it made."""
    assert data.link is not None, "it was heard over a link"
    return Step(evolve(data, ended=event), (FetchResult(data.link),))


# -------- a lost link, while the job goes on


def wait_to_reconnect(data: ClientData, event: LinkLost) -> Step[ClientData]:
    """The job does not mind; try to get back to it, soon at first, then now and then."""
    gone = event.fault is not None and event.fault.code is FaultCode.NO_WORKER
    pause = StateTimeout(RECONNECT_PAUSE if data.reconnects else FIRST_PAUSE)
    return Step(evolve(data, reconnects=data.reconnects + (2 if gone else 1)), (pause,))


def check_upload(data: ClientData, event: UploadUncertain) -> Step[ClientData]:
    """If the package was over in time the job runs, and we go on as with any lost link; if not, the worker says so."""
    return wait_to_reconnect(data, event.lost)


def reconnect(data: ClientData, _event: TimedOut) -> Step[ClientData]:
    """Ask for a new link, naming the job."""
    assert data.peer is not None, "a running job has a worker"
    link = LinkId(data.last_link + 1)
    effects = (*_drop_link(data), OpenLink(link, data.peer, data.job))
    return Step(evolve(data, link=link, last_link=link), effects)


def show_key(data: ClientData, event: Authenticated) -> Step[ClientData]:
    """The worker knows us again: show that the job is ours."""
    return Step(data, (_show_key(data, event.link),))


def resume_job(data: ClientData, _event: JobReattached) -> Step[ClientData]:
    """We are back; what happened meanwhile follows, and what the person wanted is said again."""
    request = () if data.request is None or data.link is None else (TellPeer(data.link, data.request),)
    return Step(evolve(data, reconnects=0, delivered=True), (NO_TIMEOUT, *request))


def note_downloaded(data: ClientData, _event: ResultDownloaded) -> Step[ClientData]:
    """From here on the worker may hang up; should it have done so, nobody need go back."""
    return Step(evolve(data, downloaded=True), (NO_TIMEOUT,))


# -------- ends


def _end(data: ClientData, fault: Fault | None, ended: JobEnded | None = None) -> Step[ClientData]:
    return Step(ClientData(last_link=data.last_link), (*_drop_link(data), Finished(fault, ended)))


def _fault_of(ended: JobEnded | None) -> Fault | None:
    if ended is None or ended.outcome is Outcome.DONE:
        return None
    code = FaultCode.CANCELLED if ended.outcome is Outcome.CANCELLED else FaultCode.JOB_FAILED
    return Fault(code, ended.text)


def confirm_receipt(data: ClientData, _event: ResultUnpacked) -> Step[ClientData]:
    """All is here, and the worker need not keep it; it has a moment to answer."""
    assert data.link is not None, "without a link it is another event"
    assert data.job is not None, "what came was a job's"
    told = TellPeer(data.link, ResultTaken(data.job, data.key))
    return Step(evolve(data, unpacked=True), (told, StateTimeout(RECEIPT_TIME)))


def note_link_closed(data: ClientData, _event: LinkClosedAfterDownload) -> Step[ClientData]:
    """It is of no more use."""
    return Step(evolve(data, link=None))


def finish(data: ClientData, _event: ReceiptAcknowledged | ResultWithoutLink) -> Step[ClientData]:
    """That was all."""
    return _end(data, _fault_of(data.ended), data.ended)


def finish_without_result(data: ClientData, event: EndedWithoutResult) -> Step[ClientData]:
    """It is over, and how it ended is all there is to say."""
    return _end(data, _fault_of(event.ended), event.ended)


def fail(
    data: ClientData, event: JoinFailed | PeerFault | UploadFailed | DownloadFailed | LinkRefused
) -> Step[ClientData]:
    """The other side, or our own courier, says why not."""
    return _end(data, event.fault)


def fail_no_worker(_data: ClientData, event: NoWorkerFits) -> Step[ClientData]:
    """There is nobody to ask, or nobody left."""
    return _end(event.data, event.fault)


def fail_late(data: ClientData, event: TimedOut) -> Step[ClientData]:
    """Somebody kept us waiting."""
    return _end(data, event.fault or Fault(FaultCode.LINK_FAILED, "The worker did not answer in time."))


def fail_lost(data: ClientData, event: LinkLost) -> Step[ClientData]:
    """The link broke before the job ran; nothing is kept on the worker."""
    text = "The link to the worker broke before the job began. Try again."
    return _end(data, event.fault or Fault(FaultCode.LINK_LOST, text))


def fail_not_started(data: ClientData, _event: JobNotStarted) -> Step[ClientData]:
    """Now we know."""
    text = "The link to the worker broke before the whole package was over; nothing runs there. Try again."
    return _end(data, Fault(FaultCode.LINK_LOST, text))


def fail_job_gone(data: ClientData, event: JobGone) -> Step[ClientData]:
    """The worker says why."""
    return _end(data, event.fault)


def fail_reconnects(data: ClientData, event: ReconnectsExhausted) -> Step[ClientData]:
    """We did not get back to the job; say what is known of it."""
    reason = event.fault.text + " " if event.fault else ""
    text = "The link to the worker is gone. The job needs neither it nor us; its result is kept on the worker."
    if not data.delivered:
        text = "The link to the worker is gone; whether the job began, only the worker knows."
    return _end(data, Fault(FaultCode.LINK_LOST, reason + text))


def give_up(data: ClientData, _event: Drain | ChoiceCancelled | CancelWanted) -> Step[ClientData]:
    """Interrupted before anything was started: nothing is left behind."""
    if data.attaching:
        return _end(data, Fault(FaultCode.DETACHED, "Stopped before the job was reached; nothing has changed for it."))
    fault = Fault(FaultCode.INTERRUPTED, "Stopped before the job began; nothing was left on the worker.")
    step = _end(data, fault)
    if data.link is None or data.job is None:
        return step
    # should the last byte of the package have arrived just now, the job goes all the same
    return Step(step.data, (TellPeer(data.link, CancelJob(data.job, data.key)), *step.effects))


def detach(data: ClientData, _event: Drain) -> Step[ClientData]:
    """Interrupting the client never harms the job."""
    text = "Detached: the job runs on, and its result is kept on the worker."
    if not data.delivered:
        text = "Left while the link was gone; whether the job runs, only the worker knows."
    elif data.ended is not None:
        text = "Detached: the job has ended, and its result is kept on the worker."
    return _end(data, Fault(FaultCode.DETACHED, text))


CLIENT: Table[ClientData] = Table("client", AVAILABLE, (
    #   in         event        next       action
    row(AVAILABLE, JobWanted,      RESERVED,  join_room),
    ignore(JobWanted, RESERVED, BUSY),

    # the room
    row(RESERVED,  JoinFailed, AVAILABLE, fail),
    ignore(JoinFailed, AVAILABLE, BUSY),
    row(RESERVED,  ChoiceNeeded,       RESERVED,  show_choice),
    ignore(ChoiceNeeded, AVAILABLE, BUSY),
    row(RESERVED,  WorkersNoted,       RESERVED,  note_workers),
    ignore(WorkersNoted, AVAILABLE, BUSY),
    row(RESERVED,  WorkerChosen,      RESERVED,  ask_worker),
    ignore(WorkerChosen, AVAILABLE, BUSY),
    row(RESERVED,  OfferTimedOut,  RESERVED,  ask_again),
    ignore(OfferTimedOut, AVAILABLE, BUSY),
    row(RESERVED,  NoWorkerFits,  AVAILABLE, fail_no_worker),
    ignore(NoWorkerFits, AVAILABLE, BUSY),
    row(RESERVED,  QueueNeeded,    RESERVED,  join_queue),
    ignore(QueueNeeded, AVAILABLE, BUSY),
    row(RESERVED,  RejoinedWhileQueued,    RESERVED,  rejoin_queue),
    ignore(RejoinedWhileQueued, AVAILABLE, BUSY),
    row(RESERVED,  WaitExpired,     AVAILABLE, stop_waiting),
    ignore(WaitExpired, AVAILABLE, BUSY),
    row(RESERVED,  ChoiceCancelled,      AVAILABLE, give_up),
    ignore(ChoiceCancelled, AVAILABLE, BUSY),

    # the worker
    row(RESERVED,  LinkRefused,     AVAILABLE, fail),
    ignore(LinkRefused, AVAILABLE, BUSY),
    row(RESERVED,  Authenticated,     RESERVED,  submit),
    row(BUSY,      Authenticated,     BUSY,      show_key),
    ignore(Authenticated, AVAILABLE),
    row(RESERVED,  AuthenticatedForJob, RESERVED, attach_to_job),
    ignore(AuthenticatedForJob, AVAILABLE, BUSY),
    row(RESERVED,  JobAttached,   BUSY,      attach),
    ignore(JobAttached, AVAILABLE, BUSY),
    row(RESERVED,  JobAccepted, RESERVED,  send),
    ignore(JobAccepted, AVAILABLE, BUSY),
    row(BUSY,      JobReattached,   BUSY,      resume_job),
    ignore(JobReattached, AVAILABLE, RESERVED),
    row(BUSY,      ResubmitJob,   RESERVED,  resubmit),
    ignore(ResubmitJob, AVAILABLE, RESERVED),
    row(BUSY,      ResumeUpload,      RESERVED,  resume_upload),
    ignore(ResumeUpload, AVAILABLE, RESERVED),
    row(RESERVED,  UploadFailed,  AVAILABLE, fail),
    ignore(UploadFailed, AVAILABLE, BUSY),
    row(RESERVED,  TimedOut,      AVAILABLE, fail_late),
    row(BUSY,      TimedOut,      BUSY,      reconnect),
    ignore(TimedOut, AVAILABLE),

    # the job
    row(RESERVED,  PackageSent, BUSY,      note_package_sent),
    row(BUSY,      PackageSent, BUSY,      note_package_sent),
    ignore(PackageSent, AVAILABLE),
    row(BUSY,      StopWanted,  BUSY,      ask_stop),
    ignore(StopWanted, AVAILABLE, RESERVED),
    row(RESERVED,  CancelWanted, AVAILABLE, give_up),
    row(BUSY,      CancelWanted, BUSY,     ask_cancel),
    ignore(CancelWanted, AVAILABLE),
    row(BUSY,      JobEnded,    BUSY,      fetch),
    ignore(JobEnded, AVAILABLE, RESERVED),
    row(RESERVED,  EndedWithoutResult,  AVAILABLE, finish_without_result),
    row(BUSY,      EndedWithoutResult,  AVAILABLE, finish_without_result),
    ignore(EndedWithoutResult, AVAILABLE),
    row(BUSY,      ResultDownloaded,  BUSY,      note_downloaded),
    ignore(ResultDownloaded, AVAILABLE, RESERVED),
    row(BUSY,      ResultUnpacked,  BUSY,      confirm_receipt),
    ignore(ResultUnpacked, AVAILABLE, RESERVED),
    row(BUSY,      LinkClosedAfterDownload,      BUSY,      note_link_closed),
    ignore(LinkClosedAfterDownload, AVAILABLE, RESERVED),
    row(BUSY,      ResultWithoutLink,   AVAILABLE, finish),
    ignore(ResultWithoutLink, AVAILABLE, RESERVED),
    row(BUSY,      ReceiptAcknowledged,     AVAILABLE, finish),
    ignore(ReceiptAcknowledged, AVAILABLE, RESERVED),
    row(BUSY,      DownloadFailed,  AVAILABLE, fail),
    ignore(DownloadFailed, AVAILABLE, RESERVED),

    # what may happen at any time
    row(RESERVED,  PeerFault, AVAILABLE, fail),
    row(BUSY,      PeerFault, AVAILABLE, fail),
    ignore(PeerFault, AVAILABLE),
    row(RESERVED,  LinkLost,    AVAILABLE, fail_lost),
    row(BUSY,      LinkLost,    BUSY,      wait_to_reconnect),
    ignore(LinkLost, AVAILABLE),
    row(RESERVED,  UploadUncertain,    BUSY,      check_upload),
    row(BUSY,      UploadUncertain,    BUSY,      check_upload),
    ignore(UploadUncertain, AVAILABLE),
    row(RESERVED,  JobNotStarted,  AVAILABLE, fail_not_started),
    row(BUSY,      JobNotStarted,  AVAILABLE, fail_not_started),
    ignore(JobNotStarted, AVAILABLE),
    row(RESERVED,  JobGone,    AVAILABLE, fail_job_gone),
    row(BUSY,      JobGone,    AVAILABLE, fail_job_gone),
    ignore(JobGone, AVAILABLE),
    row(BUSY,      ReconnectsExhausted,   AVAILABLE, fail_reconnects),
    ignore(ReconnectsExhausted, AVAILABLE, RESERVED),
    row(RESERVED,  Drain,       AVAILABLE, give_up),
    row(BUSY,      Drain,       AVAILABLE, detach),
    ignore(Drain, AVAILABLE),
    ignore(TooLateToStop, AVAILABLE, RESERVED, BUSY),
    ignore(Stale, AVAILABLE, RESERVED, BUSY),
), classify)  # fmt: skip

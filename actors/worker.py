"""The Worker: one GPU's promise.

available: free, announced · reserved: held by one named peer, who is linking, proving or uploading · busy: one job
runs, or its result is on the way. Jobs outlive links: a lost listener leaves the job running, and its owner may return.
"""

from typing import Any

from attrs import evolve

from actors.events import (
    NO_TIMEOUT,
    AcceptLink,
    CloseLink,
    Deliver,
    Drain,
    EnterFailed,
    Finished,
    Forget,
    JobOver,
    Lapsed,
    LinkLost,
    Listen,
    LookUp,
    Offered,
    PackageArrived,
    PackageFailed,
    Prepare,
    ResultFound,
    ResultGone,
    ResultMissing,
    StartJob,
    StateTimeout,
    StatusIs,
    StopEarly,
    Submitted,
    TellLink,
    Trusted,
    TurnAway,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, quiet, row
from actors.worker_events import (
    FetcherLost,
    Hold,
    JobOverUnheard,
    Misspoken,
    OfferedAgain,
    OfferedForeign,
    OwnerBack,
    OwnerOffered,
    ReturnAsked,
    ReturnLost,
    Stale,
    StopAsked,
    StrangerAttached,
    classify,
)
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.jobs import JobAccepted, JobEnded
from protocol.status import Status

HOLD_TIME = 45.0
"""Seconds a peer may take to link and prove itself; an honest link is up, or has failed, within 20."""
ASK_TIME = 30.0
"""Seconds a trusted peer may take to say what it wants."""

BUSY_FAULT = Fault(
    FaultCode.WORKER_BUSY,
    "The worker is held by someone else. Try again later, or use room discovery (--room-id and --token, perhaps with "
    "--auto-select) to find another one.",
)
LEAVING_FAULT = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping. Pick another one from the room.")


# -------- holding


def hold_for(hold: Hold, offer: Offered) -> Step[Hold]:
    """Promise this GPU to one peer, for as long as linking and proving may take."""
    link = LinkId(hold.links + 1)
    late = Lapsed(Fault(FaultCode.LINK_FAILED, "The link did not come to be in time. Try again."))
    effects = (
        StatusIs(Status.RESERVED),
        AcceptLink(link, offer.peer, offer.sdp),
        StateTimeout(HOLD_TIME, late),
    )
    return Step(evolve(hold, peer=offer.peer, link=link, links=link), effects)


def hold_anew(hold: Hold, event: OfferedAgain | OwnerOffered) -> Step[Hold]:
    """The same peer starts over: its older link, and what it had begun, are dropped.

    Until it has proven itself its time does not start over, or a member without the secret could hold us for ever.
    """
    fresh = Hold(links=hold.links, leaving=hold.leaving)
    step = hold_for(fresh, event.offer)
    effects = tuple(effect for effect in step.effects if hold.trusted or not isinstance(effect, StateTimeout))
    return Step(step.data, (*_let_go_of(hold), *effects))


def refuse(hold: Hold, offer: Offered) -> Step[Hold]:
    """One at a time; the stranger is told at once, and how to find others."""
    return Step(hold, (TurnAway(offer.peer, BUSY_FAULT if hold.leaving is None else LEAVING_FAULT),))


def refuse_again(hold: Hold, event: OfferedAgain) -> Step[Hold]:
    """The listener asks for a second link without naming its job: to us, a stranger's wish."""
    return refuse(hold, event.offer)


def refuse_foreign(hold: Hold, event: OfferedForeign) -> Step[Hold]:
    """We would not understand each other."""
    text = (
        f"The worker speaks protocol version {PROTOCOL_VERSION} and the client version {event.offer.version}. "
        "Install the same version of sleap-rtc on both."
    )
    return Step(hold, (TurnAway(event.offer.peer, Fault(FaultCode.VERSION, text)),))


def await_ask(hold: Hold, _event: Trusted) -> Step[Hold]:
    """The peer may speak; it should say soon what it wants."""
    silent = Lapsed(Fault(FaultCode.STALLED, "The worker heard no wish in time and took the next in line. Try again."))
    return Step(evolve(hold, trusted=True), (StateTimeout(ASK_TIME, silent),))


def take_job(hold: Hold, event: Submitted) -> Step[Hold]:
    """Accept, and fetch the package. From here on the transfer keeps its own time."""
    job, key = event.ticket.job, event.ticket.key
    effects = (
        NO_TIMEOUT,
        TellLink(event.link, JobAccepted(job, key)),
        Prepare(event.link, event.ticket, event.submit),
    )
    return Step(evolve(hold, ticket=event.ticket), effects)


def start(hold: Hold, event: PackageArrived) -> Step[Hold]:
    """The package is here: run it."""
    return Step(hold, (StatusIs(Status.BUSY), StartJob(event.job)))


def look_up(hold: Hold, event: ReturnAsked) -> Step[Hold]:
    """An owner comes back after its job has ended: see whether the result waits here."""
    return Step(hold, (LookUp(event.link, event.ticket),))


def deliver_late(hold: Hold, event: ResultFound) -> Step[Hold]:
    """It does: tell how the job ended, and send what it made."""
    job = event.ticket.job
    effects = (
        StatusIs(Status.BUSY),
        TellLink(event.link, JobAccepted(job, event.ticket.key)),
        TellLink(event.link, JobEnded(job, event.outcome, event.text, result=True)),
        Deliver(job, event.link),
    )
    return Step(evolve(hold, ticket=event.ticket, over=True), effects)


def end_unknown(hold: Hold, event: ResultMissing) -> Step[Hold]:
    """It does not."""
    told = TellLink(event.link, _rebuke(StrangerAttached(event.link)))
    return _free(hold, told, *_let_go_of(hold))


# -------- letting go


def _let_go_of(hold: Hold, fault: Fault | None = None) -> tuple[Any, ...]:
    """Drop the links, and a job that has not begun."""
    links = tuple(CloseLink(link, fault) for link in (hold.link, hold.returning) if link is not None)
    begun = hold.ticket is not None and not hold.over
    return (*links, Forget(hold.ticket.job)) if begun and hold.ticket is not None else links


def _free(hold: Hold, *before: Any) -> Step[Hold]:
    """Nobody holds us: say so, or end if that was what we waited for."""
    after = StatusIs(Status.AVAILABLE) if hold.leaving is None else hold.leaving
    return Step(Hold(links=hold.links, leaving=hold.leaving), (*before, after))


def let_go(hold: Hold, _event: LinkLost) -> Step[Hold]:
    """The peer is gone before its job began."""
    return _free(hold, *_let_go_of(hold))


def lapse(hold: Hold, event: Lapsed) -> Step[Hold]:
    """The peer took too long; the promise ends, and it is told."""
    return _free(hold, *_let_go_of(hold, event.fault))


def end_rude(hold: Hold, event: Misspoken | StrangerAttached) -> Step[Hold]:
    """What was said makes no sense here; the promise ends."""
    return _free(hold, *_let_go_of(hold, _rebuke(event)))


def give_back(hold: Hold, event: PackageFailed) -> Step[Hold]:
    """No package, no job; the peer hears why."""
    told = () if hold.link is None else (TellLink(hold.link, event.fault), CloseLink(hold.link, event.fault))
    return _free(hold, *told)


def _rebuke(event: Misspoken | StrangerAttached) -> Fault:
    if isinstance(event, StrangerAttached):
        return Fault(FaultCode.NO_SUCH_JOB, "The worker has no such job of yours.")
    return Fault(FaultCode.BAD_MESSAGE, "The worker heard something out of turn and closed the link.")


# -------- while the job runs


def carry_on(hold: Hold, _event: LinkLost) -> Step[Hold]:
    """The listener is gone; the job is not."""
    return Step(evolve(hold, peer=None, link=None))


def stop_early(hold: Hold, _event: StopAsked) -> Step[Hold]:
    """The owner has seen enough of this model; what it has learned is kept."""
    assert hold.ticket is not None, "only a job is stopped"
    return Step(hold, (StopEarly(hold.ticket.job),))


def deliver(hold: Hold, event: JobOver) -> Step[Hold]:
    """Tell the listener how it ended, and send what it made."""
    assert hold.link is not None, "a job that ends unheard is another event"
    told = TellLink(hold.link, JobEnded(event.job, event.outcome, event.text, event.result))
    return Step(evolve(hold, over=True), (told, Deliver(event.job, hold.link)))


def keep(hold: Hold, _event: JobOverUnheard) -> Step[Hold]:
    """Nobody listens; the result waits on disk for its owner, and the GPU is free."""
    links = () if hold.returning is None else (CloseLink(hold.returning),)
    return _free(hold, *links)


def release(hold: Hold, event: ResultGone) -> Step[Hold]:
    """The result was taken, or waits on disk; either way the GPU is free."""
    links = tuple(CloseLink(link, event.fault) for link in (hold.link, hold.returning) if link is not None)
    return _free(hold, *links)


def keep_undelivered(hold: Hold, _event: FetcherLost) -> Step[Hold]:
    """The link broke on the way; the result waits on disk."""
    links = () if hold.returning is None else (CloseLink(hold.returning),)
    return _free(hold, *links)


# -------- a returning owner


def welcome_back(hold: Hold, event: OwnerOffered) -> Step[Hold]:
    """Take a second link beside the first, which may be dying; it has little time to show the job's key."""
    link = LinkId(hold.links + 1)
    before = () if hold.returning is None else (CloseLink(hold.returning),)
    effects = (*before, AcceptLink(link, event.offer.peer, event.offer.sdp), StateTimeout(HOLD_TIME))
    return Step(evolve(hold, returning=link, links=link), effects)


def hand_over(hold: Hold, event: OwnerBack) -> Step[Hold]:
    """The key fits: news and results go to this link from now on."""
    if event.link == hold.link:
        return Step(hold)
    assert hold.ticket is not None, "only a job has an owner"
    old = () if hold.link is None else (CloseLink(hold.link),)
    job = hold.ticket.job
    then = Deliver(job, event.link) if hold.over else Listen(job, event.link)
    effects = (NO_TIMEOUT, *old, TellLink(event.link, JobAccepted(job, hold.ticket.key)), then)
    return Step(evolve(hold, link=event.link, returning=None), effects)


def close_return(hold: Hold, event: Lapsed) -> Step[Hold]:
    """No key was shown in time; the job goes on as before."""
    links = () if hold.returning is None else (CloseLink(hold.returning, event.fault),)
    return Step(evolve(hold, returning=None), links)


def forget_return(hold: Hold, _event: ReturnLost) -> Step[Hold]:
    """The owner's new link broke too; the job goes on as before."""
    return Step(evolve(hold, returning=None), (NO_TIMEOUT,))


def snub(hold: Hold, event: Misspoken | StrangerAttached) -> Step[Hold]:
    """A returning link that shows no key is closed; a listener that misspeaks is not obeyed; the job goes on."""
    hold = evolve(hold, returning=None) if event.link == hold.returning else hold
    if event.link == hold.link:
        return Step(hold)
    return Step(hold, (CloseLink(event.link, _rebuke(event)),))


# -------- ending


def _leave(event: Drain | EnterFailed) -> Finished:
    return Finished(event.fault if isinstance(event, EnterFailed) else None)


def end(hold: Hold, event: Drain | EnterFailed) -> Step[Hold]:
    """Free, so done."""
    return Step(evolve(hold, leaving=_leave(event)), (_leave(event),))


def end_promise(hold: Hold, event: Drain | EnterFailed) -> Step[Hold]:
    """No job runs yet: the peer is sent to another worker."""
    hold = evolve(hold, leaving=_leave(event))
    return _free(hold, *_let_go_of(hold, LEAVING_FAULT))


def end_after_job(hold: Hold, event: Drain | EnterFailed) -> Step[Hold]:
    """A job is work; it is finished first."""
    return Step(evolve(hold, leaving=_leave(event)))


WORKER: Table[Hold] = Table("worker", AVAILABLE, (
    #   in         event             next       action
    row(AVAILABLE, Offered,          RESERVED,  hold_for),
    row(RESERVED,  Offered,          RESERVED,  refuse),
    row(BUSY,      Offered,          BUSY,      refuse),
    row(RESERVED,  OfferedAgain,     RESERVED,  hold_anew),
    row(BUSY,      OfferedAgain,     BUSY,      refuse_again),
    quiet(OfferedAgain, AVAILABLE),
    row(AVAILABLE, OfferedForeign,   AVAILABLE, refuse_foreign),
    row(RESERVED,  OfferedForeign,   RESERVED,  refuse_foreign),
    row(BUSY,      OfferedForeign,   BUSY,      refuse_foreign),

    # the way to a job
    row(RESERVED,  Trusted,          RESERVED,  await_ask),
    quiet(Trusted, AVAILABLE, BUSY),
    row(RESERVED,  Submitted,        RESERVED,  take_job),
    quiet(Submitted, AVAILABLE, BUSY),
    row(RESERVED,  PackageArrived,   BUSY,      start),
    quiet(PackageArrived, AVAILABLE, BUSY),
    row(RESERVED,  PackageFailed,    AVAILABLE, give_back),
    quiet(PackageFailed, AVAILABLE, BUSY),
    row(RESERVED,  LinkLost,         AVAILABLE, let_go),
    row(RESERVED,  Lapsed,           AVAILABLE, lapse),
    row(RESERVED,  Misspoken,        AVAILABLE, end_rude),
    row(RESERVED,  StrangerAttached, AVAILABLE, end_rude),
    quiet(Misspoken, AVAILABLE),
    quiet(StrangerAttached, AVAILABLE),

    # the job
    row(BUSY,      LinkLost,         BUSY,      carry_on),
    quiet(LinkLost, AVAILABLE),
    row(BUSY,      StopAsked,        BUSY,      stop_early),
    quiet(StopAsked, AVAILABLE, RESERVED),
    row(BUSY,      JobOver,          BUSY,      deliver),
    quiet(JobOver, AVAILABLE, RESERVED),
    row(BUSY,      JobOverUnheard,   AVAILABLE, keep),
    quiet(JobOverUnheard, AVAILABLE, RESERVED),
    row(BUSY,      ResultGone,       AVAILABLE, release),
    quiet(ResultGone, AVAILABLE, RESERVED),
    row(BUSY,      FetcherLost,      AVAILABLE, keep_undelivered),
    quiet(FetcherLost, AVAILABLE, RESERVED),

    # its owner returns
    row(RESERVED,  ReturnAsked,      RESERVED,  look_up),
    quiet(ReturnAsked, AVAILABLE, BUSY),
    row(RESERVED,  ResultFound,      BUSY,      deliver_late),
    quiet(ResultFound, AVAILABLE, BUSY),
    row(RESERVED,  ResultMissing,    AVAILABLE, end_unknown),
    quiet(ResultMissing, AVAILABLE, BUSY),
    row(BUSY,      OwnerOffered,     BUSY,      welcome_back),
    row(RESERVED,  OwnerOffered,     RESERVED,  hold_anew),
    quiet(OwnerOffered, AVAILABLE),
    row(BUSY,      OwnerBack,        BUSY,      hand_over),
    quiet(OwnerBack, AVAILABLE, RESERVED),
    row(BUSY,      ReturnLost,       BUSY,      forget_return),
    quiet(ReturnLost, AVAILABLE, RESERVED),
    row(BUSY,      Lapsed,           BUSY,      close_return),
    quiet(Lapsed, AVAILABLE),
    row(BUSY,      Misspoken,        BUSY,      snub),
    row(BUSY,      StrangerAttached, BUSY,      snub),

    # the end
    row(AVAILABLE, Drain,            AVAILABLE, end),
    row(RESERVED,  Drain,            AVAILABLE, end_promise),
    row(BUSY,      Drain,            BUSY,      end_after_job),
    row(AVAILABLE, EnterFailed,      AVAILABLE, end),
    row(RESERVED,  EnterFailed,      AVAILABLE, end_promise),
    row(BUSY,      EnterFailed,      BUSY,      end_after_job),

    quiet(Stale, AVAILABLE, RESERVED, BUSY),
), classify)  # fmt: skip

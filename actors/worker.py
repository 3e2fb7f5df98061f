"""The Worker: one GPU's promise.

available: free, announced · reserved: held by one named peer, who is linking, proving or uploading · busy: one job
runs. Jobs outlive links, and even this program: once its package is here, a job needs nobody, and whoever shows its key
is told of it at the window (`actors/job_session.py`), whatever we are meanwhile.
"""

from typing import Any

from attrs import evolve

from actors.events import (
    NO_TIMEOUT,
    AcceptLink,
    AtWindow,
    CloseLink,
    Drain,
    EnterFailed,
    Finished,
    Forget,
    JobOver,
    JobsKnown,
    JobTakenUp,
    KnockAgain,
    Lapsed,
    LinkLost,
    Offered,
    PackageFailed,
    PackageReceived,
    Prepare,
    Receive,
    StartJob,
    StateTimeout,
    StatusIs,
    Submitted,
    Supply,
    TellLink,
    Trusted,
    TurnAway,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, quiet, row
from actors.worker_events import (
    Crowded,
    HeardAhead,
    Hold,
    LastVisitorLeft,
    Misspoken,
    OfferedAgain,
    OfferedForeign,
    OfferedLeaving,
    OfferedUnknown,
    OneJobOver,
    OwnerOffered,
    SenderLost,
    Stale,
    VisitorLeft,
    classify,
)
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import JobAccepted
from protocol.status import Status

HOLD_TIME = 45.0
"""Seconds a peer may take to link and prove itself; an honest link is up, or has failed, within 20."""
ASK_TIME = 30.0
"""Seconds a trusted peer may take to say what it wants."""
RETURN_TIME = 60.0
"""Seconds for which who sends a package may be away: time to notice that the link is gone, and for two tries to come
back, of 23 seconds each."""

BUSY_FAULT = Fault(
    FaultCode.WORKER_BUSY,
    "The worker is held by someone else. Try again later, or use room discovery (--room-id and --token, perhaps with "
    "--auto-select) to find another one.",
)
LEAVING_FAULT = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping. Pick another one from the room.")
CROWDED_FAULT = Fault(
    FaultCode.WORKER_LEAVING, "Too many ask this worker about their jobs at this moment. Try again in a minute."
)
UNKNOWN_FAULT = Fault(FaultCode.NO_SUCH_JOB, "The worker knows of no such job; it never began, or was long ago.")
RUDE_FAULT = Fault(FaultCode.BAD_MESSAGE, "The worker heard something out of turn and closed the link.")


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


def hold_anew(hold: Hold, event: OfferedAgain) -> Step[Hold]:
    """The same peer starts over: its older link, and what it had begun, are dropped.

    Until it has proven itself its time does not start over, or a member without the secret could hold us for ever.
    """
    step = hold_for(_unheld(hold), event.offer)
    effects = tuple(effect for effect in step.effects if hold.trusted or not isinstance(effect, StateTimeout))
    return Step(step.data, (*_let_go_of(hold), *effects))


def refuse(hold: Hold, offer: Offered) -> Step[Hold]:
    """One at a time; the stranger is told at once, and how to find others."""
    return Step(hold, (TurnAway(offer.peer, BUSY_FAULT if hold.leaving is None else LEAVING_FAULT),))


def refuse_leaving(hold: Hold, event: OfferedLeaving) -> Step[Hold]:
    """Only those who are at the window already are still served."""
    return Step(hold, (TurnAway(event.offer.peer, LEAVING_FAULT),))


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
    return Step(evolve(hold, job=job, known=hold.known | {job}), effects)


def start(hold: Hold, event: PackageReceived) -> Step[Hold]:
    """The package is here: run it. Whoever sent it has shown the key by that, and hears the job from the window."""
    job, visitors = event.ticket.job, hold.visitors
    effects: tuple[Any, ...] = (StatusIs(Status.BUSY), StartJob(job))
    if hold.link is not None and hold.link not in visitors:  # who has come back with it is there already
        effects, visitors = (*effects, Receive(hold.link, event.ticket)), visitors | {hold.link}
    after = evolve(_unheld(hold), running=hold.running | {job}, visitors=visitors, known=hold.known)
    return Step(after, effects)


def await_sender(hold: Hold, event: SenderLost) -> Step[Hold]:
    """Its link is lost, not its wish: the promise is kept for it a while, and what is here of the package, too."""
    late = Lapsed(Fault(FaultCode.STALLED, "Who sent the package did not come back in time with the rest of it."))
    after = evolve(hold, link=None, visitors=hold.visitors - {event.link})
    return Step(after, (StateTimeout(RETURN_TIME, late),))


def go_on(hold: Hold, event: Supply) -> Step[Hold]:
    """It is back; an older link of its, which may be dead and not know it yet, is of no more use."""
    old = () if hold.link is None else (CloseLink(hold.link),)
    return Step(evolve(hold, link=event.link), (NO_TIMEOUT, *old))


# -------- letting go


def _unheld(hold: Hold) -> Hold:
    """Nobody holds us; a job that has not begun is not known any more."""
    known = hold.known if hold.job is None else hold.known - {hold.job}
    return evolve(hold, peer=None, link=None, trusted=False, job=None, known=known)


def _let_go_of(hold: Hold, fault: Fault | None = None) -> tuple[Any, ...]:
    """Drop the link, and a job that has not begun."""
    links = () if hold.link is None else (CloseLink(hold.link, fault),)
    return links if hold.job is None else (*links, Forget(hold.job))


def _free(hold: Hold, *before: Any) -> Step[Hold]:
    """Nobody holds us and nothing runs: say so, or end if that was what we waited for and the window is empty."""
    after: tuple[Any, ...] = (StatusIs(Status.AVAILABLE),)
    if hold.leaving is not None:
        after = () if hold.visitors else (hold.leaving,)
    return Step(_unheld(hold), (*before, *after))


def let_go(hold: Hold, _event: LinkLost) -> Step[Hold]:
    """The peer is gone before it had a job."""
    return _free(hold, *_let_go_of(hold))


def lapse(hold: Hold, event: Lapsed) -> Step[Hold]:
    """The peer took too long; the promise ends, and it is told."""
    return _free(hold, *_let_go_of(hold, event.fault))


def end_rude(hold: Hold, _event: Misspoken) -> Step[Hold]:
    """What was said makes no sense here; the promise ends."""
    return _free(hold, *_let_go_of(hold, RUDE_FAULT))


def give_back(hold: Hold, event: PackageFailed) -> Step[Hold]:
    """No package, no job; the peer hears why."""
    told = () if hold.link is None else (TellLink(hold.link, event.fault), CloseLink(hold.link, event.fault))
    return _free(hold, *told)


# -------- the job


def take_up(hold: Hold, event: JobTakenUp) -> Step[Hold]:
    """An earlier worker's job is ours now, and keeps the GPU until it ends."""
    after = evolve(hold, running=hold.running | {event.job}, known=hold.known | {event.job})
    return Step(after, (StatusIs(Status.BUSY),))


def free(hold: Hold, event: JobOver) -> Step[Hold]:
    """The GPU is free; what the job made waits on disk, and is handed over at the window."""
    return _free(_without(hold, event.job))


def note_over(hold: Hold, event: OneJobOver) -> Step[Hold]:
    """One less."""
    return Step(_without(hold, event.job))


def _without(hold: Hold, job: JobId) -> Hold:
    return evolve(hold, running=hold.running - {job})


# -------- the window


def learn(hold: Hold, event: JobsKnown) -> Step[Hold]:
    """Their owners may come."""
    return Step(evolve(hold, known=hold.known | event.jobs))


def let_in(hold: Hold, event: OwnerOffered) -> Step[Hold]:
    """To the window, which has nothing to do with the promise."""
    link = LinkId(hold.links + 1)
    effects = (AcceptLink(link, event.offer.peer, event.offer.sdp), Receive(link))
    return Step(evolve(hold, visitors=hold.visitors | {link}, links=link), effects)


def refuse_crowd(hold: Hold, event: Crowded) -> Step[Hold]:
    """Later."""
    return Step(hold, (TurnAway(event.offer.peer, CROWDED_FAULT),))


def refuse_unknown(hold: Hold, event: OfferedUnknown) -> Step[Hold]:
    """There is no such job; said at once, so that nobody waits for it."""
    return Step(hold, (TurnAway(event.offer.peer, UNKNOWN_FAULT),))


def pass_on(hold: Hold, event: HeardAhead) -> Step[Hold]:
    """It spoke when its package was here and we had not yet said so; the window has it by now."""
    return Step(hold, (AtWindow(event.heard),))


def see_off(hold: Hold, event: VisitorLeft) -> Step[Hold]:
    """One less at the window."""
    return Step(evolve(hold, visitors=hold.visitors - {event.link}))


def end_at_last(hold: Hold, event: LastVisitorLeft) -> Step[Hold]:
    """Nothing is left to wait for."""
    assert hold.leaving is not None, "that is what makes it the last"
    return Step(evolve(hold, visitors=hold.visitors - {event.link}), (hold.leaving,))


# -------- ending


def _leave(hold: Hold, event: Drain | EnterFailed) -> Hold:
    """What comes first says why we end."""
    leaving = hold.leaving or Finished(event.fault if isinstance(event, EnterFailed) else None)
    return evolve(hold, leaving=leaving)


def end(hold: Hold, event: Drain | EnterFailed) -> Step[Hold]:
    """Free, so done, as soon as those at the window have what they came for."""
    return _free(_leave(hold, event))


def end_promise(hold: Hold, event: Drain | EnterFailed) -> Step[Hold]:
    """No job runs yet: the peer is sent to another worker."""
    return _free(_leave(hold, event), *_let_go_of(hold, LEAVING_FAULT))


def knock_again(hold: Hold, event: EnterFailed) -> Step[Hold]:
    """A job runs, whose owner will come for it; if the door is still shut when we are free, that ends us."""
    return Step(hold, (KnockAgain(event.fault),))


def end_after_job(hold: Hold, event: Drain) -> Step[Hold]:
    """A job is work; it is finished first."""
    return Step(_leave(hold, event))


WORKER: Table[Hold] = Table("worker", AVAILABLE, (
    #   in         event             next       action
    row(AVAILABLE, Offered,          RESERVED,  hold_for),
    row(RESERVED,  Offered,          RESERVED,  refuse),
    row(BUSY,      Offered,          BUSY,      refuse),
    row(RESERVED,  OfferedAgain,     RESERVED,  hold_anew),
    quiet(OfferedAgain, AVAILABLE, BUSY),
    row(AVAILABLE, OfferedLeaving,   AVAILABLE, refuse_leaving),
    quiet(OfferedLeaving, RESERVED, BUSY),
    row(AVAILABLE, OfferedForeign,   AVAILABLE, refuse_foreign),
    row(RESERVED,  OfferedForeign,   RESERVED,  refuse_foreign),
    row(BUSY,      OfferedForeign,   BUSY,      refuse_foreign),

    # the way to a job
    row(RESERVED,  Trusted,          RESERVED,  await_ask),
    quiet(Trusted, AVAILABLE, BUSY),
    row(RESERVED,  Submitted,        RESERVED,  take_job),
    quiet(Submitted, AVAILABLE, BUSY),
    row(RESERVED,  PackageReceived,  BUSY,      start),
    quiet(PackageReceived, AVAILABLE, BUSY),
    row(RESERVED,  PackageFailed,    AVAILABLE, give_back),
    quiet(PackageFailed, AVAILABLE, BUSY),
    row(RESERVED,  SenderLost,       RESERVED,  await_sender),
    quiet(SenderLost, AVAILABLE, BUSY),
    row(RESERVED,  Supply,           RESERVED,  go_on),
    quiet(Supply, AVAILABLE, BUSY),
    row(RESERVED,  LinkLost,         AVAILABLE, let_go),
    quiet(LinkLost, AVAILABLE, BUSY),
    row(RESERVED,  Lapsed,           AVAILABLE, lapse),
    quiet(Lapsed, AVAILABLE, BUSY),
    row(RESERVED,  Misspoken,        AVAILABLE, end_rude),
    quiet(Misspoken, AVAILABLE, BUSY),

    # the job
    row(AVAILABLE, JobTakenUp,       BUSY,      take_up),
    row(BUSY,      JobTakenUp,       BUSY,      take_up),
    quiet(JobTakenUp, RESERVED),
    row(BUSY,      OneJobOver,       BUSY,      note_over),
    quiet(OneJobOver, AVAILABLE, RESERVED),
    row(BUSY,      JobOver,          AVAILABLE, free),
    quiet(JobOver, AVAILABLE, RESERVED),

    # the window
    row(AVAILABLE, JobsKnown,        AVAILABLE, learn),
    row(RESERVED,  JobsKnown,        RESERVED,  learn),
    row(BUSY,      JobsKnown,        BUSY,      learn),
    row(AVAILABLE, OwnerOffered,     AVAILABLE, let_in),
    row(RESERVED,  OwnerOffered,     RESERVED,  let_in),
    row(BUSY,      OwnerOffered,     BUSY,      let_in),
    row(AVAILABLE, Crowded,          AVAILABLE, refuse_crowd),
    row(RESERVED,  Crowded,          RESERVED,  refuse_crowd),
    row(BUSY,      Crowded,          BUSY,      refuse_crowd),
    row(AVAILABLE, OfferedUnknown,   AVAILABLE, refuse_unknown),
    row(RESERVED,  OfferedUnknown,   RESERVED,  refuse_unknown),
    row(BUSY,      OfferedUnknown,   BUSY,      refuse_unknown),
    row(AVAILABLE, HeardAhead,       AVAILABLE, pass_on),
    row(RESERVED,  HeardAhead,       RESERVED,  pass_on),
    row(BUSY,      HeardAhead,       BUSY,      pass_on),
    row(AVAILABLE, VisitorLeft,      AVAILABLE, see_off),
    row(RESERVED,  VisitorLeft,      RESERVED,  see_off),
    row(BUSY,      VisitorLeft,      BUSY,      see_off),
    row(AVAILABLE, LastVisitorLeft,  AVAILABLE, end_at_last),
    quiet(LastVisitorLeft, RESERVED, BUSY),

    # the end
    row(AVAILABLE, Drain,            AVAILABLE, end),
    row(RESERVED,  Drain,            AVAILABLE, end_promise),
    row(BUSY,      Drain,            BUSY,      end_after_job),
    row(AVAILABLE, EnterFailed,      AVAILABLE, end),
    row(RESERVED,  EnterFailed,      AVAILABLE, end_promise),
    row(BUSY,      EnterFailed,      BUSY,      knock_again),

    quiet(Stale, AVAILABLE, RESERVED, BUSY),
), classify)  # fmt: skip

"""The Client: one person's wish, from "a worker, please" to "here is your model".

available: nothing wanted · reserved: a worker is asked for, promised, being linked to, and sent the package · busy: the
package is there, so the job runs far away, and its result is awaited. It ends in exactly one `Finished`.
"""

from attrs import evolve

from actors.client_events import (
    Abandoned,
    BackAgain,
    Chosen,
    Doubtful,
    EndedEmpty,
    HomeAlone,
    HungUp,
    MustWait,
    NeverBegan,
    NobodyFits,
    Noted,
    Quest,
    Returned,
    SendOn,
    Shown,
    Stale,
    StartOver,
    TakenBack,
    Thanked,
    ToldOff,
    TooLate,
    TrustedAgain,
    Unanswered,
    Unsaid,
    Vanished,
    classify,
)
from actors.events import (
    NO_TIMEOUT,
    CancelWanted,
    Claim,
    CloseLink,
    Direct,
    Drain,
    Enter,
    EnterFailed,
    FetchResult,
    Finished,
    Lapsed,
    LinkLost,
    OpenLink,
    Overdue,
    PackageSent,
    Refused,
    ResultHere,
    ResultLost,
    ResultSafe,
    Say,
    SendFailed,
    SendPackage,
    ShowRoster,
    StateTimeout,
    StopWanted,
    TellLink,
    Ticket,
    Trusted,
    Wanted,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, quiet, row
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.jobs import CancelJob, JobAccepted, JobEnded, Outcome, ResultTaken, StopJob
from protocol.signaling import StandDown, Wait

# -------- on the way to a worker


FIRST_PAUSE = 1.0
"""Seconds before the first try to get back to a job."""
THANKS_TIME = 5.0
"""Seconds to hear that the worker knows the result to be home; it is kept for a while otherwise, and no harm done."""
RETURN_PAUSE = 5.0
"""Seconds before each further one; a try itself takes up to 23."""


def _late(quest: Quest, text: str) -> StateTimeout:
    patience = quest.wanted.patience if quest.wanted else 0.0
    return StateTimeout(patience, Lapsed(Fault(FaultCode.LINK_FAILED, text)))


def set_out(_quest: Quest, wanted: Wanted) -> Step[Quest]:
    """First the room, then a worker."""
    quest = Quest(wanted)
    if wanted.ticket is not None:
        quest = evolve(quest, attaching=True, job=wanted.ticket.job, key=wanted.ticket.key, begun=True)
    return Step(quest, (Enter(wanted.room_pass, wanted.patience),))


def ask_person(_quest: Quest, event: Shown) -> Step[Quest]:
    """Show who is there now; the person takes what time they need."""
    return Step(evolve(event.quest, link=None), (NO_TIMEOUT, *_drop_link(event.quest), ShowRoster(event.fitting)))


def stand_in_line(_quest: Quest, event: MustWait) -> Step[Quest]:
    """First come, first served; said again after a promise that came to nothing, it keeps our place."""
    quest = event.quest
    effects = (NO_TIMEOUT, *_drop_link(quest), Say(_wait(quest)))
    return Step(evolve(quest, link=None, waiting=True, tried=frozenset()), effects)


def stand_again(quest: Quest, _event: Returned) -> Step[Quest]:
    """The server may have forgotten us."""
    return Step(quest, (Say(_wait(quest)),))


def _wait(quest: Quest) -> Wait:
    assert quest.wanted is not None, "only a wish waits"
    choice = quest.wanted.choice
    return Wait(quest.wanted.min_memory_mb, choice.peer if isinstance(choice, Direct) else None)


def tire(quest: Quest, _event: Overdue) -> Step[Quest]:
    """The person's patience with the line is over."""
    return _end(quest, Fault(FaultCode.WORKER_BUSY, "No worker came free within the time given with --wait."))


def note(quest: Quest, event: Noted) -> Step[Quest]:
    """Keep the list fresh, should the worker refuse."""
    return Step(evolve(quest, workers=event.workers))


def _drop_link(quest: Quest) -> tuple[CloseLink, ...]:
    return () if quest.link is None else (CloseLink(quest.link),)


def ask_worker(_quest: Quest, event: Chosen) -> Step[Quest]:
    """Ask this one for a link."""
    link = LinkId(event.quest.links + 1)
    quest = evolve(event.quest, peer=event.peer, link=link, links=link)
    late = _late(quest, "The worker did not answer in time. Try again.")
    return Step(quest, (*_drop_link(event.quest), OpenLink(link, event.peer, quest.job), late))


def ask_again(quest: Quest, event: Unanswered) -> Step[Quest]:
    """A server that restarts loses what it carried; ask the same worker again, each time a little later."""
    asked = quest.asked + (2 if event.silent else 1)
    return Step(evolve(quest, asked=asked), (StateTimeout(FIRST_PAUSE * 2**quest.asked),))


def submit(quest: Quest, event: Trusted) -> Step[Quest]:
    """Both ends know each other: say what is wanted."""
    assert quest.wanted is not None, "only a wish opens links"
    assert quest.wanted.job is not None, "who does not attach has something to be run"
    late = _late(quest, "The worker did not say whether it takes the job. Try again.")
    served = (Say(StandDown()),) if quest.waiting else ()
    return Step(evolve(quest, waiting=False), (*served, TellLink(event.link, quest.wanted.job), late))


def claim(quest: Quest, event: TrustedAgain) -> Step[Quest]:
    """Come back to a job: show that it is ours."""
    late = _late(quest, "The worker did not say whether it knows the job. Try again.")
    return Step(quest, (_claim(quest, event.link), late))


def _claim(quest: Quest, link: LinkId) -> Claim:
    assert quest.job is not None, "who comes back names a job"
    fetch = quest.wanted is None or quest.wanted.fetch
    return Claim(link, Ticket(quest.job, quest.key), fetch, supply=not quest.begun)


def take_up(quest: Quest, _event: TakenBack) -> Step[Quest]:
    """It is ours, and runs or is over; what there is to hear follows. From here on it is a job like any other."""
    return Step(evolve(quest, attaching=False), (NO_TIMEOUT,))


def send(quest: Quest, event: JobAccepted) -> Step[Quest]:
    """Send the package; the transfer keeps its own time."""
    assert quest.link is not None, "it was heard over a link"
    return Step(evolve(quest, job=event.job, key=event.key), (NO_TIMEOUT, SendPackage(quest.link, event.job)))


def leave_to_it(quest: Quest, _event: PackageSent) -> Step[Quest]:
    """The worker has all it needs; what it says of the job goes straight to the view."""
    return Step(evolve(quest, begun=True))


def send_rest(quest: Quest, _event: SendOn) -> Step[Quest]:
    """The worker has kept what had come of it."""
    assert quest.link is not None, "it was heard over a link"
    assert quest.job is not None, "who comes back names a job"
    return Step(evolve(quest, returns=0), (NO_TIMEOUT, SendPackage(quest.link, quest.job)))


def start_over(quest: Quest, _event: StartOver) -> Step[Quest]:
    """As if we had never been there."""
    assert quest.peer is not None, "who comes back has a worker"
    fresh = Quest(quest.wanted, quest.workers, link=quest.link, links=quest.links, again=quest.again + 1)
    return ask_worker(quest, Chosen(quest.peer, fresh))


def ask_stop(quest: Quest, event: StopWanted) -> Step[Quest]:
    """The person has seen enough; the worker keeps what was learned."""
    assert quest.job is not None, "a running job has a name"
    return _urge(quest, StopJob(quest.job, quest.key, event.scope))


def ask_cancel(quest: Quest, _event: CancelWanted) -> Step[Quest]:
    """The person wants no more of it; how it ended is told like any other end."""
    assert quest.job is not None, "a running job has a name"
    return _urge(quest, CancelJob(quest.job, quest.key))


def _urge(quest: Quest, wish: StopJob | CancelJob) -> Step[Quest]:
    """While we are away from the worker it is kept until we are back. A stop takes back no cancel."""
    urge = quest.urge if isinstance(quest.urge, CancelJob) else wish
    here = quest.link is not None and not quest.returns
    return Step(evolve(quest, urge=urge), (TellLink(quest.link, wish),) if here and quest.link is not None else ())


def fetch(quest: Quest, event: JobEnded) -> Step[Quest]:
    """It is over; take what it made."""
    assert quest.link is not None, "it was heard over a link"
    return Step(evolve(quest, ended=event), (FetchResult(quest.link),))


# -------- a lost link, while the job goes on


def go_back(quest: Quest, event: LinkLost) -> Step[Quest]:
    """The job does not mind; try to get back to it, soon at first, then now and then."""
    gone = event.fault is not None and event.fault.code is FaultCode.NO_WORKER
    pause = StateTimeout(RETURN_PAUSE if quest.returns else FIRST_PAUSE)
    return Step(evolve(quest, returns=quest.returns + (2 if gone else 1)), (pause,))


def see_whether(quest: Quest, event: Doubtful) -> Step[Quest]:
    """If the package was over in time the job runs, and we go on as with any lost link; if not, the worker says so."""
    return go_back(quest, event.lost)


def knock_again(quest: Quest, _event: Lapsed) -> Step[Quest]:
    """Ask for a new link, naming the job."""
    assert quest.peer is not None, "a running job has a worker"
    link = LinkId(quest.links + 1)
    effects = (*_drop_link(quest), OpenLink(link, quest.peer, quest.job))
    return Step(evolve(quest, link=link, links=link), effects)


def show_key(quest: Quest, event: Trusted) -> Step[Quest]:
    """The worker knows us again: show that the job is ours."""
    return Step(quest, (_claim(quest, event.link),))


def settle_back(quest: Quest, _event: BackAgain) -> Step[Quest]:
    """We are back; what happened meanwhile follows, and what the person wanted is said again."""
    urge = () if quest.urge is None or quest.link is None else (TellLink(quest.link, quest.urge),)
    return Step(evolve(quest, returns=0, begun=True), (NO_TIMEOUT, *urge))


def note_safe(quest: Quest, _event: ResultSafe) -> Step[Quest]:
    """From here on the worker may hang up; should it have done so, nobody need go back."""
    return Step(evolve(quest, safe=True), (NO_TIMEOUT,))


# -------- ends


def _end(quest: Quest, fault: Fault | None, ended: JobEnded | None = None) -> Step[Quest]:
    return Step(Quest(links=quest.links), (*_drop_link(quest), Finished(fault, ended)))


def _verdict(ended: JobEnded | None) -> Fault | None:
    if ended is None or ended.outcome is Outcome.DONE:
        return None
    code = FaultCode.CANCELLED if ended.outcome is Outcome.CANCELLED else FaultCode.JOB_FAILED
    return Fault(code, ended.text)


def give_thanks(quest: Quest, _event: ResultHere) -> Step[Quest]:
    """All is here, and the worker need not keep it; it has a moment to answer."""
    assert quest.link is not None, "without a link it is another event"
    assert quest.job is not None, "what came was a job's"
    told = TellLink(quest.link, ResultTaken(quest.job, quest.key))
    return Step(evolve(quest, home=True), (told, StateTimeout(THANKS_TIME)))


def note_hung_up(quest: Quest, _event: HungUp) -> Step[Quest]:
    """It is of no more use."""
    return Step(evolve(quest, link=None))


def come_home(quest: Quest, _event: Thanked | HomeAlone) -> Step[Quest]:
    """That was all."""
    return _end(quest, _verdict(quest.ended), quest.ended)


def end_empty(quest: Quest, event: EndedEmpty) -> Step[Quest]:
    """It is over, and how it ended is all there is to say."""
    return _end(quest, _verdict(event.ended), event.ended)


def fail(quest: Quest, event: EnterFailed | ToldOff | SendFailed | ResultLost | Refused) -> Step[Quest]:
    """The other side, or our own courier, says why not."""
    return _end(quest, event.fault)


def fail_nobody(_quest: Quest, event: NobodyFits) -> Step[Quest]:
    """There is nobody to ask, or nobody left."""
    return _end(event.quest, event.fault)


def fail_late(quest: Quest, event: Lapsed) -> Step[Quest]:
    """Somebody kept us waiting."""
    return _end(quest, event.fault or Fault(FaultCode.LINK_FAILED, "The worker did not answer in time."))


def fail_lost(quest: Quest, event: LinkLost) -> Step[Quest]:
    """The link broke before the job ran; nothing is kept on the worker."""
    text = "The link to the worker broke before the job began. Try again."
    return _end(quest, event.fault or Fault(FaultCode.LINK_LOST, text))


def fail_unbegun(quest: Quest, _event: NeverBegan) -> Step[Quest]:
    """Now we know."""
    text = "The link to the worker broke before the whole package was over; nothing runs there. Try again."
    return _end(quest, Fault(FaultCode.LINK_LOST, text))


def fail_vanished(quest: Quest, event: Vanished) -> Step[Quest]:
    """The worker says why."""
    return _end(quest, event.fault)


def fail_at_work(quest: Quest, event: Abandoned) -> Step[Quest]:
    """We did not get back to the job; say what is known of it."""
    reason = event.fault.text + " " if event.fault else ""
    text = "The link to the worker is gone. The job needs neither it nor us; its result is kept on the worker."
    if not quest.begun:
        text = "The link to the worker is gone; whether the job began, only the worker knows."
    return _end(quest, Fault(FaultCode.LINK_LOST, reason + text))


def give_up(quest: Quest, _event: Drain | Unsaid | CancelWanted) -> Step[Quest]:
    """Interrupted before anything was started: nothing is left behind."""
    if quest.attaching:
        return _end(quest, Fault(FaultCode.DETACHED, "Stopped before the job was reached; nothing has changed for it."))
    fault = Fault(FaultCode.INTERRUPTED, "Stopped before the job began; nothing was left on the worker.")
    step = _end(quest, fault)
    if quest.link is None or quest.job is None:
        return step
    # should the last byte of the package have arrived just now, the job goes all the same
    return Step(step.data, (TellLink(quest.link, CancelJob(quest.job, quest.key)), *step.effects))


def detach(quest: Quest, _event: Drain) -> Step[Quest]:
    """Interrupting the client never harms the job."""
    text = "Detached: the job runs on, and its result is kept on the worker."
    if not quest.begun:
        text = "Left while the link was gone; whether the job runs, only the worker knows."
    elif quest.ended is not None:
        text = "Detached: the job has ended, and its result is kept on the worker."
    return _end(quest, Fault(FaultCode.DETACHED, text))


CLIENT: Table[Quest] = Table("client", AVAILABLE, (
    #   in         event        next       action
    row(AVAILABLE, Wanted,      RESERVED,  set_out),
    quiet(Wanted, RESERVED, BUSY),

    # the room
    row(RESERVED,  EnterFailed, AVAILABLE, fail),
    quiet(EnterFailed, AVAILABLE, BUSY),
    row(RESERVED,  Shown,       RESERVED,  ask_person),
    quiet(Shown, AVAILABLE, BUSY),
    row(RESERVED,  Noted,       RESERVED,  note),
    quiet(Noted, AVAILABLE, BUSY),
    row(RESERVED,  Chosen,      RESERVED,  ask_worker),
    quiet(Chosen, AVAILABLE, BUSY),
    row(RESERVED,  Unanswered,  RESERVED,  ask_again),
    quiet(Unanswered, AVAILABLE, BUSY),
    row(RESERVED,  NobodyFits,  AVAILABLE, fail_nobody),
    quiet(NobodyFits, AVAILABLE, BUSY),
    row(RESERVED,  MustWait,    RESERVED,  stand_in_line),
    quiet(MustWait, AVAILABLE, BUSY),
    row(RESERVED,  Returned,    RESERVED,  stand_again),
    quiet(Returned, AVAILABLE, BUSY),
    row(RESERVED,  Overdue,     AVAILABLE, tire),
    quiet(Overdue, AVAILABLE, BUSY),
    row(RESERVED,  Unsaid,      AVAILABLE, give_up),
    quiet(Unsaid, AVAILABLE, BUSY),

    # the worker
    row(RESERVED,  Refused,     AVAILABLE, fail),
    quiet(Refused, AVAILABLE, BUSY),
    row(RESERVED,  Trusted,     RESERVED,  submit),
    row(BUSY,      Trusted,     BUSY,      show_key),
    quiet(Trusted, AVAILABLE),
    row(RESERVED,  TrustedAgain, RESERVED, claim),
    quiet(TrustedAgain, AVAILABLE, BUSY),
    row(RESERVED,  TakenBack,   BUSY,      take_up),
    quiet(TakenBack, AVAILABLE, BUSY),
    row(RESERVED,  JobAccepted, RESERVED,  send),
    quiet(JobAccepted, AVAILABLE, BUSY),
    row(BUSY,      BackAgain,   BUSY,      settle_back),
    quiet(BackAgain, AVAILABLE, RESERVED),
    row(BUSY,      StartOver,   RESERVED,  start_over),
    quiet(StartOver, AVAILABLE, RESERVED),
    row(BUSY,      SendOn,      RESERVED,  send_rest),
    quiet(SendOn, AVAILABLE, RESERVED),
    row(RESERVED,  SendFailed,  AVAILABLE, fail),
    quiet(SendFailed, AVAILABLE, BUSY),
    row(RESERVED,  Lapsed,      AVAILABLE, fail_late),
    row(BUSY,      Lapsed,      BUSY,      knock_again),
    quiet(Lapsed, AVAILABLE),

    # the job
    row(RESERVED,  PackageSent, BUSY,      leave_to_it),
    row(BUSY,      PackageSent, BUSY,      leave_to_it),
    quiet(PackageSent, AVAILABLE),
    row(BUSY,      StopWanted,  BUSY,      ask_stop),
    quiet(StopWanted, AVAILABLE, RESERVED),
    row(RESERVED,  CancelWanted, AVAILABLE, give_up),
    row(BUSY,      CancelWanted, BUSY,     ask_cancel),
    quiet(CancelWanted, AVAILABLE),
    row(BUSY,      JobEnded,    BUSY,      fetch),
    quiet(JobEnded, AVAILABLE, RESERVED),
    row(RESERVED,  EndedEmpty,  AVAILABLE, end_empty),
    row(BUSY,      EndedEmpty,  AVAILABLE, end_empty),
    quiet(EndedEmpty, AVAILABLE),
    row(BUSY,      ResultSafe,  BUSY,      note_safe),
    quiet(ResultSafe, AVAILABLE, RESERVED),
    row(BUSY,      ResultHere,  BUSY,      give_thanks),
    quiet(ResultHere, AVAILABLE, RESERVED),
    row(BUSY,      HungUp,      BUSY,      note_hung_up),
    quiet(HungUp, AVAILABLE, RESERVED),
    row(BUSY,      HomeAlone,   AVAILABLE, come_home),
    quiet(HomeAlone, AVAILABLE, RESERVED),
    row(BUSY,      Thanked,     AVAILABLE, come_home),
    quiet(Thanked, AVAILABLE, RESERVED),
    row(BUSY,      ResultLost,  AVAILABLE, fail),
    quiet(ResultLost, AVAILABLE, RESERVED),

    # what may happen at any time
    row(RESERVED,  ToldOff, AVAILABLE, fail),
    row(BUSY,      ToldOff, AVAILABLE, fail),
    quiet(ToldOff, AVAILABLE),
    row(RESERVED,  LinkLost,    AVAILABLE, fail_lost),
    row(BUSY,      LinkLost,    BUSY,      go_back),
    quiet(LinkLost, AVAILABLE),
    row(RESERVED,  Doubtful,    BUSY,      see_whether),
    row(BUSY,      Doubtful,    BUSY,      see_whether),
    quiet(Doubtful, AVAILABLE),
    row(RESERVED,  NeverBegan,  AVAILABLE, fail_unbegun),
    row(BUSY,      NeverBegan,  AVAILABLE, fail_unbegun),
    quiet(NeverBegan, AVAILABLE),
    row(RESERVED,  Vanished,    AVAILABLE, fail_vanished),
    row(BUSY,      Vanished,    AVAILABLE, fail_vanished),
    quiet(Vanished, AVAILABLE),
    row(BUSY,      Abandoned,   AVAILABLE, fail_at_work),
    quiet(Abandoned, AVAILABLE, RESERVED),
    row(RESERVED,  Drain,       AVAILABLE, give_up),
    row(BUSY,      Drain,       AVAILABLE, detach),
    quiet(Drain, AVAILABLE),
    quiet(TooLate, AVAILABLE, RESERVED, BUSY),
    quiet(Stale, AVAILABLE, RESERVED, BUSY),
), classify)  # fmt: skip

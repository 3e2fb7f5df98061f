"""The Client: one person's wish, from "a worker, please" to "here is your model".

available: nothing wanted · reserved: a worker is asked for, promised, being linked to, and sent the package · busy: the
job runs far away, and its result is awaited. It ends in exactly one `Finished`.
"""

from attrs import evolve

from actors.client_events import (
    Abandoned,
    Chosen,
    EndedEmpty,
    MustWait,
    NobodyFits,
    Noted,
    Quest,
    Returned,
    Shown,
    Stale,
    TakenBack,
    ToldOff,
    TooLate,
    TrustedAgain,
    Unanswered,
    Unsaid,
    classify,
)
from actors.events import (
    NO_TIMEOUT,
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
    Trusted,
    Wanted,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, quiet, row
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.jobs import AttachJob, JobAccepted, JobEnded, JobStarted, Outcome, StopModel
from protocol.signaling import StandDown, Wait

# -------- on the way to a worker


FIRST_PAUSE = 1.0
"""Seconds before the first try to get back to a job."""
RETURN_PAUSE = 5.0
"""Seconds before each further one; a try itself takes up to 23."""


def _late(quest: Quest, text: str) -> StateTimeout:
    patience = quest.wanted.patience if quest.wanted else 0.0
    return StateTimeout(patience, Lapsed(Fault(FaultCode.LINK_FAILED, text)))


def set_out(_quest: Quest, wanted: Wanted) -> Step[Quest]:
    """First the room, then a worker."""
    quest = Quest(wanted)
    if wanted.ticket is not None:
        quest = evolve(quest, attaching=True, job=wanted.ticket.job, key=wanted.ticket.key)
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
    assert quest.job is not None, "who attaches names a job"
    late = _late(quest, "The worker did not say whether it knows the job. Try again.")
    return Step(quest, (TellLink(event.link, AttachJob(quest.job, quest.key)), late))


def take_up(quest: Quest, _event: TakenBack) -> Step[Quest]:
    """It is ours, and runs or is over; what there is to hear follows. From here on it is a job like any other."""
    return Step(evolve(quest, attaching=False), (NO_TIMEOUT,))


def send(quest: Quest, event: JobAccepted) -> Step[Quest]:
    """Send the package; the transfer keeps its own time."""
    assert quest.link is not None, "it was heard over a link"
    return Step(evolve(quest, job=event.job, key=event.key), (NO_TIMEOUT, SendPackage(quest.link, event.job)))


def settle(quest: Quest, _event: JobStarted) -> Step[Quest]:
    """It trains; what it says of itself goes straight to the view."""
    return Step(quest)


def ask_stop(quest: Quest, _event: StopWanted) -> Step[Quest]:
    """The person has seen enough of this model; the worker keeps what it has learned."""
    assert quest.link is not None, "a running job has a link"
    assert quest.job is not None, "and a name"
    return Step(quest, (TellLink(quest.link, StopModel(quest.job)),))


def fetch(quest: Quest, event: JobEnded) -> Step[Quest]:
    """It is over; take what it made."""
    assert quest.link is not None, "it was heard over a link"
    return Step(evolve(quest, ended=event), (FetchResult(quest.link),))


# -------- a lost link, while the job goes on


def go_back(quest: Quest, event: LinkLost) -> Step[Quest]:
    """The job does not mind; try to get back to it, soon at first, then now and then."""
    gone = event.fault is not None and event.fault.code is FaultCode.NO_WORKER
    pause = StateTimeout(RETURN_PAUSE if quest.returns else FIRST_PAUSE)
    return Step(evolve(quest, returns=quest.returns + (4 if gone else 1)), (pause,))


def knock_again(quest: Quest, _event: Lapsed) -> Step[Quest]:
    """Ask for a new link, naming the job."""
    assert quest.peer is not None, "a running job has a worker"
    link = LinkId(quest.links + 1)
    effects = (*_drop_link(quest), OpenLink(link, quest.peer, quest.job))
    return Step(evolve(quest, link=link, links=link), effects)


def show_key(quest: Quest, event: Trusted) -> Step[Quest]:
    """The worker knows us again: show that the job is ours."""
    assert quest.job is not None, "a running job has a name"
    return Step(quest, (TellLink(event.link, AttachJob(quest.job, quest.key)),))


def settle_back(quest: Quest, _event: JobAccepted) -> Step[Quest]:
    """We are back; what happened meanwhile follows."""
    return Step(evolve(quest, returns=0), (NO_TIMEOUT,))


def note_safe(quest: Quest, _event: ResultSafe) -> Step[Quest]:
    """From here on the worker may hang up."""
    return Step(evolve(quest, safe=True))


# -------- ends


def _end(quest: Quest, fault: Fault | None, ended: JobEnded | None = None) -> Step[Quest]:
    return Step(Quest(links=quest.links), (*_drop_link(quest), Finished(fault, ended)))


def _verdict(ended: JobEnded | None) -> Fault | None:
    if ended is None or ended.outcome is Outcome.DONE:
        return None
    code = FaultCode.CANCELLED if ended.outcome is Outcome.CANCELLED else FaultCode.JOB_FAILED
    return Fault(code, ended.text)


def come_home(quest: Quest, _event: ResultHere) -> Step[Quest]:
    """All is here."""
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


def fail_at_work(quest: Quest, event: Abandoned) -> Step[Quest]:
    """We did not get back to the job; say what is known of it."""
    reason = event.fault.text + " " if event.fault else ""
    text = "The link to the worker is gone. If the worker still runs, so does the job, and its result is kept there."
    return _end(quest, Fault(FaultCode.LINK_LOST, reason + text))


def give_up(quest: Quest, _event: Drain | Unsaid) -> Step[Quest]:
    """Interrupted before anything was started: nothing is left behind."""
    if quest.attaching:
        return _end(quest, Fault(FaultCode.DETACHED, "Stopped before the job was reached; nothing has changed for it."))
    return _end(quest, Fault(FaultCode.INTERRUPTED, "Stopped before the job began; nothing was left on the worker."))


def detach(quest: Quest, _event: Drain) -> Step[Quest]:
    """Interrupting the client never harms the job."""
    text = "Detached: the job runs on, and its result is kept on the worker."
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
    row(BUSY,      JobAccepted, BUSY,      settle_back),
    quiet(JobAccepted, AVAILABLE),
    row(RESERVED,  SendFailed,  AVAILABLE, fail),
    quiet(SendFailed, AVAILABLE, BUSY),
    row(RESERVED,  Lapsed,      AVAILABLE, fail_late),
    row(BUSY,      Lapsed,      BUSY,      knock_again),
    quiet(Lapsed, AVAILABLE),

    # the job
    row(RESERVED,  JobStarted,  BUSY,      settle),
    quiet(JobStarted, AVAILABLE, BUSY),
    row(BUSY,      StopWanted,  BUSY,      ask_stop),
    quiet(StopWanted, AVAILABLE, RESERVED),
    row(BUSY,      JobEnded,    BUSY,      fetch),
    quiet(JobEnded, AVAILABLE, RESERVED),
    row(RESERVED,  EndedEmpty,  AVAILABLE, end_empty),
    row(BUSY,      EndedEmpty,  AVAILABLE, end_empty),
    quiet(EndedEmpty, AVAILABLE),
    row(BUSY,      ResultSafe,  BUSY,      note_safe),
    quiet(ResultSafe, AVAILABLE, RESERVED),
    row(BUSY,      ResultHere,  AVAILABLE, come_home),
    quiet(ResultHere, AVAILABLE, RESERVED),
    row(BUSY,      ResultLost,  AVAILABLE, fail),
    quiet(ResultLost, AVAILABLE, RESERVED),

    # what may happen at any time
    row(RESERVED,  ToldOff, AVAILABLE, fail),
    row(BUSY,      ToldOff, AVAILABLE, fail),
    quiet(ToldOff, AVAILABLE),
    row(RESERVED,  LinkLost,    AVAILABLE, fail_lost),
    row(BUSY,      LinkLost,    BUSY,      go_back),
    quiet(LinkLost, AVAILABLE),
    row(BUSY,      Abandoned,   AVAILABLE, fail_at_work),
    quiet(Abandoned, AVAILABLE, RESERVED),
    row(RESERVED,  Drain,       AVAILABLE, give_up),
    row(BUSY,      Drain,       AVAILABLE, detach),
    quiet(Drain, AVAILABLE),
    quiet(TooLate, AVAILABLE, RESERVED, BUSY),
    quiet(Stale, AVAILABLE, RESERVED, BUSY),
), classify)  # fmt: skip

"""The worker's own log: one sentence for each event or effect in its router that matters to people."""

import logging
import time
from collections.abc import Callable
from typing import Any

from attrs import define

from actors.events import (
    AcceptLink,
    Authenticated,
    AuthenticationFailed,
    Cancel,
    DiscardJob,
    Drain,
    JobAdopted,
    JobFinished,
    JobSubmitted,
    JoinDelayed,
    JoinedRoom,
    JoinFailed,
    LinkLost,
    LinkRequested,
    PackageFailed,
    RejectLink,
    ReleaseResult,
    SendResult,
    SendToServer,
    ServerDisconnected,
    SessionRequested,
    StatusChanged,
    StopEarly,
    SupplyPackage,
    TagDenied,
)
from protocol.faults import Fault
from protocol.fields import sentences
from protocol.signaling import Refuse
from protocol.status import Status
from rtc.common.log_budget import SOURCE
from rtc.runtime.denied_tags import reason_of

log = logging.getLogger("rtc.worker")


OFFER_LINES, OFFER_TIME = 60, 60.0
"""At most so many lines about offers are written in so many seconds, and then the number of the others: everybody in
the room may make offers without end, and what happens to jobs must not be lost among them."""
ABOUT_OFFERS = LinkRequested, SessionRequested, AcceptLink, RejectLink, TagDenied, SendToServer, LinkLost


@define
class EventLog:
    """Writes a sentence for each event or effect that matters to people, to the log and to the terminal."""

    say: Callable[[str], None]
    """Prints one line for the person at the terminal."""
    prefix: str = ""
    """Written before each sentence; the name of the worker when several share a terminal."""
    outage: str = ""
    """Why the newest connection to the server failed, since the worker was in its room: each try to connect fails, and
    the same reason is worth one line."""
    clock: Callable[[], float] = time.monotonic
    """Returns the time in seconds."""
    _since: float = 0.0
    """When the present period of `OFFER_TIME` began."""
    _lines: int = 0
    """Lines about offers in this period, those included that were left out."""

    def tap(self, effect: Any) -> None:
        """Log and print the sentence for this event or effect, if there is one."""
        text = _sentence(effect)
        if isinstance(effect, ServerDisconnected):
            text, self.outage = (text if effect.text != self.outage else None), effect.text
        elif isinstance(effect, JoinedRoom):
            self.outage = ""
        if text and isinstance(effect, ABOUT_OFFERS) and self._is_too_much():
            return
        if text:
            self._write(text, kind=type(effect).__name__)

    def _is_too_much(self) -> bool:
        """Count a line about an offer; return whether it is to be left out."""
        now = self.clock()
        if now - self._since >= OFFER_TIME:
            left_out = self._lines - OFFER_LINES
            self._since, self._lines = now, 0
            if left_out > 0:
                self._write(f"There was more about offers than is shown: {left_out} lines were left out.", kind="")
        self._lines += 1
        return self._lines > OFFER_LINES

    def _write(self, text: str, *, kind: str) -> None:
        text = sentences(text)  # one event is one line, whatever is in it
        log.info("%s%s", self.prefix, text, extra={SOURCE: kind})
        self.say(f"{self.prefix}{text}")


def _sentence(effect: Any) -> str | None:
    match effect:
        case LinkRequested():
            return f"Offer received from {effect.peer}, for a new job."
        case SessionRequested():
            return f"Offer received from {effect.peer}, about {effect.job}."
        case AcceptLink():
            return f"Offer of {effect.peer} accepted."
        case RejectLink():
            return f"Offer of {effect.peer} rejected ({effect.fault.code.value}): {effect.fault.text}"
        case TagDenied():
            return f"Offer of {effect.peer} rejected, since {reason_of(effect)}."
        case AuthenticationFailed(note=str() as note) if note:
            return note
        case SendToServer(message=Refuse()):
            return f"Rejection sent to {effect.message.peer}."
        case Authenticated():
            proof = "proved the room secret" if effect.proven else "is let in without a secret"
            return f"{effect.peer} {proof}."
        case JobSubmitted():
            return f"Job {effect.credential.job}: {effect.submit.name}, {effect.submit.size / 1e6:.1f} MB."
        case PackageFailed():
            return f"Job {effect.job} cannot run: {effect.fault.text}"
        case SupplyPackage():
            return f"Job {effect.job}: its sender is back with the rest of the package."
        case DiscardJob():
            return f"Job {effect.job} is dropped; its package is not here whole."
        case JobFinished():
            return f"Job {effect.job} {effect.outcome.value}: {effect.text}"
        case SendResult():
            return f"Result of {effect.job} is being sent; it is kept until its owner has unpacked it."
        case ReleaseResult():
            return f"Result of {effect.job} was received and unpacked by its owner; it need not be kept here."
        case JobAdopted():
            return f"Job {effect.new_job} of an earlier worker still runs here; this worker adopts it."
        case StopEarly():
            return f"Job {effect.job} is asked to stop early."
        case Cancel():
            return f"Job {effect.job} is being cancelled."
        case Drain():
            return "Stopping: a running job is finished first. Ctrl-C again stops it too."
        case StatusChanged():
            return f"Status: {_status_text(effect)}."
        case LinkLost(fault=Fault() as fault):
            return f"Link closed: {fault.text}"
        case ServerDisconnected():
            return effect.text
        case JoinedRoom():
            return f"In room {effect.room} as {effect.peer}."
        case JoinDelayed():
            return f"Not in the room yet: {effect.fault.text} This worker goes on trying; Ctrl-C ends it."
        case JoinFailed():
            return effect.fault.text
    return None


def _status_text(announced: StatusChanged) -> str:
    if not announced.leaving:
        return announced.status.value
    return "busy; it leaves when its jobs have ended" if announced.status is Status.BUSY else "leaving; no new job"

"""What the Worker remembers, and what it makes of what it hears: whose link, whose job, which phase.

Asked here, once, so that each answer can be a row of the table.
"""

from attrs import frozen

from actors.events import (
    Finished,
    Heard,
    JobOver,
    LinkLost,
    Offered,
    PackageArrived,
    PackageFailed,
    ResultFound,
    ResultGone,
    ResultMissing,
    Submitted,
    Ticket,
    Trusted,
)
from protocol import PROTOCOL_VERSION
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import AttachJob, StopModel
from protocol.trust import same_proof


@frozen
class Hold:
    """What the worker remembers while somebody or something holds it."""

    peer: PeerId | None = None
    link: LinkId | None = None
    """The listener's link: the one that job news and results go to."""
    trusted: bool = False
    ticket: Ticket | None = None
    over: bool = False
    """The job has ended and its result is on the way."""
    returning: LinkId | None = None
    """The link of somebody who says they own the running job, until they show its key."""
    links: int = 0
    """Links ever taken; the newest one's id."""
    leaving: Finished | None = None
    """Set once the worker is to end as soon as it is free."""


# -------- narrower events


@frozen
class OfferedAgain:
    """The peer that holds us asks for a fresh link."""

    offer: Offered


@frozen
class OwnerOffered:
    """Somebody who names the running job asks for a link; the key is shown later, on the link."""

    offer: Offered


@frozen
class OfferedForeign:
    """An offer from another protocol version."""

    offer: Offered


@frozen
class StopAsked:
    """The listener wants the model that trains now to stop early."""


@frozen
class OwnerBack:
    """The running job's key was shown."""

    link: LinkId


@frozen
class ReturnAsked:
    """Somebody asks for a job that does not run now; its result may wait here."""

    link: LinkId
    ticket: Ticket


@frozen
class StrangerAttached:
    """A job was named that is not here, or with a key that is not its own."""

    link: LinkId


@frozen
class Misspoken:
    """The trusted peer said something out of turn."""

    link: LinkId


@frozen
class JobOverUnheard:
    """The job ended and nobody listens."""

    over: JobOver


@frozen
class FetcherLost:
    """The link broke while the result was on the way."""


@frozen
class ReturnLost:
    """The link of a returning owner broke before the key was shown."""


@frozen
class Stale:
    """News of a link or a job that is no longer ours."""


def classify(hold: Hold, event: object) -> object:
    """Whose link, whose job, which phase: asked here once, so that each answer can be a row."""
    if isinstance(event, Offered):
        return _classify_offer(hold, event)
    if isinstance(event, Heard):
        return _classify_words(hold, event)
    if isinstance(event, Submitted):
        return _classify_submit(hold, event)
    if isinstance(event, LinkLost):
        return _classify_loss(hold, event)
    if isinstance(event, Trusted):
        return event if event.link == hold.link else Stale()
    if isinstance(event, JobOver):
        ours = _is_ours(hold, event.job)
        return (event if hold.link is not None else JobOverUnheard(event)) if ours else Stale()
    if isinstance(event, PackageArrived | PackageFailed):
        return event if _is_ours(hold, event.job) else Stale()
    if isinstance(event, ResultFound | ResultMissing):
        return event if event.link == hold.link and hold.ticket is None else Stale()
    if isinstance(event, ResultGone):
        return event if _is_ours(hold, event.job) and event.link == hold.link else Stale()
    return event


def _is_ours(hold: Hold, job: JobId) -> bool:
    return hold.ticket is not None and hold.ticket.job == job


def _classify_offer(hold: Hold, offer: Offered) -> object:
    if offer.version != PROTOCOL_VERSION:
        return OfferedForeign(offer)
    if offer.job is not None and _is_ours(hold, offer.job):
        return OwnerOffered(offer)
    return OfferedAgain(offer) if offer.peer == hold.peer else offer


def _classify_words(hold: Hold, heard: Heard) -> object:
    if heard.link not in (hold.link, hold.returning):
        return Stale()
    if isinstance(heard.message, StopModel) and heard.link == hold.link and _is_ours(hold, heard.message.job):
        return StopAsked()
    if not isinstance(heard.message, AttachJob):
        return Misspoken(heard.link)
    asked, ticket = heard.message, hold.ticket
    if ticket is not None and ticket.job == asked.job and same_proof(ticket.key.encode(), asked.key.encode()):
        return OwnerBack(heard.link)
    if ticket is None:
        return ReturnAsked(heard.link, Ticket(asked.job, asked.key))
    return StrangerAttached(heard.link)


def _classify_submit(hold: Hold, event: Submitted) -> object:
    if event.link not in (hold.link, hold.returning):
        return Stale()
    return event if hold.ticket is None else Misspoken(event.link)


def _classify_loss(hold: Hold, event: LinkLost) -> object:
    if event.link == hold.returning:
        return ReturnLost()
    if event.link != hold.link:
        return Stale()
    return FetcherLost() if hold.over else event

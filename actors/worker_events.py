"""What the Worker remembers, and what it makes of what it hears: whose link, whose job, which phase.

Asked here, once, so that each answer can be a row of the table.
"""

from attrs import frozen

from actors.events import (
    EnterFailed,
    Finished,
    Heard,
    JobOver,
    LinkLost,
    Offered,
    PackageFailed,
    PackageReceived,
    Submitted,
    Supply,
    Trusted,
)
from protocol import PROTOCOL_VERSION
from protocol.ids import JobId, LinkId, PeerId

VISITORS_MAX = 8
"""Links at the window at a time; a job seldom has more than one owner's eyes on it."""


@frozen
class Hold:
    """What the worker remembers of who holds it, what runs, and who is at its window."""

    peer: PeerId | None = None
    """Who holds us: linking, proving or uploading."""
    link: LinkId | None = None
    trusted: bool = False
    job: JobId | None = None
    """The job whose package is on its way."""
    running: frozenset[JobId] = frozenset()
    """Jobs that run; more than one only when an earlier worker has left several."""
    known: frozenset[JobId] = frozenset()
    """Jobs whose owners may come to the window."""
    visitors: frozenset[LinkId] = frozenset()
    links: int = 0
    """Links ever taken; the newest one's id."""
    leaving: Finished | None = None
    """Set once the worker is to end as soon as it is free, and its window empty."""


# -------- narrower events


@frozen
class OfferedAgain:
    """The peer that holds us asks for a fresh link."""

    offer: Offered


@frozen
class OwnerOffered:
    """Somebody asks for a link about a job that we know; that it is theirs is shown later, at the window."""

    offer: Offered


@frozen
class Crowded:
    """Likewise, but there are people enough at the window."""

    offer: Offered


@frozen
class OfferedUnknown:
    """Somebody asks for a link about a job that we know nothing of."""

    offer: Offered


@frozen
class OfferedLeaving:
    """An offer when we only wait for the last at the window to have what they came for."""

    offer: Offered


@frozen
class OfferedForeign:
    """An offer from another protocol version."""

    offer: Offered


@frozen
class OneJobOver:
    """A job has ended, and another one that was left to us still runs."""

    job: JobId


@frozen
class Misspoken:
    """The trusted peer said something out of turn."""

    link: LinkId


@frozen
class SenderLost:
    """The link is gone that a package was coming over."""

    link: LinkId


@frozen
class HeardAhead:
    """Somebody at the window spoke before the window had them: who sent a job, the moment that it was here."""

    heard: Heard


@frozen
class VisitorLeft:
    """A link at the window is over."""

    link: LinkId


@frozen
class LastVisitorLeft:
    """Likewise, and it was the last thing that we waited for before we end."""

    link: LinkId


@frozen
class Stale:
    """News of a link or a job that is no longer ours, or of a room that we are leaving anyway."""


def classify(hold: Hold, event: object) -> object:
    """Whose link, whose job, which phase: asked here once, so that each answer can be a row."""
    if isinstance(event, Offered):
        return _classify_offer(hold, event)
    if isinstance(event, Heard):
        return _classify_words(hold, event)
    if isinstance(event, Submitted):
        if event.link != hold.link:
            return Stale()
        return event if hold.job is None else Misspoken(event.link)
    if isinstance(event, LinkLost):
        return _classify_loss(hold, event)
    if isinstance(event, Trusted):
        return event if event.link == hold.link else Stale()
    if isinstance(event, PackageReceived):
        return event if event.ticket.job == hold.job else Stale()
    if isinstance(event, PackageFailed | Supply):
        return event if event.job == hold.job else Stale()
    if isinstance(event, EnterFailed):
        return event if hold.leaving is None else Stale()
    if isinstance(event, JobOver):
        if event.job not in hold.running:
            return Stale()
        return event if len(hold.running) == 1 else OneJobOver(event.job)
    return event


def _classify_offer(hold: Hold, offer: Offered) -> object:
    if offer.version != PROTOCOL_VERSION:
        return OfferedForeign(offer)
    if hold.leaving is not None and not hold.running:
        return OfferedLeaving(offer)
    if offer.job is None:
        return OfferedAgain(offer) if offer.peer == hold.peer else offer
    if offer.job not in hold.known:
        return OfferedUnknown(offer)
    return OwnerOffered(offer) if len(hold.visitors) < VISITORS_MAX else Crowded(offer)


def _classify_words(hold: Hold, heard: Heard) -> object:
    if heard.link in hold.visitors:
        return HeardAhead(heard)
    return Misspoken(heard.link) if heard.link == hold.link else Stale()


def _classify_loss(hold: Hold, event: LinkLost) -> object:
    if event.link == hold.link and hold.job is not None:
        return SenderLost(event.link)
    if event.link in hold.visitors:
        last = hold.leaving is not None and not hold.running and hold.visitors == {event.link}
        return LastVisitorLeft(event.link) if last else VisitorLeft(event.link)
    return event if event.link == hold.link else Stale()

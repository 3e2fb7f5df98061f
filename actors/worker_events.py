"""What the Worker remembers, and what it makes of what it hears: whose link, whose job, which phase.

Asked here, once, so that each answer can be a row of the table.
"""

from attrs import frozen

from actors.events import (
    Authenticated,
    Finished,
    JobFinished,
    JobSubmitted,
    JoinFailed,
    LinkLost,
    LinkRequested,
    PackageFailed,
    PackageReceived,
    PeerMessage,
    Stale,
    SupplyPackage,
    UnexpectedMessage,
)
from protocol import PROTOCOL_VERSION
from protocol.ids import JobId, LinkId, PeerId

SESSIONS_MAX = 8
"""Links at the window at a time; a job seldom has more than one owner's eyes on it."""


@frozen
class WorkerData:
    """What the worker remembers of who holds it, what runs, and who is at its window."""

    peer: PeerId | None = None
    """Who holds us: linking, proving or uploading."""
    link: LinkId | None = None
    authenticated: bool = False
    job: JobId | None = None
    """The job whose package is on its way."""
    running: frozenset[JobId] = frozenset()
    """Jobs that run; more than one only when an earlier worker has left several."""
    known_jobs: frozenset[JobId] = frozenset()
    """Jobs whose owners may come to the window."""
    sessions: frozenset[LinkId] = frozenset()
    last_link: int = 0
    """Links ever taken; the newest one's id."""
    leaving: Finished | None = None
    """Set once the worker is to end as soon as it is free, and its window empty."""


# -------- narrower events


@frozen
class LinkRequestedAgain:
    """The peer that holds us asks for a fresh link."""

    offer: LinkRequested


@frozen
class OwnerLinkRequested:
    """Somebody asks for a link about a job that we know; that it is theirs is shown later, at the window."""

    offer: LinkRequested


@frozen
class TooManySessions:
    """Likewise, but there are people enough at the window."""

    offer: LinkRequested


@frozen
class UnknownJobRequested:
    """Somebody asks for a link about a job that we know nothing of."""

    offer: LinkRequested


@frozen
class LinkRequestedWhileLeaving:
    """An offer when we only wait for the last at the window to have what they came for."""

    offer: LinkRequested


@frozen
class OtherVersionRequested:
    """An offer from another protocol version."""

    offer: LinkRequested


@frozen
class OneOfSeveralJobsFinished:
    """A job has ended, and another one that was left to us still runs."""

    job: JobId


@frozen
class SenderLost:
    """The link is gone that a package was coming over."""

    link: LinkId


@frozen
class EarlySessionMessage:
    """Somebody at the window spoke before the window had them: who sent a job, the moment that it was here."""

    said: PeerMessage


@frozen
class SessionClosed:
    """A link at the window is over."""

    link: LinkId


@frozen
class LastSessionClosed:
    """Likewise, and it was the last thing that we waited for before we end."""

    link: LinkId


def classify(data: WorkerData, event: object) -> object:
    """Whose link, whose job, which phase: asked here once, so that each answer can be a row."""
    if isinstance(event, LinkRequested):
        return _classify_offer(data, event)
    if isinstance(event, PeerMessage):
        return _classify_message(data, event)
    if isinstance(event, JobSubmitted):
        if event.link != data.link:
            return Stale()
        return event if data.job is None else UnexpectedMessage(event.link)
    if isinstance(event, LinkLost):
        return _classify_loss(data, event)
    if isinstance(event, Authenticated):
        return event if event.link == data.link else Stale()
    if isinstance(event, PackageReceived):
        return event if event.credential.job == data.job else Stale()
    if isinstance(event, PackageFailed | SupplyPackage):
        return event if event.job == data.job else Stale()
    if isinstance(event, JoinFailed):
        return event if data.leaving is None else Stale()
    if isinstance(event, JobFinished):
        if event.job not in data.running:
            return Stale()
        return event if len(data.running) == 1 else OneOfSeveralJobsFinished(event.job)
    return event


def _classify_offer(data: WorkerData, offer: LinkRequested) -> object:
    if offer.version != PROTOCOL_VERSION:
        return OtherVersionRequested(offer)
    if data.leaving is not None and not data.running:
        return LinkRequestedWhileLeaving(offer)
    if offer.job is None:
        return LinkRequestedAgain(offer) if offer.peer == data.peer else offer
    if offer.job not in data.known_jobs:
        return UnknownJobRequested(offer)
    return OwnerLinkRequested(offer) if len(data.sessions) < SESSIONS_MAX else TooManySessions(offer)


def _classify_message(data: WorkerData, said: PeerMessage) -> object:
    if said.link in data.sessions:
        return EarlySessionMessage(said)
    return UnexpectedMessage(said.link) if said.link == data.link else Stale()


def _classify_loss(data: WorkerData, event: LinkLost) -> object:
    if event.link == data.link and data.job is not None:
        return SenderLost(event.link)
    if event.link in data.sessions:
        last = data.leaving is not None and not data.running and data.sessions == {event.link}
        return LastSessionClosed(event.link) if last else SessionClosed(event.link)
    return event if event.link == data.link else Stale()

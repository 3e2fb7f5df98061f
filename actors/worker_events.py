"""The Worker's data, its narrower events, and `classify`, which chooses the narrower event for each event.

Whether an event is about our link or our job is decided here, once, so that each case can have a row in the table.
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
    SessionRequested,
    Stale,
    SupplyPackage,
    UnexpectedMessage,
)
from protocol import PROTOCOL_VERSION
from protocol.ids import JobId, LinkId, PeerId

SESSIONS_MAX = 8
"""Largest number of open sessions (links about existing jobs); seldom does more than one client watch the same job."""


@frozen
class WorkerData:
    """The Worker's data: the client that has reserved it, the running jobs, and the open sessions."""

    peer: PeerId | None = None
    """The client that has reserved the worker: it connects, authenticates or uploads its package."""
    link: LinkId | None = None
    """The link of that client; None also while the client is away during an upload."""
    authenticated: bool = False
    """Whether that link is authenticated."""
    job: JobId | None = None
    """The job whose package that client uploads."""
    running: frozenset[JobId] = frozenset()
    """Jobs that run; more than one only if earlier workers left several running jobs."""
    known_jobs: frozenset[JobId] = frozenset()
    """Jobs about which clients may open sessions."""
    sessions: frozenset[LinkId] = frozenset()
    """The links of the open sessions."""
    last_link: int = 0
    """The id of the newest link; ids count up from 1."""
    leaving: Finished | None = None
    """What to end with, once no job runs and no session is open; None while the worker is not to end."""


# -------- narrower events


@frozen
class LinkRequestedAgain:
    """The client that has reserved this worker sends another offer."""

    offer: LinkRequested


@frozen
class OwnerLinkRequested:
    """A client sends an offer for a link about a known job. Its session checks the job's key later."""

    offer: SessionRequested


@frozen
class TooManySessions:
    """A client sends an offer for a link about a known job, but `SESSIONS_MAX` sessions are open."""

    offer: SessionRequested


@frozen
class UnknownJobRequested:
    """A client sends an offer for a link about a job that this worker does not know."""

    offer: SessionRequested


@frozen
class LinkRequestedWhileLeaving:
    """A client sends an offer while this worker only waits for its last sessions to end."""

    offer: LinkRequested | SessionRequested


@frozen
class OtherVersionRequested:
    """A client with another protocol version sends an offer."""

    offer: LinkRequested | SessionRequested


@frozen
class OneOfSeveralJobsFinished:
    """A job has ended while another job, adopted from an earlier worker, still runs."""

    job: JobId


@frozen
class SenderLost:
    """The link over which a package was being uploaded has ended."""

    link: LinkId


@frozen
class EarlySessionMessage:
    """A message of a session came to the Worker, because it was received before the session was open.

    That happens to a client that sends a message just when its package is complete.
    """

    message: PeerMessage


@frozen
class SessionClosed:
    """The link of a session has ended."""

    link: LinkId


@frozen
class LastSessionClosed:
    """The link of the last session has ended, and the worker was only waiting for that before it ends."""

    link: LinkId


def classify(data: WorkerData, event: object) -> object:
    """Return the event, or the narrower event that says which link or job it is about."""
    if isinstance(event, LinkRequested | SessionRequested):
        return _classify_offer(data, event)
    if isinstance(event, PeerMessage):
        return _classify_message(data, event)
    if isinstance(event, JobSubmitted):
        if event.link != data.link:
            return Stale()
        return event if data.job is None else UnexpectedMessage(event.link)
    if isinstance(event, LinkLost):
        return _classify_link_lost(data, event)
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


def _classify_offer(data: WorkerData, offer: LinkRequested | SessionRequested) -> object:
    if offer.version != PROTOCOL_VERSION:
        return OtherVersionRequested(offer)
    if data.leaving is not None and not data.running:
        return LinkRequestedWhileLeaving(offer)
    if isinstance(offer, LinkRequested):
        return LinkRequestedAgain(offer) if offer.peer == data.peer else offer
    if offer.job not in data.known_jobs:
        return UnknownJobRequested(offer)
    return OwnerLinkRequested(offer) if len(data.sessions) < SESSIONS_MAX else TooManySessions(offer)


def _classify_message(data: WorkerData, message: PeerMessage) -> object:
    if message.link in data.sessions:
        return EarlySessionMessage(message)
    return UnexpectedMessage(message.link) if message.link == data.link else Stale()


def _classify_link_lost(data: WorkerData, event: LinkLost) -> object:
    if event.link == data.link and data.job is not None:
        return SenderLost(event.link)
    if event.link in data.sessions:
        last = data.leaving is not None and not data.running and data.sessions == {event.link}
        return LastSessionClosed(event.link) if last else SessionClosed(event.link)
    return event if event.link == data.link else Stale()

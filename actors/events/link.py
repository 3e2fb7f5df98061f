"""Links: from the offer over authentication to the end, and the messages of an authenticated peer."""

from typing import Any

from attrs import field, frozen

from protocol.faults import Fault
from protocol.ids import JobId, LinkId, PeerId
from protocol.trust import Binding, TagVerdict


@frozen
class LinkRequested:
    """To the Worker: a client that wants to submit a new job has sent an offer for a link."""

    new_link: LinkId
    """The id of the link, if it is accepted."""
    peer: PeerId
    """The client."""
    sdp: str = field(repr=False)
    number: int = field(kw_only=True)
    """The client's number of the offer."""


@frozen
class SessionRequested:
    """To the job sessions: a client that says it owns a job has sent an offer for a link about that job."""

    new_link: LinkId
    """The id of the link, if it is accepted."""
    peer: PeerId
    """The client."""
    sdp: str = field(repr=False)
    job: JobId
    number: int = field(kw_only=True)
    """The client's number of the offer."""


@frozen
class LinkAnswered:
    """The worker has accepted our offer, with this SDP answer."""

    peer: PeerId
    sdp: str = field(repr=False)
    number: int = field(kw_only=True)
    """The number of our offer."""


@frozen
class TagDenied:
    """An offer was refused, or an answer was not used, because its tag is not right; for our own log only."""

    peer: PeerId
    verdict: TagVerdict


@frozen
class LinkRefused:
    """To the link manager: the worker, or the server, or Discovery outside the room, has refused our offer.

    It ends the link to that worker which is not open yet, and the actors hear `LinkLost` with this fault.
    """

    peer: PeerId
    fault: Fault
    number: int = field(kw_only=True)
    """The number of our offer."""


@frozen
class OfferWithdrawn:
    """To the link manager: this client has taken back its offer.

    It ends the link to that client which is not open yet, and the actors hear `LinkLost`; an open link is not touched.
    """

    peer: PeerId
    number: int = field(kw_only=True)
    """The client's number of the newest offer that it takes back; it may make later ones."""


@frozen
class OfferReady:
    """To Discovery: send this SDP offer to a worker; with `job`, the link is about an existing job."""

    peer: PeerId
    sdp: str = field(repr=False)
    job: JobId | None = None
    number: int = field(kw_only=True)
    """The number of the offer."""


@frozen
class AnswerReady:
    """To Discovery: send this SDP answer to a client."""

    peer: PeerId
    sdp: str = field(repr=False)
    number: int = field(kw_only=True)
    """The client's number of the offer."""


@frozen
class LinkOpened:
    """To Auth: a link is open, and its peer is not authenticated."""

    link: LinkId
    peer: PeerId
    """The peer at the other end of the link."""
    binding: Binding
    nonce: bytes = field(repr=False)
    """Our own nonce: random bytes for this link only."""


@frozen
class LinkLost:
    """A link has ended, or could not be opened. Every link ends with exactly one of these."""

    link: LinkId
    fault: Fault | None = None
    """Why; None when we, or the peer, closed it with its work done."""


@frozen
class PeerMessage:
    """An authenticated peer has sent this message over its link."""

    link: LinkId
    message: Any


@frozen
class Authenticated:
    """The peer of this link is authenticated: the link manager routes its messages, and actors may use the link."""

    link: LinkId
    peer: PeerId
    proven: bool
    """Whether both peers have proven that they know the secret; False when the worker has none (the legacy mode)."""
    version: int
    """The version of the protocol that this link uses."""


@frozen
class AuthenticationFailed:
    """To the link manager: close this link, whose authentication has failed."""

    link: LinkId
    fault: Fault
    note: str = ""
    """What only our own log says about it."""


@frozen
class AcceptLink:
    """To the link manager: answer this offer."""

    link: LinkId
    """The id of the new link."""
    peer: PeerId
    sdp: str = field(repr=False)
    number: int = field(kw_only=True)
    """The client's number of the offer."""


@frozen
class RejectLink:
    """To Discovery: refuse this peer's offer, for this reason."""

    peer: PeerId
    fault: Fault
    number: int = field(kw_only=True)
    """The client's number of the offer."""


@frozen
class WithdrawOffer:
    """To Discovery: tell this worker that we take back our offer, since we have given up the link."""

    peer: PeerId
    number: int = field(kw_only=True)
    """The number of the newest offer that is taken back."""


@frozen
class OpenLink:
    """To the link manager: open a link to this worker; with `job`, about an existing job."""

    link: LinkId
    """The id of the new link."""
    peer: PeerId
    job: JobId | None = None


@frozen
class TellPeer:
    """To the link manager: send this message over this link."""

    link: LinkId
    message: Any


@frozen
class CloseLink:
    """To the link manager: close this link after all messages already sent to it have left."""

    link: LinkId
    fault: Fault | None = None
    """Why, for the peer; None when all its work is done."""


@frozen
class UnexpectedMessage:
    """The other machine has sent a message that the protocol does not allow at this point."""

    message: Any

"""Invitations into a room: what the Inviter and the Invitee are asked to do, and what they order and report.

The words of a code appear in none of these, and neither does a key: the adapters have them.
"""

from attrs import field, frozen

from protocol.faults import Fault
from protocol.invitations import InvitationKind


@frozen
class InviteWanted:
    """To the Inviter: open an invitation of this kind."""

    kind: InvitationKind


@frozen
class InvitationReady:
    """The invitation is open: show its number, and what else its kind needs."""

    kind: InvitationKind
    number: int
    seconds: int | None = None
    """Seconds for which it is good; None: without end."""


@frozen
class MakeShare:
    """To the exchange: somebody asks for the room; make our half. Answered by `ShareReady` or `ExchangeFailed`."""

    kind: InvitationKind
    number: int
    name: str
    """What the joiner calls itself."""
    share: bytes = field(repr=False)
    """The joiner's half."""


@frozen
class ShareReady:
    """Our half of the exchange, for the joiner."""

    number: int
    share: bytes = field(repr=False)


@frozen
class CheckProof:
    """To the exchange: is the joiner's proof right, and does the person agree? Answered by `ProofAccepted` or
    `ExchangeFailed`."""

    kind: InvitationKind
    number: int
    proof: bytes = field(repr=False)


@frozen
class ProofAccepted:
    """The joiner may have the room."""

    number: int
    sealed: bytes = field(repr=False)
    """The room, encrypted for the joiner."""


@frozen
class ExchangeFailed:
    """The other end's half or proof is wrong, or our person does not agree; the exchange ends."""

    number: int
    fault: Fault
    """What the other end is told. AUTH_INVALID: it has guessed wrong."""


@frozen
class InvitationUsed:
    """An exchange with somebody has ended, and with it the invitation."""

    kind: InvitationKind
    name: str
    """What the joiner calls itself."""
    fault: Fault | None = None
    """Why it was given nothing; None: it has the room now. AUTH_INVALID: it has guessed wrong."""


@frozen
class InvitationEnded:
    """The invitation has ended, and nobody has asked for it."""

    kind: InvitationKind
    fault: Fault
    """Why. STALLED: its time is over."""


@frozen
class InvitationExpired:
    """The time for which the invitation is good is over."""


@frozen
class AskWanted:
    """To the Invitee: ask for the room of an invitation."""

    number: int
    name: str
    """What we call ourselves."""
    share: bytes = field(repr=False)
    """Our half of the exchange."""
    seconds: float
    """Seconds that all of it may take, the time to connect to the server included."""
    person_seconds: float | None = None
    """Seconds for the rest, from the inviter's answer on, where a person has to agree; None: `seconds` are for all."""


@frozen
class FinishExchange:
    """To the exchange: this is the inviter's half; make our proof. Answered by `ProofReady` or `ExchangeFailed`."""

    number: int
    share: bytes = field(repr=False)


@frozen
class ProofReady:
    """Our proof, for the inviter."""

    number: int
    proof: bytes = field(repr=False)


@frozen
class RoomGiven:
    """The inviter has given us the room, encrypted."""

    sealed: bytes = field(repr=False)


@frozen
class AskFailed:
    """We get no room, for this reason."""

    fault: Fault

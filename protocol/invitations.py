"""The messages with which a peer invites another program into its room, through the server, which learns nothing of it.

The *inviter* is a member of its room. The *joiner* is in no room: `AskInvitation` is the first message on its
WebSocket, and the server closes that WebSocket when the exchange has ended. There are two kinds of invitations. Both
have the same messages, in this order, and differ in what `share` and `proof` hold:

    inviter → server              OpenInvitation, answered by InvitationOpened (or InvitationDenied)
    joiner  → server → inviter    AskInvitation
    inviter → server → joiner     AnswerInvitation
    joiner  → server → inviter    ProveInvitation
    inviter → server → joiner     GiveInvitation, with the room, encrypted

Either side may send `RefuseInvitation` instead of what it should say next; the server sends it in place of a side that
is gone. A short code is SPAKE2: the words of the code are its password. A nearby invitation is an X25519 exchange that
begins with a commitment, and two people compare the words that both consoles show.

An invitation is for one exchange: `AskInvitation` uses it up, whatever comes of it. The inviter may open another one.
"""

from enum import Enum

from attrs import field, frozen

from protocol.faults import Fault
from protocol.fields import COUNT_MAX, WORD_MAX, Id, Integer, MaxBytes, SingleLine, word
from protocol.ids import RoomId
from protocol.version import EXPLICIT, VERSIONS, VersionRange

SHARE_MAX = 64
"""Bytes of the longest share. A SPAKE2 element of Ed25519 has 33 here, an X25519 key or a SHA-256 digest 32."""
PROOF_MAX = 128
"""Bytes of the longest proof. An HMAC-SHA256 has 32, an X25519 key with a nonce 64."""
INVITED_MAX = 20 * 1024
"""Bytes of the longest `InvitedRoom` as JSON: a secret has at most 1 024 characters, and JSON spells some of them with
twelve bytes."""
SEALED_MAX = INVITED_MAX + 12 + 16
"""Bytes of the longest encrypted `InvitedRoom`, with its nonce and its tag."""
SERVER_MAX = 2048
"""Characters of the longest address of a server."""
ROOM_SECRET_MAX = 1024
"""Characters of the longest room secret."""


class InvitationKind(Enum):
    """How the two programs of an invitation agree on a key."""

    CODE = "code"
    """A person types the code that the inviter shows."""
    NEARBY = "nearby"
    """Two people compare what their consoles show, and the inviter's person agrees."""


@frozen
class OpenInvitation:
    """Peer to server: I want to invite somebody into this room. Answered by `InvitationOpened` or `InvitationDenied`.

    A peer has at most one invitation of each kind; an earlier one is closed.
    """

    kind: InvitationKind
    number: int | None = field(default=None, validator=Integer(1, COUNT_MAX))
    """The invitation that this peer opened before its connection was lost, and wants to go on with; null for a new
    one."""


@frozen
class InvitationOpened:
    """Server to inviter: your invitation is open."""

    kind: InvitationKind
    number: int = field(validator=Integer(1, COUNT_MAX))
    """The number by which the joiner names it. For a code, the lowest free one; no number is given again soon after its
    invitation has ended. For a nearby invitation, a random one."""
    seconds: int | None = field(default=None, validator=Integer(0, COUNT_MAX))
    """Seconds until the server closes it, if nobody asks for it; null: it is open while its inviter is in the room."""


@frozen
class InvitationDenied:
    """Server to inviter: no invitation of this kind is open for you, for this reason."""

    kind: InvitationKind
    fault: Fault


@frozen
class CloseInvitation:
    """Inviter to server: close my invitation. Nothing answers it; a joiner whose exchange runs gets a refusal."""

    number: int = field(validator=Integer(1, COUNT_MAX))


@frozen
class AskInvitation:
    """Joiner to inviter, through the server: I want the room of this invitation; here is my half of the exchange."""

    number: int = field(validator=Integer(1, COUNT_MAX))
    name: str = field(converter=word, validator=SingleLine(WORD_MAX))
    """What the joiner calls itself, for the inviter's person; usually the name of its computer."""
    share: bytes = field(validator=MaxBytes(SHARE_MAX), repr=False)
    """Code: the joiner's SPAKE2 message. Nearby: the SHA-256 commitment to its key."""
    versions: VersionRange = field(default=VERSIONS, metadata=EXPLICIT)
    """The versions of the protocol that the joiner speaks."""


@frozen
class AnswerInvitation:
    """Inviter to joiner, through the server: here is my half of the exchange."""

    number: int = field(validator=Integer(1, COUNT_MAX))
    share: bytes = field(validator=MaxBytes(SHARE_MAX), repr=False)
    """Code: the inviter's SPAKE2 message. Nearby: its X25519 key."""
    versions: VersionRange = field(default=VERSIONS, metadata=EXPLICIT)
    """From the server: the versions of the protocol that the server speaks."""


@frozen
class ProveInvitation:
    """Joiner to inviter, through the server: this shows that I have the same key."""

    number: int = field(validator=Integer(1, COUNT_MAX))
    proof: bytes = field(validator=MaxBytes(PROOF_MAX), repr=False)
    """Code: an HMAC under the exchange's key. Nearby: the key and the nonce of the commitment."""


@frozen
class GiveInvitation:
    """Inviter to joiner, through the server: this is the room, encrypted under a key of the exchange."""

    number: int = field(validator=Integer(1, COUNT_MAX))
    sealed: bytes = field(validator=MaxBytes(SEALED_MAX), repr=False)
    """A nonce of 12 bytes, then an `InvitedRoom` as JSON, encrypted with ChaCha20-Poly1305 (RFC 8439)."""


@frozen
class RefuseInvitation:
    """Inviter to joiner or joiner to inviter, through the server, or the server to one of them: it ends here."""

    number: int = field(validator=Integer(1, COUNT_MAX))
    fault: Fault
    """Why it ends."""


@frozen
class InvitedRoom:
    """What an invitation gives, as JSON, encrypted: all that a program needs to join the room from now on.

    It is said from program to program; the server cannot read it.
    """

    server: str = field(validator=SingleLine(SERVER_MAX))
    """The server's WebSocket address, as other machines reach it."""
    room: RoomId = field(validator=Id())
    token: str = field(validator=SingleLine(), repr=False)
    secret: str | None = field(default=None, validator=SingleLine(ROOM_SECRET_MAX), repr=False)
    """The room secret, if the inviter has one."""
    name: str = field(default="", converter=word, validator=SingleLine(WORD_MAX))
    """What the inviter calls the room; may be empty."""


InvitationRequest = (
    OpenInvitation
    | CloseInvitation
    | AskInvitation
    | AnswerInvitation
    | ProveInvitation
    | GiveInvitation
    | RefuseInvitation
)
"""What a peer says to the server about invitations."""
InvitationNews = (
    InvitationOpened
    | InvitationDenied
    | AskInvitation
    | AnswerInvitation
    | ProveInvitation
    | GiveInvitation
    | RefuseInvitation
)
"""What the server says about invitations, to the inviter or to the joiner."""

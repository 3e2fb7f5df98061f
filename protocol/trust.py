"""How two peers prove that they know the room secret, and that no third party is between them.

The keys come from the secret by PBKDF2 and HKDF, and are the same at every peer of a room; nothing that a peer sends
has part in them. Both proofs are HMAC-SHA256 (RFC 2104) under one of these keys, over a transcript that holds both
nonces and the SHA-256 fingerprints of both DTLS certificates (RFC 8122) as each side sees them. If a server replaces
fingerprints to become a man in the middle, the two transcripts differ, and neither proof is valid. The transcript names
the side that gives the proof, so one side's proof cannot be reflected as the other's. It also holds the versions of the
protocol that each side has said it speaks, and the one that is used, so that nobody in between can talk both down to an
older version.

Before there is a link, an offer and its answer carry a tag: another HMAC, under the other key, over room, peers, the
session description and a nonce that the worker announces. So only a client that knows the secret can make a worker
answer, and each end knows that the description, in which a fingerprint stands, is the other's own.
"""

import hashlib
import hmac
from enum import Enum
from functools import lru_cache

from attrs import field, frozen

from protocol.fields import BRIEF_MAX, ExactBytes, SingleLine, brief
from protocol.ids import JobId, PeerId, RoomId
from protocol.version import VersionRange

NONCE_BYTES = 32
"""Length of each side's nonce, in bytes."""
PROOF_BYTES = hashlib.sha256().digest_size
"""Length of a proof, in bytes: one SHA-256 digest."""
ROUNDS = 600_000
"""Rounds of PBKDF2, as OWASP recommends them for HMAC-SHA256 (Password Storage Cheat Sheet, 2023). They make each guess
at a weak secret costly; a machine of 2020 needs about a quarter of a second."""
KEY_BYTES = 32
"""Length of each derived key, in bytes."""
ROOM_LABEL = b"sleap-rtc/room-secret/"
"""The salt of PBKDF2 is this label and the room's id, so that the keys of no other room or program are the same."""
PROOF_LABEL, TAG_LABEL = b"sleap-rtc/proof", b"sleap-rtc/tag"
"""What HKDF is told about the use of each key (`info` of RFC 5869)."""
PROOF_TIME = 10
"""Seconds that the authentication may take. The worker measures from its challenge to the client's proof, the client
from the open link to the end of the authentication."""


class Denial(Enum):
    """Why a worker does not accept a client."""

    INVALID = "invalid"
    """The proof is wrong."""
    MISSING = "missing"
    """The client has no secret, so it gave no proof."""
    TIMEOUT = "timeout"
    """No proof came within `PROOF_TIME`."""


@frozen
class Tag:
    """Shows that whoever made an offer or an answer knows the room secret; see `offer_tag` and `answer_tag`."""

    whole: bytes = field(validator=ExactBytes(PROOF_BYTES), repr=False)
    """The tag itself."""
    without_sdp: bytes = field(validator=ExactBytes(PROOF_BYTES), repr=False)
    """The same without the session description. It decides nothing: it only lets the other end's own log tell a
    description that was changed on its way from another secret."""


class TagVerdict(Enum):
    """What is known from the tag of an offer or an answer. The peer is not told the last three apart."""

    RIGHT = "right"
    """The peer knows the secret, and this is the session description that it made."""
    MISSING = "missing"
    """There is no tag: the peer knows no secret."""
    OTHER_SECRET = "other secret"  # noqa: S105 - not a password
    """The peer knows another secret, or the nonce or an id differs, as in an offer that was recorded long ago."""
    CHANGED = "changed"
    """The peer knows the secret, but the session description, which names its certificate, was changed on its way."""
    REPEATED = "repeated"
    """The tag is right, and was used before: somebody has recorded the offer and sends it again."""


@frozen
class AuthChallenge:
    """Worker to client: prove that you know the secret. Answered by `AuthResponse`."""

    nonce: bytes = field(validator=ExactBytes(NONCE_BYTES), repr=False)
    """Random bytes that the worker uses for this link only."""


@frozen
class AuthResponse:
    """Client to worker: this is my proof, and a nonce for yours. Answered by `AuthSuccess` or `AuthFailure`."""

    nonce: bytes = field(validator=ExactBytes(NONCE_BYTES), repr=False)
    """Random bytes that the client uses for this link only."""
    proof: bytes | None = field(default=None, validator=ExactBytes(PROOF_BYTES), repr=False)
    """What `prove` returns for the client; null when the client has no secret."""


@frozen
class AuthSuccess:
    """Worker to client: you are authenticated, and this is my own proof."""

    proof: bytes | None = field(default=None, validator=ExactBytes(PROOF_BYTES), repr=False)
    """What `prove` returns for the worker; null when the worker has no secret and sent no challenge."""


@frozen
class AuthFailure:
    """Worker to client: you are not authenticated, and I close this link."""

    reason: Denial
    text: str = field(converter=brief, validator=SingleLine(BRIEF_MAX))
    """One or two sentences for people."""


AuthMessage = AuthChallenge | AuthResponse | AuthSuccess | AuthFailure
"""The messages of the authentication."""


@frozen
class Binding:
    """What must be equal at both ends of one link for a proof to be valid: room, peers and DTLS certificates."""

    room: RoomId
    worker: PeerId
    client: PeerId
    worker_fingerprint: bytes
    """SHA-256 of the worker's DTLS certificate."""
    client_fingerprint: bytes
    """SHA-256 of the client's DTLS certificate."""


@frozen
class Secret:
    """A room secret, wrapped so that no `repr`, log or error text can show it."""

    text: str = field(repr=False)
    """Without white space around it, in Unicode's normal form C: the same keys come out on every system."""


@frozen
class RoomKeys:
    """The keys of those who know the secret of one room."""

    proof: bytes = field(repr=False)
    """The key of the proofs on a link."""
    tag: bytes = field(repr=False)
    """The key of the tags of offers and answers."""


@lru_cache(maxsize=32)
def derive_keys(secret: Secret, room: RoomId) -> RoomKeys:
    """Return the keys of a room; this takes a noticeable time (`ROUNDS`), so call it in a thread.

    PBKDF2-HMAC-SHA256 (RFC 8018) makes a root key of the secret, in UTF-8 and normalised as `Secret.text` says, and
    HKDF-SHA256 (RFC 5869, without salt) the two keys of the root key.
    """
    root = hashlib.pbkdf2_hmac("sha256", secret.text.encode(), ROOM_LABEL + room.encode(), ROUNDS)
    return RoomKeys(_hkdf(root, PROOF_LABEL), _hkdf(root, TAG_LABEL))


def _hkdf(root: bytes, label: bytes) -> bytes:
    """Return a key of `KEY_BYTES` for this use: HKDF-SHA256 whose output is one block."""
    extracted = hmac.digest(bytes(KEY_BYTES), root, "sha256")
    return hmac.digest(extracted, label + b"\x01", "sha256")


@frozen
class VersionAgreement:
    """What both ends of a link have said in `Hello`."""

    worker: VersionRange
    client: VersionRange

    @property
    def chosen(self) -> int | None:
        """The version that this link uses; None when the two have none in common."""
        return self.worker.common(self.client)


def prove(
    keys: RoomKeys,
    speaker: str,
    binding: Binding,
    agreement: VersionAgreement,
    worker_nonce: bytes,
    client_nonce: bytes,
) -> bytes:
    """Return the proof of one side of a link: 32 bytes, an HMAC over a transcript of length-prefixed parts.

    Args:
        keys: the keys of the room.
        speaker: the side whose proof it is, "worker" or "client".
        binding: room, peers and certificates of the link.
        agreement: the versions that both sides speak; they have one in common.
        worker_nonce: the nonce of the worker's `AuthChallenge`.
        client_nonce: the nonce of the client's `AuthResponse`.
    """
    numbers = (
        agreement.worker.oldest,
        agreement.worker.newest,
        agreement.client.oldest,
        agreement.client.newest,
        agreement.chosen,
    )
    parts = (
        b"sleap-rtc",
        *(str(number).encode() for number in numbers),
        speaker.encode(),
        binding.room.encode(),
        binding.worker.encode(),
        binding.client.encode(),
        binding.worker_fingerprint,
        binding.client_fingerprint,
        worker_nonce,
        client_nonce,
    )
    return _authenticate(keys.proof, *parts)


def _authenticate(key: bytes, *parts: bytes) -> bytes:
    """Return the HMAC-SHA256 over these parts, each with its length before it: no other parts give the same text."""
    transcript = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(key, transcript, "sha256")


@frozen
class Ends:
    """A room and two peers in it: a worker, and a client that asks it for a link."""

    room: RoomId
    worker: PeerId
    client: PeerId


def offer_tag(keys: RoomKeys, ends: Ends, number: int, job: JobId | None, nonce: bytes, sdp: str) -> Tag:
    """Return the tag of an offer.

    Args:
        keys: the keys of the room.
        ends: the room and the two peers.
        number: the client's number of the offer.
        job: the job that the offer is about, if any.
        nonce: the `WorkerFacts.offer_nonce` of the worker.
        sdp: the session description (RFC 8866).
    """
    return _tag(keys, "offer", ends, number, "" if job is None else job, nonce, sdp)


def answer_tag(keys: RoomKeys, ends: Ends, number: int, sdp: str) -> Tag:
    """Return the tag of an answer to the offer with this number; the arguments are as in `offer_tag`."""
    return _tag(keys, "answer", ends, number, "", b"", sdp)


def _tag(keys: RoomKeys, kind: str, ends: Ends, number: int, job: str, nonce: bytes, sdp: str) -> Tag:
    texts = (ends.room, ends.worker, ends.client, str(number), job)
    parts = (*(text.encode() for text in texts), nonce)
    return Tag(
        whole=_authenticate(keys.tag, b"sleap-rtc", kind.encode(), *parts, sdp.encode()),
        without_sdp=_authenticate(keys.tag, b"sleap-rtc", f"{kind} without sdp".encode(), *parts),
    )


def judge_tag(expected: Tag, given: Tag | None) -> TagVerdict:
    """Return what a tag says; `expected` is the one that the peer would have made with our keys."""
    if given is None:
        return TagVerdict.MISSING
    if same_proof(expected.whole, given.whole):
        return TagVerdict.RIGHT
    knows_secret = same_proof(expected.without_sdp, given.without_sdp)
    return TagVerdict.CHANGED if knows_secret else TagVerdict.OTHER_SECRET


def same_proof(ours: bytes, theirs: bytes) -> bool:
    """Return whether two proofs, or two tags, are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(ours, theirs)

"""How two ends of a fresh link prove that they know the room secret, and that nobody sits between them.

Both proofs are HMAC-SHA256 (RFC 2104) keyed by the secret, over a transcript that holds both nonces and the SHA-256
fingerprints of both DTLS certificates (RFC 8122) as each side sees them. A server that swaps fingerprints to sit in the
middle makes the two transcripts differ, and neither proof fits. The speaker's name in the transcript keeps one side's
proof from serving as the other's.
"""

import hashlib
import hmac
from enum import Enum

from attrs import field, frozen

from protocol import PROTOCOL_VERSION
from protocol.fields import ExactBytes, FreeText
from protocol.ids import PeerId, RoomId

NONCE_BYTES = 32
PROOF_BYTES = hashlib.sha256().digest_size
PROOF_TIME = 10
"""Seconds between challenge and proof (the contract's figure)."""


class Denial(Enum):
    """Why a proof was not accepted."""

    INVALID = "invalid"
    MISSING = "missing"
    TIMEOUT = "timeout"


@frozen
class AuthChallenge:
    """Worker to client: prove that you know the secret, using this nonce once."""

    nonce: bytes = field(validator=ExactBytes(NONCE_BYTES), repr=False)


@frozen
class AuthResponse:
    """Client to worker: my proof, and a nonce for yours. Without a secret there is no proof to give."""

    nonce: bytes = field(validator=ExactBytes(NONCE_BYTES), repr=False)
    proof: bytes | None = field(default=None, validator=ExactBytes(PROOF_BYTES), repr=False)


@frozen
class AuthSuccess:
    """Worker to client: you are trusted; here is my own proof. A worker without a secret has none to give."""

    proof: bytes | None = field(default=None, validator=ExactBytes(PROOF_BYTES), repr=False)


@frozen
class AuthFailure:
    """Worker to client: you are not trusted, and this link ends."""

    reason: Denial
    text: str = field(validator=FreeText(400))


Trust = AuthChallenge | AuthResponse | AuthSuccess | AuthFailure


@frozen
class Binding:
    """What both ends of one link must see alike for a proof to fit: who they are and which certificates they hold."""

    room: RoomId
    worker: PeerId
    client: PeerId
    worker_fingerprint: bytes
    """SHA-256 of the worker's DTLS certificate."""
    client_fingerprint: bytes
    """SHA-256 of the client's DTLS certificate."""


@frozen
class Secret:
    """A room secret; wrapped so that no `repr`, log or error text can show it."""

    key: bytes = field(repr=False)


def prove(secret: Secret, speaker: str, binding: Binding, worker_nonce: bytes, client_nonce: bytes) -> bytes:
    """The proof of `speaker` ("worker" or "client"): 32 bytes over a transcript of length-prefixed parts."""
    parts = (
        b"sleap-rtc",
        str(PROTOCOL_VERSION).encode(),
        speaker.encode(),
        binding.room.encode(),
        binding.worker.encode(),
        binding.client.encode(),
        binding.worker_fingerprint,
        binding.client_fingerprint,
        worker_nonce,
        client_nonce,
    )
    transcript = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.new(secret.key, transcript, hashlib.sha256).digest()


def same_proof(ours: bytes, theirs: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(ours, theirs)

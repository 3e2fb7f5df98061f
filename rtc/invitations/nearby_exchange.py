"""The exchange behind a nearby invitation: X25519 with a commitment, and three words that two people compare.

Nothing secret is known to both ends before. Whoever passes the messages on, the server included, can put keys of its
own in their place; then the two ends have different keys, and show different words. The commitment leaves it one guess
in 10**9: the joiner is bound to its key before it sees the inviter's, and the inviter answers before it sees the
joiner's, so nobody can look for a key that makes the words the same (as in ZRTP, RFC 6189, section 4.4.1).

An attacker may break off an exchange when it has seen the inviter's key, and try again. Rule: whoever invites counts
the exchanges that have begun, and not those that end well.
"""

import hashlib
import hmac
import os

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from rtc.invitations.derived_keys import BadShare, derive_key, join_transcript
from rtc.invitations.words import WORDS

PUBLIC_BYTES = 32
"""Length of a public key of X25519 (RFC 7748)."""
NONCE_BYTES = 32
"""Length of the joiner's nonce: without it, a commitment could be compared with known keys."""
WORD_COUNT = 3
"""Words to compare, 30 bits: an attacker who has put its keys in place is not noticed once in 10**9 times."""
COMMITMENT_LABEL, TRANSCRIPT_LABEL = b"sleap-rtc/nearby/commitment", b"sleap-rtc nearby"
WORDS_LABEL, ROOM_LABEL = b"sleap-rtc/nearby/words", b"sleap-rtc/nearby/room"
"""What HKDF is told about the use of each key (`info` of RFC 5869)."""


@frozen
class NearbyKeys:
    """What both ends have when nobody has changed anything on the way; each has others otherwise."""

    transcript: bytes = field(repr=False)
    """All that was said in the exchange; see `_transcript`."""
    words: tuple[str, ...]
    """What both consoles show. No secret: they are worth nothing once the exchange has ended."""
    room: bytes = field(repr=False)
    """The key under which the room is encrypted."""


class NearbyJoinerExchange:
    """The joiner's half of one exchange."""

    def __init__(self, number: int, name: str) -> None:
        """Make a key.

        Args:
            number: the number of the invitation.
            name: what the joiner calls itself in `AskInvitation`.
        """
        self._number, self._name = number, name
        self._key = X25519PrivateKey.generate()
        self._nonce = os.urandom(NONCE_BYTES)

    @property
    def share(self) -> bytes:
        """The commitment to the key, which is said first."""
        return _commitment(self._public, self._nonce)

    @property
    def proof(self) -> bytes:
        """The key and the nonce, which are said when the inviter's key is known."""
        return self._public + self._nonce

    def finish(self, inviter_share: bytes) -> NearbyKeys:
        """Return the keys, from the inviter's half.

        Raises:
            BadShare: it is no key.
        """
        transcript = _transcript(self._number, self._name, self.share, inviter_share, self.proof)
        return _keys(_shared(self._key, inviter_share), transcript)

    @property
    def _public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()


class NearbyInviterExchange:
    """The inviter's half of one exchange; call `finish` once."""

    def __init__(self, number: int, name: str, commitment: bytes) -> None:
        """Make a key.

        Args:
            number: the number of the invitation.
            name: what the joiner calls itself.
            commitment: the joiner's share.
        """
        self.name = name
        self._number, self._commitment = number, commitment
        self._key = X25519PrivateKey.generate()

    @property
    def share(self) -> bytes:
        """The public key, which answers the commitment."""
        return self._key.public_key().public_bytes_raw()

    def finish(self, proof: bytes) -> NearbyKeys:
        """Return the keys, from the joiner's key and nonce.

        Raises:
            BadShare: they are not what the joiner has committed itself to, or no key.
        """
        public, nonce = proof[:PUBLIC_BYTES], proof[PUBLIC_BYTES:]
        if len(nonce) != NONCE_BYTES or not hmac.compare_digest(_commitment(public, nonce), self._commitment):
            raise BadShare("another key than the one that was announced came")
        transcript = _transcript(self._number, self.name, self._commitment, self.share, proof)
        return _keys(_shared(self._key, public), transcript)


def _commitment(public: bytes, nonce: bytes) -> bytes:
    return hashlib.sha256(COMMITMENT_LABEL + public + nonce).digest()


def _transcript(number: int, name: str, commitment: bytes, inviter_share: bytes, proof: bytes) -> bytes:
    """Return all that was said in the exchange before the room is given."""
    return join_transcript(TRANSCRIPT_LABEL, str(number).encode(), name.encode(), commitment, inviter_share, proof)


def _shared(key: X25519PrivateKey, share: bytes) -> bytes:
    """Return the secret of the two keys.

    Raises:
        BadShare: the other one is no key, or one of those that give the same secret with every key.
    """
    try:
        return key.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError as error:
        raise BadShare("a share that is no key of X25519 came") from error


def _keys(secret: bytes, transcript: bytes) -> NearbyKeys:
    bits = int.from_bytes(derive_key(secret, transcript, WORDS_LABEL), "big")
    words = []
    for _ in range(WORD_COUNT):
        bits, index = divmod(bits, len(WORDS))
        words.append(WORDS[index])
    return NearbyKeys(transcript, tuple(words), derive_key(secret, transcript, ROOM_LABEL))

"""The exchange behind a short code: SPAKE2 with the code's words as the password, and a proof before anything is given.

SPAKE2 gives two programs that know the same password the same key. Whoever does not know it, the server included, gets
another key and learns nothing from what it hears; it can only take part itself, with one guess. The joiner's proof
shows the inviter that both have the same key, and comes before the inviter says anything that only the owner of the
code may have. A wrong proof therefore costs the code.

The package `spake2` has the curve Ed25519 and constants of its own, so its messages are not those of RFC 9382, which
describes the same exchange. Rule: whatever it raises for a peer's message is one kind of error here, `BadShare`. Its
arithmetic takes tens of milliseconds: call what is marked so in a thread.
"""

import hmac
import os
from collections.abc import Callable
from typing import Any

from attrs import field, frozen
from spake2 import SPAKE2_A, SPAKE2_B

from protocol.trust import same_proof
from rtc.invitations.derived_keys import BadShare, derive_key, join_transcript
from rtc.invitations.short_code import ShortCode

SHARE_BYTES = 33
"""Length of a SPAKE2 message: one byte for the side, and a point of Ed25519."""
FIELD_ORDER = 2**255 - 19
"""The prime of Ed25519 (RFC 8032, section 5.1): the coordinates of a point are below it."""
INVITER_ID, JOINER_ID = b"sleap-rtc inviter", b"sleap-rtc joiner"
"""The two identities of SPAKE2, each followed by a space and the number of the code."""
PROOF_LABEL, ROOM_LABEL = b"sleap-rtc/code/proof", b"sleap-rtc/code/room"
"""What HKDF is told about the use of each key (`info` of RFC 5869)."""
TRANSCRIPT_LABEL = b"sleap-rtc/code"

Entropy = Callable[[int], bytes]
"""Returns so many random bytes."""


@frozen
class ExchangeKeys:
    """What both ends of an exchange have when they know the same words; each has other keys otherwise."""

    transcript: bytes = field(repr=False)
    """What both ends have said so far; see `transcript_of`."""
    proof: bytes = field(repr=False)
    """The key of the joiner's proof."""
    room: bytes = field(repr=False)
    """The key under which the room is encrypted."""


def transcript_of(number: int, name: str, joiner_share: bytes, inviter_share: bytes) -> bytes:
    """Return all that was said before the proof.

    Args:
        number: the number of the code.
        name: what the joiner calls itself in `AskInvitation`.
        joiner_share, inviter_share: the SPAKE2 messages.
    """
    return join_transcript(TRANSCRIPT_LABEL, str(number).encode(), name.encode(), joiner_share, inviter_share)


class JoinerExchange:
    """The joiner's half of one exchange. Making and finishing it takes tens of milliseconds each."""

    def __init__(self, code: ShortCode, name: str, entropy: Entropy = os.urandom) -> None:
        self._number, self._name = code.number, name
        self._spake2 = SPAKE2_B(_password(code), **_identities(code), entropy_f=entropy)
        self.share: bytes = self._spake2.start()

    def finish(self, inviter_share: bytes) -> ExchangeKeys:
        """Return the keys, from the inviter's half; call it once.

        Raises:
            BadShare: it is no message of an inviter.
        """
        key = _finish(self._spake2, inviter_share)
        return _keys(key, transcript_of(self._number, self._name, self.share, inviter_share))


def answer_joiner(
    code: ShortCode, name: str, joiner_share: bytes, entropy: Entropy = os.urandom
) -> tuple[bytes, ExchangeKeys]:
    """Return the inviter's half of the exchange, and its keys. Takes tens of milliseconds.

    Call it once for each code: each further call would let somebody make one more guess.

    Args:
        code: the code that the inviter shows.
        name: what the joiner calls itself.
        joiner_share: the joiner's half.
        entropy: returns random bytes.

    Raises:
        BadShare: it is no message of a joiner.
    """
    spake2 = SPAKE2_A(_password(code), **_identities(code), entropy_f=entropy)
    share: bytes = spake2.start()
    key = _finish(spake2, joiner_share)
    return share, _keys(key, transcript_of(code.number, name, joiner_share, share))


def make_proof(keys: ExchangeKeys) -> bytes:
    """Return the joiner's proof: an HMAC-SHA256 over the transcript."""
    return hmac.digest(keys.proof, keys.transcript, "sha256")


def is_proof_of(keys: ExchangeKeys, proof: bytes) -> bool:
    """Return whether a proof is that of a joiner with these keys; the time does not depend on where it differs."""
    return same_proof(make_proof(keys), proof)


def _password(code: ShortCode) -> bytes:
    return "-".join(code.words).encode()


def _identities(code: ShortCode) -> dict[str, bytes]:
    number = str(code.number).encode()
    return {"idA": INVITER_ID + b" " + number, "idB": JOINER_ID + b" " + number}


def _finish(spake2: Any, share: bytes) -> bytes:
    if len(share) != SHARE_BYTES:
        raise BadShare("a share of another length came")
    if not _is_canonical(share[1:]):
        raise BadShare("a share with a point in another form, or with the neutral element, came")
    try:
        key: bytes = spake2.finish(share)
    except Exception as error:  # it raises its own errors, ValueError, plain Exception and AssertionError
        raise BadShare("a share that is no point of the curve, or of this side, came") from error
    return key


def _is_canonical(point: bytes) -> bool:
    """Return whether a point of the right subgroup is written in its only valid form, and is not the neutral element.

    `spake2` reads other forms, too, and so takes the neutral element, whose y is 1, in all forms but one.
    """
    y = int.from_bytes(point, "little") & (2**255 - 1)  # the highest bit is the sign of x
    return 1 < y < FIELD_ORDER


def _keys(key: bytes, transcript: bytes) -> ExchangeKeys:
    return ExchangeKeys(transcript, derive_key(key, transcript, PROOF_LABEL), derive_key(key, transcript, ROOM_LABEL))

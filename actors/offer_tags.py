"""The tags of offers and answers at both ends: which nonce a worker announces, and whether a tag is right.

A worker with a secret accepts each tag once. It remembers the tags that were used under the nonce that it announces and
under the one before; then it takes another nonce, and older tags are wrong for that reason.
"""

import hmac

from attrs import evolve, field, frozen

from protocol.faults import Fault, FaultCode
from protocol.signaling import Offer
from protocol.trust import Ends, RoomKeys, TagVerdict, judge_tag, offer_tag

USES_MAX = 256
"""Tags that are accepted under one nonce. More than the clients of a room, so that all of them may make an offer in the
same moment, with the same nonce."""

SECRET_MISSING = Fault(
    FaultCode.AUTH_MISSING,
    "This worker wants the room secret and none was given. Save it in ~/.sleap-rtc/secrets, in a file named like the "
    "room, or name a file with --room-secret-file.",
)
"""What a client is told that knows no secret."""
SECRET_WRONG = Fault(
    FaultCode.AUTH_INVALID,
    "The room secret is not the worker's. Compare the one that is used here (an option, a variable or a file) with "
    "that of the person who runs the worker.",
)
"""What a client is told whose tag or proof is wrong, for whatever reason."""
ANSWER_FORGED = Fault(
    FaultCode.AUTH_UNPROVEN_WORKER,
    "The answer was not made by a worker that knows the room secret, or it was changed on its way, so nothing was "
    "sent. Somebody may be in between.",
)
"""What a client reports that gets an answer with a wrong tag."""


@frozen
class OfferNonces:
    """The nonces of one worker for the tags of offers, and the tags that were used under them."""

    seed: bytes = field(default=b"", repr=False)
    """Random bytes that only this worker knows, and from which the nonces are made."""
    number: int = 0
    """Counts the nonces."""
    uses: int = 0
    """How many offers were accepted under the present nonce."""
    used: frozenset[bytes] = field(default=frozenset(), repr=False)
    """The tags that were used under the present nonce."""
    used_before: frozenset[bytes] = field(default=frozenset(), repr=False)
    """The tags that were used under the nonce before."""

    @property
    def present(self) -> bytes:
        """The nonce that is announced now."""
        return self._nonce(self.number)

    def judge(self, keys: RoomKeys, ends: Ends, offer: Offer) -> TagVerdict:
        """Return whether the tag of an offer to this worker is right, and was not used before."""
        verdicts = []
        for number, used in ((self.number, self.used), (self.number - 1, self.used_before)):
            tag = offer_tag(keys, ends, offer.number, offer.job, self._nonce(number), offer.sdp)
            verdicts.append(judge_tag(tag, offer.tag))
            if verdicts[-1] is TagVerdict.RIGHT:
                return TagVerdict.REPEATED if tag.whole in used else TagVerdict.RIGHT
        return TagVerdict.CHANGED if TagVerdict.CHANGED in verdicts else verdicts[0]

    def after(self, offer: Offer) -> "OfferNonces":
        """Return the nonces after this offer, whose tag is right, was accepted."""
        assert offer.tag is not None, "its tag was right"
        used = self.used | {offer.tag.whole}
        if self.uses + 1 < USES_MAX:
            return evolve(self, uses=self.uses + 1, used=used)
        return evolve(self, number=self.number + 1, uses=0, used=frozenset(), used_before=used)

    def _nonce(self, number: int) -> bytes:
        return hmac.digest(self.seed, str(number).encode(), "sha256")

"""Nearby invitations: both ends get the same words, and somebody between them gets at most one guess."""

from collections import Counter

import pytest

from protocol.invitations import PROOF_MAX, SHARE_MAX
from rtc.invitations.derived_keys import BadShare
from rtc.invitations.nearby_exchange import NearbyInviterExchange, NearbyJoinerExchange, NearbyKeys
from rtc.invitations.words import WORDS

NUMBER, NAME = 1_234_567, "ada's laptop"
LOW_ORDER = (bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f", b"\xed" + b"\xff" * 30 + b"\x7f")
"""Public keys that make the secret zero, whatever the other key is (RFC 7748, section 6.1)."""


def run(
    *,
    number: int = NUMBER,
    name: str = NAME,
    commitment: bytes | None = None,
    answer: bytes | None = None,
    proof: bytes | None = None,
) -> tuple[NearbyKeys, NearbyKeys]:
    """Run one exchange, in which somebody replaces what is given; return the joiner's keys and the inviter's."""
    joiner = NearbyJoinerExchange(NUMBER, NAME)
    inviter = NearbyInviterExchange(number, name, joiner.share if commitment is None else commitment)
    joiner_keys = joiner.finish(inviter.share if answer is None else answer)
    return joiner_keys, inviter.finish(joiner.proof if proof is None else proof)


def test_both_ends_have_the_same_words_and_key() -> None:
    joiner_keys, inviter_keys = run()
    assert joiner_keys == inviter_keys
    assert len(joiner_keys.words) == 3
    assert set(joiner_keys.words) <= set(WORDS)
    assert len(joiner_keys.room) == 32
    assert joiner_keys.room not in (joiner_keys.transcript, b"".join(word.encode() for word in joiner_keys.words))


def test_what_is_said_fits_into_the_messages() -> None:
    joiner = NearbyJoinerExchange(NUMBER, NAME)
    assert len(joiner.share) == len(NearbyInviterExchange(NUMBER, NAME, joiner.share).share) == 32 <= SHARE_MAX
    assert len(joiner.proof) == 64 <= PROOF_MAX


def test_no_exchange_has_the_words_of_another_one() -> None:
    seen = {run()[0].words for _ in range(50)}
    assert len(seen) == 50
    first = Counter(run()[0].words[0] for _ in range(50))
    assert len(first) > 20, "the words are spread over the list"


@pytest.mark.parametrize("what", ["number", "name"])
def test_what_the_worker_s_person_is_told_is_part_of_the_words(what: str) -> None:
    joiner_keys, inviter_keys = run(number=NUMBER + 1) if what == "number" else run(name="somebody else")
    assert joiner_keys.words != inviter_keys.words
    assert joiner_keys.room != inviter_keys.room


def test_with_another_answer_the_words_differ() -> None:
    other = NearbyInviterExchange(NUMBER, NAME, bytes(32))
    joiner_keys, inviter_keys = run(answer=other.share)
    assert joiner_keys.words != inviter_keys.words


def test_with_another_commitment_the_inviter_stops() -> None:
    with pytest.raises(BadShare, match="another key"):
        run(commitment=bytes(32))


@pytest.mark.parametrize(
    "proof",
    [b"", bytes(64), NearbyJoinerExchange(NUMBER, NAME).proof, b"x" * 128],
    ids=["none", "zeros", "another", "long"],
)
def test_with_another_proof_the_inviter_stops(proof: bytes) -> None:
    with pytest.raises(BadShare, match="another key"):
        run(proof=proof)


def test_a_proof_cannot_be_cut_elsewhere() -> None:
    """The length of each part is fixed, so bytes of the nonce cannot be passed off as bytes of the key."""
    joiner = NearbyJoinerExchange(NUMBER, NAME)
    with pytest.raises(BadShare):
        NearbyInviterExchange(NUMBER, NAME, joiner.share).finish(joiner.proof + b"x")
    with pytest.raises(BadShare):
        NearbyInviterExchange(NUMBER, NAME, joiner.share).finish(joiner.proof[:-1])


class Between:
    """Somebody who sits between the two ends and speaks to each with keys of its own."""

    def __init__(self) -> None:
        self.joiner = NearbyJoinerExchange(NUMBER, NAME)
        victim = NearbyJoinerExchange(NUMBER, NAME)
        own_inviter = NearbyInviterExchange(NUMBER, NAME, victim.share)
        inviter = NearbyInviterExchange(NUMBER, NAME, self.joiner.share)
        self.shown_to_joiner = victim.finish(own_inviter.share)
        self.known_of_joiner = own_inviter.finish(victim.proof)
        self.known_of_inviter = self.joiner.finish(inviter.share)
        self.shown_to_inviter = inviter.finish(self.joiner.proof)


def test_somebody_between_them_knows_both_keys_but_the_words_differ() -> None:
    """This is what the comparison is for: nothing else tells the two people that they do not speak to each other."""
    between = Between()
    assert between.known_of_joiner == between.shown_to_joiner
    assert between.known_of_inviter == between.shown_to_inviter
    assert between.shown_to_joiner.words != between.shown_to_inviter.words


def test_whoever_has_seen_the_answer_cannot_look_for_a_key_that_gives_the_words_it_needs() -> None:
    """With the answer known, any number of keys could be tried; but only the one that was committed to is taken."""
    first = NearbyJoinerExchange(NUMBER, NAME)
    inviter = NearbyInviterExchange(NUMBER, NAME, first.share)
    tried = {NearbyJoinerExchange(NUMBER, NAME) for _ in range(20)}
    assert len({joiner.finish(inviter.share).words for joiner in tried}) == 20
    for joiner in tried:
        with pytest.raises(BadShare):
            inviter.finish(joiner.proof)


@pytest.mark.parametrize("share", [*LOW_ORDER, b"", b"x" * 31, b"x" * 33], ids=lambda share: share.hex()[:8] or "none")
def test_shares_that_are_no_keys_end_the_exchange(share: bytes) -> None:
    with pytest.raises(BadShare):
        NearbyJoinerExchange(NUMBER, NAME).finish(share)


@pytest.mark.parametrize("public", LOW_ORDER, ids=lambda share: share.hex()[:8] or "none")
def test_a_joiner_s_key_that_makes_the_secret_known_ends_the_exchange(public: bytes) -> None:
    from rtc.invitations.nearby_exchange import _commitment

    nonce = bytes(32)
    with pytest.raises(BadShare):
        NearbyInviterExchange(NUMBER, NAME, _commitment(public, nonce)).finish(public + nonce)


def test_nothing_secret_is_in_a_repr() -> None:
    keys, _ = run()
    assert repr(keys) == f"NearbyKeys(words={keys.words!r})"

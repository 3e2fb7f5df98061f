"""The exchange behind a short code: who knows the words gets the room, and every other message is one kind of error."""

from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.faults import FaultCode
from protocol.ids import RoomId
from protocol.invitations import INVITED_MAX, SEALED_MAX, SHARE_MAX, InvitedRoom
from rtc.common.errors import RtcError
from rtc.invitations.code_exchange import (
    SHARE_BYTES,
    ExchangeKeys,
    JoinerExchange,
    answer_joiner,
    is_proof_of,
    make_proof,
)
from rtc.invitations.derived_keys import BadShare
from rtc.invitations.sealed_room import PADDED_TO, open_room, seal_room
from rtc.invitations.short_code import read_code

CODE, OTHER = read_code("7-tulip-otter-radio"), read_code("7-tulip-otter-lemon")
ROOM = InvitedRoom("ws://lab:8080", RoomId("room-1"), "the token", "a secret of the room", "the lab")
IDENTITY = b"\x01" + bytes(31)
OF_SMALL_ORDER = bytes(31) + b"\x80"


def exchange(inviter_code=CODE, joiner_code=CODE) -> tuple[ExchangeKeys, ExchangeKeys]:
    """Return the keys of inviter and joiner after an exchange."""
    joiner = JoinerExchange(joiner_code, "laptop")
    share, inviter_keys = answer_joiner(inviter_code, "laptop", joiner.share)
    return inviter_keys, joiner.finish(share)


def test_two_that_know_the_words_have_the_same_keys_and_the_proof_is_right() -> None:
    inviter, joiner = exchange()
    assert inviter == joiner
    assert is_proof_of(inviter, make_proof(joiner))
    assert open_room(seal_room(ROOM, inviter.room, inviter.transcript), joiner.room, joiner.transcript) == ROOM


def test_one_wrong_word_makes_other_keys() -> None:
    inviter, joiner = exchange(joiner_code=OTHER)
    assert inviter.transcript == joiner.transcript
    assert not is_proof_of(inviter, make_proof(joiner))
    with pytest.raises(RtcError) as caught:
        open_room(seal_room(ROOM, inviter.room, inviter.transcript), joiner.room, joiner.transcript)
    assert caught.value.fault.code is FaultCode.AUTH_INVALID


def test_the_number_and_the_name_are_part_of_the_exchange() -> None:
    joiner = JoinerExchange(CODE, "laptop")
    share, keys = answer_joiner(CODE, "a laptop of somebody else", joiner.share)
    assert not is_proof_of(keys, make_proof(joiner.finish(share)))
    joiner = JoinerExchange(read_code("8-tulip-otter-radio"), "laptop")
    share, keys = answer_joiner(CODE, "laptop", joiner.share)
    assert not is_proof_of(keys, make_proof(joiner.finish(share)))


def test_a_message_that_is_reflected_is_refused() -> None:
    joiner = JoinerExchange(CODE, "laptop")
    with pytest.raises(BadShare):
        joiner.finish(joiner.share)
    with pytest.raises(BadShare):  # the same point, as if the other side had sent it
        JoinerExchange(CODE, "x", lambda n: b"\x07" * n).finish(
            b"A" + JoinerExchange(CODE, "x", lambda n: b"\x07" * n).share[1:]
        )
    share, _ = answer_joiner(CODE, "laptop", joiner.share)
    with pytest.raises(BadShare):
        answer_joiner(CODE, "laptop", share)


@pytest.mark.parametrize(
    "share",
    [
        b"", b"B", b"B" + bytes(31), b"B" + bytes(33), b"B" + IDENTITY, b"B" + OF_SMALL_ORDER, b"B" + b"\xff" * 32,
        b"S" + IDENTITY, b"\x00" * SHARE_BYTES, b"B" + (2**255 - 19).to_bytes(32, "little"), b"B" * SHARE_MAX,
        b"B" + (2).to_bytes(32, "little"),
    ],
)  # fmt: skip
def test_what_is_no_message_of_a_joiner_is_one_kind_of_error(share: bytes) -> None:
    with pytest.raises(BadShare):
        answer_joiner(CODE, "laptop", share)


@pytest.mark.parametrize("y", [1, 1 | 2**255, 2**255 - 18, 2**256 - 18])
def test_the_neutral_element_is_refused_in_each_form_and_at_both_ends(y: int) -> None:
    """No honest end sends it. `spake2` refuses the first form only."""
    point = y.to_bytes(32, "little")
    with pytest.raises(BadShare):
        answer_joiner(CODE, "laptop", b"B" + point)
    with pytest.raises(BadShare):
        JoinerExchange(CODE, "laptop").finish(b"A" + point)


@settings(max_examples=20)
@given(st.binary(min_size=SHARE_BYTES - 1, max_size=SHARE_BYTES - 1))
def test_whatever_a_joiner_sends_is_a_share_or_that_error(point: bytes) -> None:
    with suppress(BadShare):
        answer_joiner(CODE, "laptop", b"B" + point)


def test_no_text_of_the_keys_shows_them() -> None:
    keys, _ = exchange()
    shown = repr(keys) + repr(CODE) + repr(ROOM)
    assert not any(word in shown for word in ("tulip", "the token", "a secret", keys.room.hex(), str(keys.room)))


def test_the_length_of_what_the_server_sees_says_nothing_of_the_secret() -> None:
    keys, _ = exchange()
    rooms = [InvitedRoom("ws://lab:8080", RoomId("room-1"), "token", secret) for secret in (None, "s" * 16, "s" * 200)]
    assert len({len(seal_room(room, keys.room, keys.transcript)) for room in rooms}) == 1


def test_the_longest_room_fits_and_a_longer_one_is_one_sentence() -> None:
    keys, _ = exchange()
    room = InvitedRoom(
        "ws://" + "l" * 2043, RoomId("r" * 100), "\U0001f600" * 200, "\U0001f600" * 1024, "\U0001f600" * 64
    )
    sealed = seal_room(room, keys.room, keys.transcript)
    assert len(sealed) <= SEALED_MAX
    assert INVITED_MAX % PADDED_TO == 0
    assert open_room(sealed, keys.room, keys.transcript) == room
    with pytest.raises(RtcError):
        seal_room(InvitedRoom("é" * 2048, RoomId("r"), "\U0001f600" * 200, "\U0001f600" * 1024), keys.room, b"")


@pytest.mark.parametrize("place", [0, 11, 12, 40, -1])
def test_a_changed_room_is_refused_and_so_is_a_short_one(place: int) -> None:
    keys, _ = exchange()
    sealed = bytearray(seal_room(ROOM, keys.room, keys.transcript))
    sealed[place] ^= 1
    for wrong in (bytes(sealed), bytes(sealed[:5]), b""):
        with pytest.raises(RtcError) as caught:
            open_room(wrong, keys.room, keys.transcript)
        assert caught.value.fault.code is FaultCode.AUTH_INVALID


def test_a_room_from_another_time_is_a_question_of_versions() -> None:
    keys, _ = exchange()
    sealed = bytes(12) + ChaCha20Poly1305(keys.room).encrypt(bytes(12), b'{"future":1}', keys.transcript)
    with pytest.raises(RtcError) as caught:
        open_room(sealed, keys.room, keys.transcript)
    assert caught.value.fault.code is FaultCode.VERSION

"""STUN messages, compared with the test vectors of RFC 5769, and random bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtc.doctor.stun import StunAnswer, binding_request, read_answer

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
# RFC 5769, 2.2 and 2.3
IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a147"
    "0113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)


def test_the_request_is_a_header_and_nothing_else() -> None:
    assert binding_request(TRANSACTION) == bytes.fromhex("000100002112a442") + TRANSACTION


def test_the_rfcs_own_answers_are_read() -> None:
    assert read_answer(IPV4, TRANSACTION) == StunAnswer("192.0.2.1:32853")
    assert read_answer(IPV6, TRANSACTION) == StunAnswer("[2001:db8:1234:5678:11:2233:4455:6677]:32853")


def test_an_old_server_s_plain_address_is_read() -> None:
    plain = bytes.fromhex("0101000c2112a442") + TRANSACTION + bytes.fromhex("0001000800018055c0000201")
    assert read_answer(plain, TRANSACTION) == StunAnswer("192.0.2.1:32853")


def test_a_refusal_tells_its_code() -> None:
    refusal = bytes.fromhex("011100082112a442") + TRANSACTION + bytes.fromhex("0009000400000414")
    assert read_answer(refusal, TRANSACTION) == StunAnswer(None, 420)


@pytest.mark.parametrize(
    "data",
    [b"", IPV4[:19], IPV4[:-1], IPV4 + b"\0", binding_request(TRANSACTION), b"\x01\x01" + bytes(18), IPV4[4:]],
)
def test_anything_else_is_not_an_answer(data: bytes) -> None:
    assert read_answer(data, TRANSACTION) is None


def test_an_answer_to_another_transaction_is_ignored() -> None:
    assert read_answer(IPV4, bytes(12)) is None


@given(st.binary(max_size=200))
def test_no_attributes_raise_an_exception(body: bytes) -> None:
    for kind in ("0101", "0111"):
        head = bytes.fromhex(kind) + len(body).to_bytes(2, "big") + bytes.fromhex("2112a442") + TRANSACTION
        assert isinstance(read_answer(head + body, TRANSACTION), StunAnswer)

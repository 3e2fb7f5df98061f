"""Tests of session strings, which are read as people paste them."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.session_string import SessionString, SessionStringError, read_session_string

FROM_THE_CONTRACT = "eyJyIjogInJvb21faWQiLCAidCI6ICJ0b2tlbiIsICJwIjogInBlZXJfaWQifQ=="
MEANT = SessionString("room_id", "token", "peer_id")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        FROM_THE_CONTRACT,
        FROM_THE_CONTRACT.rstrip("="),
        f"sleap-session:{FROM_THE_CONTRACT}",
        f"  {FROM_THE_CONTRACT[:20]}\n   {FROM_THE_CONTRACT[20:]} \n",
        base64.b64encode(b'{"r":"room_id","t":"token","p":"peer_id"}').decode(),
        base64.b64encode(b'{\n  "p": "peer_id",\n  "t": "token", "r": "room_id"\n}').decode(),
    ],
)
def test_every_spelling_is_read(text: str) -> None:
    assert read_session_string(text) == MEANT


def test_what_is_written_is_the_contracts_own_form() -> None:
    assert MEANT.write() == FROM_THE_CONTRACT


def test_the_servers_address_is_part_of_the_session_string() -> None:
    there = SessionString("r", "t", "p", "ws://lab:8080")  # type: ignore[arg-type]
    assert read_session_string(there.write()) == there


def test_both_base64_alphabets_are_read() -> None:
    parts = {"r": "r", "t": "t\u00ff\u00fe?>~", "p": "p"}
    raw = json.dumps(parts, ensure_ascii=False).encode()
    for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        assert read_session_string(encoded.decode()).token == parts["t"]


@pytest.mark.parametrize(
    "parts",
    [
        {},
        [],
        {"r": "r"},
        {"r": "", "t": "t", "p": "p"},
        {"r": 1, "t": "t", "p": "p"},
        {"r": "../r", "t": "t", "p": "p"},
        {"r": "r", "t": "t", "p": None},
        {"r": "r", "t": "t" * 201, "p": "p"},
        {"r": "r", "t": "\x1b[31m", "p": "p"},
        {"r": "r", "t": "t", "p": "p", "s": 7},
        {"r": "r", "t": "t", "p": "p", "s": "ws://a\nws://b"},
    ],
)
def test_a_session_string_without_room_token_and_worker_is_refused(parts: object) -> None:
    with pytest.raises(SessionStringError, match="does not name a room"):
        read_session_string(base64.b64encode(json.dumps(parts).encode()).decode())


@pytest.mark.parametrize("raw", [b"", b"{", b'{"r":', b"[" * 3000, b"\xff\xfe{", b'{"r":"r","t":"t","p":"p"'])
def test_a_session_string_without_json_is_called_damaged(raw: bytes) -> None:
    with pytest.raises(SessionStringError, match=r"damaged|not a session string"):
        read_session_string(base64.b64encode(raw).decode())


def test_what_a_newer_worker_adds_is_ignored() -> None:
    more = {"r": "room_id", "t": "token", "p": "peer_id", "s": None, "x": ["new"], "type": "SESSION"}
    assert read_session_string(base64.b64encode(json.dumps(more).encode()).decode()) == MEANT


@given(st.text(max_size=200).filter(lambda text: "ey" not in text))
def test_any_other_text_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(SessionStringError, match=r"^[A-Z].*\.$"):
        read_session_string(text)


def test_the_token_is_not_in_a_repr() -> None:
    assert "hush" not in repr(SessionString("r", "hush", "p"))  # type: ignore[arg-type]

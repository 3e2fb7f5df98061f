"""Tests of decoding: any text from outside becomes a message or raises `WireError`, and nothing else."""

import json
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from valid_messages import hostile_texts

from protocol.converter import UnknownMessage, WireError, tag_of, to_json
from protocol.faults import Fault, FaultCode
from protocol.jobs import JobEvent, JobNews
from protocol.link import Heartbeat, goodbye
from protocol.signaling import Announce, Join, Offer
from protocol.status import Role, Status, WorkerFacts
from protocol.transfer import PIECE_HEADER, PIECE_MAX
from protocol.trust import AuthChallenge, AuthFailure, AuthResponse, Denial
from protocol.version import EVERY_VERSION, OLDER_VALUES
from protocol.wire import (
    FROM_SERVER,
    TO_CLIENT,
    TO_SERVER,
    TO_WORKER,
    UNPROVEN,
    VOCABULARIES,
    Vocabulary,
    decode,
    encode,
    pack_piece,
    unpack_piece,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=lambda vocabulary: vocabulary.speaker)
@given(data=st.data())
def test_any_text_is_a_message_or_a_wire_error(vocabulary: Vocabulary[Any], data: st.DataObject) -> None:
    tag, kind = data.draw(st.sampled_from(sorted(vocabulary.messages.items())))
    names = [field.name for field in kind.__attrs_attrs__]  # type: ignore[attr-defined]
    fields = st.dictionaries(st.sampled_from(names), json_values) if names else st.just({})
    text = json.dumps({"type": tag, **data.draw(fields)})
    try:
        message = decode(text, vocabulary)
    except WireError:
        return
    assert decode(encode(message), vocabulary) == message


FLOATS = [
    (kind, each.name, each.validator)
    for kind in get_args(JobNews)
    for each in attrs.fields(kind)
    if each.type == float | None
]


@given(st.sampled_from(FLOATS), st.integers(-4000, 4000), st.integers(1, 9))
def test_a_number_beyond_its_limits_is_a_wire_error(place: Any, zeros: int, digit: int) -> None:
    kind, name, limits = place
    number = f"{'-' if zeros < 0 else ''}{digit}{'0' * abs(zeros)}"
    known = {"job": '"j"', "model": "0", "epoch": "1", "prediction": "0", "done": "1"}
    fields = {each.name: known[each.name] for each in attrs.fields(kind) if each.name in known} | {name: number}
    news = ",".join(f"{json.dumps(key)}:{value}" for key, value in fields.items())
    text = f'{{"type":"JOB_EVENT","at":0,"seq":null,"news":{{"type":"{tag_of(kind)}",{news}}}}}'
    try:
        message = decode(text, TO_CLIENT)
    except WireError:
        assert not limits.holds(int(number[:4000]))
    else:
        assert isinstance(message, JobEvent)
        assert getattr(message.news, name) == float(number)
        assert limits.holds(float(number))


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_noise_is_refused(noise: bytes | str) -> None:
    with pytest.raises(WireError):
        decode(noise, TO_SERVER)


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"JOIN","room":7,"token":"t","role":"worker"}',
        '{"type":"JOIN","room":"a","token":"t","role":"king"}',
        '{"type":"OFFER","peer":"a","sdp":["x"]}',
        '{"type":"JOIN","room":"../a","token":"t","role":"worker"}',
        '{"type":"JOIN","room":"a","role":"worker"}',
        '{"type":"OFFER","peer":"a","sdp":"' + "x" * 33_000 + '"}',
        '{"type":["JOIN"]}',
        '{"type":"AUTH_CHALLENGE","nonce":"AAAA"}',
        "[" * 60_000,
        "NaN",
        "null",
    ],
)
def test_invalid_messages_are_refused(text: str) -> None:
    with pytest.raises(WireError):
        decode(text, TO_SERVER)


def test_fields_that_a_message_does_not_have_are_ignored() -> None:
    text = '{"type":"HEARTBEAT","mood":"good"}'
    assert decode(text, UNPROVEN) == Heartbeat()


def test_a_text_is_not_taken_for_a_list_of_letters() -> None:
    text = '{"type":"SUBMIT_JOB","kind":"train","name":"p.zip","size":1,"overrides":"a=1"}'
    with pytest.raises(WireError, match="SUBMIT_JOB has a field that does not fit"):
        decode(text, TO_WORKER)


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"FUTURE_MESSAGE"}',
        '{"type":"AUTH_CHALLENGE"}',
        '{"type":"JOB_EVENT","at":0,"news":{"type":"NEW_NEWS"}}',
    ],
)
def test_a_message_of_another_name_is_told_from_a_malformed_one(text: str) -> None:
    with pytest.raises(UnknownMessage):
        decode(text, TO_CLIENT)


def test_an_unknown_reason_of_a_fault_is_read_with_its_text() -> None:
    text = '{"type":"FAULT","code":"moon_phase","text":"The moon is wrong."}'
    assert decode(text, TO_CLIENT) == Fault(FaultCode.OTHER, "The moon is wrong.")


@pytest.mark.parametrize(("version", "said"), [(3, "available"), (EVERY_VERSION, "busy")])
def test_a_value_that_a_version_does_not_have_is_sent_as_the_one_before(
    monkeypatch: pytest.MonkeyPatch, version: int, said: str
) -> None:
    monkeypatch.setitem(OLDER_VALUES, Status.BUSY, (5, Status.RESERVED))
    monkeypatch.setitem(OLDER_VALUES, Status.RESERVED, (4, Status.AVAILABLE))
    facts = WorkerFacts(Status.BUSY, "bench", "lab-1", "CPU", 0, "0.3.5", "none", "0.1.0")
    assert json.loads(encode(Announce(facts), version))["facts"]["status"] == said


def test_an_error_names_the_message_and_never_its_content() -> None:
    with pytest.raises(WireError) as caught:
        decode('{"type":"JOIN","room":"a","token":12345678,"role":"worker"}', TO_SERVER)
    assert "JOIN" in str(caught.value)
    assert "12345678" not in str(caught.value)


@pytest.mark.parametrize("tag", ["x", "J\n", "A" * 41, 1, None, [[]]])
def test_an_unusual_name_is_not_in_the_sentence(tag: object) -> None:
    with pytest.raises(WireError) as caught:
        decode(json.dumps({"type": tag}), TO_SERVER)
    assert str(caught.value) in (
        "a message came that is not known here (its name is unusual)",
        "what came has a field that does not fit",
    )


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(WireError, match="at most 4096"):
        decode('{"type":"HEARTBEAT"}' + " " * 4096, UNPROVEN)


@given(hostile_texts | st.just("😀" * 5000))
def test_whatever_ends_a_link_before_authentication_fits_into_its_short_frames(text: str) -> None:
    for message in (AuthFailure(Denial.INVALID, text), goodbye(Fault(FaultCode.AUTH_UNPROVEN_WORKER, text))):
        assert decode(encode(message), UNPROVEN) == message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_bytes_are_utf_8(encoding: str) -> None:
    with pytest.raises(WireError):
        decode('{"type":"HEARTBEAT"}'.encode(encoding), UNPROVEN)


@pytest.mark.parametrize("value", ["text", {"ad": "hoc"}, 1, None, ("text",), [Heartbeat()]])
def test_only_classes_that_say_what_may_be_in_them_are_written(value: Any) -> None:
    with pytest.raises(TypeError):
        to_json(value)


@given(st.text(max_size=50))
def test_an_encoded_message_has_as_many_bytes_as_characters(text: str) -> None:
    encoded = encode(Fault(FaultCode.USAGE, text))
    assert encoded.isascii()
    assert decode(encoded, TO_CLIENT) == Fault(FaultCode.USAGE, text)


def test_before_authentication_only_its_messages_and_those_of_the_link_are_read() -> None:
    assert set(UNPROVEN.messages) == {
        "HELLO",
        "AUTH_CHALLENGE",
        "AUTH_RESPONSE",
        "AUTH_SUCCESS",
        "AUTH_FAILURE",
        "HEARTBEAT",
        "GOODBYE",
    }


def test_names_on_the_wire_are_the_contracts_own() -> None:
    assert tag_of(AuthChallenge) == "AUTH_CHALLENGE"
    assert json.loads(encode(AuthChallenge(b"\0" * 32)))["type"] == "AUTH_CHALLENGE"


def test_secrets_are_not_in_a_repr() -> None:
    assert "hush" not in repr(Join(room="r", token="hush", role=Role.CLIENT))  # type: ignore[arg-type]
    assert "n" * 32 not in repr(AuthResponse(b"n" * 32, b"p" * 32))


def test_a_message_for_both_directions_is_decoded_in_both() -> None:
    offer = Offer(peer="p", sdp="s")  # type: ignore[arg-type]
    assert decode(encode(offer), TO_SERVER) == decode(encode(offer), FROM_SERVER) == offer
    fault = Fault(FaultCode.STALLED, "x")
    assert decode(encode(fault), TO_WORKER) == decode(encode(fault), TO_CLIENT) == fault


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=100))
def test_a_piece_survives_the_wire(transfer: int, offset: int, payload: bytes) -> None:
    got_transfer, got_offset, got = unpack_piece(pack_piece(transfer, offset, payload))
    assert (got_transfer, got_offset, bytes(got)) == (transfer, offset, payload)


@pytest.mark.parametrize("size", [0, 1, PIECE_HEADER.size, PIECE_HEADER.size + PIECE_MAX + 1])
def test_a_piece_of_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(WireError):
        unpack_piece(b"\0" * size)

"""docs/protocol.md says what the code does: its examples, its test vectors, its numbers, and every message."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from actors.worker_limits import LINK_TIME, REQUEST_TIME
from protocol.converter import WireError
from protocol.ids import JobId, PeerId, RoomId
from protocol.link import HEARTBEAT_TIME, LOST_TIME, Hello
from protocol.signaling import SDP_MAX, WORKERS_MAX
from protocol.transfer import PIECE_MAX
from protocol.trust import (
    PROOF_TIME,
    ROUNDS,
    Binding,
    Ends,
    Secret,
    VersionAgreement,
    answer_tag,
    derive_keys,
    offer_tag,
    prove,
)
from protocol.version import VersionRange
from protocol.wire import FRAME_MAX, UNPROVEN, VOCABULARIES, decode, encode
from rtc.config.server_url import WS_PORT
from rtc.server.limits import DEFAULT_LIMITS
from rtc.server.rate_limits import JOIN_TIME, MESSAGE_BURST, MESSAGE_RATE
from rtc.server.rooms import CLIENTS_MAX
from rtc.server.wait_queue import SHARE_TIME
from rtc.transport.files.channel import CREDIT_WINDOW, MESSAGES_MAX, STALL_TIME
from rtc.transport.links.link import UNKNOWN_MAX
from rtc.transport.links.manager import ANSWER_TIME, CONNECT_TIME
from rtc.transport.signaling.connection import LONGEST_PAUSE
from rtc.transport.signaling.websocket import PING_TIME, SILENCE_TIME
from rtc.transport.webrtc.sdp import CANDIDATES_MAX

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


@pytest.mark.parametrize("example", re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL))
def test_each_example_is_a_message(example: str) -> None:
    fitting = []
    for vocabulary in VOCABULARIES:
        try:
            message = decode(example, vocabulary)
        except WireError:
            continue
        fitting.append(message)
        assert json.loads(example).items() <= json.loads(encode(message)).items()
    assert fitting


@pytest.mark.parametrize("tag", sorted({tag for vocabulary in VOCABULARIES for tag in vocabulary.messages}))
def test_each_message_is_mentioned(tag: str) -> None:
    assert f"`{tag}`" in PAGE or f": {tag} (" in PAGE


ROOM = RoomId("room-1")
KEYS = derive_keys(Secret("correct horse battery staple"), ROOM)


def test_the_keys_of_the_test_vectors_are_right() -> None:
    assert f"{ROUNDS:,}".replace(",", " ") in PAGE
    assert f"| proof | `sleap-rtc/proof` | `{KEYS.proof.hex()}` |" in PAGE
    assert f"| tag | `sleap-rtc/tag` | `{KEYS.tag.hex()}` |" in PAGE


def test_the_keys_are_those_of_the_standards() -> None:
    root = PBKDF2HMAC(SHA256(), 32, b"sleap-rtc/room-secret/room-1", 600_000).derive(b"correct horse battery staple")
    for label, key in ((b"sleap-rtc/proof", KEYS.proof), (b"sleap-rtc/tag", KEYS.tag)):
        assert HKDF(SHA256(), 32, salt=None, info=label).derive(root) == key


def test_the_test_vectors_of_the_proof_are_right() -> None:
    binding = Binding(ROOM, PeerId("worker-1"), PeerId("client-1"), bytes(range(32)), bytes(range(32, 64)))
    row = r"\| (\d) to (\d) \| (\d) to (\d) \| (\d) \| (\w+) \| `([0-9a-f]{64})` \|"
    vectors = re.findall(row, PAGE)
    assert len(vectors) == 4
    for *numbers, used, speaker, proof in vectors:
        worker, client = VersionRange(*map(int, numbers[:2])), VersionRange(*map(int, numbers[2:]))
        agreement = VersionAgreement(worker, client)
        assert str(agreement.chosen) == used
        assert prove(KEYS, speaker, binding, agreement, b"\1" * 32, b"\2" * 32).hex() == proof


def test_the_test_vectors_of_the_tags_are_right() -> None:
    ends, nonce = Ends(ROOM, PeerId("worker-1"), PeerId("client-1")), b"\3" * 32
    tags = {
        "offer 1, no job": offer_tag(KEYS, ends, 1, None, nonce, "v=0"),
        "offer 2, job `job-1`": offer_tag(KEYS, ends, 2, JobId("job-1"), nonce, "v=0"),
        "answer 1": answer_tag(KEYS, ends, 1, "v=0"),
    }
    for name, tag in tags.items():
        assert f"| {name} | `{tag.whole.hex()}` | `{tag.without_sdp.hex()}` |" in PAGE


NUMBERS: dict[str, Any] = {
    "A frame is at most {} bytes": FRAME_MAX,
    "and at most {} before the link is trusted": UNPROVEN.limit,
    "at most {} times a minute": UNKNOWN_MAX,
    "default port is {}": WS_PORT,
    "after {} seconds it is assigned to the next client too": SHARE_TIME,
    "send a ping every {} seconds": PING_TIME,
    "nothing came for {}": SILENCE_TIME,
    "The first message is due within {} seconds": JOIN_TIME,
    "One line may send {} messages at once": MESSAGE_BURST,
    "and {} a second after that": MESSAGE_RATE,
    "doubles from half a second to {} seconds": LONGEST_PAUSE,
    "reserved for this client: {} seconds": LINK_TIME,
    "then {} until a job is submitted": REQUEST_TIME,
    "A description with more than {} candidates that can be used is refused": CANDIDATES_MAX,
    "are at most {} characters of ASCII": SDP_MAX,
    "was idle for {} seconds": HEARTBEAT_TIME,
    "counts the link as lost after {} seconds": LOST_TIME,
    "then 1 to {} bytes of the file": PIECE_MAX,
    "keep {} MiB ahead": CREDIT_WINDOW // 2**20,
    "a link on which {} messages about files wait unread": MESSAGES_MAX,
    "our client waits {} s": ANSWER_TIME,
    "our programs wait {} s": CONNECT_TIME,
    "| one step of the proof | {} s |": PROOF_TIME,
    "| no progress of a transfer | {} s |": STALL_TIME,
    "| workers in a room; clients in a room | {};": WORKERS_MAX,
    "| 64; {} |": CLIENTS_MAX,
    "| lines that have not joined, per address | {} |": DEFAULT_LIMITS.max_unjoined_per_address,
    "| wrong tokens, per address | {} in a minute |": DEFAULT_LIMITS.max_wrong_tokens,
}
SPELLED = {10: "ten"}


@pytest.mark.parametrize(("text", "number"), NUMBERS.items())
def test_each_number_is_the_codes_own(text: str, number: float) -> None:
    digits = f"{number:,g}" if number < 10_000 else f"{int(number):,}"
    written = {str(int(number)), digits.replace(",", " "), SPELLED.get(int(number), digits)}
    assert any(text.format(one) in WORDS for one in written), f"{text.format(int(number))} is not on the page"


def test_the_first_frame_of_a_link_has_room_in_its_limit() -> None:
    assert len(encode(Hello())) < UNPROVEN.limit

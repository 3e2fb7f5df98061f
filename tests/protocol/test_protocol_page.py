"""docs/protocol.md says what the code does: its examples, its test vectors, its numbers, and every message."""

import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from actors.worker_limits import LINK_TIME, REQUEST_TIME
from protocol.converter import WireError
from protocol.ids import JobId, PeerId, RoomId
from protocol.invitations import InvitationKind
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
from rtc.invitations.code_exchange import JoinerExchange, answer_joiner, make_proof
from rtc.invitations.short_code import read_code
from rtc.server.invitations import AWAY_TIME, EXCHANGE_TIMES, OPEN_TIME
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


# -------- the exchange of a code, in its formulas, without the package that the program uses


PRIME, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
CURVE_D = -121665 * pow(121666, -1, PRIME) % PRIME
Point = tuple[int, int]


def add(one: Point, two: Point) -> Point:
    """Return the sum of two points of Ed25519 (RFC 8032, section 5.1.4, in affine coordinates)."""
    (x1, y1), (x2, y2) = one, two
    product = CURVE_D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, PRIME)
    return x % PRIME, (y1 * y2 + x1 * x2) * pow(1 - product, -1, PRIME) % PRIME


def times(number: int, point: Point) -> Point:
    total = (0, 1)
    for bit in bin(number % ORDER)[2:]:
        total = add(total, total)
        total = add(total, point) if bit == "1" else total
    return total


def decoded(text: bytes) -> Point:
    y = int.from_bytes(text, "little") & (2**255 - 1)
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    x = x if (x * x - square) % PRIME == 0 else x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    return (PRIME - x if x & 1 != text[31] >> 7 else x), y


def encoded(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


BASE = decoded((4 * pow(5, -1, PRIME) % PRIME).to_bytes(32, "little"))
VECTORS = {
    name: bytes.fromhex(value) for name, value in re.findall(r"^\| ([^|]+) \| `([0-9a-f]{64,66})` \|$", PAGE, re.M)
}
INVITED = b'{"server":"ws://lab:8080","room":"room-1","token":"t","secret":null,"name":""}'


def derived(key: bytes, salt: bytes | None, info: bytes, length: int = 32) -> bytes:
    return HKDF(SHA256(), length, salt=salt, info=info).derive(key)


def hashed(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def test_the_test_vectors_of_the_code_follow_from_the_formulas() -> None:
    password = b"tulip-otter-radio"
    w = int.from_bytes(derived(password, None, b"SPAKE2 pw", 48), "big") % ORDER
    x, y = (int.from_bytes(byte * 64, "big") % ORDER for byte in (b"\1", b"\2"))
    m, n = decoded(VECTORS["M"]), decoded(VECTORS["N"])
    inviter, joiner = (encoded(add(times(x, BASE), times(w, m))), encoded(add(times(y, BASE), times(w, n))))
    assert (b"A" + inviter, b"B" + joiner) == (VECTORS["share of the inviter"], VECTORS["share of the joiner"])
    shared = times(x, add(decoded(joiner), times(-w, n)))
    assert shared == times(y, add(decoded(inviter), times(-w, m)))
    names = map(hashed, (password, b"sleap-rtc inviter 7", b"sleap-rtc joiner 7"))
    key = hashed(*names, inviter, joiner, encoded(shared))
    parts = (b"sleap-rtc/code", b"7", b"laptop", b"B" + joiner, b"A" + inviter)
    transcript = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    proof_key, room_key = (derived(key, transcript, b"sleap-rtc/code/" + use) for use in (b"proof", b"room"))
    assert (proof_key, room_key) == (VECTORS["key of the proof"], VECTORS["key of the room"])
    assert hmac.digest(proof_key, transcript, "sha256") == VECTORS["proof"]
    sealed = bytes(12) + ChaCha20Poly1305(room_key).encrypt(bytes(12), INVITED.ljust(1024), transcript)
    assert hashed(sealed) == VECTORS["SHA-256 of `sealed`"]
    assert INVITED.decode() in PAGE


def test_the_test_vectors_of_the_code_are_what_the_program_computes() -> None:
    code = read_code("7-tulip-otter-radio")
    joiner = JoinerExchange(code, "laptop", lambda length: b"\2" * length)
    share, keys = answer_joiner(code, "laptop", joiner.share, lambda length: b"\1" * length)
    assert (share, joiner.share) == (VECTORS["share of the inviter"], VECTORS["share of the joiner"])
    assert joiner.finish(share) == keys
    assert (keys.proof, keys.room) == (VECTORS["key of the proof"], VECTORS["key of the room"])
    assert make_proof(keys) == VECTORS["proof"]


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
    "| invitations asked for, per address | {} in a minute |": DEFAULT_LIMITS.max_asks,
    "| a code is open | {} s |": OPEN_TIME,
    "| an invitation is kept for an inviter whose line broke | {} s |": AWAY_TIME,
    "| a whole exchange with a code | {} s |": EXCHANGE_TIMES[InvitationKind.CODE],
    "| a whole exchange with somebody nearby | {} s |": EXCHANGE_TIMES[InvitationKind.NEARBY],
}
SPELLED = {10: "ten"}


@pytest.mark.parametrize(("text", "number"), NUMBERS.items())
def test_each_number_is_the_codes_own(text: str, number: float) -> None:
    digits = f"{number:,g}" if number < 10_000 else f"{int(number):,}"
    written = {str(int(number)), digits.replace(",", " "), SPELLED.get(int(number), digits)}
    assert any(text.format(one) in WORDS for one in written), f"{text.format(int(number))} is not on the page"


def test_the_first_frame_of_a_link_has_room_in_its_limit() -> None:
    assert len(encode(Hello())) < UNPROVEN.limit

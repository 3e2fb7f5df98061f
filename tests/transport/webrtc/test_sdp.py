"""The session descriptions of browsers, and of peers that write theirs in a browser's way, with real aiortc.

`tests/data/sdp/` has offers that browsers made; the first line of each file says how.
"""

import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import trio

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.testing.limits import HANG_TIME
from rtc.transport.webrtc import AsyncioLoop, PeerConnection, open_asyncio_loop, open_peer_connection
from rtc.transport.webrtc.sdp import read_description

OFFERS = sorted((Path(__file__).parents[2] / "data" / "sdp").glob("*.sdp"))
FALSE = ":".join(["AB"] * 32)


@pytest.fixture
async def asyncio_loop() -> AsyncGenerator[AsyncioLoop, None]:
    async with open_asyncio_loop() as asyncio_loop:
        yield asyncio_loop


@pytest.fixture(autouse=True)
def _no_name_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: Any) -> Any:
        raise AssertionError("a name is resolved by multicast DNS")

    monkeypatch.setattr("aioice.ice.get_or_create_mdns_protocol", resolve)


def offer_of(file: Path, line_end: str = "\r\n") -> str:
    """Return the offer in a file, without the file's first line."""
    return "".join(f"{line}{line_end}" for line in file.read_text().splitlines()[1:])


def candidates(sdp: str) -> list[str]:
    return re.findall("(?m)^a=candidate:(.*?)\r?$", sdp)


def with_names(sdp: str) -> str:
    """Return this description as a browser writes it that shows no address."""
    return re.sub(r"(?m)^(a=candidate:\S+ \d \S+ \d+) \S+", r"\1 9f8cd73a-f2b9-4cb5-8491-e7d70eca1fc0.local", sdp)


def without_candidates(sdp: str) -> str:
    return re.sub(r"(?m)^a=candidate:.*\n", "", sdp)


async def connect(ada: PeerConnection, bob: PeerConnection, offer: str, answer: str | None = None) -> None:
    """Connect `ada`, who sent `offer` and gets bob's answer, or `answer` instead."""
    with trio.fail_after(HANG_TIME):
        theirs = await bob.answer(offer)
        await ada.accept_answer(answer or theirs)
        await ada.wait_open(HANG_TIME)
        await bob.wait_open(HANG_TIME)


# -------- what aiortc gets


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
@pytest.mark.parametrize("file", OFFERS, ids=lambda file: file.stem)
def test_of_a_browsers_offer_aiortc_gets_all_but_names_tcp_and_the_end_of_the_candidates(
    file: Path, line_end: str
) -> None:
    offer = offer_of(file, line_end)
    description = read_description(offer)
    left_out = set(offer.splitlines()) - set(description.sdp.splitlines())
    assert all(re.search(r" (?i:tcp) |\.local |^a=end-of-candidates$", line) for line in left_out)
    addresses = [line.split()[4] for line in candidates(description.sdp)]
    assert addresses == (["192.0.2.2", "fd00::2"] if "addresses" in file.stem else [])
    assert "end-of-candidates" not in description.sdp
    assert description.fingerprint.hex(":").upper() in offer


@pytest.mark.parametrize(
    "candidate",
    [
        "1 1 udp 2122187007 printer.local 50358 typ host",
        "1 1 udp 2122187007 lab.example.org 50358 typ host",
        "1 1 UDP 2122187007 localhost 50358 typ srflx raddr 0.0.0.0 rport 0",
        "1 1 udp 2122187007 fe80::1%eth0 50358 typ host",
        "1 1 tcp 1518280447 192.0.2.2 9 typ host tcptype active",
        "1 2 udp 2122187006 192.0.2.2 50359 typ host",
    ],
)
def test_a_candidate_that_cannot_be_used_is_left_out(candidate: str) -> None:
    offer = offer_of(OFFERS[0])
    assert candidates(read_description(f"{offer}a=candidate:{candidate}\r\n").sdp) == candidates(
        read_description(offer).sdp
    )


@pytest.mark.parametrize("algorithms", [("sha-256", "SHA-256"), ("sha-512", "sha-256"), ("sha-256", "md5")])
def test_several_fingerprints_are_read_when_the_sha_256_among_them_is_one(algorithms: tuple[str, str]) -> None:
    offer = offer_of(OFFERS[0])
    value = read_description(offer).fingerprint.hex(":").upper()
    lines = "".join(f"a=fingerprint:{algorithm} {value}\r\n" for algorithm in algorithms)
    several = re.sub("a=fingerprint:.*\r\n", lines, offer)
    assert several.count("a=fingerprint") == 2
    assert read_description(several).fingerprint.hex(":").upper() == value


def test_two_different_sha_256_are_refused_wherever_they_stand() -> None:
    for file in OFFERS:
        for before in ("m=application", "a=mid:"):
            offer = offer_of(file).replace(before, f"a=fingerprint:sha-256 {FALSE}\r\n{before}")
            with pytest.raises(RtcError) as caught:
                read_description(offer)
            assert caught.value.fault.code is FaultCode.LINK_FAILED


# -------- what a peer connection makes of it


@pytest.mark.parametrize("file", OFFERS, ids=lambda file: file.stem)
async def test_a_browsers_offer_is_answered(asyncio_loop: AsyncioLoop, file: Path) -> None:
    async with open_peer_connection(asyncio_loop) as peer:
        with trio.fail_after(HANG_TIME):
            answer = await peer.answer(offer_of(file))
        assert re.findall("(?m)^m=.*(?=\r$)", answer)[0].endswith(" UDP/DTLS/SCTP webrtc-datachannel")
        assert candidates(answer) != []
        assert {"a=sctp-port:5000", "a=max-message-size:262144", "a=end-of-candidates"} <= {*answer.splitlines()}
        assert not peer.over


async def test_our_descriptions_have_one_fingerprint(asyncio_loop: AsyncioLoop) -> None:
    async with open_peer_connection(asyncio_loop) as ada, open_peer_connection(asyncio_loop) as bob:
        offer = await ada.offer()
        answer = await bob.answer(offer)
        for peer, sdp in ((ada, offer), (bob, answer)):
            value = peer.local_fingerprint.hex(":").upper()
            assert re.findall("(?m)^a=fingerprint:(.*)\r$", sdp) == [f"sha-256 {value}"]


@pytest.mark.parametrize("change", [with_names, without_candidates])
async def test_a_peer_that_tells_no_address_is_recognised_by_its_checks(asyncio_loop: AsyncioLoop, change: Any) -> None:
    async with open_peer_connection(asyncio_loop) as ada, open_peer_connection(asyncio_loop) as bob:
        offer = await ada.offer()
        assert "a=end-of-candidates" in offer
        await connect(ada, bob, change(offer))
        assert (ada.path_kind, bob.path_kind) == ("direct", "direct")
    async with open_peer_connection(asyncio_loop) as ada, open_peer_connection(asyncio_loop) as bob:
        answer = await bob.answer(await ada.offer())
        with trio.fail_after(HANG_TIME):
            await ada.accept_answer(change(answer))
            await ada.wait_open(HANG_TIME)
            await bob.wait_open(HANG_TIME)


@pytest.mark.parametrize("false_one", ["sha-256", "sha-512"])
async def test_no_false_fingerprint_opens_even_beside_a_true_one(asyncio_loop: AsyncioLoop, false_one: str) -> None:
    async with open_peer_connection(asyncio_loop) as ada, open_peer_connection(asyncio_loop) as bob:
        answer = await bob.answer(await ada.offer())
        values = {one.algorithm: one.value for one in bob._dtls().getLocalParameters().fingerprints}
        values[false_one] = ":".join("AB" for _ in values[false_one].split(":"))
        lines = "".join(f"a=fingerprint:{algorithm} {value}\r\n" for algorithm, value in values.items())
        await ada.accept_answer(re.sub("a=fingerprint:.*\r\n", lines, answer))
        with trio.fail_after(HANG_TIME), pytest.raises(RtcError):
            await ada.wait_open(10 * HANG_TIME)

"""Peer connections with real aiortc on this machine; the real clock, since mock clocks would jump aiortc's timers."""

import gc
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from protocol.faults import FaultCode
from protocol.ids import LinkId
from protocol.trust import AuthResponse
from rtc.common.errors import RtcError
from rtc.config.ice_servers import IcePlan, IceServer
from rtc.testing.limits import HANG_TIME
from rtc.transport.links.link import open_link
from rtc.transport.webrtc import AsyncioLoop, PeerConnection, open_asyncio_loop, open_peer_connection
from rtc.transport.webrtc.asyncio_loop import host_addresses
from rtc.transport.webrtc.receive_limit import EXTRA_CHANNELS_MAX


@pytest.fixture
async def asyncio_loop(caplog: pytest.LogCaptureFixture) -> AsyncGenerator[AsyncioLoop, None]:
    """An asyncio loop that must log no warning."""
    async with open_asyncio_loop() as asyncio_loop:
        yield asyncio_loop
    gc.collect()
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


@asynccontextmanager
async def joined(asyncio_loop: AsyncioLoop) -> AsyncGenerator[tuple[PeerConnection, PeerConnection], None]:
    """Two open peer connections, connected to each other."""
    async with open_peer_connection(asyncio_loop) as ada, open_peer_connection(asyncio_loop) as bob:
        with trio.fail_after(HANG_TIME):
            await ada.accept_answer(await bob.answer(await ada.offer()))
            await ada.wait_open(HANG_TIME)
            await bob.wait_open(HANG_TIME)
        yield ada, bob


async def test_two_peers_open_and_both_channels_carry_both_ways(asyncio_loop: AsyncioLoop) -> None:
    async with joined(asyncio_loop) as (ada, bob):
        for one, two in ((ada, bob), (bob, ada)):
            await one.send_control("hello")
            await one.send_bulk(bytes(200_000))
            with trio.fail_after(HANG_TIME):
                assert await two.control.take() == "hello"
                assert await two.bulk.take() == bytes(200_000)


async def test_fingerprints_match_crosswise(asyncio_loop: AsyncioLoop) -> None:
    async with joined(asyncio_loop) as (ada, bob):
        assert ada.local_fingerprint == bob.remote_fingerprint
        assert bob.local_fingerprint == ada.remote_fingerprint
        assert ada.local_fingerprint != bob.local_fingerprint
        assert len(ada.local_fingerprint) == 32
        assert ada.path_kind == bob.path_kind == "direct"


@pytest.mark.parametrize("closer", [0, 1])
async def test_a_close_is_seen_by_the_other_side(asyncio_loop: AsyncioLoop, closer: int) -> None:
    async with joined(asyncio_loop) as peers:
        await peers[closer].aclose()
        with trio.fail_after(HANG_TIME), pytest.raises(trio.EndOfChannel):
            await peers[1 - closer].control.take()
        with pytest.raises(RtcError) as caught:
            await peers[1 - closer].send_control("anybody there?")
        assert caught.value.fault.code is FaultCode.LINK_LOST


async def test_finish_returns_when_the_other_side_has_all(asyncio_loop: AsyncioLoop) -> None:
    async with joined(asyncio_loop) as (ada, bob):
        for number in range(10):
            await ada.send_bulk(bytes(30_000))
            await ada.send_control(str(number))
        with trio.fail_after(HANG_TIME):
            await ada.finish()
        await ada.aclose()
        assert [await bob.control.take() for _ in range(10)] == [str(number) for number in range(10)]
        assert [len(await bob.bulk.take()) for _ in range(10)] == [30_000] * 10


async def test_a_peer_that_vanishes_is_lost(asyncio_loop: AsyncioLoop) -> None:
    async with (
        joined(asyncio_loop) as (ada, bob),
        open_link(ada, name=LinkId(1), heartbeat_time=0.1, lost_time=0.3) as link,
    ):
        heard = trio.Event()

        async def route(_message: object) -> None:
            await trio.lowlevel.checkpoint()
            heard.set()

        link.route = route
        async with open_link(bob, name=LinkId(2), heartbeat_time=0.1, lost_time=HANG_TIME) as other:
            other.send(AuthResponse(bytes(32)))
            with trio.fail_after(HANG_TIME):
                await heard.wait()
            for protocol in bob._dtls().transport._connection._protocols:
                protocol.transport.close()  # from now on bob neither sends nor receives
            with trio.fail_after(HANG_TIME):
                await link.lost.wait()
            assert link.fault is not None
            assert link.fault.code is FaultCode.LINK_LOST


async def test_links_end_with_the_good_bye_of_the_other(asyncio_loop: AsyncioLoop) -> None:
    async with joined(asyncio_loop) as (ada, bob), open_link(ada, name=LinkId(1)) as link:

        async def route(_message: object) -> None:
            return

        link.route = route
        async with open_link(bob, name=LinkId(2)) as other:
            fault = RtcError(FaultCode.CANCELLED, "Enough.").fault
            with trio.fail_after(HANG_TIME):
                await other.aclose(fault)
                await link.lost.wait()
            assert link.fault == fault


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3])
async def test_closing_while_connecting_needs_no_limit(
    asyncio_loop: AsyncioLoop, delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.peer_connection.CLOSE_TIME", 2 * HANG_TIME)
    async with open_peer_connection(asyncio_loop) as ada, open_peer_connection(asyncio_loop) as bob:
        answer = await bob.answer(await ada.offer())
        await bob.aclose()
        await ada.accept_answer(answer)
        with trio.move_on_after(delay):
            await ada.wait_open(HANG_TIME)
        with trio.fail_after(HANG_TIME):
            await ada.aclose()
        with pytest.raises(RtcError):
            await ada.wait_open(1)


async def test_closing_ends_a_negotiation_under_way(asyncio_loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.ice_gathering.SILENT_TIME", 10 * HANG_TIME)
    monkeypatch.setattr("rtc.transport.webrtc.peer_connection.GATHER_TIME", 10 * HANG_TIME)
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent_stun, trio.fail_after(HANG_TIME):
        await silent_stun.bind(("127.0.0.1", 0))
        server = IceServer(f"stun:127.0.0.1:{silent_stun.getsockname()[1]}")
        async with open_peer_connection(asyncio_loop, IcePlan((server,))) as peer, trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(RtcError):
                    await peer.offer()

            nursery.start_soon(ask)
            await silent_stun.recv(2048)  # now it gathers
            await peer.aclose()


async def test_a_machine_that_is_too_slow_to_prepare_its_half_says_so(
    asyncio_loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.ice_gathering.SILENT_TIME", 10 * HANG_TIME)
    monkeypatch.setattr("rtc.transport.webrtc.peer_connection.GATHER_TIME", 0.2)
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent_stun, trio.fail_after(HANG_TIME):
        await silent_stun.bind(("127.0.0.1", 0))
        server = IceServer(f"stun:127.0.0.1:{silent_stun.getsockname()[1]}")
        async with open_peer_connection(asyncio_loop, IcePlan((server,))) as peer:
            with pytest.raises(RtcError, match=r"not prepared within 0\.2 seconds"):
                await peer.offer()


async def test_no_answer_ends_in_time(asyncio_loop: AsyncioLoop) -> None:
    async with open_peer_connection(asyncio_loop) as ada, open_peer_connection(asyncio_loop) as bob:
        await ada.accept_answer(await bob.answer(await ada.offer()))
        await bob.aclose()
        with trio.fail_after(HANG_TIME), pytest.raises(RtcError) as caught:
            await ada.wait_open(0.2)
        assert caught.value.fault.code is FaultCode.LINK_FAILED


def _hostile(sdp: str) -> dict[str, str]:
    prints = [line for line in sdp.splitlines() if line.startswith("a=fingerprint:sha-256")]
    candidate = next(line for line in sdp.splitlines() if line.startswith("a=candidate"))
    media = sdp[sdp.index("m=") :]
    return {
        "empty": "",
        "garbage": "\x00\xff" * 1000,
        "long": "v=0\r\n" + "a=x\r\n" * 10_000,
        "words": "m=application",
        "number": sdp.replace("sctp-port:5000", "sctp-port:" + "9" * 5000),
        "no port": sdp.replace("a=sctp-port:5000\r\n", ""),
        "no fingerprint": sdp.replace(prints[0] + "\r\n", ""),
        "odd fingerprint": sdp.replace(prints[0], "a=fingerprint:sha-256 AA:BB"),
        "two fingerprints": sdp.replace(prints[0], prints[0] + "\r\na=fingerprint:sha-256 " + ":".join(["AB"] * 32)),
        "two media": sdp + media,
        "audio": sdp.replace("m=application", "m=audio"),
        "no role": sdp.replace("a=setup:actpass\r\n", ""),
        "no ufrag": "\r\n".join(line for line in sdp.splitlines() if "ice-ufrag" not in line) + "\r\n",
        "no password": "\r\n".join(line for line in sdp.splitlines() if "ice-pwd" not in line) + "\r\n",
        "half a candidate": sdp.replace(candidate, "a=candidate:1 1 udp"),
        "many": sdp.replace(candidate, "\r\n".join([candidate] * 100)),
    }


async def test_hostile_descriptions_are_refused_with_one_sentence(
    asyncio_loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.peer_connection.GATHER_TIME", 10 * HANG_TIME)  # refused, not given up
    async with open_peer_connection(asyncio_loop) as peer:
        good = await peer.offer()
    for name, sdp in _hostile(good).items():
        async with open_peer_connection(asyncio_loop) as other:
            with trio.fail_after(HANG_TIME), pytest.raises(RtcError) as caught:
                await other.answer(sdp)
            assert caught.value.fault.code is FaultCode.LINK_FAILED, name
        async with open_peer_connection(asyncio_loop) as third:
            await third.offer()
            with trio.fail_after(HANG_TIME), pytest.raises(RtcError) as caught:
                await third.accept_answer(sdp)
            assert caught.value.fault.code is FaultCode.LINK_FAILED, name


async def test_a_changed_fingerprint_never_opens(asyncio_loop: AsyncioLoop) -> None:
    async with open_peer_connection(asyncio_loop) as ada, open_peer_connection(asyncio_loop) as bob:
        answer = await bob.answer(await ada.offer())
        line = next(line for line in answer.splitlines() if line.startswith("a=fingerprint:sha-256"))
        await ada.accept_answer(answer.replace(line, "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)))
        with trio.fail_after(HANG_TIME), pytest.raises(RtcError):
            await ada.wait_open(10 * HANG_TIME)


async def test_an_unread_flood_cuts_the_connection(asyncio_loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.peer_connection.CONTROL_QUEUE_MAX", 200_000)
    async with joined(asyncio_loop) as (ada, bob):

        async def flood() -> None:
            while True:
                await ada.send_control("x" * 60_000)

        with trio.fail_after(HANG_TIME), pytest.raises(RtcError):
            await flood()
        assert bob.fault is not None
        assert bob.fault.code is FaultCode.STALLED


def _rude(peer: PeerConnection, protocol: int, data: bytes) -> None:
    """Make `peer` send a message that its own aiortc would never send."""
    assert peer._pc is not None
    assert peer._pc.sctp is not None
    peer._pc.sctp._data_channel_queue.append((peer._bulk._channel, protocol, data))
    peer._asyncio_loop.spawn(peer._pc.sctp._data_channel_flush)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "data"),
    [
        (50, bytes([3]) + bytes(11)),  # opens a channel that is open already
        (50, b"\x03"),
        (51, b"\xff\xfe"),  # text that is not UTF-8
        (51, b"text on the bulk channel"),
        (99, b"of no known kind"),
    ],
)
async def test_hostile_frames_end_at_most_their_own_connection(
    asyncio_loop: AsyncioLoop, caplog: pytest.LogCaptureFixture, protocol: int, data: bytes
) -> None:
    async with joined(asyncio_loop) as (ada, bob), joined(asyncio_loop) as (cyd, dan):
        bob.post(_rude, bob, protocol, data)
        with trio.fail_after(HANG_TIME):
            if protocol in (50, 51) and data != b"\x03":
                await ada.ended.wait()
            else:
                await bob.send_bulk(b"after it")
                assert await ada.bulk.take() == b"after it"
            await cyd.send_control("still here")
            assert await dan.control.take() == "still here"
    gc.collect()
    caplog.clear()  # aiortc itself logs warnings about these


@pytest.mark.slow
async def test_a_message_that_never_ends_cuts_the_connection(
    asyncio_loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.receive_limit.UNFINISHED_MAX", 0)
    async with joined(asyncio_loop) as (ada, bob):
        bob.post(_rude, bob, 53, bytes(1_300_000))
        with trio.fail_after(HANG_TIME):
            await ada.ended.wait()
        assert ada.fault is not None
        assert ada.fault.code is FaultCode.BAD_MESSAGE


async def test_extra_channels_are_ignored_until_they_are_many(asyncio_loop: AsyncioLoop) -> None:
    async with joined(asyncio_loop) as (ada, bob):
        accepted: list[str] = []
        all_accepted = trio.Event()

        def accept(label: str) -> None:
            accepted.append(label)
            if len(accepted) == EXTRA_CHANNELS_MAX:
                all_accepted.set()

        def more(count: int) -> None:
            assert bob._pc is not None
            for number in range(count):
                channel = bob._pc.createDataChannel(f"extra {number}")
                channel.on("open", partial(accept, channel.label))

        with trio.fail_after(HANG_TIME):
            bob.post(more, EXTRA_CHANNELS_MAX)
            await all_accepted.wait()
            await bob.send_control("still here")
            assert await ada.control.take() == "still here"
            bob.post(more, 1)
            await ada.ended.wait()


async def test_the_loop_closes_connections_that_were_not_closed() -> None:
    async with open_asyncio_loop() as asyncio_loop:
        forgotten = PeerConnection(asyncio_loop)
        other = PeerConnection(asyncio_loop)
        await forgotten.accept_answer(await other.answer(await forgotten.offer()))
    assert forgotten.over
    assert other.over


async def test_an_unhandled_error_ends_only_the_connection_it_belongs_to(
    asyncio_loop: AsyncioLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async with joined(asyncio_loop) as (ada, bob):

        async def fails() -> None:
            raise ValueError("hunter2")

        bob.post(lambda: bob._asyncio_loop._loop.create_task(fails()))
        with trio.fail_after(HANG_TIME), pytest.raises(trio.EndOfChannel):
            await bob.control.take()
        assert not ada.over
    assert "hunter2" not in caplog.text
    assert "peer-2: ValueError" in caplog.text
    caplog.clear()


async def test_an_error_of_the_body_is_raised_unchanged() -> None:
    with pytest.raises(RtcError, match=r"^mine$"):
        async with open_asyncio_loop() as asyncio_loop, open_peer_connection(asyncio_loop):
            raise RtcError(FaultCode.USAGE, "mine")


async def test_cancelling_around_a_loop_ends_it() -> None:
    with trio.fail_after(HANG_TIME), trio.CancelScope() as scope:
        async with open_asyncio_loop() as asyncio_loop, joined(asyncio_loop):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


def test_loopback_is_used_when_there_is_no_other_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.asyncio_loop._aioice_host_addresses", lambda _4, _6: [])
    assert host_addresses(True, True) == ["127.0.0.1"]
    assert host_addresses(False, True) == []
    monkeypatch.setattr("rtc.transport.webrtc.asyncio_loop._aioice_host_addresses", lambda _4, _6: ["192.0.2.7"])
    assert host_addresses(True, True) == ["192.0.2.7"]


async def test_the_nominated_socket_is_read_in_batches(asyncio_loop: AsyncioLoop) -> None:
    async with joined(asyncio_loop) as peers:
        for peer in peers:
            protocol = peer._dtls().transport._connection._nominated[1].protocol
            assert protocol.datagram_received.__name__ == "receive_all"


async def test_an_open_loop_gathers_with_our_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.asyncio_loop._aioice_host_addresses", lambda _4, _6: ["127.0.0.7"])
    async with open_asyncio_loop() as asyncio_loop, open_peer_connection(asyncio_loop) as peer:
        assert " 127.0.0.7 " in await peer.offer()


async def test_a_description_that_fits_into_no_message_is_one_sentence(
    asyncio_loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.peer_connection.SDP_MAX", 100)
    async with open_peer_connection(asyncio_loop) as ada:
        with pytest.raises(RtcError, match="many network addresses") as caught:
            await ada.offer()
        assert caught.value.fault.code is FaultCode.LINK_FAILED

"""The server as its peers see it: over real sockets, or over memory streams and a jumping clock where time matters."""

import gc
import json
import math
import random
import re
import socket
from collections import Counter
from contextlib import asynccontextmanager
from ipaddress import ip_network
from itertools import count

import pytest
import trio
from attrs import evolve
from mutations import mutations
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, ConnectionRejected, wrap_client_stream

from actors.events import ServerConnected, ServerDisconnected
from actors.mailbox import Mailbox
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.signaling import (
    Announce,
    Answer,
    CreateRoom,
    Join,
    Joined,
    JoinQueue,
    Leave,
    LeaveQueue,
    Offer,
    QueuePosition,
    Refuse,
    RoomCreated,
    Withdraw,
    WorkerAssigned,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role, Status, WorkerFacts
from protocol.version import VERSIONS, VersionRange
from protocol.wire import FRAME_MAX, FROM_SERVER, decode, encode
from rtc.common.errors import RtcError
from rtc.server import open_server
from rtc.server.admission import REPLACED_MAX
from rtc.server.limits import DEFAULT_LIMITS, ServerLimits
from rtc.server.outbox import SPEAKER_MAX
from rtc.server.overload import LINGER_TIME, LINGERING_MAX
from rtc.server.rate_limits import (
    GUESS_DELAY,
    JOIN_BURST,
    JOIN_DELAY_MAX,
    JOIN_RATE,
    JOIN_TIME,
    KEYS_MAX,
    MESSAGE_BURST,
    MESSAGE_RATE,
    OTHERS_COST,
    REJOIN_BURST,
    REJOIN_RATE,
    RateLimits,
    TokenBucket,
    source_network,
)
from rtc.server.rooms import CLIENTS_MAX
from rtc.server.signaling import RELAY_TIME, TRY_AGAIN_LATER, SignalingServer
from rtc.server.upgrade import PARTS_MAX, CompactWebSocket
from rtc.server.wait_queue import RESERVATION_TIME, RETRY_PAUSE
from rtc.server.websocket_connection import SEND_TIME
from rtc.testing.limits import HANG_TIME
from rtc.testing.ports import open_port
from rtc.transport.signaling.connection import run_signaling
from rtc.transport.signaling.websocket import SILENCE_TIME, UNKNOWN_MAX

FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab-1", "CPU", 0, "0.3.5", "none", "0.1.0")
TOKEN = "right"
MESSAGE_TIME = 600
"""Seconds, by the clock of the test, after which a message is taken to be missing; pings keep a connection for ever."""


class PeerConnection:
    """The peer's end of a signalling connection, driven by a test."""

    def __init__(self, ws) -> None:
        self.ws = ws

    async def send(self, message) -> None:
        await self.ws.send_message(message if isinstance(message, str | bytes) else encode(message))

    async def receive(self):
        with trio.fail_after(MESSAGE_TIME):
            return decode(await self.ws.get_message(), FROM_SERVER)

    async def ask(self, message):
        await self.send(message)
        return await self.receive()

    async def discard(self) -> None:
        """Read and drop all that the server says, until it closes."""
        while True:
            await self.ws.get_message()

    async def receive_close(self) -> int:
        """Check that the server closes without another message; returns the close code."""
        with pytest.raises(ConnectionClosed) as caught:
            await self.ws.get_message()
        return caught.value.reason.code


def join(room, role=Role.WORKER, token=TOKEN, **more) -> Join:
    return Join(room, token, role, FACTS if role is Role.WORKER else None, **more)


@asynccontextmanager
async def connect_peer(server):
    """Connect a peer over a real socket; trio-websocket's `open_websocket` leaks it when the server closes first."""
    with trio.fail_after(HANG_TIME):
        async with await trio.open_tcp_stream(server.host, server.ws_port) as stream, trio.open_nursery() as nursery:
            ws = await wrap_client_stream(nursery, stream, "127.0.0.1", "/", message_queue_size=100)
            yield PeerConnection(ws)
            await ws.aclose()


@pytest.fixture
async def server(tmp_path):
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path) as server:
        yield server


class FakeRoomStore:
    """Stands in for `RoomDatabase`, without a file: its threads do not work with a clock that jumps."""

    def __init__(self) -> None:
        self.made = Counter()

    async def create_room(self, name):
        self.made[name] += 1
        return RoomId(f"room-{self.made.total()}"), TOKEN

    async def is_token_of(self, room, token):
        return token == TOKEN

    def resume_proof(self, room, peer):
        return f"proof-{room}-{peer}"


class QuietListener(trio.abc.Listener):
    """A listener to which nobody connects."""

    async def accept(self):
        await trio.sleep_forever()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


class ServerInMemory:
    """A `SignalingServer` without sockets, and functions that connect peers to it over memory streams."""

    def __init__(self, nursery, limits: ServerLimits = DEFAULT_LIMITS) -> None:
        self.room_store = FakeRoomStore()
        self.signaling = SignalingServer(self.room_store, RateLimits(limits), limits=limits)
        self._nursery = nursery

    def connect(self, address="10.0.0.1", pair=memory_stream_pair):
        """Return the peer's end of a raw stream to the server."""
        ours, theirs = pair()
        self._nursery.start_soon(self.signaling.serve, theirs, address)
        return ours

    async def peer(self, address="10.0.0.1", pair=memory_stream_pair) -> PeerConnection:
        return PeerConnection(await wrap_client_stream(self._nursery, self.connect(address, pair), "server", "/"))

    async def member(self, role=Role.WORKER, room="room", address="10.0.0.1", **more) -> tuple[PeerConnection, Joined]:
        peer = await self.peer(address)
        return peer, await peer.ask(join(room, role, **more))


@pytest.fixture
async def hall(nursery):
    server = ServerInMemory(nursery)
    await nursery.start(server.signaling.run, [QuietListener()])
    return server


# -------- rooms, ids and messages, over real sockets


async def test_a_worker_and_a_client_meet(server):
    async with connect_peer(server) as worker, connect_peer(server) as client:
        made = await worker.ask(CreateRoom("Lab"))
        assert isinstance(made, RoomCreated)
        ours = await worker.ask(join(made.room, token=made.token))
        theirs = await client.ask(join(made.room, Role.CLIENT, made.token))
        assert ours.peer.startswith("worker-")
        assert theirs.peer.startswith("client-")
        assert theirs.workers == (WorkerPresent(ours.peer, FACTS),)
        await client.send(Offer(ours.peer, "offer"))
        assert await worker.receive() == Offer(theirs.peer, "offer")
        await worker.send(Answer(theirs.peer, "answer"))
        assert await client.receive() == Answer(ours.peer, "answer")
        busy = evolve(FACTS, status=Status.BUSY)
        await worker.send(Announce(busy))
        assert await client.receive() == WorkerPresent(ours.peer, busy)
        await worker.send(Refuse(theirs.peer, Fault(FaultCode.WORKER_BUSY, "Busy.")))
        assert await client.receive() == Refuse(ours.peer, Fault(FaultCode.WORKER_BUSY, "Busy."))
        await worker.send(Leave())
        assert await client.receive() == WorkerLeft(ours.peer)
        assert await worker.receive_close() == 1000
        assert (await client.ask(Offer(ours.peer, "late"))).fault.code is FaultCode.NO_WORKER


async def test_names_survive_a_restart_of_the_server(tmp_path):
    async with (
        open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path) as server,
        connect_peer(server) as worker,
    ):
        made = await worker.ask(CreateRoom())
        old = await worker.ask(join(made.room, token=made.token))
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path) as server:
        async with connect_peer(server) as worker:
            back = await worker.ask(join(made.room, token=made.token, peer=old.peer, resume=old.resume))
            assert back == old
        async with connect_peer(server) as thief:
            other = await thief.ask(join(made.room, token=made.token, peer=old.peer, resume="0" * 64))
            assert other.peer != old.peer


async def test_a_stopping_server_says_that_it_goes_away_and_waits_for_no_limit(tmp_path, monkeypatch):
    for limit in (
        "server.signaling.JOIN_TIME",
        "server.signaling.STOP_TIME",
        "transport.signaling.websocket.CLOSE_TIME",
    ):
        monkeypatch.setattr(f"rtc.{limit}", math.inf)
    codes: list[int] = []
    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as staying:
            async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path) as server:
                await staying.start(stay_until_the_end, server, codes)
                half = await trio.open_tcp_stream("127.0.0.1", server.ws_port)
                await half.send_all(b"GET / HTTP/1.1\r\n")
                await trio.testing.wait_all_tasks_blocked()  # the server has read that
            assert await half.receive_some() == b""
            await half.aclose()
    assert codes == [1001]


async def stay_until_the_end(server, codes, task_status) -> None:
    async with connect_peer(server) as peer:
        await peer.ask(CreateRoom())
        task_status.started()
        codes.append(await peer.receive_close())


async def test_a_cancelled_server_leaves_its_port(tmp_path):
    with open_port() as port, trio.fail_after(HANG_TIME):
        with trio.CancelScope() as scope:
            async with (
                open_server(host="127.0.0.1", ws_port=port, http_port=0, data=tmp_path) as server,
                connect_peer(server) as peer,
            ):
                await peer.ask(CreateRoom())
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(("127.0.0.1", port))


async def test_a_taken_port_is_one_sentence(server, tmp_path):
    for ports in ({"ws_port": server.ws_port, "http_port": 0}, {"ws_port": 0, "http_port": server.http_port}):
        with pytest.raises(RtcError, match=r"Port \d+ is taken") as caught:
            async with open_server(host="127.0.0.1", data=tmp_path, **ports):
                pass
        assert caught.value.fault.code is FaultCode.USAGE


async def test_a_host_that_is_not_ours_is_one_sentence(tmp_path):
    for host in ("203.0.113.1", "no such host"):
        with pytest.raises(RtcError, match="--host"):
            async with open_server(host=host, ws_port=0, http_port=0, data=tmp_path):
                pass


async def test_both_sides_can_share_a_data_folder_with_the_next_server(tmp_path):
    for _ in range(3):
        async with (
            open_server(host="localhost", ws_port=0, http_port=0, data=tmp_path) as server,
            connect_peer(server) as peer,
        ):
            assert isinstance(await peer.ask(CreateRoom()), RoomCreated)


# -------- raw probes


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def frame(opcode: int, payload: bytes, *, masked: bool = True, size: int | None = None) -> bytes:
    """A WebSocket frame (RFC 6455, 5.2); masked with zeros, which changes nothing."""
    size = len(payload) if size is None else size
    head = bytes([0x80 | opcode])
    mask = 0x80 if masked else 0
    if size < 126:
        head += bytes([mask | size])
    elif size < 2**16:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


TALK = UPGRADE + b"\r\n"
PROBES = {
    "nothing": b"",
    "half a request": b"GET / HTT",
    "half the headers": UPGRADE,
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "plain http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "post": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "old version": TALK.replace(b"Version: 13", b"Version: 8"),
    "no key": TALK.replace(b"Sec-WebSocket-Key", b"X"),
    "no host": TALK.replace(b"Host: x\r\n", b""),
    "host not of this world": TALK.replace(b"Host: x", b"Host: xn--\xff\xfe"),
    "host that is bad idna": TALK.replace(b"Host: x", b"Host: xn--a-\xe4.xn--0"),
    "protocol not ascii": UPGRADE + b"Sec-WebSocket-Protocol: \xff\xff\r\n\r\n",
    "extension not ascii": UPGRADE + b"Sec-WebSocket-Extensions: \xff\xff\r\n\r\n",
    "connection not ascii": TALK.replace(b"Connection: Upgrade", b"Connection: \xff"),
    "upgrade not ascii": TALK.replace(b"Upgrade: websocket", b"Upgrade: \xff"),
    "a head without end": b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000,
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    "another request after the upgrade": TALK + TALK,
    "bad utf-8": TALK + frame(1, b"\xff\xfe\xfd"),
    "unmasked": TALK + frame(1, b"{}", masked=False),
    "binary": TALK + frame(2, b"{}"),
    "unknown opcode": TALK + frame(3, b"{}"),
    "reserved bits": TALK + bytes([0xF1, 0x80]) + bytes(4),
    "a fragment of nothing": TALK + frame(0, b"{}"),
    "an oversize ping": TALK + frame(9, b"p" * 126),
    "a promise of 2**62 bytes": TALK + frame(1, b"x", size=2**62),
    "a length of 2**64 - 1": TALK + frame(1, b"x", size=2**64 - 1),
    "a close of one byte": TALK + frame(8, b"x"),
    "a close with bad utf-8": TALK + frame(8, b"\x03\xe8\xff"),
    "a close with a bad code": TALK + frame(8, b"\x00\x01"),
    "data after close": TALK + frame(8, b"\x03\xe8") + frame(1, b"{}"),
    "huge": TALK + frame(1, b" " * (FRAME_MAX * 4)),
    "huge, twice": TALK + frame(1, b" " * (FRAME_MAX * 4)) * 2,
    "wide": TALK + frame(1, "é".encode() * FRAME_MAX),
    "brackets": TALK + frame(1, b"[" * 60_000),
    "digits": TALK + frame(1, b'{"type":"CREATE_ROOM","version":' + b"9" * 60_000 + b"}"),
    "a long version": TALK + frame(1, b'{"type":"CREATE_ROOM","version":' + b"9" * 4000 + b"}"),
    "a thousand pings": TALK + frame(9, b"p") * 1000,
}


AT_ONCE = {f"{name}, at once": data for name, data in PROBES.items() if data.startswith(TALK)}
"""The same probes, with the upgrade and the data after it in one packet, which no correct client does."""


def parts(name: str) -> list[bytes]:
    """Return the parts of a probe; before each further part, the test waits for an answer."""
    data = {**PROBES, **AT_ONCE}[name]
    return [TALK, data[len(TALK) :]] if name in PROBES and data.startswith(TALK) else [data]


def probe(port: int, name: str, *, reset: bool) -> None:
    """Send a probe and close the connection, in order or with a reset."""
    with socket.create_connection(("127.0.0.1", port), timeout=HANG_TIME) as sock:
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        try:
            first, *rest = parts(name)
            sock.sendall(first)
            for part in rest:
                assert b"101" in sock.recv(65536)
                sock.sendall(part)
            if not reset:
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(0.05)
                while sock.recv(65536):
                    pass
        except OSError:
            pass  # the server may close the connection first


@pytest.mark.parametrize("reset", [False, True])
async def test_no_probe_brings_the_server_down(server, reset):
    for name in (*PROBES, *AT_ONCE):
        await trio.to_thread.run_sync(lambda name=name: probe(server.ws_port, name, reset=reset))
    async with connect_peer(server) as peer:
        assert isinstance(await peer.ask(CreateRoom()), RoomCreated)


@pytest.mark.parametrize("name", [*PROBES, *AT_ONCE])
async def test_a_probe_ends_and_leaves_nothing_behind(autojump_clock, hall, name):
    stream = hall.connect()
    first, *rest = parts(name)
    await stream.send_all(first)
    for part in rest:
        assert b"101" in await stream.receive_some()
        await stream.send_all(part)
    await trio.sleep(JOIN_TIME + SILENCE_TIME)
    assert hall.signaling._websockets == {}
    assert isinstance((await hall.member())[1], Joined)


# -------- peers that are rejected


async def test_an_unknown_room_and_a_wrong_token_get_the_same_answer(server):
    async with connect_peer(server) as peer:
        made = await peer.ask(CreateRoom())
    answers = []
    for room, token in ((made.room, "wrong"), ("room-that-is-not", made.token), (made.room, made.token + "x")):
        async with connect_peer(server) as peer:
            answers.append(await peer.ask(join(room, token=token)))
            assert await peer.receive_close() == 1000
    assert answers[0].code is FaultCode.ROOM_DENIED
    assert answers == [answers[0]] * 3
    assert made.token not in answers[0].text


@pytest.mark.parametrize(
    "said",
    [
        "",
        "hello",
        b"{}",
        "null",
        "[]",
        '{"type":"NO_SUCH"}',
        '{"type":"JOINED"}',
        '{"type":"JOIN"}',
        '{"type":"JOIN","room":"../x","token":"t","role":"worker"}',
        '{"type":"CREATE_ROOM","name":7}',
        "x" * FRAME_MAX,
        "é" * FRAME_MAX,
        Leave(),
        Announce(FACTS),
        Offer(PeerId("worker-1"), "sdp"),
        Join(RoomId("room"), TOKEN, Role.WORKER),
    ],
)
async def test_a_peer_that_sends_an_invalid_message_gets_a_fault_and_is_closed(autojump_clock, hall, said):
    peer = await hall.peer()
    fault = await peer.ask(said)
    assert fault.code is FaultCode.BAD_MESSAGE
    assert await peer.receive_close() == 1000


async def test_a_message_beyond_the_frame_limit_is_closed_as_too_big(autojump_clock, hall):
    peer, _ = await hall.member()
    await peer.send("x" * (FRAME_MAX + 1))
    assert await peer.receive_close() == 1009


async def test_an_invalid_message_inside_a_room_takes_the_worker_from_the_list(autojump_clock, hall):
    client, _ = await hall.member(Role.CLIENT)
    worker, joined = await hall.member()
    assert await client.receive() == WorkerPresent(joined.peer, FACTS)
    assert (await worker.ask(b"\x00")).code is FaultCode.BAD_MESSAGE
    assert await client.receive() == WorkerLeft(joined.peer)


@pytest.mark.parametrize(
    "message", [CreateRoom(versions=VersionRange(7, 9)), join("room", versions=VersionRange(7, 9))]
)
@pytest.mark.parametrize("more", [{}, {"colour": "blue"}])
async def test_a_peer_of_another_version_gets_both_numbers(autojump_clock, hall, message, more):
    peer = await hall.peer()
    fault = await peer.ask(json.dumps({**json.loads(encode(message)), **more}))
    assert fault.code is FaultCode.VERSION
    assert "versions 7 to 9" in fault.text
    assert str(VERSIONS) in fault.text
    assert "on the server" in fault.text
    assert await peer.receive_close() == 1000


@pytest.mark.parametrize(
    "said", [{"type": "CREATE_ROOM", "name": ""}, {"type": "JOIN", "room": "r", "token": "t", "role": "client"}]
)
async def test_a_peer_of_version_2_is_told_what_to_install_and_where(autojump_clock, hall, said):
    peer = await hall.peer()
    fault = await peer.ask(json.dumps(said | {"version": 2}))
    assert fault.code is FaultCode.VERSION
    assert fault.text == (
        f"The server speaks {VERSIONS} of the protocol and this sleap-rtc speaks version 2,"
        " so install a newer sleap-rtc on this computer."
    )
    assert await peer.receive_close() == 1000


async def test_what_a_newer_member_says_is_ignored_and_the_member_stays(autojump_clock, hall, caplog):
    caplog.set_level("INFO")
    client, _ = await hall.member(Role.CLIENT)
    worker, joined = await hall.member()
    assert await client.receive() == WorkerPresent(joined.peer, FACTS)
    for _ in range(3 * UNKNOWN_MAX):
        await worker.send('{"type":"FUTURE_WORDS","mood":"good"}')
    busy = evolve(FACTS, status=Status.BUSY)
    await worker.send(Announce(busy))
    assert await client.receive() == WorkerPresent(joined.peer, busy)
    assert caplog.text.count("FUTURE_WORDS") == UNKNOWN_MAX


async def test_joining_twice_is_rejected(autojump_clock, hall):
    peer, _ = await hall.member()
    assert (await peer.ask(join("room"))).code is FaultCode.BAD_MESSAGE


async def test_no_peer_can_send_under_the_id_of_another(autojump_clock, hall):
    """An offer names only its addressee; it has no field for the sender that a peer could set."""
    worker, ours = await hall.member()
    ada, ada_joined = await hall.member(Role.CLIENT)
    bob, bob_joined = await hall.member(Role.CLIENT)
    await ada.send(Offer(ours.peer, "sdp"))
    assert (await worker.receive()).peer == ada_joined.peer
    for field in ("sender", "from", "peer_id"):
        forged = json.loads(encode(Offer(ours.peer, "forged"))) | {field: ada_joined.peer}
        await bob.send(json.dumps(forged))
        assert (await worker.receive()).peer == bob_joined.peer


@pytest.mark.parametrize("count", [300, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
async def test_changed_messages_harm_only_their_sender(autojump_clock, hall, count):
    """Somebody with the room's token sends valid messages that are changed somewhere; when he is cut, he comes back."""
    changed = mutations(count)
    client, _ = await hall.member(Role.CLIENT, room="honest")
    worker, ours = await hall.member(room="honest")
    assert await client.receive() == WorkerPresent(ours.peer, FACTS)
    left, cuts = count, 0
    while left:
        hostile, _ = await hall.member(random.Random(left).choice(list(Role)), address=f"10.1.{left % 250}.1")
        try:
            async with trio.open_nursery() as listening:
                listening.start_soon(hostile.discard)
                while left:
                    left -= 1
                    await hostile.send(next(changed).encode("utf-8", "replace").decode())
                    await trio.testing.wait_all_tasks_blocked()
                listening.cancel_scope.cancel()
        except* ConnectionClosed:
            cuts += 1
    assert cuts > count / 50, "most changes are refused, and end the connection"
    await client.send(Offer(ours.peer, "sdp"))
    assert isinstance(await worker.receive(), Offer)


# -------- reconnecting


async def test_a_peer_that_reconnects_replaces_its_half_open_connection(autojump_clock, hall):
    client, _ = await hall.member(Role.CLIENT)
    old, first = await hall.member()
    assert (await client.receive()).peer == first.peer
    new, again = await hall.member(peer=first.peer, resume=first.resume)
    assert again.peer == first.peer
    assert isinstance(await old.receive(), Fault)
    assert await old.receive_close() == 1000
    assert await client.receive() == WorkerPresent(first.peer, FACTS)
    await client.send(Offer(first.peer, "sdp"))
    assert (await new.receive()).sdp == "sdp"


@pytest.mark.parametrize("resume", [None, "", "proof", "ümlaut"])
async def test_a_peer_id_without_its_proof_is_not_given(autojump_clock, hall, resume):
    _, first = await hall.member()
    _, second = await hall.member(peer=first.peer, resume=resume)
    assert second.peer != first.peer


async def test_a_peer_id_of_the_other_role_or_room_is_not_given(autojump_clock, hall):
    _, first = await hall.member()
    _, second = await hall.member(Role.CLIENT, peer=first.peer, resume=first.resume)
    assert second.peer.startswith("client-")
    _, third = await hall.member(room="other", peer=first.peer, resume=first.resume)
    assert third.peer != first.peer


# -------- time


async def test_a_worker_that_answers_no_pings_is_gone_within_twenty_seconds(autojump_clock, hall):
    client, _ = await hall.member(Role.CLIENT)
    raw = hall.connect()
    await raw.send_all(TALK)
    assert b"101" in await raw.receive_some()
    await raw.send_all(frame(1, encode(join("room")).encode()))
    shown = await client.receive()
    start = trio.current_time()
    assert await client.receive() == WorkerLeft(shown.peer)
    assert trio.current_time() - start <= SILENCE_TIME


async def test_quiet_peers_that_answer_pings_stay(autojump_clock, hall):
    client, _ = await hall.member(Role.CLIENT)
    _, worker = await hall.member()
    assert (await client.receive()).peer == worker.peer
    await trio.sleep(10 * SILENCE_TIME)
    assert [shown.peer for shown in hall.signaling.registry.workers("room", trio.current_time())] == [worker.peer]


async def test_a_peer_that_sends_nothing_gets_a_fault_and_is_closed(autojump_clock, hall):
    peer = await hall.peer()
    start = trio.current_time()
    assert (await peer.receive()).code is FaultCode.STALLED
    assert trio.current_time() - start == pytest.approx(JOIN_TIME)


async def test_an_assignment_that_nobody_takes_lapses_and_the_next_in_the_line_gets_the_worker(autojump_clock, hall):
    _, worker = await hall.member()
    ada, _ = await hall.member(Role.CLIENT)
    bob, _ = await hall.member(Role.CLIENT)
    assert await ada.ask(JoinQueue()) == WorkerAssigned(worker.peer)
    start = trio.current_time()
    await trio.sleep(10)
    assert await bob.ask(JoinQueue()) == QueuePosition(2, 2)
    assert await bob.receive() == WorkerAssigned(worker.peer)
    assert trio.current_time() - start == pytest.approx(RESERVATION_TIME)
    assert await ada.receive() == QueuePosition(2, 2)
    assert (await ada.ask(Offer(worker.peer, "late"))).fault.code is FaultCode.WORKER_BUSY
    assert await ada.ask(JoinQueue()) == QueuePosition(2, 2)
    assert await ada.receive() == WorkerAssigned(worker.peer), "Bob does not take it either"
    assert trio.current_time() - start == pytest.approx(2 * RESERVATION_TIME)


async def test_a_reservation_keeps_the_worker_for_as_long_as_the_client_needs(autojump_clock, hall):
    worker, joined = await hall.member()
    ada, ada_joined = await hall.member(Role.CLIENT)
    bob, _ = await hall.member(Role.CLIENT)
    assert await ada.ask(JoinQueue()) == WorkerAssigned(joined.peer)
    assert await bob.ask(JoinQueue()) == QueuePosition(2, 2)
    await trio.sleep(RESERVATION_TIME - 1)
    await ada.send(Offer(joined.peer, "sdp"))
    assert await worker.receive() == Offer(ada_joined.peer, "sdp")
    reserved = evolve(FACTS, status=Status.RESERVED)
    await worker.send(Announce(reserved))
    for client in (ada, bob):
        assert (await client.receive()).facts == reserved
    with trio.move_on_after(10 * RESERVATION_TIME):
        pytest.fail(f"Bob must not hear {await bob.receive()}")
    await ada.send(LeaveQueue())
    assert await bob.receive() == QueuePosition(1, 1)
    await worker.send(Announce(evolve(FACTS, leaving=True)))
    assert (await bob.receive()).facts.leaving
    await worker.send(Announce(FACTS))
    assert (await bob.receive()).facts == FACTS
    assert await bob.receive() == WorkerAssigned(joined.peer)


async def test_an_earlier_deadline_wakes_the_server_that_waits_for_a_later_one(autojump_clock, hall):
    await hall.member()
    ada, ada_joined = await hall.member(Role.CLIENT)
    bob, _ = await hall.member(Role.CLIENT, room="another")
    assert await ada.ask(JoinQueue()) == WorkerAssigned(ada_joined.workers[0].peer)
    _, other = await hall.member(room="another")
    assert (await bob.receive()).peer == other.peer
    assert await bob.ask(JoinQueue()) == WorkerAssigned(other.peer)
    start = trio.current_time()
    assert await bob.ask(JoinQueue()) == QueuePosition(1, 1)
    assert await bob.receive() == WorkerAssigned(other.peer)
    assert trio.current_time() - start == pytest.approx(RETRY_PAUSE)
    assert await ada.receive() == QueuePosition(1, 1)
    assert trio.current_time() - start == pytest.approx(RESERVATION_TIME)


async def test_a_burst_is_read_at_once_and_then_slowly(autojump_clock, hall):
    worker, ours = await hall.member()
    client, _ = await hall.member(Role.CLIENT)
    start = trio.current_time()
    for n in range(MESSAGE_BURST + 200):
        await client.send(Offer(ours.peer, str(n)))
    received = [(await worker.receive()).sdp for _ in range(MESSAGE_BURST + 200)]
    assert received == [str(n) for n in range(MESSAGE_BURST + 200)]
    assert trio.current_time() - start == pytest.approx(200 / MESSAGE_RATE, abs=1)


async def test_a_flood_of_offers_delays_no_other_peer_and_fills_no_outbox(autojump_clock, hall):
    worker, ours = await hall.member()
    flooder, _ = await hall.member(Role.CLIENT)
    for _ in range(3 * (MESSAGE_BURST + 6 * int(MESSAGE_RATE))):
        await flooder.send(Offer(ours.peer, "x" * 50))
    start = trio.current_time()
    received = 0
    for _ in range(5):
        bystander, _ = await hall.member(Role.CLIENT)
        await bystander.send(Offer(ours.peer, "mine"))
        while (await worker.receive()).sdp != "mine":
            received += 1
        assert max(len(websocket.outbox) for websocket in hall.signaling._websockets.values()) <= MESSAGE_BURST
        await trio.sleep(1)
    assert trio.current_time() - start < 6
    assert received <= MESSAGE_BURST + 6 * MESSAGE_RATE


@pytest.mark.slow
async def test_a_worker_that_refuses_a_flood_of_offers_answers_another_one_at_once(autojump_clock, hall, nursery):
    worker, ours = await hall.member()

    async def flood():
        flooder, _ = await hall.member(Role.CLIENT)
        nursery.start_soon(flooder.discard)
        for number in count(1):
            await flooder.send(Offer(ours.peer, "theirs", number=number))
            await trio.sleep(1 / MESSAGE_RATE)

    async def answer_offers():
        while True:
            offer = await worker.receive()
            answer = Answer(offer.peer, "yes", offer.number) if offer.sdp == "mine" else None
            await worker.send(answer or Refuse(offer.peer, Fault(FaultCode.AUTH_INVALID, "no"), offer.number))

    for _ in range(5):
        nursery.start_soon(flood)
    nursery.start_soon(answer_offers)
    await trio.sleep(30)
    client, _ = await hall.member(Role.CLIENT)
    start = trio.current_time()
    assert isinstance(await client.ask(Offer(ours.peer, "mine")), Answer)
    assert trio.current_time() - start < 1
    nursery.cancel_scope.cancel()


class ServerEnd(trio.abc.Stream):
    """The server's end of a memory stream, which the test can block or slow down as if its buffers were full."""

    def __init__(self, end: trio.abc.Stream) -> None:
        self._end = end
        self.full = False
        self.delay = 0.0
        """Seconds in which the peer accepts what is sent at once."""

    @classmethod
    def pair(cls, connections: "list[ServerEnd]") -> "tuple[trio.abc.Stream, ServerEnd]":
        ours, theirs = memory_stream_pair()
        connections.append(cls(theirs))
        return ours, connections[-1]

    async def send_all(self, data):
        if self.full:
            await trio.sleep_forever()
        await trio.sleep(self.delay)
        await self._end.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self._end.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes=None):
        return await self._end.receive_some(max_bytes)

    async def aclose(self):
        await self._end.aclose()


async def slow_member(hall, role, delay) -> tuple[PeerConnection, Joined, ServerEnd]:
    """Return a member of the room that has joined quickly, and takes `delay` seconds from now on for each message."""
    ends: list[ServerEnd] = []
    peer = await hall.peer(pair=lambda: ServerEnd.pair(ends))
    joined = await peer.ask(join("room", role))
    ends[0].delay = delay
    return peer, joined, ends[0]


class Listener:
    """A client that reads for ever, and the workers and messages that it has heard of."""

    def __init__(self, peer, joined, nursery) -> None:
        self.peer = peer
        self.joined = joined
        self.workers = {worker.peer: worker.facts for worker in joined.workers}
        self.heard = []
        nursery.start_soon(self._listen)

    async def _listen(self):
        while True:
            message = await self.peer.receive()
            self.heard.append(message)
            if isinstance(message, WorkerPresent):
                self.workers[message.peer] = message.facts
            elif isinstance(message, WorkerLeft):
                del self.workers[message.peer]


def most_waiting(hall) -> int:
    return max(len(websocket.outbox) for websocket in hall.signaling._websockets.values())


async def test_a_flood_towards_a_worker_that_does_not_read_waits_and_then_the_worker_is_disconnected(
    autojump_clock, hall
):
    """The worker's connection accepts no more data. The client that floods it is slowed, and then refused."""
    client, _ = await hall.member(Role.CLIENT)
    connections: list[ServerEnd] = []
    silent = await hall.peer(pair=lambda: ServerEnd.pair(connections))
    await silent.ask(join("room"))
    shown = await client.receive()
    connections[0].full = True
    start = trio.current_time()
    for _ in range(1000):
        await client.send(Offer(shown.peer, "x" * 1000))
    assert await client.receive() == WorkerLeft(shown.peer)
    assert trio.current_time() - start <= SEND_TIME + SILENCE_TIME
    assert (await client.receive()).fault.code is FaultCode.NO_WORKER


# -------- who speaks too fast is slowed, and nobody is cut for what others say


async def test_four_workers_that_announce_themselves_without_end_cut_off_no_client(autojump_clock, hall, nursery):
    """With the room's token, four members could once cut off all its clients that read more slowly than they wrote."""
    listeners = [Listener(*(await slow_member(hall, Role.CLIENT, delay))[:2], nursery) for delay in (0, 1, 5, 9)]
    workers = [(await hall.member())[0] for _ in range(4)]
    busy = evolve(FACTS, status=Status.BUSY)

    async def announce(worker):
        for n in range(301):
            await worker.send(Announce(busy if n % 2 else evolve(FACTS, free_mb=n)))

    async with trio.open_nursery() as speakers:
        for worker in workers:
            speakers.start_soon(announce, worker)
        for _ in range(100):
            await trio.sleep(1)
            assert most_waiting(hall) <= 4
    await trio.sleep(100)
    truth = {shown.peer: evolve(FACTS, free_mb=300) for shown in hall.signaling.registry.workers("room", 0)}
    assert len(truth) == 4
    assert [listener.workers for listener in listeners] == [truth] * len(listeners)


async def test_a_worker_that_joins_and_leaves_without_end_costs_itself_time_and_cuts_off_no_client(
    autojump_clock, hall, nursery
):
    listeners = [Listener(*(await slow_member(hall, Role.CLIENT, delay))[:2], nursery) for delay in (0, 2)]
    times = []
    joined = None
    for _ in range(REJOIN_BURST + 20):
        again = {} if joined is None else {"peer": joined.peer, "resume": joined.resume}
        worker, joined = await hall.member(**again)
        times.append(trio.current_time())
        await worker.send(Leave())
        assert await worker.receive_close() == 1000
        assert most_waiting(hall) <= 2
    assert times[-1] - times[0] >= 20 / REJOIN_RATE
    start = trio.current_time()
    _, other = await hall.member()
    assert trio.current_time() == start, "another worker does not wait"
    await trio.sleep(20)
    assert [listener.workers for listener in listeners] == [{other.peer: FACTS}] * 2


async def test_new_peers_that_join_and_leave_without_end_wait_and_those_from_elsewhere_do_not(autojump_clock, hall):
    hall.signaling._rates.joins = TokenBucket(30, JOIN_RATE)
    start = trio.current_time()
    for _ in range(30 + 100):
        worker, _ = await hall.member()
        await worker.send(Leave())
    assert trio.current_time() - start == pytest.approx(100 / JOIN_RATE, abs=1)
    start = trio.current_time()
    elsewhere = await hall.peer("10.0.0.2")
    assert isinstance(await elsewhere.ask(join("room")), Joined)
    assert trio.current_time() == start


async def test_however_many_peers_of_one_address_join_another_one_there_waits_a_few_seconds(autojump_clock, hall):
    for _ in range(2 * JOIN_BURST):
        hall.signaling._rates.joins.count("10.0.0.1", trio.current_time())
    start = trio.current_time()
    await hall.member(Role.CLIENT, "another")
    assert trio.current_time() - start <= JOIN_DELAY_MAX


def test_a_minute_after_the_last_wrong_token_an_address_is_answered_at_once_again():
    guesses = RateLimits().guesses
    for _ in range(1000):
        guesses.count("10.0.0.1", now=0.0)
    assert guesses.delay("10.0.0.1", now=0.0) == pytest.approx(60.0)
    assert guesses.delay("10.0.0.1", now=60.0) == 0.0


async def test_a_message_to_many_costs_as_much_as_many_messages(autojump_clock, hall, nursery):
    for _ in range(31):
        Listener(*await hall.member(Role.CLIENT), nursery)
    worker, _ = await hall.member()
    witness = Listener(*await hall.member(Role.CLIENT), nursery)
    for n in range(1, 101):
        await worker.send(Announce(evolve(FACTS, free_mb=n)))
    cost = 1 + 31 * OTHERS_COST
    await trio.sleep((100 * cost - MESSAGE_BURST) / MESSAGE_RATE - 1)
    assert witness.heard[-1].facts.free_mb in range(90, 100)
    await trio.sleep(2)
    assert witness.heard[-1].facts.free_mb == 100


async def test_a_client_that_joins_and_leaves_the_queue_without_end_cuts_off_nobody_that_waits(
    autojump_clock, hall, nursery
):
    first, _ = await hall.member(Role.CLIENT)
    assert await first.ask(JoinQueue()) == QueuePosition(1, 1)
    others = [Listener(*(await slow_member(hall, Role.CLIENT, 3))[:2], nursery) for _ in range(3)]
    for other in others:
        await other.peer.send(JoinQueue())
    await trio.sleep(10)
    for _ in range(200):
        await first.send(LeaveQueue())
        await first.send(JoinQueue())
        assert most_waiting(hall) <= 2 + 1
    await trio.sleep(100)
    assert [other.heard[-1].place for other in others] == [1, 2, 3]


async def test_a_slow_worker_that_many_clients_flood_is_not_cut_and_hears_each_of_them_in_order(
    autojump_clock, hall, nursery
):
    worker, ours, _ = await slow_member(hall, Role.WORKER, 0.5)
    members = [Listener(*await hall.member(Role.CLIENT), nursery) for _ in range(40)]

    async def flood(client):
        for n in range(5):
            await client.send(Offer(ours.peer, str(n)))

    for member in members:
        nursery.start_soon(flood, member.peer)
    await trio.sleep(5)
    late, late_joined = await hall.member(Role.CLIENT)
    await late.send(Offer(ours.peer, "late"))
    start = trio.current_time()
    await late.send(JoinQueue())
    assert await late.receive() == WorkerAssigned(ours.peer), "it is heard at once, while its offer waits"
    assert trio.current_time() == start
    await worker.send(Announce(evolve(FACTS, free_mb=1)))
    assert (await late.receive()).facts.free_mb == 1, "and so is the worker"
    assert trio.current_time() == start
    heard = Listener(worker, ours, nursery).heard
    await trio.sleep(300)
    offers = [message for message in heard if isinstance(message, Offer)]
    sent = 5 / 0.5 + 1
    assert offers.index(Offer(late_joined.peer, "late")) <= sent + SPEAKER_MAX * len(members)
    for member in members:
        said = [offer.sdp for offer in offers if offer.peer == member.joined.peer]
        refused = [message for message in member.heard if isinstance(message, Refuse)]
        assert said == sorted(said)
        assert len(said) + len(refused) == 5, "each offer arrives or is refused"
    assert hall.signaling.registry.has_peer("room", ours.peer)


async def test_an_offer_to_a_worker_that_has_not_read_the_last_ones_is_refused_after_a_while(
    autojump_clock, hall, nursery
):
    worker, ours, _ = await slow_member(hall, Role.WORKER, 0.95 * SEND_TIME)
    Listener(worker, ours, nursery)
    client, _ = await hall.member(Role.CLIENT)
    start = trio.current_time()
    for n in range(10):
        await client.send(Offer(ours.peer, str(n)))
    assert (await client.receive()).fault.code is FaultCode.WORKER_BUSY
    assert trio.current_time() - start <= 3 * RELAY_TIME
    await trio.sleep(200)
    assert hall.signaling.registry.has_peer("room", ours.peer)


async def test_a_client_that_reads_nothing_costs_the_worker_that_answers_it_no_time(autojump_clock, hall):
    worker, ours = await hall.member()
    deaf, deaf_joined, end = await slow_member(hall, Role.CLIENT, 0)
    ada, ada_joined = await hall.member(Role.CLIENT)
    end.full = True
    for _ in range(20):
        await deaf.send(Offer(ours.peer, "sdp"))
        assert (await worker.receive()).peer == deaf_joined.peer
        await worker.send(Refuse(deaf_joined.peer, Fault(FaultCode.WORKER_BUSY, "Busy.")))
    start = trio.current_time()
    await ada.send(Offer(ours.peer, "sdp"))
    assert (await worker.receive()).peer == ada_joined.peer
    await worker.send(Answer(ada_joined.peer, "answer"))
    assert await ada.receive() == Answer(ours.peer, "answer")
    assert trio.current_time() == start


async def test_a_long_message_over_a_slow_line_ends_nobody(autojump_clock, hall, nursery):
    """The line takes 4 KB in five seconds, so 15 KB need longer than `SEND_TIME`, and pongs come late."""
    worker, ours, _ = await slow_member(hall, Role.WORKER, SEND_TIME / 2)
    client, theirs = await hall.member(Role.CLIENT)
    for letter in "ab":
        await client.send(Offer(ours.peer, letter * 15_000))
    for letter in "ab":
        assert await worker.receive() == Offer(theirs.peer, letter * 15_000)
    assert trio.current_time() > 2 * SEND_TIME


async def test_a_peer_that_is_not_heard_since_it_does_not_read_its_replies_is_not_taken_for_a_dead_one(
    autojump_clock, hall
):
    client, _, _ = await slow_member(hall, Role.CLIENT, 0.9 * SEND_TIME)
    for n in range(20):
        await client.send(Offer(PeerId(f"worker-{n}"), "sdp"))
    for _ in range(20):
        assert (await client.receive()).fault.code is FaultCode.NO_WORKER


async def test_after_leave_nothing_more_is_read_although_messages_wait_to_be_sent(autojump_clock, hall):
    worker, _ = await hall.member()
    client, joined, _ = await slow_member(hall, Role.CLIENT, 3)
    await worker.send(Announce(evolve(FACTS, free_mb=1)))
    await client.send(Leave())
    await client.send(join("room", Role.CLIENT, peer=joined.peer, resume=joined.resume))
    await trio.sleep(1)
    assert not hall.signaling.registry.has_peer("room", joined.peer)
    assert (await client.receive()).facts.free_mb == 1


# -------- offers of clients that are gone


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_worker_hears_that_a_client_is_gone_that_awaits_its_answer(autojump_clock, hall, leaves):
    worker, ours = await hall.member()
    client, theirs = await hall.member(Role.CLIENT)
    await client.send(Offer(ours.peer, "sdp"))
    assert await worker.receive() == Offer(theirs.peer, "sdp")
    start = trio.current_time()
    await (client.send(Leave()) if leaves else client.ws.aclose())
    assert await worker.receive() == Withdraw(theirs.peer)
    assert trio.current_time() - start < 1


async def test_a_client_withdraws_its_offer_and_makes_another(autojump_clock, hall):
    worker, ours = await hall.member()
    client, theirs = await hall.member(Role.CLIENT)
    for message in (Offer(ours.peer, "first"), Withdraw(ours.peer), Offer(ours.peer, "second"), Leave()):
        await client.send(message)
    heard = [await worker.receive() for _ in range(4)]
    assert heard == [
        Offer(theirs.peer, "first"),
        Withdraw(theirs.peer),
        Offer(theirs.peer, "second"),
        Withdraw(theirs.peer),
    ]


async def test_after_some_wrong_tokens_answers_to_further_ones_are_delayed_and_right_ones_get_in_at_once(
    autojump_clock, hall
):
    delays = []
    for _ in range(DEFAULT_LIMITS.max_wrong_tokens + 20):
        peer = await hall.peer()
        start = trio.current_time()
        fault = await peer.ask(join("room", token="guess"))
        delays.append(trio.current_time() - start)
        assert fault.code is FaultCode.ROOM_DENIED
        assert ("too many" in fault.text) == (delays[-1] > 0)
        start = trio.current_time()
        assert isinstance((await hall.member())[1], Joined)
        assert trio.current_time() == start
    assert delays[: DEFAULT_LIMITS.max_wrong_tokens] == [0] * DEFAULT_LIMITS.max_wrong_tokens
    assert delays[DEFAULT_LIMITS.max_wrong_tokens :].count(GUESS_DELAY) >= 20 - 20 / 6 - 1


async def test_a_peer_that_reconnects_is_not_blocked_by_the_guesses_of_others_at_its_address(autojump_clock, hall):
    _, first = await hall.member()
    for _ in range(DEFAULT_LIMITS.max_wrong_tokens):
        await (await hall.peer()).ask(join("room", token="guess"))
    _, again = await hall.member(peer=first.peer, resume=first.resume)
    assert again.peer == first.peer


async def test_rooms_that_could_not_be_made_do_not_count(autojump_clock, hall, monkeypatch):
    async def fail(_name):
        raise RtcError(FaultCode.SERVER_LOST, "The disk is full.")

    peer = await hall.peer()
    with monkeypatch.context() as full:
        full.setattr(hall.room_store, "create_room", fail)
        for _ in range(DEFAULT_LIMITS.max_rooms_per_hour + 1):
            assert (await (await hall.peer()).ask(CreateRoom())).text == "The disk is full."
    assert isinstance(await peer.ask(CreateRoom()), RoomCreated)


async def test_the_number_of_new_rooms_is_limited(autojump_clock, hall):
    peer = await hall.peer()
    for _ in range(DEFAULT_LIMITS.max_rooms_per_hour):
        assert isinstance(await peer.ask(CreateRoom()), RoomCreated)
    assert "Too many rooms" in (await peer.ask(CreateRoom())).text
    assert hall.room_store.made.total() == DEFAULT_LIMITS.max_rooms_per_hour
    await trio.sleep(3600 / DEFAULT_LIMITS.max_rooms_per_hour)
    assert isinstance(await (await hall.peer()).ask(CreateRoom()), RoomCreated)


async def test_one_address_cannot_use_up_all_connections_before_joining(autojump_clock, hall):
    for _ in range(DEFAULT_LIMITS.max_unjoined_per_address):
        hall.connect("10.6.6.6")
    await trio.testing.wait_all_tasks_blocked()
    assert (await hall.connect("10.6.6.6").receive_some()).startswith(b"HTTP/1.1 503 ")
    assert isinstance((await hall.member())[1], Joined)


# -------- places, and connections that have none


@pytest.fixture
def make_hall(nursery):
    async def make(**limits) -> ServerInMemory:
        server = ServerInMemory(nursery, ServerLimits(**limits))
        await nursery.start(server.signaling.run, [QuietListener()])
        return server

    return make


async def status_of(stream) -> int:
    return int((await stream.receive_some()).split()[1])


async def test_an_address_with_many_places_gets_no_new_one_when_the_server_is_nearly_full(autojump_clock, make_hall):
    hall = await make_hall(max_connections=20)
    members = [await hall.member(Role.CLIENT, room=f"room-{n}", address="10.6.6.6") for n in range(18)]
    fault = await (await hall.peer("10.6.6.6")).ask(join("room-1"))
    assert fault.code is FaultCode.ROOM_FULL
    assert "Try again later" in fault.text
    _, other = await hall.member(address="10.0.0.1")
    assert isinstance(other, Joined)
    _, first = members[0]
    forged = {"peer": first.peer, "resume": "proof"}
    assert (await (await hall.peer("10.6.6.6")).ask(join("room-0", Role.CLIENT, **forged))).code is FaultCode.ROOM_FULL
    proven = {"peer": first.peer, "resume": first.resume}
    _, again = await hall.member(Role.CLIENT, room="room-0", address="10.6.6.6", **proven)
    assert again.peer == first.peer, "over a second connection, while the first is not known to be lost"
    second, joined = members[1]
    await second.send(Leave())
    assert await second.receive_close() == 1000
    proven = {"peer": joined.peer, "resume": joined.resume}
    _, again = await hall.member(Role.CLIENT, room="room-1", address="10.6.6.6", **proven)
    assert again.peer == joined.peer, "after it had left"


async def test_a_peer_that_connects_again_and_again_holds_no_more_connections_for_that(
    autojump_clock, make_hall, nursery
):
    """Its old connections need not read why they are closed; each would hold a descriptor for as long as that takes."""
    hall = await make_hall(max_connections=2)
    ends: list[ServerEnd] = []
    peer = await hall.peer(pair=lambda: ServerEnd.pair(ends))
    joined = await peer.ask(join("room"))
    for _ in range(2 * REPLACED_MAX):
        ends[-1].full = True
        peer = await hall.peer(pair=lambda: ServerEnd.pair(ends))
        assert (await peer.ask(join("room", peer=joined.peer, resume=joined.resume))).peer == joined.peer
        assert len(hall.signaling._websockets) <= 1 + REPLACED_MAX + 1
    _, other = await hall.member(address="10.0.0.2")
    assert isinstance(other, Joined)


async def test_the_places_of_peers_that_leave_are_free_again(autojump_clock, make_hall):
    hall = await make_hall(max_connections=2, crowded_percent=100)
    for _ in range(5):
        peers = [(await hall.member(Role.CLIENT))[0] for _ in range(2)]
        fault = await (await hall.peer()).ask(join("room"))
        assert fault.code is FaultCode.ROOM_FULL
        for peer in peers:
            await peer.send(Leave())
            assert await peer.receive_close() == 1000


async def test_one_address_cannot_take_all_places_of_a_room_from_others(autojump_clock, hall):
    taken = 0
    while isinstance(answer := await (await hall.peer("10.6.6.6")).ask(join("room", Role.CLIENT)), Joined):
        taken += 1
    assert answer.code is FaultCode.ROOM_FULL
    assert taken == CLIENTS_MAX * DEFAULT_LIMITS.crowded_percent / 100
    assert isinstance((await hall.member(Role.CLIENT))[1], Joined)
    assert isinstance((await hall.member(Role.WORKER, address="10.6.6.6"))[1], Joined)


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n", TALK], ids=["nothing", "half a head", "a handshake"])
async def test_many_addresses_that_hold_connections_keep_nobody_out(autojump_clock, make_hall, data):
    hall = await make_hall(max_unjoined=20)
    for number in range(200):
        await hall.connect(f"10.7.0.{number % 100}").send_all(data)
        await trio.testing.wait_all_tasks_blocked()
    assert len(hall.signaling._websockets) <= 20
    assert isinstance((await hall.member())[1], Joined)


async def test_a_refused_connection_is_told_that_the_server_is_busy(autojump_clock, make_hall):
    hall = await make_hall(max_unjoined_per_address=1)
    hall.connect()
    await trio.testing.wait_all_tasks_blocked()
    refused = []
    try:
        async with trio.open_nursery() as nursery:
            await wrap_client_stream(nursery, hall.connect(), "server", "/")
    except* ConnectionRejected as group:
        refused.extend(group.exceptions)
    assert [error.status_code for error in refused] == [503]
    assert dict(refused[0].headers)[b"retry-after"]
    assert b"The server is busy" in refused[0].body


async def test_few_connections_are_being_refused_at_a_time_and_each_gets_its_answer(autojump_clock, make_hall):
    hall = await make_hall(max_unjoined_per_address=1)
    hall.connect()
    await trio.testing.wait_all_tasks_blocked()
    refused = []
    for number in range(2 * LINGERING_MAX):
        refused.append(hall.connect())
        await trio.testing.wait_all_tasks_blocked()
        assert len(hall.signaling._websockets) <= 1 + LINGERING_MAX
        assert await status_of(refused[number]) == 503
    await trio.sleep(LINGER_TIME + 0.1)
    assert len(hall.signaling._websockets) == 1


async def test_our_own_peer_says_that_the_server_is_busy_and_tries_again(tmp_path):
    limits = ServerLimits(max_unjoined_per_address=1)
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path, limits=limits) as server:
        events = []

        async def note(event) -> None:
            events.append(event)
            if isinstance(event, ServerDisconnected):
                await held.aclose()
            elif isinstance(event, ServerConnected):
                outgoing.finish()

        held, outgoing = await trio.open_tcp_stream("127.0.0.1", server.ws_port), Mailbox()
        await held.send_all(b"GET")
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(HANG_TIME):
            await run_signaling(server.ws_url, on_event=note, outgoing=outgoing, timeout=HANG_TIME, jitter=lambda: 1.0)
        assert [type(event) for event in events] == [ServerDisconnected, ServerConnected]
        assert events[0].text.startswith(f"The server at {server.ws_url} is busy: ")


async def test_a_request_that_opens_no_websocket_holds_no_place(autojump_clock, hall):
    start = trio.current_time()
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", TALK.replace(b"Version: 13", b"Version: 8"), b"x\n"):
        stream = hall.connect()
        await stream.send_all(data)
        assert await status_of(stream) in (400, 426)
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert hall.signaling._websockets == {}
    assert trio.current_time() == start


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (UPGRADE + b"X: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (UPGRADE + b"X: " + b"y" * 17_000, 431),
        (UPGRADE.replace(b"\r\n", b"\n") + b"\n", 400),
        (UPGRADE + b"X: a\r\n b\r\n\r\n", 400),
        (UPGRADE + b"X: \0\r\n\r\n", 400),
        (UPGRADE + b"Content-Length: 5\r\n\r\nhello", 400),
        (UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (UPGRADE + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
        (UPGRADE + b"Content-Length: 0\r\n\r\n", 101),
    ],
)
async def test_the_head_of_a_handshake_is_checked_as_that_of_a_request(autojump_clock, hall, head, status):
    stream = hall.connect()
    await stream.send_all(head)
    assert await status_of(stream) == status


async def test_rooms_are_closed_if_the_administrator_wants_it(autojump_clock, make_hall):
    hall = await make_hall(rooms_are_open=False)
    fault = await (await hall.peer()).ask(CreateRoom())
    assert fault.code is FaultCode.ROOM_DENIED
    assert "only the administrator makes rooms" in fault.text
    assert not hall.room_store.made
    assert isinstance((await hall.member())[1], Joined)


async def test_the_number_of_rooms_and_of_guesses_can_be_set(autojump_clock, make_hall):
    hall = await make_hall(max_rooms_per_hour=1, max_wrong_tokens=1)
    peer = await hall.peer()
    assert isinstance(await peer.ask(CreateRoom()), RoomCreated)
    assert "Too many rooms" in (await peer.ask(CreateRoom())).text
    texts = [(await (await hall.peer()).ask(join("room", token="guess"))).text for _ in range(2)]
    assert ["too many" in text for text in texts] == [False, True]


class Forwarded:
    """Peers behind a trusted proxy at 127.0.0.1, and what each says about the address before it."""

    def __init__(self, hall) -> None:
        self.hall = hall

    async def peer(self, *values: str, proxy="127.0.0.1") -> PeerConnection:
        headers = [(b"X-Forwarded-For", value.encode()) for value in values]
        ours = self.hall.connect(proxy)
        ws = await wrap_client_stream(self.hall._nursery, ours, "server", "/", extra_headers=headers)
        return PeerConnection(ws)

    async def guess(self, *values: str, **more) -> bool:
        """Send a wrong token; return whether the answer came without delay."""
        peer = await self.peer(*values, **more)
        start = trio.current_time()
        assert (await peer.ask(join("room", token="guess"))).code is FaultCode.ROOM_DENIED
        return trio.current_time() == start


async def test_behind_a_trusted_proxy_each_address_has_limits_of_its_own(autojump_clock, make_hall):
    trusted = (ip_network("127.0.0.1/32"),)
    forwarded = Forwarded(await make_hall(max_wrong_tokens=1, trusted_proxies=trusted))
    assert [await forwarded.guess("198.51.100.1") for _ in range(2)] == [True, False]
    assert await forwarded.guess("198.51.100.2")
    assert not await forwarded.guess("198.51.100.3, 198.51.100.1"), "what the peer itself has claimed does not count"
    assert not await forwarded.guess("198.51.100.4", "198.51.100.1")
    assert [await forwarded.guess("nonsense") for _ in range(2)] == [True, False], "it counts for the proxy"
    direct = [await forwarded.guess(f"198.51.100.{n}", proxy="203.0.113.1") for n in (7, 8)]
    assert direct == [True, False], "nobody else is believed"


async def test_behind_a_trusted_proxy_the_connections_count_for_those_who_make_them(autojump_clock, make_hall):
    trusted = (ip_network("127.0.0.1/32"),)
    hall = await make_hall(max_unjoined_per_address=2, trusted_proxies=trusted)
    forwarded = Forwarded(hall)
    for number in range(6):
        await forwarded.peer(f"198.51.100.{number}")
    await forwarded.peer("198.51.100.1")
    stream = hall.connect("127.0.0.1")
    await stream.send_all(UPGRADE + b"X-Forwarded-For: 198.51.100.1\r\n\r\n")
    assert await status_of(stream) == 503


# -------- memory, and errors that nobody expected


async def test_the_slowest_reader_is_disconnected_when_the_memory_is_used_up_and_nobody_else_notices(
    autojump_clock, make_hall, nursery
):
    hall = await make_hall(max_waiting_mb=1)
    deaf = [await slow_member(hall, Role.WORKER, 0) for _ in range(2)]
    worker, joined = await hall.member()
    witness = Listener(*await hall.member(Role.CLIENT, room="elsewhere"), nursery)
    _, elsewhere = await hall.member(room="elsewhere")
    for _, _, end in deaf:
        end.full = True
    floods = [await hall.member(Role.CLIENT, address=f"10.1.{n}.1") for n in range(80)]
    for flooder, _ in floods:
        for _, theirs, _ in deaf:
            await flooder.send(Offer(theirs.peer, "x" * 16_000, number=1))
        await trio.testing.wait_all_tasks_blocked()
    assert hall.signaling._budget.total <= 2**20
    assert sum(hall.signaling.registry.has_peer("room", theirs.peer) for _, theirs, _ in deaf) == 1
    assert hall.signaling.registry.has_peer("room", joined.peer)
    await floods[0][0].send(Offer(joined.peer, "honest", number=7))
    assert await worker.receive() == Offer(floods[0][1].peer, "honest", number=7)
    assert witness.heard == [WorkerPresent(elsewhere.peer, FACTS)]
    await trio.sleep(2 * RELAY_TIME)
    assert hall.signaling._budget.total == 0


async def test_a_reader_that_was_too_slow_hears_why(autojump_clock, make_hall):
    hall = await make_hall(max_waiting_mb=1)
    workers = [await slow_member(hall, Role.WORKER, 0.3) for _ in range(2)]
    for flooder, _ in [await hall.member(Role.CLIENT) for _ in range(80)]:
        for _, theirs, _ in workers:
            await flooder.send(Offer(theirs.peer, "x" * 16_000, number=1))
    await trio.testing.wait_all_tasks_blocked()
    (slow,) = [peer for peer, theirs, _ in workers if not hall.signaling.registry.has_peer("room", theirs.peer)]
    while isinstance(message := await slow.receive(), Offer):
        pass
    assert message.code is FaultCode.STALLED
    assert "did not read" in message.text
    assert await slow.receive_close() == TRY_AGAIN_LATER


async def test_one_message_in_endless_empty_parts_takes_no_memory(autojump_clock, hall):
    stream = hall.connect()
    await stream.send_all(TALK)
    assert await status_of(stream) == 101
    await stream.send_all(b"\x01\x80" + bytes(4))
    for _ in range(100):
        await stream.send_all((b"\x00\x80" + bytes(4)) * 100)
    await trio.testing.wait_all_tasks_blocked()
    parts = [one for one in gc.get_objects() if isinstance(one, CompactWebSocket)]
    assert max(len(one._message_parts) for one in parts) <= PARTS_MAX
    await stream.send_all(bytes([0x80]) + frame(1, encode(join("room")).encode())[1:])
    assert b"JOINED" in await stream.receive_some()


@pytest.mark.usefixtures("incidents_expected")
async def test_an_error_that_nobody_expected_ends_one_connection_and_its_story_is_in_the_log(
    autojump_clock, hall, monkeypatch, caplog
):
    inside, joined = await hall.member()

    def fail(*_arguments):
        raise ZeroDivisionError("Kq3-secret")

    broken, _ = await hall.member(Role.CLIENT)
    with monkeypatch.context() as patched:
        patched.setattr(hall.signaling.registry.__class__, "join_queue", fail)
        await broken.send(JoinQueue())
        with pytest.raises(ConnectionClosed):
            await broken.receive()
    client, theirs = await hall.member(Role.CLIENT)
    await client.send(Offer(joined.peer, "sdp"))
    assert await inside.receive() == Offer(theirs.peer, "sdp")
    assert "a connection failed: ZeroDivisionError in fail" in caplog.text
    assert "_change_room < _handle" in re.sub(r"\w+\.py:\d+ ", "", caplog.text)
    assert "Kq3-secret" not in caplog.text


@pytest.mark.parametrize("more", [{}, {"role": 7}, {"facts": []}, {"versions": {"oldest": 0}}, {"room": "../x"}])
async def test_no_token_of_a_message_reaches_a_log(autojump_clock, hall, caplog, more):
    caplog.set_level(0)
    message = {**json.loads(encode(join("room", Role.CLIENT, token="Kq3-secret"))), **more}
    peer = await hall.peer()
    assert isinstance(await peer.ask(json.dumps(message)), Fault)
    assert "Kq3-secret" not in caplog.text


def test_a_bucket_allows_its_burst_then_its_rate_and_discards_old_keys():
    bucket: TokenBucket[int] = TokenBucket(3, 2.0)
    delays = []
    for _ in range(5):
        delays.append(bucket.delay(0, 100.0))
        bucket.count(0, 100.0)
    assert delays == pytest.approx([0, 0, 0, 0.5, 1.0])
    assert bucket.delay(0, 200.0) == 0
    for key in range(3 * KEYS_MAX):
        bucket.count(key, 200.0)
    assert len(bucket._arrival_times) <= KEYS_MAX


def test_one_host_counts_once_whatever_its_address():
    assert source_network("::ffff:10.0.0.1") == source_network("10.0.0.1") == "10.0.0.1"
    assert source_network("2001:db8::1") == source_network("2001:db8::ffff:2%eth0") != source_network("2001:db8:0:1::1")
    assert source_network("a memory stream") == "a memory stream"

"""The peer's signalling connection: how it reconnects, and which events it reports meanwhile."""

from functools import partial

import pytest
import trio
from attrs import define, field
from trio.testing import memory_stream_pair, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, wrap_server_stream

from actors.events import ServerConnected, ServerDisconnected
from actors.mailbox import CAPACITY, Mailbox
from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.signaling import Announce, CreateRoom, Join, Joined, Leave, RoomCreated, WorkerLeft
from protocol.status import Role, Status, WorkerFacts
from protocol.version import OLDER_VALUES, VERSIONS, VersionRange
from protocol.wire import TO_SERVER, decode, encode
from rtc.common.errors import RtcError
from rtc.config.server_url import server_url
from rtc.server import open_server
from rtc.testing.limits import HANG_TIME
from rtc.testing.ports import open_port
from rtc.transport.signaling.connection import LONGEST_PAUSE, UPGRADE_TIME, run_signaling
from rtc.transport.signaling.websocket import CLOSE_TIME, SILENCE_TIME, UNKNOWN_MAX

FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab-1", "CPU", 0, "0.3.5", "none", "0.1.0")
URL = "ws://server.test:8080"


@define(eq=False)
class World:
    """A network with one server, which accepts or refuses connections as the test decides, and one client of it."""

    nursery: trio.Nursery
    outgoing: Mailbox = field(factory=Mailbox)
    events: list = field(factory=list)
    changed: trio.Event = field(factory=trio.Event)
    dial_times: list[float] = field(factory=list)
    refuse: bool = False
    ended: bool = False
    server_streams: list = field(factory=list)

    async def dial(self, host, port):
        self.dial_times.append(trio.current_time())
        assert (host, port) == ("server.test", 8080)
        await trio.lowlevel.checkpoint()
        if self.refuse:
            raise OSError("all attempts to connect failed") from ConnectionRefusedError(111, "Connection refused")
        ours, theirs = memory_stream_pair()
        self.server_streams.append(theirs)
        self.changed.set()
        return ours

    async def receive(self, event):
        await trio.lowlevel.checkpoint()
        self.events.append(event)
        self.changed.set()

    async def run(self, jitter=0.0):
        await run_signaling(
            URL, on_event=self.receive, outgoing=self.outgoing, timeout=10, jitter=lambda: jitter, dial=self.dial
        )
        self.ended = True

    async def next_stream(self):
        """Return the server's end of the next connection attempt."""
        while not self.server_streams:
            self.changed = trio.Event()
            await self.changed.wait()
        return self.server_streams.pop(0)

    async def accept(self, nursery=None):
        """Accept the next connection attempt and its WebSocket handshake, as a server does."""
        request = await wrap_server_stream(nursery or self.nursery, await self.next_stream())
        return await request.accept()

    async def until(self, kind, count=1):
        """Wait until `count` events of the type `kind` were reported; return the last of them."""
        while len(found := [event for event in self.events if isinstance(event, kind)]) < count:
            self.changed = trio.Event()
            await self.changed.wait()
        return found[-1]


@pytest.fixture
async def world(nursery):
    return World(nursery)


async def test_messages_go_both_ways_and_a_finished_connection_closes_after_the_last(autojump_clock, world, nursery):
    nursery.start_soon(world.run)
    ws = await world.accept()
    await world.until(ServerConnected)
    world.outgoing.put(CreateRoom("Lab"))
    assert decode(await ws.get_message(), TO_SERVER) == CreateRoom("Lab")
    await ws.send_message(encode(RoomCreated(RoomId("room"), "token")))
    await world.until(RoomCreated)
    world.outgoing.put(Leave())
    world.outgoing.finish()
    assert decode(await ws.get_message(), TO_SERVER) == Leave()
    with pytest.raises(ConnectionClosed) as caught:
        await ws.get_message()
    assert caught.value.reason.code == 1000
    await wait_all_tasks_blocked()
    assert world.ended
    assert world.events == [ServerConnected(), RoomCreated(RoomId("room"), "token")]


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 1.0), (0.5, 0.75), (1.0, 0.5)])
async def test_pauses_double_up_to_a_limit_and_jitter_shortens_them(autojump_clock, world, nursery, jitter, share):
    world.refuse = True
    nursery.start_soon(world.run, jitter)
    await world.until(ServerDisconnected, 9)
    pauses = [later - sooner for sooner, later in zip(world.dial_times, world.dial_times[1:], strict=False)]
    assert pauses == pytest.approx([share * pause for pause in (0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE)])


async def test_a_server_out_of_reach_is_one_sentence(autojump_clock, world, nursery):
    world.refuse = True
    nursery.start_soon(world.run)
    text = (await world.until(ServerDisconnected)).text
    assert text.startswith("The server at ws://server.test:8080 cannot be reached (connection refused).")


async def test_messages_put_while_the_connection_is_down_are_dropped(autojump_clock, world, nursery):
    world.refuse = True
    nursery.start_soon(world.run)
    for _ in range(10 * CAPACITY):
        world.outgoing.put(Announce(FACTS))
        await trio.sleep(0.1)
    world.refuse = False
    ws = await world.accept()
    await world.until(ServerConnected)
    world.outgoing.put(CreateRoom("fresh"))
    assert decode(await ws.get_message(), TO_SERVER) == CreateRoom("fresh")


async def test_a_connection_that_is_down_can_be_finished(autojump_clock, world, nursery):
    world.refuse = True
    nursery.start_soon(world.run)
    await world.until(ServerDisconnected, 8)
    world.outgoing.finish()
    await wait_all_tasks_blocked()
    assert world.ended


async def test_a_connection_that_is_being_opened_can_be_finished(autojump_clock, world, nursery):
    nursery.start_soon(world.run)
    await trio.sleep(1)
    world.outgoing.finish()
    await trio.sleep(1)
    assert world.ended
    assert world.events == []


async def test_a_server_that_restarts_is_dialled_again_at_once(autojump_clock, world, nursery):
    nursery.start_soon(world.run)
    for turn in range(5):
        ws = await world.accept()
        await ws.send_message(encode(WorkerLeft(PeerId("worker-1"))))
        await world.until(WorkerLeft, turn + 1)
        await ws.aclose(1001)
        assert "was lost" in (await world.until(ServerDisconnected, turn + 1)).text
    assert world.dial_times == pytest.approx([0, 0.5, 1, 1.5, 2], abs=0.1)


async def test_a_server_that_closes_without_a_message_is_dialled_less_and_less(autojump_clock, world, nursery):
    nursery.start_soon(world.run)
    for turn in range(4):
        ws = await world.accept()
        await world.until(ServerConnected, turn + 1)
        await ws.aclose()
    assert world.dial_times == pytest.approx([0, 0.5, 1.5, 3.5], abs=0.1)


async def test_a_quiet_connection_stays_up(autojump_clock, world, nursery):
    nursery.start_soon(world.run)
    await world.accept()
    await trio.sleep(3600)
    assert world.events == [ServerConnected()]  # pongs are enough to keep it up


async def test_a_dead_connection_is_noticed_in_twenty_seconds(autojump_clock, world, nursery):
    nursery.start_soon(world.run)
    async with trio.open_nursery() as machine:
        await world.accept(machine)
        await world.until(ServerConnected)
        start = trio.current_time()
        machine.cancel_scope.cancel()  # the server's side reads no more
    assert f"was silent for {SILENCE_TIME:g} seconds" in (await world.until(ServerDisconnected)).text
    assert trio.current_time() - start <= SILENCE_TIME + CLOSE_TIME


async def test_a_server_that_accepts_tcp_but_opens_no_websocket_is_named(autojump_clock, world, nursery):
    nursery.start_soon(world.run)
    assert (
        f"opened no WebSocket connection within {UPGRADE_TIME:g} seconds"
        in (await world.until(ServerDisconnected)).text
    )
    assert trio.current_time() <= UPGRADE_TIME + 1


@pytest.mark.parametrize("answer", [b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", b"SSH-2.0-OpenSSH\r\n"])
async def test_another_service_on_that_port_is_named(autojump_clock, world, nursery, answer):
    nursery.start_soon(world.run)
    await (await world.next_stream()).send_all(answer)
    text = (await world.until(ServerDisconnected)).text
    assert "WebSocket address" in text
    assert ("404" in text) == (b"404" in answer)


@pytest.mark.parametrize("nonsense", ["hello", '{"type":"JOINED"}', b"\xff\xfe", "[]"])
async def test_a_server_of_another_version_is_reported_as_such(autojump_clock, world, nursery, nonsense):
    nursery.start_soon(world.run)
    ws = await world.accept()
    await ws.send_message(nonsense)
    assert "Update the older" in (await world.until(ServerDisconnected)).text


async def test_what_a_newer_server_says_is_logged_and_ignored(autojump_clock, world, nursery, caplog):
    nursery.start_soon(world.run)
    ws = await world.accept()
    for _ in range(3 * UNKNOWN_MAX):
        await ws.send_message('{"type":"FUTURE_MESSAGE","mood":"good"}')
    await ws.send_message('{"type":"WORKER_LEFT","peer":"w","why":"unknown field"}')
    assert await world.until(WorkerLeft) == WorkerLeft(PeerId("w"))
    assert caplog.text.count("FUTURE_MESSAGE") == UNKNOWN_MAX


async def test_a_server_that_accepts_us_without_a_common_version_is_a_fault(autojump_clock, world, nursery):
    nursery.start_soon(world.run)
    ws = await world.accept()
    newer = VersionRange(VERSIONS.newest + 1, VERSIONS.newest + 2)
    await ws.send_message(encode(RoomCreated(RoomId("room-1"), "token", newer)))
    text = (await world.until(ServerDisconnected)).text
    assert str(newer) in text
    assert str(VERSIONS) in text
    assert world.events == [ServerConnected(), Fault(FaultCode.VERSION, text), ServerDisconnected(text)]


async def test_a_first_message_has_no_value_that_an_older_server_does_not_know(
    autojump_clock, world, nursery, monkeypatch
):
    monkeypatch.setitem(OLDER_VALUES, Status.AVAILABLE, (4, Status.BUSY))
    nursery.start_soon(world.run)
    ws = await world.accept()
    await world.until(ServerConnected)
    world.outgoing.put(Join(RoomId("room"), "token", Role.WORKER, FACTS))
    assert decode(await ws.get_message(), TO_SERVER).facts.status is Status.BUSY


async def test_the_server_waits_while_our_own_answers_do(autojump_clock, world, nursery):
    """No message of the server is read while the outbox is half full, so that no server can make it overflow."""

    async def answer(event) -> None:
        await world.receive(event)
        if isinstance(event, WorkerLeft):
            for _ in range(4):  # more messages out than came in
                world.outgoing.put(Announce(FACTS))

    nursery.start_soon(
        lambda: run_signaling(URL, on_event=answer, outgoing=world.outgoing, timeout=10, dial=world.dial)
    )
    ws = await world.accept()

    async def flood() -> None:
        for _ in range(CAPACITY):
            await ws.send_message(encode(WorkerLeft(PeerId("worker-1"))))

    nursery.start_soon(flood)
    for _ in range(4 * CAPACITY):
        assert isinstance(decode(await ws.get_message(), TO_SERVER), Announce)


async def test_a_connection_finds_its_server_again_after_a_restart(tmp_path, nursery):
    outgoing: Mailbox = Mailbox()
    event_sender, events = trio.open_memory_channel(100)
    joined = None
    with open_port() as port, trio.fail_after(HANG_TIME):
        url = f"ws://127.0.0.1:{port}"
        run = partial(run_signaling, url, on_event=event_sender.send, outgoing=outgoing, timeout=HANG_TIME)
        for turn in range(2):
            async with open_server(host="127.0.0.1", ws_port=port, http_port=0, data=tmp_path):
                if turn == 0:
                    nursery.start_soon(run)
                    assert await events.receive() == ServerConnected()
                    outgoing.put(CreateRoom())
                    room = await events.receive()
                    outgoing.put(Join(room.room, room.token, Role.WORKER, FACTS))
                else:
                    while isinstance(event := await events.receive(), ServerDisconnected):
                        pass  # a try before the server was there again
                    assert event == ServerConnected()
                    outgoing.put(Join(room.room, room.token, Role.WORKER, FACTS, joined.peer, joined.resume))
                rejoined = await events.receive()
                assert isinstance(rejoined, Joined)
                assert joined is None or rejoined == joined
                joined = rejoined
            disconnected = await events.receive()
            assert isinstance(disconnected, ServerDisconnected)
    outgoing.finish()


async def test_a_tls_connection_to_a_plain_server_is_one_sentence(tmp_path, nursery):
    event_sender, events = trio.open_memory_channel(100)
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path) as server:
        url = f"wss://127.0.0.1:{server.ws_port}"
        nursery.start_soon(
            lambda: run_signaling(url, on_event=event_sender.send, outgoing=Mailbox(), timeout=HANG_TIME)
        )
        with trio.fail_after(HANG_TIME):
            disconnected = await events.receive()
        assert disconnected.text.startswith(f"No secure line to {url} could be made (")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ws://lab:8080", "ws://lab:8080"),
        ("ws://lab", "ws://lab"),
        ("wss://lab.example.org/rtc/", "wss://lab.example.org/rtc"),
        ("wss://lab:443", "wss://lab:443"),
        ("WS://LAB:8080", "ws://lab:8080"),
        ("http://lab", "ws://lab:8080"),
        ("http://lab:8001", "ws://lab:8080"),
        ("http://lab:8001/", "ws://lab:8080"),
        ("https://lab:8001", "wss://lab:8080"),
        ("https://lab:9443", "wss://lab:9443"),
        ("lab", "ws://lab:8080"),
        ("  lab:9000 ", "ws://lab:9000"),
        ("localhost", "ws://localhost:8080"),
        ("10.0.0.7:8080", "ws://10.0.0.7:8080"),
        ("[::1]", "ws://[::1]:8080"),
        ("ws://[::1]:8080", "ws://[::1]:8080"),
        (
            "http://ec2-54-176-92-10.us-west-1.compute.amazonaws.com:8001",
            "ws://ec2-54-176-92-10.us-west-1.compute.amazonaws.com:8080",
        ),
    ],
)
def test_addresses_are_read_as_people_type_them(typed, meant):
    assert server_url(typed) == meant
    assert server_url(meant) == meant


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "ftp://lab",
        "ws://",
        "ws://:8080",
        "lab:port",
        "lab:99999",
        "lab:0",
        "ws://lab:-1",
        "ws://user:secret@lab",
        "ws://secret@lab",
        "ws://lab?token=secret",
        "ws://lab#secret",
        "la b",
        "lab\n.org",
        "ws://[::1",
        "ws://lab/a b",
        "//lab",
    ],
)
def test_an_invalid_address_is_one_sentence_without_the_address(typed):
    with pytest.raises(RtcError) as caught:
        server_url(typed)
    assert caught.value.fault.code is FaultCode.USAGE
    assert "secret" not in str(caught.value)

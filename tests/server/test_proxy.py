"""A server behind a proxy that does what the nginx of docs/deployment.md does, over real sockets."""

import json
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest
import trio
from trio_websocket import wrap_client_stream

from protocol.faults import FaultCode
from protocol.ids import RoomId
from protocol.signaling import CreateRoom, Join, Joined, RoomCreated
from protocol.status import Role
from protocol.wire import FROM_SERVER, decode, encode
from rtc.server import http_api, open_server, rate_limits, signaling
from rtc.server.limits import ServerLimits
from rtc.server.rate_limits import TokenBucket
from rtc.testing.limits import HANG_TIME

TRUSTED = (ip_network("127.0.0.1/32"),)


async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
    try:
        async for data in source:
            await target.send_all(data)
        await target.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


async def pass_on(port: int, client: trio.SocketStream) -> None:
    """Pass on one connection, with the client's address appended as by `$proxy_add_x_forwarded_for`."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = await client.receive_some()
        if not chunk:
            return
        data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    claimed = [line.partition(b":")[2].strip() for line in lines if line.lower().startswith(b"x-forwarded-for:")]
    lines = [line for line in lines if not line.lower().startswith(b"x-forwarded-for:")]
    lines.append(b"X-Forwarded-For: " + b", ".join([*claimed, client.socket.getpeername()[0].encode()]))
    async with await trio.open_tcp_stream("127.0.0.1", port) as upstream, trio.open_nursery() as nursery:
        await upstream.send_all(b"\r\n".join(lines) + b"\r\n\r\n" + rest)
        nursery.start_soon(copy, upstream, client)
        nursery.start_soon(copy, client, upstream)


class Proxied:
    """The two ports of the proxy, reached from any loopback address."""

    def __init__(self, ws_port: int, http_port: int) -> None:
        self.ws_port = ws_port
        self.http_port = http_port

    @asynccontextmanager
    async def peer(self, address: str, **headers: str):
        with trio.fail_after(HANG_TIME):
            stream = await trio.open_tcp_stream("127.0.0.1", self.ws_port, local_address=address)
            extra = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
            async with stream, trio.open_nursery() as nursery:
                yield await wrap_client_stream(nursery, stream, "127.0.0.1", "/signal", extra_headers=extra)
                nursery.cancel_scope.cancel()

    async def ask(self, address: str, message, **headers: str):
        async with self.peer(address, **headers) as ws:
            await ws.send_message(encode(message))
            return decode(await ws.get_message(), FROM_SERVER)

    async def status(self, address: str, request: bytes) -> int:
        with trio.fail_after(HANG_TIME):
            stream = await trio.open_tcp_stream("127.0.0.1", self.http_port, local_address=address)
            async with stream:
                await stream.send_all(request.replace(b"\r\n\r\n", b"\r\nHost: x\r\nConnection: close\r\n\r\n"))
                return int(b"".join([bytes(data) async for data in stream]).split()[1])


@asynccontextmanager
async def open_proxied(folder, **limits):
    limits = ServerLimits(max_wrong_tokens=2, max_rooms_per_hour=2, **limits)
    async with (
        open_server(host="127.0.0.1", ws_port=0, http_port=0, data=folder, limits=limits) as server,
        trio.open_nursery() as nursery,
    ):
        listeners = []
        for port in (server.ws_port, server.http_port):
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, lambda client, port=port: pass_on(port, client), [listener])
            listeners.append(listener)
        yield Proxied(*(listener.socket.getsockname()[1] for listener in listeners))
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def no_time(monkeypatch):
    """Rate limits that allow nothing more with time, and refusals that come at once."""
    monkeypatch.setattr(rate_limits, "TokenBucket", lambda burst, rate, *_: TokenBucket(burst, rate / 1e6))
    monkeypatch.setattr(http_api, "GUESS_DELAY", 0)
    monkeypatch.setattr(signaling, "GUESS_DELAY", 0)


GUESS = Join(RoomId("room-x"), "guess", Role.CLIENT)
GUESS_HTTP = b"GET /api/rooms/room-x HTTP/1.1\r\n\r\n"
MAKE_ROOM = b"POST /api/rooms HTTP/1.1\r\nContent-Length: 0\r\n\r\n"


async def test_who_sends_wrong_tokens_or_makes_rooms_does_so_for_himself_alone(tmp_path):
    async with open_proxied(tmp_path, trusted_proxies=TRUSTED) as proxy:
        for _ in range(2):
            assert "too many" not in (await proxy.ask("127.0.0.5", GUESS)).text
        assert "too many" in (await proxy.ask("127.0.0.5", GUESS, X_Forwarded_For="198.51.100.7")).text
        assert await proxy.status("127.0.0.5", GUESS_HTTP) == 429, "both ports count together"
        forged = GUESS_HTTP.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.8\r\n\r\n")
        assert await proxy.status("127.0.0.5", forged) == 429
        assert await proxy.status("127.0.0.6", GUESS_HTTP) == 404
        assert "too many" not in (await proxy.ask("127.0.0.6", GUESS)).text
        assert [await proxy.status("127.0.0.5", MAKE_ROOM) for _ in range(3)] == [201, 201, 429]
        assert (await proxy.ask("127.0.0.5", CreateRoom())).code is FaultCode.ROOM_DENIED
        made = await proxy.ask("127.0.0.6", CreateRoom())
        assert isinstance(made, RoomCreated)
        joined = await proxy.ask("127.0.0.5", Join(made.room, made.token, Role.CLIENT))
        assert isinstance(joined, Joined), "the right token gets in, whatever came before"


async def test_without_the_option_all_behind_the_proxy_are_one(tmp_path):
    async with open_proxied(tmp_path) as proxy:
        assert [await proxy.status(f"127.0.0.{n}", MAKE_ROOM) for n in (5, 6, 7)] == [201, 201, 429]


async def test_the_proxy_may_bring_more_connections_than_one_address(tmp_path):
    async with (
        open_proxied(tmp_path, trusted_proxies=TRUSTED, max_unjoined_per_address=1) as proxy,
        proxy.peer("127.0.0.5"),
        proxy.peer("127.0.0.6") as ws,
    ):
        await ws.send_message(encode(CreateRoom()))
        assert json.loads(await ws.get_message())["type"] == "ROOM_CREATED"

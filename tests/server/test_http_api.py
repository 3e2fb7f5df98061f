"""The HTTP API, requested over real HTTP by the standard library's client."""

import http.client
import io
import json
import socket
from contextlib import suppress

import pytest
import trio
from anycorn.protocol.h11 import H11Protocol
from trio.testing import lockstep_stream_pair
from trio_websocket import wrap_client_stream

from protocol.converter import from_json
from protocol.faults import FaultCode
from protocol.http import BODY_MAX, PROBLEM_TYPE, Problem, status_title
from protocol.ids import RoomId
from protocol.signaling import Join
from protocol.status import Role, Status, WorkerFacts
from protocol.version import VERSIONS
from protocol.wire import FROM_SERVER, decode, encode
from rtc.common.errors import RtcError
from rtc.server import http_api, open_server, rate_limits
from rtc.server.database import RoomDatabase
from rtc.server.http_connection import EXCHANGE_TIME, HEAD_TIME, KEEP_ALIVE_TIME
from rtc.server.http_server import HttpServer
from rtc.server.incidents import REPORTS
from rtc.server.limits import DEFAULT_LIMITS, ServerLimits
from rtc.server.overload import LINGER_TIME, Refusals
from rtc.server.rate_limits import TokenBucket
from rtc.testing.limits import HANG_TIME

FACTS = WorkerFacts(Status.AVAILABLE, "<b>bench</b>", "lab-1", "NVIDIA H200", 143771, "0.3.5", "13.0", "0.1.0")


@pytest.fixture
async def server(tmp_path):
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path) as server:
        yield server


@pytest.fixture
def ask(server):
    """Send a request to the API; returns status, headers and the decoded JSON."""

    def ask_now(method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=HANG_TIME)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    async def ask(method, path, body=None, **headers):
        return await trio.to_thread.run_sync(lambda: ask_now(method, path, body, **headers))

    return ask


async def test_health_says_that_the_server_runs_and_nothing_about_rooms(ask):
    status, headers, content = await ask("GET", "/health")
    assert status == 200
    assert content.keys() == {"status", "version", "protocol"}
    assert content["status"] == "ok"
    assert content["protocol"] == {"oldest": VERSIONS.oldest, "newest": VERSIONS.newest}
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/health", "/api/rooms/room-x", "/nowhere"])
async def test_every_answer_has_the_security_headers(ask, path):
    _, headers, _ = await ask("GET", path)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["server"] is None


async def test_a_room_is_created_and_its_workers_are_read(ask, server):
    status, _, made = await ask("POST", "/api/rooms", json.dumps({"name": "Lab β"}))
    assert status == 201
    assert made.keys() == {"room_id", "token", "name"}
    path, right = f"/api/rooms/{made['room_id']}", f"Bearer {made['token']}"
    status, _, room = await ask("GET", path, Authorization=right)
    assert (status, room["name"], room["workers"]) == (200, "Lab β", [])
    assert made["token"] not in json.dumps(room)
    async with await trio.open_tcp_stream("127.0.0.1", server.ws_port) as stream, trio.open_nursery() as nursery:
        ws = await wrap_client_stream(nursery, stream, "127.0.0.1", "/")
        await ws.send_message(encode(Join(RoomId(made["room_id"]), made["token"], Role.WORKER, FACTS)))
        joined = decode(await ws.get_message(), FROM_SERVER)
        _, _, room = await ask("GET", path, Authorization=right)
        nursery.cancel_scope.cancel()
    (worker,) = room["workers"]
    assert worker["peer"] == joined.peer
    assert (worker["status"], worker["leaving"]) == ("available", False)
    assert (worker["memory_mb"], worker["name"]) == (143771, "<b>bench</b>")
    assert room["created"]


async def test_a_room_needs_no_name_and_what_is_not_known_is_ignored(ask):
    for body in (None, "", "{}", " {} ", '{"owner":"b"}'):
        status, _, made = await ask("POST", "/api/rooms", body)
        assert (status, made["name"]) == (201, "")


def problem_in(answer, status: int) -> Problem:
    """Check that an answer is a problem with this status, and return it."""
    found_status, headers, content = answer
    assert found_status == status
    assert headers["content-type"] == PROBLEM_TYPE
    problem = from_json(json.dumps(content), Problem, limit=4096)
    assert (problem.status, problem.title) == (status, status_title(status))
    assert problem.detail.endswith(".")
    return problem


@pytest.mark.parametrize(
    "body",
    [
        "x",
        "[]",
        "7",
        '"name"',
        '{"name":7}',
        '{"name":null}',
        '{"name":"' + "x" * 65 + '"}',
        '{"name":"\\u001b[31m"}',
        '{"name":"\\ud800"}',
        "[" * 50_000,
        b"\xff\xfe\x00",
    ],
)
async def test_a_body_that_is_no_room_is_one_sentence(ask, body):
    assert '{"name": "Lab 3"}' in problem_in(await ask("POST", "/api/rooms", body), 400).detail


async def test_a_body_too_long_is_not_read(ask):
    answer = await ask("POST", "/api/rooms", b" " * (BODY_MAX + 1))
    assert str(BODY_MAX) in problem_in(answer, 413).detail


async def test_an_unknown_room_a_wrong_token_and_no_token_look_the_same(ask):
    _, _, made = await ask("POST", "/api/rooms")
    path, right = f"/api/rooms/{made['room_id']}", f"Bearer {made['token']}"
    answers = [
        await ask("GET", path, Authorization="Bearer wrong"),
        await ask("GET", path),
        await ask("GET", path, Authorization=f"Basic {made['token']}"),
        await ask("GET", "/api/rooms/room-that-is-not", Authorization=right),
        await ask("GET", "/api/rooms/%20%00", Authorization=right),
    ]
    assert len({problem_in(answer, 404) for answer in answers}) == 1
    assert {headers["content-length"] for _, headers, _ in answers} == {answers[0][1]["content-length"]}


async def test_what_is_not_there_is_one_sentence(ask):
    for method, path, expected in (
        ("GET", "/", 404),
        ("GET", "/api/rooms", 405),
        ("DELETE", "/health", 405),
        ("GET", "/api/rooms/x/y", 404),
        ("GET", "/health/", 404),
        ("GET", "/../../etc/passwd", 404),
    ):
        problem_in(await ask(method, path), expected)


async def test_an_address_says_which_methods_it_takes(ask):
    _, headers, _ = await ask("DELETE", "/api/rooms")
    assert headers["allow"] == "POST"


@pytest.mark.usefixtures("incidents_expected")
async def test_an_error_of_our_own_is_a_problem_without_details_and_its_story_is_in_the_log(ask, monkeypatch, caplog):
    async def fail(_database, _name):
        raise RuntimeError("hush")

    monkeypatch.setattr(RoomDatabase, "create_room", fail)
    for _ in range(DEFAULT_LIMITS.max_rooms_per_hour):
        assert "hush" not in problem_in(await ask("POST", "/api/rooms"), 500).detail
    assert "RuntimeError in fail" in caplog.text
    assert " create_room < " in caplog.text, "with the functions on the way"
    assert caplog.text.count("RuntimeError") == REPORTS, "nobody can fill the log with it"
    assert "hush" not in caplog.text


async def test_a_database_that_fails_is_a_problem(ask, monkeypatch):
    async def fail(_database, _name):
        raise RtcError(FaultCode.DISK_FULL, "The disk is full.")

    with monkeypatch.context() as full:
        full.setattr(RoomDatabase, "create_room", fail)
        for _ in range(DEFAULT_LIMITS.max_rooms_per_hour + 1):  # rooms that were not made count as none
            assert problem_in(await ask("POST", "/api/rooms"), 503).detail == "The disk is full."
    assert (await ask("POST", "/api/rooms"))[0] == 201


@pytest.fixture
def frozen_limits(monkeypatch):
    """Rate limits that allow nothing more with time, so that it does not matter how long the requests take."""
    monkeypatch.setattr(rate_limits, "TokenBucket", lambda burst, rate, *_: TokenBucket(burst, rate / 1e6))


async def test_guesses_and_new_rooms_of_one_address_are_limited(frozen_limits, ask, monkeypatch):
    monkeypatch.setattr(http_api, "GUESS_DELAY", 0)
    _, _, made = await ask("POST", "/api/rooms")
    guesses, rooms = DEFAULT_LIMITS.max_wrong_tokens, DEFAULT_LIMITS.max_rooms_per_hour
    statuses = [(await ask("GET", "/api/rooms/room-x"))[0] for _ in range(guesses + 2)]
    assert statuses == [404] * guesses + [429] * 2
    answer = await ask("GET", "/api/rooms/room-x")
    problem_in(answer, 429)
    assert int(answer[1]["retry-after"]) > 0
    right = f"Bearer {made['token']}"
    assert (await ask("GET", f"/api/rooms/{made['room_id']}", Authorization=right))[0] == 200, "a right one gets in"
    statuses = [(await ask("POST", "/api/rooms"))[0] for _ in range(rooms - 1 + 2)]
    assert statuses == [201] * (rooms - 1) + [429] * 2
    answer = await ask("POST", "/api/rooms")
    problem_in(answer, 429)
    assert int(answer[1]["retry-after"]) > 0


PROBES = (
    b"",
    b"GET / HTT",
    b"\x16\x03\x01" + bytes(200),
    b"GET /health HTTP/1.1\r\nHost: x\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000,
    b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
    b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 200_000,
    b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nx",
    b"GET /health HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"HTTP2-Settings: !\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    b"GET /health HTTP/1.1\r\nHost: \xff\r\nAuthorization: \xff\xff\r\n\r\n",
    b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api/rooms/%ff HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n\r\n",
)


def probe(port: int, data: bytes, *, reset: bool) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=HANG_TIME) as sock:
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        try:
            sock.sendall(data)
            sock.settimeout(0.1)
            while not reset and sock.recv(65536):
                pass
        except OSError:
            pass  # the server may close the connection first


@pytest.mark.parametrize("reset", [False, True])
async def test_no_probe_brings_the_api_down(ask, server, reset):
    async with trio.open_nursery() as nursery:
        for data in PROBES:
            nursery.start_soon(trio.to_thread.run_sync, lambda data=data: probe(server.http_port, data, reset=reset))
    assert (await ask("GET", "/health"))[0] == 200


async def test_no_token_reaches_a_log(ask, caplog):
    caplog.set_level(0)
    _, _, made = await ask("POST", "/api/rooms")
    await ask("GET", f"/api/rooms/{made['room_id']}", Authorization=f"Bearer {made['token']}")
    assert made["token"] not in caplog.text


@pytest.mark.parametrize("end", [b"\r\r\n", b"\0\r\n"])
async def test_no_token_of_a_request_that_is_no_http_reaches_a_log(server, caplog, end):
    """A file with a token that was written on Windows is enough: its line break becomes a part of the header."""
    caplog.set_level(0)
    line = b"Authorization: Bearer Kq3-secret-token" + end
    answer = await all_bytes(server.http_port, b"GET /api/rooms/room-1 HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n")
    assert b" 400 " in answer
    assert "Kq3-secret-token" not in caplog.text


H2C = (
    b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAA\r\n\r\n"
)


async def first_bytes(port: int, data: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        with trio.fail_after(HANG_TIME):
            return bytes(await stream.receive_some(4096))


async def test_an_upgrade_to_http2_with_settings_that_are_no_base64_does_not_end_the_server(ask, server):
    assert (await first_bytes(server.http_port, H2C)).startswith(b"HTTP/1.1 200")
    assert (await ask("GET", "/health"))[0] == 200


async def test_http2_without_asking_is_answered_in_http1(ask, server):
    content = await first_bytes(server.http_port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert content.startswith(b"HTTP/1.1 4")
    assert (await ask("GET", "/health"))[0] == 200


@pytest.mark.usefixtures("incidents_expected")
async def test_a_connection_that_fails_takes_no_other_with_it_and_quotes_nothing(ask, server, monkeypatch, caplog):
    async def fail(_protocol, _request):
        raise RuntimeError("Authorization: Bearer hush")

    with monkeypatch.context() as broken:
        broken.setattr(H11Protocol, "_create_stream", fail)
        assert await first_bytes(server.http_port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert (await ask("GET", "/health"))[0] == 200
    assert "a connection failed: RuntimeError in fail" in caplog.text
    assert "hush" not in caplog.text


async def test_an_error_of_the_body_leaves_the_server_as_itself(tmp_path):
    with pytest.raises(RtcError, match="of the body"):
        async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path):
            raise RtcError(FaultCode.USAGE, "An error of the body.")


# -------- answers that anycorn gives without asking the application

WEBSOCKET = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


async def whole_answer(port: int, data: bytes):
    """Send bytes and return the answer to them: status, headers and the decoded JSON."""
    answer = http.client.HTTPResponse(Sent(await all_bytes(port, data)))
    answer.begin()
    return answer.status, answer.headers, json.loads(answer.read())


class Sent:
    """What a server sent, as http.client reads it: from something like a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


async def all_bytes(port: int, data: bytes) -> bytes:
    """Send bytes and return all that the server sends until it closes the connection."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        with trio.fail_after(HANG_TIME):
            return b"".join([bytes(chunk) async for chunk in stream])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01" + bytes(200) + b"\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000, 431),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\nHost: x\n\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nContent-Length : 2\r\n\r\n{}", 400),
        (
            b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n" + WEBSOCKET + b"\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n" + WEBSOCKET + KEY + b"\r\n", 404),
    ],
)
async def test_a_request_that_never_reaches_the_api_is_answered_with_a_problem(ask, server, data, status):
    answer = await whole_answer(server.http_port, data)
    problem_in(answer, status)
    assert answer[1]["x-content-type-options"] == "nosniff"
    assert (await ask("GET", "/health"))[0] == 200


@pytest.mark.parametrize("path", [b"/health", b"/nowhere", b"/%ff"])
async def test_the_answer_to_head_has_no_body(server, path):
    request = b"HEAD " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    headers, body = (await all_bytes(server.http_port, request)).split(b"\r\n\r\n")
    assert b"content-length: 0" not in headers
    assert body == b""


# -------- smuggling, slow connections, and too many of them

HEALTH_REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" + HEALTH_REQUEST,
        b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n" + HEALTH_REQUEST,
        b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"
        + HEALTH_REQUEST,
    ],
)
async def test_what_comes_behind_a_request_is_never_taken_for_another(server, data):
    assert (await all_bytes(server.http_port, data)).count(b"HTTP/1.1 ") == 1


async def test_requests_that_do_not_wait_for_answers_are_answered_in_order(server):
    last = HEALTH_REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answers = await all_bytes(server.http_port, 2 * HEALTH_REQUEST + HEALTH_REQUEST.replace(b"/health", b"/no") + last)
    statuses = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"200", b"404", b"200"]


async def test_every_head_is_checked_also_of_later_requests(server):
    answers = await all_bytes(server.http_port, HEALTH_REQUEST + HEALTH_REQUEST.replace(b"\r\n", b"\n"))
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]


async def test_a_request_after_chunks_needs_another_connection(server):
    data = b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    answer = await all_bytes(server.http_port, data)
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"connection: close" in answer.lower()


async def test_one_connection_serves_one_request_after_the_other(server):
    async with await trio.open_tcp_stream("127.0.0.1", server.http_port) as stream:
        for _ in range(3):
            await stream.send_all(HEALTH_REQUEST)
            answer = b""
            with trio.fail_after(HANG_TIME):
                while not answer.endswith(b"}}"):
                    data = await stream.receive_some()
                    assert data, "the server has closed the connection"
                    answer += data
            assert answer.startswith(b"HTTP/1.1 200 ")


class Socket:
    """The part of a socket that the server asks."""

    def getpeername(self):
        return "10.0.0.1", 7

    def getsockname(self):
        return "10.0.0.2", 80


@pytest.fixture
async def connect_in_memory(nursery, tmp_path):
    """Return a function that connects to an HTTP port without sockets, whose clock may jump."""

    async def say_hello(scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100000")]})
        await send({"type": "http.response.body", "body": b"x" * 100_000})

    http_server = HttpServer(say_hello, DEFAULT_LIMITS, Refusals())

    def connect():
        ours, theirs = lockstep_stream_pair()
        theirs.socket = Socket()
        nursery.start_soon(http_server._serve, theirs)
        return ours

    return connect


async def seconds_until_closed(stream) -> float:
    start = trio.current_time()
    async for _ in stream:
        pass
    return trio.current_time() - start


async def test_a_connection_without_a_request_is_closed_after_a_while(autojump_clock, connect_in_memory):
    assert await seconds_until_closed(connect_in_memory()) == pytest.approx(HEAD_TIME)


@pytest.mark.parametrize(
    ("begin", "limit"),
    [
        (b"GET /", HEAD_TIME),
        (b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", EXCHANGE_TIME),
    ],
)
async def test_a_request_that_comes_byte_by_byte_is_not_awaited_for_ever(
    autojump_clock, connect_in_memory, monkeypatch, begin, limit
):
    stream = connect_in_memory()
    start = trio.current_time()
    await stream.send_all(begin)
    with suppress(trio.BrokenResourceError):
        while True:
            await stream.send_all(b"x")
            await trio.sleep(0.5)
    assert trio.current_time() - start <= limit + LINGER_TIME + 1


async def test_an_answer_that_is_not_read_is_not_kept_for_ever(autojump_clock, connect_in_memory):
    stream = connect_in_memory()
    await stream.send_all(HEALTH_REQUEST)
    await trio.sleep(EXCHANGE_TIME + 1)
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")


async def test_after_an_answer_the_next_request_has_to_come_soon(autojump_clock, connect_in_memory):
    stream = connect_in_memory()
    await stream.send_all(HEALTH_REQUEST)
    received = 0
    while received < 100_000:
        received += len(await stream.receive_some())
    assert await seconds_until_closed(stream) == pytest.approx(KEEP_ALIVE_TIME)


async def answer_slowly(scope, _receive, send):
    """An application that the peer of a connection in memory holds in the midst of sending the head of its answer."""
    kind = "websocket.http" if scope["type"] == "websocket" else "http"
    await send({"type": f"{kind}.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": f"{kind}.response.body", "body": b"x"})


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n" + WEBSOCKET + KEY + b"\r\n"]
)
async def test_a_connection_that_its_peer_cuts_within_an_answer_ends_as_others_do(caplog, head):
    """anycorn would answer with an error then, which h11 refuses since an answer has begun."""
    ours, theirs = lockstep_stream_pair()
    theirs.socket = Socket()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HttpServer(answer_slowly, DEFAULT_LIMITS, Refusals())._serve, theirs)
        await ours.send_all(head)
        await trio.testing.wait_all_tasks_blocked()
        await theirs.receive_stream.aclose()
    assert "failed" not in caplog.text


async def hold(server, number: int) -> list[trio.SocketStream]:
    return [await trio.open_tcp_stream("127.0.0.1", server.http_port) for _ in range(number)]


@pytest.mark.parametrize("limits", [ServerLimits(max_http_per_address=3), ServerLimits(max_http=3)])
async def test_above_its_limit_the_http_port_says_that_it_is_busy(tmp_path, limits):
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path, limits=limits) as server:
        held = await hold(server, 3)
        await trio.testing.wait_all_tasks_blocked()
        status, headers, content = await whole_answer(server.http_port, HEALTH_REQUEST)
        assert problem_in((status, headers, content), 503).detail.startswith("The server is busy")
        assert int(headers["retry-after"]) > 0
        await held[0].aclose()
        await held[1].send_all(HEALTH_REQUEST)
        with trio.fail_after(HANG_TIME):
            assert (await held[1].receive_some()).startswith(b"HTTP/1.1 200 "), "those who are inside are served"
        for stream in held:
            await stream.aclose()


async def test_on_a_closed_server_nobody_makes_a_room_over_http(tmp_path):
    limits = ServerLimits(rooms_are_open=False)
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path, limits=limits) as server:
        data = b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        assert "administrator" in problem_in(await whole_answer(server.http_port, data), 403).detail


@pytest.mark.parametrize(
    "data",
    [
        b"GET /api/rooms/Kq3-secret?token=Kq3-secret HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer Kq3-secret\r\n\r\n",
        b"GET /Kq3-secret\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%ffKq3-secret HTTP/1.1\r\nHost: x\r\n\r\n",
        b"Kq3-secret\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: Kq3-secret\xff\r\nAuthorization: Kq3-secret\n\r\n\r\n",
        b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nKq3-secret\r\n",
        b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: Kq3-secret\r\n\r\n",
        b"GET /?Kq3-secret HTTP/1.1\r\nHost: x\r\n" + WEBSOCKET + KEY + b"\r\n",
    ],
)
async def test_no_word_of_a_request_reaches_a_log_on_either_port(server, caplog, data):
    caplog.set_level(0)
    for port in (server.http_port, server.ws_port):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(data)
            await stream.send_eof()
            with trio.fail_after(HANG_TIME):
                async for _ in stream:
                    pass
    assert "Kq3-secret" not in caplog.text

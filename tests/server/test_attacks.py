"""A real server in a process of its own, with 1 024 open files allowed and no more, under attack over real sockets."""

import http.client
import json
import os
import queue
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from rtc.common.errors import ExitCode
from rtc.testing.homes import STATE
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import install_stand_in

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

OPEN_FILES = 1024
FLOOD = 1200
"""Connections that an attacker makes: more than the server has descriptors."""
FACTS = {
    "status": "available",
    "name": "bench",
    "hostname": "lab-1",
    "gpu": "CPU",
    "memory_mb": 0,
    "sleap_nn": "0.3.5",
    "cuda": "none",
    "version": "1",
}
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


class Peer:
    """A WebSocket of a few lines, so that a thousand of them are cheap; blocking."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.sendall(UPGRADE + b"\r\n")
        self._received: queue.Queue[dict[str, Any]] | None = None
        self._file = sock.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._file.close()
        self.sock.close()

    def send(self, **message: object) -> None:
        payload = json.dumps(message).encode()
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        self.sock.sendall(b"\x81" + size + bytes(4) + payload)

    def stay(self) -> "Peer":
        """From now on answer pings at once, in a thread, so that the server never takes this peer for a lost one."""
        self._received = queue.Queue()
        threading.Thread(target=self._answer_pings, args=(self._received,), daemon=True).start()
        return self

    def _answer_pings(self, received: "queue.Queue[dict[str, Any]]") -> None:
        with suppress(OSError, ValueError, IndexError, AssertionError):  # the connection has ended
            while True:
                received.put(self._read_message())

    def receive(self) -> dict[str, Any]:
        """Return the next message; answer pings meanwhile."""
        return self._read_message() if self._received is None else self._received.get(timeout=HANG_TIME)

    def _read_message(self) -> dict[str, Any]:
        while True:
            opcode, size = self._file.read(1)[0] & 0x0F, self._file.read(1)[0]
            if size >= 126:
                size = int.from_bytes(self._file.read(2 if size == 126 else 8), "big")
            payload = self._file.read(size)
            if opcode == 1:
                return json.loads(payload)
            if opcode == 9:
                self.sock.sendall(bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload)
            assert opcode != 8, payload


class AttackedServer:
    """The server's process, its ports and its log."""

    def __init__(self, process: subprocess.Popen[str], ws_port: int, http_port: int, folder: Path) -> None:
        self.process = process
        self.ws_port = ws_port
        self.http_port = http_port
        self.folder = folder

    @property
    def log(self) -> str:
        return (self.folder / STATE / "logs" / "server.log").read_text()

    def get(self, path: str, address: str = "127.0.0.1", **headers: str) -> int:
        """Make one request from this local address; return the status."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.http_port, timeout=HANG_TIME, source_address=(address, 0)
        )
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def post_room(self, address: str = "127.0.0.1") -> tuple[str, str]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.http_port, timeout=HANG_TIME, source_address=(address, 0)
        )
        try:
            connection.request("POST", "/api/rooms")
            made = json.loads(connection.getresponse().read())
            return made["room_id"], made["token"]
        finally:
            connection.close()

    def join(
        self, room: tuple[str, str], role: str = "client", address: str = "127.0.0.1", **more: str
    ) -> tuple[Peer, dict[str, Any]]:
        """Join a room from this local address; return the WebSocket and the answer."""
        peer = Peer(self.raw(self.ws_port, address=address))
        facts = {"facts": FACTS} if role == "worker" else {}
        versions = {"oldest": 3, "newest": 3}
        peer.send(type="JOIN", room=room[0], token=room[1], role=role, versions=versions, **facts, **more)
        return peer, peer.receive()

    def raw(self, port: int, data: bytes = b"", address: str = "127.0.0.1") -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), timeout=HANG_TIME, source_address=(address, 0))
        if data:
            sock.sendall(data)
        return sock


@contextmanager
def start(
    folder: Path,
    *options: str,
    program: tuple[str, ...] = ("server", "--host", "127.0.0.1", "--ws-port", "0", "--http-port", "0"),
    soft: int = OPEN_FILES,
) -> Iterator[AttackedServer]:
    """Run a program that is a server, with `OPEN_FILES` allowed at most, and check that nothing has ended it."""

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, OPEN_FILES))

    with subprocess.Popen(
        [sys.executable, "-m", "rtc", *program, *options],
        cwd=ROOT,
        env={**os.environ, "HOME": str(folder)},
        preexec_fn=lower,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            ports = re.findall(r"://127\.0\.0\.1:(\d+)", process.stdout.readline())
            yield AttackedServer(process, *map(int, ports), folder)
            assert process.poll() is None, "the attack ended the program"
            process.send_signal(signal.SIGTERM)
            assert process.wait(HANG_TIME) == ExitCode.DONE
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def enough_descriptors() -> Iterator[None]:
    """The attacker needs more descriptors than the server has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3 * FLOOD:
        pytest.skip("the system allows too few open files for an attacker")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3 * FLOOD), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AttackedServer]:
    with start(tmp_path) as server:
        yield server


def many(number: int) -> str:
    """Return one of very many loopback addresses."""
    return f"127.1.{number // 250}.{1 + number % 250}"


ATTACKS = {
    "idle": b"",
    "half a head": b"GET /health HTTP/1.1\r\nHost: x\r\n",
    "half a handshake": UPGRADE,
    "a handshake": UPGRADE + b"\r\n",
    "half a body": b"POST /api/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
}


@pytest.mark.parametrize("spread", [False, True], ids=["one address", "many addresses"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_more_connections_than_descriptors_end_nothing_and_keep_nobody_out(server, attack, spread):
    """On both ports at once; those who are inside are served on, and new honest ones get in."""
    room = server.post_room("127.0.0.2")
    inside, joined = server.join(room, "worker", "127.0.0.2")
    with inside.stay(), ExitStack() as attackers:
        for number in range(FLOOD // 2):
            for port in (server.ws_port, server.http_port):
                address = many(number) if spread else "127.0.0.3"
                attackers.enter_context(server.raw(port, ATTACKS[attack], address))
        assert server.get("/health", "127.0.0.4") == 200
        client, answer = server.join(room, "client", "127.0.0.4")
        with client:
            assert [worker["peer"] for worker in answer["workers"]] == [joined["peer"]]
            client.send(type="OFFER", peer=joined["peer"], sdp="sdp", number=1)
            assert inside.receive()["type"] == "OFFER"


def test_a_worker_with_a_server_of_its_own_survives_the_same(tmp_path):
    folders = ("--work-dir", str(tmp_path / "work"), "--results-dir", str(tmp_path / "results"))
    ports = ("--serve", "--serve-host", "127.0.0.1", "--ws-port", "0", "--http-port", "0")
    stand_in = str(install_stand_in(tmp_path / "bin"))
    with start(tmp_path, *ports, *folders, "--sleap-nn", stand_in, program=("worker",)) as server:
        banner = ""
        while "Ctrl-C" not in banner:  # then the worker has joined its room
            line = server.process.stdout.readline()
            assert line, banner
            banner += line
        room = re.search(r"--room-id (\S+) --token (\S+)", banner).groups()
        with ExitStack() as attackers:
            for number in range(FLOOD):
                port = server.http_port if number % 2 else server.ws_port
                attackers.enter_context(server.raw(port, b"GET", many(number)))
            assert server.get("/health", "127.0.0.4") == 200
            client, answer = server.join(room, "client", "127.0.0.4")
            attackers.enter_context(client)
            assert len(answer["workers"]) == 1, "its worker is in its room"


def test_a_server_without_a_free_descriptor_goes_on_when_there_is_one(server):
    pid = server.process.pid
    room = server.post_room()
    used = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, OPEN_FILES))
    with ExitStack() as waiting:
        for _ in range(5):
            waiting.enter_context(server.raw(server.http_port, b"GET"))
            waiting.enter_context(server.raw(server.ws_port, b"GET"))
        with server.raw(server.http_port, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as late:
            late.settimeout(1)
            with pytest.raises(TimeoutError):
                late.recv(1)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
            late.settimeout(HANG_TIME)
            assert late.recv(100).startswith(b"HTTP/1.1 200 ")
        peer, answer = server.join(room)
        with peer:
            assert answer["type"] == "JOINED"
    assert 1 <= server.log.count("EMFILE") <= 2, "not ten times a second"
    assert "Traceback" not in server.log


def test_one_address_leaves_places_for_others(server):
    """It makes all the rooms that it may, fills them with members that do nothing, and collects proofs of old ids."""
    host = server.post_room("127.0.0.2")
    inside, joined = server.join(host, "worker", "127.0.0.2")
    rooms = [server.post_room("127.0.0.3") for _ in range(4)]
    with inside.stay(), ExitStack() as attackers:
        answers = []
        for number in range(FLOOD):
            peer, answer = server.join(rooms[number % len(rooms)], "client", "127.0.0.3")
            attackers.enter_context(peer)
            answers.append(answer)
            if answer["type"] == "FAULT":
                break
        assert answers[-1]["code"] == "room_full"
        assert "your address" in answers[-1]["text"]
        assert len(answers) > 300, "the limit is no smaller than it has to be"
        forged = {"peer": answers[0]["peer"], "resume": "0" * 64}
        peer, answer = server.join(rooms[0], "client", "127.0.0.3", **forged)
        attackers.enter_context(peer)
        assert answer["type"] == "FAULT", "a forged proof is none"
        again = {"peer": answers[0]["peer"], "resume": answers[0]["resume"]}
        peer, answer = server.join(rooms[0], "client", "127.0.0.3", **again)
        attackers.enter_context(peer)
        assert answer["peer"] == answers[0]["peer"], "who is there already may connect again"
        for number in range(20):
            client, answer = server.join(host, "client", many(number))
            attackers.enter_context(client)
            assert [worker["peer"] for worker in answer["workers"]] == [joined["peer"]]


def test_a_server_with_too_few_descriptors_says_so_in_one_sentence(tmp_path):
    command = f"ulimit -n 80; exec {sys.executable} -m rtc server --ws-port 0 --http-port 0 --data {tmp_path}"
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == ExitCode.USAGE
    assert "ulimit -n" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_soft_limit_is_raised_and_a_low_hard_limit_is_said(tmp_path):
    with start(tmp_path, "--data", str(tmp_path / "data"), soft=256) as server:
        assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (OPEN_FILES, OPEN_FILES)
        lines = [server.process.stdout.readline() for _ in range(2)]
        assert "LimitNOFILE" in lines[1]


def test_the_administrator_makes_a_room_beside_a_closed_server(tmp_path):
    with start(tmp_path, "--rooms", "closed", "--data", str(tmp_path / "data")) as server:
        peer = Peer(server.raw(server.ws_port))
        with peer:
            peer.send(type="CREATE_ROOM", versions={"oldest": 3, "newest": 3})
            answer = peer.receive()
            assert answer["code"] == "room_denied"
            assert "sleap-rtc server admin create-room" in answer["text"]
        assert server.get("/api/rooms/x") == 404
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=HANG_TIME)
        connection.request("POST", "/api/rooms")
        assert connection.getresponse().status == 403
        connection.close()
        words = ["server", "admin", "create-room", "--name", "Lab 3", "--data", str(tmp_path / "data")]
        done = subprocess.run([sys.executable, "-m", "rtc", *words], capture_output=True, text=True, check=True)
        room = re.search(r"Room id: +(\S+)", done.stdout)[1], re.search(r"Token: +(\S+)", done.stdout)[1]
        peer, answer = server.join(room, "worker")
        with peer:
            assert answer["type"] == "JOINED"
        worker = [sys.executable, "-m", "rtc", "worker", "--server", f"ws://127.0.0.1:{server.ws_port}"]
        done = subprocess.run(
            worker, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == ExitCode.AUTHENTICATION
        assert done.stderr.startswith("sleap-rtc: On this server only the administrator makes rooms")
        assert done.stderr.count("\n") == 1

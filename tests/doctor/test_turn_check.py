"""The doctor's TURN check with a real TURN server, coturn, on loopback: each kind of mistake has its own finding."""

import datetime
import ipaddress
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rtc.config.ice_servers import IceServer, read_ice_url
from rtc.doctor.finding import Level
from rtc.doctor.turn import check_turn
from rtc.transport.webrtc import AsyncioLoop
from rtc.transport.webrtc.turn_probe import ProbeAnswer, probe_turn

PASSWORD = "canary-password"
coturn = pytest.mark.skipif(
    shutil.which("turnserver") is None, reason="needs coturn's turnserver: apt-get install coturn"
)


@frozen
class Turn:
    """A running coturn."""

    port: int
    tls_port: int
    certificate: Path

    def server(self, form: str, password: str = PASSWORD) -> IceServer:
        return IceServer(form.format(port=self.port, tls=self.tls_port), "lab", password)


def free_port() -> int:
    """Return a port that no program uses now, neither over TCP nor over UDP."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port = int(tcp.getsockname()[1])
        udp.bind(("127.0.0.1", port))
    return port


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1 and its key; returns both files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "turn.test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "turn.pem", folder / "turn.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    return certificate, private


@asynccontextmanager
async def open_coturn(folder: Path) -> AsyncIterator[Turn]:
    """Run coturn on loopback, with one user, without root rights."""
    certificate, private = make_certificate(folder)
    turn = Turn(free_port(), free_port(), certificate)
    (folder / "turn.conf").write_text(
        f"listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\nlistening-port={turn.port}\ntls-listening-port={turn.tls_port}\n"
        f"cert={certificate}\npkey={private}\nlt-cred-mech\nuser=lab:{PASSWORD}\nrealm=test\nno-cli\nno-dtls\n"
        f"allow-loopback-peers\nlog-file=stdout\nsimple-log\npidfile={folder / 'turn.pid'}\nuserdb={folder / 'db'}\n"
    )
    process = await trio.lowlevel.open_process(
        ["turnserver", "-c", str(folder / "turn.conf")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder
    )
    try:
        assert process.stdout is not None
        async with process.stdout, trio.open_nursery() as nursery:
            await nursery.start(_read_until, process.stdout, b"SQLite DB connection success")
            yield turn
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _read_until(
    stream: trio.abc.ReceiveStream, mark: bytes, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Report the task as started when `mark` was read; read on, since the program would block on a full pipe."""
    seen = b""
    with trio.fail_after(20) as time_limit:
        async for piece in stream:
            seen += piece
            if mark in seen and time_limit.deadline < float("inf"):
                time_limit.deadline = float("inf")
                task_status.started()


@coturn
async def test_a_real_allocation_is_made_over_udp_and_tcp(asyncio_loop: AsyncioLoop, tmp_path: Path) -> None:
    async with open_coturn(tmp_path) as turn:
        for form in ("turn:127.0.0.1:{port}", "turn:127.0.0.1:{port}?transport=tcp", "turn:localhost:{port}"):
            finding = await check_turn(turn.server(form), asyncio_loop)
            assert (finding.level, finding.detail) == (Level.OK, "relays from 127.0.0.1"), form


@coturn
async def test_a_wrong_password_is_reported_and_not_shown(asyncio_loop: AsyncioLoop, tmp_path: Path) -> None:
    async with open_coturn(tmp_path) as turn:
        for form in ("turn:127.0.0.1:{port}", "turn:127.0.0.1:{port}?transport=tcp"):
            finding = await check_turn(turn.server(form, "another-canary"), asyncio_loop)
            assert finding.level is Level.FAIL
            assert "user name and password" in finding.detail
            assert "canary" not in f"{finding}"


@coturn
async def test_tls_is_tried_with_its_certificate(
    asyncio_loop: AsyncioLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_coturn(tmp_path) as turn:
        untrusted = await check_turn(turn.server("turns:127.0.0.1:{tls}"), asyncio_loop)
        assert untrusted.level is Level.FAIL
        assert "certificate is not trusted" in untrusted.detail
        monkeypatch.setenv("SSL_CERT_FILE", str(turn.certificate))
        assert (await check_turn(turn.server("turns:127.0.0.1:{tls}"), asyncio_loop)).level is Level.OK
        wrong_name = await check_turn(turn.server("turns:localhost:{tls}"), asyncio_loop)
        assert "certificate" in wrong_name.detail
        assert wrong_name.level is Level.FAIL


@pytest.mark.parametrize("form", ["turn:127.0.0.1:9", "turn:127.0.0.1:9?transport=tcp", "turns:127.0.0.1:9"])
async def test_a_closed_port_is_reported(asyncio_loop: AsyncioLoop, form: str) -> None:
    finding = await check_turn(IceServer(form, "lab", PASSWORD), asyncio_loop)
    assert (finding.level, finding.detail) == (Level.FAIL, "the port is closed")


@pytest.mark.parametrize(
    ("urls", "expected_detail"), [("turn:no-such-host.invalid", "cannot be reached"), ("turn:a b", "cannot be used")]
)
async def test_an_address_that_does_not_exist_is_reported(
    asyncio_loop: AsyncioLoop, urls: str, expected_detail: str
) -> None:
    finding = await check_turn(IceServer(urls, "lab", PASSWORD), asyncio_loop)
    assert finding.level is Level.FAIL
    assert expected_detail in finding.detail


async def test_a_server_that_does_not_answer_is_reported_in_time(
    asyncio_loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.transport.webrtc.turn_probe.PROBE_TIME", 0.3)
    monkeypatch.setattr("rtc.doctor.turn.CONNECT_TIME", 0.2)
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.create_server(("127.0.0.1", 0)) as tcp:
        udp.bind(("127.0.0.1", 0))
        for urls in (
            f"turn:127.0.0.1:{udp.getsockname()[1]}",
            f"turn:127.0.0.1:{tcp.getsockname()[1]}?transport=tcp",
            f"turns:127.0.0.1:{tcp.getsockname()[1]}",
        ):
            with trio.fail_after(5):
                finding = await check_turn(IceServer(urls, "lab", PASSWORD), asyncio_loop)
            assert finding.level is Level.FAIL
            assert "no answer" in finding.detail
            assert ("the port is open" in finding.detail) is ("udp" not in read_ice_url(urls).transport)


async def test_a_port_without_tls_is_reported(asyncio_loop: AsyncioLoop) -> None:
    async def answer_in_plain_http(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer_in_plain_http, [listener])
        urls = f"turns:127.0.0.1:{listener.socket.getsockname()[1]}"
        server = IceServer(urls, "lab", PASSWORD)
        probed = await probe_turn(asyncio_loop, server, read_ice_url(urls), "127.0.0.1")
        nursery.cancel_scope.cancel()
    assert probed.answer is ProbeAnswer.NO_TLS

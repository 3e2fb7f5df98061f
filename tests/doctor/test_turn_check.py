"""The doctor's TURN check with a real TURN server, coturn, on loopback: each kind of mistake has its own finding."""

import datetime
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
from rtc.testing.coturn import needs_coturn, open_coturn
from rtc.testing.limits import HANG_TIME
from rtc.testing.ports import open_port
from rtc.transport.webrtc import AsyncioLoop, turn_probe
from rtc.transport.webrtc.turn_probe import ProbeAnswer, probe_turn

PASSWORD = "canary-password"


@frozen
class Turn:
    """A running coturn."""

    port: int
    tls_port: int
    certificate: Path

    def server(self, form: str, password: str = PASSWORD) -> IceServer:
        return IceServer(form.format(port=self.port, tls=self.tls_port), "lab", password)


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


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Turn]:
    """A coturn with one user, over UDP, TCP and TLS."""
    folder = tmp_path_factory.mktemp("turn")
    certificate, private = make_certificate(folder)
    with (
        open_port() as tls_port,
        open_coturn(
            folder,
            "lt-cred-mech",
            f"user=lab:{PASSWORD}",
            f"tls-listening-port={tls_port}",
            f"cert={certificate}",
            f"pkey={private}",
        ) as coturn,
    ):
        yield Turn(coturn.port, tls_port, certificate)


@needs_coturn
@pytest.mark.slow
async def test_a_real_allocation_is_made_over_udp_and_tcp(asyncio_loop: AsyncioLoop, turn: Turn) -> None:
    for form in ("turn:127.0.0.1:{port}", "turn:127.0.0.1:{port}?transport=tcp", "turn:localhost:{port}"):
        finding = await check_turn(turn.server(form), asyncio_loop)
        assert (finding.level, finding.detail) == (Level.OK, "relays from 127.0.0.1"), form


@needs_coturn
@pytest.mark.slow
@pytest.mark.parametrize(("mismatches", "level"), [(2, Level.OK), (3, Level.FAIL)])
async def test_a_port_that_was_used_a_moment_ago_is_exchanged_for_another(
    asyncio_loop: AsyncioLoop, turn: Turn, monkeypatch: pytest.MonkeyPatch, mismatches: int, level: Level
) -> None:
    real, calls = turn_probe.create_turn_endpoint, []

    async def create_turn_endpoint(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) <= mismatches:
            mismatch = turn_probe.TransactionError()
            mismatch.response = SimpleNamespace(error_code=437)
            raise mismatch
        return await real(*arguments, **options)

    monkeypatch.setattr(turn_probe, "create_turn_endpoint", create_turn_endpoint)
    assert (await check_turn(turn.server("turn:127.0.0.1:{port}"), asyncio_loop)).level is level
    assert len(calls) == 3


@needs_coturn
@pytest.mark.slow
async def test_a_wrong_password_is_reported_and_not_shown(asyncio_loop: AsyncioLoop, turn: Turn) -> None:
    for form in ("turn:127.0.0.1:{port}", "turn:127.0.0.1:{port}?transport=tcp"):
        finding = await check_turn(turn.server(form, "another-canary"), asyncio_loop)
        assert finding.level is Level.FAIL
        assert "user name and password" in finding.detail
        assert "canary" not in f"{finding}"


@needs_coturn
@pytest.mark.slow
async def test_tls_is_tried_with_its_certificate(
    asyncio_loop: AsyncioLoop, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    monkeypatch.setattr("aioice.stun.RETRY_RTO", 10 * HANG_TIME)  # aioice alone would never give up
    monkeypatch.setattr("rtc.transport.webrtc.turn_probe.PROBE_TIME", 0.1)
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.create_server(("127.0.0.1", 0)) as tcp:
        udp.bind(("127.0.0.1", 0))
        for urls, connect_time in (
            (f"turn:127.0.0.1:{udp.getsockname()[1]}", 0.1),
            (f"turn:127.0.0.1:{tcp.getsockname()[1]}?transport=tcp", HANG_TIME),
            (f"turns:127.0.0.1:{tcp.getsockname()[1]}", HANG_TIME),
        ):
            monkeypatch.setattr("rtc.doctor.turn.CONNECT_TIME", connect_time)
            with trio.fail_after(HANG_TIME):
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

"""A real TURN server for tests: coturn, on 127.0.0.1, as an ordinary user."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from rtc.doctor.stun import TRANSACTION_BYTES, binding_request
from rtc.testing.limits import HANG_TIME
from rtc.testing.ports import open_port

PROGRAM = shutil.which("turnserver")
needs_coturn = pytest.mark.skipif(PROGRAM is None, reason="needs coturn's turnserver: apt-get install coturn")
CONFIG = """
listening-ip=127.0.0.1
relay-ip=127.0.0.1
listening-port={port}
realm=test
allow-loopback-peers
no-cli
no-dtls
log-file=stdout
simple-log
userdb={folder}/turn.db
pidfile={folder}/turn.pid
"""
POLL_TIME = 0.05
"""Seconds between two requests to a server that does not answer yet; it does not report when it is ready."""


@frozen
class Coturn:
    """A running coturn."""

    port: int
    """Its port for UDP and for TCP."""
    process: "subprocess.Popen[bytes]"


@contextmanager
def open_coturn(folder: Path, *options: str) -> Iterator[Coturn]:
    """Run coturn with `CONFIG` and these lines of configuration; it answers over UDP and TCP when this yields.

    Args:
        folder: an existing folder for its files.
        options: each a line of coturn's configuration, as `user=name:password`.
    """
    with open_port() as port, (folder / "turn.log").open("wb") as log:
        config = folder / "turn.conf"
        config.write_text("\n".join((CONFIG.format(port=port, folder=folder), *options, "")))
        program = [PROGRAM or "turnserver", "-c", str(config)]
        with subprocess.Popen(program, stdout=log, stderr=subprocess.STDOUT, cwd=folder) as process:
            try:
                _wait_until_answered(port, process, folder / "turn.log")
                yield Coturn(port, process)
            finally:
                process.kill()


def _wait_until_answered(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + HANG_TIME
    while not (_is_answered_over_udp(port) and _is_accepted_over_tcp(port)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"coturn does not answer:\n{log.read_text(errors='replace')}")
        time.sleep(POLL_TIME)


def _is_answered_over_udp(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(POLL_TIME)
        sock.connect(("127.0.0.1", port))
        try:
            sock.send(binding_request(bytes(TRANSACTION_BYTES)))
            return bool(sock.recv(2048))
        except OSError:  # the port is closed, or no answer came yet
            return False


def _is_accepted_over_tcp(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), HANG_TIME).close()
    except OSError:
        return False
    return True

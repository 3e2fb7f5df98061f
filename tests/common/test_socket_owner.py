"""Whose socket the other end of a local connection is."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtc.common import socket_owner
from rtc.common.socket_owner import PeerOwner, find_peer_owner
from rtc.testing.users import can_become_another_user

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the sockets of all users")
ABORT = struct.pack("ii", 1, 0)
"""A value of SO_LINGER: closing resets the connection."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@contextmanager
def connected(listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield the connecting and the accepted end of a connection."""
    with socket.create_connection(listener.getsockname()) as ours, listener.accept()[0] as accepted:
        yield ours, accepted


def test_both_ends_of_a_connection_with_ourselves_are_ours(listener: socket.socket) -> None:
    with connected(listener) as (ours, accepted):
        assert find_peer_owner(accepted.fileno()) is PeerOwner.OURS
        assert find_peer_owner(ours.fileno()) is PeerOwner.OURS
        assert accepted.fileno() != -1, "it stays open"


def test_the_other_end_is_judged_by_its_user_and_root_is_trusted(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(listener) as (_, accepted):
        found = {}
        for uid in (0, 1000, 1001):
            monkeypatch.setattr(socket_owner, "_find_user", lambda *_ends, uid=uid: uid)
            monkeypatch.setattr(os, "geteuid", lambda: 1000)
            found[uid] = find_peer_owner(accepted.fileno())
    assert found == {0: PeerOwner.OURS, 1000: PeerOwner.OURS, 1001: PeerOwner.ANOTHER}


@pytest.mark.parametrize("linger", [None, ABORT])
def test_an_end_that_sent_something_and_closed_at_once_is_nobodys(
    listener: socket.socket, linger: bytes | None
) -> None:
    """Its socket is then listed with user 0."""
    with socket.create_connection(listener.getsockname()) as ours:
        if linger is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        ours.sendall(b"forged")
    with listener.accept()[0] as accepted:
        assert find_peer_owner(accepted.fileno()) is PeerOwner.GONE


def test_an_end_that_nobody_has_accepted_yet_is_nobodys(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as ours:
        assert find_peer_owner(ours.fileno()) is PeerOwner.GONE


def test_a_row_of_a_later_connection_with_the_same_ends_does_not_count(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(listener) as (ours, accepted):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        ours.close()
        monkeypatch.setattr(socket_owner, "_find_user", lambda *_ends: os.geteuid())
        assert find_peer_owner(accepted.fileno()) is PeerOwner.GONE


@pytest.mark.skipif(not socket.has_ipv6 or not Path("/proc/net/tcp6").exists(), reason="needs IPv6")
def test_an_ipv6_socket_with_an_ipv4_address_is_found_too(listener: socket.socket) -> None:
    with socket.socket(socket.AF_INET6) as ours:
        ours.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))
        with listener.accept()[0] as accepted:
            assert find_peer_owner(accepted.fileno()) is PeerOwner.OURS


def test_where_the_table_cannot_be_read_the_owner_is_unknown_and_that_is_said_once(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    socket_owner._report_unreadable.cache_clear()
    monkeypatch.setattr(socket_owner, "TABLES", (tmp_path / "tcp", tmp_path / "tcp6"))
    with connected(listener) as (_, accepted):
        assert [find_peer_owner(accepted.fileno()) for _ in range(2)] == [PeerOwner.UNKNOWN] * 2
    assert len(caplog.records) == 1
    assert PeerOwner.UNKNOWN.may_talk
    assert not PeerOwner.GONE.may_talk


def test_a_descriptor_that_is_no_connection_is_nobodys(listener: socket.socket) -> None:
    assert find_peer_owner(listener.fileno()) is PeerOwner.GONE


STRANGER = """
import os, socket, sys
os.setuid(65533)
connection = socket.socket()  # create_connection would import modules that this user may not be able to read
connection.connect(("127.0.0.1", int(sys.argv[1])))
sys.stdout.write("connected")
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.skipif(not can_become_another_user(), reason="only root can become another user")
def test_a_real_other_user_is_another(listener: socket.socket) -> None:
    command = [sys.executable, "-c", STRANGER, str(listener.getsockname()[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.read(9) == "connected"
        with listener.accept()[0] as accepted:
            assert find_peer_owner(accepted.fileno()) is PeerOwner.ANOTHER
        program.communicate()

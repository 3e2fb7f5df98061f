"""STUN and TURN servers: their addresses, what our server hands out, and that credentials are renewed in time."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
import trio
from trio.testing import memory_stream_pair
from trio_websocket import wrap_client_stream

import cli
from protocol.ids import PeerId, RoomId
from protocol.signaling import ICE_MAX, IceServerEntry, IceServers, Join, Joined
from protocol.status import Role
from protocol.wire import FRAME_MAX, FROM_SERVER, decode, encode
from rtc.common.errors import ExitCode, RtcError
from rtc.config.ice_servers import IceAddress, IcePlan, IceServer, read_ice_url, usable_servers
from rtc.server.rate_limits import RateLimits
from rtc.server.rooms import LIST_MAX
from rtc.server.signaling import SignalingServer
from rtc.server.turn_credentials import LIFE_TIME, TurnCredentials, read_turn_credentials

SECRET = b"only for this test, and long"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("stun:a.example.org", IceAddress("stun", "a.example.org", 3478, "udp")),
        ("stun:10.0.0.1:19302", IceAddress("stun", "10.0.0.1", 19302, "udp")),
        ("turn:a:1", IceAddress("turn", "a", 1, "udp")),
        ("turn:a?transport=udp", IceAddress("turn", "a", 3478, "udp")),
        ("turn:a:443?transport=tcp", IceAddress("turn", "a", 443, "tcp")),
        ("turns:a", IceAddress("turns", "a", 5349, "tcp")),
        ("turn:[fd00::2]:3478", IceAddress("turn", "fd00::2", 3478, "udp")),
    ],
)
def test_addresses_are_read(url: str, address: IceAddress) -> None:
    assert read_ice_url(url) == address


@pytest.mark.parametrize(
    "url",
    [
        *("", "stun:", "turn", "http:a", "stuns:a", "turn://a", "turn:a:0", "turn:a:65536", "turn:a:x", "turn:a b"),
        *("turn:a?transport=sctp", "stun:a?transport=udp", "turns:a?transport=udp", "turn:u:p@a", "turn:a\n", "turn:ä"),
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        read_ice_url(url)


def test_ice_servers_that_cannot_be_used_are_left_out() -> None:
    given = (
        IceServerEntry("stun:a"),
        IceServerEntry("quic:b"),
        IceServerEntry("turn:c"),
        IceServerEntry("turn:d", "name", "word"),
    )
    assert usable_servers(given) == (IceServer("stun:a"), IceServer("turn:d", "name", "word"))
    assert IcePlan(usable_servers(given)).can_relay
    assert not IcePlan(usable_servers(given[:3])).can_relay


def test_credentials_are_the_peers_own_and_hidden() -> None:
    turn_credentials = TurnCredentials(("stun:a",), ("turn:b", "turns:c"), SECRET, lambda: 1000.7)
    plain, one, two = turn_credentials.for_peer(PeerId("worker-1"))
    assert (plain.urls, plain.username, plain.credential) == ("stun:a", "", "")
    assert one.username == two.username == f"{1000 + LIFE_TIME}:worker-1"
    expected = base64.b64encode(hmac.new(SECRET, one.username.encode(), hashlib.sha1).digest()).decode()
    assert one.credential == two.credential == expected
    assert one.credential != turn_credentials.for_peer(PeerId("worker-2"))[1].credential
    for text in (repr(turn_credentials), repr(one), repr(usable_servers((one,)))):
        assert expected not in text
        assert SECRET.decode() not in text


def test_a_server_without_ice_servers_sends_none() -> None:
    assert TurnCredentials().for_peer(PeerId("worker-1")) == ()


def test_the_longest_list_of_ice_servers_fits_into_joined_together_with_a_full_room() -> None:
    urls = tuple(f"turn:{'h' * 170}:{port}?transport=tcp" for port in range(3478, 3478 + ICE_MAX))
    turn_credentials = TurnCredentials(turn=urls, secret=SECRET).for_peer(PeerId("p" * 100))
    joined = Joined(RoomId("r" * 100), PeerId("p" * 100), "x" * 64, (), turn_credentials)
    assert len(encode(joined)) <= FRAME_MAX - LIST_MAX


def test_a_secret_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"  " + SECRET + b"\n")
    assert read_turn_credentials(("stun:a",), ("turn:b",), file).secret == SECRET
    assert read_turn_credentials((), (), None) == TurnCredentials()


@pytest.mark.parametrize(
    ("stun", "turn", "secret", "says"),
    [
        (("turn:a",), (), SECRET, "--stun-url is not what it should be"),
        ((), ("stun:a",), SECRET, "--turn-url is not what it should be"),
        ((), ("turn:a b",), SECRET, "--turn-url is not what it should be"),
        ((), ("turn:a",) * 9, SECRET, "At most 8"),
        ((), ("turn:a",), b"short\n", "16 characters or more"),
        ((), ("turn:a",), b"x" * 5000, "16 characters or more"),
        ((), ("turn:a",), None, "cannot be read"),
    ],
)
def test_wrong_ice_servers_are_a_usage_error(
    tmp_path: Path, stun: tuple[str, ...], turn: tuple[str, ...], secret: bytes | None, says: str
) -> None:
    file = tmp_path / "secret"
    if secret is not None:
        file.write_bytes(secret)
    with pytest.raises(RtcError, match=says) as caught:
        read_turn_credentials(stun, turn, file)
    assert caught.value.exit_code is ExitCode.USAGE
    assert SECRET.decode() not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("words", [("--turn-url", "turn:a"), ("--turn-secret-file", "f")])
def test_turn_servers_and_their_secret_go_together(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["server", *words]) == ExitCode.USAGE
    assert "go together" in capsys.readouterr().err


class RoomStore:
    """A store with one room, whose token is "token"."""

    async def create_room(self, name: str) -> tuple[RoomId, str]:
        raise AssertionError(name)

    async def is_token_of(self, room: RoomId, token: str) -> bool:
        await trio.lowlevel.checkpoint()
        return (room, token) == ("room", "token")

    def resume_proof(self, room: RoomId, peer: PeerId) -> str:
        return f"{room}-{peer}"


async def test_a_peer_that_stays_gets_new_credentials_before_the_old_ones_expire(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    turn_credentials = TurnCredentials(("stun:a",), ("turn:b",), SECRET, trio.current_time)
    signaling = SignalingServer(RoomStore(), RateLimits(), turn_credentials)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")  # no peer connects to it
    await nursery.start(signaling.run, listeners)
    ours, theirs = memory_stream_pair()
    nursery.start_soon(signaling.serve, theirs, "10.0.0.1")
    ws = await wrap_client_stream(nursery, ours, "host", "/")
    await ws.send_message(encode(Join(RoomId("room"), "token", Role.CLIENT)))
    joined = decode(await ws.get_message(), FROM_SERVER)
    assert isinstance(joined, Joined)
    assert joined.ice == turn_credentials.for_peer(joined.peer)
    good_until = [expiry(joined.ice)]
    for _ in range(3):
        message = decode(await ws.get_message(), FROM_SERVER)
        assert isinstance(message, IceServers)
        assert trio.current_time() < good_until[-1] - LIFE_TIME / 4
        good_until.append(expiry(message.ice))
    assert good_until == sorted(set(good_until))
    signaling.stop()
    nursery.cancel_scope.cancel()


def expiry(ice: tuple[IceServerEntry, ...]) -> int:
    """Return the time in seconds at which the credentials expire."""
    return int((ice[1].username or "").partition(":")[0])

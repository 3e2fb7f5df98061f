"""Checks of the signalling server: can it be reached, is it a sleap-rtc server of our version, is its clock right."""

import email.utils
import http.client
import secrets
import time
from contextlib import suppress
from urllib.parse import urlsplit

import trio
from attrs import field, frozen

from actors.events import ServerConnected, ServerDisconnected
from actors.mailbox import Mailbox
from protocol.converter import WireError, from_json
from protocol.faults import Fault, FaultCode
from protocol.fields import Integer, SingleLine
from protocol.http import HEALTH, Health
from protocol.ids import RoomId
from protocol.signaling import Join, ToServer
from protocol.status import Role
from protocol.version import VERSION_MAX, VERSIONS, VersionRange, no_common_version
from rtc.common.text import clean
from rtc.doctor.finding import Finding, fail, ok, skip, warn
from rtc.transport.signaling.connection import SignalingEvent, run_signaling

REACH_TIME = 8.0
"""Seconds for one answer; less than `CHECK_TIME`, so that the finding says more than that the check timed out."""
ANSWER_MAX = 64 * 1024
"""Bytes of an HTTP answer that are read."""
SKEW_MAX = 30.0
"""Seconds between two clocks that are accepted; TURN credentials and certificates expire by the clock."""
START_SERVER = "Point elsewhere with --server or SLEAP_RTC_SIGNALING_WS, or start one of your own: sleap-rtc server"
SAME_VERSION = "Install the same version of sleap-rtc on both sides."
SET_HTTP_ADDRESS = "Give the address of its HTTP side with SLEAP_RTC_SIGNALING_HTTP, or as signaling_http in the file."


async def check_websocket(url: str) -> Finding:
    """Check the signalling server: connect and join a room that cannot exist. Only our server answers `ROOM_DENIED`."""
    event = await _first_event(url)
    match event:
        case ServerDisconnected():
            return fail(*_split_sentences(event.text))
        case Fault(code=FaultCode.ROOM_DENIED):
            return ok("answers, and speaks a version of the protocol that this sleap-rtc speaks")
        case Fault(code=FaultCode.VERSION):
            return _version_finding(clean(event.text))
        case _:
            return fail("it answers otherwise than this sleap-rtc expects", SAME_VERSION)


def _version_finding(sentence: str) -> Finding:
    """Return the finding that there is no common version, from the sentence that says so and what to install."""
    what, _, advice = sentence.partition(", so ")
    return fail(what, f"{advice[:1].upper()}{advice[1:]}" or SAME_VERSION)


def _split_sentences(sentences: str) -> tuple[str, str]:
    """Split the text of a connection error into what happened (its first sentence) and what to try (the rest)."""
    text = clean(sentences)
    end = text.find(". ")
    return (text, START_SERVER) if end < 0 else (text[:end], text[end + 2 :])


async def _first_event(url: str) -> SignalingEvent:
    """Connect and send `Join`; return the first answer, or the event that the connection has failed."""
    outgoing: Mailbox[ToServer] = Mailbox()
    received: list[SignalingEvent] = []
    with trio.CancelScope() as scope:

        async def handle(event: SignalingEvent) -> None:
            if isinstance(event, ServerConnected):
                room = RoomId(f"doctor-{secrets.token_hex(8)}")
                outgoing.put(Join(room, secrets.token_urlsafe(16), Role.CLIENT))
                return
            received.append(event)
            scope.cancel()

        await run_signaling(url, on_event=handle, outgoing=outgoing, timeout=REACH_TIME)
    return received[0]


@frozen
class Reply:
    """An answer of the server's HTTP API, and when it came."""

    status: int
    body: bytes
    date: str | None
    """The `Date` header, None if there is none."""
    sent_at: float
    """When the request was sent, in seconds since 1970 by this machine's clock."""
    received_at: float
    """When the answer came, by the same clock."""


async def check_http(url: str) -> Finding:
    """Check that the HTTP API answers, and that it speaks a version of the protocol that we speak.

    Jobs do not need it, but the dashboard does.
    """
    try:
        reply = await fetch_health(url)
    except (OSError, http.client.HTTPException) as error:
        return warn(f"it cannot be reached ({_reason(error)})", f"Jobs run without it. {START_SERVER}")
    health = _read_health(reply.body)
    if health is None:
        return warn(f"what answers there is no sleap-rtc server (HTTP status {reply.status})", SET_HTTP_ADDRESS)
    common = VERSIONS.common(health.protocol)
    if common is None:
        return _version_finding(
            no_common_version(health.protocol, VERSIONS, us="the server", our_place="on the server")
        )
    return ok(f"sleap-rtc {clean(health.version)[:40]}, protocol version {common}")


@frozen
class _OldHealth:
    """What a server of before version 3 answers to `GET /health`: it speaks one version."""

    version: str = field(validator=SingleLine(64))
    protocol: int = field(validator=Integer(1, VERSION_MAX))


def _read_health(body: bytes) -> Health | None:
    """Return what a sleap-rtc server of any version says about itself; None if the answer is something else."""
    with suppress(WireError):
        health: Health = from_json(body, Health, limit=ANSWER_MAX)
        return health
    with suppress(WireError):
        old: _OldHealth = from_json(body, _OldHealth, limit=ANSWER_MAX)
        return Health("ok", old.version, VersionRange(old.protocol, old.protocol))
    return None


async def check_clock(url: str) -> Finding:
    """Compare this machine's clock with the server's."""
    try:
        reply = await fetch_health(url)
    except (OSError, http.client.HTTPException):
        return skip("the server's HTTP side does not answer, so there is nothing to compare with")
    return clock_finding(reply)


def clock_finding(reply: Reply) -> Finding:
    """Return how far the two clocks are apart.

    The server's time is compared with the middle between request and answer. HTTP's `Date` is in whole seconds, so half
    a second is added to it.
    """
    try:
        server_time = email.utils.parsedate_to_datetime(reply.date or "").timestamp()
    except (ValueError, OverflowError):
        return skip("the server does not tell its time")
    ahead = (reply.sent_at + reply.received_at) / 2 - (server_time + 0.5)
    if abs(ahead) <= SKEW_MAX:
        return ok(f"within {max(1.0, abs(ahead)):.0f} s of the server's")
    direction = "ahead of" if ahead > 0 else "behind"
    return warn(
        f"{abs(ahead):.0f} s {direction} the server's",
        "Let both set their clocks from the network (on Linux: timedatectl set-ntp true): TURN passwords expire by it.",
    )


async def fetch_health(url: str) -> Reply:
    """Send `GET /health` to the HTTP API at `url`. Uses no proxy, because our WebSocket uses none either.

    Raises:
        OSError: the server cannot be reached.
        http.client.HTTPException: the answer is not HTTP.
    """
    return await trio.to_thread.run_sync(_get_health, url, abandon_on_cancel=True)


def _get_health(url: str) -> Reply:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=REACH_TIME)
    sent_at = time.time()
    try:
        connection.request(HEALTH.method, parts.path.rstrip("/") + HEALTH.path, headers={"Connection": "close"})
        with connection.getresponse() as response:
            received_at = time.time()
            return Reply(
                response.status, response.read(ANSWER_MAX + 1), response.getheader("Date"), sent_at, received_at
            )
    except UnicodeError:
        raise OSError("it is no name") from None
    finally:
        connection.close()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    verify = getattr(error, "verify_message", "")
    return clean(str(verify or getattr(error, "strerror", "") or type(error).__name__)).lower()

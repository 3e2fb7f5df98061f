"""Whether the server is there, is ours, speaks our version, and has the same time."""

import email.utils
import http.client
import json
import secrets
import time
from urllib.parse import urlsplit

import trio
from attrs import frozen

from actors.events import ServerConnected, ServerDisconnected
from actors.mailbox import Mailbox
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import RoomId
from protocol.signaling import Join, ToServer
from protocol.status import Role
from rtc.common.text import clean
from rtc.doctor.finding import Finding, fail, ok, skip, warn
from rtc.transport.signaling.connection import SignalingEvent, run_signaling

REACH_TIME = 8.0
"""Seconds for one answer, below a check's own limit so that it can say more than "late"."""
ANSWER_MAX = 64 * 1024
SKEW_MAX = 30.0
"""Seconds; short-lived TURN passwords and certificates go by the clock."""
START_ONE = "Point elsewhere with --server or SLEAP_RTC_SIGNALING_WS, or start one of your own: sleap-rtc server"
SAME_VERSION = "Install the same version of sleap-rtc on both sides."
OTHER = "Give the address of its HTTP side with SLEAP_RTC_SIGNALING_HTTP, or as signaling_http in the file."


async def check_websocket(url: str) -> Finding:
    """Really connect and speak: ask for a room that cannot be, and be told so as only our server does."""
    event = await _ask(url)
    match event:
        case ServerDisconnected():
            return fail(*_parted(event.text))
        case Fault(code=FaultCode.ROOM_DENIED):
            return ok(f"answers, and speaks version {PROTOCOL_VERSION} of the protocol")
        case Fault(code=FaultCode.VERSION):
            return fail(clean(event.text), SAME_VERSION)
        case _:
            return fail("it answers otherwise than this sleap-rtc expects", SAME_VERSION)


def _parted(sentences: str) -> tuple[str, str]:
    """What happened, and what to try: the line says both, in that order."""
    text = clean(sentences)
    at = text.find(". ")
    return (text, START_ONE) if at < 0 else (text[:at], text[at + 2 :])


async def _ask(url: str) -> SignalingEvent:
    """The first thing of note that is heard: an answer, or that the line is down."""
    outgoing: Mailbox[ToServer] = Mailbox()
    on_event: list[SignalingEvent] = []
    with trio.CancelScope() as scope:

        async def hear(event: SignalingEvent) -> None:
            if isinstance(event, ServerConnected):
                room = RoomId(f"doctor-{secrets.token_hex(8)}")
                outgoing.put(Join(room, secrets.token_urlsafe(16), Role.CLIENT))
                return
            on_event.append(event)
            scope.cancel()

        await run_signaling(url, on_event=hear, outgoing=outgoing, timeout=REACH_TIME)
    return on_event[0]


@frozen
class Reply:
    """What the HTTP side answered."""

    status: int
    body: bytes
    date: str | None
    asked: float
    answered: float
    """Seconds since 1970, by this machine's clock."""


async def check_http(url: str) -> Finding:
    """The HTTP side lives, and speaks the same version of the protocol. Jobs do without it; the dashboard does not."""
    try:
        reply = await fetch_health(url)
    except (OSError, http.client.HTTPException) as error:
        return warn(f"it cannot be reached ({_reason(error)})", f"Jobs run without it. {START_ONE}")
    try:
        told = json.loads(reply.body)
        version, theirs = told["protocol"], told["version"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return warn(f"what answers there is no sleap-rtc server (HTTP status {reply.status})", OTHER)
    if version != PROTOCOL_VERSION:
        shown = clean(str(version))[:20]
        return fail(f"the server speaks protocol version {shown}, this sleap-rtc {PROTOCOL_VERSION}", SAME_VERSION)
    return ok(f"sleap-rtc {clean(str(theirs))[:40]}, protocol version {version}")


async def check_clock(url: str) -> Finding:
    """This machine's clock against the server's."""
    try:
        reply = await fetch_health(url)
    except (OSError, http.client.HTTPException):
        return skip("the server's HTTP side does not answer, so there is nothing to compare with")
    return clock_finding(reply)


def clock_finding(reply: Reply) -> Finding:
    """How far the two clocks are apart, seen from the middle of the question; HTTP tells whole seconds."""
    try:
        theirs = email.utils.parsedate_to_datetime(reply.date or "").timestamp()
    except (ValueError, OverflowError):
        return skip("the server does not tell its time")
    ahead = (reply.asked + reply.answered) / 2 - (theirs + 0.5)
    if abs(ahead) <= SKEW_MAX:
        return ok(f"within {max(1.0, abs(ahead)):.0f} s of the server's")
    direction = "ahead of" if ahead > 0 else "behind"
    return warn(
        f"{abs(ahead):.0f} s {direction} the server's",
        "Let both set their clocks from the network (on Linux: timedatectl set-ntp true): TURN passwords expire by it.",
    )


async def fetch_health(url: str) -> Reply:
    """GET `/health` below an HTTP address, without proxies, as our WebSocket goes without them.

    Raises:
        OSError: the server cannot be reached.
        http.client.HTTPException: what it says is not HTTP.
    """
    return await trio.to_thread.run_sync(_get, url, abandon_on_cancel=True)


def _get(url: str) -> Reply:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=REACH_TIME)
    asked = time.time()
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/health", headers={"Connection": "close"})
        with connection.getresponse() as response:
            answered = time.time()
            return Reply(response.status, response.read(ANSWER_MAX), response.getheader("Date"), asked, answered)
    except UnicodeError:
        raise OSError("it is no name") from None
    finally:
        connection.close()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    verify = getattr(error, "verify_message", "")
    return clean(str(verify or getattr(error, "strerror", "") or type(error).__name__)).lower()

"""Session descriptions (SDP, RFC 8866): what aiortc gets of the peer's, and what the peer gets of aiortc's.

For a hostile description aiortc would open media, resolve names by multicast DNS, and send checks to any number of
addresses. The descriptions that browsers write have lines that aiortc is not to act on, either.
"""

import ipaddress
import re
from collections.abc import Iterable

from aiortc.sdp import SessionDescription
from attrs import frozen

from protocol.faults import FaultCode
from protocol.signaling import SDP_MAX
from rtc.common.errors import RtcError

CANDIDATES_MAX = 64
"""Maximum number of ICE candidates in a description; a machine with many networks has a dozen."""
UNREADABLE = (
    "The other side's half of the connection could not be read. "
    "Try again; if that does not help, check that both sides run the same version."
)
_FINGERPRINT = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){31}")
"""A SHA-256 fingerprint in the form of RFC 8122, section 5."""


@frozen
class PeerDescription:
    """The peer's session description, of which only the lines are left that aiortc may act on."""

    sdp: str
    fingerprint: bytes
    """SHA-256 of the certificate that the peer announces, 32 bytes."""


def read_description(text: str) -> PeerDescription:
    """Check the peer's description, which must have data channels and nothing else.

    aiortc compares *every* fingerprint of an algorithm it knows with the certificate, so the returned fingerprint is
    verified once the connection is open.

    Raises:
        RtcError: LINK_FAILED, for any other description.
        Exception: malformed text: any error of aiortc's parser (ValueError, AssertionError, KeyError and others).
    """
    if len(text) > SDP_MAX:
        raise RtcError(FaultCode.LINK_FAILED, UNREADABLE)
    sdp = _joined(line for line in text.splitlines() if _is_for_aiortc(line))
    media = SessionDescription.parse(sdp).media
    if len(media) != 1 or media[0].kind != "application" or media[0].dtls is None or not media[0].sctp_port:
        raise RtcError(FaultCode.LINK_FAILED, UNREADABLE)
    ice = media[0].ice
    if ice is None or not ice.usernameFragment or not ice.password:
        raise RtcError(FaultCode.LINK_FAILED, UNREADABLE)
    if len(media[0].ice_candidates) > CANDIDATES_MAX:
        raise RtcError(FaultCode.LINK_FAILED, UNREADABLE)
    for candidate in media[0].ice_candidates:
        ipaddress.ip_address(candidate.ip)
    fingerprints = [*{f.value.upper() for f in media[0].dtls.fingerprints if f.algorithm.lower() == "sha-256"}]
    if len(fingerprints) != 1 or not _FINGERPRINT.fullmatch(fingerprints[0]):
        raise RtcError(FaultCode.LINK_FAILED, UNREADABLE)
    return PeerDescription(sdp, bytes.fromhex(fingerprints[0].replace(":", "")))


def with_sha256_alone(sdp: str) -> str:
    """Return aiortc's own description with the SHA-256 fingerprint as the only one.

    aiortc writes three, and Chromium checks the last one alone. The SHA-256 is what the proofs are about, so it must be
    the one that every peer checks.
    """
    return _joined(
        line
        for line in sdp.splitlines()
        if not line.startswith("a=fingerprint:") or line.startswith("a=fingerprint:sha-256 ")
    )


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)


def _is_for_aiortc(line: str) -> bool:
    """Return whether aiortc may act on this line of the peer's description.

    No list of candidates is complete (RFC 8863): a browser names its addresses only to who may see them, and whoever
    sends checks from an unnamed one becomes a peer-reflexive candidate (RFC 8445, 7.3.1.3). So aiortc never hears
    `end-of-candidates`, after which it would fail at once for want of a candidate; our own time-out ends the wait.
    """
    if line.startswith("a=candidate:"):
        _foundation, component, transport, _priority, address = line.split()[:5]
        return component == "1" and transport.lower() == "udp" and _is_address(address)
    return not line.startswith("a=end-of-candidates")


def _is_address(text: str) -> bool:
    """Return whether this is an IP address with a meaning on other machines.

    A name is none (RFC 8839, 5.1, has names ignored), `….local` of a browser included: to resolve it costs up to a
    second, and works in one local network only. Nor is an address with a zone (RFC 4007, 11).
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return getattr(address, "scope_id", None) is None

"""Check a session description (SDP, RFC 8866) from the peer, before aiortc acts on it.

For a hostile description aiortc would open media, resolve names by multicast DNS, and send checks to any number of
addresses.
"""

import ipaddress
import re

from aiortc.sdp import SessionDescription

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


def read_fingerprint(sdp: str) -> bytes:
    """Return the SHA-256 certificate fingerprint (32 bytes) of a description that has data channels and nothing else.

    aiortc compares *every* fingerprint of an algorithm it knows with the certificate, so the returned fingerprint is
    verified once the connection is open.

    Raises:
        RtcError: LINK_FAILED, for any other description.
        Exception: malformed text: any error of aiortc's parser (ValueError, AssertionError, KeyError and others).
    """
    if len(sdp) > SDP_MAX:
        raise RtcError(FaultCode.LINK_FAILED, UNREADABLE)
    media = SessionDescription.parse(sdp).media
    if len(media) != 1 or media[0].kind != "application" or media[0].dtls is None or not media[0].sctp_port:
        raise RtcError(FaultCode.LINK_FAILED, UNREADABLE)
    if len(media[0].ice_candidates) > CANDIDATES_MAX:
        raise RtcError(FaultCode.LINK_FAILED, UNREADABLE)
    for candidate in media[0].ice_candidates:
        ipaddress.ip_address(candidate.ip)
    fingerprints = [*{f.value.upper() for f in media[0].dtls.fingerprints if f.algorithm.lower() == "sha-256"}]
    if len(fingerprints) != 1 or not _FINGERPRINT.fullmatch(fingerprints[0]):
        raise RtcError(FaultCode.LINK_FAILED, UNREADABLE)
    return bytes.fromhex(fingerprints[0].replace(":", ""))

"""What is believed of a session description from outside (SDP, RFC 8866), before aiortc acts on it.

aiortc would open media, resolve names by multicast and probe any number of addresses for a hostile one.
"""

import ipaddress
import re

from aiortc.sdp import SessionDescription

from protocol.faults import FaultCode
from protocol.signaling import SDP_MAX
from rtc.common.errors import RtcError

CANDIDATES_MAX = 64
"""Addresses to try; a machine with many networks has a dozen."""
UNREADABLE = (
    "The other side's half of the connection could not be read. "
    "Try again; if that does not help, check that both sides run the same version."
)
_FINGERPRINT = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){31}")
"""SHA-256 as RFC 8122 writes it."""


def read_fingerprint(sdp: str) -> bytes:
    """The SHA-256 certificate fingerprint of a description that asks for data channels and nothing else.

    aiortc compares *every* fingerprint of an algorithm it knows with the certificate, so the one returned is verified
    once the link is open.

    Raises:
        RtcError: LINK_FAILED; it is anything else.
        Exception: whatever aiortc's parser raises at garbage (ValueError, AssertionError, KeyError and others).
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

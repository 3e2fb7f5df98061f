"""The room that an invitation gives, encrypted and read again: ChaCha20-Poly1305 (RFC 8439) over its JSON.

The JSON is padded, so that the length tells the server nothing about the room secret.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from protocol.converter import WireError, from_json, to_json
from protocol.faults import Fault, FaultCode
from protocol.invitations import INVITED_MAX, InvitedRoom
from rtc.common.errors import RtcError

NONCE_BYTES = 12
"""Length of ChaCha20-Poly1305's nonce, which comes before what is encrypted."""
PADDED_TO = 1024
"""The JSON gets spaces at its end until its length is a multiple of so many bytes."""
NOT_FROM_INVITER = Fault(
    FaultCode.AUTH_INVALID,
    "What came in answer is not from the machine that invites, or was changed on its way. Ask for a new code; if it"
    " happens again, the server is not to be trusted.",
)


def seal_room(room: InvitedRoom, key: bytes, transcript: bytes) -> bytes:
    """Return a room, encrypted for the other end of an exchange.

    Args:
        room: the room.
        key: 32 bytes that only the other end has, and that nothing else was encrypted with.
        transcript: what was said in the exchange; it is authenticated, too.

    Raises:
        RtcError: TOO_LARGE: its texts are longer than what the other end reads.
    """
    text = to_json(room).encode("ascii")
    if len(text) > INVITED_MAX:
        raise RtcError(FaultCode.TOO_LARGE, "The room's address, token and secret are too long for an invitation.")
    padded = text.ljust(-(-len(text) // PADDED_TO) * PADDED_TO)
    nonce = os.urandom(NONCE_BYTES)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, padded, transcript)


def open_room(sealed: bytes, key: bytes, transcript: bytes) -> InvitedRoom:
    """Return the room that the other end of an exchange has encrypted; the arguments are as in `seal_room`.

    Raises:
        RtcError: AUTH_INVALID: the other end has another key, or something was changed on its way; VERSION: it is no
            room that this program understands.
    """
    nonce, encrypted = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        text = ChaCha20Poly1305(key).decrypt(nonce, encrypted, transcript)
    except (InvalidTag, ValueError):  # the latter for a nonce that is too short
        raise RtcError.of(NOT_FROM_INVITER) from None
    try:
        room: InvitedRoom = from_json(text, InvitedRoom, limit=INVITED_MAX)
    except WireError as error:
        raise RtcError(
            FaultCode.VERSION, f"The invitation is not understood here ({error}). Install the newest sleap-rtc."
        ) from None
    return room

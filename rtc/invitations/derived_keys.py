"""What both kinds of exchanges have in common: the transcript of what was said, and the keys derived with it."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.trust import KEY_BYTES


class BadShare(Exception):
    """A peer's half of an exchange is malformed, not the one that was announced, or our own, reflected."""


def join_transcript(*parts: bytes) -> bytes:
    """Return all that was said: parts with their lengths before them, so that no others give the same."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def derive_key(secret: bytes, transcript: bytes, label: bytes) -> bytes:
    """Return the key for one use, of `KEY_BYTES` bytes: HKDF-SHA256 (RFC 5869) with the transcript as the salt.

    Args:
        secret: what both ends have from their exchange.
        transcript: what was said in it.
        label: tells the uses apart (`info` of RFC 5869).
    """
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=transcript, info=label).derive(secret)

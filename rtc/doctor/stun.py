"""Encodes STUN's binding request and decodes its answer (RFC 8489), which contains the address that the server sees."""

import ipaddress
import struct

from attrs import frozen

COOKIE = 0x2112A442
"""The magic cookie, the same in every message (RFC 8489, 5)."""
REQUEST, SUCCESS, ERROR = 0x0001, 0x0101, 0x0111
"""Message types of the method Binding, with the class in bits 4 and 8 (RFC 8489, 5)."""
MAPPED_ADDRESS, ERROR_CODE, XOR_MAPPED_ADDRESS = 0x0001, 0x0009, 0x0020
"""Attribute types (RFC 8489, 18.3.1)."""
TRANSACTION_BYTES = 12
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")


@frozen
class StunAnswer:
    """The answer of a STUN server."""

    address: str | None
    """The address from which the server received the request, as `host:port`; None if the answer contains none."""
    error: int | None = None
    """The error code, if the server has refused the request."""


def binding_request(transaction: bytes) -> bytes:
    """Return a binding request; `transaction` is 12 random bytes, which the answer repeats."""
    return _HEADER.pack(REQUEST, 0, COOKIE, transaction)


def read_answer(data: bytes, transaction: bytes) -> StunAnswer | None:
    """Return the answer to the request with this transaction id; None for other data, which anybody may send."""
    if len(data) < _HEADER.size:
        return None
    kind, length, cookie, echoed = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if cookie != COOKIE or echoed != transaction or kind not in (SUCCESS, ERROR) or length != len(body):
        return None
    found = _attributes(body)
    if kind == ERROR:
        code = found.get(ERROR_CODE, b"")
        return StunAnswer(None, (code[2] & 7) * 100 + code[3] if len(code) >= 4 else 0)
    if XOR_MAPPED_ADDRESS in found:
        return StunAnswer(_address(found[XOR_MAPPED_ADDRESS], struct.pack("!I", COOKIE) + transaction))
    return StunAnswer(_address(found.get(MAPPED_ADDRESS, b""), bytes(16)))


def _attributes(body: bytes) -> dict[int, bytes]:
    """Return the attributes by type. Values are padded to four bytes; the first of a type counts (RFC 8489, 14)."""
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(body):
        kind, length = _ATTRIBUTE.unpack_from(body, at)
        at += _ATTRIBUTE.size
        found.setdefault(kind, body[at : at + length])
        at += length + -length % 4
    return found


def _address(value: bytes, mask: bytes) -> str | None:
    """Decode an address attribute whose bits are XORed with `mask` (RFC 8489, 14.1 and 14.2); None if it is invalid."""
    family = {4: 1, 16: 2}.get(len(value) - 4)
    if family is None or value[1] != family:
        return None
    port = int.from_bytes(value[2:4], "big") ^ int.from_bytes(mask[:2], "big")
    host = ipaddress.ip_address(bytes(a ^ b for a, b in zip(value[4:], mask, strict=False)))
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"

"""The first line and the headers of an HTTP request, checked as they came, before a library reads them.

h11 forgives more than it should: line feeds without a carriage return, folded lines, lengths that are named twice, a
length together with chunks, and headers of any size that come in one piece. A proxy in front may read such a request in
another way than we do (request smuggling), so it is refused here (RFC 9112, 2.2, 5.2, 6.1 and 6.3).
"""

import re

from attrs import define, field

HEAD_MAX = 16 * 1024
"""Bytes of a request's first line and headers."""
_END = b"\r\n\r\n"
_MALFORMED = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)|\n[ \t]|\A[ \t]")
"""Control characters, half a line break, a folded line."""


class BadHead(Exception):
    """A request is not read any further; `status` says why. It has no text, which might quote the request."""

    def __init__(self, status: int, *, is_head: bool = False) -> None:
        super().__init__()
        self.status = status
        self.is_head = is_head
        """Whether the request's method is HEAD, whose answer has no body (RFC 9110, 9.3.2)."""


@define
class HeadReader:
    """Collects the bytes of one head after the other."""

    _data: bytearray = field(factory=bytearray, init=False)

    @property
    def is_empty(self) -> bool:
        """Whether no byte of a head has come yet."""
        return not self._data

    def add(self, data: bytes | bytearray) -> tuple[bytes, bytes] | None:
        """Add bytes; return the head, once it is whole, and the bytes after it.

        Raises:
            BadHead: 400: the request is malformed. 431: its head is longer than `HEAD_MAX`.
        """
        known = len(self._data)
        self._data += data
        end = self._data.find(_END, max(0, known - len(_END) + 1))
        size = end + len(_END) if end >= 0 else len(self._data)
        if _MALFORMED.search(self._data, max(0, known - 1), size):
            raise self._refusal(400)
        if size > HEAD_MAX:
            raise self._refusal(431)
        if end < 0:
            return None
        head, rest = bytes(self._data[:size]), bytes(self._data[size:])
        if not _is_framed_once(head):
            raise self._refusal(400)
        self._data.clear()
        return head, rest

    def _refusal(self, status: int) -> BadHead:
        return BadHead(status, is_head=self._data.startswith(b"HEAD "))


def header_values(head: bytes, name: bytes) -> list[bytes]:
    """Return the values of all headers of this name, which is in lower case, in their order."""
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return [value.strip(b" \t") for found, _, value in pairs if found.lower() == name]


def _is_framed_once(head: bytes) -> bool:
    """Return whether the head says at most once, and in one way, how long the body is."""
    lengths, codings = header_values(head, b"content-length"), header_values(head, b"transfer-encoding")
    if len(lengths) + len(codings) > 1 or any(not value.isdigit() for value in lengths):
        return False
    return not codings or b" HTTP/1.0\r\n" not in head[: head.index(b"\r\n") + 2]

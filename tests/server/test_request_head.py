"""Heads of requests that are refused before a library reads them."""

import pytest

from rtc.server.request_head import HEAD_MAX, BadHead, HeadReader, header_values

LINE = b"POST /api/rooms HTTP/1.1\r\nHost: x\r\n"
GOOD = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    LINE + b"Content-Length: 5\r\n\r\n",
    LINE + b"Transfer-Encoding: chunked\r\n\r\n",
    LINE + b"X: \xc3\xa4\t tab\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
)
MALFORMED = {
    "a length and chunks": LINE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks and a length": LINE + b"tRANSFER-eNCODING: chunked\r\ncONTENT-lENGTH: 5\r\n\r\n",
    "an unknown coding and a length": LINE + b"Transfer-Encoding: x\r\nContent-Length: 5\r\n\r\n",
    "two lengths": LINE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "a length twice": LINE + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "a list of lengths": LINE + b"Content-Length: 5, 5\r\n\r\n",
    "a signed length": LINE + b"Content-Length: +5\r\n\r\n",
    "an empty length": LINE + b"Content-Length:\r\n\r\n",
    "chunks twice": LINE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "line feeds alone": b"GET / HTTP/1.1\nHost: x\n\n",
    "one line feed alone": LINE + b"X: y\nContent-Length: 5\r\n\r\n",
    "a line feed alone at the end": LINE + b"X: y\r\n\n",
    "a carriage return alone": LINE + b"X: y\rz\r\n\r\n",
    "two carriage returns": LINE + b"X: y\r\r\n\r\n",
    "a folded line": LINE + b"X: y\r\n z\r\n\r\n",
    "a line folded with a tab": LINE + b"X: y\r\n\tz\r\n\r\n",
    "a space at the start": b" GET / HTTP/1.1\r\n\r\n",
    "NUL": LINE + b"X: \0\r\n\r\n",
    "escape": LINE + b"X: \x1b[31m\r\n\r\n",
    "delete": LINE + b"X: \x7f\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00",
}


def read(data: bytes, size: int) -> tuple[bytes, bytes] | int | None:
    """Return what a reader makes of data that comes in pieces of this size: head and rest, a status, or None."""
    reader = HeadReader()
    for start in range(0, len(data), size):
        try:
            found = reader.add(data[start : start + size])
        except BadHead as error:
            return error.status
        if found is not None:
            return found[0], found[1] + data[start + size :]
    return None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
@pytest.mark.parametrize("head", GOOD)
def test_a_good_head_is_read_as_it_came_and_the_rest_is_not_touched(head: bytes, size: int) -> None:
    assert read(head + b"rest\n\0\r\n", size) == (head, b"rest\n\0\r\n")
    assert read(head[:-1], size) is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
@pytest.mark.parametrize("name", MALFORMED)
def test_a_head_that_others_may_read_in_another_way_is_refused(name: str, size: int) -> None:
    assert read(MALFORMED[name], size) == 400


@pytest.mark.parametrize("size", [1, 4096, 100_000])
def test_the_documented_limit_holds_to_the_byte_however_the_bytes_come(size: int) -> None:
    most = LINE + b"X: " + b"y" * (HEAD_MAX - len(LINE) - len(b"X: \r\n\r\n")) + b"\r\n\r\n"
    assert len(most) == HEAD_MAX
    assert read(most, size) == (most, b"")
    assert read(LINE + b"Z" + most[len(LINE) :], size) == 431
    assert read(LINE + b"X: " + b" " * HEAD_MAX + b"\r\n\r\n", size) == 431
    assert read(b"GET /" + b"x" * HEAD_MAX, size) == 431


def test_values_of_a_header_come_in_their_order_whatever_its_case() -> None:
    head = b"GET / HTTP/1.1\r\nX-A: 1\r\nx-b: 2\r\nx-a:\t3 \r\n\r\n"
    assert header_values(head, b"x-a") == [b"1", b"3"]
    assert header_values(head, b"x-c") == []

"""Answers of the HTTP side that are errors: problem details (RFC 9457) with a sentence for people."""

from collections.abc import Mapping

from starlette.responses import Response

from protocol.converter import to_json
from protocol.http import BODY_MAX, PROBLEM_TYPE, ROUTES, Problem, status_title
from rtc.server.request_head import HEAD_MAX

RETRY_TIME = 10
"""Seconds after which somebody for whom there was no place may try again (`Retry-After`, RFC 9110, 10.2.3)."""
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
"""The security headers of every answer."""
ERROR_TEXTS = {
    400: "The request is not valid HTTP.",
    404: f"There is nothing here. The API has {', '.join(sorted({route.path for route in ROUTES}))}.",
    405: "This address does not take that method.",
    413: f"The request is too long; at most {BODY_MAX} bytes are read.",
    431: f"The first line and the headers of the request are too long; at most {HEAD_MAX} bytes are read.",
    500: "This is an error of the server itself, not of the request. Details are in the server's log.",
    503: "The server is busy: it has as many connections as it takes, in all or from your address. Try again soon.",
}
"""What is said about the statuses that nothing else explains."""


def error_text(status: int) -> str:
    """Return a sentence about a status."""
    return ERROR_TEXTS.get(status, f"{status_title(status)}.")


def problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer with this status and this sentence."""
    return Response(to_json(Problem.of(status, text), version=None), status, headers, PROBLEM_TYPE)


def problem_parts(status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of an answer that does not come from the application."""
    answer = problem(status, error_text(status), {"Retry-After": str(RETRY_TIME)} if status == 503 else None)
    return [*answer.raw_headers, *HEADERS], bytes(answer.body)


def raw_problem(status: int, *, is_head: bool = False) -> bytes:
    """Return a whole answer as bytes, after which the connection is closed.

    Args:
        is_head: whether the request has the method HEAD, whose answer has no body (RFC 9110, 9.3.2).
    """
    headers, body = problem_parts(status)
    lines = [f"HTTP/1.1 {status} {status_title(status)}".encode(), b"connection: close"]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", b"" if is_head else body])

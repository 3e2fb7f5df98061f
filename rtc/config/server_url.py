"""The signalling server's WebSocket address, parsed from what people type for `--server`."""

import re
from urllib.parse import SplitResult, urlsplit

from protocol.faults import FaultCode
from protocol.session_string import ADDRESS_MAX
from rtc.common.errors import RtcError

WS_PORT, HTTP_PORT = 8080, 8001
"""Default ports of our signalling server: WebSocket and HTTP."""
PORTS = {"ws": 80, "wss": 443}
"""Default ports of ws:// and wss:// addresses (RFC 6455, 3)."""


def server_url(text: str) -> str:
    """Return the WebSocket address for what a person has typed for `--server`.

    A `ws://` or `wss://` address is returned as it is, without a slash at its end. `http://` and a bare host or
    host:port become `ws://`, and `https://` becomes `wss://`; in these cases a path is dropped. WS_PORT is then used
    where no port is given, and in place of HTTP_PORT in an HTTP address; any other port is kept.

    Raises:
        RtcError: USAGE: it is not an address of a server.
    """
    text = text.strip()
    if not text.isprintable() or " " in text or len(text) > ADDRESS_MAX:  # urlsplit silently drops tabs and line breaks
        raise _not_understood()
    try:
        parts = urlsplit(text if "://" in text else f"ws://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _not_understood() from None
    scheme = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}.get(parts.scheme)
    if scheme is None or not _is_plain(parts, host) or port == 0:
        raise _not_understood()
    netloc = f"[{host}]" if ":" in host else host
    if parts.scheme in PORTS and "://" in text:
        return f"{scheme}://{netloc}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    if port is None or (port == HTTP_PORT and "://" in text):
        port = WS_PORT
    return f"{scheme}://{netloc}:{port}"


def host_alone(text: str) -> str | None:
    """Return the host that a person has typed for `--server` without scheme and port; None if there is one of these.

    Raises:
        RtcError: USAGE: as for `server_url`.
    """
    address = urlsplit(server_url(text))
    typed = text.strip()
    has_port = "://" in typed or (typed.count(":") == 1 or "]:" in typed)
    return None if has_port else address.hostname


def _is_plain(parts: SplitResult, host: str) -> bool:
    """Return whether the address has no part that could be a secret, and none that our server does not use."""
    extras = parts.username is not None or parts.password is not None or parts.query or parts.fragment
    host_ok = re.fullmatch(r"[\w.-]+|[0-9a-fA-F:.]+(%\w+)?", host)
    return bool(not extras and host_ok and re.fullmatch(r"[\w./~-]*", parts.path))


def _not_understood() -> RtcError:
    return RtcError(
        FaultCode.USAGE,
        "The server's address is not understood. Give it as ws://HOST:8080, wss://HOST, or just HOST.",
    )

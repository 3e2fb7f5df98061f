"""The server's WebSocket address, read from what people type for `--server`."""

import re
from urllib.parse import SplitResult, urlsplit

from protocol.faults import FaultCode
from rtc.common.errors import RtcError

WS_PORT, HTTP_PORT = 8080, 8001
"""Where our own server listens unless told otherwise."""
PORTS = {"ws": 80, "wss": 443}
"""What a ws:// or wss:// address without a port means (RFC 6455, 3)."""


def server_url(text: str) -> str:
    """The WebSocket address people mean by what they type for `--server`.

    `ws://` and `wss://` addresses are taken as they are. From an `http://` or `https://` address the port of the HTTP
    side becomes that of the WebSocket side; other ports are kept. A bare host or host:port is a `ws://` address.

    Raises:
        RtcError: it is no address of a server.
    """
    text = text.strip()
    if not text.isprintable() or " " in text:  # urlsplit would forget some of them
        raise _no_address()
    try:
        parts = urlsplit(text if "://" in text else f"ws://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _no_address() from None
    scheme = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}.get(parts.scheme)
    if scheme is None or not _is_plain(parts, host) or port == 0:
        raise _no_address()
    bare = f"[{host}]" if ":" in host else host
    if parts.scheme in PORTS and "://" in text:
        return f"{scheme}://{bare}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    if port is None or (port == HTTP_PORT and "://" in text):
        port = WS_PORT
    return f"{scheme}://{bare}:{port}"


def _is_plain(parts: SplitResult, host: str) -> bool:
    """Nothing in it that could be a secret, or that no server of ours has."""
    extras = parts.username is not None or parts.password is not None or parts.query or parts.fragment
    a_host = re.fullmatch(r"[\w.-]+|[0-9a-fA-F:.]+(%\w+)?", host)
    return bool(not extras and a_host and re.fullmatch(r"[\w./~-]*", parts.path))


def _no_address() -> RtcError:
    return RtcError(
        FaultCode.USAGE,
        "The server's address is not understood. Give it as ws://HOST:8080, wss://HOST, or just HOST.",
    )

"""The session string, which leads a client to a worker: base64 (RFC 4648, URL-safe, padded) of a small JSON object."""

import base64
import binascii
import json
import re

from attrs import field, frozen

from protocol.fields import ID_PATTERN
from protocol.ids import PeerId, RoomId

PREFIX = "sleap-session:"
"""Accepted before a session string; not written by this program."""
LENGTH_MAX = 4096
"""Characters of the longest session string that is read."""


class SessionStringError(ValueError):
    """The text is no session string. The exception's message is one sentence for people."""


@frozen
class SessionString:
    """What a session string contains: room, token and worker, and optionally the server's WebSocket address."""

    room: RoomId
    token: str = field(repr=False)
    peer: PeerId
    """The worker."""
    server: str | None = None
    """The server's WebSocket address; None when the client is to use the server of its own configuration."""

    def write(self) -> str:
        """Return the session string as the worker's banner shows it."""
        parts = {"r": self.room, "t": self.token, "p": self.peer}
        if self.server is not None:
            parts["s"] = self.server
        return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def read_session_string(text: str) -> SessionString:
    """Return the content of a session string, read leniently from pasted text.

    White space, the prefix `sleap-session:`, missing padding and the alphabet of plain base64 are accepted.

    Raises:
        SessionStringError: the text is too long, not base64, not JSON, or lacks room, token or worker.
    """
    bare = "".join(text.split()).removeprefix(PREFIX).rstrip("=").replace("+", "-").replace("/", "_")
    if not bare or len(bare) > LENGTH_MAX or not re.fullmatch(r"[A-Za-z0-9_-]+", bare):
        raise SessionStringError("This is not a session string. Copy the whole line from the worker's banner.")
    try:
        parts = json.loads(base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise SessionStringError(
            "The session string is damaged, perhaps cut short. Copy the whole line from the worker's banner."
        ) from None
    if (
        not isinstance(parts, dict)
        or not all(isinstance(parts.get(key), str) and parts[key] for key in "rtp")
        or not (ID_PATTERN.fullmatch(parts["r"]) and ID_PATTERN.fullmatch(parts["p"]))
        or not isinstance(parts.get("s"), str | None)
    ):
        raise SessionStringError("The session string does not name a room, a token and a worker. Ask for a new one.")
    return SessionString(parts["r"], parts["t"], parts["p"], parts.get("s"))

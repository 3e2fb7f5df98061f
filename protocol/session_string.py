"""The session string, which leads a client to a worker: base64 (RFC 4648, URL-safe, padded) of a small JSON object."""

import base64
import binascii
import re

from attrs import field, frozen

from protocol.converter import OPTIONAL, NotJson, WireError, from_json, to_json
from protocol.fields import Id, SingleLine
from protocol.ids import PeerId, RoomId

PREFIX = "sleap-session:"
"""Accepted before a session string; not written by this program."""
LENGTH_MAX = 4096
"""Characters of the longest session string that is read."""
ADDRESS_MAX = 2048
"""Characters of the longest address of a server."""


class SessionStringError(ValueError):
    """The text is no session string. The exception's message is one sentence for people."""


@frozen
class SessionStringJson:
    """The JSON object in a session string. Its keys are short because people copy session strings by hand."""

    r: RoomId = field(validator=Id())
    """The room."""
    t: str = field(validator=SingleLine(), repr=False)
    """The room's token; not empty."""
    p: PeerId = field(validator=Id())
    """The worker."""
    s: str | None = field(default=None, validator=SingleLine(ADDRESS_MAX), metadata=OPTIONAL)
    """The server's WebSocket address; missing when the client is to use the server of its own configuration."""


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
        # spaced, as in the project's first session strings: the same content always gives the same text
        text = to_json(SessionStringJson(self.room, self.token, self.peer, self.server), spaced=True)
        return base64.urlsafe_b64encode(text.encode()).decode()


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
        raw = base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
        parts: SessionStringJson = from_json(raw, SessionStringJson, limit=LENGTH_MAX)
    except (binascii.Error, NotJson):
        raise SessionStringError(
            "The session string is damaged, perhaps cut short. Copy the whole line from the worker's banner."
        ) from None
    except WireError:
        raise SessionStringError(_INCOMPLETE) from None
    if not parts.t:
        raise SessionStringError(_INCOMPLETE)
    return SessionString(parts.r, parts.t, parts.p, parts.s)


_INCOMPLETE = "The session string does not name a room, a token and a worker. Ask for a new one."

"""The one thing a person may tell us about reaching peers through NATs: a STUN or TURN server."""

from attrs import field, frozen


@frozen
class IceServer:
    """A server that helps two peers to meet (RFC 8489 STUN, RFC 8656 TURN). None is used unless somebody names it."""

    urls: str
    """One address, such as `stun:host:3478` or `turn:host:3478?transport=tcp`."""
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

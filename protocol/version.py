"""Versions of the protocol: which of them a program speaks, which one a conversation uses, and what is new in which.

Both sides of a conversation (a peer and the server, a worker and a client) say the range of versions that they speak,
and both use the highest version that is in both ranges. Version 3 is the oldest one.

How the protocol changes, so that old and new programs go on working together:

- A field is added with `metadata=since(N)` and a default. It is left out for a peer whose version is older than N, and
  its default is what such a peer is taken to have said.
- A message is added with the decorator `@spoken(since=N)`, and removed with `@spoken(until=N)`. It is neither sent in
  another version nor understood in it.
- A value is added to an enumeration together with an entry in `OLDER_VALUES`. In a peer's first message to the server,
  which is sent before the server's versions are known, the older value is sent.
- A field that would change its meaning or its type is a new field under a new name.

What a reader does not know never harms it: fields that its class does not have are ignored.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

from attrs import field, frozen

from protocol.fields import Integer

C = TypeVar("C", bound=type)

VERSION_MAX = 10_000
"""The highest version that is taken for one."""
_SINCE = "since"
EXPLICIT = {"explicit": True}
"""The metadata of a field that a received message must contain, although our own messages have a default for it."""
_SPOKEN = "__spoken_in_versions__"


@frozen
class VersionRange:
    """The versions of the protocol that one program speaks."""

    oldest: int = field(validator=Integer(1, VERSION_MAX))
    newest: int = field(validator=Integer(1, VERSION_MAX))

    def __attrs_post_init__(self) -> None:
        if self.oldest > self.newest:
            raise ValueError("oldest is above newest")

    def common(self, other: "VersionRange") -> int | None:
        """Return the version that two programs with these ranges use: the highest one in both; None if there is none.

        The result is the same at both ends.
        """
        highest = min(self.newest, other.newest)
        return highest if highest >= max(self.oldest, other.oldest) else None

    def __str__(self) -> str:
        return f"version {self.newest}" if self.oldest == self.newest else f"versions {self.oldest} to {self.newest}"


EVERY_VERSION = 0
"""Stands for a version in what a program writes for itself, such as a journal: there every message that it can send to
somebody exists, also those that its newest version has given up."""
VERSIONS = VersionRange(3, 3)
"""The versions that this program speaks. The newest is raised by one with the first change of the messages after a
release; the oldest is raised when nobody uses it any more."""

OLDER_VALUES: dict[Enum, tuple[int, Enum]] = {}
"""Values that were added to enumerations after version 3: since which version, and which older value is sent instead to
a peer of an older version."""


def since(version: int) -> dict[str, int]:
    """Return the metadata of a field that was added to its class with this version."""
    return {_SINCE: version}


def spoken(*, since: int = 0, until: int = VERSION_MAX) -> Callable[[C], C]:
    """Return a class decorator for a message that exists only in the versions from `since` to `until`."""

    def mark(message: C) -> C:
        setattr(message, _SPOKEN, (since, until))
        return message

    return mark


def spoken_versions(message: type) -> tuple[int, int]:
    """Return the first and the last version in which a message class exists, as `spoken` has marked it."""
    first, last = getattr(message, _SPOKEN, (0, VERSION_MAX))
    return first, last


def is_spoken(message: type, version: int) -> bool:
    """Return whether a message class exists in a version of the protocol."""
    first, last = spoken_versions(message)
    return version == EVERY_VERSION or first <= version <= last


def is_explicit(metadata: Mapping[Any, Any]) -> bool:
    """Return whether a received message must contain the field with this metadata."""
    return "explicit" in metadata


def first_version(metadata: Mapping[Any, Any]) -> int:
    """Return the first version in which a field with this metadata exists; 0 for one that always has."""
    return int(metadata.get(_SINCE, 0))


def has_field(metadata: Mapping[Any, Any], version: int) -> bool:
    """Return whether a field with this metadata exists in a version of the protocol."""
    return version == EVERY_VERSION or first_version(metadata) <= version


def no_common_version(ours: VersionRange, peers: VersionRange, *, us: str, our_place: str) -> str:
    """Return the sentence for a peer that speaks no version in common with us: both ranges, and what to install.

    Args:
        us: what the peer calls our program, such as "the server".
        our_place: where our program runs, as the peer calls it, such as "on the server".
    """
    older_place = our_place if ours.newest < peers.oldest else "on this computer"
    return (
        f"{us[:1].upper()}{us[1:]} speaks {ours} of the protocol and this sleap-rtc speaks {peers},"
        f" so install a newer sleap-rtc {older_place}."
    )

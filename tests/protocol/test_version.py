"""The protocol version is raised when a message changes shape."""

import hashlib

from protocol.version import VERSIONS
from rtc.command_line.generated_docs import PAGES

SHAPE = (3, "3a56beb0d5f48f51")
"""The protocol version, and the digest of the shape that all messages have in it."""


def shape_digest() -> str:
    """Return a digest of all that two peers must agree on: names of messages, fields, types, limits, defaults, values.

    Session strings and HTTP are left out, for which no version is agreed upon: they may only be added to. So is what a
    field or value means, in the last column: its words may become better.
    """
    lines = PAGES["messages.md"]().partition("\n# Session string\n")[0].splitlines()
    shape = [line for line in lines if line.startswith("## ")]
    shape += [line.removesuffix(" |").rpartition(" | ")[0] for line in lines if line.startswith("| ")]
    return hashlib.sha256("\n".join(shape).encode()).hexdigest()[:16]


def test_a_change_of_the_messages_raises_the_protocol_version() -> None:
    now = (VERSIONS.newest, shape_digest())
    assert now == SHAPE, (
        "A message has another shape, or the version another number. Raise VERSIONS.newest by one if it is still that "
        f'of the last release; then write into this file: SHAPE = ({VERSIONS.newest}, "{shape_digest()}")'
    )

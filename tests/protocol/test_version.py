"""The protocol version is raised when a message changes shape."""

import hashlib

from protocol import PROTOCOL_VERSION
from rtc.command_line.generated_docs import PAGES

SHAPE = (3, "6414c88c38482a05")
"""The protocol version, and the digest of the shape that all messages have in it."""


def shape_digest() -> str:
    """Return a digest of all that two peers must agree on: the messages' names, their fields, types and limits."""
    lines = PAGES["messages.md"]().splitlines()
    return hashlib.sha256("\n".join(line for line in lines if line.startswith(("## ", "| "))).encode()).hexdigest()[:16]


def test_a_change_of_the_messages_raises_the_protocol_version() -> None:
    now = (PROTOCOL_VERSION, shape_digest())
    assert now == SHAPE, (
        "A message has another shape, or the version another number. Raise PROTOCOL_VERSION by one if it is still that "
        f'of the last release; then write into this file: SHAPE = ({PROTOCOL_VERSION}, "{shape_digest()}")'
    )

"""The protocol version is raised when a message changes shape."""

import hashlib

import pytest
from attrs import field, frozen

from protocol.jobs import ModelTrained
from protocol.status import Status
from protocol.version import OLDER_VALUES, VERSIONS, VersionRange, since
from rtc.command_line import generated_docs
from rtc.command_line.generated_docs import PAGES

SHAPE = (3, "2a9c36e024216ef6")
"""The protocol version, and the digest of the shape that all messages have in it."""


def shape_digest() -> str:
    """Return a digest of all that two peers must agree on: names of messages, fields, types, limits, defaults, values.

    Session strings and HTTP are left out, for which no version is agreed upon: they may only be added to. So is what a
    field or value means, in the last column: its words may become better.
    """
    lines = PAGES["messages.md"]().partition("\n# Session string\n")[0].splitlines()
    shape = [line for line in lines if line.startswith(("## ", "Since version ", "Until version "))]
    shape += [line.removesuffix(" |").rpartition(" | ")[0] for line in lines if line.startswith("| ")]
    return hashlib.sha256("\n".join(shape).encode()).hexdigest()[:16]


def test_a_change_of_the_messages_raises_the_protocol_version() -> None:
    now = (VERSIONS.newest, shape_digest())
    assert now == SHAPE, (
        "A message has another shape, or the version another number. Raise VERSIONS.newest by one if it is still that "
        f'of the last release; then write into this file: SHAPE = ({VERSIONS.newest}, "{shape_digest()}")'
    )


def test_a_range_of_versions_is_said_in_words() -> None:
    assert [str(VersionRange(3, 3)), str(VersionRange(3, 4))] == ["version 3", "versions 3 to 4"]


def test_the_page_says_which_versions_have_a_message_or_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    before = shape_digest()
    monkeypatch.setattr(generated_docs, "VERSIONS", VersionRange(3, 5))
    monkeypatch.setitem(OLDER_VALUES, Status.BUSY, (4, Status.RESERVED))
    monkeypatch.setattr(generated_docs, "spoken_versions", lambda kind: (4, 4) if kind is ModelTrained else (0, 9))
    page = PAGES["messages.md"]()
    assert "## `MODEL_TRAINED`\n\nSince version 4.\n\nUntil version 4.\n" in page
    assert "| `busy` (since version 4) |" in page
    assert shape_digest() != before


def test_the_page_says_which_versions_have_a_field() -> None:
    @frozen
    class News:
        """Something new."""

        old: bool = False
        new: bool = field(default=False, metadata=since(4))

    section = generated_docs._message_section(News, ["worker to client"])
    assert "| `old` |" in section
    assert "| `new` (since version 4) |" in section

"""The recorded conversations of each version are understood in it, frame by frame, for as long as it is spoken.

`record_conversations.py` records them; its docstring says when.
"""

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
from conversations import Frame, conversations, frames_of, recorded_versions

from protocol.converter import from_json, to_json
from protocol.faults import FaultCode
from protocol.http import BODY_MAX, ROUTES, Problem
from protocol.jobs import ConfigurationStarted, GpuUse, JobNews, NoteKind
from protocol.transfer import PIECE_MAX
from protocol.version import OLDER_VALUES, VERSIONS, is_spoken
from protocol.wire import (
    FROM_SERVER,
    TO_CLIENT,
    TO_SERVER,
    TO_WORKER,
    UNPROVEN,
    VOCABULARIES,
    Vocabulary,
    decode,
    encode,
)

SPOKEN = [version for version in recorded_versions() if VERSIONS.oldest <= version <= VERSIONS.newest]
"""The recorded versions that we speak."""
NEWEST = max(SPOKEN, default=VERSIONS.newest)
HAS_ALL_OF = {version: version for version in SPOKEN} | {VERSIONS.newest: NEWEST}
"""By versions: the one whose conversations have each of its messages and values. Our newest version needs conversations
of its own only as soon as a message or a value is new in it."""
of_every_conversation = pytest.mark.parametrize(
    ("version", "path"),
    [pytest.param(version, path, id=f"{version}-{path.stem}") for version in SPOKEN for path in conversations(version)],
)

UNRECORDED_MESSAGES = {
    GpuUse: "it needs an NVIDIA GPU",
    ConfigurationStarted: "these packages have their configurations",
}
UNRECORDED_VALUES = {
    NoteKind.WARNING: "nothing is wrong with these jobs",
    FaultCode.SERVER_LOST: "a program says it to itself only",
    FaultCode.DETACHED: "a program says it to its person only",
    FaultCode.INTERRUPTED: "a program says it to its person only",
    FaultCode.USAGE: "a program says it to its person only",
    FaultCode.JOB_FAILED: "a program says it to its person only; a worker says `JobEnded`",
    FaultCode.BAD_PACKAGE: "a program says it to its person only; a worker says `JobEnded`",
    FaultCode.DISK_FULL: "it needs a full disk",
    FaultCode.OTHER: "it is never sent",
}


def said_in(path: Path) -> Iterator[tuple[Vocabulary[Any], Frame]]:
    """Every message of a conversation, and the vocabulary of who heard it."""
    for frame in frames_of(path):
        if "said" not in frame:
            continue
        if frame["over"].startswith("line"):
            yield FROM_SERVER if frame["from"] == "server" else TO_SERVER, frame["said"]
        elif frame["said"]["type"] in UNPROVEN.messages:
            yield UNPROVEN, frame["said"]
        else:
            yield TO_CLIENT if frame["from"] == "worker" else TO_WORKER, frame["said"]


@of_every_conversation
def test_a_recorded_conversation_is_understood_and_would_be_said_in_the_same_words(version: int, path: Path) -> None:
    for vocabulary, said in said_in(path):
        message = decode(json.dumps(said), vocabulary, version)
        assert json.loads(encode(message, version)) == said


@of_every_conversation
def test_every_recorded_piece_belongs_to_a_file_that_was_offered_and_accepted(version: int, path: Path) -> None:
    credit: dict[tuple[str, int], int] = {}
    for frame in frames_of(path):
        if "piece" in frame:
            piece = frame["piece"]
            assert 0 < piece["bytes"] <= PIECE_MAX
            assert piece["offset"] + piece["bytes"] <= credit[frame["over"], piece["transfer"]]
        elif frame.get("said", {}).get("type") in ("FILE_ACCEPT", "FILE_CREDIT"):
            credit[frame["over"], frame["said"]["transfer"]] = frame["said"]["credit"]


def objects_in(message: Any) -> Iterator[Any]:
    """Every attrs object in a message, itself included, and every value of an enumeration."""
    if attrs.has(type(message)):
        yield message
        for each in attrs.fields(type(message)):
            yield from objects_in(getattr(message, each.name))
    elif isinstance(message, tuple):
        for part in message:
            yield from objects_in(part)
    elif isinstance(message, Enum):
        yield message


def enumerations_of(kinds: set[type]) -> set[type[Enum]]:
    """Every enumeration that is the type of a field of these classes."""
    types = [part for kind in kinds if attrs.has(kind) for each in attrs.fields(kind) for part in options(each.type)]
    return {each for each in types if isinstance(each, type) and issubclass(each, Enum)}


def options(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *get_args(annotation))


@pytest.mark.parametrize(("version", "recorded"), HAS_ALL_OF.items())
def test_every_message_and_every_value_of_a_version_was_recorded(version: int, recorded: int) -> None:
    frames = [each for path in conversations(recorded) for each in said_in(path)]
    parts = {part for vocabulary, said in frames for part in objects_in(decode(json.dumps(said), vocabulary, recorded))}
    kinds = {type(part) for part in parts}
    messages = {kind for vocabulary in VOCABULARIES for kind in vocabulary.messages.values()} | {*get_args(JobNews)}
    assert {kind for kind in messages - kinds if is_spoken(kind, version)} == UNRECORDED_MESSAGES.keys()
    values = {part for part in parts if isinstance(part, Enum)}
    possible = {value for kind in enumerations_of(kinds) for value in kind}
    new = {value for value, (since, _) in OLDER_VALUES.items() if since > version}
    assert possible - values - new == UNRECORDED_VALUES.keys()


@pytest.mark.parametrize("version", SPOKEN)
def test_http_bodies_are_understood_and_would_be_sent_in_the_same_words(version: int) -> None:
    kinds = set()
    exchanges = [frame for path in conversations(version) for frame in frames_of(path) if frame["over"] == "http"]
    for kind, body in (each for exchange in exchanges for each in bodies_of(exchange)):
        read = from_json(json.dumps(body), kind, limit=BODY_MAX, version=version)
        assert json.loads(to_json(read, version=version)) == body
        kinds.add(kind)
    possible = {kind for route in ROUTES for kind in (route.request, route.reply)} - {None} | {Problem}
    assert kinds <= possible
    if version == NEWEST:  # older conversations stay as they are, and routes have no versions that tell which are newer
        assert kinds == possible


def bodies_of(exchange: Frame) -> Iterator[tuple[type, Any]]:
    """The bodies of an HTTP exchange, each with its class; a body that was refused is left out."""
    request, reply = exchange["request"], exchange["reply"]
    if reply["status"] >= 400:
        yield Problem, reply["body"]
        return
    [route] = [one for one in ROUTES if one.method == request["method"] and fits(one.path, request["path"])]
    assert reply["status"] == route.status
    assert route.reply is not None
    yield route.reply, reply["body"]
    if request["body"] is not None:
        assert route.request is not None
        yield route.request, request["body"]


def fits(pattern: str, path: str) -> bool:
    """Whether a path is one of a route's, such as `/api/rooms/{room}`."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(a == b or b.startswith("{") for a, b in zip(parts, wanted, strict=True))


def test_every_recorded_version_is_spoken() -> None:
    assert recorded_versions() == SPOKEN, "remove the conversations of a version together with the version"

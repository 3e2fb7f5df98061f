"""The recorded conversations of version 3 are understood, frame by frame, for as long as version 3 is spoken.

`record_conversations.py` records them; its docstring says when.
"""

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest

from protocol.converter import from_json, to_json
from protocol.faults import FaultCode
from protocol.http import BODY_MAX, ROUTES, Problem
from protocol.jobs import GpuUse, JobNews
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

FOLDER = Path(__file__).parents[1] / "data" / "conversations" / "version-3"
VERSION = 3
Frame = dict[str, Any]

UNRECORDED_MESSAGES = {GpuUse: "it needs an NVIDIA GPU"}
UNRECORDED_VALUES = {
    FaultCode.SERVER_LOST: "a program says it to itself only",
    FaultCode.DETACHED: "a program says it to its person only",
    FaultCode.INTERRUPTED: "a program says it to its person only",
    FaultCode.USAGE: "a program says it to its person only",
    FaultCode.JOB_FAILED: "a program says it to its person only; a worker says `JobEnded`",
    FaultCode.BAD_PACKAGE: "a program says it to its person only; a worker says `JobEnded`",
    FaultCode.DISK_FULL: "it needs a full disk",
    FaultCode.OTHER: "it is never sent",
}


def conversations() -> list[Path]:
    return sorted(FOLDER.glob("*.jsonl"))


def frames_of(path: Path) -> list[Frame]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


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


@pytest.mark.parametrize("path", conversations(), ids=lambda path: path.stem)
def test_a_recorded_conversation_is_understood_and_would_be_said_in_the_same_words(path: Path) -> None:
    for vocabulary, said in said_in(path):
        message = decode(json.dumps(said), vocabulary, VERSION)
        assert json.loads(encode(message, VERSION)) == said


@pytest.mark.parametrize("path", conversations(), ids=lambda path: path.stem)
def test_every_recorded_piece_belongs_to_a_file_that_was_offered_and_accepted(path: Path) -> None:
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


def test_every_message_and_every_value_of_version_3_was_recorded() -> None:
    frames = [each for path in conversations() for each in said_in(path)]
    parts = {part for vocabulary, said in frames for part in objects_in(decode(json.dumps(said), vocabulary, VERSION))}
    kinds = {type(part) for part in parts}
    messages = {kind for vocabulary in VOCABULARIES for kind in vocabulary.messages.values()} | {*get_args(JobNews)}
    assert {kind for kind in messages - kinds if is_spoken(kind, VERSION)} == UNRECORDED_MESSAGES.keys()
    values = {part for part in parts if isinstance(part, Enum)}
    possible = {value for kind in enumerations_of(kinds) for value in kind}
    new = {value for value, (since, _) in OLDER_VALUES.items() if since > VERSION}
    assert possible - values - new == UNRECORDED_VALUES.keys()


def test_http_bodies_are_understood_and_would_be_sent_in_the_same_words() -> None:
    kinds = set()
    for frame in frames_of(FOLDER / "http-requests.jsonl"):
        for kind, body in bodies_of(frame) if "request" in frame else ():
            read = from_json(json.dumps(body), kind, limit=BODY_MAX, version=VERSION)
            assert json.loads(to_json(read, version=VERSION)) == body
            kinds.add(kind)
    possible = {kind for route in ROUTES for kind in (route.request, route.reply)} - {None}
    assert kinds == possible | {Problem}


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


def test_version_3_is_still_spoken() -> None:
    assert VERSIONS.oldest <= VERSION, "remove the recording together with the version"

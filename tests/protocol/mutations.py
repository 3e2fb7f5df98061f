"""Frames that somebody hostile, broken or from another time may send: valid ones, changed in some place.

Reproducible: the same random generator gives the same frames.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

from conversations import conversations, frames_of, recorded_versions

from protocol.wire import VOCABULARIES

TAGS = sorted({tag for vocabulary in VOCABULARIES for tag in vocabulary.messages})

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e-308, 1e308, 1e-320,
    "", " ", "x", "a" * 201, "a" * 70_000, "../../etc/passwd", "a\nb", "\x1b[2J", "\u202e", "\ud800", "\0", "1", "null",
    "QUJD", "====", [], [[]],
    ["x"] * 200, {}, {"type": "FAULT"}, {"oldest": 9, "newest": 3}, {"oldest": 0, "newest": 0},
)  # fmt: skip
RAW_VALUES = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 2000, '{"a":' * 500, "'", "\ud800", "﻿", "//")
"""Texts that are no JSON, or none that a careful reader takes."""


def recorded_frames() -> list[str]:
    """Return the different messages of all recorded conversations, of every version, as JSON text."""
    paths = [path for version in recorded_versions() for path in conversations(version)]
    frames = [frame for path in paths for frame in frames_of(path)]
    return list(dict.fromkeys(json.dumps(frame["said"]) for frame in frames if "type" in frame.get("said", {})))


def mutated(frame: str, randoms: random.Random) -> str:
    """Return a frame with one to three changes: of its text, or of the JSON object in it."""
    for _ in range(randoms.choice((1, 1, 1, 2, 3))):
        frame = _change_text(frame, randoms) if randoms.random() < 0.3 else _change_object(frame, randoms)
    return frame


def mutations(seed: int) -> Iterator[str]:
    """Return recorded messages with changes, without end."""
    randoms, frames = random.Random(seed), recorded_frames()
    while True:
        yield mutated(randoms.choice(frames), randoms)


def _change_text(frame: str, randoms: random.Random) -> str:
    start = randoms.randrange(len(frame) + 1)
    end = min(len(frame), start + randoms.choice((1, 1, 2, 8, 64)))
    match randoms.randrange(5):
        case 0:
            return frame[:start] + frame[end:]
        case 1:
            return frame[:start]
        case 2:
            return frame[:start] + chr(randoms.choice((0, 34, 44, 58, 92, 123, 125, 200, 0x2028, 0xD83D))) + frame[end:]
        case 3:
            return frame[:end] + frame[start:]
        case _:
            return frame[:start] + randoms.choice(RAW_VALUES) + frame[start:]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Return each place in nested JSON, as a container and the key or index in it."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _change_object(frame: str, randoms: random.Random) -> str:
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError):
        return _change_text(frame, randoms)
    places = list(_places(value))
    if not isinstance(value, dict) or not places:
        return frame + frame
    container, key = randoms.choice(places)
    match randoms.randrange(6):
        case 0:
            del container[key]
        case 1:
            container[key] = randoms.choice(ODD_VALUES)
        case 2:
            value[randoms.choice(("later", "type", "TYPE", "versions", "job", "peer"))] = randoms.choice(ODD_VALUES)
        case 3:
            value["type"] = randoms.choice(TAGS)
        case 4:
            other, other_key = randoms.choice(places)
            container[key] = json.loads(json.dumps(other[other_key])) if other_key in _keys(other) else None
        case _:
            inner = container[key]
            container[key] = {"list": [inner], "object": {"a": inner}, "text": str(inner)}[
                randoms.choice(("list", "object", "text"))
            ]
    return json.dumps(value)


def _keys(container: Any) -> Any:
    return container if isinstance(container, dict) else range(len(container))

"""Every test of an actor is a story that must be the same when it is told again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from rtc.common.stories import Stories
from rtc.common.turn_json import known_tables
from rtc.testing.replay import Player, read_trace


@pytest.fixture(autouse=True)
def told_again(tmp_path: Path) -> Iterator[None]:
    """Trace the actors of the test that run one of the program's tables, and replay the trace after the test."""
    trace = tmp_path / "trace.jsonl"
    with Stories(trace).in_use():
        yield
    text = trace.read_text()
    if text:
        trio.run(play, text)


async def play(text: str) -> None:
    said: list[str] = []
    tables = known_tables()
    player = Player(tables, say=said.append)
    known: set[str] = set()
    for line in read_trace(text):
        known |= {line["actor"]} if line.get("table") in tables else set()
        if line["actor"] in known:
            player.play(line)
    assert player.differences == 0, "\n".join(said)

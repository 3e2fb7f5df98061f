"""Tells a trace again: `python -m rtc.testing.replay FILE` steps the tables through what their actors were told.

FILE is what `--trace` has written, or a log with stories. Each turn is printed, invariants are checked after each, and
where this version of sleap-rtc does something else than the recorded one, both are printed and the exit code is 1.

A trace holds no secrets. Where a guard needs one (Auth's proofs), the recorded row is taken.
"""

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import trio
from attrs import define, field

from actors.actor import Actor, Turn
from actors.mailbox import Mailbox
from actors.table import Row, Table, UnexpectedEvent
from protocol import converter
from rtc.common.turn_json import (
    HIDDEN,
    STALE,
    Reader,
    UnknownClass,
    from_line,
    known_classes,
    known_tables,
    to_json,
    to_line,
    turn_to_json,
)

WIDTH = 80
"""Columns of what is printed."""
MARK = '{"actor":'
"""Every line of a story begins with it, in a log after the time and the logger's name."""
COMPARED = ("phase", "row", "next", "effects")


class BadTrace(Exception):
    """The file is no trace, or one of another version; the exception's text says why, in one sentence."""


@define
class _RecordedTable:
    """A table that takes the recorded row where a secret would be needed to choose it."""

    table: Table[Any]
    row: str = ""
    """What the trace says of the row, for the next turn."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.table, name)

    def is_stale(self, _data: Any, _event: Any) -> bool:
        return self.row == STALE

    def find(self, phase: Any, data: Any, event: Any) -> tuple[Row[Any], Any]:
        found, inner = self.table.find(phase, data, event)
        if str(found) != self.row and _has_secret(inner):
            for in_phase, one in self.table.answers():
                if in_phase is phase and one.event is type(inner) and str(one) == self.row:
                    return one, inner
        return found, inner


def _has_secret(event: Any) -> bool:
    """Return whether the trace lacks a secret that was in this event."""
    text = to_line(to_json(event))
    return f'"{HIDDEN}"' in text or f'"{to_json(HIDDEN.encode())}"' in text


@define
class Player:
    """Steps the tables through the lines of a trace."""

    tables: Mapping[str, Table[Any]] = field(factory=known_tables)
    reader: Reader = field(factory=lambda: Reader(known_classes()))
    say: Callable[[str], None] = print
    differences: int = 0
    """Actors that did something else than the trace says; the turns after that are not compared."""
    _actors: dict[str, Actor[Any] | None] = field(factory=dict)
    """None for an actor of which the turns can only be printed."""
    _turns: list[Turn] = field(factory=list)

    def play(self, line: Mapping[str, Any]) -> None:
        """Make an actor, or let it take a turn, as this line of the trace says; call it while trio runs.

        Raises:
            BadTrace: the line names something that there is not.
        """
        try:
            if "table" in line:
                self._begin(line)
            else:
                self._turn(line)
        except UnknownClass as error:
            raise BadTrace(f"{error} in this version of sleap-rtc") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadTrace(f"a line is not as a trace has it ({type(error).__name__}: {error})") from error

    def _begin(self, line: Mapping[str, Any]) -> None:
        name = line["actor"]
        self._actors[name] = None
        self._print(line["time"], name, f"begins ({line['table']}, sleap-rtc {line['version']})")
        if line["cut"]:
            self._print(line["time"], name, "its first turns are missing, so the others are only printed")
            return
        if line["table"] not in self.tables:
            raise BadTrace(f"there is no table {line['table']!r} in this version of sleap-rtc")
        table: Any = _RecordedTable(self.tables[line["table"]])
        data = self.reader.read(line["data"])
        nowhere: Mailbox[Any] = Mailbox()
        nowhere.close()
        self._actors[name] = Actor(table, data, nowhere, watch=self._turns.append)

    def _turn(self, line: Mapping[str, Any]) -> None:
        name = line["actor"]
        moves = line["phase"] if line["phase"] == line["next"] else f"{line['phase']} -> {line['next']}"
        row = line["row"] if " / " in line["row"] else f"{line['event']['type']} / {line['row']}"
        self._print(line["time"], name, f"{moves}: {row}")
        actor = self._actors[name]
        if actor is None:
            return
        differences = list(self._step(actor, line))
        if differences:
            self.differences += 1
            self._actors[name] = None
            for text in differences:
                self._print(line["time"], name, f"*** {text}")

    def _step(self, actor: Actor[Any], line: Mapping[str, Any]) -> Iterator[str]:
        """Let the actor handle the event; return what differs from the trace, or cannot be."""
        event = self.reader.read(line["event"])
        table: Any = actor.table
        table.row = line["row"]
        is_stale = table.table.is_stale(actor.data, event)
        # of a message that was unwrapped, the link is not known here
        if is_stale != (line["row"] == STALE) and getattr(event, "link", None) is not None:
            yield f"the event is {'' if is_stale else 'not '}stale here"
        self._turns.clear()
        try:
            with attrs.validators.disabled():  # a placeholder may be shorter than the secret was
                actor.handle(event)
        except UnexpectedEvent:
            pass  # the turn tells it
        except AssertionError as error:
            yield f"the invariant is broken: {error}"
        except Exception as error:  # noqa: BLE001 (what an action raises is what the trace is replayed for)
            yield f"{type(error).__name__}: {error}"
        here = from_line(to_line(turn_to_json(self._turns[-1])))
        for key in COMPARED:
            if here[key] != line[key]:
                yield f"{key}: here {_shown(here[key])}, in the trace {_shown(line[key])}"

    def _print(self, time: float, name: str, text: str) -> None:
        head = f"{time:10.3f}  {name}  "
        lines = textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * 14)
        self.say("\n".join(lines))


def _shown(values: Any) -> str:
    return converter.document_to_json(values, spaced=True)


def read_trace(text: str, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Return the lines of a trace, or of the stories in a log. A last line that is cut is left out, and that is said.

    Raises:
        BadTrace: a line is damaged, or there is no story.
    """
    lines: list[dict[str, Any]] = []
    texts = [line[line.index(MARK) :] for line in text.splitlines() if MARK in line]
    if text and not text.endswith("\n") and MARK not in text.rpartition("\n")[2]:
        say("The last line is cut, and is left out.")
    for number, one in enumerate(texts, 1):
        try:
            lines.append(from_line(one))
        except ValueError:
            if number < len(texts):
                raise BadTrace(f"line {number} is damaged") from None
            say("The last line is cut, and is left out.")
    if not lines:
        raise BadTrace("no story is in it")
    return lines


def replay(text: str, player: Player | None = None) -> int:
    """Print the story that `text` holds, and return the exit code: 1 if something is different here, otherwise 0.

    Raises:
        BadTrace: the text is no trace, or one of another version.
    """
    player = player or Player()

    async def play() -> None:
        for line in read_trace(text, player.say):
            player.play(line)

    trio.run(play)
    return 1 if player.differences else 0


def main(path: str) -> int:
    """Replay a file, and return the exit code: as `replay`, or 2 if the file cannot be replayed."""
    try:
        return replay(Path(path).read_text(encoding="utf-8", errors="replace"))
    except (BadTrace, OSError) as error:
        print(f"{path} cannot be replayed: {error}.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

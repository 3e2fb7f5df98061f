"""A few lines at the bottom of a terminal that are drawn again and again in place, while others scroll by above them.

Each drawing is one write, and never taller or wider than the terminal is at that moment.
"""

import re
from collections.abc import Sequence

from attrs import define, field
from rich.cells import cell_len
from rich.console import Console, RenderableType

from rtc.common.line_writer import LineWriter

WIDTH_MAX = 100
"""Cells of a line: on a very wide terminal it would fall apart."""
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
"""The cursor."""
REST_OF_LINE, REST_OF_SCREEN = "\x1b[K", "\x1b[J"
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@define
class LiveRegion:
    """Lines on one terminal."""

    _console: Console
    _out: LineWriter = field(init=False)
    _drawn: tuple[int, ...] = field(default=(), init=False)
    """Cells of each line that is there now."""

    def __attrs_post_init__(self) -> None:
        self._out = LineWriter(self._console.file)

    @property
    def width(self) -> int:
        """Cells of a line: one less than there are at most, since terminals differ in what the last one does."""
        return max(1, min(WIDTH_MAX, self._console.width - 1))

    @property
    def height(self) -> int:
        """Lines at most: the newest of those that scroll by can still be seen."""
        return max(1, self._console.height - 1)

    @property
    def shown(self) -> bool:
        """It is there now."""
        return bool(self._drawn)

    def draw(self, rows: Sequence[RenderableType]) -> None:
        """Show these, each in one line; without any the region is gone."""
        self._put("", rows)

    def say(self, text: RenderableType, rows: Sequence[RenderableType]) -> None:
        """Let a text scroll by above; the lines below it are drawn anew."""
        with self._console.capture() as captured:
            # long lines are the terminal's to wrap, so that a folder can be copied whole
            self._console.print(text, soft_wrap=True)
        self._put(captured.get(), rows)

    def _put(self, above: str, rows: Sequence[RenderableType]) -> None:
        lines = [self._row(row) for row in rows[: self.height]]
        parts = [self._back(), f"{REST_OF_SCREEN}{above}" if above else "", "" if self._drawn or not lines else HIDE]
        parts += [
            f"{REST_OF_LINE}\n".join(lines),
            f"{REST_OF_LINE if lines else ''}{REST_OF_SCREEN if self._drawn else ''}",
        ]
        parts.append(SHOW if self._drawn and not lines else "")
        self._drawn = tuple(cell_len(_ESCAPES.sub("", line)) for line in lines)
        if text := "".join(parts):
            self._out.write(text)

    def _back(self) -> str:
        """To the beginning of what is drawn. A terminal that was made narrower since has wrapped our lines."""
        if not self._drawn:
            return ""
        width = max(1, self._console.width)
        rows = sum(max(1, -(-cells // width)) for cells in self._drawn)
        return f"\r\x1b[{rows - 1}A" if rows > 1 else "\r"

    def _row(self, row: RenderableType) -> str:
        """One line, cut to what has room."""
        with self._console.capture() as captured:
            self._console.print(row, width=self.width, no_wrap=True, overflow="ellipsis")
        return captured.get().partition("\n")[0]

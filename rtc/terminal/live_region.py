"""A few lines at the bottom of a terminal that are redrawn in place, while other lines scroll by above them.

Each drawing is one write, and never taller or wider than the terminal is at that moment.
"""

import re
from collections.abc import Sequence

from attrs import define, field
from rich.cells import cell_len
from rich.console import Console, RenderableType

from rtc.common.line_writer import LineWriter

WIDTH_MAX = 100
"""Cells of a line: on a very wide terminal its parts would stand too far from each other."""
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
CLEAR_LINE, CLEAR_BELOW = "\x1b[K", "\x1b[J"
"""Clear from the cursor to the end of the line, and to the end of the screen (ECMA-48: EL, ED)."""
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@define
class LiveRegion:
    """Lines on one terminal that are redrawn in place."""

    _console: Console
    _out: LineWriter = field(init=False)
    _drawn: tuple[int, ...] = field(default=(), init=False)
    """Cells of each line that is on the screen now."""

    def __attrs_post_init__(self) -> None:
        self._out = LineWriter(self._console.file)

    @property
    def width(self) -> int:
        """Cells of a line: one less than the terminal has, since terminals differ in what the last cell does."""
        return max(1, min(WIDTH_MAX, self._console.width - 1))

    @property
    def height(self) -> int:
        """Lines at most: one less than the terminal has, so that the newest line above the region stays visible."""
        return max(1, self._console.height - 1)

    @property
    def shown(self) -> bool:
        """Whether any line of the region is on the screen."""
        return bool(self._drawn)

    def draw(self, rows: Sequence[RenderableType]) -> None:
        """Replace the region by these rows, each in one line; without rows the region is removed."""
        self._write("", rows)

    def print_above(self, text: RenderableType, rows: Sequence[RenderableType]) -> None:
        """Print a text above the region, where it scrolls by, and draw the rows as the region below it."""
        with self._console.capture() as captured:
            # the terminal wraps long lines, not rich, so that the path of a folder can be copied whole
            self._console.print(text, soft_wrap=True)
        self._write(captured.get(), rows)

    def _write(self, above: str, rows: Sequence[RenderableType]) -> None:
        lines = [self._render(row) for row in rows[: self.height]]
        hide = "" if self._drawn or not lines else HIDE_CURSOR
        parts = [self._to_start(), f"{CLEAR_BELOW}{above}" if above else "", hide]
        parts += [
            f"{CLEAR_LINE}\n".join(lines),
            f"{CLEAR_LINE if lines else ''}{CLEAR_BELOW if self._drawn else ''}",
        ]
        parts.append(SHOW_CURSOR if self._drawn and not lines else "")
        self._drawn = tuple(cell_len(_ESCAPES.sub("", line)) for line in lines)
        if text := "".join(parts):
            self._out.write(text)

    def _to_start(self) -> str:
        """Return the escape codes that move the cursor to the start of the region.

        A terminal that has been made narrower since the last drawing has wrapped our lines, so they fill more rows.
        """
        if not self._drawn:
            return ""
        width = max(1, self._console.width)
        rows = sum(max(1, -(-cells // width)) for cells in self._drawn)
        return f"\r\x1b[{rows - 1}A" if rows > 1 else "\r"

    def _render(self, row: RenderableType) -> str:
        """Return the row as one line, cut to the region's width."""
        with self._console.capture() as captured:
            self._console.print(row, width=self.width, no_wrap=True, overflow="ellipsis")
        return captured.get().partition("\n")[0]

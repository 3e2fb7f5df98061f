"""What people see: `open_view` gives the view that suits the place it is shown in."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

from rtc.beside import open_beside
from rtc.view.base import ClientView, Losses, News
from rtc.view.plain import PlainView

__all__ = ["ClientView", "Losses", "News", "open_view"]


@asynccontextmanager
async def open_view(*, terminal: bool, verbose: bool, out: TextIO, stdin: int = 0) -> AsyncIterator[ClientView]:
    """A view for as long as the block lasts; the terminal is given back whatever ends the block.

    Args:
        terminal: `out` is one.
        verbose: show what sleap-nn prints.
        out: where to show it.
        stdin: file descriptor on which the person answers.
    """
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="replace")  # a terminal that cannot show "✓" is no reason to fail
    if not terminal:
        yield PlainView(out, verbose)
        return
    from rich.console import Console  # only where something is drawn

    from rtc.view.live import LiveView

    console = Console(file=out, force_terminal=True, markup=False, highlight=False, emoji=False)
    if console.is_dumb_terminal:
        yield PlainView(out, verbose, stdin)
        return
    async with open_beside() as beside:
        view = LiveView(console, verbose, stdin)
        beside.start_soon(view.run)
        try:
            yield view
        finally:
            view.close()

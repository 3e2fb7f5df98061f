"""What people see: `open_view` gives the view that suits the output and the chosen mode."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

from actors.events import Interrupt
from rtc.common.nurseries import open_background_nursery
from rtc.terminal.interface import ClientView, JobSummary, Losses, Mode
from rtc.terminal.json_view import JsonView
from rtc.terminal.plain_view import PlainView

__all__ = ["ClientView", "Interrupt", "JobSummary", "Losses", "Mode", "open_view"]


@asynccontextmanager
async def open_view(
    *, terminal: bool, mode: Mode, out: TextIO, stdin: int = 0, asks: bool = True
) -> AsyncIterator[ClientView]:
    """Give a view for the duration of the block; the terminal's settings are restored however the block ends.

    Args:
        terminal: whether `out` is a terminal.
        mode: how much to show, and for which reader.
        out: where to write.
        stdin: file descriptor on which the person answers.
        asks: a Ctrl-C is followed by `ask_interrupt`, so the view may say that Ctrl-C is safe.
    """
    if mode is Mode.JSON:
        yield JsonView(out)
        return
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="replace")  # a terminal that cannot show "✓" is no reason to fail
    verbose = mode is Mode.VERBOSE
    if not terminal and mode is not Mode.QUIET:
        yield PlainView(out, verbose=verbose)
        return
    from rich.console import Console  # imported only for the views that draw

    from rtc.terminal.live_view import LiveView
    from rtc.terminal.quiet_view import QuietView

    console = Console(file=out, force_terminal=True, markup=False, highlight=False, emoji=False)
    dumb = console.is_dumb_terminal
    if mode is Mode.QUIET:
        yield QuietView(out, stdin if terminal and not dumb else None, console=console)
        return
    if dumb:
        yield PlainView(out, stdin, verbose=verbose)
        return
    async with open_background_nursery() as background:
        view = LiveView(console, verbose, stdin, asks)
        background.start_soon(view.run)
        try:
            yield view
        finally:
            view.close()

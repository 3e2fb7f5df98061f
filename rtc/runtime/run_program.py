"""Runs a program that talks to peers: the root of its process, with the asyncio loop that WebRTC needs."""

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from rtc.common.errors import ExitCode
from rtc.runtime.root import complain, handle_no_signal, run_root, supervise
from rtc.transport.webrtc import AsyncioLoop, open_asyncio_loop

__all__ = ["Main", "complain", "run_program"]

Main = Callable[[AsyncioLoop, trio.Event], Awaitable[None]]
"""A program: gets the asyncio loop, and the event that asks it to drain; raises `RtcError` for expected errors."""


def run_program(
    name: str,
    main: Main,
    *,
    stopped: Callable[[], ExitCode],
    handle: Callable[[int], bool] = handle_no_signal,
    secrets: tuple[str | None, ...] = (),
) -> int:
    """Run `main` under trio, with an asyncio loop around it, and return its exit code.

    Args:
        name: of the log file.
        main: the program.
        stopped, handle: as for `rtc.runtime.root.supervise`.
        secrets: texts that must never appear in the log.
    """
    return run_root(name, partial(_with_loop, main, stopped, handle), secrets=secrets)


async def _with_loop(main: Main, stopped: Callable[[], ExitCode], handle: Callable[[int], bool]) -> int:
    async with open_asyncio_loop() as loop:
        return await supervise(partial(main, loop), stopped=stopped, handle=handle)

"""Runs a program that talks to peers: the root of its process, with the asyncio loop that WebRTC needs."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from rtc.common.errors import ExitCode
from rtc.runtime.root import handle_no_signal, run_root, supervise
from rtc.transport.webrtc import AsyncioLoop, open_asyncio_loop

Main = Callable[[AsyncioLoop, trio.Event], Awaitable[None]]
"""A program: gets the asyncio loop, and the event that asks it to drain; raises `RtcError` for expected errors."""


def run_program(
    name: str,
    main: Main,
    *,
    cancelled_exit_code: Callable[[], ExitCode],
    handle_signal: Callable[[int], bool] = handle_no_signal,
    secrets: tuple[str | None, ...] = (),
    trace: Path | None = None,
) -> int:
    """Run `main` under trio, with an asyncio loop around it, and return its exit code.

    Args:
        name: the name of the log file.
        main: the program.
        cancelled_exit_code, handle_signal: as for `rtc.runtime.root.supervise`.
        secrets, trace: as for `rtc.runtime.root.run_root`.
    """
    return run_root(name, partial(_with_loop, main, cancelled_exit_code, handle_signal), secrets=secrets, trace=trace)


async def _with_loop(
    main: Main, cancelled_exit_code: Callable[[], ExitCode], handle_signal: Callable[[int], bool]
) -> int:
    async with open_asyncio_loop() as loop:
        return await supervise(
            partial(main, loop), cancelled_exit_code=cancelled_exit_code, handle_signal=handle_signal
        )

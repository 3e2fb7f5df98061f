"""Runs one program that talks to peers to its exit code: the root of a process, with the asyncio room in it."""

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from rtc.common.errors import ExitCode
from rtc.common.nurseries import open_beside
from rtc.runtime.root import complain, handle_none, handle_signals, run_root
from rtc.transport.webrtc import AsyncioLoop, open_asyncio_loop

__all__ = ["Main", "complain", "run_program"]

Main = Callable[[AsyncioLoop, trio.Event], Awaitable[None]]
"""A program: gets the asyncio room and the event that asks it to drain; raises RtcError for what may go wrong."""


def run_program(
    name: str,
    main: Main,
    *,
    stopped: Callable[[], ExitCode],
    handle: Callable[[int], bool] = handle_none,
    secrets: tuple[str | None, ...] = (),
) -> int:
    """Run `main` under trio; returns the exit code.

    The first SIGINT or SIGTERM drains; a second one cancels, and the exit code then is what `stopped` says. Signals
    that `handle` takes do neither. `secrets` never appear in the log.
    """
    return run_root(name, partial(_supervise, main, stopped, handle), secrets=secrets)


async def _supervise(main: Main, stopped: Callable[[], ExitCode], handle: Callable[[int], bool]) -> int:
    """The root of the process: the bridge outside, signals beside, the program inside."""
    drain = trio.Event()
    done = False
    async with open_asyncio_loop() as bridge, open_beside() as beside:
        program = trio.CancelScope()
        await beside.start(handle_signals, drain, program, handle)
        with program:
            await main(bridge, drain)
            done = True
    return ExitCode.DONE if done else stopped()

"""One child program and everything it starts, as one process group that never outlives its caller (POSIX)."""

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import trio

TERM_TIME = 10.0
"""Seconds sleap-nn gets to end in order after SIGTERM; on a CPU it takes three."""
KILL_TIME = 5.0
"""Seconds to wait for a killed process to be gone; only a stuck disk or driver needs any."""
DRAIN_TIME = 2.0
"""Seconds to read last words, when something that left the group holds the pipe open."""

Reader = Callable[[trio.abc.ReceiveStream], Awaitable[None]]


async def run_group(
    command: list[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    read: Reader,
    inherit: tuple[int, ...] = (),
) -> int:
    """Run a program to its end and return its status (negative: the signal that ended it).

    `read` gets stdout and stderr as one stream. On cancellation the whole group is ended, first kindly; when this
    returns or raises, nothing of it runs any more. `inherit`: descriptors that stay open in it.

    Raises:
        OSError: the program could not be started.
    """
    process = await trio.lowlevel.open_process(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=inherit,
    )
    output = process.stdout
    assert output is not None
    async with output, trio.open_nursery() as nursery:
        reading = trio.CancelScope(shield=True)  # goes on while the program is ended, or it could block on a full pipe
        told = trio.Event()

        async def read_all() -> None:
            with reading:
                await read(output)
            told.set()

        nursery.start_soon(read_all)
        try:
            return await process.wait()
        finally:
            await _end(process)
            with trio.move_on_after(DRAIN_TIME, shield=True):
                await told.wait()
            reading.cancel()


async def _end(process: trio.Process) -> None:
    """End the group; after the leader's own end this only sweeps up what it left behind."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with trio.move_on_after(TERM_TIME, shield=True):
            await process.wait()
    _signal(process, signal.SIGKILL)
    with trio.move_on_after(KILL_TIME, shield=True):
        await process.wait()


def _signal(process: trio.Process, number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass  # nobody is left
    except PermissionError:
        pass  # macOS says so of a group of zombies

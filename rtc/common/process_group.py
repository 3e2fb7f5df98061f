"""Runs a program and all processes that it starts as one process group, which never outlives the caller (POSIX)."""

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

import trio

TERM_TIME = 10.0
"""Seconds that a program has to exit after SIGTERM, before SIGKILL; sleap-nn on a CPU was measured to take three."""
KILL_TIME = 5.0
"""Seconds to wait for a process after SIGKILL; it exits at once unless a disk or driver hangs."""
DRAIN_TIME = 2.0
"""Seconds to read the last output, when a process that has left the group keeps the pipe open."""

Reader = Callable[[trio.abc.ReceiveStream], Awaitable[None]]
"""Reads a program's output until its end."""


class Holder(Protocol):
    """Keeps hold of the processes that a program starts, also of those that leave its group."""

    def hold_started(self) -> AbstractContextManager[None]:
        """Hold what is started inside this context, from its first moment on."""

    async def end(self) -> None:
        """End all processes that are held. Takes a bounded time."""


async def run_group(
    command: list[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    read: Reader,
    inherit: tuple[int, ...] = (),
    holder: Holder | None = None,
) -> int:
    """Run a program until it exits and return its exit status; a negative one is the signal that ended it.

    On cancellation the whole group gets SIGTERM, and SIGKILL after TERM_TIME. When this function returns or raises, no
    process of the group runs any more, and none that `holder` holds.

    Args:
        command: the program and its arguments.
        folder: its working folder.
        environment: all of its environment variables.
        read: reads stdout and stderr, as one stream.
        inherit: file descriptors that stay open in the program.
        holder: gets the program, and ends what is left of it outside of its group.

    Raises:
        OSError: the program could not be started.
    """
    with nullcontext() if holder is None else holder.hold_started():
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
        # shielded: output is read also while the program is being ended, since it could block on a full pipe
        reading = trio.CancelScope(shield=True)
        read_done = trio.Event()

        async def read_all() -> None:
            with reading:
                await read(output)
            read_done.set()

        nursery.start_soon(read_all)
        try:
            return await process.wait()
        finally:
            await _end(process)
            if holder is not None:
                await holder.end()
            with trio.move_on_after(DRAIN_TIME, shield=True):
                await read_done.wait()
            reading.cancel()


async def _end(process: trio.Process) -> None:
    """End the group; when its leader has already exited, this only kills the processes that it left behind."""
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
        pass  # no process of the group is left
    except PermissionError:
        pass  # macOS raises this for a group of zombies

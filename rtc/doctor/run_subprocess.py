"""Runs a short-lived program, and saves the last part of its output."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import trio
from attrs import frozen

from rtc.common.process_group import run_group
from rtc.common.text import clean
from rtc.config.folders import known_home

OUTPUT_MAX = 16 * 1024
"""Bytes of output that are saved: the last ones."""
LINE_MAX = 200
"""Characters of a line that are shown."""


@frozen
class SubprocessResult:
    """How a subprocess ended, and what it printed."""

    status: int
    """Its exit status; negative: the signal that ended it; 127: it could not be started."""
    output: str
    """Its standard output and standard error together."""

    @property
    def last_line(self) -> str:
        """The last line that is not empty; of a traceback this is the error. The home folder is written as `~`."""
        lines = [line for line in map(clean, self.output.splitlines()) if line.strip()]
        if not lines:
            return f"it ended with status {self.status} and said nothing"
        home = known_home()
        return (lines[-1] if home is None else lines[-1].replace(str(home), "~"))[:LINE_MAX]


async def run_subprocess(command: list[str], environment: Mapping[str, str] | None = None) -> SubprocessResult:
    """Run `command` in a new empty folder, and return its result.

    Cancelling ends the program and every process that it started.

    Args:
        environment: its environment variables; those of this process if None.
    """
    output = b""

    async def read(stream: trio.abc.ReceiveStream) -> None:
        nonlocal output
        async for piece in stream:
            output = (output + piece)[-OUTPUT_MAX:]

    with tempfile.TemporaryDirectory(prefix="sleap-rtc-doctor-", ignore_cleanup_errors=True) as folder:
        child_environment = os.environ if environment is None else environment
        try:
            status = await run_group(command, folder=Path(folder), environment=child_environment, read=read)
        except OSError as error:
            return SubprocessResult(127, f"{Path(command[0]).name} cannot be started ({error.strerror})")
    return SubprocessResult(status, output.decode(errors="replace"))

"""A short-lived child program whose output is kept, bounded."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import trio
from attrs import frozen

from rtc.common.process_group import run_group
from rtc.common.text import clean

KEPT = 16 * 1024
"""Bytes of output, the last ones."""
LINE_MAX = 200
"""Characters of a line that is shown."""


@frozen
class Child:
    """How a child ended, and what it said."""

    status: int
    output: str

    @property
    def last_line(self) -> str:
        """The last line that says something: of a traceback, the error. Home folders are written as `~`."""
        lines = [line for line in map(clean, self.output.splitlines()) if line.strip()]
        if not lines:
            return f"it ended with status {self.status} and said nothing"
        return lines[-1].replace(str(Path.home()), "~")[:LINE_MAX]


async def run_child(command: list[str], environment: Mapping[str, str] | None = None) -> Child:
    """Run `command` in an empty folder of its own. Cancelling ends it and all that it started."""
    kept = b""

    async def read(stream: trio.abc.ReceiveStream) -> None:
        nonlocal kept
        async for piece in stream:
            kept = (kept + piece)[-KEPT:]

    with tempfile.TemporaryDirectory(prefix="sleap-rtc-doctor-", ignore_cleanup_errors=True) as name:
        around = os.environ if environment is None else environment
        try:
            status = await run_group(command, folder=Path(name), environment=around, read=read)
        except OSError as error:
            return Child(127, f"{Path(command[0]).name} cannot be started ({error.strerror})")
    return Child(status, kept.decode(errors="replace"))
